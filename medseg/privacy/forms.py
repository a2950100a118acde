"""Forms: the ways in which one identity can stand in a file.

`forms_of` turns a name, an id, a date or a UID into `Form` objects: byte strings, what each one is of, and how it may
stand among its neighbours to count. Two streams are searched (see `lowered` and `squeezed`): lower-case bytes, and
lower-case bytes without separators, in which UTF-16 and UTF-32 text of Latin letters reads like ASCII.
"""

from __future__ import annotations

import datetime
import enum
import itertools
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from medseg.privacy.vocabulary import ROLE_WORDS, is_known_text

__all__ = ["SHORTEST_SQUEEZED", "Form", "Stands", "canonical", "forms_of", "lowered", "squeezed", "text_run"]

SHORTEST_SQUEEZED = 8
"""Bytes of the forms that are sought in the stream without separators."""
_LOWER = bytes(ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256))
_SEPARATORS = bytes(range(33)) + b"^,_-.:;/\\=+'\"()[]|~*"
_LETTERS = re.compile(r"[^\W\d_]+")
_ROUND = re.compile(r"[1-9]0{3,5}")
"""Times, sizes and counts are such numbers in everybody's files."""
_SHORTEST = 4
_SHORTEST_WORD = 5
_LONGEST = 200
_OTHER_ENCODINGS = (
    "latin-1", "utf-16-le", "utf-16-be", "cp1252", "iso8859_2", "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_8",
    "iso8859_9", "iso8859_15", "koi8_r", "cp1251", "shift_jis", "euc_jp", "euc_kr", "gb18030", "big5", "iso2022_jp",
)  # fmt: skip
_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "ł": "l", "đ": "d"}
)
_GENERAL_TEXT = """
about acquisition adult after anatomy anonym anonymized anonymous anterior armed axial background before black block
brain brown budget center central centre chest class clinic clinical coronal count curve department device diagnostic
doctor early error false field final first fixed front general grant green group healthcare health hospital image
images imaging inner institute label labels large later learn liver local lower mayor medical medicine model name
neutral noise none north number orange order other outer patch patient patients phantom pixel place plain point
posterior power precision price purple radiology range reader research right royal sagittal saint sample scale scanner
series sharp short silver small south space spacing split start state stone study table teaching test torch train
training trust diagnosis days offset under university unknown upper value violet volume voxel white width world yellow
young archive backup basic batch bids case cases clean cleaned cohort collection dataset datasets dates derived dice
download downloads export exported exports file files fold folder folds full import input inputs internal media meta
metrics originals output outputs package pacs private processed profile project projects public report reports result
results samples scans shared source sources subjects summary upload version archives bitmap compressed dicomdir
documents gzip jpeg letters links names numbers pages pictures points tables tiff volumes waveform waveforms webp
absolute accumulate accuracy adamw alpha aspect augment averages betas better between bfloat bootstrap boundary
brightness cache camera change channels checkpoint chosen citation clahe clipped clock colour component components
computes confidence configs cores cosine costs crops crossval cutmix decides decoder degrees deidentification delta
detected deterministic deviation differ differential dropout editing efficient efficientnet either elastic empty
enabled encoder epoch epochs epsilon estimate expects experiment extra factor features fewer fills focal foreground
fraction freeze fresh gamma given grows guarantee halved halvings hardware headers highdicom hospitals hundred ignore
imagenet imported include inference intel intensities interval iterations kernels labelled language largest layers
learnt least length levels licence light lightning linux loader longer masked medseg memory method minutes mirror
mixup mlflow momentum monai moves needs nibabel nonzero normalisation nothing numpy optimizer outside overlap packages
patches percentiles photograph photographs pillow plateau predicted pretrain pretrained privacy processor provenance
pydantic pydicom python pytorch ratio reasons recall reference relative remain repeat residual resized resolution
rotate ruler safetensors saturation scaled schedule schema scikit scipy scored select serve server shapes shear shows
simpleitk skeleton slowly smaller smallest smoke sooner spacings spatial specks spread starts statistics stays steps
stopping strides supervision system tests these thousandth title tolerance track trained trains upright uptake values
voxels warmup weight weights where while whose wider workers would zscore
acknowledge action again allocated allows analyze another attribute attributes begin behind below blocks bytes
characteristics check codec coefficients colours columns content copies damaged decoded decompression deeper deface
defines deflated descriptors document elsewhere encapsulated encoded encrypted expected faces facts format found
fragments graphics great header holds identified impossible keyword known knows larger layout leads legible lengths
lists mapping member members metaimage middle minimal nearly numeric object others packed paint painted painting paths
person personal positive previous problem pseudonymised quarantined reason refuse refused reliably remove rendered
shift shorter sizes something states status still stored stream structure structured suspect syntax taken tattoo
tattoos technical their times transfer truncated uncompressed unfolds unpack unpacked which within written yourself
event exception heads lines passed stamp
"""
_OURS = frozenset(("REMOVED", "MODIFIED", "ANONYMIZED", "ANONYMISED", "ANONYMOUS", "DEIDENTIFIED", "SIEMENS"))
"""What a de-identified file says of itself, and a name of a vendor that private blocks are called by."""
_GENERAL = frozenset(_GENERAL_TEXT.split())
"""Words too general to count alone, as those of the vocabulary are, though somebody may be called so."""


