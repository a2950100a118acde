"""Photographs: how much text, how many faces and tattoos in them are found, and how often where there are none.

usage: python benchmarks/photographs.py FOLDER [--pictures 250] [--faces FOLDER] [--show FOLDER] [--seed 1]

FOLDER holds photographs of skin. Of each second one are measured:
- false alarms: the picture as it is;
- text: a name, a number or a date in one of the fonts of this machine, 2 to 8 % of the longer side high, dark or light,
  at any angle, outside the middle; found is what is painted or waits for a person, and of what was painted the share of
  the text's pixels that is grey, and whether all coefficients of all other blocks stayed;
- faces: scikit-image's astronaut and the 100 small grey faces of its LFW subset, or the faces in the folder of --faces
  (one a picture), laid on the picture at any angle, 25 to 90 % of its shorter side wide.
- parts of a face that fill the picture, of the astronaut or of --faces: halves, the eyes, one eye and the cheek below.
Tattoos (tattoo_designs.py; it needs the packages in requirements.txt) are measured on pictures that their network has
neither learned from nor got its threshold from, if FOLDER holds the 250 of ISIC's UDA-1 and --pictures is 250: one of
each ink a picture, of the family of designs that it has not seen, 8 to 150 % of the picture wide.
Last come photographs a second, with and without the look at text and faces.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import skimage
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from tattoo_designs import INKS, SIZES, parts_of, with_tattoo

from medseg.privacy.faces import shows_a_face
from medseg.privacy.guards import QuarantineError
from medseg.privacy.images import clean_jpeg
from medseg.privacy.jpeg_blocks import read_coefficients
from medseg.privacy.photographs import clean_photograph, preview_pair
from medseg.privacy.tattoos import shows_a_tattoo

_TEXTS = (
    "NOVAKOVA JANA", "Mueller, Anna", "MRN 4711-0815", "12/03/1956", "ID 79241539", "St. Mary Hospital",
    "Dr. Feldmann", "Public 1961", "29.02.2012 10:15",
)  # fmt: skip
_CONTRAST = 51
"""Grey values (20 % of the scale) from which text can be seen; dark text in the lens's dark corner can't."""
_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")


def encoded(picture: Image.Image) -> bytes:
    """A JPEG file of quality 92."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92)
    return stream.getvalue()


def with_text(picture: Image.Image, chance: random.Random) -> tuple[Image.Image, np.ndarray]:
    """The picture with a text in it, and where, bool, (rows, columns)."""
    fonts = [Path(font_manager.__file__).parent / "mpl-data" / "fonts" / "ttf" / name for name in _FONTS]
    size = max(10, round(chance.uniform(0.02, 0.08) * max(picture.size)))
    font, text = ImageFont.truetype(str(chance.choice(fonts)), size), chance.choice(_TEXTS)
    left, top, right, bottom = font.getbbox(text)
    drawn = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(drawn).text((4 - left, 4 - top), text, font=font, fill=255)
    drawn = drawn.rotate(chance.choice((0, 0, 90, 180, 270, chance.uniform(-30, 30))), expand=True)
    drawn.thumbnail(picture.size)
    mask = Image.new("L", picture.size)
    x, y = (chance.choice((0, room, chance.randint(0, room))) for room in
            (picture.size[0] - drawn.size[0], picture.size[1] - drawn.size[1]))  # fmt: skip
    mask.paste(drawn, (x, y))
    behind = np.asarray(picture)[np.asarray(mask) > 0].mean()
    made = picture.copy()
    made.paste((20, 20, 20) if behind > 120 else (245, 245, 245), (0, 0), mask)
    contrast = np.abs(np.asarray(made).astype(int) - np.asarray(picture)).mean(axis=2)
    return made, (np.asarray(mask) > 127) & (contrast >= _CONTRAST)


