"""Checkpoints and weights pass the gate as they are written: every text in them, not the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medseg.errors import PrivacyError
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.known import knowing
from medseg.training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint, save_weights

NAME = "Novakova^Jana"


def _index() -> IdentityIndex:
    index = IdentityIndex()
    index.add([NAME])
    return index


def _checkpoint(**texts: object) -> Checkpoint:
    # Numbers that chance could have written a name with are no find.
    hidden = torch.frombuffer(bytearray(NAME.encode() * 8), dtype=torch.uint8)
    fields = {"model": {"w": hidden}, "ema": {}, "optimizer": {}} | texts
    return Checkpoint(study_digest="0" * 64, iteration=1, seconds=2.0, **fields)


@pytest.mark.parametrize(
    "texts",
    [
        {"model": {"Novakova Jana.weight": torch.zeros(1)}},
        {"ema": {"novakova_jana": torch.zeros(1)}},
        {"optimizer": {"param_groups": [{"params": [0], "group": "of Jana Novakova"}]}},
        {"control": {"NOVAKOVA JANA": 0.5}},
        {"best": {"Jana^Novakova": torch.zeros(1)}},
        {"optimizer": {"path": "/home/drhouse/run"}},
    ],
)
def test_a_checkpoint_with_an_identity_anywhere_in_its_texts_is_not_written(texts, tmp_path: Path) -> None:
    with knowing(_index()), pytest.raises(PrivacyError, match=r"last\.ckpt") as error:
        save_checkpoint(_checkpoint(**texts), tmp_path / "last.ckpt")
    assert "ovakova" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_other_checkpoints_and_weights_are_written_as_they_are(tmp_path: Path) -> None:
    with knowing(_index()):
        save_checkpoint(_checkpoint(), tmp_path / "last.ckpt")
        save_weights({"w": torch.ones(3)}, tmp_path / "w.safetensors")
    found = load_checkpoint(tmp_path / "last.ckpt", study_digest="0" * 64)
    assert bytes(found.model["w"].numpy())[:8] == b"Novakova"
    assert torch.equal(load_weights(tmp_path / "w.safetensors")["w"], torch.ones(3))


def test_weights_named_after_a_patient_are_not_written(tmp_path: Path) -> None:
    with knowing(_index()), pytest.raises(PrivacyError):
        save_weights({"novakova jana": torch.ones(3)}, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []
