"""Source → shards: fixed numbers of tickets, one Parquet file each, and a list of the rows that could not be read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecomintent_batch.errors import ColumnError, RejectedRowsError, SourceError
from ecomintent_batch.ingest.base import Batch, Reject, Source
from ecomintent_batch.ingest.columns import PickedColumns, unknown_path_error
from ecomintent_batch.ingest.incremental import (
    PreviousPredictions,
    limit_to_start,
    skip_classified,
)
from ecomintent_batch.ingest.text_source import NULL_MARKERS
from ecomintent_batch.ingest.times import TimeParser, detect_times, null_impossible
from ecomintent_batch.options import LEAST_SHARD_ROWS, SHARD_ROWS
from ecomintent_batch.runs.layout import shard_name
from ecomintent_batch.runs.records import Extraction, RowsBefore
from ecomintent_batch.schema import REJECTS, shard_schema
from ecomintent_batch.storage.atomic import flush_to_disk, sha256_of, write_parquet

_SAMPLE_ROWS = 1000
_SAMPLE_BATCHES = 16
_MOST_COUNTED_IDS = 20_000_000
# What programs write for a missing text, in addition to the markers of databases.
_NULL_WORDS = (
    *NULL_MARKERS, "null", "<null>", "(null)", "[null]", "None", "NaN", "nan", "NaT", "<NA>", "undefined", "#N/A",
)  # fmt: skip
MAX_LISTED_REASONS = 5


@dataclass(frozen=True)
class ReadPlan:
    """How the columns of a source become those of the shards."""

    picked: PickedColumns
    names: dict[str, str]  # source column → name in the predictions, for the kept ones
    times: TimeParser | None = None  # where the times are text or numbers
    notes: tuple[str, ...] = ()


def plan_reading(
    source: Source, picked: PickedColumns, names: dict[str, str], time_format: str | None
) -> ReadPlan:
    """Look at the first rows: is there a ticket at all, and how is the time written.

    Raises:
        SourceError: there is no row.
        ColumnError: the time column that was named does not hold times.
    """
    column = picked.time or picked.ticket_id or picked.texts[0]
    first, rejects = _first_values(source, column)
    if first is None:
        if rejects:
            worst = Counter(reject.error for reject in rejects).most_common(1)[0][0]
            raise SourceError(
                f"{source.name}: expected tickets, found {len(rejects)} rows that cannot be read: {worst}"
            )
        raise SourceError(f"{source.name}: expected tickets, found none")
    _check_paths(source, picked)
    if picked.time is None:
        return ReadPlan(picked, names, notes=picked.notes)
    try:
        times, note = detect_times(first, picked.time, time_format)
    except ColumnError as error:
        if picked.time_is_named:
            raise ColumnError(f"{source.name}: {error}") from None
        timeless = picked.without_time()
        return ReadPlan(
            timeless,
            {name: names[name] for name in timeless.kept},
            notes=(*picked.notes, f"no daily volumes: {error}"),
        )
    return ReadPlan(picked, names, times, (*picked.notes, note) if note else picked.notes)


def _check_paths(source: Source, picked: PickedColumns) -> None:
    """Raise ColumnError where a path into a nested column is unknown, and leads to no value in any row of the source."""
    options = dict.fromkeys(picked.texts, "--text-column")
    if picked.ticket_id:
        options[picked.ticket_id] = "--id-column"
    for column, option in options.items():
        known = source.nested.get(column.partition(".")[0], [])
        if column in source.columns or "." not in column or column in known:
            continue
        tables = (batch.table for batch in source.read([column], [column]))
        if not any(table.num_rows > table.column(0).null_count for table in tables):
            raise unknown_path_error(source.name, column, option, known)


def _first_values(source: Source, column: str) -> tuple[pa.ChunkedArray | None, list[Reject]]:
    """Return the first values of a column that are not null, none if the first rows have none; None without a row."""
    values: pa.ChunkedArray | None = None
    rejects: list[Reject] = []
    batches = source.read([column], [])
    for batch in batches:
        rejects += batch.rejects
        if batch.table.num_rows:
            break
    else:
        return None, rejects
    for later in islice(chain([batch], batches), _SAMPLE_BATCHES):
        values = later.table.column(0).drop_null().slice(0, _SAMPLE_ROWS)
        if len(values):
            break
    return values, rejects


def extract_shards(
    source: Source,
    plan: ReadPlan,
    folder: Path,
    *,
    shard_rows: int | None,
    max_reject_ratio: float,
    previous: PreviousPredictions | None = None,
    read_from: datetime | None = None,
    late_rows: int | None = None,
    lag: timedelta | None = None,
) -> Iterator[tuple[Path, int]]:
    """Write the shards into a folder, yielding each with its rows as soon as it is complete.

    `extraction.json` and `rejects.parquet` are written last: with them the extraction is complete.

    Args:
        source: What to read.
        plan: How its columns become those of the shards.
        folder: Where to write.
        shard_rows: Tickets in one shard; None for shards that grow, so that a small source has several, too.
        max_reject_ratio: Share of rows that may be rejected.
        previous: Predictions whose tickets are skipped; then the first shard comes after the source was read to its end.
        read_from: Tickets before this time are not read, if the source can filter by time.
        late_rows: Tickets before this time that came too late, for the record.
        lag: How far before the newest ticket the next run starts to read; None where it reads everything.

    Raises:
        SourceError: the source broke off.
        RejectedRowsError: the share of rejects is over `max_reject_ratio`.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    done = Extraction(read_from=read_from.isoformat() if read_from else None, late_rows=late_rows)
    tally = _Tally()
    with ExitStack() as stack:
        tables = tally.count(_read_tables(source, plan, read_from))
        classified = 0
        if previous is not None:
            time_column = plan.names[plan.picked.time] if plan.picked.time else None
            candidates = folder / "candidates.tmp"
            tables, classified = stack.enter_context(
                skip_classified(tables, previous, time_column, candidates)
            )
        for path, rows in _write_shards(tables, folder, shard_rows):
            done.shards.append(path.name)
            done.shard_rows.append(rows)
            done.sha256.append(sha256_of(path))
            yield path, rows
    rejects = sorted(tally.rejects, key=lambda reject: reject.row_number)
    done.source_rows = tally.source_rows
    done.skipped, done.skipped_by_where = tally.skipped + classified, tally.skipped
    done.remarks = [*source.remarks(), *_describe_reading(tally, plan.picked)]
    done.newest = tally.newest.isoformat() if tally.newest else None
    done.rejected = len(rejects)
    done.reasons = dict(Counter(reject.error for reject in rejects).most_common())
    check_rejects(source.name, done, max_reject_ratio)
    file = folder / "rejects.parquet"
    write_parquet(pa.Table.from_pylist([asdict(reject) for reject in rejects], REJECTS), file)
    done.sha256.append(sha256_of(file))
    done.before = _count_before(source, plan, done.newest, lag)
    done.extract_s = time.perf_counter() - started
    done.write(folder / "extraction.json")


