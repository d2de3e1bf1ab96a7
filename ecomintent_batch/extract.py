"""Source → shards: fixed numbers of tickets, one Parquet file each, and a list of the rows that could not be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecomintent_batch.columns import PickedColumns
from ecomintent_batch.errors import ColumnError, RejectedRowsError, SourceError
from ecomintent_batch.files import flush_to_disk, write_json, write_parquet
from ecomintent_batch.schema import REJECTS, TEXT_PREFIX, shard_schema
from ecomintent_batch.sources import Batch, Source
from ecomintent_batch.textfiles import Reject
from ecomintent_batch.times import cast_times, choose_time_sql

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


@dataclass
class Extraction:
    """What an extraction has brought: rows by shard, and the rejects by reason."""

    shards: list[str] = field(default_factory=list)
    shard_rows: list[int] = field(default_factory=list)
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def source_rows(self) -> int:
        """Every row of the source: those in shards and those rejected."""
        return sum(self.shard_rows) + self.rejected


def plan_reading(source: Source, picked: PickedColumns, names: dict[str, str], time_format: str | None) -> ReadPlan:
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
            raise SourceError(f"{source.name}: expected tickets, found {len(rejects)} rows that cannot be read: {worst}")
        raise SourceError(f"{source.name}: expected tickets, found none")
    if picked.time is None:
        return ReadPlan(picked, names)
    try:
        time_sql, note = choose_time_sql(first, picked.time, time_format)
    except ColumnError as error:
        if picked.time_is_named:
            raise ColumnError(f"{source.name}: {error}") from None
        timeless = picked.without_time()
        return ReadPlan(timeless, {name: names[name] for name in timeless.kept}, notes=(f"no daily volumes: {error}",))
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
    source: Source, plan: ReadPlan, folder: Path, *, shard_rows: int, max_reject_ratio: float
) -> Iterator[tuple[Path, int]]:
    """Write the shards into a folder, yielding each with its rows as soon as it is whole.

    `extraction.json` and `rejects.parquet` are written last: with them the extraction is complete.

    Raises:
        SourceError: the source broke off.
        RejectedRowsError: the share of rejects is over `max_reject_ratio`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = Extraction()
    rejects: list[Reject] = []
    writer: pq.ParquetWriter | None = None
    path, rows = folder, 0
    texts = plan.picked.texts
    as_text = [plan.picked.ticket_id, *texts]
    for batch in source.read(plan.picked.needed(), as_text, rejects.append):
        table = _to_shard_columns(batch, plan, rejects)
        while table.num_rows:
            if writer is None:
                path, rows = folder / f"shard-{len(done.shards):05d}.parquet", 0
                writer = pq.ParquetWriter(path.with_suffix(".tmp"), table.schema, compression="zstd", compression_level=1)
            take = table.slice(0, shard_rows - rows)
            writer.write_table(take)
            rows += take.num_rows
            table = table.slice(take.num_rows)
            if rows == shard_rows:
                yield _finish(writer, path, rows, done)
                writer = None
    if writer is not None:
        yield _finish(writer, path, rows, done)
    rejects.sort(key=lambda reject: reject.row_number)
    done.rejected = len(rejects)
    done.reasons = dict(Counter(reject.error for reject in rejects).most_common())
    check_rejects(source.name, done, max_reject_ratio)
    columns = [[getattr(reject, name) for reject in rejects] for name in REJECTS.names]
    write_parquet(
        pa.Table.from_arrays([pa.array(c, t) for c, t in zip(columns, REJECTS.types, strict=True)], schema=REJECTS),
        folder / "rejects.parquet",
    )
    write_json(asdict(done), folder / "extraction.json")


def read_extraction(folder: Path) -> Extraction | None:
    """Return what a complete extraction has left in a folder, or None where it did not finish."""
    file = folder / "extraction.json"
    return Extraction(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def check_rejects(name: str, done: Extraction, max_reject_ratio: float) -> None:
    """Raise RejectedRowsError, with the most frequent reasons, where too many rows were rejected."""
    if done.rejected <= max_reject_ratio * done.source_rows:
        return
    reasons = "; ".join(f"{count} x {reason}" for reason, count in list(done.reasons.items())[:MAX_LISTED_REASONS])
    raise RejectedRowsError(
        f"{name}: expected at most {max_reject_ratio:.2%} of the rows to be rejected, found {done.rejected} of "
        f"{done.source_rows} ({reasons}); mend the source or raise --max-reject-ratio"
    )


def _finish(writer: pq.ParquetWriter, path: Path, rows: int, done: Extraction) -> tuple[Path, int]:
    writer.close()
    flush_to_disk(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)
    done.shards.append(path.name)
    done.shard_rows.append(rows)
    return path, rows


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
                rejects.append(Reject(batch.file, line, batch.row_numbers[index].as_py(), picked.time, "not a time"))
            keep_mask = pc.invert(broken)
    fields = [pa.field(plan.names[name], column.type) for name, column in zip(picked.kept, kept, strict=True)]
    schema = shard_schema(fields, len(picked.texts))
    texts = [table.column(name) for name in picked.texts]
    shard = pa.Table.from_arrays([table.column(picked.ticket_id), row_numbers, *kept, *texts], schema=schema)
    return shard if keep_mask is None else shard.filter(keep_mask)


def text_columns(schema: pa.Schema) -> list[str]:
    """Return the names of a shard's text columns, in the order in which they are joined."""
    return [name for name in schema.names if name.startswith(TEXT_PREFIX)]
