"""Copy of a case: its image and label map, checked against each other and written clean under a pseudonym."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from medseg.data.cases import first_non_finite
from medseg.data.coco_volume import COCO_VOLUME_ENDING
from medseg.data.files import atomic_write, sha256_of
from medseg.data.label_source import LabelSource
from medseg.data.manifest import images_sha256
from medseg.data.nifti import save_nifti
from medseg.data.pictures import orientation_of, require_same_size, save_png
from medseg.data.readers import PICTURE_ENDINGS, read_label, read_volume
from medseg.data.reading import NO_SPACING
from medseg.data.recognise import Source
from medseg.data.volume import Geometry, Volume
from medseg.errors import DataError, GeometryError, LabelError, ReadError
from medseg.privacy.jpeg import strip_jpeg
from medseg.types import LabelMap, Spacing

__all__ = ["Copied", "Done", "copy_case"]

_EQUAL_MM: Final = 1e-3
_SIDEWAYS: Final = (5, 6, 7, 8)
"""EXIF orientations that swap columns and rows."""


@dataclass(frozen=True)
class Copied:
    """What was written of a case. File names are relative to the output folder.

    Attributes:
        images: Channel to file; one file that holds all channels stands under ``image``.
        label: File of the label map, or None.
        channels: Names of the image's channels.
        axes: Spatial axes, 2 or 3; 2 of a single slice, also where it is written as a volume of one.
        modality: As in a manifest.
        spacing: Voxel size in mm, or None for pictures of unknown size.
        sha256: Of the images.
        label_sha256: Of the label map.
        values: Label values found, without 0.
        repaired: Whether the label map's grid was set to the image's.
        notes: What the readers did to the values.
        readers: Annotator to the file of their label map, where several drew the image.
    """

    images: dict[str, str]
    label: str | None
    channels: tuple[str, ...]
    axes: int
    modality: str
    spacing: Spacing | None
    sha256: str
    label_sha256: str
    values: tuple[int, ...]
    repaired: bool
    notes: tuple[str, ...]
    readers: dict[str, str] = field(default_factory=dict)

    @property
    def is_labelled(self) -> bool:
        """Whether it has a label map, or several annotators'."""
        return bool(self.label or self.readers)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that was written."""
        return (*self.images.values(), *([self.label] if self.label else []), *self.readers.values())


@dataclass(frozen=True)
class Done:
    """A case that is finished: copied, or refused with the reason."""

    case: str
    patient: str
    digest: str
    copied: Copied | None
    refused: str = ""

    def refused_for(self, reason: str) -> Done:
        """The same case, refused."""
        return replace(self, copied=None, refused=reason)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Done:
        """The opposite of `to_json`.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of another kind.
        """
        copied = facts["copied"]
        if copied is not None:
            lists = {name: tuple(copied[name]) for name in ("channels", "values", "notes")}
            spacing = None if copied["spacing"] is None else tuple(copied["spacing"])
            copied = Copied(**{**copied, **lists, "spacing": spacing})  # `readers` is absent in older notes.
        return cls(facts["case"], facts["patient"], facts["digest"], copied, facts["refused"])


def copy_case(source: Source, case: str, out: Path, *, patient: str, labels: frozenset[int], digest: str) -> Done:
    """Read, check and write one case; a refusal is a result, not an exception.

    Args:
        source: The files.
        case: Pseudonym of the case; the copies are named by it.
        out: Folder of the import.
        patient: Pseudonym of the patient.
        labels: Label values that may occur; empty for any from 1 to 255.
        digest: What knows the source again.

    Raises:
        OSError: The copies can't be written.
    """
    if source.problem:
        return Done(case, patient, digest, None, source.problem)
    try:
        volume = _read_image(source)
        drawn = [_read_label(one, source, volume, labels) for one in source.label_maps]
        jpeg = _clean_jpeg(source)
    except DataError as error:
        return Done(case, patient, digest, None, str(error))
    except MemoryError:
        return Done(case, patient, digest, None, "the image needs more memory than this machine has left")
    flat = jpeg is not None or _fits_png(volume)
    label_name = (
        None if source.label is None else _write_label(drawn[0].label, volume, f"labels/{case}", out, flat=flat)
    )
    readers = {} if source.label is not None else {
        name: _write_label(one.label, volume, f"readers/{name}/{case}", out, flat=flat)
        for name, one in zip(sorted(source.readers), drawn, strict=True)
    }  # fmt: skip
    images = _write_images(volume, jpeg, case, out)
    has_size = _picture_path(source) is None and NO_SPACING not in volume.notes
    grid = volume.geometry if flat else Geometry((*volume.shape, 1)[:3], volume.affine)
    notes = dict.fromkeys((*volume.notes, *(note for one in drawn for note in one.notes)))
    copied = Copied(
        images=images,
        label=label_name,
        channels=volume.channels,
        axes=len(volume.shape),
        modality=source.modality if source.modality != "OTHER" else volume.modality,
        spacing=tuple(round(value, 6) for value in grid.spacing) if has_size else None,
        sha256=images_sha256({channel: out / name for channel, name in images.items()}),
        label_sha256=sha256_of(out / label_name) if label_name else "",
        values=tuple(sorted({value for one in drawn for value in one.values})),
        repaired=any(one.repaired for one in drawn),
        notes=tuple(notes),
        readers=readers,
    )
    return Done(case, patient, digest, copied)


def _read_image(source: Source) -> Volume:
    if source.series is not None:
        from medseg.data.dicom import read_sorted_series

        volume = read_sorted_series(source.series)
        if first_non_finite(volume.array) is not None:
            raise ReadError("the image holds NaN or infinity; expected numbers everywhere")
        return volume
    volumes = {channel: read_volume(path) for channel, path in source.images.items()}
    first = next(iter(volumes.values()))
    if len(volumes) == 1:
        return first
    for volume in volumes.values():
        if len(volume.channels) != 1:
            raise GeometryError("expected one channel in each file of an image with several files; found more")
        if not first.geometry.is_on_grid_of(volume.geometry):
            raise GeometryError(
                f"two channels lie on different grids: {first.geometry.describe()} and {volume.geometry.describe()}"
            )
    return Volume(
        array=np.concatenate([volume.array for volume in volumes.values()]),
        affine=first.affine,
        channels=tuple(volumes),
        modality=first.modality,
        notes=tuple(dict.fromkeys(note for volume in volumes.values() for note in volume.notes)),
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A label map on the image's grid: whether its own grid had to be set to that, what its reader did, its values."""

    label: LabelMap
    repaired: bool
    notes: tuple[str, ...]
    values: tuple[int, ...]


