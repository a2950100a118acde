"""What `fuzz_readers.py` needs of label maps of volumes in other programs' formats, and of coded frames in DICOM.

Label stacks and COCO of a volume are read as label maps, films, JPEG XL, deflated frames and single-bit segmentations
are imported. Their hostile JSON is made here, beside the mutations of `fuzz_trees.py`: shapes, affines and run lengths
that no array has, names that lead elsewhere, and regions without number.
"""

from __future__ import annotations

import copy
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import imagecodecs
import numpy as np
import pydicom
from fuzz_trees import Tree, files_of, mutate_text
from pydicom.encaps import encapsulate
from pydicom.uid import UID, RLELossless

from medseg.data.card import LabelInfo
from medseg.data.volume import Geometry
from medseg.export import write_label_stack
from medseg.export.coco import write_coco_volume
from medseg.inference.predict import Prediction
from tests.data.dicom_factory import make_series
from tests.data.film_factory import make_pictures, write_film
from tests.data.seg_factory import make_seg, segment_numbers, source_images
from tests.export.source_series import ALGORITHM

__all__ = ["mutate_json", "volume_trees"]

_LABELS = {1: LabelInfo(name="lesion"), 200: LabelInfo(name="oedema")}
_LABEL = np.pad(np.full((4, 5, 1), 200, np.uint8), ((2, 3), (2, 3), (1, 1)))
_AFFINE = np.diag([1.0, 1.5, 3.0, 1.0])
_VALUES: tuple[Any, ...] = (
    0, -1, 2**31, 2**63, 10**30, 10**400, 1e308, float("nan"), float("inf"), True, None, "", "../../etc/passwd", "\0",
    "A" * 100_000, [], {}, [[]], [0] * 100_000, [[0, 0, 1, 0, 1, 1]] * 20_000, "o" * 200_000, [2**31, 2**31], [-1, 900],
    [65536, 32768, 1], [1, 1, 65537], [[1, 0, 0, 0]] * 4, [[float("nan")] * 4] * 4,
)  # fmt: skip

_LONGEST = 5_000
"""Letters of a value that is repeated 2,000 times; a mutant reaches the reader through a pipe."""


def volume_trees(scratch: Path) -> dict[str, Tree]:
    """One small tree of each kind."""
    made: dict[str, Callable[[Path], Tree]] = {
        "label stack": _stack, "COCO volume": _coco, "film": _film, "JPEG XL": _jpeg_xl, "deflated frame": _deflated,
        "RLE SEG": _rle_seg,
    }  # fmt: skip
    for name in made:
        (scratch / name.replace(" ", "_")).mkdir(parents=True)
    return {name: make(scratch / name.replace(" ", "_")) for name, make in made.items()}


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Put a hostile value in the place of one to three others, at any depth; as text where it is no JSON."""
    try:
        content = json.loads(data)
    except ValueError:
        return mutate_text(data, rng)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(content))
        if not places:
            break
        parent, key = places[int(rng.integers(0, len(places)))]
        match int(rng.integers(0, 6)):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list) and len(json.dumps(parent[key])) < _LONGEST:
                parent += [copy.deepcopy(parent[key])] * int(rng.choice([1, 100, 2_000]))
            case _:
                parent[key] = copy.deepcopy(_VALUES[int(rng.integers(0, len(_VALUES)))])
    return json.dumps(content).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every value of a JSON as its holder and its key; of a long list the first hundred."""
    found: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting and len(found) < 5_000:
        one = waiting.pop()
        inside = list(one.items()) if isinstance(one, dict) else list(enumerate(one[:100]))
        found += [(one, key) for key, _ in inside]
        waiting += [value for _, value in inside if isinstance(value, dict | list)]
    return found


def _stack(root: Path) -> Tree:
    write_label_stack(_LABEL, _AFFINE, root / "a.slices", labels=_LABELS)
    json_file = "a.slices/geometry.json"
    return Tree(files_of(root), (json_file, json_file, "a.slices/slice_0002.png"), label="a.slices")


def _coco(root: Path) -> Tree:
    prediction = Prediction(_LABEL, Geometry(_LABEL.shape, _AFFINE))
    write_coco_volume(prediction, root / "a.coco.json", labels=_LABELS, algorithm=ALGORITHM)
    content = json.loads((root / "a.coco.json").read_text())
    outline = {"id": 90, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4]]}
    runs = {"id": 91, "image_id": 3, "category_id": 1, "segmentation": {"size": [10, 9], "counts": [40, 7, 43]}}
    content["annotations"] += [outline, runs]
    (root / "a.coco.json").write_text(json.dumps(content))
    return Tree(files_of(root), ("a.coco.json",), label="a.coco.json")


def _film(root: Path) -> Tree:
    write_film(root / "film.dcm", make_pictures())
    av.logging.set_level(None)
    return Tree(files_of(root), ("film.dcm",))


def _coded(root: Path, code: Callable[[np.ndarray], bytes], syntax: str) -> Tree:
    path = make_series((1, 24, 20)).write(root)[0]
    content = pydicom.dcmread(path)
    stored = content.pixel_array
    content.PixelData = encapsulate([code(stored.view(f"u{stored.dtype.itemsize}"))])
    content["PixelData"].VR, content["PixelData"].is_undefined_length = "OB", True
    known = b"1.2.840.10008.1.2.4.201"
    content.file_meta.TransferSyntaxUID = UID(known.decode())
    stream = io.BytesIO()
    content.save_as(stream)
    # pydicom writes no transfer syntax that it doesn't know: one that it knows is written, and exchanged.
    written = stream.getvalue().replace(known, syntax.encode().ljust(len(known), b"\0"), 1)
    return Tree({"a.dcm": written}, ("a.dcm",))


def _jpeg_xl(root: Path) -> Tree:
    return _coded(root, lambda frame: imagecodecs.jpegxl_encode(frame, lossless=True), "1.2.840.10008.1.2.4.110")


def _deflated(root: Path) -> Tree:
    def deflate(frame: np.ndarray) -> bytes:
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(frame.tobytes()) + packer.flush()

    return _coded(root, deflate, "1.2.840.10008.1.2.8.1")


def _rle_seg(root: Path) -> Tree:
    series = make_series((3, 8, 16))
    series.write(root / "ct")
    made = make_seg(source_images(series), segment_numbers((3, 8, 16), values=1))
    frames = np.asarray(made.pixel_array).reshape(-1, 8, 16)
    coded = [imagecodecs.packbits_encode(np.packbits(frame, bitorder="little").tobytes()) for frame in frames]
    header = np.array([1, 64, *[0] * 14], "<u4").tobytes()
    made.PixelData = encapsulate([header + one + b"\0" * (len(one) % 2) for one in coded])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = RLELossless
    made.save_as(root / "seg.dcm")
    return Tree(files_of(root), ("seg.dcm",))