class Stands(enum.IntEnum):
    """How a form has to stand among its neighbours to count as found."""

    ANYWHERE = 0
    AS_WORD = 1
    """No letter beside it."""
    IN_NUMBER = 2
    """Anywhere in a run of digits that isn't the fraction of a decimal number."""
    AS_NUMBER = 3
    """As a whole run of digits, leading zeros apart, that isn't a part of a decimal number."""
    AS_DATE = 4
    """At the start of a run of digits that has room for a time of day behind it, and no more."""


@dataclass(frozen=True)
class Form:
    """One way in which an identity can stand in a file.

    Attributes:
        data: Bytes as they read in the stream.
        squeezed: Whether the stream without separators is meant.
        kind: What the form is of: ``name``, ``part of a name``, ``id``, ``date``, ``uid`` or ``text``.
        stands: What its neighbours must be.
    """

    data: bytes
    squeezed: bool
    kind: str
    stands: Stands


def lowered(data: bytes) -> bytes:
    """Lower-case ASCII letters, no NUL bytes."""
    return data.translate(_LOWER, b"\0")


def squeezed(data: bytes) -> bytes:
    """Lower-case ASCII letters, no NUL bytes, white space or separators."""
    return data.translate(_LOWER, _SEPARATORS)


def text_run(stream: bytes, start: int, end: int, most: int) -> int:
    """Length of the run of printable ASCII around a find, counted for so many bytes on either side."""
    low, high = start, end
    while low > 0 and 32 <= stream[low - 1] < 127 and start - low < most:
        low -= 1
    while high < len(stream) and 32 <= stream[high] < 127 and high - end < most:
        high += 1
    return high - low


def forms_of(text: str) -> set[Form]:
    """All forms of one identity; empty where it is too short or too general to be told from other text.

    Args:
        text: A name (DICOM components by ``^``, groups by ``=``), an id, a date or date-time, a UID, or any other text.
    """
    text = text.strip().strip("\0").strip()
    if not text:
        return set()
    day = _day_of(text)
    if day is None and re.fullmatch(r"\d+(?:\.\d+){2,}", text) and len(text) >= 10:
        return set() if text.startswith("1.2.840.10008.") else {Form(text.encode(), False, "uid", Stands.ANYWHERE)}
    forms = set(_date_forms(day)) if day else set()
    if re.fullmatch(r"[+\d][\d\s./()-]*", text):
        return forms | (set() if day else set(_number_forms(text)))
    for group in text.split("="):
        forms.update(_text_forms(group.strip()))
    return forms


