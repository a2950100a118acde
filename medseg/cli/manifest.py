"""Commands of manifest: check, split, describe, convert, fuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note, progress_bars, text_table
from medseg.cli.fuse import fuse
from medseg.cli.keys import KeyOption, identities_beside
from medseg.cli.options import ThresholdOption
from medseg.errors import DataError, ManifestError, RequestError
from medseg.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medseg.data.leakage import Pair
    from medseg.data.manifest import Manifest
    from medseg.data.quality import CaseQuality, QualityReport
    from medseg.data.split import Folds
    from medseg.privacy.identities import IdentityIndex

__all__ = ["register"]

_ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest's CSV.")]
_Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Images read at once.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    manifest = typer.Typer(no_args_is_help=True, help="Check, split, describe, convert a data set; fuse annotators.")
    manifest.command("check")(_check)
    manifest.command("split")(_split)
    manifest.command("describe")(_describe)
    manifest.command("convert")(_convert)
    manifest.command("fuse")(fuse)
    app.add_typer(manifest, name="manifest")


@command
def _check(
    path: _ManifestPath,
    thumbnails: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write a page with a small picture of every case (internal).")
    ] = None,
    jobs: _Jobs = 2,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Look at every case and say what is odd.

    Files, checksums, grids, values, labels, labels in odd places, duplicates; what is unlike most cases.

    Exit status 3 when a case cannot be used.

    Example: medseg manifest check data/manifest.csv
    """
    from medseg.data.manifest import read_manifest
    from medseg.data.quality import check_manifest

    index = identities_beside(key)
    manifest = read_manifest(path, files_must_exist=False)
    with _progress("checking cases", 2 * len(manifest.cases)) as advance:
        report = check_manifest(manifest, jobs=jobs, progress=advance)
    if thumbnails is not None:
        from medseg.report.thumbnails import write_thumbnails

        with _progress("drawing thumbnails", len(manifest.cases)) as advance:
            write_thumbnails(manifest, report, thumbnails, jobs=jobs, identities=index, progress=advance)
    warnings = sum(case.is_usable and any(f.severity == "warning" for f in case.findings) for case in report.cases)
    result = {
        "cases": [asdict(case) for case in report.cases],
        "duplicates": [asdict(pair) for pair in report.duplicates],
        "errors": report.errors,
        "warnings": warnings,
        "unusual": report.unusual,
        "digest": manifest.digest(),
    }
    emit(result, as_json=as_json, text=_check_text(report, warnings))
    return EXIT_PARTLY_REFUSED if report.errors else 0


