from __future__ import annotations

import math

from medseg.report.words import shown_metrics, text_of, words_of


def test_values_are_written_with_their_unit_sign_and_decimals() -> None:
    assert text_of(0.12345, words_of("dice", pixels=False)) == "0.123"
    assert text_of(-0.251, words_of("volume_error", pixels=False)) == "−25.1"
    assert text_of(-0.00001, words_of("volume_error", pixels=False)) == "+0.0"
    assert text_of(math.nan, words_of("dice", pixels=False)) == "–"


def test_distances_of_photographs_are_in_pixels() -> None:
    assert words_of("hd95_mm", pixels=True).unit == "px"
    assert words_of("nsd_2.5mm", pixels=True).label == "NSD at 2.5 px"
    assert words_of("nsd_1mm", pixels=False).label == "NSD at 1 mm"


def test_counts_and_unknown_columns_are_no_metrics_of_the_table() -> None:
    names = ("hd95_mm", "nsd_1mm", "dice", "voxels", "lesions", "something")
    assert shown_metrics(names) == ("dice", "nsd_1mm", "hd95_mm")
