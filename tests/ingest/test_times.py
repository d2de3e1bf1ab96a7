"""Times: ISO, day or month first, month by name, counted from 1970; told from the values, in UTC on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ecomintent_batch.errors import ColumnError, UsageError
from ecomintent_batch.ingest.times import detect_times

DAY = "2026-09-28 00:00:00"
MORNING = "2026-09-28 07:52:00"
ZONED = [
    "2026-09-28T09:52:00+02:00",
    "2026-09-28 03:52:00 -0400",
    "2026-09-28 07:52",
    "2026-09-28T07:52:00Z",
]


def told(values: list[Any], time_format: str | None = None) -> tuple[list[str | None], str, int]:
    """Return the values as times, in text, the note, and how many values were no times."""
    column = pa.chunked_array([pa.array(values)])
    parser, note = detect_times(column, "at", time_format)
    assert parser is not None
    times, broken = parser.parse(column)
    return [found and str(found) for found in times.to_pylist()], note, broken


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2026-09-28T07:52:00Z", "2026-09-28 07:52", "2026-09-28 07:52:00 UTC"], [MORNING] * 3),
        (["2026-09-28", None, "", " "], [DAY, None, None, None]),
        (["28/09/2026", "28.9.26", "28-09-2026"], [DAY] * 3),
        (["28/09/2026 07:52", "28.09.2026, 7:52 AM", "28/9/26 07:52:00"], [MORNING] * 3),
        (["9/28/2026, 7:52:00\u202fAM", "09/28/26 07:52", "09-28-2026 7:52 AM"], [MORNING] * 3),
        (["28 Sep 2026", "Sep 28, 2026", "28-Sep-26", "September 28, 2026"], [DAY] * 4),
        (
            [
                "Mon, 28 Sep 2026 09:52:00 +0200",
                "28 Sep 2026 07:52",
                "Mon, 28 Sep 2026 07:52:00 GMT",
            ],
            [MORNING] * 3,
        ),
        (["20260928075200", "20260928T075200Z"], [MORNING] * 2),
        ([20260928], [DAY]),
        ([1790581920, None], [MORNING, None]),
        ([1790581920000], [MORNING]),
        ([1790581920.0], [MORNING]),
        (["1790581920", "1790581920000000"], [MORNING] * 2),
    ],
)
def test_the_ways_in_which_exports_write_times(
    values: list[Any], expected: list[str | None]
) -> None:
    """One column mixes the precisions and zones of one way of writing, and an empty value is no time."""
    assert told(values)[0] == expected


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["02/03/2026"] * 97 + ["28/09/2026"] * 3, "day before month"),
        (["02/03/2026"] * 97 + ["09/28/2026"] * 3, "month before day"),
    ],
)
def test_a_few_values_tell_day_from_month(values: list[str], note: str) -> None:
    """What fits every value wins over what fits most of them."""
    times, found, _ = told(values)
    assert found == f"times in at: {note}"
    assert times[-1] == DAY


def test_the_zone_of_the_machine_does_not_matter() -> None:
    """The same values are the same times in New York (DuckDB learns its zone once a process, so this is another one)."""
    script = f"import test_times as t; assert t.told({ZONED!r})[0] == [t.MORNING] * {len(ZONED)}"
    environment = {**os.environ, "TZ": "America/New_York"}
    subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, env=environment, check=True
    )
    assert told(ZONED)[0] == [MORNING] * len(ZONED)


def test_broken_values_are_told_from_empty_ones() -> None:
    """A word among times is broken, and does not change how the others are read."""
    times, _, broken = told(["28/09/2026", *["29/09/2026"] * 9, "soon", ""])
    assert times[0] == DAY
    assert times[-2:] == [None, None]
    assert broken == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["02/03/2026", "04/05/2026"],
            "found dates that could be d/m/Y or m/d/Y; give --time-format",
        ),
        (["48213", "48214"], "found something else; give --time-format"),
        ([48213], "found something else"),
        (["12:30"], "found something else"),
        ([True], "found the type bool"),
        ([[1]], "found the type list"),
    ],
)
def test_what_is_no_time(values: list[Any], message: str) -> None:
    """Numbers of orders, times of day and dates that could be two are not guessed at."""
    with pytest.raises(ColumnError) as caught:
        told(values)
    assert message in str(caught.value)


def test_a_format_decides() -> None:
    """It settles d/m/Y, reads what no guess would, and is a usage error where it is none."""
    assert told(["02/03/2026"], "%m/%d/%Y")[0] == ["2026-02-03 00:00:00"]
    assert told(["2026|'28|09"], "%Y|'%d|%m")[0] == [DAY]
    with pytest.raises(ColumnError, match="expected %d, found something else"):
        told(["02/03/2026"], "%d")
    with pytest.raises(
        UsageError,
        match="--time-format: expected a strptime format or one of excel, s, ms, us, ns, found %Q",
    ):
        told(["02/03/2026"], "%Q")


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us"), pa.timestamp("ns", tz="Europe/Madrid"), pa.date32()]
)
def test_times_are_taken_as_they_are(kind: pa.DataType) -> None:
    """A source that knows its times is not second-guessed."""
    assert detect_times(pa.chunked_array([pa.array([0], kind)]), "at", None) == (None, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-13T10:12+01:00", "2026-03-13 09:12:00"),
        ("2026-03-13 10:12:33,123", "2026-03-13 10:12:33.123000"),
        ("2026-03-13 10:12:33 PM", "2026-03-13 22:12:33"),
        ("2026-W11-5", "2026-03-13 00:00:00"),
        ("2026-072", "2026-03-13 00:00:00"),
        ("20260313T101233.5+0100", "2026-03-13 09:12:33.500000"),
        ("2026-03-13T10:12:33+01:00[Europe/Paris]", "2026-03-13 09:12:33"),
        ("2026-03-13 10:12:33.123 +0100 CET", "2026-03-13 09:12:33.123000"),
        ("2026-03-13 10:12:33 EST", "2026-03-13 15:12:33"),
        ("2026-03-13T24:00:00", "2026-03-14 00:00:00"),
        ("3/13/2026 10:12AM", "2026-03-13 10:12:00"),
        ("3/13/2026 10:12:33 AM -08:00", "2026-03-13 18:12:33"),
        ("03/13/2026 10:12:33.123", "2026-03-13 10:12:33.123000"),
        ("05/Mar/26 10:12 AM", "2026-03-05 10:12:00"),
        ("Mar 13, 2026 at 10:12 AM", "2026-03-13 10:12:00"),
        ("13. März 2026", "2026-03-13 00:00:00"),
        ("13 de marzo de 2026 10:12", "2026-03-13 10:12:00"),
        ("Tue Oct 31 22:10:47 +0000 2017", "2017-10-31 22:10:47"),
        ("Fri Mar 13 2026 10:12:33 GMT+0100 (Central European Standard Time)", "2026-03-13 09:12:33"),
        ("1772445600000000000", "2026-03-02 10:00:00"),
        ("/Date(1772445600000+0000)/", "2026-03-02 10:00:00"),
        ("46094.4253", "2026-03-13 10:12:25.920000"),
    ],
)  # fmt: skip
def test_each_way_of_writing_a_time(value: str, expected: str) -> None:
    """As helpdesks, browsers, databases and spreadsheets write them."""
    times, _, broken = told([value, "", "NULL", "0000-00-00 00:00:00", "infinity"])
    assert times == [expected, None, None, None, None]
    assert broken == 0


def test_numbers_are_times_where_people_say_so() -> None:
    """Whole serial numbers of Excel, and seconds of any year, could be numbers of anything."""
    assert told([46094], "excel")[0] == ["2026-03-13 00:00:00"]
    assert told(["86400"], "s")[0] == ["1970-01-02 00:00:00"]
    assert told(["1772445600123"], "ms")[0] == ["2026-03-02 10:00:00.123000"]
