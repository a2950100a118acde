"""Text detector: rapidocr's networks, one that finds lines of text in a picture and one that reads a line.

Each is loaded when it is first asked, as most series need neither. They take turns, one thread at a time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import MissingExtraError
from medseg.types import Array

__all__ = ["find_lines", "ocr_is_here", "read_any_way", "read_lines", "require_ocr"]

_MULTIPLE = 32
"""Pixels; the network takes sides of multiples of it."""
_LINE = 0.3
"""Probability from which a pixel belongs to a line of text."""
_ONE_THREAD = {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "use_cuda": False, "use_dml": False}
_one_at_a_time = threading.Lock()


def ocr_is_here() -> bool:
    """Whether the optional text detector is installed."""
    try:
        require_ocr()
    except MissingExtraError:
        return False
    return True


def require_ocr() -> None:
    """Go on only where the text detector is installed.

    Raises:
        MissingExtraError: It isn't.
    """
    _models()


def find_lines(picture: Array, *, scale: float, sure: float) -> list[Array]:
    """Where the network sees lines of text.

    Args:
        picture: uint8, (rows, columns, 3).
        scale: The network sees the picture this many times as large.
        sure: Lines of at least this mean probability count.

    Returns:
        A polygon a line, (4, 2), x and y in pixels of the picture.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    require_ocr()
    finder = _finder()
    import cv2

    rows, columns = (max(1, round(side * scale / _MULTIPLE)) * _MULTIPLE for side in picture.shape[:2])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    seen = np.ascontiguousarray(picture)
    if seen.shape[:2] != (rows, columns):
        seen = np.asarray(cv2.resize(seen, (columns, rows), interpolation=method))
    with _one_at_a_time:
        finder.postprocess_op.box_thresh = sure
        found, _ = finder(seen)
    factor = np.array([picture.shape[1] / columns, picture.shape[0] / rows])
    return [] if found is None else [np.asarray(polygon, np.float64) * factor for polygon in found]


def read_any_way(picture: Array, polygon: Array) -> Iterator[tuple[str, float]]:
    """What is read in a line of text that may be slanted or upside down, and how sure that is (0 to 1).

    Args:
        picture: uint8, (rows, columns, 3).
        polygon: Its corners, (4, 2), x and y in pixels, clockwise from the upper left one.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    import cv2

    top, right, bottom, left = (float(np.linalg.norm(polygon[n] - polygon[(n + 1) % 4])) for n in range(4))
    wide, high = int(max(top, bottom)), int(max(right, left))
    if not wide or not high:
        return
    corners = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    way = cv2.getPerspectiveTransform(np.asarray(polygon, np.float32), corners)
    level = np.asarray(cv2.warpPerspective(np.ascontiguousarray(picture), way, (wide, high), flags=cv2.INTER_CUBIC))
    level = level if high <= 1.5 * wide else np.rot90(level)
    yield from read_lines([np.ascontiguousarray(level), np.ascontiguousarray(level[::-1, ::-1])])


def read_lines(pictures: Sequence[Array]) -> list[tuple[str, float]]:
    """What is read in pictures, uint8, (rows, columns, 3), of one line each, and how sure that is (0 to 1).

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    reader = _reader()
    if not pictures:
        return []
    with _one_at_a_time:
        read, _ = reader(list(pictures))
    return [(str(line[0]), float(line[1])) for line in read]


@lru_cache(maxsize=1)
def _finder() -> Any:
    models = _models()
    from rapidocr_onnxruntime.ch_ppocr_det import TextDetector

    return TextDetector(
        {
            **_ONE_THREAD,
            "model_path": str(models / "ch_PP-OCRv4_det_infer.onnx"),
            "limit_side_len": _MULTIPLE,
            "limit_type": "min",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "thresh": _LINE,
            "use_dilation": True,
            "unclip_ratio": 1.6,
            "max_candidates": 1000,
            "score_mode": "fast",
        }
    )


@lru_cache(maxsize=1)
def _reader() -> Any:
    models = _models()
    from rapidocr_onnxruntime.ch_ppocr_rec import TextRecognizer

    model = str(models / "ch_PP-OCRv4_rec_infer.onnx")
    return TextRecognizer({**_ONE_THREAD, "model_path": model, "rec_img_shape": [3, 48, 320], "rec_batch_num": 6})


def _models() -> Path:
    """The folder of the networks' files, inside the package."""
    try:
        import rapidocr_onnxruntime
    except ImportError:
        first = "take Python 3.11 or 3.12, it has no release for later ones" if sys.version_info >= (3, 13) else ""
        raise MissingExtraError("finding text in pixels", "ocr", first=first) from None
    return Path(rapidocr_onnxruntime.__file__).parent / "models"
