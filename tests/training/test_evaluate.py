"""Evaluation: the numbers are those worked out by hand, and the page needs nothing beside itself."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from support.tickets import NINE, save_tiny_model

from ecomintent_batch.cli.app import main
from ecomintent_batch.errors import (
    ColumnError,
    EcomIntentError,
    OutputError,
    SourceError,
    UsageError,
)
from ecomintent_batch.training.evaluate import (
    evaluate_model,
    expected_calibration_error,
    measure,
    measure_coverage,
    print_evaluation,
)
from ecomintent_batch.training.evaluation_page import list_confusions, render_page, write_evaluation
from ecomintent_batch.training.evaluation_set import (
    EvaluationSet,
    match_labels,
    read_evaluation_set,
)

ROWS = [
    ("where is my order", "WISMO"),
    ("refund", "RETURN_REQUEST"),
    ("my size is broken", "DAMAGED_ITEM"),
    ("hello", "OTHER"),
]
# Five tickets of three intents (a fourth is never met): A right, A taken for B, B right, B right, C taken for B.
PROBABILITIES = np.array(
    [
        [0.90, 0.05, 0.05, 0],
        [0.20, 0.75, 0.05, 0],
        [0.10, 0.80, 0.10, 0],
        [0.45, 0.50, 0.05, 0],
        [0, 0.60, 0.40, 0],
    ],
    np.float32,
)
TRUE = ["A", "A", "B", "B", "C"]


@pytest.fixture(scope="module")
def measured():
    """The five tickets above at a threshold of 0.7."""
    return measure(PROBABILITIES, ["A", "B", "C", "D"], TRUE, 0.7)


@pytest.fixture
def found(tiny_model):
    """An evaluation without a model, on four tickets."""
    return evaluate_model(EvaluationSet("four", ROWS), model=str(tiny_model), engine="stub")


def test_metrics_are_those_of_the_hand(measured):
    """A: precision 1, recall 1/2; B: 2 of 4 and 2 of 2; C: nothing; D is met nowhere and counts nowhere."""
    assert measured["accuracy"] == pytest.approx(3 / 5)
    assert [row["f1-score"] for row in measured["by_intent"].values()] == pytest.approx(
        [2 / 3, 2 / 3, 0]
    )
    assert measured["f1_macro"] == pytest.approx(4 / 9)
    assert measured["f1_weighted"] == pytest.approx((2 * 2 / 3 + 2 * 2 / 3) / 5)
    assert measured["by_intent"]["B"] == {
        "precision": pytest.approx(0.5), "recall": 1.0, "f1-score": pytest.approx(2 / 3), "support": 2,
    }  # fmt: skip
    assert measured["confusion"] == {
        "labels": ["A", "B", "C"],
        "counts": [[1, 1, 0], [0, 2, 0], [0, 1, 0]],
    }
    assert re.search(r"^ +B +0\.5000 +1\.0000 +0\.6667 +2$", measured["report"], re.M)


def test_confusions_name_what_was_taken_for_what():
    """The most frequent comes first, with its share of the true intent; the diagonal is no confusion."""
    pairs = list_confusions({"labels": ["A", "B"], "counts": [[6, 2], [3, 0]]})
    assert [(pair["true"], pair["found"], pair["tickets"], pair["share"]) for pair in pairs] == [
        ("B", "A", 3, 1.0), ("A", "B", 2, 0.25),
    ]  # fmt: skip


def test_calibration_error_is_that_of_the_hand():
    """Bins of 1/15: two at 0.95 of which one is right, one at 0.5 that is right, one of 1.0 that is right."""
    confidence, correct = (
        np.array([0.95, 0.95, 0.5, 1.0], np.float32),
        np.array([True, False, True, True]),
    )
    # 0.95, 0.95 and 1.0 share the last bin (from 14/15): mean 0.9667 against 2/3; the other gap is 0.5.
    assert expected_calibration_error(confidence, correct) == pytest.approx(
        (3 * (2.9 / 3 - 2 / 3) + 0.5) / 4, abs=1e-6
    )


def test_calibration_error_of_the_perfect_is_nil():
    """Half of the tickets at 0.5 are right."""
    assert expected_calibration_error(np.full(8, 0.5, np.float32), np.arange(8) % 2 == 0) == 0


def test_coverage_is_that_of_the_hand(measured):
    """At 0.7 three of five are kept and two of them right; the threshold itself is kept; none over 0.95."""
    assert (measured["coverage_at_threshold"], measured["accuracy_at_threshold"]) == pytest.approx(
        (3 / 5, 2 / 3)
    )
    confidence, correct = PROBABILITIES.max(axis=1), np.array([True, False, True, True, False])
    rows = measure_coverage(confidence, correct, [0, 0.9, 0.95])
    assert [(row["tickets"], row["coverage"], row["accuracy"]) for row in rows] == [
        (5, 1.0, pytest.approx(0.6)), (1, pytest.approx(0.2), 1.0), (0, 0.0, None),
    ]  # fmt: skip


def test_the_cost_follows_from_price_and_throughput(tiny_model):
    """1,000 tickets take 1000 / rate seconds of an hour that costs two dollars."""
    found = evaluate_model(
        EvaluationSet("four", ROWS), model=str(tiny_model), engine="stub", hourly_price=2.0
    )
    rate = found["throughput"]["tickets_per_s"]
    assert found["cost"]["usd_per_1000_tickets"] == pytest.approx(2.0 * (1000 / rate) / 3600)
    assert found["latency_ms"]["tickets"] == 4
    assert (
        0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p99"]
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_files_of_a_user_are_read(suffix, tmp_path):
    """Columns are named or usual; labels in other letters are the model's; rows without words or a label are counted."""
    path = tmp_path / f"tickets.{suffix}"
    frame = pl.DataFrame(
        {"msg": ["hi", "refund", "?!", "lost"], "topic": ["other", "return request", "OTHER", None]}
    )
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[suffix](
        path
    )
    tickets = match_labels(
        read_evaluation_set(str(path), text_column="msg", intent_column="topic"), NINE_AND_SPACE
    )
    assert (tickets.rows, tickets.left_out) == ([("hi", "OTHER"), ("refund", "RETURN REQUEST")], 2)


