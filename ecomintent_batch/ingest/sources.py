"""A location → the source that reads it: text files, workbooks, Parquet, Delta, DuckDB, Postgres; local or in a store."""

from __future__ import annotations

from ecomintent_batch.errors import SourceError, UsageError
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.ingest.duckdb_sources import DeltaSource, ParquetSource, open_database
from ecomintent_batch.ingest.files import WHAT_IS_READ, kind_of, list_local, list_stored
from ecomintent_batch.ingest.text_source import TextOptions, TextSource
from ecomintent_batch.ingest.workbook import unfold_workbooks


def open_source(
    location: str,
    *,
    table: str | None = None,
    query: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    where: str | None = None,
    file_format: str | None = None,
) -> Source:
    """Open a source by its name, and read just enough of it to know its columns.

    Args:
        location: File, glob, folder, `-` for standard input, `.duckdb` file, `postgresql://` or `s3://` URL.
        table: Table of a database, or sheet of a workbook.
        query: One SELECT over a database, instead of a table.
        encoding: Of text files; detected when None.
        delimiter: Of text files; detected when None.
        where: A DuckDB expression: only rows for which it holds are read.
        file_format: csv, jsonl, json, parquet or xlsx; what the name says when None.

    Raises:
        SourceError: missing, unreadable, empty, locked, or not what its name says.
        ColumnError: `where` reads a column that is not there.
        UsageError: `table` or `query` for a source that has neither, or `where` is not one expression.
    """
    scheme, is_url, _ = location.partition("://")
    if is_url and scheme in ("postgres", "postgresql"):
        return open_database("postgres", location, table, query, where)
    if is_url and scheme != "s3":
        raise SourceError(
            f"{scheme}://…: expected {WHAT_IS_READ}, found a URL of another kind; export it to a file"
        )
    if is_url and (query or (table and kind_of(location) != "excel")):
        raise UsageError(f"--table and --query: expected a database, found {location}")
    listing = list_stored(location, file_format) if is_url else list_local(location, file_format)
    if listing.kind == "duckdb":
        if len(listing.files) > 1 or is_url:
            raise SourceError(
                f"{location}: expected one database, found {len(listing.files)}"
                f"{' in a store; copy it to a disk' if is_url else '; run them one by one'}"
            )
        return open_database("duckdb", str(listing.files[0].path), table, query, where)
    if query or (table and listing.kind != "excel"):
        raise UsageError(f"--table and --query: expected a database, found {location}")
    if listing.kind == "excel":
        listing = unfold_workbooks(listing, table)
    if listing.kind == "parquet":
        return ParquetSource(location, listing, where)
    if listing.kind == "delta":
        return DeltaSource(location, listing, where)
    return TextSource(listing.kind, location, listing, TextOptions(encoding, delimiter, where))
