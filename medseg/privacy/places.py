"""Places: where a clean file goes; made of pseudonyms and of words that say what a file is, never whose."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.vocabulary import ROLE_WORDS

__all__ = ["Places", "folders_of_persons", "name_identities", "split_name"]

_SUFFIXES = (
    ".dcm",
    ".nii.gz",
    ".nii",
    ".nrrd",
    ".mha",
    ".jpg",
    ".jpeg",
    ".png",
    ".tif",
    ".tiff",
    ".bmp",
    ".webp",
    ".csv",
    ".tsv",
    ".json",
)
_SPLIT = re.compile(r"([_\-. ]+)")
_RUNNING = re.compile(r"\d{1,6}|\d{1,3}[-_. ]\d{1,3}")
_OTHER_SUFFIX = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,4}\Z")


def split_name(name: str) -> tuple[str, str, str]:
    """Stem without role words at its end, the role words (joined by ``_``), and the lower-case suffix.

    Example:
        >>> split_name("ISIC_0000001_segmentation.png")
        ('ISIC_0000001', 'segmentation', '.png')
        >>> split_name("PET_mask.nii.gz")
        ('', 'pet_mask', '.nii.gz')
    """
    lower = name.lower()
    suffix = next((s for s in _SUFFIXES if lower.endswith(s)), "")
    stem = name[: len(name) - len(suffix)] if suffix else name
    parts = _SPLIT.split(stem)
    words = parts[::2]
    roles: list[str] = []
    while words and (not words[-1] or words[-1].lower() in ROLE_WORDS):
        roles.insert(0, words.pop().lower())
    base = "".join(parts[: 2 * len(words) - 1]) if words else ""
    return base, "_".join(role for role in roles if role), suffix


def folders_of_persons(relative: str) -> list[str]:
    """The folders of a file that aren't a word like ``images``: the first may be a patient's."""
    return [folder for folder in PurePosixPath(relative).parts[:-1] if not _is_role(folder)]


def name_identities(files: Iterable[str]) -> set[str]:
    """Folder names and file stems of a source that aren't made of role words or running numbers alone.

    A number of up to six digits counts, as do two (``53-155``); three may be a date.

    Args:
        files: Paths in the source.
    """
    names: set[str] = set()
    for name in files:
        *folders, last = name.split("/")
        stems = (part for part in (*folders, split_name(last)[0]) if not _RUNNING.fullmatch(part))
        names.update(part for part in stems if split_name(part)[0])
    return names


class Places:
    """Knows where each DICOM series went and finds the place of the files beside them.

    Args:
        pseudonyms: Gives the pseudonyms.
    """

    def __init__(self, pseudonyms: Pseudonymiser) -> None:
        self._pseudonyms = pseudonyms
        self._studies: dict[str, set[str]] = {}
        self._series: dict[str, str] = {}
        self._folder_names: dict[str, set[str]] = {}

    def add_dicom(self, relative: str, place: str) -> None:
        """Take up that a DICOM file at `relative` of the source went to `place`, P…/T…/S…/I….dcm."""
        study = "/".join(place.split("/")[:2])
        self._series[place.split("/")[2]] = study
        for folder in PurePosixPath(relative).parents:
            self._studies.setdefault(str(folder), set()).add(study)
            self._folder_names.setdefault(folder.name, set()).add(study)

    def of(self, relative: str, suffix: str, *, patient: str = "") -> str:
        """Output path of a file that isn't DICOM.

        Beside a DICOM series it goes into the folder of its study (of its patient, where there are several studies).
        Otherwise the patient is the first folder that isn't a word like ``images``, or the file's own stem.

        Args:
            relative: Its path in the source.
            suffix: What the copy's name ends in.
            patient: Whose it is, where a table says so; goes before all else.
        """
        path = PurePosixPath(relative)
        base, roles, named = split_name(path.name)
        if not named and (other := _OTHER_SUFFIX.search(path.name)):
            base, roles, _ = split_name(path.name[: other.start()] + suffix)
        home = None if patient else self._home(path, base)
        if home is not None:
            name = roles if not base else "_".join(filter(None, (self._pseudonyms.case(base), roles)))
            return f"{home}/{name}{suffix}"
        folders = folders_of_persons(relative)
        patient, *inner = (patient, *folders) if patient else folders or [base or path.stem]
        home = "/".join((self._pseudonyms.patient(patient), *(self._pseudonyms.folder("F", f) for f in inner)))
        if not base and folders:
            return f"{home}/{roles}{suffix}"
        roles = roles or _role_of_folders(path.parts[:-1])
        name = "_".join(filter(None, (self._pseudonyms.case(f"{patient}|{base}"), roles)))
        return f"{home}/{name}{suffix}"

    def table(self, relative: str) -> str:
        """Output path, without suffix, of a table: its own name if that is made of role words, else a pseudonym."""
        base, roles, _ = split_name(PurePosixPath(relative).name)
        if not base:
            return roles
        return "_".join(filter(None, (self._pseudonyms.folder("T", relative), roles)))

    def another(self, place: str, relative: str) -> str:
        """A second choice where two files of one name meet."""
        path = PurePosixPath(place)
        _, _, suffix = split_name(path.name)
        stem = path.name[: len(path.name) - len(suffix)]
        return f"{path.parent}/{stem}_{self._pseudonyms.folder('N', relative)}{suffix}"

    def _home(self, path: PurePosixPath, base: str) -> str | None:
        by_uid = self._series.get(self._pseudonyms.name("series", base, "S")) if base else None
        if by_uid is not None:
            return by_uid
        by_name = self._folder_names.get(base) if base else None
        if by_name is not None and (home := _common(by_name)) is not None:
            return home
        for folder in path.parents:
            home = _common(self._studies.get(str(folder), ()))
            if home is not None:
                return home
        return None


def _common(studies: Iterable[str]) -> str | None:
    """The one study, else the one patient that all of them belong to, else None."""
    found = sorted(studies)
    if len(found) == 1:
        return found[0]
    patients = {study.split("/")[0] for study in found}
    return patients.pop() if len(patients) == 1 else None


def _is_role(folder: str) -> bool:
    return all(word.lower() in ROLE_WORDS for word in re.split(r"[_\-. ]+", folder) if word)


def _role_of_folders(folders: Iterable[str]) -> str:
    """``mask`` for a file in a folder called masks, labels or the like, so that it differs from its image."""
    words = {word.lower() for folder in folders if _is_role(folder) for word in re.split(r"[_\-. ]+", folder)}
    marks = words & {"mask", "masks", "label", "labels", "labelstr", "segmentation", "seg", "segs", "annotations"}
    return "mask" if marks else ""
