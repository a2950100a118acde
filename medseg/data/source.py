"""Input: one image to predict, whatever it was found in; known by its case or a number, not by its file's name."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from medseg.data.cases import read_case_image
from medseg.data.dicom_header import looks_like_dicom
from medseg.data.dicom_sort import SeriesFiles, sort_series
from medseg.data.label_stack import is_stack
from medseg.data.manifest import Case, read_manifest
from medseg.data.readers import PICTURE_ENDINGS, VOLUME_ENDINGS, read_volume, series_files
from medseg.data.reading import DEFAULT_READING, Reading
from medseg.data.recognise import modality_of, split_masks, words_of
from medseg.data.refusal import Refusal, most_frequent
from medseg.data.volume import Volume
from medseg.errors import ManifestError, ReadError
from medseg.privacy.outcomes import DEIDENTIFIED_MARK, OWN_FILES

__all__ = ["Input", "find_inputs"]

_BETWEEN_SERIES: Final = (
    "it lies between DICOM series, which are what is predicted here; to predict it too, give the file itself"
)
_DETACHED: Final = (".mhd", ".nhdr")
"""Headers whose voxels may lie in another file of the same stem."""
_VOXELS: Final = (".raw", ".zraw", ".raw.gz")
_DOCUMENTS: Final = frozenset(
    (".txt", ".md", ".rst", ".yaml", ".yml", ".json", ".xml", ".csv", ".tsv", ".pdf", ".html", ".log", ".bval", ".bvec",
     ".ini", ".db")
)  # fmt: skip
_DOCUMENT_NAMES: Final = frozenset(("README", "LICENSE", "LICENCE", "CHANGES", "CHANGELOG", "CITATION", "DICOMDIR"))


@dataclass(frozen=True, eq=False)
class Input:
    """One image to predict.

    Attributes:
        name: Name of the outputs, without ending.
        read: Reads the image.
        series: Its files where it is a DICOM series.
        picture: Name of its file where it is a picture, for a file of annotations: like `name`, or where names are kept
            its path below the manifest's folder or the given one; empty for other images.
        find_series: Finds them where that has to read headers first (a manifest's case that is a DICOM folder).
        modality: CT, MR, PT, DERMOSCOPY, or OTHER where nothing says it.
    """

    name: str
    read: Callable[[], Volume] = field(repr=False)
    series: tuple[Path, ...] = field(default=(), repr=False)
    picture: str = ""
    find_series: Callable[[], tuple[Path, ...]] | None = field(default=None, repr=False)
    modality: str = "OTHER"

    def instances(self) -> tuple[Path, ...]:
        """Its files where it is a DICOM series, which results can refer to; else none.

        Raises:
            ReadError: The folder of a manifest's case holds no series, or several.
        """
        return self.series if self.series or self.find_series is None else self.find_series()


def find_inputs(
    source: Path, *, keep_names: bool = False, reading: Reading = DEFAULT_READING, modality: str = "OTHER"
) -> tuple[list[Input], list[Refusal]]:
    """Find the images of a manifest, a file, a folder or a DICOM tree.

    A manifest's images bear their cases' names. Others are numbered in the order of their paths (``image_0001``), since
    a file's name may identify; with `keep_names` they keep their stems. In a folder that `medseg deidentify` wrote,
    names are pseudonyms already and are kept: a series is named by patient and series. Series of another modality than
    the model's are refused where there are some of it, as are files whose names say that, or that they are label maps.
    Every other file of a folder is predicted or refused by its number too; only hidden files and documents are passed
    over (texts, tables, a README).

    Args:
        source: What to predict.
        keep_names: Keep the files' stems.
        reading: Which SUV a DICOM PET becomes, and what becomes of an irregular stack.
        modality: What the model was trained on (``PT``, ``CT`` ...), or ``OTHER`` where it is not known.

    Raises:
        ReadError: Nothing is there, or nothing of a known format.
        ManifestError: The manifest is wrong, or two files would have the same name.
    """
    if source.suffix == ".csv":
        manifest = read_manifest(source)
        channels = manifest.card.channels
        return [_case_input(case, channels, manifest.path.parent) for case in manifest.cases], []
    if source.is_file():
        name = _stem(source) if keep_names else "image_0001"
        series = (source,) if _ending(source) == "" else ()
        picture = _picture(source, source.parent if keep_names else None, name)
        return [Input(name, lambda: _read_file(source, series, reading), series, picture)], []
    if not source.is_dir():
        raise ReadError("expected a manifest, an image, a folder or a DICOM tree to predict; found nothing there")
    keep_names = keep_names or (source / DEIDENTIFIED_MARK).exists()
    inputs, refusals = _folder_inputs(source, keep_names=keep_names, reading=reading, modality=modality)
    names = [entry.name for entry in inputs]
    if len(set(names)) != len(names):
        raise ManifestError(
            "two inputs would write the same output name; leave out --keep-names, or predict a manifest"
        )
    return inputs, refusals


def _folder_inputs(
    source: Path, *, keep_names: bool, reading: Reading, modality: str
) -> tuple[list[Input], list[Refusal]]:
    """The series of a folder or, where it has none that can be read, its files; and everything else, refused.

    Raises:
        ReadError: No image is there, or none that can be predicted.
    """
    paths = _paths_below(source)
    numbers = {path: f"file {number} of {len(paths)}" for number, path in enumerate(paths, start=1)}
    files = [path for path in paths if _ending(path) and not path.is_symlink()]
    dicom = [path for path in paths if _is_dicom(path)]
    series, refusals = sort_series(dicom, names=[numbers[path] for path in dicom])
    known = {*files, *dicom}
    refusals += [Refusal(numbers[path], _why_no_image(path)) for path in paths if path not in known]
    inputs, others = _series_inputs(source, series, keep_names=keep_names, reading=reading, modality=modality)
    if inputs:
        others += [Refusal(numbers[path], _BETWEEN_SERIES) for path in files]
    else:
        inputs, others = _file_inputs(files, numbers, root=source if keep_names else None, modality=modality)
    refusals += others
    if not inputs and refusals:
        raise ReadError(f"none of the {len(paths)} files can be predicted:{most_frequent(refusals)}")
    if not inputs:
        raise ReadError("the folder holds no image of a known format (NIfTI, NRRD, MHA, JPEG, PNG, TIFF, DICOM)")
    return inputs, refusals


def _case_input(case: Case, channels: Sequence[str], root: Path) -> Input:
    """A manifest's case; of several channels the first that is a DICOM series is what results refer to."""
    picture = _picture(next(iter(case.images.values())), root, case.case)
    dicom = next((path for path in case.images.values() if path.is_dir() or not _ending(path)), None)
    finder = None if dicom is None else functools.partial(series_files, dicom)
    read = functools.partial(read_case_image, case, channels=channels)
    return Input(case.case, read, picture=picture, find_series=finder, modality=case.modality)


def _read_file(path: Path, series: tuple[Path, ...], reading: Reading) -> Volume:
    if not series:
        return read_volume(path)
    from medseg.data.dicom import read_series

    return read_series(series, reading=reading)


def _file_inputs(
    files: list[Path], numbers: Mapping[Path, str], *, root: Path | None, modality: str
) -> tuple[list[Input], list[Refusal]]:
    """The files whose names say neither label map nor another modality; those others, refused by number.

    `root` is the folder where names are kept.
    """
    images = set(split_masks(files)[0])
    if modality != "OTHER" and any(modality_of(words_of(path)) == modality for path in images):
        images = {path for path in images if modality_of(words_of(path)) in (modality, "OTHER")}
    reason = "by its name a label map or an image of another modality; to predict it too, give the file itself"
    refusals = [Refusal(numbers[path], reason) for path in files if path not in images]
    kept = [path for path in files if path in images]
    return [_file_input(path, number, root) for number, path in enumerate(kept)], refusals


def _file_input(path: Path, number: int, root: Path | None) -> Input:
    """A file of a folder; `root` is the folder where names are kept."""
    name = f"image_{number + 1:04d}" if root is None else _stem(path)
    return Input(name, lambda: read_volume(path), picture=_picture(path, root, name))


def _picture(path: Path, root: Path | None, name: str) -> str:
    """What `Input.picture` is for a file: its path below `root`, or without one its name in the outputs."""
    ending = _ending(path)
    if ending not in PICTURE_ENDINGS:
        return ""
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return f"{name}{ending}"


def _series_inputs(
    source: Path, series: Sequence[SeriesFiles], *, keep_names: bool, reading: Reading, modality: str
) -> tuple[list[Input], list[Refusal]]:
    """DICOM series of a tree. Where some are of the model's modality, those of another are refused by number."""
    from medseg.data.dicom import read_sorted_series
    from medseg.data.dicom_tree import series_modality

    inputs: list[Input] = []
    refusals: list[Refusal] = []
    told = [series_modality(entry) for entry in series]
    for number, entry in enumerate(replace(one, reading=reading) for one in series):
        if modality != "OTHER" and modality in told and told[number] not in (modality, "OTHER"):
            reason = f"an image of another modality ({told[number]}) than the model's; to predict it too, give it alone"
            refusals.append(Refusal(f"series {number + 1} of {len(series)}", reason))
            continue
        folder = entry.files[0].parent
        # A de-identified tree is patient/study/series: patient and series together name the image.
        parts = folder.relative_to(source).parts
        name = _safe("_".join(dict.fromkeys((parts[0], parts[-1], entry.part)))) if keep_names and parts else ""
        name = name or f"image_{len(inputs) + 1:04d}"
        read = functools.partial(read_sorted_series, entry)
        inputs.append(Input(name, read, entry.files, modality=told[number]))
    return inputs, refusals


def _paths_below(source: Path) -> list[Path]:
    """Everything below a folder that may be meant as an image, in order, with links and folders that can't be opened.

    Left out are hidden files, the directory of a medium, documents, what `medseg deidentify` adds, the voxels of a
    header that lies beside them, and label stacks.
    """
    closed: list[OSError] = []
    found: list[Path] = []
    for folder, folders, names in os.walk(source, onerror=closed.append):
        kept = [Path(folder, name) for name in names if not name.startswith(".")]
        parts = {f"{path.stem}{end}" for path in kept if path.suffix.lower() in _DETACHED for end in _VOXELS}
        found += [path for path in kept if not _is_no_input(path) and path.name not in parts]
        folders[:] = [name for name in folders if not name.startswith(".") and not is_stack(Path(folder, name))]
        found += [path for name in folders if (path := Path(folder, name)).is_symlink()]
    return sorted([*found, *(Path(error.filename) for error in closed)])


def _is_no_input(path: Path) -> bool:
    """Whether a name says document, directory of a medium, or a file that `deidentify` adds."""
    return path.suffix.lower() in _DOCUMENTS or path.name.upper() in _DOCUMENT_NAMES or path.name in OWN_FILES


def _is_dicom(path: Path) -> bool:
    """Whether the marks or the ending of a file say DICOM, so that it is read as such, or refused for its damage."""
    if _ending(path) or path.is_symlink() or not path.is_file():
        return False
    return path.suffix.lower() in (".dcm", ".ima") or looks_like_dicom(path)


def _why_no_image(path: Path) -> str:
    if path.is_symlink():
        return "a link, and links are not followed; give the folder that it leads to, or copy the file"
    if path.is_dir():
        return "a folder that cannot be opened; ask its owner for the right to read it"
    if not os.access(path, os.R_OK):
        return "a file that cannot be read; ask its owner for the right to"
    return "no image of a known format (NIfTI, NRRD, MHA, JPEG, PNG, TIFF, DICOM), by its ending and its first bytes"


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in (*VOLUME_ENDINGS, *PICTURE_ENDINGS) if name.endswith(ending)), "")


def _stem(path: Path) -> str:
    return _safe(path.name[: len(path.name) - len(_ending(path))]) or "image"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).strip("._")[:100]
