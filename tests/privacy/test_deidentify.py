"""The hostile corpus, the account of files, and the way back to a series' masks."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import random
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from medseg.errors import RequestError
from medseg.privacy.deidentify import DeidentifyReport, deidentify_tree, input_files
from medseg.privacy.dicom import clean_dicom
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import Ledger, verify
from medseg.privacy.profile import Profile, load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from tests.privacy.corpus import CT, PT, Planted, Who, before_pixels, image, raw_element, save
from tests.privacy.corpus.corpora import make_corpus
from tests.privacy.corpus.pictures import jpeg_photo
from tests.privacy.corpus.volumes import nifti

KEY = bytes(range(32))


def layers(data: bytes) -> Iterator[bytes]:
    """A file's bytes and what gzip and zlib streams in it hold; shares no code with medseg."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[match.start() :])
        except zlib.error:
            continue


def forms(text: str) -> set[bytes]:
    low = text.lower()
    made = {low.encode("utf-8"), low.encode("utf-16-le"), low.encode("utf-16-be"), low.encode("gb18030")}
    for encoding in ("latin-1", "iso8859-2", "iso2022_jp"):
        made.add(low.encode(encoding, "ignore"))
    return {form for form in made if len(form) >= 4}


def unseen(name: str) -> Profile:
    """A profile that doesn't look for text in pixels: `test_pixels` does."""
    return load_profile(name).model_copy(update={"clean_pixels": False, "photographs": "pass"})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Planted]]:
    folder = tmp_path_factory.mktemp("corpus")
    return folder, make_corpus(folder / "src")


@pytest.fixture(scope="module", params=["basic", "research", "minimal-risk"])
def cleaned(
    request: pytest.FixtureRequest, corpus: tuple[Path, list[Planted]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, DeidentifyReport]:
    out = tmp_path_factory.mktemp(request.param) / "out"
    profile = unseen(request.param)
    return out, deidentify_tree(corpus[0] / "src", out, profile=profile, key=KEY, identities=out.parent / "ids")


def test_no_planted_identity_is_in_any_output(corpus, cleaned):
    out, report = cleaned
    places = dict(zip(input_files(corpus[0] / "src"), report.outcomes, strict=True))
    leaks = []
    for planted in corpus[1]:
        place = places[planted.path].place
        if place:
            text = b"\n".join((place.encode(), *layers((out / place).read_bytes()))).lower()
            leaks += [(planted.path, i) for i in planted.identities if any(form in text for form in forms(i))]
    assert leaks == []


def test_no_name_or_number_of_any_file_is_anywhere_in_the_output_tree(corpus, cleaned):
    out, _ = cleaned
    wanted = {i.lower().encode() for planted in corpus[1] for i in planted.identities if not re.fullmatch(r"[\d.]+", i)}
    pattern = re.compile(b"|".join(map(re.escape, wanted)))
    for path in out.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not pattern.search(str(path.relative_to(out)).lower().encode() + b"\n" + data.lower())


def test_each_file_of_the_corpus_has_the_outcome_that_it_should_have(corpus, cleaned):
    _, report = cleaned
    statuses = {name: o.status for name, o in zip(input_files(corpus[0] / "src"), report.outcomes, strict=True)}
    assert len(statuses) == len(corpus[1]) >= 150
    assert [p.path for p in corpus[1] if statuses[p.path] != p.expect] == []


def test_the_index_beside_the_key_knows_the_identities_that_were_removed(corpus, cleaned):
    index = IdentityIndex.load(cleaned[0].parent / "ids")
    for planted in corpus[1][:9]:
        source = pydicom.dcmread(corpus[0] / "src" / planted.path)
        for keyword in ("PatientName", "PatientID", "AccessionNumber", "InstitutionName", "StudyInstanceUID"):
            assert index.find(f"found: {source[keyword].value}."), keyword
        assert index.find(planted.path.split("/")[0])


def one(tmp_path: Path, data: bytes, *, profile: str = "research", name: str = "a/b.dcm") -> Path:
    source = tmp_path / "src" / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(data)
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=unseen(profile), key=KEY)
    assert report.written, report.refused
    return tmp_path / "out" / report.outcomes[0].place


def who(seed: int = 1) -> Who:
    return Who(random.Random(seed))


