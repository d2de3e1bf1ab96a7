"""The queries of `sql/` on DuckDB, their numbers worked out by hand, and the command that runs them."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from support.committed_runs import put
from support.tickets import ROOT

from ecomintent_batch.analytics.queries import list_queries, run_query
from ecomintent_batch.errors import RunStateError, UsageError

MONDAY = datetime(2026, 9, 7)


def ask(out: Path, name: str, *sets: str, **how: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query, with floats as short as they are written down here."""
    return [
        tuple(round(value, 4) if isinstance(value, float) else value for value in row)
        for row in run_query(name, out, sets=sets, **how).fetchall()
    ]


def tickets(
    intent: str, count: int, time: datetime | None, channel: str = "chat"
) -> list[tuple[Any, ...]]:
    """Return so many confident tickets of an intent."""
    return [(intent, 0.9, "ok", channel, time)] * count


def test_volume_by_period(tmp_path):
    """Weeks of 3+1, none, 2+2: a gap is zeros, a change is against the week before, the share's in points."""
    put(tmp_path, "r1", [
        *tickets("WISMO", 3, MONDAY), *tickets("OTHER", 1, MONDAY + timedelta(days=6)),
        *tickets("WISMO", 2, MONDAY + timedelta(days=15)), *tickets("OTHER", 2, MONDAY + timedelta(days=20)),
        *tickets("WISMO", 1, None),
    ])  # fmt: skip
    assert ask(tmp_path, "volume_by_intent_per_period") == [
        (date(2026, 9, 7), "WISMO", 3, 0.75, None, None, None, None, 0.0),
        (date(2026, 9, 7), "OTHER", 1, 0.25, None, None, None, None, 0.0),
        (date(2026, 9, 14), "OTHER", 0, None, 1, -1.0, None, None, None),
        (date(2026, 9, 14), "WISMO", 0, None, 3, -1.0, None, None, None),
        (date(2026, 9, 21), "OTHER", 2, 0.5, 0, None, None, None, 0.0),
        (date(2026, 9, 21), "WISMO", 2, 0.5, 0, None, None, None, 0.0),
    ]
    assert ask(tmp_path, "volume_by_intent_per_period", "period=month") == [
        (date(2026, 9, 1), "WISMO", 5, 0.625, None, None, None, None, 0.0),
        (date(2026, 9, 1), "OTHER", 3, 0.375, None, None, None, None, 0.0),
    ]
    days = ask(tmp_path, "volume_by_intent_per_period", "period=day")
    assert len(days) == 21 * 2
    assert days[-2] == (date(2026, 9, 27), "OTHER", 2, 1.0, 0, None, None, None, 0.0)


def test_volume_by_hour_of_week(tmp_path):
    """Three tickets on Monday at 9, one on Sunday at 23: 168 rows, all others zero."""
    put(tmp_path, "r1", [
        *tickets("WISMO", 3, MONDAY.replace(hour=9, minute=59)),
        *tickets("OTHER", 1, MONDAY + timedelta(days=6, hours=23)),
    ])  # fmt: skip
    rows = ask(tmp_path, "volume_by_hour_of_week")
    assert len(rows) == 168
    assert [row for row in rows if row[3]] == [
        (1, "Monday", 9, 3, 0.75),
        (7, "Sunday", 23, 1, 0.25),
    ]
    assert [row for row in ask(tmp_path, "volume_by_hour_of_week", "intent=OTHER") if row[3]] == [
        (7, "Sunday", 23, 1, 1.0)
    ]


def test_first_contact_mix(tmp_path):
    """Of three customers two begin with WISMO; what they write later is apart; two tickets at once go by their place."""
    times = [MONDAY, MONDAY, MONDAY + timedelta(1), MONDAY - timedelta(1), MONDAY, MONDAY, None]
    rows = [
        (intent, 0.9, "ok", None, None)
        for intent in ("WISMO", "OTHER", "OTHER", "WISMO", "OTHER", "WISMO", "WISMO")
    ]
    put(
        tmp_path,
        "r1",
        rows,
        kept={"created_at": times, "customer": ["a", "b", "a", "c", "c", None, "d"]},
        by=(),
    )
    assert ask(tmp_path, "first_contact_mix", "customer_column=Customer") == [
        ("WISMO", 2, 0.6667, 0, 0.0, 2),
        ("OTHER", 1, 0.3333, 2, 1.0, 3),
    ]


