"""One flat folder of many small DICOM files through `medseg import` and `medseg deidentify`.

    python benchmarks/many_files.py SCRATCH --files 100000 --series 500

Makes the files in SCRATCH (about 1 GB for 100,000): slices of 64 x 64 of CT series, all in one folder, no name with an
ending, in an order that says nothing; half of the series without preamble and file meta information (implicit VR), a
few files that are no DICOM between them. Each command runs as a process of its own. Printed: wall-clock time, the
largest resident memory of the process and its workers, and whether the result is right: each series once, with all its
slices, its spacing, and in each slice the value that was written there. The files are removed in the end.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_SIZE = 64
_STRAY = 20
_ROOT = "1.2.826.0.1.3680043.8.498."


def template(*, has_meta: bool) -> bytes:
    """A slice with marks of fixed length where the slices differ."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{_ROOT}11111111"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{_ROOT}22222222", f"{_ROOT}33333333"
    data.FrameOfReferenceUID = f"{_ROOT}44444444"
    data.PatientID, data.PatientName, data.Modality = "PAT55555555", "Test^Many", "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = "20200101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = "120000"
    data.PatientBirthDate, data.PatientSex, data.AccessionNumber = "19500101", "F", "A5555"
    data.Manufacturer, data.StudyDescription, data.BodyPartExamined, data.KVP = "Maker", "Thorax", "CHEST", 120
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", 1, "66666666"
    data.PatientPosition, data.PositionReferenceIndicator = "HFS", ""
    data.ImagePositionPatient, data.ImageOrientationPatient = ["-40", "-30", "77777777"], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.75, 0.5], 2
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
    data.Rows = data.Columns = _SIZE
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = bytes(2 * _SIZE * _SIZE)
    data["PixelData"].VR = "OW"
    stream = io.BytesIO()
    if not has_meta:
        pydicom.dcmwrite(stream, data, implicit_vr=True, little_endian=True)
        return stream.getvalue()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta = meta
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def write_files(folder: Path, *, files: int, series: int) -> None:
    """The files, in an order that says nothing of the series, five series a patient."""
    folder.mkdir(parents=True)
    templates = [template(has_meta=True), template(has_meta=False)]
    slices = files // series
    names = np.random.default_rng(0).permutation(files)
    for number in range(files):
        s, z = divmod(number, slices)
        head = templates[s % 2][: -2 * _SIZE * _SIZE]
        for mark, text in (
            (b"11111111", f"1{number:07d}"), (b"22222222", f"2{s // 5:07d}"), (b"33333333", f"3{s:07d}"),
            (b"44444444", f"4{s // 5:07d}"), (b"55555555", f"{s // 5:08d}"), (b"66666666", f"{z + 1:08d}"),
            (b"77777777", f"{2.0 * z:8.2f}"),
        ):  # fmt: skip
            head = head.replace(mark, text.encode("ascii"))
        pixels = np.full(_SIZE * _SIZE, 1024 + z, dtype="<u2")
        pixels[: _SIZE // 2] = s
        (folder / f"IM{names[number]:07d}").write_bytes(head + pixels.tobytes())
    for number in range(_STRAY):
        (folder / f"NOTE{number}").write_bytes(b"nothing that a reader of DICOM knows")


def run(command: list[str]) -> tuple[int, float, float, str]:
    """Exit status, seconds, largest resident GiB of the process or one of its workers, and what it printed."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "medseg", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peak, told = 0.0, []

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.stdout is not None
    for line in process.stdout:
        told.append(line)
    status = process.wait()
    watcher.join()
    return status, time.perf_counter() - begin, peak, "".join(told)


def _resident(pid: int) -> float:
    """Resident GiB of a process and of all below it, taken together."""
    total = 0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * resource.getpagesize()
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError, IndexError):
            continue
    return total / (1 << 30)


def check_import(out: Path, *, files: int, series: int) -> str:
    """What is wrong with an import; empty where nothing is."""
    slices = files // series
    with (out / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if len(rows) != series or len({row["patient"] for row in rows}) != -(-series // 5):
        return f"expected {series} cases of {-(-series // 5)} patients; found {len(rows)}"
    seen = set()
    for row in rows:
        image = nibabel.load(out / row["image"])
        values = np.asarray(image.dataobj)
        if image.shape != (_SIZE, _SIZE, slices) or not np.allclose(image.header.get_zooms(), (0.5, 0.75, 2)):
            return f"case {row['case']} has another grid"
        along = values[-1, -1]
        if not np.array_equal(np.sort(along), np.arange(slices)) or not np.allclose(
            (image.affine @ [0, 0, 0, 1])[2], 2.0 * along[0]
        ):
            return f"case {row['case']} has its slices in another order"
        seen.add(int(values[0, 0, 0]))
    return "" if len(seen) == series else "series are mixed up"


def check_copies(out: Path, *, files: int) -> str:
    """What is wrong with the clean copies; empty where nothing is."""
    lines = [json.loads(line) for line in (out / "outcomes.jsonl").read_text().splitlines()]
    counts = Counter(line["status"] for line in lines)
    if counts != {"written": files, "refused": _STRAY}:
        return f"expected {files} written and {_STRAY} refused; found {dict(counts)}"
    copies = list(out.rglob("*.dcm"))
    if len(copies) != files:
        return f"expected {files} copies; found {len(copies)}"
    if any(b"PAT0" in path.read_bytes() for path in copies[:: max(1, files // 1000)]):
        return "a copy holds a patient's number"
    return ""


def main() -> None:
    """Make the files, run both commands and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help="keep the files")
    parser.add_argument("--only", choices=("import", "deidentify"))
    arguments = parser.parse_args()
    root = arguments.scratch / "many_files"
    source, imported, clean = root / "source", root / "imported", root / "clean"
    for left in (imported, clean):
        shutil.rmtree(left, ignore_errors=True)
    for left in root.glob("key*") if root.exists() else ():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    if not source.exists():
        write_files(source, files=arguments.files, series=arguments.series)
    jobs = ["--jobs", str(arguments.jobs)]
    commands = {
        "import": ["import", str(source), str(imported), *jobs],
        "deidentify": ["deidentify", str(source), str(clean), "--profile", "research", "--new-key", str(root / "key"),
                       *jobs],
    }  # fmt: skip
    wrong = 0
    print("| command | files | s | files/s | largest memory, GiB | result |\n|---|---|---|---|---|---|")
    for name, command in commands.items():
        if arguments.only not in (None, name):
            continue
        status, seconds, peak, told = run(command)
        problem = f"exit status {status}" if status not in (0, 3) else ""
        if not problem and name == "import":
            problem = check_import(imported, files=arguments.files, series=arguments.series)
        elif not problem:
            problem = check_copies(clean, files=arguments.files)
        wrong += bool(problem)
        rate = arguments.files / seconds
        print(f"| {name} | {arguments.files:,} | {seconds:.0f} | {rate:.0f} | {peak:.2f} | {problem or 'right'} |")
        print(told, file=sys.stderr)
    if not arguments.keep:
        shutil.rmtree(root)
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
