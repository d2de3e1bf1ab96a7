"""Delimited text and JSON lines → rows, with a reason for every row that cannot be read.

Python's `csv` reads here, not DuckDB: measured on DuckDB 1.5.5, its strict reader drops everything
behind an unclosed quote without a reject and stops at mixed line ends, and its lenient reader cuts long rows
silently. `csv` in strict mode errs on each of them, which is what makes the sums of a run hold.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ecomintent_batch.errors import SourceError

MAX_FIELD_CHARS = 4_000_000
MAX_RECORD_LINES = 50_000
_SAMPLE_CHARS = 256 * 1024
_SAMPLE_RECORDS = 500
_SAMPLE_OBJECTS = 1000
_DELIMITERS = (",", ";", "\t", "|")
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
UNCLOSED = f"a quote that is never closed, or a field over {MAX_FIELD_CHARS:,} characters"
_TORN = re.compile("[\ud800-\udfff]")
_TORN_WIDE = re.compile("[\ud800-\udfff\ufffd]")


@dataclass(frozen=True)
class Dialect:
    """How one text file is written."""

    encoding: str
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    skip_lines: int = 0

    def __str__(self) -> str:
        delimiter = {"\t": "tab"}.get(self.delimiter, f"'{self.delimiter}'")
        return f"{self.encoding}, delimiter {delimiter}"


@dataclass(frozen=True)
class Reject:
    """One source row that could not be read: where, and why, never what it says."""

    file: str
    line: int | None
    row_number: int
    column: str | None
    error: str


@dataclass(frozen=True)
class Row:
    """One source row: its fields in header order (empty ones null), and the line it starts on."""

    values: list[str | None]
    line: int


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
                raise SourceError(f"{path}: expected text, found {what}; export the tickets as CSV")
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


def detect_dialect(path: Path, encoding: str | None, delimiter: str | None) -> Dialect:
    """Tell how a delimited file is written; what is given is taken as it is.

    The delimiter is the one that splits the most lines of the first 256 KB into as many fields as the header has.

    Raises:
        SourceError: the file is empty, or the named encoding does not exist or does not fit.
    """
    encoding = encoding or detect_encoding(path)
    try:
        with _open_text(path, encoding) as file:
            sample = file.read(_SAMPLE_CHARS)
    except (LookupError, UnicodeError) as error:
        raise SourceError(
            f"{path}: cannot be read as {encoding} ({type(error).__name__}); try another --encoding"
        ) from None
    skip = 0
    sample = sample.removeprefix("\ufeff")
    if match := re.match(r"sep=(.)(?:\r\n|\r|\n)", sample):  # Excel's own hint
        skip, delimiter, sample = 1, delimiter or match[1], sample[match.end() :]
    if not sample.strip("\x00 \t\r\n\ufeff"):
        raise SourceError(f"{path}: expected a header and tickets, found an empty file")
    quote = "'" if sample.lstrip().startswith("'") else '"'
    marks = (delimiter,) if delimiter else _DELIMITERS
    candidates = [Dialect(encoding, mark, quote, skip_lines=skip) for mark in marks]
    best = max(candidates, key=lambda candidate: _fit(sample, candidate))
    # A backslash before a quote escapes it only where the file makes no sense otherwise: text may end in a backslash.
    escaped = replace(best, escape="\\")
    return (
        escaped if f"\\{quote}" in sample and _fit(sample, escaped) > _fit(sample, best) else best
    )


def _fit(sample: str, dialect: Dialect) -> tuple[float, int]:
    """Return the share of records that are well-formed and as wide as the header, and that width; one column is the worst."""
    records = _read_records(_Lines(io.StringIO(sample, newline="")), dialect)
    _, header = next(records, (0, ""))
    if isinstance(header, str) or len(header) < 2:
        return (0.0, 0)
    fits = [isinstance(record, list) for _, record in islice(records, _SAMPLE_RECORDS)]
    if len(sample) == _SAMPLE_CHARS and 1 < len(fits) < _SAMPLE_RECORDS:
        fits.pop()  # cut in the middle
    return (1.0 if all(fits) else fits.count(True) / len(fits), len(header))


def _open_text(path: Path, encoding: str) -> IO[str]:
    # Torn bytes arrive as lone surrogates (U+FFFD in UTF-16 and 32), so that only the row they stand in is rejected.
    errors = "replace" if encoding.lower().startswith(("utf-16", "utf-32")) else "surrogateescape"
    return io.TextIOWrapper(open_binary(path), encoding=encoding, errors=errors, newline="")


class _Lines:
    """Lines of a file that can be given back, so that a broken record costs its first line only."""

    def __init__(self, file: IO[str], skip: int = 0) -> None:
        self._file = file
        self._ahead: deque[str] = deque(line.removeprefix("\ufeff") for line in islice(file, 1))
        self.record: list[str] = []
        self.number = 0  # of the last line given out, from 1
        for _ in range(skip):
            next(self, None)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.record) >= MAX_RECORD_LINES:
            raise csv.Error("unclosed quote")
        line = self._ahead.popleft() if self._ahead else next(self._file)
        self.number += 1
        self.record.append(line)
        return line

    def begin_record(self) -> None:
        self.record.clear()

    def give_back_all_but_first(self) -> None:
        back = self.record[1:]
        self._ahead.extendleft(reversed(back))
        self.number -= len(back)


def _read_records(lines: _Lines, dialect: Dialect) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the line on which each record starts, and its fields or the reason why it has none; the first is the header."""
    reader = _make_reader(lines, dialect)
    width = 0
    while True:
        lines.begin_record()
        start = lines.number + 1
        reached_end = False
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _reason(error)
            reached_end = problem == UNCLOSED
        else:
            if not record:
                continue  # an empty line
            width = width or len(record)
            if len(record) == width:
                yield start, record
                continue
            problem = f"expected {width} fields, found {len(record)}"
        if _are_rows(lines.record[1:], dialect, width, last_too=not reached_end):
            lines.give_back_all_but_first()
            problem = UNCLOSED
        # A fresh reader: after an exception from its input, the old one still holds half a record.
        reader = _make_reader(lines, dialect)
        yield start, problem


