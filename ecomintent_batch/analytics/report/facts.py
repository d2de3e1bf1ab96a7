"""What the report says, in plain values, and in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from ecomintent_batch.analytics.case_study import PUBLISHED
from ecomintent_batch.analytics.examples import Example
from ecomintent_batch.analytics.findings import Changes, name_day
from ecomintent_batch.analytics.period import Days
from ecomintent_batch.analytics.summaries import OF_COLUMN
from ecomintent_batch.runs.records import Manifest

if TYPE_CHECKING:
    import polars as pl

_MOST_MOVED, _MOST_UNUSUAL, _MOST_VALUES, _MOST_LANGUAGES, _MOST_NAMED = 3, 6, 30, 12, 3
MOST_TOPICS = 12  # on the page
_SURE_OF_A_MOVE, _SURE_OF_A_DAY = 3.5, 4.5  # standard errors


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a ticket takes a person in minutes, and what it costs in any currency; None where nobody said it."""

    minutes: float | None = None
    cost: float | None = None

    def __bool__(self) -> bool:
        return self.minutes is not None or self.cost is not None

    def hours(self, tickets: float) -> float | None:
        """Return the hours that so many tickets take."""
        return None if self.minutes is None else tickets * self.minutes / 60

    def money(self, tickets: float) -> float | None:
        """Return what so many tickets cost."""
        return None if self.cost is None else tickets * self.cost


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the page shows; tables by the names of the files in `sql/`.

    Attributes:
        manifest: The run, or the newest one of a period.
        runs: The runs whose tickets are shown, the oldest first.
        days: The period; None for a run.
        examples: Typical tickets by what they are of: `intent WISMO`, `part unsure`, or a sentence.
        unusual_days: The clearest unusual days by what is said of them.
        phrases: Words that came up, where messages are kept.
        topics: Groups of messages that are OTHER or unsure, where they were asked for.
        others: Runs that are no part of the history, in words.
        before: What the volumes are compared with, in words.
    """

    manifest: Manifest
    runs: tuple[Manifest, ...]
    days: Days | None = None
    prices: Prices = field(default_factory=Prices)
    volumes: pl.DataFrame
    mixes: dict[str, pl.DataFrame]
    per_day: pl.DataFrame | None
    own_days: pl.DataFrame | None
    odd_days: str | None
    unusual: pl.DataFrame | None
    unusual_days: Mapping[str, Mapping[str, Any]]
    phrases: pl.DataFrame | None
    topics: pl.DataFrame | None = None
    confidence: pl.DataFrame
    languages: pl.DataFrame
    by_language: pl.DataFrame
    pairs: pl.DataFrame
    least_sure: pl.DataFrame
    parts_of_other: pl.DataFrame
    changes: Changes | None
    others: str | None
    moves: list[dict[str, Any]]
    before: str | None
    alerts: Sequence[str]
    by_status: Mapping[str, int]
    examples: Mapping[str, list[Example]]

    @property
    def tickets(self) -> int:
        """Tickets that are shown."""
        return int(self.volumes["tickets"].sum())

    @property
    def sure(self) -> int:
        """Tickets whose first choice reached the threshold."""
        return int((self.volumes["first_choice"] - self.volumes["below_threshold"]).sum())

    @property
    def elapsed_s(self) -> float:
        """What the runs took."""
        return sum(run.performance.elapsed_s for run in self.runs)

    @property
    def labelled(self) -> int:
        """Tickets that the runs labelled."""
        return sum(run.counts.predictions for run in self.runs)

    @property
    def usd(self) -> float:
        """What the runs cost at the price of their settings."""
        return sum(
            run.settings.hourly_price * run.performance.elapsed_s / 3600 for run in self.runs
        )

    @property
    def usd_per_1000(self) -> float | None:
        """What a thousand tickets of the runs cost."""
        return 1000 * self.usd / self.labelled if self.labelled else None


def describe_unusual(unusual: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the most unusual days by what is said of them, the newest first."""
    clear = list_clear_days(unusual)
    chosen = (
        clear.sort(clear["z_score"].abs(), descending=True)
        .head(_MOST_UNUSUAL)
        .sort("day", "intent", descending=[True, False])
    )
    return {_describe_day(row): row for row in chosen.iter_rows(named=True)}


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
    note = f"measured: {facts.elapsed_s:,.1f} s on a machine of {price:g} USD an hour"
    here = {
        "way": "this run" if len(facts.runs) == 1 else "these runs",
        "usd": facts.usd_per_1000,
        "note": note,
    }
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


def describe_source(facts: Facts) -> str:
    """Return in words where the tickets are from."""
    sources = list(dict.fromkeys(run.source for run in reversed(facts.runs)))
    if len(facts.runs) == 1:
        return sources[0]
    more = f" and {len(sources) - _MOST_NAMED} more" if len(sources) > _MOST_NAMED else ""
    return f"{len(facts.runs):,} runs of {', '.join(sources[:_MOST_NAMED])}{more}"


def describe_others(others: Sequence[Manifest], manifest: Manifest) -> str | None:
    """Return in words which runs are another history, by what is another one in them; None where there are none."""
    named = Counter(_describe_difference(run, manifest) for run in reversed(others))
    if not named:
        return None
    listed = [
        f"{count:,} run{'' if count == 1 else 's'} {what}"
        for what, count in list(named.items())[:_MOST_NAMED]
    ]
    more = f" and {len(named) - _MOST_NAMED} other kinds" if len(named) > _MOST_NAMED else ""
    return "; ".join(listed) + more


def _describe_difference(run: Manifest, manifest: Manifest) -> str:
    if run.model != manifest.model:
        return f"with the model {run.model}"
    if run.settings.table != manifest.settings.table:
        return f"of the table {run.settings.table or '(none)'}"
    if run.settings.query != manifest.settings.query:
        return f"of another query of {run.source}"
    return f"that read other columns of {run.source}"


def list_languages(facts: Facts) -> list[dict[str, Any]]:
    """Return the most frequent languages with their share of sure tickets, over all and by intent."""
    languages: dict[str | None, dict[str, Any]] = {}
    for row in facts.by_language.iter_rows(named=True):
        one = languages.setdefault(row["language"], {"language": row["language"], "shares": {}})
        if row["intent"] is None:
            one |= {"tickets": row["tickets"], "share_sure": row["share_sure"]}
        else:
            one["shares"][row["intent"]] = row["share_sure"]
    return list(languages.values())[:_MOST_LANGUAGES]


def describe_span(facts: Facts) -> str | None:
    """Return the first and last day of the tickets in words; None where they have no time."""
    if facts.days is not None:
        return _describe_days(facts.days.first, facts.days.last)
    days = None if facts.own_days is None else facts.own_days["day"].drop_nulls()
    if days is None or not len(days):
        return None
    first, last = days.min(), days.max()
    if not (isinstance(first, date) and isinstance(last, date)):
        return None
    return _describe_days(first, last)


def _describe_days(first: date, last: date) -> str:
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
