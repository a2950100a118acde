"""Channel layout: a folder per patient whose images are the channels of one case, as T1, T2 and FLAIR of one visit.

Which file is which channel is what the researcher says (``--channel``): by a word of its name, or by a pattern. All
have to lie on one grid, which is looked at when they are copied. A patient without all of them is refused.
"""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.data.card import NAME_PATTERN
from medseg.data.recognise import (
    Choice,
    Files,
    Recognised,
    Source,
    count_note,
    modality_of,
    settle_unlabelled,
    split_masks,
    words_of,
)
from medseg.errors import RequestError

__all__ = ["ChannelRule", "sequences_of", "take_channels"]

_SEQUENCES = ("t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "flair", "adc", "dwi", "swi", "stir")
"""Words of file names that name an MR sequence, and nobody."""


@dataclass(frozen=True)
class ChannelRule:
    """One ``--channel`` of the researcher.

    Attributes:
        name: Of the channel.
        pattern: Glob that the file's name has to match, whatever its case; empty: the channel's name is a word of it.

    Example:
        >>> ChannelRule.of("t1=*_t1.nii*")
        ChannelRule(name='t1', pattern='*_t1.nii*')
    """

    name: str
    pattern: str = ""

    @classmethod
    def of(cls, text: str) -> ChannelRule:
        """The rule that ``NAME`` or ``NAME=PATTERN`` states.

        Raises:
            RequestError: The name can't be a channel's.
        """
        name, _, pattern = (part.strip() for part in text.partition("="))
        if not NAME_PATTERN.fullmatch(name):
            raise RequestError("--channel: expected NAME or NAME=PATTERN, for example --channel 't1=*_t1.nii*'")
        return cls(name, pattern)

    def fits(self, path: Path) -> bool:
        """Whether a file is this channel's."""
        if self.pattern:
            return fnmatch.fnmatchcase(path.name.lower(), self.pattern.lower())
        return self.name.lower() in words_of(path)


def take_channels(files: Files, rules: Sequence[ChannelRule], choice: Choice) -> Recognised:
    """A folder per patient, the images of each one case.

    Raises:
        RequestError: The images don't lie in folders of patients, are DICOM, or no patient has every channel.
    """
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names) or len(names) < 2:
        raise RequestError("--channel: expected two channels or more, each name once; one alone is --image-pattern")
    if files.dicom or not files.volumes or any(not files.top(path) for path in files.volumes):
        raise RequestError("--channel goes with a folder per patient that holds NIfTI, NRRD or MHA files, no DICOM")
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files.volumes:
        folders[files.top(path)].append(path)
    sources = tuple(_source(name, paths, rules) for name, paths in sorted(folders.items()))
    if all(source.problem for source in sources):
        told = Counter(source.problem for source in sources).most_common(1)[0]
        raise RequestError(f"--channel: no patient's folder has every channel; {told[1]} x {told[0]}")
    whole = sum(not source.problem for source in sources)
    note = count_note(patient_folders=len(folders), with_every_channel=whole, other_files=files.others)
    return Recognised(
        f"a folder per patient with the channels {', '.join(names)}", settle_unlabelled(sources, choice), notes=(note,)
    )


def sequences_of(sources: Sequence[Source]) -> str:
    """The MR sequences that the images' names tell, ``flair (3), t1 (2)``; empty where they don't tell several."""
    found = Counter(word for source in sources for path in source.images.values() for word in _sequence(path))
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{word} ({count})" for word, count in ordered) if len(found) > 1 else ""


def _sequence(path: Path) -> list[str]:
    return [word for word in words_of(path) if word in _SEQUENCES][:1]


def _source(patient: str, paths: Sequence[Path], rules: Sequence[ChannelRule]) -> Source:
    images, masks = split_masks(paths)
    fitting = {rule.name: [path for path in images if rule.fits(path)] for rule in rules}
    problem = next(
        (
            f"channel {name}: expected one image in this patient's folder; found {len(found)}"
            for name, found in fitting.items()
            if len(found) != 1
        ),
        "",
    )
    if not problem and len({found[0] for found in fitting.values()}) < len(rules):
        problem = "one image fits several channels; say which with --channel NAME=PATTERN"
    if not problem and len(masks) > 1:
        problem = f"{len(masks)} label maps in this patient's folder; expected one"
    return Source(
        key=patient,
        patient=patient,
        images={} if problem else {name: found[0] for name, found in fitting.items()},
        label=masks[0] if masks and not problem else None,
        modality=modality_of(word for rule in rules for word in (rule.name, *words_of(Path(rule.pattern)))),
        problem=problem,
    )
