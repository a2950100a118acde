"""SUV of a series: the values of all its files in one unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydicom.uid import EnhancedPETImageStorage

from medseg.data.dicom_header import Header, read_dataset, refusing_damage
from medseg.data.dicom_units import classic_facts
from medseg.data.reading import SUV_CHANNELS, PetKind, Reading
from medseg.data.suv import suv_factor
from medseg.types import Array

__all__ = ["to_suv"]

_ALIKE = 1e-6


def to_suv(array: Array, headers: Sequence[Header], reading: Reading) -> tuple[Array, str, str, str]:
    """The values as SUV where the header allows; a sentence; the name of the channel; and the unit.

    The files of a classic series share one time of decay correction (PS3.3 section C.8.9.1.1.5), so that the first
    header tells; each enhanced image has its own, and all have to lead to one factor.

    Args:
        array: Values after rescale, any axes.
        headers: The files.
        reading: Which SUV.

    Raises:
        ReadError: A file is missing or its header damaged.
    """
    if reading.suv == "stored":
        return array, "PET left as stored", SUV_CHANNELS["stored"], ""
    own = headers if headers[0].sop_class == EnhancedPETImageStorage else headers[:1]
    acquired = [h.acquired or frame.variations.get("AcquisitionTime", "") for h in headers for frame in h.frames]
    found = []
    for header in own:
        dataset = read_dataset(header.path, tags=None, pixels=False)
        with refusing_damage("the DICOM header", remedy="export the series again"):
            found.append(suv_factor(classic_facts(dataset, header.units), acquired=acquired, kind=reading.suv))
    factor, note = next((one for one in found if math.isnan(one[0])), found[0])
    if any(not math.isclose(one[0], factor, rel_tol=_ALIKE) for one in found) and not math.isnan(factor):
        factor, note = math.nan, "PET left in its stored units: its files state different activities or times for SUV"
    kind: PetKind = "stored" if math.isnan(factor) else reading.suv
    unit = "" if math.isnan(factor) else f"SUV{reading.suv}"
    if math.isnan(factor) or factor == 1.0:
        return array, note, SUV_CHANNELS[kind], unit
    scaled = array.astype(np.float32, copy=False)
    scaled *= np.float32(factor)
    return scaled, note, SUV_CHANNELS[kind], unit
