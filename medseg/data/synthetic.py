"""Synthetic cohort: CT series and dermoscopy photographs of invented people, whose every identity is listed.

Layout below OUT:

```
planted.txt                                             every identity, one a line, exactly as it stands in the files
cohort.json                                             what was made
source/ct/SURNAME_GIVEN_ID/DATE_ACCESSION/ct/IM*.dcm    a CT series
source/ct/SURNAME_GIVEN_ID/DATE_ACCESSION/lesions.nii.gz    its lesions, in the same grid
source/skin/images/SURNAME_GIVEN_ID.jpg                 a photograph
source/skin/masks/SURNAME_GIVEN_ID_segmentation.png     its lesion, 0 or 255
```

Every ninth patient has no lesion. The third and the eighth have a follow-up study. The last has a second study whose
series is broken: three slices are missing and one file is truncated.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medseg.data.files import atomic_write
from medseg.data.synthetic_ct import Subject, draw_phantom, draw_subject
from medseg.data.synthetic_dicom import ScanPlace, write_label, write_series
from medseg.data.synthetic_identity import Hospital, Identities, Person
from medseg.data.synthetic_skin import draw_photograph
from medseg.errors import RequestError
from medseg.privacy.unfinished import held_folder

__all__ = ["CohortFacts", "make_cohort"]

_VERSION = 2
_FOLLOW_UP = (2, 7)
_ALIKE = 0.9
_MOST_DRAWS = 8
_BLOCKS = 16
_CAMERA_TAGS = {"description": 0x010E, "date": 0x0132, "artist": 0x013B, "computer": 0x013C, "copyright": 0x8298}
_EXIF_TAGS = {"original": 0x9003, "comment": 0x9286, "owner": 0xA430, "serial": 0xA431}
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825


@dataclass(frozen=True)
class CohortFacts:
    """What a cohort holds.

    Attributes:
        patients: Patients with CT.
        series: CT series, the broken one included.
        broken_series: Series that a reader must refuse.
        without_lesions: Patients without any lesion.
        pictures: Photographs.
        files: Files below source/.
        identities: Lines of planted.txt.
        seed: Of all draws.
        ct: Folder of the CT series.
        skin: Folder of the photographs.
        planted: The list of identities.
    """

    patients: int
    series: int
    broken_series: int
    without_lesions: int
    pictures: int
    files: int
    identities: int
    seed: int
    ct: Path
    skin: Path
    planted: Path


def make_cohort(
    out: Path, *, patients: int = 18, pictures: int = 40, seed: int = 0, progress: Callable[[], None] | None = None
) -> CohortFacts:
    """Make the cohort, or find that it is already there.

    The same numbers and seed give the same files, byte for byte. The source folder appears as a whole or not at all.

    Args:
        out: Folder; made where it is missing.
        patients: Patients with CT, at least 1.
        pictures: Photographs, 0 or more.
        seed: Of all draws.
        progress: Called after each patient and after each photograph.

    Raises:
        RequestError: Numbers out of range, or `out` holds something else.
    """
    if patients < 1 or pictures < 0 or seed < 0:
        raise RequestError(
            "expected at least 1 patient, 0 pictures and seed 0; "
            f"found {patients} patients, {pictures} pictures and seed {seed}"
        )
    out = Path(out)
    wanted = {"version": _VERSION, "patients": patients, "pictures": pictures, "seed": seed}
    with _locked(out):
        there = _find_cohort(out, wanted)
        if there is not None:
            return there
        identities = Identities(np.random.default_rng([seed, 0]))
        with held_folder(out / "source") as folder:
            series, healthy = _make_ct(folder / "ct", identities, patients=patients, seed=seed, progress=progress)
            _make_skin(folder / "skin", identities, pictures=pictures, seed=seed, progress=progress)
            files = sum(1 for path in folder.rglob("*") if path.is_file())
            with atomic_write(out / "planted.txt", mode="w") as file:
                file.write("".join(f"{text}\n" for text in identities.planted))
            facts = {
                "patients": patients, "series": series, "broken_series": 1, "without_lesions": healthy,
                "pictures": pictures, "files": files, "identities": len(identities.planted), "seed": seed,
            }  # fmt: skip
            with atomic_write(out / "cohort.json", mode="w") as file:
                json.dump({"wanted": wanted, "facts": facts}, file, indent=2)
            os.replace(folder, out / "source")
        return _facts(out, facts)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One process at a time; what a killed one left behind is cleared away."""
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".cohort.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RequestError("another process makes a cohort in this folder now; wait for it or choose another") from None
    try:
        for left in out.glob(".source.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()
        (out / ".cohort.lock").unlink(missing_ok=True)


def _find_cohort(out: Path, wanted: dict[str, int]) -> CohortFacts | None:
    """The same cohort made earlier (its source folder appears last), or None where there is none."""
    if not (out / "source").exists():
        return None
    try:
        content = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
        if content["wanted"] == wanted and (out / "planted.txt").is_file():
            return _facts(out, content["facts"])
    except (OSError, KeyError, TypeError, ValueError):
        pass
    raise RequestError(
        "the folder holds something else under the name source; choose another folder, or delete it first"
    )


def _facts(out: Path, numbers: dict[str, int]) -> CohortFacts:
    source = out / "source"
    return CohortFacts(**numbers, ct=source / "ct", skin=source / "skin", planted=out / "planted.txt")


def _make_ct(
    folder: Path, identities: Identities, *, patients: int, seed: int, progress: Callable[[], None] | None
) -> tuple[int, int]:
    """Write the CT series; return the numbers of series and of patients without lesions."""
    hospitals = [identities.hospital() for _ in range(3)]
    series = healthy = 0
    others: list[npt.NDArray[np.float64]] = []
    for index in range(patients):
        generator = np.random.default_rng([seed, 1, index])
        subject = _draw_unlike(others, generator, healthy=index % 9 == 4)
        healthy += not subject.lesions
        person, hospital = identities.person(), hospitals[index % 3]
        home = folder / _stem(person)
        _make_study(home, subject, identities, person=person, hospital=hospital, generator=generator, growth=1.0)
        series += 1
        if index in _FOLLOW_UP:
            growth = float(generator.uniform(0.85, 1.2))
            _make_study(home, subject, identities, person=person, hospital=hospital, generator=generator, growth=growth)
            series += 1
        if index == patients - 1:
            _make_study(
                home,
                subject,
                identities,
                person=person,
                hospital=hospital,
                generator=generator,
                growth=1.0,
                broken=True,
            )
            series += 1
        if progress:
            progress()
    return series, healthy


def _draw_unlike(others: list[npt.NDArray[np.float64]], generator: np.random.Generator, *, healthy: bool) -> Subject:
    """Draw bodies until one looks like none before it, so that a search for duplicates finds none; take up its look."""
    for _ in range(_MOST_DRAWS):
        subject = draw_subject(generator, healthy=healthy)
        bare = replace(subject, lesions=())
        look = _look(draw_phantom(bare, np.random.default_rng(subject.seed)).hu)
        if all(float(look @ other) < _ALIKE for other in others):
            break
    others.append(look)
    return subject


def _look(hu: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Means of 16 x 16 x 16 blocks as a vector of mean 0 and length 1."""
    blocks = hu.astype(np.float64)
    for axis, length in enumerate(hu.shape):
        edges = np.linspace(0, length, _BLOCKS + 1).astype(int)
        widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(3)])
        blocks = np.add.reduceat(blocks, edges[:-1], axis=axis) / widths
    centred = blocks.ravel() - blocks.mean()
    look: npt.NDArray[np.float64] = centred / np.linalg.norm(centred)
    return look


def _make_study(
    home: Path,
    subject: Subject,
    identities: Identities,
    *,
    person: Person,
    hospital: Hospital,
    generator: np.random.Generator,
    growth: float,
    broken: bool = False,
) -> None:
    visit = identities.visit()
    phantom = draw_phantom(subject, generator, growth=growth)
    slices, rows, columns = phantom.hu.shape
    place = ScanPlace(
        left=round(-columns / 2 * phantom.spacing[2] + float(generator.uniform(-20, 20)), 3),
        back=round(-rows / 2 * phantom.spacing[1] + float(generator.uniform(-20, 20)), 3),
        head=round(float(generator.uniform(-900, -200)), 3),
    )
    folder = home / f"{visit.date}_{visit.accession}"
    write_series(
        phantom,
        folder / "ct",
        place=place,
        person=person,
        visit=visit,
        hospital=hospital,
        generator=generator,
        missing=(slices // 2, slices // 2 + 1, slices // 2 + 4) if broken else (),
        truncated=3 if broken else None,
    )
    affine = place.affine(phantom.spacing)
    write_label(phantom.label, folder / "lesions.nii.gz", affine=affine, person=person, visit=visit)


def _make_skin(
    folder: Path, identities: Identities, *, pictures: int, seed: int, progress: Callable[[], None] | None
) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    clinic = identities.hospital()
    for index in range(pictures):
        generator = np.random.default_rng([seed, 2, index])
        photograph, person = draw_photograph(generator), identities.person()
        buffer = io.BytesIO()
        comment = f"{person.name} born {person.birth}".encode()
        exif = _exif(identities, person=person, clinic=clinic)
        Image.fromarray(photograph.rgb).save(buffer, "JPEG", quality=90, exif=exif, comment=comment)
        (folder / "images" / f"{_stem(person)}.jpg").write_bytes(buffer.getvalue())
        text = PngInfo()
        text.add_text("Comment", f"outlined for {person.name} {person.number}")
        mask = Image.fromarray(photograph.mask.astype(np.uint8) * 255)
        mask.save(folder / "masks" / f"{_stem(person)}_segmentation.png", pnginfo=text)
        if progress:
            progress()


def _exif(identities: Identities, *, person: Person, clinic: Hospital) -> bytes:
    """EXIF of a camera that knows too much: whom, where, when, by whom."""
    from PIL import Image

    (day, accession), place = identities.appointment(), identities.place()
    date = f"{day[:4]}:{day[4:6]}:{day[6:]}"
    exif = Image.Exif()
    exif[_CAMERA_TAGS["description"]] = f"{person.name} {day} {accession} {clinic.name}"
    exif[_CAMERA_TAGS["date"]] = f"{date} 10:15:00"
    exif[_CAMERA_TAGS["artist"]] = clinic.operator
    exif[_CAMERA_TAGS["computer"]] = f"{clinic.station} {clinic.ae_title}"
    exif[_CAMERA_TAGS["copyright"]] = ", ".join((clinic.name, clinic.department, clinic.address))
    details = exif.get_ifd(_EXIF_IFD)
    details[_EXIF_TAGS["original"]] = f"{date} 10:15:00"
    comment = ", ".join((person.number, person.other_number, person.phone, person.street))
    details[_EXIF_TAGS["comment"]] = b"ASCII\0\0\0" + comment.encode()
    details[_EXIF_TAGS["owner"]] = clinic.referrer
    details[_EXIF_TAGS["serial"]] = clinic.serial
    gps = exif.get_ifd(_GPS_IFD)
    gps.update({1: "N", 2: (48.0, 12.0, 30.5), 3: "E", 4: (16.0, 22.0, 11.25), 0x1D: date})
    gps[0x1C] = b"ASCII\0\0\0" + place.encode()
    data: bytes = exif.tobytes()
    return data


def _stem(person: Person) -> str:
    return f"{person.surname}_{person.given}_{person.number}"
