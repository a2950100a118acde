"""Tattoos in photographs of skin: found by a small network that comes with medseg (run with OpenCV, extra ``ocr``).

``benchmarks/tattoo_model.py`` trained it on dermoscopy photographs with synthetic tattoos laid on; docs/benchmarks.md
says what it finds and what it misses. It sees colours: in grey pictures tattoos are not looked for, nor in pictures of
less than 64 pixels.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import MissingExtraError
from medseg.types import Array

__all__ = ["MAYBE_A_TATTOO", "is_coloured", "shows_a_tattoo", "tattoo_score"]

MAYBE_A_TATTOO = "a tattoo or a pen's mark may show in this picture; a person has to look at it"
_SURE = -0.4
"""From this score on it is a tattoo: 9 of 10 are found, and 1 of 10 pictures is flagged for nothing."""
_SIDE = 320
"""Pixels of the longer side that the network sees."""
_MULTIPLE = 32
"""Pixels; the network takes sides of multiples of it."""
_TOP = 16
"""So many cells, the surest, say how sure the network is of the picture."""
_COLOUR, _COLOURED = 12, 0.05
"""A pixel's colours differ by so much, in this share of the pixels, in a picture that isn't grey."""
_SMALLEST = 64
"""Pixels of the longer side; in smaller pictures nobody knows a tattoo again."""
_NETWORK = Path(__file__).with_name("tattoos.onnx")
_one_at_a_time = threading.Lock()


def shows_a_tattoo(picture: Array, *, painted: Array | None = None) -> bool:
    """Whether a coloured picture shows what may be a tattoo, or a pen's mark on the skin.

    Args:
        picture: uint8, (rows, columns, 3), RGB.
        painted: What was painted over and isn't looked at, bool, (rows, columns).

    Raises:
        MissingExtraError: OpenCV isn't installed.
    """
    if max(picture.shape[:2]) < _SMALLEST:
        return False
    if painted is not None and painted.any():
        if painted.all():
            return False
        picture = picture.copy()
        picture[painted] = np.median(picture[~painted], axis=0)
    return is_coloured(picture) and tattoo_score(picture) >= _SURE


def is_coloured(picture: Array) -> bool:
    """Whether a picture, uint8, (rows, columns, 3), has colours, not shades of grey only."""
    few = picture[:: max(1, picture.shape[0] // _SIDE), :: max(1, picture.shape[1] // _SIDE)].astype(np.int16)
    return float((np.ptp(few, axis=2) >= _COLOUR).mean()) >= _COLOURED


def tattoo_score(picture: Array) -> float:
    """How sure the network is of ink in a picture: the mean logit of its surest cells of 4 x 4 pixels it sees.

    Args:
        picture: uint8, (rows, columns, 3), RGB.

    Raises:
        MissingExtraError: OpenCV isn't installed.
    """
    network = _network()
    import cv2

    scale = _SIDE / max(picture.shape[:2])
    rows, columns = (max(1, round(length * scale / _MULTIPLE)) * _MULTIPLE for length in picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(np.ascontiguousarray(picture), (columns, rows), interpolation=method)
    with _one_at_a_time:
        network.setInput(np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1)[None]))
        logits = np.asarray(network.forward()).ravel()
    return float(np.sort(logits)[-_TOP:].mean())


@lru_cache(maxsize=1)
def _network() -> Any:
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("finding tattoos in photographs", "ocr") from None
    cv2.setNumThreads(1)
    return cv2.dnn.readNetFromONNX(str(_NETWORK))
