"""Volume tables, numbers worked out by hand, and pages that nobody's ticket can break out of."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime

import polars as pl
import pytest
from support.committed_runs import ROWS, summarise, write_run

from ecomintent_batch.analytics.summaries import neutralise_formulas
from ecomintent_batch.analytics.views import open_views
from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.store import LocalRuns


def test_the_volumes_are_those_counted_by_hand(tmp_path):
    """By intent, by day, by channel: unsure, empty and failed tickets count as OTHER."""
    tables = summarise(*write_run(tmp_path)).tables
    assert list(tables) == [
        "volume_by_intent", "volume_by_intent_per_day", "volume_by_intent_by_channel", "unsupported_languages", "unusual_days",
        "findings",
    ]  # fmt: skip
    overall = tables["volume_by_intent"].with_columns(pl.col("mean_confidence").round(3))
    assert overall.rows() == [
        ("OTHER", 4, 0.5, 1, 1, 0.6, 0),
        ("WISMO", 3, 0.375, 4, 1, 0.7, 0),
        ("BILLING_DISPUTE", 1, 0.125, 1, 0, 0.9, 0),
    ]
    per_day = tables["volume_by_intent_per_day"]
    assert per_day.rows() == [
        (date(2026, 10, 1), "WISMO", 2, 1.0),
        (date(2026, 10, 2), "OTHER", 3, 0.6),
        (date(2026, 10, 2), "BILLING_DISPUTE", 1, 0.2),
        (date(2026, 10, 2), "WISMO", 1, 0.2),
        (None, "OTHER", 1, 1.0),
    ]
    by_channel = tables["volume_by_intent_by_channel"]
    assert by_channel.rows() == [
        ("chat", "OTHER", 3, 0.6, 2),
        ("chat", "WISMO", 2, 0.4, 0),
        ("email", "OTHER", 1, 0.5, 0),
        ("email", "WISMO", 1, 0.5, 0),
        (None, "BILLING_DISPUTE", 1, 1.0, 0),
    ]
    for name, table in tables.items():
        assert table["tickets"].sum() == (len(ROWS) if name.startswith("volume") else 0)


def test_tables_are_written_as_parquet_and_csv(tmp_path):
    """Both hold the table; there is a page; nothing else, and no half-written folder."""
    folder, manifest = write_run(tmp_path)
    summary = summarise(folder, manifest)
    expected = {f"{name}.{ending}" for name in summary.tables for ending in ("parquet", "csv")} | {
        "summary.md"
    }
    assert {path.name for path in folder.summaries.iterdir()} == expected
    assert [path.name for path in folder.summaries.parent.iterdir()] == [folder.summaries.name]
    for name, table in summary.tables.items():
        assert pl.read_parquet(folder.summaries / f"{name}.parquet").equals(table)
        with (folder.summaries / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            assert [
                list(table.columns),
                *([str(v) if v is not None else "" for v in row] for row in table.rows()),
            ] == list(csv.reader(file))
    assert (folder.summaries / "summary.md").read_text(encoding="utf-8") == summary.markdown
    assert summarise(folder, manifest).markdown == summary.markdown


def test_without_a_time_column_there_is_no_daily_table(tmp_path):
    """No time, no days; no --by, no breakdown."""
    folder, manifest = write_run(tmp_path, kept={"channel": ["a"] * len(ROWS)}, by=(), time=None)
    assert list(summarise(folder, manifest).tables) == [
        "volume_by_intent",
        "unsupported_languages",
    ]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland"])
def test_days_do_not_depend_on_the_machine(tmp_path, monkeypatch, zone):
    """Times with a zone count by the day in UTC, wherever the job runs."""
    monkeypatch.setenv("TZ", zone)
    times = [datetime(2026, 10, 1, 23, 30, tzinfo=UTC)] * len(ROWS)
    table = summarise(*write_run(tmp_path, kept={"created_at": times}, by=())).tables[
        "volume_by_intent_per_day"
    ]
    assert table["day"].unique().to_list() == [date(2026, 10, 1)]


def test_other_runs_in_the_same_out_do_not_matter(tmp_path):
    """An older run whose columns have other types, or names in another case, changes nothing and breaks nothing."""
    write_run(
        tmp_path,
        "r0",
        kept={"Channel": [{"id": 1}] * len(ROWS), "created_at": ["soon"] * len(ROWS)},
    )
    tables = summarise(*write_run(tmp_path, "r1")).tables
    assert tables["volume_by_intent"]["tickets"].sum() == len(ROWS)
    assert tables["volume_by_intent_by_channel"]["value"].unique().sort(
        nulls_last=True
    ).to_list() == ["chat", "email", None]


@pytest.mark.parametrize("name", ["out [1]", "what?", "a*b", "it's", "100%"])
def test_any_name_will_do_for_out(tmp_path, name):
    """Brackets and stars in the path of OUT are no glob, quotes no SQL."""
    write_run(tmp_path / "out 1", "r1")
    assert (
        summarise(*write_run(tmp_path / name, "r1", ROWS[:3]))
        .tables["volume_by_intent"]["tickets"]
        .sum()
        == 3
    )


def test_columns_that_clean_up_alike_get_a_table_each(tmp_path):
    """`Brand name` and `brand_name` do not overwrite each other."""
    kept = {
        "Brand name": ["a"] * len(ROWS),
        "brand_name": ["b"] * len(ROWS),
        "???": ["c"] * len(ROWS),
    }
    tables = summarise(*write_run(tmp_path, kept=kept, by=tuple(kept), time=None)).tables
    assert [table["value"][0] for name, table in tables.items() if "_by_intent_by_" in name] == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(("value", "written"), [
    ("=1+1", "'=1+1"), ("+44 20", "'+44 20"), ("-5", "'-5"), ("@sum(A1)", "'@sum(A1)"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"),
    ("plain", "plain"), ("a=b", "a=b"), (None, None), ("", ""),
])  # fmt: skip
def test_a_formula_is_text_in_the_csv(value, written):
    """What a spreadsheet would run gets an apostrophe; numbers stay numbers."""
    table = neutralise_formulas(
        pl.DataFrame(
            {"value": [value], "tickets": [-5]}, schema={"value": pl.String, "tickets": pl.Int64}
        )
    )
    assert table.rows() == [(written, -5)]


def test_the_csv_of_a_run_is_neutralised_and_its_parquet_is_not(tmp_path):
    """Spreadsheets get guarded text, programs the text as it is."""
    folder, manifest = write_run(
        tmp_path, kept={"channel": ["=HYPERLINK(1)"] * len(ROWS)}, time=None
    )
    summarise(folder, manifest)
    assert (
        ",'=HYPERLINK"
        in "," + (folder.summaries / "volume_by_intent_by_channel.csv").read_text().splitlines()[1]
    )
    assert (
        pl.read_parquet(folder.summaries / "volume_by_intent_by_channel.parquet")["value"][0]
        == "=HYPERLINK(1)"
    )


def test_markdown_cells_cannot_break_out(tmp_path):
    """Pipes, tags, links and line breaks of a channel's name stay inside their cell."""
    hostile = "a|b\n# c <img src=x> [l](u) `d` *e*" + "x" * 100
    markdown = summarise(
        *write_run(tmp_path, kept={"channel": [hostile] * len(ROWS)}, time=None)
    ).markdown
    (line,) = [line for line in markdown.splitlines() if "WISMO" in line and line.startswith("| a")]
    assert line.startswith(r"| a\|b # c \<img src=x\> \[l\](u) \`d\` \*e\*xxx")
    assert line.count("|") - line.count(r"\|") == 5
    assert len(line) < 130


