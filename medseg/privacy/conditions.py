"""Condition: when the standard asks for an attribute of type 2C, which a copy then has, if need be without a value.

A copy may need what its source did without: an attribute that said the same elsewhere is gone from it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset

from medseg.privacy.dicom_rules import Rules
from medseg.privacy.encode import put
from medseg.privacy.person import raw_bytes
from medseg.privacy.rebuild import items_of

__all__ = ["add_conditional"]

_POSITION, _ORIENTATION = 0x00185100, 0x00540410
_POSITIONED = frozenset(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "4", "4.1", "4.2", "4.3"))
"""CT and MR, also enhanced, and spectroscopy: they say how the patient lay (PS3.3 C.7.3.1)."""
_LATERALITY = 0x00200060
_OTHER_LATERALITIES = (0x00200062, 0x00240113)
"""Of the image and of the measurement, in whose place the series' laterality isn't asked for."""
_BODY_PART, _ANATOMY, _SPECIMEN = 0x00180015, 0x00082218, 0x00400560
"""What says by itself that no side is to be told, or of which part."""
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)
_FRAME_ANATOMY, _FRAME_LATERALITY = 0x00209071, 0x00209072


def add_conditional(clean: Dataset, source: Dataset, *, sop_class: str, rules: Rules) -> None:
    """Add PatientPosition and Laterality without a value where the copy must have them.

    Args:
        clean: The copy; changed.
        source: As read.
        sop_class: UID of its class.
        rules: Of its class.
    """
    if sop_class in _POSITIONED and _POSITION not in clean and _ORIENTATION not in clean:
        put(clean, _POSITION, "CS", b"")
    lost = _LATERALITY in rules and _LATERALITY not in clean and (_SPECIMEN in source or _tells_side(source))
    if lost and not (_SPECIMEN in clean or _names_part(clean) or _tells_side(clean)):
        put(clean, _LATERALITY, "CS", b"")


def _names_part(dataset: Dataset) -> bool:
    return _ANATOMY in dataset or bool(raw_bytes(dataset, _BODY_PART).strip(b" \0"))


def _tells_side(dataset: Dataset) -> bool:
    """Whether image, measurement or the frames say which side of a pair they show; of the frames the first is asked."""
    if any(tag in dataset for tag in _OTHER_LATERALITIES):
        return True
    groups: Iterable[Dataset] = (item for tag in _FUNCTIONAL_GROUPS for item in items_of(dataset, tag)[:1])
    return any(_FRAME_LATERALITY in item for group in groups for item in items_of(group, _FRAME_ANATOMY)[:1])
