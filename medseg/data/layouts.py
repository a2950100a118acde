"""Layout: how research data are laid out in folders, one function each; `recognise` finds which one it is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from medseg.data.annotators import annotator_of_folder, join_annotators
from medseg.data.bids_layout import is_bids, take_bids
from medseg.data.channel_layout import ChannelRule, sequences_of, take_channels
from medseg.data.dicom_tree import take_dicom_tree
from medseg.data.drawn_layout import find_drawings, take_drawn
from medseg.data.json_files import JsonTooLargeError, read_json
from medseg.data.label_formats import VOC_LABELS, settle_formats
from medseg.data.recognise import (
    Choice,
    Files,
    Recognised,
    Source,
    chosen_modality,
    count_note,
    list_files,
    modality_of,
    pair_key,
    settle_unlabelled,
    split_masks,
    stem_of,
    words_of,
)
from medseg.data.refusal import Refusal
from medseg.errors import ReadError, RequestError
from medseg.wording import counted

__all__ = ["recognise", "take_described", "take_flat", "take_pairs", "take_patients"]

_IMAGE_FOLDERS: Final = ("images", "imagestr", "image", "img", "imgs", "jpegimages")
_LABEL_FOLDERS: Final = (
    "labels", "labelstr", "masks", "mask", "label", "segmentations", "segmentation", "annotations", "gt",
    "groundtruth", "ground_truth", VOC_LABELS,
)  # fmt: skip
_CHANNEL: Final = re.compile(r"(.+)_(\d{4})")
_ONE_OR_ALL: Final = "--image-pattern takes one kind of image, --channel several as the channels of one case"
_SAME_NAMES: Final = 0.5
"""A name that at least this share of the patient folders has is a kind of image, not the name of one image."""


def recognise(root: Path, choice: Choice, *, looking: Callable[[int, int], None] | None = None) -> Recognised:
    """Find out what a folder holds.

    Tried in this order: a BIDS data set, one described by ``dataset.json`` (Medical Segmentation Decathlon, nnU-Net
    raw), a DICOM tree, pictures outlined in an annotation tool (COCO, Labelme, CVAT), ``images`` beside ``masks`` or
    ``labels`` (of one or of several annotators), a folder per patient, and a flat folder.

    Raises:
        RequestError: There is no image in it, or what was asked for isn't there.
    """
    return settle_formats(_recognise_layout(root, choice, looking), choice, root)


def _recognise_layout(root: Path, choice: Choice, looking: Callable[[int, int], None] | None) -> Recognised:
    if root.is_file():
        found = Files(root.parent, (), (root,), (), (), 0) if root.exists() else list_files(root)
        return take_flat(found, choice)
    files = list_files(root)
    if not files.images and not files.dicom:
        raise RequestError(
            f"expected DICOM, NIfTI, NRRD, MetaImage, JPEG, PNG or TIFF images; found {files.others} other files"
        )
    if choice.channels:
        return take_channels(files, [ChannelRule.of(text) for text in choice.channels], choice)
    if is_bids(root) and not files.dicom:
        return take_bids(files, choice)
    described = root / "dataset.json"
    if described.is_file() and not files.dicom:
        return take_described(files, choice, described)
    if files.dicom:
        return take_dicom_tree(files, choice, looking=looking)
    drawn = find_drawings(files) if files.pictures else []
    if drawn:
        return take_drawn(files, choice, drawn)
    pairs = _folder_pairs(files)
    if pairs:
        return take_pairs(files, choice, pairs)
    tops = {files.top(path) for path in files.images}
    if "" not in tops and (len(tops) > 1 or next(iter(tops)).lower() not in _IMAGE_FOLDERS):
        return take_patients(files, choice)
    return take_flat(files, choice)


def take_described(files: Files, choice: Choice, described: Path) -> Recognised:
    """A data set with ``dataset.json``: Medical Segmentation Decathlon, or nnU-Net raw."""
    try:
        content = read_json(described)
        facts: dict[str, Any] = content if isinstance(content, dict) else {}
        labels = _stated_labels(facts.get("labels", {}))
    except JsonTooLargeError as error:
        raise RequestError(f"dataset.json: {error}") from None
    except (ReadError, ValueError, TypeError, AttributeError):
        raise RequestError(
            "dataset.json: expected JSON with label values and names; repair it, or move it away"
        ) from None
    stated = facts.get("channel_names", facts.get("modality", {}))
    ordered = sorted(stated.items(), key=lambda item: (len(item[0]), item[0])) if isinstance(stated, dict) else []
    names = [str(name) for _, name in ordered]
    pairs = _folder_pairs(files)
    if not pairs:
        raise RequestError("dataset.json is there, but no imagesTr beside labelsTr (or images beside labels)")
    modality = modality_of(word for name in names for word in re.split(r"[^A-Za-z0-9]+", name))
    nnunet = "file_ending" in facts or "channel_names" in facts
    taken = take_pairs(files, choice, pairs, channels=names if nnunet else None)
    sources = tuple(replace(s, modality=modality) if s.modality == "OTHER" else s for s in taken.sources)
    said = (
        f"modality {modality}, as dataset.json says" if modality != "OTHER" else "dataset.json states no known modality"
    )
    return replace(
        taken,
        notes=(*taken.notes, said),
        layout="an nnU-Net raw folder" if nnunet else "a Medical Segmentation Decathlon folder",
        sources=sources,
        labels=labels,
        title=str(facts.get("name", ""))[:64],
        licence=str(facts.get("licence", facts.get("license", "")))[:64],
    )


def take_pairs(
    files: Files, choice: Choice, pairs: Sequence[tuple[Path, Path]], *, channels: Sequence[str] | None = None
) -> Recognised:
    """``images`` beside ``masks`` or ``labels``, in the root or in a folder per patient.

    Args:
        files: The files.
        choice: What the researcher fixes.
        pairs: Folder of images, folder of label maps.
        channels: Channel names of nnU-Net, whose images end in ``_0000``, ``_0001``; None elsewhere.
    """
    sources: list[Source] = []
    refusals: list[Refusal] = []
    used: set[Path] = set()
    for image_folder, label_folder in pairs:
        images = [p for p in files.images if image_folder in p.parents and choice.is_image(p)]
        labels = [p for p in files.images if label_folder in p.parents]
        used.update(images, labels)
        owner = "" if image_folder.parent == files.root else str(image_folder.parent.relative_to(files.root))
        grouped = _group_channels(images, labels, image_folder=image_folder, channels=channels)
        found, lone = _match(grouped, _labels_by_key(labels, label_folder), owner=owner)
        annotator = annotator_of_folder(label_folder.name)
        sources += [replace(s, label=None, readers={annotator: s.label}) if s.label else s for s in found]
        refusals += [Refusal(f"label map {n} of {len(labels)}", "no image was found for this label map") for n in lone]
    sources = join_annotators(sources)
    left = [path for path in files.images if path not in used]
    labelled = sum(bool(source.label_maps) for source in sources)
    notes = [count_note(images=len(sources), label_maps=labelled, tables=len(files.tables), other_files=files.others)]
    if left:
        notes.append(f"{counted(len(left), 'image')} outside these folders left out")
    return Recognised(
        "images beside label maps", settle_unlabelled(sources, choice), tuple(refusals), notes=tuple(notes)
    )


def take_patients(files: Files, choice: Choice) -> Recognised:
    """A folder per patient, each with one or more images and their label maps."""
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files.images:
        folders[files.top(path)].append(path)
    candidates = {name: _pair_in_folder(name, paths, choice) for name, paths in folders.items()}
    flat = [source for found in candidates.values() for source in found]
    _require_told_apart(flat, folders.values(), choice)
    if any(source.label or source.problem for source in flat):
        flat = [source for source in flat if source.label or source.problem]
    notes = []
    modalities = Counter(m for found in candidates.values() for m in {s.modality for s in found if s in flat})
    if set(modalities) != {"OTHER"} and (len(modalities) > 1 or choice.modality is not None):
        wanted, sentence = chosen_modality(modalities, choice.modality)
        notes += [sentence] if sentence else []
        flat = [source for source in flat if source.modality == wanted]
    flat, sentence = _one_kind(flat, patients=len(folders))
    notes += [sentence] if sentence else []
    if several := sequences_of(flat):
        notes.append(f"by their names the images are of several sequences: {several}; --image-pattern takes one")
    have = {source.patient for source in flat}
    lost = [Source(key=name, patient=name, problem=_why_lost(paths, choice))
            for name, paths in sorted(folders.items()) if name not in have]  # fmt: skip
    labelled = sum(source.label is not None for source in flat)
    notes.insert(
        0, count_note(patient_folders=len(folders), images=len(flat), label_maps=labelled, tables=len(files.tables))
    )
    return Recognised("a folder per patient", (*settle_unlabelled(flat, choice), *lost), notes=tuple(notes))


def take_flat(files: Files, choice: Choice) -> Recognised:
    """Images in one folder, with label maps beside them (``NAME_mask``) or without."""
    plain, masks = split_masks(files.images)
    images = [path for path in plain if choice.is_image(path)]
    by_key = defaultdict(list)
    for path in masks:
        by_key[pair_key(path)].append(path)
    grouped: dict[str, list[Path]] = {pair_key(path) or stem_of(path).lower(): [] for path in images} if masks else {}
    for path in images:
        grouped.setdefault(pair_key(path) if masks else str(path.relative_to(files.root)), []).append(path)
    sources = [
        _source(key=str(path.relative_to(files.root)), patient="", images={"image": path}, labels=by_key.pop(key, []))
        for key, paths in grouped.items()
        for path in paths
    ]
    lone = sum(len(paths) for paths in by_key.values())
    refusals = [
        Refusal(f"label map {n} of {lone}", "no image was found for this label map") for n in range(1, lone + 1)
    ]
    labelled = sum(source.label is not None for source in sources)
    notes = (count_note(images=len(sources), label_maps=labelled, tables=len(files.tables), other_files=files.others),)
    layout = "images and label maps in one folder" if labelled else "images without label maps"
    return Recognised(layout, settle_unlabelled(sources, choice), tuple(refusals), notes=notes)


def _folder_pairs(files: Files) -> list[tuple[Path, Path]]:
    """Each folder of images with every folder of label maps beside it: one, or one of each annotator."""
    folders: defaultdict[Path, dict[str, Path]] = defaultdict(dict)
    for path in files.images:
        for folder in path.parents:
            if folder == files.root:
                break
            folders[folder.parent][folder.name.lower()] = folder
    pairs = []
    for children in folders.values():
        image = next((children[name] for name in _IMAGE_FOLDERS if name in children), None)
        label = next((children[name] for name in _LABEL_FOLDERS if name in children), None)
        labels = [label] if label is not None else []
        labels += [folder for name, folder in children.items() if annotator_of_folder(name)]
        pairs += [(image, folder) for folder in labels] if image is not None else []
    return sorted(pairs)


def _group_channels(
    images: Sequence[Path], labels: Sequence[Path], *, image_folder: Path, channels: Sequence[str] | None
) -> dict[str, dict[str, Path]]:
    """Case key to channel to file; ``NAME_0000`` is a channel of NAME where a label map, or nnU-Net's rule, says so."""
    known = {stem_of(path).lower() for path in labels}
    grouped: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for path in images:
        stem = stem_of(path)
        match = _CHANNEL.fullmatch(stem)
        is_channel = match is not None and stem.lower() not in known
        if match is not None and is_channel and (channels is not None or match[1].lower() in known):
            number = int(match[2])
            name = channels[number] if channels is not None and number < len(channels) else f"channel{number}"
            grouped[_place(path, image_folder, match[1])][_channel_name(name, number)] = path
        else:
            grouped[_place(path, image_folder, stem)]["image"] = path
    single = all(len(found) == 1 for found in grouped.values())
    return {key: {"image": next(iter(found.values()))} if single else found for key, found in grouped.items()}