def with_face(picture: Image.Image, face: Image.Image, chance: random.Random) -> Image.Image:
    """The picture with a face on it."""
    wide = chance.uniform(0.25, 0.9) * min(picture.size)
    laid = face.convert("RGBA").resize(
        (round(wide), round(wide * face.size[1] / face.size[0])), Image.Resampling.BICUBIC
    )
    laid = laid.rotate(chance.uniform(0, 360), expand=True, resample=Image.Resampling.BICUBIC)
    made = picture.convert("RGBA")
    made.alpha_composite(laid.crop((0, 0, *picture.size)), tuple(
        chance.randint(0, max(0, whole - part)) for whole, part in zip(picture.size, laid.size, strict=True)
    ))  # fmt: skip
    return made.convert("RGB")


def faces(folder: Path | None) -> tuple[list[Image.Image], list[Image.Image]]:
    """Faces to lay on pictures, and large ones of which parts are shown."""
    data = Path(skimage.__file__).parent / "data"
    astronaut = Image.open(data / "astronaut.png").convert("RGB").crop((165, 45, 285, 205))
    if folder is not None:
        large = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
        return large, large
    small = np.load(data / "lfw_subset.npy")[:100]
    lfw = [Image.fromarray((255 * one / one.max()).astype(np.uint8)).convert("RGB") for one in small]
    return [astronaut] * 25 + lfw, [astronaut]


