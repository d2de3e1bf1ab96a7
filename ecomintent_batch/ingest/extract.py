"""Source → shards: fixed numbers of tickets, one Parquet file each, and a list of the rows that could not be read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecomintent_batch.errors import ColumnError, RejectedRowsError, SourceError
from ecomintent_batch.ingest.columns import PickedColumns
from ecomintent_batch.ingest.delimited import Reject
from ecomintent_batch.ingest.incremental import PreviousPredictions, skip_classified
from ecomintent_batch.ingest.sources import Batch, Source
from ecomintent_batch.ingest.times import cast_times, choose_time_sql
from ecomintent_batch.runs.layout import shard_name
from ecomintent_batch.runs.records import Extraction
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
    rejects: list[Reject] = []
    first = _first_values(source, column, rejects)
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


def _first_values(source: Source, column: str, rejects: list[Reject]) -> pa.ChunkedArray | None:
    """Return the first values of a column that are there, none where the first rows have none; None without a row."""
    found = None
    batches = (batch.table.column(0) for batch in source.read([column], [], rejects.append))
    for values in islice(filter(len, batches), _SAMPLE_BATCHES):
        found = values.drop_null().slice(0, _SAMPLE_ROWS)
        if len(found):
            break
    return found


def extract_shards(
    source: Source,
    plan: ReadPlan,
    folder: Path,
    *,
    shard_rows: int,
    max_reject_ratio: float,
    earlier: PreviousPredictions | None = None,
    read_from: datetime | None = None,
) -> Iterator[tuple[Path, int]]:
    """Write the shards into a folder, yielding each with its rows as soon as it is whole.

    `extraction.json` and `rejects.parquet` are written last: with them the extraction is complete.

    Args:
        earlier: predictions whose tickets are left out; then the first shard comes when the source was read to its end.
        read_from: tickets of before are not read, where the source can tell them.

    Raises:
        SourceError: the source broke off.
        RejectedRowsError: the share of rejects is over `max_reject_ratio`.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    done = Extraction(read_from=read_from.isoformat() if read_from else None)
    rejects: list[Reject] = []
    tables = _read_tables(source, plan, read_from, rejects, done)
    if earlier is not None:
        tables = _skip_classified(tables, plan, earlier, folder, done)
    for path, rows in _write_shards(tables, folder, shard_rows):
        done.shards.append(path.name)
        done.shard_rows.append(rows)
        done.sha256.append(sha256_of(path))
        yield path, rows
    rejects.sort(key=lambda reject: reject.row_number)
    done.rejected = len(rejects)
    done.reasons = dict(Counter(reject.error for reject in rejects).most_common())
    check_rejects(source.name, done, max_reject_ratio)
    columns = [[getattr(reject, name) for reject in rejects] for name in REJECTS.names]
    file = folder / "rejects.parquet"
    write_parquet(
        pa.Table.from_arrays(
            [pa.array(c, t) for c, t in zip(columns, REJECTS.types, strict=True)], schema=REJECTS
        ),
        file,
    )
    done.sha256.append(sha256_of(file))
    done.extract_s = time.perf_counter() - started
    done.write(folder / "extraction.json")


def _read_tables(
    source: Source,
    plan: ReadPlan,
    read_from: datetime | None,
    rejects: list[Reject],
    done: Extraction,
) -> Iterator[pa.Table]:
    """Yield the rows as shards have them, and keep account of places and times."""
    picked = plan.picked
    since = (picked.time, read_from) if picked.time and read_from else None
    newest: date | None = None
    for batch in source.read(
        picked.needed(), [picked.ticket_id, *picked.texts], rejects.append, since
    ):
        table = _to_shard_columns(batch, plan, rejects)
        if len(batch.row_numbers):
            done.source_rows = max(done.source_rows, batch.row_numbers[-1].as_py() + 1)
        if picked.time and (time := _newest(table.column(plan.names[picked.time]))):
            newest = max(newest or time, time)
        yield table
    done.source_rows = max([done.source_rows, *(reject.row_number + 1 for reject in rejects)])
    done.newest = newest.isoformat() if newest else None


def _newest(times: pa.ChunkedArray) -> date | None:
    """Return the largest of some times or dates, to the microsecond."""
    largest = pc.max(times)
    if pa.types.is_timestamp(times.type):
        largest = largest.cast(pa.timestamp("us", times.type.tz), safe=False)
    found: date | None = largest.as_py()
    return found


def _skip_classified(
    tables: Iterator[pa.Table],
    plan: ReadPlan,
    earlier: PreviousPredictions,
    folder: Path,
    done: Extraction,
) -> Iterator[pa.Table]:
    time_column = plan.names[plan.picked.time] if plan.picked.time else None
    for found in skip_classified(tables, earlier, time_column, folder / "candidates.tmp"):
        if isinstance(found, int):
            done.skipped = found
        else:
            yield found


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


def _to_shard_columns(batch: Batch, plan: ReadPlan, rejects: list[Reject]) -> pa.Table:
    """Order, rename and cast the columns of a batch; rows whose time is no time become rejects."""
    picked, table = plan.picked, batch.table
    kept = [table.column(name) for name in picked.kept]
    row_numbers = pa.chunked_array([batch.row_numbers])
    keep_mask: pa.ChunkedArray | None = None
    if picked.time and plan.time_sql:
        at = picked.kept.index(picked.time)
        kept[at], broken = cast_times(kept[at], plan.time_sql)
        if pc.any(broken).as_py():
            for index in pc.indices_nonzero(broken).to_pylist():
                line = batch.lines[index].as_py() if batch.lines is not None else None
                rejects.append(
                    Reject(
                        batch.file,
                        line,
                        batch.row_numbers[index].as_py(),
                        picked.time,
                        "not a time",
                    )
                )
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
    return shard if keep_mask is None else shard.filter(keep_mask)