NINE_AND_SPACE = ["RETURN REQUEST", "OTHER"]


def test_the_realistic_split_has_a_name():
    """`corpus:dev` is the split that the models are judged by."""
    tickets = read_evaluation_set("corpus:dev")
    assert len(tickets.rows) > 300
    assert {intent for _, intent in match_labels(tickets, NINE).rows} == set(NINE)


@pytest.mark.parametrize(("labels", "told"), [
    (["WISMO", "REFUND"], "found REFUND in 1 of 2 tickets"),
    (["where is my order", "hello"], "found 2 others in 2 of 2 tickets"),
])  # fmt: skip
def test_unknown_labels_are_told_unless_they_could_be_tickets(labels, told):
    """A label column that holds the tickets themselves must not show one."""
    with pytest.raises(ColumnError) as error:
        match_labels(EvaluationSet("file.csv", [("text", label) for label in labels]), NINE)
    assert told in str(error.value)
    assert "hello" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "options", "kind", "told"), [
    ("text,intent\n", {}, SourceError, ""),
    ("text,intent\n?,OTHER\n", {}, SourceError, "found none in 1 rows"),
    ("body,intent\nhi,OTHER\n", {}, ColumnError, "--text-column"),
    ("text,topic\nhi,OTHER\n", {}, ColumnError, "--intent-column"),
    ("text,intent\nhi,OTHER\n", {"text_column": "text", "intent_column": "text"}, UsageError, "text twice"),
])  # fmt: skip
def test_bad_files_are_told(content, options, kind, told, tmp_path):
    """One line, what was found, what to do."""
    path = tmp_path / "tickets.csv"
    path.write_text(content)
    with pytest.raises(kind) as error:
        read_evaluation_set(str(path), **options)
    assert told in str(error.value)


