"""The commands that talk to an archive, as a person meets them, and the whole way of a result there and back."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config import parse_study
from medseg.export.package import write_package
from medseg.models.build import build_model
from medseg.pacs import load_archive
from medseg.planning.plan import ChannelNormalisation, Plan
from tests.data.seg_factory import make_seg, source_images, write_seg
from tests.export.source_series import errors_of
from tests.pacs.conftest import IDENTITIES, make_ct
from tests.pacs.servers import PASSWORD

_TOLD = [str(value) for value in IDENTITIES.values() if len(str(value)) > 5]


_OTHER_FORMATS = ("rtstruct", "dicom-seg-labelmap", "dicom-seg-fractional", "dicom-uncertainty", "dicom-overlay")


def _run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert not [text for text in (*_TOLD, PASSWORD) if text in result.output]
    return result


def _model(path):
    """A package of an untrained network; what it outlines is chance, always the same."""
    study = parse_study(
        {
            "name": "chance",
            "data": {"manifest": "removed"},
            "model": {"name": "unet", "base_features": 4, "levels": 2},
            "inference": {"mirror": False},
        }
    )
    plan = Plan(
        spatial_dims=3, channels=("CT",), modality="CT", labels={1: "lesion"}, fit="spacing", spacing=(1.0, 1.0, 3.0),
        crop_nonzero=False, normalisation=(ChannelNormalisation("ct_window", -200, 800, 100, 200),),
        patch_size=(16, 16, 8), batch_size=1, iterations=1, budget_minutes=None, features=(4, 8),
        strides=((1, 1, 1), (2, 2, 2)), kernels=((3, 3, 3), (3, 3, 3)), precision="32", device="cpu",
        deep_supervision=False,
    )  # fmt: skip
    torch.manual_seed(1)
    network = build_model(study.model, spatial_dims=3, in_channels=1, out_channels=2, features=plan.features,
                          strides=plan.strides, kernels=plan.kernels)  # fmt: skip
    model = {"name": "chance", "study": study.model_dump(mode="json"), "plan": plan.to_dict(),
             "labels": {"1": {"name": "lesion"}}, "channels": ["CT"], "modality": "CT"}  # fmt: skip
    write_package(path, states=[network.state_dict()], model=model)
    return path


def test_a_study_is_pulled_cleaned_predicted_and_its_results_go_home_and_validate(hospital, stored, tmp_path):
    archive = hospital.archive(tmp_path / "hospital.yaml", tier="internal")
    (tmp_path / "list.csv").write_text(f"patient\n{IDENTITIES['PatientID']}\n")
    found = _run("dicomweb", "find", archive, "--list", tmp_path / "list.csv")
    assert (found.exit_code, found.stdout) == (0, "line 1: 1 study, 1 series CT\n")
    pulled = _run("dicomweb", "pull", archive, tmp_path / "pulled", "--list", tmp_path / "list.csv")
    assert pulled.exit_code == 0, pulled.output
    assert pulled.stdout == "8 of 8 instances of 1 study are here, 8 of them fetched now\n"
    assert "identified data" in pulled.stderr
    key = tmp_path / "project.key"
    arguments = ("deidentify", tmp_path / "pulled", tmp_path / "clean", "--profile", "basic", "--new-key", key)
    assert _run(*arguments).exit_code == 0
    model = _model(tmp_path / "m.medseg")
    for extra in (("dicom-seg", "--report"), *((name,) for name in _OTHER_FORMATS)):
        predicted = _run("predict", model, tmp_path / "clean", tmp_path / "out", "--format", *extra)
        assert predicted.exit_code == 0, predicted.output
    # The pseudonymous results may not go there; with their patient back, they may.
    refused = _run("pacs", "push", archive, tmp_path / "out")
    assert refused.exit_code == 4
    assert "medseg pacs restore" in refused.stderr
    restored = _run("pacs", "restore", tmp_path / "out", tmp_path / "pulled", tmp_path / "home", "--key", key)
    assert (restored.exit_code, restored.stdout) == (0, "patients restored in 7 of 7 results\n")
    # Orthanc 1.10 takes every kind by STOW-RS; by C-STORE it doesn't know label maps, the newest storage class.
    pushed = _run("pacs", "push", archive, tmp_path / "home")
    assert pushed.exit_code == 3, pushed.output
    assert pushed.stdout == "6 of 7 objects are there, 6 sent now; the archive lists them\n"
    assert "doesn't take objects of this class" in pushed.stderr
    again = json.loads(_run("dicomweb", "push", archive, tmp_path / "home", "--json").stdout)
    assert (again["sent"], again["already"], again["refused"]) == (1, 6, [])
    back = _results_of(archive, stored.study, tmp_path / "back")
    home = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, (tmp_path / "home").iterdir())}
    clean = {_kind(d): d for d in map(pydicom.dcmread, (tmp_path / "out").glob("*.dcm"))}
    found = {_kind(d): d for d in map(pydicom.dcmread, back)}
    assert sorted(found) == sorted(clean)
    for kind, result in found.items():
        assert result == home[result.SOPInstanceUID]
        assert (result.PatientName, result.PatientID) == (IDENTITIES["PatientName"], IDENTITIES["PatientID"])
        assert result.get("PixelData") == clean[kind].get("PixelData")
        _assert_shown(hospital, result)
    # Read with pydicom alone, the three kinds of SEG are one mask.
    masks = {kind: d.pixel_array for kind, d in found.items() if d.Modality == "SEG"}
    count = int(masks["BINARY"].sum())
    assert count > 0
    assert int((masks["LABELMAP"] > 0).sum()) == count
    lesion = masks["FRACTIONAL"] > found["FRACTIONAL"].MaximumFractionalValue / 2
    assert abs(int(lesion.sum()) - count) <= 0.01 * count  # In steps of 1/255 there are ties.
    for path in back:
        _assert_valid(path, tmp_path)


def test_a_result_of_an_identified_series_goes_home_when_it_was_asked_for(hospital, stored, tmp_path):
    archive = hospital.archive(tmp_path / "hospital.yaml", tier="internal")
    assert _run("dicomweb", "pull", archive, tmp_path / "pulled", "--study", stored.study).exit_code == 0
    arguments = ("predict", _model(tmp_path / "m.medseg"), tmp_path / "pulled", tmp_path / "out", "--format")
    assert _run(*arguments, "dicom-seg").exit_code == 4
    shutil.rmtree(tmp_path / "out")
    assert _run(*arguments, "nifti", "--internal").exit_code == 2
    predicted = _run(*arguments, "dicom-seg", "--internal")
    assert predicted.exit_code == 0, predicted.output
    assert "may name their patients" in predicted.stderr
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["image_0001.dcm"]
    assert _run("dicomweb", "push", archive, tmp_path / "out").exit_code == 0
    (back,) = _results_of(archive, stored.study, tmp_path / "back")
    assert pydicom.dcmread(back).PatientID == IDENTITIES["PatientID"]
    (tmp_path / "out").chmod(0o755)
    assert "only you can read" in _run(*arguments, "dicom-seg", "--internal").stderr


def _results_of(archive, study, out):
    """Files of a study in the archive that are no images of the scanner."""
    assert _run("dicomweb", "pull", archive, out, "--study", study).exit_code == 0
    return [path for path in out.rglob("*.dcm") if pydicom.dcmread(path, stop_before_pixels=True).Modality != "CT"]


def _kind(dataset):
    """What a result is: its kind of segmentation, or the name of its class."""
    return dataset.get("SegmentationType") or dataset.SOPClassUID.name


def _assert_shown(server, result):
    """Orthanc lists a result by its UIDs, knows its attributes, and draws each frame where it can draw such pixels."""
    uids = result.StudyInstanceUID, result.SeriesInstanceUID, result.SOPInstanceUID
    study, series, instance = (
        f"{part}/{uid}" for part, uid in zip(("studies", "series", "instances"), uids, strict=True)
    )
    (listed,) = server.session.get(f"{server.url}/dicom-web/{study}/{series}/instances").json()
    assert listed["00080018"]["Value"] == [result.SOPInstanceUID]
    (name,) = server.session.post(f"{server.url}/tools/lookup", data=result.SOPInstanceUID).json()
    tags = server.session.get(f"{server.url}/instances/{name['ID']}/simplified-tags").json()
    assert (tags["PatientID"], tags["SeriesDescription"]) == (result.PatientID, result.SeriesDescription)
    frames = int(result.get("NumberOfFrames", 0)) if "PixelData" in result else 0
    for frame in range(frames):
        drawn = server.session.get(f"{server.url}/instances/{name['ID']}/frames/{frame}/rendered")
        assert drawn.status_code == 200
        assert drawn.content.startswith(b"\x89PNG")
    if frames:
        url = f"{server.url}/dicom-web/{study}/{series}/{instance}/frames/{frames}"
        assert server.session.get(url).status_code == 200


def _assert_valid(path, folder):
    """dciodvfy finds no error; of a label map, whose class it doesn't know, none that highdicom's own lacks."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy here; apt-get install dicom3tools")
    excused = []
    if pydicom.dcmread(path, stop_before_pixels=True).get("SegmentationType") == "LABELMAP":
        plain = make_seg(
            source_images(make_ct()), np.eye(24, dtype=np.uint8)[None].repeat(8, 0), ("a",), kind="LABELMAP"
        )
        excused = errors_of(write_seg(plain, folder / "plain.dcm"))
    assert set(errors_of(path)) <= set(excused)


