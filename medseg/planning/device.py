"""DeviceFacts: what a plan must know of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medseg.errors import PlanError

__all__ = ["DeviceFacts", "inspect_device"]


@dataclass(frozen=True)
class DeviceFacts:
    """The device that trains.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        memory_gb: Memory that training may take.
        cores: Processor cores this process may use.
        fast_bf16: Whether bfloat16 is computed in hardware.
        tflops: Dense compute in 10^12 operations a second that training reaches in practice; a rough table, from which
            only the order of magnitude of a step's time is taken.
    """

    kind: Literal["cpu", "cuda"]
    memory_gb: float
    cores: int
    fast_bf16: bool
    tflops: float


def inspect_device(device: Literal["auto", "cpu", "cuda"], *, memory_gb: float | None = None) -> DeviceFacts:
    """Look at the machine.

    Args:
        device: ``auto`` takes the GPU where there is one.
        memory_gb: Memory that training may take; without it 80 % of what is there.

    Raises:
        PlanError: ``cuda`` was asked for and there is none.
    """
    import os

    import psutil
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if device != "cpu" and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        memory = memory_gb or 0.8 * properties.total_memory / 2**30
        fast = torch.cuda.is_bf16_supported()
        return DeviceFacts("cuda", memory, cores, fast, 0.35 * properties.multi_processor_count if fast else 10.0)
    if device == "cuda":
        raise PlanError("device: cuda was asked for, but no CUDA device is here; set device: auto or cpu")
    memory = memory_gb or 0.8 * psutil.virtual_memory().total / 2**30
    fast = _cpu_has_bf16()
    return DeviceFacts("cpu", memory, cores, fast, cores * (0.12 if fast else 0.04))


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