def canonical(text: str) -> bytes:
    """What two writings of one identity share: the day of a date, or the text without case and separators."""
    day = _day_of(text.strip())
    return day.isoformat().encode() if day else squeezed(_utf8(text))


def _day_of(text: str) -> datetime.date | None:
    for pattern, order in (
        (r"(\d{4})([-./]?)(\d\d)\2(\d\d)(?:[T ]?\d\d:?\d\d.*)?", (0, 2, 3)),
        (r"(\d\d?)([-./])(\d\d?)\2(\d{4})", (3, 2, 0)),
        (r"(\d\d?)(/)(\d\d?)/(\d{4})", (3, 0, 2)),
    ):
        match = re.fullmatch(pattern, text)
        if match:
            year, month, day = (int(match.group(index + 1)) for index in order)
            try:
                found = datetime.date(year, month, day)
            except ValueError:
                continue
            if 1880 <= found.year <= 2100:
                return found
    return None


def _date_forms(day: datetime.date) -> Iterator[Form]:
    yield Form(f"{day:%Y%m%d}".encode(), False, "date", Stands.AS_DATE)
    written = {f"{day:%Y}{s}{day:%m}{s}{day:%d}" for s in "-./_: "}
    written |= {f"{day:%d}{s}{day:%m}{s}{day:%Y}" for s in "-./_ "} | {f"{day:%m}/{day:%d}/{day:%Y}"}
    written |= {
        f"{day.day}.{day.month}.{day.year}",
        f"{day.month}/{day.day}/{day.year}",
        f"{day.day}/{day.month}/{day.year}",
    }
    for text in written:
        yield Form(text.encode(), False, "date", Stands.AS_NUMBER)
    for month in (f"{day:%B}", f"{day:%b}"):
        for text in (
            f"{day.day} {month} {day.year}",
            f"{month} {day.day}, {day.year}",
            f"{day.day:02d}-{month}-{day.year}",
        ):
            yield Form(text.lower().encode(), False, "date", Stands.AS_WORD)


def _number_forms(text: str) -> Iterator[Form]:
    groups = re.findall(r"\d+", text)
    digits = "".join(groups)
    if len(digits) < _SHORTEST or len(digits.lstrip("0")) < 2 or _ROUND.fullmatch(digits):
        return
    texts = {digits} if len(groups) == 1 else {separator.join(groups) for separator in ("", " ", "-", ".", "/")}
    stripped = digits.lstrip("0")
    if len(stripped) >= 6:
        texts.add(stripped)
    for written in texts:
        long = len(digits) >= 7
        yield Form(written.encode(), False, "id", Stands.IN_NUMBER if long else Stands.AS_NUMBER)


def _text_forms(text: str) -> Iterator[Form]:
    text = text[:_LONGEST]
    words = [word for word in re.split(r"[\s^,]+", text) if word]
    lengths = len("".join(words)), len(words)
    if lengths[0] < (_SHORTEST if text.isascii() else 2):
        return
    is_name = "^" in text
    if not is_name and _stands_in_every_file(text):
        return
    kind = "id" if any(c.isdigit() for c in text) else ("name" if lengths[1] in (1, 2, 3, 4) else "text")
    orders = {tuple(words), tuple(reversed(words))}
    if 2 < len(words) <= 4:
        pairs = (pair for pair in itertools.permutations(words, 2) if sum(map(len, pair)) >= SHORTEST_SQUEEZED)
        orders |= {pair for pair in pairs if is_name or not all(map(_says_nothing, pair))}
        orders |= {tuple(words[-1:] + words[:-1]), tuple(words[1:] + words[:1])}
    for order in orders:
        yield from _joined_forms(order, kind)
    if kind == "id":
        for run in re.findall(r"\d{7,}", text):
            yield Form(run.encode(), False, "id", Stands.IN_NUMBER)
    if _is_person(text, words):
        for word in {part for name in words for part in _LETTERS.findall(name)}:
            if len(word) >= _SHORTEST_WORD and not _is_general(word):
                yield from _word_forms(word)


