from __future__ import annotations

import gzip
import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import PrivacyError, RequestError
from medseg.privacy import patterns
from medseg.privacy.audit import audit_bytes, audit_paths, gate
from medseg.privacy.dicom import read_dicom
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import Ledger
from medseg.privacy.person import person_of
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.types import Tier
from tests.privacy.corpus import Who, image, save
from tests.privacy.holders import TEXT, dicom_with, known_identities, zip_of


@pytest.fixture(scope="module")
def identities() -> IdentityIndex:
    return known_identities()


def test_names_of_files_folders_and_links_are_searched_and_hidden(tmp_path: Path, identities: IdentityIndex) -> None:
    root = tmp_path / "out"
    (root / "JANA_NOVAKOVA" / "x").mkdir(parents=True)
    (root / "JANA_NOVAKOVA" / "x" / "a.txt").write_text("clean")
    (root / "84213377.dcm").write_bytes(b"")
    (root / "link").symlink_to("/pacs/Novakova_Jana")
    report = audit_paths([root], identities=identities)
    places = {find.place for find in report.finds}
    assert places == {
        "out/[hidden] (name)",
        "out/[hidden]/x (name)",
        "out/[hidden]/x/a.txt (name)",
    } | {place for place in places if "link" in place}
    assert any("link" in place for place in places)
    assert report.files == 2
    assert report.summary().startswith("2 of 5 planted identities found in 2 files")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("saved to /home/drhouse/scans", "home folder"),
        ("C:\\Users\\drhouse\\x", "home folder"),
        ("read /mnt/pacs/export", "absolute path"),
        ("write to house@stmarys.org", "mail address"),
        ("see http://pacs01:8080/wado", "address of a host"),
        ("Tel. +49 30 1234567", "telephone number"),
        ("MRN: 0012345", "record number"),
        ("date of birth: 1948-02-17", "date beside a word like birth or study"),
        ("StudyDate 20110304", "date beside a word like birth or study"),
        ("proxy://10.0.3.7:3128", "address in a private network"),
        ("HOSTNAME=stmarys", "name of a host"),
        ("host=stmarys-ct3", "name of a host"),
        ('{"hostname": "ct3"}', "name of a host"),
        ("sent by pacs01.hospital.local", "name of a host"),
        ("sent by stmarys-ct3.intern", "name of a host"),
        ("USER=drhouse", "name of a user"),
        ('{"username": "drhouse"}', "name of a user"),
        ("ssh drhouse@stmarys-ct3 ls", "user at a host"),
    ],
)
def test_what_identifies_by_its_shape_is_found_without_a_list(text: str, rule: str) -> None:
    for data in (text.encode(), text.encode("utf-16"), gzip.compress(text.encode())):
        assert rule in {find.rule for find in audit_bytes(data, "a", identities=None)}


def test_text_that_medseg_writes_is_no_find() -> None:
    texts = [
        "<svg xmlns='http://www.w3.org/2000/svg'><path d='M 10.5 20.25 L +30 40 -5 12.75 h 1234567 20110304'/></svg>",
        "@media print { a { color: white } } /* 2.25.123456789012345678901234567890 */ </data><br/>/a/b",
        json.dumps(
            {"dice": 0.8712345678901, "created": "2026-11-22T17:41:04+00:00", "size": 20240101, "sha": "ab" * 32}
        ),
        "mean 0.87 (0.85 to 0.89), n = 213; fold 0/5; kg/m2; https://doi.org/10.1000/182; 1.2.840.10008.5.1.4.1.1.2",
        "user=user, host=localhost, username = None; torch.local, threading.local; pip install a@v2; x@sha256:ab12",
        r"}@font-face \d+",
        r"\\n\\t \\w+ {\alpha\\\beta} host: the machine; user: whoever; USER=root; hostname = gethostname()",
        "case,patient,fold,label\nCABCDEFGHJK,PQRSTVWXYZ2,0,1\n",
    ]
    for text in texts:
        assert audit_bytes(text.encode(), "report.html", identities=None) == []


def test_user_and_host_of_this_process_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "drhouse")
    monkeypatch.setenv("HOSTNAME", "stmarys-ct3")
    patterns._rules.cache_clear()
    try:
        rules = {find.rule for find in audit_bytes(b"\x00\xffrun by DRHOUSE on stmarys-ct3\x00", "a", identities=None)}
    finally:
        monkeypatch.undo()
        patterns._rules.cache_clear()
    assert rules == {"user name", "host name"}


def test_a_short_user_name_is_no_chance_find_in_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "anna")
    patterns._rules.cache_clear()
    try:
        found = [
            {find.rule for find in audit_bytes(data, "a", identities=None)}
            for data in (b"\x01\xff\x03=Anna\x02\xff" * 99, b"\x01\xff\x03written by Anna\x02\xff" * 99, b"by Anna")
        ]
    finally:
        monkeypatch.undo()
        patterns._rules.cache_clear()
    assert found == [set(), {"user name"}, {"user name"}]


def test_a_patient_in_a_dicom_file_is_found_without_a_list() -> None:
    finds = audit_bytes(dicom_with(PatientName="Somebody^Else", PatientIdentityRemoved="NO"), "a.dcm", identities=None)
    assert [find.kind for find in finds] == ["metadata"]


