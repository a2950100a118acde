"""How many mirrored cases `manifest check` names: each case of a data set is mirrored left to right in turn.

    python benchmarks/mirrored.py data/manifest.csv more/manifest.csv

Mirrored is the label map alone, the image alone, or both. ``by itself`` is the rule that looks at one case alone
(`medseg.data.plausible`), ``by the others`` the one that compares it with the rest (`medseg.data.mirrored`), ``either``
both together. The last lines plant mirrored label maps among few cases, drawn a hundred times.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.data.cases import read_case_image, read_case_label
from medseg.data.manifest import read_manifest
from medseg.data.mirrored import CaseGrids, case_grids, mirrored_cases
from medseg.data.plausible import MIRRORED_GAIN, mirror_gain
from medseg.data.volume import closest_ras

_MIRRORED = ("nothing", "label", "image", "both")
_DRAWINGS = 100
_DRAWN = ((8, 1), (12, 2), (20, 4), (30, 1))


def main() -> None:
    """Read the manifests and print two tables."""
    print("| data set | cases | mirrored | by itself | by the others | either |\n|---|---|---|---|---|---|")
    read = {path: _read(Path(path)) for path in sys.argv[1:]}
    for path, (grids, alone) in read.items():
        usual = [one[0] for one in grids]
        for number, what in enumerate(_MIRRORED):
            itself = np.array([gains[number] >= MIRRORED_GAIN for gains in alone])
            others = np.array([_named(usual, {i: one[number]})[i] for i, one in enumerate(grids)])
            row = [Path(path).parent.name, len(grids), what, itself.sum(), others.sum(), (itself | others).sum()]
            print("| " + " | ".join(str(value) for value in row) + " |")
    print("\n| data set | cases drawn | mirrored labels | found by the others | wrongly named |\n|---|---|---|---|---|")
    generator = np.random.default_rng(0)
    for path, (grids, _) in read.items():
        for cases, planted in _DRAWN if len(grids) >= _DRAWN[-1][0] else ():
            found = wrong = 0
            for _ in range(_DRAWINGS):
                drawn = [grids[i] for i in generator.permutation(len(grids))[:cases]]
                named = _named([one[0] for one in drawn], {i: drawn[i][1] for i in range(planted)})
                found, wrong = found + sum(named[:planted]), wrong + sum(named[planted:])
            of = f"{wrong} of {_DRAWINGS * (cases - planted)}"
            print(f"| {Path(path).parent.name} | {cases} | {planted} | {found} of {_DRAWINGS * planted} | {of} |")


def _read(path: Path) -> tuple[list[list[CaseGrids]], list[list[float]]]:
    """Of each case the grids and the gain by itself, for each thing that is mirrored."""
    manifest = read_manifest(path)
    grids, gains = [], []
    for case in manifest.cases:
        volume = read_case_image(case, channels=manifest.card.channels)
        label = read_case_label(case, card=manifest.card, geometry=volume.geometry, ignore_label=manifest.card.ignore)
        axis = closest_ras(volume.affine, label.ndim)[0][0]
        other = replace(volume, array=np.flip(volume.array, axis + 1))
        turned = np.flip(label, axis)
        ways = ((volume, label), (volume, turned), (other, label), (other, turned))
        grids.append([case_grids(*way) for way in ways])
        gains.append([mirror_gain(*way) for way in ways])
    return grids, gains


def _named(usual: list[CaseGrids], planted: dict[int, CaseGrids]) -> list[bool]:
    """Whether each case is named, any axis, with some of them mirrored."""
    return [bool(sentences) for sentences in mirrored_cases([planted.get(i, one) for i, one in enumerate(usual)])]


if __name__ == "__main__":
    main()
