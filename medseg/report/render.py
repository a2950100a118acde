"""write_report: a run folder in, one page of HTML and a PDF out, in one of two tiers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medseg.data.files import atomic_write
from medseg.privacy.audit import gate
from medseg.privacy.disclosure import Limits
from medseg.privacy.releases import (
    earlier_releases,
    ledger_of_data,
    of_same_models,
    record_release,
    with_models,
)
from medseg.report.blocks import Document, Section
from medseg.report.cases import cases_section
from medseg.report.facts import RunFacts, read_run
from medseg.report.html import html_of
from medseg.report.method import (
    cohort_section,
    environment_section,
    limits_section,
    method_section,
    refusals_section,
)
from medseg.report.pdf import pdf_of
from medseg.report.privacy import privacy_section
from medseg.report.results import headline, results_section
from medseg.report.scores import Scores
from medseg.report.screen import Screen
from medseg.report.training import training_section
from medseg.types import Tier

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["build_document", "write_report"]

_NOTICES = {
    "internal": "Shows pseudonymous cases. Pseudonymised data are personal data: do not pass this report on.",
    "shareable": "Aggregates only; small numbers are withheld and marked, counts are rounded.",
}


def write_report(run_dir: Path, *, tier: Tier, threshold: int = 10, identities: IdentityIndex | None = None) -> Path:
    """Write ``report/TIER.html`` and ``report/TIER.pdf`` of a finished run.

    Args:
        run_dir: The run folder.
        tier: ``internal`` with pseudonymous cases and pictures, ``shareable`` with aggregates only.
        threshold: Smallest number of patients that a shareable number may rest on.
        identities: Identities of this project that the privacy gate looks for, beside its patterns.

    Returns:
        Path of the HTML page.

    Raises:
        RunError: The folder is no finished run.
        PrivacyError: The gate found something that identifies; nothing was written.
    """
    ledger = run_dir / "ledger.jsonl"
    facts = read_run(run_dir)
    limits = Limits(threshold=threshold)
    of_data = ledger_of_data(facts.manifest.path) if facts.manifest is not None else None
    models = Scores(facts, Screen(tier, limits)).models() if tier == "shareable" else {}
    earlier = earlier_releases(ledger) if tier == "shareable" else ()
    if of_data is not None and models:
        earlier += of_same_models(earlier_releases(of_data), models)
    scores = Scores(facts, Screen(tier, limits, earlier))
    document = build_document(scores)
    page, pdf = html_of(document).encode("utf-8"), pdf_of(document)
    for data, name in ((page, f"{tier}.html"), (pdf, f"{tier}.pdf")):
        gate(data, name=name, tier=tier, identities=identities)
    if tier == "shareable":
        behind = scores.behind()
        record_release(ledger, behind, what="report")
        if of_data is not None and models:
            record_release(of_data, with_models(behind, models), what="report")
    path = run_dir / "report" / f"{tier}.html"
    for data, target in ((page, path), (pdf, path.with_suffix(".pdf"))):
        with atomic_write(target) as stream:
            stream.write(data)
    return path


def build_document(scores: Scores) -> Document:
    """Everything that a report says, before it becomes HTML or PDF.

    Args:
        scores: The run's facts and what the tier may see of them.
    """
    facts, screen = scores.facts, scores.screen
    sections: list[Section | None] = [
        results_section(scores),
        cases_section(scores) if screen.open else None,
        training_section(facts, screen),
        cohort_section(facts, screen),
        method_section(facts),
        refusals_section(facts, screen),
        privacy_section(facts, screen),
        limits_section(facts, screen),
        environment_section(facts),
    ]
    title = facts.study.name.replace("_", " ").replace("-", " ").strip() or "study"
    return Document(
        title=title[0].upper() + title[1:],
        subtitle=_subtitle(facts),
        tier=screen.tier,
        notice=_NOTICES[screen.tier],
        numbers=headline(scores),
        sections=tuple(section for section in sections if section is not None),
    )


def _subtitle(facts: RunFacts) -> str:
    folds = {fold["fold"] for fold in facts.summary["folds"]}
    kind = f"{len(folds)}-fold cross-validation" if len(folds) > 1 else "Hold-out evaluation"
    names = [label["name"] for label in facts.summary["labels"].values()]
    what = ", ".join(names) if len(names) <= 4 else f"{len(names)} labels"
    modality = {"CT": "CT", "MR": "MR", "PT": "PET", "DERMOSCOPY": "dermoscopy"}.get(facts.plan.modality, "")
    where = f" in {modality}" if modality else ""
    return f"{kind}: segmentation of {what}{where}"
