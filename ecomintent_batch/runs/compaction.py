"""Merge the parts of many small runs into few files, so that a query over thousands of runs opens a handful of them.

A merge is committed like a run: nobody sees its files before the step that puts them in place of what they hold, and a crash
before or after it costs nothing. Manifests, rejects and summaries stay as they are. The SHA-256 of each part is checked before
it is merged, and the record of the merge has that of the merged file, so that `verify` proves a run through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecomintent_batch import __version__
from ecomintent_batch.errors import EcomIntentError, RunStateError, describe_write_error
from ecomintent_batch.runs.layout import (
    MERGED,
    STAGING,
    merged_folder,
    part_name,
    shard_name,
)
from ecomintent_batch.runs.reading import read_merged, read_parts
from ecomintent_batch.runs.records import Compaction, Manifest, MergedFile
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.schema import schema_id
from ecomintent_batch.storage.atomic import flush_to_disk, sha256_of

FULL_ROWS = 1_000_000  # a file of so many is left alone; a run of half of them is no small one
AT_LEAST = 16  # runs: fewer are not worth a file
_GROUP_ROWS = 65_536
_READ_AT_ONCE = 8

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What to merge.

    Attributes:
        runs: Runs with parts of their own.
        files: Merged files to write again: they have room, or hold rows of runs that were removed.
        known: The ids of all committed runs.
    """

    runs: tuple[Manifest, ...]
    files: tuple[MergedFile, ...]
    known: frozenset[str]


def compact_runs(
    store: RunStore, note: Note, *, older_than_days: float = 0, only_removed: bool = False
) -> Compaction | None:
    """Merge the parts of small runs; return the record of the merge, None where there is nothing to do.

    Args:
        store: The runs. The local folder is held by the caller.
        note: Receives what was done, and which run is left alone.
        older_than_days: Leave alone the runs that ended within so many days.
        only_removed: Only write again the files that hold rows of runs that were removed, without them.

    Raises:
        EcomIntentError: OUT cannot be read or written, or another merge is at work.
    """
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    try:
        with store.hold_merge(note):
            store.sweep_merges()
            # Without a look at manifests where none is needed: one that is torn is in nobody's way.
            manifests = [] if only_removed else store.manifests()
            work = plan_merge(manifests, store.run_ids(), store.merged_files(), before)
            if work is None:
                return None
            return _merge(store, work, note, at_once=only_removed)
    except OSError as error:
        raise describe_write_error(store.location, error) from error


