"""Mutated real files against every reader: nothing but a volume or a MedsegError, in bounded time and memory.

    MEDSEG_TEST_DATA=DATA python benchmarks/fuzz_readers.py --seconds 600

A child process reads one mutated file after another with an address space of 2 GB above what the imports take and an
alarm for each file. The parent tells a crash, a hang and a foreign exception from a refusal, and starts a new child
after a crash. Mutations: flipped bits, bytes set to extremes, blocks zeroed, repeated, removed or swapped, truncation,
and numbers replaced by huge ones; of what is compressed, half of the time before it is compressed; of DICOM and text,
half of the time changes that keep its form (`fuzz_trees.py`). Label files, media and archives are imported with what
belongs to them. The seed decides everything. Prints the counts of each reader and, for every finding, where it came
from; exit status 1 on any.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import nibabel  # noqa: F401  # Before the limit of memory, as all that is heavy.
import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_trees import Tree, mutate_dicom, mutate_text, read_tree, trees
from fuzz_volumes import mutate_json, volume_trees

import medseg.data.dicom
import medseg.data.itk
import medseg.data.nifti
import medseg.data.pictures  # noqa: F401  # As nibabel.
from medseg.data.archive import opened
from medseg.data.card import read_card
from medseg.data.dicom import find_series
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_geometry, read_label, read_volume
from medseg.errors import MedsegError

_ABOVE = 2 << 30
_FILE_SECONDS = 30
_LARGEST = 2 << 20
_TEXT = (".csv", ".yaml", ".json", ".xml", ".txt", ".mha", ".nrrd")
_FORMED = {".dcm": mutate_dicom, "DICOMDIR": mutate_dicom, **dict.fromkeys(_TEXT, mutate_text)}
"""Ending to the mutation that keeps a file's form."""
_HOSTILE = {"label stack": mutate_json, "COCO volume": mutate_json}
"""Tree to what is done to its JSON half of the time."""


def collect(root: Path, scratch: Path) -> dict[str, list[bytes]]:
    """Real files by reader, and small ones of formats that the test data lack, written here."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for path in sorted(root.glob("dicom_*/**/*")):
        if path.is_file() and path.stat().st_size < _LARGEST and path.name not in ("SOURCE.md", "info.txt"):
            kind = path.suffix if path.suffix in (".nrrd", ".gz") else ".dcm"
            found[kind].append(path.read_bytes())
    for path in [*sorted(root.glob("msd_hippocampus/*/*.nii.gz"))[:6], *sorted(root.glob("isic2017/*/*"))[:12]]:
        found[".nii.gz" if path.suffix == ".gz" else path.suffix].append(path.read_bytes())
    found[".nii"] = [gzip.decompress(one) for one in found[".nii.gz"]]
    found[".nii.gz"] += found.pop(".gz", [])
    found.update(written(scratch))
    return dict(found)


def written(scratch: Path) -> dict[str, list[bytes]]:
    """A MetaImage, TIFF, BMP, zip, manifest and card, small and valid; a PNG and a JPEG stay in `scratch`."""
    from PIL import Image

    rng = np.random.default_rng(0)
    volume = sitk.GetImageFromArray(rng.integers(0, 100, (6, 7, 8)).astype(np.int16))
    sitk.WriteImage(volume, str(scratch / "a.mha"))
    picture = Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8))
    for name in ("a.tif", "a.bmp", "a.png", "a.jpg"):
        picture.save(scratch / name)
    manifest = "case,patient,image,label,modality,site,sha256,spacing\nC1,P1,a.png,,DERMOSCOPY,,,\n"
    return {
        **{f".{end}": [(scratch / f"a.{end}").read_bytes()] for end in ("mha", "tif", "bmp")},
        ".csv": [manifest.encode()],
        ".yaml": [b"title: t\nchannels: [image]\nlabels: {1: lesion}\nmodality: MR\n"],
        ".zip": [_zip(scratch)],
    }


def _zip(scratch: Path) -> bytes:
    import zipfile

    with zipfile.ZipFile(scratch / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(scratch / "a.mha", "x/a.mha")
        archive.write(scratch / "a.png", "x/a.png")
    return (scratch / "a.zip").read_bytes()


def mutate(content: bytes, rng: np.random.Generator, *, kind: str = "") -> bytes:
    """One to three changes, most of them near the beginning, where the headers are; some keep the form of `kind`."""
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.5:
        return gzip.compress(mutate(gzip.decompress(content), rng), compresslevel=1)
    if kind in _FORMED and rng.random() < 0.5:
        return _FORMED[kind](content, rng)
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = len(data)
        if size < 8:
            break
        place = int(rng.integers(0, size) if rng.random() < 0.3 else min(size - 1, rng.exponential(600)))
        _change(data, place, rng)
    return bytes(data)


def _change(data: bytearray, place: int, rng: np.random.Generator) -> None:
    size = len(data)
    match int(rng.integers(0, 8)):
        case 0:
            data[place] ^= 1 << int(rng.integers(0, 8))
        case 1:
            data[place] = int(rng.choice([0, 1, 127, 128, 255]))
        case 2:
            width = int(rng.choice([2, 4, 8]))
            number = int(rng.choice([0, 1, 65535, 2**31 - 1, 2**32 - 1]))
            data[place : place + width] = number.to_bytes(8, "little")[:width]
        case 3:
            data[place : place + int(rng.integers(1, 64))] = b""
        case 4:
            length = int(rng.integers(1, 64))
            data[place : place + length] = bytes(length)
        case 5:
            block = data[place : place + int(rng.integers(1, 200))]
            data[place:place] = block
        case 6:
            del data[place + 4 if rng.random() < 0.2 else size - 1 - place :]
        case _:
            other = int(rng.integers(0, size))
            data[place : place + 16], data[other : other + 16] = data[other : other + 16], data[place : place + 16]


def read(path: Path) -> None:
    """By the public readers that take a file of this kind."""
    if path.suffix == ".csv":
        read_manifest(path)
    elif path.suffix == ".yaml":
        read_card(path)
    elif path.suffix == ".zip":
        with opened(path, path.parent):
            pass
    else:
        reader = read_label if path.name.endswith((".nrrd", ".png")) else read_volume
        if path.suffix == ".dcm":
            find_series(path.parent)
        readers = [read_geometry, reader, *([read_label] if path.suffix == ".dcm" else [])]
        problems = [problem for one in readers if (problem := _refusal(one, path)) is not None]
        if len(problems) == len(readers):
            raise problems[0]


def _refusal(reader: Callable[[Path], object], path: Path) -> MedsegError | None:
    """Why a reader refuses a file; None where it reads it."""
    try:
        reader(path)
    except MedsegError as error:
        return error
    return None


def work(pipe: Connection) -> None:
    """Read the files that the parent names, and tell what became of each."""
    # Everything heavy is imported above, so that neither the alarm nor the limit of memory meets an import.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg's own words about damaged files.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ABOVE, used + _ABOVE))
    while True:
        target = pipe.recv()
        signal.alarm(_FILE_SECONDS)
        try:
            if isinstance(target, tuple):
                read_tree(*target)
            else:
                read(target)
            pipe.send(("read", ""))
        except MedsegError:
            pipe.send(("refused", ""))
        except MemoryError:
            pipe.send(("memory", "".join(traceback.format_exc().splitlines(keepends=True)[-6:])))
        except BaseException:
            # Whatever it is, it is what the fuzzer looks for.
            pipe.send(("traceback", "".join(traceback.format_exc().splitlines(keepends=True)[-8:])))
        signal.alarm(0)


class Child:
    """A process that reads, started anew after every crash."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=work, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def read(self, target: Path | tuple[Tree, Path]) -> tuple[str, str]:
        """What became of a file, or of a tree in a folder: read, refused, memory, traceback, hang or crash; and why."""
        try:
            self._pipe.send(target)
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            self._start()
            return ("hang", "") if status == -signal.SIGALRM else ("crash", f"exit status {status}")

    def stop(self) -> None:
        """End the process."""
        self._process.kill()


