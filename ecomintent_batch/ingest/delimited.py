"""Delimited text → rows, with a reason for every row that cannot be read.

Python's `csv` reads here, not DuckDB: measured on DuckDB 1.5.5, its strict reader drops everything
after an unclosed quote without a reject and stops at mixed line ends, and its lenient reader cuts long rows
silently. `csv` in strict mode errs on each of them, which is what makes the sums of a run hold.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import Reject, Row
from ecomintent_batch.ingest.columns import is_usual_name
from ecomintent_batch.ingest.encoding import detect_encoding, find_undecodable, open_text
from ecomintent_batch.ingest.paths import nested_paths, value_at

MAX_FIELD_CHARS = 4_000_000
MAX_RECORD_LINES = 50_000
MOST_LINES_AROUND = 40  # above a header, and below a table
_SAMPLE_CHARS = 256 * 1024
_SAMPLE_RECORDS = 500
# What reports write below a table: sums, counts, and where it is from.
_FOOTER = re.compile(
    r"(?:grand |sub[- ]?|over)?total(?:s|en)?\b.{0,60}"
    r"|sum(?:me| of\b.{0,40})?:?|count:?(?: .{0,20})?|average:?|mean:?"
    r"|\(?\d[\d.,]* (?:rows?|records?|tickets?|cases?|results?|items?|entries)\b.{0,40}"
    r"|(?:end of|generated|created by|exported|printed|report(?:ed)? (?:by|on|generated|run)|source:|filter(?:s|ed)?\b|as of"
    r"|copyright|©|\(c\)|confidential|all rights reserved|page \d|number of|note:|disclaimer|powered by"
    r"|rows? (?:returned|affected)).{0,200}",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+(]?[$€£]?\s?\d[\d.,\s]*%?\)?")
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
    preamble_lines: int = 0  # of those skipped

    def __str__(self) -> str:
        delimiter = {"\t": "tab"}.get(self.delimiter, f"'{self.delimiter}'")
        text = f"{self.encoding}, delimiter {delimiter}"
        if self.preamble_lines:
            lines = "line" if self.preamble_lines == 1 else "lines"
            text += f", {self.preamble_lines} {lines} above the header skipped"
        return text


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
    candidates = []
    for mark in marks:
        candidate = Dialect(encoding, mark, quote, skip_lines=skip)
        above = _count_preamble(sample, candidate)
        candidates.append(replace(candidate, skip_lines=skip + above, preamble_lines=above))
    best = max(candidates, key=lambda candidate: _fit(sample, candidate))
    # A backslash before a quote escapes it only where the file makes no sense otherwise: text may end in a backslash.
    escaped = replace(best, escape="\\")
    return (
        escaped if f"\\{quote}" in sample and _fit(sample, escaped) > _fit(sample, best) else best
    )


def _count_preamble(sample: str, dialect: Dialect) -> int:
    """Return the number of lines above the header: titles and dates of a report, none where the first line is as wide."""
    lines = _Lines(io.StringIO(sample, newline=""))
    reader, records = _make_reader(lines, dialect, strict=False), []
    for _ in range(_SAMPLE_RECORDS):
        lines.begin_record()
        start = lines.number
        try:
            record = next(reader, None)
        except csv.Error:
            break
        if record is None:
            break
        if record:
            records.append((start, record))
    widths = Counter(len(record) for _, record in records if len(record) > 1)
    if not widths:
        return 0
    width, rows = widths.most_common(1)[0]
    if rows * 2 < len(records) - MOST_LINES_AROUND:
        return 0
    for index, (start, record) in enumerate(records[:MOST_LINES_AROUND]):
        filled = sum(bool(value.strip()) for value in record)
        is_full = abs(len(record) - width) <= 1
        if is_full and sum(map(is_usual_name, record)) > 1:  # the other columns may have no name
            return start if index else 0
        if is_full and 2 * filled > width:
            return start if index and _are_names(record) else 0
        if filled > max(1, width // 2):
            return 0
    return 0


def _are_names(record: Sequence[str]) -> bool:
    """Return whether the fields of a record could name columns."""
    filled = [value.strip() for value in record if value.strip()]
    return all(
        len(value) <= 60 and "\n" not in value and re.search("[^\\W\\d]", value) for value in filled
    ) and not any(re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d|@|[.!?]$", value) for value in filled)


def _fit(sample: str, dialect: Dialect) -> tuple[float, bool, int]:
    """Return the share of records that are well-formed and as wide as the header, whether it is the first line, and that width.

    One column is the worst.
    """
    lines = _Lines(io.StringIO(sample, newline=""), dialect.preamble_lines)
    records = _read_records(lines, dialect)
    _, header = next(records, (0, ""))
    if isinstance(header, str) or len(header) < 2:
        return (0.0, False, 0)
    fits = [isinstance(record, list) for _, record in islice(records, _SAMPLE_RECORDS)]
    if len(sample) == _SAMPLE_CHARS and 1 < len(fits) < _SAMPLE_RECORDS:
        fits.pop()  # cut in the middle
    share = 1.0 if all(fits) else fits.count(True) / len(fits)
    return (share, not dialect.preamble_lines, len(header))


class _Lines:
    """Lines of a file that can be given back, so that a broken record costs its first line only."""

    def __init__(self, file: IO[str], skip: int = 0) -> None:
        self._file = file
        self._ahead: deque[str] = deque(line.removeprefix("\ufeff") for line in islice(file, 1))
        self.record: list[str] = []
        self.number = 0  # of the last line given out, from 1
        self.after_blank = False  # whether an empty line precedes the record
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
    width = header_width = 0
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
                lines.after_blank = True
                continue
            if not width:
                width, header_width = _width_of(record), len(record)
            # Commas at the end of a line are no fields, nor is what a header leaves without a name at its end.
            if len(record) == width or (
                len(record) > width and (len(record) == header_width or not any(record[width:]))
            ):
                yield start, record[:width]
                lines.after_blank = False
                continue
            problem = f"expected {width} fields, found {len(record)}"
        if _are_rows(lines.record[1:], dialect, width, last_too=not reached_end):
            lines.give_back_all_but_first()
            problem = UNCLOSED
        # A fresh reader: after an exception from its input, the old one still holds half a record.
        reader = _make_reader(lines, dialect)
        yield start, problem


def _width_of(header: Sequence[str]) -> int:
    width = len(header)
    while width > 1 and not header[width - 1].strip():
        width -= 1
    return width


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
        fields: list[str] = next(_make_reader(iter([line]), dialect, strict=False), [])
        while len(fields) > width and not fields[-1]:
            fields.pop()
        found = len(fields)
        goes_on = line.count(dialect.quote) % 2 == 1
        return found == width or (goes_on and found <= width)

    begin = [begins_row(stripped) for line in lines if (stripped := line.rstrip("\r\n"))]
    return begin.count(True) * 2 > len(begin) and (begin[-1] or not last_too)


class DelimitedFile:
    """One CSV or TSV file: its header, then its rows and rejects in their order.

    Attributes:
        nested: columns whose texts are JSON, with the paths of the values inside.
        footer_lines: records below the table that are no tickets, known when it was read to its end.
    """

    def __init__(self, path: Path, dialect: Dialect, name: str | None = None) -> None:
        self.path, self.dialect, self.name = path, dialect, name or str(path)
        self.description = str(dialect)
        self.footer_lines = 0
        with open_text(path, dialect.encoding) as file:
            records = _read_records(_Lines(file, dialect.skip_lines), dialect)
            _, header = next(records, (0, "nothing"))
            if isinstance(header, str):
                raise SourceError(f"expected a header line, found {header}")
            sample = [record for _, record in islice(records, _SAMPLE_RECORDS) if len(record)]
        self.columns = [name.strip() for name in header]
        self.nested: dict[str, list[str]] = {}
        for index, column in enumerate(self.columns):
            values = [record[index] for record in sample if not isinstance(record, str)]
            may_be_json = any(value[:1] in "{[" for value in values if value)
            if may_be_json and (paths := nested_paths(column, values)):
                self.nested[column] = paths

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row | Reject]:
        """Yield every row after the header with some columns, all by default.

        A column that the file lacks is null; `row_number` of a reject counts within this file.
        """
        names = self.columns if columns is None else columns
        pick = _Picker(self.columns, names)
        for row_number, (line, record) in enumerate(self._records()):
            if isinstance(record, str):
                yield Reject(self.name, line, row_number, None, record)
            elif (column := find_undecodable(record, self.dialect.encoding)) is not None:
                error = f"bytes that are not {self.dialect.encoding}"
                yield Reject(self.name, line, row_number, self.columns[column], error)
            else:
                yield Row(pick(record), line)

    def _records(self) -> Iterator[tuple[int, list[str] | str]]:
        """Yield the records of the table: what may be a footer waits until a row follows, and is dropped at the end."""
        with open_text(self.path, self.dialect.encoding) as file:
            lines = _Lines(file, self.dialect.skip_lines)
            records = _read_records(lines, self.dialect)
            next(records, None)  # the header
            waiting: list[tuple[int, list[str] | str]] = []
            footers: list[bool] = []
            for line, record in records:
                is_footer = self._is_footer(record, lines, any(footers))
                if is_footer or (not isinstance(record, str) and not any(record)):
                    waiting.append((line, record))
                    footers.append(is_footer)
                    if len(waiting) <= MOST_LINES_AROUND:
                        continue
                elif not waiting:
                    yield line, record
                    continue
                else:
                    waiting.append((line, record))
                yield from waiting
                waiting, footers = [], []
            first = footers.index(True) if any(footers) else len(waiting)
            while first and not any(waiting[first - 1][1]):
                first -= 1  # empty rows before a footer belong to it
            self.footer_lines = len(waiting) - first if any(footers) else 0
            yield from waiting[: len(waiting) - self.footer_lines]

    def _is_footer(self, record: list[str] | str, lines: _Lines, in_footer: bool) -> bool:
        if isinstance(record, str):  # too few fields
            if not record.startswith("expected ") or len(lines.record) > 1:
                return False
            fields: list[str] = next(
                _make_reader(iter(lines.record), self.dialect, strict=False), []
            )
            if len(fields) >= len(self.columns):
                return False
        else:
            fields = record
        filled = [value.strip() for value in fields if value.strip()]
        if not filled or (len(filled) > 2 and isinstance(record, str)):
            return False
        if _FOOTER.fullmatch(filled[0]):
            return all(_NUMBER.fullmatch(value) for value in filled[1:]) or isinstance(record, str)
        return isinstance(record, str) and (lines.after_blank or in_footer) and len(filled) <= 2


class _Picker:
    """Takes some columns of each record; a dotted path reads into texts that are JSON."""

    def __init__(self, columns: Sequence[str], names: Sequence[str]) -> None:
        self._indices = [columns.index(name) if name in columns else -1 for name in names]
        self._paths = {}
        for position, name in enumerate(names):
            root, dot, path = name.partition(".")
            if self._indices[position] < 0 and dot and root in columns:
                self._indices[position] = columns.index(root)
                self._paths[position] = path.split(".")

    def __call__(self, record: list[str]) -> list[str | None]:
        values = [(record[index] or None) if index >= 0 else None for index in self._indices]
        for position, steps in self._paths.items():
            value = value_at(values[position], steps)
            values[position] = value if value is None or isinstance(value, str) else str(value)
        return values


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text or "unclosed" in text or "field limit" in text:
        return UNCLOSED
    if "expected after" in text:
        return "text after a closing quote"
    return text
