"""Fields: which facts about images a table or a JSON file may keep, told by the name of the column or key.

A field stays if its name is known; a value stays if it is a number or known words. Image and patient identifiers become
the pseudonyms that the images' files have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.vocabulary import is_known_text, words_in

__all__ = ["FieldRules", "decoded", "is_known_word", "kept_name", "plain_name"]

_IMAGE_FIELDS = words_in(
    """
    image image_id image_name image_file file filename file_name isic_id case case_id id img img_id lesion lesion_id
    series series_id seriesinstanceuid scan scan_id name imagepath image_path
    """
)
_PATIENT_FIELDS = words_in("patient patient_id patientid subject subject_id participant participant_id pid")
_AGE_FIELDS = words_in("age age_approx age_years patient_age")
_NUMBER_FIELDS = words_in(
    """
    size diameter diameter_mm volume volume_ml width height weight bmi spacing spacing_x spacing_y spacing_z slices
    thickness slice_thickness rows columns pixels area lesions count fold split grade stage label score dose suv
    followup_days days follow_up_days survival_days event bbox iscrowd category_id segmentation points imageheight
    imagewidth echotime repetitiontime flipangle magneticfieldstrength inversiontime slicethickness numtraining numtest
    """
)
_WORD_FIELDS = words_in(
    """
    diagnosis dx diagnosis_1 benign_malignant malignant melanoma seborrheic_keratosis class target type modality
    body_part anatom_site_general anatom_site anatomy site_of_lesion location localization sex gender side laterality
    contrast sequence kernel manufacturer model scanner set subset split grade stage label histology treatment
    shape_type supercategory category bodypartexamined
    """
)
_CHARACTERISTICS = _AGE_FIELDS | words_in("sex gender weight height bmi")
"""Fields that a profile keeps only with the characteristics of patients."""
_EXTRA_WORDS = words_in(
    """
    BENIGN MALIGNANT KERATOSIS SEBORRHEIC ACTINIC BASAL SQUAMOUS CELL CARCINOMA DERMATOFIBROMA VASCULAR NV MEL BCC AKIEC
    BKL DF VASC SCC TORSO EXTREMITY PALMS SOLES ORAL GENITAL TRUE FALSE MALE FEMALE TRAINING VALIDATION TRAIN TEST
    HOLDOUT LIPOSARCOMA LEIOMYOSARCOMA FIBROSARCOMA SYNOVIAL PLEOMORPHIC MYXOID METASTATIC RECURRENT INDETERMINATE NA
    NAN POLYGON LINE LINESTRIP
    """
)
_NUMBER = re.compile(r"[+-]?(?:\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})(?:[eE][+-]?\d{1,2})?\Z", re.ASCII)
_OLDEST = 90


class FieldRules:
    """The rules of one de-identification.

    Args:
        names: Output stem of each image by its source name and stem.
        pseudonyms: Gives the pseudonyms of patients and of images that aren't in `names`.
        characteristics: Whether sex, age, weight and height may stay.
    """

    def __init__(self, names: Mapping[str, str], *, pseudonyms: Pseudonymiser, characteristics: bool) -> None:
        self.names = names
        self.patients: dict[str, str] = {}
        """Each patient identifier that was replaced, by its pseudonym; identities."""
        self._pseudonyms = pseudonyms
        self._characteristics = characteristics

    def rule(self, name: str) -> Callable[[str], str] | None:
        """How the values of a field are made, or None for one that goes."""
        plain = plain_name(name)
        if plain in _CHARACTERISTICS and not self._characteristics:
            return None
        if plain in _PATIENT_FIELDS:
            return lambda text: self._patient(text) if text else ""
        if plain in _IMAGE_FIELDS:
            return lambda text: self.image(text) if text else ""
        if plain in _AGE_FIELDS:
            return _age
        words, numbers = plain in _WORD_FIELDS, plain in _NUMBER_FIELDS
        if not words and not numbers:
            return None
        return lambda text: text if (numbers and _NUMBER.match(text)) or (words and is_known_word(text)) else ""

    def image(self, text: str) -> str:
        """The pseudonym of an image by its name, path or stem."""
        stem = PurePosixPath(text.replace("\\", "/")).name
        for known in (stem, stem.rsplit(".", 1)[0]):
            if known in self.names:
                return self.names[known]
        return self._pseudonyms.case(stem)

    def _patient(self, text: str) -> str:
        pseudonym = self._pseudonyms.patient(text)
        self.patients[pseudonym] = text
        return pseudonym


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with the mark that says so.

    Raises:
        UnicodeDecodeError: It is in neither.
    """
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def plain_name(name: str) -> str:
    """A field's name in lower-case letters, digits and ``_``."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def kept_name(name: str) -> str:
    """The name of a field that stays: as it was written, where only capitals tell it from its plain name.

    Example:
        >>> kept_name("EchoTime"), kept_name("Slice Thickness (mm)")
        ('EchoTime', 'slice_thickness_mm')
    """
    plain = plain_name(name)
    return name.strip() if name.isascii() and name.strip().lower() == plain else plain


def is_known_word(text: str) -> bool:
    """Whether all words of a value are in the vocabulary of images or of diagnoses."""
    words = [word for word in re.split(r"[^0-9A-Za-z]+", text.upper()) if word]
    rest = " ".join(word for word in words if word not in _EXTRA_WORDS)
    return text.isascii() and len(text) < 80 and (not rest or is_known_text(rest))


def _age(text: str) -> str:
    if not _NUMBER.match(text):
        return ""
    return text if float(text) < _OLDEST else str(_OLDEST)
