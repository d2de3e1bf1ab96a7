"""Days that charts can show, and days that are mistakes of a source: 1900-01-01, 9999-12-31."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_FIRST = date(1990, 1, 1)  # no helpdesk is older
_DAYS_AHEAD = 366

_MOST_NAMED = 5


def shift_day(day: date, days: int) -> date:
    """Return the day so many days later, or earlier; the first or the last that there is where the calendar ends."""
    return date.fromordinal(
        min(max(date.min.toordinal(), day.toordinal() + days), date.max.toordinal())
    )


def split_odd_days(per_day: pl.DataFrame, run_day: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows to show, and those of days before 1990 or over a year after the run; all are shown if all are odd.

    Args:
        per_day: Rows with a `day`, which may be null.
        run_day: When the run was made.
    """
    import polars as pl

    odd = (pl.col("day") < _FIRST) | (pl.col("day") > shift_day(run_day, _DAYS_AHEAD))
    usual = per_day.filter(~odd.fill_null(value=False))
    if usual["day"].drop_nulls().is_empty():
        return per_day, per_day.head(0)
    return usual, per_day.filter(odd)


def describe_odd_days(odd: pl.DataFrame) -> str | None:
    """Return in words how many tickets have which odd days; None if there is none."""
    import polars as pl

    if odd.is_empty():
        return None
    days = odd.group_by("day").agg(pl.col("tickets").sum()).sort("day")
    named = [
        f"{row['tickets']:,} of {_in_words(row['day'])}"
        for row in days.head(_MOST_NAMED).iter_rows(named=True)
    ]
    more = f" and {len(days) - _MOST_NAMED:,} other such days" if len(days) > _MOST_NAMED else ""
    total = int(days["tickets"].sum())
    return (
        f"{total:,} {'ticket has a date' if total == 1 else 'tickets have dates'} that can hardly be right, "
        f"and {'is' if total == 1 else 'are'} left out of the charts: {', '.join(named)}{more}."
    )


def _in_words(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"
