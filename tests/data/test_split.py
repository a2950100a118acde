from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.manifest import Card, Case, Manifest
from medseg.data.split import lesion_burdens, make_folds, read_folds, write_folds
from medseg.errors import LeakageError, ManifestError
from tests.data.cohort import picture_cohort, volume_cohort
from tests.examples import examples


def paper_manifest(patients: list[str], *, sites: list[str] | None = None, sexes: list[str] | None = None) -> Manifest:
    """A manifest without files: folds need only ids, patients, columns and burdens."""
    cases = tuple(
        Case(
            case=f"C{number:04d}",
            patient=patient,
            images={"image": Path("/nowhere")},
            site=sites[number] if sites else "",
            covariates={"sex": sexes[number]} if sexes else {},
        )
        for number, patient in enumerate(patients)
    )
    return Manifest(path=Path("/nowhere/manifest.csv"), cases=cases, card=Card(title="t"))


def lognormal_burdens(manifest: Manifest, *, empty_share: float = 0.0, seed: int = 0) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    values = generator.lognormal(sigma=1.5, size=len(manifest.cases))
    values[generator.random(values.size) < empty_share] = 0
    return {case.case: float(value) for case, value in zip(manifest.cases, values, strict=True)}


@settings(max_examples=examples(60), deadline=None)
@given(
    patients=st.lists(st.integers(0, 25), min_size=2, max_size=60).filter(lambda found: len(set(found)) >= 3),
    folds=st.integers(2, 6),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 5),
    kind=st.sampled_from(["kfold", "holdout"]),
)
def test_patients_never_straddle_and_every_case_is_held_out_once(patients, folds, repeats, seed, kind) -> None:
    manifest = paper_manifest([f"P{number}" for number in patients])
    if kind == "kfold":
        folds = min(folds, len(set(patients)))
    burdens = lognormal_burdens(manifest, empty_share=0.2)
    drawn = make_folds(manifest, folds=folds, repeats=repeats, seed=seed, kind=kind, burdens=burdens)
    patient_of = {case.case: case.patient for case in manifest.cases}
    for split in drawn.splits:
        parts = [split.training, split.validation, split.test]
        assert sorted(case for part in parts for case in part) == sorted(patient_of)
        assert split.training
        assert split.test
        owners = [{patient_of[case] for case in part} for part in parts]
        assert sum(len(patients_of_part) for patients_of_part in owners) == len(set.union(*owners))
    if kind == "kfold":
        held_out = Counter((s.repeat, case) for s in drawn.splits for case in s.test)
        assert len(drawn.splits) == folds * repeats
        assert set(held_out.values()) == {1}


def test_each_fold_has_its_share_of_empty_large_and_small_lesions() -> None:
    manifest = paper_manifest([f"P{number}" for number in range(200)])
    burdens = lognormal_burdens(manifest, empty_share=0.25)
    lesions = np.array([value for value in burdens.values() if value > 0])
    edges = np.quantile(lesions, [0.2, 0.8])
    for split in make_folds(manifest, burdens=burdens).splits:
        values = np.array([burdens[case] for case in split.test])
        assert abs((values == 0).sum() - (200 - lesions.size) / 5) <= 1
        assert abs((values >= edges[1]).sum() - lesions.size / 25) <= 2
        assert abs(((values > 0) & (values < edges[0])).sum() - lesions.size / 25) <= 2
        assert abs(values.size - 40) <= 2


def test_a_rare_covariate_is_spread_over_the_folds() -> None:
    sexes = ["F" if number % 10 == 0 else "M" for number in range(100)]
    manifest = paper_manifest([f"P{number}" for number in range(100)], sexes=sexes)
    sex_of = {case.case: case.covariates["sex"] for case in manifest.cases}
    drawn = make_folds(manifest, burdens=lognormal_burdens(manifest), covariates=["sex"])
    assert [sum(sex_of[case] == "F" for case in split.test) for split in drawn.splits] == [2] * 5


def test_the_same_seed_gives_the_same_folds_whatever_the_order_of_rows() -> None:
    manifest = paper_manifest([f"P{number // 2}" for number in range(40)])
    turned = replace(manifest, cases=manifest.cases[::-1])
    burdens = lognormal_burdens(manifest)
    assert make_folds(manifest, burdens=burdens, seed=3) == make_folds(turned, burdens=burdens, seed=3)
    assert make_folds(manifest, burdens=burdens, seed=3) != make_folds(manifest, burdens=burdens, seed=4)


def test_the_repeats_differ() -> None:
    manifest = paper_manifest([f"P{number}" for number in range(30)])
    drawn = make_folds(manifest, folds=3, repeats=2, burdens=lognormal_burdens(manifest))
    assert drawn.splits[0].test != drawn.splits[3].test


def test_holdout_is_seven_to_two_to_one() -> None:
    manifest = paper_manifest([f"P{number}" for number in range(200)])
    (split,) = make_folds(manifest, kind="holdout", burdens=lognormal_burdens(manifest)).splits
    sizes = np.array([len(split.training), len(split.validation), len(split.test)])
    assert np.abs(sizes - [140, 40, 20]).max() <= 3


def test_each_site_is_held_out_once() -> None:
    manifest = paper_manifest([f"P{number}" for number in range(9)], sites=list("ABCABCABC"))
    drawn = make_folds(manifest, kind="site")
    assert [split.test for split in drawn.splits] == [
        ("C0000", "C0003", "C0006"),
        ("C0001", "C0004", "C0007"),
        ("C0002", "C0005", "C0008"),
    ]