def _stands_in_every_file(text: str) -> bool:
    """Whether a text may stand in a clean copy, or is one word that reports and models hold whoever is in them."""
    parts = [part for part in re.split(r"[\W_]+", text) if part]
    return all(part.isalpha() and _is_known(part) for part in parts) or (text.isalpha() and _is_general(text))


def _is_general(word: str) -> bool:
    """Whether a word of a longer text stands in everybody's files: of medicine, of formats, or of de-identification."""
    return word.lower() in _GENERAL or _is_known(word)


def _is_known(word: str) -> bool:
    """Whether a word may stand in a clean copy; those that are only general may be a name's beside another one."""
    return word.lower() in ROLE_WORDS or word.upper() in _OURS or is_known_text(word)


def _says_nothing(word: str) -> bool:
    return _is_general(word) or (word.isdigit() and len(word) <= 3)


def _is_person(text: str, words: list[str]) -> bool:
    if "^" in text:
        return True
    plain = all(re.fullmatch(r"[^\W\d_]+(?:['.-][^\W\d_]+)*\.?", word) for word in words)
    return plain and 2 <= len(words) <= 4 and not any(word.lower() in _GENERAL for word in words)


def _joined_forms(words: tuple[str, ...], kind: str) -> Iterator[Form]:
    """Forms of words in this order: without separators where that is long enough, else with each separator."""
    for spelling in _spellings("".join(words)):
        for data in _encodings(spelling):
            tight = squeezed(data)
            if len(tight) >= SHORTEST_SQUEEZED:
                yield Form(tight, True, kind, Stands.ANYWHERE)
            elif len(tight) >= _SHORTEST if data == _utf8(spelling) else len(lowered(data)) >= 6:
                stands = Stands.ANYWHERE if len(lowered(data)) >= 6 else Stands.AS_WORD
                yield Form(lowered(data), False, kind, stands)
    for separator in ("^", " ", "_", "-", ".", ", ", ",") if len(words) > 1 else ():
        for spelling in _spellings(separator.join(words)):
            for data in _encodings(spelling):
                if len(squeezed(data)) < SHORTEST_SQUEEZED:
                    yield Form(lowered(data), False, kind, Stands.AS_WORD if data.isascii() else Stands.ANYWHERE)


def _word_forms(word: str) -> Iterator[Form]:
    for spelling in _spellings(word):
        for data in _encodings(spelling):
            if len(data) >= _SHORTEST_WORD:
                stands = Stands.ANYWHERE if len(word) >= 8 else Stands.AS_WORD
                yield Form(lowered(data), False, "part of a name", stands)


def _spellings(text: str) -> set[str]:
    """Cases, Unicode normal forms and ASCII renderings of a text; one spelling for plain ASCII."""
    low = text.lower()
    if text.isascii():
        return {low}
    plain = unicodedata.normalize("NFD", low)
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    spelled = {text, low, text.upper(), text.title(), bare, low.translate(_UMLAUTS)}
    if any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in text):
        # Hebrew and Arabic also stand as the eye reads them.
        spelled |= {item[::-1] for item in spelled}
    return spelled | {unicodedata.normalize(form, item) for form in ("NFC", "NFD") for item in spelled}


def _encodings(text: str) -> set[bytes]:
    found = {_utf8(text)}
    if not text.isascii():
        found.add(urllib.parse.quote(_utf8(text)).lower().encode("ascii"))
        for encoding in _OTHER_ENCODINGS:
            try:
                found.add(text.encode(encoding))
            except UnicodeEncodeError:
                continue
    return found


def _utf8(text: str) -> bytes:
    """UTF-8; a file's name that is none as the bytes that it has on the disk."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
