"""Archive: a hospital's PACS, reached by DICOMweb or by the classic DICOM network protocol.

Pulled files are identified data. What is pushed passes the gate (`medseg.pacs.outgoing`).
"""

from __future__ import annotations

from medseg.pacs.archive import Archive, FoundSeries, FoundStudy, Instance, connect
from medseg.pacs.pull import PullReport, pull
from medseg.pacs.push import PushReport, push
from medseg.pacs.restore import restore_results
from medseg.pacs.settings import ArchiveSettings, load_archive
from medseg.pacs.wanted import Wanted, read_wanted

__all__ = [
    "Archive",
    "ArchiveSettings",
    "FoundSeries",
    "FoundStudy",
    "Instance",
    "PullReport",
    "PushReport",
    "Wanted",
    "connect",
    "load_archive",
    "pull",
    "push",
    "read_wanted",
    "restore_results",
]
