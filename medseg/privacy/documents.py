"""Documents: JSON files of facts about images (COCO, Labelme, sidecars), of the keys that are known to say nothing.

Rebuilt from what may stay: a known key with a value that `FieldRules` lets pass, inside containers of known names. A
key that names an image or a case of the source becomes its pseudonym; every other key goes with all that is below it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import ReadError
from medseg.privacy.fields import FieldRules, decoded, is_known_word, kept_name, plain_name
from medseg.privacy.vocabulary import words_in

__all__ = ["clean_document"]

_CONTAINERS = words_in(
    """
    images annotations categories cases patients lesions studies series labels shapes metadata data rows items results
    training test validation train val objects regions image patient case lesion modality channels channel_names flags
    """
)
_NAMING = words_in("categories labels channels channel_names modality")
"""Containers whose texts name kinds of things, not images."""
_MOST_BYTES = 1 << 28
_DEEPEST = 32
_LARGEST = 1e6
_NUMBERED = re.compile(r"\d{1,3}\Z")
_GONE = object()


@dataclass
class _Count:
    kept: int = 0
    gone: int = 0


@dataclass(frozen=True)
class _Place:
    """Where the walk stands.

    Attributes:
        key: Plain name of the field whose value this is; empty at the top.
        naming: Whether texts here name kinds of things.
        depth: How many containers deep.
    """

    key: str = ""
    naming: bool = False
    depth: int = 0
    count: _Count = field(default_factory=_Count)


def clean_document(data: bytes, *, rules: FieldRules) -> tuple[bytes, int]:
    """A JSON file of the keys and values that may stay.

    Args:
        data: The file, UTF-8 or marked as UTF-16.
        rules: What may stay of which key.

    Returns:
        The file, and how many keys and values were left out.

    Raises:
        ReadError: It is no JSON, or nothing of it may stay.
    """
    if len(data) > _MOST_BYTES:
        raise ReadError("expected a JSON file of at most 256 MiB, found a larger one")
    try:
        content = json.loads(decoded(data), parse_constant=lambda _name: None)
    except (ValueError, RecursionError):
        raise ReadError("expected JSON in UTF-8, found another or a damaged file") from None
    place = _Place()
    clean = _cleaned(content, place, rules)
    if clean is _GONE or not place.count.kept:
        raise ReadError("expected JSON with keys that medseg knows, found none that may stay")
    return (json.dumps(clean, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii"), place.count.gone


def _cleaned(value: Any, place: _Place, rules: FieldRules) -> Any:
    if place.depth > _DEEPEST:
        raise ReadError("expected JSON of at most 32 levels, found more")
    if isinstance(value, dict):
        return _object(value, place, rules)
    if isinstance(value, list):
        inner = _Place(place.key, place.naming, place.depth + 1, place.count)
        return [item for part in value if (item := _cleaned(part, inner, rules)) is not _GONE]
    kept = _scalar(value, place, rules)
    if kept is _GONE:
        place.count.gone += 1
    else:
        place.count.kept += 1
    return kept


def _object(value: dict[str, Any], place: _Place, rules: FieldRules) -> Any:
    clean: dict[str, Any] = {}
    for name, part in value.items():
        key = _key(name, place, rules)
        if key is None:
            place.count.gone += 1
            continue
        plain = plain_name(name)
        inherited = place.key if _NUMBERED.match(name) or plain_name(key) != plain else plain
        scalar = not isinstance(part, dict | list)
        naming = plain in _NAMING or (place.naming and (scalar or plain not in _CONTAINERS))
        item = _cleaned(part, _Place(inherited, naming, place.depth + 1, place.count), rules)
        if item is not _GONE:
            clean[key] = item
    return clean


def _key(name: str, place: _Place, rules: FieldRules) -> str | None:
    """The key as it may stay, or None."""
    plain = plain_name(name)
    if plain in _CONTAINERS or rules.rule(name) is not None:
        return kept_name(name)
    if name in rules.names:
        return rules.names[name]
    if place.key in _CONTAINERS and (_NUMBERED.match(name) or (place.naming and is_known_word(name))):
        return name
    return None


def _scalar(value: Any, place: _Place, rules: FieldRules) -> Any:
    """A value as it may stay, or `_GONE`."""
    if value is None:
        return None
    if place.naming and place.key != "name" and isinstance(value, int):
        return value if abs(value) < _LARGEST else _GONE
    named = place.naming and place.key in ("name", *_NAMING)
    rule = rules.rule("category" if named else place.key)
    if isinstance(value, bool):
        return _GONE if rule is None else value
    if isinstance(value, int | float):
        return _GONE if rule is None else _number(value, rule)
    if rule is None:
        last = value.replace("\\", "/").rsplit("/", 1)[-1]
        return rules.image(value) if place.key in _CONTAINERS and last in rules.names else _GONE
    text = rule(value.strip())
    return text if text or not value.strip() else _GONE


def _number(value: float, rule: Callable[[str], str]) -> Any:
    """A number of at most 7 significant digits; one that identifies an image or a patient becomes its pseudonym."""
    if not math.isfinite(value) or abs(value) >= _LARGEST:
        return _GONE if rule("0") == "0" else rule(str(value))
    value = float(f"{value:.7g}") if isinstance(value, float) else value
    text = str(int(value)) if value == int(value) else f"{value:.6f}"
    made = rule(text)
    if made == text:
        return value
    return (int(made) if made.isdigit() else made) if made else _GONE
