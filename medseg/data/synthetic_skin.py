"""Synthetic skin: dermoscopy-like photographs of one lesion each, and the mask that is true by construction.

Arrays have axes (row, column) and, for colours, (row, column, channel), as Pillow stores them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["SkinPhotograph", "draw_photograph"]

_Field = npt.NDArray[np.float32]
_TONES = ((0.93, 0.78, 0.71), (0.89, 0.70, 0.60), (0.82, 0.62, 0.50), (0.72, 0.51, 0.39), (0.55, 0.37, 0.27))
_PIGMENTS = ((0.28, 0.52, 0.66), (0.42, 0.70, 0.84), (0.16, 0.42, 0.46), (0.50, 0.62, 0.66), (0.55, 0.74, 0.72))
"""How much red, green and blue each pigment takes away: light brown, dark brown, reddish, blue-grey, black."""


@dataclass(frozen=True, eq=False)
class SkinPhotograph:
    """One photograph.

    Attributes:
        rgb: Colours (row, column, 3), uint8.
        mask: True in the lesion (row, column).
    """

    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def draw_photograph(generator: np.random.Generator) -> SkinPhotograph:
    """Draw a photograph of 200 to 400 pixels a side: skin, lesion, freckles, light, hair, ruler, glare, vignette."""
    rows, columns = int(generator.integers(208, 289)), int(generator.integers(280, 385))
    tone = np.asarray(_TONES[int(generator.integers(len(_TONES)))], dtype=np.float32) * generator.uniform(0.94, 1.04)
    skin = np.empty((rows, columns, 3), dtype=np.float32)
    skin[:] = tone
    skin *= 1 + 0.035 * _noise(generator, (rows, columns), 40)[..., None]
    skin *= 1 + 0.025 * _noise(generator, (rows, columns), 2.0)[..., None]
    skin[..., 0] *= 1 + 0.02 * _noise(generator, (rows, columns), 25)
    distance = _outline(generator, rows, columns)
    skin *= 1 - _freckles(generator, rows, columns, distance)[..., None] * np.array(
        [0.25, 0.45, 0.55], dtype=np.float32
    )
    faint = generator.random() < 0.2
    strength = generator.uniform(0.3, 0.45) if faint else generator.uniform(0.5, 1.0)
    softness = generator.uniform(0.03, 0.14 if faint else 0.08)
    inside = 1 / (1 + np.exp(np.clip((distance - 1) / softness, -30, 30)))
    skin *= 1 - (strength * inside)[..., None] * _pigment(generator, distance)
    skin = _paint_over(skin, generator)
    skin *= _light(generator, rows, columns)[..., None] * generator.uniform(0.95, 1.05, 3).astype(np.float32)
    skin += 0.012 * generator.standard_normal(skin.shape, dtype=np.float32)
    picture = Image.fromarray((np.clip(skin, 0, 1) * 255).astype(np.uint8), "RGB")
    picture = picture.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.3, 0.9))))
    return SkinPhotograph(rgb=np.asarray(picture), mask=distance < 1)


def _noise(generator: np.random.Generator, shape: tuple[int, int], scale: float) -> _Field:
    """Smooth noise of mean 0 and deviation 1 whose grains are about `scale` pixels."""
    coarse = generator.standard_normal([max(2, math.ceil(n / scale) + 1) for n in shape], dtype=np.float32)
    size = (shape[1], shape[0])
    field = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    scaled: _Field = (field - field.mean()) / np.float32(max(float(field.std()), 1e-6))
    return scaled


def _outline(generator: np.random.Generator, rows: int, columns: int) -> _Field:
    """Distance from the lesion's middle in its own radii: below 1 inside; an ellipse, turned, warped and lobed."""
    radius = generator.uniform(0.16, 0.36) * min(rows, columns)
    stretch = math.exp(generator.uniform(-0.3, 0.3))
    turn = generator.uniform(0, math.pi)
    middle_y, middle_x = rows * generator.uniform(0.4, 0.6), columns * generator.uniform(0.38, 0.62)
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:rows, :columns])
    warp = generator.uniform(0.05, 0.22) * radius
    dy = y - middle_y + warp * _noise(generator, (rows, columns), radius)
    dx = x - middle_x + warp * _noise(generator, (rows, columns), radius)
    along = (dx * math.cos(turn) + dy * math.sin(turn)) / stretch
    across = (dy * math.cos(turn) - dx * math.sin(turn)) * stretch
    angle = np.arctan2(across, along)
    lobes = sum(
        generator.normal(0, 0.1) / k * np.cos(k * angle + generator.uniform(0, 2 * math.pi)) for k in range(2, 7)
    )
    return np.asarray(np.sqrt(along**2 + across**2) / (radius * (1 + lobes)), dtype=np.float32)


