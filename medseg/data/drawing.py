"""Drawing: the areas that an annotation tool outlined on one picture, and the label map they become.

Coordinates are those of COCO, Labelme and CVAT: in pixels, (0, 0) is the upper left corner of the upper left pixel, so
the centre of pixel (i, j) is (i + 0.5, j + 0.5). A pixel belongs to an area when its centre lies inside, counted by
even-odd; a centre on a left or upper edge is in, on a right or lower one out (`medseg.data.contours`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medseg.data.contours import fill_contours
from medseg.data.dicom_labels import Canvas, name_key
from medseg.data.label_source import LabelSource, content_digest
from medseg.data.rle import mask_of_runs
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError
from medseg.types import FloatArray, LabelMap

__all__ = [
    "Area",
    "Drawing",
    "Ellipse",
    "Pixels",
    "Polygon",
    "Region",
    "drawing_source",
    "paint_drawing",
    "rectangle",
]

_BEYOND = 1.0
"""How far in pixels an outline may reach beyond the picture; tools round there."""
_FEWEST_POINTS = 3


@dataclass(frozen=True, eq=False)
class Polygon:
    """A closed outline; points of shape (n, 2), column and row in pixels; the last is joined to the first."""

    points: FloatArray


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, a circle among them.

    Attributes:
        centre: Column and row in pixels.
        radii: Along its own axes in pixels.
        turned: Clockwise on the screen, in degrees.
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    turned: float = 0.0


@dataclass(frozen=True, eq=False)
class Pixels:
    """A mask in run lengths.

    Attributes:
        start: Column and row of its first pixel.
        size: Columns and rows.
        runs: As `medseg.data.rle`.
        along_rows: Whether the runs go along rows (CVAT) instead of columns (COCO).
    """

    start: tuple[int, int]
    size: tuple[int, int]
    runs: tuple[int, ...]
    along_rows: bool = False


Region = Polygon | Ellipse | Pixels


@dataclass(frozen=True, eq=False)
class Area:
    """What one label covers in one stroke of the annotator: the union of its regions."""

    name: str = field(repr=False)
    regions: tuple[Region, ...]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What was drawn on one picture.

    Attributes:
        file: The picture's name as the tool wrote it. Private.
        size: Columns and rows as the tool wrote them; None when it didn't.
        areas: In the order in which they lie upon each other, the last on top.
        other: Number of shapes by kind that cover no area (points, lines).
        problem: Why there is no label map of it; empty when there is.
    """

    file: str = field(repr=False)
    size: tuple[int, int] | None
    areas: tuple[Area, ...] = ()
    other: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


def rectangle(first: tuple[float, float], second: tuple[float, float], *, turned: float = 0.0) -> Polygon:
    """The rectangle between two corners (column, row), turned clockwise about its centre by degrees."""
    (x0, y0), (x1, y1) = first, second
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)
    if turned:
        angle = np.deg2rad(turned)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = corners.mean(axis=0)
        corners = (corners - centre) @ rotation.T + centre
    return Polygon(corners)


def drawing_source(drawing: Drawing, values: Mapping[str, int], *, order: Sequence[int] = ()) -> LabelSource:
    """What makes the label map of a drawing; the arguments are those of `paint_drawing`."""

    def read(geometry: Geometry) -> tuple[LabelMap, tuple[str, ...]]:
        return paint_drawing(drawing, geometry, values, order=order)

    return LabelSource(read=read, content=_digest(drawing, values, order))


def _digest(drawing: Drawing, values: Mapping[str, int], order: Sequence[int]) -> str:
    """SHA-256 of all that decides the label map of a drawing, to know it again."""
    used = {name_key(area.name) for area in drawing.areas}
    chosen = sorted((key, value) for key, value in values.items() if key in used)
    parts: list[bytes | str] = [repr(drawing.size), repr(chosen), repr(tuple(order))]
    for area in drawing.areas:
        parts.append(name_key(area.name))
        for region in area.regions:
            parts.append(region.points.tobytes() if isinstance(region, Polygon) else repr(region))
    return content_digest(*parts)


