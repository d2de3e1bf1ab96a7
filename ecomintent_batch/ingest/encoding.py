"""The bytes of a file → text: unpacking, and which encoding it is in."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from ecomintent_batch.errors import SourceError

# What reading a file can raise that is the file's fault: gone or torn, a broken .gz, an encoding that it is not in.
READ_ERRORS = (OSError, EOFError, LookupError, UnicodeError, zlib.error, lzma.LZMAError)
_OTHER_KINDS = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "a SQLite database"),
)
_GUESSES = ("cp1252", "latin-1", "mac_roman")
_LONG_RUN = re.compile(
    "[^\x00-\x7f‘’“”„«»–—…•]{3,}"
)  # Western words have no three accents in a row
_ODD_IN_WORDS = re.compile("[A-Za-z][³¹²¿£¥ªº¯Ÿ¼¾¶þð][a-z]|[þðý][\x00-@]|[a-z][À-Þ][a-z]")
# Central European and Turkish letters as cp1252 shows them: ř next to ě, ő next to ö, and so on.
_ODD_MIXES = tuple(
    map(frozenset, ("ìø", "ìý", "ìš", "ìž", "õöé", "õû", "ýþ", "ýð", "èø", "èž", "æž", "èš", "æš"))
)
_LEAST_FIT = 0.3
_BLOCK = 1 << 20
_MOST_CONTEXTS = 4000
_TORN = re.compile("[\ud800-\udfff]")
_TORN_WIDE = re.compile("[\ud800-\udfff\ufffd]")


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacking gzip, zstd, bzip2 and xz by the first bytes, not by its name."""
    with path.open("rb") as file:
        head = file.read(6)
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"\x28\xb5\x2f\xfd": lambda path: pa.input_stream(str(path), compression="zstd"),
        b"BZh": bz2.open,
        b"\xfd7zXZ": lzma.open,
    }
    opener = next((openers[magic] for magic in openers if head.startswith(magic)), None)
    opened: IO[bytes] = path.open("rb") if opener is None else opener(path)
    return opened


def open_text(path: Path, encoding: str) -> IO[str]:
    """Open a file as text; torn bytes become lone surrogates (U+FFFD in UTF-16 and 32), so that only their row is rejected."""
    errors = "replace" if encoding.lower().startswith(("utf-16", "utf-32")) else "surrogateescape"
    return io.TextIOWrapper(open_binary(path), encoding=encoding, errors=errors, newline="")


def is_guess(encoding: str) -> bool:
    """Return whether an encoding cannot be proven by the bytes of a file."""
    return encoding in _GUESSES


def detect_encoding(path: Path) -> str:
    """Return the encoding of a file by all of its bytes: UTF-8, UTF-16, UTF-32, cp1252, latin-1 or Mac Roman.

    UTF-8 is proven by decoding everything (about 1 GB/s), so a lone accent on the last line counts. Of the others the one
    wins in which the characters that are not ASCII fit their neighbours best.

    Raises:
        SourceError: the file is a workbook, an archive or something else that is not text.
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
        # Column names are mostly ASCII, in every language of tickets: in UTF-16 most pairs of bytes of the first line
        # hold a NUL, always on one side.
        first_line = re.split(b"[\r\n]", head, maxsplit=1)[0]
        even, odd = first_line[0::2].count(0), first_line[1::2].count(0)
        if max(even, odd) * 4 > len(first_line) and min(even, odd) == 0:
            return "utf-16-be" if even else "utf-16-le"
        invalid, multibyte = _count_utf8(_blocks(head, file))
    # Text in another encoding almost never looks like a multi-byte character: where those prevail, it is UTF-8 with
    # torn characters, whose rows are rejected.
    return "utf-8" if invalid == 0 or multibyte > invalid else _guess_encoding(path)


def _blocks(head: bytes, file: IO[bytes]) -> Iterator[bytes]:
    yield head
    while block := file.read(_BLOCK):
        yield block


def _count_utf8(blocks: Iterator[bytes]) -> tuple[int, int]:
    """Return the numbers of invalid and of multi-byte sequences of UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    invalid = multibyte = 0
    for block in (*blocks, b""):
        text = decoder.decode(block, final=not block)
        if not text.isascii():
            torn = len(re.findall("[\udc80-\udcff]", text))
            invalid += torn
            multibyte += len(re.findall("[^\x00-\x7f]", text)) - torn
    return invalid, multibyte


