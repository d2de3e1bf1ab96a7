"""The report of some days over all runs, what its numbers lead to, and what tickets cost."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from support.committed_runs import describe, put, write_run
from support.planted_year import write_year
from typer.testing import CliRunner

from ecomintent_batch.analytics.period import AskedDays, Days
from ecomintent_batch.analytics.queries import run_query
from ecomintent_batch.analytics.report import make_report_again
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import UsageError

KNOWN = Days(date(2026, 1, 5), date(2026, 11, 1))
FIRST = datetime(2026, 10, 1, 9)


@pytest.mark.parametrize(("asked", "days"), [
    ({"last": "7d"}, Days(date(2026, 10, 26), date(2026, 11, 1))),
    ({"last": "2 W"}, Days(date(2026, 10, 19), date(2026, 11, 1))),
    ({"first": "2026-10-01"}, Days(date(2026, 10, 1), date(2026, 11, 1))),
    ({"to": "2026-02-01"}, Days(date(2026, 1, 5), date(2026, 2, 1))),
    ({"first": "2026-02-01", "to": "2026-02-01"}, Days(date(2026, 2, 1), date(2026, 2, 1))),
])  # fmt: skip
def test_days_are_counted_back_from_the_newest_ticket(asked, days):
    """Both ends are included."""
    assert AskedDays(**asked).resolve(KNOWN) == days


@pytest.mark.parametrize(("asked", "said"), [
    ({"last": "7"}, "--last: expected days or weeks, such as 7d or 4w, found '7'"),
    ({"last": "0d"}, "--last: expected days or weeks"),
    ({"last": "7d", "first": "2026-01-01"}, "--last: expected no --from and --to with it"),
    ({"first": "1.11.2026"}, "--from: expected a day such as 2026-11-28, found '1.11.2026'"),
    ({"first": "2026-03-01", "to": "2026-02-01"}, "--from: expected a day up to 2026-02-01, found 2026-03-01"),
])  # fmt: skip
def test_days_that_are_none_are_told(asked, said):
    """In one line, with what is expected."""
    with pytest.raises(UsageError, match=re.escape(said)):
        AskedDays(**asked).resolve(KNOWN)


def rows_of(days: range, intent: str = "WISMO", a_day: int = 2) -> list[tuple]:
    """Return some sure tickets of one intent for each of some days from 1 October on."""
    return [
        (intent, 0.9, "ok", "chat", FIRST + timedelta(days=day))
        for day in days
        for _ in range(a_day)
    ]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three runs of dated exports that overlap by ten days, and an older one of another model."""
    folder, manifest = write_run(tmp_path, "r0", rows_of(range(5), "OTHER"), by=("channel",))
    describe(folder, manifest, 10).model_copy(update={"model": "old"}).write(folder.manifest)
    put(tmp_path, "r1", rows_of(range(20)))
    put(tmp_path, "r2", rows_of(range(10, 30), "DAMAGED_ITEM"), first_id=20)
    return tmp_path


