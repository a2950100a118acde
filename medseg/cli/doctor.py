"""Doctor: facts of this machine that decide how a study should run, and what follows from them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["advise", "look"]

_GIB = 2**30


def look(*, measure: bool = True) -> dict[str, Any]:
    """Cores, memory (GiB), free disk (GiB) of the working directory, GPU, step times in milliseconds, extras.

    Args:
        measure: Time one training step of a small 3D convolution in float32 and bfloat16.
    """
    import platform
    import shutil

    import psutil
    import torch

    import medseg
    from medseg.planning import inspect_device

    device = inspect_device("auto")
    memory = psutil.virtual_memory()
    gpu = None
    if device.kind == "cuda":
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{properties.name}, {properties.total_memory / _GIB:.0f} GiB"
    facts: dict[str, Any] = {
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": device.cores,
        "memory_gib": round(memory.total / _GIB, 1),
        "memory_free_gib": round(memory.available / _GIB, 1),
        "disk_free_gib": round(shutil.disk_usage(".").free / _GIB, 1),
        "gpu": gpu,
        "bf16_hardware": device.fast_bf16,
    }
    if measure:
        facts["step_ms"] = {name: round(_step_ms(device.kind, name), 1) for name in ("float32", "bfloat16")}
    facts["extras"] = _extras()
    return facts


def advise(facts: Mapping[str, Any]) -> list[str]:
    """Sentences that follow from the facts of `look`."""
    advice: list[str] = []
    if facts["gpu"] is None:
        advice.append(
            "No GPU: set train.budget_minutes; docs/benchmarks.md says what 6 minutes a fold in 2D and 10 in 3D gave."
        )
    times = facts.get("step_ms")
    if times and times["bfloat16"] > times["float32"]:
        advice.append("bfloat16 is slower than float32 here; train.precision: 32 is the better choice.")
    elif times:
        advice.append(f"bfloat16 steps take {times['bfloat16'] / times['float32']:.2f} of a float32 step's time here.")
    if facts["memory_free_gib"] < 4:
        advice.append("Less than 4 GiB of memory is free: close other programs, or set plan.memory_gb.")
    if facts["disk_free_gib"] < 10:
        advice.append("Less than 10 GiB of disk is free: the preprocessing cache of a large study may not fit.")
    missing = [name for name, there in facts["extras"].items() if not there]
    advice += [f'Extra "{name}" is not installed: pip install "medseg[{name}]"' for name in missing]
    if "ocr" in missing and sys.version_info >= (3, 13):
        advice.append('Extra "ocr" brings text recognition on Python 3.11 and 3.12 only.')
    return advice


def _extras() -> dict[str, bool]:
    """Each extra of medseg for its users, and whether all that it asks for is installed."""
    from importlib import metadata

    extras: dict[str, bool] = {}
    for requirement in metadata.requires("medseg") or []:
        match = re.fullmatch(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([A-Za-z0-9._-]+)['\"].*", requirement)
        if match is None or match.group(2) == "dev":
            continue
        try:
            metadata.distribution(match.group(1))
            there = True
        except metadata.PackageNotFoundError:
            there = False
        extras[match.group(2)] = extras.get(match.group(2), True) and there
    return extras


def _step_ms(kind: str, precision: str) -> float:
    """Median time of a forward and backward pass of two 3D convolutions, in milliseconds."""
    import statistics
    import time

    import torch

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 16, 48, 48, 48, generator=generator).to(kind)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(32, 16, 3, padding=1)
    ).to(kind)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = network(image).float().square().mean()
        loss.backward()
        if kind == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])
