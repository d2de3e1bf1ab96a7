"""A source → one stream of Arrow tables, whatever it is: text files, Parquet, DuckDB, Postgres."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.errors import ColumnError, SourceError, UsageError, hide_password
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.ingest.delimited import (
    READ_ERRORS,
    DelimitedFile,
    JsonLinesFile,
    Reject,
    Row,
    detect_dialect,
)
from ecomintent_batch.storage.duck import escape_glob
from ecomintent_batch.storage.s3 import SCHEME, Store, load_extension, open_for_reading

Kind = Literal["csv", "jsonl", "parquet", "duckdb", "postgres"]
_SUFFIXES: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
    ".duckdb": "duckdb", ".ddb": "duckdb", ".db": "duckdb",
}  # fmt: skip
_KINDS_OF_FOLDERS = ("csv", "jsonl", "parquet")
_DEFAULT_SCHEMAS = ("main", "public")
_BATCH_ROWS = 8192
_WHAT_IS_READ = ".csv .tsv .jsonl (also .gz) .parquet .duckdb postgresql:// or s3://"


@dataclass(frozen=True)
class Batch:
    """A few thousand source rows: the columns asked for, and each row's 0-based place in the source."""

    table: pa.Table
    row_numbers: pa.Array
    lines: pa.Array | None = None
    file: str = ""


StoredFile = tuple[str, int, str]  # URL, bytes, time of its last change
Since = tuple[str, datetime]  # a column of times, and the earliest of them to read


class Source(Protocol):
    """What the extraction needs of a source."""

    kind: Kind
    name: str  # as shown to people and kept in manifests: no password
    columns: list[str]
    notes: list[str]

    def fingerprint(self) -> list[Any]:
        """Return what changes when the source does; empty where that cannot be known."""

    def read(
        self,
        columns: Sequence[str],
        as_text: Sequence[str],
        reject: Callable[[Reject], None],
        since: Since | None = None,
    ) -> Iterator[Batch]:
        """Stream the named columns in source order, those of `as_text` cast to strings; unreadable rows go to `reject`.

        With `since`, rows whose time in that column is before are not read, where the source is no text.
        """