def report(out: Path, *options: str) -> str:
    """Run `report`, and return the page that it names."""
    result = CliRunner().invoke(
        app, ["report", *options, "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return Path(result.output.strip().splitlines()[-1]).read_text(encoding="utf-8")


def test_a_report_of_days_counts_each_ticket_as_its_newest_run_has_it(out):
    """Of the 60 tickets of 30 days, the last 10 of the first export are labelled again by the second one."""
    page = report(out, "--from", "2026-10-01", "--to", "2026-10-30")
    assert "<strong>1 October to 30 October 2026</strong>, 2 runs of shop.csv" in page
    assert "<dd>60<small>2 a day</small>" in page
    assert re.search(r"WISMO</th>.*?>20</a></td>", page)
    assert "Left out, as another history: 1 run with the model old." in page
    assert (out / "reports" / "2026-10-01_2026-10-30" / "volume_by_intent.csv").exists()
    page = report(out, "--last", "5d")
    assert "<dd>10<small>2 a day</small>" in page
    assert "WISMO" not in page
    assert "Against the 5 days before, 2026-10-21 to 2026-10-25" in page


def test_a_report_of_days_without_tickets_says_which_there_are(out):
    """One line; nothing is written."""
    with pytest.raises(
        UsageError,
        match="expected tickets of 2026-12-01 to 2026-12-02, found those of 2026-10-01 to 2026-10-30",
    ):
        make_report_again(out, asked=AskedDays(first="2026-12-01", to="2026-12-02"))
    assert not (out / "reports").exists()


def test_the_findings_of_a_period_are_those_of_its_weeks(tmp_path):
    """June of the planted year has its damaged week, with the tickets that it counts; the newest week does not tell it."""
    write_year(tmp_path, 5)
    page = report(
        tmp_path, "--from", "2026-06-01", "--to", "2026-06-14", "--minutes-per-ticket", "6"
    )
    found = re.search(
        r'<li>Fjordwear: DAMAGED_ITEM 33 in the week of 8 June, usually 10\. <span class="dim">23 more, 2\.3 hours\.</span> '
        r'<a class="eg" href="#(e\d+)">([\d, ]+)</a></li>',
        page,
    )
    assert found
    ids = found[2].split(", ")
    assert 1 <= len(ids) <= 3
    rows = page[page.index(f'<tr id="{found[1]}">') :].split("</tr>")[1 : 1 + len(ids)]
    assert [re.search(r'id">(\d+)<', row)[1] for row in rows] == ids
    assert all("it arrived broken" in row or "the zip was torn" in row for row in rows)
    assert "scam" not in page


def test_hours_and_money_are_those_of_the_volumes(out):
    """Sixty tickets of six minutes and four fifty: 6 hours and 270, on the page and in the query."""
    page = report(
        out, "--from", "2026-10-01", "--minutes-per-ticket", "6", "--cost-per-ticket", "4.5"
    )
    assert "<dt>Hours</dt><dd>6.0<small>at 6 minutes a ticket</small>" in page
    assert "<dt>Cost</dt><dd>270<small>at 4.5 a ticket</small>" in page
    assert re.search(r"WISMO</th>.*?>20</a></td><td>33.3 %</td><td>2.0</td><td>90.0</td>", page)
    rows = run_query("handling_time", out, sets=["minutes_per_ticket=6"], run_id="r2").fetchall()
    assert rows == [("DAMAGED_ITEM", 40, 1.0, 4.0, None)]
    folder, manifest = write_run(out, "r3", rows_of(range(3)))
    describe(folder, manifest, 6, cost_per_ticket=2.0)
    assert run_query("handling_time", out, run_id="r3").fetchall() == [
        ("WISMO", 6, 1.0, None, 12.0)
    ]


def test_typical_tickets_are_the_middling_ones_each_message_once(tmp_path):
    """Of nine tickets, two with one message, those nearest to the middle confidence come first."""
    rows = [("WISMO", 0.71 + i / 50, "ok", "chat", FIRST) for i in range(9)]
    folder, manifest = write_run(
        tmp_path, rows=rows, message_hash=[str(i // 2) for i in range(9)], n_tokens=[9] * 9
    )
    describe(folder, manifest, 9)
    found = run_query("typical_tickets", tmp_path, sets=["intent=wismo"]).pl()
    assert found["row_number"][0] == 4
    assert sorted(found["row_number"]) == [2, 4, 6]
    assert "message" not in found.columns
    sets = ["by_column=channel", "value=email"]
    assert run_query("typical_tickets", tmp_path, sets=sets).fetchall() == []
    page = report(tmp_path)
    (listed,) = re.findall(
        r'<tr id="e0"><th[^>]*>WISMO</th><td class="text">4, (\d), (\d)</td>', page
    )
    assert set(listed) == {"3", "6"}


def test_the_share_of_sure_tickets_is_told_by_language_and_intent(tmp_path):
    """Two of three English tickets, none of two German ones; those without words are left out."""
    rows = [
        ("WISMO", 0.9, "ok", "chat", FIRST), ("WISMO", 0.9, "ok", "chat", FIRST), ("OTHER", 0.5, "ok", "chat", FIRST),
        ("WISMO", 0.9, "unsupported_language", "chat", FIRST), ("WISMO", 0.9, "unsupported_language", "chat", FIRST),
        (None, None, "empty", "chat", FIRST),
    ]  # fmt: skip
    folder, manifest = write_run(tmp_path, rows=rows, language=["en"] * 3 + ["de"] * 2 + [None])
    describe(folder, manifest, 6)
    assert run_query("sure_by_language", tmp_path).fetchall() == [
        ("en", None, 3, 2, 2 / 3), ("en", "WISMO", 2, 2, 1.0), ("en", "OTHER", 1, 0, 0.0),
        ("de", None, 2, 0, 0.0), ("de", "WISMO", 2, 0, 0.0),
    ]  # fmt: skip
    page = report(tmp_path)
    assert re.search(r">en</th><td>3</td><td>66.7 %</td>", page)
    assert re.search(r">de</th><td>2</td><td>0.0 %</td>", page)
