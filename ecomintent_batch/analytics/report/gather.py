"""Committed runs and their summaries → the facts of a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb

from ecomintent_batch.analytics.days import describe_odd_days, shift_day, split_odd_days
from ecomintent_batch.analytics.examples import (
    find_examples,
    of_days,
    of_finding,
    of_intent,
    of_part,
    read_messages,
    with_words,
)
from ecomintent_batch.analytics.findings import describe_findings
from ecomintent_batch.analytics.history import (
    DAYS_OF_PHRASES,
    FINDINGS,
    PHRASES,
    WEEKS_OF_FINDINGS,
    find_previous_run,
    list_history,
    list_other_histories,
    open_history,
    read_summary,
)
from ecomintent_batch.analytics.period import Days, show_days
from ecomintent_batch.analytics.report.facts import (
    MOST_TOPICS,
    Facts,
    Prices,
    describe_others,
    describe_unusual,
)
from ecomintent_batch.analytics.summaries import OF_COLUMN, Summary, add_change
from ecomintent_batch.analytics.topics import find_examples_of_topics
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.runs.layout import (
    LANGUAGES,
    TOPIC_TICKETS,
    TOPICS,
    UNUSUAL_DAYS,
    VOLUMES,
    VOLUMES_PER_DAY,
)
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

if TYPE_CHECKING:
    import polars as pl

_LEAST_SURE = 10


def gather_facts(store: RunStore, manifest: Manifest, summary: Summary, prices: Prices) -> Facts:
    """Return the facts of a run: what its summaries lack, and the previous run to compare it with."""
    tables = summary.tables
    connection = open_views(
        store, [manifest], {"run_id": manifest.run_id, "max_rows": str(_LEAST_SURE)}
    )
    per_day, odd_days = _days_to_show(store, manifest, summary), None
    if per_day is not None:
        per_day, odd = split_odd_days(per_day, manifest.started_at.date())
        odd_days = describe_odd_days(odd)
    found = _read(connection, summary)
    previous = find_previous_run(store, manifest)
    earlier = None if previous is None else read_summary(store, previous.run_id, VOLUMES)
    groups, of_history = _groups_of_volumes(found), _groups_of_changes(manifest, found)
    newest, time_column = _newest_day(per_day), manifest.columns.kept_time
    if newest is not None and time_column is not None:
        since = of_days(time_column, shift_day(newest, 1 - DAYS_OF_PHRASES), newest)
        of_history |= {
            text: f"{since} AND {words}" for text, words in _groups_of_words(found).items()
        }
    if previous is None:  # its own tickets are all that there is
        groups, of_history = groups | of_history, {}
    examples = find_examples(connection, groups)
    connection.close()
    if of_history or TOPICS in tables:
        connection = open_history(store, manifest, weeks=WEEKS_OF_FINDINGS)
        examples |= find_examples(connection, of_history)
        if TOPICS in tables:
            shown = tables[TOPIC_TICKETS].filter(tables[TOPIC_TICKETS]["topic"] <= MOST_TOPICS)
            examples |= find_examples_of_topics(connection, shown)
        connection.close()
    return Facts(
        **found,
        manifest=manifest,
        runs=(manifest,),
        prices=prices,
        topics=tables.get(TOPICS),
        per_day=per_day,
        odd_days=odd_days,
        own_days=tables.get(VOLUMES_PER_DAY),
        others=describe_others(list_other_histories(store, manifest), manifest),
        moves=[] if earlier is None else add_change(tables[VOLUMES], earlier).to_dicts(),
        before=f"the previous run, {previous.run_id} of {previous.started_at:%Y-%m-%d %H:%M} UTC"
        if previous
        else None,
        by_status=manifest.counts.by_status,
        examples=examples,
    )


def gather_period_facts(
    store: RunStore,
    manifest: Manifest,
    summary: Summary,
    connection: duckdb.DuckDBPyConnection,
    days: Days,
    prices: Prices,
) -> Facts:
    """Return the facts of some days.

    Args:
        store: Where the runs are.
        manifest: The newest run of the history.
        summary: The tables of the days.
        connection: Shows the tickets of the days, of which it has a copy.
        days: The days.
        prices: What a ticket takes.
    """
    time_column = manifest.columns.kept_time or ""
    connection.execute("SET VARIABLE max_rows = ?", [str(_LEAST_SURE)])
    found = _read(connection, summary)
    by_status = connection.sql(
        "SELECT status, count(*) FROM tickets GROUP BY ALL ORDER BY 1"
    ).fetchall()
    run_ids = {
        run_id for (run_id,) in connection.sql("SELECT DISTINCT run_id FROM tickets").fetchall()
    }
    examples = find_examples(connection, _groups_of_volumes(found))
    show_days(connection, time_column, days.before)
    earlier = connection.sql(read_sql(VOLUMES)).pl()
    show_days(connection, time_column, days.reaching_back(WEEKS_OF_FINDINGS))
    examples |= find_examples(connection, _groups_of_changes(manifest, found))
    if words := _groups_of_words(found):
        newest = Days(shift_day(days.last, 1 - summary.days_of_phrases), days.last)
        show_days(connection, time_column, newest, "known_tickets")
        examples |= find_examples(connection, words)
    per_day = summary.tables[VOLUMES_PER_DAY]
    return Facts(
        **found,
        manifest=manifest,
        runs=tuple(run for run in list_history(store, manifest) if run.run_id in run_ids),
        days=days,
        prices=prices,
        per_day=per_day,
        odd_days=None,
        own_days=per_day,
        others=describe_others(list_other_histories(store, manifest), manifest),
        moves=add_change(summary.tables[VOLUMES], earlier).to_dicts() if len(earlier) else [],
        before=f"the {days.count} days before, {days.before}" if len(earlier) else None,
        by_status=dict(by_status),
        examples=examples,
    )


def _read(connection: duckdb.DuckDBPyConnection, summary: Summary) -> dict[str, Any]:
    """Return the facts that come from the tickets that a connection shows, and from their tables."""
    tables = summary.tables
    parts_of_other = connection.sql(read_sql("parts_of_other")).pl()
    unusual = tables.get(UNUSUAL_DAYS)
    return {
        "volumes": tables[VOLUMES],
        "mixes": {
            name: table
            for name, table in tables.items()
            if name.startswith(OF_COLUMN) and name != VOLUMES_PER_DAY
        },
        "unusual": unusual,
        "unusual_days": {} if unusual is None else describe_unusual(unusual),
        "confidence": connection.sql(read_sql("confidence_histogram")).pl(),
        "languages": tables[LANGUAGES],
        "by_language": connection.sql(read_sql("sure_by_language")).pl(),
        "pairs": connection.sql(read_sql("multi_intent_pairs")).pl(),
        "least_sure": _add_messages(connection, connection.sql(read_sql("review_queue")).pl()),
        "parts_of_other": parts_of_other,
        "changes": describe_findings(tables[FINDINGS], tables.get(PHRASES), summary.days_of_phrases)
        if FINDINGS in tables
        else None,
        "phrases": tables.get(PHRASES),
        "alerts": [alert.message for alert in summary.alerts],
    }


def _groups_of_volumes(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tickets of each intent, and of each part of OTHER, as a condition."""
    intents, parts = found["volumes"]["intent"], found["parts_of_other"]["part"]
    return {f"intent {intent}": of_intent(intent) for intent in intents} | {
        f"part {part}": of_part(part) for part in parts
    }