def test_a_clean_file_says_what_was_done_and_keeps_pixels_and_geometry(tmp_path):
    source = image(who())
    clean = pydicom.dcmread(one(tmp_path, save(source)))
    assert clean.preamble == b"\0" * 128
    assert clean.PatientIdentityRemoved == "YES"
    assert clean.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113107", "113108"]
    assert clean.PatientName == clean.PatientID == Pseudonymiser(KEY).patient(source.PatientID)
    assert clean.PatientAge == "090Y"
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID
    np.testing.assert_array_equal(clean.pixel_array, source.pixel_array)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                    "RescaleIntercept", "Rows", "Columns", "KVP", "ConvolutionKernel", "BodyPartExamined"):  # fmt: skip
        assert clean[keyword].value == source[keyword].value
    assert (clean.PatientBirthDate, clean.ReferringPhysicianName) == ("", "")
    assert "StudyDescription" not in clean


def test_only_known_private_numbers_stay_and_the_code_says_so(tmp_path):
    source = image(who(), PT)
    source.add_new(0x70530010, "LO", "Philips PET Private Group")
    source.add_new(0x70531000, "DS", "0.000412")
    source.add_new(0x70531003, "LO", "Novakova")
    data = before_pixels(save(source), raw_element(0x70531009, "DS", b"Novakova"))
    clean = pydicom.dcmread(one(tmp_path, data))
    assert clean[0x70531000].value == 0.000412
    # Iterating a Dataset gives its elements, not its tags.
    assert [tag for tag in clean.keys() if tag.is_private] == [0x70530010, 0x70531000]  # noqa: SIM118
    assert "113111" in [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]


def test_intervals_stay_exact_and_the_same_shift_is_in_every_series(tmp_path):
    days = []
    for number, (date, sop_class) in enumerate((("20150301", CT), ("20160229", PT))):
        source = image(who(number), sop_class)
        source.PatientID, source.StudyDate = "77", date
        source.AcquisitionDateTime, source.TimezoneOffsetFromUTC = f"{date}2330", "+0100"
        (tmp_path / "src").mkdir(exist_ok=True)
        (tmp_path / "src" / f"{number}.dcm").write_bytes(save(source))
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("research"), key=KEY)
    for outcome in report.written:
        clean = pydicom.dcmread(tmp_path / "out" / outcome.place)
        days.append(datetime.datetime.strptime(clean.StudyDate, "%Y%m%d").date())
        assert clean.StudyTime == "101112"
    assert len({outcome.place.split("/")[0] for outcome in report.written}) == 1
    assert (days[1] - days[0]).days == 365
    assert (days[0] - datetime.date(2015, 3, 1)).days == Pseudonymiser(KEY).shift_days("77")


def test_references_between_objects_resolve_after_cleaning(tmp_path):
    referenced, referring = image(who(1)), image(who(2))
    referring.PatientID, referring.StudyInstanceUID = referenced.PatientID, referenced.StudyInstanceUID
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, referenced.SOPInstanceUID
    referring.SourceImageSequence = [item]
    for number, source in enumerate((referenced, referring)):
        (tmp_path / "src").mkdir(exist_ok=True)
        (tmp_path / "src" / str(number)).write_bytes(save(source))
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("basic"), key=KEY)
    first, second = (pydicom.dcmread(tmp_path / "out" / o.place) for o in report.outcomes)
    assert second.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SourceImageSequence[0].ReferencedSOPClassUID == CT
    assert first.StudyInstanceUID == second.StudyInstanceUID != referenced.StudyInstanceUID


def test_basic_removes_every_date_and_time(tmp_path):
    clean = pydicom.dcmread(one(tmp_path, save(image(who())), profile="basic"))
    assert (clean.StudyDate, clean.StudyTime) == ("", "")
    assert clean.LongitudinalTemporalInformationModified == "REMOVED"
    assert not {"AcquisitionDate", "PatientAge", "PatientWeight"} & set(clean.dir())


