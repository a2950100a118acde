from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.card import read_card
from medseg.data.manifest import Card, Case, LabelInfo, Manifest, read_manifest, write_manifest
from medseg.errors import ManifestError
from tests.data.cohort import volume_cohort
from tests.examples import examples

CARD = "title: t\nmodality: CT\nchannels: [CT]\nlabels: {1: lesion}\n"


def write(folder: Path, rows: str, *, card: str = CARD) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("a.nii.gz", "b.nii.gz"):
        (folder / name).write_bytes(b"")
    (folder / "m.csv").write_text(rows, encoding="utf-8")
    (folder / "m.yaml").write_text(card, encoding="utf-8")
    return folder / "m.csv"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    assert read_manifest(manifest.path) == manifest


_ids = st.text("abcXYZ019_-", min_size=1, max_size=64)
_texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=10)


@settings(max_examples=examples(40), deadline=None)
@given(
    rows=st.lists(
        st.tuples(_ids, _ids, _texts, _texts, st.lists(st.floats(0.01, 99), min_size=2, max_size=3)),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row[0],
    )
)
def test_any_ids_sites_and_covariates_survive_the_round_trip(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    folder = tmp_path_factory.mktemp("m")
    cases = tuple(
        Case(
            case=case,
            patient=patient,
            images={"CT": folder / "images" / f"{number}.nii.gz"},
            modality="CT",
            site=site,
            spacing=tuple(float(f"{v:.9g}") for v in spacing),
            covariates={"note": text},
        )
        for number, (case, patient, site, text, spacing) in enumerate(rows)
    )
    manifest = Manifest(path=folder / "m.csv", cases=cases, card=Card(title="t", channels=("CT",), modality="CT"))
    write_manifest(manifest, manifest.path)
    assert read_manifest(manifest.path, files_must_exist=False) == manifest


def test_several_channels_have_a_column_each(tmp_path: Path) -> None:
    card = "title: t\nmodality: MR\nchannels: [T1, FLAIR]\n"
    path = write(tmp_path, "case,patient,image.FLAIR,image.T1\nC1,P1,b.nii.gz,a.nii.gz\n", card=card)
    manifest = read_manifest(path)
    assert manifest.cases[0].images == {"T1": tmp_path / "a.nii.gz", "FLAIR": tmp_path / "b.nii.gz"}
    write_manifest(manifest, tmp_path / "n.csv")
    assert read_manifest(tmp_path / "n.csv").cases == manifest.cases


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("case,patient,image\nJane Doe,P1,a.nii.gz\n", "row 2, column 'case'"),
        ("case,patient,image\nC1,Jane Doe,a.nii.gz\n", "row 2, column 'patient'"),
        ("case,patient,image\nC1,P1,a.nii.gz\n\nC1,P2,b.nii.gz\n", "row 4, column 'case': 'C1' stands in row 2 too"),
        ("case,patient,image\nC1,P1,\n", "row 2, column 'image': the case has no image"),
        ("case,patient,image\nC1,P1,/secret/JaneDoe.nii.gz\n", "row 2, column 'image': expected a path inside"),
        ("case,patient,image\nC1,P1,x/../../JaneDoe.nii.gz\n", "row 2, column 'image': expected a path inside"),
        ("case,patient,image,label\nC1,P1,a.nii.gz,../JaneDoe\n", "row 2, column 'label': expected a path inside"),
        ("case,patient,image\nC1,P1,JaneDoe.nii.gz\n", "case C1: its image is missing"),
        ("case,patient,image,label\nC1,P1,a.nii.gz,JaneDoe\n", "case C1: its label is missing"),
        ("case,patient,image,modality\nC1,P1,a.nii.gz,JaneDoe\n", "row 2, column 'modality': expected one of CT"),
        ("case,patient,image,sha256\nC1,P1,a.nii.gz,JaneDoe\n", "row 2, column 'sha256'"),
        ("case,patient,image,spacing\nC1,P1,a.nii.gz,0x1x1\n", "row 2, column 'spacing'"),
        ("case,patient,image\nC1,P1\n", "row 2: expected 3 columns, found 2"),
        ("case,image\nC1,a.nii.gz\n", "column 'patient' is missing"),
        ("case,patient,image,image\nC1,P1,a.nii.gz,b.nii.gz\n", "column 'image' stands there twice"),
        ("case,patient,image.MR\nC1,P1,a.nii.gz\n", "image.CT"),
        ("case;patient;image\nC1;P1;a.nii.gz\n", "commas"),
        ("case,patient,image\n", "no case"),
        ("case,repeat,fold\nC1,0,1\n", "these are the folds of a manifest"),
        ("case,patient,image,lable\nC1,P1,a.nii.gz,JaneDoe\n", "column 'lable' is unknown; did you mean 'label'?"),
    ],
)
def test_a_wrong_row_is_named_without_what_it_holds(tmp_path: Path, rows: str, expected: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, rows))
    message = str(caught.value)
    assert expected in message
    assert "Jane" not in message
    assert "secret" not in message


