"""Commands that train: plan, train, crossval, pretrain, curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note
from medseg.cli.keys import KeyOption, identities_beside
from medseg.errors import RequestError

if TYPE_CHECKING:
    from medseg.config import StudyConfig
    from medseg.planning import Plan
    from medseg.privacy.identities import IdentityIndex
    from medseg.studies.crossval import Deliverables

__all__ = ["register"]

Study = Annotated[Path, typer.Argument(help="Study file, for example configs/hippocampus_3d.yaml.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Change a value: --set train.budget_minutes=6.")]
Out = Annotated[Path, typer.Option("--out", help="Run folder; the same command goes on in it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Only go on with a run that --out holds; never begin one.")]
Json = Annotated[bool, typer.Option("--json", help="The result as one line of JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("plan")(command(_plan))
    app.command("train")(command(_train))
    app.command("crossval")(command(_crossval))
    app.command("pretrain")(command(_pretrain))
    app.command("curve")(command(_curve))


def _plan(study: Study, overrides: Overrides = None, key: KeyOption = None, as_json: Json = False) -> int:
    """Decide how to train on these data and this machine.

    Spacing, patch, network, batch and steps.

    Example: medseg plan configs/hippocampus_3d.yaml --set data.manifest=data/manifest.csv
    """
    from medseg.cli.bars import StudyBars
    from medseg.studies.study import open_data, plan_study

    identities_beside(key)
    config = _load(study, overrides)
    with StudyBars() as bars:
        plan, _ = plan_study(config, open_data(config.data), run=None, progress=bars)
    emit(plan.to_dict(), as_json=as_json, text=_plan_table(plan))
    return 0


def _train(
    study: Study,
    out: Out,
    overrides: Overrides = None,
    resume: Resume = False,
    key: KeyOption = None,
    as_json: Json = False,
) -> int:
    """Train one model on all labelled cases.

    Example: medseg train configs/hippocampus_3d.yaml --set train.budget_minutes=10 --out runs/final
    """
    from medseg.cli.bars import StudyBars
    from medseg.studies.crossval import train_all

    _expect_run(out, resume=resume)
    index, config = identities_beside(key), _load(study, overrides)
    with StudyBars() as bars:
        outcome = train_all(config, out=out, progress=bars, identities=index)
    emit(
        {"run": out.name, "iterations": outcome.iterations},
        as_json=as_json,
        text=(
            f"{_cost(out)}trained on all labelled cases, {outcome.iterations} steps; "
            f"next: medseg package {out} model.medseg"
        ),
    )
    if outcome.problem is not None:
        note(outcome.problem)
    return 0


def _crossval(
    study: Study,
    out: Out,
    overrides: Overrides = None,
    resume: Resume = False,
    key: KeyOption = None,
    as_json: Json = False,
) -> int:
    """Train every fold, predict what it held out, score, report.

    Example: medseg crossval configs/hippocampus_3d.yaml --set data.manifest=data/manifest.csv --out runs/hippocampus
    """
    from medseg.cli.bars import StudyBars
    from medseg.studies.crossval import cross_validate

    _expect_run(out, resume=resume)
    index, config = identities_beside(key), _load(study, overrides)

    def deliver(run: Path) -> Deliverables:
        return _deliver(run, index)

    with StudyBars() as bars:
        outcome = cross_validate(config, out=out, progress=bars, deliver=deliver, identities=index)
    emit(
        dict(outcome.summary),
        as_json=as_json,
        text=_summary_table(outcome.summary, outcome.plan) + _cost(out) + _where(out),
    )
    if outcome.problem is not None:
        note(outcome.problem)
    for refusal in outcome.refusals:
        note(f"refused: {refusal.input}: {refusal.reason}")
    return EXIT_PARTLY_REFUSED if outcome.refusals else 0


def _pretrain(
    study: Study,
    out: Out,
    overrides: Overrides = None,
    resume: Resume = False,
    key: KeyOption = None,
    as_json: Json = False,
) -> int:
    """Pretrain an encoder on images without labels.

    By masked image modelling.

    Example: medseg pretrain configs/hippocampus_3d.yaml --out runs/pretrained, then --set train.init=runs/pretrained
    """
    from medseg.cli.bars import StudyBars
    from medseg.studies.pretrain import pretrain

    _expect_run(out, resume=resume)
    index, config = identities_beside(key), _load(study, overrides)
    with StudyBars() as bars:
        outcome = pretrain(config, out=out, progress=bars, identities=index)
    emit(
        {"run": out.name, "iterations": outcome.iterations, "loss": outcome.loss, "baseline": outcome.baseline},
        as_json=as_json,
        text=(
            f"pretrained, {outcome.iterations} steps; error on hidden voxels {outcome.loss:.4f} "
            f"(filling in the mean: {outcome.baseline:.4f}). Take it up with --set train.init={out}"
        ),
    )
    return 0


def _curve(
    study: Study,
    out: Out,
    cases: Annotated[list[int] | None, typer.Option("--cases", help="Numbers of labelled cases, repeated.")] = None,
    overrides: Overrides = None,
    key: KeyOption = None,
    as_json: Json = False,
) -> int:
    """Cross-validate with more and more labelled cases.

    Example: medseg curve configs/hippocampus_3d.yaml --cases 5 --cases 20 --cases 80 --out runs/curve
    """
    from medseg.cli.bars import StudyBars
    from medseg.studies.curve import label_curve

    index, config = identities_beside(key), _load(study, overrides)
    with StudyBars() as bars:
        points = label_curve(config, cases=cases or [5, 10, 20, 40], out=out, progress=bars, identities=index)
    rows = [[str(p.cases), f"{p.dice:.3f}", f"{p.low:.3f} to {p.high:.3f}"] for p in points]
    emit({"points": [vars(p) for p in points]}, as_json=as_json, text=_table(["labelled cases", "Dice", "95 %"], rows))
    return 0


def _deliver(run: Path, identities: IdentityIndex | None) -> Deliverables:
    """Both reports and the model package of a finished run, through the privacy gate."""
    from medseg.export.from_run import package_run
    from medseg.report import write_report
    from medseg.studies.crossval import Deliverables

    reports = (
        write_report(run, tier="internal", identities=identities),
        write_report(run, tier="shareable", identities=identities),
    )
    package = run / "model.medseg"
    package_run(run, package, identities=identities)
    return Deliverables(reports, package)


def _cost(run: Path) -> str:
    """What a differentially private run costs a patient, or nothing."""
    from medseg.export.model_privacy import read_privacy, rounded_up

    found = read_privacy(run)
    if found is None:
        return ""
    epsilon, together = (rounded_up(found[key]) for key in ("epsilon", "epsilon_together"))
    one = f"privacy of the patient: epsilon {epsilon:.2f}, delta {found['delta']:.2g} for one model"
    if found["models"] == 1:
        return one + "\n"
    return f"{one}; epsilon {together:.2f} for all {found['models']} given away together\n"


def _where(run: Path) -> str:
    return (
        f"report: {run}/report/internal.html (yours), {run}/report/shareable.html (aggregates only)\n"
        f"model:  {run}/model.medseg"
    )


def _expect_run(out: Path, *, resume: bool) -> None:
    """With ``--resume``, refuse a folder without a run: a misspelt --out must not begin anew."""
    if resume and not (out / "study.yaml").is_file():
        raise RequestError("--resume: expected a folder that a run was begun in, found none; correct --out")


def _load(study: Path, overrides: list[str] | None) -> StudyConfig:
    from medseg.config import load_study

    return load_study(study, overrides=overrides or [])


def _plan_table(plan: Plan) -> str:
    values = plan.to_dict()
    shown: list[tuple[str, Any, str]] = [
        ("spacing", " x ".join(f"{v:g}" for v in plan.spacing) + " mm", "spacing"),
        ("normalisation", ", ".join(n.method for n in plan.normalisation), "normalisation"),
        ("patch", " x ".join(str(n) for n in plan.patch_size), "patch_size"),
        ("batch", plan.batch_size, "batch_size"),
        ("levels", len(plan.strides), "levels"),
        ("features", ", ".join(str(n) for n in plan.features), "features"),
        ("steps", plan.iterations, "iterations"),
        ("precision", plan.precision, "precision"),
        ("crop", "nonzero" if plan.crop_nonzero else "none", "crop"),
    ]
    if "privacy" in plan.reasons:
        shown.append(("privacy", "patient", "privacy"))
    if plan.fit == "image":
        shown[0] = ("spacing", "whole image", "spacing")
    rows = [[name, str(value), values["reasons"].get(key, "")] for name, value, key in shown]
    return _table(["choice", "value", "because"], rows)


def _summary_table(summary: Any, plan: Plan) -> str:
    rows = []
    entries = [(e["name"], e["metrics"]) for e in summary["labels"].values()]
    if len(entries) > 1:
        entries.append(("mean over labels", summary["mean_over_labels"]["metrics"]))
    for name, metrics in entries:
        dice, hd95 = metrics["dice"], metrics["hd95_mm"]
        rows.append(
            [
                name,
                f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})",
                f"{hd95['mean']:.2f} ({hd95['low']:.2f} to {hd95['high']:.2f})",
                f"{metrics['lesion_f1']['mean']:.3f}",
                str(dice["n"]),
            ]
        )
    percent = round(100 * summary["confidence"])
    head = [
        "out of fold",
        f"Dice ({percent} %)",
        f"HD95 {'px' if plan.rgb else 'mm'} ({percent} %)",
        "lesion F1",
        "cases",
    ]
    return _table(head, rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A plain table; the last column wraps, so that it reads in a terminal of 80 columns and in a file."""
    import io

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=SIMPLE, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    stream = io.StringIO()
    Console(file=stream, width=110).print(table)
    return stream.getvalue()
