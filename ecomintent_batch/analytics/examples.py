"""The typical tickets that a number leads to: of middling confidence and length, each message once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import duckdb

from ecomintent_batch.analytics.days import shift_day
from ecomintent_batch.storage.duck import quote_identifier, quote_text

_MOST, _LOOKED_AT = 3, 12  # of those looked at, some have the same message
_SHOWN_TEXT = 240  # characters of a message
_WEEKS_OF_A_DRIFT = 4
_TICKET = "{'run_id': run_id, 'row_number': row_number, 'ticket_id': ticket_id, 'message_hash': message_hash}"
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
        coalesce(abs(tickets.confidence - middles.confidence), 0)
            + coalesce(abs(ln(1 + n_tokens) - middles.length), 0) AS " distance"
    FROM
        tickets LEFT JOIN middles
        ON middles.intent = tickets.intent AND middles.below_threshold IS NOT DISTINCT FROM tickets.below_threshold
)
SELECT {} FROM measured
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
    chosen = ", ".join(
        f'arg_min({_TICKET}, (" distance", run_id, row_number), {_LOOKED_AT}) FILTER (WHERE {condition})'
        for condition in groups.values()
    )
    (found,) = connection.sql(_QUERY.format(chosen)).fetchall()
    named = {key: _drop_repeats(rows or ()) for key, rows in zip(groups, found, strict=True)}
    return _add_messages(connection, named)


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


def _drop_repeats(rows: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Return the first three of different messages."""
    seen: set[str] = set()
    examples = []
    for row in rows:
        message = row["message_hash"] or f"{row['run_id']} {row['row_number']}"
        if message not in seen:
            seen.add(message)
            ticket_id = row["ticket_id"] or f"row {row['row_number']}"
            examples.append(Example(row["run_id"], row["row_number"], ticket_id))
    return examples[:_MOST]


def read_messages(
    connection: duckdb.DuckDBPyConnection, rows: Collection[tuple[str, int]]
) -> dict[tuple[str, int], str]:
    """Return the beginnings of the messages of some rows (run_id, row_number); none where they were not kept."""
    if not rows or "message" not in connection.sql("FROM predictions LIMIT 0").columns:
        return {}
    found = connection.execute(
        "SELECT run_id, row_number, left(message, ?) FROM predictions "
        "WHERE row_number IN (SELECT unnest(?)) AND run_id IN (SELECT unnest(?))",
        [_SHOWN_TEXT, sorted({row for _, row in rows}), sorted({run for run, _ in rows})],
    ).fetchall()
    return {(run_id, row): message for run_id, row, message in found if message}


def _add_messages(
    connection: duckdb.DuckDBPyConnection, examples: dict[str, list[Example]]
) -> dict[str, list[Example]]:
    """Return the examples with the beginnings of their messages, where those were kept."""
    rows = {(one.run_id, one.row_number) for group in examples.values() for one in group}
    messages = read_messages(connection, rows)
    return {
        key: [replace(one, message=messages.get((one.run_id, one.row_number), "")) for one in group]
        for key, group in examples.items()
    }
