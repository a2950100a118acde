"""Images of a prediction: the uncertainty map and the overlay."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest

from medseg.data.dicom import read_series
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_volume
from medseg.errors import GeometryError
from medseg.export.dicom_frames import read_source_frames
from medseg.export.dicom_map import write_uncertainty_map
from medseg.export.dicom_overlay import draw_frames
from medseg.inference.predict import Prediction
from medseg.inference.uncertainty import normalised_entropy
from tests.data.dicom_factory import make_series
from tests.export.source_series import ALGORITHM, LABELS
from tests.export.written import CLEAN, chance_prediction, write_chance


def test_the_uncertainty_map_comes_back_value_for_value(tmp_path):
    series = make_series(extra=CLEAN)
    files = series.write(tmp_path / "ct")
    volume = read_series(files)
    prediction = chance_prediction(volume)
    path = write_chance(volume, files, tmp_path / "out", "dicom-uncertainty", prediction=prediction)
    back = read_volume(path)
    assert np.array_equal(back.array[0], normalised_entropy(prediction.probabilities))
    assert back.geometry.corner_distance(volume.geometry) < 1e-3
    content = pydicom.dcmread(path)
    assert content.FrameOfReferenceUID == series.frame
    mapping = content.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.MeasurementUnitsCodeSequence[0].CodeValue, mapping.RealWorldValueSlope) == ("1", 1.0)
    with pytest.raises(GeometryError, match="from 0 to 1"):
        write_uncertainty_map(
            back.array[0] + 1, volume.affine, files, tmp_path / "no.dcm", labels=LABELS, algorithm=ALGORITHM
        )


def test_entropy_has_its_closed_form():
    even, sure, two = np.full(3, 1 / 3), np.array([1.0, 0, 0]), np.array([0.5, 0.5, 0])
    found = normalised_entropy(np.stack([even, sure, two], axis=1).reshape(3, 3, 1))
    assert found[:, 0] == pytest.approx([1, 0, np.log(2) / np.log(3)], abs=1e-6)
    assert np.isnan(normalised_entropy(np.zeros((2, 1, 1)))).all()


def test_the_overlay_is_the_series_with_the_labels_drawn_in(tmp_path):
    series = make_series((3, 20, 24), extra=CLEAN)
    files = series.write(tmp_path / "ct")
    volume = read_series(files)
    label = np.zeros(volume.shape, np.uint8)
    label[4:12, 6:14, 1], label[20, 2, 2] = 5, 2
    prediction = Prediction(label, volume.geometry)
    path = write_chance(volume, files, tmp_path / "out", "dicom-overlay", prediction=prediction)
    content = pydicom.dcmread(path)
    frames = content.pixel_array
    source = read_source_frames(files, volume.shape, volume.affine, what="x", identified="refuse")
    assert np.array_equal(frames, draw_frames(volume, label, source, colours={5: (0, 200, 0)}))
    assert frames[1, 6, 4].tolist() == [0, 200, 0]  # row 6, column 4: the outline's corner
    assert (frames[0, ..., 0] == frames[0, ..., 1]).all()
    assert [i.ReferencedSOPInstanceUID for i in content.SourceImageSequence] == [
        s.SOPInstanceUID for s in series.slices
    ]
    assert (content.PatientID, content.StudyInstanceUID) == (series.patient, series.study)
    (tmp_path / "again").mkdir()
    shutil.copy(path, tmp_path / "again")
    import_tree(tmp_path / "again", tmp_path / "imported", options=ImportOptions())
    cases = read_manifest(tmp_path / "imported" / "manifest.csv").cases
    assert len(cases) == 3
    pictures = sorted(read_volume(case.images["image"]).array.tobytes() for case in cases)
    assert pictures == sorted(np.moveaxis(frame, -1, 0).transpose(0, 2, 1).tobytes() for frame in frames)
