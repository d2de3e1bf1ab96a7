"""The review loop: which tickets go out, what comes back, and what is made of it."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from support.committed_runs import ROWS, put
from support.tickets import NINE, write_tickets
from typer.testing import CliRunner

from ecomintent_batch.analytics.review import export_review, import_review
from ecomintent_batch.analytics.score import Score
from ecomintent_batch.analytics.views import open_views
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import RunStateError, SourceError, UsageError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.store import open_store

SIZES = {"control": 4, "disagreeing": 3, "drifting": 3, "uncertain": 3}
DAY = datetime(2026, 11, 2)


@pytest.fixture
def out(tmp_path, stub_settings) -> Path:
    """A run of 60 tickets that kept no text, of `tickets.csv` next to it; a third of the bodies begins like a formula."""
    source = write_tickets(tmp_path / "tickets.csv", 60)
    source.write_text(source.read_text().replace("refund", "=refund"))
    run_job(stub_settings(source, tmp_path / "out"))
    return tmp_path / "out"


def open_all(out: Path, **variables: str) -> duckdb.DuckDBPyConnection:
    """Return the views over all runs of OUT."""
    store = open_store(out)
    return open_views(store, store.manifests(), variables)


def fill_in(sheet: Path, labels: dict[int, str] | str) -> pl.DataFrame:
    """Write labels into a sheet by its rows, or the same into all, as a person would in a spreadsheet."""
    rows = pl.read_csv(sheet, infer_schema=False)
    given = [labels if isinstance(labels, str) else labels.get(i, "") for i in range(len(rows))]
    rows = rows.with_columns(label=pl.Series(given))
    rows.write_csv(sheet)
    return rows


def test_the_slices_share_no_ticket_and_the_control_slice_is_random(tmp_path):
    """Another model labels two of ten tickets differently, three are of an unusual day, the rest goes by confidence."""
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
    """Accuracy of the control slice alone; labels are spelled as the model spells them; the rest is to train on."""
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
    assert labelled.columns[:2] == ["text", "intent"]
    assert len(labelled) == review.to_train_on["labelled"] == review.slices["uncertain"].tickets
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


@pytest.mark.parametrize("separator", [",", ".", "\u202f"])
def test_row_numbers_as_excel_shows_them_come_back(tmp_path, stub_settings, separator):
    """A CSV that Excel saves holds what it shows: 1,150 in English, 1.150 in German."""
    out = tmp_path / "out"
    run_job(stub_settings(write_tickets(tmp_path / "tickets.csv", 1_200), out))
    export_review(out, tmp_path / "review.csv", sizes={**SIZES, "control": 100})
    rows = fill_in(tmp_path / "review.csv", "WISMO")
    shown = [f"{int(number):,}".replace(",", separator) for number in rows["row_number"]]
    assert any(separator in number for number in shown)
    rows.with_columns(row_number=pl.Series(shown)).write_csv(tmp_path / "excel.csv")
    score = import_review(out, tmp_path / "excel.csv", tmp_path / "reviewed")
    assert sum(part.tickets for part in score.slices.values()) == len(rows)


@pytest.mark.parametrize(("right", "tickets", "lower", "upper"), [
    (8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (90, 100, 0.8256, 0.9448),
])  # fmt: skip
def test_the_interval_is_wilsons(right, tickets, lower, upper):
    """As tables of the Wilson score interval at 95 % have it."""
    assert Score(tickets=tickets, right=right).bounds == (
        pytest.approx(lower, abs=1e-4),
        pytest.approx(upper, abs=1e-4),
    )


@pytest.mark.parametrize(("change", "said"), [
    ({"label": "LATE"}, r"expected intents of the model in 'label' \(WISMO, .*\), found 'LATE' \(lines 2, 3, .*\); correct them"),
    ({"label": "where is my order"}, r"found another text \(lines .*\); correct them"),
    ({"row_number": "9999"}, r"lines 2, 3, .*: expected a row_number of the run, found none of its labelled tickets"),
    ({"row_number": "x"}, "expected a row_number of the run"),
    ({"run_id": "r9"}, "expected a committed run r9"),
    ({"label": ""}, "expected labels in the column 'label', found none"),
])  # fmt: skip
def test_wrong_rows_are_named(tmp_path, out, change, said):
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


def test_every_typo_of_a_sheet_is_in_one_error(tmp_path, out):
    """With its lines, each text once; a label in other letters is none."""
    sheet = tmp_path / "review.csv"
    export_review(out, sheet, sizes=SIZES)
    fill_in(sheet, {0: "LATE", 1: "wismo", 2: "RETURN", 3: "LATE", 4: "is it a sentence"})
    with pytest.raises(SourceError) as raised:
        import_review(out, sheet, tmp_path / "reviewed")
    said = str(raised.value)
    assert (
        "found 'LATE' (lines 2, 5), 'RETURN' (line 4), another text (line 6); correct them" in said
    )
    assert "\n" not in said


def test_the_rest_is_right_can_be_said(tmp_path, out):
    """By an option for all blank rows, or by `ok` in a row."""
    sheet = tmp_path / "review.csv"
    exported = export_review(out, sheet, sizes={**SIZES, "control": 10})
    wrong = "ACCOUNT_ISSUE" if exported["top_intent"][0] != "ACCOUNT_ISSUE" else "WISMO"
    fill_in(sheet, {0: wrong, 1: "OK"})
    review = import_review(out, sheet, tmp_path / "some")
    assert review.slices == {"control": Score(tickets=2, right=1)}
    review = import_review(out, sheet, tmp_path / "all", rest_is_right=True)
    assert review.slices["control"] == Score(tickets=10, right=9)
    assert review.unlabelled == 0
    assert review.has_accuracy


def test_no_accuracy_is_claimed_where_only_wrong_rows_are_filled_in(tmp_path, out):
    """People often correct and leave the rest; 0 of 2 right would be a lie."""
    sheet = tmp_path / "review.csv"
    exported = export_review(out, sheet, sizes={**SIZES, "control": 10})
    wrong = ["ACCOUNT_ISSUE" if intent != "ACCOUNT_ISSUE" else "WISMO" for intent in exported["top_intent"]]  # fmt: skip
    fill_in(sheet, dict(enumerate(wrong[:2])))
    assert not import_review(out, sheet, tmp_path / "reviewed").has_accuracy
    printed = call("import", sheet, "--out", out, "--into", tmp_path / "reviewed")
    assert "No accuracy: only rows where the model is wrong have a label" in printed
    assert "0.0%" not in printed
    accuracy = json.loads((tmp_path / "reviewed" / "accuracy.json").read_text())
    assert accuracy["control_measures_the_accuracy"] is False
    printed = call(
        "import", sheet, "--out", out, "--into", tmp_path / "reviewed", "--rest-is-right"
    )
    assert "80.0%" in printed
    fill_in(sheet, dict(enumerate(wrong)))  # all ten are wrong indeed
    assert import_review(out, sheet, tmp_path / "reviewed").has_accuracy


def test_a_second_import_adds_by_ticket(tmp_path, out):
    """Twenty labels and then six more are twenty-six, of a ticket in both the later one counts; accuracy is over both."""
    sizes = {"control": 20, "disagreeing": 0, "drifting": 0, "uncertain": 0}
    source, into = str(tmp_path / "tickets.csv"), tmp_path / "reviewed"
    first = export_review(out, tmp_path / "a.csv", source=source, sizes=sizes, seed=1)
    fill_in(tmp_path / "a.csv", "WISMO")
    import_review(out, tmp_path / "a.csv", into)
    second = export_review(out, tmp_path / "b.csv", source=source, sizes={**sizes, "control": 6}, seed=2)  # fmt: skip
    fill_in(tmp_path / "b.csv", "OTHER")
    review = import_review(out, tmp_path / "b.csv", into)
    ids = {*first["ticket_id"], *second["ticket_id"]}
    assert 20 < len(ids) <= 26
    control = pl.read_parquet(into / "control.parquet")
    assert set(control["ticket_id"]) == ids
    assert (
        len(control)
        == len(ids)
        == review.slices["control"].tickets
        == review.to_train_on["control"]
    )
    later = control.filter(pl.col("ticket_id").is_in(second["ticket_id"].to_list()))
    assert set(later["intent"]) == {"OTHER"}
    (into / "labelled.parquet").write_text("another file")
    with pytest.raises(
        SourceError, match="expected tickets of `review import`, found another file"
    ):
        import_review(out, tmp_path / "b.csv", into)


def test_reviewed_intents_are_in_latest_predictions(tmp_path, stub_settings):
    """The newest label of a ticket, as long as its message is the one that was read; null elsewhere; the last column."""
    source = write_tickets(tmp_path / "tickets.csv", 30)
    settings = stub_settings(source, tmp_path / "out", keep_text=True)
    run_job(settings)
    out = tmp_path / "out"

    def reviewed() -> dict[str, str | None]:
        rows = open_all(out).sql("SELECT * FROM latest_predictions").pl()
        assert rows.columns[-1] == "reviewed_intent"
        assert len(rows) == 30
        return dict(rows.select("ticket_id", "reviewed_intent").iter_rows())

    assert set(reviewed().values()) == {None}
    exported = export_review(out, tmp_path / "a.csv", sizes={**SIZES, "control": 10})
    fill_in(tmp_path / "a.csv", {0: "WISMO", 1: "OTHER"})
    import_review(out, tmp_path / "a.csv", tmp_path / "reviewed")
    one, two = exported["ticket_id"][0], exported["ticket_id"][1]
    assert {id_: intent for id_, intent in reviewed().items() if intent} == {one: "WISMO", two: "OTHER"}  # fmt: skip
    fill_in(tmp_path / "a.csv", {0: "OTHER"})
    import_review(out, tmp_path / "a.csv", tmp_path / "reviewed")
    assert reviewed()[one] == "OTHER"
    lines = source.read_text().splitlines()
    changed = [line + " my login" if line.startswith(two) else line for line in lines]
    source.write_text("\n".join(changed) + "\n")
    run_job(stub_settings(source, out, keep_text=True))
    assert {id_: intent for id_, intent in reviewed().items() if intent} == {one: "OTHER"}
    tickets = open_all(out, latest="true").sql("SELECT * FROM tickets WHERE reviewed_intent IS NOT NULL")  # fmt: skip
    assert len(tickets.pl()) == 1


def test_a_ticket_without_an_id_keeps_its_label(tmp_path):
    """Its run and row stand for it."""
    put(tmp_path, "r1", ROWS[:4], ticket_id=[None] * 4)
    export_review(tmp_path, tmp_path / "a.csv", sizes=SIZES)
    sheet = fill_in(tmp_path / "a.csv", {0: "OTHER"})
    import_review(tmp_path, tmp_path / "a.csv", tmp_path / "reviewed")
    rows = open_all(tmp_path).sql("SELECT row_number, reviewed_intent FROM latest_predictions").fetchall()  # fmt: skip
    assert {row: intent for row, intent in rows if intent} == {int(sheet["row_number"][0]): "OTHER"}


def test_the_workbook_offers_the_labels_and_says_what_they_mean(tmp_path, out):
    """A drop-down of the model's labels in every row, wrapped messages, definitions on a second sheet."""
    sheet = tmp_path / "review.xlsx"
    rows = export_review(out, sheet, source=str(tmp_path / "tickets.csv"), sizes=SIZES)
    with zipfile.ZipFile(sheet) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml").decode()
        styles = archive.read("xl/styles.xml").decode()
    validation = re.search(r'<dataValidation type="list".*?</dataValidation>', xml, re.DOTALL)
    assert validation
    assert f'sqref="C2:C{len(rows) + 1}"' in validation[0]
    assert "<formula1>intents!$A$2:$A$11</formula1>" in validation[0]
    assert 'wrapText="1"' in styles
    meanings = pl.read_excel(sheet, sheet_name="intents", infer_schema_length=0)
    assert meanings["label"].to_list() == ["ok", *NINE]
    assert all(text and text.startswith("The customer ") for text in meanings["meaning"][1:])


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
    assert "15 labels came without a message" in imported
    assert "accuracy.json" in imported