def _guess_encoding(path: Path) -> str:
    """Return the one-byte encoding that makes the most sense of a file."""
    contexts: list[bytes] = []
    lacks_bytes = False  # cp1252 leaves five bytes undefined
    with open_binary(path) as file:
        for block in _blocks(b"", file):
            lacks_bytes = lacks_bytes or any(byte in block for byte in b"\x81\x8d\x8f\x90\x9d")
            if len(contexts) < _MOST_CONTEXTS:
                contexts += re.findall(rb"[\x00-\x7f]?[\x80-\xff]+[\x00-\x7f]?", block)
    windows = "latin-1" if lacks_bytes else "cp1252"
    sample = contexts[:_MOST_CONTEXTS]
    scores = {
        name: sum(_plausibility(context.decode(name)) for context in sample)
        for name in (windows, "mac_roman")
    }
    return max(scores, key=lambda name: scores[name])


def is_doubtful(path: Path, encoding: str) -> bool:
    """Return whether the characters that are not ASCII look like those of another encoding than the one that was guessed."""
    with open_binary(path) as file:
        contexts = re.findall(rb"[\x00-\x7f]?[\x80-\xff]+[\x00-\x7f]?", file.read(_BLOCK))
    texts = [context.decode(encoding, "replace") for context in contexts[:_MOST_CONTEXTS]]
    counts = Counter(character for text in texts for character in text if not character.isascii())
    total = counts.total()
    if total == 0:
        return False
    in_runs = sum(len(run) for text in texts for run in _LONG_RUN.findall(text))
    odd = sum(len(_ODD_IN_WORDS.findall(text)) for text in texts)
    if in_runs > total / 10 or odd > total / 20:
        return True
    common = {character for character, count in counts.items() if count * 50 >= total}
    if any(mix <= common for mix in _ODD_MIXES):
        return True
    return sum(map(_plausibility, texts)) < total * _LEAST_FIT


def _plausibility(text: str) -> float:
    """Return how well the characters of a short text that are not ASCII fit their neighbours."""
    score = 0.0
    for index, character in enumerate(text):
        if character.isascii():
            continue
        before = text[index - 1] if index else " "
        after = text[index + 1] if index + 1 < len(text) else " "
        score += _fit_of(character, before, after)
    return score


def _fit_of(character: str, before: str, after: str) -> float:
    if character in "šžŸŠŽœŒÿþðÞÐ":
        return 0.25 if character.islower() else -0.5
    if character.islower():
        return 1.0 if before.isalpha() or after.isalpha() else 0.5
    if character.isupper():
        if before.islower():
            return -1.0
        return 1.0 if after.isalpha() or before.isupper() else 0.0
    if character == "’":
        return 1.0 if before.isalnum() else 0.0
    if character in "‘“”„‚«»‹›":
        return 1.0 if not (before.isalnum() and after.isalnum()) else -1.0
    if character in "–—…•":
        return 1.0 if not (before.isalnum() and after.isalnum()) else -0.5
    if character in "€£¥¢°":
        return 1.0 if before.isdigit() or after.isdigit() or after == " " else -0.5
    return 0.0 if character in "\xa0\xad®™©¿¡ºª½¼´·" else -1.0


def find_undecodable(values: Sequence[str | None], encoding: str) -> int | None:
    """Return the index of the first field with a torn byte, or with half of a JSON escape."""
    torn = _TORN_WIDE if encoding.lower().startswith(("utf-16", "utf-32")) else _TORN
    for index, value in enumerate(values):
        if value is not None and not value.isascii() and torn.search(value):
            return index
    return None
