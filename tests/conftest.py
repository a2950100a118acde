"""Fixtures that every test shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from medseg.privacy.known import forget
from medseg.privacy.witness import dismiss_witnesses

os.environ.setdefault("MPLBACKEND", "Agg")

# A plain run tries the same examples each time, so that it judges the change; a long one (examples.py) tries others.
settings.register_profile("medseg", derandomize="MEDSEG_EXAMPLES" not in os.environ)
settings.load_profile("medseg")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real images, or a skip that says how to switch them on."""
    folder = os.environ.get("MEDSEG_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real images are not here; set MEDSEG_TEST_DATA to their folder")
    return Path(folder)


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    """What a command of one test knew of identities is forgotten before the next; a process has one command else."""
    yield
    forget()
    dismiss_witnesses()
