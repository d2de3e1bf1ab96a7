"""The page of a run in a real browser, and what it says, by numbers worked out by hand."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.committed_runs import describe, report, summarise, write_run
from support.planted_year import write_year
from support.tickets import write_tickets

from ecomintent_batch.analytics.report.charts import (
    COLOURS,
    colours_of,
    count_by_time,
    draw_trend,
    nice_limit,
)
from ecomintent_batch.analytics.report.page import show_usd
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.progress import Progress

_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_GROUNDS = ("#ffffff", "#14181d")  # of report.html, by day and by night
HOSTILE = "</script><script>document.title='owned'</script><img src=https://example.com/x.png onerror=alert(1)>"


def make_weeks(weeks: int, *, burst: int = 0) -> list[tuple[Any, ...]]:
    """Return rows of two WISMO and one OTHER a day from a Monday on, and a burst of WISMO on the last Wednesday."""
    rows = []
    for day in range(7 * weeks):
        time = datetime(2026, 9, 7, 9) + timedelta(days=day)
        wismo = 2 + (burst if day == 7 * weeks - 5 else 0)
        rows += [("WISMO", 0.9, "ok", "chat", time)] * wismo + [("OTHER", 0.9, "ok", "email", time)]
    return rows


def report_of(
    out: Path, run_id: str, rows: list[Any], *, first_id: int = 0, **settings: Any
) -> str:
    """Write a run with its summaries and its report, and return the page."""
    folder, manifest = write_run(out, run_id, rows, first_id=first_id)
    manifest = describe(folder, manifest, len(rows), **settings)
    return report(folder, manifest).read_text(encoding="utf-8")


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("ground", _GROUNDS)
@pytest.mark.parametrize("intent", COLOURS)
def test_each_colour_stands_out_by_day_and_by_night(intent, ground):
    """A contrast of 3 to 1, as WCAG wants of graphics."""
    high, low = sorted([luminance(COLOURS[intent]), luminance(ground)], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 3


def test_an_intent_has_one_colour_everywhere():
    """The nine have theirs whoever is beside them; no two share one; other labels get one too."""
    assert len(set(COLOURS.values())) == 9
    assert colours_of(["OTHER", "WISMO"]) == {"OTHER": COLOURS["OTHER"], "WISMO": COLOURS["WISMO"]}
    assert set(colours_of([f"label {i}" for i in range(30)]).values()) == set(COLOURS.values()) - {
        COLOURS["OTHER"]
    }


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0.0, "0.0000"), (0.0256, "0.0256"), (0.000036, "0.000036"), (8.4e-6, "0.0000084")],
)
def test_a_cost_far_below_a_cent_is_not_nothing(amount: float, shown: str) -> None:
    """A run on a CPU costs hundred-thousandths of a dollar for 1,000 tickets."""
    assert show_usd(amount) == shown


def test_the_page_says_what_was_counted(tmp_path):
    """Nine weeks of 2 WISMO and 1 OTHER a day, thirty more on the last Wednesday; 36 s at 0.50 USD an hour are 0.005 USD."""
    page = report_of(tmp_path, "r1", make_weeks(9, burst=30))
    assert "<dd>219</dd>" in page  # 9 weeks of 21, and 30
    assert "A thousand cost 0.0228 USD" in page  # 1000 / 219 of 0.005
    assert "<strong>7 September to 8 November 2026</strong>, shop.csv" in page
    assert "the previous run" not in page
    assert (
        "Wednesday 4 November 2026: 32 WISMO tickets, 16.0 times as many as usual (the 8 Wednesdays before had 2; z +21.2)"
        in page
    )
    assert page.count("<li>Wednesday") == 1
    assert "<li>WISMO 44 in the week of 2 November, usually 14." in page
    assert page.count('class="ring"') == 1
    assert "A ring marks an unusual day" in page
    assert "GPT-4o mini, zero-shot" in page


def test_the_page_compares_with_the_previous_run(tmp_path):
    """WISMO from 140 of 210 to 70 of 140 tickets is more than chance; of a tenth of them it is not, and is not told."""
    report_of(tmp_path, "r1", make_weeks(10))
    fewer = [row for i, row in enumerate(make_weeks(20)) if i % 3]
    page = report_of(tmp_path, "r2", fewer)
    assert "OTHER rose by 16.7 points, from 33.3 % to 50.0 % of the tickets (70 → 140)" in page
    assert "WISMO fell by 16.7 points, from 66.7 % to 50.0 % of the tickets (140 → 140)" in page
    assert "Against the previous run, r1 of 2026-11-02 04:00 UTC" in page
    report_of(tmp_path / "few", "r1", make_weeks(1))
    page = report_of(tmp_path / "few", "r2", fewer[:14])
    assert "no share moved by more than chance" in page


def test_noise_is_not_told_as_change(tmp_path):
    """Seven tickets where two are usual: no unusual day in words, no ring, and no word of one."""
    page = report_of(tmp_path, "r1", make_weeks(9, burst=5))
    assert "Unusual days" not in page
    assert "ring marks" not in page
    assert "nothing in it stands out" in page


def test_dates_far_off_do_not_stretch_the_charts(tmp_path):
    """One ticket of 1995 and one of 2027 among nine weeks: the charts are of the nine weeks, and say so."""
    odd = [("WISMO", 0.9, "ok", "chat", datetime(year, 10, 1)) for year in (1995, 2027)]
    page = report_of(tmp_path, "r1", [*make_weeks(9), *odd])
    assert "from 2026-09-07 to 2026-11-08" in page
    assert "2 tickets of far-off dates are not drawn" in page
    assert len(page) < 100_000


def per_day(*days: tuple[date, int]) -> pl.DataFrame:
    """Return volumes of one intent by day."""
    return pl.DataFrame(
        [(day, "WISMO", count) for day, count in days],
        schema={"day": pl.Date, "intent": pl.String, "tickets": pl.Int64},
        orient="row",
    )


@pytest.mark.parametrize(("days", "step", "points"), [
    (1, "day", 1), (200, "day", 200), (201, "week", 29), (1400, "week", 200), (1500, "month", 50), (7000, "year", 20),
])  # fmt: skip
def test_a_long_span_is_drawn_in_longer_steps(days, step, points):
    """At most 200 points; no ticket is lost."""
    first = date(2007, 1, 1)
    table = per_day(*((first + timedelta(days=day), 1) for day in range(days)))
    time = count_by_time(table)
    assert (time.step, len(time.starts)) == (step, points)
    assert sum(time.tickets["WISMO"]) == days
    assert (
        draw_trend(time.starts, time.tickets["WISMO"], "#000", [], "WISMO").count("<polyline") == 1
    )


@pytest.mark.parametrize(
    ("highest", "limit"), [(0, 1), (1, 1), (3, 3), (7, 8), (12, 15), (101, 150), (99_999, 100_000)]
)
def test_an_axis_ends_at_a_round_number(highest, limit):
    """At or just above the highest count."""
    assert nice_limit(highest) == limit


def test_an_intent_without_a_time_has_its_volume_and_no_line(tmp_path):
    """Tickets without a time count, and are not drawn."""
    rows = [*make_weeks(1), ("BILLING_DISPUTE", 0.9, "ok", "chat", None)]
    page = report_of(tmp_path, "r1", rows)
    assert "BILLING_DISPUTE" in page
    assert page.count("<figure><h3>") == 2


def test_what_counts_as_other_is_told_apart(tmp_path):
    """Sure, unsure with the nearest intent, foreign and empty tickets."""
    times = datetime(2026, 10, 1)
    rows = [
        *[("OTHER", 0.9, "ok", "chat", times)] * 4, *[("WISMO", 0.5, "ok", "chat", times)] * 3,
        *[("WISMO", 0.5, "unsupported_language", "chat", times)] * 2, (None, None, "empty", "chat", times),
    ]  # fmt: skip
    page = report_of(tmp_path, "r1", rows)
    found = re.findall(r'<tr class="part"><th[^>]*>([^<]*)</th>.*?<td>(?:<a[^>]*>)?(\d+)<', page)
    assert found == [
        ("something else, sure", "4"),
        ("no intent reached the threshold", "3"),
        ("in a language unknown to the model", "2"),
        ("without words", "1"),
    ]
    assert "nearest WISMO, 3" in page


def test_values_of_a_column_that_are_left_out_are_counted(tmp_path):
    """Thirty of forty channels, and a word about the ten others."""
    rows = [("WISMO", 0.9, "ok", f"c{i:02}", datetime(2026, 10, 1)) for i in range(40)]
    page = report_of(tmp_path, "r1", rows)
    assert (
        "The 30 most frequent of 40 values; the others have 10 tickets, and are in <code>volume_by_intent_by_channel.csv</code>"
        in page
    )


def test_an_incremental_run_is_judged_by_the_weeks_before_it(tmp_path):
    """A run that brings the ninth week only has its burst told against eight weeks of the run before it."""
    rows = make_weeks(9, burst=30)
    first = [row for row in rows if row[4] < datetime(2026, 11, 2)]
    report_of(tmp_path, "r1", first)
    new = [row for row in rows if row not in first]
    page = report_of(
        tmp_path, "r2", new, first_id=1000, incremental=True, alert=["any unusual > 4"]
    )
    assert (
        "32 WISMO tickets, 16.0 times as many as usual (the 8 Wednesdays before had 2; z +21.2)"
        in page
    )
    assert "WISMO unusual on 2026-11-04 (32 tickets, usually 2, z +21.2)" in page
    assert page.count('<th scope="row" class="text">2026-') >= 56


def test_other_columns_of_earlier_runs_do_not_spoil_the_page(tmp_path):
    """Where earlier runs cannot be read beside this one, its own days are all that is shown."""
    rows = make_weeks(1)
    folder, manifest = write_run(
        tmp_path, "r1", rows, kept={"created_at": [str(row[4]) for row in rows]}, by=()
    )
    summarise(folder, describe(folder, manifest, len(rows)))
    page = report_of(tmp_path, "r2", rows, incremental=True)
    assert "<dd>21" in page


def test_a_page_of_nothing_new_says_so(tmp_path):
    """An incremental run without a new ticket has a page without charts."""
    folder, manifest = write_run(tmp_path, "r1", make_weeks(1)[:0])
    manifest = describe(folder, manifest, 0)
    counts = manifest.counts.model_copy(update={"skipped": 21})
    manifest = manifest.model_copy(update={"parts": (), "counts": counts})
    page = report(folder, manifest).read_text(encoding="utf-8")
    assert "No ticket was new to this run: 21 had been labelled before" in page
    assert "<svg" not in page


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model) -> Any:
    """A whole job whose channels and texts try to break out of the page, with their text kept and alerts fired."""
    from ecomintent_batch.settings import RunSettings

    folder = tmp_path_factory.mktemp("report")
    source = write_tickets(folder / "tickets.csv", 240)
    source.write_text(
        source.read_text(encoding="utf-8")
        .replace("chat", f'"{HOSTILE}"')
        .replace("hello", f'"hello {HOSTILE}"')
    )
    settings = RunSettings(
        source=str(source), out=folder / "out", model=str(tiny_model), engine="stub", by=("channel",), keep_text=True,
        raw_text=True, alert=("any volume > 1", "WISMO share > 99%"),
    )  # fmt: skip
    return run_job(settings)


def test_the_job_writes_page_and_alerts(job):
    """Both are next to the summaries; two thousand pages are no burden."""
    page = job.folder.summaries / "report.html"
    assert 10_000 < page.stat().st_size < 100_000
    fired = json.loads((job.folder.summaries / "alerts.json").read_text())
    assert fired
    assert {alert["condition"] for alert in fired} == {"any volume > 1"}
    assert [alert.message for alert in job.summary.alerts] == [alert["message"] for alert in fired]
    assert "document.title" in page.read_text(encoding="utf-8")


def test_nothing_breaks_out_of_the_page(job):
    """Tags in channels and messages are text, in the tables and in the charts; there is no script at all."""
    page = (job.folder.summaries / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_ticket_text_stays_out_unless_it_is_kept(tmp_path, stub_settings):
    """Without --keep-text no word of a body is on the page."""
    source = write_tickets(tmp_path / "tickets.csv", 60)
    source.write_text(source.read_text().replace("hello", "zanzibar"))
    result = run_job(stub_settings(source, tmp_path / "out", threshold=1.0))
    page = (result.folder.summaries / "report.html").read_text(encoding="utf-8")
    assert "Worth a human look" in page
    assert "zanzibar" not in page


def test_a_report_that_fails_leaves_the_run_committed(tmp_path, stub_settings, monkeypatch):
    """The error is told, in one line with what to do; manifest and summaries are there."""
    told = []

    class RecordingProgress(Progress):
        def warn(self, text: str) -> None:
            told.append(text)

    def fail(*_: Any) -> None:
        raise RuntimeError("hello: the text of a ticket")

    monkeypatch.setattr("ecomintent_batch.analytics.report.write_report", fail)
    result = run_job(
        stub_settings(write_tickets(tmp_path / "tickets.csv", 30), tmp_path / "out"),
        RecordingProgress(),
    )
    assert result.folder.manifest.exists()
    assert (result.folder.summaries / "summary.md").exists()
    (line,) = told
    assert re.fullmatch(
        r".*report\.html: expected to write the report, found: unexpected RuntimeError in .*tries again",
        line,
    )
    assert "hello" not in line


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "apt-get install chromium, as .ci/run does"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.service
def test_the_page_in_a_browser(job, browser, tmp_path, width, scheme):
    """Every chart is drawn, nothing is said on the console, nothing is asked of the network, nothing is wider than the screen."""
    said: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    url = (job.folder.summaries / "report.html").as_uri()
    page.goto(url)
    assert page.locator("figure svg").count() >= 3
    for place in page.locator("figure svg").all():
        box = place.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert box["x"] + box["width"] <= width + 1
        assert box["height"] > 40
        assert place.locator("polyline, rect").count() > 0
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert said == []
    assert asked == [url]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "owned" not in page.title()
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.service
def test_the_page_can_be_used_by_everybody(job, browser, scheme):
    """axe-core finds nothing serious, with every table open; the keyboard opens one."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((job.folder.summaries / "report.html").as_uri())
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:120]) for one in found] == []
    context.close()


@pytest.mark.slow
@pytest.mark.service
def test_the_planted_year_in_the_first_screen_and_on_six_sheets(browser, tmp_path):
    """What happened is above the fold of a laptop; on paper nothing is wider than the sheet."""
    folder, manifest = write_year(tmp_path, 5)
    url = report(folder, manifest).as_uri()
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url)
    for text in (
        "Fjordwear: DAMAGED_ITEM 33 in the week of 8 June, usually 10.",
        "“scam” in 76 tickets, usually 4",
        "RETURN_REQUEST rose slowly",
    ):
        box = page.get_by_text(text).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 900
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 within its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    (sheets,) = re.findall(rb"/Count (\d+)", page.pdf(format="A4"))
    assert 1 < int(sheets) <= 6
    context.close()
