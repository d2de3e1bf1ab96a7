"""The page of a run in a real browser, and what it says, by numbers worked out by hand."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.committed_runs import describe, report, summarise, write_run
from support.tickets import write_tickets

from ecomintent_batch.analytics.report.charts import COLOURS, bundle_script, colours_of
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
    """Write a run with its summaries and its report, and return the page without the charts' script."""
    folder, manifest = write_run(out, run_id, rows, first_id=first_id)
    manifest = describe(folder, manifest, len(rows), **settings)
    page = report(folder, manifest).read_text(encoding="utf-8")
    return page.replace(bundle_script(), "")


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
    """Nine weeks of 2 WISMO and 1 OTHER a day, six more on the last Wednesday; 36 s at 0.50 USD an hour are 0.005 USD."""
    page = report_of(tmp_path, "r1", make_weeks(9, burst=6))
    assert "<dd>195</dd>" in page  # 9 weeks of 21, and 6
    assert "<dd>0.0256<small>USD" in page  # 1000 / 195 of 0.005
    assert "This is the first run of this source" in page
    assert (
        "Wednesday 04 November 2026: 8 WISMO tickets, 4.0 times as many as usual (the 8 Wednesdays before had 2; z +4.2)"
        in page
    )
    assert page.count("<li>Wednesday") == 1
    assert "GPT-4o mini, zero-shot" in page


def test_the_page_compares_with_the_run_before(tmp_path):
    """WISMO from 14 of 21 to 7 of 14 tickets, OTHER from 7 of 21 to 7 of 14."""
    report_of(tmp_path, "r1", make_weeks(1))
    fewer = [row for i, row in enumerate(make_weeks(1)) if i % 3]
    page = report_of(tmp_path, "r2", fewer)
    assert "OTHER rose by +16.7 points, from 33.3 % to 50.0 % (7 → 7 tickets)" in page
    assert "WISMO fell by −16.7 points, from 66.7 % to 50.0 % (14 → 7 tickets)" in page
    assert "against run r1 of 2026-11-02 04:00 UTC" in page


def test_an_incremental_run_is_judged_by_the_weeks_before_it(tmp_path):
    """A run that brings the ninth week only has its burst told against eight weeks of the run before it."""
    rows = make_weeks(9, burst=6)
    first = [row for row in rows if row[4] < datetime(2026, 11, 2)]
    report_of(tmp_path, "r1", first)
    new = [row for row in rows if row not in first]
    page = report_of(
        tmp_path, "r2", new, first_id=1000, incremental=True, alert=["any unusual > 4"]
    )
    assert (
        "8 WISMO tickets, 4.0 times as many as usual (the 8 Wednesdays before had 2; z +4.2)"
        in page
    )
    assert "WISMO unusual on 2026-11-04 (8 tickets, usually 2, z +4.2)" in page
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
    assert "vega" not in page


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
    """Both stand beside the summaries; the page is under 3 MB."""
    page = job.folder.summaries / "report.html"
    assert 500_000 < page.stat().st_size < 3_000_000
    fired = json.loads((job.folder.summaries / "alerts.json").read_text())
    assert fired
    assert {alert["condition"] for alert in fired} == {"any volume > 1"}
    assert [alert.message for alert in job.summary.alerts] == [alert["message"] for alert in fired]
    assert "example.com" in page.read_text(encoding="utf-8")


def test_nothing_breaks_out_of_the_page(job):
    """Tags in channels and messages are text, in the tables and in the data of the charts."""
    page = (
        (job.folder.summaries / "report.html")
        .read_text(encoding="utf-8")
        .replace(bundle_script(), "")
    )
    assert "<img" not in page
    assert page.count("</script>") == 3
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
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    places = page.locator(".chart").count()
    assert page.locator(".chart svg").count() == places >= 4
    for place in page.locator(".chart svg").all():
        box = place.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert box["x"] + box["width"] <= width + 1
        assert box["height"] > 40
        assert place.locator("path").count() > 2
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert said == []
    assert asked == [url]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "owned" not in page.title()
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_used_by_everybody(job, browser, scheme):
    """axe-core finds nothing serious, with every table open; the keyboard opens one."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((job.folder.summaries / "report.html").as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:120]) for one in found] == []
    context.close()


@pytest.mark.slow
def test_the_page_prints_with_its_tables(job, browser, tmp_path):
    """Closed tables are open on paper."""
    context = browser.new_context()
    page = context.new_page()
    page.goto((job.folder.summaries / "report.html").as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf()) > 20_000
    context.close()
