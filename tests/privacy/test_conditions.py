"""Attributes that a copy must have because something else of its source is gone, and flags that are only flags."""

from __future__ import annotations

import random
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg.privacy.deidentify import deidentify_tree, input_files
from tests.privacy.blind import archive
from tests.privacy.blind.people import Planter
from tests.privacy.corpus import CT, MR, Who, image, save
from tests.privacy.test_deidentify import KEY, unseen
from tests.privacy.test_valid_dicom import cleaned, errors

US = "1.2.840.10008.5.1.4.1.1.6.1"


@pytest.mark.parametrize(("sop_class", "wanted"), [(CT, True), (MR, True), (US, False)])
def test_a_ct_or_mr_whose_sender_left_out_the_patients_position_has_it_without_a_value(sop_class, wanted):
    source = image(Who(random.Random(1)), sop_class)
    if "PatientPosition" in source:
        del source.PatientPosition
    _, clean = cleaned(save(source))
    assert ("PatientPosition" in clean) is wanted
    assert not clean.get("PatientPosition")


@pytest.mark.parametrize(
    ("part", "frames", "added"),
    [(None, True, True), (None, False, False), ("CHEST", True, False), ("KNEE", True, False)],
)
def test_the_side_that_only_the_frames_told_leaves_an_empty_laterality_where_no_body_part_is_named(part, frames, added):
    source = image(Who(random.Random(1)), US)
    for name in ("Laterality", "ImageLaterality", "BodyPartExamined"):
        if name in source:
            delattr(source, name)
    if part:
        source.BodyPartExamined = part
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = "L"
    group.FrameAnatomySequence = Sequence([anatomy])
    if frames:
        source.PerFrameFunctionalGroupsSequence = Sequence([group])
    _, clean = cleaned(save(source))
    assert ("Laterality" in clean) is added
    assert not clean.get("Laterality")
    assert "PerFrameFunctionalGroupsSequence" not in clean


def test_the_flags_of_an_ultrasound_region_stay_and_the_bits_that_mean_nothing_go():
    source = image(Who(random.Random(1)), US)
    source.PatientID = "4821390175"
    regions = []
    for flags in (3, 4821390175 % 2**32):
        region = Dataset()
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, flags
        region.PhysicalDeltaX = region.PhysicalDeltaY = 0.01
        regions.append(region)
    source.SequenceOfUltrasoundRegions = Sequence(regions)
    _, clean = cleaned(save(source), "research")
    found = [region.RegionFlags for region in clean.SequenceOfUltrasoundRegions]
    assert found == [3, 4821390175 % 2**32 & 0x1F]


@pytest.mark.parametrize(("enhanced", "left"), [(True, "REMOVED"), (False, "")])
def test_a_manufacturer_that_may_not_stay_is_replaced_where_the_class_demands_one(enhanced, left):
    source = image(Who(random.Random(1)), "1.2.840.10008.5.1.4.1.1.2.2" if enhanced else CT)
    source.Manufacturer = "SIEMENS"
    if enhanced:
        source.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    assert (cleaned(save(source), "minimal-risk")[1].Manufacturer or "") == left


def test_no_copy_of_the_fifth_hostile_corpus_has_more_errors_than_its_source(tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here; it is in the Debian package dicom3tools")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.make(Planter(11), tmp_path / "src", burned=False)
    files = input_files(tmp_path / "src")
    report = deidentify_tree(
        tmp_path / "src", tmp_path / "out", profile=unseen("research"), key=KEY, accepted=range(1, 1000),
        quarantine=tmp_path / "q",
    )  # fmt: skip
    pairs = [(one.number, tmp_path / "out" / one.place) for one in report.written if one.kind == "dicom"]
    assert len(pairs) > 190
    worse = [number for number, copy in pairs if errors(copy) > errors(tmp_path / "src" / files[number - 1])]
    assert worse == []
    lines = [line for _, copy in pairs for line in _told(copy)]
    assert not [line for line in lines if "<RegionFlags>" in line or "<PatientPosition>" in line]


def _told(path: Path) -> list[str]:
    made = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (made.stdout + made.stderr).splitlines() if line.startswith("Error")]
