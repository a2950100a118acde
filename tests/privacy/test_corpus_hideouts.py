"""The third hostile corpus, of everything but DICOM: nothing planted gets out, what can be kept is kept as it was."""

from __future__ import annotations

import io
import os
import random
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, ImageOps

from medseg.privacy.deidentify import DeidentifyReport, deidentify_tree, input_files
from medseg.privacy.images import clean_jpeg
from tests.privacy.corpus import Planted, Who, markers
from tests.privacy.corpus.hideouts import make_third_corpus
from tests.privacy.corpus.shades import leaks
from tests.privacy.test_deidentify import KEY, unseen

_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
Cleaned = tuple[Path, list[Planted], dict[str, list[tuple[str, str]]], DeidentifyReport]


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    folder = tmp_path_factory.mktemp("hideouts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planted = make_third_corpus(folder / "src")
    report = deidentify_tree(folder / "src", folder / "out", profile=unseen("research"), key=KEY)
    places: dict[str, list[tuple[str, str]]] = {}
    for name, outcome in zip(input_files(folder / "src"), report.outcomes, strict=True):
        places.setdefault(name.partition("\0")[0], []).append((outcome.status, outcome.place))
    return folder, planted, places, report


def samples(data: bytes) -> np.ndarray:
    """Pixels as a person sees them, colour where alpha is zero as black."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = (
            ImageOps.exif_transpose(Image.open(io.BytesIO(data))) if b"Exif" in data else Image.open(io.BytesIO(data))
        )
        image = image.convert("RGBA") if image.mode in ("P", "1") else image
        pixels = np.array(image)
    if image.mode in ("RGBA", "LA"):
        pixels[pixels[..., -1] == 0] = 0
    return pixels


def test_nothing_planted_is_in_any_copy(cleaned):
    folder, planted, places, _ = cleaned
    found = []
    for item in planted:
        for _, place in places[item.path]:
            data = (folder / "out" / place).read_bytes() if place else b""
            seen = samples(data).tobytes() if place.endswith(_PICTURES) and data else b""
            found += [
                (item.path, identity) for identity in leaks(b"\n".join((place.encode(), data, seen)), item.identities)
            ]
    assert found == []


def test_each_file_has_the_outcome_that_it_should_have(cleaned):
    folder, planted, places, report = cleaned
    assert len({item.path for item in planted}) >= 180
    assert len(report.outcomes) == len(input_files(folder / "src"))
    assert {item.path for item in planted} == set(places)
    wrong = [i.path for i in planted if i.expect != "any" and {status for status, _ in places[i.path]} != {i.expect}]
    assert wrong == []


def test_headers_and_their_voxels_become_one_volume(cleaned):
    folder, planted, places, _ = cleaned
    kept = [i.path for i in planted if i.path.endswith((".nhdr", ".mhd", ".hdr")) and places[i.path][0][1]]
    assert sorted(Path(path).suffix for path in kept) == [".hdr", ".mhd", ".mhd", ".mhd", ".nhdr"]
    for path in kept:
        header = folder / "src" / path
        parts = [i.path for i in planted if Path(i.path).parent == Path(path).parent and i.path != path]
        assert {place for part in parts for place in places[part]} == {*places[path]}
        clean = folder / "out" / places[path][0][1]
        np.testing.assert_array_equal(read(clean), read(header))


def read(path: Path) -> np.ndarray:
    if path.suffix in (".hdr", ".nii"):
        loaded = nib.Nifti1Pair.from_filename(str(path)) if path.suffix == ".hdr" else nib.load(path)
        return np.asarray(loaded.dataobj)
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_pixels_are_as_they_were(cleaned):
    folder, planted, places, _ = cleaned
    compared = 0
    for item in planted:
        [(_, place), *more] = places[item.path]
        if more or not place.endswith(_PICTURES) or item.path.endswith((".webp", ".zip")):
            continue
        before, after = (
            samples((folder / "src" / item.path).read_bytes()),
            samples((folder / "out" / place).read_bytes()),
        )
        np.testing.assert_array_equal(after, before, err_msg=item.path)
        compared += 1
    assert compared >= 60


def test_the_accounts_beside_the_copies_hold_nothing_planted(cleaned):
    folder, planted, _, _ = cleaned
    accounts = b"".join(path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()).lower()
    names = {i for item in planted for i in item.identities if not i.lstrip("-").isdigit()}
    assert [name for name in names if name.lower().encode() in accounts] == []


@pytest.mark.parametrize(
    "options",
    [
        {}, {"quality": 100}, {"optimize": True}, {"progressive": True}, {"quality": 100, "progressive": True},
        {"restart_marker_blocks": 1}, {"restart_marker_rows": 1, "subsampling": 0}, {"mode": "L"}, {"mode": "CMYK"},
    ],
)  # fmt: skip
def test_a_jpeg_in_which_nothing_hides_keeps_its_coded_data(options):
    data = markers.photo(Who(random.Random(3)), **options)
    start = data.rindex(b"\xff\xda")
    assert clean_jpeg(data).endswith(data[start:])


def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    here = os.getcwd()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "notes.txt").write_text("x")
    os.chdir(tmp_path / "src")
    try:
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        Path("lost.png").write_bytes(b"")
    finally:
        os.chdir(here)
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=unseen("basic"), key=KEY)
    assert [outcome.status for outcome in report.outcomes] == ["refused", "refused"]
