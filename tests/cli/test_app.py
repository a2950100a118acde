"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys

_WARNS = """
import sys, warnings
from medseg.cli import app
app.app = lambda: warnings.warn("Invalid value for VR DA: '1951.07.02'")
sys.exit(app.main())
"""


def shown(*options: str) -> str:
    return subprocess.run([sys.executable, *options, "-c", _WARNS], capture_output=True, text=True, check=True).stderr


def test_warnings_of_libraries_which_quote_values_are_shown_only_to_those_who_ask():
    assert shown() == ""
    assert "1951.07.02" in shown("-W", "default")