def _pigment(generator: np.random.Generator, distance: _Field) -> _Field:
    """How much of each colour the lesion takes away (row, column, 3): patches, network, dots, a paler middle."""
    shape, pigments = (distance.shape[0], distance.shape[1]), np.asarray(_PIGMENTS, dtype=np.float32)
    first, second = generator.choice(len(_PIGMENTS), 2, replace=False)
    patches = np.clip(0.5 + 0.9 * _noise(generator, shape, generator.uniform(20, 60)), 0, 1)[..., None]
    colour = (1 - patches) * pigments[first] + patches * pigments[second]
    grain = 0.14 * _noise(generator, shape, 3.0) + 0.1 * _noise(generator, shape, 8.0)
    dots = 0.35 * (_noise(generator, shape, 6.0) > 2.0)
    pale = generator.uniform(-0.2, 0.45) * np.exp(-((distance / 0.5) ** 2))
    return np.asarray(np.clip(colour * (1 + grain + dots - pale)[..., None], 0, 0.97), dtype=np.float32)


def _freckles(generator: np.random.Generator, rows: int, columns: int, distance: _Field) -> _Field:
    """Small spots outside the lesion that don't belong to it."""
    y, x = np.ogrid[:rows, :columns]
    spots = np.zeros((rows, columns), dtype=np.float32)
    for _ in range(int(generator.integers(0, 9))):
        cy, cx, radius = generator.uniform(0, rows), generator.uniform(0, columns), generator.uniform(2, 8)
        spots = np.maximum(spots, generator.uniform(0.3, 0.9) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / radius**2))
    return np.asarray(spots * (distance > 1.25), dtype=np.float32)


def _paint_over(skin: _Field, generator: np.random.Generator) -> _Field:
    """Hair, ruler, glare, bubbles of the gel: each in some photographs only. Ink would wait for a person."""
    rows, columns = skin.shape[:2]
    if generator.random() < 0.25:
        glare = Image.new("L", (columns, rows), 0)
        left, top = generator.uniform(0, columns), generator.choice([0.03, 0.9]) * rows
        box = [left, top, left + generator.uniform(20, 60), top + generator.uniform(8, 20)]
        ImageDraw.Draw(glare).ellipse(box, fill=60)
        skin = _blend(skin, glare, (1.0, 1.0, 1.0))
    if generator.random() < 0.5:
        hair = Image.new("L", (columns, rows), 0)
        pen = ImageDraw.Draw(hair)
        for _ in range(int(generator.integers(4, 22))):
            heading = generator.uniform(0, 2 * math.pi) + generator.normal(0, 0.8) * np.linspace(0, 1, 14)
            step = generator.uniform(8, 22)
            px = generator.uniform(0, columns) + np.cumsum(np.cos(heading)) * step
            py = generator.uniform(0, rows) + np.cumsum(np.sin(heading)) * step
            pen.line(list(zip(px.tolist(), py.tolist(), strict=True)), fill=215, width=int(generator.integers(1, 3)))
        skin = _blend(skin, hair, tuple(np.multiply((0.14, 0.09, 0.06), generator.uniform(0.5, 3.0)).tolist()))
    if generator.random() < 0.25:
        ruler = Image.new("L", (columns, rows), 0)
        pen, pitch = ImageDraw.Draw(ruler), generator.uniform(6, 14)
        for number in range(int(columns / pitch) + 1):
            pen.line([(number * pitch, rows - 4), (number * pitch, rows - (18 if number % 5 == 0 else 10))], fill=230)
        skin = _blend(skin, ruler, (0.08, 0.08, 0.1))
    bubbles = Image.new("L", (columns, rows), 0)
    for _ in range(int(generator.integers(0, 12))):
        bx, by, radius = generator.uniform(0, columns), generator.uniform(0, rows), generator.uniform(1.5, 5)
        ImageDraw.Draw(bubbles).ellipse([bx - radius, by - radius, bx + radius, by + radius], outline=120)
    return _blend(skin, bubbles, (1.0, 1.0, 1.0))


def _blend(skin: _Field, canvas: Image.Image, colour: tuple[float, ...]) -> _Field:
    alpha = np.asarray(canvas, dtype=np.float32)[..., None] / np.float32(255)
    return skin + alpha * (np.asarray(colour, dtype=np.float32) - skin)


def _light(generator: np.random.Generator, rows: int, columns: int) -> _Field:
    """A slope of light, and the dark corners of the lens in some photographs."""
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    slope, angle = generator.uniform(0, 0.12), generator.uniform(0, 2 * math.pi)
    light = 1 + slope * (x * math.cos(angle) + y * math.sin(angle))
    if generator.random() < 0.45:
        edge = generator.uniform(0.92, 1.25)
        aspect = columns / rows
        from_middle = np.sqrt((x * aspect) ** 2 + y**2) / math.hypot(aspect, 1) * 1.25
        light = light / (1 + np.exp(np.clip((from_middle - edge) / 0.03, -30, 30)))
    else:
        light = light * (1 - generator.uniform(0, 0.2) * (x**2 + y**2) / 2)
    return np.asarray(light, dtype=np.float32)
