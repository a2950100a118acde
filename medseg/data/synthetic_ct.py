"""Synthetic CT: a body-like phantom in Hounsfield units with lesions, and the label map that is true by construction.

Arrays here have axes (z, row, column) as DICOM stores them: z to the head, rows to the back, columns to the patient's
left, so (z, row, column) increase towards Superior, Posterior, Left. Lengths are in millimetres from the grid's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CtPhantom", "Lesion", "Subject", "draw_phantom", "draw_subject"]

_Field = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]
_Point = tuple[float, float, float]
_FEWEST_VOXELS = 8


@dataclass(frozen=True)
class Lesion:
    """One lesion of a subject.

    Attributes:
        organ: ``liver``, ``lung``, ``spleen`` or ``fat``.
        place: Position in the organ, each coordinate in -1..1 (z, y, x).
        radii: Half axes in mm (z, y, x).
        hu: Hounsfield units in its middle.
        core: Hounsfield units that its core differs by (necrosis, calcification); 0 for none.
        rough: Strength of the irregularity of its surface.
    """

    organ: str
    place: _Point
    radii: _Point
    hu: float
    core: float
    rough: float


@dataclass(frozen=True)
class Subject:
    """What stays the same of one body between two studies.

    Attributes:
        seed: Seed of the anatomy.
        width: Half width of the body in mm.
        depth: Half depth in mm.
        fat: Thickness of the fat under the skin in mm.
        lesions: The lesions; none in a healthy body.
    """

    seed: int
    width: float
    depth: float
    fat: float
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True, eq=False)
class CtPhantom:
    """One scan.

    Attributes:
        hu: Hounsfield units (z, row, column), int16.
        label: 1 in lesions (z, row, column), uint8.
        spacing: Millimetres (z, row, column).
    """

    hu: npt.NDArray[np.int16]
    label: npt.NDArray[np.uint8]
    spacing: _Point


@dataclass(frozen=True, eq=False)
class _Space:
    """Positions of the voxels in mm, open grids that broadcast; and the generator of this scan's noise."""

    z: _Field
    y: _Field
    x: _Field
    spacing: _Point

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z.shape[0], self.y.shape[1], self.x.shape[2]

    def ellipsoid(self, centre: _Point, radii: _Point) -> _Field:
        """Squared distance from the centre, in radii: below 1 inside."""
        (cz, cy, cx), (rz, ry, rx) = centre, radii
        distance: _Field = ((self.z - cz) / rz) ** 2 + ((self.y - cy) / ry) ** 2 + ((self.x - cx) / rx) ** 2
        return distance

    def tube(self, points: npt.NDArray[np.float64], radius: float) -> _Mask:
        """Voxels within `radius` of a chain of points (z, y, x) that lie closer together than the radius."""
        inside = np.zeros(self.shape, dtype=bool)
        for z, y, x in points:
            box = [self._span(a, c, radius) for a, c in ((self.z, z), (self.y, y), (self.x, x))]
            if any(s.stop <= s.start for s in box):
                continue
            part = (self.z[box[0]] - z) ** 2 + (self.y[:, box[1]] - y) ** 2 + (self.x[:, :, box[2]] - x) ** 2
            inside[tuple(box)] |= part < radius * radius
        return inside

    @staticmethod
    def _span(axis: _Field, centre: float, radius: float) -> slice:
        hit = np.flatnonzero(np.abs(axis.ravel() - centre) < radius)
        return slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0)


