"""Commands of datasets: the cards of public data, and the synthetic cohort."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.common import command, emit, progress_bars
from medseg.errors import RequestError
from medseg.wording import counted

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="Public data sets by card, and a synthetic cohort.", no_args_is_help=True)
    group.command("list")(_list_cards)
    group.command("make")(_make)
    app.add_typer(group, name="datasets")


@command
def _list_cards(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """List public data sets.

    What they are, their licence, where to get them.

    Example: medseg datasets list
    """
    from medseg.data.card import read_card

    cards = {path.stem: read_card(path) for path in sorted(_card_folder().glob("*.yaml"))}
    lines = []
    for name, card in cards.items():
        labels = ", ".join(card.label_names().values())
        lines += [f"{name}: {card.title}", f"    {card.modality}; labels: {labels}", f"    licence: {card.licence}"]
        lines += [f"    from: {card.source}"] if card.source else []
    lines.append("synthetic: made here by `medseg datasets make OUT`")
    emit({name: card.model_dump(mode="json") for name, card in cards.items()}, as_json=as_json, text="\n".join(lines))
    return 0


@command
def _make(
    out: Annotated[Path, typer.Argument(help="Folder; the files come under OUT/source, the list is OUT/planted.txt.")],
    patients: Annotated[int, typer.Option(help="Patients with CT.")] = 18,
    pictures: Annotated[int, typer.Option(help="Dermoscopy photographs.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Make a synthetic cohort.

    CT series and photographs of invented people, every identity listed.

    Two patients have a follow-up study, every ninth has no lesion, and one series is broken on purpose.

    Example: medseg datasets make cohort
    """
    from medseg.data.synthetic import make_cohort

    with progress_bars() as bars:
        task = bars.add_task("Making the synthetic cohort", total=max(0, patients) + max(0, pictures))
        facts = make_cohort(out, patients=patients, pictures=pictures, seed=seed, progress=lambda: bars.advance(task))
        bars.update(task, completed=patients + pictures)
    text = (
        f"{facts.series} CT series of {counted(facts.patients, 'patient')} ({facts.without_lesions} without lesions, "
        f"{facts.broken_series} series broken on purpose) and {counted(facts.pictures, 'photograph')}; "
        f"{counted(facts.identities, 'identity')} planted in {counted(facts.files, 'file')}, listed in {facts.planted}"
    )
    emit(dataclasses.asdict(facts), as_json=as_json, text=text)
    return 0


def _card_folder() -> Path:
    """The cards: inside the installed package, or in the working tree that it is run from."""
    import medseg

    package = Path(medseg.__file__).parent
    for folder in (package / "_shipped" / "data_manifests", package.parent / "data_manifests"):
        if folder.is_dir():
            return folder
    raise RequestError("the cards of the public data sets are not part of this installation; install medseg again")
