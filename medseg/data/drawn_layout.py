"""Drawn layout: pictures beside the files of an annotation tool (COCO, Labelme, CVAT), and which belongs to which.

A file names its pictures. The name is looked up among the files of the folder only: beside the annotation file, in the
folder to import, in an ``images`` folder of either, and last by its own name if a single picture has it. A name that
leads out of the folder is refused.
"""

from __future__ import annotations

import mmap
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from medseg.data.annotators import annotator_of, join_annotators
from medseg.data.dicom_labels import Structure
from medseg.data.dicom_structures import StructureTable, tabulate
from medseg.data.drawing import Drawing, drawing_source
from medseg.data.drawing_coco import is_coco, parse_coco
from medseg.data.drawing_cvat import is_cvat, parse_cvat
from medseg.data.drawing_labelme import is_labelme, parse_labelme
from medseg.data.json_files import JsonTooLargeError, read_json
from medseg.data.label_source import LabelSource
from medseg.data.recognise import Choice, Files, Recognised, Source, count_note, settle_unlabelled
from medseg.data.refusal import Refusal, most_frequent
from medseg.errors import DataError, ReadError, RequestError
from medseg.wording import counted

__all__ = ["DrawnFile", "find_drawings", "take_drawn"]

_LARGEST_BYTES: Final = 1 << 28
_IMAGE_FOLDERS: Final = ("images", "image", "img", "imgs", "train", "val", "test")
Kind = Literal["COCO", "Labelme", "CVAT"]


