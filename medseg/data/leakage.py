"""Leakage: the same patient, file or picture on both sides of a split.

A pair of cases is suspect when the files have the same bytes, the decoded images have the same pixels, or the pictures
look alike: a perceptual hash (pHash, Zauner 2010, of the ImageHash library for 2D images in all eight orientations; the
same on a volume of 16 x 16 x 16 blocks brought to RAS+) and the correlation of the downsampled pictures must agree. The
thresholds flag none of the 31,125 pairs of 250 dermoscopy images of different lesions and none of the 19,900 pairs of
200 hippocampus crops, and find pictures that were recompressed, resized, rescaled, blurred or mirrored. 2D pictures are
found as well when their rim was cropped (by up to a fifth of each side) or when they were turned by up to 10 degrees
(119 of 120 and 120 of 120 of such copies of 30 dermoscopy images). Volumes are found wherever they were cropped, by the
voxels that they share (`medseg.data.sketch`), as long as these were not resampled; 2D crops off the middle, and volumes
that were both cropped and resampled, are not.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.data.files import atomic_write
from medseg.data.manifest import Case, Manifest, images_sha256
from medseg.data.sketch import Sketch, shared_parts, sketch_of
from medseg.data.split import Folds
from medseg.data.views import CROPS, TURNS, Floats, area_average, middle, small_picture, views
from medseg.data.volume import Volume
from medseg.errors import LeakageError, ManifestError
from medseg.types import Array

__all__ = [
    "Pair",
    "find_duplicates",
    "find_leaks",
    "parse_pairs",
    "read_acknowledged",
    "refuse_leaks",
    "write_acknowledged",
]

Reason = Literal["same patient", "same bytes", "same pixels", "near-duplicate picture", "same voxels in part"]
_Words = npt.NDArray[np.uint64]

_HASH_SIDE = {2: 16, 3: 6}
_THUMB_SIDE = {2: 32, 3: 16}
_LARGEST_DISTANCE = {2: 0.25, 3: 0.16}
"""Share of the hash's bits that may differ."""
_SMALLEST_CORRELATION = {2: 0.975, 3: 0.92}
_HASH_WORDS = 4


@dataclass(frozen=True)
class Pair:
    """Two cases that are suspected to be one.

    Attributes:
        first: Case id, the smaller of the two.
        second: Case id.
        reason: Why; the strongest of the reasons that hold.
        similarity: Correlation of the downsampled pictures, 1 for equal bytes or pixels, `nan` for a patient; of the
            same voxels in part, which share of those that are remembered of one is in the other.
    """

    first: str
    second: str
    reason: Reason
    similarity: float

    @property
    def key(self) -> tuple[str, str]:
        """The two case ids."""
        return self.first, self.second


@dataclass(frozen=True, eq=False)
class _Parts:
    """Of a 2D picture: a small copy, the hashes of its views (view, word) and of its middle (`medseg.data.views`)."""

    small: npt.NDArray[np.uint8]
    views: _Words
    middle: _Words


@dataclass(frozen=True, eq=False)
class _Print:
    """What is kept of a case's picture: digests, hashes (orientation, word), the first orientation's thumbnail.

    What knows crops again are the parts of a picture, and the sketch of a volume.
    """

    spatial_dims: int
    file_digest: str
    pixel_digest: str
    hashes: _Words
    thumb: Floats
    parts: _Parts | None = None
    sketch: Sketch | None = None