def _describe_reading(tally: _Tally, picked: PickedColumns) -> list[str]:
    """Return what people should know of ids and times."""
    remarks = []
    if picked.ticket_id and tally.ids.missing:
        remarks.append(
            f"{tally.ids.missing:,} rows have no id in {picked.ticket_id}: each is labelled, but as a ticket of its own in "
            "every run, so queries of several runs count it again and --incremental labels it again"
        )
    rows, ids = tally.ids.repeated()
    if rows:
        remarks.append(
            f"{rows:,} rows share {ids:,} ids in {picked.ticket_id}: each row is labelled, but queries of several runs and "
            "--incremental take the newest row of an id for the ticket; if rows are messages, --where can leave agents' rows "
            "out, and --id-column can name the message's id"
        )
    if tally.unread_times:
        remarks.append(
            f"{tally.unread_times:,} values of {picked.time} are not times: they are null in the predictions"
        )
    return remarks


@dataclass(frozen=True)
class _ShardBatch:
    """What one batch of a source gives to the shards."""

    table: pa.Table
    source: Batch
    newest: date | None
    unread_times: int


def _count_before(
    source: Source, plan: ReadPlan, newest: str | None, lag: timedelta | None
) -> RowsBefore | None:
    """Count the rows before the watermark of the next run, as far as the source can count them."""
    if lag is None or newest is None or plan.picked.time is None:
        return None
    until = limit_to_start(datetime.fromisoformat(newest), datetime.now(UTC)) - lag
    try:
        rows = source.count_before(plan.picked.time, until)
    except SourceError:  # the tickets are read, and that is what counts
        return None
    return None if rows is None else RowsBefore(until=until.isoformat(), rows=rows)


@dataclass
class _Tally:
    """Sums over the batches that passed through."""

    source_rows: int = 0
    skipped: int = 0
    unread_times: int = 0
    rejects: list[Reject] = field(default_factory=list)
    newest: date | None = None
    ids: _IdCounter = field(default_factory=lambda: _IdCounter())

    def count(self, batches: Iterable[_ShardBatch]) -> Iterator[pa.Table]:
        """Yield the tables of the batches, and add up the rest."""
        for batch in batches:
            self.source_rows += batch.source.source_rows
            self.skipped += batch.source.skipped
            self.unread_times += batch.unread_times
            self.rejects += batch.source.rejects
            if batch.newest:
                self.newest = max(self.newest or batch.newest, batch.newest)
            self.ids.add(batch.table.column("ticket_id"))
            yield batch.table