@pytest.mark.parametrize("tier", ["internal", "shareable"])
def test_the_gate_lets_clean_data_through_unchanged(tier: Tier, identities: IdentityIndex) -> None:
    assert gate("Dice 0.87", name="report.html", tier=tier, identities=identities) == "Dice 0.87"
    assert gate(b"\x00\x01", name="a", tier=tier, identities=identities) == b"\x00\x01"


def test_the_gate_refuses_by_place_and_rule_and_never_says_what(identities: IdentityIndex) -> None:
    with pytest.raises(PrivacyError) as caught:
        gate(zip_of(TEXT), name="model.medseg", tier="internal", identities=identities)
    assert "part of a name in model.medseg!a.txt" in str(caught.value)
    assert "ovakov" not in str(caught.value)
    assert caught.value.exit_status == 4
    gate("see /home/drhouse/x", name="log", tier="internal", identities=identities)
    with pytest.raises(PrivacyError, match="home folder"):
        gate("see /home/drhouse/x", name="log", tier="shareable", identities=identities)


def test_two_processes_find_the_same_as_one(tmp_path: Path, identities: IdentityIndex) -> None:
    for number in range(80):
        (tmp_path / f"{number}.txt").write_bytes(TEXT if number % 10 == 0 else struct.pack("<I", number))
    one, two = (audit_paths([tmp_path], identities=identities, jobs=jobs) for jobs in (1, 2))
    assert one == two
    assert len({find.place for find in one.finds if find.kind == "identity"}) == 8


def test_a_missing_path_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="path 1 of 1"):
        audit_paths([tmp_path / "missing"], identities=None)


def test_the_command_counts_and_exits_4_on_a_find_and_0_otherwise(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("clean")
    (tmp_path / "planted.txt").write_text("Novakova^Jana\n84213377\n\nCT\n")
    command = ["audit", str(tmp_path / "out"), "--identities", str(tmp_path / "planted.txt")]
    clean = CliRunner().invoke(app, command)
    assert clean.exit_code == 0
    assert clean.stdout.splitlines()[-1] == "0 of 2 planted identities found in 1 file"
    (tmp_path / "out" / "b.txt").write_bytes(TEXT)
    found = CliRunner().invoke(app, [*command, "--json"])
    assert found.exit_code == 4
    facts = json.loads(found.stdout)
    assert facts["identities_found"] == 1
    assert {find["place"] for find in facts["finds"]} == {"out/b.txt"}
    assert "ovakov" not in found.output


def test_the_command_takes_the_index_beside_the_key_and_verifies_a_ledger(tmp_path: Path) -> None:
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    index.save(tmp_path / "project.key.identities")
    (tmp_path / "a.txt").write_text("clean")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("written", {"files": 1})
    command = ["audit", str(tmp_path / "a.txt"), "--key", str(tmp_path / "project.key"), "--ledger", str(ledger.path)]
    whole = CliRunner().invoke(app, command)
    assert whole.exit_code == 0
    assert f"ledger: the chain of 1 lines is whole and ends with {ledger.head()}" in whole.stdout
    ledger.path.write_text(ledger.path.read_text().replace("written", "refused") * 2)
    broken = CliRunner().invoke(app, command)
    assert broken.exit_code == 4
    assert "ledger: line 2" in broken.stdout
    missing = CliRunner().invoke(app, ["audit", str(tmp_path / "a.txt"), "--key", str(tmp_path / "other.key")])
    assert missing.exit_code == 2


def test_words_of_everybody_s_files_in_texts_that_were_removed_are_no_finds() -> None:
    index = IdentityIndex()
    index.add(["Removed for HIPAA compliance", "CT-derived mu-map,^CT 4 AC: AC_CT", "Iowa QIN segmentation result",
               "BREAST RECURRENCE", "Novakova segmentation"])  # fmt: skip
    for text in (b"REMOVED", b"DERIVED\\PRIMARY", b"case_1_segmentation.nii.gz", b"BREAST"):
        assert audit_bytes(text, "a", identities=index) == []
    assert audit_bytes(b"seen: NOVAKOVA", "a", identities=index)


def test_a_public_scheme_a_vendor_s_block_and_a_short_number_are_no_identities() -> None:
    source = image(Who(random.Random(2)))
    source.ManufacturerModelName = "1093"
    source.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X-NOVAK", "99SDM", "Lesion of Novak"
    source.ProcedureCodeSequence = [code]
    found = person_of(read_dicom(save(source)), Pseudonymiser(bytes(32))).identities
    assert found.isdisjoint({"1093", "SIEMENS CSA HEADER", "99SDM"})
    assert "Lesion of Novak" in found


def test_run_lengths_of_coco_are_no_find() -> None:
    """Their alphabet goes from 0 to o, with the at sign, backslash, angle brackets and the equals sign."""
    generator = np.random.default_rng(0)
    for _ in range(60):
        counts = bytes(generator.integers(48, 112, 9000, dtype=np.uint8)).decode()
        assert audit_bytes(json.dumps({"counts": counts}).encode(), "instances.json", identities=None) == []