def plan_merge(
    manifests: Sequence[Manifest],
    run_ids: Iterable[str],
    merged: Sequence[MergedFile],
    before: datetime,
) -> Work | None:
    """Return what to merge; None where there is too little.

    Args:
        manifests: The runs that may be merged.
        run_ids: The ids of all committed runs: rows of others are left out of the files that hold them.
        merged: The merged files in force.
        before: Runs that ended later are left alone.
    """
    known = frozenset(run_ids)
    done = {run_id for file in merged for run_id in file.runs}
    small = [
        run
        for run in manifests
        if run.parts
        and run.run_id not in done
        and run.finished_at < before
        and run.counts.predictions < FULL_ROWS // 2
    ]
    if len(small) < AT_LEAST:
        small = []
    schemas = {run.schema_id for run in small}
    files = [
        file
        for file in merged
        if not file.runs.keys() <= known
        or (file.rows < FULL_ROWS // 2 and schemas.intersection((file.schema_id, None)))
    ]
    return Work(runs=tuple(small), files=tuple(files), known=known) if small or files else None


def _merge(store: RunStore, work: Work, note: Note, *, at_once: bool) -> Compaction:
    compaction_id = MERGED + store.new_run_id()
    built = store.folder / STAGING / compaction_id / "merged"
    built.mkdir(parents=True)
    writer = _Writer(folder=built, compaction_id=compaction_id)
    for file in work.files:
        table = read_merged(store, file)
        writer.add(
            table.filter(pc.is_in(table["run_id"], pa.array(sorted(work.known), pa.string())))
        )
    for tables in _read_runs(store, work.runs, note):
        writer.add(tables)
    compaction = Compaction(
        compaction_id=compaction_id,
        version=__version__,
        made_at=datetime.now(UTC),
        files=tuple(writer.close()),
        replaces=tuple(file.file for file in work.files),
    )
    store.publish_merge(built, compaction, at_once=at_once)
    runs = sum(len(file.runs) for file in compaction.files)
    files = len(compaction.files)
    note(f"the parts of {runs:,} runs are in {files} file{'s' if files != 1 else ''} now")
    return compaction


def _read_runs(store: RunStore, runs: Sequence[Manifest], note: Note) -> Iterator[pa.Table]:
    """Yield the rows of runs, each as one table with `run_id`; one whose parts were altered is left alone."""

    def read(run: Manifest) -> pa.Table | EcomIntentError:
        try:
            return pa.concat_tables(read_parts(store, run))
        except EcomIntentError as error:
            if error.transient:
                raise
            return error

    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        for start in range(0, len(runs), 8 * _READ_AT_ONCE):  # so many are in memory at once
            some = runs[start : start + 8 * _READ_AT_ONCE]
            for run, table in zip(some, pool.map(read, some), strict=True):
                if isinstance(table, EcomIntentError):
                    note(f"run {run.run_id} is not merged: {table}")
                else:
                    yield table


@dataclass(kw_only=True)
class _Writer:
    """Writes tables to files of like columns, of about `FULL_ROWS` rows each."""

    folder: Path
    compaction_id: str
    _open: dict[str, _OpenFile] = field(default_factory=dict)
    _files: list[MergedFile] = field(default_factory=list)
    _started: int = 0

    def add(self, table: pa.Table) -> None:
        """Add the rows of one run, or of several."""
        if not len(table):
            return
        schema = schema_id(table.drop_columns("run_id").schema)
        if schema not in self._open:
            path = self.folder / part_name(Path(shard_name(self._started)))
            self._open[schema] = _OpenFile(path=path, schema_id=schema)
            self._started += 1
        self._open[schema].add(table)
        if self._open[schema].rows >= FULL_ROWS:
            self._close(schema)

    def close(self) -> list[MergedFile]:
        """Finish all files, and return their records."""
        for schema in list(self._open):
            self._close(schema)
        return self._files

    def _close(self, schema: str) -> None:
        file = self._open.pop(schema)
        file.close()
        flush_to_disk(file.path)
        _check_rows(file)
        self._files.append(
            MergedFile(
                file=f"{merged_folder(self.compaction_id)}/{file.path.name}",
                rows=file.rows,
                sha256=sha256_of(file.path),
                schema_id=schema,
                runs=dict(sorted(file.runs.items())),
            )
        )


@dataclass(kw_only=True)
class _OpenFile:
    path: Path
    schema_id: str
    rows: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    _waiting: list[pa.Table] = field(default_factory=list)
    _waiting_rows: int = 0
    _writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        self.runs.update(_count_runs(table["run_id"]))
        self.rows += len(table)
        self._waiting.append(table)
        self._waiting_rows += len(table)
        if self._waiting_rows >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        table = pa.concat_tables(self._waiting).unify_dictionaries()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=_GROUP_ROWS)
        self._waiting, self._waiting_rows = [], 0


def _count_runs(run_ids: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(run_ids).to_pylist()}


def _check_rows(file: _OpenFile) -> None:
    """Read a merged file again before anything relies on it."""
    found = _count_runs(pq.read_table(file.path, columns=["run_id"], partitioning=None)["run_id"])
    if found != file.runs:
        raise RunStateError(
            f"{file.path}: expected {file.rows} rows of {len(file.runs)} runs, found others; run it again"
        )
