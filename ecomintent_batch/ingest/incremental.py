"""Skip what committed runs have classified already: an anti-join of a source with their predictions.

A ticket is skipped if its newest prediction has the hash of the message that it has now: text that changed, and
changed back, is classified again. Of several rows of one ticket the newest counts, by its time or else by its row number.
The rows wait in one file, with the hashes of their messages, until DuckDB has found which of them to classify: it streams
the previous predictions and keeps only those of the source's tickets, so memory grows with neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.runs.parts import Parts
from ecomintent_batch.runs.records import Manifest, Reading
from ecomintent_batch.schema import TEXT_PREFIX
from ecomintent_batch.storage.duck import connect, escape_glob, first_line
from ecomintent_batch.text.message import clean_messages, hash_message

_SLICE_ROWS = 8192
_SAME_WATERMARK = timedelta(minutes=10)
_MEMORY_LIMIT = "1GB"  # what does not fit goes to the staging folder

_NEWEST = """
SELECT ticket_id, row_number, message_hash FROM read_parquet($candidates)
QUALIFY ticket_id IS NULL
    OR row_number() OVER (PARTITION BY ticket_id ORDER BY ticket_time DESC NULLS LAST, row_number DESC) = 1
"""
# Ids of runs sort by time. A prediction that failed does not count.
_TO_CLASSIFY = f"""
WITH newest AS MATERIALIZED ({_NEWEST}),
previous AS (
    SELECT ticket_id, arg_max({{'hash': message_hash, 'model': model, 'status': status::VARCHAR}}, (run_id, row_number)) AS latest
    FROM predictions
    WHERE ticket_id IN (SELECT ticket_id FROM newest)
    GROUP BY ticket_id
)
SELECT row_number FROM newest ANTI JOIN previous
ON newest.ticket_id = previous.ticket_id AND newest.message_hash = latest.hash
    AND latest.model = coalesce($model, latest.model) AND latest.status <> 'error'
