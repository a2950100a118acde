from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import PrivacyError, RunError
from medseg.privacy.containers import layers
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import verify
from medseg.report import write_report
from medseg.studies import read_cases, read_summary, summarise, write_cases, write_summary
from tests.report.make_run import make_run

SECTIONS = (
    "Results",
    "Training",
    "Cohort",
    "Method",
    "What was refused",
    "Model privacy",
    "What this does not show",
    "Environment",
)


class _Page(HTMLParser):
    """Collects the text and every attribute that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.references.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def reports(volume_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tiers of the 3D study, in a copy of its folder."""
    copy = tmp_path_factory.mktemp("reports") / "study"
    shutil.copytree(volume_run.parent, copy)
    write_report(copy / "run", tier="internal")
    write_report(copy / "run", tier="shareable")
    return copy / "run" / "report"


def _pdf_text(path: Path) -> str:
    return "\n".join(layer.data.decode("utf-8", "replace") for layer in layers(path.read_bytes(), "report.pdf"))


@pytest.mark.parametrize("tier", ["internal", "shareable"])
def test_the_page_loads_nothing_from_outside_and_runs_nothing(reports: Path, tier: str) -> None:
    page = _Page((reports / f"{tier}.html").read_text(encoding="utf-8"))
    assert page.references
    assert all(r.startswith(("#", "data:image/")) for r in page.references)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.open)
    source = (reports / f"{tier}.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in source
    assert not re.search(r"url\((?!#)|@import|https?://", source)


@pytest.mark.parametrize("tier", ["internal", "shareable"])
def test_page_and_pdf_hold_every_section_and_the_scores_of_the_summary(reports: Path, tier: str) -> None:
    page = _Page((reports / f"{tier}.html").read_text(encoding="utf-8")).text
    pdf = _pdf_text(reports / f"{tier}.pdf")
    for label in read_summary(reports.parent)["labels"].values():
        dice = label["metrics"]["dice"]
        for number in (dice["mean"], dice["low"], dice["high"]):
            assert f"{number:.3f}" in page
            assert f"{number:.3f}" in pdf
    for section in SECTIONS:
        assert section in page
    assert (reports / f"{tier}.pdf").read_bytes().startswith(b"%PDF")


def test_the_internal_tier_shows_cases_and_the_shareable_one_none(reports: Path) -> None:
    rows = read_cases(reports.parent)
    identifiers = {row["case"] for row in rows} | {row["patient"] for row in rows}
    internal = (reports / "internal.html").read_text(encoding="utf-8")
    shareable = (reports / "shareable.html").read_text(encoding="utf-8")
    pdf = _pdf_text(reports / "shareable.pdf")
    assert all(name in internal for name in identifiers)
    assert internal.count("<img") == 6
    assert not any(name in shareable or name in pdf for name in identifiers)
    assert "<img" not in shareable
    assert "Worst" not in shareable


def test_small_counts_are_marked_in_the_shareable_tier_not_left_out(reports: Path) -> None:
    internal = _Page((reports / "internal.html").read_text(encoding="utf-8")).text
    shareable = _Page((reports / "shareable.html").read_text(encoding="utf-8")).text
    assert "in 3 of 34 cases" in internal
    assert "in <10 patients" in shareable
    assert "34 cases" not in shareable
    assert "slices are missing" in shareable
    assert "series 3 of 27" in internal
    assert "series 3 of 27" not in shareable


def test_the_same_run_gives_the_same_bytes(own_run: Path) -> None:
    first = write_report(own_run, tier="internal")
    before = (first.read_bytes(), first.with_suffix(".pdf").read_bytes())
    write_report(own_run, tier="internal")
    assert (first.read_bytes(), first.with_suffix(".pdf").read_bytes()) == before


def test_distances_of_photographs_are_written_in_pixels(own_run: Path) -> None:
    page = _Page(write_report(own_run, tier="shareable").read_text(encoding="utf-8")).text
    assert "HD95 (px)" in page
    assert "(mm)" not in page


def test_a_cohort_of_few_patients_has_every_score_withheld_and_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path, dims=2, patients=6, epochs=3)
    dice = read_summary(run)["labels"]["1"]["metrics"]["dice"]
    source = write_report(run, tier="shareable").read_text(encoding="utf-8")
    page = _Page(source).text
    assert "withheld" in page
    assert f"{dice['mean']:.3f}" not in page
    assert f"{dice['mean']:.2f}" not in page
    assert "<path" not in source
    assert "<10" in page


def test_a_report_without_its_images_says_so(own_run: Path) -> None:
    shutil.rmtree(own_run.parent / "data")
    page = _Page(write_report(own_run, tier="internal").read_text(encoding="utf-8")).text
    assert "6 of the chosen cases could not be drawn" in page


def test_an_identity_in_a_shareable_report_is_refused_and_nothing_is_written(own_run: Path) -> None:
    rows = [{**row, "label_name": "Novakova Jana"} for row in read_cases(own_run)]
    write_cases(rows, own_run / "cases.csv")
    summary = summarise(rows, bootstrap=100, confidence=0.95, seed=0, empty_reference="skip")
    write_summary(summary, own_run / "summary.json")
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    for tier in ("internal", "shareable"):
        with pytest.raises(PrivacyError):
            write_report(own_run, tier=tier, identities=index)
    assert not (own_run / "report").exists()


