"""The review loop: which tickets go out, what comes back, and what is made of it."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.committed_runs import put
from support.tickets import write_tickets
from typer.testing import CliRunner

from ecomintent_batch.analytics.review import Score, export_review, import_review
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import RunStateError, SourceError, UsageError
from ecomintent_batch.pipeline import run_job

SIZES = {"control": 4, "disagreeing": 3, "drifting": 3, "uncertain": 3}
DAY = datetime(2026, 11, 2)


@pytest.fixture
def out(tmp_path, stub_settings) -> Path:
    """A run of 60 tickets that kept no text, of `tickets.csv` beside it; a third of the bodies begins like a formula."""
    source = write_tickets(tmp_path / "tickets.csv", 60)
    source.write_text(source.read_text().replace("refund", "=refund"))
    run_job(stub_settings(source, tmp_path / "out"))
    return tmp_path / "out"


def fill_in(sheet: Path, labels: dict[int, str] | str) -> pl.DataFrame:
    """Write labels into a sheet by its rows, or the same into all, as a person would in a spreadsheet."""
    rows = pl.read_csv(sheet, infer_schema=False)
    given = [labels if isinstance(labels, str) else labels.get(i, "") for i in range(len(rows))]
    rows = rows.with_columns(label=pl.Series(given))
    rows.write_csv(sheet)
    return rows


def test_the_slices_share_no_ticket_and_the_control_slice_is_random(tmp_path):
    """Two of ten tickets are told otherwise by another model, three are of an unusual day, the rest is by confidence."""
    rows = [("WISMO", 0.9 - i / 50, "ok", "chat", DAY.replace(day=2 + (i > 6))) for i in range(10)]
    other = [("OTHER" if i in (1, 2) else "WISMO", 0.9, "ok", "chat", DAY) for i in range(10)]
    for run_id, of_run, model in (("r1", other, "old"), ("r2", rows, "new")):
        put(tmp_path, run_id, of_run, message_hash=[str(i) for i in range(10)], model=[model] * 10)
    summaries = tmp_path / "summaries" / "run_id=r2"
    summaries.mkdir(parents=True)
    pl.DataFrame({"day": [DAY.replace(day=3).date()], "intent": ["WISMO"]}).write_parquet(
        summaries / "unusual_days.parquet"
    )
    drawn = set()
    for seed in range(20):
        sheet = export_review(
            tmp_path, tmp_path / f"{seed}.csv", sizes={**SIZES, "control": 1}, seed=seed
        )
        by_slice = {
            reason: set(group["row_number"]) for (reason,), group in sheet.group_by("reason")
        }
        (control,) = by_slice["control"]
        drawn.add(control)
        assert by_slice["disagreeing"] == {1, 2} - {control}
        assert by_slice["drifting"] == {7, 8, 9} - {control}
        assert by_slice["uncertain"] == set(sorted({0, 3, 4, 5, 6} - {control})[-3:])
        assert len(sheet) == len(set(sheet["row_number"]))
    assert len(drawn) > 5
    again = export_review(tmp_path, tmp_path / "again.csv", sizes={**SIZES, "control": 1}, seed=19)
    assert again.equals(sheet)


def test_messages_come_from_the_source_and_are_no_formulas(tmp_path, out):
    """Joined by row and id; guarded in the sheet; a row of another export gets none."""
    sheet = export_review(
        out,
        tmp_path / "review.csv",
        source=str(tmp_path / "tickets.csv"),
        sizes={**SIZES, "control": 40},
    )
    guarded = [text for text in sheet["message"] if "refund" in text]
    assert guarded
    assert all(text.startswith("'=refund") for text in guarded)
    assert set(sheet["label"]) == {""}
    with (tmp_path / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file))
    assert header[:4] == ["ticket_id", "message", "label", "top_intent"]
    shifted = (tmp_path / "tickets.csv").read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([shifted[0], *shifted[2:]]))
    assert set(
        export_review(out, tmp_path / "b.csv", source=str(tmp_path / "other.csv"), sizes=SIZES)[
            "message"
        ]
    ) == {""}
    assert set(export_review(out, tmp_path / "c.csv", sizes=SIZES)["message"]) == {""}


def test_messages_that_were_kept_need_no_source(tmp_path, stub_settings):
    """With --keep-text they are in the predictions."""
    run_job(
        stub_settings(write_tickets(tmp_path / "tickets.csv", 30), tmp_path / "out", keep_text=True)
    )
    sheet = export_review(tmp_path / "out", tmp_path / "review.csv", sizes=SIZES)
    assert all(sheet["message"])


def test_labels_come_back(tmp_path, out):
    """Accuracy of the control slice alone; labels are spelled as the model spells them; the rest is there to train on."""
    sheet = tmp_path / "review.csv"
    exported = export_review(
        out, sheet, source=str(tmp_path / "tickets.csv"), sizes={**SIZES, "control": 10}
    )
    said = exported["top_intent"].to_list()
    wrong = "ACCOUNT_ISSUE" if said[0] != "ACCOUNT_ISSUE" else "WISMO"
    fill_in(
        sheet, {i: wrong if i < 2 else intent.lower() for i, intent in enumerate(said) if i != 9}
    )
    review = import_review(out, sheet, tmp_path / "reviewed")
    control = review.slices["control"]
    expected = sum(wrong == said[i] for i in range(2)) + 7
    assert (control.tickets, control.right, review.unlabelled) == (9, expected, 1)
    assert sum(score.tickets for score in review.by_intent.values()) == 9
    assert review.slices["uncertain"].accuracy == 1
    labelled = pl.read_parquet(tmp_path / "reviewed" / "labelled.parquet")
    assert labelled.columns == ["text", "intent"]
    assert len(labelled) == review.labelled == review.slices["uncertain"].tickets
    assert set(labelled["intent"]) <= set(said)
    assert not any(text.startswith("'=") for text in labelled["text"])
    assert len(pl.read_parquet(tmp_path / "reviewed" / "control.parquet")) == 9


def test_a_sheet_of_excel_comes_back_too(tmp_path, out):
    """XLSX out and in; and CSV as European spreadsheets write it."""
    export_review(out, tmp_path / "review.xlsx", source=str(tmp_path / "tickets.csv"), sizes=SIZES)
    rows = pl.read_excel(tmp_path / "review.xlsx", infer_schema_length=0).with_columns(
        label=pl.lit("WISMO")
    )
    assert len(rows) >= 4
    rows.write_excel(tmp_path / "back.xlsx")
    rows.write_csv(tmp_path / "back.csv", separator=";", include_bom=True, line_terminator="\r\n")
    first, second = (
        import_review(out, tmp_path / name, tmp_path / "reviewed")
        for name in ("back.xlsx", "back.csv")
    )
    assert first.slices == second.slices
    assert first.by_intent["WISMO"].tickets == first.slices["control"].tickets == 4


@pytest.mark.parametrize(("right", "tickets", "lower", "upper"), [
    (8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (90, 100, 0.8256, 0.9448),
])  # fmt: skip
def test_the_interval_is_wilsons(right, tickets, lower, upper):
    """As tables of the Wilson score interval at 95 % have it."""
    assert Score(tickets, right).bounds == (
        pytest.approx(lower, abs=1e-4),
        pytest.approx(upper, abs=1e-4),
    )


@pytest.mark.parametrize(("change", "said"), [
    ({"label": "LATE"}, r"line \d+: expected an intent of the model in 'label' \(WISMO, .*\), found 'LATE'; correct it"),
    ({"label": "where is my order"}, "found another text; correct it"),
    ({"row_number": "9999"}, "expected a row_number of the run, found none of its labelled tickets"),
    ({"row_number": "x"}, "expected a row_number of the run"),
    ({"run_id": "r9"}, "expected a committed run r9"),
    ({"label": ""}, "expected labels in the column 'label', found none"),
])  # fmt: skip
def test_a_wrong_sheet_is_told_by_its_row(tmp_path, out, change, said):
    """One line, never the text of a ticket."""
    sheet = tmp_path / "review.csv"
    export_review(out, sheet, sizes=SIZES)
    rows = fill_in(sheet, "WISMO").with_columns(
        pl.lit(value).alias(name) for name, value in change.items()
    )
    rows.write_csv(sheet)
    with pytest.raises((SourceError, RunStateError), match=said) as raised:
        import_review(out, sheet, tmp_path / "reviewed")
    assert "where is my order" not in str(raised.value)
    assert not (tmp_path / "reviewed").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("x.txt", r"ends in \.csv or \.xlsx"), ("there.csv", "expected a new file")]
)
def test_no_sheet_is_overwritten(tmp_path, out, name, said):
    """It may hold an afternoon's work."""
    (tmp_path / "there.csv").write_text("labels")
    with pytest.raises(UsageError, match=said):
        export_review(out, tmp_path / name, sizes=SIZES)


def call(*arguments: Any) -> str:
    """Run `ecomintent-batch review`, and return what it prints."""
    done = CliRunner().invoke(app, ["review", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_commands_say_what_they_did(tmp_path, out):
    """How many of each slice; that the messages are missing; the accuracy with its interval."""
    sheet = tmp_path / "review.csv"
    exported = call("export", sheet, "--out", out, "--control", 10, "--uncertain", 5)
    assert "15 tickets to label (10 control, 5 uncertain)." in exported
    assert "give its source with --source" in exported
    fill_in(sheet, "OTHER")
    imported = call("import", sheet, "--out", out, "--into", tmp_path / "reviewed")
    assert "95 % interval" in imported
    assert "control.parquet" not in imported  # no messages, nothing to train on
    assert "accuracy.json" in imported