ORDER BY row_number
"""  # noqa: S608 - two statements of this file


@dataclass(frozen=True)
class PreviousPredictions:
    """The predictions of committed runs.

    Attributes:
        parts: where they are.
        model: if given, predictions of other models do not count.
        raw: how the messages of the source are cleaned.
    """

    parts: Parts
    model: str | None = None
    raw: bool = False


@contextmanager
def skip_classified(
    tables: Iterable[pa.Table],
    previous: PreviousPredictions,
    time_column: str | None,
    candidates: Path,
) -> Iterator[tuple[Iterator[pa.Table], int]]:
    """Read the tables to their end; yield tables of the rows to classify, and how many rows are not.

    Args:
        tables: rows as shards have them, in source order.
        previous: what is classified already.
        time_column: which of their columns says which row of a ticket is the newest.
        candidates: a file for the rows in the meantime; it is removed.
    """
    try:
        rows = _write_candidates(tables, previous.raw, time_column, candidates)
        remaining = _rows_to_classify(previous, candidates) if rows else np.zeros(0, np.int64)
        yield _read_rows(candidates, remaining), rows - len(remaining)
    finally:
        candidates.unlink(missing_ok=True)


def _read_rows(candidates: Path, remaining: Any) -> Iterator[pa.Table]:
    """Yield the candidates with some row numbers, which are sorted."""
    if not len(remaining):
        return
    with pq.ParquetFile(candidates) as file:
        columns = [
            name for name in file.schema_arrow.names if name not in ("message_hash", "ticket_time")
        ]
        for batch in file.iter_batches(_SLICE_ROWS, columns=columns):
            numbers = batch.column("row_number").to_numpy()
            first, last = np.searchsorted(remaining, (numbers[0], numbers[-1] + 1))
            if first < last:
                mask = pa.array(np.isin(numbers, remaining[first:last]))
                yield pa.Table.from_batches([batch.filter(mask)])


def _write_candidates(
    tables: Iterable[pa.Table], raw: bool, time_column: str | None, candidates: Path
) -> int:
    writer: pq.ParquetWriter | None = None
    rows = 0
    try:
        for table in tables:
            if not table.num_rows:
                continue
            texts = [
                table.column(name).combine_chunks()
                for name in table.column_names
                if name.startswith(TEXT_PREFIX)
            ]
            hashes = list(map(hash_message, clean_messages(texts, raw=raw).to_pylist()))
            times = (
                table.column(time_column)
                if time_column
                else pa.nulls(table.num_rows, pa.timestamp("us"))
            )
            table = table.append_column("message_hash", pa.array(hashes)).append_column(
                "ticket_time", times
            )
            writer = writer or pq.ParquetWriter(
                candidates, table.schema, compression="zstd", compression_level=1
            )
            writer.write_table(table)
            rows += table.num_rows
    finally:
        if writer:
            writer.close()
    return rows


def _rows_to_classify(previous: PreviousPredictions, candidates: Path) -> Any:
    """Return the row numbers of the rows to classify, sorted."""
    values: dict[str, Any] = {"candidates": escape_glob(str(candidates))}
    spill = str(candidates.with_suffix(".spill"))
    with connect(config={"memory_limit": _MEMORY_LIMIT, "temp_directory": spill}) as connection:
        connection.execute("SET preserve_insertion_order = false")
        query = f"SELECT row_number FROM ({_NEWEST}) ORDER BY row_number"  # noqa: S608
        try:
            if previous.parts.groups:
                rows = previous.parts.select(connection, unify=False)
                connection.execute(f"CREATE TEMP VIEW predictions AS {rows}")
                query, values["model"] = _TO_CLASSIFY, previous.model
            return connection.execute(query, values).fetchnumpy()["row_number"]
        except duckdb.IOException as error:
            raise RunStateError(
                f"the parts that the manifests list: expected all of them, found: {first_line(error)}; "
                "see ecomintent-batch verify, and clean away the run that is broken"
            ) from None


def newest_watermark(manifests: Sequence[Manifest], reading: Reading) -> datetime | None:
    """Return the newest time of a ticket that previous runs of this source have read; None where there was none.

    A time after the start of its own run is a mistake in the data, and would hide all that comes until then.

    Args:
        manifests: The committed runs.
        reading: What this run reads, and how.
    """
    newest = None
    for manifest in manifests:
        if manifest.newest is None or not reading.is_same_as(manifest):
            continue
        time = limit_to_start(datetime.fromisoformat(manifest.newest), manifest.started_at)
        newest = time if newest is None else max(newest, time)
    return newest


def limit_to_start(time: datetime, started: datetime) -> datetime:
    """Return the time of a ticket, or the start of its run where the ticket claims to be of the future."""
    return min(time, started if time.tzinfo else started.replace(tzinfo=None))


def is_full_run_due(
    manifests: Sequence[Manifest], reading: Reading, every_days: float | None, now: datetime
) -> bool:
    """Return whether the last run that has read the whole source is older than some days; never for None."""
    if every_days is None:
        return False
    full = [
        manifest.started_at
        for manifest in manifests
        if manifest.read_from is None and reading.is_same_as(manifest)
    ]
    return not full or now - max(full) >= timedelta(days=every_days)


def count_late_rows(
    source: Source, manifests: Sequence[Manifest], reading: Reading, read_from: datetime
) -> tuple[int, datetime] | None:
    """Count the rows that came since the last run with a time before its watermark: no run has read them.

    Deleted rows hide as many late ones. None where the source cannot count, or the last run did not.

    Args:
        source: What is read.
        manifests: The committed runs, oldest first.
        reading: What this run reads, and how.
        read_from: Tickets before this time are not read by this run either.

    Returns:
        The rows, and the time before which they lie.
    """
    counted = [
        manifest.before
        for manifest in manifests
        if manifest.before is not None and reading.is_same_as(manifest)
    ]
    if not counted or reading.columns.time is None:
        return None
    until = datetime.fromisoformat(counted[-1].until)
    if until - read_from > _SAME_WATERMARK:  # the lag was raised since: some of them are read now
        return None
    rows = source.count_before(reading.columns.time, until)
    return None if rows is None else (max(0, rows - counted[-1].rows), until)
