"""The command ``deidentify``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note, progress_bars
from medseg.errors import RequestError
from medseg.privacy.witness import call_witness
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.privacy.crosswalk import Crosswalk
    from medseg.privacy.outcomes import DeidentifyReport

__all__ = ["register"]

_HELP = """
De-identify: make clean copies, refuse or quarantine the rest.

    Takes DICOM files, photographs, volumes and tables.

Name a profile; there is no default:
'basic': the Basic Profile of DICOM PS3.15 and clean pixel data; dates and times are gone.
'research': dates move by a secret number of days a patient, so that intervals stay exact; age (over 89 as 90), sex,
weight and size stay, and descriptions of known words. Needed for PET uptake values and studies over time.
'minimal-risk': as basic, and no text that somebody may have typed; faces are taken off heads in thin slices, and what
can't be defaced is refused.
Or a YAML file of your own in the form of configs/privacy/*.yaml.

Photographs are looked at for text, faces and tattoos (extra ocr). 'basic' and 'research' paint text over in grey, and
keep every other pixel; KEY.quarantine/NUMBER.painted.png shows it before and after. Text in the middle third or on more
than 10 % of a picture, faces, and what may be a tattoo or a pen's mark wait for a person; with 'minimal-risk' all text
does. Single eyes are not found, nor every tattoo (none in grey pictures): look at the pictures. Volumes (NIfTI, NRRD,
MetaImage) in which something can be read wait for a person as well.

The key ties the pseudonyms together over runs. Keep it, and a copy of it, away from the copies: whoever loses it can't
add cases to the same cohort. Beside it lies KEY.identities, by which `medseg audit` knows what it must not find.

Pictures and volumes beside a DICOM series are its patient's, others their first folder's that isn't called images or
the like; in no folder, each is a patient of its own. --patients FILE, a CSV table of files and patients, knows better.

--crosswalk keeps, encrypted and outside the release, who is who, for the data steward; `medseg crosswalk` reads it.

Example: medseg deidentify pacs/ clean/ --profile research --new-key project.key
"""


def _deidentify(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of files to clean.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the clean copies.")],
    profile: Annotated[str, typer.Option(metavar="NAME|FILE", help="basic, research, minimal-risk, or a YAML file.")],
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The project's key.")] = None,
    new_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Make a key here first, then go on.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that work at once.")] = 1,
    acknowledge_faces: Annotated[
        bool, typer.Option("--acknowledge-faces", help="Let heads in thin slices pass; the ledger records it.")
    ] = False,
    deface: Annotated[
        bool, typer.Option("--deface", help="Take the face off heads in thin CT and MR slices and NIfTI volumes.")
    ] = False,
    accept: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Numbers of quarantined files you have looked at, one a line; they pass."),
    ] = None,
    decide: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="KEY.quarantine/decisions.csv, filled in: pass, paint or refuse for each file."
        ),
    ] = None,
    crosswalk: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Encrypted list of who is who, for the data steward; made or extended."),
    ] = None,
    passphrase: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text file with the passphrase of the crosswalk.")
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV table (file, patient): whose the pictures and volumes are."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Make clean copies of the files in SRC."""
    from medseg.privacy.deidentify import deidentify_tree, input_files
    from medseg.privacy.ledger import Ledger
    from medseg.privacy.outcomes import write_private_list
    from medseg.privacy.patients import read_patients
    from medseg.privacy.profile import load_profile

    chosen = load_profile(profile)
    list_of_who = _crosswalk(crosswalk, passphrase)
    decided, accepted = _decisions(decide), _numbers(accept)
    files = input_files(src)
    named = {} if patients is None else read_patients(patients, src, files)
    key_path = _key_path(key, new_key, (src, out))
    quarantine = key_path.with_name(f"{key_path.name}.quarantine")
    call_witness(key_path)
    with _key(key_path, out, is_new=new_key is not None) as key_bytes, progress_bars() as bars:
        task = bars.add_task("De-identifying", total=len(files))
        look = bars.add_task("", total=None, visible=False)
        report = deidentify_tree(
            src,
            out,
            profile=chosen,
            key=key_bytes,
            ledger=Ledger(out / "ledger.jsonl"),
            progress=lambda: bars.advance(task),
            looking=lambda done, total: bars.update(
                look, description="Looking for text in series", completed=done, total=total, visible=True
            ),
            jobs=jobs,
            identities=key_path.with_name(key_path.name + ".identities"),
            acknowledge_faces=acknowledge_faces,
            deface=deface,
            accepted=accepted | decided["pass"],
            painted=decided["paint"],
            rejected=decided["refuse"],
            quarantine=quarantine,
            crosswalk=list_of_who,
            patients=named,
        )
    private = key_path.with_name(f"{key_path.name}.refused.csv")
    write_private_list(private, files, report)
    _say_what_waits(report, private=private, quarantine=quarantine)
    _say_whose(files, report, named)
    result = {
        "files": len(files),
        "written": len(report.written),
        "quarantined": len(report.quarantined),
        "refused": len(report.refused),
        "profile": chosen.name,
    }
    text = f"{result['written']} written, {result['quarantined']} quarantined, {result['refused']} refused"
    emit(result, as_json=as_json, text=text)
    return EXIT_PARTLY_REFUSED if report.quarantined or report.refused else 0


def _say_what_waits(report: DeidentifyReport, *, private: Path, quarantine: Path) -> None:
    """Which files have no copy or another one than they were, and where a person decides on them."""
    from medseg.privacy.outcomes import write_decisions
    from medseg.privacy.worker import BLANKED, LESS, PAINTED

    left_out, total = len(report.quarantined) + len(report.refused), len(report.outcomes)
    if left_out:
        whole = counted(total, "file")
        note(f"no copy was made of {left_out} of {whole}; refused.csv in the output folder says why, by number;")
        note(f"{_from_here(private)} says which files they are (keep that list to yourself)")
    blanked, less, painted = (len(report.noted(what)) for what in (BLANKED, LESS, PAINTED))
    if blanked:
        note(f"letters that name the patient were blanked among the pixels of {counted(blanked, 'file')}")
    if less:
        whole = counted(less, "file")
        note(f"numbers that may be the patient's or are none were left out of {whole}; the ledger says so")
    pictures, form = _from_here(quarantine), quarantine / "decisions.csv"
    if painted:
        note(f"text was painted over in {counted(painted, 'photograph')}; {pictures} shows each before and after")
    if report.quarantined or painted:
        write_decisions(form, report)
        note(f"look at the pictures in {pictures}, write pass, paint or refuse into decisions.csv there,")
        note(f"and give the command again with --decide {_from_here(form)}; the ledger records it")


def _say_whose(files: Sequence[str], report: DeidentifyReport, named: Mapping[int, str]) -> None:
    """Of whom pictures and volumes were taken to be for no better reason than their folder."""
    from medseg.privacy.patients import grouping_of

    found = grouping_of(files, report, named=named)
    what_to_do = "name their patients with --patients FILE (columns file and patient)"
    if found.shared:
        most = max(found.shared, key=lambda folder: found.shared[folder])
        number = found.shared[most]
        others = len(found.shared) - 1
        more = f", and so were those of {counted(others, 'other folder')}" if others else ""
        note(
            f"the {counted(number, 'picture or volume', 'pictures and volumes')} of folder {most} of {found.folders} "
            f"(in the order of their names) were taken as one patient's{more}; if they are of several people, "
            f"{what_to_do}"
        )
    if found.alone:
        note(
            f"{found.alone} pictures or volumes in no folder were taken as one patient each; if several are of one "
            f"person, they may come to both sides of a split: {what_to_do}"
        )


def _from_here(path: Path) -> str:
    """A path as the person would type it, who stands in the working directory."""
    try:
        return os.path.relpath(path)
    except ValueError:  # On another drive of Windows.
        return str(path)


def _read_crosswalk(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Crosswalk that deidentify made.")],
    passphrase: Annotated[Path, typer.Option(metavar="FILE", help="Text file with its passphrase.")],
    find: Annotated[
        list[str] | None, typer.Option(metavar="PSEUDONYM", help="Only what this stands for; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Show the data steward whom each pseudonym stands for.

    The output identifies patients: it is for the eyes of the person who holds the passphrase.

    Example: medseg crosswalk steward/crosswalk --passphrase steward/passphrase --find P4XK7Q2M9TR
    """
    import csv
    import io
    from dataclasses import asdict, astuple

    from medseg.privacy.crosswalk import Crosswalk, read_passphrase

    if not file.is_file():
        raise RequestError("expected a crosswalk that `medseg deidentify --crosswalk` made, found none of that name")
    wanted = set(find or ())
    links = [
        link
        for link in Crosswalk(file, read_passphrase(passphrase)).read()
        if not wanted or wanted & {link.pseudonym, *link.pseudonym.split("/")}
    ]
    if not links:
        raise RequestError("the crosswalk knows nothing of that pseudonym; a part of it is not enough")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([("kind", "pseudonym", "original"), *map(astuple, links)])
    note("what follows identifies patients; don't send or store it in clear")
    emit({"links": [asdict(link) for link in links]}, as_json=as_json, text=stream.getvalue())
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("deidentify", help=_HELP)(command(_deidentify))
    app.command("crosswalk")(command(_read_crosswalk))


def _crosswalk(path: Path | None, passphrase: Path | None) -> Crosswalk | None:
    """The crosswalk to extend, or None.

    Raises:
        RequestError: Only one of the two was named, or the passphrase can't be used.
    """
    from medseg.privacy.crosswalk import Crosswalk, read_passphrase

    if path is None and passphrase is None:
        return None
    if path is None or passphrase is None:
        raise RequestError("expected both --crosswalk FILE and --passphrase FILE, found one of them")
    return Crosswalk(path, read_passphrase(passphrase))


def _numbers(path: Path | None) -> frozenset[int]:
    """Running numbers in a text file, one a line.

    Raises:
        RequestError: The file is missing or holds something else.
    """
    if path is None:
        return frozenset()
    try:
        return frozenset(int(line) for line in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        raise RequestError("expected running numbers in the file of --accept, one a line, found none") from None


def _decisions(path: Path | None) -> dict[str, frozenset[int]]:
    """Running numbers of the files by decision; lines without one are left open.

    Raises:
        RequestError: The file is missing or holds another decision.
    """
    import csv

    decided: dict[str, set[int]] = {"pass": set(), "paint": set(), "refuse": set(), "": set()}
    try:
        with path.open(encoding="utf-8-sig", newline="") if path else contextlib.nullcontext(()) as stream:
            for row in csv.DictReader(stream):
                decided[(row["decision"] or "").strip().lower()].add(int(row["number"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise RequestError(
            "expected a decisions.csv with the columns number and decision (pass, paint, refuse, empty), found another"
        ) from None
    return {decision: frozenset(numbers) for decision, numbers in decided.items()}


def _key_path(key: Path | None, new_key: Path | None, folders: Sequence[Path]) -> Path:
    """Where the key lies, or shall lie.

    Raises:
        RequestError: None or both were named, or it would lie in the source or the output folder.
    """
    path = key or new_key
    if path is None or (key is not None and new_key is not None):
        raise RequestError("expected a key: --key FILE, or --new-key FILE to make one first")
    if any(folder.resolve() in path.resolve().parents for folder in folders):
        raise RequestError("expected the key outside the source and the output folder, found it inside")
    return path


@contextlib.contextmanager
def _key(path: Path, out: Path, *, is_new: bool) -> Iterator[bytes]:
    """The key's bytes; a new key is gone again where the command fails before anything was made with it.

    Raises:
        RequestError: The key can't be read, or a new one can't be made.
    """
    from medseg.privacy.outcomes import is_made_with
    from medseg.privacy.pseudonym import Pseudonymiser, load_key, new_key

    key = new_key(path) if is_new else load_key(path)
    try:
        yield key
    except BaseException:
        if is_new and not is_made_with(out, Pseudonymiser(key).check):
            path.unlink(missing_ok=True)
        raise
