"""Import: files of any layout become a manifest, a card and clean copies under pseudonyms.

The copies hold pixels and geometry and nothing else: volumes (DICOM too) as NIfTI with a fresh header, photographs as
JPEG without any segment of metadata or as PNG. Nothing that is written bears a name of the source. Each case is written
before it is noted as done, so that a run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from medseg.data.annotators import name_annotators
from medseg.data.archive import is_dicomdir, missing_from_dicomdir, opened
from medseg.data.card import Card, Deidentification, LabelInfo, checked_card
from medseg.data.carried import carry
from medseg.data.case_copy import Copied, Done, copy_case
from medseg.data.case_names import Job, digest_of, name_cases
from medseg.data.import_place import STATE_FILE, locked, read_state, require_places
from medseg.data.label_source import LabelSource
from medseg.data.layouts import recognise
from medseg.data.manifest import Case, Manifest, write_manifest
from medseg.data.metadata import join_metadata
from medseg.data.modality import settle_modality
from medseg.data.reading import RESAMPLED
from medseg.data.recognise import Choice, Recognised, most_common
from medseg.data.refusal import Refusal, most_frequent, write_refusals
from medseg.errors import RequestError
from medseg.privacy.known import let_out
from medseg.privacy.ledger import Ledger
from medseg.privacy.outcomes import DEIDENTIFIED_MARK

__all__ = ["ImportOptions", "ImportReport", "import_tree"]


@dataclass(frozen=True)
class ImportOptions:
    """What the researcher fixes of an import.

    Attributes:
        choice: Which images to take.
        labels: Label value to name; without it what the data set states, or what is found.
        keep_names: Keep the names of files and folders as ids. Only for names that identify nobody.
        title: Title of the data set.
        licence: Its licence.
        jobs: Cases copied at once.
    """

    choice: Choice = field(default_factory=Choice)
    labels: Mapping[int, str] = field(default_factory=dict)
    keep_names: bool = False
    title: str = ""
    licence: str = ""
    jobs: int = 1


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        layout: What the folder was taken for.
        cases: Cases in the manifest.
        patients: Patients in the manifest.
        labelled: Cases with a label map.
        empty: Cases whose label map is empty.
        repaired: Label maps whose grid was set to the image's, from which it differed within tolerance.
        reused: Cases that an earlier run had copied.
        refusals: What was not taken.
        notes: What was taken for what, and what the readers did, without names.
    """

    layout: str
    cases: int
    patients: int
    labelled: int
    empty: int
    repaired: int
    reused: int
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]