def _make_reader(lines: Iterator[str], dialect: Dialect, *, strict: bool = True) -> Any:
    csv.field_size_limit(MAX_FIELD_CHARS)  # one for the whole process, so set by whoever reads
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.escape,
        doublequote=dialect.escape is None,
        strict=strict,
    )


def _are_rows(lines: Sequence[str], dialect: Dialect, width: int, *, last_too: bool) -> bool:
    """Tell rows that an unclosed quote has swallowed from the further lines of one text.

    Most of the lines must begin a row; `last_too`: so must the last one, where the broken quote was noticed. If text were
    taken for rows, a message would fall apart into tickets that nobody wrote.
    """
    quote, mark = re.escape(dialect.quote), re.escape(dialect.delimiter)
    inside, bare = (
        (rf"[^{quote}]|{quote}{quote}", "")
        if dialect.escape is None
        else (rf"[^{quote}\\]|\\.", r"\\")
    )
    field = rf"(?:{quote}(?:{inside})*+(?:{quote}(?={mark}|\Z)|\Z)|[^{quote}{mark}{bare}]*+)"
    quotes_in_place = re.compile(rf"{field}(?:{mark}{field})*+", re.DOTALL)

    def begins_row(line: str) -> bool:
        if not quotes_in_place.fullmatch(line):
            return False
        found = len(next(_make_reader(iter([line]), dialect, strict=False), []))
        goes_on = line.count(dialect.quote) % 2 == 1
        return found == width or (goes_on and found <= width)

    begin = [begins_row(stripped) for line in lines if (stripped := line.rstrip("\r\n"))]
    return begin.count(True) * 2 > len(begin) and (begin[-1] or not last_too)


