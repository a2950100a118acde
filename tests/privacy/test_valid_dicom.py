"""Clean DICOM files are as valid as they were: types 1 and 2, codes, palettes, and dciodvfy's own word."""

from __future__ import annotations

import copy
import io
import random
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.errors import DataError, ReadError
from medseg.privacy.dicom import clean_dicom
from medseg.privacy.profile import PROFILES, load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from tests.privacy.corpus import CT, MR, PT, SEG, Who, image, save
from tests.privacy.corpus.classes import structures

KEY = bytes(range(32))
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def cleaned(data: bytes, profile: str = "basic") -> tuple[bytes, pydicom.FileDataset]:
    made = clean_dicom(
        data, load_profile(profile), pseudonyms=Pseudonymiser(KEY), acknowledge_faces=True, looked_at=True
    )
    return made.data, pydicom.dcmread(io.BytesIO(made.data))


def errors(path: Path) -> int:
    made = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return sum(line.startswith("Error") for line in (made.stdout + made.stderr).splitlines())


@pytest.mark.parametrize("profile", PROFILES)
def test_attributes_of_type_2_that_were_missing_are_there_without_a_value(profile):
    source = image(Who(random.Random(1)))
    wanted = ("AccessionNumber", "ReferringPhysicianName", "StudyID", "KVP", "PositionReferenceIndicator")
    for name in (*wanted, "InstitutionName"):
        if name in source:
            delattr(source, name)
    _, clean = cleaned(save(source), profile)
    assert all(name in clean and not clean.data_element(name).value for name in wanted)
    assert "InstitutionName" not in clean


@pytest.mark.parametrize("position", ["HFS", ""])
def test_the_coded_orientation_of_a_pet_is_added_only_where_no_patient_position_says_it(position):
    source = image(Who(random.Random(1)), PT)
    source.PatientPosition = position
    if not position:
        del source.PatientPosition
    _, clean = cleaned(save(source))
    assert ("PatientOrientationCodeSequence" in clean) is not bool(position)


def test_a_patient_whose_number_is_small_keeps_the_geometry_and_the_indices():
    source = image(Who(random.Random(1)), MR)
    source.PatientID, source.AccessionNumber, source.StudyTime = "0000000001", "00000", "000000"
    geometry = {
        "ImageOrientationPatient": ["1.000000", "0.000000", "-0.000000", "0.000000", "1.000000", "0.000000"],
        "ImagePositionPatient": ["0.000000", "1.000000", "-1.000000"],
        "PixelSpacing": ["1.000000", "1.000000"],
    }
    for name, value in geometry.items():
        setattr(source, name, value)
    source.RescaleSlope, source.SamplesPerPixel = "1.000000", 1
    _, clean = cleaned(save(source))
    assert {name: [str(part) for part in clean.data_element(name).value] for name in geometry} == geometry
    assert float(clean.RescaleSlope) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImagePositionPatient", ["0", "57812", "0"]), ("RescaleSlope", "57812"), ("RescaleIntercept", "57812.0"),
        ("PixelSpacing", ["57812", "1"]),
    ],
)  # fmt: skip
def test_a_copy_whose_geometry_would_be_a_number_of_the_patient_is_refused_and_not_given_zeros(name, value):
    source = image(Who(random.Random(1)), MR)
    source.PatientID = "0057812"
    setattr(source, name, value)
    with pytest.raises(ReadError, match=f"expected numbers in {name} ") as told:
        cleaned(save(source), "research")
    assert "57812" not in str(told.value)


@pytest.mark.parametrize(
    ("protocol", "time"), [("B Ax Flair(10000 TR)", 10000), ("10000", None), ("NR 100000 TR", None)]
)
def test_a_protocol_that_tells_the_repetition_time_does_not_make_it_an_identity(protocol, time):
    source = image(Who(random.Random(1)), MR)
    source.ProtocolName, source.RepetitionTime = protocol, "100000" if "100000" in protocol else "10000"
    assert cleaned(save(source))[1].RepetitionTime == time


def test_a_window_that_is_a_number_of_the_patient_is_left_out_and_not_shown_as_zero():
    source = image(Who(random.Random(1)), MR)
    source.PatientID, source.WindowCenter, source.WindowWidth = "57812", "57812", "400"
    _, clean = cleaned(save(source))
    assert "WindowCenter" not in clean
    assert clean.WindowWidth == 400


def test_private_floating_point_numbers_are_as_clean_as_others():
    source = image(Who(random.Random(1)), MR)
    source.PatientID = "57812181"
    block = source.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0E, "FD", [0.6, 0.8, 57812181.0])
    assert not [tag for tag in cleaned(save(source), "research")[1] if tag.tag.is_private]
    block.add_new(0x0E, "FD", [0.6, 0.8, 0.0])
    assert cleaned(save(source), "research")[1][0x0019100E].value == [0.6, 0.8, 0.0]


def test_a_code_that_the_standard_does_not_know_leaves_no_half_code_behind():
    source = image(Who(random.Random(2)), SEG)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "NOVAK-1", "99NOVAK", "Lesion of Novak"
    code.ContextIdentifier, code.MappingResource = "7150", "DCMR"
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "Lesion", "MANUAL"
    segment.SegmentedPropertyCategoryCodeSequence = segment.SegmentedPropertyTypeCodeSequence = [code]
    source.SegmentSequence = [segment]
    _, clean = cleaned(save(source))
    item = clean.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert (item.CodeValue, item.CodeMeaning) == ("261665006", "Unknown")
    assert {element.keyword for element in item} == {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}


def test_the_class_of_a_label_map_segmentation_stays():
    _, clean = cleaned(save(image(Who(random.Random(3)), LABEL_MAP)))
    assert clean.SOPClassUID == clean.file_meta.MediaStorageSOPClassUID == LABEL_MAP


def test_structures_whose_names_cannot_stay_are_told_apart_by_their_numbers():
    ds = pydicom.dcmread(io.BytesIO(structures(Who(random.Random(6)))))
    named = [copy.deepcopy(ds.StructureSetROISequence[0]) for _ in range(3)]
    for number, (roi, name) in enumerate(zip(named, ("GTV", "Novakova", "PTV Novakova"), strict=True), start=1):
        roi.ROINumber, roi.ROIName = number, name
    ds.StructureSetROISequence = named
    _, clean = cleaned(save(ds), "research")
    assert [roi.ROIName for roi in clean.StructureSetROISequence] == ["GTV", "ROI 2", "ROI 3"]


def test_stacks_whose_names_cannot_stay_are_still_two():
    frames = []
    for stack in ("Novakova", "Novakova", "Farep", "1"):
        content, frame = Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = stack, 1, [1]
        frame.FrameContentSequence = [content]
        frames.append(frame)
    ds = image(Who(random.Random(7)), "1.2.840.10008.5.1.4.1.1.4.1")
    ds.NumberOfFrames, ds.PixelData = 4, ds.PixelData * 4
    ds.PerFrameFunctionalGroupsSequence = frames
    _, clean = cleaned(save(ds))
    stacks = [frame.FrameContentSequence[0].StackID for frame in clean.PerFrameFunctionalGroupsSequence]
    assert stacks[0] == stacks[1] != stacks[2] != stacks[3] == "1"
    assert not {"Novakova", "Farep", "REMOVED"} & set(stacks)


def test_a_palette_of_8_bits_in_words_of_16_stays():
    source = image(Who(random.Random(4)), CT)
    source.PhotometricInterpretation, source.BitsAllocated, source.BitsStored, source.HighBit = "PALETTE COLOR", 8, 8, 7
    source.PixelData = bytes(256)
    table = b"".join(bytes([n, n]) for n in [random.Random(5).randrange(256) for _ in range(256)])
    for colour in ("Red", "Green", "Blue"):
        setattr(source, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(source, f"{colour}PaletteColorLookupTableData", table)
    _, clean = cleaned(save(source))
    assert clean.RedPaletteColorLookupTableData == table


def test_dciodvfy_finds_no_more_errors_than_before_in_a_file_of_each_kind(test_data, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here; it is in the Debian package dicom3tools")
    sets = sorted(folder for folder in test_data.glob("dicom_*") if folder.is_dir())
    looked = 0
    for folder in sets:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".dcm", "") and path.is_file())[::29]:
            try:
                data, _ = cleaned(path.read_bytes(), "research")
            except DataError:
                continue
            (tmp_path / "clean.dcm").write_bytes(data)
            assert errors(tmp_path / "clean.dcm") <= errors(path), path.name
            looked += 1
    assert looked >= 12
