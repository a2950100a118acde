"""The page of thumbnails: every case, its findings, nothing from outside and nothing that identifies."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.card import Card
from medseg.data.manifest import read_manifest
from medseg.data.quality import check_manifest
from medseg.data.volume import Volume
from medseg.errors import PrivacyError
from medseg.report.thumbnails import label_colours, thumbnail, write_thumbnails
from tests.data.cohort import picture_cohort, volume_cohort


def test_the_page_shows_every_case_with_its_finding_and_loads_nothing(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path, cases=4)
    (tmp_path / "labels" / "C0002.nii.gz").write_bytes(b"broken")
    result = CliRunner().invoke(
        app, ["manifest", "check", str(manifest.path), "--thumbnails", str(tmp_path / "a.html")]
    )
    assert result.exit_code == 3
    page = (tmp_path / "a.html").read_text()
    assert re.findall(r"<b>(C\d{4})</b>", page)[:2] == ["C0002", "C0000"]
    assert page.count("<figure") == 4
    assert page.count("data:image/jpeg;base64,") == 3
    assert "label is empty" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page


def test_the_outline_is_drawn_where_the_label_is() -> None:
    image = np.zeros((1, 40, 30, 6), np.float32)
    label = np.zeros((40, 30, 6), np.uint8)
    label[2:8, 22:28, 2:4] = 1  # RAS+: the patient's left front, which is at the top on the right.
    colours = label_colours(Card(title="x", labels={1: "lesion"}))
    data = thumbnail(Volume(image, np.diag([1.0, 1, 2, 1]), ("a",), "CT"), label, colours)
    rows, columns = (abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - colours[1]).max(axis=-1) < 90).nonzero()
    assert rows.size > 50
    assert rows.mean() < 104 < columns.mean()


def test_photographs_keep_their_shape_on_the_page(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path, cases=2)
    write_thumbnails(manifest, check_manifest(manifest), tmp_path / "a.html")
    data = re.findall(r"base64,([^\"]+)", (tmp_path / "a.html").read_text())[0]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape == (208, 208, 3)
    assert picture[:20].max() < 30  # 96 x 72 pixels leave 26 dark rows above and below.
    assert picture[104].max() > 60


def test_the_gate_stops_a_title_that_identifies(tmp_path: Path) -> None:
    from medseg.privacy.identities import IdentityIndex, read_clear_list

    manifest = picture_cohort(tmp_path, cases=2)
    card = manifest.path.with_suffix(".yaml")
    card.write_text(card.read_text().replace("title: pictures", "title: Lesions of Erika Mustermann"))
    names = tmp_path / "names.txt"
    names.write_text("Erika Mustermann\n")
    index = IdentityIndex()
    index.add(read_clear_list(names))
    changed = read_manifest(manifest.path)
    with pytest.raises(PrivacyError):
        write_thumbnails(changed, check_manifest(changed), tmp_path / "a.html", identities=index)
    assert not (tmp_path / "a.html").exists()