def parts(face: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Parts of a face that fills its picture, each in a picture of its own."""
    shares = {
        "left half": (0, 0, 0.5, 1), "right half": (0.5, 0, 1, 1), "upper half": (0, 0.1, 1, 0.6),
        "lower half": (0, 0.45, 1, 1), "both eyes": (0.05, 0.3, 0.95, 0.55),
        "eye and cheek": (0, 0.25, 0.5, 0.75), "one eye": (0.08, 0.3, 0.48, 0.55),
    }  # fmt: skip
    wide, high = face.size
    for name, (left, top, right, bottom) in shares.items():
        part = face.crop((round(left * wide), round(top * high), round(right * wide), round(bottom * high)))
        yield name, part.resize((600, round(600 * part.size[1] / part.size[0])), Image.Resampling.BICUBIC)


def outcome(data: bytes) -> tuple[str, bytes]:
    """``clean``, ``painted``, ``face``, ``tattoo`` or ``waits``, and the copy."""
    try:
        made = clean_photograph(data, ".jpg", paint=True)
    except QuarantineError as error:
        return next((kind for kind in ("face", "tattoo") if kind in str(error)), "waits"), b""
    return ("painted" if made.painted else "clean"), made.data


def others_stay(before: bytes, after: bytes) -> bool:
    """Whether every block that isn't grey has its coefficients still."""
    read = [read_coefficients(clean_jpeg(data)).components for data in (before, after)]
    pairs = zip(*read, strict=True)
    kept = [(one.blocks, other.blocks, other.blocks.any(axis=2)) for one, other in pairs]
    return all((one[mask] == other[mask]).all() for one, other, mask in kept)


def measure_text(pictures: Sequence[Path], chance: random.Random, show: Path | None) -> None:
    """Print what was found of texts, and how often where there are none."""
    alarms: dict[str, int] = {}
    texts: dict[str, int] = {}
    covered, stayed, area = [], [], []
    for number, path in enumerate(pictures):
        picture = Image.open(path).convert("RGB")
        kind, _ = outcome(path.read_bytes())
        alarms[kind] = alarms.get(kind, 0) + 1
        made, mask = with_text(picture, chance)
        data = encoded(made)
        kind, copy = outcome(data)
        texts[kind] = texts.get(kind, 0) + 1
        if kind == "painted":
            after = np.asarray(Image.open(io.BytesIO(copy)).convert("RGB")).astype(int)
            grey = np.abs(after - 128).max(axis=2) <= 12
            covered.append(float(grey[mask].mean()))
            area.append(float(grey.mean()))
            stayed.append(others_stay(data, copy))
        if show is not None and kind != "waits":
            show.mkdir(parents=True, exist_ok=True)
            (show / f"{number:04d}_{kind}.png").write_bytes(preview_pair(data, copy or data))
    print(f"as they are, {len(pictures)} pictures: {alarms}")
    print(f"with a text, {len(pictures)} pictures: {texts}")
    kept = f"all other coefficients stayed in {sum(stayed)} of {len(stayed)}"
    print(f"painted: {np.mean(covered):.4f} of the text's pixels are grey (lowest {min(covered):.3f}),")
    print(f"{np.mean(area):.3f} of the picture; {kept}")


def measure_faces(pictures: Sequence[Path], chance: random.Random, folder: Path | None) -> None:
    """Print how many faces and parts of faces were found."""
    laid, large = faces(folder)
    found = []
    for path, face in zip(pictures, laid * (1 + len(pictures) // len(laid)), strict=False):
        found.append(shows_a_face(np.asarray(with_face(Image.open(path).convert("RGB"), face, chance))))
    print(f"with a face laid on: {sum(found)} of {len(found)}")
    seen: dict[str, list[bool]] = {}
    for face in large:
        for name, part in parts(face):
            seen.setdefault(name, []).append(shows_a_face(np.asarray(part)))
    print("parts of a face:", ", ".join(f"{name} {sum(hits)} of {len(hits)}" for name, hits in seen.items()))


def measure_tattoos(paths: Sequence[Path], seed: int) -> None:
    """Print how many tattoos were found, by ink, size and kind, and how often there was none."""
    held_out, found = parts_of(paths)[2], {}
    for number, path in enumerate(held_out):
        picture = np.asarray(Image.open(path).convert("RGB"))
        for ink in INKS:
            chance = np.random.default_rng([seed, number, INKS.index(ink)])
            low, high = SIZES[int(chance.integers(len(SIZES)))]
            laid = with_tattoo(picture, chance, "test", colour=ink, size=float(chance.uniform(low, high)))
            data = encoded(Image.fromarray(laid.pixels))
            hit = shows_a_tattoo(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
            for name in ("all", f"ink {ink}", f"width {low:.0%} to {high:.0%}", laid.kind):
                found.setdefault(name, []).append(hit)
    for name, hits in sorted(found.items()):
        print(f"tattoos, {name}: {sum(hits)} of {len(hits)} ({np.mean(hits):.2f})")
    for name, some in zip(("learned from", "threshold chosen with", "held out"), parts_of(paths), strict=True):
        alarms = sum(shows_a_tattoo(np.asarray(Image.open(path).convert("RGB"))) for path in some)
        print(f"tattoos seen where there are none, pictures {name}: {alarms} of {len(some)}")


def measure_speed(pictures: Sequence[Path]) -> None:
    """Print photographs a second, and processor seconds for each."""
    files = [path.read_bytes() for path in pictures[:20]]
    for name, clean in (("not looked at", clean_jpeg), ("looked at", outcome)):
        start, used = time.perf_counter(), time.process_time()
        for data in files:
            clean(data)
        wall, cpu = time.perf_counter() - start, time.process_time() - used
        print(f"{name}: {len(files) / wall:.2f} photographs a second, {cpu / len(files):.4f} processor seconds each")


def main() -> None:
    """Read the arguments and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=250)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--show", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    found = sorted(path for path in given.folder.rglob("*.jpg"))[: given.pictures]
    pictures = found[1::2]
    measure_speed(pictures)
    measure_tattoos(found, given.seed)
    measure_faces(pictures, chance, given.faces)
    alarms = [shows_a_face(np.asarray(Image.open(path).convert("RGB"))) for path in found]
    print(f"faces seen where there are none: {sum(alarms[1::2])} of {len(pictures)}, {sum(alarms)} of all {len(found)}")
    measure_text(pictures, chance, given.show)


if __name__ == "__main__":
    main()