def open_source(
    location: str,
    *,
    table: str | None = None,
    query: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> Source:
    """Open a source by its name, and read just enough of it to know its columns.

    Args:
        location: file, glob, folder, `.duckdb` file or `postgresql://` URL.
        table, query: what to read of a database; exactly one of the two.
        encoding, delimiter: of text files, where the guess is not wanted.

    Raises:
        SourceError: missing, unreadable, empty, locked, or not what its name says.
        UsageError: `table` or `query` for a source that is no database, or neither for one that is.
    """
    scheme, is_url, _ = location.partition("://")
    if is_url:
        if scheme == "s3" and (table or query):
            raise UsageError(f"--table and --query: expected a database, found {location}")
        if scheme == "s3":
            return _open_stored(location, encoding, delimiter)
        if scheme not in ("postgres", "postgresql"):
            raise SourceError(
                f"{scheme}://…: expected {_WHAT_IS_READ}, found a URL of another kind; export it to a file"
            )
        return _open_database("postgres", location, table, query)
    files = _find_files(location)
    kinds = {_kind_of(file) for file in files}
    if len(kinds) > 1:
        raise SourceError(
            f"{location}: expected files of one kind, found {', '.join(sorted(kinds))}; name one kind by a glob"
        )
    kind = kinds.pop()
    if kind == "duckdb":
        if len(files) > 1:
            raise SourceError(
                f"{location}: expected one database, found {len(files)}; run them one by one"
            )
        return _open_database("duckdb", str(files[0]), table, query)
    if table or query:
        raise UsageError(f"--table and --query: expected a database, found {location}")
    if kind == "parquet":
        return ParquetSource(location, files)
    return TextSource(kind, location, files, encoding, delimiter)


def quote_identifier(name: str) -> str:
    """Quote one SQL identifier, the only way a name enters a statement here."""
    return '"' + name.replace('"', '""') + '"'


def _find_files(location: str) -> list[Path]:
    try:
        files = _list_files(location)
        for file in files:
            file.open("rb").close()
            if file.is_file() and file.stat().st_size == 0:
                raise SourceError(f"{file}: expected tickets, found an empty file")
    except (OSError, RuntimeError) as error:  # RuntimeError: ~user, and there is no such user
        found = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(
            f"{getattr(error, 'filename', None) or location}: expected a readable file, found: {found}"
        ) from None
    return files


def _list_files(location: str) -> list[Path]:
    path = Path(location).expanduser()
    if path.is_dir():
        files = [
            file
            for file in sorted(path.iterdir())
            if file.is_file() and _kind_of(file, strict=False) in _KINDS_OF_FOLDERS
        ]
        # A .txt is a README more often than an export; macOS leaves a ._tickets.csv beside each tickets.csv.
        files = [file for file in files if file.suffix != ".txt" and not file.name.startswith(".")]
        if not files:
            raise SourceError(
                f"{location}: expected a folder with ticket files ({_WHAT_IS_READ}), found none"
            )
        return files
    if path.exists():
        return [path]
    if not any(character in location for character in "*?["):
        raise SourceError(f"{location}: expected a file, folder or glob, found nothing there")
    found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - a pattern may be absolute
    files = [Path(name) for name in found if Path(name).is_file()]
    if not files:
        raise SourceError(f"{location}: expected at least one file, found none that matches")
    return files


def _kind_of(file: Path, strict: bool = True) -> Any:
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if kind is None and strict:
        raise SourceError(f"{file}: expected {_WHAT_IS_READ}, found a name with another ending")
    return kind


def _file_fingerprint(files: Sequence[Path]) -> list[Any]:
    return [
        [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for file in files
        for stat in [file.stat()]
    ]


@dataclass
class TextSource:
    """CSV, TSV or JSON lines: one file or several with the same columns. Every value is text."""

    kind: Kind
    name: str
    files: list[Path]
    encoding: str | None = None
    delimiter: str | None = None
    columns: list[str] = field(init=False)
    notes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._parsed = [self._parse(file) for file in self.files]
        self.columns = self._parsed[0].columns
        for parsed in self._parsed[1:]:
            if set(parsed.columns) != set(self.columns) and self.kind == "csv":
                raise SourceError(
                    f"{parsed.path}: expected the columns of {self._parsed[0].path} ({list_names(self.columns)}), "
                    f"found {list_names(parsed.columns)}"
                )
            self.columns = list(dict.fromkeys([*self.columns, *parsed.columns]))
        check_unique(self.name, self._parsed[0].columns)
        self.notes = [
            str(self._parsed[0].dialect) if self.kind == "csv" else self._parsed[0].dialect.encoding
        ]

    def _parse(self, file: Path) -> DelimitedFile | JsonLinesFile:
        try:
            if self.kind == "jsonl":
                return JsonLinesFile(file, self.encoding)
            return DelimitedFile(file, detect_dialect(file, self.encoding, self.delimiter))
        except READ_ERRORS as error:
            raise SourceError(f"{file}: expected text that can be read, found: {error}") from None

    def fingerprint(self) -> list[Any]:
        return [*_file_fingerprint(self.files), self.encoding, self.delimiter]

    def read(
        self,
        columns: Sequence[str],
        as_text: Sequence[str],
        reject: Callable[[Reject], None],
        since: Since | None = None,
    ) -> Iterator[Batch]:
        offset = 0
        for parsed in self._parsed:
            indices = [
                parsed.columns.index(name) if name in parsed.columns else -1 for name in columns
            ]
            place = 0
            rows = self._readable(parsed.rows(), str(parsed.path))
            while window := list(islice(rows, _BATCH_ROWS)):
                kept: list[Row] = []
                places: list[int] = []
                for row in window:
                    if isinstance(row, Row):
                        kept.append(row)
                        places.append(offset + place)
                    else:
                        reject(Reject(row.file, row.line, offset + place, row.column, row.error))
                    place += 1
                arrays = [
                    pa.array([row.values[i] if i >= 0 else None for row in kept], pa.string())
                    for i in indices
                ]
                yield Batch(
                    pa.Table.from_arrays(arrays, names=list(columns)),
                    pa.array(places, pa.int64()),
                    pa.array([row.line for row in kept], pa.int64()),
                    str(parsed.path),
                )
            offset += place

    @staticmethod
    def _readable(rows: Iterator[Row | Reject], name: str) -> Iterator[Row | Reject]:
        try:
            yield from rows
        except READ_ERRORS as error:  # a .gz that was cut short, most often
            raise SourceError(
                f"{name}: expected to be read to its end, found: {error}; fetch it again"
            ) from None


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
            connection.execute(
                "SET threads = 1"
            )  # reads faster than any model scores, with half the buffers
            connection.execute(
                "SET enable_external_file_cache = false"
            )  # it would hold whatever was read of the files
            connection.execute(
                "SET TimeZone = 'UTC'"
            )  # the days of a run are not those of the machine that runs it
            self._types = dict(
                row[:2]
                for row in connection.execute(f"DESCRIBE SELECT * FROM {from_clause}").fetchall()  # noqa: S608 - built from quoted identifiers and a checked SELECT
            )
        except duckdb.Error as error:
            raise SourceError(f"{name}: cannot be read: {self._clean(first_line(error))}") from None
        self.columns = list(self._types)

    def _clean(self, reason: str) -> str:
        """Return what a library found wrong, without what may not be shown."""
        return reason

    def fingerprint(self) -> list[Any]:
        return []

    def read(
        self,
        columns: Sequence[str],
        as_text: Sequence[str],
        reject: Callable[[Reject], None],
        since: Since | None = None,
    ) -> Iterator[Batch]:
        quoted = {name: quote_identifier(name) for name in columns}
        # Intervals and unions have no place in Parquet, which is what shards are.
        cast = {
            *as_text,
            *(name for name, kind in self._types.items() if re.search("INTERVAL|UNION", kind)),
        }
        names = ", ".join(
            f"{sql}::VARCHAR AS {sql}" if name in cast else sql for name, sql in quoted.items()
        )
        place = 0
        where, values = self._where(since)
        try:
            query = f"SELECT {names} FROM {self._from}{where}"  # noqa: S608 - as above
            reader = self._connection.sql(query, params=values).to_arrow_reader(_BATCH_ROWS)
            for record_batch in reader:
                n = record_batch.num_rows
                yield Batch(
                    pa.Table.from_batches([record_batch]),
                    pa.array(range(place, place + n), pa.int64()),
                )
                place += n
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # DuckDB quotes the value that it could not convert, and that may be a ticket's.
            reason = re.sub(r"""(['"]).*\1""", r"\1…\1", self._clean(first_line(error)))
            raise SourceError(f"{self.name}: cannot be read: {reason}") from None

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
        # DuckDB takes every name for a glob; what was found by now is a file, brackets and all.
        literal = (escape_glob(str(file)).replace("'", "''") for file in files)
        listed = ", ".join(f"'{file}'" for file in literal)
        super().__init__(
            name,
            duckdb.connect(),
            f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)",
        )

    def fingerprint(self) -> list[Any]:
        return _file_fingerprint(self.files)


class StoredParquet(_DuckDBSource):
    """Parquet files of an object store, read where they are."""

    kind: Kind = "parquet"

    def __init__(
        self, name: str, connection: duckdb.DuckDBPyConnection, files: Sequence[StoredFile]
    ) -> None:
        self._files = files
        listed = ", ".join("'" + escape_glob(file[0]).replace("'", "''") + "'" for file in files)
        super().__init__(
            name,
            connection,
            f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)",
        )

    def fingerprint(self) -> list[Any]:
        return [list(file) for file in self._files]


