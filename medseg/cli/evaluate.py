"""Commands on finished predictions and runs: evaluate, compare, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note, progress_bars, text_table
from medseg.cli.keys import KeyOption, identities_beside
from medseg.cli.options import ThresholdOption
from medseg.errors import RequestError
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.data.dicom_structures import StructureRule
    from medseg.data.manifest import Manifest
    from medseg.studies.scoring import Scored

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("evaluate")(_evaluate)
    app.command("compare")(_compare)
    app.command("report")(_report)
    app.command("papers")(_papers)


_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the resampling.")]
_Bootstrap = Annotated[int, typer.Option(min=100, help="Resamples of the patients for each interval.")]
_Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, help="Coverage of the intervals.")]
_Empty = Annotated[
    Literal["skip", "score"],
    typer.Option(help="A case whose reference and prediction are both empty: left out of the means, or scored 1."),
]


@command
def _evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Folder of files named by case, or COCO's JSON.")
    ],
    manifest_path: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest CSV with the labels.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write cases.csv and summary.json there.")] = None,
    nsd: Annotated[
        list[float] | None, typer.Option(metavar="MM", help="Tolerance of the NSD; repeatable. Default: 1 and 2.")
    ] = None,
    ignore_label: Annotated[int | None, typer.Option(help="Label value whose voxels don't count.")] = None,
    nnunet: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET", help="nnU-Net raw folder that `manifest convert` wrote: turns its values back."
        ),
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN[=LABEL]",
            help="Which segments, regions or outlines are this label where names differ; repeat for several.",
        ),
    ] = None,
    empty_reference: _Empty = "skip",
    bootstrap: _Bootstrap = 2000,
    confidence: _Confidence = 0.95,
    seed: _Seed = 0,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Score predictions against the labels of a manifest.

    Any format that predict writes labels in, and others: NIfTI, NRRD, MHA, PNG, TIFF hold the manifest's label values;
    a DICOM SEG or RTSTRUCT (.dcm), a .seg.nrrd and COCO hold structures of its labels' names. Missing predictions and
    predictions on another grid are listed; then the exit status is 3. PREDICTIONS may be an nnU-Net trainer's folder:
    each case is taken from the fold that held it out, and refused where that isn't the manifest's.

    Example: medseg evaluate predictions data/manifest.csv --out scores
    """
    from medseg.data.dicom_structures import StructureRule
    from medseg.data.manifest import read_manifest
    from medseg.studies import summarise, write_cases, write_summary

    identities_beside(key)
    rules = [StructureRule.of(text) for text in structure or ()]
    tolerances = tuple(nsd or (1.0, 2.0))
    if min(tolerances) <= 0:
        raise RequestError("--nsd: expected a tolerance above 0 mm")
    manifest = read_manifest(manifest_path)
    ignored = manifest.card.ignore if ignore_label is None else ignore_label
    scored = _score(predictions, manifest, tolerances, ignored, values=_values_of(nnunet), rules=rules)
    for case in scored.missing:
        note(f"{case}: no prediction")
    for refusal in scored.refusals:
        note(f"{refusal.input}: {refusal.reason}")
    if not scored.rows:
        raise RequestError(
            f"none of {counted(len(scored.missing) + len(scored.refusals), 'labelled case')} could be scored; expected "
            "files named by the manifest's case ids (CASE.nii.gz, CASE.png, CASE.dcm, ...), or COCO's instances.json"
        )
    summary = summarise(
        scored.rows, bootstrap=bootstrap, confidence=confidence, seed=seed, empty_reference=empty_reference
    )
    summary["missing"] = list(scored.missing)
    summary["refused"] = [{"case": r.input, "reason": r.reason} for r in scored.refusals]
    if out is not None:
        write_cases(scored.rows, out / "cases.csv")
        write_summary(summary, out / "summary.json")
    emit(summary, as_json=as_json, text=_summary_text(summary, unlabelled=scored.unlabelled))
    return EXIT_PARTLY_REFUSED if scored.missing or scored.refusals else 0


def _values_of(dataset: Path | None) -> dict[int, int] | None:
    """The label values of a converted data set to ours."""
    from medseg.data.exchange import read_json

    if dataset is None:
        return None
    stated = read_json(dataset / "medseg.json").get("values", {})
    return {int(theirs): int(ours) for ours, theirs in stated.items()}


def _score(
    folder: Path,
    manifest: Manifest,
    tolerances: tuple[float, ...],
    ignore_label: int | None,
    *,
    values: dict[int, int] | None,
    rules: Sequence[StructureRule],
) -> Scored:
    from medseg.data.split import read_folds
    from medseg.studies.scoring import score_predictions

    folds: dict[str, int] = {}
    if manifest.folds_path.exists():
        for split in read_folds(manifest.folds_path, manifest).splits:
            if split.repeat == 0:
                folds |= dict.fromkeys(split.test, split.fold)
    with progress_bars() as bars:
        task = bars.add_task("scoring", total=sum(case.label is not None for case in manifest.cases))
        return score_predictions(
            folder,
            manifest,
            nsd_tolerance_mm=tolerances,
            ignore_label=ignore_label,
            folds=folds or None,
            values=values,
            rules=rules,
            progress=lambda: bars.advance(task),
        )


