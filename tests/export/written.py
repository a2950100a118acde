"""Predictions of chance: made, written in any format, and imported again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import Phase

from medseg.data.dicom_structures import StructureRule
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label
from medseg.data.recognise import Choice
from medseg.data.source import Input
from medseg.data.volume import Volume
from medseg.export.prediction import write_prediction
from medseg.inference.predict import Prediction
from tests.export.source_series import ALGORITHM, LABELS

CLEAN = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "test"}
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # files are slow to shrink on
SEGS = ("dicom-seg", "dicom-seg-labelmap", "dicom-seg-fractional")


def chance_prediction(volume: Volume, *, seed: int = 0) -> Prediction:
    """A label map of chance, and probabilities whose largest it is."""
    generator = np.random.default_rng(seed)
    classes = generator.choice(3, size=volume.shape, p=(0.6, 0.2, 0.2))
    share = generator.uniform(0.5, 0.9, size=volume.shape).astype(np.float16)
    probabilities = np.stack([np.where(classes == n, share, (1 - share) / 2) for n in range(3)]).astype(np.float16)
    return Prediction(np.array([0, 2, 5], np.uint8)[classes], volume.geometry, probabilities)


def write_chance(volume: Volume, files, folder: Path, output_format, *, prediction: Prediction | None = None) -> Path:
    return write_prediction(
        prediction or chance_prediction(volume),
        volume,
        Input("case", lambda: volume, tuple(files)),
        folder,
        output_format=output_format,
        labels=LABELS,
        algorithm=ALGORITHM,
    )


def import_back(source: Path, out: Path):
    """The one case's label map with the values of `LABELS`, and the report."""
    choice = Choice(structures=(StructureRule("tumour"), StructureRule("oedema")), labels={2: "tumour", 5: "oedema"})
    report = import_tree(source, out, options=ImportOptions(choice=choice, labels={2: "tumour", 5: "oedema"}))
    manifest = read_manifest(out / "manifest.csv")
    (case,) = manifest.cases
    return read_label(case.label), manifest, report