@pytest.mark.parametrize(("change", "told"), [
    ({"threshold": 1.5}, "--threshold"), ({"threshold": float("nan")}, "--threshold"),
    ({"hourly_price": -1.0}, "--hourly-price"), ({"hourly_price": float("inf")}, "--hourly-price"),
])  # fmt: skip
def test_numbers_out_of_range_are_told(change, told, tiny_model):
    """A cost of infinity is no cost."""
    with pytest.raises(UsageError, match=told):
        evaluate_model(EvaluationSet("four", ROWS), model=str(tiny_model), engine="stub", **change)


class Page(HTMLParser):
    """Collects what a browser would fetch, and checks that tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [
            value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")
        ]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("img", "meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_the_page_is_self_contained(found):
    """Nothing is fetched, three plots are inlined, each with an alternative text."""
    text = render_page(found, b"png")
    page = Page(text)
    assert [value.partition(",")[0] for value in page.fetched] == ["data:image/png;base64"] * 3
    assert not re.search(r"url\(|@import|https?://", text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(len(image["alt"] or "") > 30 for image in page.images)
    for published in (
        "EcomIntent DistilBERT",
        "GPT-4o mini, zero-shot",
        "GPT-4o mini, 5-shot",
        "Forethought",
    ):
        assert published in text


def test_labels_and_names_are_escaped(tmp_path):
    """A label or a file name that is markup stays text, in the page and in the plot."""
    labels = ["<img src=http://x onerror=alert(1)>", "$a_{b$", "Q\"&'"]
    model = save_tiny_model(tmp_path / "model", "distilbert", labels)
    rows = [("hello order", label) for label in labels]
    found = evaluate_model(EvaluationSet("<b>file</b>.csv", rows), model=str(model), engine="stub")
    write_evaluation(found, tmp_path)
    text = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "b" not in page.tags
    assert all(value.startswith("data:") for value in page.fetched)
    assert "&lt;img src=http://x" in text
    assert "&lt;b&gt;file" in text


def test_three_files_are_written_or_none(found, tmp_path):
    """The JSON is the evaluation; where one of the three cannot take its place, none is new and no scrap is left."""
    out = tmp_path / "new" / "folder"
    assert [path.name for path in write_evaluation(found, out)] == [
        "evaluation.json",
        "confusion.png",
        "evaluation.html",
    ]
    assert json.loads((out / "evaluation.json").read_text(encoding="utf-8")) == found
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    blocked = tmp_path / "blocked"
    (blocked / "evaluation.html").mkdir(parents=True)
    with pytest.raises(OutputError):
        write_evaluation(found, blocked)
    assert [path.name for path in blocked.iterdir()] == ["evaluation.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_evaluation(found, tmp_path / "file")


def test_the_print_has_the_layout_of_the_case_study(found, capsys):
    """Accuracy, F1 and the classification report of scikit-learn, then the rest."""
    print_evaluation(found)
    printed = capsys.readouterr().out
    assert found["report"] in printed
    assert f"  F1 macro:    {found['f1_macro']:.4f}\n" in printed
    assert "GPT-4o mini, zero-shot" in printed


def test_the_command_prints_json_and_writes_its_files(tiny_model, tmp_path, monkeypatch, capsys):
    """As a user types it, on a model of any kind."""
    source, out = tmp_path / "tickets.csv", tmp_path / "out"
    source.write_text("text,intent\n" + "".join(f"{text},{intent}\n" for text, intent in ROWS))
    arguments = [
        "evaluate",
        str(source),
        "--model",
        str(tiny_model),
        "--engine",
        "torch",
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", ["ecomintent-batch", *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["tickets"] == 4
    assert printed == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def test_errors_are_of_the_tree(tmp_path):
    """A model that is not there is one line, before anything is scored."""
    with pytest.raises(EcomIntentError):
        evaluate_model(EvaluationSet("four", ROWS), model=str(tmp_path / "none"), engine="stub")