def test_masks_beside_a_series_go_into_the_folder_of_its_study(tmp_path):
    source = image(who())
    study = tmp_path / "src" / "Mueller_Anna" / "CT Thorax 1956"
    (study / "ct").mkdir(parents=True)
    (study / "ct" / "1.dcm").write_bytes(save(source))
    (study / "lesions.nii.gz").write_bytes(nifti(who(2)))
    (tmp_path / "src" / "masks").mkdir()
    (tmp_path / "src" / "masks" / f"{source.SeriesInstanceUID}.nii.gz").write_bytes(nifti(who(3)))
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("basic"), key=KEY)
    places = [outcome.place for outcome in report.outcomes]
    home = places[0].rsplit("/", 2)[0]
    assert places[1] == f"{home}/lesions.nii.gz"
    assert re.fullmatch(rf"{home}/C\w{{10}}\.nii\.gz", places[2])


def test_photographs_and_their_masks_share_a_pseudonym(tmp_path):
    for folder, name in (("images", "ISIC_01.png"), ("masks", "ISIC_01_segmentation.png"), ("images", "ISIC_02.png")):
        (tmp_path / "src" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / "src" / folder / name)
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=unseen("basic"), key=KEY)
    first, second, mask = (outcome.place for outcome in report.outcomes)
    assert mask == first.replace(".png", "_segmentation.png")
    assert first.split("/")[0] != second.split("/")[0]


def test_what_a_killed_run_left_half_written_is_gone_after_the_next(tmp_path):
    clean = one(tmp_path, save(image(who())))
    half, other = clean.with_name(".9bbcb279cf5f0166.tmp"), clean.with_name(".notes.tmp")
    half.write_bytes(b"II*")
    other.write_bytes(b"theirs")
    deidentify_tree(tmp_path / "src", tmp_path / "out", profile=unseen("research"), key=KEY)
    assert (half.exists(), other.exists(), clean.exists()) == (False, True, True)


def test_a_stopped_run_goes_on_and_each_file_is_counted_once(corpus, tmp_path):
    profile = unseen("basic")
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deidentify_tree(corpus[0] / "src", tmp_path / "out", profile=profile, key=KEY, progress=stop)
    (tmp_path / "out" / "outcomes.jsonl").open("ab").write(b'{"file": "half a li')
    report = deidentify_tree(corpus[0] / "src", tmp_path / "out", profile=profile, key=KEY)
    whole = deidentify_tree(corpus[0] / "src", tmp_path / "whole", profile=profile, key=KEY, jobs=2)
    assert report == whole
    assert len(report.outcomes) == len(corpus[1])
    lines = (tmp_path / "out" / "outcomes.jsonl").read_text().splitlines()
    assert len({json.loads(line)["file"] for line in lines}) == len(lines) == len(corpus[1])
    for outcome in whole.written:
        assert (tmp_path / "out" / outcome.place).read_bytes() == (tmp_path / "whole" / outcome.place).read_bytes()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_copies_and_clashes_of_one_uid_are_refused_once(tmp_path):
    source = image(who())
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(save(source))
    (tmp_path / "src" / "b").write_bytes(save(source))
    source.KVP = 80
    (tmp_path / "src" / "c").write_bytes(save(source))
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("basic"), key=KEY)
    assert [o.status for o in report.outcomes] == ["written", "refused", "refused"]
    assert "copy" in report.outcomes[1].reason
    assert "other content" in report.outcomes[2].reason


def test_heads_in_thin_slices_pass_only_by_a_recorded_exception(tmp_path):
    pytest.importorskip("rapidocr_onnxruntime")  # Without it the ledger says, too, that nothing looked for text.
    source = image(who())
    source.BodyPartExamined, source.SliceThickness = "HEAD", 1.0
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(save(source))
    refused = deidentify_tree(tmp_path / "src", tmp_path / "no", profile=load_profile("basic"), key=KEY)
    assert "acknowledge-faces" in refused.refused[0].reason
    ledger = Ledger(tmp_path / "ledger.jsonl")
    passed = deidentify_tree(
        tmp_path / "src",
        tmp_path / "yes",
        profile=load_profile("basic"),
        key=KEY,
        ledger=ledger,
        acknowledge_faces=True,
    )
    assert len(passed.written) == 1
    assert [json.loads(line)["action"] for line in ledger.path.read_text().splitlines()] == [
        "exception",
        "deidentified",
    ]
    assert verify(ledger.path) == []
    with pytest.raises(RequestError, match="no exception"):
        deidentify_tree(
            tmp_path / "src", tmp_path / "x", profile=load_profile("minimal-risk"), key=KEY, acknowledge_faces=True
        )