def find_duplicates(
    manifest: Manifest, *, jobs: int = 1, progress: Callable[[], None] | None = None
) -> tuple[Pair, ...]:
    """Pairs of cases with the same bytes, the same pixels or nearly the same picture, whoever their patients are.

    Args:
        manifest: The cases; each image is read once, 20 kB of a 2D one and 24 kB of a volume are kept.
        jobs: Threads that read.
        progress: Called after each case.

    Raises:
        DataError: An image cannot be read.
    """
    from medseg.data.cases import each_case, read_case_image

    def take_print(case: Case) -> _Print:
        volume = read_case_image(case, channels=manifest.card.channels)
        return _print(volume, images_sha256(case.images))

    prints = list(each_case(take_print, manifest.cases, jobs=jobs, progress=progress))
    names = [case.case for case in manifest.cases]
    found: dict[tuple[int, int], Pair] = {}
    for (i, j), reason, similarity in _matches(prints):
        first, second = sorted((names[i], names[j]))
        found.setdefault((i, j), Pair(first=first, second=second, reason=reason, similarity=similarity))
    return tuple(sorted(found.values(), key=lambda pair: pair.key))


def find_leaks(folds: Folds, manifest: Manifest, duplicates: Iterable[Pair]) -> tuple[Pair, ...]:
    """The pairs that stand on both sides of at least one split: patients, then `duplicates`."""
    part_of = [
        {case: part for part in ("training", "validation", "test") for case in getattr(split, part)}
        for split in folds.splits
    ]
    members: dict[str, list[str]] = defaultdict(list)
    for case in manifest.cases:
        members[case.patient].append(case.case)
    patients = [
        Pair(first=first, second=second, reason="same patient", similarity=float("nan"))
        for cases in members.values()
        for first, second in combinations(sorted(cases), 2)
    ]
    return tuple(
        pair
        for pair in (*patients, *duplicates)
        if any(parts.get(pair.first) != parts.get(pair.second) for parts in part_of)
    )


def refuse_leaks(leaks: Iterable[Pair], *, acknowledged: Iterable[tuple[str, str]] = ()) -> None:
    """Raise unless each leak was acknowledged; two cases of one patient cannot be.

    Raises:
        LeakageError: Names every pair and its reason.
    """
    accepted = set(acknowledged)
    open_pairs = [pair for pair in leaks if pair.key not in accepted or pair.reason == "same patient"]
    if not open_pairs:
        return
    lines = [f"  {pair.first} and {pair.second}: {_describe(pair)}" for pair in open_pairs]
    raise LeakageError(
        f"{len(open_pairs)} pair(s) of cases stand on both sides of a split:\n" + "\n".join(lines) + "\n"
        "--group-duplicates keeps such pairs in one fold; "
        f"--acknowledge {open_pairs[0].first}:{open_pairs[0].second} accepts one that you have looked at"
    )