def test_a_shareable_report_is_noted_in_the_ledger_with_the_patients_behind_each_figure(own_run: Path) -> None:
    write_report(own_run, tier="shareable")
    entry = json.loads((own_run / "ledger.jsonl").read_text().splitlines()[-1])
    assert entry["action"] == "released"
    assert entry["facts"]["what"] == "report"
    assert entry["facts"]["groups"][entry["facts"]["figures"]["dice of 1"]]["patients"] == 30
    assert verify(own_run / "ledger.jsonl") == []


def test_one_patient_less_than_in_an_earlier_release_is_withheld(own_run: Path) -> None:
    write_report(own_run, tier="shareable")
    rows = [row for row in read_cases(own_run) if row["patient"] != "P0000"]
    write_cases(rows, own_run / "cases.csv")
    (own_run / "summary.json").unlink()
    page = _Page(write_report(own_run, tier="shareable").read_text(encoding="utf-8")).text
    dice = summarise(rows, bootstrap=500, confidence=0.95, seed=0, empty_reference="skip")["labels"]["1"]
    assert f"{dice['metrics']['dice']['mean']:.3f}" not in page


def test_a_patient_added_to_one_fold_in_another_run_is_given_away_by_no_difference(tmp_path: Path) -> None:
    """The fold's model saw no other patient than before, so its mean would differ by just the new patient's value."""
    run = make_run(tmp_path, dims=2, patients=36, epochs=4)
    for fold in range(3):
        (run / f"fold_{fold}" / "weights.safetensors").write_bytes(b"of fold %d" % fold)
    before = tmp_path / "before"
    shutil.copytree(run, before)
    write_cases([row for row in read_cases(run) if row["patient"] != "P0000"], before / "cases.csv")
    (before / "summary.json").unlink()
    for fold in (1, 2):
        (before / f"fold_{fold}" / "weights.safetensors").write_bytes(b"trained without that patient")
    first = _fold_cells(write_report(before, tier="shareable"))
    second = _fold_cells(write_report(run, tier="shareable"))
    assert "withheld" not in first
    assert second.count("withheld") == 2
    assert "withheld" in second[0]
    assert verify(tmp_path / "data" / "ledger.jsonl") == []


def test_the_curve_of_the_validation_dice_needs_enough_patients_too(volume_run: Path, tmp_path: Path) -> None:
    shutil.copytree(volume_run.parent, tmp_path / "study")
    run = tmp_path / "study" / "run"
    words = "Validation Dice is withheld: it rests on too few patients"
    assert words not in _Page(write_report(run, tier="shareable").read_text(encoding="utf-8")).text
    one_fold = [row for row in read_cases(run) if row["fold"] == 0]
    write_cases(one_fold, run / "cases.csv")
    (run / "summary.json").unlink()
    text = _Page(write_report(run, tier="shareable", threshold=9).read_text(encoding="utf-8")).text
    assert words in text  # 8 of the 10 cases of the one fold were looked at
    assert "Training loss against minutes" in text


def _fold_cells(page: Path) -> list[str]:
    """The mean Dice of each fold as a shareable report tells it."""
    text = _Page(page.read_text(encoding="utf-8")).text
    return re.findall(r"Fold \d (?:<?\d+|withheld) (?:<?\d+|withheld) ([\d.]+|withheld)", text)


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path: Path, own_run: Path) -> None:
    with pytest.raises(RunError, match="found none"):
        write_report(tmp_path / "nowhere", tier="internal")
    with pytest.raises(RunError, match="no run folder of medseg"):
        write_report(tmp_path, tier="internal")
    (own_run / "cases.csv").unlink()
    with pytest.raises(RunError, match=r"cases\.csv is missing"):
        write_report(own_run, tier="internal")


def test_the_command_writes_both_tiers(own_run: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(own_run), "--json"])
    assert result.exit_code == 0
    names = {f"report/{tier}.{ending}" for tier in ("internal", "shareable") for ending in ("html", "pdf")}
    assert set(json.loads(result.stdout)["written"]) == names
    assert all((own_run / name).is_file() for name in names)


def test_the_threshold_of_a_shareable_report_can_be_set(own_run: Path) -> None:
    command = ["report", str(own_run), "--tier", "shareable", "--threshold"]
    assert CliRunner().invoke(app, [*command, "30"]).exit_code == 0
    page = _Page((own_run / "report" / "shareable.html").read_text(encoding="utf-8")).text
    assert "Numbers that rest on fewer than 30 patients are withheld" in page
    assert "would tell of too few patients" in page
    assert CliRunner().invoke(app, [*command, "2"]).exit_code == 2


def test_the_command_exits_4_when_an_identity_would_leave(own_run: Path, tmp_path: Path) -> None:
    index = IdentityIndex()
    index.add(["Intel(R) Xeon(R) Processor"])
    index.save(tmp_path / "key.identities")
    arguments = ["report", str(own_run), "--tier", "shareable", "--key", str(tmp_path / "key")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 4
    assert "Xeon" not in result.stderr
    assert not (own_run / "report").exists()


def test_the_command_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "no run folder" in result.stderr
