"""Examples: how many a property is tried with: few in every run, as many as ``MEDSEG_EXAMPLES`` says in a long one."""

from __future__ import annotations

import os


def examples(usual: int) -> int:
    """The usual number of examples, or that of the variable where it is larger."""
    return max(usual, int(os.environ.get("MEDSEG_EXAMPLES", "0")))
