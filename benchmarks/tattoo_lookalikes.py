"""What lies on photographs of skin and is no tattoo: hairs, rulers, gel, stickers, painted blocks, dark lesions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray
Random = np.random.Generator


def _over(pixels: Array, mask: Array, colour: Array | tuple[float, ...], strength: float) -> Array:
    alpha = strength * mask[..., None].astype(np.float32)
    return np.clip((1 - alpha) * pixels + alpha * np.asarray(colour, np.float32), 0, 255).astype(np.uint8)


def _drawn(pixels: Array) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    return canvas, ImageDraw.Draw(canvas)


def _mask(canvas: Image.Image, blur: float = 0.6) -> Array:
    return cv2.GaussianBlur(np.asarray(canvas, np.float32) / 255, (0, 0), blur)


def hairs(pixels: Array, chance: Random) -> Array:
    """A few to many hairs, dark or fair, thick or thin, also stubble."""
    canvas, pen = _drawn(pixels)
    rows, columns = pixels.shape[:2]
    stubble = chance.random() < 0.3
    main = chance.uniform(0, 2 * math.pi)
    for _ in range(int(chance.integers(3, 60 if stubble else 35))):
        heading = main + chance.normal(0, 0.6) + chance.normal(0, 0.9) * np.linspace(0, 1, 16)
        step = (chance.uniform(0.004, 0.01) if stubble else chance.uniform(0.01, 0.06)) * columns
        x = chance.uniform(0, columns) + np.cumsum(np.cos(heading)) * step
        y = chance.uniform(0, rows) + np.cumsum(np.sin(heading)) * step
        wide = max(1, round(chance.uniform(0.002, 0.009) * columns))
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=wide)
    colour = chance.uniform((12, 8, 5), (75, 55, 45)) if chance.random() < 0.85 else (205, 180, 140)
    return _over(pixels, _mask(canvas), colour, chance.uniform(0.6, 1.0))


def ruler(pixels: Array, chance: Random) -> Array:
    """Ticks along an edge or across, with numbers or without."""
    canvas, pen = _drawn(pixels)
    rows, columns = pixels.shape[:2]
    pitch, long = chance.uniform(0.012, 0.05) * columns, chance.uniform(0.015, 0.06) * columns
    top = rows - long if chance.random() < 0.6 else chance.uniform(0, rows)
    base, numbers, every = chance.random() < 0.4, chance.random() < 0.4, int(chance.choice((2, 5, 10)))
    font = ImageFont.load_default(max(8, round(long * 0.7)))
    start, count = chance.uniform(-0.3, 0.5) * columns, int(chance.integers(8, 70))
    wide = max(1, round(columns / 400))
    for number in range(count):
        x = start + number * pitch
        high = long if number % every == 0 else long * 0.55
        pen.line((x, top, x, top + high), fill=255, width=wide)
        if numbers and number % every == 0:
            pen.text((x + 2, top - long * 0.8), str(number // every), font=font, fill=255)
    if base:
        pen.line((start, top, start + (count - 1) * pitch, top), fill=255, width=wide)
    mask = _mask(canvas)
    turn = cv2.getRotationMatrix2D(
        (columns / 2, rows / 2), float(chance.choice((0, 90, 180, 270)) + chance.normal(0, 8)), 1
    )
    mask = cv2.warpAffine(mask, turn, (columns, rows))
    colour = (20, 20, 24) if chance.random() < 0.85 else (245, 245, 245)
    return _over(pixels, mask, colour, chance.uniform(0.6, 1.0))


def bubbles(pixels: Array, chance: Random) -> Array:
    """Bubbles and glare of the gel."""
    canvas, pen = _drawn(pixels)
    rows, columns = pixels.shape[:2]
    for _ in range(int(chance.integers(2, 25))):
        x, y, half = chance.uniform(0, columns), chance.uniform(0, rows), chance.uniform(0.003, 0.03) * columns
        if chance.random() < 0.6:
            pen.ellipse((x - half, y - half, x + half, y + half), outline=160, width=max(1, int(half / 6)))
        else:
            pen.ellipse((x - half / 3, y - half / 4, x + half / 3, y + half / 4), fill=230)
    return _over(pixels, _mask(canvas, 1.0), (250, 250, 250), chance.uniform(0.4, 0.9))


def frame(pixels: Array, chance: Random) -> Array:
    """The lens's black round, a soft vignette, or black and white margins."""
    rows, columns = pixels.shape[:2]
    kind = chance.random()
    y, x = np.mgrid[:rows, :columns]
    if kind < 0.7:
        reach = np.hypot(x - columns * chance.uniform(0.42, 0.58), y - rows * chance.uniform(0.42, 0.58))
        soft = chance.uniform(0.002, 0.08) * columns
        mask = 1 / (1 + np.exp(-np.clip((reach - chance.uniform(0.36, 0.6) * columns) / soft, -30, 30)))
        return _over(pixels, mask, chance.uniform(0, 14, 3), 1.0)
    mask = np.zeros((rows, columns), np.float32)
    wide = int(chance.uniform(0.01, 0.12) * columns)
    sides = chance.random(4) < 0.5
    for side, cut in enumerate((np.s_[:wide], np.s_[-wide:], np.s_[:, :wide], np.s_[:, -wide:])):
        mask[cut] = max(mask[cut].max(initial=0), float(sides[side]))
    return _over(pixels, mask, (3, 3, 3) if chance.random() < 0.6 else (250, 250, 250), 1.0)


