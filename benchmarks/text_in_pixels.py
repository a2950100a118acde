"""Recall of text boxes and painted area of `medseg.privacy.pixels` on synthetic frames over real anatomy.

usage: python benchmarks/text_in_pixels.py DICOM_FOLDER [--frames 300] [--seed 1] [--show FOLDER]

Backgrounds are the grey CT, MR and PET images of the folder of at least 128 x 128 pixels, as frames of 512 x 512 and 8
bits. Each frame gets one to four texts in fonts of 8 to 40 px, light or dark, every fourth of them upright or upside
down, whose grey value is at least 20 % of the scale beyond what lies behind (its 3rd and 97th percentile). A box counts
as found when at least 90 % of its area is painted. Each frame with text gets one capital letter or digit, too, that
stands alone, upright, of 12 to 40 px; these are counted on their own. False alarms are counted on the backgrounds
without any text: boxes a frame, the share of the area that is painted, and the share of the frames where anything is.
Another seed makes other texts and takes other backgrounds; several processes share the work by seeds.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.boxes import Box
from medseg.privacy.text_boxes import find_text

WORDS = (
    "NOVAKOVA^JANA", "DOB 12/03/1956", "MRN 4711-0815", "St. Mary Hospital", "Dr. Feldmann", "29.02.2012 10:15",
    "John Q. Public", "ID: 00079241539", "F 067Y", "Müller, Anna", "+43 1 40400", "Acc# A771263", "IM: 12/45",
)  # fmt: skip
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_SIZE = 512
_EVERY = 7
_FEWEST_PIXELS = 128
_NEAR = 20
_PRINT_EVERY = 25


@dataclass(frozen=True, slots=True)
class Drawn:
    """A text that was drawn: its box, its font's size in pixels, its contrast in grey values, quarter turns."""

    left: int
    top: int
    right: int
    bottom: int
    size: int
    contrast: float
    turns: int


def backgrounds(folder: Path, seed: int) -> list[np.ndarray]:
    """Grey pictures of real slices; every seventh of the folder's, by the seed."""
    found = []
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()][seed % _EVERY :: _EVERY]:
        try:
            source = pydicom.dcmread(path)
            if source.Modality not in ("CT", "MR", "PT"):
                continue
            pixels = source.pixel_array.astype(np.float32)
        except Exception:
            # A file that pydicom can't decode is no background.
            continue
        if pixels.ndim == 2 and min(pixels.shape) >= _FEWEST_PIXELS:
            low, high = np.percentile(pixels, (1, 99.5))
            grey = (np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
            found.append(np.asarray(Image.fromarray(grey).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)))
    return found


def fonts() -> list[str]:
    """Files of the fonts to write with, in a fixed order."""
    return sorted(path for path in font_manager.findSystemFonts() if "DejaVu" in path or "Liberation" in path)


def draw(picture: np.ndarray, choose: random.Random, files: Sequence[str]) -> tuple[np.ndarray, list[Drawn]]:
    """A frame with one to four texts."""
    frame = picture
    boxes: list[Drawn] = []
    wanted = choose.randrange(1, 5)
    for _ in range(40):
        if len(boxes) >= wanted:
            break
        turns = choose.choice((1, 2, 3)) if choose.random() < 0.25 else 0
        image = Image.fromarray(np.rot90(frame, turns))
        size = choose.randrange(8, 41)
        font = ImageFont.truetype(choose.choice(files), size)
        text, place = choose.choice(WORDS), (choose.randrange(_SIZE - 20), choose.randrange(_SIZE - 20))
        left, top, right, bottom = (int(edge) for edge in ImageDraw.Draw(image).textbbox(place, text, font=font))
        if min(left, top) < 0 or max(right, bottom) > _SIZE:
            continue
        behind = np.asarray(image)[top:bottom, left:right]
        darkest, lightest = np.percentile(behind, (3, 97))
        contrast = choose.uniform(51, 230)
        options = [v for v in (lightest + contrast, darkest - contrast) if 0 <= v <= 255]
        if not options:
            continue
        made = _turned(Drawn(left, top, right, bottom, size, contrast, turns))
        if any(_meet(made, other) for other in boxes):
            continue
        ImageDraw.Draw(image).text(place, text, font=font, fill=int(options[0]))
        frame = np.ascontiguousarray(np.rot90(np.asarray(image), -turns))
        boxes.append(made)
    return frame, boxes


