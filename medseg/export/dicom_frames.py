"""Source frames: the frames of a series that a prediction lies on, one a slice, and objects written on them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medseg.data.files import atomic_write
from medseg.errors import DataError, GeometryError
from medseg.export.dicom_planes import Plane, frames_of, planes_of, slices_of
from medseg.export.dicom_source import add_missing, read_sources, require_deidentified
from medseg.types import Affine, Array, Shape

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SourceFrames", "placed_on", "read_source_frames", "require_world", "save_dicom"]


@dataclass(frozen=True, eq=False)
class SourceFrames:
    """The frames of a series that a prediction lies on.

    Attributes:
        datasets: Its instances, without pixels.
        planes: Of every frame, in the order of the instances or of the multi-frame image.
        chosen: Those that the prediction lies on, one a slice.
        affine: 4 x 4, the prediction's index to world, RAS+, mm.
    """

    datasets: tuple[Dataset, ...] = field(repr=False)
    planes: tuple[Plane, ...]
    chosen: tuple[int, ...]
    affine: Affine

    @property
    def is_multiframe(self) -> bool:
        """Whether it is one instance with functional groups."""
        return "PerFrameFunctionalGroupsSequence" in self.datasets[0]

    @property
    def is_placed(self) -> bool:
        """Whether its frames have positions in the patient."""
        return self.is_multiframe or "ImagePositionPatient" in self.datasets[0]

    @property
    def is_whole(self) -> bool:
        """Whether the prediction lies on every frame."""
        return len(self.chosen) == len(self.planes)

    def sample(self, values: Array) -> Array:
        """An array on the prediction's grid at the chosen frames' pixels, axes (frame, row, column); as `frames_of`."""
        return frames_of(values, self.affine, [self.planes[number] for number in self.chosen])

    def instance_of(self, number: int) -> tuple[Dataset, int | None]:
        """The instance that holds a frame, and the frame's number in it from 1; None where it holds no other."""
        return (self.datasets[0], number + 1) if self.is_multiframe else (self.datasets[number], None)

    def position(self, number: int) -> list[float]:
        """ImagePositionPatient of a frame: (x, y, z) in mm, LPS+, as the source has it."""
        if self.is_multiframe:
            image = self.datasets[0]
            found = _group(image, number, "PlanePositionSequence").ImagePositionPatient
        else:
            found = self.datasets[number].ImagePositionPatient
        return [float(value) for value in found]


def read_source_frames(
    files: Sequence[Path], shape: Shape, affine: Affine, *, what: str, identified: Literal["refuse", "keep"]
) -> SourceFrames:
    """Read what an object written on a series has to refer to.

    Args:
        files: The single-frame instances of one series, in any order, or one multi-frame instance.
        shape: Voxels of the prediction, (x, y[, z]).
        affine: 4 x 4, its index to world, RAS+, mm.
        what: The object, with its article, for a message.
        identified: ``refuse`` wants a source that says it was de-identified; ``keep`` takes any.

    Raises:
        GeometryError: The prediction doesn't lie on the source's frames.
        PrivacyError: The source isn't de-identified and `identified` is ``refuse``.
        ReadError: A file cannot be read as DICOM, or the files are not of one series.
    """
    datasets = read_sources(files)
    require_deidentified(datasets, what, identified_source=identified)
    datasets = _telling(datasets, shape, affine)
    for dataset in datasets:
        add_missing(dataset)
    planes = planes_of(datasets)
    source = SourceFrames(tuple(datasets), tuple(planes), tuple(slices_of(shape, affine, planes)), affine)
    if source.is_multiframe:
        _share(datasets[0], source.chosen[0])
    return source


def require_world(source: SourceFrames, what: str) -> None:
    """Refuse a source whose positions mean nothing.

    Args:
        source: The source.
        what: What its positions would stand in, with its article, for a message.

    Raises:
        DataError: It has positions without a frame of reference.
    """
    if source.is_placed and not all(dataset.get("FrameOfReferenceUID") for dataset in source.datasets):
        raise DataError(
            f"the source series has no frame of reference, without which positions in {what} mean nothing; choose "
            "--format nifti or png"
        )


def _telling(datasets: list[Dataset], shape: Shape, affine: Affine) -> list[Dataset]:
    """Of several multi-frame instances (phases, each a file) the first that has every slice; else all."""
    if len(datasets) < 2 or not all("PerFrameFunctionalGroupsSequence" in dataset for dataset in datasets):
        return datasets
    slices = (*shape, 1)[2]
    for dataset in datasets:
        with suppress(GeometryError):
            if len(slices_of(shape, affine, planes_of([dataset]))) == slices:
                return [dataset]
    raise GeometryError(
        f"the {slices} slices lie in several of {len(datasets)} multi-frame instances, and one object can refer to a "
        "single one; choose --format nifti or png"
    )


def _share(image: Dataset, number: int) -> None:
    """Move what all chosen frames have in common into the shared groups, where highdicom looks for it."""
    from pydicom import Dataset

    if not image.get("SharedFunctionalGroupsSequence"):
        image.SharedFunctionalGroupsSequence = [Dataset()]
    shared = image.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared:
            setattr(shared, keyword, [_group(image, number, keyword)])


def _group(image: Dataset, number: int, keyword: str) -> Any:
    """The item of a functional group that holds for a frame."""
    own = image.PerFrameFunctionalGroupsSequence[number].get(keyword)
    return (own or image.SharedFunctionalGroupsSequence[0].get(keyword))[0]


def placed_on(hd: Any, source: SourceFrames) -> dict[str, Any]:
    """Where an object's frames lie, as highdicom takes it; nothing where they are the source's frames one by one."""
    if source.is_whole:
        return {}
    positions = [hd.PlanePositionSequence("PATIENT", source.position(number)) for number in source.chosen]
    return {"plane_positions": positions}


def save_dicom(content: Dataset, path: Path) -> str:
    """Write an object and return its SOPInstanceUID."""
    buffer = io.BytesIO()
    content.save_as(buffer, enforce_file_format=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return str(content.SOPInstanceUID)
