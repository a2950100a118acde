"""Tables: CSV files of facts about images, of the columns that are known to say nothing about who.

A column stays if its name is known; a value stays if it is a number or known words, otherwise its cell is empty. Image
and patient identifiers become the pseudonyms that the images' files have.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from medseg.errors import ReadError
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.vocabulary import is_known_text

__all__ = ["clean_table"]

_IMAGE_COLUMNS = """
image image_id image_name image_file file filename file_name isic_id case case_id id img img_id lesion lesion_id
series series_id seriesinstanceuid scan scan_id name
"""
_PATIENT_COLUMNS = "patient patient_id patientid subject subject_id participant participant_id pid"
_NUMBER_COLUMNS = """
size diameter diameter_mm volume volume_ml width height weight bmi spacing spacing_x spacing_y spacing_z slices
thickness slice_thickness rows columns pixels area lesions count fold split grade stage label score dose suv
followup_days days follow_up_days survival_days event
"""
_WORD_COLUMNS = """
diagnosis dx diagnosis_1 benign_malignant malignant melanoma seborrheic_keratosis class target type modality
body_part anatom_site_general anatom_site anatomy site_of_lesion location localization sex gender side laterality
contrast sequence kernel manufacturer model scanner set subset split grade stage label histology treatment
"""
_EXTRA = """
BENIGN MALIGNANT KERATOSIS SEBORRHEIC ACTINIC BASAL SQUAMOUS CELL CARCINOMA DERMATOFIBROMA VASCULAR NV MEL BCC AKIEC
BKL DF VASC SCC TORSO EXTREMITY PALMS SOLES ORAL GENITAL TRUE FALSE MALE FEMALE TRAINING VALIDATION TRAIN TEST
HOLDOUT LIPOSARCOMA LEIOMYOSARCOMA FIBROSARCOMA SYNOVIAL PLEOMORPHIC MYXOID METASTATIC RECURRENT INDETERMINATE NA
NAN
"""
_EXTRA_WORDS = frozenset(_EXTRA.split())
_NUMBER = re.compile(r"[+-]?(?:\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})(?:[eE][+-]?\d{1,2})?\Z")
_MOST_BYTES = 1 << 28


def clean_table(data: bytes, *, names: Mapping[str, str], pseudonyms: Pseudonymiser) -> tuple[bytes, int]:
    """A CSV file of the columns that may stay.

    Args:
        data: The file, UTF-8, with a line of column names.
        names: Output stem of each image by its source stem.
        pseudonyms: Gives the pseudonyms of patients and of images that aren't in `names`.

    Returns:
        The file, and how many columns were left out.

    Raises:
        ReadError: It is no table, or no column of it may stay.
    """
    rows = _rows(data)
    rules = {place: rule for place, name in enumerate(rows[0]) if (rule := _rule(name, names, pseudonyms)) is not None}
    if not rules:
        raise ReadError("expected a table with columns that medseg knows, found none that may stay")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_plain(rows[0][place]) for place in rules])
    for row in rows[1:]:
        writer.writerow([rule(row[place].strip()) if place < len(row) else "" for place, rule in rules.items()])
    return stream.getvalue().encode("ascii"), len(rows[0]) - len(rules)


def _rows(data: bytes) -> list[list[str]]:
    try:
        text = data.decode("utf-8-sig")
        dialect = csv.Sniffer().sniff(text[:65536].split("\n")[0], delimiters=",;\t|")
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if row]
    except (UnicodeDecodeError, csv.Error):
        raise ReadError("expected a table in UTF-8 with a line of column names, found another file") from None
    if len(rows) < 2 or len(data) > _MOST_BYTES:
        raise ReadError("expected a table with a line of column names and at least one row, found none")
    return rows


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _rule(name: str, names: Mapping[str, str], pseudonyms: Pseudonymiser) -> Callable[[str], str] | None:
    """How a column's cells are made, or None for one that goes."""
    plain = _plain(name)
    if plain in _PATIENT_COLUMNS.split():
        return lambda cell: pseudonyms.patient(cell) if cell else ""
    if plain in _IMAGE_COLUMNS.split():
        return lambda cell: _image(cell, names, pseudonyms) if cell else ""
    if plain in ("age", "age_approx", "age_years", "patient_age"):
        return _age
    words, numbers = plain in _WORD_COLUMNS.split(), plain in _NUMBER_COLUMNS.split()
    if not words and not numbers:
        return None
    return lambda cell: cell if (numbers and _NUMBER.match(cell)) or (words and _known(cell)) else ""


def _image(cell: str, names: Mapping[str, str], pseudonyms: Pseudonymiser) -> str:
    stem = PurePosixPath(cell.replace("\\", "/")).name
    for known in (stem, stem.rsplit(".", 1)[0]):
        if known in names:
            return names[known]
    return pseudonyms.case(stem)


def _age(cell: str) -> str:
    if not _NUMBER.match(cell):
        return ""
    return cell if float(cell) < 90 else "90"


def _known(cell: str) -> bool:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", cell.upper()) if word]
    rest = " ".join(word for word in words if word not in _EXTRA_WORDS)
    return cell.isascii() and len(cell) < 80 and (not rest or is_known_text(rest))
