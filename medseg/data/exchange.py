"""Exchange: what all conversions to and from other tools share.

Every data set that leaves has ``medseg.json`` beside it: what the other format cannot hold (patients, sites,
covariates, codes), so that the way back restores the manifest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from medseg.data import json_files
from medseg.data.label_source import LabelSource
from medseg.data.split import Folds
from medseg.errors import ManifestError, ReadError, RequestError
from medseg.privacy.bare import bare_file
from medseg.privacy.known import let_out
from medseg.privacy.unfinished import held_folder
from medseg.types import Affine, Array

__all__ = [
    "ForeignCase",
    "Format",
    "copy_bare",
    "file_inside",
    "first_repeat",
    "new_folder",
    "parse_format",
    "read_json",
    "write_image",
    "write_json",
    "write_text",
]

Format = Literal["nnunet", "msd", "monai", "bids", "coco"]


@dataclass(frozen=True)
class ForeignCase:
    """A case as it lies in another tool's data set.

    Attributes:
        case: Its name there.
        images: In the order of the channels.
        label: The label map, or what makes it; None when there is none.
        fold: Fold that holds it out; None when none is told.
        patient: Its patient; empty when the format tells none.
    """

    case: str
    images: tuple[Path, ...]
    label: Path | LabelSource | None
    fold: int | None = None
    patient: str = ""


def parse_format(text: str) -> Format:
    """The format of this name.

    Raises:
        RequestError: There is no such format.
    """
    formats: tuple[Format, ...] = get_args(Format)
    for name in formats:
        if text == name:
            return name
    raise RequestError(f"expected a format of {', '.join(formats)}; found {text!r}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and disappears otherwise.

    Raises:
        RequestError: `path` is there already and isn't an empty folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RequestError("the output folder is not empty; nothing was written, choose a new one")
    with held_folder(path) as temporary:  # Held, so that no other writer takes it for left behind.
        yield temporary
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)


def write_image(array: Array, affine: Affine, target: Path) -> None:
    """Write axes (x, y[, z][, channel]) as PNG or NIfTI, with a header that holds the geometry and nothing else."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        from PIL import Image

        if array.dtype not in (np.uint8, np.uint16):
            raise RequestError("expected pictures of 8 or 16 bits, found another depth; PNG cannot hold it")
        Image.fromarray(np.ascontiguousarray(np.swapaxes(array, 0, 1))).save(target)
        return
    import nibabel

    if array.dtype not in (np.uint8, np.int16, np.int32, np.uint16, np.float32):
        array = array.astype(np.float32)  # As an import writes them; integers of 32 bits would wrap around.
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, target)


def copy_bare(path: Path, target: Path) -> Path:
    """Copy a picture or volume of a data set: its pixels and geometry, and nothing else that its file holds.

    Args:
        path: The file.
        target: Where to write; its ending is that of `path`.

    Returns:
        `target`.

    Raises:
        ReadError: The file is damaged, or of a kind that can't be written without what else it holds.
    """
    name = path.name.lower()
    ending = ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(bare_file(path.read_bytes(), ending, acknowledge_faces=True))
    return target


def file_inside(root: Path, text: str, *, place: str) -> Path:
    """A file that a data set names, relative to its folder.

    Raises:
        ManifestError: It lies outside, or is missing; names `place`.
    """
    path = (root / text).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ManifestError(f"{place}: expected a path inside the data set's folder")
    if not path.exists():
        raise ManifestError(f"{place}: the file is missing")
    return path


def first_repeat(folds: Folds) -> dict[str, int]:
    """Case to the fold that holds it out, in the first drawing; none for a holdout split."""
    if folds.kind == "holdout":
        return {}
    return {case: split.fold for split in folds.splits if split.repeat == 0 for case in split.test}


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        ManifestError: It is missing, no JSON, or no object.
    """
    try:
        content = json_files.read_json(path)
    except json_files.JsonTooLargeError as error:
        raise ManifestError(f"the JSON of the data set: {error}") from None
    except ReadError:
        wrong = "is not valid JSON" if path.exists() else "is missing; give the folder that holds it"
        raise ManifestError(f"the JSON of the data set {wrong}") from None
    if not isinstance(content, dict):
        raise ManifestError("the JSON of the data set: expected an object")
    return content


def write_json(path: Path, content: object) -> None:
    """Write a JSON that people can read."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text that holds no known identity, nor has one in its name.

    Raises:
        PrivacyError: As `medseg.privacy.known.let_out`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(let_out(text, name=path.name), encoding="utf-8")