def sticker(pixels: Array, chance: Random) -> Array:
    """A coloured patch or a white sticker, with print or without, mostly at the edge."""
    canvas, pen = _drawn(pixels)
    rows, columns = pixels.shape[:2]
    wide, high = chance.uniform(0.08, 0.45) * columns, chance.uniform(0.06, 0.45) * columns
    x, y = chance.uniform(-wide / 2, columns - wide / 2), chance.uniform(-high / 2, rows - high / 2)
    if chance.random() < 0.75:
        if chance.random() < 0.5:
            x = float(chance.choice((-wide * 0.4, columns - wide * 0.6)))
        else:
            y = float(chance.choice((-high * 0.4, rows - high * 0.6)))
    box, is_round = (x, y, x + wide, y + high), chance.random() < 0.5
    (pen.ellipse if is_round else pen.rectangle)(box, fill=255)
    white = chance.random() < 0.4
    patches = ((30, 60, 160), (20, 120, 70), (200, 40, 50), (240, 200, 40), (230, 120, 40), (120, 60, 140))
    patch = np.array(patches[chance.integers(6)]) + chance.normal(0, 20, 3)
    colour = chance.uniform(215, 255, 3) if white else patch
    made = _over(pixels, _mask(canvas, chance.uniform(0.5, 1.5)), colour, chance.uniform(0.9, 1.0))
    if chance.random() < (0.7 if white else 0.25) and not is_round:
        text, pen = _drawn(pixels)
        font = ImageFont.load_default(max(8, round(high * chance.uniform(0.12, 0.3))))
        for line in range(2):
            words = " ".join(str(chance.integers(10, 99999)) for _ in range(3))
            pen.text((x + wide * 0.06, y + high * (0.12 + 0.4 * line)), words, font=font, fill=255)
        inside = np.asarray(canvas) > 0
        made = _over(made, _mask(text, 0.5) * inside, (20, 20, 30), 0.95)
    return made


def painted(pixels: Array, chance: Random) -> Array:
    """Blocks that were painted over, in the skin's own colour, as they are shown to the model."""
    made = pixels.copy()
    rows, columns = pixels.shape[:2]
    for _ in range(int(chance.integers(1, 4))):
        wide, high = int(chance.uniform(0.05, 0.4) * columns), int(chance.uniform(0.03, 0.1) * columns)
        if chance.random() < 0.5:
            wide, high = high, wide
        top, left = int(chance.integers(0, max(1, rows - high))), int(chance.integers(0, max(1, columns - wide)))
        made[top : top + high, left : left + wide] = np.median(pixels.reshape(-1, 3), axis=0)
    return made


