"""The papers of data protection: filled from what is known, blank where only the controller knows, never a claim."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import PrivacyError, RequestError
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import Ledger
from medseg.privacy.profile import load_profile
from medseg.report.papers import BLANK, write_papers
from tests.privacy.corpus import Who, image, save

CLAIMS = re.compile(
    r"\b(?:fully |gdpr.|hipaa.)?(?:complian(?:t|ce)|certified|anonymised|anonymized|fulfils|meets the)\b", re.IGNORECASE
)


def clean_folder(tmp_path: Path, profile: str) -> Path:
    source, out = tmp_path / "src", tmp_path / f"clean-{profile}"
    (source / "Novakova_Jana").mkdir(parents=True, exist_ok=True)
    for number in range(12):
        (source / "Novakova_Jana" / f"IM{number}").write_bytes(save(image(Who(random.Random(number)))))
    deidentify_tree(
        source, out, profile=load_profile(profile), key=bytes(range(32)), ledger=Ledger(out / "ledger.jsonl")
    )
    return out


def test_four_papers_are_filled_in_and_blanks_are_left_for_the_controller(own_run: Path, tmp_path: Path) -> None:
    clean = clean_folder(tmp_path, "research")
    result = CliRunner().invoke(app, ["papers", str(own_run), "--clean", str(clean)])
    assert result.exit_code == 0, result.output
    assert [Path(line).relative_to(own_run).as_posix() for line in result.stdout.split()] == [
        "report/papers.html",
        "report/papers.md",
    ]
    text = (own_run / "report" / "papers.md").read_text(encoding="utf-8")
    for words in ("Art. 30(1)", "Art. 35(7)", "method statement", "Residual risks", "30 patients", "profile research",
                  "DCM 113107", "chain is whole", "Files with a clean copy | 10 |"):  # fmt: skip
        assert words in text, words
    assert text.count(BLANK) >= 12
    page = (own_run / "report" / "papers.html").read_text(encoding="utf-8")
    assert page.count(BLANK) == text.count(BLANK)


@pytest.mark.parametrize("profile", ["research", "basic"])
def test_nothing_is_claimed_and_pseudonymised_data_are_called_personal(own_run: Path, tmp_path: Path, profile) -> None:
    path = write_papers(own_run, clean=clean_folder(tmp_path, profile))
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "Pseudonymised data are personal data" in text
    assert [match.group() for match in CLAIMS.finditer(text.replace("not a statement of compliance", ""))] == []
    assert ("are not Safe Harbor data" in text) == (profile == "research")
    assert text.count("Safe Harbor") == (profile == "research")


def test_a_run_that_does_not_know_how_its_images_were_cleaned_says_so(own_run: Path, tmp_path: Path) -> None:
    text = write_papers(own_run).with_suffix(".md").read_text(encoding="utf-8")
    assert "does not know how its images were de-identified" in text
    (tmp_path / "other").mkdir()
    with pytest.raises(RequestError, match="--clean"):
        write_papers(own_run, clean=tmp_path / "other")


def test_an_exception_and_a_broken_ledger_of_the_copies_stand_in_the_papers(own_run: Path, tmp_path: Path) -> None:
    clean = clean_folder(tmp_path, "research")
    ledger = Ledger(clean / "ledger.jsonl")
    ledger.append("exception", {"what": "heads in thin slices were let pass", "profile": "research"})
    assert "heads in thin slices were let pass" in write_papers(own_run, clean=clean).read_text(encoding="utf-8")
    lines = ledger.path.read_text().splitlines()
    ledger.path.write_text("\n".join(lines[1:]) + "\n")
    ledger.append("deidentified", {"written": 1, "quarantined": 0, "refused": 0})
    assert "CHAIN IS BROKEN" in write_papers(own_run, clean=clean).read_text(encoding="utf-8")


def test_papers_pass_the_gate(own_run: Path) -> None:
    index = IdentityIndex()
    index.add(["outlines lesion"])
    with pytest.raises(PrivacyError):
        write_papers(own_run, identities=index)
    assert not (own_run / "report" / "papers.html").exists()