@command
def _split(
    path: _ManifestPath,
    folds: Annotated[int | None, typer.Option("--folds", help="Number of folds; 5 without it.")] = None,
    repeats: Annotated[int, typer.Option("--repeats", help="Independent drawings.")] = 1,
    holdout: Annotated[bool, typer.Option("--holdout", help="Training, validation, test in 7:2:1 instead.")] = False,
    by_site: Annotated[bool, typer.Option("--by-site", help="Leave one site out instead.")] = False,
    stratify: Annotated[
        list[str] | None, typer.Option("--stratify", metavar="COLUMN", help="Besides the lesion burden; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the drawing.")] = 0,
    group_duplicates: Annotated[
        bool, typer.Option("--group-duplicates", help="Keep pairs that look alike in one fold.")
    ] = False,
    acknowledge: Annotated[
        list[str] | None, typer.Option("--acknowledge", metavar="CASE:CASE", help="Accept a pair; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace other folds.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folds CSV; without it, beside the manifest.")] = None,
    jobs: _Jobs = 2,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Draw folds once, of whole patients.

    Stratified by lesion burden, no picture on both sides.

    Writes NAME.folds.csv beside the manifest.

    Example: medseg manifest split data/manifest.csv --folds 5
    """
    from medseg.data import leakage
    from medseg.data.manifest import read_manifest
    from medseg.data.split import lesion_burdens, make_folds, write_folds

    if sum([folds is not None, holdout, by_site]) > 1:
        raise RequestError("--folds, --holdout and --by-site exclude each other; give one of them")
    identities_beside(key)
    manifest = read_manifest(path)
    target = out or manifest.folds_path
    accepted = {*leakage.parse_pairs(acknowledge or (), manifest), *leakage.read_acknowledged(target)}
    with _progress("reading cases", 2 * len(manifest.cases)) as advance:
        try:
            burdens = lesion_burdens(manifest, jobs=jobs, progress=advance)
            duplicates = leakage.find_duplicates(manifest, jobs=jobs, progress=advance)
        except DataError as error:  # Nothing is written: not "partly refused", but a manifest to correct.
            raise ManifestError(f"{error}; correct that or take the row out of the manifest") from None
    together = [pair.key for pair in duplicates if pair.key not in accepted] if group_duplicates else []
    drawn = make_folds(
        manifest,
        folds=5 if folds is None else folds,
        repeats=repeats,
        seed=seed,
        kind="holdout" if holdout else "site" if by_site else "kfold",
        covariates=stratify or (),
        burdens=burdens,
        together=together,
    )
    leaks = leakage.find_leaks(drawn, manifest, duplicates)
    leakage.refuse_leaks(leaks, acknowledged=accepted)
    write_folds(drawn, target, force=force)
    leakage.write_acknowledged(target, leaks)
    table = _fold_rows(drawn, burdens, {case.case: case.patient for case in manifest.cases})
    result = {"kind": drawn.kind, "folds": table, "duplicates": len(duplicates), "acknowledged": len(leaks)}
    emit(result, as_json=as_json, text=_split_text(table, duplicates, str(out or path.with_name(target.name))))
    return 0


@command
def _describe(
    path: _ManifestPath,
    tier: Annotated[
        Literal["internal", "shareable"],
        typer.Option(help="internal: exact; shareable: small counts withheld, others rounded."),
    ] = "internal",
    threshold: ThresholdOption = 10,
    jobs: _Jobs = 2,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Count and measure the data set: the first table of a paper.

    The shareable tier counts patients, passes disclosure control and the privacy gate, and is noted in the ledger
    beside the manifest, so that a later release of a changed data set tells of nobody by difference.

    Example: medseg manifest describe data/manifest.csv --tier shareable
    """
    from medseg.data.manifest import read_manifest
    from medseg.data.quality import check_manifest

    index = identities_beside(key)
    manifest = read_manifest(path, files_must_exist=False)
    with _progress("reading cases", 2 * len(manifest.cases)) as advance:
        report = check_manifest(manifest, jobs=jobs, progress=advance)
    if tier == "internal":
        from medseg.data.describe import describe_manifest

        rows = describe_manifest(manifest, report)
        note("internal numbers: they have not passed disclosure control; --tier shareable does")
        title = manifest.card.title
    else:
        rows = _shareable_rows(manifest, report, index, threshold=threshold)
        title = "patients and figures that may be shared"
    emit(dict(rows), as_json=as_json, text=text_table(["", title], [list(row) for row in rows]))
    return 0


def _shareable_rows(
    manifest: Manifest, report: QualityReport, identities: IdentityIndex | None, *, threshold: int
) -> list[tuple[str, str]]:
    from medseg.data.describe_shareable import describe_shareable
    from medseg.privacy.audit import gate
    from medseg.privacy.disclosure import Limits
    from medseg.privacy.releases import earlier_releases, record_release

    ledger = manifest.path.parent / "ledger.jsonl"
    shared = describe_shareable(manifest, report, earlier=earlier_releases(ledger), limits=Limits(threshold=threshold))
    text = "\n".join(f"{name}: {value}" for name, value in shared.rows)
    gate(text.encode("utf-8"), name="description.txt", tier="shareable", identities=identities)
    record_release(ledger, shared.behind, what="description")
    note(f"{counted(shared.withheld, 'figure')} withheld, counts rounded to 5; noted in the ledger beside the manifest")
    return list(shared.rows)


@command
def _convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A manifest, or with --from a folder or JSON file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="nnunet|msd|monai|bids|coco", help="Write this format.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="nnunet|msd|monai|bids|coco", help="Read this format.")
    ] = None,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Hand a data set and its folds to another tool, or take one.

    Example: medseg manifest convert data/manifest.csv nnunet_raw/Dataset001_Lesion --to nnunet
    """
    from medseg.data.convert import export_dataset
    from medseg.data.exchange import parse_format
    from medseg.data.foreign import import_dataset

    if (to is None) == (origin is None):
        raise RequestError(
            "expected either --to FORMAT or --from FORMAT; the formats are nnunet, msd, monai, bids, coco"
        )
    identities_beside(key)
    with _progress("converting cases", None) as advance:
        if to is not None:
            count = export_dataset(source, out, to=parse_format(to), progress=advance)
        else:
            adoption = import_dataset(source, out, origin=parse_format(origin or ""), progress=advance)
            count = adoption.cases
            if not adoption.patients_known:
                note("patients are not known here: each case counts as one; correct the column 'patient', then split")
    emit({"cases": count, "format": to or origin}, as_json=as_json, text=f"{counted(count, 'case')} written to {out}")
    return 0


@contextmanager
def _progress(description: str, total: int | None) -> Iterator[Callable[[], None]]:
    with progress_bars() as bars:
        task = bars.add_task(description, total=total)
        yield lambda: bars.advance(task)


def _check_text(report: QualityReport, warnings: int) -> str:
    rows = [_check_row(case) for case in report.cases]
    header = ["case", "shape", "spacing mm", "axes", "0.5-99.5 %", "labels", "parts", "finding"]
    lines = [text_table(header, rows), ""]
    lines += [f"{p.first} and {p.second}: {p.reason} (similarity {p.similarity:.3f})" for p in report.duplicates]
    usable = len(report.cases) - report.errors
    if report.mirrored:
        judged = sum(case.mirror_gain == case.mirror_gain for case in report.cases)
        lines.append(
            f"{counted(report.mirrored, 'label fits', 'labels fit')} better when mirrored left to right, of {judged}. "
            "About 1 of 500 right ones does by chance; many mean that images and labels were flipped against each other"
        )
    if report.unusual:
        lines.append(f"{counted(report.unusual, 'case is', 'cases are')} unlike most of the data set, perhaps rightly")
    lines.append(f"{usable} of {counted(len(report.cases), 'case')} can be used, {warnings} of them with a warning")
    return "\n".join(lines)


def _check_row(case: CaseQuality) -> list[str]:
    return [
        case.case,
        "x".join(str(n) for n in case.shape or ()),
        "x".join(f"{v:.3g}" for v in case.spacing or ()),
        case.orientation,
        "" if case.intensity is None else f"{case.intensity[0]:.4g} to {case.intensity[1]:.4g}",
        "" if case.labels is None else ",".join(str(v) for v in case.labels) or "empty",
        "" if case.components is None else str(case.components),
        "; ".join(f"{finding.severity}: {finding.message}" for finding in case.findings) or "ok",
    ]


def _fold_rows(folds: Folds, burdens: dict[str, float], patient_of: dict[str, str]) -> list[dict[str, Any]]:
    """One row a held-out part: how many cases, patients and lesion-free cases it has."""
    import math

    rows = []
    for split in folds.splits:
        named = {"test": split.test} if folds.kind != "holdout" else None
        parts = named or {"training": split.training, "validation": split.validation, "test": split.test}
        for part, cases in parts.items():
            known = sorted(burdens[case] for case in cases if not math.isnan(burdens[case]))
            rows.append(
                {
                    "repeat": split.repeat,
                    "fold": part if folds.kind == "holdout" else split.fold,
                    "cases": len(cases),
                    "patients": len({patient_of[case] for case in cases}),
                    "without_lesion": sum(value == 0 for value in known),
                    "median_burden": known[len(known) // 2] if known else float("nan"),
                }
            )
    return rows


def _split_text(table: Sequence[dict[str, Any]], duplicates: Sequence[Pair], name: str) -> str:
    header = ["repeat", "fold", "cases", "patients", "without lesion", "median lesion"]
    rows = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in table]
    leakage = f"{len(duplicates)} pairs of images look alike, none of them in two folds unless acknowledged"
    unit = "median lesion: mm3 of a volume, part of the pixels of a picture; all lesions of a case together"
    return f"{text_table(header, rows)}\n\n{unit}\nleakage: {leakage}\nwrote {name}"
