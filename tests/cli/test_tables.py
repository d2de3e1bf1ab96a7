"""Rows of a query on a terminal of 80 columns: rounded, shortened, stacked, and never without a column."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomintent_batch.cli.tables import format_floats, lay_out


def test_narrow_rows_are_a_plain_table() -> None:
    """Numbers right, text left, NULL empty, one format in a column."""
    frame = pl.DataFrame(
        {"intent": ["WISMO", "OTHER"], "tickets": [105, 7], "share": [0.2625, 0.06]}
    )
    assert lay_out(frame, 80).splitlines() == [
        "intent  tickets   share",
        "WISMO       105  0.2625",
        "OTHER         7  0.0600",
    ]


def test_long_headings_take_several_lines() -> None:
    """A name that is wider than its numbers is split at its words."""
    frame = pl.DataFrame({"intent": ["A"], "mean_confidence": [0.5], "previous_tickets": [1]})
    assert lay_out(frame, 30).splitlines() == [
        "               mean  previous",
        "intent  _confidence  _tickets",
        "A               0.5         1",
    ]


def test_hashes_and_paths_are_shortened_and_keys_are_not() -> None:
    """Both ends stay; the id of a run is typed into the next command."""
    run_id = "20261127T235919532778Z-4bf77f"
    frame = pl.DataFrame({"run_id": [run_id], "message_hash": ["a" * 30 + "b" * 34]})
    assert lay_out(frame, 60).splitlines()[-1] == f"{run_id}  aaaaaaa…bbbbbb"
    assert run_id in lay_out(frame, 10)


def test_what_is_still_too_wide_is_stacked() -> None:
    """A line per value, an empty line between rows, values whole."""
    frame = pl.DataFrame({"run_id": ["x" * 30] * 2, "intent": ["y" * 30] * 2, "n": [1, 2]})
    assert lay_out(frame, 40).splitlines() == [
        f"run_id  {'x' * 30}",
        f"intent  {'y' * 30}",
        "n       1",
        "",
        f"run_id  {'x' * 30}",
        f"intent  {'y' * 30}",
        "n       2",
    ]


WORD = st.text("abc_", min_size=1, max_size=30)


@given(
    st.lists(st.tuples(WORD, WORD, st.integers(0, 10**9)), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(20, 120),
)
def test_no_column_is_lost_and_no_line_too_long(
    rows: list[tuple[str, str, int]], columns: int, width: int
) -> None:
    """Whatever the rows: every column is named, and a line is longer only where it shows one value."""
    names = [f"name{i}" for i in range(columns)]
    frame = pl.DataFrame({name: [row[i % 3] for row in rows] for i, name in enumerate(names)})
    text = lay_out(frame, width)
    assert all(name in text for name in names)
    lines = text.splitlines()
    stacked = len(lines) > len(rows) + 1 or columns == 1
    assert stacked or max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, 4.0, None], ["1", "4", ""]),
        ([0.5, 0.06, 1 / 3], ["0.5000", "0.0600", "0.3333"]),
        ([0.5, 0.25], ["0.50", "0.25"]),
        ([4.433e-05, 12.0], ["4.43e-05", "12"]),
        ([], []),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(
    values: list[float | None], shown: list[str]
) -> None:
    """As many as needed, at most four; digits where four decimals would be zeros."""
    assert format_floats(values) == shown


def test_no_rows_and_many_rows() -> None:
    """Headings and a note; rows that are not shown are counted."""
    assert lay_out(pl.DataFrame({"a": []}), 80) == "a\n(0 rows)"
    assert lay_out(pl.DataFrame({"a": range(10_001)}), 80).endswith("(10,000 of 10,001 rows)")
    time = pl.DataFrame({"at": [datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)]})
    assert lay_out(time, 80).splitlines()[1] == "2026-11-28 01:02"
