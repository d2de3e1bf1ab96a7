"""What DuckDB reads: Parquet files, tables and queries of DuckDB and Postgres databases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.errors import SourceError, UsageError, hide_password
from ecomintent_batch.ingest.base import BATCH_ROWS, Batch, Kind, Since
from ecomintent_batch.ingest.columns import check_unique, list_names
from ecomintent_batch.ingest.files import fingerprint_of
from ecomintent_batch.storage.duck import (
    connect,
    escape_glob,
    first_line,
    load_extension,
    quote_identifier,
    quote_text,
)

_DEFAULT_SCHEMAS = ("main", "public")
# What libpq says when the connection to a server ends while rows are coming.
_CONNECTION_LOST = re.compile(
    "terminating connection|server closed the connection|connection (?:reset|refused|timed out|not open|to server)"
    "|could not (?:receive|send) data|SSL (?:connection|SYSCALL)|no connection to the server",
    re.IGNORECASE,
)
StoredFile = tuple[str, int, str]  # URL, bytes, time of its last change


class _DuckDBSource:
    """What a DuckDB connection reads: a FROM clause, its columns, its rows in order."""

    kind: Kind
    name: str
    notes: list[str]

    def __init__(self, name: str, connection: duckdb.DuckDBPyConnection, from_clause: str) -> None:
        self.name = name
        self.notes = []
        self._connection, self._from = connection, from_clause
        try:
            # One thread reads faster than any model scores, with half the buffers.
            connection.execute("SET threads = 1")
            described = connection.execute(f"DESCRIBE SELECT * FROM {from_clause}").fetchall()  # noqa: S608 - built from quoted identifiers and a checked SELECT
        except duckdb.Error as error:
            raise SourceError(f"{name}: cannot be read: {self._clean(first_line(error))}") from None
        self._types = {row[0]: row[1] for row in described}
        self.columns = list(self._types)

    def _clean(self, reason: str) -> str:
        """Return what a library found wrong, without what may not be shown."""
        return reason

    def fingerprint(self) -> list[Any]:
        """Return nothing: a database does not say when it changed."""
        return []

    def read(
        self, columns: Sequence[str], as_text: Sequence[str], since: Since | None = None
    ) -> Iterator[Batch]:
        """Stream the named columns in source order, those of `as_text` cast to strings."""
        where, values = self._where(since)
        query = f"SELECT {self._select(columns, as_text)} FROM {self._from}{where}"  # noqa: S608 - as above
        row_number = 0
        try:
            reader = self._connection.sql(query, params=values).to_arrow_reader(BATCH_ROWS)
            for record_batch in reader:
                n = record_batch.num_rows
                yield Batch(
                    pa.Table.from_batches([record_batch]),
                    pa.array(range(row_number, row_number + n), pa.int64()),
                    n,
                )
                row_number += n
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # DuckDB quotes the value that it could not convert, and that may be a ticket's.
            reason = re.sub(r"""(['"]).*\1""", r"\1…\1", self._clean(first_line(error)))
            raise SourceError(
                f"{self.name}: cannot be read: {reason}",
                transient=bool(_CONNECTION_LOST.search(str(error))),
            ) from None

    def count_before(self, column: str, time: datetime) -> int | None:
        """Count the rows with an earlier time in a column."""
        value = time.date() if self._types[column] == "DATE" else time
        query = f"SELECT count(*) FROM {self._from} WHERE {quote_identifier(column)} < ?"  # noqa: S608 - as above
        try:
            (count,) = self._connection.execute(query, [value]).fetchall()[0]
        except duckdb.Error as error:
            raise SourceError(
                f"{self.name}: cannot be counted: {self._clean(first_line(error))}"
            ) from None
        return int(count)

    def _select(self, columns: Sequence[str], as_text: Sequence[str]) -> str:
        # Parquet, which is what shards are, has no intervals and unions.
        cast = {
            *as_text,
            *(name for name, kind in self._types.items() if re.search("INTERVAL|UNION", kind)),
        }
        quoted = {name: quote_identifier(name) for name in columns}
        return ", ".join(
            f"{sql}::VARCHAR AS {sql}" if name in cast else sql for name, sql in quoted.items()
        )

    def _where(self, since: Since | None) -> tuple[str, list[datetime | date]]:
        """Return the condition for rows since a time, and its value; rows without a time are always read."""
        if since is None:
            return "", []
        column, earliest = quote_identifier(since[0]), since[1]
        value = earliest.date() if self._types[since[0]] == "DATE" else earliest
        return f" WHERE {column} >= ? OR {column} IS NULL", [value]


class ParquetSource(_DuckDBSource):
    """One Parquet file or several, read row group by row group; columns are matched by name."""

    kind: Kind = "parquet"

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        for file in files:
            try:
                check_unique(
                    str(file), pq.read_schema(file).names
                )  # DuckDB would rename the second column
            except (pa.ArrowException, OSError):
                raise SourceError(
                    f"{file}: expected a Parquet file, found another kind of content, or one cut short"
                ) from None
        self.files = files
        super().__init__(name, connect(), _read_parquet([str(file) for file in files]))

    def fingerprint(self) -> list[Any]:
        return fingerprint_of(self.files)


class StoredParquet(_DuckDBSource):
    """Parquet files of an object store, read where they are."""

    kind: Kind = "parquet"

    def __init__(
        self, name: str, connection: duckdb.DuckDBPyConnection, files: Sequence[StoredFile]
    ) -> None:
        self._files = files
        super().__init__(name, connection, _read_parquet([file[0] for file in files]))

    def fingerprint(self) -> list[Any]:
        return [list(file) for file in self._files]


def _read_parquet(files: Sequence[str]) -> str:
    listed = ", ".join(quote_text(escape_glob(file)) for file in files)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


class DatabaseSource(_DuckDBSource):
    """A table of a database, or one SELECT over it; the database is opened read-only."""

    def __init__(
        self, kind: Kind, location: str, connection: duckdb.DuckDBPyConnection, from_clause: str
    ) -> None:
        self.kind, self._location = kind, location
        super().__init__(hide_password(location), connection, from_clause)

    def _clean(self, reason: str) -> str:
        return reason.replace(self._location, self.name)


def open_database(
    kind: Kind, location: str, table: str | None, query: str | None
) -> DatabaseSource:
    """Open a table of a database, or one SELECT over it.

    Raises:
        SourceError: it cannot be opened or is locked, or the table or the query does not fit it.
        UsageError: neither a table nor a query was given, or both.
    """
    name = hide_password(location)
    if (table is None) == (query is None):
        raise UsageError(
            f"{name}: expected --table or --query for a database, found {'both' if table else 'neither'}"
        )
    connection = (
        _connect_duckdb(location) if kind == "duckdb" else _connect_postgres(location, name)
    )
    if query is not None:
        return DatabaseSource(
            kind, location, connection, f"({_checked_select(connection, query)}\n)"
        )  # it may end in a comment
    assert table is not None  # noqa: S101 - narrowed above, for mypy
    parts = _find_table(connection, name, table)
    return DatabaseSource(kind, location, connection, ".".join(map(quote_identifier, parts)))


def _connect_duckdb(location: str) -> duckdb.DuckDBPyConnection:
    try:
        return connect(location, read_only=True)
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise SourceError(
                f"{location}: expected a database that can be read, found it locked by a writer; try again when it is done",
                transient=True,
            ) from None
        raise SourceError(
            f"{location}: expected a DuckDB database, found: {first_line(error)}"
        ) from None


def _connect_postgres(location: str, name: str) -> duckdb.DuckDBPyConnection:
    # libpq repeats the part of a URL that it cannot parse, and would take these for the end of the password.
    password = re.search(r"://[^:@/]*:(?!\d+(?:[/?#]|$))(.*)@", location)
    if re.search("%(?:00|(?![0-9a-fA-F]{2}))", location) or (
        password and re.search("[/@]", password[1])
    ):
        raise SourceError(
            f"{name}: expected / @ % in a password as %2F %40 %25, found one as it is; or set PGPASSWORD instead"
        )
    connection = connect()
    try:
        load_extension(connection, "postgres_scanner")
    except (duckdb.Error, OSError) as error:
        raise SourceError(
            f"{name}: expected DuckDB's postgres extension, found: {first_line(error)}; pip install 'ecomintent-batch[warehouse]'"
        ) from None
    try:
        connection.execute(f"ATTACH {quote_text(location)} AS warehouse (TYPE postgres, READ_ONLY)")
        connection.execute("USE warehouse")
    except duckdb.Error as error:
        reason = (
            first_line(error)
            .replace(location, name)
            .removeprefix(f'Unable to connect to Postgres at "{name}": ')
        )
        raise SourceError(
            f"{name}: expected a Postgres server that lets this user in, found: {reason}",
            transient=not re.search("authentication|password|pg_hba|not exist|permission", reason),
        ) from None
    return connection


def _checked_select(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise SourceError(f"--query: expected one SELECT, found: {first_line(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SourceError(f"--query: expected one SELECT, found {_describe(statements)}")
    return statements[0].query.strip().rstrip(";")


def _describe(statements: Sequence[duckdb.Statement]) -> str:
    return ", ".join(statement.type.name for statement in statements) or "nothing"


def _find_table(connection: duckdb.DuckDBPyConnection, name: str, table: str) -> list[str]:
    """Return schema and name of a table that was given by its name, or as schema.table."""
    rows = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND table_schema NOT IN ('information_schema', 'pg_catalog') "
        "ORDER BY table_schema NOT IN ('main', 'public'), table_schema, table_name"
    ).fetchall()
    shown = [found if schema in _DEFAULT_SCHEMAS else f"{schema}.{found}" for schema, found in rows]
    matches = [(schema, found) for schema, found in rows if table in (found, f"{schema}.{found}")]
    if len(matches) > 1 and matches[0][0] not in _DEFAULT_SCHEMAS:
        found = " and ".join(f"{schema}.{found}" for schema, found in matches)
        raise SourceError(f"{name}: expected one table {table}, found {found}; name its schema too")
    if not matches:
        raise SourceError(
            f"{name}: expected a table {table}, found {list_names(shown) if shown else 'no tables'}"
        )
    return list(matches[0])