def _groups_of_changes(manifest: Manifest, found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tickets of each sentence about findings and unusual days, as a condition."""
    time_column, changes = manifest.columns.kept_time, found["changes"]
    if time_column is None or changes is None:
        return {}
    groups = {text: of_finding(row, time_column) for text, row in changes.rows.items()}
    for text, row in found["unusual_days"].items():
        groups[text] = (
            f"{of_days(time_column, row['day'], row['day'])} AND {of_intent(row['intent'])}"
        )
    return groups


def _groups_of_words(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tickets of the sentence about words that came up, as a condition on their messages."""
    changes = found["changes"]
    if changes is None or not changes.words:
        return {}
    return {changes.words[0]: with_words(found["phrases"]["phrase"][0])}


def _days_to_show(store: RunStore, manifest: Manifest, summary: Summary) -> pl.DataFrame | None:
    """Return the days of a run; an incremental one has few of its own, and the weeks before make them a trend."""
    own = summary.tables.get(VOLUMES_PER_DAY)
    if own is None or not own["day"].drop_nulls().len():
        return None
    if not manifest.settings.incremental:
        return own
    connection = open_history(store, manifest)
    days = connection.sql(read_sql(VOLUMES_PER_DAY)).pl()
    connection.close()
    return days


def _newest_day(per_day: pl.DataFrame | None) -> date | None:
    newest = None if per_day is None else per_day["day"].max()
    return newest if isinstance(newest, date) else None


def _add_messages(connection: duckdb.DuckDBPyConnection, least_sure: pl.DataFrame) -> pl.DataFrame:
    """Add the beginnings of the messages, where they were kept."""
    import polars as pl

    rows = least_sure.select("run_id", "row_number").rows()
    messages = read_messages(connection, rows)
    if not messages:
        return least_sure
    return least_sure.with_columns(
        pl.Series("message", [messages.get(row, "") for row in rows], dtype=pl.String)
    )
