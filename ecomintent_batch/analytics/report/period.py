"""The report of some days over all runs of a history: the page of a run, with the tickets of a period."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ecomintent_batch.analytics.history import (
    DAYS_OF_PHRASES,
    FINDINGS,
    PHRASES,
    WEEKS_OF_FINDINGS,
    count_phrases,
)
from ecomintent_batch.analytics.period import (
    AskedDays,
    Days,
    copy_days,
    find_known_days,
    open_period,
    show_days,
)
from ecomintent_batch.analytics.report.facts import Prices
from ecomintent_batch.analytics.report.gather import gather_period_facts
from ecomintent_batch.analytics.report.page import render_facts
from ecomintent_batch.analytics.summaries import (
    Summary,
    count_volumes,
    replace_folder,
    to_markdown,
    write_tables,
)
from ecomintent_batch.analytics.views import read_sql
from ecomintent_batch.errors import UsageError
from ecomintent_batch.options import WEEKS_COMPARED
from ecomintent_batch.runs.layout import REPORT, REPORTS, UNUSUAL_DAYS, VOLUMES
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

if TYPE_CHECKING:
    import duckdb


def report_period(store: RunStore, manifest: Manifest, asked: AskedDays, prices: Prices) -> str:
    """Write the tables and the page of some days into OUT, and return the location of the page.

    Args:
        store: Where the runs are.
        manifest: The run whose history is meant.
        asked: The days.
        prices: What a ticket takes.

    Raises:
        UsageError: The tickets have no time, or there is none in these days.
    """
    time_column = manifest.columns.kept_time
    if time_column is None:
        raise UsageError(
            f"report: expected tickets with a time, found run {manifest.run_id} without one; "
            "leave --last, --from and --to out"
        )
    connection = open_period(store, manifest)
    known = find_known_days(connection, time_column)
    days = asked.resolve(known)
    summary = _summarise(connection, manifest, days)
    if summary.tables[VOLUMES].is_empty():
        raise UsageError(
            f"report: expected tickets of {days}, found those of {known}; give other days"
        )
    facts = gather_period_facts(store, manifest, summary, connection, days, prices)
    connection.close()
    key = f"{REPORTS}/{days.first}_{days.last}"
    with replace_folder(store.folder / key) as folder:
        write_tables(summary, folder)
        (folder / REPORT).write_text(render_facts(facts), encoding="utf-8")
    store.save_folder(key)
    return store.locate(f"{key}/{REPORT}")


def _summarise(connection: duckdb.DuckDBPyConnection, manifest: Manifest, days: Days) -> Summary:
    """Return the tables of some days, and leave a connection that shows their tickets."""
    columns, time_column = manifest.columns.kept, manifest.columns.kept_time or ""
    for name, value in {
        "since": days.first.isoformat(),
        "by_columns": [columns[by] for by in manifest.settings.by],
    }.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    phrase_days = min(days.count, DAYS_OF_PHRASES)
    copy_days(connection, time_column, days.reaching_back(WEEKS_OF_FINDINGS))
    show_days(connection, time_column, days.reaching_back(WEEKS_OF_FINDINGS))
    later = {FINDINGS: connection.sql(read_sql(FINDINGS)).pl()}
    if manifest.settings.keep_text:
        newest = Days(days.last - timedelta(3 * phrase_days - 1), days.last)
        show_days(connection, time_column, newest, "known_tickets")
        later[PHRASES] = count_phrases(connection, phrase_days)
    show_days(connection, time_column, days.reaching_back(WEEKS_COMPARED))
    later[UNUSUAL_DAYS] = connection.sql(read_sql(UNUSUAL_DAYS)).pl()
    show_days(connection, time_column, days)
    tables = count_volumes(connection, manifest) | later
    return Summary(
        tables=tables,
        markdown=to_markdown(str(days), days.last, tables),
        days_of_phrases=phrase_days,
    )