def test_to_a_shareable_archive_the_commands_send_only_what_is_clean(hospital, ct, tmp_path):
    ct.write(tmp_path / "scanner")
    key, archive = tmp_path / "project.key", hospital.archive(tmp_path / "research.yaml")
    _run("deidentify", tmp_path / "scanner", tmp_path / "clean", "--profile", "basic", "--new-key", key)
    assert _run("dicomweb", "push", archive, tmp_path / "scanner", "--key", key).exit_code == 4
    assert _run("dicomweb", "push", archive, tmp_path / "clean").exit_code == 2
    assert hospital.count() == 0
    pushed = _run("dicomweb", "push", archive, tmp_path / "clean", "--key", key)
    assert pushed.exit_code == 0, pushed.output
    assert pushed.stdout == "8 of 8 objects are there, 8 sent now; the archive lists them\n"
    assert hospital.count() == 8


def test_what_is_wrong_with_a_request_is_said_with_exit_status_2(hospital, tmp_path):
    archive = hospital.archive(tmp_path / "a.yaml")
    for arguments, message in (
        (("dicomweb", "find", archive), "--list FILE"),
        (("dicomweb", "pull", tmp_path / "none.yaml", tmp_path / "o", "--study", "1.2"), "docs/pacs.md"),
        (("pacs", "find", archive, "--list", tmp_path / "none.csv"), "cannot be read"),
        (("pacs", "push", archive, tmp_path / "none"), "found none there"),
        (("pacs", "restore", tmp_path, tmp_path, tmp_path / "x", "--key", tmp_path / "none"), "project key"),
    ):
        result = _run(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
    missing = _run("dicomweb", "pull", archive, tmp_path / "o", "--study", "1.2")
    assert missing.exit_code == 3
    assert "line 1 of the list: the archive holds no such study" in missing.stderr
    assert not (tmp_path / "o").exists()
    archive.chmod(0o644)
    assert "chmod 600" in _run("dicomweb", "find", archive, "--study", "1.2").stderr


def test_the_page_on_archives_shows_a_file_that_loads_and_commands_that_exist(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "pacs.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "hospital.yaml").write_text(example)
    (tmp_path / "hospital.yaml").chmod(0o600)
    settings = load_archive(tmp_path / "hospital.yaml")
    assert (settings.tier, settings.dicom.title) == ("internal", "HOSPITAL_PACS")
    commands = re.findall(r"^medseg .*$", page, re.MULTILINE)
    assert len(commands) == 8
    for line in commands:
        words = line.split()[1:]
        place = words[:2] if words[0] in ("dicomweb", "pacs") else words[:1]
        shown = _run(*place, "--help").output
        assert not [word for word in words if word.startswith("--") and word not in shown]
