"""Errors that dciodvfy (Debian: dicom3tools) finds in DICOM files before and after `medseg deidentify`, by file set.

usage: python benchmarks/valid_dicom.py PROFILE FOLDER [FOLDER ...]

A file counts as worse when its copy has more errors than it had. Quarantined files are let pass and heads in thin
slices are acknowledged, so that every file that can be written is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from medseg.privacy.deidentify import deidentify_tree, input_files
from medseg.privacy.profile import load_profile


def errors_in(path: Path) -> Counter[str]:
    """The lines in which dciodvfy says that something is wrong."""
    made = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return Counter(line for line in (made.stdout + made.stderr).splitlines() if line.startswith("Error"))


def main() -> None:
    """Measure and print a line a folder, then the kinds of errors that are new."""
    profile = load_profile(sys.argv[1])
    new: Counter[str] = Counter()
    print(f"{'folder':28} {'files':>6} {'written':>8} {'errors before':>14} {'after':>6} {'files worse':>12}")
    for folder in map(Path, sys.argv[2:]):
        files = input_files(folder)
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "out"
            report = deidentify_tree(
                folder,
                out,
                profile=profile,
                key=bytes(range(32)),
                acknowledge_faces=profile.faces == "refuse",
                accepted=range(1, len(files) + 1),
            )
            before = after = worse = written = 0
            for outcome in report.written:
                if outcome.kind == "dicom":
                    had, has = errors_in(folder / files[outcome.number - 1]), errors_in(out / outcome.place)
                    before, after, written = before + had.total(), after + has.total(), written + 1
                    worse += has.total() > had.total()
                    new += has - had
        print(f"{folder.name:28} {len(files):6} {written:8} {before:14} {after:6} {worse:12}")
    for line, count in new.most_common(20):
        print(f"new: {count} x {line[8:160]}")


if __name__ == "__main__":
    main()