def draw_subject(generator: np.random.Generator, *, healthy: bool) -> Subject:
    """Draw a body, with 1 to 5 lesions unless it is healthy."""
    lesions = []
    for number in range(0 if healthy else int(generator.integers(1, 6))):
        drawn = str(generator.choice(["liver", "lung", "spleen", "fat"], p=[0.5, 0.25, 0.1, 0.15]))
        organ = "liver" if number == 0 else drawn
        radius = math.exp(generator.uniform(math.log(15.0), math.log(30.0 if organ == "liver" else 22.0)))
        stretch = generator.uniform(0.8, 1.25, 3)
        low, high = {"liver": (10, 48), "lung": (20, 60), "spleen": (25, 55), "fat": (40, 75)}[organ]
        lesions.append(
            Lesion(
                organ=organ,
                place=_point(generator.uniform(-0.6, 0.6, 3)),
                radii=_point(radius * stretch),
                hu=float(generator.uniform(low, high)),
                core=float(generator.choice([0.0, -30.0, 220.0], p=[0.6, 0.3, 0.1])),
                rough=float(generator.uniform(0.05, 0.28)),
            )
        )
    return Subject(
        seed=int(generator.integers(2**31)),
        width=float(generator.uniform(112, 152)),
        depth=float(generator.uniform(82, 112)),
        fat=float(generator.uniform(8, 26)),
        lesions=tuple(lesions),
    )


def draw_phantom(subject: Subject, generator: np.random.Generator, *, growth: float = 1.0) -> CtPhantom:
    """Scan a body: another generator gives another position and noise of the same anatomy.

    Args:
        subject: The body.
        generator: Of this scan.
        growth: Factor on the radii of every lesion since the first scan.
    """
    anatomy = np.random.default_rng(subject.seed)
    space = _draw_space(subject.width, anatomy, generator)
    hu, organs = _draw_trunk(subject, space, anatomy)
    _draw_bones(hu, subject, space)
    _draw_lookalikes(hu, organs, space, anatomy)
    label = np.zeros(space.shape, dtype=bool)
    for lesion in subject.lesions:
        _draw_lesion(hu, label, lesion, organs, space=space, generator=anatomy, growth=growth)
    return CtPhantom(hu=_scan(hu, generator), label=label.astype(np.uint8), spacing=space.spacing)


def _draw_space(width: float, anatomy: np.random.Generator, generator: np.random.Generator) -> _Space:
    rows = int(anatomy.choice([64, 72, 80]))
    slices = int(anatomy.integers(24, 33))
    pixel = round((2 * width + float(anatomy.uniform(18, 60))) / rows, 3)
    spacing = (float(anatomy.choice([4.0, 5.0, 6.0])) if slices < 29 else 4.5, pixel, pixel)
    shift = np.array([anatomy.uniform(-38, 32), anatomy.uniform(-16, 16), anatomy.uniform(-12, 12)])
    shift += (generator.uniform(-6, 6), generator.uniform(-6, 6), generator.uniform(-5, 5))
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * s + d).astype(np.float32)
        for n, s, d in zip((slices, rows, rows), spacing, shift, strict=True)
    )
    return _Space(z=z[:, None, None], y=y[None, :, None], x=x[None, None, :], spacing=spacing)


