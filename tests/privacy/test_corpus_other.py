"""The second hostile corpus: nothing planted gets out, every file becomes what it should, in each profile."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from medseg.privacy.deidentify import DeidentifyReport, deidentify_tree, input_files
from tests.privacy.corpus import Planted
from tests.privacy.corpus.corpora import make_other_corpus
from tests.privacy.test_deidentify import KEY, forms, layers, unseen


@pytest.fixture(scope="module", params=["research", "minimal-risk"])
def cleaned(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Planted], dict[str, str], DeidentifyReport]:
    folder = tmp_path_factory.mktemp(request.param)
    planted = make_other_corpus(folder / "src")
    report = deidentify_tree(folder / "src", folder / "out", profile=unseen(request.param), key=KEY)
    outcomes = zip(input_files(folder / "src"), report.outcomes, strict=True)
    places = {name.partition("\0")[0]: outcome.place for name, outcome in outcomes}
    return folder / "out", planted, places, report


def test_nothing_planted_is_in_any_copy(cleaned):
    out, planted, places, _ = cleaned
    leaks = []
    for item in planted:
        place = places[item.path]
        data = (out / place).read_bytes() if place else b""
        text = str(pydicom.dcmread(out / place)).encode("utf-8", "replace") if data[128:132] == b"DICM" else b""
        everything = b"\n".join((place.encode(), text, *layers(data))).lower()
        leaks += [(item.path, i) for i in item.identities if any(form in everything for form in forms(i))]
    assert leaks == []


def test_each_file_has_the_outcome_that_it_should_have(cleaned):
    _, planted, places, report = cleaned
    assert len(planted) == len(report.outcomes) >= 54
    assert [item.path for item in planted if bool(places[item.path]) != (item.expect == "written")] == []


def test_the_accounts_beside_the_copies_hold_nothing_planted(cleaned):
    out, planted, _, _ = cleaned
    accounts = b"".join(path.read_bytes() for path in out.iterdir() if path.is_file() and path.suffix != ".csv")
    accounts += (out / "refused.csv").read_bytes()
    names = [i for item in planted for i in item.identities if not i.isdigit()]
    assert [i for i in names if any(form in accounts.lower() for form in forms(i))] == []
