"""Vocabulary: what says how it was imaged stays, what may be a day, a number in pairs, or initials doesn't."""

from __future__ import annotations

import pytest

from medseg.privacy.vocabulary import is_known_text


@pytest.mark.parametrize(
    "text",
    [
        "Chest 12.03.87", "CT 3/12/87", "Thorax 87-3-12", "CT 48-21-39", "Chest 10 15 30", "T2 J.V.", "J. V. Head",
        "Chest J V", "JV87", "CT JN12 AV03", "N1 O2 V3", "K48 B21 Q77 head",
    ],
)  # fmt: skip
def test_days_numbers_in_pairs_and_initials_go(text):
    assert not is_known_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Thorax 5.0 B31f", "Thorax 1.0 Br40 3", "t2_tse_sag_512 4 3", "CT CHEST W/O CONTRAST", "G.E. Medical Systems",
        "B Ax T1 +C", "T2 TSE A P", "CT 5 3 2", "3D T1 0.9", "N/A", "TE12", "Chest 10.0 30",
    ],
)  # fmt: skip
def test_kernels_thicknesses_sides_and_usual_spellings_stay(text):
    assert is_known_text(text)
