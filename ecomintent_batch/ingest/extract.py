"""Source → shards: fixed numbers of tickets, one Parquet file each, and a list of the rows that could not be read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecomintent_batch.errors import ColumnError, RejectedRowsError, SourceError
from ecomintent_batch.ingest.base import Batch, Reject, Source
from ecomintent_batch.ingest.columns import PickedColumns
from ecomintent_batch.ingest.incremental import (
    PreviousPredictions,
    limit_to_start,
    skip_classified,
)
from ecomintent_batch.ingest.times import cast_times, choose_time_sql
from ecomintent_batch.runs.layout import shard_name
from ecomintent_batch.runs.records import Extraction, RowsBefore
from ecomintent_batch.schema import REJECTS, shard_schema
from ecomintent_batch.storage.atomic import flush_to_disk, sha256_of, write_parquet

_SAMPLE_ROWS = 1000
_SAMPLE_BATCHES = 16
MAX_LISTED_REASONS = 5


@dataclass(frozen=True)
class ReadPlan:
    """How the columns of a source become those of the shards."""

    picked: PickedColumns
    names: dict[str, str]  # source column → name in the predictions, for the kept ones
    time_sql: str | None = None  # for `cast_times`, where the times are text or numbers
    notes: tuple[str, ...] = ()


def plan_reading(
    source: Source, picked: PickedColumns, names: dict[str, str], time_format: str | None
) -> ReadPlan:
    """Look at the first rows: is there a ticket at all, and how is the time written.

    Raises:
        SourceError: there is no row.
        ColumnError: the time column that was named does not hold times.
    """
    column = picked.time or picked.ticket_id
    first, rejects = _first_values(source, column)
    if first is None:
        if rejects:
            worst = Counter(reject.error for reject in rejects).most_common(1)[0][0]
            raise SourceError(
                f"{source.name}: expected tickets, found {len(rejects)} rows that cannot be read: {worst}"
            )
        raise SourceError(f"{source.name}: expected tickets, found none")
    if picked.time is None:
        return ReadPlan(picked, names)
    try:
        time_sql, note = choose_time_sql(first, picked.time, time_format)
    except ColumnError as error:
        if picked.time_is_named:
            raise ColumnError(f"{source.name}: {error}") from None
        timeless = picked.without_time()
        return ReadPlan(
            timeless,
            {name: names[name] for name in timeless.kept},
            notes=(f"no daily volumes: {error}",),
        )
    return ReadPlan(picked, names, time_sql, (note,) if note else ())


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
    shard_rows: int,
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
        shard_rows: Tickets in one shard.
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
        if previous is not None:
            time_column = plan.names[plan.picked.time] if plan.picked.time else None
            candidates = folder / "candidates.tmp"
            tables, done.skipped = stack.enter_context(
                skip_classified(tables, previous, time_column, candidates)
            )
        for path, rows in _write_shards(tables, folder, shard_rows):
            done.shards.append(path.name)
            done.shard_rows.append(rows)
            done.sha256.append(sha256_of(path))
            yield path, rows
    rejects = sorted(tally.rejects, key=lambda reject: reject.row_number)
    done.source_rows = tally.source_rows
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


@dataclass(frozen=True)
class _ShardBatch:
    """What one batch of a source gives to the shards."""

    table: pa.Table
    source_rows: int
    rejects: Sequence[Reject]
    newest: date | None


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
    rejects: list[Reject] = field(default_factory=list)
    newest: date | None = None

    def count(self, batches: Iterable[_ShardBatch]) -> Iterator[pa.Table]:
        """Yield the tables of the batches, and add up the rest."""
        for batch in batches:
            self.source_rows += batch.source_rows
            self.rejects += batch.rejects
            if batch.newest:
                self.newest = max(self.newest or batch.newest, batch.newest)
            yield batch.table


def _read_tables(
    source: Source, plan: ReadPlan, read_from: datetime | None
) -> Iterator[_ShardBatch]:
    """Yield the rows as shards have them."""
    picked = plan.picked
    since = (picked.time, read_from) if picked.time and read_from else None
    for batch in source.read(picked.needed(), [picked.ticket_id, *picked.texts], since):
        table, bad_times = _to_shard_columns(batch, plan)
        newest = _newest(table.column(plan.names[picked.time])) if picked.time else None
        yield _ShardBatch(table, batch.source_rows, [*batch.rejects, *bad_times], newest)


def _newest(times: pa.ChunkedArray) -> date | None:
    """Return the largest of some times or dates, to the microsecond."""
    largest = pc.max(times)
    if pa.types.is_timestamp(times.type):
        largest = largest.cast(pa.timestamp("us", times.type.tz), safe=False)
    newest: date | None = largest.as_py()
    return newest


def _write_shards(
    tables: Iterator[pa.Table], folder: Path, shard_rows: int
) -> Iterator[tuple[Path, int]]:
    writer: pq.ParquetWriter | None = None
    path, rows, shards = folder, 0, 0
    for table in tables:
        while table.num_rows:
            if writer is None:
                path, rows = folder / shard_name(shards), 0
                writer = pq.ParquetWriter(
                    path.with_suffix(".tmp"), table.schema, compression="zstd", compression_level=1
                )
                shards += 1
            take = table.slice(0, shard_rows - rows)
            writer.write_table(take)
            rows += take.num_rows
            table = table.slice(take.num_rows)
            if rows == shard_rows:
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
        f"{done.source_rows} ({reasons}); mend the source or raise --max-reject-ratio"
    )


def _finish(writer: pq.ParquetWriter, path: Path) -> Path:
    writer.close()
    flush_to_disk(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)
    return path


def _to_shard_columns(batch: Batch, plan: ReadPlan) -> tuple[pa.Table, list[Reject]]:
    """Order, rename and cast the columns of a batch; rows whose time is not a time become rejects."""
    picked, table = plan.picked, batch.table
    kept = [table.column(name) for name in picked.kept]
    row_numbers = pa.chunked_array([batch.row_numbers])
    keep_mask: pa.ChunkedArray | None = None
    rejects: list[Reject] = []
    if picked.time and plan.time_sql:
        at = picked.kept.index(picked.time)
        kept[at], broken = cast_times(kept[at], plan.time_sql)
        if pc.any(broken).as_py():
            for index in pc.indices_nonzero(broken).to_pylist():
                line = batch.lines[index].as_py() if batch.lines is not None else None
                row_number = batch.row_numbers[index].as_py()
                rejects.append(Reject(batch.file, line, row_number, picked.time, "not a time"))
            keep_mask = pc.invert(broken)
    fields = [
        pa.field(plan.names[name], column.type)
        for name, column in zip(picked.kept, kept, strict=True)
    ]
    schema = shard_schema(fields, len(picked.texts))
    texts = [table.column(name) for name in picked.texts]
    shard = pa.Table.from_arrays(
        [table.column(picked.ticket_id), row_numbers, *kept, *texts], schema=schema
    )
    return (shard if keep_mask is None else shard.filter(keep_mask)), rejects
