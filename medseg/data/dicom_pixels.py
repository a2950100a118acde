"""DICOM pixels: the frames of one file, decoded, in the colours or grey values that its header states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.data.dicom_bits import bit_frames, has_bit_frames
from medseg.data.dicom_coded import PIXELS, coded_values, film_frames, is_film, require_pixels
from medseg.data.dicom_frames import Frame
from medseg.data.dicom_header import Header, read_dataset, refusing_damage
from medseg.data.dicom_syntax import transfer_syntax, undecodable
from medseg.errors import ReadError
from medseg.privacy.bits import TRUNCATED
from medseg.privacy.codecs import brings_colours, is_coded
from medseg.privacy.decoders import decoded_frames, in_silence
from medseg.types import Array

__all__ = ["decode_frames", "is_colour", "is_inverted", "padding_places", "value_dtype", "value_frames"]

_KEYWORDS = [
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "ModalityLUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "SmallestImagePixelValue",
]
_TAGS = [tag_for_keyword(word) for word in _KEYWORDS]
_GREY: Final = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_JPEG_2000: Final = ("YBR_ICT", "YBR_RCT")
_REAL_WORLD: Final = ("CT", "MR", "PT", "NM")
"""Modalities whose values are measurements, so that MONOCHROME1 is a matter of display only."""


def value_dtype(headers: Sequence[Header]) -> np.dtype[Any]:
    """Type that holds the values of all files after the modality LUT: the smallest integer type, else float32."""
    whole = all(
        frame.slope == 1.0 and frame.intercept == round(frame.intercept) and not header.has_modality_lut
        for header in headers
        for frame in header.frames
    )
    if not whole or any(header.is_float or header.bits_stored > 32 for header in headers):
        return np.dtype(np.float32)
    low = min(_stored_range(h)[0] + int(f.intercept) for h in headers for f in h.frames)
    high = max(_stored_range(h)[1] + int(f.intercept) for h in headers for f in h.frames)
    for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def value_frames(header: Header, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Decode the frames of a file one by one and apply each frame's modality LUT or rescale.

    Args:
        header: The file.
        dtype: Type of the values of a grey image, from `value_dtype`; colours keep their own.

    MONOCHROME1 is inverted where the values are no measurements (radiographs, captures), so that bright is bright.

    Yields:
        (rows, columns) values, or (rows, columns, 3) red, green, blue for colour images.

    Raises:
        ReadError: The pixels are missing, truncated, damaged or in a transfer syntax that nothing here decodes.
    """
    if _is_plain(header):
        for frame, number in zip(header.frames, header.frame_numbers, strict=True):
            yield _grey_values(_plain_frame(header, number), header, frame, dtype)
        return
    _require_known_colours(header)
    if is_film(header):
        yield from film_frames(header)
        return
    dataset = read_dataset(header.path, tags=_TAGS, pixels=True)
    if is_coded(transfer_syntax(dataset)):
        coded = coded_values(dataset, header.frame_numbers)
        yield from (
            _to_values(one, dataset, header, frame, dtype) for one, frame in zip(coded, header.frames, strict=True)
        )
        return
    yield from _decoded_values(dataset, header, dtype)


def _decoded_values(dataset: Dataset, header: Header, dtype: np.dtype[Any]) -> Iterator[Array]:
    """As `value_frames`, of what pydicom decodes."""
    decoder = _decoder(dataset)
    count = 0
    try:
        for stored, facts in decoded_frames(decoder, dataset, {"indices": header.frame_numbers}):
            if header.samples > 1 and str(facts["photometric_interpretation"]) != "RGB":
                raise ReadError(_unknown_colours(header))
            yield _to_values(stored, dataset, header, header.frames[count], dtype)
            count += 1
    except (ReadError, MemoryError):
        raise
    except Exception as error:
        # Decoders raise whatever they like on damaged or exotic data.
        for stored in _second_try(header, dataset, decoder, error, begun=count > 0):
            yield _grey_values(stored, header, header.frames[count], dtype)
            count += 1
    if count != len(header.frames):
        raise ReadError(f"expected {len(header.frames)} frames; found {count}. The file is truncated, copy it again")


def _second_try(
    header: Header, dataset: Dataset, decoder: Decoder, error: Exception, *, begun: bool
) -> Iterator[Array]:
    """Stored values by another decoder, where there is one: grey images with one rescale for all frames.

    Raises:
        ReadError: There is none, or it can't either.
    """
    if not decoder.UID.is_encapsulated:
        raise ReadError(_unreadable(dataset, error)) from None
    one_rescale = len({(frame.slope, frame.intercept) for frame in header.frames}) == 1
    grey = header.photometric in ("MONOCHROME1", "MONOCHROME2") and not header.has_modality_lut
    if begun or not grey or not one_rescale:
        damage = f", or its pixels are damaged ({type(error).__name__})"
        raise ReadError(undecodable(decoder.UID, damage)) from None
    yield from _itk_frames(header)


