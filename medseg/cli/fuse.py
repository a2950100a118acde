"""`medseg manifest fuse`: one label map of several annotators', and how far they agree."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note, progress_bars, text_table
from medseg.cli.keys import KeyOption, identities_beside
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.studies.annotators import PairSummary

__all__ = ["fuse"]


@command
def fuse(
    path: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest with columns label.<annotator>.")],
    method: Annotated[
        Literal["staple", "majority"], typer.Option(help="STAPLE, or what more than half of the annotators drew.")
    ] = "staple",
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="New manifest; without it NAME.<method>.csv beside the old one.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cases read at once.")] = 2,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Make one label map of several annotators'.

    Says how far they agree.

    Writes a new manifest whose column `label` names the fused label maps, and NAME.agreement.csv with one row a case,
    label and pair of annotators. Exit status 3 when a case was refused.

    Example: medseg manifest fuse data/manifest.csv --method staple
    """
    from medseg.data.manifest import read_manifest
    from medseg.studies.annotators import fuse_manifest, summarise_agreement, write_agreement

    identities_beside(key)
    manifest = read_manifest(path)
    target = out or path.with_suffix(f".{method}.csv")
    with progress_bars() as bars:
        task = bars.add_task("fusing label maps", total=len(manifest.cases))
        fusion = fuse_manifest(manifest, target, method=method, jobs=jobs, progress=lambda: bars.advance(task))
    table = target.with_suffix(".agreement.csv")
    write_agreement(fusion.agreements, table)
    for refusal in fusion.refusals:
        note(f"{refusal.input}: {refusal.reason}")
    if fusion.single:
        note(f"{counted(fusion.single, 'case has', 'cases have')} one annotator only; that label map is kept as it is")
    pairs = summarise_agreement(fusion.agreements)
    result = {
        "manifest": str(target),
        "agreement": str(table),
        "cases": len(fusion.manifest.cases),
        "refused": len(fusion.refusals),
        "pairs": [asdict(pair) for pair in pairs],
    }
    written = f"{counted(len(fusion.manifest.cases), 'case')} fused by {method}; wrote {target.name} and {table.name}"
    emit(result, as_json=as_json, text=f"{_table(pairs)}\n\n{written}")
    return EXIT_PARTLY_REFUSED if fusion.refusals else 0


def _table(pairs: list[PairSummary]) -> str:
    rows = []
    for pair in pairs:
        dice = f"{_number(pair.dice)} ({_number(pair.dice_low)} to {_number(pair.dice_high)})"
        who = f"{pair.first} and {pair.second}"
        rows.append([pair.label, who, str(pair.cases), dice, _number(pair.hd95_mm), _number(pair.kappa)])
    return text_table(["label", "annotators", "cases", "Dice (quartiles)", "HD95 mm or px", "kappa"], rows)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
