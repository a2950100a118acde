"""Look-up tables: text goes from a palette's entries that no pixel has, and colours stay."""

from __future__ import annotations

import io
import random

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.errors import ReadError
from medseg.privacy.dicom import clean_dicom
from medseg.privacy.profile import load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from tests.privacy.corpus import US, Who, image, save

TEXT = b"Novakova^Jana 4711"


def palette_image(*, hidden_at: int, used: int = 100) -> Dataset:
    """An image of palette colours whose pixels have the first `used` entries, with text in the red palette."""
    ds = image(Who(random.Random(5)), US, size=32)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PhotometricInterpretation = 7, "PALETTE COLOR"
    ds.PixelData = (np.arange(1024) % used).astype(np.uint8).tobytes()
    ds["PixelData"].VR = "OB"
    for number, name in enumerate(("Red", "Green", "Blue"), start=1):
        table = bytearray((np.arange(256) * 100 * number).astype("<u2").tobytes())
        if name == "Red":
            table[2 * hidden_at : 2 * hidden_at + len(TEXT)] = TEXT
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", bytes(table))
    return ds


def cleaned(ds: Dataset) -> Dataset:
    made = clean_dicom(save(ds), load_profile("basic"), pseudonyms=Pseudonymiser(bytes(range(32))), looked_at=True)
    return pydicom.dcmread(io.BytesIO(made.data))


def test_text_in_entries_that_no_pixel_has_goes_and_the_others_stay():
    ds = palette_image(hidden_at=150)
    clean = cleaned(ds)
    assert clean.RedPaletteColorLookupTableData[:200] == ds.RedPaletteColorLookupTableData[:200]
    assert not any(clean.RedPaletteColorLookupTableData[200:])
    assert clean.BluePaletteColorLookupTableData == ds.BluePaletteColorLookupTableData


def test_text_among_the_colours_of_pixels_is_refused_as_the_image_would_be_another_without_them():
    with pytest.raises(ReadError, match="palette"):
        cleaned(palette_image(hidden_at=20))


def test_ramps_whose_bytes_read_as_letters_by_chance_stay():
    ds = palette_image(hidden_at=150)
    ramp = (np.arange(256) * 300 % 65536).astype("<u2").tobytes()
    assert b"e gLhxi" in ramp
    ds.RedPaletteColorLookupTableData = ramp
    assert cleaned(ds).RedPaletteColorLookupTableData == ramp
