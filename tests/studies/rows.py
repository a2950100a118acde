"""Rows of cases.csv with known values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def row(case: str, patient: str, dice: float, **more: Any) -> dict[str, Any]:
    return {
        "case": case,
        "patient": patient,
        "fold": 0,
        "repeat": 0,
        "label": 1,
        "label_name": "lesion",
        "dice": dice,
        "hd95_mm": math.nan if math.isnan(dice) else 10 * (1 - dice),
        "nsd_1mm": dice,
        **more,
    }


def cohort(patients: int, *, seed: int = 0, shift: float = 0.0, cases_each: int = 1) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [
        row(f"C{p:03d}-{c}", f"P{p:03d}", float(np.clip(0.8 + 0.08 * generator.normal() + shift, 0, 1)), fold=p % 5)
        for p in range(patients)
        for c in range(cases_each)
    ]
