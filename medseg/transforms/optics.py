"""Optics: what light, lens, skin and hand do to a dermoscopy photograph.

Arrays are (channel, x, y) float32; colours in 0..1. A colour change is one 3 x 3 matrix and an offset. The draws and
the drawings (hairs, ruler marks) come from the generator that is passed.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from medseg.config import AugmentConfig

__all__ = ["change_colour", "change_optics", "draw_hairs", "draw_ruler", "equalise", "move_camera"]

_Image = npt.NDArray[np.float32]
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def change_optics(image: _Image, augment: AugmentConfig, *, rgb: bool, generator: np.random.Generator) -> _Image:
    """Draw and apply the optical changes of one 2D patch.

    Args:
        image: (channel, x, y) float32; in 0..1 when `rgb`.
        augment: Probabilities. Hue, saturation, brightness, contrast, hair and ruler need `rgb`.
        rgb: Whether the channels are red, green, blue.
        generator: Source of every draw.

    Returns:
        The changed patch, same shape, float32. Not clipped.
    """
    if rgb:
        if generator.random() < augment.hair:
            image = draw_hairs(image, generator=generator)
        if generator.random() < augment.ruler:
            image = draw_ruler(image, generator=generator)
        image = _draw_colour(image, augment, generator)
    if generator.random() < augment.clahe:
        image = equalise(image, clip=generator.uniform(1.5, 3.0), rgb=rgb)
    if generator.random() < augment.motion_blur:
        image = move_camera(image, length=generator.uniform(3.0, 9.0), angle=generator.uniform(0.0, math.pi))
    return image


def change_colour(image: _Image, *, brightness: float, contrast: float, hue: float, saturation: float) -> _Image:
    """Multiply by `brightness`, stretch about the mean by `contrast`, turn the hue, scale the saturation: one matrix.

    Args:
        image: (3, x, y) in 0..1.
        brightness: Factor; 1 changes nothing.
        contrast: Factor about the mean luminance; 1 changes nothing.
        hue: Angle in the chrominance plane of YIQ, radians; 0 changes nothing.
        saturation: Factor of the chrominance; 1 changes nothing.
    """
    cosine, sine = saturation * math.cos(hue), saturation * math.sin(hue)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    matrix = (brightness * contrast) * (_FROM_YIQ @ turn @ _TO_YIQ)
    flat = image.reshape(3, -1)
    mean = brightness * float(_LUMA @ flat.mean(axis=1))
    changed: _Image = matrix.astype(np.float32) @ flat
    changed += np.float32(mean * (1.0 - contrast))
    return changed.reshape(image.shape)


def equalise(image: _Image, *, clip: float, rgb: bool, tiles: int = 8) -> _Image:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994).

    Args:
        image: (channel, x, y); 0..1 when `rgb`.
        clip: Largest histogram bin, in multiples of the mean bin.
        rgb: Equalise the luminance and shift the colours with it; otherwise each channel between its extremes.
        tiles: Tiles along each axis.
    """
    if rgb:
        luma = np.tensordot(_LUMA, image, axes=1)
        return image + (_equalise_plane(np.clip(luma, 0, 1), clip, tiles) - luma)
    planes = []
    for plane in image:
        low, high = float(plane.min()), float(plane.max())
        span = max(high - low, 1e-6)
        planes.append(_equalise_plane((plane - low) / span, clip, tiles) * span + low)
    return np.stack(planes).astype(np.float32)


def move_camera(image: _Image, *, length: float, angle: float) -> _Image:
    """Mean along a line of `length` voxels at `angle` (radians from the x axis); the border repeats."""
    steps = max(2, math.ceil(length))
    offsets = np.linspace(-length / 2, length / 2, steps)
    shifts = [(round(o * math.cos(angle)), round(o * math.sin(angle))) for o in offsets]
    pad = max(max(abs(dx), abs(dy)) for dx, dy in shifts)
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    width, height = image.shape[1:]
    total = np.zeros_like(image)
    for dx, dy in shifts:
        total += padded[:, pad + dx : pad + dx + width, pad + dy : pad + dy + height]
    total *= np.float32(1.0 / len(shifts))
    return total


