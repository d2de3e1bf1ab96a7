"""The tickets of some days over all runs of a history, each once as its newest run has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

import duckdb

from ecomintent_batch.analytics.days import shift_day
from ecomintent_batch.analytics.history import list_history
from ecomintent_batch.analytics.views import open_views
from ecomintent_batch.errors import UsageError
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.duck import quote_identifier

_LAST = re.compile(r"(\d{1,4})\s*([dw])", re.IGNORECASE)
_DAYS_OF = {"d": 1, "w": 7}


@dataclass(frozen=True)
class Days:
    """Some days, the first and the last one included."""

    first: date
    last: date

    @property
    def count(self) -> int:
        """How many days they are."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Days:
        """As many days before them."""
        return Days(shift_day(self.first, -self.count), shift_day(self.first, -1))

    def reaching_back(self, weeks: int) -> Days:
        """Return the days with some weeks before them."""
        return Days(shift_day(self.first, -7 * weeks), self.last)

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True, kw_only=True)
class AskedDays:
    """The days that a person asked for: the last ones, or from a day to a day."""

    last: str | None = None
    first: str | None = None
    to: str | None = None

    def __bool__(self) -> bool:
        return any((self.last, self.first, self.to))

    def resolve(self, known: Days) -> Days:
        """Return the days, counted back from the newest one that has tickets.

        Raises:
            UsageError: They contradict each other, or are no days.
        """
        if self.last is None:
            days = Days(
                _parse_day("--from", self.first) if self.first else known.first,
                _parse_day("--to", self.to) if self.to else known.last,
            )
            if days.first > days.last:
                raise UsageError(f"--from: expected a day up to {days.last}, found {days.first}")
            return days
        if self.first or self.to:
            raise UsageError(
                "--last: expected no --from and --to with it, found one; give one of the two"
            )
        found = _LAST.fullmatch(self.last.strip())
        if found is None or not int(found[1]):
            raise UsageError(
                f"--last: expected days or weeks, such as 7d or 4w, found {self.last!r}"
            )
        count = int(found[1]) * _DAYS_OF[found[2].lower()]
        return Days(shift_day(known.last, 1 - count), known.last)


def open_period(store: RunStore, manifest: Manifest) -> duckdb.DuckDBPyConnection:
    """Return a connection whose view `known_tickets` has all tickets of a run's history, each as its newest run has it.

    `copy_days` makes `copied_tickets` of it, and `show_days` makes `tickets` of either.
    """
    runs = list_history(store, manifest)
    variables = {
        "latest": "true" if len(runs) > 1 else None,
        "time_column": manifest.columns.kept_time,
    }
    connection = open_views(store, runs, variables)
    connection.execute("ALTER VIEW tickets RENAME TO known_tickets")
    return connection


def find_known_days(connection: duckdb.DuckDBPyConnection, time_column: str) -> Days:
    """Return the first and the last day of the tickets, without days in the future.

    Raises:
        UsageError: No ticket has a time.
    """
    day = f"CAST({quote_identifier(time_column)} AS DATE)"
    query = f"""
        SELECT min(day), coalesce(max(day) FILTER (day <= classified), max(day))
        FROM (SELECT {day} AS day, CAST(classified_at AS DATE) + 1 AS classified FROM predictions)
    """  # noqa: S608 - a quoted name
    first, last = connection.sql(query).fetchall()[0]
    if not (isinstance(first, date) and isinstance(last, date)):
        raise UsageError(
            "report: expected tickets with a time, found none; leave --last, --from and --to out"
        )
    return Days(first, last)


def copy_days(connection: duckdb.DuckDBPyConnection, time_column: str, days: Days) -> None:
    """Copy the tickets of some days, which many queries read, without messages and probabilities."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE copied_tickets AS
        SELECT COLUMNS(lambda c: c NOT IN ('message', 'model') AND NOT starts_with(c, 'prob_'))
        FROM known_tickets
        WHERE {_is_within(time_column, days)}
        """  # noqa: S608 - a quoted name and dates
    )


def show_days(
    connection: duckdb.DuckDBPyConnection,
    time_column: str,
    days: Days,
    source: str = "copied_tickets",
) -> None:
    """Let the view `tickets` show the tickets of some days, of those copied or with their messages of `known_tickets`."""
    connection.execute(
        f"CREATE OR REPLACE VIEW tickets AS FROM {source} WHERE {_is_within(time_column, days)}"
    )


def _is_within(time_column: str, days: Days) -> str:
    return (
        f"CAST({quote_identifier(time_column)} AS DATE) "
        f"BETWEEN DATE '{days.first}' AND DATE '{days.last}'"
    )


def _parse_day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option}: expected a day such as 2026-11-28, found {text!r}") from None
