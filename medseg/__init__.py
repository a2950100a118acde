"""medseg: from DICOM, NIfTI and dermoscopy images to a cross-validated, privacy-checked lesion segmenter.

The names below are the public interface; each is imported when it is first used, so that ``import medseg`` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "MedsegError": "medseg.errors",
    "Volume": "medseg.data.volume",
    "Geometry": "medseg.data.volume",
    "read_volume": "medseg.data.readers",
    "StudyConfig": "medseg.config",
    "load_study": "medseg.config",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
