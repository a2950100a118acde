"""The face goes, the brain stays: on a drawn head, as volumes, NIfTI files and DICOM series."""

from __future__ import annotations

import gzip
import json
import random

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from medseg.errors import ReadError, RequestError
from medseg.privacy.deface import find_face
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.ledger import Ledger
from medseg.privacy.nifti import clean_nifti, deface_nifti
from medseg.privacy.profile import load_profile
from medseg.privacy.volumes import clean_meta_image, clean_nrrd
from tests.privacy.corpus import Who, save
from tests.privacy.heads import STEP, head, mr_series

KEY = bytes(range(32))


def where(affine: np.ndarray, point: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(np.rint(np.linalg.inv(affine) @ [*point, 1])[:3].astype(int))


@pytest.mark.parametrize("ct", [False, True])
@pytest.mark.parametrize("tilt", [-12, 0, 12])
def test_eyes_nose_and_chin_go_and_no_brain_voxel_does(ct, tilt):
    volume, affine, brain = head(ct=ct)
    air = -1000 if ct else 0
    volume = ndimage.rotate(volume, tilt, axes=(1, 2), reshape=False, order=0, cval=air)
    brain = ndimage.rotate(brain.astype(np.uint8), tilt, axes=(1, 2), reshape=False, order=0) > 0
    gone = find_face(volume, affine).mask(volume.shape, affine)
    assert not gone[brain].any()
    turned = np.zeros(volume.shape, np.int16)
    for number, point in enumerate([(0, 105, -45), (0, 75, -100), (30, 86, -32)], start=1):
        i, j, k = where(affine, point)
        turned[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = number
    turned = ndimage.rotate(turned, tilt, axes=(1, 2), reshape=False, order=0)
    assert all(gone[turned == number].all() for number in (1, 2))
    assert gone[turned == 3].mean() > 0.4


def test_axes_may_be_stored_in_any_order_and_direction():
    volume, affine, brain = head()
    expected = find_face(volume, affine).mask(volume.shape, affine)
    flipped = nib.Nifti1Image(volume, affine).as_reoriented([[2, -1], [0, 1], [1, -1]])
    gone = find_face(np.asarray(flipped.dataobj), flipped.affine).mask(flipped.shape, flipped.affine)
    back = nib.as_closest_canonical(nib.Nifti1Image(gone.astype(np.uint8), flipped.affine))
    assert np.mean((np.asarray(back.dataobj) > 0) != expected) < 0.01
    assert not (np.asarray(back.dataobj) > 0)[brain].any()


def test_what_is_no_whole_head_is_refused_not_guessed_at():
    volume, affine, _ = head()
    with pytest.raises(ReadError, match="whole head"):
        find_face(volume[:, :, :70], affine)
    with pytest.raises(ReadError, match="whole head"):
        find_face(np.zeros((60, 60, 60)), np.diag([3.0, 3, 3, 1]))
    with pytest.raises(ReadError, match="whole head"):
        find_face(volume, affine @ np.diag([2.0, 2, 2, 1]))


def test_a_skull_stripped_brain_stays_as_it_is():
    volume, affine, brain = head()
    data = gzip.compress(nib.Nifti1Image(np.where(brain, volume, 0).astype(np.int16), affine).to_bytes())
    stripped = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(clean_nifti(data))).dataobj)
    np.testing.assert_array_equal(stripped, np.where(brain, volume, 0))


def test_a_nifti_head_is_refused_or_defaced_and_the_rest_stays_bit_for_bit():
    volume, affine, brain = head()
    data = nib.Nifti1Image(volume, affine).to_bytes()
    with pytest.raises(ReadError, match="--deface"):
        clean_nifti(data)
    after = np.asarray(nib.Nifti1Image.from_bytes(deface_nifti(data)[0]).dataobj)
    gone = find_face(volume, affine).mask(volume.shape, affine)
    np.testing.assert_array_equal(after[~gone], volume[~gone])
    assert len(np.unique(after[gone])) == 1
    np.testing.assert_array_equal(after[brain], volume[brain])
    passed = nib.Nifti1Image.from_bytes(clean_nifti(data, acknowledge_faces=True))
    np.testing.assert_array_equal(np.asarray(passed.dataobj), volume)