def test_an_output_folder_of_another_key_profile_or_purpose_is_left_alone(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(save(image(who())))
    out = tmp_path / "out"
    deidentify_tree(tmp_path / "src", out, profile=load_profile("basic"), key=KEY)
    with pytest.raises(RequestError, match="others"):
        deidentify_tree(tmp_path / "src", out, profile=load_profile("research"), key=KEY)
    with pytest.raises(RequestError, match="others"):
        deidentify_tree(tmp_path / "src", out, profile=load_profile("basic"), key=KEY[::-1])
    shutil.rmtree(out)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="other things"):
        deidentify_tree(tmp_path / "src", out, profile=load_profile("basic"), key=KEY)
    with pytest.raises(RequestError, match="inside the other"):
        deidentify_tree(tmp_path / "src", tmp_path / "src" / "out", profile=load_profile("basic"), key=KEY)


def test_real_files_in_many_transfer_syntaxes_keep_their_pixels(test_data):
    compared, profile, pseudonyms = 0, load_profile("research"), Pseudonymiser(KEY)
    for path in sorted((test_data / "dicom_transfer_syntaxes").rglob("*.dcm")):
        try:
            made = clean_dicom(path.read_bytes(), profile, pseudonyms=pseudonyms, acknowledge_faces=True)
            expected = pydicom.dcmread(path, force=True).pixel_array
        except Exception:
            # Decoders raise whatever they like on files that nobody can read; the count below bounds how many.
            continue
        after = pydicom.dcmread(io.BytesIO(made.data)).pixel_array
        np.testing.assert_array_equal(after, expected)
        assert after.dtype == expected.dtype
        compared += 1
    assert compared >= 15


def test_a_nifti_keeps_voxels_and_affine_and_nothing_else(tmp_path):
    data = nifti(who())
    place = one(tmp_path, data, name="a/image.nii.gz")
    before, after = nib.Nifti1Image.from_bytes(gzip.decompress(data)), nib.load(place)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.asanyarray(before.dataobj))
    np.testing.assert_array_equal(after.affine, before.affine)
    assert not after.header.extensions
    assert after.header["descrip"] == b""
    assert place.read_bytes()[3] == 0


def test_a_jpeg_photograph_keeps_its_pixels_bit_for_bit(tmp_path):
    data = jpeg_photo(who())
    clean = one(tmp_path, data, name="p/photo.jpg").read_bytes()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(clean))), np.asarray(Image.open(io.BytesIO(data))))
    assert not Image.open(io.BytesIO(clean)).getexif()


KILLED = """
import os, signal, sys
from pathlib import Path
from medseg.privacy import deidentify, keeper
from medseg.privacy.profile import load_profile
profile = load_profile("basic").model_copy(update={"clean_pixels": False})
done = []
def tick():
    done.append(1)
    if len(done) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "at once":
    keeper._PAUSE_S, keeper._PAUSE_BY_COST = -1.0, 0.0
folder = Path(sys.argv[1])
deidentify.deidentify_tree(
    folder / "src", folder / "out", profile=profile, key=bytes(range(32)), identities=folder / "k.ids", progress=tick
)
"""


@pytest.mark.parametrize("saved", ["at once", "now and then"])
def test_a_run_that_is_killed_and_gone_on_with_keeps_every_identity_in_the_index(tmp_path, saved):
    (tmp_path / "src").mkdir()
    people = [who(seed) for seed in range(70)]
    for number, one in enumerate(people):
        (tmp_path / "src" / f"{number:03d}").write_bytes(save(image(one, size=8)))
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run([*command, "40", saved], check=False).returncode == -9
    known = (tmp_path / "out" / "outcomes.jsonl").is_file()
    assert known is (saved == "at once")
    assert subprocess.run([*command, "999", saved], check=False).returncode == 0
    index = IdentityIndex.load(tmp_path / "k.ids")
    names = [str(pydicom.dcmread(path).PatientName) for path in sorted((tmp_path / "src").iterdir())]
    assert all(index.find(name) for name in names)
    lines = (tmp_path / "out" / "outcomes.jsonl").read_text().splitlines()
    assert len({json.loads(line)["file"] for line in lines}) == len(lines) == 70
