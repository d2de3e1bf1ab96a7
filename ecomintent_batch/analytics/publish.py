"""Committed runs → tables that a dashboard reads, in a DuckDB file, a Postgres server or a workbook.

Five tables in the schema `ecomintent`: `tickets` (each once, as its newest run has it, without its message), `volumes`,
`findings`, `topics` and `runs`. They replace those of before in one transaction: a dashboard sees the old or the new ones, and
publishing twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from ecomintent_batch.analytics.findings import describe_finding
from ecomintent_batch.analytics.history import FINDINGS, read_summary
from ecomintent_batch.analytics.targets import check_target
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.errors import OutputError, hide_password
from ecomintent_batch.runs.layout import TOPIC_TICKETS, TOPICS
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.atomic import whole_file
from ecomintent_batch.storage.duck import connect, first_line, quote_identifier, quote_text
from ecomintent_batch.storage.postgres import attach_postgres

SCHEMA = "ecomintent"
TABLES = ("tickets", "volumes", "findings", "topics", "runs")
_OWN_NAMES = ("ticket_time", "final_intent", "topic", "day", "by_column", "value", "tickets")
_MOST_ROWS_OF_A_SHEET = 1_048_575
_BATCH_ROWS = 65_536
_TICKETS = """
CREATE TEMP TABLE published_tickets AS
WITH newest_topics AS (
    SELECT run_id, row_number, topic FROM topic_tickets WHERE of_run = (SELECT max(of_run) FROM topic_tickets)
)
SELECT
    ticket_id, tickets.run_id, tickets.row_number, {time} AS ticket_time, {columns}
    intent::VARCHAR AS intent, coalesce(reviewed_intent, intent::VARCHAR) AS final_intent, reviewed_intent,
    top_intent, confidence::DOUBLE AS confidence, second_intent, below_threshold, is_multi_intent,
    status::VARCHAR AS status, language, newest_topics.topic, model, classified_at::TIMESTAMP AS classified_at
FROM tickets LEFT JOIN newest_topics USING (run_id, row_number)
ORDER BY tickets.run_id, tickets.row_number
"""
_VOLUMES = """
SELECT
    ticket_time::DATE AS day, {column} AS by_column, {value} AS value, intent,
    count(*) AS tickets, count(*) FILTER (below_threshold) AS below_threshold
FROM published_tickets
GROUP BY ALL
"""
_RUNS = """
CREATE TEMP TABLE published_runs AS
SELECT
    run_id, started_at::TIMESTAMP AS started_at, finished_at::TIMESTAMP AS finished_at, source, model, engine,
    counts.predictions::BIGINT AS tickets, counts.rejects::BIGINT AS rejects, counts.skipped::BIGINT AS skipped,
    performance.elapsed_s::DOUBLE AS elapsed_s, performance.tickets_per_s::DOUBLE AS tickets_per_s
