from __future__ import annotations

import base64
import random
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import RequestError
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.forms import forms_of
from medseg.privacy.identities import IdentityIndex, read_clear_list
from medseg.privacy.ledger import Ledger
from medseg.privacy.profile import load_profile
from tests.examples import examples


def _index(*texts: str) -> IdentityIndex:
    index = IdentityIndex()
    index.add(texts)
    return index


@pytest.mark.parametrize(
    "written",
    [
        "Novakova^Jana",
        "novakova jana",
        "JANA NOVAKOVA",
        "IMG_Jana-Novakova_01",
        "NovakovaJana",
        "Novakova, Jana",
        "Jana M. Novakova",
        "Dr NOVAKOVA wrote",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_name_is_found_in_any_order_case_separator_and_encoding(written: str, encoding: str) -> None:
    assert _index("Novakova^Jana").find(b"\x01\x02" + written.encode(encoding) + b"\xff")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le", "utf-16-be", "iso8859_15", "cp1252"])
@pytest.mark.parametrize("written", ["Müller Jürgen", "JÜRGEN MÜLLER", "müller^jürgen"])
def test_an_accented_name_is_found_in_any_encoding(encoding: str, written: str) -> None:
    assert _index("Müller^Jürgen").find(written.encode(encoding))


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("山田^太郎", "gb18030"),
        ("山田^太郎", "shift_jis"),
        ("山田^太郎", "utf-16-le"),
        ("Иванов^Пётр", "iso8859_5"),
        ("Иванов^Пётр", "koi8_r"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "utf-8"),
        ("Παπαδόπουλος^Γιώργος", "iso8859_7"),
        ("김^희중", "euc_kr"),
    ],
)
def test_a_name_in_another_script_is_found_as_dicom_writes_it(name: str, encoding: str) -> None:
    for group in name.split("="):
        assert _index(name).find(b"\0" + group.encode(encoding) + b"\0")


@pytest.mark.parametrize(
    "written",
    ["19480217", "1948-02-17", "17.02.1948", "02/17/1948", "17/02/1948", "17.2.1948", "19480217093000.000000",
     "IM19480217.dcm", "1948/02/17", "17 Feb 1948", "February 17, 1948", "1.2.276.19480217.3", "1948-02-17T09:30"],
)  # fmt: skip
@pytest.mark.parametrize("given_as", ["19480217", "1948-02-17", "17.02.1948", "19480217093000"])
def test_a_date_is_found_however_it_is_written(written: str, given_as: str) -> None:
    hits = _index(given_as).find(f"x {written} y")
    assert [hit.kind for hit in hits] == ["date"]


@pytest.mark.parametrize("written", ["0.19480217", "119480217", "1948021", "194802171", "12.194802173e-05"])
def test_a_number_that_only_contains_a_date_is_none(written: str) -> None:
    assert not _index("19480217").find(f"x {written} y")


@pytest.mark.parametrize(
    "written", ["84213377", "IM84213377A", "0084213377", "84213377.0", "1.2.84213377.5", "9984213377123"]
)
def test_a_long_number_is_found_inside_other_text(written: str) -> None:
    assert _index("84213377").find(written)


def test_a_number_in_a_fraction_or_in_a_mapped_uid_is_chance() -> None:
    assert not _index("84213377").find("0.184213377 and 2.25.1118421337799900022233344455566677788")


def test_a_short_number_counts_only_as_a_whole() -> None:
    index = _index("4711")
    assert index.find("id 4711,")
    assert index.find("id 0004711")
    assert not index.find("14711 47110 0.4711")


def test_an_id_a_uid_an_address_and_a_mail_are_found() -> None:
    index = _index(
        "MRN-0012345",
        "1.2.276.0.7230010.3.1.2.83",
        "+49 30 1234567",
        "jana@stmarys.org",
        "stmarys-ct3",
        "12 High Street",
    )
    for written in (
        "mrn0012345", "x_MRN_0012345", "1.2.276.0.7230010.3.1.2.83", "+49-30-1234567", "49301234567",
        "JANA@stmarys.ORG", "STMARYS_CT3", "12_high street",
    ):  # fmt: skip
        assert index.find(written), written


