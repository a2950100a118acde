"""`medseg audit`: search anything for identity."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.common import command, emit, progress_bars
from medseg.cli.keys import KeyOption, known_identities
from medseg.errors import PrivacyError, RequestError
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.privacy.audit import AuditReport
    from medseg.privacy.identities import IdentityIndex

__all__ = ["register"]

_LINES = 40


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("audit")(_audit)


@command
def _audit(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Files or folders to search; the ledger without any.")
    ] = None,
    identities: Annotated[
        Path | None,
        typer.Option(
            "--identities", metavar="FILE", help="Text file, one identity a line: a name, an id, a date, a UID."
        ),
    ] = None,
    key: KeyOption = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="FILE", help="Ledger whose chain is verified as well.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, metavar="N", help="Processes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Search anything for identity.

    Looks at names, raw bytes, and what archives, databases, documents and DICOM files hold.

    Names, IDs and dates are known in the usual spellings and encodings, not where somebody hid them on purpose:
    reversed, enciphered, drawn.

    A find is told by file, place and rule, never by value. Exit status 4 when anything is found, 0 otherwise.

    Of a ledger whose chain is whole, the number of lines and the hash of the last one are printed, since a last line
    that was cut off or changed breaks no chain: compare them with the report or your notes. With --key that is done,
    for what commands with that key wrote.

    Example: medseg audit runs/skin --key project.key
    """
    from medseg.privacy.audit import audit_paths
    from medseg.privacy.ledger import verify

    if not paths:
        if ledger is None:
            raise RequestError("expected files or folders to search, or --ledger FILE; found neither")
        paths = [ledger]
    index = known_identities(key, identities)
    with progress_bars() as bars:
        task = bars.add_task("search", total=None)
        report = audit_paths(
            paths, identities=index, jobs=jobs, progress=lambda done, of: bars.update(task, completed=done, total=of)
        )
    problems = verify(ledger) if ledger is not None else []
    noted = ""
    if ledger is not None and key is not None and not problems:
        problems, noted = _compare(ledger, key)
    chain = f"{_chain(ledger)}{noted}" if ledger is not None and not problems else ""
    emit(
        {**_facts(report, index, problems), "ledger": chain},
        as_json=as_json,
        text=_text(report, index, problems, chain=chain),
    )
    return PrivacyError.exit_status if report.finds or problems else 0


def _chain(ledger: Path) -> str:
    """How long a whole chain is, and what it ends with."""
    lines = ledger.read_bytes().splitlines()
    last = hashlib.sha256(lines[-1]).hexdigest() if lines else "nothing"
    return f"the chain of {len(lines)} lines is whole and ends with {last}"


def _compare(ledger: Path, key: Path) -> tuple[list[str], str]:
    """What is wrong with a ledger's end by the notes beside the key, or how far these vouch for it."""
    from medseg.privacy.witness import ends_as_noted

    last, is_whole = ends_as_noted(ledger, key)
    if not is_whole:
        known = f"more stood behind line {last} when it was noted beside the key"
        return [f"{known}: lines were cut off or changed, or this is an older copy"], ""
    if not last:
        return [], ", which nobody noted beside the key"
    return [], f"; up to line {last} it is as noted beside the key"


def _facts(report: AuditReport, index: IdentityIndex | None, problems: list[str]) -> dict[str, Any]:
    return {
        "files": report.files,
        "identities": report.identities,
        "identities_found": report.identities_found,
        "identities_left_out": 0 if index is None else index.left_out,
        "finds": [
            {"place": find.place, "kind": find.kind, "rule": find.rule, "identity": find.identity}
            for find in report.finds
        ],
        "ledger_problems": problems,
    }


def _text(report: AuditReport, index: IdentityIndex | None, problems: list[str], *, chain: str) -> str:
    lines = []
    for find in report.finds[:_LINES]:
        number = f" {find.identity}" if find.identity is not None else ""
        lines.append(f"{find.place}: {find.kind}{number} ({find.rule})")
    if len(report.finds) > _LINES:
        lines.append(f"... and {len(report.finds) - _LINES} more; --json lists all")
    lines += [f"ledger: {problem}" for problem in problems]
    if chain:
        lines.append(f"ledger: {chain}")
    if index is None:
        lines.append("searched by patterns only; --key or --identities searches for this project's identities")
    elif index.left_out:
        told = counted(index.left_out, "identity is", "identities are")
        lines.append(f"{told} too short or too general to be searched for")
    return "\n".join([*lines, report.summary()])