def draw_lone(frame: np.ndarray, others: Sequence[Drawn], choose: random.Random, files: Sequence[str]) -> Drawn | None:
    """Draw one letter or digit away from all texts, into the frame; None where no place was found."""
    for _ in range(40):
        image = Image.fromarray(frame)
        size = choose.randrange(12, 41)
        font = ImageFont.truetype(choose.choice(files), size)
        sign, place = choose.choice(LETTERS), (choose.randrange(_SIZE - 20), choose.randrange(_SIZE - 20))
        left, top, right, bottom = (int(edge) for edge in ImageDraw.Draw(image).textbbox(place, sign, font=font))
        made = Drawn(left, top, right, bottom, size, choose.uniform(51, 230), 0)
        around = Drawn(left - 24, top - 24, right + 24, bottom + 24, size, made.contrast, 0)
        if min(left, top) < 0 or max(right, bottom) > _SIZE or any(_meet(around, other) for other in others):
            continue
        darkest, lightest = np.percentile(frame[top:bottom, left:right], (3, 97))
        options = [v for v in (lightest + made.contrast, darkest - made.contrast) if 0 <= v <= 255]
        if options:
            ImageDraw.Draw(image).text(place, sign, font=font, fill=int(options[0]))
            frame[...] = np.asarray(image)
            return made
    return None


def _turned(box: Drawn) -> Drawn:
    """The box on the frame itself, of one on the frame turned anticlockwise."""
    corners = np.zeros((_SIZE, _SIZE), bool)
    corners[box.top : box.bottom, box.left : box.right] = True
    rows, columns = np.nonzero(np.rot90(corners, -box.turns))
    return Drawn(
        int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1,
        box.size, box.contrast, box.turns,
    )  # fmt: skip


def _meet(one: Drawn, other: Drawn) -> bool:
    return (
        one.left < other.right + 8
        and other.left < one.right + 8
        and one.top < other.bottom + 8
        and other.top < one.bottom + 8
    )


def painted_boxes(frame: np.ndarray) -> list[Box]:
    """What medseg paints on a frame."""
    work, boxes = frame.copy(), []
    for attempt in range(4):
        new = find_text([np.repeat(work[..., None], 3, axis=2)], quick=attempt > 0)
        for box in new:
            work[box.top : box.bottom, box.left : box.right] = work.min()
        boxes.extend(new)
        if not new:
            break
    return boxes


def _covered(boxes: Sequence[Box]) -> np.ndarray:
    covered = np.zeros((_SIZE, _SIZE), bool)
    for box in boxes:
        covered[box.top : box.bottom, box.left : box.right] = True
    return covered


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=Path, help="a folder for pictures of the frames with a missed box")
    options = parser.parse_args()
    pictures = backgrounds(options.folder, options.seed)
    files = fonts()
    total = found = lone = lone_found = alarmed = boxes_on_clean = 0
    seconds = elsewhere = area = 0.0
    for picture in pictures:
        start = time.process_time()
        boxes = painted_boxes(picture)
        seconds += time.process_time() - start
        alarmed, boxes_on_clean = alarmed + bool(boxes), boxes_on_clean + len(boxes)
        area += float(_covered(boxes).mean())
    count = len(pictures)
    print(
        f"{count} frames without text: {boxes_on_clean / count:.2f} boxes a frame, {area / count:.3%} of the area "
        f"painted, something on {alarmed / count:.1%} of the frames; {seconds / count:.2f} processor seconds a frame",
        flush=True,
    )
    seconds = 0.0
    for number in range(1, options.frames + 1):
        choose = random.Random(f"{options.seed} {number}")
        frame, drawn = draw(pictures[number % count], choose, files)
        frame = frame.copy()
        letter = draw_lone(frame, drawn, choose, files)
        start = time.process_time()
        covered = _covered(painted_boxes(frame))
        seconds += time.process_time() - start
        missed = [box for box in drawn if covered[box.top : box.bottom, box.left : box.right].mean() < 0.9]
        total, found = total + len(drawn), found + len(drawn) - len(missed)
        if letter is not None:
            seen = covered[letter.top : letter.bottom, letter.left : letter.right].mean() >= 0.9
            lone, lone_found = lone + 1, lone_found + int(seen)
        for box in (*drawn, *([] if letter is None else [letter])):
            covered[max(0, box.top - _NEAR) : box.bottom + _NEAR, max(0, box.left - _NEAR) : box.right + _NEAR] = False
        elsewhere += float(covered.mean())
        for box in missed:
            print(f"missed on frame {number}: {box}", flush=True)
        if missed and options.show is not None:
            options.show.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(options.show / f"{options.seed}_{number:04d}.png")
        if number % _PRINT_EVERY == 0 or number == options.frames:
            print(
                f"{number} frames: {found} of {total} text boxes painted over ({found / max(total, 1):.4f}), "
                f"{lone_found} of {lone} lone letters; elsewhere "
                f"{elsewhere / number:.3%} of the area; {seconds / number:.2f} processor seconds a frame",
                flush=True,
            )


if __name__ == "__main__":
    main()
