"""What made each prediction of a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.made_from import MADE_FROM, MadeFrom
from medseg.data.nifti import save_nifti
from medseg.data.volume import Volume
from medseg.errors import DataError, RequestError
from tests.export.chance import chance_model


def _image(seed: int) -> Volume:
    voxels = np.random.default_rng(seed).normal(size=(1, 6, 5, 4)).astype(np.float32)
    return Volume(voxels, np.diag([1.0, 1, 2, 1]), ("CT",))


def test_a_prediction_is_of_the_image_and_the_model_that_made_it(tmp_path: Path) -> None:
    made = MadeFrom(tmp_path, maker="one")
    made.begin("nifti image_0001", _image(1))
    with (tmp_path / MADE_FROM).open("a") as stream:
        stream.write('\n{"prediction": "nif')  # Torn by a kill.
    again = MadeFrom(tmp_path, maker="one")
    again.require_same("nifti image_0001", _image(1))
    again.begin("nifti image_0002", _image(2))
    MadeFrom(tmp_path, maker="one").require_same("nifti image_0002", _image(2))
    moved = Volume(_image(1).array, np.diag([1.0, 1, 3, 1]), ("CT",))
    for name, volume in (("image_0001", _image(2)), ("image_0001", moved), ("image_0003", _image(1))):
        with pytest.raises(DataError, match="made from another image"):
            again.require_same(f"nifti {name}", volume)
    with pytest.raises(RequestError, match="of another model"):
        MadeFrom(tmp_path, maker="two")


def test_predicting_other_images_or_by_other_options_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    model = chance_model(tmp_path / "model.medseg", 3)
    for folder, seeds in (("in", (1, 2)), ("other", (3, 2))):
        (tmp_path / folder).mkdir()
        for number, seed in enumerate(seeds):
            voxels = np.random.default_rng(seed).normal(size=(12, 12, 6)).astype(np.float32)
            save_nifti(voxels, np.diag([0.8, 0.8, 2.5, 1]), tmp_path / folder / f"{number}.nii.gz")

    def predict(folder: str, *options: str) -> tuple[int, dict[str, object] | str]:
        words = ["predict", str(model), str(tmp_path / folder), str(tmp_path / "out"), "--json", *options]
        result = CliRunner().invoke(app, words)
        return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else result.output

    code, first = predict("in")
    assert (code, first["written"]) == (0, 2)
    before = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.nii.gz"))]
    (tmp_path / "out" / "image_0002.nii.gz").unlink()
    assert predict("in")[1] == first
    assert [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.nii.gz"))] == before
    code, told = predict("other")
    assert (code, told["written"]) == (3, 1)
    assert [entry["input"] for entry in told["refused"]] == ["image_0001"]
    assert "made from another image" in told["refused"][0]["reason"]
    assert predict("in", "--fast")[0] == 2
    shutil.rmtree(tmp_path / "out")
    assert predict("other")[0] == 0
