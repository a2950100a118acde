"""SystemMonitor: what the processor, the memory and the GPU did while a run trained."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

import psutil

from medseg.runs.store import now_ms

__all__ = ["SystemMonitor"]

_INTERVAL_S = 10.0


class SystemMonitor:
    """Samples in a thread of its own; nothing is written until `take` fetches the samples.

    Args:
        interval_s: Seconds between two samples.
    """

    def __init__(self, interval_s: float = _INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._samples: list[tuple[str, float, int, int]] = []
        self._count = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="medseg-monitor", daemon=True)
        self._process = psutil.Process()

    def start(self) -> None:
        """Begin to sample."""
        psutil.cpu_percent()
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> SystemMonitor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def take(self) -> list[tuple[str, float, int, int]]:
        """The samples since the last call: name, value, milliseconds since 1970, number of the sample."""
        with self._lock:
            samples, self._samples = self._samples, []
        return samples

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": self._process.memory_info().rss / 1e6,
        }
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            values["system/gpu_0_memory_usage_megabytes"] = torch.cuda.memory_reserved(0) / 1e6
        stamp = now_ms()
        with self._lock:
            self._samples += [(name, float(value), stamp, self._count) for name, value in values.items()]
            self._count += 1
