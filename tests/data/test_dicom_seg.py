"""DICOM SEG as labels: every kind of it, every way it can refer to its image, and what is refused."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, generate_uid

from medseg.data.dicom import find_series, read_series, series_geometry
from medseg.data.dicom_labels import Target, paint_labels, read_label_object
from medseg.data.manifest import read_manifest
from medseg.data.nifti import save_nifti
from medseg.data.readers import read_label
from medseg.errors import GeometryError, LabelError, ReadError, RequestError
from tests.data.dicom_factory import Series, make_enhanced, make_series
from tests.data.seg_factory import KINDS, NAMES, import_structures, make_seg, segment_numbers, source_images, write_seg
from tests.examples import examples

NUMBERS = {name: number for number, name in enumerate(NAMES, start=1)}


def _series(tmp_path: Path, **facts) -> tuple[Series, list[Path]]:
    series = make_series(**facts)
    source_images(series)
    return series, series.write(tmp_path / "ct")


def _paint(path: Path, folder: Path, *, values: dict[str, int] = NUMBERS, order: tuple[int, ...] = ()):
    """The SEG's label map on the one series of a folder, and the notes."""
    (series,) = (s for s in find_series(folder)[0])
    target = Target(series_geometry(series), series.headers)
    return paint_labels([read_label_object(path)], target, values, order=order)


