"""The predictions of a committed run as tables, each file of which is checked against its SHA-256 first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.runs.layout import RunKeys
from ecomintent_batch.runs.records import Manifest, MergedFile
from ecomintent_batch.runs.store import RunStore


def read_tables(store: RunStore, run: Manifest) -> Iterator[pa.Table]:
    """Yield the rows of a run with `run_id`, wherever they are.

    Raises:
        RunStateError: a file is not there, or was altered.
    """
    merged = next((file for file in store.merged_files() if run.run_id in file.runs), None)
    if merged is None:
        yield from read_parts(store, run)
    else:
        table = read_merged(store, merged)
        yield table.filter(pc.equal(table["run_id"], run.run_id))


def read_parts(store: RunStore, run: Manifest) -> Iterator[pa.Table]:
    """Yield the parts of a run that is not merged, with `run_id`."""
    keys = RunKeys(run_id=run.run_id)
    for part in run.parts:
        table = _read(store, keys.part(part.file), part.sha256)
        yield table.append_column("run_id", pa.array([run.run_id] * len(table), pa.string()))


def read_merged(store: RunStore, file: MergedFile) -> pa.Table:
    """Return all rows of a merged file."""
    return _read(store, file.file, file.sha256)


def _read(store: RunStore, key: str, sha256: str) -> pa.Table:
    content = store.read_bytes(key)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunStateError(
            f"{store.locate(key)}: expected the bytes that were written, found others; see ecomintent-batch verify"
        )
    return pq.read_table(pa.BufferReader(content))
