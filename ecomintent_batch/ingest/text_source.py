"""Text files as a source: CSV, TSV, JSON lines, local or fetched from an object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from ecomintent_batch.errors import ColumnError, SourceError
from ecomintent_batch.ingest.base import BATCH_ROWS, Batch, Kind, Reject, Row, Since
from ecomintent_batch.ingest.columns import check_unique, list_names
from ecomintent_batch.ingest.delimited import DelimitedFile, detect_dialect
from ecomintent_batch.ingest.encoding import READ_ERRORS
from ecomintent_batch.ingest.files import InputFile, fingerprint_of
from ecomintent_batch.ingest.json_lines import JsonLinesFile
from ecomintent_batch.storage.location import SCHEME
from ecomintent_batch.storage.s3 import Store

StoredFile = tuple[str, int, str]  # URL, bytes, time of its last change


class TextSource:
    """One text file or several with the same columns. Every value is text."""

    def __init__(
        self,
        kind: Kind,
        name: str,
        files: Sequence[InputFile],
        encoding: str | None = None,
        delimiter: str | None = None,
    ) -> None:
        self.kind, self.name, self.files = kind, name, files
        self.encoding, self.delimiter = encoding, delimiter
        self._parsed = [self._parse(file) for file in files]
        self.columns = self._join_columns()
        check_unique(self.name, self._parsed[0].columns)
        self.notes = [self._parsed[0].description]

    def _parse(self, file: InputFile) -> DelimitedFile | JsonLinesFile:
        try:
            if self.kind == "jsonl":
                return JsonLinesFile(file.path, self.encoding, file.name)
            dialect = detect_dialect(file.path, self.encoding, self.delimiter)
            return DelimitedFile(file.path, dialect, file.name)
        except ColumnError:
            raise
        except SourceError as error:
            raise SourceError(f"{file.name}: {error}") from None
        except READ_ERRORS as error:
            raise SourceError(
                f"{file.name}: expected text that can be read, found: {error}"
            ) from None

    def _join_columns(self) -> list[str]:
        first = self._parsed[0]
        columns = first.columns
        for parsed in self._parsed[1:]:
            if set(parsed.columns) != set(columns) and self.kind == "csv":
                raise SourceError(
                    f"{parsed.name}: expected the columns of {first.name} ({list_names(columns)}), "
                    f"found {list_names(parsed.columns)}"
                )
            columns = list(dict.fromkeys([*columns, *parsed.columns]))
        return columns

    def fingerprint(self) -> list[Any]:
        """Return what changes when a file does."""
        return [
            *fingerprint_of([file.path for file in self.files]),
            self.encoding,
            self.delimiter,
        ]

    def count_before(self, column: str, time: datetime) -> int | None:
        """Return None: a text file is read to be counted, and then its late rows are read anyway."""
        return None

    def read(
        self, columns: Sequence[str], as_text: Sequence[str], since: Since | None = None
    ) -> Iterator[Batch]:
        """Stream the named columns in source order."""
        row_number = 0
        for parsed in self._parsed:
            indices = [
                parsed.columns.index(name) if name in parsed.columns else -1 for name in columns
            ]
            rows = _read_to_the_end(parsed.rows(), parsed.name)
            while window := list(islice(rows, BATCH_ROWS)):
                yield _make_batch(window, columns, indices, parsed.name, row_number)
                row_number += len(window)


def _make_batch(
    window: Sequence[Row | Reject],
    columns: Sequence[str],
    indices: Sequence[int],
    file: str,
    first_row_number: int,
) -> Batch:
    kept: list[Row] = []
    row_numbers: list[int] = []
    rejects: list[Reject] = []
    for row_number, row in enumerate(window, first_row_number):
        if isinstance(row, Row):
            kept.append(row)
            row_numbers.append(row_number)
        else:
            rejects.append(replace(row, row_number=row_number))
    arrays = [
        pa.array([row.values[i] if i >= 0 else None for row in kept], pa.string()) for i in indices
    ]
    return Batch(
        pa.Table.from_arrays(arrays, names=list(columns)),
        pa.array(row_numbers, pa.int64()),
        len(window),
        rejects,
        pa.array([row.line for row in kept], pa.int64()),
        file,
    )


def _read_to_the_end(rows: Iterator[Row | Reject], name: str) -> Iterator[Row | Reject]:
    try:
        yield from rows
    except READ_ERRORS as error:  # a .gz that was cut short, most often
        raise SourceError(
            f"{name}: expected to be read to its end, found: {error}; fetch it again"
        ) from None


class StoredText(TextSource):
    """Text files of an object store, fetched into a private folder for as long as they are read."""

    def __init__(
        self,
        kind: Kind,
        name: str,
        files: Sequence[StoredFile],
        encoding: str | None,
        delimiter: str | None,
    ) -> None:
        self._stored, self._folder = files, TemporaryDirectory(prefix="ecomintent-source-")
        root = Path(self._folder.name)
        bucket, fetched = name.removeprefix(SCHEME).partition("/")[0], []
        for url, *_ in files:
            key = url.removeprefix(f"{SCHEME}{bucket}/")
            path = root / bucket / key
            Store(f"{SCHEME}{bucket}").download(key, path)
            fetched.append(InputFile(path, url))
        super().__init__(kind, name, fetched, encoding, delimiter)

    def fingerprint(self) -> list[Any]:
        """Return what changes when an object does."""
        return [[list(file) for file in self._stored], self.encoding, self.delimiter]
