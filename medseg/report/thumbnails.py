"""Thumbnails: one page with a small picture of every case and what the quality report found; internal tier only.

The page refers to nothing outside itself and has no script. Cases that deserve a look come first.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from medseg.data.cases import each_case, read_case_image, read_case_label
from medseg.data.files import atomic_write
from medseg.data.manifest import Card, Case, Manifest
from medseg.data.quality import CaseQuality, QualityReport
from medseg.data.volume import Volume
from medseg.errors import DataError
from medseg.privacy.audit import gate
from medseg.report.overlays import axial_slices, outline_of, rgb_rows
from medseg.types import Array, LabelMap

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["label_colours", "thumbnail", "write_thumbnails"]

_EDGE = 208
_COLOURS = ((255, 214, 64), (0, 225, 255), (255, 110, 180), (120, 255, 120), (255, 150, 60), (190, 150, 255))


@dataclass(frozen=True)
class _Tile:
    """One case on the page."""

    case: str
    state: str
    picture: str
    facts: tuple[str, ...]
    findings: tuple[str, ...]


def write_thumbnails(
    manifest: Manifest,
    report: QualityReport,
    path: Path,
    *,
    jobs: int = 1,
    identities: IdentityIndex | None = None,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write the page.

    Args:
        manifest: The cases.
        report: What `check_manifest` saw of them.
        path: The HTML file.
        jobs: Images read at once.
        identities: Identities of this project that the privacy gate looks for, beside its patterns.
        progress: Called after each case.

    Raises:
        PrivacyError: The gate found something that identifies; nothing was written.
    """
    from jinja2 import Environment, StrictUndefined

    seen = {quality.case: quality for quality in report.cases}
    colours = label_colours(manifest.card)

    def work(case: Case) -> _Tile:
        return _tile(case, seen[case.case], manifest.card, colours)

    tiles = list(each_case(work, manifest.cases, jobs=jobs, progress=progress))
    order = {"error": 0, "warning": 1, "ok": 2}
    tiles.sort(key=lambda tile: order[tile.state])
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("medseg.report").joinpath("thumbnails.html.j2").read_text(encoding="utf-8")
    legend = [(name, "rgb({}, {}, {})".format(*colours[value])) for value, name in manifest.card.label_names().items()]
    page = environment.from_string(text).render(
        title=manifest.card.title,
        tiles=tiles,
        legend=legend,
        counts={state: sum(tile.state == state for tile in tiles) for state in order},
        pairs=[f"{pair.first} and {pair.second}: {pair.reason}" for pair in report.duplicates],
        mirrored=report.mirrored,
    )
    data = page.encode("utf-8")
    gate(data, name=path.name, tier="internal", identities=identities)
    with atomic_write(path) as stream:
        stream.write(data)


def label_colours(card: Card) -> dict[int, tuple[int, int, int]]:
    """The card's colour of each label, or one of a few bright ones."""
    return {
        value: info.colour or _COLOURS[number % len(_COLOURS)]
        for number, (value, info) in enumerate(card.labels.items())
    }


def thumbnail(volume: Volume, label: LabelMap | None, colours: dict[int, tuple[int, int, int]]) -> bytes:
    """A small JPEG of a case with its labels' outlines.

    Args:
        volume: Axes (channel, x, y[, z]).
        label: Axes (x, y[, z]), or None.
        colours: Label value to red, green, blue.

    Returns:
        A square JPEG, the whole picture on black; of a volume the axial slice with most of the last label (the middle
        one without), patient's right on the left, front at the top.
    """
    drawn = np.zeros(volume.shape, np.uint8) if label is None else label
    image, aspect = volume.array, 1.0
    if drawn.ndim == 3:
        image, drawn, _, aspect = axial_slices(volume, drawn, drawn)
    rgb = rgb_rows(image, window=None, inverted=volume.modality == "PT")
    height, width = rgb.shape[0] * aspect, float(rgb.shape[1])
    scale = _EDGE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    for value, colour in colours.items():
        region = _resized(drawn == value, size)
        if region.any():
            picture[outline_of(region, 2)] = colour
    square = Image.new("RGB", (_EDGE, _EDGE))
    square.paste(Image.fromarray(picture), ((_EDGE - size[0]) // 2, (_EDGE - size[1]) // 2))
    buffer = io.BytesIO()
    square.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()


def _resized(mask: Array, size: tuple[int, int]) -> Array:
    rows = Image.fromarray(np.ascontiguousarray(mask.T).astype(np.uint8) * 255)
    return np.asarray(rows.resize(size, Image.Resampling.BILINEAR)) > 127


def _tile(case: Case, seen: CaseQuality, card: Card, colours: dict[int, tuple[int, int, int]]) -> _Tile:
    picture = ""
    try:
        volume = read_case_image(case, channels=card.channels)
        label = None
        if case.label is not None:
            label = read_case_label(case, card=card, geometry=volume.geometry, ignore_label=card.ignore)
        shown = Volume(array=volume.array, affine=volume.affine, channels=volume.channels, modality=case.modality)
        picture = base64.b64encode(thumbnail(shown, label, colours)).decode("ascii")
    except DataError:
        picture = ""  # The quality report says why; the tile stands without a picture.
    facts = [
        " x ".join(str(n) for n in seen.shape or ()),
        " x ".join(f"{v:.3g}" for v in seen.spacing or ()) + " mm" if seen.orientation else "",
        seen.orientation,
        _millilitres(seen.foreground_ml),
        f"{seen.components} part{'s' if seen.components > 1 else ''}" if seen.components else "",
    ]
    state = "error" if not seen.is_usable else "warning" if seen.findings else "ok"
    findings = tuple(("unusual: " if f.severity == "unusual" else "") + f.message for f in seen.findings)
    return _Tile(case.case, state, picture, tuple(fact for fact in facts if fact), findings)


def _millilitres(volume: float) -> str:
    if volume != volume:
        return ""
    return f"{volume:,.0f} mL" if volume >= 100 else f"{volume:.3g} mL"
