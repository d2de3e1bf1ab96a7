"""Committed runs → a Delta table, each in one transaction: where the outputs of this job land in a lake that others write, too.

The transaction carries the id of the run, which the table remembers: a run is appended once, however often this is tried. A
run that could not be appended is so before the next one, so that the table never has a later run without an earlier one.
"""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from ecomintent_batch import __version__
from ecomintent_batch.errors import OutputError, UsageError
from ecomintent_batch.runs.reading import read_tables
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

if TYPE_CHECKING:
    from deltalake import DeltaTable

_FIRST = 1  # version of the one transaction of a run


def check_lake() -> None:
    """Raise UsageError where the package that writes tables is not installed."""
    try:
        import deltalake  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            "--out-table: expected deltalake to be installed, found it missing; pip install 'ecomintent-batch[lake]'"
        ) from None


def append_runs(store: RunStore, location: str) -> list[str]:
    """Append to a table the runs that were made for it and are not in it; return their ids.

    Args:
        store: The runs.
        location: Folder or URL of a Delta table; it is made if it is not there.

    Raises:
        OutputError: the table cannot be read or written; the runs before the one that failed are in it.
    """
    from deltalake.exceptions import DeltaError

    try:
        missing = _find_missing(store, location)
        for run in missing:
            _append(store, run, location)
    except (DeltaError, OSError) as error:
        raise OutputError(
            f"{location}: expected a Delta table that can be written, found: {type(error).__name__}; "
            "the runs are committed, and the next one appends them",
            transient=True,
        ) from None
    return [run.run_id for run in missing]


def _find_missing(store: RunStore, location: str) -> list[Manifest]:
    """Return the runs after the newest that the table has, oldest first."""
    table = _open(location)
    missing: list[Manifest] = []
    for run in reversed(store.manifests()):
        if run.settings.out_table != location or not run.parts:
            continue
        if table is not None and table.transaction_version(run.run_id) is not None:
            break
        missing.append(run)
    return missing[::-1]


def _open(location: str) -> DeltaTable | None:
    from deltalake import DeltaTable

    options = _options()
    if not DeltaTable.is_deltatable(location, options):
        return None
    return DeltaTable(location, storage_options=options)


def _append(store: RunStore, run: Manifest, location: str) -> None:
    from deltalake import CommitProperties, Transaction, write_deltalake

    tables = read_tables(store, run)
    first = next(tables)
    batches = (_to_plain(table).to_batches() for table in chain([first], tables))
    write_deltalake(
        location,
        pa.RecordBatchReader.from_batches(_to_plain(first).schema, chain.from_iterable(batches)),
        mode="append",
        schema_mode="merge",
        storage_options=_options(),
        commit_properties=CommitProperties(
            custom_metadata={"ecomintent-batch": __version__, "run_id": run.run_id},
            app_transactions=[Transaction(app_id=run.run_id, version=_FIRST)],
        ),
    )


def _to_plain(table: pa.Table) -> pa.Table:
    """Return a table without dictionaries, which differ from part to part."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(plain))


def _options() -> dict[str, str] | None:
    """Return what deltalake does not take from the usual AWS_* environment: it refuses plain http unless that is allowed."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if not endpoint:
        return None
    return {
        "aws_endpoint_url": endpoint,
        "aws_allow_http": str(endpoint.startswith("http://")).lower(),
    }
