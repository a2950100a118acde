"""People who don't exist: names of random syllables, numbers and dates, no two alike, and the list of them."""

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def _words(text: str) -> list[str]:
    return text.split()


_ONSETS = _words("v z k dr tr br zv kr ml sn gv rz d t b n m h j l p kv zd")
_CORES = _words("a o u e i y ou ai ej")
_ENDS = ["", "", "", "n", "k", "r", "z", "x", "v", "q"]
_MONTHS = {
    "cs": _words("ledna února března dubna května června července srpna září října listopadu prosince"),
    "fr": _words("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
    "de": _words("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
    "pl": _words("stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia"),
    "fi": _words("tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu"),
    "en": _words("January February March April May June July August September October November December"),
}
_ROMAN = _words("I II III IV V VI VII VIII IX X XI XII")


@dataclass(frozen=True)
class Person:
    """A patient: the names by which one is called, the hospital's number, and the day of birth."""

    family: str
    given: str
    number: str
    born: datetime.date

    @property
    def dicom(self) -> str:
        """The name as DICOM writes it."""
        return f"{self.family}^{self.given}"


@dataclass
class Planter:
    """Makes identities and remembers each with the place that it was planted in."""

    seed: int
    planted: dict[str, str] = field(default_factory=dict)
    place: str = ""
    days: set[datetime.date] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def plant(self, text: str) -> str:
        """Remember an identity that was made elsewhere, and hand it back."""
        self.planted.setdefault(text, self.place)
        return text

    def _new(self, make: Callable[[], str]) -> str:
        while True:
            text = make()
            if text not in self.planted:
                return self.plant(text)

    def _syllables(self, count: int) -> str:
        pick = self.random.choice
        return "".join(pick(_ONSETS) + pick(_CORES) for _ in range(count)) + pick(_ENDS)

    def family(self, limit: int = 64) -> str:
        """A family name of three or four syllables that no language has, cut off where a field ends."""
        return self._new(lambda: self._syllables(self.random.choice((3, 4))).capitalize()[:limit])

    def upper(self, limit: int = 16) -> str:
        """A family name in capitals, as short as a code string has to be."""
        return self._new(lambda: self._syllables(4).upper()[:limit])

    def number(self, digits: int = 10) -> str:
        """A patient's number without a nought in front."""
        return self._new(lambda: str(self.random.randrange(10 ** (digits - 1), 10**digits)))

    def int32(self) -> int:
        """A number that fits 31 bits."""
        return int(self._new(lambda: str(self.random.randrange(10**9, 2**31 - 1))))

    def code(self) -> str:
        """An accession number or a device's serial number: letters and digits."""
        pick = self.random.choice
        letters = "BCDFGHJKLMNPQRSTVWXZ"
        return self._new(
            lambda: pick(letters) + pick(letters) + str(self.random.randrange(10**6, 10**7)) + pick(letters)
        )

    def day(self, first: int = 1921, last: int = 2019) -> datetime.date:
        """A day that nothing else happened on."""
        start = datetime.date(first, 1, 1).toordinal()
        span = datetime.date(last, 12, 31).toordinal() - start
        while True:
            day = datetime.date.fromordinal(start + self.random.randrange(span))
            if day not in self.days:
                self.days.add(day)
                return day

    def date(self, day: datetime.date) -> str:
        """Plant a day in its two commonest forms; returned as DICOM writes it."""
        self.plant(f"{day:%Y-%m-%d}")
        return self.plant(f"{day:%Y%m%d}")

    def iso(self) -> str:
        """A new day, as programs write it."""
        day = self.day()
        self.date(day)
        return f"{day:%Y-%m-%d}"

    def person(self) -> Person:
        """A new patient."""
        born = self.day(1921, 1999)
        self.date(born)
        return Person(self.family(), self.family(), self.number(), born)

    def script(self, script: str) -> str:
        """A name of five letters in a script: ko, ja, zh, ar, ru, el, he, th."""
        low, high = {
            "ko": (0xAC00, 0xD7A3),
            "ja": (0x30A2, 0x30F3),
            "zh": (0x4E00, 0x8FFF),
            "ar": (0x0627, 0x0649),
            "ru": (0x0430, 0x044F),
            "el": (0x03B1, 0x03C9),
            "he": (0x05D0, 0x05EA),
            "th": (0x0E01, 0x0E2E),
        }[script]
        encoding = {
            "ko": "euc_kr",
            "ja": "iso2022_jp",
            "zh": "gb2312",
            "ar": "iso8859_6",
            "ru": "iso8859_5",
            "el": "iso8859_7",
            "he": "iso8859_8",
            "th": "tis_620",
        }[script]

        def make() -> str:
            letters = ""
            while len(letters) < 5:
                letter = chr(self.random.randint(low, high))
                try:
                    letter.encode(encoding)
                except UnicodeEncodeError:
                    continue
                letters += letter if letter.isalpha() else ""
            return letters

        return self._new(make)

    def written(self, day: datetime.date, form: int) -> str:
        """A day as one of twelve people would write it."""
        m, d, y = day.month - 1, day.day, day.year
        forms = (
            f"{d}. {_MONTHS['cs'][m]} {y}", f"{d} {_MONTHS['fr'][m]} {y}", f"{d}. {_MONTHS['de'][m]} {y}",
            f"{d} {_MONTHS['pl'][m]} {y}", f"{d}. {_MONTHS['fi'][m]}kuuta {y}", f"{_MONTHS['en'][m]} {d}, {y}",
            f"{d}.{_ROMAN[m]}.{y}", f"{y}年{m + 1}月{d}日", f"{y}년 {m + 1}월 {d}일", f"{day:%d/%m/%Y}",
            f"{day:%d.%m.%y}", f"{day:%d%b%Y}".upper(),
        )  # fmt: skip
        return self.plant(forms[form])

    def contact(self, kind: int) -> str:
        """Mail, phone, addresses in networks and on the web, numbers of insurances and accounts, a phone again."""
        r, who = self.random, self.family().lower()
        kinds = (
            lambda: f"{who}@{self.family().lower()}.example",
            lambda: f"+420 {r.randrange(600, 799)} {r.randrange(100, 999)} {r.randrange(100, 999)}",
            lambda: f"10.{r.randrange(200, 255)}.{r.randrange(100, 255)}.{r.randrange(100, 255)}",
            lambda: ":".join(f"{r.randrange(16, 255):02x}" for _ in range(6)),
            lambda: f"https://{self.family().lower()}.example/p/{who}",
            lambda: f"{r.randrange(300000, 999999)}/{r.randrange(1000, 9999)}",
            lambda: f"{r.randrange(100, 899)}-{r.randrange(10, 99)}-{r.randrange(1000, 9999)}",
            lambda: f"{r.choice('ABKMT')}{r.randrange(10**8, 10**9)}",
            lambda: f"CZ{r.randrange(10**9, 10**10)}{r.randrange(10**9, 10**10)}",
            lambda: f"+49 (0){r.randrange(30, 99)} / {r.randrange(10**6, 10**7)}",
        )
        return self.plant(kinds[kind]())

    def contacts(self, count: int = 10) -> str:
        """The first kinds of contact, one after the other."""
        return "; ".join(self.contact(kind) for kind in range(count))

    def write(self, path: Path) -> None:
        """One identity a line, as the searches read them."""
        path.write_text("\n".join(self.planted) + "\n", encoding="utf-8")