def import_tree(
    source: Path,
    out: Path,
    *,
    options: ImportOptions,
    progress: Callable[[int, int], None] | None = None,
    looking: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import a folder (or a single image, a zip file, or the folder of a DICOMDIR).

    Args:
        source: Files of any layout that `recognise` knows.
        out: Folder that receives ``manifest.csv``, ``manifest.yaml``, ``images/``, ``labels/`` and, where something was
            refused, ``refused.csv``.
        options: What the researcher fixes.
        progress: Called with the number of cases done and of all.
        looking: Called with the number of files unpacked, or of DICOM headers read, and of all.

    Raises:
        ReadError: A zip file is damaged or hostile.
        RequestError: Nothing to import, every label map is empty, labels that can't be, or `out` is no place for it.
        RunError: Another import is writing into `out`.
    """
    require_places(source, out)
    with locked(out), opened(source, out, progress=looking) as folder:
        state = read_state(out)
        if not state and (out / "manifest.csv").exists():
            raise RequestError("the output folder holds a manifest that no import wrote; choose another folder")
        found = recognise(folder, replace(options.choice, labels=options.labels), looking=looking)
        if not found.sources:
            told = most_frequent(found.refusals)
            raise RequestError(f"expected at least one image to import; found none that fits{told and f':{told}'}")
        found = settle_modality(found, options.choice)
        if is_dicomdir(source):
            found = replace(found, refusals=(*found.refusals, *missing_from_dicomdir(source)))
        carried = carry(found, folder, options.choice)
        found = carried.found
        facts, notes = join_metadata(_tables(folder), found.sources)
        own = _deidentified(folder)
        mark = own or carried.deidentification
        keep = options.keep_names or own is not None
        sources, sentence = name_annotators(found.sources, keep=keep)
        keep = keep or carried.is_pseudonymous
        jobs = name_cases(sources, carried.joined(facts), state, keep=keep)
        labels = options.labels or found.labels
        card = _card_of(found, labels=labels, options=options, mark=mark)
        done, reused = _copy_all(jobs, out, state, labels=frozenset(labels), options=options, progress=progress)
        done = _require_alike(done)
        renamed = bool(options.labels or options.title or options.licence)
        notes = (*found.notes, *sentence, *notes)
        report = _finish(found, done, out, card=card, notes=notes, reused=reused, rewrite=renamed)
        folds = carried.write_folds(jobs, out / "manifest.csv")
        return replace(report, notes=(*report.notes, *folds))


def _tables(source: Path) -> tuple[Path, ...]:
    """Tables in the root that may describe the cases, and no table of medseg's own."""
    if not source.is_dir():
        return ()
    found = sorted(p for p in source.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
    return tuple(path for path in found if path.name not in ("refused.csv", "manifest.csv"))


def _deidentified(source: Path) -> Deidentification | None:
    """What `medseg deidentify` says of a folder that it wrote; its names are pseudonyms and may be kept."""
    path = source / DEIDENTIFIED_MARK
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Deidentification(profile=str(facts["profile"]["name"])[:64], date=str(facts["date"])[:10])
    except (OSError, ValueError, KeyError, TypeError):
        return Deidentification(profile="medseg deidentify")


def _copy_all(
    jobs: Sequence[Job],
    out: Path,
    state: Mapping[str, Done],
    *,
    labels: frozenset[int],
    options: ImportOptions,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[tuple[Job, Done]], int]:
    """Copy what no earlier run copied, several cases at once, and note each as soon as it is whole."""
    # Before there are copies that bear these names.
    names = [(job.case, job.patient, job.site, dict(job.covariates)) for job in jobs]
    let_out(json.dumps(names), name="manifest.csv")
    done: dict[str, Done] = {}
    todo = []
    for job in jobs:
        before = state.get(job.case)
        if before is not None and before.digest == job.digest and _is_good(before, out, labels=labels):
            done[job.case] = before
        else:
            todo.append(job)
    reused = len(done)
    with (out / STATE_FILE).open("a", encoding="utf-8") as stream, ThreadPoolExecutor(max(1, options.jobs)) as pool:
        futures: dict[Future[Done], Job] = {pool.submit(_copy, job, out, labels): job for job in todo}
        try:
            for number, future in enumerate(as_completed(futures), start=reused + 1):
                result = future.result()
                done[result.case] = result
                stream.write("\n" * (number == reused + 1) + json.dumps(result.to_json()) + "\n")
                stream.flush()
                if progress is not None:
                    progress(number, len(jobs))
            os.fsync(stream.fileno())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [(job, done[job.case]) for job in jobs], reused


def _copy(job: Job, out: Path, labels: frozenset[int]) -> Done:
    return copy_case(
        job.source, job.case, out, patient=job.patient, labels=labels, digest=job.digest or digest_of(job.source)
    )


def _is_good(done: Done, out: Path, *, labels: frozenset[int]) -> bool:
    """Whether an earlier run's copy is still there and has no label value that this run refuses."""
    copied = done.copied
    if copied is None or (labels and not labels.issuperset(copied.values)):
        return False
    return all((out / name).is_file() for name in copied.files)


def _require_alike(done: Sequence[tuple[Job, Done]]) -> list[tuple[Job, Done]]:
    """Cases with another number of axes or channels than most have are refused."""
    kinds = [_kind_of(one.copied) for _, one in done if one.copied is not None]
    if not kinds:
        return list(done)
    usual = most_common(kinds)
    return [
        (job, one if one.copied is None or _kind_of(one.copied) == usual else one.refused_for(
            f"expected {usual}, as most images here have; found {_kind_of(one.copied)}. Import it into another folder"))
        for job, one in done
    ]  # fmt: skip


def _kind_of(copied: Copied) -> str:
    return f"{copied.axes} axes and the channels {', '.join(copied.channels)}"


def _finish(
    found: Recognised,
    done: Sequence[tuple[Job, Done]],
    out: Path,
    *,
    card: Card,
    notes: tuple[str, ...],
    reused: int,
    rewrite: bool,
) -> ImportReport:
    kept = [(job, one.copied) for job, one in done if one.copied is not None]
    refusals = [*found.refusals, *(Refusal(one.case, one.refused) for _, one in done if one.copied is None)]
    if refusals:
        write_refusals(refusals, out / "refused.csv")
    else:
        (out / "refused.csv").unlink(missing_ok=True)
    if not kept:
        (out / STATE_FILE).unlink()
        told = most_frequent(refusals)
        raise RequestError(f"no image could be imported; refused.csv lists each with its reason:{told}")
    values = sorted({value for _, copied in kept for value in copied.values})
    if any(copied.is_labelled for _, copied in kept) and not values:
        _remove_strangers(out, ())
        (out / STATE_FILE).unlink()
        raise RequestError(
            "every label map is empty; expected a lesion in at least one. Are these the right label maps?"
        )
    _remove_strangers(out, [copied for _, copied in kept])
    resampled = sum(bool(_resampled(copied)) for _, copied in kept)
    manifest = Manifest(
        path=out / "manifest.csv",
        cases=tuple(_case(job, copied, out) for job, copied in kept),
        card=_complete(card, kept[0][1], values=values, resampled=resampled),
    )
    if rewrite or reused < len(done) or not manifest.path.exists():
        write_manifest(manifest, manifest.path)
    report = ImportReport(
        layout=found.layout,
        cases=len(kept),
        patients=len({job.patient for job, _ in kept}),
        labelled=sum(copied.is_labelled for _, copied in kept),
        empty=sum(copied.is_labelled and not copied.values for _, copied in kept),
        repaired=sum(copied.repaired for _, copied in kept),
        reused=reused,
        refusals=tuple(refusals),
        notes=(*notes, *_reader_notes([copied for _, copied in kept])),
    )
    if reused < len(done):
        stated = {one.name: getattr(report, one.name) for one in fields(report)}
        counts = {name: value for name, value in stated.items() if isinstance(value, int)}
        facts = {**counts, "refused": len(refusals), "resampled": resampled, "digest": manifest.digest()}
        Ledger(out / "ledger.jsonl").append("imported", facts)
    return report


def _reader_notes(copies: Sequence[Copied]) -> list[str]:
    counts = Counter(note for copied in copies for note in copied.notes)
    return [f"{count:,} x {note}" for note, count in counts.most_common()]


def _case(job: Job, copied: Copied, out: Path) -> Case:
    return Case(
        case=job.case,
        patient=job.patient,
        images={channel: (out / name).absolute() for channel, name in copied.images.items()},
        label=(out / copied.label).absolute() if copied.label else None,
        modality=copied.modality,
        site=job.site,
        sha256=copied.sha256,
        spacing=copied.spacing,
        covariates={**job.covariates, **_resampled(copied)},
        label_sha256=copied.label_sha256,
        readers={reader: (out / name).absolute() for reader, name in copied.readers.items()},
    )


def _resampled(copied: Copied) -> dict[str, str]:
    """The manifest's column of cases whose slices were irregular: why they were resampled."""
    reasons = [note.removeprefix(RESAMPLED) for note in copied.notes if note.startswith(RESAMPLED)]
    return {"resampled": reasons[0]} if reasons else {}


def _card_of(
    found: Recognised, *, labels: Mapping[int, str], options: ImportOptions, mark: Deidentification | None
) -> Card:
    """What is known before any file is read.

    Raises:
        ManifestError: A label's value or name is none that a card can hold.
    """
    ignore = next((one.ignore for s in found.sources for one in s.label_maps if isinstance(one, LabelSource)), None)
    facts = {
        "title": options.title or found.title or "imported data set",
        "labels": {value: _label_info(name, found.described.get(value)) for value, name in labels.items()},
        "licence": options.licence or found.licence,
        "ignore": ignore,
        "provenance": f"imported by medseg from {found.layout}; fresh headers, no metadata",
        "deidentification": mark,
    }
    return checked_card(facts, what="the labels that the data set states, or --label, are not valid")


def _label_info(name: str, described: LabelInfo | None) -> dict[str, object]:
    return {**(described.model_dump() if described is not None else {}), "name": name}


def _complete(card: Card, copied: Copied, *, values: Sequence[int], resampled: int) -> Card:
    """The card with the channels and modality of the images, and names for label values that nobody named."""
    names = {values[0]: "lesion"} if len(values) == 1 else {value: f"label {value}" for value in values}
    labels = card.labels or {value: LabelInfo(name=name) for value, name in names.items()}
    if resampled:
        card = card.model_copy(update={"provenance": f"{card.provenance}; {resampled} irregular stacks resampled"})
    found = {"channels": copied.channels, "modality": copied.modality, "labels": labels}
    return checked_card({**dict(card), **found}, what="the names of the images' channels are not valid")


def _remove_strangers(out: Path, copies: Iterable[Copied]) -> None:
    """Files of cases that are no longer in the data set."""
    known = {name for copied in copies for name in copied.files}
    folders = ("images", "labels", *sorted(f"readers/{path.name}" for path in (out / "readers").glob("*")), "readers")
    for folder in folders:
        for path in (out / folder).glob("*") if (out / folder).is_dir() else ():
            if path.is_file() and f"{folder}/{path.name}" not in known:
                path.unlink()
        if (out / folder).is_dir() and not any((out / folder).iterdir()):
            (out / folder).rmdir()
