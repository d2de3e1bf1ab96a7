"""What DuckDB reads: Parquet files, Delta tables, tables and queries of DuckDB and Postgres databases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb.sqltypes import DuckDBPyType

from ecomintent_batch.errors import ColumnError, SourceError, UsageError, hide_password
from ecomintent_batch.ingest.base import BATCH_ROWS, Batch, Kind, Since
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.ingest.files import Listing
from ecomintent_batch.ingest.paths import nested_paths
from ecomintent_batch.ingest.where import where_columns, where_error, where_sql
from ecomintent_batch.storage.duck import (
    connect,
    escape_glob,
    first_line,
    load_extension,
    quote_identifier,
    quote_text,
)
from ecomintent_batch.storage.postgres import attach_postgres
from ecomintent_batch.storage.s3 import open_for_reading

_DEFAULT_SCHEMAS = ("main", "public")
# What libpq says when the connection to a server ends while rows are coming.
_CONNECTION_LOST = re.compile(
    "terminating connection|server closed the connection|connection (?:reset|refused|timed out|not open|to server)"
    "|could not (?:receive|send) data|SSL (?:connection|SYSCALL)|no connection to the server",
    re.IGNORECASE,
)
_NESTED = ("struct", "list", "array", "map")
_SAMPLE_ROWS = 200
_KEPT = "__kept_by_where"


class _DuckDBSource:
    """What a DuckDB connection reads: a FROM clause, its columns, its rows in order."""

    kind: Kind
    filters_by_time = True

    def __init__(
        self,
        name: str,
        connection: duckdb.DuckDBPyConnection,
        from_clause: str,
        where: str | None = None,
    ) -> None:
        self.name, self.notes = name, list[str]()
        self.warnings, self.advice = list[str](), ""
        self._connection, self._from, self._condition = connection, from_clause, where
        try:
            # One thread reads faster than any model scores, with half the buffers.
            connection.execute("SET threads = 1")
            relation = connection.sql(f"SELECT * FROM {from_clause}")  # noqa: S608 - quoted identifiers and a checked SELECT
            self._types = dict(zip(relation.columns, relation.types, strict=True))
            self.nested = self._find_nested()
        except (duckdb.Error, pa.ArrowException) as error:
            raise SourceError(f"{name}: cannot be read: {self._clean(first_line(error))}") from None
        self.columns = list(self._types)
        if where is not None:
            where_columns(where, self.columns)

    def _find_nested(self) -> dict[str, list[str]]:
        nested = {
            column: _leaves(kind, column)
            for column, kind in self._types.items()
            if kind.id in _NESTED
        }
        texts = [column for column, kind in self._types.items() if str(kind) == "JSON"]
        if texts:
            selected = ", ".join(f"{quote_identifier(column)}::VARCHAR" for column in texts)
            query = f"SELECT {selected} FROM {self._from} LIMIT {_SAMPLE_ROWS}"  # noqa: S608 - as above
            values = self._connection.execute(query).fetchall()
            for index, column in enumerate(texts):
                paths = nested_paths(column, (row[index] for row in values))
                nested |= {} if paths is None else {column: paths}
        return nested

    def _clean(self, reason: str) -> str:
        """Return what a library found wrong, without what may not be shown."""
        return reason

    def fingerprint(self) -> list[Any]:
        """Return nothing: a database does not say when it changed."""
        return []

    def remarks(self) -> list[str]:
        """Return nothing: all is known at the start."""
        return []

    def read(
        self, columns: Sequence[str], as_text: Sequence[str], since: Since | None = None
    ) -> Iterator[Batch]:
        """Stream the named columns in source order, those of `as_text` cast to strings."""
        filters, values = self._filters(since)
        query = f"SELECT {self._select(columns, as_text)} FROM {self._from}{filters}"  # noqa: S608 - as above
        row_number = 0
        try:
            reader = self._connection.sql(query, params=values).to_arrow_reader(BATCH_ROWS)
            for record_batch in reader:
                yield self._make_batch(record_batch, len(columns), as_text, row_number)
                row_number += record_batch.num_rows
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            lost = bool(_CONNECTION_LOST.search(str(error)))
            if self._condition is not None and not lost:
                self._check_condition()
            # DuckDB quotes the value that it could not convert, and that may be a ticket's.
            reason = re.sub(r"""(['"]).*\1""", r"\1…\1", self._clean(first_line(error)))
            raise SourceError(
                f"{self.name}: cannot be read: {reason}",
                transient=lost,
            ) from None

    def count_before(self, column: str, time: datetime) -> int | None:
        """Count the rows with an earlier time in a column."""
        sql, kind = self._value_at(column)
        value = time.date() if kind.id == "date" else time
        query = f"SELECT count(*) FROM {self._from} WHERE {sql} < ?"  # noqa: S608 - as above
        try:
            (count,) = self._connection.execute(query, [value]).fetchall()[0]
        except duckdb.Error as error:
            raise SourceError(
                f"{self.name}: cannot be counted: {self._clean(first_line(error))}"
            ) from None
        return int(count)

    def _make_batch(
        self, record_batch: pa.RecordBatch, columns: int, as_text: Sequence[str], first: int
    ) -> Batch:
        table = pa.Table.from_batches([record_batch])
        rows = table.num_rows
        row_numbers = pa.array(range(first, first + rows), pa.int64())
        if self._condition is not None:
            mask = table.column(columns).combine_chunks()
            table = table.select(list(range(columns))).filter(mask)
            row_numbers = row_numbers.filter(mask)
        for index, name in enumerate(table.column_names):
            if name in as_text and pa.types.is_binary(table.schema.field(index).type):
                texts = pa.chunked_array([_decode(table.column(index))])
                table = table.set_column(index, name, texts)
        return Batch(table, row_numbers, rows, skipped=rows - table.num_rows)

    def _check_condition(self) -> None:
        """Raise what is wrong with --where, if it is --where that does not fit the values."""
        assert self._condition is not None  # noqa: S101 - for mypy
        query = f"SELECT count(*) FROM {self._from} WHERE {where_sql(self._condition)}"  # noqa: S608 - checked
        try:
            self._connection.execute(query).fetchall()
        except duckdb.Error as error:
            raise where_error(error) from None

    def _select(self, columns: Sequence[str], as_text: Sequence[str]) -> str:
        selected = []
        for name in columns:
            sql, kind = self._value_at(name)
            if name in as_text:
                sql = self._text_of(sql, kind)
            elif re.search(
                "INTERVAL|UNION|VARIANT|BIT|BIGNUM|VARINT|GEOMETRY|TIME WITH", str(kind)
            ):
                sql = f"{sql}::VARCHAR"  # Parquet, which is what shards are, has no such types
            selected.append(f"{sql} AS {quote_identifier(name)}")
        if self._condition is not None:
            selected.append(f"{where_sql(self._condition)} AS {quote_identifier(_KEPT)}")
        return ", ".join(selected)

    def _value_at(self, name: str) -> tuple[str, DuckDBPyType]:
        """Return the SQL of a column, or of a dotted path into one, and its type."""
        if name in self._types:
            return quote_identifier(name), self._types[name]
        column, *steps = name.split(".")
        sql, kind = quote_identifier(column), self._types[column]
        for index, step in enumerate(steps):
            if kind.id == "struct":
                inside = {child[0].lower(): child for child in _fields_of(kind)}
                if step.lower() not in inside:
                    raise self._no_path(name)
                sql, kind = (
                    f"struct_extract({sql}, {quote_text(inside[step.lower()][0])})",
                    inside[step.lower()][1],
                )
            elif kind.id in ("list", "array") and step.isdigit():
                sql, kind = f"{sql}[{int(step) + 1}]", _child_types(kind)[0]
            elif kind.id == "map":
                sql, kind = f"{sql}[{quote_text(step)}]", _child_types(kind)[1]
            elif kind.id == "varchar":
                rest = "".join(
                    f"[{part}]" if part.isdigit() else f'."{part}"' for part in steps[index:]
                )
                return (
                    f"json_extract_string(TRY_CAST({sql} AS JSON), {quote_text('$' + rest)})",
                    kind,
                )
            else:
                raise self._no_path(name)
        return sql, kind

    def _no_path(self, name: str) -> ColumnError:
        column = name.partition(".")[0]
        inside = list_names(self.nested.get(column, []))
        return ColumnError(
            f"{self.name}: expected a path into column {column!r}, found {name}; it has {inside}"
        )

    def _text_of(self, sql: str, kind: DuckDBPyType) -> str:
        """Return the SQL of a value as text that keeps every digit, and no more."""
        if kind.id == "blob":
            return sql
        if kind.id in ("double", "float"):
            number = f"{sql}::DOUBLE"
            return (
                f"CASE WHEN isnan({number}) THEN NULL {self._check_digits(number)}"
                f"WHEN isfinite({number}) AND {number} = trunc({number}) AND abs({number}) < 1e18 "
                f"THEN {number}::BIGINT::VARCHAR ELSE {sql}::VARCHAR END"
            )
        if kind.id == "decimal":
            return f"regexp_replace({sql}::VARCHAR, '\\.0+$', '')"
        return f"{sql}::VARCHAR"

    def _check_digits(self, number: str) -> str:
        """Return the branch that refuses numbers which have lost digits on the way to DuckDB."""
        return ""

    def _filters(self, since: Since | None) -> tuple[str, list[datetime | date]]:
        """Return the condition for rows since a time, and its value; rows without a time are always read."""
        if since is None:
            return "", []
        column, kind = self._value_at(since[0])
        value = since[1].date() if kind.id == "date" else since[1]
        return f" WHERE {column} >= ? OR {column} IS NULL", [value]


def _fields_of(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """Return the fields of a struct with their types; DuckDB's stubs know them only as a union."""
    return [(name, child) for name, child in kind.children if isinstance(child, DuckDBPyType)]


def _child_types(kind: DuckDBPyType) -> list[DuckDBPyType]:
    """Return the types inside a list, an array or a map."""
    return [child for _, child in kind.children if isinstance(child, DuckDBPyType)]


def _leaves(kind: DuckDBPyType, path: str) -> list[str]:
    """Return the paths of the values inside a nested type."""
    if kind.id == "struct":
        return [
            leaf for name, child in _fields_of(kind) for leaf in _leaves(child, f"{path}.{name}")
        ]
    if kind.id in ("list", "array"):
        return _leaves(_child_types(kind)[0], f"{path}.0")
    return [path] if kind.id != "map" else []


def _decode(values: pa.ChunkedArray) -> pa.Array:
    """Return bytes as text: UTF-8, else the bytes in hexadecimal if they are no text, as a binary UUID is."""
    values = values.combine_chunks()
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [None if v is None else _decode_one(v) for v in values.to_pylist()], pa.string()
        )


def _decode_one(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        printable = all(byte >= 32 or byte in b"\t\r\n" for byte in value)
        if printable and _is_mostly_ascii(value):
            return value.decode("cp1252", "replace")
        return value.hex()


def _is_mostly_ascii(value: bytes) -> bool:
    return 2 * sum(byte < 128 for byte in value) >= len(value)


class ParquetSource(_DuckDBSource):
    """Parquet files, read row group by row group; columns are matched by name."""

    kind: Kind = "parquet"

    def __init__(self, name: str, listing: Listing, where: str | None = None) -> None:
        self._listing = listing
        connection = connect()
        repeated: list[str] = []
        if listing.in_store:
            open_for_reading(connection)
        else:
            for file in listing.files:
                try:
                    repeated += _repeated(pq.read_schema(file.path).names)
                except (pa.ArrowException, OSError):
                    raise SourceError(
                        f"{file.name}: expected a Parquet file, found another kind of content, or one cut short"
                    ) from None
        super().__init__(name, connection, _read_parquet(listing), where)
        # DuckDB renames the second of two columns of one name; whoever asks for such a column is refused.
        self.columns += repeated
        self.notes += listing.notes

    def _clean(self, reason: str) -> str:
        for file in self._listing.files:
            reason = reason.replace(str(file.path), file.name)
        return reason

    def fingerprint(self) -> list[Any]:
        """Return what changes when a file does."""
        return [file.identity for file in self._listing.files]


def _repeated(names: Sequence[str]) -> list[str]:
    """Return the names that other columns have too, case aside, as the first of them spells it."""
    first: dict[str, str] = {}
    return [
        first[name.lower()] for name in names if first.setdefault(name.lower(), name) is not name
    ]


def _read_parquet(listing: Listing) -> str:
    """Return the FROM clause over files, with what folders `key=value` say if all files say it."""
    paths = [file.name if listing.in_store else str(file.path) for file in listing.files]
    listed = ", ".join(quote_text(escape_glob(path)) for path in paths)
    keys = {tuple(file.partitions) for file in listing.files}
    hive = len(keys) == 1 and keys != {()}
    types = (
        f", hive_types = {{{', '.join(f'{quote_identifier(key)}: VARCHAR' for key in keys.pop())}}}"
        if hive
        else ""
    )
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = {str(hive).lower()}{types})"


class DeltaSource(_DuckDBSource):
    """The current version of a Delta table, by its log."""

    kind: Kind = "delta"

    def __init__(self, name: str, listing: Listing, where: str | None = None) -> None:
        self._path = listing.files[0].path
        connection = connect()
        try:
            load_extension(connection, "delta")
        except (duckdb.Error, OSError):
            raise SourceError(
                f"{name}: expected DuckDB's delta extension for a Delta table, found none; "
                "pip install 'ecomintent-batch[lake]', or export the table as Parquet"
            ) from None
        super().__init__(name, connection, f"delta_scan({quote_text(str(self._path))})", where)

    def fingerprint(self) -> list[Any]:
        """Return the names of the log's entries, which tell the version."""
        log = sorted(file.name for file in (self._path / "_delta_log").iterdir())
        return [str(self._path.resolve()), len(log), log[-1] if log else None]


class DatabaseSource(_DuckDBSource):
    """A table of a database, or one SELECT over it; the database is opened read-only."""

    def __init__(
        self,
        kind: Kind,
        location: str,
        connection: duckdb.DuckDBPyConnection,
        from_clause: str,
        where: str | None = None,
    ) -> None:
        self.kind, self._location = kind, location
        super().__init__(hide_password(location), connection, from_clause, where)

    def _check_digits(self, number: str) -> str:
        if self.kind != "postgres":
            return ""
        said = (
            "ids of a numeric column without precision lose digits in a query; give --table, or read them as text by "
            "postgres_query in --query"
        )
        return f"WHEN abs({number}) >= 9007199254740992 THEN error({quote_text(said)}) "

    def _clean(self, reason: str) -> str:
        return reason.replace(self._location, self.name)


def open_database(
    kind: Kind,
    location: str,
    table: str | None,
    query: str | None,
    where: str | None = None,
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
    connection = _connect_duckdb(location) if kind == "duckdb" else _connect_postgres(location)
    if query is not None:
        # The query may end in a comment.
        checked = f"({_checked_select(connection, query)}\n)"
        return DatabaseSource(kind, location, connection, checked, where)
    assert table is not None  # noqa: S101 - narrowed above, for mypy
    parts = _find_table(connection, name, table)
    from_clause = ".".join(map(quote_identifier, parts))
    if kind == "postgres" and (unbounded := _unbounded_numbers(connection, *parts)):
        from_clause = _with_text_numbers(connection, from_clause, unbounded)
    return DatabaseSource(kind, location, connection, from_clause, where)


def _unbounded_numbers(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[str]:
    """Return the columns of a Postgres table that DuckDB would read as floating point numbers, without all their digits."""
    conditions = (
        f"table_schema = {quote_text(schema)}",
        f"table_name = {quote_text(table)}",
        "data_type = 'numeric'",
        "numeric_precision IS NULL",
    )
    catalog = "SELECT column_name::text FROM information_schema.columns WHERE "
    query = catalog + " AND ".join(conditions)
    rows = connection.execute("SELECT * FROM postgres_query('warehouse', ?)", [query]).fetchall()
    return [name for (name,) in rows]


def _with_text_numbers(
    connection: duckdb.DuckDBPyConnection, from_clause: str, columns: Sequence[str]
) -> str:
    """Return a FROM clause over the same table in which Postgres writes some columns as text."""
    names = connection.sql(f"SELECT * FROM {from_clause} LIMIT 0").columns  # noqa: S608 - quoted identifiers
    selected = ", ".join(
        f"{quoted}::text AS {quoted}" if name in columns else quoted
        for name, quoted in ((name, quote_identifier(name)) for name in names)
    )
    query = f"SELECT {selected} FROM {from_clause}"  # noqa: S608 - quoted identifiers
    return f"postgres_query('warehouse', {quote_text(query)})"


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


def _connect_postgres(location: str) -> duckdb.DuckDBPyConnection:
    connection = connect()
    attach_postgres(connection, location, "warehouse", read_only=True, error=SourceError)
    connection.execute("USE warehouse")
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