def _labels_by_key(labels: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Label maps by place and stem, and by place and stem without the words that say mask."""
    keyed: defaultdict[str, list[Path]] = defaultdict(list)
    for path in labels:
        keyed[_place(path, folder, stem_of(path))].append(path)
    for path in labels:
        key = _place(path, folder, pair_key(path))
        if path not in keyed[key]:
            keyed[key].append(path)
    return keyed


def _match(
    grouped: Mapping[str, Mapping[str, Path]], labels: Mapping[str, list[Path]], *, owner: str
) -> tuple[list[Source], list[int]]:
    """Sources of one pair of folders, and the numbers of the label maps that no image took."""
    sources = []
    taken: set[Path] = set()
    for key, images in sorted(grouped.items()):
        place, _, stem = key.rpartition("/")
        plain = f"{place}/{'_'.join(re.split(r'[^a-z0-9]+', stem))}"
        without = f"{place}/{pair_key(Path(stem))}"
        found = next((labels[k] for k in (key, plain, without) if labels.get(k)), [])
        taken.update(found)
        patient = owner or place
        sources.append(_source(key=f"{owner}/{key}", patient=patient, images=dict(images), labels=found))
    everything = sorted({path for paths in labels.values() for path in paths})
    return sources, [number for number, path in enumerate(everything, start=1) if path not in taken]


def _pair_in_folder(patient: str, paths: Sequence[Path], choice: Choice) -> list[Source]:
    """Images of one patient's folder with their label maps: by their common words, or the only one of each."""
    plain, masks = split_masks(paths)
    images = [path for path in plain if choice.is_image(path)]
    by_key: defaultdict[str, list[Path]] = defaultdict(list)
    for path in masks:
        by_key[pair_key(path)].append(path)
    lone = masks if len(masks) == 1 and len(images) == 1 else []
    return [
        _source(
            key=f"{patient}/{pair_key(path)}",
            patient=patient,
            images={"image": path},
            labels=by_key.get(pair_key(path), lone),
            modality=modality_of(words_of(path)),
        )
        for path in images
    ]


def _require_told_apart(sources: Sequence[Source], folders: Iterable[Sequence[Path]], choice: Choice) -> None:
    """Refuse folders of several images and one label map each, where nothing says which of them that belongs to."""
    several = sum(len(split_masks(paths)[1]) == 1 and len(split_masks(paths)[0]) > 1 for paths in folders)
    if several and not choice.with_unlabelled and not any(source.label or source.problem for source in sources):
        named = f" (by their names {told})" if (told := sequences_of(sources)) else ""
        raise RequestError(
            f"{several} patients' folders have several images{named} and one label map each, and no name says which "
            f"image that was drawn on; {_ONE_OR_ALL}"
        )


def _why_lost(paths: Sequence[Path], choice: Choice) -> str:
    """Why a patient's folder gives no case where others do."""
    plain, masks = split_masks(paths)
    count = sum(choice.is_image(path) for path in plain)
    if len(masks) == 1 and count > 1:
        return (
            f"this patient's folder has {count} images and one label map, and no name says which of them it belongs to"
            f"; {_ONE_OR_ALL}"
        )
    return "this patient's folder has no image of the kind taken, with its label map"


def _one_kind(sources: Sequence[Source], *, patients: int) -> tuple[list[Source], str]:
    """Where file names repeat over patients, they name kinds of image: take the most complete kind."""
    kinds = Counter(source.key.partition("/")[2] for source in sources)
    shared = {kind: count for kind, count in kinds.items() if count >= max(2, _SAME_NAMES * patients)}
    if not shared or len(kinds) == 1:
        return list(sources), ""
    best = min(shared, key=lambda kind: (-shared[kind], kind))
    left = sum(count for kind, count in kinds.items() if kind != best)
    kept = [source for source in sources if source.key.partition("/")[2] == best]
    return kept, f"{counted(left, 'image')} of other kinds left out; --image-pattern chooses among them"


def _source(
    *, key: str, patient: str, images: Mapping[str, Path], labels: Sequence[Path], modality: str = "OTHER"
) -> Source:
    problem = f"{len(labels)} label maps fit this image; expected one. Leave one beside it" if len(labels) > 1 else ""
    return Source(
        key=key,
        patient=patient or key,
        images=images,
        label=labels[0] if len(labels) == 1 else None,
        modality=modality,
        problem=problem,
    )


def _place(path: Path, folder: Path, stem: str) -> str:
    inner = path.parent.relative_to(folder).as_posix()
    return f"{'' if inner == '.' else inner}/{stem}".lower()


def _channel_name(name: str, number: int) -> str:
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:32]
    return clean if clean[:1].isalpha() else f"channel{number}"


def _stated_labels(stated: Mapping[str, Any]) -> dict[int, str]:
    """Label value to name, from ``{"1": "tumour"}`` (Decathlon) or ``{"tumour": 1}`` (nnU-Net); without background."""
    labels = {}
    for key, value in stated.items():
        if isinstance(value, list):
            raise RequestError(
                "dataset.json: regions (lists of label values) are not supported; give each label one value"
            )
        number, name = (int(key), str(value)) if str(key).lstrip("-").isdigit() else (int(value), str(key))
        if number > 0:
            labels[number] = name[:64]
    return labels
