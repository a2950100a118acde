"""Label formats: label files that hold names or colours instead of this data set's values, numbered for all cases.

The layouts pair files by name and place. Here the pairs whose label file is a segmentation of 3D Slicer, a mask in
colours or one of Pascal VOC get what makes their label map, with one value a name over the whole data set. Label stacks
hold values, and name them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from medseg.data.coco_volume import coco_volume_labels
from medseg.data.colours import ColourMap, colour_source, read_colour_map, read_voc_colours, voc_source
from medseg.data.dicom_structures import tabulate
from medseg.data.label_source import LabelSource, content_digest
from medseg.data.label_stack import is_stack, read_stack_header
from medseg.data.pictures import require_same_size
from medseg.data.readers import LABEL_ENDINGS, PICTURE_ENDINGS, read_label
from medseg.data.recognise import Choice, Recognised, Source
from medseg.data.slicer import SLICER_ENDING, Segment, read_segments, slicer_source
from medseg.data.volume import Geometry
from medseg.errors import DataError, GeometryError
from medseg.privacy.vocabulary import is_known_text
from medseg.types import LabelMap
from medseg.wording import counted

__all__ = ["VOC_LABELS", "ignoring", "settle_formats"]

VOC_LABELS = "segmentationclass"
"""Folder of Pascal VOC's masks, in lower case."""


def settle_formats(found: Recognised, choice: Choice, root: Path) -> Recognised:
    """Number what label files name.

    Args:
        found: The pairs.
        choice: What the researcher fixes.
        root: The folder that is imported.

    Raises:
        RequestError: A colour map is wrong, or no segment is left.
    """
    found = _settle_ignored(_name_stacks(_settle_slicer(found, choice)))
    if choice.colours is not None:
        return _settle_colours(found, read_colour_map(choice.colours), _is_picture)
    if any(_is_voc(path) for path in _label_paths(found)):
        if (root / "labelmap.txt").is_file():
            return _settle_colours(found, read_voc_colours(root / "labelmap.txt"), _is_voc)
        note = "Pascal VOC: indices are label values, 255 is to ignore (254 in the copies)"
        changed = _changed(found, {path: voc_source(path) for path in _label_paths(found) if _is_voc(path)})
        return replace(changed, notes=(*changed.notes, note))
    return found


def _label_paths(found: Recognised) -> list[Path]:
    return [one for source in found.sources for one in source.label_maps if isinstance(one, Path)]


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(PICTURE_ENDINGS)


def _is_voc(path: Path) -> bool:
    return path.parent.name.lower() == VOC_LABELS


def _settle_colours(found: Recognised, colours: ColourMap, fits: Callable[[Path], bool]) -> Recognised:
    paths = [path for path in _label_paths(found) if fits(path)]
    sources: dict[Path | LabelSource, LabelSource] = {path: colour_source(path, colours) for path in paths}
    note = (
        f"{counted(len(sources), 'mask')} in colours read by the colour map of {counted(len(colours.labels), 'label')}"
    )
    names = {value: info.name for value, info in colours.labels.items()}
    return replace(_changed(found, sources), labels=names, described=colours.labels, notes=(*found.notes, note))


def _settle_slicer(found: Recognised, choice: Choice) -> Recognised:
    paths = [path for path in _label_paths(found) if path.name.lower().endswith(SLICER_ENDING)]
    if not paths:
        return found
    read: dict[Path, list[Segment]] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            read[path] = read_segments(path)
        except DataError as error:
            problems[path] = str(error)
    structures = [segment.structure for segments in read.values() for segment in segments]
    table = tabulate(structures, choice.structures, choice.labels)
    made: dict[Path | LabelSource, LabelSource] = {
        path: slicer_source(path, segments, table.values, table.order) for path, segments in read.items()
    }
    sources = tuple(_with_problem(source, problems) for source in _changed(found, made).sources)
    return replace(
        found,
        sources=sources,
        labels={**found.labels, **{value: info.name for value, info in table.labels.items()}},
        described={**found.described, **table.labels},
        notes=(*found.notes, f"{counted(len(paths), 'segmentation')} of 3D Slicer", *table.notes()),
    )


def _name_stacks(found: Recognised) -> Recognised:
    """Take the names of the labels of stacks and COCO of volumes, where all agree and nobody else stated names."""
    stacks = _label_paths(found)
    if found.labels or not all(path.name.lower().endswith(LABEL_ENDINGS) for path in stacks):
        return found
    stated: dict[int, set[str]] = {}
    for path in stacks:
        try:
            labels = read_stack_header(path).labels if is_stack(path) else coco_volume_labels(path)
        except DataError:
            continue  # Its case is refused with the reason when it is copied.
        for value, name in labels.items():
            stated.setdefault(value, set()).add(name)
    names = {value: names.pop() for value, names in stated.items() if len(names) == 1}
    is_clear = len(names) == len(stated) == len(set(names.values()))
    known = all(is_known_text(name) and len(name) <= 64 and 1 <= value <= 255 for value, name in names.items())
    if not names or not is_clear or not known:
        return found
    return replace(found, labels=names, notes=(*found.notes, f"{counted(len(stacks), 'label stack')} of slices"))


def _settle_ignored(found: Recognised) -> Recognised:
    """A label that a data set calls "ignore" is none, as in nnU-Net."""
    values = [value for value, name in found.labels.items() if name == "ignore"]
    return ignoring(found, values[0]) if len(values) == 1 else found


def ignoring(found: Recognised, value: int) -> Recognised:
    """The same, where voxels of a value are neither labelled nor background."""
    made = {one: _ignoring(one, value) for source in found.sources for one in source.label_maps}
    return replace(
        _changed(found, made),
        labels={other: name for other, name in found.labels.items() if other != value},
        described={other: info for other, info in found.described.items() if other != value},
        notes=(*found.notes, f'label "ignore": voxels of value {value} don\'t count (data.ignore_label={value})'),
    )


def _ignoring(one: Path | LabelSource, value: int) -> LabelSource:
    if isinstance(one, LabelSource):
        return replace(one, ignore=value if one.ignore is None else one.ignore)

    def read(geometry: Geometry) -> tuple[LabelMap, tuple[str, ...]]:
        label, own = read_label(one)
        if label.ndim == 3 and len(geometry.shape) == 2 and label.shape[2] == 1:
            label, own = label[..., 0], Geometry(label.shape[:2], own.affine)
        if len(geometry.shape) == 2:
            require_same_size(geometry.shape, own.shape)
        elif not geometry.is_on_grid_of(own):
            raise GeometryError("image and label map lie on different grids; resample the label map onto the image")
        return label, ()

    return LabelSource(read=read, paths=(one,), content=content_digest(f"ignore {value}"), ignore=value)


def _with_problem(source: Source, problems: Mapping[Path, str]) -> Source:
    own = [problems[one] for one in source.label_maps if isinstance(one, Path) and one in problems]
    return replace(source, problem=own[0]) if own and not source.problem else source


def _changed(found: Recognised, made: Mapping[Path | LabelSource, LabelSource]) -> Recognised:
    def change(one: Path | LabelSource) -> Path | LabelSource:
        return made.get(one, one)

    sources = tuple(
        replace(
            source,
            label=None if source.label is None else change(source.label),
            readers={name: change(one) for name, one in source.readers.items()},
        )
        for source in found.sources
    )
    return replace(found, sources=sources)
