"""Structures of a data set: which DICOM label files belong to which series, and which label value each name gets.

Names of structures are free text of a hospital. They are matched here, and become a label's name only where the
researcher gave that name or where all their words are known ones; else a label is called by its code, or numbered.
"""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.data.card import LabelInfo
from medseg.data.dicom_labels import LabelObject, Structure, Target, name_key, paint_labels, read_label_object
from medseg.data.label_source import LabelSource, content_digest
from medseg.data.refusal import Refusal
from medseg.data.structure_sets import choose_sets
from medseg.data.volume import Geometry
from medseg.errors import DataError, RequestError
from medseg.privacy.vocabulary import is_known_text
from medseg.types import LabelMap
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.data.dicom_sort import SeriesFiles

__all__ = ["Outlined", "StructureRule", "StructureTable", "find_label_objects", "label_source", "match_objects",
           "outlined_series", "structure_names", "tabulate"]  # fmt: skip

_MOST_LABELS = 255


@dataclass(frozen=True)
class StructureRule:
    """One ``--structure`` of the researcher.

    Attributes:
        pattern: Glob that a structure's name has to match, whatever its case.
        label: Name of the label; empty for the structure's own.

    Example:
        >>> StructureRule.of("gtv*=tumour")
        StructureRule(pattern='gtv*', label='tumour')
    """

    pattern: str
    label: str = ""

    @classmethod
    def of(cls, text: str) -> StructureRule:
        """The rule that ``PATTERN`` or ``PATTERN=LABEL`` states.

        Raises:
            RequestError: There is no pattern, or the label's name is longer than 64 characters.
        """
        pattern, _, label = text.partition("=")
        if not pattern.strip() or len(label.strip()) > 64:
            raise RequestError("--structure: expected PATTERN or PATTERN=LABEL, for example --structure 'gtv*=tumour'")
        return cls(" ".join(pattern.split()), label.strip())

    def fits(self, structure: Structure) -> bool:
        """Whether a structure's name matches."""
        return fnmatch.fnmatchcase(structure.key, self.pattern.casefold())


@dataclass(frozen=True, eq=False)
class StructureTable:
    """Which label every structure of a data set gets.

    Attributes:
        values: `Structure.key` to label value; structures that were not chosen are absent. Private.
        labels: Label value to what it stands for.
        order: Label values in order of priority, from the order of the rules; without those that a pattern matched
            together with others.
        left_out: Structure names that were not chosen.
        renamed: Values of labels that don't bear their structure's name, since it has words that may identify.
    """

    values: Mapping[str, int] = field(repr=False)
    labels: Mapping[int, LabelInfo]
    order: tuple[int, ...]
    left_out: int
    renamed: frozenset[int]

    def notes(self, taken: Collection[int] | None = None) -> list[str]:
        """What was decided, in sentences; of the label values that the data set has in the end, None for all."""
        taken = self.labels if taken is None else taken
        names = sum(value in taken for value in self.values.values())
        said = [f"structures: {counted(names, 'name')} became {counted(len(taken), 'label')}"] if names else []
        if self.left_out:
            said.append(f"{counted(self.left_out, 'structure name')} left out, as --structure or --label asks")
        if renamed := len(self.renamed & set(taken)):
            said.append(
                f"{counted(renamed, 'label')} renamed, for words that may identify in the structure's own name; "
                "--list-structures shows them, --structure 'PATTERN=LABEL' names them"
            )
        return said


@dataclass(frozen=True, eq=False)
class Outlined:
    """What the DICOM label files of a tree give.

    Attributes:
        by_series: For each series what makes its label map, or why there is none, or None where no file outlines it.
        values: For each series the label values that its files can give.
        table: Which label every structure gets.
        refusals: Label files that could not be used.
        files: How many label files of each kind there are, in words; empty for none.
    """

    by_series: tuple[LabelSource | str | None, ...]
    values: tuple[frozenset[int], ...]
    table: StructureTable
    refusals: tuple[Refusal, ...]
    files: str


def outlined_series(
    paths: Sequence[Path],
    series: Sequence[SeriesFiles],
    *,
    rules: Sequence[StructureRule],
    stated: Mapping[int, str],
    preferred: Sequence[bool],
    structure_set: str = "",
) -> Outlined:
    """Read the label files of a tree, match them with its series and number their structures.

    Args:
        paths: SEG and RTSTRUCT files.
        series: The series.
        rules: Which structures become which labels.
        stated: Label value to name, where the researcher fixes them.
        preferred: Of each series, whether it is of the modality that the researcher asked for.
        structure_set: Which of several files of an image count; as `medseg.data.structure_sets.choose_sets` takes it.

    Raises:
        RequestError: No structure matches the rules or the stated labels, or there are more than 255 labels.
    """
    objects, unread = find_label_objects(paths)
    given, lost = match_objects(objects, series, preferred=preferred)
    given = [choose_sets(entries, structure_set) for entries in given]
    table = tabulate([s for entries in given for entry in entries for s in entry.structures], rules, stated)
    made = [label_source(entries, one, table) if entries else None for entries, one in zip(given, series, strict=True)]
    values = tuple(
        frozenset(table.values[s.key] for entry in entries for s in entry.structures if s.key in table.values)
        for entries in given
    )
    counts = sorted(Counter(entry.kind for entry in objects).items())
    files = ", ".join(counted(count, f"DICOM {kind} file") for kind, count in counts)
    return Outlined(tuple(made), values, table, (*unread, *lost), files)


