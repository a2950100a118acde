"""Zip archives as inputs: each member is a file, and one that was made to do harm is refused."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from medseg.privacy.deidentify import deidentify_tree, input_files
from medseg.privacy.outcomes import write_private_list
from medseg.privacy.profile import load_profile
from tests.privacy.corpus import Who, image, save
from tests.privacy.corpus.pictures import png_photo
from tests.privacy.corpus.volumes import nifti

KEY = bytes(range(32))


def clean(tmp_path: Path, *, jobs: int = 1):
    profile = load_profile("research").model_copy(update={"photographs": "pass"})
    return deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY, jobs=jobs)


@pytest.fixture
def who() -> Who:
    return Who(random.Random(11))


@pytest.fixture
def archive(tmp_path: Path):
    (tmp_path / "src").mkdir()
    return zipfile.ZipFile(tmp_path / "src" / "Novakova_Jana.zip", "w", zipfile.ZIP_DEFLATED)


def test_each_member_has_its_outcome_and_lands_where_its_folder_would(tmp_path, archive, who):
    with archive:
        archive.comment = b"from Dr Novak"
        archive.writestr("ct/IM1", save(image(who)))
        archive.writestr("scan.nii.gz", nifti(who))
        archive.writestr("photo.png", png_photo(who))
        archive.writestr("letter.txt", "Novakova")
        archive.writestr("old.zip", b"PK\x03\x04")
    (tmp_path / "src" / "Novakova_Jana").mkdir()
    (tmp_path / "src" / "Novakova_Jana" / "other.nii.gz").write_bytes(nifti(who))
    report = clean(tmp_path)
    assert [o.status for o in report.outcomes] == ["written", "refused", "refused", "written", "written", "written"]
    homes = {o.place.split("/")[0] for o in report.written}
    assert len(homes) == 1
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"ovak" not in everything
    assert clean(tmp_path) == report


def test_members_are_cleaned_alike_in_several_processes(tmp_path, archive, who):
    with archive:
        for number in range(40):
            archive.writestr(f"{number}.png", png_photo(who))
    first = clean(tmp_path, jobs=2)
    assert len(first.written) == 40
    files = {o.place: (tmp_path / "out" / o.place).read_bytes() for o in first.written}
    (tmp_path / "out").rename(tmp_path / "two")
    assert {o.place: (tmp_path / "out" / o.place).read_bytes() for o in clean(tmp_path).written} == files


@pytest.mark.parametrize("name", ["../up.png", "/abs.png", "C:\\x.png", "a/../../b.png", "..\\up.png"])
def test_a_member_whose_name_leads_out_is_refused_and_the_others_are_taken(tmp_path, archive, who, name):
    with archive:
        archive.writestr(name, png_photo(who))
        archive.writestr("good.png", png_photo(who))
    report = clean(tmp_path)
    assert (len(report.written), len(report.refused)) == (1, 1)
    assert "leads out" in report.refused[0].reason
    assert {p.name for p in tmp_path.iterdir()} == {"src", "out"}


def test_links_and_encrypted_members_are_refused_and_named_in_the_private_list_only(tmp_path, archive, who):
    with archive:
        link = zipfile.ZipInfo("Novakova.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret.png", png_photo(who))
    path = tmp_path / "src" / "Novakova_Jana.zip"
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    path.write_bytes(bytes(data))
    report = clean(tmp_path)
    assert [o.reason.split()[1] for o in report.refused] == ["link", "encrypted"]
    write_private_list(tmp_path / "list.csv", input_files(tmp_path / "src"), report)
    assert "Novakova_Jana.zip!/Novakova.png" in (tmp_path / "list.csv").read_text()


def test_bombs_damage_overlaps_and_doubled_names_are_refused_as_one_input(tmp_path, who):
    source = tmp_path / "src"
    source.mkdir()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.png", png_photo(who))
        made.writestr("b.png", png_photo(who))
    good = stream.getvalue()
    (source / "cut.zip").write_bytes(good[:-30])
    huge = bytearray(good)
    place = huge.index(b"PK\x01\x02")
    struct.pack_into("<I", huge, place + 24, 0xFFFFFFF0)
    struct.pack_into("<I", huge, huge.rindex(b"PK\x01\x02") + 24, 0xFFFFFFF0)
    (source / "bomb.zip").write_bytes(bytes(huge))
    lapped = bytearray(good)
    struct.pack_into("<I", lapped, lapped.rindex(b"PK\x01\x02") + 42, 0)
    (source / "overlap.zip").write_bytes(bytes(lapped))
    (source / "twice.zip").write_bytes(good.replace(b"b.png", b"a.png"))
    with zipfile.ZipFile(source / "void.zip", "w"):
        pass
    reasons = [o.reason for o in clean(tmp_path).refused]
    assert len(reasons) == 5
    for word, reason in zip(("great many", "damaged", "overlap", "one name", "empty"), reasons, strict=True):
        assert word in reason
