"""Recall of text boxes and painted area of `medseg.privacy.pixels` on synthetic frames over real anatomy.

usage: python benchmarks/text_in_pixels.py DICOM_FOLDER [FRAMES]

Fonts of 8 to 40 px, light or dark, with at least 20 % contrast to what lies behind. A box counts as found when at least
90 % of its area is painted after at most four rounds, as `clean_text` works.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pydicom
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.pixels import find_text

_WORDS = (
    "NOVAKOVA^JANA", "DOB 12/03/1956", "MRN 4711-0815", "St. Mary Hospital", "Dr. Feldmann", "29.02.2012 10:15",
    "John Q. Public", "ID: 00079241539", "F 067Y", "Müller, Anna", "+43 1 40400", "Acc# A771263", "IM: 12/45",
)  # fmt: skip
_SIZE = 512


def backgrounds(folder: Path) -> list[np.ndarray]:
    """Grey pictures of real slices."""
    found = []
    for path in sorted(folder.rglob("*.dcm"))[::7]:
        try:
            pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
        except Exception:
            # A file that pydicom can't decode is no background.
            continue
        if pixels.ndim == 2:
            low, high = np.percentile(pixels, (1, 99.5))
            grey = (np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
            found.append(np.asarray(Image.fromarray(grey).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)))
    return found


def draw(picture: np.ndarray, seed: int, fonts: list[str]) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """A frame with one to four texts, and their boxes (left, top, right, bottom)."""
    choose = random.Random(seed)
    image = Image.fromarray(picture)
    boxes: list[tuple[int, int, int, int]] = []
    for _ in range(40):
        if len(boxes) >= choose.randrange(1, 5):
            break
        font = ImageFont.truetype(choose.choice(fonts), choose.randrange(8, 41))
        text, place = choose.choice(_WORDS), (choose.randrange(_SIZE - 20), choose.randrange(_SIZE - 20))
        left, top, right, bottom = (int(edge) for edge in ImageDraw.Draw(image).textbbox(place, text, font=font))
        near = any(left < b[2] + 8 and b[0] < right + 8 and top < b[3] + 8 and b[1] < bottom + 8 for b in boxes)
        if min(left, top) < 0 or max(right, bottom) > _SIZE or near:
            continue
        behind = np.asarray(image)[top:bottom, left:right]
        darkest, lightest = np.percentile(behind, (3, 97))
        contrast = choose.uniform(51, 230)
        options = [v for v in (lightest + contrast, darkest - contrast) if 0 <= v <= 255]
        if not options:
            continue
        ImageDraw.Draw(image).text(place, text, font=font, fill=int(options[0]))
        boxes.append((left, top, right, bottom))
    return np.asarray(image), boxes


def main() -> None:
    """Measure and print."""
    pictures = backgrounds(Path(sys.argv[1]))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    fonts = [f for f in font_manager.findSystemFonts() if "DejaVu" in f or "Liberation" in f]
    total = found = 0
    falsely = 0.0
    for seed in range(count):
        frame, boxes = draw(pictures[seed % len(pictures)], seed, fonts)
        painted, near = np.zeros(frame.shape, bool), np.zeros(frame.shape, bool)
        work = frame.copy()
        for attempt in range(4):
            views = [np.repeat(work[..., None], 3, axis=2)]
            new = find_text(views, quick=attempt > 0)
            for box in new:
                painted[box.top : box.bottom, box.left : box.right] = True
                work[box.top : box.bottom, box.left : box.right] = work.min()
            if not new:
                break
        for left, top, right, bottom in boxes:
            total += 1
            found += bool(painted[top:bottom, left:right].mean() >= 0.9)
            near[max(0, top - 20) : bottom + 20, max(0, left - 20) : right + 20] = True
        falsely += float((painted & ~near).mean())
    print(
        f"{found} of {total} text boxes painted over ({found / total:.4f}); elsewhere {falsely / count:.2%} of the area"
    )


if __name__ == "__main__":
    main()