@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(KINDS),
    order=st.permutations(range(3)),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
)
@settings(max_examples=examples(8), deadline=None)
def test_every_voxel_lies_where_highdicom_put_it_however_the_series_lies(seed, kind, order, spacing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seg")
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rotation[:, 2] *= np.sign(np.linalg.det(rotation))
    series = make_series((3, 4, 5), seed=seed, orientation=(*rotation[:, 0], *rotation[:, 1]), spacing=spacing)
    names = [f"IM{number}.dcm" for number in order]
    series.write(folder / "ct", names=names)
    voxels = segment_numbers((3, 4, 5), seed=seed)
    shuffled = [source_images(series)[number] for number in order]
    path = write_seg(make_seg(shuffled, voxels[list(order)], NAMES, kind=kind), folder / "seg.dcm")
    label, _ = _paint(path, folder / "ct")
    grid = series_geometry(find_series(folder / "ct")[0][0])
    expected = np.linalg.inv(series.affine) @ grid.affine  # our index to (column, row, slice)
    index = np.indices(label.shape).reshape(3, -1)
    column, row, plane = np.rint(expected[:3] @ np.vstack([index, np.ones(index.shape[1])])).astype(int)
    assert np.array_equal(label.ravel(), voxels[plane, row, column])
    read, own = read_label(path)
    world = own.affine @ np.vstack([np.argwhere(read == 2).T, np.ones((read == 2).sum())])
    ours = grid.affine @ np.vstack([np.argwhere(label == 2).T, np.ones((label == 2).sum())])
    assert _apart(world, ours) < 1e-3


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance in mm of each point from the nearest of the others."""
    distances = np.linalg.norm(first[:3, :, np.newaxis] - second[:3, np.newaxis, :], axis=0)
    return float(max(distances.min(axis=0).max(), distances.min(axis=1).max()))


def test_segments_that_overlap_are_refused_until_their_order_is_given(tmp_path):
    series, _ = _series(tmp_path)
    stacked = np.zeros((5, 6, 7, 2), np.uint8)
    stacked[1, 1:4, 1:4, 0] = stacked[1, 3:6, 3:6, 1] = 1
    path = write_seg(make_seg(source_images(series), stacked, NAMES), tmp_path / "seg.dcm")
    with pytest.raises(LabelError, match=r"labels 1 and 2 in 1 voxels.*--structure in order of priority"):
        _paint(path, tmp_path / "ct")
    first, notes = _paint(path, tmp_path / "ct", order=(1, 2))
    second, _ = _paint(path, tmp_path / "ct", order=(2, 1))
    assert (first[3, 3, 1], second[3, 3, 1]) == (1, 2)
    assert ((first > 0) == (second > 0)).all()
    assert any("overlapping structures" in note for note in notes)
    out = tmp_path.with_name(f"{tmp_path.name}_out")
    report = import_structures(tmp_path, out, structures=("oedema", "lesion=tumour"))
    assert read_manifest(out / "manifest.csv").card.label_names() == {1: "oedema", 2: "tumour"}
    assert any("the first in the order of --structure won (labels 1 and 2 in 1 voxels)" in n for n in report.notes)
    with pytest.raises(RequestError, match="structures overlap"):
        import_structures(tmp_path, out.with_name(f"{out.name}2"))


def test_fractions_become_the_label_of_the_largest_where_it_beats_the_rest(tmp_path):
    series, _ = _series(tmp_path)
    shares = np.zeros((5, 6, 7, 2), np.float32)
    shares[1, 1, :5] = [(0.4, 0.35), (0.3, 0.3), (0.3, 0.45), (0.5, 0), (0.05, 0.9)]
    path = write_seg(make_seg(source_images(series), shares, NAMES, kind="FRACTIONAL"), tmp_path / "seg.dcm")
    label, notes = _paint(path, tmp_path / "ct")
    assert label[:5, 1, 1].tolist() == [1, 0, 2, 1, 2]
    assert "largest fraction" in notes[0]
    only, _ = _paint(path, tmp_path / "ct", values={"lesion": 7})
    assert only[:5, 1, 1].tolist() == [7, 0, 0, 7, 0]


def test_fractions_that_overlap_count_from_one_half(tmp_path):
    series, _ = _series(tmp_path)
    shares = np.zeros((5, 6, 7, 2), np.float32)
    shares[1, 1, :3] = [(0.9, 0.4), (0.3, 0.8), (0.45, 0.2)]
    path = write_seg(make_seg(source_images(series), shares, NAMES, kind="FRACTIONAL"), tmp_path / "seg.dcm")
    label, notes = _paint(path, tmp_path / "ct")
    assert label[:3, 1, 1].tolist() == [1, 2, 0]
    assert "one half or more" in notes[0]


def test_a_frame_of_reference_alone_is_reference_enough(tmp_path):
    series, _ = _series(tmp_path)
    voxels = segment_numbers()
    content = make_seg(source_images(series), voxels, NAMES)
    del content.ReferencedSeriesSequence
    for group in content.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    write_seg(content, tmp_path / "seg.dcm")
    label, _ = _paint(tmp_path / "seg.dcm", tmp_path / "ct")
    assert np.array_equal(label, voxels.transpose(2, 1, 0))
    assert import_structures(tmp_path, tmp_path.with_name(f"{tmp_path.name}_out")).labelled == 1


def test_an_instance_alone_is_reference_enough(tmp_path):
    series, _ = _series(tmp_path)
    voxels = segment_numbers()
    content = make_seg(source_images(series), voxels, NAMES)
    content.FrameOfReferenceUID = generate_uid()
    for group in content.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    write_seg(content, tmp_path / "seg.dcm")
    label, _ = _paint(tmp_path / "seg.dcm", tmp_path / "ct")
    assert np.array_equal(label, voxels.transpose(2, 1, 0))


def test_a_frame_of_an_enhanced_image_alone_is_reference_enough(tmp_path):
    series = make_series()
    source_images(series)
    image = make_enhanced(series, order=[3, 1, 0, 4, 2])
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(image, keyword, "")
    image.StudyDate = image.StudyTime = None
    (tmp_path / "ct").mkdir()
    image.save_as(tmp_path / "ct" / "mf.dcm", enforce_file_format=True)
    voxels = segment_numbers()
    content = make_seg([image], voxels[[3, 1, 0, 4, 2]], NAMES)
    content.FrameOfReferenceUID = generate_uid()
    for group in content.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    write_seg(content, tmp_path / "seg.dcm")
    label, _ = _paint(tmp_path / "seg.dcm", tmp_path / "ct")
    assert np.array_equal(label, voxels.transpose(2, 1, 0))


def test_another_frame_of_reference_with_another_place_is_refused_with_both_geometries(tmp_path):
    series, _ = _series(tmp_path)
    content = make_seg(source_images(series), segment_numbers(), NAMES)
    content.FrameOfReferenceUID = generate_uid()
    for group in content.PerFrameFunctionalGroupsSequence:
        x, y, z = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [x + 3, y, z]
    write_seg(content, tmp_path / "seg.dcm")
    with pytest.raises(GeometryError, match=r"another frame of reference.*image has shape 7 x 6 x 5.*SEG has shape"):
        _paint(tmp_path / "seg.dcm", tmp_path / "ct")


def test_on_an_image_that_is_no_dicom_series_every_frame_has_to_lie_on_its_voxels(tmp_path):
    series, files = _series(tmp_path)
    voxels = segment_numbers()
    path = write_seg(make_seg(source_images(series), voxels, NAMES), tmp_path / "seg.dcm")
    volume = read_series(files)
    for name, shift in (("same", 0.0), ("beside", 0.3)):
        affine = volume.affine.copy()
        affine[0, 3] += shift
        save_nifti(volume.array[0], affine, tmp_path / f"{name}.nii.gz")
    label, _ = read_label(path, image=tmp_path / "same.nii.gz")
    assert np.array_equal(label, voxels.transpose(2, 1, 0))
    with pytest.raises(GeometryError, match=r"the image has none.*the image has shape.*the SEG has shape"):
        read_label(path, image=tmp_path / "beside.nii.gz")


def test_another_grid_in_the_same_world_is_resampled_by_the_nearest_voxel_and_said(tmp_path):
    fine = make_series((9, 16, 14), spacing=(0.4, 0.35, 1.25))
    coarse, _ = _series(tmp_path, shape=(5, 8, 7))
    for image in source_images(fine):
        image.FrameOfReferenceUID, image.StudyInstanceUID = coarse.frame, coarse.study
    voxels = np.zeros((9, 16, 14), np.uint8)
    voxels[2:6, 4:10, 2:8] = 1
    content = make_seg(fine.slices, voxels, ["lesion"])
    write_seg(content, tmp_path / "seg.dcm")
    label, notes = _paint(tmp_path / "seg.dcm", tmp_path / "ct")
    # Closed form: voxel (i, j, k) of the image lies on voxel (2i, 2j, 2k) of the SEG.
    assert np.array_equal(label, voxels.transpose(2, 1, 0)[::2, ::2, ::2])
    assert any("resampled onto the image's by the nearest voxel: from shape 14 x 16 x 4" in note for note in notes)


@pytest.mark.parametrize("planes", [1, 2], ids=["one plane", "two planes"])
@pytest.mark.parametrize("stated", [True, False], ids=["distance stated", "thickness only"])
def test_a_thick_slice_of_a_segmentation_stands_for_all_thin_slices_of_the_image_in_it(planes, stated, tmp_path):
    fine, _ = _series(tmp_path, shape=(9, 8, 7), spacing=(0.8, 0.7, 1.0))
    coarse = make_series((3, 8, 7), spacing=(0.8, 0.7, 3.0), origin=(-10.0, -20.0, 31.0))
    for image in source_images(coarse):
        image.FrameOfReferenceUID, image.StudyInstanceUID = fine.frame, fine.study
    voxels = np.zeros((3, 8, 7), np.uint8)
    voxels[1 : 1 + planes, 2:5, 3:6] = 1
    content = make_seg(coarse.slices, voxels, ["lesion"])
    measures = content.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = 3.0
    if not stated:
        del measures.SpacingBetweenSlices
    label, _ = _paint(write_seg(content, tmp_path / "seg.dcm"), tmp_path / "ct")
    assert np.array_equal(label, np.repeat(voxels, 3, axis=0).transpose(2, 1, 0))


def test_a_segment_that_vanishes_in_resampling_is_refused(tmp_path):
    fine = make_series((9, 16, 14), spacing=(0.4, 0.35, 1.25))
    coarse, _ = _series(tmp_path, shape=(5, 8, 7))
    for image in source_images(fine):
        image.FrameOfReferenceUID = coarse.frame
    voxels = np.zeros((9, 16, 14), np.uint8)
    voxels[2:6, 4:10, 2:8], voxels[3, 3, 3] = 1, 2
    write_seg(make_seg(fine.slices, voxels, NAMES), tmp_path / "seg.dcm")
    with pytest.raises(GeometryError, match="1 of 2 labels have no voxel left"):
        _paint(tmp_path / "seg.dcm", tmp_path / "ct")


def test_labels_outside_the_image_are_left_out_and_said_and_a_seg_beside_it_is_refused(tmp_path):
    series = make_series()
    voxels = np.ones((5, 6, 7), np.uint8)
    write_seg(make_seg(source_images(series), voxels, ["lesion"]), tmp_path / "seg.dcm")
    for image in series.slices[:2]:
        image.save_as(tmp_path / "unused.dcm")
    series.slices = series.slices[2:]
    series.write(tmp_path / "ct")
    label, notes = _paint(tmp_path / "seg.dcm", tmp_path / "ct")
    assert label.all()
    assert notes == ("84 labelled voxels of a SEG lie outside the image and are left out",)
    voxels[2:] = 0
    (tmp_path / "unused.dcm").unlink()
    again = make_series()
    for image in source_images(again):
        image.FrameOfReferenceUID = series.frame
    write_seg(make_seg(again.slices, voxels, ["lesion"]), tmp_path / "seg.dcm")
    with pytest.raises(GeometryError, match="all 84 labelled voxels"):
        _paint(tmp_path / "seg.dcm", tmp_path / "ct")


def test_what_highdicom_refuses_but_hospitals_have_is_read(tmp_path):
    series, _ = _series(tmp_path)
    voxels = segment_numbers(values=1)
    content = make_seg(source_images(series), voxels)
    write_seg(content, tmp_path / "little.dcm")
    big = pydicom.dcmread(tmp_path / "little.dcm")
    assert sum(1 for _ in big.iterall()) > 50  # every value is parsed, so that it can be written in another order
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "big.dcm", big, implicit_vr=False, little_endian=False, force_encoding=True)
    with pytest.raises(ValueError, match="ittle"):
        hd.seg.segread(tmp_path / "big.dcm")
    poor = pydicom.dcmread(tmp_path / "little.dcm")
    for keyword in ("SegmentAlgorithmType", "SegmentedPropertyTypeCodeSequence", "SegmentLabel"):
        del poor.SegmentSequence[0][keyword]
    poor.save_as(tmp_path / "poor.dcm")
    with pytest.raises(AttributeError):
        hd.seg.segread(tmp_path / "poor.dcm")
    for name, key in (("big", "lesion"), ("poor", "segment 1")):
        label, _ = _paint(tmp_path / f"{name}.dcm", tmp_path / "ct", values={key: 1})
        assert np.array_equal(label, voxels.transpose(2, 1, 0))


def test_frames_of_bits_that_end_within_a_byte_are_whole(tmp_path):
    series, _ = _series(tmp_path, shape=(4, 5, 6))
    voxels = segment_numbers((4, 5, 6))
    content = make_seg(source_images(series), voxels, NAMES)
    assert int(content.Rows) * int(content.Columns) % 8
    label, _ = _paint(write_seg(content, tmp_path / "seg.dcm"), tmp_path / "ct")
    assert np.array_equal(label, voxels.transpose(2, 1, 0))


def test_a_label_map_with_more_frames_than_it_describes_is_refused(tmp_path):
    series, _ = _series(tmp_path)
    content = make_seg(source_images(series), segment_numbers(values=1), kind="LABELMAP")
    content.NumberOfFrames = 4
    content.PerFrameFunctionalGroupsSequence = list(content.PerFrameFunctionalGroupsSequence)[:4]
    with pytest.raises(ReadError, match="expected 4 frames; found 5"):
        _paint(write_seg(content, tmp_path / "seg.dcm"), tmp_path / "ct")


def test_a_fractional_segmentation_whose_scale_is_damaged_is_refused(tmp_path):
    series, _ = _series(tmp_path)
    fractions = segment_numbers(values=1).astype(float)
    path = write_seg(make_seg(source_images(series), fractions, kind="FRACTIONAL"), tmp_path / "seg.dcm")
    content = path.read_bytes()
    assert content.count(b"\x62\x00\x0e\x00US") == 1
    path.write_bytes(content.replace(b"\x62\x00\x0e\x00US", b"\x62\x00\x0e\x00U\x80"))
    with pytest.raises(ReadError, match="damaged"):
        _paint(path, tmp_path / "ct")


def test_damaged_segmentations_are_refused_with_their_true_reason(tmp_path):
    series, _ = _series(tmp_path)
    content = make_seg(source_images(series), segment_numbers(values=1))
    path = write_seg(content, tmp_path / "seg.dcm")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(ReadError, match=r"truncated|damaged"):
        _paint(path, tmp_path / "ct")
    pixels, content.PixelData = content.PixelData, None
    write_seg(content, path)
    with pytest.raises(ReadError, match="truncated"):
        _paint(path, tmp_path / "ct")
    content.PixelData = pixels
    for group in (*content.SharedFunctionalGroupsSequence, *content.PerFrameFunctionalGroupsSequence):
        group.pop("SegmentIdentificationSequence", None)
    write_seg(content, path)
    with pytest.raises(ReadError, match="says no segment"):
        _paint(path, tmp_path / "ct", values={"lesion": 1})
    del content.SegmentSequence
    write_seg(content, path)
    with pytest.raises(ReadError, match="describes no segment"):
        read_label_object(path)
    with pytest.raises(ReadError, match="expected a DICOM SEG"):
        read_label(next((tmp_path / "ct").iterdir()))


def test_planes_that_span_more_than_fits_into_memory_are_refused(tmp_path):
    content = make_seg(source_images(make_series()), segment_numbers(values=1))
    content.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [-10, -20, -1e12]
    with pytest.raises(GeometryError, match="nothing that large is read"):
        read_label(write_seg(content, tmp_path / "seg.dcm"))


@pytest.mark.parametrize(("name", "voxels"), [
    ("dcmqi/24x38x3/seg/label.seg", 315),
    ("dcmqi/liver.dcm", 107098),
    ("highdicom/seg_image_ct_binary.dcm", 638),
    ("highdicom/seg_image_ct_binary_fractional.dcm", 638),
    ("highdicom/seg_image_ct_true_fractional.dcm", 638),
    ("highdicom/seg_image_cr_binary.dcm", 151),
    ("highdicom/seg_image_ct_binary_single_frame.dcm", 1832),
])  # fmt: skip
def test_real_segmentations_have_highdicom_s_voxels(test_data, name, voxels):
    path = test_data / "dicom_seg_small" / name
    label, grid = read_label(path)
    assert (label > 0).sum() == voxels
    seg = hd.seg.segread(path)
    if "cr_binary" in name:
        assert np.array_equal(label.T, seg.get_stored_frames()[0])
        return
    volume = seg.get_volume()
    expected = volume.array[..., 0] >= (0.5 if seg.segmentation_type.value == "FRACTIONAL" else 1)
    theirs = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine @ np.vstack([np.argwhere(expected).T, np.ones(voxels)])
    ours = np.argwhere(label).T if label.ndim == 3 else np.vstack([np.argwhere(label).T, np.zeros(voxels)])
    found = grid.affine @ np.vstack([ours, np.ones(voxels)])
    assert np.abs(_sorted(found) - _sorted(theirs)).max() < 1e-3


def _sorted(points: np.ndarray) -> np.ndarray:
    rounded = np.round(points[:3].T, 3) + 0.0
    return rounded[np.lexsort(rounded.T)]


def test_tiles_of_a_slide_are_refused(test_data):
    for path in sorted((test_data / "dicom_seg_small" / "highdicom").glob("seg_image_sm_*.dcm")):
        with pytest.raises(ReadError, match="tiles of a microscopy slide"):
            read_label_object(path)