def test_random_bytes_numbers_and_css_hold_no_identity() -> None:
    rng = random.Random(0)
    index = _index(
        *(f"{rng.randint(10**6, 10**9)}" for _ in range(200)), "White^Ann", "Lee^Kim", "Brown^Max", "Young^May"
    )
    data = random.Random(1).randbytes(1 << 21)
    assert not index.find(data, binary=True)
    assert not index.find(" ".join(str(rng.random()) for _ in range(50_000)))
    assert not index.find("color:white; background:brown; kimono; maximum; sleep; young patients may")


def test_short_numbers_are_no_chance_finds_in_weights_and_are_found_in_a_text_beside_them() -> None:
    index = _index(*(str(number) for number in range(1000, 10_000, 9)))
    weights = random.Random(0).randbytes(1 << 23)
    assert not index.find(weights + b"\xff,;4177=.\xff", binary=True)
    assert index.find(weights + b"\xffpatient = 4177, left\xff", binary=True)
    assert index.find(b"\xff,;4177=.\xff", binary=True)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(min_value=0, max_value=5000), st.integers(min_value=0, max_value=2**32))
def test_a_planted_identity_is_found_at_every_offset(before: int, seed: int) -> None:
    data = random.Random(seed).randbytes(before)
    index = IdentityIndex(b"0123456789abcdef")
    index.add(["Kowalczyk^Zofia"])
    assert index.find(data + b"/zofia_kowalczyk/", binary=True)


def test_an_identity_across_the_edge_of_a_piece_is_found() -> None:
    index = _index("Kowalczyk^Zofia")
    for shift in (-20, -8, -1, 0, 3):
        assert index.find(b"\x00\x01" * ((1 << 21) + shift) + b"Zofia Kowalczyk" + b"\x02" * 100)


def test_the_saved_index_holds_no_identity_and_finds_the_same(tmp_path: Path) -> None:
    texts = ["Novakova^Jana", "84213377", "19480217", "1.2.276.0.7230010.3.1.2.83", "Müller^Jürgen"]
    index = _index(*texts)
    path = tmp_path / "key.identities"
    index.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    assert not index.find(content)
    for text in content.split(b'"'):
        if len(text) > 40:
            assert not index.find(base64.b64decode(text))
    again = IdentityIndex.load(path)
    assert len(again) == len(texts)
    for text in texts:
        assert again.find(text) == index.find(text) != []
    again.add([*texts, "Another^Person"])
    assert len(again) == len(texts) + 1


def test_two_indexes_of_one_identity_share_no_digest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _index("Novakova^Jana").save(tmp_path / name)
    first, second = ((tmp_path / name).read_text() for name in ("a", "b"))
    assert not {first[i : i + 16] for i in range(200, len(first) - 16, 16)} & {
        second[i : i + 16] for i in range(len(second))
    }


def test_what_is_too_short_or_general_is_counted_as_left_out() -> None:
    index = _index("A", "CT", "unknown", "1", "1.2.840.10008.5.1.4.1.1.2", "", "Novakova^Jana")
    assert (len(index), index.left_out) == (1, 5)
    assert forms_of("anonymous") == set()


def test_a_wrong_file_is_a_request_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("Novakova")
    (tmp_path / "latin").write_bytes("Müller".encode("latin-1"))
    for call in (IdentityIndex.load, read_clear_list):
        with pytest.raises(RequestError):
            call(tmp_path / "missing")
    with pytest.raises(RequestError) as caught:
        IdentityIndex.load(tmp_path / "x")
    assert "Novakova" not in str(caught.value)
    with pytest.raises(RequestError):
        read_clear_list(tmp_path / "latin")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "gb18030"])
def test_a_name_of_three_characters_is_found_though_some_of_its_bytes_are_separators(encoding: str) -> None:
    index = IdentityIndex()
    index.add(["靐鱻讟"])
    assert index.find(b"scan of " + "靐鱻讟".encode(encoding) + b" in ward 3")


def test_a_name_in_percent_signs_is_found_among_other_bytes() -> None:
    index = IdentityIndex()
    index.add(["靐鱻讟"])
    assert index.find(b"\0\xff\1%E9%9D%90%E9%B1%BB%E8%AE%9F\0")


