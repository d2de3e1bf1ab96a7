"""The typical tickets that a number leads to: of middling confidence and length, each message once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from ecomintent_batch.analytics.days import shift_day
from ecomintent_batch.storage.duck import quote_identifier, quote_text

_MOST, _LOOKED_AT = 3, 12  # of those looked at, some have the same message
_SHOWN_TEXT = 240  # characters of a message
_WEEKS_OF_A_DRIFT = 4
_ROW_BITS = 40  # of a place: the rest numbers the run
# The distance is that of sql/typical_tickets.sql.
_QUERY = """
WITH middles AS (
    SELECT intent, below_threshold, median(confidence) AS confidence, median(ln(1 + n_tokens)) AS length
    FROM tickets
    GROUP BY ALL
),
measured AS (
    SELECT
        tickets.*,
        {place} AS " place",
        coalesce(abs(tickets.confidence - middles.confidence), 0)
            + coalesce(abs(ln(1 + n_tokens) - middles.length), 0) AS " distance"
    FROM
        tickets LEFT JOIN middles
        ON middles.intent = tickets.intent AND middles.below_threshold IS NOT DISTINCT FROM tickets.below_threshold
)
SELECT {chosen} FROM measured
"""


@dataclass(frozen=True)
class Example:
    """One ticket; `message` is empty where it was not kept."""

    run_id: str
    row_number: int
    ticket_id: str
    message: str = ""


def find_examples(
    connection: duckdb.DuckDBPyConnection, groups: Mapping[str, str]
) -> dict[str, list[Example]]:
    """Return up to three typical tickets of each group, in one pass over the view `tickets`.

    Args:
        connection: With the views of `sql/views.sql`.
        groups: The condition of each group by its key, made by the functions below.
    """
    if not groups:
        return {}
    query = "SELECT DISTINCT run_id FROM tickets ORDER BY run_id"
    runs = [run for (run,) in connection.sql(query).fetchall()]
    place = f"(list_position([{', '.join(map(quote_text, runs))}], run_id)::BIGINT << {_ROW_BITS}) + row_number"
    # Numbers are compared and carried five times as fast as structs; the row number decides between equals.
    chosen = ", ".join(
        f'arg_min(" place", " distance" + row_number * 1e-12, {_LOOKED_AT}) FILTER (WHERE {condition})'
        for condition in groups.values()
    )
    (found,) = connection.sql(_QUERY.format(place=place, chosen=chosen)).fetchall()
    places = {
        key: [(runs[(at >> _ROW_BITS) - 1], at & (1 << _ROW_BITS) - 1) for at in ats or ()]
        for key, ats in zip(groups, found, strict=True)
    }
    rows = _look_up(connection, {row for group in places.values() for row in group})
    return {
        key: _drop_repeats([rows[row] for row in group if row in rows])
        for key, group in places.items()
    }


def of_intent(intent: str | None) -> str:
    """Return the condition of the tickets of an intent as it is routed; of all for None."""
    return "true" if intent is None else f"intent = {quote_text(intent)}"


def of_part(part: str) -> str:
    """Return the condition of a part of OTHER, as `sql/parts_of_other.sql` tells them apart."""
    conditions = {
        "sure": "status = 'ok' AND NOT below_threshold",
        "unsure": "status = 'ok' AND below_threshold",
        "foreign": "status = 'unsupported_language'",
    }
    return f"intent = 'OTHER' AND {conditions.get(part, f'status = {quote_text(part)}')}"


def of_days(time_column: str, first: date, last: date) -> str:
    """Return the condition of the tickets of some days, the last one included."""
    return f"CAST({quote_identifier(time_column)} AS DATE) BETWEEN DATE '{first}' AND DATE '{last}'"


def with_words(phrase: str) -> str:
    """Return the condition of the messages that hold a phrase, letters and spaces only."""
    pattern = rf"\b{phrase}\b"
    return f"regexp_matches(lower(message), {quote_text(pattern)})"


def of_finding(row: Mapping[str, Any], time_column: str) -> str:
    """Return the condition of the tickets that a finding counts; of a drift those of its last weeks."""
    first = row["period"]
    if row["kind"] == "drift":
        first = max(first, shift_day(row["period_end"], -7 * _WEEKS_OF_A_DRIFT))
    conditions = [of_days(time_column, first, row["period_end"]), of_intent(row["intent"])]
    if row["value"] is not None:
        column = quote_identifier(row["by_column"])
        conditions.append(f"CAST({column} AS VARCHAR) = {quote_text(row['value'])}")
    if row["measure"] == "unsure_share":
        conditions.append("below_threshold")
    return " AND ".join(conditions)


def read_messages(
    connection: duckdb.DuckDBPyConnection, rows: Collection[tuple[str, int]]
) -> dict[tuple[str, int], str]:
    """Return the beginnings of the messages of some rows (run_id, row_number); none where they were not kept."""
    found = _look_up(connection, rows)
    return {row: one.message for row, (one, _) in found.items() if one.message}


def _look_up(
    connection: duckdb.DuckDBPyConnection, rows: Collection[tuple[str, int]]
) -> dict[tuple[str, int], tuple[Example, str]]:
    """Return the ticket of each of some rows (run_id, row_number), and the hash of its message."""
    if not rows:
        return {}
    is_kept = "message" in connection.sql("FROM predictions LIMIT 0").columns
    message = f"left(message, {_SHOWN_TEXT})" if is_kept else "NULL"
    found = connection.execute(
        f"SELECT run_id, row_number, ticket_id, message_hash, {message} FROM predictions "  # noqa: S608 - ours
        "WHERE row_number IN (SELECT unnest(?)) AND run_id IN (SELECT unnest(?))",
        [sorted({row for _, row in rows}), sorted({run for run, _ in rows})],
    ).fetchall()
    return {
        (run_id, row): (
            Example(run_id, row, ticket_id or f"row {row}", text or ""),
            message_hash or f"{run_id} {row}",
        )
        for run_id, row, ticket_id, message_hash, text in found
    }


def _drop_repeats(tickets: Sequence[tuple[Example, str]]) -> list[Example]:
    """Return the first three of different messages, of tickets with the hashes of their messages."""
    first: dict[str, Example] = {}
    for example, message_hash in tickets:
        first.setdefault(message_hash, example)
    return list(first.values())[:_MOST]
