"""DuckDB in one place: connections whose results do not depend on the machine, quoting, globs, extensions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb

_SETTINGS = (
    "SET TimeZone = 'UTC'",  # days must not depend on the machine
    "SET enable_external_file_cache = false",  # it would keep in memory all that was read of the files
)


def connect(
    database: str = ":memory:",
    *,
    read_only: bool = False,
    config: dict[str, Any] | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a connection with the session settings that every reader of this package needs."""
    connection = duckdb.connect(database, read_only=read_only, config=config or {})
    for statement in _SETTINGS:
        connection.execute(statement)
    return connection


def quote_identifier(name: str) -> str:
    """Quote one SQL identifier, the only way a name enters a statement here."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote one SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def escape_glob(path: str) -> str:
    """Return a glob that matches this one path: DuckDB takes every name for a glob."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def first_line(error: Exception) -> str:
    """Return the first line of a library's message, without DuckDB's prefix."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", line)


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension from its wheel, or from DuckDB's own folder if the wheel is not installed."""
    from importlib.metadata import version
    from importlib.util import find_spec

    spec = find_spec(f"duckdb_extension_{name}")
    file = None
    if spec is not None and spec.origin is not None:
        file = next(
            Path(spec.origin).parent.rglob(f"v{version('duckdb')}/{name}.duckdb_extension"), None
        )
    connection.load_extension(str(file) if file else name)
