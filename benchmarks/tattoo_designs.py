"""Tattoos of invented designs laid on photographs of skin, and what is no tattoo but looks like one.

Two families of designs share no font, no icon, no portrait and no way of drawing: a model that learns from the one is
measured with the other. The fonts and icons come from the packages in requirements.txt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import skimage
import sklearn
from HersheyFonts import HersheyFonts
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

Family = Literal["train", "test"]
Array = np.ndarray
Random = np.random.Generator

INKS = ("black", "blue", "green", "red", "faded", "colours")
SIZES = ((0.08, 0.15), (0.15, 0.3), (0.3, 0.6), (0.6, 1.0), (1.0, 1.5))
"""Widths of tattoos, over the picture's, that are measured."""
_SIDE = 320
"""Pixels of the square that a design is drawn in."""
_VISIBLE = 14
"""Mean change of the three colours from which ink can be seen; 60 % of a design may be outside or invisible."""
_FONTS = {
    "train": ("DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "AmaticSC-Bold.ttf", "Lato-Black.ttf", "Lato-LightItalic.ttf"),
    "test": ("Intuitive.ttf", "FredokaOne-Regular.ttf", "SourceSerifPro-BoldIt.ttf", "Caladea-Bold.ttf"),
}
_HERSHEY = {
    "train": ("gothiceng", "scripts", "rowmans", "timesib", "greek"),
    "test": ("gothicger", "cursive", "scriptc", "futuram", "cyrillic"),
}
_WORDS = {
    "train": ("Mama", "LOVE", "Carpe diem", "1987", "Mia", "NO REGRETS", "13.07.02", "Forever", "A+K", "Hope", "XIII"),
    "test": (
        "Papa",
        "Amor",
        "Memento mori",
        "2004",
        "Leo",
        "STAY TRUE",
        "24/12/95",
        "Believe",
        "J & M",
        "Faith",
        "VII",
    ),
}


@dataclass(frozen=True)
class Laid:
    """A picture with a tattoo.

    Attributes:
        pixels: uint8, (rows, columns, 3), RGB.
        ink: Where ink can be seen, 0 to 1, (rows, columns).
        kind: The kind of design.
        colour: One of `INKS`.
        size: Width of the design over that of the picture.
    """

    pixels: Array
    ink: Array
    kind: str
    colour: str
    size: float


def parts_of(paths: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Pictures to learn from, to choose the threshold with and to measure with: blocks of ten of the sorted names."""
    turns = [(path, number // 10 % 10) for number, path in enumerate(sorted(paths))]
    one, two, three = ([path for path, t in turns if t in part] for part in ((0, 2, 4, 6, 8), (1, 5), (3, 7, 9)))
    return one, two, three


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"{name} is missing: pip install -r benchmarks/requirements.txt")
    return Path(found.origin).parent


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    folders = {"Dej": Path(font_manager.__file__).parent / "mpl-data" / "fonts" / "ttf"}
    for package in ("font_amatic_sc", "font_intuitive", "font_fredoka_one", "font_caladea", "font_lato",
                    "font_source_serif_pro"):  # fmt: skip
        folders[package] = _package(package) / "files"
    folders["icons"] = _package("fontawesomefree") / "static" / "fontawesomefree" / "webfonts"
    for folder in folders.values():
        if (folder / name).is_file():
            return ImageFont.truetype(str(folder / name), size)
    raise SystemExit(f"no font {name}")


def _blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (_SIDE, _SIDE))
    return canvas, ImageDraw.Draw(canvas)


def _lettering(chance: Random, family: Family) -> Array:
    """A word or a date in a font, straight or on a wave."""
    canvas, _ = _blank()
    word = str(chance.choice(_WORDS[family]))
    font = _font(str(chance.choice(_FONTS[family])), int(chance.integers(40, 110)))
    left, top, right, bottom = font.getbbox(word)
    line = Image.new("L", (int(right - left) + 12, int(bottom - top) + 12))
    ImageDraw.Draw(line).text((6 - left, 6 - top), word, font=font, fill=255)
    line.thumbnail((_SIDE, _SIDE))
    rows = 1 if line.size[1] * 2 > _SIDE or chance.random() < 0.6 else 2
    for row in range(rows):
        canvas.paste(line, ((_SIDE - line.size[0]) // 2, (_SIDE - rows * line.size[1]) // 2 + row * line.size[1]))
    drawn = np.asarray(canvas, np.float32) / 255
    if chance.random() < 0.4:
        wave = chance.uniform(5, 25) * np.sin(np.arange(_SIDE) * 2 * math.pi / chance.uniform(200, 600) + 1)
        drawn = np.stack([np.roll(drawn[:, x], int(wave[x])) for x in range(_SIDE)], axis=1)
    return drawn


def _script(chance: Random, family: Family) -> Array:
    """A word in a vector font, with a pen of any width."""
    hershey = HersheyFonts()
    hershey.load_default_font(str(chance.choice(_HERSHEY[family])))
    hershey.normalize_rendering(60)
    lines = np.array(list(hershey.lines_for_text(str(chance.choice(_WORDS[family])))), np.float32)
    points = lines.reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    lines = (lines - low) * min((_SIDE - 30) / max(float((high - low).max()), 1.0), 4.0) + 15
    lines[..., 1] = lines[..., 1].max() + 15 - lines[..., 1]
    lines[..., 1] += (_SIDE - lines[..., 1].max()) / 2
    canvas, pen = _blank()
    wide = int(chance.integers(2, 9))
    for (x0, y0), (x1, y1) in lines.tolist():
        pen.line((x0, y0, x1, y1), fill=255, width=wide)
    return np.asarray(canvas, np.float32) / 255


_ICONS = {
    "train": (0xF6D5, 0xF54C, 0xF004, 0xF4BA, 0xF06D, 0xF188, 0xF1B0, 0xF001, 0xF521, 0xF6BE, 0xF4D8, 0xF714, 0xF0C1,
              0xF0E7, 0xF13D, 0xF14E, 0xF578, 0xF6F0, 0xF72F, 0xF084, 0xF717, 0xE599),
    "test": (0xF005, 0xF52D, 0xF6ED, 0xF186, 0xF185, 0xF1BB, 0xF6D3, 0xF520, 0xF72E, 0xF441, 0xF43F, 0xF56B,
             0xF6E8, 0xF255, 0xF2DC, 0xF53E, 0xF6D7, 0xF06C, 0xF654, 0xF67F, 0xF6AD),
}  # fmt: skip
"""Font Awesome's solid icons: dragon, skull, heart, crow ... and star, dove, raven-like birds, moon, sun ..."""


def _icon(chance: Random, family: Family) -> Array:
    """An icon, solid or only its outline."""
    font = _font("fa-solid-900.ttf", 220)
    canvas, pen = _blank()
    sign = chr(int(chance.choice(_ICONS[family])))
    left, top, right, bottom = font.getbbox(sign)
    room = ((_SIDE - right + left) / 2 - left, (_SIDE - bottom + top) / 2 - top)
    if chance.random() < 0.5:
        pen.text(room, sign, font=font, fill=255)
    else:
        pen.text(room, sign, font=font, fill=0, stroke_width=int(chance.integers(3, 9)), stroke_fill=255)
        pen.text(room, sign, font=font, fill=0)
    return np.asarray(canvas, np.float32) / 255


def _curve(pen: ImageDraw.ImageDraw, x: Array, y: Array, wide: Array | int) -> None:
    """A stroke through points, of one width or one a point."""
    widths = np.broadcast_to(np.asarray(wide), x.shape)
    for i in range(len(x) - 1):
        half = max(1.0, float(widths[i]) / 2)
        pen.line((x[i], y[i], x[i + 1], y[i + 1]), fill=255, width=max(1, round(2 * half)))
        if half > 1.5:
            pen.ellipse((x[i] - half, y[i] - half, x[i] + half, y[i] + half), fill=255)


def _solid(chance: Random, family: Family) -> Array:
    """Tribal blades (train); bands, checks and stars of many points (test)."""
    canvas, pen = _blank()
    steps = np.linspace(0, 1, 60)
    if family == "train":
        for _ in range(int(chance.integers(3, 8))):
            turn, bend = chance.uniform(0, 2 * math.pi), chance.normal(0, 3)
            heading = turn + bend * steps
            step = chance.uniform(2, 5)
            x = _SIDE / 2 + chance.normal(0, 40) + np.cumsum(np.cos(heading)) * step
            y = _SIDE / 2 + chance.normal(0, 40) + np.cumsum(np.sin(heading)) * step
            _curve(pen, x, y, chance.uniform(10, 45) * np.sin(np.pi * steps) ** chance.uniform(0.6, 1.5))
    elif chance.random() < 0.5:
        points, deep = int(chance.integers(4, 13)), chance.uniform(0.3, 0.75)
        angles = np.arange(2 * points) * math.pi / points
        reach = np.where(np.arange(2 * points) % 2, deep, 1.0) * _SIDE * 0.45
        pen.polygon([(_SIDE / 2 + r * math.cos(a), _SIDE / 2 + r * math.sin(a))
                     for a, r in zip(angles, reach, strict=True)], fill=255)  # fmt: skip
        hole = chance.uniform(0, 0.3) * _SIDE
        pen.ellipse((_SIDE / 2 - hole / 2, _SIDE / 2 - hole / 2, _SIDE / 2 + hole / 2, _SIDE / 2 + hole / 2), fill=0)
    else:
        pitch = chance.uniform(20, 70)
        waves = np.sin(np.arange(_SIDE) * 2 * math.pi / pitch)
        middle = np.abs(np.arange(_SIDE)[:, None] - _SIDE / 2 - waves[None] * chance.uniform(0, 25))
        wide = chance.uniform(12, 45)
        drawn = (middle < wide) & ~((middle > wide * 0.35) & (middle < wide * chance.uniform(0.45, 0.8)))
        return drawn.astype(np.float32)
    return np.asarray(canvas, np.float32) / 255


def _outline(chance: Random, family: Family) -> Array:
    """Line drawings: loops of random splines and flowers (train); roses, Lissajous figures and spirals (test)."""
    canvas, pen = _blank()
    t = np.linspace(0, 2 * math.pi, 500)
    wide = int(chance.integers(2, 9))
    if family == "train":
        for _ in range(int(chance.integers(1, 5))):
            reach = chance.uniform(40, 140)
            for number in range(1, 6):
                reach = reach + chance.normal(0, 45 / number) * np.cos(number * t + chance.uniform(0, 6))
            cx, cy = chance.normal(_SIDE / 2, 25, 2)
            _curve(pen, cx + reach * np.cos(t), cy + reach * np.sin(t), wide)
    else:
        a, b = (int(n) for n in chance.integers(2, 8, 2))
        kind = chance.integers(3)
        if kind == 0:
            reach = 140 * np.cos(a * t)
            x, y = reach * np.cos(t), reach * np.sin(t)
        elif kind == 1:
            x, y = 140 * np.sin(a * t + chance.uniform(0, 3)), 140 * np.sin(b * t)
        else:
            reach = 140 * t / t[-1]
            x, y = reach * np.cos(a * t), reach * np.sin(a * t)
        _curve(pen, _SIDE / 2 + x, _SIDE / 2 + y, wide)
    return np.asarray(canvas, np.float32) / 255


@lru_cache(maxsize=2)
def _portraits(family: Family) -> list[Array]:
    """Grey pictures, 0 to 1, to be shaded."""
    data, more = Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"
    if family == "train":
        small = np.load(data / "lfw_subset.npy")[:100].astype(np.float32)
        found = [one / one.max() for one in small[:60]]
        boxes = [(data / "chelsea.png", (90, 10, 350, 270)), (more / "flower.jpg", (150, 60, 500, 410))] * 10
    else:
        found = []
        boxes = [(data / "astronaut.png", (140, 20, 310, 220)), (data / "camera.png", (150, 40, 400, 290)),
                 (data / "horse.png", (0, 0, 400, 328)), (data / "rocket.jpg", (220, 20, 420, 400))]  # fmt: skip
    for path, box in boxes:
        grey = np.asarray(Image.open(path).convert("L").crop(box), np.float32)
        found.append((grey - grey.min()) / max(float(np.ptp(grey)), 1.0))
    return found


def _shaded(chance: Random, family: Family) -> Array:
    """A portrait in shades of ink."""
    portraits = _portraits(family)
    grey = cv2.resize(portraits[int(chance.integers(len(portraits)))], (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE - 0.5
    inside = 1 / (1 + np.exp((np.sqrt((x / 0.4) ** 2 + (y / 0.46) ** 2) - 1) / 0.04))
    low, high = np.percentile(grey, (5, 95))
    shade = 1 - np.clip((grey - low) / max(high - low, 1e-3), 0, 1)
    return (np.clip(shade * chance.uniform(1.0, 1.4), 0, 1) * inside).astype(np.float32)


def _dotted(chance: Random, family: Family) -> Array:
    """Another design in dots: on a grid (train) or anywhere (test)."""
    under = _shaded(chance, family) if chance.random() < 0.4 else _icon(chance, family)
    under = cv2.GaussianBlur(under, (0, 0), 2)
    canvas, pen = _blank()
    if family == "train":
        pitch = int(chance.integers(9, 18))
        places = np.mgrid[pitch // 2 : _SIDE : pitch, pitch // 2 : _SIDE : pitch].reshape(2, -1).T
        sizes = under[places[:, 0], places[:, 1]] * pitch * 0.45
    else:
        places = chance.integers(0, _SIDE, (int(chance.integers(700, 2500)), 2))
        sizes = np.where(under[places[:, 0], places[:, 1]] > chance.random(len(places)), chance.uniform(1.5, 4), 0)
    for (row, column), half in zip(places.tolist(), sizes.tolist(), strict=True):
        if half >= 1:
            pen.ellipse((column - half, row - half, column + half, row + half), fill=255)
    return np.asarray(canvas, np.float32) / 255


DESIGNS: dict[str, Callable[[Random, Family], Array]] = {
    "lettering": _lettering, "script": _script, "icon": _icon, "solid": _solid, "outline": _outline,
    "shaded": _shaded, "dotted": _dotted,
}  # fmt: skip


def _ink_colour(chance: Random, colour: str, shape: tuple[int, int]) -> Array:
    """The ink's RGB, (rows, columns, 3), 0 to 255."""
    if colour == "colours":
        inks = [_ink_colour(chance, str(one), (1, 1))[0, 0] for one in chance.choice(INKS[:4], 3)]
        inks.append(np.array([chance.uniform(180, 240), chance.uniform(120, 190), chance.uniform(20, 80)]))
        turn = chance.uniform(0, 2 * math.pi)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        bands = (rows * math.sin(turn) + columns * math.cos(turn)) / max(shape) * chance.uniform(2, 7)
        return np.asarray(inks, np.float32)[np.floor(bands).astype(int) % len(inks)]
    low, high = {
        "black": ((20, 22, 26), (52, 56, 66)), "blue": ((25, 45, 100), (70, 95, 175)),
        "green": ((25, 85, 50), (80, 145, 105)), "red": ((140, 15, 25), (205, 55, 60)),
        "faded": ((62, 80, 84), (105, 122, 128)),
    }[colour]  # fmt: skip
    return np.broadcast_to(chance.uniform(low, high).astype(np.float32), (*shape, 3))


def _placed(chance: Random, design: Array, shape: tuple[int, int], size: float) -> tuple[Array, float]:
    """A design turned, scaled and put somewhere, maybe partly outside, (rows, columns), and the pixels of the whole."""
    rows, columns = shape
    kept = np.argwhere(design > 0.2)
    low, high = kept.min(axis=0), kept.max(axis=0)
    scale = size * columns / max(float(high[1] - low[1]), 0.3 * float(high[0] - low[0]), 1.0)
    turn = cv2.getRotationMatrix2D(
        tuple((low + high)[::-1] / 2.0), float(chance.uniform(0, 360) * (chance.random() < 0.7)), scale
    )
    turn[:, 2] += chance.uniform(0, columns), chance.uniform(0, rows)
    turn[:, 2] -= (low + high)[::-1] / 2.0
    method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    if scale < 0.6:
        design = cv2.GaussianBlur(design, (0, 0), 0.35 / scale)
    return np.asarray(cv2.warpAffine(design, turn, (columns, rows), flags=method)), float(len(kept)) * scale**2


def with_tattoo(pixels: Array, chance: Random, family: Family, *, colour: str = "", size: float = 0.0) -> Laid:
    """Lay a tattoo on a picture of skin, under its hairs, where it can be seen.

    Args:
        pixels: uint8, (rows, columns, 3), RGB.
        chance: Draws everything.
        family: Which designs.
        colour: One of `INKS`; any without it.
        size: Width of the design over that of the picture; 0.08 to 1.5 without it.
    """
    colour = colour or str(chance.choice(INKS))
    skin = pixels.astype(np.float32)
    smooth = cv2.GaussianBlur(skin, (0, 0), max(pixels.shape) / 80)
    light = smooth.max(axis=2)
    bright = light / max(float(np.percentile(light, 80)), 1.0)
    while True:
        kind = str(chance.choice(list(DESIGNS)))
        wide = size or float(np.exp(chance.uniform(math.log(0.08), math.log(1.5))))
        design = DESIGNS[kind](chance, family)
        for _ in range(6):
            placed, whole = _placed(chance, design, pixels.shape[:2], wide)
            blur = chance.uniform(0.3, 1.0 if colour != "faded" else 1.8) * max(pixels.shape) / 512
            placed = cv2.GaussianBlur(placed, (0, 0), blur)
            alpha = (chance.uniform(0.4, 0.6) if colour == "faded" else chance.uniform(0.55, 0.95)) * placed
            grain = cv2.GaussianBlur(chance.normal(0, 1, placed.shape).astype(np.float32), (0, 0), 1.5)
            alpha = np.clip(alpha * (1 + chance.uniform(0, 0.5) * grain), 0, 0.97)[..., None]
            ink = _ink_colour(chance, colour, placed.shape) * np.clip(bright, 0.1, 1.2)[..., None]
            over = (1 - alpha) * skin + alpha * (ink + chance.uniform(0.4, 0.9) * np.minimum(skin - smooth, 12))
            seen = np.abs(over - skin).mean(axis=2)
            visible = (seen > _VISIBLE) & (placed > 0.25)
            if visible.sum() >= 0.4 * min(whole, 0.25 * visible.size) and visible.mean() < 0.75:
                return Laid(np.clip(over, 0, 255).astype(np.uint8), placed * (seen > 8), kind, colour, wide)