class StoredText(TextSource):
    """Text files of an object store, fetched into a private folder for as long as they are read."""

    def __init__(
        self,
        kind: Kind,
        name: str,
        files: Sequence[StoredFile],
        encoding: str | None,
        delimiter: str | None,
    ) -> None:
        self._stored, self._folder = files, TemporaryDirectory(prefix="ecomintent-source-")
        root = Path(self._folder.name)
        bucket, fetched = name.removeprefix(SCHEME).partition("/")[0], []
        for url, *_ in files:
            key = url.removeprefix(f"{SCHEME}{bucket}/")
            path = root / bucket / key
            Store(f"{SCHEME}{bucket}").download(key, path)
            fetched.append(path)
        super().__init__(kind, name, fetched, encoding, delimiter)

    def fingerprint(self) -> list[Any]:
        return [[list(file) for file in self._stored], self.encoding, self.delimiter]

    def read(
        self,
        columns: Sequence[str],
        as_text: Sequence[str],
        reject: Callable[[Reject], None],
        since: Since | None = None,
    ) -> Iterator[Batch]:
        def shown(file: str) -> str:
            return SCHEME + file.removeprefix(f"{self._folder.name}/")

        for batch in super().read(
            columns, as_text, lambda found: reject(replace(found, file=shown(found.file))), since
        ):
            yield replace(batch, file=shown(batch.file))


