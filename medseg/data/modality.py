"""Modality of a data set whose images don't say it: asked for, or named by the files; the sentence says which."""

from __future__ import annotations

from dataclasses import replace

from medseg.data.readers import PICTURE_ENDINGS
from medseg.data.recognise import Choice, Recognised, Source, modality_of, words_of
from medseg.wording import counted

__all__ = ["settle_modality"]


def settle_modality(found: Recognised, choice: Choice) -> Recognised:
    """Give images of unknown modality (NIfTI, NRRD and MetaImage hold none) the one that was asked for or is named.

    What the files of a data set say (DICOM, ``dataset.json``) stays. The sentence that is added says what was assumed.

    Args:
        found: What a folder was taken for.
        choice: What the researcher fixes.
    """
    unknown = [source for source in found.sources if _is_unknown(source)]
    if not unknown:
        return found
    asked, images = choice.modality, counted(len(unknown), "image")
    named = {modality_of(word for path in source.images.values() for word in words_of(path)) for source in unknown}
    wanted = asked or (named.pop() if len(named) == 1 else "OTHER")
    if wanted == "OTHER":
        sentence = (
            f"modality of {images} not stated by any file: recorded as OTHER. --modality CT, MR or PET "
            "says it; it decides how intensities are scaled"
        )
    elif asked:
        sentence = f"modality of {images} taken for {wanted}, as --modality says; no file states it"
    else:
        sentence = f"modality of {images} taken for {wanted} by the words of their names; no file states it"
    sources = tuple(replace(one, modality=wanted) if _is_unknown(one) else one for one in found.sources)
    return replace(found, sources=sources, notes=(*found.notes, sentence))


def _is_unknown(source: Source) -> bool:
    """Whether nothing said the modality yet and no reader will; those of DICOM and of pictures do."""
    told = source.series is not None or all(
        path.name.lower().endswith(PICTURE_ENDINGS) for path in source.images.values()
    )
    return source.modality == "OTHER" and not told
