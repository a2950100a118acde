"""Film: frames of MPEG-2, MPEG-4 AVC (H.264) or HEVC (H.265) in a DICOM file, decoded one after the other.

A film is one stream of bytes, whatever fragments it is cut into (PS3.5 sections 8.2.5 to 8.2.12): a frame can only be
reached by decoding those before it. FFmpeg is told which containers it may take the stream for, and to open nothing
else: some of its formats are lists of other files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Final

from pydicom.uid import MPEGTransferSyntaxes

from medseg.errors import MissingExtraError, ReadError
from medseg.privacy.fragments import coded_stream
from medseg.types import Array

__all__ = ["FILMS", "Film"]

FILMS: Final = frozenset(str(uid) for uid in MPEGTransferSyntaxes)
_OPTIONS: Final = {
    "format_whitelist": "mpegvideo,mpeg,mpegts,h264,hevc,mov,mp4,m4a,3gp,3g2,mj2",
    "codec_whitelist": "mpeg1video,mpeg2video,h264,hevc",
    "protocol_whitelist": "none",
}


class Film:
    """A film that is read forwards; going back begins anew.

    Args:
        raw: The value of the pixel data: fragments.
        rows: Height that the header states.
        columns: Width that the header states.
        frames: Number that the header states.
    """

    def __init__(self, raw: bytes, *, rows: int, columns: int, frames: int) -> None:
        self._library = _pyav()
        self._raw, self._size, self._frames = raw, (columns, rows), frames
        self._stream: Iterator[Array] = iter(())
        self._next = frames

    def read(self, places: Sequence[int]) -> Iterator[Array]:
        """Frames, red, green and blue, uint8, axes (row, column, colour).

        Args:
            places: Numbers of the frames, from 0, increasing.

        Raises:
            ReadError: The stream is damaged, of another size or length than the header states, or no film.
        """
        if places and places[0] < self._next:
            self._stream, self._next = self._decoded(), 0
        for place in places:
            while self._next < place:
                self._picture()
            yield self._picture()
        if self._next == self._frames and next(self._stream, None) is not None:
            raise ReadError(f"expected {self._frames} frames, as the header states; the film has more of them")

    def _picture(self) -> Array:
        picture = next(self._stream, None)
        if picture is None:
            raise ReadError(f"expected {self._frames} frames; found {self._next}. The film is truncated")
        self._next += 1
        return picture

    def _decoded(self) -> Iterator[Array]:
        library = self._library
        try:
            with library.open(io.BytesIO(coded_stream(self._raw)), options=_OPTIONS) as container:
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise ReadError("the film is of a codec that isn't read, or damaged; export it as H.264")
                found = (stream.codec_context.width, stream.codec_context.height)
                if found != self._size:
                    raise ReadError(
                        f"expected pictures of {self._size[0]} x {self._size[1]} pixels; the film's have {found[0]} x "
                        f"{found[1]}. Export it again"
                    )
                for picture in container.decode(stream):
                    if (picture.width, picture.height) != self._size:
                        raise ReadError("the film's pictures change their size; export it again")
                    yield picture.to_ndarray(format="rgb24")
        except ReadError:
            raise
        except (library.FFmpegError, IndexError, ValueError, EOFError) as error:
            raise ReadError(f"the film is damaged, or none ({type(error).__name__}); copy the file again") from None


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError:
        raise MissingExtraError("decoding films (MPEG-2, H.264, HEVC)", "video") from None
    library: ModuleType = av
    return library
