"""BIDS layout: the sessions of a BIDS data set, with the label maps that lie among its derivatives."""

from __future__ import annotations

from pathlib import Path

from medseg.data.convert_bids import BIDS_LABEL, bids_cases
from medseg.data.exchange import read_json
from medseg.data.recognise import Choice, Files, Recognised, Source, count_note, settle_unlabelled

__all__ = ["is_bids", "take_bids"]

_DESCRIPTION = "dataset_description.json"


def is_bids(root: Path) -> bool:
    """Whether a folder is a BIDS data set with label maps among its derivatives."""
    if not (root / _DESCRIPTION).is_file() or not (root / "derivatives").is_dir():
        return False
    return any(BIDS_LABEL.search(path.name) for path in (root / "derivatives").rglob("*.nii*"))


def take_bids(files: Files, choice: Choice) -> Recognised:
    """Each session is a case; its images are the kinds that every session has, as channels.

    Raises:
        ManifestError: There is no image, or a session has several label maps.
    """
    cases, card = bids_cases(files.root, read_json(files.root / _DESCRIPTION))
    listed = set(files.images)
    sources = []
    for case in cases:
        channels = card.channels if len(case.images) > 1 else ("image",)
        images = dict(zip(channels, case.images, strict=True))
        label = case.label if case.label in listed else None
        problem = "" if set(case.images) <= listed else "an image of this session is a link; expected files"
        patient = f"sub-{case.patient}"  # As participants.tsv names them.
        sources.append(Source(case.case, patient, images, label=label, modality=card.modality, problem=problem))
    labelled = sum(source.label is not None for source in sources)
    left = len(files.images) - sum(len(source.images) for source in sources) - labelled
    notes = [count_note(images=len(sources), label_maps=labelled, tables=len(files.tables))]
    notes += [f"{left:,} other images and label maps left out"] if left else []
    ignored = {} if card.ignore is None else {card.ignore: "ignore"}
    return Recognised(
        "a BIDS data set",
        settle_unlabelled(sources, choice),
        labels={**card.label_names(), **ignored},
        title=card.title[:64],
        notes=tuple(notes),
    )
