"""Synthetic identity: invented people, hospitals and numbers to plant in files, so that a search for them is proof.

Every text is at least 6 characters long, drawn without repetition and composed of syllables and digits that no program
writes by itself. Dates of studies lie within eleven months of one year, so that a date moved into the past by a year or
more (as de-identification does) is never another one that was planted.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np

__all__ = ["Hospital", "Identities", "Person", "Visit"]

_ONSETS = [
    "Br",
    "Dr",
    "Fl",
    "Gl",
    "Kr",
    "Kv",
    "Pl",
    "Skr",
    "Sv",
    "Tr",
    "Vl",
    "Zd",
    "Zv",
    "Mr",
    "Ch",
    "Sh",
    "Th",
    "Kh",
    "Y",
    "J",
]
_MIDDLES = [
    "ado",
    "ambi",
    "avro",
    "elda",
    "endo",
    "irku",
    "ista",
    "olme",
    "ondri",
    "orva",
    "uldi",
    "urva",
    "ysko",
    "eska",
    "ogra",
    "umbo",
    "azhe",
    "ivne",
]
_NAME_ENDS = [
    "vich",
    "nova",
    "quist",
    "lund",
    "berg",
    "stein",
    "zade",
    "yama",
    "kowa",
    "rossi",
    "mann",
    "dottir",
    "wala",
    "poulos",
    "enko",
    "ides",
]
_GIVEN_ENDS = ["bert", "linde", "mira", "tha", "rik", "sandra", "vald", "fina", "drun", "gard", "nelle", "tosh"]
_TOWN_ENDS = ["holt", "minster", "vik", "haven", "stadt", "burgh", "mouth", "dorp"]
_FIRST_STUDY = datetime.date(2013, 1, 14)
_STUDY_DAYS = 330
_FIRST_BIRTH = datetime.date(1927, 3, 1)
_BIRTH_DAYS = 365 * 52


@dataclass(frozen=True)
class Hospital:
    """Where a file was made.

    Attributes:
        name: Institution.
        address: Its street.
        department: Department.
        station: Name of the scanner or camera.
        ae_title: Network name, at most 16 characters.
        referrer: Referring physician, ``Surname^Given``.
        operator: Who operated the device, ``Surname^Given``.
        serial: Serial number of the device.
    """

    name: str
    address: str
    department: str
    station: str
    ae_title: str
    referrer: str
    operator: str
    serial: str


@dataclass(frozen=True)
class Person:
    """A patient.

    Attributes:
        name: ``Surname^Given``.
        surname: The first part of it.
        given: The second.
        number: Patient id.
        other_number: Patient id elsewhere.
        birth: ``YYYYMMDD``.
        phone: Telephone number.
        street: Address.
        sex: ``M`` or ``F``; not an identity.
    """

    name: str
    surname: str
    given: str
    number: str
    other_number: str
    birth: str
    phone: str
    street: str
    sex: str


@dataclass(frozen=True)
class Visit:
    """One study of a patient.

    Attributes:
        date: ``YYYYMMDD``.
        accession: Accession number.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID; every SOPInstanceUID of the series begins with it.
        frame_uid: FrameOfReferenceUID.
    """

    date: str
    accession: str
    study_uid: str
    series_uid: str
    frame_uid: str


class Identities:
    """Draws identities and remembers each, so that what was planted can be listed.

    Args:
        generator: Source of every draw.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._planted: dict[str, None] = {}

    @property
    def planted(self) -> tuple[str, ...]:
        """Every identity that was drawn, exactly as it stands in the files, in the order of the draws."""
        return tuple(self._planted)

    def hospital(self) -> Hospital:
        """Draw a hospital with its people and device."""
        town = self._word(_TOWN_ENDS)
        return Hospital(
            name=self._plant(f"{town} Klinikum"),
            address=self._plant(f"{self._digits(3)} {self._word(_TOWN_ENDS)} Allee"),
            department=self._plant(f"Abteilung {self._word(_TOWN_ENDS)}"),
            station=self._plant(f"{town[:6].upper()}-ST{self._digits(4)}"),
            ae_title=self._plant(f"{town[:6].upper()}_AE{self._digits(4)}"),
            referrer=self._plant(f"{self._word(_NAME_ENDS)}^{self._word(_GIVEN_ENDS)}"),
            operator=self._plant(f"{self._word(_NAME_ENDS)}^{self._word(_GIVEN_ENDS)}"),
            serial=self._plant(f"SN{self._letters(2)}{self._digits(7)}"),
        )

    def person(self) -> Person:
        """Draw a patient."""
        surname, given = self._word(_NAME_ENDS), self._word(_GIVEN_ENDS)
        return Person(
            name=self._plant(f"{surname}^{given}"),
            surname=self._plant(surname),
            given=given,
            number=self._plant(f"{self._letters(2)}{self._digits(7)}"),
            other_number=self._plant(f"{self._letters(3)}-{self._digits(6)}"),
            birth=self._plant(self._date(_FIRST_BIRTH, _BIRTH_DAYS)),
            phone=self._plant(f"+999 {self._digits(3)} {self._digits(6)}"),
            street=self._plant(f"{self._digits(2)} {self._word(_TOWN_ENDS)} Gasse"),
            sex="F" if self._generator.random() < 0.5 else "M",
        )

    def visit(self) -> Visit:
        """Draw a study."""
        root = f"1.2.826.0.1.3680043.10.{self._digits(4)}.{self._digits(9)}"
        date, accession = self.appointment()
        return Visit(
            date=date,
            accession=accession,
            study_uid=self._plant(f"{root}.1"),
            series_uid=self._plant(f"{root}.2"),
            frame_uid=self._plant(f"{root}.3"),
        )

    def appointment(self) -> tuple[str, str]:
        """Draw a date and an accession number."""
        return self._plant(self._date(_FIRST_STUDY, _STUDY_DAYS)), self._plant(f"ACC{self._digits(8)}")

    def place(self) -> str:
        """Draw the name of a place."""
        return self._plant(f"Schloss {self._word(_TOWN_ENDS)}")

    def _plant(self, text: str) -> str:
        self._planted[text] = None
        return text

    def _word(self, ends: list[str]) -> str:
        while True:
            word = str(self._pick(_ONSETS) + self._pick(_MIDDLES) + self._pick(ends))
            if not any(word.lower() in known.lower() for known in self._planted):
                return word

    def _date(self, first: datetime.date, days: int) -> str:
        while True:
            text = f"{first + datetime.timedelta(days=int(self._generator.integers(days))):%Y%m%d}"
            if text not in self._planted:
                return text

    def _digits(self, count: int) -> str:
        return str(int(self._generator.integers(1, 10))) + "".join(
            str(d) for d in self._generator.integers(0, 10, count - 1)
        )

    def _letters(self, count: int) -> str:
        return "".join(self._pick(list("BCDFGHJKLMNPQRSTVWXZ")) for _ in range(count))

    def _pick(self, words: list[str]) -> str:
        return words[int(self._generator.integers(len(words)))]
