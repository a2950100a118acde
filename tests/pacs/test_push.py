from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from medseg.data.card import LabelInfo
from medseg.data.dicom import find_series, read_series
from medseg.errors import PrivacyError, RequestError
from medseg.export import Algorithm, write_dicom_seg
from medseg.pacs import connect, load_archive, pull, push, read_wanted, restore_results
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import verify
from medseg.privacy.profile import load_profile
from tests.data.dicom_factory import Series
from tests.pacs.conftest import IDENTITIES, make_ct
from tests.pacs.servers import Wire, storescp, write_archive

PROTOCOLS = ("dicomweb", "dicom")
KEY = bytes(range(32))


def _archive(server, tmp_path, protocol, **changes):
    return connect(load_archive(server.archive(tmp_path / "archive.yaml", **changes)), protocol)


def _seg(files, path, *, keep=False, value=1):
    """A SEG of the bright ball on a series."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = read_series(files)
    write_dicom_seg(
        (volume.array[0] > 300).astype(np.uint8) * value, volume.affine, files, path,
        labels={1: LabelInfo(name="lesion"), 2: LabelInfo(name="other")},
        algorithm=Algorithm("test", "0.1.0", "ab" * 32),
        identified_source="keep" if keep else "refuse",
    )  # fmt: skip
    return path


@dataclass(frozen=True)
class Cleaned:
    """A series as it came from the scanner, its clean copies, and the index of what was removed."""

    series: Series
    scanner: Path
    clean: Path
    identities: IdentityIndex


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cleaned")
    series = make_ct()
    series.write(folder / "scanner")
    deidentify_tree(
        folder / "scanner", folder / "clean", profile=load_profile("research"), key=KEY,
        identities=folder / "key.identities",
    )  # fmt: skip
    return Cleaned(series, folder / "scanner", folder / "clean", IdentityIndex.load(folder / "key.identities"))


def _identified_segs(series, tmp_path, count=1):
    files = sorted((tmp_path / "scanner").glob("*.dcm"))
    assert len(files) == len(series.slices)
    for number in range(count):
        _seg(files, tmp_path / "segs" / f"image_{number:04d}.dcm", keep=True, value=1 + number)
    return tmp_path / "segs"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_result_goes_home_to_the_archive_that_holds_its_study(hospital, stored, protocol, tmp_path):
    segs = _identified_segs(stored, tmp_path, count=2)
    archive = _archive(hospital, tmp_path, protocol)
    report = push(archive, segs, tier="internal")
    assert (report.objects, report.sent, report.already, report.confirmed, report.refusals) == (2, 2, 0, True, ())
    assert hospital.count() == 10
    again = push(_archive(hospital, tmp_path, protocol), segs, tier="internal")
    assert (again.sent, again.already) == (0, 2)
    assert verify(tmp_path / "segs.ledger.jsonl") == []
    pull(archive, read_wanted(None, studies=[stored.study]), tmp_path / "back")
    back = [d for d in map(pydicom.dcmread, (tmp_path / "back").rglob("*.dcm")) if d.Modality == "SEG"]
    sent = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, segs.glob("*.dcm"))}
    assert {d.SOPInstanceUID: d.PixelData for d in back} == {uid: d.PixelData for uid, d in sent.items()}


def test_only_objects_whose_patient_study_and_images_are_there_go_home(hospital, stored, tmp_path):
    segs = _identified_segs(stored, tmp_path)
    archive = _archive(hospital, tmp_path, "dicomweb")
    original = pydicom.dcmread(segs / "image_0000.dcm")

    def refusal(**changes):
        changed = pydicom.dcmread(segs / "image_0000.dcm")
        for keyword, value in changes.items():
            setattr(changed, keyword, value)
        changed.save_as(segs / "image_0000.dcm")
        with pytest.raises(PrivacyError, match="Nothing was sent") as error:
            push(archive, segs, tier="internal")
        original.save_as(segs / "image_0000.dcm")
        told = [stored.study, stored.uid, "segs", *(str(v) for v in IDENTITIES.values() if len(str(v)) > 5)]
        assert not [text for text in told if text in str(error.value)]
        return str(error.value)

    assert "doesn't hold its study" in refusal(StudyInstanceUID="1.2.3.4")
    assert "under another patient" in refusal(PatientID="SOMEBODY-ELSE")
    assert "it carries a pseudonym" in refusal(PatientIdentityRemoved="YES", PatientID="P123")
    first = hospital.session.get(f"{hospital.url}/instances").json()[0]
    hospital.session.delete(f"{hospital.url}/instances/{first}")
    assert "lacks 1 of the" in refusal()
    assert hospital.count() == 7


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_to_a_shareable_archive_goes_only_what_is_clean(hospital, cleaned, protocol, tmp_path):
    clean, identities = cleaned.clean, cleaned.identities
    archive = _archive(hospital, tmp_path, protocol)
    (series,) = find_series(clean)[0]
    seg = _seg(series.files, tmp_path / "out" / "image_0001.dcm")
    with pytest.raises(RequestError, match="--key FILE"):
        push(archive, tmp_path / "out", tier="shareable")
    assert push(archive, tmp_path / "out", tier="shareable", identities=identities).sent == 1
    kept = pydicom.dcmread(seg)
    kept.SeriesDescription = f"for {IDENTITIES['PatientName']}"
    kept.save_as(tmp_path / "out" / "b.dcm")
    with pytest.raises(PrivacyError, match="refused to let file 1 out as shareable") as refusal:
        push(archive, tmp_path / "out" / "b.dcm", tier="shareable", identities=identities)
    assert "Novakova" not in str(refusal.value)
    with pytest.raises(PrivacyError, match="doesn't say that its patient's identity was removed"):
        push(archive, cleaned.scanner, tier="shareable", identities=identities)
    assert hospital.count() == 1


def test_results_of_deidentified_series_get_their_patients_back_and_go_home(hospital, cleaned, tmp_path):
    stored = cleaned.series
    hospital.add(*sorted(cleaned.scanner.iterdir()))
    wanted = read_wanted(None, studies=[stored.study])
    archive = _archive(hospital, tmp_path, "dicomweb")
    pull(archive, wanted, tmp_path / "pulled")
    (series,) = find_series(cleaned.clean)[0]
    seg = pydicom.dcmread(_seg(series.files, tmp_path / "segs" / "image_0001.dcm"))
    assert seg.PatientName != IDENTITIES["PatientName"]
    report = restore_results(tmp_path / "segs", tmp_path / "pulled", tmp_path / "restored", key=KEY)
    assert (report.written, report.refusals) == (1, ())
    restored = pydicom.dcmread(tmp_path / "restored" / "image_0001.dcm")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate",
                    "StudyTime", "StudyID", "ReferringPhysicianName"):  # fmt: skip
        assert str(restored[keyword].value) == IDENTITIES[keyword], keyword
    assert (restored.StudyInstanceUID, restored.FrameOfReferenceUID) == (stored.study, stored.frame)
    referenced = {
        item.ReferencedSOPInstanceUID for item in restored.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {d.SOPInstanceUID for d in stored.slices}
    assert restored.ReferencedSeriesSequence[0].SeriesInstanceUID == stored.uid
    assert restored.PixelData == seg.PixelData
    assert restored.ContentDate == IDENTITIES["StudyDate"]
    assert "PatientIdentityRemoved" not in restored
    first = (tmp_path / "restored" / "image_0001.dcm").read_bytes()
    restore_results(tmp_path / "segs", tmp_path / "pulled", tmp_path / "restored", key=KEY)
    assert (tmp_path / "restored" / "image_0001.dcm").read_bytes() == first
    # Nothing of the pseudonymous world is left by which the two could be tied together without the key.
    left = {str(e.value) for e in seg.iterall() if e.VR == "UI" and str(e.value).startswith("2.25.")}
    raw = (tmp_path / "restored" / "image_0001.dcm").read_bytes()
    assert not [uid for uid in left if uid.encode() in raw]
    assert str(seg.PatientID).encode() not in raw
    assert push(archive, tmp_path / "restored", tier="internal").sent == 1
    # The mask lies where it lay: on the original series' own voxels.
    volume = read_series(sorted(cleaned.scanner.glob("*.dcm")))
    assert sum(bin(byte).count("1") for byte in restored.PixelData) == int((volume.array[0] > 300).sum())


def test_originals_that_were_de_identified_elsewhere_are_originals(hospital, tmp_path):
    """An archive of trials holds what another program has cleaned; it says so of itself, and stays as it is."""
    series = make_ct(
        PatientIdentityRemoved="YES", DeidentificationMethod="elsewhere", PatientName="T-7", PatientID="T-7"
    )
    hospital.add(*series.write(tmp_path / "scanner"))
    deidentify_tree(
        tmp_path / "scanner", tmp_path / "clean", profile=load_profile("research"), key=KEY,
        identities=tmp_path / "key.identities",
    )  # fmt: skip
    (clean,) = find_series(tmp_path / "clean")[0]
    _seg(clean.files, tmp_path / "segs" / "a.dcm")
    assert restore_results(tmp_path / "segs", tmp_path / "scanner", tmp_path / "home", key=KEY).written == 1
    restored = pydicom.dcmread(tmp_path / "home" / "a.dcm")
    assert (restored.PatientID, restored.DeidentificationMethod) == ("T-7", "elsewhere")
    assert push(_archive(hospital, tmp_path, "dicomweb"), tmp_path / "home", tier="internal").sent == 1


def test_results_that_lead_to_no_original_are_refused_by_number(cleaned, tmp_path):
    scanner = cleaned.scanner
    (series,) = find_series(cleaned.clean)[0]
    _seg(series.files, tmp_path / "segs" / "a.dcm")
    (tmp_path / "segs" / "b.dcm").write_bytes(b"no DICOM")
    report = restore_results(tmp_path / "segs", scanner, tmp_path / "x", key=bytes(32))
    assert report.written == 0
    assert [r.input for r in report.refusals] == ["file 1 of 2", "file 2 of 2"]
    assert "lead to no original" in report.refusals[0].reason
    assert not (tmp_path / "x").exists()
    with pytest.raises(RequestError, match="found those that the results were made on"):
        restore_results(tmp_path / "segs", cleaned.clean, tmp_path / "x", key=KEY)
    with pytest.raises(RequestError, match="found none there"):
        restore_results(tmp_path / "segs", tmp_path / "nowhere", tmp_path / "x", key=KEY)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="found something else"):
        restore_results(tmp_path / "segs", scanner, tmp_path / "x", key=KEY)
    with pytest.raises(RequestError, match="found one inside"):
        restore_results(tmp_path / "segs", scanner, scanner / "x", key=KEY)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_that_the_archive_does_not_keep_are_listed_by_number(hospital, stored, protocol, tmp_path):
    segs = _identified_segs(stored, tmp_path, count=2)
    dropped = pydicom.dcmread(segs / "image_0001.dcm")
    dropped.SeriesDescription = "NOT WANTED"
    dropped.save_as(segs / "image_0001.dcm")
    (segs / "notes.txt").write_text("no DICOM")
    report = push(_archive(hospital, tmp_path, protocol), segs, tier="internal")
    assert (report.objects, report.sent) == (2, 1)
    assert [r.input for r in report.refusals] == ["file 3 of 3", "file 2 of 3"]
    # Orthanc drops it and says that it took it, by either protocol; only who asks afterwards knows.
    assert "said it took it, but doesn't list it" in report.refusals[1].reason


def test_a_receiver_gets_what_it_takes_and_the_rest_is_listed(ct, tmp_path):
    for data in ct.slices:
        data.PatientIdentityRemoved, data.PatientName, data.PatientID = "YES", "P1", "P1"
        for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "InstitutionName"):
            setattr(data, keyword, "")
        data.ReferringPhysicianName = ""
    ct.slices[2].compress(RLELossless, generate_instance_uid=False)
    ct.write(tmp_path / "out")
    with storescp(tmp_path / "in") as port:
        node = {"host": "127.0.0.1", "port": port, "title": "ANY", "own_title": "MEDSEG"}
        archive = connect(load_archive(write_archive(tmp_path / "a", {"dicom": node})), "dicom")
        report = push(archive, tmp_path / "out", tier="shareable", identities=IdentityIndex())
        assert (report.objects, report.sent, report.confirmed) == (8, 7, False)
        assert [(r.input, "in this transfer syntax" in r.reason) for r in report.refusals] == [("file 3 of 8", True)]
        assert len(list((tmp_path / "in").iterdir())) == 7
        with pytest.raises(PrivacyError, match="only receives"):
            push(archive, tmp_path / "out", tier="internal")


def test_a_push_over_a_line_that_breaks_goes_on(hospital, stored, tmp_path):
    segs = _identified_segs(stored, tmp_path, count=2)
    with Wire(hospital.web) as wire:
        archive = _archive(hospital, tmp_path, "dicomweb", web={"url": f"http://localhost:{wire.port}/dicom-web"})
        report = push(archive, segs, tier="internal", progress=lambda done, _: done == 1 and wire.cut())
    assert (report.sent, report.refusals) == (2, ())
    assert hospital.count() == 10


def test_an_object_that_changes_after_the_gate_saw_it_is_not_sent(hospital, stored, tmp_path):
    segs = _identified_segs(stored, tmp_path, count=2)

    def change(_done, _count):
        (segs / "image_0001.dcm").write_bytes(b"x")

    with pytest.raises(RequestError, match="file 2 changed"):
        push(_archive(hospital, tmp_path, "dicomweb"), segs, tier="internal", progress=change)
    assert hospital.count() == 9


def test_nothing_to_push_is_told(hospital, tmp_path):
    (tmp_path / "empty").mkdir()
    archive = _archive(hospital, tmp_path, "dicomweb")
    with pytest.raises(RequestError, match="found none there"):
        push(archive, tmp_path / "empty", tier="internal")
    (tmp_path / "empty" / "a.txt").write_text("x")
    with pytest.raises(RequestError, match="none of the 1 files is one"):
        push(archive, tmp_path / "empty", tier="internal")
