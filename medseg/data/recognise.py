"""Recognition: which files of a folder are images, which are label maps, and what belongs together.

Names of files and folders are read here to pair them, and leave this module only inside `Source`, whose fields the
importer sorts and groups by but never writes.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medseg.data.card import LabelInfo
from medseg.data.dicom_header import looks_like_dicom
from medseg.data.dicom_structures import StructureRule
from medseg.data.label_source import LabelSource
from medseg.data.label_stack import is_stack, stack_files
from medseg.data.readers import LABEL_ENDINGS, PICTURE_ENDINGS, VOLUME_ENDINGS
from medseg.data.reading import DEFAULT_READING, Reading
from medseg.data.refusal import Refusal
from medseg.errors import RequestError
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.data.dicom_sort import SeriesFiles

__all__ = [
    "Choice",
    "Files",
    "Recognised",
    "Source",
    "chosen_modality",
    "count_note",
    "is_mask_name",
    "list_files",
    "modality_of",
    "most_common",
    "pair_key",
    "settle_unlabelled",
    "split_masks",
    "stem_of",
    "unique_stems",
    "words_of",
]

NO_LABEL: Final = "no label map was found for this image; --with-unlabelled takes it without one"
_MASK_WORDS: Final = frozenset(
    [
        "mask",
        "masks",
        "label",
        "labels",
        "lesion",
        "lesions",
        "seg",
        "segmentation",
        "segmentations",
        "segm",
        "roi",
        "gtv",
        "annotation",
        "annotations",
        "gt",
        "groundtruth",
        "tumor",
        "tumour",
        "contour",
        "manual",
        "consensus",
    ]
)
_FINDING_WORDS: Final = frozenset(("lesion", "lesions", "tumor", "tumour", "manual", "consensus"))
_IMAGE_WORDS: Final = frozenset(["image", "images", "img", "imgs", "orig", "original"])
_MODALITY_WORDS: Final = {
    "pet": "PT", "pt": "PT", "suv": "PT", "ct": "CT", "cta": "CT", "cect": "CT", "mr": "MR", "mri": "MR", "t1": "MR",
    "t2": "MR", "t1w": "MR", "t2w": "MR", "t1c": "MR", "t1ce": "MR", "t1gd": "MR", "flair": "MR", "adc": "MR",
    "dwi": "MR", "swi": "MR", "stir": "MR", "dermoscopy": "DERMOSCOPY",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What the researcher fixes; whatever is absent, recognition decides and says so.

    Attributes:
        modality: ``CT``, ``MR``, ``PT``, ``DERMOSCOPY`` or ``OTHER``; chooses among several images of a patient.
        image_pattern: Glob that an image's file name has to match.
        with_unlabelled: Whether images without a label map are taken beside labelled ones.
        labels: Label value to name, as the researcher states them; empty when the data set's own count.
        colours: Colour map of masks in colours (`medseg.data.colours`); None when masks hold values.
        structures: Which structures of DICOM files become which labels, in order of priority; empty for all.
        structure_set: Which of several SEG or RTSTRUCT files of an image count: by a pattern of their label, or
            ``newest``; empty for all.
        reading: Which SUV a DICOM PET becomes, and what becomes of an irregular stack.
        channels: ``NAME`` or ``NAME=PATTERN`` of the images of a patient that are the channels of one case.
    """

    modality: str | None = None
    image_pattern: str | None = None
    with_unlabelled: bool = False
    labels: Mapping[int, str] = field(default_factory=dict)
    structures: tuple[StructureRule, ...] = ()
    structure_set: str = ""
    colours: Path | None = None
    reading: Reading = DEFAULT_READING
    channels: tuple[str, ...] = ()

    def is_image(self, path: Path) -> bool:
        """Whether the pattern lets this file be an image."""
        return self.image_pattern is None or fnmatch.fnmatchcase(path.name.lower(), self.image_pattern.lower())