@dataclass(frozen=True, eq=False)
class DrawnFile:
    """An annotation file.

    Attributes:
        path: The file.
        kind: Of which tool.
        annotator: Who drew, from the folder's name; empty when it doesn't say. Private.
        drawings: One for each picture that it lists.
        names: Labels that it declares or uses, in its order.
        problem: Why it can't be read; empty when it can.
    """

    path: Path = field(repr=False)
    kind: Kind
    annotator: str = field(repr=False)
    drawings: tuple[Drawing, ...] = field(default=(), repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    problem: str = ""


def find_drawings(files: Files) -> list[DrawnFile]:
    """Read the JSON and XML files of a folder that are an annotation tool's; others are passed over."""
    found = []
    for path in files.annotations:
        one = _read_xml(path, files.root) if path.suffix.lower() == ".xml" else _read_json(path, files.root)
        if one is not None:
            found.append(one)
    return found


def take_drawn(files: Files, choice: Choice, drawn: Sequence[DrawnFile]) -> Recognised:
    """Pictures with the label maps that the annotation files outline.

    Raises:
        RequestError: No label is left, or there are too many.
    """
    index = {path.relative_to(files.root).as_posix(): path for path in files.pictures if choice.is_image(path)}
    refusals = [
        Refusal(f"annotation file {number} of {len(drawn)}", one.problem)
        for number, one in enumerate(drawn, start=1)
        if one.problem
    ]
    of_picture: defaultdict[Path, list[tuple[DrawnFile, Drawing]]] = defaultdict(list)
    for number, one in enumerate(drawn, start=1):
        place = f"of annotation file {number}" if len(drawn) > 1 else "of the annotation file"
        for count, drawing in enumerate(one.drawings, start=1):
            picture = _find_picture(drawing.file, one.path.parent.relative_to(files.root).as_posix(), index)
            if isinstance(picture, Path):
                of_picture[picture].append((one, drawing))
            else:
                refusals.append(Refusal(f"picture {count} of {len(one.drawings)} {place}", picture))
    table = _tabulate(drawn, choice, refusals)
    sources = [_source(path, files.root, of_picture.get(path, []), table) for path in index.values()]
    kinds = Counter(one.kind for one in drawn)
    empty = sum(not drawing.areas and not drawing.problem for pairs in of_picture.values() for _, drawing in pairs)
    notes = [
        count_note(images=len(index), outlined=len(of_picture), annotation_files=len(drawn), tables=len(files.tables)),
        *table.notes(),
        *([f"{counted(empty, 'picture')} listed without any outline: taken as without lesion"] if empty else []),
    ]
    return Recognised(
        layout=f"pictures outlined in {' and '.join(sorted(kinds))}",
        sources=settle_unlabelled(join_annotators(sources), choice),
        refusals=tuple(refusals),
        labels={value: info.name for value, info in table.labels.items()},
        described=table.labels,
        notes=tuple(notes),
    )


def _read_json(path: Path, root: Path) -> DrawnFile | None:
    try:
        content: Any = read_json(path)
    except JsonTooLargeError as error:
        return DrawnFile(path, "COCO", annotator_of(path, root), problem=str(error)) if _is_marked(path) else None
    except ReadError:
        return None
    kind: Kind = "COCO" if is_coco(content) else "Labelme"
    if kind == "Labelme" and not is_labelme(content):
        return None

    def parse() -> tuple[Sequence[Drawing], Sequence[str]]:
        if kind == "COCO":
            drawings, names = parse_coco(content)
            return drawings, list(names)
        one = parse_labelme(content)
        return [one], list(dict.fromkeys(area.name for area in one.areas))

    return _parsed(path, root, kind, parse)


def _is_marked(path: Path) -> bool:
    """Whether a file that is too large to be read holds the words of COCO."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(word) >= 0 for word in (b'"images"', b'"annotations"', b'"categories"'))


def _read_xml(path: Path, root: Path) -> DrawnFile | None:
    if not is_cvat(path):
        return None

    def parse() -> tuple[Sequence[Drawing], Sequence[str]]:
        if path.stat().st_size > _LARGEST_BYTES:
            largest = f"{_LARGEST_BYTES >> 20} MiB"
            raise ReadError(f"CVAT: the XML is larger than {largest}; nothing that large is read. Export it in parts")
        return parse_cvat(path)

    return _parsed(path, root, "CVAT", parse)


def _parsed(
    path: Path, root: Path, kind: Kind, parse: Callable[[], tuple[Sequence[Drawing], Sequence[str]]]
) -> DrawnFile:
    annotator = annotator_of(path, root)
    try:
        drawings, names = parse()
    except DataError as error:
        return DrawnFile(path, kind, annotator, problem=str(error))
    used = [area.name for drawing in drawings for area in drawing.areas]
    return DrawnFile(path, kind, annotator, tuple(drawings), tuple(dict.fromkeys([*names, *used])))


def _find_picture(stated: str, folder: str, index: Mapping[str, Path]) -> Path | str:
    """The picture of that name, or why there is none."""
    name = stated.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name or not name.strip():
        return "it is named by an absolute path; expected one inside the folder. Correct the annotation file"
    direct = posixpath.normpath(posixpath.join(folder, name))
    if direct == ".." or direct.startswith("../"):
        return "its name leads out of the folder that is imported; expected a file inside. Correct the annotation file"
    plain = posixpath.normpath(name).removeprefix("../")
    places = [direct, plain, *(f"{place}/{plain}" for place in _IMAGE_FOLDERS)]
    places += [posixpath.normpath(f"{folder}/{place}/{plain}") for place in _IMAGE_FOLDERS]
    for place in places:
        if place in index:
            return index[place]
    named = [path for path in index.values() if path.name == posixpath.basename(name)]
    if len(named) == 1:
        return named[0]
    if named:
        return f"{len(named)} pictures bear its name; expected one. Write its path into the annotation file"
    return "the picture is missing; expected it beside the annotation file or in a folder named images"


def _tabulate(drawn: Sequence[DrawnFile], choice: Choice, refusals: Sequence[Refusal]) -> StructureTable:
    names = list(dict.fromkeys(name for one in drawn for name in one.names))
    structures = [Structure(number, name) for number, name in enumerate(names, start=1)]
    if not structures:
        told = most_frequent(refusals)
        raise RequestError(
            f"the annotation files outline nothing; expected areas with labels{told and f'. Refused:{told}'}"
        )
    return tabulate(structures, choice.structures, choice.labels)


def _source(path: Path, root: Path, pairs: Sequence[tuple[DrawnFile, Drawing]], table: StructureTable) -> Source:
    key = path.relative_to(root).as_posix()
    problem = next((drawing.problem for _, drawing in pairs if drawing.problem), "")
    by_annotator: dict[str, LabelSource] = {}
    for one, drawing in pairs:
        if one.annotator in by_annotator:
            problem = (
                "several annotation files outline this picture; expected one. Put each annotator's into a folder "
                "named annotations_NAME, or leave one"
            )
        by_annotator[one.annotator] = drawing_source(drawing, table.values, order=table.order)
    return Source(key=key, patient=key, images={"image": path}, readers=by_annotator, problem=problem)
