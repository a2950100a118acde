"""Facts of the environment: what a reader needs to repeat a study, and nothing that says where or by whom it ran."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

__all__ = ["describe_environment"]

_PACKAGES = (
    "medseg", "torch", "monai", "pytorch-lightning", "numpy", "scipy", "scikit-learn", "nibabel", "SimpleITK",
    "pydicom", "highdicom", "mlflow", "pydantic", "safetensors", "Pillow",
)  # fmt: skip


def describe_environment(*, device: str = "cpu") -> dict[str, Any]:
    """Versions and hardware, for ``environment.json``.

    Args:
        device: ``cpu``, or ``cuda`` to name the first GPU as well.

    Returns:
        JSON values: python, os, packages, processor, cores, memory_gb, device, threads. No host name, user or path.
    """
    return {
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
        "packages": _versions(),
        "processor": _processor(),
        "cores": _cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "device": _device(device),
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _processor() -> str:
    """Model of the processor; `platform.processor` is empty on Linux, `platform.uname` would hold the host name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.machine() or "unknown"
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine() or "unknown"


def _device(device: str) -> str:
    if device != "cuda":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "cpu"
