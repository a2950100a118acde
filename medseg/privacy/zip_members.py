"""Members of zip archives: where those lie that are stored in clear."""

from __future__ import annotations

import io
import zipfile
import zlib

__all__ = ["stored_members"]


def stored_members(data: bytes, *, most: int) -> list[slice]:
    """Where the contents of members lie that are whole and stored without compression or encryption, in order.

    Args:
        data: Any file; nothing is found in what is no zip archive, or a damaged one.
        most: Bytes of the longest member that counts.
    """
    if not data.startswith(b"PK\x03\x04"):
        return []
    spans = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                head = member.header_offset
                names, extra = (int.from_bytes(data[head + at : head + at + 2], "little") for at in (26, 28))
                start = head + 30 + names + extra
                stored = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
                if stored and not member.flag_bits & 1 and member.file_size <= most:
                    span = memoryview(data)[start : start + member.file_size]
                    if len(span) == member.file_size and zlib.crc32(span) == member.CRC:
                        spans.append((start, start + member.file_size))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        # What zipfile raises on damaged archives. Nothing is left out of those, and who opens them says so.
        return []
    return [slice(start, stop) for start, stop in sorted(spans)]
