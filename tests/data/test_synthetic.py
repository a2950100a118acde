from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from medseg.data.dicom import find_series
from medseg.data.readers import read_label, read_volume
from medseg.data.synthetic import CohortFacts, make_cohort
from medseg.data.synthetic_ct import draw_phantom, draw_subject
from medseg.data.synthetic_identity import Identities
from medseg.data.synthetic_skin import draw_photograph
from medseg.errors import GeometryError, RequestError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortFacts:
    return make_cohort(tmp_path_factory.mktemp("cohort"), patients=5, pictures=4, seed=3)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _bytes(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_every_listed_identity_stands_in_the_files_exactly_as_listed(cohort: CohortFacts) -> None:
    content = b"\n".join(_bytes(path) for path in _files(cohort.planted.parent / "source"))
    planted = cohort.planted.read_text(encoding="utf-8").splitlines()
    assert [text for text in planted if text.encode() not in content] == []
    assert len(planted) == cohort.identities == len({text.lower() for text in planted})
    assert min(map(len, planted)) >= 6


def test_the_patients_names_and_numbers_stand_in_file_and_folder_names(cohort: CohortFacts) -> None:
    planted = cohort.planted.read_text(encoding="utf-8").splitlines()
    names = [p.name for p in cohort.ct.iterdir()] + [p.stem for p in (cohort.skin / "images").iterdir()]
    for name in names:
        surname, given, number = name.split("_")
        assert {surname, f"{surname}^{given}", number} <= set(planted)


def test_identities_stand_in_nested_and_private_places_of_every_file(cohort: CohortFacts) -> None:
    path = next(cohort.ct.rglob("IM*.dcm"))
    dataset = pydicom.dcmread(path)
    inner = dataset.private_block(0x0019, "ZX SCANNER HEADER")[0x11].value[0]
    assert inner.ReferencedPatientSequence[0].PatientName == dataset.PatientName
    assert (
        dataset.RequestAttributesSequence[0]
        .ReferencedStudySequence[0]
        .ReferencedSOPInstanceUID.startswith(dataset.StudyInstanceUID)
    )
    assert str(dataset.PatientName).encode() in dataset.preamble
    picture = Image.open(next((cohort.skin / "images").iterdir()))
    assert {1, 2, 3, 4, 0x1C, 0x1D} <= set(picture.getexif().get_ifd(0x8825))
    assert picture.info["comment"]
    header = nib.load(next(cohort.ct.rglob("lesions.nii.gz"))).header
    assert header["descrip"].item()


def test_a_series_is_read_as_hounsfield_units_on_the_grid_of_its_label_map(cohort: CohortFacts) -> None:
    shapes, lesions = set(), []
    for study in sorted(cohort.ct.glob("*/*")):
        try:
            volume = read_volume(study / "ct")
        except GeometryError:
            continue
        label, geometry = read_label(study / "lesions.nii.gz")
        assert volume.modality == "CT"
        assert volume.geometry.corner_distance(geometry) < 0.01
        assert -1024 <= volume.array.min() < -900
        assert 300 < volume.array.max() < 2000
        if label.any():
            inside = volume.array[0][label == 1]
            assert -40 < np.median(inside) < 110
            lesions.append(int(label.sum()))
        shapes.add((volume.shape, volume.spacing))
    assert len(shapes) >= 4
    assert len(lesions) >= 4


def test_one_series_is_broken_and_follow_ups_share_their_patient(cohort: CohortFacts) -> None:
    found, refused = find_series(cohort.ct)
    assert len(found) == cohort.series == 7
    assert len({series.patient for series in found}) == cohort.patients == 5
    counts = sorted(len(list(home.iterdir())) for home in cohort.ct.iterdir())
    assert counts == [1, 1, 1, 2, 2]
    refusals = len(refused)
    for study in cohort.ct.glob("*/*"):
        try:
            read_volume(study / "ct")
        except GeometryError:
            refusals += 1
    assert refusals >= cohort.broken_series == 1


def test_some_patients_have_no_lesion(cohort: CohortFacts) -> None:
    labels = [nib.load(path).get_fdata() for path in cohort.ct.rglob("lesions.nii.gz")]
    assert cohort.without_lesions == 1
    assert any(not label.any() for label in labels)


def test_photographs_and_masks_are_pairs_of_one_size(cohort: CohortFacts) -> None:
    images = sorted((cohort.skin / "images").iterdir())
    assert len(images) == cohort.pictures
    for path in images:
        mask = np.asarray(Image.open(cohort.skin / "masks" / f"{path.stem}_segmentation.png"))
        assert Image.open(path).size == mask.shape[::-1]
        assert set(np.unique(mask)) == {0, 255}
        assert 0.02 < (mask > 0).mean() < 0.6


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def digests(name: str, seed: int) -> dict[str, str]:
        facts = make_cohort(tmp_path / name, patients=1, pictures=1, seed=seed)
        source = facts.planted.parent
        return {str(p.relative_to(source)): hashlib.sha256(p.read_bytes()).hexdigest() for p in _files(source)}

    first = digests("a", 1)
    assert first == digests("b", 1)
    assert first != digests("c", 2)
    assert not [name for name in first if "tmp" in name or "lock" in name]


def test_an_existing_cohort_is_found_again_and_another_one_is_not_overwritten(cohort: CohortFacts) -> None:
    out = cohort.planted.parent
    before = cohort.planted.stat().st_mtime_ns
    assert make_cohort(out, patients=5, pictures=4, seed=3) == cohort
    assert cohort.planted.stat().st_mtime_ns == before
    with pytest.raises(RequestError, match="something else"):
        make_cohort(out, patients=6, pictures=4, seed=3)
    with pytest.raises(RequestError, match="at least 1 patient"):
        make_cohort(out, patients=0)


def test_an_interrupted_cohort_leaves_no_source_folder_and_starts_again(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_cohort(tmp_path, patients=1, pictures=1, progress=stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".source.abc.tmp").mkdir()
    assert make_cohort(tmp_path, patients=1, pictures=0).series == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cohort.json", "planted.txt", "source"]


def test_dates_moved_into_the_past_never_meet_a_planted_one() -> None:
    identities = Identities(np.random.default_rng(0))
    dates = [identities.visit().date for _ in range(60)]
    assert len(set(dates)) == 60
    assert all(text.startswith("2013") for text in dates)


def test_a_follow_up_shows_the_same_body() -> None:
    generator = np.random.default_rng(5)
    subject = draw_subject(generator, healthy=False)
    first, second = draw_phantom(subject, generator), draw_phantom(subject, generator, growth=1.3)
    assert first.spacing == second.spacing
    assert np.corrcoef(first.hu.ravel(), second.hu.ravel())[0, 1] > 0.85
    assert second.label.sum() > first.label.sum() > 0


def test_no_threshold_finds_the_lesions() -> None:
    generator = np.random.default_rng(7)
    best = []
    for _ in range(4):
        phantom = draw_phantom(draw_subject(generator, healthy=False), generator)
        inside = phantom.hu[phantom.label == 1]
        low, high = np.percentile(inside, (10, 90))
        band = (phantom.hu >= low) & (phantom.hu <= high)
        best.append(2 * (band & (phantom.label == 1)).sum() / (band.sum() + inside.size))
    assert max(best) < 0.4


def test_a_photograph_has_its_lesion_near_the_middle() -> None:
    for seed in range(6):
        photograph = draw_photograph(np.random.default_rng(seed))
        assert photograph.rgb.dtype == np.uint8
        assert photograph.rgb.shape[:2] == photograph.mask.shape
        middle = np.argwhere(photograph.mask).mean(axis=0) / photograph.mask.shape
        assert np.abs(middle - 0.5).max() < 0.3