@dataclass(frozen=True, eq=False)
class Source:
    """What becomes one case.

    Attributes:
        key: Order of the cases, and the name that `--keep-names` keeps. Private.
        patient: What is equal for images of one patient. Private.
        images: Channel to file, when the image is no DICOM series.
        series: The DICOM series, else None.
        label: The file of the label map, or what makes it, or None.
        readers: Annotator to label map, where several drew the same image; then `label` is None. Private.
        modality: As in a manifest; ``OTHER`` when nothing tells.
        problem: Why it can't become a case; empty when it may.
        name: What another tool's data set calls it; empty where none does. Private.
    """

    key: str = field(repr=False)
    patient: str = field(repr=False)
    images: Mapping[str, Path] = field(default_factory=dict, repr=False)
    series: SeriesFiles | None = field(default=None, repr=False)
    label: Path | LabelSource | None = field(default=None, repr=False)
    readers: Mapping[str, Path | LabelSource] = field(default_factory=dict, repr=False)
    modality: str = "OTHER"
    problem: str = ""
    name: str = field(default="", repr=False)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of the case."""
        images = self.series.files if self.series is not None else tuple(self.images.values())
        labels = [path for one in self.label_maps for path in (one.paths if isinstance(one, LabelSource) else (one,))]
        return tuple(one for path in (*images, *labels) for one in (stack_files(path) if is_stack(path) else (path,)))

    @property
    def label_maps(self) -> tuple[Path | LabelSource, ...]:
        """The label map, or those of all annotators."""
        if self.label is not None:
            return (self.label,)
        return tuple(self.readers[name] for name in sorted(self.readers))


@dataclass(frozen=True, eq=False)
class Recognised:
    """What a folder was taken for.

    Attributes:
        layout: In words, for example ``a folder per patient``.
        sources: What becomes a case, or is refused as one.
        refusals: Inputs that can't even be a case.
        labels: Label value to name where the data set states them.
        described: Label value to code and colour too, where the data set states them.
        title: Title where the data set states it.
        licence: Licence where the data set states it.
        notes: What was taken for what, in sentences with counts and without names.
    """

    layout: str
    sources: tuple[Source, ...]
    refusals: tuple[Refusal, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    described: Mapping[int, LabelInfo] = field(default_factory=dict)
    title: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Files:
    """The files below a folder, by kind; links and hidden files are left out. A label stack is one of `volumes`."""

    root: Path
    volumes: tuple[Path, ...]
    pictures: tuple[Path, ...]
    dicom: tuple[Path, ...]
    tables: tuple[Path, ...]
    others: int
    annotations: tuple[Path, ...] = ()
    """JSON and XML files, which may be an annotation tool's; `others` counts them too."""

    @property
    def images(self) -> tuple[Path, ...]:
        """Files that hold an image or a label map on their own."""
        return (*self.volumes, *self.pictures)

    def top(self, path: Path) -> str:
        """First folder below the root on the way to a file; empty for a file in the root."""
        parts = path.relative_to(self.root).parts
        return parts[0] if len(parts) > 1 else ""


def list_files(root: Path) -> Files:
    """Sort the files below a folder by kind: by ending, and where that tells nothing, by the marks of DICOM.

    Raises:
        RequestError: There is no such folder.
    """
    if not root.is_dir():
        raise RequestError("expected a folder (or a file) to import; found none")
    kinds: dict[str, list[Path]] = {
        "volume": [], "picture": [], "dicom": [], "table": [], "annotation": [], "other": []
    }  # fmt: skip
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        stacks = [name for name in folders if is_stack(Path(folder) / name) and not (Path(folder) / name).is_symlink()]
        kinds["volume"] += [Path(folder) / name for name in stacks]
        folders[:] = [name for name in folders if name not in stacks]
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                kinds[_kind(path)].append(path)
    return Files(
        root=root,
        volumes=tuple(kinds["volume"]),
        pictures=tuple(kinds["picture"]),
        dicom=tuple(kinds["dicom"]),
        tables=tuple(kinds["table"]),
        others=len(kinds["other"]) + len(kinds["annotation"]),
        annotations=tuple(kinds["annotation"]),
    )


def stem_of(path: Path) -> str:
    """File name without its ending (``.nii.gz`` counts as one)."""
    name = path.name
    for ending in (*VOLUME_ENDINGS[::-1], *LABEL_ENDINGS, *PICTURE_ENDINGS):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def unique_stems(paths: Sequence[Path], root: Path) -> dict[Path, str]:
    """A name of its own for each file below `root`: its stem, or the whole path joined by _ where stems recur."""
    stems = {path: stem_of(path) for path in paths}
    if len(set(stems.values())) == len(stems):
        return stems
    return {path: "_".join((*path.relative_to(root).parent.parts, stem)) for path, stem in stems.items()}