def _read_label(label_map: Path | LabelSource, source: Source, volume: Volume, labels: frozenset[int]) -> _Drawn:
    if isinstance(label_map, LabelSource):
        label, notes = label_map.read(volume.geometry)
        repaired = False
        _require_upright(source, volume.geometry)
    else:
        notes = ()
        label, grid = read_label(label_map)
        if label.ndim == 3 and len(volume.shape) == 2 and label.shape[2] == 1:
            label, grid = label[..., 0], Geometry(label.shape[:2], grid.affine)
        repaired = _require_same_grid(label_map, source, volume, grid)
    ignore = label_map.ignore if isinstance(label_map, LabelSource) else None
    found = [int(value) for value in np.unique(label) if value not in (0, ignore)]
    unknown = [value for value in found if value > 255 or (labels and value not in labels)]
    if unknown:
        expected = ", ".join(str(value) for value in sorted(labels)) if labels else "values from 1 to 255"
        listed = ", ".join(str(value) for value in unknown[:5])
        raise LabelError(
            f"the label map holds {listed}; expected 0 and {expected}. Correct it, or name it with --label"
        )
    return _Drawn(label, repaired, notes, tuple(found))


def _require_same_grid(label: Path, source: Source, volume: Volume, grid: Geometry) -> bool:
    own = volume.geometry
    picture_label = label.name.lower().endswith(PICTURE_ENDINGS)
    picture_label |= label.name.lower().endswith(COCO_VOLUME_ENDING) and len(grid.shape) == 2
    if picture_label or _picture_path(source) is not None:
        require_same_size(own.shape, grid.shape)
        _require_upright(source, own)
        return False
    if not own.is_on_grid_of(grid):
        raise GeometryError(
            f"image and label map lie on different grids: the image has {own.describe()}; the label map has "
            f"{grid.describe()}. Resample the label map onto the image"
        )
    return own.corner_distance(grid) > _EQUAL_MM