def test_confidence_histogram(tmp_path):
    """0.70 is the first of its bin, 1.0 the last of the last; what was not labelled is left out."""
    rows = [("WISMO", c, "ok", None, None) for c in (0.7, 0.74, 0.95, 1.0)] + [
        ("WISMO", 0.9, "unsupported_language", None, None)
    ]
    put(
        tmp_path, "r1", [*rows, ("OTHER", 0.2, "ok", None, None), (None, None, "empty", None, None)]
    )
    assert ask(tmp_path, "confidence_histogram") == [
        ("OTHER", 0.2, 0.25, 1, 1.0),
        ("WISMO", 0.7, 0.75, 2, 0.5),
        ("WISMO", 0.95, 1.0, 2, 0.5),
    ]


def test_review_queue(tmp_path):
    """Least sure first, then the close ones; the sure and the unlabelled stay out; the margin can be set."""
    rows = [("WISMO", c, "ok", None, None) for c in (0.9, 0.6, 0.5, 0.72)] + [
        ("WISMO", 0.1, "error", None, None)
    ]
    put(
        tmp_path,
        "r1",
        rows,
        second_confidence=[0.05, 0.2, 0.3, 0.65, 0.0],
        second_intent=["OTHER"] * 5,
    )
    queue = [row[:3] + row[7:8] for row in ask(tmp_path, "review_queue")]
    assert queue == [("unsure", "2", 2, 0.2), ("unsure", "1", 1, 0.4), ("close", "3", 3, 0.07)]
    assert len(ask(tmp_path, "review_queue", "max_rows=1")) == 1
    assert [row[1] for row in ask(tmp_path, "review_queue", "margin=0.9")] == ["2", "1", "3", "0"]


def read_views(out):
    """Do what an analyst does: SET VARIABLE, .read sql/views.sql."""
    connection = duckdb.connect()
    connection.execute("SET VARIABLE out = ?", [str(out)])
    connection.execute((ROOT / "sql" / "views.sql").read_text(encoding="utf-8"))
    return connection


def test_a_run_that_is_committed_meanwhile(tmp_path):
    """What views.sql saw when it was read is what every query of that connection counts, until it is read again."""
    put(tmp_path, "r1", tickets("WISMO", 2, MONDAY))
    connection = read_views(tmp_path)
    put(tmp_path, "r2", tickets("OTHER", 3, MONDAY))
    counts = "SELECT run_id, count(*) FROM {} GROUP BY ALL ORDER BY ALL"
    for view in ("predictions", "latest_predictions"):
        assert connection.sql(counts.format(view)).fetchall() == [("r1", 2)]
    connection.execute("SET VARIABLE run_id = 'r2'")
    assert connection.sql(counts.format("predictions")).fetchall() == [("r2", 3)]
    again = read_views(tmp_path)
    assert again.sql(counts.format("predictions")).fetchall() == [("r1", 2), ("r2", 3)]
    assert again.sql(counts.format("latest_predictions")).fetchall() == [("r2", 3)]
    again.execute("SET VARIABLE out = ?", [str(tmp_path / "elsewhere")])
    with pytest.raises(duckdb.IOException, match="elsewhere"):
        again.sql("FROM predictions")


def test_multi_intent_pairs(tmp_path):
    """Two of three asks are WISMO with CANCEL_ORDER."""
    put(
        tmp_path, "r1", tickets("WISMO", 5, None), second_intent=["CANCEL_ORDER", "CANCEL_ORDER", "OTHER", "OTHER", "OTHER"],
        is_multi_intent=[True, True, True, False, None],
    )  # fmt: skip
    assert ask(tmp_path, "multi_intent_pairs") == [
        ("WISMO", "CANCEL_ORDER", 2, 0.6667),
        ("WISMO", "OTHER", 1, 0.3333),
    ]


