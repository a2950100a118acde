"""medseg: from DICOM, NIfTI and dermoscopy images to a cross-validated, privacy-checked lesion segmenter.

The names below are the public interface; each is imported when it is first used, so that ``import medseg`` is quick.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

__version__ = "0.1.0"

# What pydicom warns of and logs quotes the values of attributes, which may identify. Its level is no place to say so:
# pydicom sets that when it is imported; nor is a filter, which the loggers below it pass by.
logging.getLogger("pydicom").propagate = False
warnings.filterwarnings("ignore", module=r"pydicom\.")

_PUBLIC = {
    "Geometry": "medseg.data.volume",
    "MedsegError": "medseg.errors",
    "StudyConfig": "medseg.config",
    "Volume": "medseg.data.volume",
    "audit_paths": "medseg.privacy.audit",
    "cross_validate": "medseg.studies.crossval",
    "deidentify_tree": "medseg.privacy.deidentify",
    "fit": "medseg.training.fit",
    "import_tree": "medseg.data.importer",
    "label_curve": "medseg.studies.curve",
    "load_model": "medseg.export.load",
    "load_study": "medseg.config",
    "make_folds": "medseg.data.split",
    "make_plan": "medseg.planning",
    "package_run": "medseg.export.from_run",
    "pretrain": "medseg.studies.pretrain",
    "read_label": "medseg.data.readers",
    "read_manifest": "medseg.data.manifest",
    "read_volume": "medseg.data.readers",
    "score_case": "medseg.metrics",
    "train_all": "medseg.studies.crossval",
    "write_report": "medseg.report",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
