"""Where medseg puts every DICOM image of the test data, against an independent reader; a markdown table.

    MEDSEG_TEST_DATA=DATA python benchmarks/dicom_geometry.py

A series of several files is compared with dcm2niix, an enhanced multi-frame file with highdicom, a single frame with
SimpleITK (GDCM); where one can't read it, another of the three is asked. The distance is the largest one, in mm, from a
corner voxel of either grid to the nearest corner voxel of the other, so that a reversed axis, as dcm2niix writes, is no
difference. Images that have no place in the patient are compared by size (SimpleITK) and by the header's pixel spacing
(pydicom). What medseg refuses stands with its reason; where the reason is that files are copies of one image, each file
is compared on its own as well. Exit status 1 where a distance is above 0.01 mm.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom

from medseg.data.dicom import SeriesFiles, find_series, read_sorted_series, sort_series
from medseg.data.volume import Geometry
from medseg.errors import DataError

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TOLERANCE = 1e-2


def corners(geometry: Geometry) -> np.ndarray:
    """World positions of the corner voxels, (8, 3), mm, RAS+."""
    ends = [(0, n - 1) for n in (*geometry.shape, 1)[:3]]
    index = np.array([(*corner, 1) for corner in itertools.product(*ends)], dtype=float)
    return (geometry.affine @ index.T)[:3].T


def distance(ours: Geometry, theirs: Geometry) -> float:
    """Largest distance from a corner of one grid to the nearest of the other; infinity where the sizes differ."""
    if sorted((*ours.shape, 1)[:3]) != sorted((*theirs.shape, 1)[:3]):
        return float("inf")
    apart = np.linalg.norm(corners(ours)[:, None] - corners(theirs)[None], axis=-1)
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))


def by_dcm2niix(files: tuple[Path, ...]) -> Geometry:
    """The grid that dcm2niix writes."""
    import nibabel as nib

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "in"
        folder.mkdir()
        for number, path in enumerate(files):
            shutil.copy(path, folder / f"{number:04d}.dcm")
        subprocess.run(
            ["dcm2niix", "-z", "n", "-m", "y", "-i", "n", "-o", scratch, str(folder)], check=False, capture_output=True
        )
        grids = [Geometry(tuple(image.shape[:3]), image.affine) for image in map(nib.load, Path(scratch).glob("*.nii"))]
        if not grids or any(distance(grids[0], other) > _TOLERANCE for other in grids[1:]):
            raise ValueError(f"{len(grids)} grids written")
        return grids[0]


def by_highdicom(files: tuple[Path, ...]) -> Geometry:
    """The grid of highdicom's volume; its axes are slice, row, column."""
    import highdicom

    (path,) = files
    volume = highdicom.imread(path).get_volume_geometry()
    if volume is None:
        raise ValueError("no regular volume")
    order = np.eye(4)[[2, 1, 0, 3]]
    return Geometry(tuple(volume.spatial_shape[::-1]), _LPS @ volume.affine @ order)


def by_itk(files: tuple[Path, ...]) -> Geometry:
    """The grid of a single frame, or of files in the order of their slices, by SimpleITK."""
    import SimpleITK as sitk

    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    names = [str(path) for path in files]
    image = sitk.ReadImage(names if len(names) > 1 else names[0], imageIO="GDCMImageIO")
    dims = image.GetDimension()
    affine = np.eye(4)
    affine[:dims, :dims] = np.array(image.GetDirection()).reshape(dims, dims) * np.array(image.GetSpacing())
    affine[:dims, 3] = image.GetOrigin()
    return Geometry((*image.GetSize(), 1)[:3], _LPS @ affine)


_READERS = {"dcm2niix": by_dcm2niix, "highdicom": by_highdicom, "SimpleITK": by_itk}


def compare(series: SeriesFiles) -> tuple[str, str, float]:
    """What medseg read, by whom it was compared, and the distance in mm; nan where there is none."""
    try:
        volume = read_sorted_series(series)
    except DataError as error:
        return f"refused: {error}", "", float("nan")
    ours = volume.geometry
    told = f"{' x '.join(str(n) for n in ours.shape)}, {' x '.join(f'{v:.4g}' for v in ours.spacing)} mm"
    told += f", {len(volume.channels)} channels" if len(volume.channels) > 1 else ""
    if not series.headers[0].frames[0].is_placed:
        return told, *compare_unplaced(series, ours)
    if len(series.files) > 1:
        order = ("dcm2niix", "SimpleITK")
    else:
        order = ("SimpleITK", "highdicom") if len(ours.shape) == 2 else ("highdicom", "dcm2niix")
    for name in order:
        try:
            return told, name, distance(ours, _READERS[name](series.files))
        except Exception as error:
            # The other readers raise whatever they like; the next one is asked then.
            failed = type(error).__name__
    return told, f"neither {' nor '.join(order)} reads it ({failed})", float("nan")


def compare_unplaced(series: SeriesFiles, ours: Geometry) -> tuple[str, float]:
    """A picture without a place: its size by SimpleITK, its pixel spacing by the header."""
    dataset = pydicom.dcmread(series.files[0], stop_before_pixels=True, force=True)
    tissue = [one for one in dataset.get("SequenceOfUltrasoundRegions", []) if one.RegionSpatialFormat == 1]
    regions = [(10 * one.PhysicalDeltaY, 10 * one.PhysicalDeltaX) for one in tissue]
    stated = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing") or (regions or [(1.0, 1.0)])[0]
    apart = max(abs(ours.spacing[0] - float(stated[1])), abs(ours.spacing[1] - float(stated[0])))
    try:
        size, name = by_itk(series.files).shape[:2], "SimpleITK (size), pydicom (spacing)"
    except RuntimeError:
        size, name = (dataset.Columns, dataset.Rows), "pydicom (size, spacing)"
    return name, apart if size == ours.shape else float("inf")


def rows(folder: Path) -> list[tuple[str, str, str, float]]:
    """File set, what medseg read, by whom it was compared, distance."""
    found = []
    for series in find_series(folder)[0]:
        place = series.files[0].relative_to(folder.parent)
        name = f"{place.parent if len(series.files) > 1 else place}{f' ({series.part})' if series.part else ''}"
        found.append((name, *compare(series)))
        if "are copies of another" in found[-1][1]:
            for path in sorted(series.files):
                for single in sort_series([path])[0]:
                    told = f" ({single.part})" if single.part else ""
                    found.append((f"{path.relative_to(folder.parent)}{told}", *compare(single)))
    return found


def main() -> None:
    """Print the table of all folders `dicom_*` of the test data."""
    root = Path(os.environ["MEDSEG_TEST_DATA"])
    warnings.simplefilter("ignore")
    table = [row for folder in sorted(root.glob("dicom_*")) for row in rows(folder)]
    print("| file set | medseg | compared with | largest distance (mm) |\n|---|---|---|---|")
    for name, told, other, apart in table:
        shown = "" if np.isnan(apart) else f"{apart:.1g}" if apart >= 5e-7 else "0"
        print(f"| {name} | {told} | {other} | {shown} |")
    distances = [apart for *_, apart in table if not np.isnan(apart)]
    refused = sum(told.startswith("refused") for _, told, _, _ in table)
    print(f"\n{len(distances)} images compared, largest distance {max(distances):.2g} mm; {refused} refused; "
          f"{len(table) - refused - len(distances)} that no other reader here reads.")  # fmt: skip
    sys.exit(int(max(distances) > _TOLERANCE))


if __name__ == "__main__":
    main()