def test_intent_drift(tmp_path):
    """8+2 tickets against 4+6: with 0.5 added to each, (q - p) ln(q / p) of 8.5/11 and 4.5/11, 2.5/11 and 6.5/11."""
    put(tmp_path, "r1", [
        *tickets("WISMO", 8, MONDAY), *tickets("OTHER", 2, MONDAY), *tickets("WISMO", 9, MONDAY - timedelta(days=90)),
        *tickets("WISMO", 4, MONDAY + timedelta(days=30)), *tickets("OTHER", 6, MONDAY + timedelta(days=50)),
    ])  # fmt: skip
    wismo = (4.5 / 11 - 8.5 / 11) * math.log(4.5 / 8.5)
    other = (6.5 / 11 - 2.5 / 11) * math.log(6.5 / 2.5)
    assert ask(tmp_path, "intent_drift") == [
        ("OTHER", 2, 6, 0.2, 0.6, round(other, 4), round(other + wismo, 4), "shifted"),
        ("WISMO", 8, 4, 0.8, 0.4, round(wismo, 4), round(other + wismo, 4), "shifted"),
    ]
    day = MONDAY.date().isoformat()
    same = [
        f"{name}={day}" for name in ("baseline_from", "baseline_to", "recent_from", "recent_to")
    ]
    assert [row[-2:] for row in ask(tmp_path, "intent_drift", *same)] == [(0.0, "stable")] * 2


def test_unusual_days(tmp_path):
    """Wednesdays of 4 over five weeks, then 11: 7 more than usual over the square root of 4. Another with 1 is usual enough."""
    rows = []
    for day in range(7 * 6 + 1):
        count = {37: 11, 30: 1, 42: 40}.get(day, 4)
        rows += tickets("WISMO", count, MONDAY + timedelta(days=day)) + tickets(
            "OTHER", 1, MONDAY + timedelta(days=day)
        )
    put(tmp_path, "r1", rows)
    wednesday, last = (MONDAY + timedelta(days=37)).date(), (MONDAY + timedelta(days=42)).date()
    found = [(last, "WISMO", 40, 4.0, 18.0, 6, None), (wednesday, "WISMO", 11, 4.0, 3.5, 5, None)]
    assert ask(tmp_path, "unusual_days") == found
    assert ask(tmp_path, "unusual_days", f"since={last}") == found[:1]
    few = ((MONDAY + timedelta(days=30)).date(), "WISMO", 1, 4.0, -1.5, 4, None)
    assert ask(tmp_path, "unusual_days", "min_z=1.5") == [*found, few]


