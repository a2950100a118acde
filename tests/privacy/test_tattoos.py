"""Tattoos in photographs: flagged for a person in every profile; clean skin is not."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import medseg.privacy.tattoos
from medseg.data.synthetic_skin import draw_photograph
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.dicom import clean_dicom
from medseg.privacy.guards import QuarantineError
from medseg.privacy.ledger import Ledger
from medseg.privacy.pixels import clean_text
from medseg.privacy.profile import load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from tests.privacy.corpus import Who, image, save

KEY = bytes(range(32))
INKS = {"black": (34, 36, 42), "blue": (45, 65, 140), "green": (50, 115, 75), "red": (175, 35, 45)}


def skin(seed: int = 0) -> Image.Image:
    """Synthetic skin with a lesion, 400 x 533 pixels."""
    return Image.fromarray(draw_photograph(np.random.default_rng(seed)).rgb).resize(
        (533, 400), Image.Resampling.BICUBIC
    )


def tattooed(picture: Image.Image, seed: int, *, ink: str = "black") -> Image.Image:
    """The picture with an anchor, a heart or a word on it, a third of its width and near a corner."""
    wide = picture.size[0]
    drawn = Image.new("L", (300, 300))
    pen, kind = ImageDraw.Draw(drawn), seed % 3
    if kind == 0:
        pen.line((150, 70, 150, 270), fill=255, width=22)
        pen.line((95, 110, 205, 110), fill=255, width=20)
        pen.arc((40, 120, 260, 275), 10, 170, fill=255, width=24)
        pen.ellipse((125, 20, 175, 70), outline=255, width=14)
    elif kind == 1:
        pen.polygon([(150, 270), (25, 130), (55, 55), (110, 50), (150, 95), (190, 50), (245, 55), (275, 130)], fill=255)
        pen.line((20, 250, 280, 60), fill=0, width=14)
    else:
        pen.text((20, 100), "Ewig", font=ImageFont.load_default(110), fill=255)
    side = wide // 3
    drawn = drawn.rotate(random.Random(seed).uniform(-25, 25)).resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", picture.size)
    mask.paste(drawn, (wide // 30 if seed % 2 else wide - side - wide // 30, wide // 30))
    mask = mask.filter(ImageFilter.GaussianBlur(1)).point([int(0.8 * value) for value in range(256)])
    made = picture.copy()
    made.paste(INKS[ink], (0, 0), mask)
    return made


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_the_weights_come_with_medseg_and_are_small():
    path = Path(medseg.privacy.tattoos.__file__).with_name("tattoos.onnx")
    assert 10_000 < path.stat().st_size < 300_000


class TestWithDetectors:
    """What needs the extra ``ocr``."""

    @pytest.fixture(autouse=True)
    def _detectors(self):
        pytest.importorskip("cv2")
        pytest.importorskip("rapidocr_onnxruntime")

    def test_tattoos_of_every_ink_on_real_skin_are_flagged_and_the_clean_pictures_are_not(self, test_data):
        from medseg.privacy.tattoos import shows_a_tattoo

        paths = sorted((test_data / "isic2017" / "images").glob("*.jpg"))[35:240:40]
        found, alarms = [], []
        for number, path in enumerate(paths):
            picture = Image.open(path).convert("RGB")
            alarms.append(shows_a_tattoo(np.asarray(picture)))
            for ink in INKS:
                found.append(shows_a_tattoo(np.asarray(tattooed(picture, number, ink=ink))))
        assert sum(alarms) <= 2
        assert np.mean(found) >= 0.85

    def test_the_synthetic_cohort_with_its_rulers_and_hairs_is_not_flagged(self):
        from medseg.privacy.tattoos import shows_a_tattoo

        cohort = [draw_photograph(np.random.default_rng([0, 2, index])).rgb for index in range(12)]
        assert not any(shows_a_tattoo(picture) for picture in cohort)
        assert sum(shows_a_tattoo(np.asarray(tattooed(skin(seed), seed))) for seed in range(4)) >= 3

    def test_what_was_painted_over_and_grey_pictures_are_not_looked_at(self):
        from medseg.privacy.tattoos import is_coloured, shows_a_tattoo

        before, after = np.asarray(skin()), np.asarray(tattooed(skin(), 0))
        assert shows_a_tattoo(after)
        assert not shows_a_tattoo(after, painted=(before != after).any(axis=2))
        assert not shows_a_tattoo(after, painted=np.ones(after.shape[:2], bool))
        grey = np.asarray(Image.fromarray(after).convert("L").convert("RGB"))
        assert not is_coloured(grey)
        assert not shows_a_tattoo(grey)

    @pytest.mark.parametrize("profile", ["basic", "research", "minimal-risk"])
    def test_a_tattoo_waits_for_a_person_whose_decision_the_ledger_keeps(self, tmp_path, profile):
        for name, picture in (("photo1", tattooed(skin(), 0)), ("photo2", skin())):
            (tmp_path / "src" / name).mkdir(parents=True)
            (tmp_path / "src" / name / f"{name}.png").write_bytes(encoded(picture))
        out, ledger = tmp_path / "out", Ledger(tmp_path / "ledger.jsonl")

        def go(**more: object):
            places = {"ledger": ledger, "quarantine": tmp_path / "look"}
            return deidentify_tree(tmp_path / "src", out, profile=load_profile(profile), key=KEY, **places, **more)

        first = go()
        assert [o.status for o in first.outcomes] == ["quarantined", "written"]
        assert "tattoo" in first.outcomes[0].reason
        assert [path.name for path in (tmp_path / "look").iterdir()] == ["000001.png"]
        assert [o.status for o in go(accepted=[1]).outcomes] == ["written", "written"]
        lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
        assert "exception" in [line["action"] for line in lines]

    @pytest.mark.parametrize("sop_class", ["7", "77.1.4", "77.1.7"])
    def test_a_tattoo_in_a_dicom_photograph_waits_for_a_person_and_clean_skin_passes(self, sop_class):
        def photograph(picture: Image.Image, modality: str = "OT") -> bytes:
            side = picture.resize((400, 400))
            ds = image(Who(random.Random(5)), f"1.2.840.10008.5.1.4.1.1.{sop_class}", size=400)
            ds.BitsAllocated = ds.BitsStored = 8
            ds.Modality = modality
            ds.HighBit, ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 7, 3, 0, "RGB"
            ds.PixelData = np.asarray(side).tobytes()
            ds["PixelData"].VR = "OB"
            return save(ds)

        def clean(data: bytes) -> bytes:
            return clean_dicom(data, load_profile("basic"), pseudonyms=Pseudonymiser(KEY), clean_text=clean_text).data

        assert clean(photograph(skin()))
        with pytest.raises(QuarantineError, match="tattoo"):
            clean(photograph(tattooed(skin(), 0)))
        if sop_class == "7":
            assert clean(photograph(tattooed(skin(), 0), "PT")), "fused PET and CT in false colours is no photograph"
