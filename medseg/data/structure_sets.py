"""Structure set: one label file (SEG, RTSTRUCT) among several of the same image, and the choice between them.

A patient may have several: one a reader, or older versions beside the last. Files that outline structures of different
names are taken together. Where two outline a structure of the same name, nothing is guessed: the case is refused until
the researcher says which file counts, by a pattern of its label or by taking the newest.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from medseg.data.dicom_labels import LabelObject

__all__ = ["NEWEST", "choose_sets"]

NEWEST: Final = "newest"
"""The choice that takes each structure from the newest file that outlines it."""


def choose_sets(files: Sequence[LabelObject], choice: str) -> list[LabelObject]:
    """The label files of one image that count, each with the structures that it is taken for.

    Args:
        files: All label files of the image.
        choice: Glob that a file's label has to match, whatever its case (Structure Set Label, Content Label); or
            `NEWEST`; empty for all.

    Returns:
        In the order of the files. Files of one date are as new as each other, and all stay.
    """
    if not choice:
        return list(files)
    if choice != NEWEST:
        return [entry for entry in files if fnmatch.fnmatchcase(entry.label.casefold(), choice.casefold())]
    newest: dict[str, str] = {}
    for entry in files:
        for structure in entry.structures:
            newest[structure.key] = max(entry.made, newest.get(structure.key, ""))
    kept = [
        replace(entry, structures=tuple(s for s in entry.structures if newest[s.key] == entry.made)) for entry in files
    ]
    return [entry for entry in kept if entry.structures]
