"""JSON by key rules: facts about images stay, everything that somebody may have typed goes."""

from __future__ import annotations

import json

import pytest

from medseg.errors import ReadError
from medseg.privacy.documents import clean_document
from medseg.privacy.fields import FieldRules
from medseg.privacy.pseudonym import Pseudonymiser

PSEUDONYMS = Pseudonymiser(bytes(range(32)))


def cleaned(content: object, *, characteristics: bool = True):
    rules = FieldRules({"ISIC_1.jpg": "CAAA", "ISIC_1": "CAAA"}, pseudonyms=PSEUDONYMS, characteristics=characteristics)
    data, gone = clean_document(json.dumps(content).encode(), rules=rules)
    return json.loads(data), gone


def test_a_coco_file_keeps_its_shapes_and_categories_and_names_images_by_pseudonym():
    clean, gone = cleaned(
        {
            "info": {"contributor": "Dr Novak", "date_created": "2019-02-17"},
            "images": [{"id": 5, "file_name": "/home/novak/ISIC_1.jpg", "width": 640, "height": 480, "coco_url": "x"}],
            "categories": [{"id": 1, "name": "melanoma", "supercategory": "skin"}, {"id": 2, "name": "Novakova"}],
            "annotations": [
                {"id": 7, "image_id": 5, "category_id": 1, "bbox": [1, 2.5, 30.123456789, 4], "comment": "Novakova"}
            ],
        }
    )
    image = PSEUDONYMS.case("5")
    assert clean["images"] == [{"id": image, "file_name": "CAAA", "width": 640, "height": 480}]
    assert clean["categories"] == [{"id": 1, "name": "melanoma", "supercategory": "skin"}, {"id": 2}]
    assert clean["annotations"][0]["image_id"] == image
    assert clean["annotations"][0]["bbox"] == [1, 2.5, 30.12346, 4]
    assert "ovak" not in json.dumps(clean)
    assert gone == 4


def test_a_labelme_file_keeps_its_outline_and_loses_the_picture_inside_it():
    shape = {"label": "lesion", "points": [[1.5, 2], [3, 4]], "group_id": None, "shape_type": "polygon"}
    clean, _ = cleaned({"version": "5.1", "shapes": [shape], "imagePath": "ISIC_1.jpg", "imageData": "/9j/4AAQ"})
    del shape["group_id"]
    assert clean == {"shapes": [shape], "imagePath": "CAAA"}


def test_keys_that_are_names_and_facts_of_patients_go_by_rule():
    content = {
        "patients": {"Novakova": {"age": 93}, "ISIC_1": {"age": 93, "patient_id": 4711, "sex": "F", "dob": "19480217"}},
        "labels": {"background": 0, "lesion": 1, "Novakova": 2},
    }
    clean, gone = cleaned(content)
    assert clean == {
        "patients": {"CAAA": {"age": 90, "patient_id": PSEUDONYMS.patient("4711"), "sex": "F"}},
        "labels": {"background": 0, "lesion": 1},
    }
    assert gone == 3
    strict, _ = cleaned(content, characteristics=False)
    assert strict["patients"]["CAAA"] == {"patient_id": PSEUDONYMS.patient("4711")}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[" * 100_000, b'"Novakova"', b'{"doctor": "Novak"}', b"\xff\xfe{\0}\0", b'{"a": {"b": 19480217}}'],
)
def test_what_is_no_json_or_has_nothing_that_may_stay_is_refused(data):
    with pytest.raises(ReadError):
        clean_document(data, rules=FieldRules({}, pseudonyms=PSEUDONYMS, characteristics=True))