def test_files_outside_are_allowed_when_the_card_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    card = CARD + "files_outside: true\n"
    path = write(tmp_path / "sub", "case,patient,image\nC1,P1,../a.nii.gz\n", card=card)
    manifest = read_manifest(path)
    assert manifest.cases[0].images["CT"] == tmp_path / "a.nii.gz"
    closed = replace(manifest, card=manifest.card.model_copy(update={"files_outside": False}))
    with pytest.raises(ManifestError, match="outside the manifest's folder"):
        write_manifest(closed, path)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("title: t\nlable: {1: x}\n", "lable: unknown field"),
        ("title: t\nlabels: {0: background}\n", "label values are 1 to 255"),
        ("title: t\nlabels: {1: a, 2: a}\n", "same name"),
        ("title: t\nmodality: XRAY\n", "modality"),
        ("- a\n", "mapping"),
        ("title: [\n", "not valid YAML at line 2"),
    ],
)
def test_a_wrong_card_is_explained(tmp_path: Path, card: str, expected: str) -> None:
    with pytest.raises(ManifestError, match=expected):
        read_manifest(write(tmp_path, "case,patient,image\nC1,P1,a.nii.gz\n", card=card))


def test_a_missing_card_is_shown_by_example(tmp_path: Path) -> None:
    path = write(tmp_path, "case,patient,image\nC1,P1,a.nii.gz\n")
    (tmp_path / "m.yaml").unlink()
    with pytest.raises(ManifestError, match=r"labels: \{1: lesion\}"):
        read_manifest(path)


def test_the_digest_follows_content_not_place_and_not_row_order(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path / "one")
    cases = tuple(replace(case, sha256="0" * 64, label_sha256="1" * 64) for case in manifest.cases)
    here = replace(manifest, cases=cases)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    write_manifest(here, here.path)
    shutil.copy(here.path, tmp_path / "two")
    moved = read_manifest(tmp_path / "two" / "manifest.csv")
    assert moved.digest() == here.digest()
    assert replace(here, cases=cases[::-1]).digest() == here.digest()
    changed = replace(here, cases=(replace(cases[0], label_sha256="2" * 64), *cases[1:]))
    assert changed.digest() != here.digest()
    relabelled = here.card.model_copy(update={"labels": {1: LabelInfo(name="cyst")}})
    assert replace(here, card=relabelled).digest() != here.digest()


def test_every_shipped_card_loads_and_its_codes_are_dicoms_own() -> None:
    from pydicom.sr.codedict import codes

    concepts = [getattr(codes.SCT, name) for name in codes.SCT.dir()]
    known = {(concept.value, concept.meaning) for concept in concepts}
    cards = sorted((Path(__file__).parents[2] / "data_manifests").glob("*.yaml"))
    assert {card.stem for card in cards} >= {"isic2017", "msd_hippocampus", "sts_sarcoma"}
    for path in cards:
        card = read_card(path)
        assert card.licence
        assert "doi:" in card.citation
        for info in card.labels.values():
            assert info.code is not None
            assert info.category is not None
            assert (info.code.value, info.code.meaning) in known
            assert (info.category.value, info.category.meaning) in known
