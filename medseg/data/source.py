"""Input: one image to predict, whatever it was found in; known by its case or a number, not by its file's name."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.data.cases import read_case_image
from medseg.data.manifest import Case, read_manifest
from medseg.data.readers import PICTURE_ENDINGS, VOLUME_ENDINGS, read_volume, series_files
from medseg.data.reading import DEFAULT_READING, Reading
from medseg.data.recognise import modality_of, split_masks, words_of
from medseg.data.refusal import Refusal
from medseg.data.volume import Volume
from medseg.errors import ManifestError, ReadError
from medseg.privacy.outcomes import OWN_FILES

__all__ = ["Input", "find_inputs"]

_DEIDENTIFIED_MARK = "medseg-deidentified.json"


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
    files = sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink() and _ending(p))
    pseudonymous = (source / _DEIDENTIFIED_MARK).exists()
    inputs, refusals = _series_inputs(
        source, keep_names=keep_names or pseudonymous, has_files=bool(files), reading=reading, modality=modality
    )
    if not inputs:
        files, refusals = _images_of(files, modality)
        root = source if keep_names or pseudonymous else None
        inputs = [_file_input(path, number, root) for number, path in enumerate(files)]
    if not inputs:
        raise ReadError("the folder holds no image of a known format (NIfTI, NRRD, MHA, JPEG, PNG, TIFF, DICOM)")
    names = [entry.name for entry in inputs]
    if len(set(names)) != len(names):
        raise ManifestError(
            "two inputs would write the same output name; leave out --keep-names, or predict a manifest"
        )
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


def _images_of(files: list[Path], modality: str) -> tuple[list[Path], list[Refusal]]:
    """The files whose names say neither label map nor another modality; those others, refused by number."""
    images = set(split_masks(files)[0])
    if modality != "OTHER" and any(modality_of(words_of(path)) == modality for path in images):
        images = {path for path in images if modality_of(words_of(path)) in (modality, "OTHER")}
    reason = "by its name a label map or an image of another modality; to predict it too, give the file itself"
    refusals = [
        Refusal(input=f"file {number} of {len(files)}", reason=reason)
        for number, path in enumerate(files, start=1)
        if path not in images
    ]
    return [path for path in files if path in images], refusals


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
    source: Path, *, keep_names: bool, has_files: bool, reading: Reading, modality: str
) -> tuple[list[Input], list[Refusal]]:
    """DICOM series of a tree; masks and other files that lie between them are no inputs.

    Where some series are of the model's modality, those of another are refused by number.
    """
    from medseg.data.dicom import read_sorted_series, sort_series
    from medseg.data.dicom_tree import series_modality

    if has_files and not _looks_like_dicom(source):
        return [], []
    series, refusals = sort_series([path for path in sorted(source.rglob("*")) if _may_be_image(path)])
    inputs: list[Input] = []
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


def _may_be_image(path: Path) -> bool:
    """Whether a file isn't hidden, no link, no directory of a medium, and none of those that `deidentify` adds."""
    told = path.name.startswith(".") or path.name.upper() == "DICOMDIR" or path.name in OWN_FILES
    return path.is_file() and not path.is_symlink() and not told


def _looks_like_dicom(source: Path) -> bool:
    """Whether some file of the tree has DICOM's prefix, or an ending that says so."""
    for path in source.rglob("*"):
        if path.is_file() and not _ending(path):
            if path.suffix.lower() in (".dcm", ".ima"):
                return True
            with path.open("rb") as stream:
                if stream.read(132)[128:] == b"DICM":
                    return True
    return False


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in (*VOLUME_ENDINGS, *PICTURE_ENDINGS) if name.endswith(ending)), "")


def _stem(path: Path) -> str:
    return _safe(path.name[: len(path.name) - len(_ending(path))]) or "image"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).strip("._")[:100]
