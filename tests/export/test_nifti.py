import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryError, LabelError
from medseg.export import write_nifti
from tests.examples import examples


def _oblique(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(generator.uniform(0.4, 5.0, 3))
    affine[:3, 3] = generator.uniform(-200, 200, 3)
    return affine


@given(seed=st.integers(0, 10_000))
@example(seed=350)
@settings(max_examples=examples(25), deadline=None)
def test_every_voxel_keeps_its_value_and_its_place_in_sform_and_qform(seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("nifti") / "case.nii.gz"
    generator = np.random.default_rng(seed)
    label_map = generator.integers(0, 4, size=(5, 4, 3)).astype(np.int64)
    affine = _oblique(seed)
    write_nifti(label_map, affine, path)
    image = nib.load(path)
    assert np.array_equal(np.asanyarray(image.dataobj), label_map)
    corners = np.array([[0, 0, 0, 1], [4, 3, 2, 1]]).T
    held = [image.get_sform(), *([image.get_qform()] if image.header["qform_code"] else [])]
    for stored in held:
        assert np.abs(stored @ corners - affine @ corners).max() < 1e-3


def test_a_turn_that_the_quaternion_cannot_tell_sets_only_the_sform(tmp_path):
    codes = {}
    for seed in (3, 350):
        write_nifti(np.ones((5, 4, 3), dtype=np.uint8), _oblique(seed), tmp_path / "case.nii")
        codes[seed] = int(nib.load(tmp_path / "case.nii").header["qform_code"])
    assert codes == {3: 1, 350: 0}


def test_itk_reads_the_same_grid(tmp_path):
    import SimpleITK as sitk

    label_map = np.arange(24).reshape(4, 3, 2)
    affine = _oblique(3)
    write_nifti(label_map, affine, tmp_path / "case.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "case.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), label_map)
    lps = np.array(image.TransformIndexToPhysicalPoint((3, 2, 1)))
    assert np.allclose(lps * (-1, -1, 1), (affine @ [3, 2, 1, 1])[:3], atol=1e-3)


def test_a_sheared_affine_sets_only_the_sform(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.4
    write_nifti(np.ones((2, 2, 2), dtype=np.uint8), affine, tmp_path / "case.nii")
    image = nib.load(tmp_path / "case.nii")
    assert np.allclose(image.affine, affine)
    assert int(image.header["qform_code"]) == 0


def test_the_same_label_map_gives_the_same_bytes_and_an_empty_description(tmp_path):
    label_map = np.eye(4, dtype=np.uint8)[..., np.newaxis]
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(label_map, np.eye(4), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    header = nib.load(tmp_path / "a.nii.gz").header
    texts = [header[f].item() for f in ("descrip", "db_name", "aux_file", "intent_name")]
    assert texts == [b""] * 4
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_probabilities_are_written_as_float32(tmp_path):
    write_nifti(np.full((2, 2, 2), 0.25), np.eye(4), tmp_path / "p.nii")
    image = nib.load(tmp_path / "p.nii")
    assert image.get_data_dtype() == np.float32
    assert np.asanyarray(image.dataobj)[0, 0, 0] == np.float32(0.25)


def test_negative_labels_and_flat_affines_are_refused(tmp_path):
    with pytest.raises(LabelError, match="found -1"):
        write_nifti(np.full((2, 2, 2), -1), np.eye(4), tmp_path / "a.nii")
    with pytest.raises(GeometryError):
        write_nifti(np.zeros((2, 2, 2), dtype=np.uint8), np.diag([1.0, 1, 0, 1]), tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []
