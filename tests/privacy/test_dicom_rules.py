from __future__ import annotations

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr.codedict import codes

from medseg.errors import ConfigError
from medseg.privacy import dicom_rules
from medseg.privacy.device import DEVICE_KEYWORDS, DEVICE_TAGS
from medseg.privacy.dicom_rules import Kind, basic_profile_actions, rules_for
from medseg.privacy.person import person_of
from medseg.privacy.profile import PROFILES, load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.rebuild import rebuild_dataset

CT, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"


def test_the_table_is_that_of_edition_2026c():
    actions = basic_profile_actions()
    assert len(actions) == 652
    assert actions[0x00100010] == "Z"
    assert actions[0x00080080] == "X/Z/D"
    assert actions[0x00081140] == "X/Z/U*"


@pytest.mark.parametrize("sop_class", [CT, PET, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4"])
def test_basic_treats_every_attribute_of_the_table_at_every_depth(sop_class):
    actions = basic_profile_actions()
    allowed = {Kind.EMPTY, Kind.DUMMY, Kind.UID, Kind.PATIENT, Kind.ACCESSION, Kind.STUDY_ID}

    def look(rules):
        for tag, rule in rules.items():
            if tag in actions:
                assert rule.kind in allowed or (rule.kind is Kind.ITEMS and "U" in actions[tag]), keyword_for_tag(tag)
            look(rule.children)

    look(rules_for(sop_class, load_profile("basic")))


def test_a_combined_action_is_decided_by_the_type_in_the_iod():
    ct, pet = rules_for(CT, load_profile("basic")), rules_for(PET, load_profile("basic"))
    weight, institution, study_time = 0x00101030, 0x00080080, 0x00080030
    assert weight not in ct
    assert institution not in ct
    assert ct[study_time].kind is Kind.EMPTY
    assert pet[0x00080021].kind in (Kind.EMPTY, Kind.DUMMY)


def test_private_and_unknown_attributes_have_no_rule():
    rules = rules_for(CT, load_profile("research"))
    assert all((tag >> 16) % 2 == 0 for tag in rules)
    assert not {0x00324000, 0x60003000, 0x50003000, 0x04000561, 0x00880200, 0xFFFAFFFA, 0x00204000} & set(rules)
    assert rules_for("1.2.3.4", load_profile("basic")) is None


def test_serial_numbers_and_station_names_stay_where_the_profile_retains_devices_but_nothing_of_the_patients(tmp_path):
    assert {tag_for_keyword(keyword) for keyword in DEVICE_KEYWORDS} == DEVICE_TAGS
    kept = load_profile("basic").model_copy(update={"device_identity": True})
    source = _slice()
    source.PatientName, source.PatientID = "Kowalska^Jadwiga", "77812345"
    source.DeviceSerialNumber, source.StationName = "SN-837465", "CT2"
    source.InstitutionalDepartmentName = "SN-837465"
    for value, stays in (("Kowalska-1", False), ("G77812345", False), ("Dr Smith", False), ("47110815", True)):
        source.GantryID = value
        raw = dcmread(_saved(source, tmp_path / "device.dcm"), force=True)
        person = person_of(raw, Pseudonymiser(bytes(32)), kept=DEVICE_TAGS)
        clean = rebuild_dataset(raw, rules_for(CT, kept), person=person, pseudonyms=Pseudonymiser(bytes(32)))
        assert (clean.DeviceSerialNumber, clean.StationName) == ("SN-837465", "CT2")
        assert ("GantryID" in clean) == stays
        assert "SN-837465" not in person.identities
        without = rebuild_dataset(
            raw, rules_for(CT, load_profile("basic")), person=person, pseudonyms=Pseudonymiser(bytes(32))
        )
        assert not {"DeviceSerialNumber", "StationName", "GantryID"} & set(without.dir())


def _slice():
    source = Dataset()
    source.SOPClassUID, source.SOPInstanceUID = CT, "1.2"
    source.StudyInstanceUID, source.SeriesInstanceUID = "1.3", "1.4"
    return source


def _saved(source, path):
    source.save_as(path, implicit_vr=False, little_endian=True)
    return path


def test_codes_and_meanings_of_the_options_are_those_of_cid_7050():
    known = {getattr(codes.cid7050, name).value for name in cid_concepts[7050]["DCM"]}
    for name in PROFILES:
        methods = load_profile(name).method_codes(pixels_cleaned=True, private_kept=True)
        assert methods[0][0] == "113100"
        assert {code for code, _ in methods} <= known


def test_there_is_no_default_profile_and_an_unknown_one_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="basic, research, minimal-risk"):
        load_profile("everything")
    own = tmp_path / "own.yaml"
    own.write_text("name: own\ndates: keep\n")
    with pytest.raises(ConfigError, match="dates"):
        load_profile(own)


def test_the_part_of_the_table_that_is_parsed_for_a_module_is_what_the_whole_table_says() -> None:
    whole = dicom_rules._standard("module_attribute_map")
    assert {module: dicom_rules._module_attributes(module) for module in whole} == whole


@pytest.mark.parametrize(("text", "stays"), [("CT 482 139", False), ("Thorax 48.21.39", False), ("CT 482 140", True)])
def test_a_number_of_the_patient_in_groups_of_digits_is_no_description(tmp_path, text, stays):
    source = _slice()
    source.PatientName, source.PatientID, source.SeriesDescription = "Kowalska^Jadwiga", "482139", text
    raw = dcmread(_saved(source, tmp_path / "grouped.dcm"), force=True)
    person = person_of(raw, Pseudonymiser(bytes(32)))
    rules = rules_for(CT, load_profile("research"))
    clean = rebuild_dataset(raw, rules, person=person, pseudonyms=Pseudonymiser(bytes(32)))
    assert ("SeriesDescription" in clean) is stays