def parse_pairs(texts: Iterable[str], manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Case ids of ``C0001:C0007`` each.

    Raises:
        ManifestError: A text has another form or names a case that isn't in the manifest.
    """
    known = {case.case for case in manifest.cases}
    pairs: list[tuple[str, str]] = []
    for number, text in enumerate(texts, start=1):
        parts = tuple(sorted(text.split(":")))
        if len(parts) != 2 or parts[0] == parts[1] or not set(parts) <= known:
            raise ManifestError(f"--acknowledge, pair {number}: expected two case ids of the manifest, C0001:C0007")
        pairs.append((parts[0], parts[1]))
    return tuple(pairs)


def read_acknowledged(folds_path: Path) -> tuple[tuple[str, str], ...]:
    """The pairs recorded beside a folds file, none when there is no record."""
    path = _acknowledged_path(folds_path)
    if not path.exists():
        return ()
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    if rows[:1] != [["first", "second", "reason"]] or any(len(row) != 3 for row in rows):
        raise ManifestError(f"{path.name}: expected the columns first,second,reason")
    return tuple((row[0], row[1]) for row in rows[1:])


def write_acknowledged(folds_path: Path, leaks: Iterable[Pair]) -> None:
    """Record acknowledged pairs beside a folds file as ``first,second,reason``, atomically; without any, no file."""
    path = _acknowledged_path(folds_path)
    rows = sorted({(pair.first, pair.second, pair.reason) for pair in leaks})
    if not rows:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path, mode="w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["first", "second", "reason"])
        writer.writerows(rows)


def _acknowledged_path(folds_path: Path) -> Path:
    return folds_path.with_name(folds_path.name.removesuffix(".csv") + ".acknowledged.csv")


def _describe(pair: Pair) -> str:
    if pair.reason == "near-duplicate picture":
        return f"{pair.reason} (correlation {pair.similarity:.3f})"
    if pair.reason == "same voxels in part":
        return f"{pair.reason} ({pair.similarity:.0%} of those that are remembered)"
    return pair.reason


def _print(volume: Volume, file_digest: str) -> _Print:
    pixels = np.ascontiguousarray(volume.array, dtype=np.float32)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    spatial_dims = len(volume.shape)
    if spatial_dims == 2:
        luma = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        grey = np.tensordot(luma, pixels, axes=1) if pixels.shape[0] == 3 else pixels[0]
        small = small_picture(grey)
        parts = _Parts(small, np.array([_phash(view) for view in views(small)]), _phash(middle(small)))
        return _Print(2, file_digest, digest.hexdigest(), *_look_2d(grey), parts=parts)
    return _Print(3, file_digest, digest.hexdigest(), *_look_3d(pixels, volume), sketch=sketch_of(pixels[0]))


def _look_2d(grey: Floats) -> tuple[_Words, Floats]:
    """Hashes of the picture in its eight orientations, thumbnail of the first, which is as it was read."""
    side = 4 * _HASH_SIDE[2]
    small = _to_bytes(area_average(grey, (side, side)))
    return np.array([_phash(oriented) for oriented in _orientations(small)]), _thumb_2d(small)


def _phash(picture: npt.NDArray[np.uint8]) -> _Words:
    import imagehash
    from PIL import Image

    return _to_words(imagehash.phash(Image.fromarray(picture), hash_size=_HASH_SIDE[2]).hash)


def _thumb_2d(picture: npt.NDArray[np.uint8]) -> Floats:
    return _standardised(area_average(picture.astype(np.float32), (_THUMB_SIDE[2],) * 2))


def _look_3d(pixels: Floats, volume: Volume) -> tuple[_Words, Floats]:
    """Hash and thumbnail of the first channel, axes flipped and ordered to RAS+."""
    import nibabel
    from scipy.fft import dctn

    blocks = area_average(pixels[0], (_THUMB_SIDE[3],) * 3)
    canonical = nibabel.apply_orientation(blocks, nibabel.io_orientation(volume.affine))
    thumb = _standardised(np.asarray(canonical, dtype=np.float32))
    side = _HASH_SIDE[3]
    low = dctn(thumb.reshape(canonical.shape))[:side, :side, :side].ravel()[1:]
    return _to_words(low > np.median(low))[None], thumb


def _orientations(picture: Array) -> Iterator[Array]:
    for mirrored in (picture, picture[::-1]):
        for quarter_turns in range(4):
            yield np.ascontiguousarray(np.rot90(mirrored, quarter_turns))


def _to_bytes(picture: Floats) -> npt.NDArray[np.uint8]:
    low, high = np.percentile(picture, [0.5, 99.5])
    scaled: Floats = np.clip((picture - low) / max(float(high - low), 1e-12), 0, 1) * 255
    return scaled.astype(np.uint8)


def _standardised(picture: Floats) -> Floats:
    """The picture as a vector of mean 0 and length 1, extremes clipped; all 0 when it is flat."""
    low, high = np.percentile(picture, [1, 99])
    flat = np.clip(picture, low, high).astype(np.float64).ravel()
    flat -= flat.mean()
    length = float(np.sqrt(flat @ flat))
    return (flat / length if length > 1e-9 else np.zeros_like(flat)).astype(np.float32)


def _to_words(bits: npt.NDArray[np.bool_]) -> _Words:
    packed = np.zeros(8 * _HASH_WORDS, dtype=np.uint8)
    content = np.packbits(bits.ravel())
    packed[: content.size] = content
    return packed.view(np.uint64)


def _matches(prints: Sequence[_Print]) -> Iterator[tuple[tuple[int, int], Reason, float]]:
    """Index pairs (smaller first) with their reason; a pair may come more than once, the strongest reason first."""
    for members in _equal([entry.file_digest for entry in prints]).values():
        yield from ((pair, "same bytes", 1.0) for pair in combinations(members, 2))
    for members in _equal([entry.pixel_digest for entry in prints]).values():
        yield from ((pair, "same pixels", 1.0) for pair in combinations(members, 2))
    yield from _alike_in_part(prints)
    for spatial_dims in (2, 3):
        yield from _alike(prints, [i for i, p in enumerate(prints) if p.spatial_dims == spatial_dims], spatial_dims)
    sketched = [(index, entry.sketch) for index, entry in enumerate(prints) if entry.sketch is not None]
    for first, second, share in shared_parts([sketch for _, sketch in sketched]):
        yield (sketched[first][0], sketched[second][0]), "same voxels in part", share


def _equal(digests: Sequence[str]) -> Mapping[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        members[digest].append(index)
    return members


def _alike(
    prints: Sequence[_Print], members: Sequence[int], spatial_dims: int
) -> Iterator[tuple[tuple[int, int], Reason, float]]:
    if len(members) < 2:
        return
    bits = _HASH_SIDE[spatial_dims] ** spatial_dims
    hashes = np.array([prints[i].hashes[0] for i in members])
    thumbs = np.array([prints[i].thumb for i in members])
    for place, index in enumerate(members[:-1]):
        later = slice(place + 1, None)
        differing = np.bitwise_count(prints[index].hashes[:, None] ^ hashes[None, later]).sum(axis=2, dtype=np.int64)
        near = differing <= _LARGEST_DISTANCE[spatial_dims] * bits
        if not near.any():
            continue
        square = prints[index].thumb.reshape((_THUMB_SIDE[spatial_dims],) * spatial_dims)
        oriented = np.array([t.ravel() for t in (_orientations(square) if spatial_dims == 2 else [square])])
        for other in (int(i) + place + 1 for i in np.flatnonzero(near.any(axis=0))):
            similarity = float((oriented[near[:, other - place - 1]] @ thumbs[other]).max())
            if similarity >= _SMALLEST_CORRELATION[spatial_dims]:
                yield (index, members[other]), "near-duplicate picture", min(similarity, 1.0)


def _alike_in_part(prints: Sequence[_Print]) -> Iterator[tuple[tuple[int, int], Reason, float]]:
    """Pairs of pictures of which one looks like the other cropped or turned."""
    found = [(index, entry.parts, entry) for index, entry in enumerate(prints) if entry.parts is not None]
    if len(found) < 2:
        return
    whole = np.array([entry.hashes[0] for _, _, entry in found])
    cores = np.array([parts.middle for _, parts, _ in found])
    limit = _LARGEST_DISTANCE[2] * _HASH_SIDE[2] ** 2
    against = [whole] * len(CROPS) + [cores] * len(TURNS)
    for place, (index, parts, _) in enumerate(found):
        for view, (own, others) in enumerate(zip(parts.views, against, strict=True)):
            near = np.bitwise_count(own ^ others).sum(axis=1, dtype=np.int64) <= limit
            near[place] = False
            if not near.any():
                continue
            thumb = _thumb_2d(views(parts.small)[view])
            for other, their_parts, entry in (found[int(one)] for one in np.flatnonzero(near)):
                theirs = entry.thumb if view < len(CROPS) else _thumb_2d(middle(their_parts.small))
                similarity = float(thumb @ theirs)
                if similarity >= _SMALLEST_CORRELATION[2]:
                    yield (min(index, other), max(index, other)), "near-duplicate picture", min(similarity, 1.0)
