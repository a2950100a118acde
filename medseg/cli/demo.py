"""The command that shows the whole way on a synthetic cohort."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.common import command, emit, note
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.demo import DemoResult

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("demo")(_demo)


@command
def _demo(
    out: Annotated[Path, typer.Argument(metavar="[OUT]", help="New folder for everything.")] = Path("demo-out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Go the whole way offline, on a synthetic cohort.

    Every identity in it is planted; at most six minutes on two idle cores.

    Make 18 patients with CT and 40 photographs, de-identify, import, draw folds, cross-validate a 3D and a 2D study,
    report, export, package, and search everything for the planted identities. Exit status 1 unless all of it is true.

    Example: medseg demo demo-out
    """
    from medseg.cli.bars import StudyBars
    from medseg.demo import run_demo

    with StudyBars() as bars:
        result = run_demo(out, progress=bars)
    emit(_facts(result), as_json=as_json, text=_text(result))
    for problem in result.problems:
        note(f"not as it should be: {problem}")
    return 1 if result.problems else 0


def _text(result: DemoResult) -> str:
    lines = [
        f"{f.name}: Dice {f.dice:.3f} ({f.confidence:.0%} interval {f.low:.3f} to {f.high:.3f}), out of fold, "
        f"{counted(f.cases, 'case')} of {counted(f.patients, 'patient')}"
        for f in result.figures
    ]
    lines += [f"refused: {count} x {reason}" for reason, count in result.refused.items()]
    found, files = result.audit.identities_found, result.audit.files
    lines += [
        f"{found} of {result.planted} planted identities found in {counted(files, 'file')}",
        f"report: {os.path.relpath(result.report)}",
        result.mlflow,
    ]
    return "\n".join(lines)


def _facts(result: DemoResult) -> dict[str, Any]:
    return {
        "figures": [vars(figure) for figure in result.figures],
        "refused": dict(result.refused),
        "planted": result.planted,
        "found": result.audit.identities_found,
        "files": result.audit.files,
        "report": os.path.relpath(result.report),
        "mlflow": result.mlflow,
        "minutes": round(result.minutes, 2),
        "problems": list(result.problems),
    }
