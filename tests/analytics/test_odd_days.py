"""Dates that can hardly be right: named in words, left out of what charts and alerts look at."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecomintent_batch.analytics.days import describe_odd_days, split_odd_days
from ecomintent_batch.analytics.queries import run_query
from ecomintent_batch.pipeline import run_job

RUN = date(2026, 11, 28)


def days(*values: date | None) -> pl.DataFrame:
    """Return a ticket for each day."""
    return pl.DataFrame(
        {"day": values, "tickets": [1] * len(values)}, schema={"day": pl.Date, "tickets": pl.Int64}
    )


def test_days_before_1990_and_a_year_ahead_are_odd() -> None:
    """Where others are not; a ticket without a time is not odd."""
    usual, odd = split_odd_days(
        days(date(1900, 1, 1), date(2026, 3, 2), date(9999, 12, 31), None), RUN
    )
    assert usual["day"].to_list() == [date(2026, 3, 2), None]
    assert odd["day"].to_list() == [date(1900, 1, 1), date(9999, 12, 31)]
    alone, none = split_odd_days(days(date(1900, 1, 1)), RUN)
    assert (len(alone), len(none)) == (1, 0)


def test_odd_days_in_words() -> None:
    """The first five, and how many more."""
    assert describe_odd_days(days()) is None
    assert describe_odd_days(days(date(1, 1, 1))) == (
        "1 ticket has a date that can hardly be right, and is left out of the charts: 1 of 1 January 1."
    )
    many = days(*(date(1900, 1, day) for day in range(1, 9)))
    assert "5 January 1900 and 3 other such days." in (describe_odd_days(many) or "")


@pytest.mark.parametrize(
    "odd", ["0001-01-01 00:00:00", "1753-01-01", "1900-01-01", "2199-12-31", "9999-12-31"]
)
def test_an_odd_date_is_named_and_fills_no_report(
    tmp_path: Path, stub_settings: Any, odd: str
) -> None:
    """The report and the summary name it; a query by day has a few hundred rows, not millions; a ticket may lack a time."""
    (tmp_path / "t.csv").write_text(
        f"id,body,created_at\n1,where is it,{odd}\n2,cancel,2026-03-02\n3,refund my order,\n"
    )
    result = run_job(stub_settings(tmp_path / "t.csv", tmp_path / "out"))
    report = result.folder.report.read_text(encoding="utf-8")
    assert len(report) < 200_000
    for text in (report, result.summary.markdown):
        assert "1 ticket has a date that can hardly be right" in text
        assert str(int(odd[:4])) in text
    rows = run_query(
        "volume_by_intent_per_period", tmp_path / "out", sets=["period=day"]
    ).fetchall()
    assert len(rows) < 2000


def test_nanoseconds_and_far_years_in_one_out(stub_settings, tmp_path):
    """A Parquet file of pandas has nanoseconds, which end in 2262; a run with the year 9999 next to it is read with it."""
    far = tmp_path / "far.csv"
    far.write_text(
        "id,created_at,body\n1,9999-12-31 00:00:00,where is it\n2,2026-11-02 10:00:00,my order\n"
    )
    out = tmp_path / "out"
    run_job(stub_settings(far, out))
    times = pa.array([datetime(2026, 11, 3), datetime(2026, 11, 4)], pa.timestamp("ns"))
    pandas_like = tmp_path / "ns.parquet"
    pq.write_table(
        pa.table({"id": ["3", "4"], "created_at": times, "body": ["a", "b"]}), pandas_like
    )
    result = run_job(stub_settings(pandas_like, out))
    assert (out / "summaries" / f"run_id={result.manifest.run_id}" / "report.html").exists()
