"""What every source gives: batches of rows, with the rows that could not be read next to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import pyarrow as pa

Kind = Literal["csv", "jsonl", "parquet", "excel", "delta", "duckdb", "postgres"]
Since = tuple[str, datetime]  # a column of times, and the earliest of them to read
BATCH_ROWS = 8192


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


@dataclass(frozen=True)
class Batch:
    """A few thousand source rows.

    Attributes:
        table: the columns that were asked for.
        row_numbers: of each row of the table its 0-based position in the source.
        source_rows: rows of the source that this batch accounts for.
        rejects: rows that could not be read; their positions lie between those of the table.
        skipped: rows for which --where does not hold.
        lines: of each row of the table the line on which it starts, where the source has lines.
        file: the name of the file, as people know it.
    """

    table: pa.Table
    row_numbers: pa.Array
    source_rows: int
    rejects: Sequence[Reject] = ()
    skipped: int = 0
    lines: pa.Array | None = None
    file: str = ""


class Source(Protocol):
    """What the extraction needs of a source.

    Attributes:
        name: as shown to people and kept in manifests, without a password.
        columns: their names; a text file may have one twice.
        nested: columns that hold objects or lists, with the dotted paths of the values inside.
        notes: how it is read.
        warnings: what of it people should check.
        advice: what to try where there are no tickets in it; mostly nothing.
        filters_by_time: whether `since` keeps rows from being read.
    """

    kind: Kind
    name: str
    columns: list[str]
    nested: dict[str, list[str]]
    notes: list[str]
    warnings: list[str]
    advice: str
    filters_by_time: bool

    def fingerprint(self) -> list[Any]:
        """Return what changes when the source does; empty if that cannot be known."""

    def remarks(self) -> list[str]:
        """Return what people should know after the source was read to its end."""

    def read(
        self, columns: Sequence[str], as_text: Sequence[str], since: Since | None = None
    ) -> Iterator[Batch]:
        """Stream the named columns in source order, those of `as_text` cast to strings.

        With `since`, rows with an earlier time in that column are not read, if the source filters by time.
        """

    def count_before(self, column: str, time: datetime) -> int | None:
        """Return the number of rows with an earlier time in a column; None where counting means reading everything."""
