"""Colour map: masks whose labels are colours, and Pascal VOC's masks, whose palette is indexed.

A colour map is a YAML file with label values, each with a name and a colour (red, green, blue, 0 to 255), as in a card;
a card with colours serves as well. Black is background unless the map says otherwise. ``ignore: [r, g, b]`` names the
colour of pixels that are neither lesion nor background; they get the value 254. A pixel of any other colour is refused:
a mask that was saved with smeared edges would lose them in silence.

Pascal VOC marks the pixels to ignore, a rim around its objects, with the index 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from pydantic import ValidationError

from medseg.data.card import LabelInfo
from medseg.data.label_source import LabelSource, content_digest
from medseg.data.pictures import read_colours, read_indices, require_same_size
from medseg.data.volume import Geometry
from medseg.errors import LabelError, RequestError
from medseg.types import Array, LabelMap

__all__ = ["IGNORED", "ColourMap", "colour_source", "read_colour_map", "read_voc_colours", "voc_source"]

IGNORED: Final = 254
"""Value of pixels that are neither lesion nor background; not 255, since a map of only 0 and 255 reads as a mask."""
_VOC_IGNORED: Final = 255
_LARGEST_BYTES: Final = 1 << 20
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ColourMap:
    """What the colours of a data set's masks mean.

    Attributes:
        values: Colour to label value; 0 is background.
        labels: Label value to what it stands for.
    """

    values: Mapping[Colour, int]
    labels: Mapping[int, LabelInfo]


def read_colour_map(path: Path) -> ColourMap:
    """Read a colour map, or the colours of a card.

    Raises:
        RequestError: The file is missing, no YAML, a colour is missing or stands there twice; says which label.
    """
    example = "expected for example\n  labels: {1: {name: lesion, colour: [255, 0, 0]}}\n  ignore: [224, 224, 192]"
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise RequestError(f"the colour map is too large; {example}")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        raise RequestError(f"the colour map is missing or no YAML; {example}") from None
    stated: Any = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(stated, dict) or not stated:
        raise RequestError(f"the colour map names no labels; {example}")
    try:
        labels = {
            int(value): LabelInfo.model_validate({"name": info} if isinstance(info, str) else info)
            for value, info in stated.items()
        }
        # A card's `ignore` is a label value, no colour.
        named = {key: content[key] for key in ("background", "ignore") if not isinstance(content.get(key, 0), int)}
        extra = {key: LabelInfo(name=key, colour=colour) for key, colour in named.items()}
    except (ValidationError, ValueError, TypeError):
        raise RequestError(f"the colour map is not valid; {example}") from None
    without = [value for value, info in labels.items() if info.colour is None]
    if without or not all(1 <= value < IGNORED for value in labels):
        raise RequestError("the colour map: expected label values from 1 to 253, each with a colour")
    background = extra["background"].colour if "background" in extra else (0, 0, 0)
    pairs = [(background, 0), *((info.colour, value) for value, info in labels.items())]
    pairs += [(extra["ignore"].colour, IGNORED)] if "ignore" in extra else []
    return _checked(pairs, labels)


def read_voc_colours(path: Path) -> ColourMap:
    """Read ``labelmap.txt`` of CVAT's Pascal VOC export: ``name:red,green,blue:parts:actions`` a line.

    The first line with black is background; a label named ``ignored`` or ``void`` is to ignore.

    Raises:
        RequestError: A line has another form.
    """
    pairs: list[tuple[Any, int]] = []
    labels: dict[int, LabelInfo] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, colour, *_ = (part.strip() for part in line.split(":"))
            red, green, blue = (int(part) for part in colour.split(","))
            info = LabelInfo(name=name, colour=(red, green, blue))
        except (ValueError, ValidationError):
            raise RequestError(f"labelmap.txt, line {number}: expected name:red,green,blue::") from None
        if (red, green, blue) == (0, 0, 0):
            pairs.append(((0, 0, 0), 0))
        elif name.casefold() in ("ignored", "ignore", "void"):
            pairs.append((info.colour, IGNORED))
        else:
            labels[len(labels) + 1] = info
            pairs.append((info.colour, len(labels)))
    return _checked(pairs, labels)


def colour_source(path: Path, colours: ColourMap) -> LabelSource:
    """What makes the label map of a mask in colours."""

    def read(geometry: Geometry) -> tuple[LabelMap, tuple[str, ...]]:
        pixels = read_colours(path)
        require_same_size(geometry.shape, pixels.shape[1:])
        return _values_of(pixels, colours), ()

    content = content_digest(repr(sorted(colours.values.items())))
    ignore = IGNORED if IGNORED in colours.values.values() else None
    return LabelSource(read=read, paths=(path,), content=content, ignore=ignore)


def voc_source(path: Path) -> LabelSource:
    """What makes the label map of an indexed mask of Pascal VOC: the indices, 255 to ignore."""

    def read(geometry: Geometry) -> tuple[LabelMap, tuple[str, ...]]:
        indices = read_indices(path)
        require_same_size(geometry.shape, indices.shape)
        label: LabelMap = np.where(indices == _VOC_IGNORED, IGNORED, indices).astype(np.uint8)
        return label, ()

    return LabelSource(read=read, paths=(path,), content=content_digest("voc"), ignore=IGNORED)


def _checked(pairs: list[tuple[Any, int]], labels: Mapping[int, LabelInfo]) -> ColourMap:
    colours = [colour for colour, _ in pairs]
    if len(set(colours)) != len(colours):
        raise RequestError("the colour map: two labels have one colour; give each its own")
    return ColourMap(dict(pairs), dict(labels))


def _values_of(pixels: Array, colours: ColourMap) -> LabelMap:
    """Label values of pixels with axes (red green blue, x, y)."""
    packed = (pixels[0].astype(np.int32) << 16) | (pixels[1].astype(np.int32) << 8) | pixels[2]
    label: LabelMap = np.zeros(packed.shape, dtype=np.uint8)
    known = np.zeros(packed.shape, dtype=bool)
    for (red, green, blue), value in colours.values.items():
        here = packed == (red << 16 | green << 8 | blue)
        label[here] = value
        known |= here
    strange = int(np.count_nonzero(~known))
    if strange:
        colour = int(packed[~known][0])
        raise LabelError(
            f"{strange:,} pixels have a colour that the colour map doesn't name, the first is "
            f"[{colour >> 16}, {colour >> 8 & 255}, {colour & 255}]; name it, or save the mask without smoothing"
        )
    return label