def structure_names(source: Path) -> tuple[dict[str, int], list[Refusal]]:
    """Every structure's name in the DICOM files below a folder, with the number of files that have it, most first.

    Names are free text of a hospital and may identify: for the researcher's own screen only.

    Raises:
        ReadError: The folder doesn't exist.
    """
    from medseg.data.dicom_sort import sort_files
    from medseg.data.recognise import list_files

    paths = list_files(source).dicom if source.is_dir() else (source,)
    _, outlines, _ = sort_files(paths)
    objects, refusals = find_label_objects(outlines)
    shown: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for entry in objects:
        unique = {structure.key: " ".join(structure.name.split()) for structure in entry.structures}
        counts.update(unique.keys())
        shown = {**unique, **shown}
    ordered = sorted(counts, key=lambda key: (-counts[key], key))
    return {shown[key]: counts[key] for key in ordered}, refusals


def find_label_objects(paths: Sequence[Path]) -> tuple[list[LabelObject], list[Refusal]]:
    """Read what SEG and RTSTRUCT files outline; a file that can't be read is a refusal."""
    found, refusals = [], []
    for number, path in enumerate(paths, start=1):
        try:
            found.append(read_label_object(path))
        except DataError as error:
            refusals.append(Refusal(f"label file {number} of {len(paths)}", str(error)))
    return found, refusals


def match_objects(
    objects: Sequence[LabelObject], series: Sequence[SeriesFiles], *, preferred: Sequence[bool]
) -> tuple[list[list[LabelObject]], list[Refusal]]:
    """Give every label file to the series it was drawn on.

    In this order: the series most of whose instances and frames it refers to; the one series it names; the one series
    of the same patient in its frame of reference. Where several fit equally well, the one that is preferred; where that
    is no single one, the file is refused.

    Args:
        objects: The label files.
        series: The series.
        preferred: Of each series, whether it is of the modality that the researcher asked for.

    Returns:
        For each series its files; and the files that fit none, or several.
    """
    owners: defaultdict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(series):
        for header in one.headers:
            owners[header.instance_uid].append(number)
    given: list[list[LabelObject]] = [[] for _ in series]
    refusals = []
    for number, entry in enumerate(objects, start=1):
        candidates = _candidates(entry, series, owners)
        liked = [candidate for candidate in candidates if preferred[candidate]]
        candidates = liked if len(candidates) > 1 and liked else candidates
        if len(candidates) == 1:
            given[candidates[0]].append(entry)
            continue
        reason = (
            f"{len(candidates)} series fit this label file equally well by its references and its frame of reference; "
            "expected one. Take the others out, or choose with --modality"
            if candidates
            else "it refers to no image that is here, and shares no image's frame of reference; import both together"
        )
        refusals.append(Refusal(f"readable label file {number} of {len(objects)}", reason))
    return given, refusals


def _candidates(entry: LabelObject, series: Sequence[SeriesFiles], owners: Mapping[str, Sequence[int]]) -> list[int]:
    counts = Counter(number for uid in entry.instance_uids for number in owners.get(uid, ()))
    if counts:
        for number in counts:
            counts[number] += _frames_named(entry, series[number])
        most = max(counts.values())
        return [number for number, count in counts.items() if count == most]
    named = [number for number, one in enumerate(series) if one.series_uid in entry.series_uids]
    if named:
        return named
    return [
        number
        for number, one in enumerate(series)
        if entry.frame_of_reference
        and one.patient == entry.patient
        and any(header.frame_of_reference == entry.frame_of_reference for header in one.headers)
    ]


def _frames_named(entry: LabelObject, series: SeriesFiles) -> int:
    if not entry.frames:
        return 0
    return sum((header.instance_uid, n + 1) in entry.frames for header in series.headers for n in header.frame_numbers)


