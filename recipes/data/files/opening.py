"""Opening a file of text, whatever packs and encodes it.

Packed files (gzip, bzip2, xz, zstd) are known by their first bytes. Text is UTF-8 unless a byte
order mark or its bytes say otherwise. `-` is the standard input.
"""

from __future__ import annotations

import bz2
import codecs
import functools
import gzip
import io
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from ....zoo.errors import DataError

STDIN = "-"
PACKED = (".gz", ".bz2", ".xz", ".zst")
# Of a file, decoded, from which its encoding and its form are told.
SAMPLE_BYTES = 1 << 22
CHUNK = 1 << 16

BYTE_ORDER_MARK = "\ufeff"
# In this order: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
# First bytes of what is no text, and what to do with it.
_NO_TEXT = {
    b"PK\x03\x04": "is a zip archive, or a document that is one: unpack it, or save its table as "
    ".xlsx, .csv or .tsv",
    b"\xd0\xcf\x11\xe0": "is an old Office document: save its table as .xlsx, .csv or .tsv",
    b"PAR1": "is a Parquet file: write it as JSON lines first, such as with "
    "pandas.read_parquet(FILE).to_json('out.jsonl', orient='records', lines=True)",
    b"%PDF": "is a PDF document, not a text file",
}


@dataclass(frozen=True)
class TextFile:
    """A file of text.

    Attributes:
        path: Its path, or `-`.
        encoding: Name of its encoding.
        line_end: What ends a line: a line feed, and nothing else where there is one.
        sample: The beginning of its text, of whole lines; all of it if `whole`.
        whole: True where the sample is all there is.
    """

    path: str
    encoding: str
    line_end: str
    sample: str
    whole: bool

    def open(self) -> Any:
        """Opens the text for reading; lines keep their ends, bytes that are no text are escaped."""
        return _text(self.path, self.encoding, self.line_end)

    def lines(self) -> Iterator[str]:
        """The lines without their ends and without byte order marks.

        A CR before the line feed stays: white space at the end of a text, which is removed there.
        """
        with self.open() as stream:
            for line in stream:
                text = line.removeprefix(BYTE_ORDER_MARK)
                if text:
                    yield text.removesuffix(self.line_end)

    def read(self) -> str:
        """The whole text."""
        with self.open() as stream:
            return stream.read().removeprefix(BYTE_ORDER_MARK)


def open_text(path: str) -> TextFile:
    """Looks at a file of text.

    Args:
        path: Path of the file, or `-`.

    Raises:
        DataError: The file is missing, damaged or not text, or its encoding cannot be told.
    """
    with open_unpacked(path) as stream:
        sample = _read(stream, SAMPLE_BYTES)
        whole = not stream.read(1)
    for start, words in _NO_TEXT.items():
        if sample.startswith(start):
            raise DataError(f"{path} {words}.")
    if not whole and b"\n" in sample:
        sample = sample[: sample.rfind(b"\n") + 1]
    encoding = _encoding(path, sample, whole)
    text = sample.decode(encoding, _errors(encoding))
    if not whole and "\n" in text:
        text = text[: text.rfind("\n") + 1]
    line_end = "\r" if "\r" in text and "\n" not in text else "\n"
    return TextFile(path, encoding, line_end, text.removeprefix(BYTE_ORDER_MARK), whole)


@contextmanager
def open_unpacked(path: str) -> Iterator[Any]:
    """Opens a file as bytes, unpacked; what goes wrong while it is read is a `DataError`."""
    if path.startswith("hf://"):
        raise DataError(
            f"{path} names a model, for predict and all else that takes a run; a dataset of the "
            "Hugging Face Hub is hf:NAME."
        )
    packing = "packed"
    try:
        with _open(path) as raw:
            stream, packing = _unpacked(raw)
            yield stream
    except FileNotFoundError:
        raise DataError(
            f"{path or repr(path)} does not exist. Give the path of a text file."
        ) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder. Give the path of a text file.") from None
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.strerror is not None:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from None
        raise DataError(f"{path} is a damaged {packing} file: {error}.") from None


def unpacked_name(path: str) -> str:
    """A path without the ending of what packs it, in lower case."""
    lower = path.lower()
    return next((lower.removesuffix(end) for end in PACKED if lower.endswith(end)), lower)


@contextmanager
def _text(path: str, encoding: str, line_end: str) -> Iterator[Any]:
    with open_unpacked(path) as stream:
        yield io.TextIOWrapper(stream, encoding, errors=_errors(encoding), newline=line_end)


