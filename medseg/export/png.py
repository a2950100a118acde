"""PNG: a label map as a picture or as a stack of slices, and a label map drawn over the image it belongs to."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from medseg.data.card import LabelInfo
from medseg.data.files import atomic_write
from medseg.data.label_stack import STACK_ENDING, STACK_FILE, STACK_VERSION, geometry_json, slice_name
from medseg.data.volume import Geometry, Volume
from medseg.errors import GeometryError, LabelError, RequestError
from medseg.export.label_values import require_described
from medseg.types import Affine, Array, LabelMap

__all__ = ["LABEL_COLOURS", "draw_labels", "overlay_picture", "write_label_stack", "write_overlay_png", "write_png"]

_FILL = 0.3
_SMALLEST_EDGE = 384
LABEL_COLOURS = ((230, 60, 60), (60, 140, 230), (70, 180, 90), (240, 180, 40), (160, 90, 200), (60, 190, 190))
"""Colours of labels that have none of their own, in turn."""


def write_png(label_map: LabelMap, path: Path, *, label_count: int = 1) -> None:
    """Write a 2D label map as a greyscale PNG.

    With one label the picture holds 0 and 255, as annotation tools write and expect it; with several it holds the
    label values themselves. `medseg.data.readers.read_label` reads both back unchanged.

    Args:
        label_map: Axes (x, y); x is the picture's column, y its row counted from the top.
        path: Where to write.
        label_count: Labels that the data set knows beside the background, whether or not this case shows them.

    Raises:
        GeometryError: The label map isn't 2D.
        LabelError: A value is negative, above 255, or above 1 where the data set knows one label.
    """
    if label_map.ndim != 2:
        raise GeometryError(
            f"expected a 2D label map to write as one PNG; found {label_map.ndim} axes, write a label stack or NIfTI"
        )
    highest = 1 if label_count == 1 else 255
    if label_map.size and (label_map.min() < 0 or label_map.max() > highest):
        raise LabelError(
            f"expected label values from 0 to {highest}; found {int(label_map.min())} to {int(label_map.max())}"
        )
    rows = np.ascontiguousarray(label_map.T.astype(np.uint8))
    _write(Image.fromarray(rows * 255 if label_count == 1 else rows), path)


def write_label_stack(label_map: LabelMap, affine: Affine, folder: Path, *, labels: Mapping[int, LabelInfo]) -> None:
    """Write the label map of a volume as one indexed PNG a slice, with a JSON that places them in the patient.

    The palette's indices are the label values, its colours those of the labels. The same label map gives the same
    bytes. `medseg.data.label_stack.read_stack` reads it back unchanged, at its place.

    Args:
        label_map: Axes (x, y, z); a slice is what has one z, x its column and y its row counted from the top.
        affine: 4 x 4, voxel index to world, RAS+, millimetres.
        folder: Ends in ``.slices``; is new or empty. The JSON is written last: a folder without it is no stack.
        labels: Label value to name and colour.

    Raises:
        GeometryError: The label map isn't 3D, or the affine isn't invertible.
        LabelError: A value isn't described, or is above 255.
        RequestError: The folder holds files.
    """
    if label_map.ndim != 3 or 0 in label_map.shape:
        raise GeometryError(f"expected a label map of 3 axes to write as slices; found shape {label_map.shape}")
    if not folder.name.endswith(STACK_ENDING):
        raise ValueError(f"expected a folder whose name ends in {STACK_ENDING}")
    geometry = Geometry(label_map.shape, affine)
    require_described(label_map, labels, highest=255)
    if folder.exists() and any(folder.iterdir()):
        raise RequestError("expected a new folder for the slices; found one with files in it")
    folder.mkdir(parents=True, exist_ok=True)
    palette = _palette(labels)
    for number in range(label_map.shape[2]):
        picture = Image.fromarray(np.ascontiguousarray(label_map[..., number].T.astype(np.uint8)))
        picture.putpalette(palette)
        picture.save(folder / slice_name(number + 1), format="PNG")
    content = {
        "label_stack": STACK_VERSION,
        **geometry_json(geometry),
        "labels": {str(value): info.name for value, info in sorted(labels.items())},
    }
    with atomic_write(folder / STACK_FILE, mode="w") as stream:
        stream.write(json.dumps(content, indent=2) + "\n")


def _palette(labels: Mapping[int, LabelInfo]) -> list[int]:
    """Red, green and blue of the indices 0 to the highest label; the background is black."""
    colours = [(0, 0, 0), *(LABEL_COLOURS[n % len(LABEL_COLOURS)] for n in range(max(labels, default=0)))]
    for value, info in labels.items():
        colours[value] = info.colour or colours[value]
    return [part for colour in colours for part in colour]


def write_overlay_png(
    volume: Volume,
    label_map: LabelMap,
    path: Path,
    *,
    colours: Mapping[int, tuple[int, int, int]] | None = None,
) -> None:
    """Draw the label map over its image: filled lightly, outlined firmly.

    Args:
        volume: Array (channel, x, y) or (channel, x, y, z). Three channels of a picture are red, green and blue; else
            the first channel is shown between its 1st and 99th percentile.
        label_map: Axes (x, y[, z]), on the same grid. Of a volume the axial slice with the most labelled voxels is
            drawn, patient's right on the left, front at the top.
        path: Where to write.
        colours: Red, green and blue (0 to 255) of each label value.

    Raises:
        GeometryError: The two shapes differ.
    """
    _write(Image.fromarray(overlay_picture(volume, label_map, colours=colours)), path)


def overlay_picture(
    volume: Volume, label_map: LabelMap, *, colours: Mapping[int, tuple[int, int, int]] | None = None
) -> Array:
    """The picture that `write_overlay_png` writes.

    Returns:
        uint8, axes (row, column, 3).

    Raises:
        GeometryError: The two shapes differ.
    """
    if volume.shape != label_map.shape:
        raise GeometryError(f"expected a label map of shape {volume.shape}; found {label_map.shape}")
    if label_map.ndim == 3:
        image, labels, aspect = _axial_slice(volume, label_map)
    else:
        image, labels, aspect = volume.array, label_map, 1.0
    picture, rows = _enlarge(_as_rgb(image), labels.T, aspect=aspect)
    return draw_labels(picture, rows, colours or {})


def draw_labels(picture: Array, rows: LabelMap, colours: Mapping[int, tuple[int, int, int]]) -> Array:
    """Draw a label map over a picture: filled lightly, outlined firmly.

    Args:
        picture: uint8, axes (row, column, 3).
        rows: Label values, axes (row, column).
        colours: Red, green and blue (0 to 255) of each label value; others get one of six.

    Returns:
        uint8, axes (row, column, 3).
    """
    drawn = picture.astype(np.float32)
    for value in np.unique(rows[rows > 0]).tolist():
        colour = np.asarray(colours.get(value, LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]))
        region = rows == value
        drawn[region] = (1 - _FILL) * drawn[region] + _FILL * colour
        drawn[_outline(region)] = colour
    return drawn.round().astype(np.uint8)


def _axial_slice(volume: Volume, label_map: LabelMap) -> tuple[Array, LabelMap, float]:
    """One axial slice, axes (channel, x, y), x to the patient's left and y to the back, and the pixel's y/x ratio."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    to_lps = ornt_transform(io_orientation(volume.affine), axcodes2ornt("LPS"))
    labels = np.asarray(apply_orientation(label_map, to_lps))
    image = np.stack([np.asarray(apply_orientation(channel, to_lps)) for channel in volume.array])
    burden = (labels > 0).sum(axis=(0, 1))
    index = int(burden.argmax()) if burden.any() else labels.shape[2] // 2
    lengths = np.empty(3)
    lengths[to_lps[:, 0].astype(int)] = volume.spacing
    return image[..., index], labels[..., index], float(lengths[1] / lengths[0])