class DatabaseSource(_DuckDBSource):
    """A table of a database, or one SELECT over it; the database is opened read-only."""

    def __init__(
        self, kind: Kind, location: str, connection: duckdb.DuckDBPyConnection, from_clause: str
    ) -> None:
        self.kind, self._location = kind, location
        super().__init__(hide_password(location), connection, from_clause)

    def _clean(self, reason: str) -> str:
        return reason.replace(self._location, self.name)


def _open_stored(url: str, encoding: str | None, delimiter: str | None) -> Source:
    """Open files of an object store: one, a glob, or all of a folder."""
    connection = duckdb.connect()
    open_for_reading(connection)
    pattern = f"{url}*" if url.endswith("/") else url
    try:
        listed = "SELECT filename, size, last_modified::VARCHAR FROM read_blob(?) WHERE size > 0 ORDER BY filename"
        files: list[StoredFile] = connection.execute(listed, [pattern]).fetchall()
    except duckdb.Error as error:
        raise SourceError(
            f"{url}: expected objects that can be read, found: {first_line(error)}"
        ) from None
    kinds = {_kind_of(Path(name)) for name, *_ in files}
    if len(kinds) != 1 or kinds == {"duckdb"}:
        raise SourceError(
            f"{url}: expected text or Parquet files of one kind, found {', '.join(sorted(kinds)) or 'none'}"
        )
    kind = kinds.pop()
    return (
        StoredParquet(url, connection, files)
        if kind == "parquet"
        else StoredText(kind, url, files, encoding, delimiter)
    )


def _open_database(
    kind: Kind, location: str, table: str | None, query: str | None
) -> DatabaseSource:
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
        return duckdb.connect(location, read_only=True)
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise SourceError(
                f"{location}: expected a database that can be read, found it locked by a writer; try again when it is done"
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
    connection = duckdb.connect()
    try:
        load_extension(connection, "postgres_scanner")
    except (duckdb.Error, OSError) as error:
        raise SourceError(
            f"{name}: expected DuckDB's postgres extension, found: {first_line(error)}; pip install 'ecomintent-batch[warehouse]'"
        ) from None
    try:
        connection.execute(
            "ATTACH '" + location.replace("'", "''") + "' AS warehouse (TYPE postgres, READ_ONLY)"
        )
        connection.execute("USE warehouse")
    except duckdb.Error as error:
        reason = (
            first_line(error)
            .replace(location, name)
            .removeprefix(f'Unable to connect to Postgres at "{name}": ')
        )
        raise SourceError(
            f"{name}: expected a Postgres server that lets this user in, found: {reason}"
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


def check_unique(name: str, columns: Sequence[str]) -> None:
    """Raise ColumnError where two columns share a name, case aside, as they would in SQL."""
    seen: set[str] = set()
    for column in columns:
        if column and column.lower() in seen:
            raise ColumnError(
                f"{name}: expected column names that differ, found {list_names([column])} twice; rename one"
            )
        seen.add(column.lower())


def first_line(error: Exception) -> str:
    """Return the first line of a library's message, without DuckDB's prefix."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", line)
