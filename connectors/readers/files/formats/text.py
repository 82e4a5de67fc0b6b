"""A text file as UTF-8 for Arrow's readers, whatever its encoding, in pieces."""

import codecs
import contextlib
import io
from pathlib import Path

from common.errors import SourceMalformed

ASK = "ask the sender for the whole file; it is taken up by the next run."
WIDEST = 3
"""No encoding's bytes become more than this many bytes of UTF-8 each."""


class Utf8(io.RawIOBase):
    """The file's text in UTF-8, without a byte order mark, then `tail`.

    Reading raises SourceMalformed where bytes are not of the encoding, are NUL, or the last line
    has no end: such a file is half-written.
    """

    def __init__(self, path: Path, encoding: str, where: str, tail: bytes = b"") -> None:
        self.file, self.encoding, self.where = path.open("rb"), encoding, where
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.keeps_ascii = _keeps_ascii(encoding)
        self.begins, self.ends, self.tail = True, b"", tail

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none only at the end."""
        while piece := self.file.read(max(1, size // WIDEST - 8)):
            if text := self._utf8(piece):
                return text
        if text := self._utf8(b""):
            return text
        if self.ends not in (b"\n", b""):
            raise self._malformed("half-written: the last line has no end")
        tail, self.tail = self.tail, b""
        return tail

    def _utf8(self, piece: bytes) -> bytes:
        pending = self.decoder.getstate()[0]
        if self.keeps_ascii and not pending and piece.isascii():
            text = piece
        else:
            try:
                text = self.decoder.decode(piece, final=not piece).encode()
            except UnicodeDecodeError as error:
                at = self.file.tell() - len(piece) - len(pending) + error.start
                raise self._malformed(f"byte {at} is not {self.encoding}") from None
            except UnicodeError:
                raise self._malformed(f"not {self.encoding}") from None
        if b"\0" in text:
            raise self._malformed(f"holds NUL characters, so it is no text in {self.encoding}")
        if self.begins and text:
            text, self.begins = text.removeprefix(codecs.BOM_UTF8), False
        self.ends = text[-1:] or self.ends
        return text

    def _malformed(self, what: str) -> SourceMalformed:
        return SourceMalformed(what, where=self.where, next_step=ASK)


def _keeps_ascii(encoding: str) -> bool:
    """Whether ASCII stands for itself: then text that has nothing else is passed on as it is."""
    every = bytes(range(128))
    with contextlib.suppress(UnicodeError):
        return every.decode(encoding) == every.decode("ascii")
    return False