def _draw_trunk(subject: Subject, space: _Space, anatomy: np.random.Generator) -> tuple[_Field, dict[str, _Mask]]:
    """Air, table, skin, fat, muscle and organs; and where the organs lie."""
    from scipy import ndimage

    hu = np.full(space.shape, -1000.0, dtype=np.float32)
    hu[np.broadcast_to(np.abs(space.y - subject.depth - 12 + (space.x / 60) ** 2) < 5, space.shape)] = -120.0
    width = subject.width * (1 + 0.03 * np.sin(space.z / 40))
    body = (np.abs(space.x) / width) ** 2.3 + (np.abs(space.y) / subject.depth) ** 2.3
    cavity_x, cavity_y = subject.width - subject.fat - 16, subject.depth - subject.fat - 14
    wall = (space.x / (cavity_x + 12)) ** 2 + (space.y / (cavity_y + 10)) ** 2 < 1
    cavity = (space.x / cavity_x) ** 2 + (space.y / cavity_y) ** 2 < 1
    hu[body < 1] = -98.0
    hu[np.broadcast_to(wall, space.shape)] = 52.0
    cavity = np.broadcast_to(cavity, space.shape)
    hu[cavity] = -92.0
    wander = anatomy.uniform(-12, 12, (8, 3))
    scale = anatomy.uniform(0.85, 1.15, (8, 3))

    def organ(number: int, centre: _Point, radii: _Point) -> _Mask:
        at = _point(np.add(centre, wander[number]))
        inside: _Mask = (space.ellipsoid(at, _point(np.multiply(radii, scale[number]))) < 1) & cavity
        return inside

    chest = space.z > 22 + wander[7, 0] - 18 * ((space.x + 45) / 70) ** 2
    hu[chest & cavity] = 42.0
    lungs = (organ(0, (60, -5, -62), (75, 62, 44)) | organ(1, (60, -5, 64), (78, 62, 42))) & chest
    hu[lungs] = -840.0
    liver = organ(2, (-8, -6, -46), (52, 58, 66)) & ~lungs
    spleen = organ(3, (-4, 28, 78), (40, 32, 24)) & ~lungs & ~liver
    stomach = organ(4, (2, -28, 42), (34, 26, 32)) & ~lungs & ~liver & ~spleen
    kidneys = (organ(5, (-58, 38, -58), (46, 23, 22)) | organ(6, (-54, 38, 58), (46, 23, 22))) & ~liver & ~spleen
    hu[liver], hu[spleen], hu[kidneys], hu[stomach] = 108.0, 118.0, 165.0, 30.0
    hu[stomach & (space.y < -40 + wander[4, 1])] = -880.0
    for x, y, radius, value in ((14, 42, 11, 160), (-16, 38, 12, 125)):
        hu[((space.x - x) ** 2 + (space.y - y) ** 2 < radius**2) & cavity] = value
    texture = ndimage.gaussian_filter(anatomy.standard_normal(space.shape, dtype=np.float32), (1.0, 1.5, 1.5))
    hu += texture * np.float32(7.0 / texture.std()) * (hu > -200)
    fat = cavity & (hu < -60) & (hu > -130)
    return hu, {"liver": liver, "spleen": spleen, "lung": lungs, "fat": fat}


def _draw_bones(hu: _Field, subject: Subject, space: _Space) -> None:
    disc = np.cos(space.z / 34 * 2 * math.pi) > 0.75
    vertebra = (space.x / 22) ** 2 + ((space.y - subject.depth * 0.62) / 17) ** 2
    marrow = np.where(disc, 95.0, np.where(vertebra > 0.62, 520.0, 210.0))
    inside = np.broadcast_to(vertebra < 1, hu.shape)
    hu[inside] = np.broadcast_to(marrow, hu.shape)[inside]
    arch = (space.x / 30) ** 2 + ((space.y - subject.depth * 0.62 - 24) / 12) ** 2
    hu[np.broadcast_to(arch < 1, hu.shape) & ~np.broadcast_to(disc, hu.shape)] = 420.0
    hu[np.broadcast_to((space.x / 9) ** 2 + ((space.y - subject.depth * 0.62 - 22) / 8) ** 2 < 1, hu.shape)] = 28.0
    rib_x, rib_y = subject.width - subject.fat - 9, subject.depth - subject.fat - 8
    ring = np.sqrt((space.x / rib_x) ** 2 + (space.y / rib_y) ** 2)
    slope = space.z + 0.35 * space.y
    ribs = (np.abs(ring - 1) < 0.05) & (np.cos(slope / 26 * 2 * math.pi) > 0.45) & (space.z > -45)
    hu[ribs] = 430.0


def _draw_lookalikes(hu: _Field, organs: dict[str, _Mask], space: _Space, anatomy: np.random.Generator) -> None:
    """Vessels, bowel, gallbladder and cysts: of the lesions' own Hounsfield units, but of another shape or place."""
    for name, count, radius, value in (("liver", 3, 3.4, 35.0), ("liver", 3, 3.2, 165.0), ("lung", 9, 2.8, 45.0)):
        for _ in range(count):
            path = _walk(anatomy, _middle(organs[name], space, anatomy), steps=22, stride=2.6, wiggle=0.18)
            hu[space.tube(path, radius) & organs[name]] = value + anatomy.uniform(-8, 8)
    for _ in range(5):
        start = (anatomy.uniform(-75, -25), anatomy.uniform(-50, -5), anatomy.uniform(-55, 70))
        path = _walk(anatomy, start, steps=26, stride=5.0, wiggle=0.45)
        lumen = float(anatomy.choice([25.0, -750.0, 230.0], p=[0.6, 0.25, 0.15]))
        near = organs["fat"]
        hu[space.tube(path, 11.0) & near] = 62.0
        hu[space.tube(path, 7.0) & near] = lumen
    gallbladder = space.ellipsoid((-40 + anatomy.uniform(-6, 6), -34, -38), (20, 13, 12)) < 1
    hu[gallbladder & (organs["liver"] | organs["fat"])] = 10.0
    for _ in range(int(anatomy.integers(0, 3))):
        middle = _middle(organs["liver"], space, anatomy)
        hu[(space.ellipsoid(middle, _point(np.full(3, anatomy.uniform(6, 11)))) < 1) & organs["liver"]] = 4.0


