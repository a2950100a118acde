"""The commands that talk to an archive: ``dicomweb find|pull|push`` and ``pacs find|pull|push|restore``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note, progress_bars
from medseg.cli.keys import KeyOption, known_identities
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.data.refusal import Refusal

__all__ = ["register"]

_LINES = 40
_Protocol = Literal["dicomweb", "dicom"]
_Archive = Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Archive file (YAML, mode 0600): docs/pacs.md.")]
_List = Annotated[
    Path | None,
    typer.Option("--list", metavar="FILE", help="CSV of studies: study, series, accession, patient, date, modality."),
]
_Study = Annotated[
    list[str] | None,
    typer.Option("--study", metavar="UID", help="A Study Instance UID; the shell's history keeps it, a list doesn't."),
]
_Json = Annotated[bool, typer.Option("--json", help="The result as one line of JSON.")]
_IDENTIFIED = (
    "these files are identified data: they name their patients. Only you can read the folder. Run `medseg deidentify` "
    "on it before anything else gets them, and delete it when it isn't needed any more"
)


def register(app: typer.Typer) -> None:
    """Add the command groups to the app."""
    web = typer.Typer(help="Find, pull and push by DICOMweb (QIDO, WADO, STOW).", no_args_is_help=True)
    node = typer.Typer(help="Find, pull and push by the DICOM network protocol.", no_args_is_help=True)
    groups: tuple[tuple[typer.Typer, str, _Protocol], ...] = ((web, "dicomweb", "dicomweb"), (node, "pacs", "dicom"))
    for group, name, protocol in groups:
        group.command("find", help=_help(_FIND, name))(command(_find_by(protocol)))
        group.command("pull", help=_help(_PULL, name))(command(_pull_by(protocol)))
        group.command("push", help=_help(_PUSH, name))(command(_push_by(protocol)))
        app.add_typer(group, name=name)
    node.command("restore")(command(_restore))


_FIND = """
Say how much of a list of studies the archive holds.

    Counts and modalities by line, no identities.

Example: medseg NAME find hospital.yaml --list studies.csv
"""
_PULL = """
Fetch studies. Files get names without meaning; each is checked and written whole.

The same command again fetches only what is missing. OUT.pull.jsonl beside the folder is the account of it.

Example: medseg NAME pull hospital.yaml pulled --list studies.csv
"""
_PUSH = """
Send DICOM objects, after all of them have passed the gate.

To an archive that its file declares `tier: shareable` (the default) goes only what is de-identified and holds none of
the project's identities. To one declared `tier: internal`, the hospital's own, an object may carry its patient, if the
archive holds that study of that patient and the images that the object refers to. The same command again sends only
what is missing.

