"""A committed run and its summaries → what the report says, in plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ecomintent_batch.analytics.case_study import PUBLISHED
from ecomintent_batch.analytics.days import describe_odd_days, split_odd_days
from ecomintent_batch.analytics.findings import Changes, describe_findings, name_day
from ecomintent_batch.analytics.history import (
    FINDINGS,
    PHRASES,
    find_previous_run,
    list_other_histories,
    open_history,
)
from ecomintent_batch.analytics.summaries import OF_COLUMN, Summary, add_change
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.runs.layout import LANGUAGES, UNUSUAL_DAYS, VOLUMES, VOLUMES_PER_DAY
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

if TYPE_CHECKING:
    import polars as pl

_MOST_MOVED, _MOST_UNUSUAL, _LEAST_SURE, _MOST_VALUES = 3, 6, 10, 30
_SURE_OF_A_MOVE, _SURE_OF_A_DAY = 3.5, 4.5  # standard errors
_SHOWN_TEXT = 240  # characters of a message


@dataclass(frozen=True)
class Facts:
    """All that the page shows; tables by the names of the files in `sql/`."""

    manifest: Manifest
    volumes: pl.DataFrame
    mixes: dict[str, pl.DataFrame]
    per_day: pl.DataFrame | None
    own_days: pl.DataFrame | None
    odd_days: str | None
    unusual: pl.DataFrame | None
    confidence: pl.DataFrame
    languages: pl.DataFrame
    pairs: pl.DataFrame
    least_sure: pl.DataFrame
    parts_of_other: pl.DataFrame
    changes: Changes | None
    others: int
    moves: list[dict[str, Any]]
    before: str | None
    alerts: list[str]

    @property
    def tickets(self) -> int:
        """Rows of the predictions."""
        return self.manifest.counts.predictions

    @property
    def sure(self) -> int:
        """Tickets whose first choice reached the threshold."""
        return int((self.volumes["first_choice"] - self.volumes["below_threshold"]).sum())

    @property
    def usd_per_1000(self) -> float | None:
        """Cost of a thousand tickets of this run at the price of the settings."""
        elapsed_s = self.manifest.performance.elapsed_s
        price = self.manifest.settings.hourly_price
        return 1000 * price * elapsed_s / 3600 / self.tickets if self.tickets else None


def gather_facts(store: RunStore, manifest: Manifest, summary: Summary) -> Facts:
    """Read what the summaries lack, and compare with the previous run."""
    tables = summary.tables
    connection = open_views(
        store, [manifest], {"run_id": manifest.run_id, "max_rows": str(_LEAST_SURE)}
    )
    confidence = connection.sql(read_sql("confidence_histogram")).pl()
    pairs = connection.sql(read_sql("multi_intent_pairs")).pl()
    least_sure = connection.sql(read_sql("review_queue")).pl()
    parts_of_other = connection.sql(read_sql("parts_of_other")).pl()
    if manifest.settings.keep_text:
        least_sure = _add_messages(connection, least_sure)
    connection.close()
    previous = find_previous_run(store, manifest)
    per_day, odd_days = _days_to_show(store, manifest, summary), None
    if per_day is not None:
        per_day, odd = split_odd_days(per_day, manifest.started_at.date())
        odd_days = describe_odd_days(odd)
    return Facts(
        manifest=manifest,
        volumes=tables[VOLUMES],
        mixes={
            name: table
            for name, table in tables.items()
            if name.startswith(OF_COLUMN) and name != VOLUMES_PER_DAY
        },
        per_day=per_day,
        odd_days=odd_days,
        own_days=tables.get(VOLUMES_PER_DAY),
        unusual=tables.get(UNUSUAL_DAYS),
        confidence=confidence,
        languages=tables[LANGUAGES],
        pairs=pairs,
        least_sure=least_sure,
        parts_of_other=parts_of_other,
        changes=describe_findings(tables[FINDINGS], tables.get(PHRASES))
        if FINDINGS in tables
        else None,
        others=len(list_other_histories(store, manifest)),
        moves=add_change(tables[VOLUMES], store, previous).to_dicts() if previous else [],
        before=_describe_previous(previous) if previous else None,
        alerts=[alert.message for alert in summary.alerts],
    )


def describe_unusual(unusual: pl.DataFrame) -> list[str]:
    """Return the most unusual days in words, the newest first."""
    clear = list_clear_days(unusual)
    chosen = (
        clear.sort(clear["z_score"].abs(), descending=True)
        .head(_MOST_UNUSUAL)
        .sort("day", "intent", descending=[True, False])
    )
    return [_describe_day(row) for row in chosen.iter_rows(named=True)]


def list_clear_days(unusual: pl.DataFrame) -> pl.DataFrame:
    """Return the unusual days whose count chance would hardly make: 9 tickets instead of 2 are not among them.

    A year of nine intents has three thousand of such counts. The square root of each has the same spread at every size.
    """
    import polars as pl

    roots = (pl.col("tickets") + 0.375).sqrt() - (pl.col("usual") + 0.375).sqrt()
    return unusual.filter((2 * roots).abs() >= _SURE_OF_A_DAY)


def top_moves(moves: Sequence[dict[str, Any]], *, up: bool) -> list[dict[str, Any]]:
    """Return the intents whose share rose, or fell, most, and by more than chance alone does."""
    now = sum(row["tickets"] for row in moves)
    before = sum(row["tickets_before"] for row in moves)
    moved = [
        row
        for row in moves
        if (row["share_change"] > 0) == up and _is_beyond_chance(row, now, before)
    ]
    return sorted(moved, key=lambda row: -abs(row["share_change"]))[:_MOST_MOVED]


def cost_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return this run's cost of 1,000 tickets, then what the case study published."""
    price = facts.manifest.settings.hourly_price
    note = f"measured: {facts.manifest.performance.elapsed_s:,.1f} s on a machine of {price:g} USD an hour"
    here = {"way": "this run", "usd": facts.usd_per_1000, "note": note}
    return [
        here,
        *(
            {"way": row.way, "usd": row.usd_per_1000, "note": f"published: {row.note}"}
            for row in PUBLISHED
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The shares of the intents within the most frequent values of a column.

    Attributes:
        column: Its name.
        rows: Each value with its tickets and its share of each intent.
        values: How many values there are.
        left_out: Tickets of those that are not shown.
        file: The table that has them all.
    """

    column: str
    rows: list[dict[str, Any]]
    values: int
    left_out: int
    file: str


def list_mixes(facts: Facts) -> list[Mix]:
    """Return the mix of intents of each --by column."""
    return [_find_mix(name, table) for name, table in facts.mixes.items()]


def describe_span(facts: Facts) -> str | None:
    """Return the first and last day of the run's tickets in words; None where they have no time."""
    days = None if facts.own_days is None else facts.own_days["day"].drop_nulls()
    if days is None or not len(days):
        return None
    first, last = days.min(), days.max()
    if not (isinstance(first, date) and isinstance(last, date)):
        return None
    if first == last:
        return name_day(first)
    return f"{name_day(first, last.year)} to {name_day(last)}"


def _find_mix(name: str, table: pl.DataFrame) -> Mix:
    rows: dict[str | None, dict[str, Any]] = {}
    for row in table.iter_rows(named=True):
        mix = rows.setdefault(row["value"], {"value": row["value"], "tickets": 0, "shares": {}})
        mix["tickets"] += row["tickets"]
        mix["shares"][row["intent"]] = row["share_of_value"]
    ordered = sorted(rows.values(), key=lambda mix: (-mix["tickets"], mix["value"] or ""))
    return Mix(
        column=name.removeprefix(OF_COLUMN),
        rows=ordered[:_MOST_VALUES],
        values=len(ordered),
        left_out=sum(mix["tickets"] for mix in ordered[_MOST_VALUES:]),
        file=f"{name}.csv",
    )


def _is_beyond_chance(row: dict[str, Any], now: int, before: int) -> bool:
    """Return whether two shares differ by more than samples of one share do."""
    if not now or not before:
        return False
    share = (row["tickets"] + row["tickets_before"]) / (now + before)
    error = math.sqrt(share * (1 - share) * (1 / now + 1 / before))
    return error > 0 and abs(row["share_change"]) >= _SURE_OF_A_MOVE * error


def _describe_day(row: dict[str, Any]) -> str:
    usual, tickets = row["usual"], row["tickets"]
    compared = (
        f"{tickets / usual:.1f} times as many as usual"
        if usual and tickets > usual
        else "more than usual"
    )
    if tickets < usual:
        compared = f"{1 - tickets / usual:.0%} fewer than usual"
    return (
        f"{row['day']:%A} {name_day(row['day'])}: {tickets:,} {row['intent']} tickets, {compared} "
        f"(the {row['weeks']} {row['day']:%A}s before had {usual:g}; z {row['z_score']:+.1f})"
    )


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


def _add_messages(connection: Any, least_sure: pl.DataFrame) -> pl.DataFrame:
    rows = connection.execute(
        "SELECT row_number, left(message, ?) AS message FROM predictions WHERE row_number IN (SELECT unnest(?))",
        [_SHOWN_TEXT, least_sure["row_number"].to_list()],
    ).pl()
    return least_sure.join(rows, on="row_number", how="left", maintain_order="left")


def _describe_previous(previous: Manifest) -> str:
    return f"{previous.run_id} of {previous.started_at:%Y-%m-%d %H:%M} UTC"
