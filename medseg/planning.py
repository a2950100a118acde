"""Plan: what medseg decides from the data, the device and the time."""

from __future__ import annotations