def test_a_long_breakdown_says_that_it_was_cut(tmp_path):
    """The page shows 200 rows, names the CSV with the rest, and gives the span of days."""
    rows = [("WISMO", 0.9, "ok", str(i), datetime(2026, 10, 1 + i % 3)) for i in range(250)]
    folder, manifest = write_run(tmp_path, rows=rows)
    markdown = summarise(folder, manifest).markdown
    assert "The first 200 of 250 rows; all are in `volume_by_intent_by_channel.csv`." in markdown
    assert "(2026-10-01 to 2026-10-03, 3 days)" in markdown


def test_two_asks_and_other_languages_are_told(tmp_path):
    """A second ask counts in a column of its own, where the ticket was labelled; languages are listed."""
    rows = [("WISMO", 0.9, "ok", "chat", None)] * 3 + [
        ("WISMO", 0.9, "unsupported_language", "chat", None)
    ] * 2
    folder, manifest = write_run(
        tmp_path, rows=rows, second_intent=["OTHER", "CANCEL_ORDER", "CANCEL_ORDER", "OTHER", "OTHER"],
        is_multi_intent=[False, True, True, True, False], language=["en", "en", None, "de", "fr"], time=None,
    )  # fmt: skip
    summary = summarise(folder, manifest)
    assert summary.tables["volume_by_intent"].select("intent", "as_second").rows() == [
        ("WISMO", 0),
        ("CANCEL_ORDER", 2),
    ]
    assert summary.tables["unsupported_languages"].rows() == [("de", 1, 0.2), ("fr", 1, 0.2)]
    assert "2 tickets have two asks: each counts once" in summary.markdown
    assert (
        "2 tickets are in languages unknown to the model (de 1, fr 1); they count as OTHER."
        in summary.markdown
    )


def test_an_out_without_runs_is_an_error_of_one_line(tmp_path):
    """Nothing committed yet: an OutputError, no SQL."""
    with pytest.raises(OutputError, match="expected committed runs, found none"):
        open_views(LocalRuns(tmp_path), [])