def test_a_file_name_that_is_no_utf8_can_be_an_identity() -> None:
    index = IdentityIndex()
    index.add([b"Novakov\xe1 Jana".decode("utf-8", "surrogateescape")])
    assert index.find(b"of Novakov\xe1_Jana.png")


def test_folders_called_like_what_every_report_speaks_of_are_no_identities() -> None:
    index = IdentityIndex()
    index.add(["hippocampus", "Sarcoma", "cohort", "report", "fold", "dates", "Thorax", "exports"])
    assert len(index) == 0
    index.add(["Novakova", "hippocampus_novakova", "Weber"])
    assert [hit.identity for hit in index.find("hippocampus of Novakova in the cohort of Weber")] == [1, 3]


@pytest.mark.parametrize("text", ["SIEMENS CT", "HEAD CT", "Head_Neck", "CT Head Neck with Contrast", "Left-Kidney"])
def test_texts_of_words_that_may_stay_in_a_copy_are_no_identities(text: str) -> None:
    index = IdentityIndex()
    index.add([text])
    assert (len(index), index.left_out) == (0, 1)


def test_pairs_of_general_words_do_not_count_but_those_with_a_name_and_the_pairs_of_a_name_do() -> None:
    index = IdentityIndex()
    index.add(["SIEMENS CT scanner Wachtmeister", "Stone^White^Brown"])
    assert not index.find("the SIEMENS scanner; a CT scanner of 1999")
    assert index.find("scanner Wachtmeister")
    assert index.find("White Stone")


def test_what_deidentify_says_of_its_own_files_is_nobody_who_is_called_so(tmp_path: Path) -> None:
    source, out = tmp_path / "src", tmp_path / "out"
    source.mkdir()
    for name, data in (
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("b.txt", b"x"),
        ("c.csv", b"a,b\n1,2\n"),
        ("d.nii", b"\x5c\1\0\0"),
    ):
        (source / name).write_bytes(data)
    profile, ledger = load_profile("research"), Ledger(out / "ledger.jsonl")
    deidentify_tree(source, out, profile=profile, key=bytes(range(32)), ledger=ledger, acknowledge_faces=True)
    told = " ".join(path.read_text() for path in out.rglob("*.*") if path.suffix in (".json", ".jsonl", ".csv"))
    told += " a person has to look at it; text was painted over; pseudonymised data are personal data"
    words = {word for word in re.findall(r"[A-Za-z]{4,}", told) if not re.search(r"[A-Z].*[A-Z]|[a-f]{4}", word)}
    found = {word for word in words if _index(f"{word}^Qxzvkwj").find(word)}
    assert not found


def test_five_digits_in_a_hash_or_a_pseudonym_are_chance_and_are_found_in_words() -> None:
    index = IdentityIndex()
    index.add(["30165"])
    for chance in ("I0YXXG30165", "3c" * 8 + "d30165e" + "9f" * 8, "sha256 30165c5b41a09be13d"):
        assert not index.find(chance), chance
    for written in ("MRN30165", "patient30165v2", "img_30165_b1.png", "30165", "A1 30165 B2", "0030165"):
        assert index.find(written), written


def test_a_long_number_is_no_chance_among_letters_and_digits_either() -> None:
    index = IdentityIndex()
    index.add(["4821390175", "48213901"])
    for written in ("CT1ID4821390175", "scan4821390175v2b3", "a1b2c48213901d4e5"):
        assert index.find(written), written


def test_a_round_number_is_too_general_and_one_that_is_not_counts() -> None:
    index = IdentityIndex()
    index.add(["10000", "500000", "10010"])
    assert (len(index), index.left_out) == (1, 2)
    assert not index.find("TR 10000 ms")
    assert index.find("of 10010")


@pytest.mark.parametrize("name", ["כהן^שרה", "الخطيب^فاطمة"])
def test_a_name_that_is_written_from_right_to_left_is_found_in_the_order_of_the_eye(name: str) -> None:
    index = IdentityIndex()
    index.add([name])
    for part in (name, name[::-1]):
        assert index.find(part.replace("^", " "))
        assert index.find(part.encode("utf-16-le"))
