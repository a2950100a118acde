"""Annotator: who drew a label map, where several drew the same image.

The name of a folder says it: ``masks_NAME``, ``labels_NAME`` or ``annotations_NAME``. Annotators are persons, so that
their names become R1, R2, ... unless names are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from medseg.data.recognise import Source
from medseg.wording import counted

__all__ = ["annotator_of", "annotator_of_folder", "join_annotators", "name_annotators"]

_FOLDER: Final = re.compile(
    r"(?:masks?|labels?|labelstr|segmentations?|annotations?|readers?|annotators?|gt)[ _.-]+(.+)", re.IGNORECASE
)


def annotator_of_folder(name: str) -> str:
    """The annotator that a folder's name tells, in lower case; empty when it tells none.

    Example:
        >>> annotator_of_folder("masks_Reader2"), annotator_of_folder("masks")
        ('reader2', '')
    """
    match = _FOLDER.fullmatch(name)
    return match[1].lower() if match is not None else ""


def annotator_of(path: Path, root: Path) -> str:
    """The annotator that a folder on the way from `root` to a file tells; empty when none does."""
    for name in reversed(path.relative_to(root).parts[:-1]):
        if found := annotator_of_folder(name):
            return found
    return ""


def join_annotators(sources: Sequence[Source]) -> list[Source]:
    """One source an image, of sources that each have the label map of one annotator ("" where the folder tells none).

    Where only one annotator is found in all, theirs are simply the label maps.
    """
    joined: dict[str, Source] = {}
    for source in sources:
        before = joined.get(source.key)
        if before is None:
            joined[source.key] = source
        else:
            readers = {**before.readers, **source.readers}
            joined[source.key] = replace(before, readers=readers, problem=before.problem or source.problem)
    annotators = {name for source in joined.values() for name in source.readers}
    if len(annotators) > 1:
        return list(joined.values())
    return [
        replace(source, label=next(iter(source.readers.values())), readers={}) if source.readers else source
        for source in joined.values()
    ]


def name_annotators(sources: Sequence[Source], *, keep: bool) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """Give the annotators names that may be written: R1, R2, ... in alphabetical order, or their own.

    Returns:
        The sources, and a sentence on it where there are annotators.
    """
    found = sorted({name for source in sources for name in source.readers})
    if not found:
        return tuple(sources), ()
    own = [re.sub(r"[^a-z0-9_-]+", "_", name).strip("_")[:32] or "main" for name in found]
    if keep and len(set(own)) == len(own):
        named = {name: clean if clean[0].isalpha() else f"R{clean}" for name, clean in zip(found, own, strict=True)}
    else:
        named = {name: f"R{number}" for number, name in enumerate(found, start=1)}
    renamed = tuple(
        replace(source, readers={named[name]: one for name, one in source.readers.items()}) for source in sources
    )
    listed = ", ".join(sorted(named.values()))
    return renamed, (
        f"{counted(len(found), 'annotator')}: {listed}; `medseg manifest fuse` makes one label map of theirs",
    )
