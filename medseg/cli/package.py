"""The command that turns a run into a model package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.common import command, emit
from medseg.cli.keys import KeyOption, identities_beside
from medseg.cli.options import ThresholdOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("package")(_package)


@command
def _package(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of crossval or train.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where to write, NAME.medseg.")],
    intended_use: Annotated[
        str | None, typer.Option("--intended-use", metavar="TEXT", help="What the model is for, in a sentence.")
    ] = None,
    threshold: ThresholdOption = 10,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Write a model package.

    It holds the weights of all folds, what they are for, how good they were found to be.

    The package passes the privacy gate before it is written; it holds no path, no pseudonym and no code.

    Example: medseg package runs/hippocampus_3d hippocampus.medseg
    """
    from medseg.export.from_run import package_run

    index = identities_beside(key)
    target = out if out.suffix == ".medseg" else out.with_name(out.name + ".medseg")
    digest = package_run(run, target, intended_use=intended_use, threshold=threshold, identities=index)
    size = target.stat().st_size
    emit(
        {"package": str(target), "digest": digest, "bytes": size},
        as_json=as_json,
        text=f"{target}: {size / 2**20:.1f} MiB, digest {digest[:16]}",
    )
    return 0