def tabulate(
    structures: Sequence[Structure], rules: Sequence[StructureRule], stated: Mapping[int, str]
) -> StructureTable:
    """Number the structures of a whole data set by name, so that one name is one label in every case.

    Without rules and stated labels every name becomes a label, in alphabetical order. Rules choose and unite, and their
    order is the order of the labels. Stated labels fix values and leave other names out; a single one names a single
    label, whatever that is called.

    Args:
        structures: Of all label files.
        rules: What the researcher chose.
        stated: Label value to name.

    Raises:
        RequestError: Nothing matches, or there are more than 255 labels.
    """
    named: defaultdict[str, list[Structure]] = defaultdict(list)
    for structure in structures:
        named[structure.key].append(structure)
    names, renamed = _label_names(named, rules)
    ranks = {rule.label: rank for rank, rule in reversed(list(enumerate(rules)))}
    first = {name: min(_rank(s, rules) for s in named[key]) for key, name in reversed(list(names.items()))}
    ordered = sorted(set(names.values()), key=lambda name: (ranks.get(name, first[name]), name.casefold()))
    numbers = _numbers(ordered, stated)
    if named and not numbers:
        raise RequestError(
            f"none of the {len(named)} structure names matches --structure or --label; --list-structures shows them"
        )
    if len(numbers) > _MOST_LABELS:
        raise RequestError(f"{len(numbers)} structure names; expected at most 255. Choose some with --structure")
    values = {key: numbers[name] for key, name in names.items() if name in numbers}
    members: defaultdict[int, list[Structure]] = defaultdict(list)
    for key, value in values.items():
        members[value] += named[key]
    final = {**{value: name for name, value in numbers.items()}, **{v: n for v, n in stated.items() if v in members}}
    labels = {value: _info(final[value], members[value]) for value in sorted(members)}
    order = _order(names, numbers, named=named, rules=rules)
    other = frozenset(numbers[name] for name in renamed & set(numbers))
    return StructureTable(values, labels, order, len(named) - len(values), renamed=other)


def _rank(structure: Structure, rules: Sequence[StructureRule]) -> int:
    return next((rank for rank, rule in enumerate(rules) if rule.fits(structure)), len(rules))


def _label_names(
    named: Mapping[str, Sequence[Structure]], rules: Sequence[StructureRule]
) -> tuple[dict[str, str], set[str]]:
    """Structure key to its label's name, for the chosen ones; and the names that are not the structures' own."""
    names: dict[str, str] = {}
    unknown: set[str] = set()
    counts: Counter[str] = Counter()
    for key in sorted(named):
        structure = named[key][0]
        rank = _rank(structure, rules)
        if rules and rank == len(rules):
            continue
        label = rules[rank].label if rules else ""
        own = " ".join(structure.name.split())
        if not label and own and is_known_text(own) and len(own) <= 64:
            label = own
        elif not label:
            base = structure.code.meaning[:56] if structure.code is not None else "structure"
            counts[base] += 1
            label = f"{base} {counts[base]}"
            unknown.add(label)
        names[key] = label
    return names, unknown


def _numbers(ordered: Sequence[str], stated: Mapping[int, str]) -> dict[str, int]:
    """Label name to value."""
    if not stated:
        return {name: value for value, name in enumerate(ordered, start=1)}
    if len(stated) == len(ordered) == 1:
        return {ordered[0]: next(iter(stated))}
    by_name = {name_key(name): value for value, name in stated.items()}
    return {name: by_name[name.casefold()] for name in ordered if name.casefold() in by_name}


def _order(
    names: Mapping[str, str],
    numbers: Mapping[str, int],
    *,
    named: Mapping[str, Sequence[Structure]],
    rules: Sequence[StructureRule],
) -> tuple[int, ...]:
    """Values of the rules that match a single label, in the rules' order."""
    matched: list[list[int]] = [[] for _ in rules]
    for key, name in names.items():
        if rules and name in numbers:
            matched[_rank(named[key][0], rules)].append(numbers[name])
    single = [values[0] for values in matched if len(set(values)) == 1]
    return tuple(dict.fromkeys(single))


def _info(name: str, members: Sequence[Structure]) -> LabelInfo:
    """What is common to all structures of a label."""
    codes = {s.code.model_dump_json() if s.code is not None else "": s.code for s in members}
    kinds = {s.category.model_dump_json() if s.category is not None else "": s.category for s in members}
    colours = {s.colour for s in members}
    return LabelInfo(
        name=name,
        code=next(iter(codes.values())) if len(codes) == 1 else None,
        category=next(iter(kinds.values())) if len(kinds) == 1 else None,
        colour=next(iter(colours)) if len(colours) == 1 else None,
    )


def label_source(objects: Sequence[LabelObject], series: SeriesFiles, table: StructureTable) -> LabelSource | str:
    """What makes the label map of a series, or why there is none.

    Args:
        objects: The series' label files.
        series: The series.
        table: Of the whole data set.
    """
    chosen = [entry for entry in objects if any(s.key in table.values for s in entry.structures)]
    if not chosen:
        return "none of the chosen structures is outlined for this image; --structure chooses others"
    owners = Counter(key for entry in chosen for key in {s.key for s in entry.structures if s.key in table.values})
    twice = sum(count > 1 for count in owners.values())
    if twice:
        return (
            f"{len(chosen)} files outline {twice} structures of the same name on this image; expected one file for a "
            "structure (several versions, or several readers?). Choose with --structure-set"
        )

    def read(geometry: Geometry) -> tuple[LabelMap, tuple[str, ...]]:
        return paint_labels(chosen, Target(geometry, series.headers), table.values, order=table.order)

    keys = sorted((s.key, table.values[s.key]) for entry in chosen for s in entry.structures if s.key in table.values)
    content = content_digest(*(f"{key}={value}" for key, value in keys), *(str(value) for value in table.order))
    return LabelSource(read=read, paths=tuple(entry.path for entry in chosen), content=content)
