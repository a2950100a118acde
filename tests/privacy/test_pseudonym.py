from __future__ import annotations

import hashlib
import hmac
import os

import pytest

from medseg.errors import RequestError, StorageError
from medseg.privacy.pseudonym import KEY_BYTES, Pseudonymiser, load_key, new_key

KEY = bytes(range(32))


def test_a_uid_is_an_hmac_of_the_original_under_the_key():
    original = "1.3.6.1.4.1.5962.1.1"
    digest = hmac.new(KEY, b"uid\0" + original.encode(), hashlib.sha256).digest()
    assert Pseudonymiser(KEY).uid(original) == f"2.25.{int.from_bytes(digest[:16], 'big')}"


def test_well_known_uids_stay_and_others_under_the_same_root_do_not():
    pseudonyms = Pseudonymiser(KEY)
    assert pseudonyms.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert pseudonyms.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert pseudonyms.uid("1.2.840.10008.99.19560412").startswith("2.25.")
    assert pseudonyms.uid("1.2.840.10008.1.2.19560412").startswith("2.25.")


def test_another_key_gives_other_pseudonyms_and_the_same_key_the_same():
    one, same, other = Pseudonymiser(KEY), Pseudonymiser(KEY), Pseudonymiser(KEY[::-1])
    assert one.patient("4711") == same.patient("4711") != other.patient("4711")
    assert one.shift_days("4711") == same.shift_days("4711")
    assert one.patient("4711").startswith("P")
    assert len(one.patient("4711")) == 11


def test_padding_does_not_make_another_patient_and_domains_stay_apart():
    pseudonyms = Pseudonymiser(KEY)
    assert pseudonyms.patient("4711 ") == pseudonyms.patient("4711")
    assert pseudonyms.patient("4711")[1:] != pseudonyms.accession("4711")[1:]
    assert pseudonyms.uid("1.2.3\0") == pseudonyms.uid("1.2.3")


def test_every_shift_goes_whole_days_into_the_past():
    shifts = {Pseudonymiser(KEY).shift_days(str(n)) for n in range(500)}
    assert len(shifts) > 400
    assert all(-3650 <= shift <= -365 for shift in shifts)


def test_a_new_key_is_private_and_is_never_overwritten(tmp_path):
    path = tmp_path / "project.key"
    key = new_key(path)
    assert len(key) == KEY_BYTES
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert load_key(path) == key
    with pytest.raises(RequestError, match="never overwritten"):
        new_key(path)
    assert load_key(path) == key


def test_a_lost_a_damaged_and_a_shared_key_are_each_explained(tmp_path):
    with pytest.raises(RequestError, match="backup"):
        load_key(tmp_path / "lost.key")
    short = tmp_path / "short.key"
    short.write_text("medseg-project-key-1\nQUJD\n")
    short.chmod(0o600)
    with pytest.raises(RequestError, match="shorter or damaged"):
        load_key(short)
    shared = tmp_path / "shared.key"
    new_key(shared)
    shared.chmod(0o644)
    with pytest.raises(RequestError, match="chmod 600"):
        load_key(shared)
    with pytest.raises(StorageError):
        new_key(tmp_path / "no_such_folder" / "key")
    with pytest.raises(RequestError, match="32 bytes"):
        Pseudonymiser(b"short")