def test_an_unusual_day_is_measured_by_its_weekday_and_by_how_far_days_scatter(tmp_path):
    """Busy Mondays are usual on Mondays. Days of 100 ± 20 have a spread of 1.4826 x 20, more than the root of 100."""
    rows = []
    for day in range(7 * 9):
        count = 300 if day % 7 == 0 else 100 + (20 if day // 7 % 2 else -20)
        rows += tickets("WISMO", 200 if day == 7 * 8 + 2 else count, MONDAY + timedelta(days=day))
    put(tmp_path, "r1", rows)
    (found,) = ask(tmp_path, "unusual_days", "since=2026-11-02", "min_z=3")
    assert found == (
        (MONDAY + timedelta(days=58)).date(),
        "WISMO",
        200,
        100.0,
        round(100 / (1.4826 * 20), 4),
        8,
        None,
    )


def test_days_and_periods_within_a_column(tmp_path):
    """A brand of 4 a day has one day of 12, and a month of its own; the other brand, and all together, stay as they are."""
    rows, brands = [], []
    for day in range(7 * 6 + 1):
        for brand, count in (("a", 12 if day == 37 else 4), ("b", 60)):
            rows += tickets("WISMO", count, MONDAY + timedelta(days=day))
            brands += [brand] * count
    kept = {"created_at": [row[4] for row in rows], "brand": brands}
    put(tmp_path, "r1", rows, kept=kept, by=("brand",))
    (found,) = ask(tmp_path, "unusual_days", "by_column=brand")
    assert found == ((MONDAY + timedelta(days=37)).date(), "WISMO", 12, 4.0, 4.0, 5, "a")
    assert ask(tmp_path, "unusual_days") == []
    periods = ask(tmp_path, "volume_by_intent_per_period", "by_column=brand", "period=month")
    assert [(row[0].month, row[2], row[-2]) for row in periods] == [
        (9, 96, "a"),
        (9, 24 * 60, "b"),
        (10, 84, "a"),
        (10, 19 * 60, "b"),
    ]


def test_days_without_tickets_are_missing_and_the_newest_may_be_unfinished(tmp_path):
    """A gap of a week neither is unusual nor makes the next one so; a last day of few tickets is not judged."""
    rows = []
    for day in range(7 * 7):
        if day // 7 != 4:
            rows += tickets("WISMO", 50 if day < 48 else 1, MONDAY + timedelta(days=day))
    put(tmp_path, "r1", rows)
    assert ask(tmp_path, "unusual_days") == []


def test_repeat_messages(tmp_path):
    """The same hash three times, most of them OTHER; twice is enough unless more is asked; empty ones are none."""
    rows = [
        *tickets("OTHER", 2, None),
        *tickets("WISMO", 4, None),
        (None, None, "empty", None, None),
        (None, None, "empty", None, None),
    ]
    put(
        tmp_path,
        "r1",
        rows,
        message_hash=["a", "a", "a", "b", "b", "c", "e", "e"],
        language=["en"] * 8,
    )
    assert ask(tmp_path, "repeat_messages") == [
        ("a", 3, "OTHER", "en", 0, 2),
        ("b", 2, "WISMO", "en", 3, 4),
    ]
    assert ask(tmp_path, "repeat_messages", "min_tickets=3") == [("a", 3, "OTHER", "en", 0, 2)]


def test_model_agreement(tmp_path):
    """Four tickets of both models, three agreed upon, one with another message and one of one model only left out."""
    first = ["WISMO", "WISMO", "OTHER", "OTHER", "OTHER", "OTHER"]
    second = ["WISMO", "WISMO", "OTHER", "WISMO", "WISMO"]
    for run_id, labels, hashes, day in (("r1", first, "abcdef", 1), ("r2", second, "abcdX", 2)):
        put(
            tmp_path, run_id, [(label, 0.9, "ok", None, None) for label in labels], message_hash=list(hashes),
            model=[f"model of {run_id}"] * len(labels), classified_at=[datetime(2026, 11, day)] * len(labels),
        )  # fmt: skip
    # By chance: WISMO 2/4 x 3/4 + OTHER 2/4 x 1/4 = 0.5; kappa (0.75 - 0.5) / (1 - 0.5).
    assert ask(tmp_path, "model_agreement") == [
        ("OTHER", "WISMO", 1, 0.25, 0.75, 0.5),
        ("WISMO", "WISMO", 2, 0.5, 0.75, 0.5),
        ("OTHER", "OTHER", 1, 0.25, 0.75, 0.5),
    ]
    turned = ask(tmp_path, "model_agreement", "model_a=model of r2", "model_b=model of r1")
    assert turned[0][:3] == ("WISMO", "OTHER", 1)


def test_renamed_labels_count_as_what_they_were(tmp_path):
    """Two parts of WISMO and its whole are the same; the list says which taxonomy each label is of, and what it was."""
    for run_id, labels in (("r1", ["WISMO", "WISMO", "OTHER"]), ("r2", ["LATE", "WHERE", "OTHER"])):
        rows = [(label, 0.9, "ok", None, None) for label in labels]
        put(
            tmp_path, run_id, rows, message_hash=list("abc"), model=[f"model of {run_id}"] * 3,
            classified_at=[datetime(2026, 11, int(run_id[1]))] * 3,
        )  # fmt: skip
    file = tmp_path / "runs" / "r2.json"
    was = {"LATE": "WISMO", "WHERE": "WISMO"}
    taxonomy = {
        "name": "mine",
        "sha256": "0",
        "extends": "nine_intents",
        "was": was,
        "other": "OTHER",
    }
    manifest = json.loads(file.read_text()) | {"model": "model of r2", "taxonomy": taxonomy}
    file.write_text(json.dumps(manifest))
    assert ask(tmp_path, "model_agreement") == [
        ("WISMO", "WISMO", 2, 0.6667, 1.0, 1.0),
        ("OTHER", "OTHER", 1, 0.3333, 1.0, 1.0),
    ]
    listed = {row[:4] for row in ask(tmp_path, "labels_by_taxonomy")}
    assert {("mine", "LATE", "WISMO", 1), ("model of r1", "WISMO", "WISMO", 2)} <= listed


def test_cost_per_run(tmp_path):
    """36 seconds at 0.10 USD an hour are 0.001 USD, over 4 tickets 0.25 for a thousand."""
    put(tmp_path, "r1", tickets("WISMO", 4, None))
    assert ask(tmp_path, "cost_per_run")[0][4:] == (4, 36.0, 10.0, 0.001, 0.25)
    assert ask(tmp_path, "cost_per_run", "hourly_price=1")[0][7] == 0.01


def test_of_several_runs_a_ticket_counts_once(tmp_path):
    """Unless every run is asked for, or one."""
    put(tmp_path, "r1", tickets("WISMO", 3, MONDAY))
    put(tmp_path, "r2", tickets("OTHER", 2, MONDAY))
    assert [row[:2] for row in ask(tmp_path, "volume_by_intent")] == [("OTHER", 2), ("WISMO", 1)]
    assert [row[:2] for row in ask(tmp_path, "volume_by_intent", every_run=True)] == [
        ("WISMO", 3),
        ("OTHER", 2),
    ]
    assert [row[:2] for row in ask(tmp_path, "volume_by_intent", run_id="r1")] == [("WISMO", 3)]


@pytest.mark.parametrize(("name", "sets", "run_id", "said"), [
    ("nope", [], None, "nope: expected a query or a .sql file, found neither"),
    ("volume_by_intent", ["a=b"], None, "--set a: expected a parameter of volume_by_intent, which has none"),
    ("review_queue", ["margin"], None, "--set margin: expected name=value"),
    ("review_queue", ["margin=x"], None, "review_queue: expected a query that runs, found: a value of a column or of --set"),
    ("first_contact_mix", [], None, "first_contact_mix: expected the column to look at, found no --set customer_column="),
    ("volume_by_intent", [], "r9", "expected a committed run r9, found 1 others"),
])  # fmt: skip
def test_a_wrong_question_is_answered_in_one_line(tmp_path, name, sets, run_id, said):
    """What was expected, what was found."""
    put(tmp_path, "r1", tickets("WISMO", 1, MONDAY))
    with pytest.raises((UsageError, RunStateError)) as raised:
        run_query(name, tmp_path, sets=sets, run_id=run_id)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_newest_run_has_a_name_of_its_own(tmp_path):
    """`latest` is the newest run, as it is for `verify` and `review`."""
    put(tmp_path, "r1", tickets("WISMO", 1, MONDAY))
    put(tmp_path, "r2", tickets("OTHER", 3, MONDAY))
    assert [
        row[:2] for row in run_query("volume_by_intent", tmp_path, run_id="latest").fetchall()
    ] == [("OTHER", 3)]


def test_kept_columns_may_have_the_names_of_a_query(tmp_path):
    """What a query calls a thing of its own is not mixed up with a kept column of that name."""
    kept = {name: [f"{name} {i}" for i in range(3)] for name in ("runs", "place", "short")}
    for run_id in ("r1", "r2"):
        put(
            tmp_path,
            run_id,
            tickets("WISMO", 3, MONDAY),
            kept={"created_at": [MONDAY] * 3, **kept},
            by=(),
        )
    assert [row[:2] for row in run_query("volume_by_intent", tmp_path).fetchall()] == [("WISMO", 3)]
    assert (
        sum(
            row[1]
            for row in run_query("repeat_messages", tmp_path, sets=["min_tickets=1"]).fetchall()
        )
        == 3
    )


def call(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `ecomintent-batch query` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ecomintent_batch", "query", *arguments],
        capture_output=True,
        check=False,
    )


def test_the_command_lists_and_prints_in_four_forms(tmp_path):
    """Names with what they are for; a table, CSV without formulas, JSON, Parquet; a file of one's own, with the views."""
    put(tmp_path, "r1", tickets("WISMO", 2, MONDAY, "=1+1"))
    listed = call().stdout.decode()
    assert [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")] == list(
        list_queries()
    )
    mine = tmp_path / "mine.sql"
    mine.write_text("SELECT channel, count(*) AS tickets FROM tickets GROUP BY ALL")
    arguments = (str(mine), "--out", str(tmp_path), "--format")
    assert call(*arguments, "table").stdout.decode().split() == ["channel", "tickets", "=1+1", "2"]
    assert list(csv.reader(io.StringIO(call(*arguments, "csv").stdout.decode()))) == [
        ["channel", "tickets"],
        ["'=1+1", "2"],
    ]
    assert json.loads(call(*arguments, "json").stdout) == [{"channel": "=1+1", "tickets": 2}]
    assert pl.read_parquet(io.BytesIO(call(*arguments, "parquet").stdout)).rows() == [("=1+1", 2)]
    wrong = call("nope", "--out", str(tmp_path))
    assert (wrong.returncode, wrong.stdout) == (2, b"")
