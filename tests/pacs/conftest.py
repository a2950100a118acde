"""Fixtures of the archive's tests: one Orthanc for all of them, emptied before each, and a CT study to put in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.dicom_factory import Series, make_series
from tests.pacs.servers import Certificates, Orthanc, make_certificates, orthanc

IDENTITIES = {
    "PatientName": "Novakova^Jana", "PatientID": "MRN-4711-0815", "PatientBirthDate": "19480217", "PatientSex": "F",
    "AccessionNumber": "ACC20190304", "StudyDate": "20190304", "StudyTime": "101112", "StudyID": "ST-99",
    "ReferringPhysicianName": "Housek^Petr", "InstitutionName": "Nemocnice Na Kopci",
    "Manufacturer": "ACME", "SeriesNumber": 3, "PositionReferenceIndicator": "",
}  # fmt: skip


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def hospital(_server: Orthanc) -> Orthanc:
    """The hospital's archive, empty."""
    _server.clear()
    return _server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def ct() -> Series:
    """A CT series of 8 slices with a bright ball, that names its patient."""
    return make_ct()


def make_ct(slices: int = 8, size: int = 24, **changed: str) -> Series:
    """A CT series with a bright ball; its rows and columns are `size`."""
    made = make_series((slices, size, size), spacing=(1.0, 1.0, 3.0), extra={**IDENTITIES, **changed})
    z, y, x = np.indices(made.voxels.shape)
    ball = 900 * np.exp(-(((z - slices / 2) * 3) ** 2 + (y - size / 2) ** 2 + (x - size / 2) ** 2) / 40)
    made.voxels[:] = 1000 + ball + np.random.default_rng(1).normal(0, 20, made.voxels.shape)
    for data, plane in zip(made.slices, made.voxels, strict=True):
        data.PixelData = np.ascontiguousarray(plane).tobytes()
        data.RescaleIntercept = -1024
    return made


@pytest.fixture
def stored(hospital: Orthanc, ct: Series, tmp_path: Path) -> Series:
    """The CT series, in the hospital's archive."""
    hospital.add(*ct.write(tmp_path / "scanner"))
    return ct
