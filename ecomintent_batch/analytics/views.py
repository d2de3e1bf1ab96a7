"""The views of `sql/views.sql` over committed runs, and the other files of `sql/`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.layout import TOPIC_TICKETS, TOPICS
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.duck import connect, escape_glob
from ecomintent_batch.storage.packaged import packaged_path
from ecomintent_batch.storage.s3 import let_read

_VIEW = re.compile(r"VIEW (\w+) AS")
_COLUMNS_OF_RUNS = {
    *("run_id", "started_at", "finished_at", "source", "model", "engine"),
    *("counts", "settings", "performance", "taxonomy"),
}
_OF_MANIFESTS = ("runs", "taxonomies")
# The views that a view reads.
_BELOW = {
    "latest_predictions": ("predictions", "reviewed"),
    "tickets": ("predictions", "reviewed", "latest_predictions"),
}


def sql_folder() -> Path:
    """Return the folder with the SQL files."""
    return packaged_path("sql")


def read_sql(name: str) -> str:
    """Return the text of one SQL file."""
    return (sql_folder() / f"{name}.sql").read_text(encoding="utf-8")


def open_views(
    store: RunStore,
    manifests: Sequence[Manifest],
    variables: Mapping[str, str | list[str] | None] | None = None,
    *,
    views: Collection[str] = ("tickets",),
) -> duckdb.DuckDBPyConnection:
    """Return a connection with the variables set and views of `sql/views.sql` over some committed runs.

    Args:
        store: Where the runs are.
        manifests: The runs. What they list is read, and nothing else: no file is looked for by a pattern.
        variables: The parameters of a query.
        views: The views that are needed: creating one already reads the heads of all its files.

    Raises:
        OutputError: no run has predictions.
    """
    needed = {view for name in views for view in (name, *_BELOW.get(name, ()))}
    parts = store.parts(manifests)
    if not manifests or (not parts.groups and "predictions" in needed):
        raise OutputError(f"{store.location}: expected committed runs, found none")
    labels = store.label_locations()
    # One at least, so that the view has columns; the others have no rows.
    rejects = [
        store.reject_location(run)
        for run in manifests
        if run.counts.rejects or run is manifests[-1]
    ]
    lists = {"reject_files": rejects, "label_files": labels}
    for name in needed.intersection((TOPICS, TOPIC_TICKETS)):
        lists[f"{name}_files"] = store.summary_locations(manifests, name)
    connection = connect()
    let_read(connection, [file for files in lists.values() for file in files])
    for name, files in lists.items():
        connection.execute(f"SET VARIABLE {name} = ?", [list(map(escape_glob, files))])
    for name, value in {"run_id": None, **(variables or {})}.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    for statement in connection.extract_statements(read_sql("views")):
        view = _VIEW.search(statement.query)
        if view is None or view[1] not in needed:
            continue
        if view[1] in _OF_MANIFESTS:
            _create_of_manifests(connection, manifests, statement, view[1])
        elif view[1] == "predictions":
            connection.execute(f"CREATE VIEW predictions AS {parts.select(connection)}")
        else:
            connection.execute(statement)
    return connection


def _create_of_manifests(
    connection: duckdb.DuckDBPyConnection,
    manifests: Sequence[Manifest],
    statement: duckdb.Statement,
    view: str,
) -> None:
    """Create a view over manifests that are in memory."""
    with TemporaryDirectory(prefix="ecomintent-runs-") as folder:
        file = Path(folder) / "runs.json"
        lines = (manifest.model_dump_json(include=_COLUMNS_OF_RUNS) for manifest in manifests)
        file.write_text("\n".join(lines), encoding="utf-8")
        connection.execute("SET VARIABLE manifest_files = ?", [[str(file)]])
        connection.execute(statement)
        connection.execute(f"CREATE TABLE {view}_read AS FROM {view}")
    connection.execute(f"CREATE OR REPLACE VIEW {view} AS FROM {view}_read")
