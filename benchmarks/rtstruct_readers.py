"""Predicted RTSTRUCTs in other programs: the voxels that plastimatch, rt-utils and dcmrtstruct2nii see in them.

usage: python benchmarks/rtstruct_readers.py MODEL SERIES     (needs benchmarks/requirements.txt, Debian's plastimatch)

A model labels the de-identified DICOM series of a folder, once as NIfTI, once as RTSTRUCT. Every program then opens the
RTSTRUCT beside its series, and its mask of each structure is compared with the label map, voxel by voxel: how many
voxels each has, in how many they differ, and Dice.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.dicom import find_series
from medseg.data.readers import read_label
from medseg.types import Affine, LabelMap

Masks = Mapping[str, np.ndarray]


def ours(rtstruct: Path, series: Path, _aside: Path, affine: Affine) -> Masks:
    """Masks by medseg's own reader, by name."""
    label, grid = read_label(rtstruct, image=series)
    assert np.abs(grid.affine - affine).max() < 1e-3
    names = {roi.ROINumber: roi.ROIName for roi in pydicom.dcmread(rtstruct).StructureSetROISequence}
    return {str(name): label == number for number, name in names.items()}


def by_plastimatch(rtstruct: Path, series: Path, aside: Path, affine: Affine) -> Masks:
    """Masks by plastimatch, turned onto the label map's axes."""
    command = ["plastimatch", "convert", "--input", str(rtstruct), "--referenced-ct", str(series)]
    command += ["--output-prefix", str(aside / "plastimatch"), "--prefix-format", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    return {path.stem: _on_axes(nib.load(path), affine) for path in sorted((aside / "plastimatch").glob("*.nii"))}


def by_rt_utils(rtstruct: Path, series: Path, _aside: Path, affine: Affine) -> Masks:
    """Masks by rt-utils; its slices run as the series' positions do."""
    from rt_utils import RTStructBuilder, image_helper

    def empty(images: list[pydicom.Dataset]) -> np.ndarray:
        return np.zeros((images[0].Rows, images[0].Columns, len(images)), dtype=bool)

    # Version 1.2.7 makes its masks (columns, rows) and draws (rows, columns): what isn't square is cut off.
    image_helper.create_empty_series_mask = empty
    image_helper.create_empty_slice_mask = lambda image: empty([image])[..., 0]
    built = RTStructBuilder.create_from(dicom_series_path=str(series), rt_struct_path=str(rtstruct))
    masks = {name: built.get_roi_mask_by_name(name).transpose(1, 0, 2) for name in built.get_roi_names()}
    first, last = built.series_data[0].ImagePositionPatient, built.series_data[-1].ImagePositionPatient
    upward = np.dot(np.subtract(last, first) * (-1, -1, 1), affine[:3, 2]) > 0
    return masks if upward else {name: mask[..., ::-1] for name, mask in masks.items()}


def by_dcmrtstruct2nii(rtstruct: Path, series: Path, aside: Path, affine: Affine) -> Masks:
    """Masks by dcmrtstruct2nii, turned onto the label map's axes."""
    pydicom.read_file = pydicom.dcmread  # Version 5 calls it by a name that pydicom 3 gave up.
    from dcmrtstruct2nii import dcmrtstruct2nii

    with contextlib.redirect_stdout(io.StringIO()):
        dcmrtstruct2nii(str(rtstruct), str(series), str(aside / "theirs"), convert_original_dicom=False)
    found = sorted((aside / "theirs").glob("mask_*.nii.gz"))
    return {path.name[len("mask_") : -len(".nii.gz")]: _on_axes(nib.load(path), affine) for path in found}


def _on_axes(image: nib.Nifti1Image, affine: Affine) -> np.ndarray:
    """A mask of the same voxels with its axes turned as those of `affine`."""
    ways = nib.io_orientation(np.linalg.inv(affine) @ image.affine)
    turned = image.as_reoriented(ways)
    assert np.abs(turned.affine - affine).max() < 1e-2, "it lies elsewhere"
    return np.asarray(turned.dataobj) > 0


PROGRAMS: Mapping[str, Callable[[Path, Path, Path, Affine], Masks]] = {
    "medseg": ours,
    "plastimatch": by_plastimatch,
    "rt-utils": by_rt_utils,
    "dcmrtstruct2nii": by_dcmrtstruct2nii,
}


def _predicted(model: str, source: str, out: Path) -> Iterator[tuple[Path, LabelMap, Affine]]:
    """Each RTSTRUCT, and the same prediction as a label map."""
    for output_format in ("nifti", "rtstruct"):
        arguments = ["predict", model, source, str(out / output_format), "--format", output_format, "--fast"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code in (0, 3), result.output
    for path in sorted((out / "rtstruct").glob("*.rtstruct.dcm")):
        label, grid = read_label(out / "nifti" / f"{path.name.removesuffix('.rtstruct.dcm')}.nii.gz")
        yield path, label, grid.affine


def main() -> None:
    """Compare, a line for each image, structure and program."""
    model, source = sys.argv[1:]
    series = {one.series_uid: one.files for one in find_series(Path(source))[0]}
    with tempfile.TemporaryDirectory() as name:
        for number, (rtstruct, label, affine) in enumerate(_predicted(model, source, Path(name) / "out"), start=1):
            frame = pydicom.dcmread(rtstruct).ReferencedFrameOfReferenceSequence[0]
            referred = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID
            folder = Path(name) / f"series_{number}"
            folder.mkdir()
            for count, path in enumerate(series[referred]):
                shutil.copy(path, folder / f"{count:04d}.dcm")
            for program, masks in PROGRAMS.items():
                aside = Path(name) / f"{program}_{number}"
                aside.mkdir()
                _compare(f"image {number}  {program:16}", masks(rtstruct, folder, aside, affine), label)


def _compare(told: str, masks: Masks, label: LabelMap) -> None:
    values = [int(value) for value in np.unique(label) if value]
    assert len(masks) == len(values) or len(values) == 0
    for (structure, mask), value in zip(masks.items(), values, strict=False):
        own = label == value
        common = int((own & mask).sum())
        dice = 2 * common / (int(own.sum()) + int(mask.sum()))
        differ = int((own != mask).sum())
        print(
            f"{told} {structure:12} predicted {own.sum():8,}  read {mask.sum():8,}  differ {differ:7,}  Dice {dice:.4f}"
        )


if __name__ == "__main__":
    main()
