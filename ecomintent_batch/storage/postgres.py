"""Postgres through DuckDB: how a server is attached, and what its errors may say."""

from __future__ import annotations

import re

import duckdb

from ecomintent_batch.errors import EcomIntentError, hide_password
from ecomintent_batch.storage.duck import first_line, load_extension, quote_text

_FOR_GOOD = re.compile("authentication|password|pg_hba|not exist|permission")


def attach_postgres(
    connection: duckdb.DuckDBPyConnection,
    location: str,
    alias: str,
    *,
    read_only: bool,
    error: type[EcomIntentError],
) -> None:
    """Attach the server of a URL to a connection.

    Args:
        connection: The connection.
        location: The URL, with or without its password.
        alias: What the server is called in SQL.
        read_only: Whether nothing may be written.
        error: What to raise.

    Raises:
        EcomIntentError: The extension is missing, the URL is none, or the server lets nobody in.
    """
    name = hide_password(location)
    # libpq repeats the part of a URL that it cannot parse, and would take these for the end of the password.
    password = re.search(r"://[^:@/]*:(?!\d+(?:[/?#]|$))(.*)@", location)
    if re.search("%(?:00|(?![0-9a-fA-F]{2}))", location) or (
        password and re.search("[/@]", password[1])
    ):
        raise error(
            f"{name}: expected / @ % in a password as %2F %40 %25, found one as it is; or set PGPASSWORD instead"
        )
    try:
        load_extension(connection, "postgres_scanner")
    except (duckdb.Error, OSError) as found:
        raise error(
            f"{name}: expected DuckDB's postgres extension, found: {first_line(found)}; pip install 'ecomintent-batch[warehouse]'"
        ) from None
    mode = ", READ_ONLY" if read_only else ""
    try:
        connection.execute(f"ATTACH {quote_text(location)} AS {alias} (TYPE postgres{mode})")
    except duckdb.Error as found:
        reason = (
            first_line(found)
            .replace(location, name)
            .removeprefix(f'Unable to connect to Postgres at "{name}": ')
        )
        raise error(
            f"{name}: expected a Postgres server that lets this user in, found: {reason}",
            transient=not _FOR_GOOD.search(reason),
        ) from None