def draw_hairs(image: _Image, *, generator: np.random.Generator) -> _Image:
    """Draw 3 to 14 curved dark hairs over the photograph; the label map beneath stays."""
    width, height = image.shape[1:]
    canvas = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    size = max(width, height)
    for _ in range(int(generator.integers(3, 15))):
        start = generator.uniform(0, 1, 2) * (width, height)
        heading, bend = generator.uniform(0, 2 * math.pi), generator.normal(0, 1.2)
        along = np.linspace(0, 1, 12)
        angles = heading + bend * along
        step = generator.uniform(0.3, 1.0) * size / len(along)
        points = start + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1) * step, axis=0)
        thick = max(1, round(generator.uniform(0.6, 2.4) * size / 256))
        pen.line([(float(x), float(y)) for x, y in points], fill=int(generator.uniform(150, 240)), width=thick)
    colour = np.array([0.12, 0.08, 0.06]) * generator.uniform(0.4, 2.5)
    return _paint(image, canvas, colour)


def draw_ruler(image: _Image, *, generator: np.random.Generator) -> _Image:
    """Draw a line of ruler marks, every fifth longer, near one border."""
    width, height = image.shape[1:]
    canvas = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    along_x = bool(generator.integers(2))
    length, depth = (width, height) if along_x else (height, width)
    edge = generator.uniform(0.02, 0.14) * depth
    far = bool(generator.integers(2))
    pitch = length / generator.uniform(14, 40)
    opaque, thick = int(generator.uniform(120, 230)), max(1, round(depth / 200))
    for number, place in enumerate(np.arange(generator.uniform(0, pitch), length, pitch)):
        tick = depth * (0.05 if number % 5 == 0 else 0.025)
        first, last = (depth - edge, depth - edge - tick) if far else (edge, edge + tick)
        line = [(place, first), (place, last)] if along_x else [(first, place), (last, place)]
        pen.line([(float(x), float(y)) for x, y in line], fill=opaque, width=thick)
    dark = generator.random() < 0.7
    return _paint(image, canvas, np.full(3, 0.1 if dark else 0.9))


def _draw_colour(image: _Image, augment: AugmentConfig, generator: np.random.Generator) -> _Image:
    chosen = generator.random(4) < (augment.brightness, augment.contrast, augment.hue, augment.saturation)
    low, high = np.array([0.75, 0.75, -0.25, 0.7]), np.array([1.25, 1.3, 0.25, 1.35])
    drawn = np.where(chosen, generator.uniform(low, high), (1.0, 1.0, 0.0, 1.0))
    if not chosen.any():
        return image
    brightness, contrast, hue, saturation = (float(v) for v in drawn)
    return change_colour(image, brightness=brightness, contrast=contrast, hue=hue, saturation=saturation)


def _paint(image: _Image, canvas: Image.Image, colour: npt.NDArray[np.float64]) -> _Image:
    """Blend `colour` over the image where the canvas (Pillow's x, y; ours too once transposed) is opaque."""
    alpha = np.asarray(canvas, dtype=np.float32).T / np.float32(255)
    return image + alpha * (colour.astype(np.float32)[:, None, None] - image)


def _equalise_plane(plane: _Image, clip: float, tiles: int, bins: int = 128) -> _Image:
    """CLAHE of one plane in 0..1: a clipped cumulative histogram per tile, interpolated between tile centres."""
    width, height = plane.shape
    level = np.minimum((plane * bins).astype(np.int32), bins - 1)
    tile_x, tile_y = np.arange(width) * tiles // width, np.arange(height) * tiles // height
    tile = tile_x[:, None] * tiles + tile_y[None, :]
    counts = np.bincount((tile * bins + level).ravel(), minlength=tiles * tiles * bins).reshape(-1, bins)
    total = counts.sum(axis=1, keepdims=True)
    limit = clip * total / bins
    clipped = np.minimum(counts, limit)
    clipped += (total - clipped.sum(axis=1, keepdims=True)) / bins
    curves = (np.cumsum(clipped, axis=1) / np.maximum(total, 1)).astype(np.float32).ravel()
    low_x, high_x, part_x = _between_tiles(width, tiles)
    low_y, high_y, part_y = _between_tiles(height, tiles)
    columns = []
    for column in (low_x, high_x):
        base = column[:, None] * (tiles * bins) + level
        first, second = curves[base + low_y * bins], curves[base + high_y * bins]
        columns.append(first + part_y * (second - first))
    blended: _Image = columns[0] + part_x[:, None] * (columns[1] - columns[0])
    return blended


def _between_tiles(length: int, tiles: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], _Image]:
    place = (np.arange(length) + 0.5) * tiles / length - 0.5
    low = np.clip(np.floor(place), 0, tiles - 1).astype(np.int32)
    high = np.minimum(low + 1, tiles - 1).astype(np.int32)
    return low, high, np.clip(place - low, 0, 1).astype(np.float32)
