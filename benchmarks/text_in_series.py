"""Recall and cost of the look at a series (`medseg.privacy.series_text`) on synthetic text over real series.

usage: python benchmarks/text_in_series.py DICOM_FOLDER [--series 300] [--seed 1]

Backgrounds are runs of 20 to 40 slices of the folder's CT, MR and PET series, brought to about 400 pixels and 12 bits;
enlarged ones get noise of 0.2 to 1.2 % of the scale. A text of 8 to 40 px, every fourth upright or upside down, of at
least 20 % contrast (as in text_in_pixels.py) stands on all slices, on one in the middle, on the first or on the last.
False alarms and processor time are those of the same series without text.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from text_in_pixels import WORDS, fonts

from medseg.privacy.series_frames import spread
from medseg.privacy.series_text import GreyScale, has_still_text, odd_slices

_PLACES = ("all", "one", "first", "last")
_FEWEST_SLICES = 20
_FEWEST_PIXELS = 64
_SAMPLES = 8
_SIDE = 400
_GREYS = 2400.0
_PRINT_EVERY = 10


def volumes(folder: Path) -> list[np.ndarray]:
    """Series of at least 20 slices, (slice, row, column), by their position."""
    found: dict[str, list[tuple[float, np.ndarray]]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            source = pydicom.dcmread(path)
            if source.Modality not in ("CT", "MR", "PT") or min(source.Rows, source.Columns) < _FEWEST_PIXELS:
                continue
            pixels = source.pixel_array.astype(np.float32) * float(source.get("RescaleSlope", 1))
            position = float(np.dot(source.ImagePositionPatient, _normal(source.ImageOrientationPatient)))
        except Exception:
            # A file that pydicom can't decode is no background.
            continue
        if pixels.ndim == 2:
            found[f"{source.SeriesInstanceUID} {pixels.shape}"].append((position, pixels))
    series = [[pixels for _, pixels in sorted(slices, key=lambda one: one[0])] for _, slices in sorted(found.items())]
    stacks = [np.stack(slices) for slices in series if len(slices) >= _FEWEST_SLICES]
    return [stack for stack in stacks if np.ptp(np.percentile(stack, (1, 99.5))) > 0]


def _normal(directions: Sequence[float]) -> np.ndarray:
    return np.cross(directions[:3], directions[3:])


def cut(stack: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Some slices of a series, uint16, (slice, row, column)."""
    count = min(len(stack), int(chance.integers(20, 41)))
    start = int(chance.integers(0, len(stack) - count + 1))
    part = stack[start : start + count]
    factor = max(1, round(_SIDE / max(part.shape[1:])))
    if factor > 1:
        size = (part.shape[2] * factor, part.shape[1] * factor)
        part = np.stack([np.asarray(Image.fromarray(s).resize(size, Image.Resampling.BICUBIC)) for s in part])
    low, high = np.percentile(part[::4], (0.1, 99.9))
    grey = np.clip((part - low) / max(high - low, 1e-6), -0.05, 1.25) * _GREYS + 300
    if factor > 1:
        grey = grey + chance.normal(0, chance.uniform(0.002, 0.012) * _GREYS, grey.shape)
    return grey.clip(0, 4095).astype(np.uint16)


def write(frames: np.ndarray, where: str, choose: random.Random, files: Sequence[str]) -> np.ndarray | None:
    """The slices with a text on some of them; nothing where no place for it was found."""
    one = {"one": [choose.randrange(1, len(frames) - 1)], "first": [0], "last": [len(frames) - 1]}
    chosen = one.get(where, list(range(len(frames))))
    low, high = np.percentile(frames[chosen], (1, 99.5))
    for _ in range(500):
        turns = choose.choice((1, 2, 3)) if choose.random() < 0.25 else 0
        rows, columns = frames.shape[1:] if turns % 2 == 0 else frames.shape[:0:-1]
        font, text = ImageFont.truetype(choose.choice(files), choose.randrange(8, 41)), choose.choice(WORDS)
        place = (choose.randrange(columns - 8), choose.randrange(rows - 8))
        image = Image.new("L", (columns, rows))
        left, top, right, bottom = (int(edge) for edge in ImageDraw.Draw(image).textbbox(place, text, font=font))
        if min(left, top) < 0 or right > columns or bottom > rows:
            continue
        ImageDraw.Draw(image).text(place, text, font=font, fill=255)
        box = np.zeros((rows, columns), bool)
        box[top:bottom, left:right] = True
        box, ink = np.rot90(box, -turns), np.rot90(np.asarray(image, np.float32) / 255, -turns)
        darkest, lightest = np.percentile(frames[chosen][:, box], (3, 97), axis=1)
        contrast = choose.uniform(0.2, 0.9) * (high - low)
        options = [v for v in (lightest.max() + contrast, darkest.min() - contrast) if low - 1 <= v <= high + 1]
        if options:
            written = frames.copy()
            for slice_ in chosen:
                written[slice_] = (frames[slice_] * (1 - ink) + options[0] * ink).round()
            return written
    return None


def look(frames: np.ndarray) -> list[int]:
    """The slices that would be cleaned again: all where text stands still, else those with text and some beside."""
    samples = [frames[place] for place in spread(len(frames), most=_SAMPLES)]
    if has_still_text(samples):
        return list(range(len(frames)))
    scale, shape = GreyScale.of(samples), (frames.shape[1], frames.shape[2])
    strokes = [scale.strokes(frame) for frame in frames]
    return odd_slices(strokes, lambda place: np.asarray(frames[place]), scale=scale, shape=shape)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stacks, files = volumes(options.folder), fonts()
    look(cut(stacks[0], np.random.default_rng(0)))
    seen, found = dict.fromkeys(_PLACES, 0), dict.fromkeys(_PLACES, 0)
    alarms, slices, seconds = 0, 0, 0.0
    for number in range(options.series):
        frames = cut(stacks[number % len(stacks)], np.random.default_rng([options.seed, number]))
        start = time.process_time()
        alarms += any(look(frames))
        seconds += time.process_time() - start
        slices += len(frames)
        for where in _PLACES:
            written = write(frames, where, random.Random(f"{options.seed} {number}"), files)
            if written is not None:
                seen[where] += 1
                found[where] += any(look(written))
        if (number + 1) % _PRINT_EVERY == 0 or number + 1 == options.series:
            recalls = "; ".join(f"{where} {found[where]} of {seen[where]}" for where in _PLACES)
            print(
                f"{number + 1} series, text on: {recalls}. Without text: {alarms} false alarms, "
                f"{1000 * seconds / (number + 1):.0f} ms of processor time a series "
                f"of {slices / (number + 1):.0f} slices",
                flush=True,
            )


if __name__ == "__main__":
    main()