def _errors(encoding: str) -> str:
    """Treatment of bytes that are no text: escaped, so that the row which has them is found."""
    return "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _open(path: str) -> IO[bytes]:
    if path == STDIN:
        return io.BytesIO(_contents(path, sys.stdin))
    expanded = os.path.expanduser(path)
    about = os.stat(expanded)
    if stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode):
        return open(expanded, "rb")
    return io.BytesIO(_contents(expanded, (about.st_dev, about.st_ino)))


@functools.lru_cache(maxsize=8)
def _contents(path: str, which: Any) -> bytes:
    """All that comes out of a pipe, which can be read but once."""
    if path == STDIN:
        return which.buffer.read()
    with open(path, "rb") as pipe:
        return pipe.read()


def _unpacked(raw: Any) -> tuple[Any, str]:
    """The stream of what is packed, and the name of the packing."""
    start = raw.peek(6)[:6] if hasattr(raw, "peek") else raw.getvalue()[:6]
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw), "gzip"
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw), "bzip2"
    if start == b"\xfd7zXZ\0":
        return lzma.LZMAFile(raw), "xz"
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(_Zstandard(raw)), "zstd"
    return raw, "packed"


class _Zstandard(io.RawIOBase):
    """The contents of zstd frames; the package's own reader is silent about a cut file."""

    def __init__(self, raw: IO[bytes]):
        try:
            import zstandard
        except ImportError:
            raise DataError(
                "Files packed with zstd need the package zstandard: "
                "pip install 'attention-zoo[data]'."
            ) from None
        self._raw, self._errors = raw, zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame, self._rest = self._new_frame(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            packed = self._frame.unused_data if self._frame.eof else b""
            packed = packed or self._raw.read(CHUNK)
            if not packed and self._frame.eof:
                return 0
            if not packed:
                raise EOFError("it ends before its end-of-stream marker")
            if self._frame.eof:
                self._frame = self._new_frame()
            try:
                self._rest = self._frame.decompress(packed)
            except self._errors as error:
                raise OSError(str(error)) from None
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _read(stream: Any, size: int) -> bytes:
    """The first bytes, however many the stream gives at a time."""
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _encoding(path: str, sample: bytes, whole: bool) -> str:
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    if b"\0" in sample and (wide := _wide(sample)):
        return wide
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, whole)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    lines = sample.split(b"\n")
    foreign = [line for line in lines if not line.isascii()]
    bad = [line for line in foreign if not _is_utf8(line)]
    # Some damaged lines make no other encoding, of which hardly any is UTF-8.
    if len(bad) < 3 or 2 * len(bad) <= len(foreign) or 100 * len(bad) <= len(lines):
        return "utf-8"
    return _legacy(path, b"\n".join(foreign[:2000])[:CHUNK])


def _wide(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, of which the ends of lines and all of ASCII have zeros."""
    for encoding in _WIDE:
        text = sample.decode(encoding, "replace")
        if "\0" not in text and text.count("\ufffd") <= 1:
            signs = sum(sign in text for sign in '\n\t ,"')
            if signs and 2 * text.count("\n") >= sample.count(b"\n"):
                return encoding
    return None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


# Encodings that files of text have today; the guess among all there are is worse.
_LEGACY = [
    "gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1250", "cp1251", "cp1252", "cp1253",
    "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "koi8_r", "iso8859_2", "iso8859_15", "cp874",
]  # fmt: skip
_UNCERTAIN = 0.02  # a guess that is worse by less is as good


def _legacy(path: str, sample: bytes) -> str:
    """An encoding other than Unicode, if the guesses that are as good read the same texts."""
    import charset_normalizer

    sample = sample[: sample.rfind(b"\n") + 1] or sample
    guesses = [
        guess
        for guess in charset_normalizer.from_bytes(sample, cp_isolation=_LEGACY)
        if not _is_kana_of_half_width(str(guess))
    ]
    if not guesses:
        raise DataError(
            f"{path} is not UTF-8, nor in an encoding that can be told. Convert it from the one "
            f"that it was written in, as in: iconv -f ENCODING -t UTF-8 {path} > utf8-file"
        )
    best = guesses[0]
    good = [
        guess
        for guess in guesses
        if guess.chaos <= best.chaos + _UNCERTAIN and guess.coherence >= best.coherence / 2
    ]
    if len({str(guess) for guess in good}) > 1:
        names = " or ".join(guess.encoding for guess in good[:4])
        raise DataError(
            f"{path} is not UTF-8, and may be {names}. Convert it with the one that it was written "
            f"in, as in: iconv -f {good[0].encoding} -t UTF-8 {path} > utf8-file"
        )
    return best.encoding


def _is_kana_of_half_width(text: str) -> bool:
    """True for what other single-byte encodings look like when read as Japanese."""
    foreign = [sign for sign in text if not sign.isascii()]
    kana = sum("\uff61" <= sign <= "\uff9f" for sign in foreign)
    return 10 * kana > len(foreign)
