"""How long a person waits for `medseg --help`, and for one prediction, against what they are compared with.

Each pair is run in turn, A B A B ..., as whole processes; what is printed is the median of each and of the ratio or the
difference. Run it on a quiet machine:

    python benchmarks/start_up.py MODEL.medseg IMAGE.nii.gz
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_RUNS = 7


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def _pairs(ours: list[str], theirs: list[str]) -> list[tuple[float, float]]:
    _seconds(ours), _seconds(theirs)
    return [(_seconds(ours), _seconds(theirs)) for _ in range(_RUNS)]


def main() -> None:
    """Print both comparisons."""
    medseg = str(Path(sys.executable).with_name("medseg"))
    print(f"{platform.machine()}, {platform.python_version()}, {_RUNS} runs each, whole processes, medians")
    pairs = _pairs([medseg, "--help"], [sys.executable, "-c", "import typer, rich, pydantic"])
    ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"medseg --help {ours:.3f} s; import typer, rich, pydantic {theirs:.3f} s; ratio {ratio:.2f}")
    if len(sys.argv) == 3:
        with tempfile.TemporaryDirectory() as folder:
            runs = iter(range(1000))
            pairs = []
            for _ in range(_RUNS + 1):
                out = str(Path(folder) / str(next(runs)))
                predicted = _seconds([medseg, "predict", sys.argv[1], sys.argv[2], out])
                pairs.append((predicted, _seconds([sys.executable, "-c", "import monai"])))
        ours, theirs = (statistics.median(p[i] for p in pairs[1:]) for i in (0, 1))
        print(f"medseg predict, one image {ours:.2f} s; import monai {theirs:.2f} s; difference {ours - theirs:+.2f} s")


if __name__ == "__main__":
    main()