def test_pairs_to_keep_together_stay_together() -> None:
    manifest = paper_manifest([f"P{number}" for number in range(20)])
    pairs = [("C0000", "C0007"), ("C0007", "C0012")]
    for seed in range(5):
        drawn = make_folds(manifest, seed=seed, burdens=lognormal_burdens(manifest), together=pairs)
        homes = [split.fold for split in drawn.splits for case in split.test if case in ("C0000", "C0007", "C0012")]
        assert len(set(homes)) == 1


@pytest.mark.parametrize(
    ("patients", "options", "expected"),
    [
        (["P1"] * 5, {}, "all cases are of one patient"),
        (["P1", "P2", "P3"], {"folds": 5}, "ask for --folds 3 or fewer"),
        (["P1", "P2"], {"kind": "holdout"}, "at least 3 patients"),
        (["P1", "P2"], {"folds": 1}, "at least 2 folds"),
        (["P1", "P2"], {"repeats": 0}, "at least one repeat"),
        (
            ["P1", "P2"],
            {"folds": 2, "covariates": ["age"]},
            "'age' is not a column of the manifest; there are: modality",
        ),
        (["P1", "P2"], {"kind": "site"}, "2 case"),
    ],
)
def test_an_impossible_split_says_what_is_possible(patients, options, expected) -> None:
    manifest = paper_manifest(patients)
    with pytest.raises(ManifestError, match=expected):
        make_folds(manifest, burdens=lognormal_burdens(manifest), **options)


def test_one_site_and_a_patient_at_two_sites_are_refused() -> None:
    with pytest.raises(ManifestError, match="one site"):
        make_folds(paper_manifest(["P1", "P2"], sites=["A", "A"]), kind="site")
    with pytest.raises(ManifestError, match="two sites"):
        make_folds(paper_manifest(["P1", "P1", "P2"], sites=["A", "B", "B"]), kind="site")


@pytest.mark.parametrize("kind", ["kfold", "holdout", "site"])
def test_folds_are_read_back_as_written(tmp_path: Path, kind) -> None:
    manifest = paper_manifest([f"P{number // 2}" for number in range(40)], sites=list("AABB" * 10))
    drawn = make_folds(manifest, kind=kind, folds=3, burdens=lognormal_burdens(manifest))
    write_folds(drawn, tmp_path / "folds.csv")
    assert read_folds(tmp_path / "folds.csv", manifest) == drawn


def test_folds_are_written_once(tmp_path: Path) -> None:
    manifest = paper_manifest([f"P{number}" for number in range(20)])
    burdens = lognormal_burdens(manifest)
    path = tmp_path / "folds.csv"
    write_folds(make_folds(manifest, burdens=burdens), path)
    before = path.read_text()
    write_folds(make_folds(manifest, burdens=burdens), path)
    with pytest.raises(ManifestError, match="--force"):
        write_folds(make_folds(manifest, burdens=burdens, seed=1), path)
    assert path.read_text() == before
    write_folds(make_folds(manifest, burdens=burdens, seed=1), path, force=True)
    assert path.read_text() != before


@pytest.mark.parametrize(
    ("text", "error", "expected"),
    [
        ("case,repeat,fold\nC0000,0,0\nC0001,0,1\nC0002,0,1\n", LeakageError, "patient P0 stands in folds 0 and 1"),
        ("case,repeat,fold\nC0000,0,0\nC0002,0,1\n", ManifestError, "1 case.* no fold in repeat 0, the first is C0001"),
        ("case,repeat,fold\nC0000,0,0\nC0000,0,1\n", ManifestError, "row 3: case C0000 has a fold"),
        ("case,repeat,fold\nJaneDoe,0,0\n", ManifestError, "row 2, column 'case': not a case"),
        ("case,repeat,fold\nC0000,0,x\n", ManifestError, "row 2: expected"),
        ("case,repeat,fold\nC0000,0,0\nC0001,0,0\nC0002,0,2\n", ManifestError, "without a gap"),
        ("case,repeat,fold\nC0000,0,0\nC0001,0,0\nC0002,0,test\n", ManifestError, "one of the two forms"),
        ("case,fold\n", ManifestError, "row 1"),
        ("case,repeat,fold\n", ManifestError, "no row"),
    ],
)
def test_a_wrong_folds_file_is_refused(tmp_path: Path, text: str, error: type[Exception], expected: str) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(error, match=expected) as caught:
        read_folds(tmp_path / "folds.csv", paper_manifest(["P0", "P0", "P1"]))
    assert "Jane" not in str(caught.value)


def test_missing_folds_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="medseg manifest split"):
        read_folds(tmp_path / "folds.csv", paper_manifest(["P0", "P1"]))


def test_burden_is_volume_in_3d_and_share_in_2d(tmp_path: Path) -> None:
    volumes = volume_cohort(tmp_path / "v", cases=3)
    assert lesion_burdens(volumes) == {"C0000": 0.0, "C0001": 3 * 6 * 6 * 2.0, "C0002": 4 * 6 * 6 * 2.0}
    pictures = picture_cohort(tmp_path / "p", cases=1)
    assert lesion_burdens(pictures)["S000"] == pytest.approx(20 * 20 / (72 * 96))
