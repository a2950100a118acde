"""The hostile corpora, made from seeds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import FileDataset

from tests.privacy.corpus import attributes, charsets, classes, others, pictures, pixels, senders, streams, volumes
from tests.privacy.corpus.codestreams import FRAMES
from tests.privacy.corpus.crooked import BENT
from tests.privacy.corpus.filled import CLASSES, filled
from tests.privacy.corpus.slices import CT, MR, PT, Planted, Who, image
from tests.privacy.corpus.smuggled import SMUGGLED

_TRAPS: tuple[Callable[[FileDataset, Who], bytes], ...] = (
    streams.file_meta, streams.preamble, streams.trailing_bytes, streams.trailing_padding,
    pixels.bytes_after_last_pixel, pixels.high_bits, pixels.high_bits_signed, pixels.overlay, pixels.curve, pixels.icon,
    pixels.look_up_tables, streams.private_block, streams.odd_groups, streams.unknown_vr, streams.invented_vr,
    streams.group_lengths, attributes.nested_uids, attributes.original_attributes, attributes.digital_signature,
    attributes.other_patient_ids, attributes.request, charsets.charset_latin2, charsets.charset_japanese,
    charsets.charset_chinese, charsets.charset_wrong, charsets.charset_unknown, attributes.several_names,
    attributes.dates_in_text, attributes.dates_in_uids, attributes.malformed_dates, attributes.several_dates,
    attributes.retrieve_url, attributes.text_in_codes, attributes.text_in_technical, attributes.text_in_numbers,
    attributes.trial, attributes.equipment, streams.implicit, streams.big_endian, streams.deflated, streams.no_meta,
    pixels.jpeg_comment, pixels.jpeg_trailing, pixels.jpeg2000_comment,
)  # fmt: skip
_REFUSED = (
    classes.document,
    classes.directory,
    classes.truncated,
    classes.garbage,
    classes.private_class,
    classes.thin_head,
)
_QUARANTINED = (classes.ultrasound, classes.screenshot, classes.says_burned_in)
_FILES: tuple[tuple[Callable[[Who], bytes], str], ...] = (
    (pictures.jpeg_photo, ".jpg"), (pictures.png_photo, ".png"), (pictures.png_palette, ".png"),
    (pictures.tiff_photo, ".tif"), (pictures.bmp_photo, ".bmp"), (pictures.webp_photo, ".webp"),
    (volumes.nifti, ".nii.gz"), (volumes.nifti_plain, ".nii"), (volumes.nifti2, ".nii"), (volumes.nrrd, ".nrrd"),
    (volumes.meta_image, ".mha"),
)  # fmt: skip
_OTHER_WRITTEN: tuple[tuple[Callable[[Who], bytes], str], ...] = (
    (classes.enhanced_mr, ".dcm"), (classes.nuclear, ""), (classes.mammography, ".ima"),
    (classes.computed_radiography, ".dcm"), (classes.dose, ".dcm"), (classes.parametric_map, ".dcm"),
    *((charsets.named_in(*facts), ".dcm") for facts in charsets.CHARSETS), (attributes.deep_nest, ".dcm"),
    (streams.hidden_sequence, ".dcm"), (streams.private_numbers, ".dcm"), (attributes.path_as_id, ".dcm"),
    (attributes.names_as_uids, ".dcm"), (attributes.malformed_times, ".dcm"), (attributes.long_numbers, ".dcm"),
    (attributes.late_texts, ".dcm"), (pixels.overlays_of_all_groups, ".dcm"), (pixels.offset_table, ".dcm"),
    (pixels.tables_in_frame, ".dcm"), (pictures.spare_tables, ".jpg"), (pictures.thumbnail_with_exif, ".jpeg"),
    (pictures.two_pictures, ".jpg"), (pictures.application_segments, ".JPG"), (pictures.png_chunks, ".png"),
    (pictures.png_deep, ".png"), (pictures.tiff_tags, ".tif"), (pictures.tiff_big, ".tiff"),
    (pictures.bmp_palette, ".bmp"), (pictures.webp_chunks, ".webp"), (volumes.nifti_unused_geometry, ".nii"),
    (volumes.nifti_gap, ".nii.gz"), (volumes.mha_fields, ".mha"), (others.table, ".csv"), (others.sidecar, ".json"),
    (others.archive, ".zip"), (classes.spatial_registration, ".dcm"), (classes.key_object, ".dcm"),
    (classes.plan, ".dcm"),
)  # fmt: skip
_OTHER_REFUSED: tuple[tuple[Callable[[Who], bytes], str], ...] = (
    (classes.printed_model, ".dcm"), (classes.heart_beat, ".dcm"),
    (others.database_in_archive, ".zip"), (others.pdf, ".pdf"), (others.vector_drawing, ".svg"),
    (others.picture_by_name_only, ".png"), (others.table_of_texts, ".csv"), (others.table_in_latin, ".csv"),
    (volumes.nrrd_fields, ".nrrd"),
)  # fmt: skip


def make_corpus(folder: Path, *, seed: int = 7) -> list[Planted]:
    """Write the corpus below `folder`, a folder a patient, named after the patient."""
    draw = random.Random(seed)
    planted: list[Planted] = []

    def put(name: str, data: bytes, who: Who, expect: str, *, patient: str = "") -> None:
        home = patient or f"{who.name()}_{who.name()}"
        path = folder / home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        planted.append(Planted(f"{home}/{name}", who.all, expect))

    for trap in _TRAPS:
        for sop_class in (CT, MR, PT):
            who = Who(draw)
            put(f"{who.name()}.dcm", trap(image(who, sop_class), who), who, "written")
    for make in (classes.segmentation, classes.structures, classes.report, classes.presentation):
        who = Who(draw)
        put("IM1", make(who), who, "written")
    for make in _REFUSED:
        who = Who(draw)
        put("IM1.dcm", make(who), who, "refused")
    for make in _QUARANTINED:
        who = Who(draw)
        put("IM1.dcm", make(who), who, "quarantined")
    for make_file, suffix in _FILES:
        for _ in range(2):
            who = Who(draw)
            put(f"{who.name()}{suffix}", make_file(who), who, "written")
    who = Who(draw)
    home = f"{who.name()}_{who.name()}"
    for name, data in others.unknown_files(who):
        put(name, data, who, "refused", patient=home)
    return planted


def make_other_corpus(folder: Path, *, seed: int = 23) -> list[Planted]:
    """Write the corpus below `folder`, a folder a patient, named after the patient."""
    draw = random.Random(seed)
    planted: list[Planted] = []
    for group, expect in ((_OTHER_WRITTEN, "written"), (_OTHER_REFUSED, "refused")):
        for make, suffix in group:
            who = Who(draw)
            path = folder / f"{who.name()}_{who.name()}" / f"{who.name()}{suffix}"
            data = make(who)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            planted.append(Planted(path.relative_to(folder).as_posix(), who.all, expect))
    return planted


def make_dicom_corpus(folder: Path, *, seed: int = 41) -> list[Planted]:
    """Write the corpus of DICOM files below `folder`: each class filled, each trick, and a patient's whole study."""
    draw = random.Random(seed)
    planted: list[Planted] = []

    def put(path: Path, data: bytes, who: Who) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        planted.append(Planted(path.relative_to(folder).as_posix(), who.all, "written"))

    for make in (*map(filled, CLASSES), *SMUGGLED, *BENT, *FRAMES):
        who = Who(draw)
        data = make(who)
        put(folder / f"{who.name()}_{who.name()}" / f"{who.name()}.dcm", data, who)
    who = Who(draw)
    for name, data in senders.study(who).items():
        put(folder / "study" / name, data, who)
    return planted
