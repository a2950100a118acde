from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.data.exchange import write_text
from medseg.data.files import atomic_write
from medseg.errors import PrivacyError
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.known import know, knowing, let_out
from medseg.privacy.ledger import Ledger
from medseg.runs.folder import RunFolder


@pytest.fixture
def identities() -> IdentityIndex:
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    return index


def _text_file(path: Path, text: str) -> None:
    with atomic_write(path, mode="w") as stream:
        stream.write(text)


def _ledger_line(path: Path, text: str) -> None:
    Ledger(path).append("written", {"what": text})


def _study(path: Path, text: str) -> None:
    with RunFolder.open(path.parent, study_yaml=text):
        pass


@pytest.mark.parametrize("write", [_text_file, _ledger_line, write_text, _study])
def test_no_text_with_a_known_identity_is_written(
    write: Callable[[Path, str], None], identities: IdentityIndex, tmp_path: Path
) -> None:
    with knowing(identities), pytest.raises(PrivacyError, match="name in") as caught:
        write(tmp_path / "out" / "a.txt", "the case of Jana Novakova")
    assert "ovakova" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    write(tmp_path / "out" / "a.txt", "the case of Jana Novakova")


def test_a_name_that_identifies_is_no_files_name_either(identities: IdentityIndex, tmp_path: Path) -> None:
    know(identities)
    with pytest.raises(PrivacyError) as caught:
        _text_file(tmp_path / "novakova_jana.csv", "case,patient\n")
    assert "ovakova" not in str(caught.value)
    assert not any(tmp_path.iterdir())
    _text_file(tmp_path / "manifest.csv", "case,patient\n")


def test_bytes_may_hold_what_goes_home_to_its_patient(identities: IdentityIndex, tmp_path: Path) -> None:
    with knowing(identities), atomic_write(tmp_path / "seg.dcm") as stream:
        stream.write(b"Novakova^Jana")
    assert (tmp_path / "seg.dcm").exists()


def test_what_is_known_in_a_block_is_forgotten_behind_it_and_nothing_else_is(identities: IdentityIndex) -> None:
    with knowing(None), knowing(identities):
        with knowing(identities), pytest.raises(PrivacyError):
            let_out("Jana Novakova", name="a")
        with pytest.raises(PrivacyError):
            let_out("Jana Novakova", name="a")
    assert let_out("Jana Novakova", name="a") == "Jana Novakova"


def test_patients_who_are_called_as_settings_are_do_not_stop_a_run(identities: IdentityIndex, tmp_path: Path) -> None:
    import medseg.config
    from medseg.config import StudyConfig

    identities.add(["Light^Sigma", "Momentum^Adam", "Weight^Steps", "Better^Python"])
    study = StudyConfig.model_validate({"name": "lesions", "data": {"manifest": "data/manifest.csv"}})
    with RunFolder.open(tmp_path, study_yaml=medseg.config.dump_study(study), identities=identities) as run:
        run.ledger.append("study begun", {"cases": 3})
    assert (tmp_path / "study.yaml").exists()