def paint_drawing(
    drawing: Drawing, geometry: Geometry, values: Mapping[str, int], *, order: Sequence[int] = ()
) -> tuple[LabelMap, tuple[str, ...]]:
    """The label map of a drawing on its picture.

    Args:
        drawing: The areas.
        geometry: The picture's grid, two axes.
        values: Label name (`name_key`) to value; areas of other names are left out.
        order: Label values in order of priority where areas overlap, the first wins; empty to refuse that.

    Returns:
        Label map, uint8, axes (x, y), and notes.

    Raises:
        GeometryError: The picture has another size than the one that was drawn on.
        LabelError: An outline lies outside the picture or is no area, or labels overlap and no order is given.
    """
    if len(geometry.shape) != 2:
        raise GeometryError(f"expected a picture under the outlines; found an image of {len(geometry.shape)} axes")
    if drawing.size is not None and drawing.size != geometry.shape:
        raise GeometryError(
            f"the outlines were drawn on a picture of {drawing.size[0]} x {drawing.size[1]} pixels; this one has "
            f"{geometry.shape[0]} x {geometry.shape[1]}. Give the picture that was drawn on"
        )
    canvas = Canvas(geometry.shape, order=order)
    left_out = 0
    for number, area in enumerate(drawing.areas, start=1):
        value = values.get(name_key(area.name))
        if value is None:
            left_out += 1
            continue
        try:
            mask = _mask_of(area, geometry.shape)
        except LabelError as error:
            raise LabelError(f"outline {number} of {len(drawing.areas)}: {error}") from None
        canvas.paint(mask, value)
    canvas.require_settled()
    notes = [*canvas.notes]
    notes += [f"shapes of the kind {kind} cover no area; left out" for kind in sorted(drawing.other)]
    notes += ["outlines of labels that weren't asked for left out"] if left_out else []
    return canvas.label, tuple(notes)


def _mask_of(area: Area, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for region in area.regions:
        if isinstance(region, Polygon):
            _fill_polygon(region.points, mask)
        elif isinstance(region, Ellipse):
            _fill_ellipse(region, mask)
        else:
            _fill_pixels(region, mask)
    if not mask.any():
        raise LabelError("it holds no pixel's centre; expected an area. Take the stray click out, or enlarge it")
    return mask


def _fill_polygon(points: FloatArray, mask: npt.NDArray[np.bool_]) -> None:
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) < _FEWEST_POINTS or not np.isfinite(points).all():
        raise LabelError("expected a polygon of at least 3 points, each a finite column and row")
    _require_inside(points.min(axis=0), points.max(axis=0), mask.shape)
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, mask.shape)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int), low, mask.shape)
    size = high - low
    if (size < 1).any():
        return
    outline = np.column_stack([points - low - 0.5, np.zeros(len(points))])
    shape = (int(size[0]), int(size[1]))
    mask[low[0] : high[0], low[1] : high[1]] |= fill_contours([outline], Geometry(shape, np.eye(4))).on_grid(shape)


def _fill_ellipse(ellipse: Ellipse, mask: npt.NDArray[np.bool_]) -> None:
    numbers = np.array([*ellipse.centre, *ellipse.radii, ellipse.turned])
    if not np.isfinite(numbers).all() or min(ellipse.radii) <= 0:
        raise LabelError("expected an ellipse with a finite centre and radii above 0")
    angle = np.deg2rad(ellipse.turned)
    cosine, sine = np.cos(angle), np.sin(angle)
    half = np.array([np.hypot(ellipse.radii[0] * cosine, ellipse.radii[1] * sine),
                     np.hypot(ellipse.radii[0] * sine, ellipse.radii[1] * cosine)])  # fmt: skip
    centre = np.array(ellipse.centre)
    _require_inside(centre - half, centre + half, mask.shape)
    low = np.clip(np.floor(centre - half).astype(int), 0, mask.shape)
    high = np.clip(np.ceil(centre + half).astype(int), low, mask.shape)
    x = np.arange(low[0], high[0])[:, None] + 0.5 - centre[0]
    y = np.arange(low[1], high[1])[None, :] + 0.5 - centre[1]
    along, across = x * cosine + y * sine, y * cosine - x * sine
    inside = (along / ellipse.radii[0]) ** 2 + (across / ellipse.radii[1]) ** 2 <= 1
    mask[low[0] : high[0], low[1] : high[1]] |= inside


def _fill_pixels(pixels: Pixels, mask: npt.NDArray[np.bool_]) -> None:
    (x, y), (columns, rows) = pixels.start, pixels.size
    if x < 0 or y < 0 or x + columns > mask.shape[0] or y + rows > mask.shape[1]:
        raise LabelError("its mask reaches out of the picture")
    drawn = mask_of_runs(pixels.runs, (rows, columns) if pixels.along_rows else (columns, rows))
    mask[x : x + columns, y : y + rows] |= drawn.T if pixels.along_rows else drawn


def _require_inside(low: FloatArray, high: FloatArray, shape: tuple[int, ...]) -> None:
    beyond = float(max((-low).max(), (high - shape).max()))
    if beyond > _BEYOND:
        raise LabelError(
            f"it reaches {beyond:.3g} pixels out of the picture; expected coordinates in pixels from the upper left "
            "corner. Was it drawn on another picture?"
        )
