"""What changed, in words: the planted year, one run or many, and years without events."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from support.committed_runs import describe, write_run
from support.planted_year import DAMAGED_WEEK, DAYS, write_year

from ecomintent_batch.analytics.findings import describe_finding, describe_findings, list_new
from ecomintent_batch.analytics.history import FINDINGS, PHRASES
from ecomintent_batch.analytics.summaries import Summary, summarise_run
from ecomintent_batch.runs.store import LocalRuns

SEED = 5


def summary_of(out, manifest) -> Summary:
    """Summarise a run of a local folder."""
    return summarise_run(LocalRuns(out), manifest)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, pl.DataFrame]:
    """The tables of one run over the whole planted year."""
    out = tmp_path_factory.mktemp("year")
    _, manifest = write_year(out, SEED)
    return summary_of(out, manifest).tables


@pytest.fixture(scope="module")
def year(tables) -> pl.DataFrame:
    """Its findings."""
    return tables[FINDINGS]


def test_a_topic_that_nobody_had_is_found_by_its_words(tables):
    """84 tickets ask whether this is a scam, most of them in the newest four weeks; common words did not rise."""
    (said,) = describe_findings(tables[FINDINGS], tables[PHRASES]).words
    assert "“scam” in 76 tickets, usually 4, most of them PRODUCT_QUESTION" in said
    assert "this" not in tables[PHRASES]["phrase"]


def test_phrases_hold_no_name_number_or_address_and_need_kept_text(tmp_path):
    """Five tickets of four hold a phrase; what is no common word is not shown; without messages there is no table."""
    old = [
        ("OTHER", 0.9, "ok", "chat", datetime(2026, 8, 1) + timedelta(days=day))
        for day in range(60)
    ]
    new = [("OTHER", 0.9, "ok", "chat", datetime(2026, 10, 1))] * 30
    secret = ["the coupon of zbigniew kowalczyk, zk@example.com, 0171 5551234 fails"] * 26 + [
        "voucher"
    ] * 4
    folder, manifest = write_run(
        tmp_path, rows=old + new, by=(), message=["where is my order"] * len(old) + secret
    )
    table = summary_of(tmp_path, describe(folder, manifest, 90, keep_text=True)).tables[PHRASES]
    assert "coupon" in table["phrase"]
    text = " ".join(table["phrase"])
    assert not re.search(r"zbig|kowal|example|\d|voucher", text)
    assert (
        PHRASES not in summary_of(tmp_path, describe(folder, manifest, 90, keep_text=False)).tables
    )


def test_the_damaged_week_and_the_creeping_returns_are_found_in_words(year):
    """The brand, its intent and its week; the share at both ends; few other sentences."""
    changes = describe_findings(year)
    assert changes.newest[0].startswith("The newest full week, of 26 October 2026, has ")
    assert any(
        text == "Fjordwear: DAMAGED_ITEM 33 in the week of 8 June, usually 10."
        for text in changes.earlier
    )
    assert any(text.startswith("RETURN_REQUEST rose slowly, from 8.") for text in changes.drifts)
    assert len(changes.sentences) <= 9


def test_a_finding_within_a_brand_has_its_numbers(year):
    """The count of the week, the median of eight, and a score beyond the bound."""
    row = year.filter(period=DAMAGED_WEEK, value="Fjordwear", intent="DAMAGED_ITEM").row(
        0, named=True
    )
    assert (row["kind"], row["by_column"], row["measure"], row["periods"]) == (
        "week",
        "brand",
        "tickets",
        8,
    )
    assert row["found"] > 2.5 * row["usual"]
    assert row["score"] >= row["bound"] > 3
    assert row["is_finding"]


@pytest.mark.slow
def test_years_without_events_have_at_most_one_false_finding_a_month(tmp_path):
    """Three years here; ten were measured for docs/, with weeks that are busier than others."""
    found = 0
    for seed in (101, 102, 103):
        _, manifest = write_year(tmp_path / str(seed), seed, events=False)
        found += summary_of(tmp_path / str(seed), manifest).tables[FINDINGS]["is_finding"].sum()
    assert found <= 3 * 12


def test_many_runs_are_one_history(tmp_path):
    """The year in three exports of other names, the last one of a week: it finds what happened in its week only."""
    monday = (DAMAGED_WEEK - date(2025, 11, 3)).days
    spans = [range(100), range(100, monday), range(monday, monday + 8)]
    for number, days in enumerate(spans):
        folder, manifest = write_year(tmp_path, SEED, run_id=f"r{number}", days=days)
        manifest = manifest.model_copy(update={"source": f"tickets_{number}.csv"})
        manifest.write(folder.manifest)
        summary = summary_of(tmp_path, manifest)
    changes = describe_findings(summary.tables[FINDINGS])
    assert any(text.startswith("Fjordwear: DAMAGED_ITEM 3") for text in changes.newest)
    assert changes.earlier == ()
    (newest, *_) = changes.newest
    assert newest.startswith("The newest full week, of 8 June 2026, has ")


def test_another_model_is_another_history(tmp_path):
    """A week labelled by another model is not compared with the weeks of the first one."""
    write_year(tmp_path, SEED, run_id="r0", days=range(200))
    _, manifest = write_year(tmp_path, SEED, run_id="r1", days=range(196, 210))
    other = manifest.model_copy(update={"model": "another"})
    table = summary_of(tmp_path, other).tables[FINDINGS]
    assert (
        "Too few weeks to judge: there is 1 full week before it"
        in describe_findings(table).newest[0]
    )


def make_weeks(counts: list[int]) -> list[tuple]:
    """Return rows of so many WISMO tickets in each week, spread over its days, and ten OTHER a day."""
    rows = []
    for week, count in enumerate(counts):
        monday = datetime(2026, 8, 31, 9) + timedelta(weeks=week)
        rows += [("WISMO", 0.9, "ok", "chat", monday + timedelta(days=i % 7)) for i in range(count)]
        rows += [("OTHER", 0.9, "ok", "chat", monday + timedelta(days=i % 7)) for i in range(70)]
    return rows


@pytest.mark.parametrize(("counts", "said"), [
    ([20], "Too few weeks to judge: there are 0 full weeks before it, and 4 are needed."),
    ([20, 21, 19, 20], "there are 3 full weeks before it"),
    ([20, 21, 19, 20, 22], "nothing in it stands out"),
    ([20, 21, 19, 20, 60], "WISMO 60 in the week of 28 September, usually 20."),
    ([20, 21, 19, 20, 20, 20, 0], "WISMO 0 in the week of 12 October, usually 20."),
])  # fmt: skip
def test_weeks_by_hand(tmp_path, counts, said):
    """Fewer than four weeks before: no judgement; three times as many, or none at all: a finding."""
    folder, manifest = write_run(tmp_path, rows=make_weeks(counts))
    manifest = describe(folder, manifest, sum(counts) + 70 * len(counts))
    assert said in " ".join(
        describe_findings(summary_of(tmp_path, manifest).tables[FINDINGS]).newest
    )


def test_a_week_that_is_busy_everywhere_is_one_finding(tmp_path):
    """Three times as many of each intent: all tickets are told, and no intent."""
    rows = make_weeks([70] * 8) + [
        row for _ in range(3) for row in make_weeks([70] * 9) if row[4] >= datetime(2026, 10, 26)
    ]
    folder, manifest = write_run(tmp_path, rows=rows, by=())
    table = summary_of(tmp_path, describe(folder, manifest, len(rows), by=[])).tables[FINDINGS]
    assert [row["intent"] for row in table.filter("is_finding").to_dicts()] == [None]
    assert (
        describe_findings(table).newest[1] == "420 tickets in the week of 26 October, usually 140."
    )


def test_a_week_that_is_not_over_and_a_year_mistyped_are_not_judged(tmp_path):
    """A Monday of few tickets is no fall; one ticket of 2062 makes no newest week."""
    classified = datetime(2026, 10, 20)
    rows = [*make_weeks([20] * 7), ("WISMO", 0.9, "ok", "chat", datetime(2062, 1, 2))]
    rows = [row for row in rows if row[4] < datetime(2026, 10, 13) or row[4].year == 2062]
    folder, manifest = write_run(tmp_path, rows=rows, classified_at=[classified] * len(rows))
    table = summary_of(tmp_path, describe(folder, manifest, len(rows))).tables[FINDINGS]
    assert table.filter(kind="week")["period"].to_list() == [date(2026, 10, 5)]
    assert not table["is_finding"].any()


def test_columns_may_be_called_like_those_of_the_query(tmp_path):
    """`day`, `value` and `tickets` are usual names; a column of numbers has its name told."""
    rows = make_weeks([20, 20, 20, 20, 60])
    kept = {"created_at": [row[4] for row in rows]} | {
        name: ["7"] * len(rows) for name in ("day", "value", "Tickets")
    }
    folder, manifest = write_run(tmp_path, rows=rows, kept=kept, by=("day", "value", "Tickets"))
    manifest = describe(folder, manifest, len(rows), by=["day", "value", "Tickets"])
    table = summary_of(tmp_path, manifest).tables[FINDINGS]
    found = table.filter("is_finding", pl.col("by_column") == "Tickets").row(0, named=True)
    assert (
        describe_finding(found, 2026)
        == "Tickets 7: WISMO 60 in the week of 28 September, usually 20."
    )


def test_the_words_of_a_share_and_of_a_drift():
    """Per cent and points, no double negative."""
    row = {
        "kind": "week", "measure": "unsure_share", "found": 0.31, "usual": 0.123, "intent": None, "by_column": "brand",
        "value": "Fjordwear", "period": date(2026, 6, 8), "period_end": date(2026, 6, 14), "low": None, "high": None,
    }  # fmt: skip
    assert (
        describe_finding(row)
        == "Fjordwear: 31 % of the tickets unsure in the week of 8 June 2026, usually 12 %."
    )
    row |= {
        "kind": "drift",
        "measure": "share",
        "intent": "WISMO",
        "found": 0.2,
        "usual": 0.3,
        "low": -0.13,
        "high": -0.07,
        "value": None,
    }
    assert describe_finding(row) == (
        "WISMO fell slowly, from 30 % to 20 % of the tickets between 8 June 2026 and 14 June 2026 (by 7.0 to 13.0 points)."
    )


def test_an_alert_hears_of_a_finding_once(year):
    """Only while the newest full week is new: not of earlier weeks, and not again the day after."""
    of_week = year.filter(kind="week", is_finding=False)["period_end"].max()
    assert {row["kind"] for row in list_new(year, None)} <= {"drift", "week", "month"}
    assert all(row["period"] != DAMAGED_WEEK for row in list_new(year, None))
    assert list_new(year, of_week + timedelta(days=1)) == []
    assert DAYS == 364