def _require_upright(source: Source, own: Geometry) -> None:
    """A label map says whether it was drawn on the stored or on the turned picture only where their shapes differ."""
    path = _picture_path(source)
    if path is None:
        return
    orientation = orientation_of(path)
    if orientation == 1 or (orientation in _SIDEWAYS and own.shape[0] != own.shape[1]):
        return
    raise GeometryError(
        "the picture's EXIF orientation says that it is shown turned or mirrored, and the label map's size can't tell "
        "on which of the two it was drawn; save the picture upright without that tag, and check the label map"
    )


def _picture_path(source: Source) -> Path | None:
    path = source.images.get("image") if len(source.images) == 1 else None
    return path if path is not None and path.name.lower().endswith(PICTURE_ENDINGS) else None


def _write_label(label: LabelMap, volume: Volume, name: str, out: Path, *, flat: bool) -> str:
    """Write a label map in the form of its image: PNG where that is `flat`, else NIfTI, also of a single slice."""
    values = label.astype(np.uint8)
    if flat:
        save_png(values, out / f"{name}.png")
        return f"{name}.png"
    save_nifti(values[..., np.newaxis] if values.ndim == 2 else values, volume.affine, out / f"{name}.nii.gz")
    return f"{name}.nii.gz"


def _write_images(volume: Volume, jpeg: bytes | None, case: str, out: Path) -> dict[str, str]:
    folder = out / "images"
    if jpeg is not None:
        with atomic_write(folder / f"{case}.jpg") as stream:
            stream.write(jpeg)
        return {"image": f"images/{case}.jpg"}
    channels = len(volume.channels)
    if _fits_png(volume):
        save_png(volume.array, folder / f"{case}.png")
        return {"image": f"images/{case}.png"}
    names = {}
    for number, channel in enumerate(volume.channels):
        suffix = f"_{number:04d}" if channels > 1 else ""
        plane = volume.array[number]
        voxels = plane[..., np.newaxis] if plane.ndim == 2 else plane
        save_nifti(voxels, volume.affine, folder / f"{case}{suffix}.nii.gz")
        names[channel if channels > 1 else "image"] = f"images/{case}{suffix}.nii.gz"
    return names


def _fits_png(volume: Volume) -> bool:
    kind = volume.array.dtype
    return (
        len(volume.shape) == 2
        and len(volume.channels) in (1, 3)
        and (kind == np.uint8 or (kind == np.uint16 and len(volume.channels) == 1))
    )


def _clean_jpeg(source: Source) -> bytes | None:
    """The picture's own compressed bytes without any metadata, where they are a JPEG in grey or three colours.

    Not even the EXIF orientation stays: the label map fits the pixels as they are stored.
    """
    from PIL import Image

    path = _picture_path(source)
    if path is None:
        return None
    with Image.open(path) as image:
        if image.format not in ("JPEG", "MPO") or image.mode not in ("L", "RGB"):
            return None
    try:
        return strip_jpeg(path.read_bytes()).data
    except ReadError:
        return None  # An exotic stream that Pillow decodes: written as PNG instead.