def fuzz(
    files: dict[str, list[bytes] | Tree], *, seconds: float, limit: int, seed: int, keep: Path | None
) -> dict[str, Counter[str]]:
    """Read mutated files, each reader in turn, until the time or the number is up."""
    rng = np.random.default_rng(seed)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in sorted(files)}
    child = Child()
    end = time.monotonic() + seconds
    number = 0
    with tempfile.TemporaryDirectory() as scratch:
        while time.monotonic() < end and number < limit:
            kind = sorted(files)[number % len(files)]
            path, target = _mutant(files[kind], Path(scratch), kind, rng)
            outcome, words = child.read(target)
            counts[kind][outcome] += 1
            if outcome not in ("read", "refused"):
                print(f"{kind} mutant {number}: {outcome}\n{words}", flush=True)
                if keep is not None:
                    (keep / f"{outcome}_{number}_{path.name}").write_bytes(path.read_bytes())
            path.unlink()
            number += 1
    child.stop()
    return counts


def _mutant(
    whole: list[bytes] | Tree, scratch: Path, kind: str, rng: np.random.Generator
) -> tuple[Path, Path | tuple[Tree, Path]]:
    """A mutated file, and what the child is to read: itself or, with the files that belong to it, a tree."""
    if isinstance(whole, Tree):
        name = whole.hostile[int(rng.integers(0, len(whole.hostile)))]
        path = scratch / Path(name).name
        hostile = _HOSTILE.get(kind) if name.endswith(".json") and rng.random() < 0.5 else None
        content = whole.files[name]
        content = hostile(content, rng) if hostile else mutate(content, rng, kind=path.suffix or path.name)
        path.write_bytes(content)
        return path, (whole.with_mutant(content, name), scratch / "tree")
    path = scratch / f"mutant{kind}"
    path.write_bytes(mutate(whole[int(rng.integers(0, len(whole)))], rng, kind=kind))
    return path, path


def main() -> None:
    """Fuzz and print the counts of each reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--limit", type=int, default=10**9, help="largest number of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a reader, by its name in the table; may be given repeatedly")
    parser.add_argument("--keep", type=Path, help="folder for the files that found something")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "trees"
        made = {**trees(root), **volume_trees(root)}
        files = {**collect(Path(os.environ["MEDSEG_TEST_DATA"]), Path(scratch)), **made}
        files = {kind: one for kind, one in files.items() if not arguments.only or kind in arguments.only}
    counts = fuzz(files, seconds=arguments.seconds, limit=arguments.limit, seed=arguments.seed, keep=arguments.keep)
    if arguments.json:
        print(json.dumps({kind: dict(one) for kind, one in counts.items()}))
    else:
        print("| reader of | files | read | refused | other |\n|---|---|---|---|---|")
        for kind, one in counts.items():
            other = one.total() - one["read"] - one["refused"]
            print(f"| {kind} | {one.total():,} | {one['read']:,} | {one['refused']:,} | {other} |")
    sys.exit(int(any(set(one) - {"read", "refused"} for one in counts.values())))


if __name__ == "__main__":
    main()