def _itk_frames(header: Header) -> Iterator[Array]:
    """Stored values of the wanted frames by SimpleITK's GDCM, which decodes JPEG of 12 bits; pydicom's plugins don't.

    Raises:
        ReadError: It can't either.
    """
    import SimpleITK as sitk

    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    try:
        with in_silence():
            values: Array = sitk.GetArrayFromImage(sitk.ReadImage(str(header.path), imageIO="GDCMImageIO"))
    except Exception as error:
        # GDCM raises whatever it likes on damaged data.
        damage = f", or its pixels are damaged ({type(error).__name__})"
        raise ReadError(undecodable(UID(header.transfer_syntax), damage)) from None
    planes = values.reshape(-1, *values.shape[-2:])
    if len(planes) != header.frame_count:
        raise ReadError(
            f"expected {header.frame_count} frames; found {len(planes)}. The file is damaged, copy it again"
        )
    slope, intercept = header.frames[0].slope, header.frames[0].intercept
    for number in header.frame_numbers:
        stored = (planes[number] - intercept) / slope if (slope, intercept) != (1.0, 0.0) else planes[number]
        yield np.rint(stored).astype(np.int64) if stored.dtype.kind == "f" else stored


def decode_frames(dataset: Dataset) -> Iterator[Array]:
    """Decode the frames of a data set one by one, as they are stored: (rows, columns), without lookup tables.

    Raises:
        ReadError: The pixels are missing, truncated, damaged or in a transfer syntax that nothing here decodes.
    """
    require_pixels(dataset)
    with refusing_damage("the DICOM header", remedy="export the file again"):
        is_single_bit = int(dataset.get("BitsAllocated", 0) or 0) == 1
    syntax = transfer_syntax(dataset)
    if is_single_bit and has_bit_frames(syntax):
        yield from bit_frames(dataset, syntax)
        return
    if is_coded(syntax):
        yield from coded_values(dataset)
        return
    decoder = _decoder(dataset)
    try:
        for stored, _ in decoded_frames(decoder, dataset, {"raw": True}):
            yield stored
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise whatever they like on damaged or exotic data.
        if not decoder.UID.is_encapsulated:
            raise ReadError(_unreadable(dataset, error)) from None
        raise ReadError(undecodable(decoder.UID, f", or its pixels are damaged ({type(error).__name__})")) from None