def _draw_lesion(
    hu: _Field,
    label: _Mask,
    lesion: Lesion,
    organs: dict[str, _Mask],
    *,
    space: _Space,
    generator: np.random.Generator,
    growth: float,
) -> None:
    from scipy import ndimage

    rough = ndimage.gaussian_filter(generator.standard_normal(space.shape, dtype=np.float32), (1.6, 2.2, 2.2))
    texture = ndimage.gaussian_filter(generator.standard_normal(space.shape, dtype=np.float32), (0.6, 0.9, 0.9))
    organ = organs[lesion.organ]
    if not organ.any():
        return
    middle = _middle(organ, space, lesion.place)
    radii = _point(np.multiply(lesion.radii, growth))
    distance = np.sqrt(space.ellipsoid(middle, radii)) + lesion.rough * rough / rough.std()
    inside = (distance < 1) & ndimage.binary_dilation(organ, iterations=1) & (hu < 350)
    inside = _largest_piece(inside)
    if inside.sum() < _FEWEST_VOXELS:
        return
    value = lesion.hu + 9.0 * texture / texture.std() + lesion.core * (distance < 0.55)
    hu[inside] = value[inside]
    label |= inside


def _scan(hu: _Field, generator: np.random.Generator) -> npt.NDArray[np.int16]:
    """Partial volume, noise of this scan's dose, a smooth drift; 12 bits."""
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(hu, (0.35, 0.5, 0.5))
    noise = ndimage.gaussian_filter(generator.standard_normal(hu.shape, dtype=np.float32), (0.0, 0.5, 0.5))
    blurred += noise * np.float32(generator.uniform(7, 16) / noise.std())
    scan: npt.NDArray[np.int16] = np.clip(np.rint(blurred), -1024, 3071).astype(np.int16)
    return scan


def _largest_piece(mask: _Mask) -> _Mask:
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    largest: _Mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return largest


def _middle(organ: _Mask, space: _Space, where: np.random.Generator | _Point) -> _Point:
    """A point of the organ: at `where` (-1..1 along each axis of its box, drawn from a generator if one is given)."""
    index = np.argwhere(organ)
    if not len(index):
        return (0.0, 0.0, 0.0)
    place = where.uniform(-0.7, 0.7, 3) if isinstance(where, np.random.Generator) else np.asarray(where)
    low, high = index.min(axis=0), index.max(axis=0)
    wanted = (low + high) / 2 + place * (high - low) / 2
    near = index[np.argmin((((index - wanted) * space.spacing) ** 2).sum(axis=1))]
    return (float(space.z[near[0], 0, 0]), float(space.y[0, near[1], 0]), float(space.x[0, 0, near[2]]))


def _walk(
    generator: np.random.Generator, start: _Point, *, steps: int, stride: float, wiggle: float
) -> npt.NDArray[np.float64]:
    heading = generator.standard_normal(3)
    turns = generator.standard_normal((steps, 3)) * wiggle
    directions = heading / np.linalg.norm(heading) + np.cumsum(turns, axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    path: npt.NDArray[np.float64] = np.asarray(start) + np.cumsum(directions * stride, axis=0)
    return path


def _point(values: npt.NDArray[np.float64]) -> _Point:
    z, y, x = (float(v) for v in values)
    return (z, y, x)