def _as_rgb(image: Array) -> Array:
    """uint8 (row, column, 3) of an image with axes (channel, x, y)."""
    if image.shape[0] == 3:
        values = image.astype(np.float32)
        if values.max(initial=0.0) <= 1.0:
            values = values * 255
        return np.ascontiguousarray(values.clip(0, 255).round().astype(np.uint8).transpose(2, 1, 0))
    channel = image[0].astype(np.float32)
    low, high = np.percentile(channel, (1, 99)) if channel.size else (0.0, 1.0)
    grey = ((channel - low) / max(float(high - low), 1e-6) * 255).clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey.T[..., np.newaxis], 3, axis=2))


def _enlarge(picture: Array, rows: LabelMap, *, aspect: float) -> tuple[Array, LabelMap]:
    """Square pixels, and a small slice enlarged so that an outline of one pixel stays thin."""
    height, width = rows.shape
    factor = max(1.0, _SMALLEST_EDGE / max(1.0, min(width, height * aspect)))
    size = (max(1, round(width * factor)), max(1, round(height * aspect * factor)))
    if size == (width, height):
        return picture, rows
    shown = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    labels = Image.fromarray(np.ascontiguousarray(rows.astype(np.int32))).resize(size, Image.Resampling.NEAREST)
    return np.asarray(shown), np.asarray(labels)


def _outline(region: Array) -> Array:
    """The region's pixels that touch its outside by an edge."""
    padded = np.pad(region, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outline: Array = region & ~inner
    return outline


def _write(picture: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
