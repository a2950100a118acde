"""COCO: predictions on pictures in one file that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.data.source import Input, find_inputs
from medseg.data.volume import Geometry
from medseg.errors import DataError, RequestError
from medseg.export.coco import COCO_FILE, CocoFile
from medseg.inference.predict import Prediction
from tests.export.source_series import ALGORITHM, LABELS, blobs


def _picture(name: str) -> Input:
    return Input(name, lambda: pytest.fail("not read"), picture=f"images/{name}.png")


def _prediction(label: np.ndarray, certainty: float = 0.75) -> Prediction:
    classes = np.searchsorted([0, 2, 5], label)
    probabilities = np.stack([np.where(classes == n, certainty, (1 - certainty) / 2) for n in range(3)])
    return Prediction(label, Geometry(label.shape, np.eye(4)), probabilities.astype(np.float16))


def _written(folder: Path, labels: dict[str, np.ndarray]) -> Path:
    coco = CocoFile(folder / COCO_FILE, labels=LABELS, algorithm=ALGORITHM)
    for name, label in labels.items():
        coco.add(_prediction(label), _picture(name))
    coco.save()
    return folder / COCO_FILE


def test_pycocotools_finds_every_pixel_box_and_score(tmp_path):
    from pycocotools import mask
    from pycocotools.coco import COCO

    labels = {"C1": blobs((30, 20), seed=3), "C2": np.zeros((8, 9), np.uint8), "C3": blobs((16, 25), seed=5)}
    api = COCO(str(_written(tmp_path, labels)))
    assert {c["id"]: c["name"] for c in api.loadCats(api.getCatIds())} == {2: "tumour", 5: "oedema"}
    for (name, label), number in zip(labels.items(), api.getImgIds(), strict=True):
        image = api.loadImgs(number)[0]
        assert (image["file_name"], image["width"], image["height"]) == (f"images/{name}.png", *label.shape)
        found = np.zeros_like(label)
        for annotation in api.loadAnns(api.getAnnIds(number)):
            drawn = api.annToMask(annotation).T.astype(bool)
            found[drawn] = annotation["category_id"]
            assert annotation["score"] == 0.75
            assert annotation["area"] == mask.area(annotation["segmentation"]) == drawn.sum()
            assert annotation["bbox"] == mask.toBbox(annotation["segmentation"]).tolist()
        assert np.array_equal(found, label)


def test_pycocotools_scores_the_annotations_as_results(tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path = _written(tmp_path, {"C1": blobs((30, 20), seed=3)})
    truth = COCO(str(path))
    results = truth.loadRes(json.loads(path.read_text())["annotations"])
    judged = COCOeval(truth, results, "segm")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    capsys.readouterr()
    assert judged.stats[0] == pytest.approx(1)


def test_a_run_that_was_stopped_goes_on_and_another_model_is_refused(tmp_path):
    label = blobs((12, 10), seed=1)
    path = _written(tmp_path, {"C1": label})
    coco = CocoFile(path, labels=LABELS, algorithm=ALGORITHM)
    assert (coco.holds(_picture("C1")), coco.holds(_picture("C2"))) == (True, False)
    coco.add(_prediction(label), _picture("C2"))
    coco.save()
    found = json.loads(path.read_text())
    assert [image["id"] for image in found["images"]] == [1, 2]
    assert [entry["id"] for entry in found["annotations"]] == list(range(1, len(found["annotations"]) + 1))
    again = (tmp_path / "again").resolve()
    again.mkdir()
    assert path.read_bytes() == _written(again, {"C1": label, "C2": label}).read_bytes()
    with pytest.raises(RequestError, match="of another model or other labels"):
        CocoFile(path, labels={1: LABELS[2]}, algorithm=ALGORITHM)
    for damaged in ('{"images": 3}', json.dumps({**found, "images": [{"file_name": ["C1.png"]}]})):
        path.write_text(damaged)
        with pytest.raises(RequestError, match="choose another folder"):
            CocoFile(path, labels=LABELS, algorithm=ALGORITHM)


def test_pictures_that_a_killed_command_had_found_are_taken_over(tmp_path):
    label = blobs((12, 10), seed=1)
    path = _written(tmp_path, {"C1": label, "C2": label, "C3": label})
    whole = path.read_bytes()
    path.unlink()
    for name in ("C1", "C2"):  # Each begun anew and never saved.
        CocoFile(path, labels=LABELS, algorithm=ALGORITHM).add(_prediction(label), _picture(name))
    (lines,) = tmp_path.glob(".*")
    with lines.open("a") as stream:
        stream.write('\n{"image": {"file_na')  # Torn by the kill.
    last = CocoFile(path, labels=LABELS, algorithm=ALGORITHM)
    assert [last.holds(_picture(name)) for name in ("C1", "C2", "C3")] == [True, True, False]
    last.add(_prediction(label), _picture("C3"))
    again = CocoFile(path, labels=LABELS, algorithm=ALGORITHM)
    again.save()
    assert path.read_bytes() == whole
    assert not lines.exists()


def test_what_is_no_picture_is_refused(tmp_path):
    coco = CocoFile(tmp_path / COCO_FILE, labels=LABELS, algorithm=ALGORITHM)
    with pytest.raises(DataError, match="others get a file of their own"):
        coco.add(_prediction(np.zeros((4, 5), np.uint8)), Input("C1", lambda: pytest.fail("not read")))


def test_pictures_are_named_by_number_unless_names_are_kept(tmp_path):
    for name in ("doe/jane.jpg", "left.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "in" / name)
    assert [entry.picture for entry in find_inputs(tmp_path / "in")[0]] == ["image_0001.jpg", "image_0002.png"]
    kept = find_inputs(tmp_path / "in", keep_names=True)[0]
    assert [entry.picture for entry in kept] == ["doe/jane.jpg", "left.png"]
    (single,) = find_inputs(tmp_path / "in" / "left.png")[0]
    assert (single.name, single.picture) == ("image_0001", "image_0001.png")
