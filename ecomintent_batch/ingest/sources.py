"""A source → one stream of Arrow tables, whatever it is: text files, Parquet, DuckDB, Postgres."""

from __future__ import annotations

from pathlib import Path

import duckdb

from ecomintent_batch.errors import SourceError, UsageError
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.ingest.duckdb_sources import (
    ParquetSource,
    StoredFile,
    StoredParquet,
    open_database,
)
from ecomintent_batch.ingest.files import WHAT_IS_READ, InputFile, find_files, kind_of
from ecomintent_batch.ingest.text_source import StoredText, TextSource
from ecomintent_batch.storage.duck import connect, first_line
from ecomintent_batch.storage.s3 import open_for_reading


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
                f"{scheme}://…: expected {WHAT_IS_READ}, found a URL of another kind; export it to a file"
            )
        return open_database("postgres", location, table, query)
    files = find_files(location)
    kinds = {kind_of(file) for file in files}
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
        return open_database("duckdb", str(files[0]), table, query)
    if table or query:
        raise UsageError(f"--table and --query: expected a database, found {location}")
    if kind == "parquet":
        return ParquetSource(location, files)
    inputs = [InputFile(file, str(file)) for file in files]
    return TextSource(kind, location, inputs, encoding, delimiter)


def _open_stored(url: str, encoding: str | None, delimiter: str | None) -> Source:
    """Open files of an object store: one, a glob, or all of a folder."""
    connection = connect()
    open_for_reading(connection)
    pattern = f"{url}*" if url.endswith("/") else url
    try:
        listed = "SELECT filename, size, last_modified::VARCHAR FROM read_blob(?) WHERE size > 0 ORDER BY filename"
        files: list[StoredFile] = connection.execute(listed, [pattern]).fetchall()
    except duckdb.Error as error:
        raise SourceError(
            f"{url}: expected objects that can be read, found: {first_line(error)}"
        ) from None
    kinds = {kind_of(Path(name)) for name, *_ in files}
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
