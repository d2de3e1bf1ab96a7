"""Text files as a source: CSV, TSV and JSON. Every value is text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import BATCH_ROWS, Batch, Kind, Reject, Row, Since
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.ingest.delimited import DelimitedFile, detect_dialect
from ecomintent_batch.ingest.encoding import READ_ERRORS, is_doubtful, is_guess
from ecomintent_batch.ingest.files import InputFile, Listing
from ecomintent_batch.ingest.json_lines import JsonLinesFile
from ecomintent_batch.ingest.where import filter_mask, where_columns

# What databases write into a text file for a value that is missing.
NULL_MARKERS = ("\\N", "NULL", "<NULL>", "(NULL)", "[NULL]")
_MARKERS = pa.array(NULL_MARKERS, pa.string())


@dataclass(frozen=True)
class TextOptions:
    """How text files are to be read, where people say so."""

    encoding: str | None = None
    delimiter: str | None = None
    where: str | None = None


class TextSource:
    """One text file or several with the same columns."""

    filters_by_time = False

    def __init__(self, kind: Kind, name: str, listing: Listing, options: TextOptions) -> None:
        self.kind, self.name, self._listing, self.options = kind, name, listing, options
        several = len(listing.files) > 1
        parsed = [(file, self._parse(file, skip_empty=several)) for file in listing.files]
        self._parsed = [(file, table) for file, table in parsed if table is not None]
        if not self._parsed:
            raise SourceError(f"{name}: expected tickets, found {len(parsed)} empty files")
        self.columns = self._join_columns()
        self.nested: dict[str, list[str]] = {}
        for _, table in self._parsed:
            for column, paths in table.nested.items():
                self.nested.setdefault(column, paths)
        self._where = (
            where_columns(options.where, self.columns) if options.where is not None else []
        )
        self.notes = self._describe(len(parsed) - len(self._parsed))
        self.warnings, self.advice = self._doubt_encodings(), listing.advice

    def _parse(self, file: InputFile, *, skip_empty: bool) -> DelimitedFile | JsonLinesFile | None:
        options = self.options
        try:
            if self.kind == "jsonl":
                return JsonLinesFile(file.path, options.encoding, file.name)
            dialect = detect_dialect(file.path, options.encoding, options.delimiter)
            return DelimitedFile(file.path, dialect, file.name)
        except SourceError as error:
            if skip_empty and str(error).endswith("an empty file"):
                return None
            raise SourceError(f"{file.name}: {error}") from None
        except READ_ERRORS as error:
            reason = str(error).replace(str(file.path), file.name)
            raise SourceError(
                f"{file.name}: expected text that can be read, found: {reason}"
            ) from None

    def _join_columns(self) -> list[str]:
        first = self._parsed[0][1]
        columns = list(first.columns)
        for _, table in self._parsed[1:]:
            if set(table.columns) != set(columns) and self.kind == "csv":
                raise SourceError(
                    f"{table.name}: expected the columns of {first.name} ({list_names(columns)}), "
                    f"found {list_names(table.columns)}"
                )
            columns += [name for name in table.columns if name not in columns]
        partitions = dict.fromkeys(key for file, _ in self._parsed for key in file.partitions)
        return columns + [name for name in partitions if name not in columns]

    def _describe(self, empty: int) -> list[str]:
        table = self._parsed[0][1]
        notes = [table.description]
        if isinstance(table, DelimitedFile) and self.options.encoding is None:
            encoding = table.dialect.encoding
            shown = f"{encoding} (a guess)" if is_guess(encoding) else encoding
            notes[0] = notes[0].replace(encoding, shown, 1)
        if empty:
            notes.append(f"{empty} empty files skipped")
        return notes + self._listing.notes

    def _doubt_encodings(self) -> list[str]:
        """Return a warning about each file whose encoding was guessed and fits badly."""
        if self.options.encoding is not None:
            return []
        guesses = [
            (file, table.dialect.encoding if isinstance(table, DelimitedFile) else table.encoding)
            for file, table in self._parsed
        ]
        return [
            f"{file.name}: the encoding is guessed to be {encoding}, but the letters look like those of another; if texts "
            "come out garbled, give --encoding: cp1250 (Central Europe), cp1251 (Cyrillic), cp1253 (Greek), cp1254 (Turkish), "
            "shift_jis, gbk, euc_kr …"
            for file, encoding in guesses
            if is_guess(encoding) and is_doubtful(file.path, encoding)
        ]

    def fingerprint(self) -> list[Any]:
        """Return what changes when a file does."""
        identities = [file.identity for file in self._listing.files]
        return [*identities, self.options.encoding, self.options.delimiter]

    def remarks(self) -> list[str]:
        """Return how many lines below the tables were no tickets, and encodings to check."""
        return self.warnings + [
            f"{table.name}: {table.footer_lines} lines below the table are taken for its footer, not for tickets"
            for _, table in self._parsed
            if isinstance(table, DelimitedFile) and table.footer_lines
        ]

    def count_before(self, column: str, time: datetime) -> int | None:
        """Return None: a text file is read to be counted, and then its late rows are read anyway."""
        return None

    def read(
        self, columns: Sequence[str], as_text: Sequence[str], since: Since | None = None
    ) -> Iterator[Batch]:
        """Stream the named columns in source order."""
        names = [*columns, *(name for name in self._where if name not in columns)]
        row_number = 0
        for file, table in self._parsed:
            rows = _read_to_the_end(table.rows(names), file)
            while window := list(islice(rows, BATCH_ROWS)):
                batch = _make_batch(window, names, file, row_number)
                row_number += len(window)
                yield self._filter(batch, columns) if self.options.where is not None else batch

    def _filter(self, batch: Batch, columns: Sequence[str]) -> Batch:
        assert self.options.where is not None  # noqa: S101 - for mypy
        mask = filter_mask(batch.table, self.options.where).combine_chunks()
        table = batch.table.filter(mask).select(list(columns))
        return replace(
            batch,
            table=table,
            row_numbers=batch.row_numbers.filter(mask),
            lines=None if batch.lines is None else batch.lines.filter(mask),
            skipped=batch.table.num_rows - table.num_rows,
        )


def _make_batch(
    window: Sequence[Row | Reject], columns: Sequence[str], file: InputFile, first: int
) -> Batch:
    kept: list[Row] = []
    row_numbers: list[int] = []
    rejects: list[Reject] = []
    for row_number, row in enumerate(window, first):
        if isinstance(row, Row):
            kept.append(row)
            row_numbers.append(row_number)
        else:
            rejects.append(replace(row, row_number=row_number))
    arrays = [_make_array([row.values[i] for row in kept]) for i in range(len(columns))]
    for i, name in enumerate(columns):
        if name in file.partitions and arrays[i].null_count == len(arrays[i]):
            arrays[i] = pa.array([file.partitions[name]] * len(kept), pa.string())
    return Batch(
        pa.Table.from_arrays(arrays, names=list(columns)),
        pa.array(row_numbers, pa.int64()),
        len(window),
        rejects,
        0,
        pa.array([row.line for row in kept], pa.int64()),
        file.name,
    )


def _make_array(values: list[str | None]) -> pa.Array:
    array = pa.array(values, pa.string())
    markers = pc.is_in(array, _MARKERS)
    return pc.if_else(markers, pa.scalar(None, pa.string()), array) if markers.true_count else array


def _read_to_the_end(rows: Iterator[Row | Reject], file: InputFile) -> Iterator[Row | Reject]:
    try:
        yield from rows
    except READ_ERRORS as error:  # a .gz that was cut short, most often
        reason = str(error).replace(str(file.path), file.name)
        raise SourceError(
            f"{file.name}: expected to be read to its end, found: {reason}; fetch it again"
        ) from None
