"""The demo's predictions as files for other programs, and the proof that the DICOM SEG among them is true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import medseg
from medseg.data.manifest import Case, Manifest
from medseg.demo.studies import CT, SKIN, counted
from medseg.errors import RequestError
from medseg.studies.reporting import StudyProgress

if TYPE_CHECKING:
    from medseg.data.volume import Volume
    from medseg.studies.crossval import StudyOutcome
    from medseg.types import Affine, LabelMap

__all__ = ["export_best"]


def export_best(
    out: Path, outcomes: Mapping[str, StudyOutcome], manifests: Mapping[str, Manifest], progress: StudyProgress
) -> bool:
    """The best prediction of each study as files for other programs; return whether the SEG, read back, is true."""
    from medseg.data.cases import read_case_image
    from medseg.data.readers import read_label
    from medseg.export import Algorithm, read_package, write_dicom_seg, write_nifti, write_overlay_png, write_png

    export = out / "export"
    with counted(progress, "export", 4) as advance:
        case, prediction = _best(outcomes[CT], manifests[CT])
        label_map, geometry = read_label(prediction)
        write_nifti(label_map, geometry.affine, export / f"{case.case}.nii.gz")
        advance()
        volume = read_case_image(case, channels=manifests[CT].card.channels)
        write_overlay_png(volume, label_map, export / f"{case.case}.png")
        advance()
        seg = export / f"{case.case}.dcm"
        write_dicom_seg(
            label_map,
            geometry.affine,
            _series_of(volume, out / "clean" / CT),
            seg,
            labels=manifests[CT].card.labels,
            algorithm=Algorithm(CT, medseg.__version__, read_package(out / f"{CT}.medseg").digest),
        )
        advance()
        picture, mask = _best(outcomes[SKIN], manifests[SKIN])
        write_png(read_label(mask)[0], export / f"{picture.case}.png")
        advance()
    return _same_voxels(seg, label_map, geometry.affine)


def _best(outcome: StudyOutcome, manifest: Manifest) -> tuple[Case, Path]:
    """The case with the highest Dice, and its out-of-fold prediction."""
    from medseg.studies import read_cases
    from medseg.studies.predicted import find_prediction

    scored = [row for row in read_cases(outcome.run) if not math.isnan(row["dice"])]
    if not scored:
        raise RequestError("no case of the demo has a Dice; delete the folder and run the demo again")
    row = max(scored, key=lambda row: (row["dice"], row["case"]))
    folders = sorted(outcome.run.glob("fold_*/predictions"))
    found = [path for folder in folders if (path := find_prediction(folder, row["case"])) is not None]
    return manifest.select([row["case"]])[0], found[0]


def _series_of(wanted: Volume, clean: Path) -> Sequence[Path]:
    """The files of the de-identified series that a volume was imported from: the one with its very voxels."""
    import numpy as np

    from medseg.data.dicom import find_series, read_series
    from medseg.errors import DataError

    for series in find_series(clean)[0]:
        try:
            volume = read_series(series.files)
        except DataError:
            continue
        if volume.geometry.corner_distance(wanted.geometry) < 1e-2 and np.array_equal(volume.array, wanted.array):
            return series.files
    raise RequestError("the source series of a case is gone; delete the folder and run the demo again")


def _same_voxels(seg: Path, label_map: LabelMap, affine: Affine) -> bool:
    """Whether the SEG, as highdicom reads it, marks the same places of the patient as the label map."""
    import highdicom as hd
    import numpy as np

    volume = hd.seg.segread(seg).get_volume(combine_segments=True)
    marked = np.argwhere(volume.array > 0)
    lps = volume.affine @ np.c_[marked, np.ones(len(marked))].T
    index = np.linalg.inv(affine) @ (lps * [[-1], [-1], [1], [1]])
    found = {tuple(v) for v in np.rint(index[:3]).astype(int).T.tolist()}
    return found == {tuple(v) for v in np.argwhere(label_map > 0).tolist()}
