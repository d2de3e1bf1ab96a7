"""The bytes of a file → text: unpacking, and which encoding it is in."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ecomintent_batch.errors import SourceError

# What reading a file can raise that is the file's fault: gone or torn, a broken .gz, an encoding that it is not in.
READ_ERRORS = (OSError, EOFError, LookupError, UnicodeError, zlib.error)
_OTHER_KINDS = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "a SQLite database"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
)
_TORN = re.compile("[\ud800-\udfff]")
_TORN_WIDE = re.compile("[\ud800-\udfff\ufffd]")


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacking gzip by its first bytes, whatever its name is."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def detect_encoding(path: Path) -> str:
    """Tell UTF-8, UTF-16, UTF-32, cp1252 and latin-1 apart from the bytes of a whole file.

    UTF-8 is proven by decoding everything (about 1 GB/s), so a lone accent on the last line counts. What is not
    UTF-8 is cp1252 where it uses only bytes that cp1252 defines, latin-1 otherwise.

    Raises:
        SourceError: the file is a workbook, an archive or another thing that is no text.
    """
    with open_binary(path) as file:
        head = file.read(64 * 1024)
        for bom, name in (
            (codecs.BOM_UTF8, "utf-8-sig"),
            (codecs.BOM_UTF32_LE, "utf-32"),
            (codecs.BOM_UTF32_BE, "utf-32"),
            (codecs.BOM_UTF16_LE, "utf-16"),
            (codecs.BOM_UTF16_BE, "utf-16"),
        ):
            if head.startswith(bom):
                return name
        for magic, what in _OTHER_KINDS:
            if head.startswith(magic):
                raise SourceError(f"expected text, found {what}; export the tickets as CSV")
        # Column names are ASCII mostly, whatever language the tickets are in: in UTF-16 a NUL stands in most pairs of
        # bytes of the first line, always on one side.
        first_line = re.split(b"[\r\n]", head, maxsplit=1)[0]
        even, odd = first_line[0::2].count(0), first_line[1::2].count(0)
        if max(even, odd) * 4 > len(first_line) and min(even, odd) == 0:
            return "utf-16-be" if even else "utf-16-le"
        file.seek(0)
        invalid, multibyte, unprintable = _survey_utf8(file)
    # Text in another encoding looks like a multi-byte character next to never: where those prevail, it is UTF-8 with
    # torn characters, whose rows are rejected.
    if invalid == 0 or multibyte > invalid:
        return "utf-8"
    return "latin-1" if unprintable else "cp1252"


def _survey_utf8(file: IO[bytes]) -> tuple[int, int, bool]:
    """Count invalid and multi-byte sequences of UTF-8, and see whether cp1252 lacks a byte that is used."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    invalid = multibyte = 0
    unprintable = False
    while True:
        block = file.read(1 << 20)
        text = decoder.decode(block, final=not block)
        if not text.isascii():
            torn = len(re.findall("[\udc80-\udcff]", text))
            invalid += torn
            multibyte += len(re.findall("[^\x00-\x7f]", text)) - torn
            unprintable = unprintable or any(byte in block for byte in b"\x81\x8d\x8f\x90\x9d")
        if not block:
            return invalid, multibyte, unprintable


def open_text(path: Path, encoding: str) -> IO[str]:
    """Open a file as text; torn bytes become lone surrogates (U+FFFD in UTF-16 and 32), so that only their row is rejected."""
    errors = "replace" if encoding.lower().startswith(("utf-16", "utf-32")) else "surrogateescape"
    return io.TextIOWrapper(open_binary(path), encoding=encoding, errors=errors, newline="")


def find_undecodable(values: Sequence[str | None], encoding: str) -> int | None:
    """Return the index of the first field with a torn byte, or with half of a JSON escape."""
    torn = _TORN_WIDE if encoding.lower().startswith(("utf-16", "utf-32")) else _TORN
    for index, value in enumerate(values):
        if value is not None and not value.isascii() and torn.search(value):
            return index
    return None