class DelimitedFile:
    """One CSV or TSV file: its header, then its rows and rejects in their order."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path, self.dialect = path, dialect
        with _open_text(path, dialect.encoding) as file:
            _, header = next(
                _read_records(_Lines(file, dialect.skip_lines), dialect), (0, "nothing")
            )
        if isinstance(header, str):
            raise SourceError(f"{path}: expected a header line, found {header}")
        self.columns = [name.strip() for name in header]

    def rows(self) -> Iterator[Row | Reject]:
        """Yield every row behind the header; `row_number` of a reject counts within this file."""
        with _open_text(self.path, self.dialect.encoding) as file:
            records = _read_records(_Lines(file, self.dialect.skip_lines), self.dialect)
            next(records, None)  # the header
            for place, (line, record) in enumerate(records):
                if isinstance(record, str):
                    yield Reject(str(self.path), line, place, None, record)
                elif (column := _undecodable(record, self.dialect.encoding)) is not None:
                    error = f"bytes that are not {self.dialect.encoding}"
                    yield Reject(str(self.path), line, place, self.columns[column], error)
                else:
                    yield Row([value or None for value in record], line)


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text or "unclosed" in text or "field limit" in text:
        return UNCLOSED
    if "expected after" in text:
        return "text behind a closing quote"
    return text


def _undecodable(values: Sequence[str | None], encoding: str) -> int | None:
    """Return the index of the first field with a torn byte, or with half of a JSON escape."""
    torn = _TORN_WIDE if encoding.lower().startswith(("utf-16", "utf-32")) else _TORN
    for index, value in enumerate(values):
        if value is not None and not value.isascii() and torn.search(value):
            return index
    return None


class JsonLinesFile:
    """One file of JSON objects, one a line; columns are the keys of its first 1,000 objects.

    Raises:
        SourceError: there is no object in it.
    """

    def __init__(self, path: Path, encoding: str | None) -> None:
        self.path = path
        self.dialect = Dialect(encoding or detect_encoding(path))
        keys: dict[str, None] = {}
        problem = "an empty file"
        for _, found in islice(self._objects(), _SAMPLE_OBJECTS):
            if isinstance(found, dict):
                keys.update(dict.fromkeys(found))
            else:
                problem = f"none ({found})"
        self.columns = list(keys)
        if not keys:
            raise SourceError(f"{path}: expected a JSON object on each line, found {problem}")

    def _objects(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Yield each line's number with its object, or with the reason why it has none."""
        decoder = json.JSONDecoder(
            parse_float=str, parse_int=str
        )  # as written: ids and prices keep their digits
        with _open_text(self.path, self.dialect.encoding) as file:
            for number, line in enumerate(file, start=1):
                text = line.strip("\ufeff \t\r\n")
                if not text:
                    continue
                try:
                    found = decoder.decode(text)
                except ValueError as error:
                    message = (
                        error.msg
                        if isinstance(error, json.JSONDecodeError)
                        else type(error).__name__
                    )
                    yield number, f"not JSON: {message}"
                    continue
                except RecursionError:
                    yield number, "not JSON: nested too deep"
                    continue
                yield (
                    number,
                    found
                    if isinstance(found, dict)
                    else f"expected an object, found {type(found).__name__}",
                )

    def rows(self) -> Iterator[Row | Reject]:
        """Yield every object; `row_number` of a reject counts within this file."""
        for place, (number, found) in enumerate(self._objects()):
            if isinstance(found, str):
                yield Reject(str(self.path), number, place, None, found)
                continue
            values = [_as_text(found.get(key)) for key in self.columns]
            if (column := _undecodable(values, self.dialect.encoding)) is not None:
                yield Reject(
                    str(self.path),
                    number,
                    place,
                    self.columns[column],
                    "characters that are not Unicode text",
                )
            else:
                yield Row(values, number)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