def _unreadable(dataset: Dataset, error: Exception) -> str:
    """Why pixels that aren't compressed can't be read: what the header states, before what the file lacks."""
    with refusing_damage("the DICOM header", remedy="export the series again"):
        allocated, stored = (int(dataset.get(word, 0) or 0) for word in ("BitsAllocated", "BitsStored"))
        frames = max(1, int(dataset.get("NumberOfFrames") or 1))
        pixels = frames * int(dataset.Rows) * int(dataset.Columns)
        samples = int(dataset.get("SamplesPerPixel", 1) or 1)
        data = next(dataset[word].value or b"" for word in PIXELS if word in dataset)
    if allocated not in (1, 8, 16, 32, 64):
        return f"expected 1, 8, 16, 32 or 64 bits allocated a pixel; found {allocated}. Export the series again"
    if "PixelData" in dataset and not 1 <= stored <= allocated:
        return f"expected 1 to {allocated} bits stored a pixel; found {stored}. Export the series again"
    if str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422" and len(data) >= pixels * samples:
        return "YBR_FULL_422 whose colours aren't halved: expected two thirds of the bytes. Export the image as RGB"
    needed = -(-pixels * samples * allocated // 8)
    halved = str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422"
    if len(data) < (needed * 2 // 3 if halved else needed):
        return TRUNCATED
    return f"the pixels or their lookup tables are damaged ({type(error).__name__}); export the series again"


def _decoder(dataset: Dataset) -> Decoder:
    require_pixels(dataset)
    syntax = transfer_syntax(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:  # pydicom's word for a transfer syntax that none of its decoders is for.
        raise ReadError(undecodable(syntax)) from None
    if not decoder.is_available:
        raise ReadError(undecodable(syntax))
    return decoder


def _to_values(stored: Array, dataset: Dataset, header: Header, frame: Frame, dtype: np.dtype[Any]) -> Array:
    if header.photometric == "PALETTE COLOR":
        stored = _without_unused_bits(stored, header)
        colours: Array = apply_color_lut(stored, dataset)
        if colours.dtype == np.uint16:
            # Some writers put 8-bit colours into 16-bit words; every entry of the whole table is then below 256.
            colours = (colours if _is_narrow_palette(dataset) else colours >> 8).astype(np.uint8)
        return colours
    if header.samples > 1:
        return stored
    if header.has_modality_lut:
        return _looked_up(_without_unused_bits(stored, header), dataset).astype(dtype)
    return _grey_values(stored, header, frame, dtype)


def _looked_up(stored: Array, dataset: Dataset) -> Array:
    """Values by the modality LUT; pydicom doesn't read tables of 8 bits that are packed two to a word."""
    item = dataset.ModalityLUTSequence[0]
    count, first, depth = (int(number) for number in item.LUTDescriptor)
    count = count or 1 << 16
    data = item.LUTData
    if depth > 8 or not isinstance(data, bytes) or len(data) >= 2 * count:
        return np.asarray(apply_modality_lut(stored, dataset))
    table: Array = np.frombuffer(data, np.uint8)
    if transfer_syntax(dataset) == ExplicitVRBigEndian and item["LUTData"].VR == "OW":
        table = table[: len(table) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    values: Array = table[np.clip(stored.astype(np.int64) - first, 0, count - 1)]
    return values


def _is_narrow_palette(dataset: Dataset) -> bool:
    tables = [dataset.get(f"{colour}PaletteColorLookupTableData") for colour in ("Red", "Green", "Blue")]
    return all(table and not any(table[1::2]) for table in tables)


def _grey_values(stored: Array, header: Header, frame: Frame, dtype: np.dtype[Any]) -> Array:
    slope, intercept = frame.slope, frame.intercept
    stored = _without_unused_bits(stored, header)
    if np.issubdtype(dtype, np.floating):
        values = stored.astype(dtype)
        values *= dtype.type(slope)
        values += dtype.type(intercept)
    else:
        # `value_dtype` chose a type that holds every sum, so that wrapping around on the way does no harm.
        values = stored.astype(dtype, copy=False)
        if intercept:
            values += dtype.type(int(intercept))
    if is_inverted(header):
        low, high = (round(bound * slope + intercept) for bound in _stored_range(header))
        values = (low + high - values.astype(np.float64)).astype(dtype)
    return values


def _is_plain(header: Header) -> bool:
    """Whether the file's pixels are plain numbers at a known place."""
    return (
        header.pixel_place is not None
        and header.transfer_syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        and header.samples == 1
        and header.photometric in ("MONOCHROME1", "MONOCHROME2")
        and header.bits_allocated in (8, 16, 32)
        and 1 <= header.bits_stored <= header.bits_allocated
        and not header.has_modality_lut
    )


def _plain_frame(header: Header, number: int) -> Array:
    """Stored values, axes (row, column); bits above BitsStored don't count (PS3.5 section 8.1.1)."""
    offset, length = header.pixel_place or (0, 0)
    dtype = np.dtype(f"<{'i' if header.signed else 'u'}{header.bits_allocated // 8}")
    count = header.rows * header.columns
    size = count * dtype.itemsize
    try:
        stored = np.fromfile(header.path, dtype=dtype, count=count, offset=offset + number * size)
    except OSError:
        raise ReadError("the DICOM file is missing or cannot be read") from None
    if length < (number + 1) * size or stored.size < count:
        raise ReadError(TRUNCATED)
    return stored.reshape(header.rows, header.columns)


def _without_unused_bits(stored: Array, header: Header) -> Array:
    """Stored values with what lies above BitsStored (overlays, noise) cut off and the sign carried up."""
    unused = stored.dtype.itemsize * 8 - header.bits_stored
    if stored.dtype.kind in "iu" and unused > 0:
        stored = stored << unused
        stored >>= unused
    return stored


def _require_known_colours(header: Header) -> None:
    if header.samples == 3 and brings_colours(header.transfer_syntax):
        return
    if header.samples not in (1, 3) or (header.samples == 3) != (header.photometric in _COLOURS):
        raise ReadError(_unknown_colours(header))
    if header.samples == 1 and header.photometric not in _GREY:
        raise ReadError(_unknown_colours(header))


def _unknown_colours(header: Header) -> str:
    known = (*_GREY, *_COLOURS, "HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
    name = header.photometric if header.photometric in known else "an unknown one"
    if name in _JPEG_2000 and header.samples == 3:
        return f"{name} is a colour space of JPEG 2000, and the pixels are not; export the image as RGB"
    return (
        f"the photometric interpretation {name} with {header.samples} samples a pixel can't be read; expected "
        f"{', '.join((*_GREY, *_COLOURS))}. Export the image as RGB"
    )


def padding_places(values: Array, header: Header, frame: Frame) -> Array:
    """Where the values of a frame are the file's padding, bool, axes (row, column)."""
    low, high = sorted(bound * frame.slope + frame.intercept for bound in header.padding or (0, -1))
    if is_inverted(header):
        ends = sum(bound * frame.slope + frame.intercept for bound in _stored_range(header))
        low, high = ends - high, ends - low
    half = 0.5 * abs(frame.slope)
    found: Array = (values > low - half) & (values < high + half)
    return found


def is_colour(header: Header) -> bool:
    """Whether the frames have red, green and blue."""
    return header.samples > 1 or header.photometric == "PALETTE COLOR"


def is_inverted(header: Header) -> bool:
    """Whether dark and bright are swapped on reading: MONOCHROME1 whose values are no measurements."""
    return header.photometric == "MONOCHROME1" and header.modality not in _REAL_WORLD and not header.has_modality_lut


def _stored_range(header: Header) -> tuple[int, int]:
    bits = header.bits_stored
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)