FROM runs
ORDER BY run_id
"""
# What a dashboard would ask first, by names that stay when the file is opened again.
_VIEWS = {
    "volumes_by_week": """
        SELECT date_trunc('week', day)::DATE AS week, by_column, value, intent, sum(tickets)::BIGINT AS tickets,
            sum(below_threshold)::BIGINT AS below_threshold
        FROM {schema}.volumes
        GROUP BY 1, 2, 3, 4
    """,
    "newest_findings": """
        SELECT * FROM {schema}.findings WHERE is_finding ORDER BY period DESC, abs(score) DESC
    """,
}


def publish_runs(store: RunStore, target: str) -> dict[str, int]:
    """Write the tables of all committed runs to a target, in one transaction; return the rows of each.

    Args:
        store: Where the runs are.
        target: A .duckdb file, a postgresql:// URL (a password in it is shown nowhere), or an .xlsx file.

    Raises:
        OutputError: There is no run, or the target cannot be written.
    """
    kind = check_target(target)
    connection = _make_tables(store, store.manifests())
    try:
        if kind == "postgres":
            _write_postgres(connection, target)
        elif kind == "xlsx":
            _write_xlsx(connection, Path(target))
        else:
            _write_duckdb(connection, Path(target))
        return {name: _count(connection, name) for name in TABLES}
    finally:
        connection.close()


def _make_tables(store: RunStore, manifests: Sequence[Manifest]) -> duckdb.DuckDBPyConnection:
    """Return a connection with a temporary table `published_<name>` for each table."""
    runs = [run for run in manifests if run.parts]
    views = ("tickets", TOPICS, TOPIC_TICKETS, "runs")
    connection = open_views(store, runs, {"latest": "true" if len(runs) > 1 else None}, views=views)
    newest = runs[-1]
    try:
        known = connection.sql("SELECT * FROM tickets LIMIT 0").columns
        columns = _name_columns(newest, known)
        time = newest.columns.kept_time
        connection.execute(
            _TICKETS.format(
                time=f"tickets.{quote_identifier(time)}::TIMESTAMP"
                if time in known
                else "NULL::TIMESTAMP",
                columns="".join(
                    f"tickets.{quote_identifier(column)}::VARCHAR AS {quote_identifier(name)}, "
                    for column, name in columns.items()
                ),
            )
        )
    except duckdb.Error as error:
        raise OutputError(
            f"{store.location}: expected runs whose columns fit together, found: {first_line(error)}; "
            "publish from an --out of its own"
        ) from None
    volumes = [_VOLUMES.format(column="NULL::VARCHAR", value="NULL::VARCHAR")]
    volumes += [
        _VOLUMES.format(column=quote_text(name), value=quote_identifier(name))
        for name in columns.values()
    ]
    connection.execute(
        f"CREATE TEMP TABLE published_volumes AS {' UNION ALL '.join(volumes)} ORDER BY ALL"
    )
    _make_findings(connection, store, newest)
    connection.execute(
        f"CREATE TEMP TABLE published_topics AS {read_sql('topics').rstrip().rstrip(';')}"
    )
    connection.execute(_RUNS)
    return connection


def _name_columns(newest: Manifest, known: Sequence[str]) -> dict[str, str]:
    """Return the --by columns of the newest run with plain names that no other column of `tickets` has."""
    names: dict[str, str] = {}
    for by in newest.settings.by:
        column = newest.columns.kept[by]
        taken = {*_OWN_NAMES, *map(str.lower, known)} - ({column.lower()} - set(_OWN_NAMES))
        plain = re.sub(r"\W+", "_", column).strip("_").lower() or "column"
        while plain in taken or plain in names.values():
            plain += "_"
        if column in known:
            names[column] = plain
    return names


def _make_findings(
    connection: duckdb.DuckDBPyConnection, store: RunStore, newest: Manifest
) -> None:
    """Make the findings of the newest run, each with its sentence."""
    import polars as pl

    found = read_summary(store, newest.run_id, FINDINGS)
    if found is None:
        connection.execute("SET VARIABLE time_column = 'classified_at'")
        found = connection.sql(f"FROM ({read_sql(FINDINGS).rstrip().rstrip(';')}) LIMIT 0").pl()
    sentences = [describe_finding(row) for row in found.iter_rows(named=True)]
    connection.register(
        "found_findings",
        found.with_columns(
            run_id=pl.lit(newest.run_id), sentence=pl.Series(sentences, dtype=pl.String)
        ),
    )
    connection.execute("CREATE TEMP TABLE published_findings AS FROM found_findings")


def _write_duckdb(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Write the tables and views into a DuckDB file."""
    try:
        target = connect(str(file))
    except duckdb.Error as error:
        reason = "another program has it open" if "lock" in str(error) else first_line(error)
        raise OutputError(
            f"{file}: expected a DuckDB file that can be written, found: {reason}; close it there, or give another name",
            transient="lock" in str(error),
        ) from None
    try:
        target.execute("BEGIN")
        target.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        for name in TABLES:
            rows = connection.sql(f"FROM published_{name}").to_arrow_reader(_BATCH_ROWS)
            target.register("rows", rows)
            target.execute(f"CREATE OR REPLACE TABLE {SCHEMA}.{name} AS FROM rows")
            target.unregister("rows")
        for name, text in _VIEWS.items():
            target.execute(
                f"CREATE OR REPLACE VIEW {SCHEMA}.{name} AS {text.format(schema=SCHEMA)}"
            )
        target.execute("COMMIT")
    except duckdb.Error as error:
        raise _cannot_write(str(file), error) from None
    finally:
        target.close()


def _write_postgres(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    """Write the tables into the schema of a Postgres server; tables of the same columns stay, with what hangs on them."""
    attach_postgres(connection, url, "target", read_only=False, error=OutputError)
    try:
        connection.execute("BEGIN")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS target.{SCHEMA}")
        for name in TABLES:
            _replace_table(connection, name)
        connection.execute("COMMIT")
    except duckdb.Error as error:
        raise _cannot_write(url, error) from None


def _replace_table(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    table = f"target.{SCHEMA}.{name}"
    there = connection.execute(
        "SELECT list(column_name ORDER BY column_index) FROM duckdb_columns() "
        "WHERE database_name = 'target' AND schema_name = ? AND table_name = ?",
        [SCHEMA, name],
    ).fetchall()[0][0]
    columns = connection.sql(f"SELECT * FROM published_{name} LIMIT 0").columns  # noqa: S608 - one of TABLES
    if there == columns:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - as above
        connection.execute(f"INSERT INTO {table} FROM published_{name}")
        return
    connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute(f"CREATE TABLE {table} AS FROM published_{name}")


def _write_xlsx(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Write a workbook with a sheet for each table; of more tickets than a sheet holds, the newest ones."""
    import xlsxwriter

    # A text that begins with = is no formula, and no link.
    options = {"strings_to_formulas": False, "strings_to_urls": False, "remove_timezone": True}
    try:
        with whole_file(file) as temporary, xlsxwriter.Workbook(temporary, options) as workbook:
            for name in ("findings", "volumes", "topics", "tickets", "runs"):
                order = " ORDER BY ticket_time DESC NULLS LAST" if name == "tickets" else ""
                query = f"FROM published_{name}{order} LIMIT {_MOST_ROWS_OF_A_SHEET}"
                connection.sql(query).pl().write_excel(
                    workbook, worksheet=name, autofit=True, freeze_panes=(1, 0)
                )
    except OSError as error:
        raise OutputError(
            f"{file}: expected a file that can be written, found: {error.strerror}; close it, or give another name"
        ) from None


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    (rows,) = connection.sql(f"SELECT count(*) FROM published_{name}").fetchall()[0]  # noqa: S608 - one of TABLES
    return int(rows)


def _cannot_write(target: str, error: duckdb.Error) -> OutputError:
    name = hide_password(target)
    reason = first_line(error).replace(target, name)
    return OutputError(
        f"{name}: expected a database in which the schema {SCHEMA} can be written, found: {reason}; "
        "nothing was changed"
    )