def test_the_ledger_counts_nifti_heads_that_were_defaced(tmp_path):
    volume, affine, brain = head()
    (tmp_path / "src").mkdir()
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "src" / "a.nii.gz")
    nib.save(nib.Nifti1Image(np.where(brain, volume, 0).astype(np.int16), affine), tmp_path / "src" / "b.nii.gz")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    deidentify_tree(
        tmp_path / "src", tmp_path / "out", profile=load_profile("basic"), key=KEY, ledger=ledger, deface=True
    )
    assert json.loads(ledger.path.read_text().splitlines()[0])["facts"]["files"] == 1


def test_heads_as_nrrd_and_mha_are_refused():
    volume, _, _ = head()
    sizes, raw = " ".join(map(str, volume.shape)), volume.tobytes(order="F")
    nrrd = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nspace: left-posterior-superior\nspace directions: "
        f"({STEP},0,0) (0,{STEP},0) (0,0,{STEP})\nendian: little\nencoding: raw\n\n"
    ).encode() + raw
    mha = (
        f"ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\n"
        f"ElementSpacing = {STEP} {STEP} {STEP}\nElementDataFile = LOCAL\n"
    ).encode() + raw
    for clean, data in ((clean_nrrd, nrrd), (clean_meta_image, mha)):
        with pytest.raises(ReadError, match="Save it as NIfTI"):
            clean(data)
        assert clean(data, acknowledge_faces=True)


def test_a_dicom_series_of_a_head_is_defaced_as_a_whole_and_the_ledger_says_so(tmp_path):
    pytest.importorskip("rapidocr_onnxruntime")  # Without it the ledger says, too, that nothing looked for text.
    volume, affine, brain = head()
    (tmp_path / "src").mkdir()
    for number, ds in enumerate(mr_series(volume, affine, Who(random.Random(3)))):
        (tmp_path / "src" / f"{(number * 37) % 113:04d}").write_bytes(save(ds))
    profile, ledger = load_profile("research"), Ledger(tmp_path / "ledger.jsonl")
    refused = deidentify_tree(tmp_path / "src", tmp_path / "no", profile=profile, key=KEY)
    assert not refused.written
    assert "--deface" in refused.refused[0].reason
    done = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY, ledger=ledger, deface=True)
    assert len(done.written) == volume.shape[2]
    slices = sorted((pydicom.dcmread(tmp_path / "out" / o.place) for o in done.written), key=lambda d: d.InstanceNumber)
    after = np.stack([ds.pixel_array.T for ds in slices], axis=2)
    gone = after != volume
    assert 0.05 < gone.mean() < 0.3
    assert not gone[brain].any()
    assert gone[where(affine, (0, 105, -45))]
    assert slices[0].RecognizableVisualFeatures == "NO"
    assert "113102" in {item.CodeValue for item in slices[0].DeidentificationMethodCodeSequence}
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["defaced", "deidentified"]
    again = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY, deface=True)
    assert again.written == done.written


def test_a_head_whose_series_has_gaps_stays_refused(tmp_path):
    volume, affine, _ = head()
    (tmp_path / "src").mkdir()
    for number, ds in enumerate(mr_series(volume, affine, Who(random.Random(4)))):
        if not 40 < number < 50:
            (tmp_path / "src" / f"{number:04d}").write_bytes(save(ds))
    done = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("minimal-risk"), key=KEY)
    assert not done.written
    assert "even volume" in done.refused[0].reason


def test_faces_cannot_both_go_and_stay(tmp_path):
    (tmp_path / "src").mkdir()
    with pytest.raises(RequestError, match="both"):
        deidentify_tree(
            tmp_path / "src",
            tmp_path / "out",
            profile=load_profile("basic"),
            key=KEY,
            deface=True,
            acknowledge_faces=True,
        )


def test_a_real_skull_stripped_brain_is_untouched(test_data):
    image = nib.load(test_data / "ms_open_flair" / "patient07" / "FLAIR_MNI.nii.gz")
    before = np.asarray(image.dataobj)
    after = np.asarray(nib.Nifti1Image.from_bytes(deface_nifti(image.to_bytes())[0]).dataobj)
    np.testing.assert_array_equal(after, before)
