"""Heads: the frames of a DICOM series as one volume, so that a face is found in it and cut from each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from medseg.errors import ReadError
from medseg.privacy.deface import find_face
from medseg.privacy.encode import put
from medseg.privacy.frames import decode_frames, native_bytes
from medseg.privacy.person import raw_bytes
from medseg.types import Array

__all__ = ["FaceCut", "cut_face", "face_cuts"]

_COARSE_MM = 1.5
_MODALITIES = (b"CT", b"MR")
_UNEVEN = (
    "a head in thin slices whose frames don't make one even volume; the face can't be taken off. Deface it with a "
    "tool of your own first"
)


@dataclass(frozen=True)
class FaceCut:
    """What goes of one file's pixels.

    Attributes:
        mask: True where a pixel goes; frame, row, column.
        background: For each frame the stored value that stands for air.
    """

    mask: Array
    background: tuple[int, ...]


@dataclass(frozen=True)
class _Frame:
    """A frame's place in the patient (LPS, mm): first pixel, steps along a row and a column; and its rescale."""

    file: int
    number: int
    origin: Array
    across: Array
    down: Array
    slope: float
    intercept: float


def cut_face(source: Dataset, cut: FaceCut, transfer_syntax: str) -> str:
    """Put background where the face is, in the stored pixels of a data set, and store them uncompressed.

    Returns:
        The transfer syntax the pixels have now.

    Raises:
        ReadError: The pixel data are damaged.
    """
    decoded = decode_frames(source, 0x7FE00010, transfer_syntax)
    pixels = decoded.array.copy()
    low, high = int(pixels.min()), int(pixels.max())
    for frame, mask, background in zip(pixels, cut.mask, cut.background, strict=True):
        frame[mask] = min(max(background, low), high)
    made = native_bytes(pixels, decoded.photometric)
    put(source, 0x7FE00010, "OW", made.data)
    put(source, 0x00280004, "CS", decoded.photometric.encode("ascii"))
    return str(ExplicitVRLittleEndian)


def face_cuts(sources: Sequence[Dataset], syntaxes: Sequence[str]) -> tuple[list[FaceCut], float]:
    """What to cut from each file of one series of a head.

    Args:
        sources: The series' data sets.
        syntaxes: Their transfer syntax UIDs.

    Returns:
        A cut for each file, in order, and the share of the head that goes.

    Raises:
        ReadError: It is no CT or MR, its frames don't make an even volume, or it shows no whole head.
    """
    if any(raw_bytes(source, 0x00080060).strip(b" \0") not in _MODALITIES for source in sources):
        raise ReadError("a head in thin slices of another modality than CT and MR; its face can't be found reliably")
    frames = [frame for index, source in enumerate(sources) for frame in _frames(source, index)]
    first = frames[0]
    normal = np.cross(first.across, first.down)
    normal /= np.linalg.norm(normal)
    if any(np.abs(f.across - first.across).max() > 1e-3 or np.abs(f.down - first.down).max() > 1e-3 for f in frames):
        raise ReadError(_UNEVEN)
    places = np.array([float(f.origin @ normal) for f in frames])
    order = np.argsort(places, kind="stable")
    chosen = [order[0], *(b for a, b in pairwise(order) if places[b] - places[a] > 0.01)]
    steps = np.diff(places[chosen])
    if len(chosen) < 20 or steps.max() > 1.5 * np.median(steps):
        raise ReadError(_UNEVEN)
    stack, factor = _stack(sources, syntaxes, [frames[n] for n in chosen])
    bottom = frames[chosen[0]]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = bottom.across * factor, bottom.down * factor
    affine[:3, 2] = (frames[chosen[-1]].origin - bottom.origin) / (len(chosen) - 1)
    affine[:3, 3] = bottom.origin + (bottom.across + bottom.down) * (factor - 1) / 2
    face = find_face(stack, _ras(affine))
    masks: dict[int, list[Array]] = {}
    values: dict[int, list[int]] = {}
    for frame in frames:
        own = np.eye(4)
        own[:3, 0], own[:3, 1], own[:3, 2], own[:3, 3] = frame.across, frame.down, normal, frame.origin
        shape = int(sources[frame.file].Columns), int(sources[frame.file].Rows), 1
        masks.setdefault(frame.file, []).append(face.mask(shape, _ras(own))[:, :, 0].T)
        values.setdefault(frame.file, []).append(round((face.background - frame.intercept) / frame.slope))
    cuts = [FaceCut(np.stack(masks[index]), tuple(values[index])) for index in range(len(sources))]
    return cuts, face.head_share


def _ras(affine: Array) -> Array:
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _stack(sources: Sequence[Dataset], syntaxes: Sequence[str], frames: Sequence[_Frame]) -> tuple[Array, int]:
    """The frames after rescale as x, y, z, each reduced by a whole factor to pixels of about 1.5 mm."""
    step = min(float(np.linalg.norm(frames[0].across)), float(np.linalg.norm(frames[0].down)))
    factor = max(1, round(_COARSE_MM / step))
    held: tuple[int, Array] = (-1, np.empty(0))
    reduced = []
    for frame in frames:
        if held[0] != frame.file:
            decoded = decode_frames(sources[frame.file], 0x7FE00010, syntaxes[frame.file]).array
            held = (frame.file, decoded)
        pixels = held[1][frame.number, ..., 0]
        rows, columns = (length // factor * factor for length in pixels.shape)
        blocks = pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
        reduced.append((blocks.mean(axis=(1, 3)) * frame.slope + frame.intercept).astype(np.float32))
    if len({plane.shape for plane in reduced}) != 1:
        raise ReadError(_UNEVEN)
    return np.stack(reduced).transpose(2, 1, 0), factor


def _frames(source: Dataset, file: int) -> list[_Frame]:
    """Geometry and rescale of each frame, of single-frame files and of enhanced multi-frame ones (PS3.3 C.7.6.16).

    Raises:
        ReadError: A frame has no place in the patient.
    """
    shared = next(iter(source.get("SharedFunctionalGroupsSequence") or ()), Dataset())
    per_frame = list(source.get("PerFrameFunctionalGroupsSequence") or ())
    found = []
    for number in range(int(source.get("NumberOfFrames") or 1)):
        own = per_frame[number] if number < len(per_frame) else Dataset()
        places = (own, shared)
        origin = _of(source, places, "PlanePositionSequence", "ImagePositionPatient")
        turned = _of(source, places, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _of(source, places, "PixelMeasuresSequence", "PixelSpacing")
        if origin is None or turned is None or spacing is None or len(turned) != 6:
            raise ReadError(_UNEVEN)
        slope = _of(source, places, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = _of(source, places, "PixelValueTransformationSequence", "RescaleIntercept")
        turn = np.asarray(turned, np.float64)
        found.append(
            _Frame(
                file=file,
                number=number,
                origin=np.asarray(origin, np.float64),
                across=turn[:3] * float(spacing[1]),
                down=turn[3:] * float(spacing[0]),
                slope=float(slope[0]) if slope and float(slope[0]) else 1.0,
                intercept=float(intercept[0]) if intercept else 0.0,
            )
        )
    return found


def _of(source: Dataset, groups: Sequence[Dataset], sequence: str, keyword: str) -> list[Any] | None:
    """An attribute's values from a functional group, else from the data set itself."""
    for group in groups:
        items = group.get(sequence)
        if items and keyword in items[0]:
            return _values(items[0].get(keyword))
    return _values(source.get(keyword))


def _values(value: Any) -> list[Any] | None:
    if value is None or value == "":
        return None
    return list(value) if not isinstance(value, str | int | float) else [value]
