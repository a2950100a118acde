"""Overlay: one slice of a case with the outlines of reference and prediction; internal tier only."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from medseg.data.volume import Volume
from medseg.errors import GeometryError
from medseg.types import Array, LabelMap

__all__ = ["PREDICTION_COLOUR", "REFERENCE_COLOUR", "axial_slices", "case_picture", "outline_of", "rgb_rows"]

REFERENCE_COLOUR = (255, 214, 64)
PREDICTION_COLOUR = (0, 225, 255)
_EDGE = 420
_CONTEXT = 2.4
"""Edge of the picture over the edge of the box around both outlines."""
_SMALLEST_SHARE = 0.4


def case_picture(
    volume: Volume, prediction: LabelMap, reference: LabelMap, *, window: tuple[float, float] | None = None
) -> bytes:
    """Draw the outlines of a prediction and its reference over the image.

    Args:
        volume: Array (channel, x, y[, z]); three channels of a picture are red, green and blue, else the first is
            shown. PET is shown dark on bright, as it is read.
        prediction: Label map (x, y[, z]) on the same grid.
        reference: Label map (x, y[, z]) on the same grid.
        window: Lowest and highest intensity shown; without it the 1st and 99th percentile of the slice.

    Returns:
        A square JPEG. Of a volume the axial slice with most reference voxels (of the last label that is there; of
        prediction voxels where there is no reference), patient's right on the left, front at the top.

    Raises:
        GeometryError: The three shapes differ.
    """
    if not volume.shape == prediction.shape == reference.shape:
        raise GeometryError(f"expected one grid; found shapes {volume.shape}, {prediction.shape} and {reference.shape}")
    if reference.ndim == 3:
        image, predicted, referred, aspect = axial_slices(volume, prediction, reference)
    else:
        image, predicted, referred, aspect = volume.array, prediction, reference, 1.0
    rgb = rgb_rows(image, window=window, inverted=volume.modality == "PT")
    box = _square((predicted > 0) | (referred > 0), aspect)
    picture = _resized(rgb, box).astype(np.float32)
    # The reference is drawn broader and first, so that it shows on both sides of a prediction that agrees.
    for label_map, colour, width in ((referred, REFERENCE_COLOUR, 6), (predicted, PREDICTION_COLOUR, 3)):
        for value in np.unique(label_map[label_map > 0]).tolist():
            region = _resized(np.equal(label_map.T, value).astype(np.uint8) * 255, box) > 127
            line = outline_of(region, width)
            picture[_grown(line) & ~line] *= 0.55
            picture[line] = colour
    buffer = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, format="JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def axial_slices(volume: Volume, prediction: LabelMap, reference: LabelMap) -> tuple[Array, LabelMap, LabelMap, float]:
    """One axial slice of each, axes (channel, x, y) and (x, y), x to the left and y to the back; pixel y over x."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    to_lps = ornt_transform(io_orientation(volume.affine), axcodes2ornt("LPS"))
    lengths = np.empty(3)
    lengths[to_lps[:, 0].astype(int)] = volume.spacing
    predicted, referred = (np.asarray(apply_orientation(m, to_lps)) for m in (prediction, reference))
    index = _slice_of(referred if referred.any() else predicted)
    image = np.stack([np.asarray(apply_orientation(channel, to_lps))[..., index] for channel in volume.array])
    return image, predicted[..., index], referred[..., index], float(lengths[1] / lengths[0])


def _slice_of(label_map: LabelMap) -> int:
    """The slice that shows most of the last label, which is the lesion where an organ is labelled too."""
    burden = (label_map == label_map.max()).sum(axis=(0, 1)) if label_map.any() else np.zeros(label_map.shape[2])
    return int(burden.argmax()) if burden.any() else label_map.shape[2] // 2


def rgb_rows(image: Array, *, window: tuple[float, float] | None, inverted: bool) -> Array:
    """uint8 (row, column, 3) of an image with axes (channel, x, y)."""
    if image.shape[0] == 3 and image.dtype == np.uint8:
        return np.ascontiguousarray(image.transpose(2, 1, 0))
    channel = image[0].astype(np.float32)
    low, high = window if window is not None else np.percentile(channel, (1, 99)).tolist()
    grey = ((channel - low) / max(float(high - low), 1e-6)).clip(0, 1)
    shown = ((1 - grey if inverted else grey) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.repeat(shown.T[..., np.newaxis], 3, axis=2))


def _square(mask: Array, aspect: float) -> Sequence[float]:
    """Left, top, right, bottom in pixels of a region that looks square and shows the mask (x, y) in its context."""
    width, height = mask.shape
    xs, ys = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(xs):
        edge = float(min(width, height * aspect))
        centre = (width / 2, height / 2)
    else:
        extent = max(xs[-1] - xs[0] + 1, (ys[-1] - ys[0] + 1) * aspect)
        edge = float(max(_CONTEXT * extent, _SMALLEST_SHARE * min(width, height * aspect)))
        centre = ((xs[0] + xs[-1] + 1) / 2, (ys[0] + ys[-1] + 1) / 2)
    edge = min(edge, float(width), height * aspect)
    half_x, half_y = edge / 2, edge / aspect / 2
    left = min(max(centre[0] - half_x, 0.0), width - 2 * half_x)
    top = min(max(centre[1] - half_y, 0.0), height - 2 * half_y)
    return (left, top, left + 2 * half_x, top + 2 * half_y)


def _resized(rows: Array, box: Sequence[float]) -> Array:
    image = Image.fromarray(np.ascontiguousarray(rows))
    return np.asarray(image.resize((_EDGE, _EDGE), Image.Resampling.BILINEAR, box=tuple(box)))


def outline_of(region: Array, width: int) -> Array:
    """A line along the region's edge, so many pixels wide; half of it outside."""
    outer, inner = region, region
    for step in range(width):
        if step % 2:
            outer = _grown(outer)
        else:
            inner = ~_grown(~inner)
    line: Array = outer & ~inner
    return line


def _grown(region: Array) -> Array:
    """The region and its neighbours across an edge; nothing comes in over the picture's rim."""
    padded = np.pad(region, 1)
    grown: Array = region | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown
