"""DICOM tree: series in folders of any shape, with label maps (NIfTI, NRRD, MetaImage, PNG) or DICOM label files."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.dicom import series_geometry
from medseg.data.dicom_sort import SeriesFiles, sort_files
from medseg.data.dicom_structures import Outlined, outlined_series
from medseg.data.label_source import LabelSource
from medseg.data.readers import read_geometry
from medseg.data.recognise import (
    Choice,
    Files,
    Recognised,
    Source,
    chosen_modality,
    count_note,
    is_mask_name,
    modality_of,
    pair_key,
    settle_unlabelled,
    stem_of,
)
from medseg.data.volume import Geometry
from medseg.errors import DataError
from medseg.wording import counted

__all__ = ["series_modality", "take_dicom_tree"]

_NO_IMAGE = "not an image"
_NONE_TAKEN = "no structure of the DICOM label files became a label: no image taken here has its label map from them"
_NAMELESS = (
    "its label map holds plain values, and other images here have DICOM label files with several names: nobody can "
    "tell which value is which. State the names with --label, or import the two apart"
)


def take_dicom_tree(files: Files, choice: Choice, *, looking: Callable[[int, int], None] | None = None) -> Recognised:
    """Every series becomes a case; where some have a label map, only those.

    A label map belongs to the series in whose folder it lies; else to the one whose folder bears its name; else to the
    series of the same folder or patient on whose grid it lies. What stays ambiguous is refused.
    """
    found, outlines, refused = sort_files(files.dicom, progress=_counter(looking, len(files.dicom)))
    found = [replace(one, reading=choice.reading) for one in found]
    series = [_found(s, files) for s in found]
    outlined = outlined_series(outlines, found, rules=choice.structures, stated=choice.labels,
                               preferred=[series_modality(one) == choice.modality for one in found],
                               structure_set=choice.structure_set)  # fmt: skip
    plain = _with_labels(series, files)
    sources, superseded = _with_structures(plain, outlined, asked=bool(choice.structures))
    values = {source.key: given for source, given in zip(sources, outlined.values, strict=True)}
    damaged = [refusal for refusal in refused if not refusal.reason.startswith(_NO_IMAGE)]
    objects = len(refused) - len(damaged) - len(outlines)
    notes = [count_note(DICOM_files=len(files.dicom), series=len(found), patients=len({s.patient for s in series}),
                        label_maps=sum(s.label is not None for s in sources), other_files=files.others)]  # fmt: skip
    if objects:
        told = counted(objects, "DICOM object is no image", "DICOM objects are no images")
        notes.append(f"{told} (reports, doses, presentations) and left out")
    notes += [*([outlined.files] if outlined.files else []), *superseded]
    strays = len(files.images) - len({source.label for source in plain if source.label is not None})
    if strays:
        told = counted(
            strays, "volume or picture belongs to no series and is", "volumes or pictures belong to no series and are"
        )
        notes.append(f"{told} left out; a label map lies in its series' folder, or bears that folder's name")
    if any(source.label or source.problem for source in sources):
        sources, sentence = _labelled(sources)
        notes += [sentence] if sentence else []
    modalities = Counter(m for m, _ in {(source.modality, source.patient) for source in sources})
    if len(modalities) > 1 or (choice.modality is not None and modalities):
        wanted, sentence = chosen_modality(modalities, choice.modality)
        notes += [sentence] if sentence else []
        sources = [source for source in sources if source.modality == wanted]
    used = any(isinstance(source.label, LabelSource) for source in sources)
    labels = dict(outlined.table.labels) if used else {}
    if not choice.structures and not choice.labels:
        here = {value for source in sources for value in values[source.key]}
        absent = labels.keys() - here
        labels = {value: info for value, info in labels.items() if value in here}
        notes += [f"{counted(len(absent), 'label')} left out, which no image taken here has"] if absent else []
    if outlined.files:
        notes += outlined.table.notes(labels) if used else [_NONE_TAKEN]
    if used and len(labels) > 1 and not choice.labels:
        sources = [replace(s, label=None, problem=_NAMELESS) if isinstance(s.label, Path) else s for s in sources]
    return Recognised(
        "a DICOM tree",
        settle_unlabelled(sources, choice),
        (*damaged, *outlined.refusals),
        labels={value: info.name for value, info in labels.items()},
        described=labels,
        notes=tuple(notes),
    )


def _with_structures(sources: Sequence[Source], outlined: Outlined, *, asked: bool) -> tuple[list[Source], list[str]]:
    """The sources with their DICOM label files; a label map beside an image counts more unless structures are asked."""
    result = []
    both = 0
    for source, label in zip(sources, outlined.by_series, strict=True):
        beside = source.label is not None or bool(source.problem)
        both += label is not None and beside
        if label is None or (beside and not asked):
            result.append(source)
        elif isinstance(label, str):
            result.append(replace(source, label=None, problem=label))
        else:
            result.append(replace(source, label=label, problem=""))
    if not both:
        return result, []
    taken = "the DICOM label files, as --structure asks" if asked else "the label maps; --structure takes the others"
    told = counted(both, "image has a label map beside it", "images have a label map beside them")
    return result, [f"{told} and a DICOM label file: took {taken}"]


def _counter(looking: Callable[[int, int], None] | None, total: int) -> Callable[[], None] | None:
    if looking is None:
        return None
    numbers = itertools.count(1)
    return lambda: looking(next(numbers), total)


@dataclass(frozen=True, eq=False)
class _Found:
    series: SeriesFiles
    patient: str
    folder: Path
    """Folder of the files; the root where they lie in several."""


@dataclass(frozen=True, eq=False)
class _Claim:
    """The label map of a series, how near it lies (common folders), and why there is none where the choice is open."""

    label: Path | None = None
    near: int = 0
    problem: str = ""


def _found(series: SeriesFiles, files: Files) -> _Found:
    patient = f"id {series.patient}" if series.patient else f"folder {files.top(series.files[0])}"
    folders = {path.parent for path in series.files}
    return _Found(series, patient, folders.pop() if len(folders) == 1 else files.root)


def _with_labels(series: Sequence[_Found], files: Files) -> list[Source]:
    masks = [path for path in files.images if is_mask_name(path)] or files.images
    grids: dict[Path, Geometry | None] = {path: _mask_grid(path) for path in masks}
    claims = _claimed_once([_claim(found, series, masks, grids, files) for found in series])
    return [
        Source(
            key="/".join((found.patient, found.series.study_uid, found.series.series_uid, found.series.part)),
            patient=found.patient,
            series=found.series,
            label=claim.label,
            modality=series_modality(found.series),
            problem=claim.problem,
        )
        for found, claim in zip(series, claims, strict=True)
    ]


def series_modality(series: SeriesFiles) -> str:
    """Modality of a series in the manifest's words: CT, MR, PT, DERMOSCOPY or OTHER."""
    if series.modality in ("CT", "MR", "PT"):
        return series.modality
    return "DERMOSCOPY" if series.modality in ("XC", "DMS", "GM", "ES") else modality_of([series.modality])


def _claim(
    found: _Found, series: Sequence[_Found], masks: Sequence[Path], grids: dict[Path, Geometry | None], files: Files
) -> _Claim:
    """The label map that lies nearest, or the one that bears the name of the series' folder."""
    depths = {path: _common_folders(path, found.folder, files) for path in masks}
    nearest = max(depths.values(), default=0)
    near = [path for path in masks if depths[path] == nearest and nearest > 0]
    named = [path for path in masks if _bears_name(path, found, files)]
    for candidates, is_sure in ((near, _is_alone(found, series, nearest, files)), (named, True)):
        fitting = [path for path in candidates if _fits(found.series, grids[path])]
        if len(fitting) > 1:
            fitting = [path for path in fitting if path in named] or fitting
        if len(fitting) > 1:
            return _Claim(problem=f"{len(fitting)} label maps fit this series; expected one. Leave one beside it")
        if fitting or (is_sure and len(candidates) == 1):
            label = (fitting or candidates)[0]
            return _Claim(label, depths[label])
    return _Claim()


def _common_folders(path: Path, folder: Path, files: Files) -> int:
    """Number of folders below the root that a file and a folder have in common."""
    pairs = zip(path.relative_to(files.root).parts[:-1], folder.relative_to(files.root).parts, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(path.relative_to(files.root).parts) - 1,
                len(folder.relative_to(files.root).parts)))  # fmt: skip


def _is_alone(found: _Found, series: Sequence[_Found], depth: int, files: Files) -> bool:
    """Whether no other series lies below the folder that the series has `depth` folders below the root."""
    parts = found.folder.relative_to(files.root).parts[:depth]
    return all(other is found or other.folder.relative_to(files.root).parts[:depth] != parts for other in series)


def _bears_name(path: Path, found: _Found, files: Files) -> bool:
    """Whether a label map is named after the series' folder, one of the folders above it, or its UID."""
    names = {stem_of(path).lower(), pair_key(path)}
    folders = found.folder.relative_to(files.root).parts
    marks = {form for part in folders for form in (part.lower(), pair_key(Path(part)))}
    return bool((names - {""}) & (marks | {found.series.series_uid}))


def _fits(series: SeriesFiles, grid: Geometry | None) -> bool:
    if grid is None:
        return False
    try:
        own = series_geometry(series)
    except DataError:
        return False
    if len(own.shape) == 2:
        return grid.shape[:2] == own.shape and (len(grid.shape) == 2 or grid.shape[2] == 1)
    return own.is_on_grid_of(grid)


def _mask_grid(path: Path) -> Geometry | None:
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return None
    try:
        return read_geometry(path)
    except DataError:
        return None


def _claimed_once(claims: Sequence[_Claim]) -> list[_Claim]:
    """A label map that several series claim belongs to the nearest one; to none where that is no single one."""
    by_label: defaultdict[Path, list[int]] = defaultdict(list)
    for claim in claims:
        if claim.label is not None:
            by_label[claim.label].append(claim.near)
    settled = []
    for claim in claims:
        rivals = by_label[claim.label] if claim.label is not None else []
        if len(rivals) < 2:
            settled.append(claim)
        elif claim.near < max(rivals):
            settled.append(_Claim())
        elif rivals.count(claim.near) > 1:
            settled.append(_Claim(problem="its label map fits several series; put it into the right folder"))
        else:
            settled.append(claim)
    return settled


def _labelled(sources: Sequence[Source]) -> tuple[list[Source], str]:
    """Series with a label map, or of a patient who has none with one; the others were never meant to be segmented."""
    served = {source.patient for source in sources if source.label or source.problem}
    kept = [s for s in sources if s.label or s.problem or s.patient not in served]
    left = len(sources) - len(kept)
    told = f"{counted(left, 'series')} without a label map left out (another of the same patient has one)"
    return kept, told if left else ""