class _IdCounter:
    """Counts rows whose id another row has too, by hashes of 8 bytes; it stops counting at 20 million rows."""

    def __init__(self) -> None:
        self.missing = 0
        self._hashes: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        self._rows = 0

    def add(self, ids: pa.ChunkedArray) -> None:
        """Count the ids of a batch; rows without one repeat nothing."""
        self._rows += len(ids)
        self.missing += ids.null_count
        if self._rows <= _MOST_COUNTED_IDS:
            known = ids.drop_null().to_pylist()
            self._hashes.append(np.fromiter(map(hash, known), np.int64, len(known)))

    def repeated(self) -> tuple[int, int]:
        """Return how many rows share an id with another, and how many ids they have."""
        if not self._hashes or self._rows > _MOST_COUNTED_IDS:
            return 0, 0
        _, counts = np.unique(np.concatenate(self._hashes), return_counts=True)
        several = counts[counts > 1]
        return int(several.sum()), len(several)


def _read_tables(
    source: Source, plan: ReadPlan, read_from: datetime | None
) -> Iterator[_ShardBatch]:
    """Yield the rows as shards have them."""
    picked = plan.picked
    since = (picked.time, read_from) if picked.time and read_from else None
    for batch in source.read(picked.needed(), picked.as_text(), since):
        table, unread_times = _to_shard_columns(batch, plan)
        newest = _newest(table.column(plan.names[picked.time])) if picked.time else None
        yield _ShardBatch(table, batch, newest, unread_times)


def _newest(times: pa.ChunkedArray) -> date | None:
    """Return the largest of some times or dates, to the microsecond."""
    largest = pc.max(times)
    if pa.types.is_timestamp(times.type):
        largest = largest.cast(pa.timestamp("us", times.type.tz), safe=False)
    newest: date | None = largest.as_py()
    return newest


def _list_sizes(shard_rows: int | None) -> Iterator[int]:
    """Yield the tickets of one shard after the other."""
    rows = shard_rows or LEAST_SHARD_ROWS
    while True:
        yield rows
        rows = shard_rows or min(2 * rows, SHARD_ROWS)


def _write_shards(
    tables: Iterator[pa.Table], folder: Path, shard_rows: int | None
) -> Iterator[tuple[Path, int]]:
    writer: pq.ParquetWriter | None = None
    path, rows, shards, limit = folder, 0, 0, 0
    sizes = _list_sizes(shard_rows)
    for table in tables:
        while table.num_rows:
            if writer is None:
                path, rows, limit = folder / shard_name(shards), 0, next(sizes)
                writer = pq.ParquetWriter(
                    path.with_suffix(".tmp"), table.schema, compression="zstd", compression_level=1
                )
                shards += 1
            take = table.slice(0, limit - rows)
            writer.write_table(take)
            rows += take.num_rows
            table = table.slice(take.num_rows)
            if rows == limit:
                yield _finish(writer, path), rows
                writer = None
    if writer is not None:
        yield _finish(writer, path), rows


def check_rejects(name: str, done: Extraction, max_reject_ratio: float) -> None:
    """Raise RejectedRowsError, with the most frequent reasons, where too many rows were rejected."""
    if done.rejected <= max_reject_ratio * done.source_rows:
        return
    reasons = "; ".join(
        f"{count} x {reason}" for reason, count in list(done.reasons.items())[:MAX_LISTED_REASONS]
    )
    raise RejectedRowsError(
        f"{name}: expected at most {max_reject_ratio:.2%} of the rows to be rejected, found {done.rejected} of "
        f"{done.source_rows} ({reasons}); fix the source or raise --max-reject-ratio"
    )


def _finish(writer: pq.ParquetWriter, path: Path) -> Path:
    writer.close()
    flush_to_disk(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)
    return path


def _to_shard_columns(batch: Batch, plan: ReadPlan) -> tuple[pa.Table, int]:
    """Order, rename and cast the columns of a batch; return also how many times could not be read and are null."""
    picked, table = plan.picked, batch.table
    kept = [table.column(name) for name in picked.kept]
    unread = 0
    if picked.time:
        at = picked.kept.index(picked.time)
        kept[at], unread = _to_times(kept[at], plan.times)
    fields = [
        pa.field(plan.names[name], column.type)
        for name, column in zip(picked.kept, kept, strict=True)
    ]
    schema = shard_schema(fields, len(picked.texts))
    row_numbers = pa.chunked_array([batch.row_numbers])
    ids = table.column(picked.ticket_id) if picked.ticket_id else row_numbers.cast(pa.string())
    texts = [_without_null_words(table.column(name).cast(pa.string())) for name in picked.texts]
    return pa.Table.from_arrays([ids, row_numbers, *kept, *texts], schema=schema), unread


def _to_times(values: pa.ChunkedArray, parser: TimeParser | None) -> tuple[pa.ChunkedArray, int]:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        # Nanoseconds end in 2262: a view over this run and one with a later time could be cast to neither type.
        values = values.cast(pa.timestamp("us", values.type.tz), safe=False)
    return (null_impossible(values), 0) if parser is None else parser.parse(values)


def _without_null_words(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace what programs write for a missing text by null; a message of these letters alone says nothing either."""
    words = pc.is_in(texts, pa.array(_NULL_WORDS, pa.string()))
    if not pc.any(words).as_py():
        return texts
    return pc.if_else(words, pa.scalar(None, pa.string()), texts)