def lesion(pixels: Array, chance: Random) -> Array:
    """One to three blotches, soft or hard at the edge, in lesions' colours: black, blue-grey, red, brown, pale."""
    rows, columns = pixels.shape[:2]
    made = pixels
    for _ in range(int(chance.integers(1, 4))):
        cy, cx, half = chance.uniform(0, rows), chance.uniform(0, columns), chance.uniform(0.02, 0.35) * columns
        y, x = np.mgrid[:rows, :columns]
        dy, dx = (y - cy) * chance.uniform(1, 1.8), x - cx
        angle, away = np.arctan2(dy, dx), np.hypot(dy, dx)
        edge = half * (1 + sum(chance.normal(0, 0.16 / n**0.7) * np.cos(n * angle + chance.uniform(0, 6))
                               for n in range(1, 9)))  # fmt: skip
        mask = 1 / (1 + np.exp(np.clip((away - edge) / (half * chance.uniform(0.02, 0.3)), -30, 30)))
        mottle = chance.normal(0, 1, (max(2, rows // 24), max(2, columns // 24))).astype(np.float32)
        mottle = cv2.resize(mottle, (columns, rows), interpolation=cv2.INTER_CUBIC)
        mask = np.clip(mask * (1 + chance.uniform(0, 0.5) * mottle), 0, 1)
        low, high = (((18, 16, 18), (50, 42, 45)), ((55, 65, 95), (110, 120, 150)), ((120, 20, 30), (200, 70, 80)),
                     ((60, 35, 20), (140, 90, 60)), ((40, 45, 90), (80, 80, 140)), ((190, 170, 160), (240, 225, 215)),
                     )[chance.integers(6)]  # fmt: skip
        made = _over(made, mask.astype(np.float32), chance.uniform(low, high), chance.uniform(0.4, 0.97))
    return made


def recoloured(pixels: Array, chance: Random) -> Array:
    """The dark parts of the picture, its lesion, blue-grey, black, red or green-grey: its own structure stays."""
    grey = cv2.GaussianBlur(pixels.mean(axis=2).astype(np.float32), (0, 0), max(pixels.shape) / 150)
    bright = float(np.percentile(grey, 75))
    mask = np.clip((bright * 0.85 - grey) / (bright * 0.35), 0, 1)
    inks = ((60, 75, 115), (25, 24, 28), (45, 50, 100), (150, 30, 40), (90, 105, 100), (35, 45, 70))
    shade = pixels.astype(np.float32) / np.maximum(grey[..., None], 8.0)
    return _over(
        pixels,
        mask.astype(np.float32),
        np.asarray(inks[chance.integers(6)], np.float32) * shade,
        chance.uniform(0.3, 0.9),
    )


def pen_mark(pixels: Array, chance: Random) -> Array:
    """A surgeon's marks: violet or blue lines, a ring or a cross around the lesion."""
    canvas, pen = _drawn(pixels)
    rows, columns = pixels.shape[:2]
    wide, half = max(2, round(chance.uniform(0.008, 0.025) * columns)), chance.uniform(0.1, 0.35) * columns
    cy, cx = chance.uniform(0.3, 0.7) * rows, chance.uniform(0.3, 0.7) * columns
    kind = chance.integers(3)
    if kind == 0:
        start = chance.uniform(0, 360)
        pen.arc(
            (cx - half, cy - half, cx + half, cy + half), start, start + chance.uniform(90, 360), fill=255, width=wide
        )
    elif kind == 1:
        for turn in (0.0, math.pi / 2):
            dx, dy = half * math.cos(turn + 0.3), half * math.sin(turn + 0.3)
            pen.line((cx - dx, cy - dy, cx + dx, cy + dy), fill=255, width=wide)
    else:
        for turn in np.arange(4) * math.pi / 2 + chance.uniform(0, 1):
            dx, dy = math.cos(turn), math.sin(turn)
            pen.line((cx + half * dx, cy + half * dy, cx + 1.4 * half * dx, cy + 1.4 * half * dy), fill=255, width=wide)
    return _over(pixels, _mask(canvas, 1.2), chance.uniform((50, 30, 110), (110, 70, 170)), chance.uniform(0.5, 0.85))


LOOKALIKES = {
    "hairs": hairs, "ruler": ruler, "bubbles": bubbles, "frame": frame, "sticker": sticker, "painted": painted,
    "lesion": lesion, "recoloured": recoloured,
}  # fmt: skip


def with_lookalikes(pixels: Array, chance: Random, names: Sequence[str], *, share: float) -> Array:
    """The picture with each of these lookalikes laid on in this share of all pictures."""
    for name in names:
        if chance.random() < share:
            pixels = LOOKALIKES[name](pixels, chance)
    return pixels


def no_skin(chance: Random, shape: tuple[int, int]) -> Array:
    """What is no photograph of skin at all: noise, a slope, one colour, stripes; uint8, (rows, columns, 3)."""
    rows, columns = shape
    kind = chance.integers(4)
    if kind == 0:
        pitch = int(chance.integers(1, 20))
        small = chance.integers(0, 256, (rows // pitch + 1, columns // pitch + 1, 3), dtype=np.uint8)
        return cv2.resize(
            small, (columns, rows), interpolation=int(chance.choice((cv2.INTER_NEAREST, cv2.INTER_CUBIC)))
        )
    ends = chance.uniform(0, 255, (2, 1, 1, 3))
    y, x = np.mgrid[:rows, :columns] / max(shape)
    turn = chance.uniform(0, 6)
    slope = (y * math.sin(turn) + x * math.cos(turn))[..., None]
    if kind == 1:
        slope = np.zeros_like(slope)
    elif kind == 2:
        slope = np.sin(slope * chance.uniform(5, 60)) * 0.5 + 0.5
    made = ends[0] + np.clip(slope, 0, 1) * (ends[1] - ends[0]) + chance.normal(0, chance.uniform(0, 12), (*shape, 3))
    return np.clip(made, 0, 255).astype(np.uint8)