@command
def _compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders, or their cases.csv.")],
    metric: Annotated[str, typer.Option(help="Column of cases.csv to compare.")] = "dice",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the comparison as JSON.")] = None,
    empty_reference: _Empty = "skip",
    bootstrap: _Bootstrap = 2000,
    confidence: _Confidence = 0.95,
    seed: _Seed = 0,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Compare runs on the same cases, in pairs.

    Differences with intervals, and signed-rank tests with Holm's correction.

    Example: medseg compare runs/baseline runs/pretrained --metric dice
    """
    from medseg.studies import compare_runs, read_cases, write_summary

    identities_beside(key)
    tables = dict(zip(_run_names(runs), [read_cases(run) for run in runs], strict=True))
    comparison = compare_runs(
        tables,
        metric=metric,
        bootstrap=bootstrap,
        confidence=confidence,
        seed=seed,
        empty_reference=empty_reference,
    )
    if out is not None:
        write_summary(comparison, out)
    emit(comparison, as_json=as_json, text=_comparison_text(comparison))
    return 0


@command
def _report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished study.")],
    tier: Annotated[
        Literal["internal", "shareable"] | None,
        typer.Option(help="internal: with pseudonymous cases; shareable: aggregates only. Default: both."),
    ] = None,
    threshold: ThresholdOption = 10,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Write the report of a run: one page of HTML and a PDF.

    Example: medseg report runs/skin_lesion_2d --tier shareable
    """
    from medseg.report import write_report

    index = identities_beside(key)
    tiers: tuple[Literal["internal", "shareable"], ...] = (tier,) if tier else ("internal", "shareable")
    paths = [write_report(run, tier=wanted, threshold=threshold, identities=index) for wanted in tiers]
    written = [path.relative_to(run).as_posix() for page in paths for path in (page, page.with_suffix(".pdf"))]
    emit({"written": written}, as_json=as_json, text="\n".join(f"{run}/{name}" for name in written))
    return 0


@command
def _papers(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished study.")],
    clean: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that deidentify wrote, from which the images came.")
    ] = None,
    key: KeyOption = None,
    as_json: _Json = False,
) -> int:
    """Fill in the papers of data protection, as far as a run knows.

    What only the controller knows stays blank.

    Record of processing (GDPR Art. 30), facts for an impact assessment (Art. 35), de-identification method statement,
    residual risks; as a page and as Markdown to go on writing in. A draft, never a statement of compliance.

    Example: medseg papers runs/first --clean clean --key project.key
    """
    from medseg.report.papers import write_papers

    page = write_papers(run, clean=clean, identities=identities_beside(key))
    written = [path.relative_to(run).as_posix() for path in (page, page.with_suffix(".md"))]
    emit({"written": written}, as_json=as_json, text="\n".join(f"{run}/{name}" for name in written))
    return 0


def _run_names(runs: list[Path]) -> list[str]:
    """A name for each run: its folder's, with a number where two are alike."""
    names = [(run.resolve() if run.is_dir() else run.resolve().parent).name or "run" for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _summary_text(summary: dict[str, Any], *, unlabelled: int) -> str:
    """The summary as a table for a terminal."""
    shown = [m for m in summary["mean_over_labels"]["metrics"] if m in _SHOWN or m.startswith("nsd_")]
    parts = [(facts["name"], facts["metrics"]) for facts in summary["labels"].values()]
    if len(parts) > 1:
        parts.append(("mean over labels", summary["mean_over_labels"]["metrics"]))
    rows = [("label", "metric", "mean", f"{summary['confidence']:.0%} interval", "median", "n", "undefined")]
    for name, metrics in parts:
        for metric in shown:
            facts = metrics[metric]
            interval = f"{_number(facts['low'])} to {_number(facts['high'])}"
            numbers = (_number(facts["mean"]), interval, _number(facts["median"]))
            rows.append((name, metric, *numbers, str(facts["n"]), str(facts["undefined"])))
    head = f"{counted(summary['cases'], 'case')} of {counted(summary['patients'], 'patient')} scored"
    if summary["missing"] or summary["refused"]:
        head += f"; {len(summary['missing'])} without a prediction, {len(summary['refused'])} refused"
    if unlabelled:
        head += f"; {unlabelled} of the manifest {'has' if unlabelled == 1 else 'have'} no label"
    return head + "\n" + text_table(rows[0], rows[1:])


def _comparison_text(comparison: dict[str, Any]) -> str:
    """The comparison as a table for a terminal."""
    rows = [("runs", "label", "first", "second", "difference", f"{comparison['confidence']:.0%} interval", "p (Holm)")]
    for c in comparison["comparisons"]:
        interval = f"{c['low']:+.4f} to {c['high']:+.4f}"
        means = (_number(c["first_mean"]), _number(c["second_mean"]), f"{c['difference']:+.4f}")
        rows.append((f"{c['first']} -> {c['second']}", c["label_name"], *means, interval, f"{c['p_holm']:.2g}"))
    cases, patients = counted(comparison["cases"], "case"), counted(comparison["patients"], "patient")
    head = f"{comparison['metric']} on {cases} of {patients}, paired"
    left_out = sum(c["one_sided"] for c in comparison["comparisons"])
    if left_out:
        head += (
            f"; {counted(left_out, 'case value is', 'case values are')} defined in one of two runs only and left out"
        )
    return head + "\n" + text_table(rows[0], rows[1:])


_SHOWN = ("dice", "iou", "precision", "recall", "hd95_mm", "assd_mm", "volume_error", "lesion_f1", "lesion_dice")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"
