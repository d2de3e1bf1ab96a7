"""Delimited text → rows, with a reason for every row that cannot be read.

Python's `csv` reads here, not DuckDB: measured on DuckDB 1.5.5, its strict reader drops everything
behind an unclosed quote without a reject and stops at mixed line ends, and its lenient reader cuts long rows
silently. `csv` in strict mode errs on each of them, which is what makes the sums of a run hold.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import Reject, Row
from ecomintent_batch.ingest.encoding import detect_encoding, find_undecodable, open_text

MAX_FIELD_CHARS = 4_000_000
MAX_RECORD_LINES = 50_000
_SAMPLE_CHARS = 256 * 1024
_SAMPLE_RECORDS = 500
_DELIMITERS = (",", ";", "\t", "|")
UNCLOSED = f"a quote that is never closed, or a field over {MAX_FIELD_CHARS:,} characters"


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


def detect_dialect(path: Path, encoding: str | None, delimiter: str | None) -> Dialect:
    """Tell how a delimited file is written; what is given is taken as it is.

    The delimiter is the one that splits the most lines of the first 256 KB into as many fields as the header has.

    Raises:
        SourceError: the file is empty, or the named encoding does not exist or does not fit.
    """
    encoding = encoding or detect_encoding(path)
    try:
        with open_text(path, encoding) as file:
            sample = file.read(_SAMPLE_CHARS)
    except (LookupError, UnicodeError) as error:
        raise SourceError(
            f"cannot be read as {encoding} ({type(error).__name__}); try another --encoding"
        ) from None
    skip = 0
    sample = sample.removeprefix("\ufeff")
    if match := re.match(r"sep=(.)(?:\r\n|\r|\n)", sample):  # Excel's own hint
        skip, delimiter, sample = 1, delimiter or match[1], sample[match.end() :]
    if not sample.strip("\x00 \t\r\n\ufeff"):
        raise SourceError("expected a header and tickets, found an empty file")
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

    def __init__(self, path: Path, dialect: Dialect, name: str | None = None) -> None:
        self.path, self.dialect, self.name = path, dialect, name or str(path)
        self.description = str(dialect)
        with open_text(path, dialect.encoding) as file:
            _, header = next(
                _read_records(_Lines(file, dialect.skip_lines), dialect), (0, "nothing")
            )
        if isinstance(header, str):
            raise SourceError(f"expected a header line, found {header}")
        self.columns = [name.strip() for name in header]

    def rows(self) -> Iterator[Row | Reject]:
        """Yield every row after the header; `row_number` of a reject counts within this file."""
        with open_text(self.path, self.dialect.encoding) as file:
            records = _read_records(_Lines(file, self.dialect.skip_lines), self.dialect)
            next(records, None)  # the header
            for row_number, (line, record) in enumerate(records):
                if isinstance(record, str):
                    yield Reject(self.name, line, row_number, None, record)
                elif (column := find_undecodable(record, self.dialect.encoding)) is not None:
                    error = f"bytes that are not {self.dialect.encoding}"
                    yield Reject(self.name, line, row_number, self.columns[column], error)
                else:
                    yield Row([value or None for value in record], line)


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text or "unclosed" in text or "field limit" in text:
        return UNCLOSED
    if "expected after" in text:
        return "text behind a closing quote"
    return text