def is_mask_name(path: Path) -> bool:
    """Whether a word of the file's name says label map. JPEG can't hold one."""
    return _names_mask(path, _MASK_WORDS)


def split_masks(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images and label maps of a folder, by the words of their names.

    Where every name has such a word (``lesion_1``, ``lesion_1_mask``), only the plain ones count.
    """
    for words in (_MASK_WORDS, _MASK_WORDS - _FINDING_WORDS):
        masks = [path for path in paths if _names_mask(path, words)]
        if len(masks) < len(paths):
            return [path for path in paths if path not in masks], masks
    return list(paths), []


def _names_mask(path: Path, words: frozenset[str]) -> bool:
    if path.name.lower().endswith(LABEL_ENDINGS):
        return True
    return bool(words & set(words_of(path))) and path.suffix.lower() not in (".jpg", ".jpeg")


def words_of(path: Path) -> list[str]:
    """Words of a file's stem, in lower case."""
    return [word for word in re.split(r"[^a-z0-9]+", stem_of(path).lower()) if word]


def pair_key(path: Path) -> str:
    """What an image's name and its label map's name have in common: the words that say neither image nor mask."""
    return "_".join(word for word in words_of(path) if word not in _MASK_WORDS | _IMAGE_WORDS)


def modality_of(words: Iterable[str]) -> str:
    """Modality that the words name, or ``OTHER``."""
    return next((_MODALITY_WORDS[word.lower()] for word in words if word.lower() in _MODALITY_WORDS), "OTHER")


def chosen_modality(counts: Mapping[str, int], wanted: str | None) -> tuple[str, str]:
    """The modality to take, and the sentence that says so (empty when there was nothing to choose).

    Args:
        counts: Modality to number of patients that have it.
        wanted: What the researcher asked for.

    Raises:
        RequestError: What was asked for isn't there.
    """
    listed = ", ".join(
        f"{name} ({count})" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    if wanted is not None:
        if wanted not in counts:
            raise RequestError(f"--modality: expected one of those found here, with patients: {listed}")
        return wanted, f"took {wanted} as asked; found, with patients: {listed}" if len(counts) > 1 else ""
    best = min(counts, key=lambda name: (-counts[name], name))
    if len(counts) == 1:
        return best, ""
    return best, f"took {best}, which most patients have; found, with patients: {listed}. --modality takes another"


def count_note(**counts: int) -> str:
    """``36 images, 1 label map``: the counts that aren't 0; each is given under its plural."""
    said = []
    for name, count in counts.items():
        many = name.replace("_", " ")
        said += [counted(count, many if many == "series" else many.removesuffix("s"), many)] if count else []
    return ", ".join(said) or "no file"


def settle_unlabelled(sources: Sequence[Source], choice: Choice) -> tuple[Source, ...]:
    """Where some images have a label map, those without become refusals unless they are wanted."""
    if choice.with_unlabelled or not any(source.label_maps for source in sources):
        return tuple(sources)
    return tuple(
        replace(source, problem=NO_LABEL) if not source.label_maps and not source.problem else source
        for source in sources
    )


def most_common(values: Iterable[str]) -> str:
    """The most frequent value; the first in alphabetical order on a tie."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith((*VOLUME_ENDINGS, *LABEL_ENDINGS)):
        return "volume"
    if name.endswith(PICTURE_ENDINGS):
        return "picture"
    if name.endswith((".csv", ".tsv")):
        return "table"
    if name.endswith((".json", ".xml")):
        return "annotation"
    if name.endswith((".txt", ".md", ".yaml", ".yml", ".pdf", ".zip", ".gz")):
        return "other"
    if name == "dicomdir":
        return "other"  # The list of a medium's files, which are all found without it.
    if name.endswith((".dcm", ".ima")):
        return "dicom"  # Opened once, later; where it isn't what it says, it is refused by name of the file's number.
    return "dicom" if looks_like_dicom(path) else "other"