Example: medseg NAME push research.yaml predictions --key project.key
"""


def _help(text: str, name: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("NAME", name).split("\n\n"))


def _find_by(protocol: _Protocol) -> Callable[..., int]:
    def find_command(archive: _Archive, wanted: _List = None, study: _Study = None, as_json: _Json = False) -> int:
        from medseg.pacs import connect, load_archive, read_wanted
        from medseg.pacs.pull import find

        found = find(connect(load_archive(archive), protocol), read_wanted(wanted, studies=study or ()))
        rows = [
            {"line": f.number, "studies": f.studies, "series": len(f.series), "modalities": f.modalities} for f in found
        ]
        lines = [
            f"line {f.number}: {counted(f.studies, 'study')}, {counted(len(f.series), 'series')}"
            f" {' '.join(f.modalities)}".rstrip()
            for f in found
        ]
        missing = sum(not f.series for f in found)
        emit({"lines": rows, "not_found": missing}, as_json=as_json, text="\n".join(lines))
        return EXIT_PARTLY_REFUSED if missing else 0

    return find_command


def _pull_by(protocol: _Protocol) -> Callable[..., int]:
    def pull_command(
        archive: _Archive,
        out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the files.")],
        wanted: _List = None,
        study: _Study = None,
        as_json: _Json = False,
    ) -> int:
        from medseg.pacs import connect, load_archive, pull, read_wanted

        settings = load_archive(archive)
        asked = read_wanted(wanted, studies=study or ())
        with _bar("Pulling") as progress:
            report = pull(connect(settings, protocol), asked, out, attempts=settings.attempts, progress=progress)
        _tell(report.refusals)
        if report.fetched or report.already:
            note(_IDENTIFIED)
        result = {
            "studies": report.studies,
            "instances": report.instances,
            "fetched": report.fetched,
            "already": report.already,
            "refused": _listed(report.refusals),
        }
        text = (
            f"{report.fetched + report.already} of {counted(report.instances, 'instance')} of "
            f"{counted(report.studies, 'study')} are here, {report.fetched} of them fetched now"
        )
        emit(result, as_json=as_json, text=text)
        return EXIT_PARTLY_REFUSED if report.refusals else 0

    return pull_command


def _push_by(protocol: _Protocol) -> Callable[..., int]:
    def push_command(
        archive: _Archive,
        source: Annotated[Path, typer.Argument(metavar="SRC", help="A DICOM file, or a folder of them.")],
        key: KeyOption = None,
        identities: Annotated[
            Path | None,
            typer.Option("--identities", metavar="FILE", help="Text file, one identity a line, to search for."),
        ] = None,
        as_json: _Json = False,
    ) -> int:
        from medseg.pacs import connect, load_archive, push

        settings = load_archive(archive)
        index = known_identities(key, identities)
        with _bar("Pushing") as progress:
            report = push(
                connect(settings, protocol),
                source,
                tier=settings.tier,
                identities=index,
                attempts=settings.attempts,
                progress=progress,
            )
        _tell(report.refusals)
        if not report.confirmed:
            note("the archive only receives: it can't be asked what it holds, so everything was sent")
        result = {
            "objects": report.objects,
            "sent": report.sent,
            "already": report.already,
            "confirmed": report.confirmed,
            "refused": _listed(report.refusals),
        }
        how = "the archive lists them" if report.confirmed else "the archive said it took them"
        text = f"{report.sent + report.already} of {report.objects} objects are there, {report.sent} sent now; {how}"
        emit(result, as_json=as_json, text=text)
        return EXIT_PARTLY_REFUSED if report.refusals else 0

    return push_command


def _restore(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of results made on de-identified series.")],
    originals: Annotated[Path, typer.Argument(metavar="ORIGINALS", help="Folder of the series before that step.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the results with their patients.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The project's key.")],
    as_json: _Json = False,
) -> int:
    """Give results their own patients and studies back.

    For results that were made on de-identified series, to push them home.

    Example: medseg pacs restore predictions pulled restored --key project.key
    """
    from medseg.pacs import restore_results
    from medseg.privacy.pseudonym import load_key

    with _bar("Restoring") as progress:
        report = restore_results(results, originals, out, key=load_key(key), progress=progress)
    _tell(report.refusals)
    if report.written:
        note(_IDENTIFIED.replace("Run `medseg deidentify` on it before anything else gets them", "Push it home"))
    total = report.written + len(report.refusals)
    emit(
        {"written": report.written, "refused": _listed(report.refusals)},
        as_json=as_json,
        text=f"patients restored in {report.written} of {counted(total, 'result')}",
    )
    return EXIT_PARTLY_REFUSED if report.refusals else 0


@contextmanager
def _bar(word: str) -> Iterator[Callable[[int, int], None]]:
    with progress_bars() as bars:
        task = bars.add_task(word, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


def _tell(refusals: tuple[Refusal, ...]) -> None:
    for refusal in refusals[:_LINES]:
        note(f"refused: {refusal.input}: {refusal.reason}")
    if len(refusals) > _LINES:
        note(f"... and {len(refusals) - _LINES} more; --json lists all")


def _listed(refusals: tuple[Refusal, ...]) -> list[dict[str, Any]]:
    return [asdict(refusal) for refusal in refusals]
