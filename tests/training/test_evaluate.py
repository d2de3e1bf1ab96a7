"""Evaluation: the figures are those worked out by hand, and the page needs no other file."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.tickets import NINE, save_tiny_model

from ecomintent_batch.analytics.score import Score
from ecomintent_batch.cli.app import main
from ecomintent_batch.cli.evaluation import print_evaluation
from ecomintent_batch.errors import (
    ColumnError,
    EcomIntentError,
    OutputError,
    SourceError,
    UsageError,
)
from ecomintent_batch.inference.batches import Encodings
from ecomintent_batch.inference.engines import open_model
from ecomintent_batch.training.evaluate import (
    Scored,
    evaluate_model,
    expected_calibration_error,
    measure_coverage,
    measure_set,
)
from ecomintent_batch.training.evaluation_page import list_confusions, render_page, write_evaluation
from ecomintent_batch.training.evaluation_records import Confusion
from ecomintent_batch.training.evaluation_set import (
    EvaluationSet,
    match_labels,
    read_evaluation_set,
    read_evaluation_sets,
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
def measured(tmp_path_factory):
    """The five tickets above at a threshold of 0.7, the second ask of the second one and a group each."""
    folder = save_tiny_model(
        tmp_path_factory.mktemp("five") / "model", "distilbert", ["A", "B", "C", "D"]
    )
    tickets = EvaluationSet(
        "five",
        [("text", intent) for intent in TRUE],
        also=[None, "B", None, None, "A"],
        groups=["x", "x", "y", None, "y"],
    )
    with np.errstate(divide="ignore"):
        scored = Scored(
            TRUE,
            np.log(PROBABILITIES),
            Encodings(np.ones(5, np.int32), np.arange(6), np.ones(5, np.int32)),
        )
    return measure_set(tickets, scored, open_model(str(folder)), 0.7)


@pytest.fixture
def evaluation(tiny_model):
    """An evaluation without a model, on four tickets."""
    return evaluate_model([EvaluationSet("four", ROWS)], model=str(tiny_model), engine="stub")


def test_metrics_are_those_worked_out_by_hand(measured):
    """A: precision 1, recall 1/2; B: 2 of 4 and 2 of 2; C: nothing; D never occurs and counts nowhere."""
    assert measured.score == Score(tickets=5, right=3)
    assert [row.f1 for row in measured.by_intent.values()] == pytest.approx([2 / 3, 2 / 3, 0])
    assert measured.f1_macro == pytest.approx(4 / 9)
    assert measured.f1_weighted == pytest.approx((2 * 2 / 3 + 2 * 2 / 3) / 5)
    assert measured.by_intent["B"].model_dump() == {
        "precision": pytest.approx(0.5), "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 2,
    }  # fmt: skip
    assert measured.confusion == Confusion(
        labels=["A", "B", "C"], counts=[[1, 1, 0], [0, 2, 0], [0, 1, 0]]
    )
    assert re.search(r"^ +B +0\.5000 +1\.0000 +0\.6667 +2$", measured.classification_report, re.M)


def test_what_run_writes_is_judged_of_labels_of_ones_own(tmp_path):
    """D is said below 0.7 only: the first choice never finds it, `run` finds both."""
    folder = save_tiny_model(tmp_path / "model", "distilbert", ["A", "B", "C", "D"])
    calibration = {"other": "D", "threshold": 0.7, "taxonomy": {"name": "mine"}}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    true = ["A", "A", "B", "D", "D"]
    tickets = EvaluationSet("five", [("text", label) for label in true])
    with np.errstate(divide="ignore"):
        encodings = Encodings(np.ones(5, np.int32), np.arange(6), np.ones(5, np.int32))
        scored = Scored(true, np.log(PROBABILITIES), encodings)
    found = measure_set(tickets, scored, open_model(str(folder)), 0.7)
    assert found.score == Score(tickets=5, right=2)
    assert found.as_run is not None
    assert found.headline.score == found.as_run.score == Score(tickets=5, right=4)
    assert found.by_intent["D"].recall == 1
    assert found.confusion == Confusion(
        labels=["A", "B", "D"], counts=[[1, 1, 0], [0, 1, 0], [0, 0, 2]]
    )
    assert found.score_at_threshold == Score(tickets=3, right=2)


def test_a_second_label_counts_in_the_second_figure_only(measured):
    """Ticket 2 is A, also B, and labelled B; ticket 5 is C, also A, and labelled B: 4 of 5 instead of 3."""
    assert measured.score.right == 3
    assert measured.score_or_also == Score(tickets=5, right=4)


def test_each_group_is_a_row(measured):
    """x holds tickets 1 and 2, y 3 and 5, the fourth has none; the threshold of 0.7 counts in each."""
    rows = {row.name: row for row in measured.groups}
    assert list(rows) == ["x", "y", "(none)"]
    assert [row.score.right for row in rows.values()] == [1, 1, 1]
    assert rows["x"].score_or_also == Score(tickets=2, right=2)
    assert rows["(none)"].score_or_also is None
    assert rows["y"].score_at_threshold == Score(tickets=1, right=1)
    assert rows["(none)"].score_at_threshold.accuracy is None
    assert rows["x"].f1_macro == pytest.approx(1 / 3)  # A: 2/3, B: 0


def test_confusions_name_what_was_taken_for_what():
    """The most frequent comes first, with its share of the true intent; the diagonal is no confusion."""
    pairs = list_confusions(Confusion(labels=["A", "B"], counts=[[6, 2], [3, 0]]))
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
    assert measured.coverage == pytest.approx(3 / 5)
    assert measured.score_at_threshold == Score(tickets=3, right=2)
    confidence, correct = PROBABILITIES.max(axis=1), np.array([True, False, True, True, False])
    rows = measure_coverage(confidence, correct, [0, 0.9, 0.95])
    assert [(row.tickets, row.coverage, row.accuracy) for row in rows] == [
        (5, 1.0, pytest.approx(0.6)), (1, pytest.approx(0.2), 1.0), (0, 0.0, None),
    ]  # fmt: skip


def test_the_cost_follows_from_price_and_throughput(tiny_model):
    """1,000 tickets take 1000 / rate seconds of an hour that costs two dollars."""
    found = evaluate_model(
        [EvaluationSet("four", ROWS)], model=str(tiny_model), engine="stub", hourly_price=2.0
    )
    rate = found.throughput.tickets_per_s
    assert found.cost.usd_per_1000_tickets == pytest.approx(2.0 * (1000 / rate) / 3600)
    assert found.latency_ms.tickets == 4
    assert 0 < found.latency_ms.p50 <= found.latency_ms.p95 <= found.latency_ms.p99


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
    assert (tickets.rows, tickets.skipped) == ([("hi", "OTHER"), ("refund", "RETURN REQUEST")], 2)


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
        evaluate_model(
            [EvaluationSet("four", ROWS)], model=str(tiny_model), engine="stub", **change
        )


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


def test_the_page_is_self_contained(evaluation):
    """Nothing is fetched, three plots are inlined, each with an alternative text."""
    text = render_page(evaluation)
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
    found = evaluate_model(
        [EvaluationSet("<b>file</b>.csv", rows)], model=str(model), engine="stub"
    )
    write_evaluation(found, tmp_path)
    text = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "b" not in page.tags
    assert all(value.startswith("data:") for value in page.fetched)
    assert "&lt;img src=http://x" in text
    assert "&lt;b&gt;file" in text


def test_three_files_are_written_or_none(evaluation, tmp_path):
    """The JSON is the evaluation; where one of the three cannot be written, none is, and nothing is left behind."""
    out = tmp_path / "new" / "folder"
    assert [path.name for path in write_evaluation(evaluation, out)] == [
        "evaluation.json",
        "confusion.png",
        "evaluation.html",
    ]
    text = (out / "evaluation.json").read_text(encoding="utf-8")
    assert json.loads(text) == evaluation.model_dump(mode="json")
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    blocked = tmp_path / "blocked"
    (blocked / "evaluation.html").mkdir(parents=True)
    with pytest.raises(OutputError):
        write_evaluation(evaluation, blocked)
    assert [path.name for path in blocked.iterdir()] == ["evaluation.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_evaluation(evaluation, tmp_path / "file")


def test_one_set_is_printed_in_detail(evaluation, capsys):
    """Accuracy, F1 and the classification report of scikit-learn, then the table and the published figures."""
    print_evaluation(evaluation)
    printed = capsys.readouterr().out
    assert evaluation.sets[0].classification_report in printed
    assert f"  F1 macro:    {evaluation.sets[0].f1_macro:.4f}\n" in printed
    assert "GPT-4o mini, zero-shot" in printed


def write_sets(folder: Path) -> None:
    """Write two files of real messages and one made from templates, a file of another kind beside them."""
    rows = [
        {"text": "where is my order", "intent": "WISMO", "source": "chat", "agreed": True},
        {"text": "refund", "intent": "OTHER", "also": "RETURN_REQUEST", "source": "tweets"},
        {"text": "my size is broken", "intent": "DAMAGED_ITEM", "source": "chat", "agreed": False},
    ]
    (folder / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pl.DataFrame(ROWS, schema=["text", "intent"], orient="row").write_csv(folder / "more.csv")
    pl.DataFrame({"text": ["order {{Order Number}}"], "intent": ["WISMO"]}).write_parquet(
        folder / "a_template.parquet"
    )
    (folder / "prices.csv").write_text("item,price\nhat,3\n")
    (folder / "README.md").write_text("about")


def test_a_folder_is_one_row_a_file(tmp_path):
    """Files without the columns are named and skipped; disputed rows are skipped and counted; `also` is read."""
    write_sets(tmp_path)
    notes: list[str] = []
    sets = read_evaluation_sets([str(tmp_path), "corpus:dev"], by="source", note=notes.append)
    by_name = {Path(tickets.name).name: tickets for tickets in sets}
    assert list(by_name) == ["a_template.parquet", "more.csv", "shop.jsonl", "corpus:dev"]
    shop = by_name["shop.jsonl"]
    assert (len(shop.rows), shop.skipped, shop.disputed) == (2, 0, 1)
    assert (shop.also, shop.groups) == ([None, "RETURN_REQUEST"], ["chat", "tweets"])
    assert by_name["more.csv"].also == by_name["more.csv"].groups == []
    assert [tickets.kind for tickets in sets] == ["template", "messages", "messages", "synthetic"]
    assert [note.partition(":")[2] for note in notes if "prices.csv" in note] == [
        " skipped, it has no columns with text and intent"
    ]
    assert sum("no column source, judged as a whole" in note for note in notes) == 3
    with pytest.raises(ColumnError, match=r"expected a column shop, found .*text"):
        read_evaluation_sets([str(tmp_path)], by="shop", note=notes.append)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="files in the folder, found none"):
        read_evaluation_sets([str(tmp_path / "empty")])


def test_sets_of_real_messages_lead(tmp_path, tiny_model, capsys):
    """The template comes last in the result, the table and the page, named as such; the table fits 80 columns."""
    write_sets(tmp_path)
    sets = read_evaluation_sets([str(tmp_path)], by="source", note=lambda line: None)
    evaluation = evaluate_model(sets, model=str(tiny_model), engine="stub")
    assert [result.short_name for result in evaluation.sets] == ["more", "shop", "a_template"]
    print_evaluation(evaluation)
    printed = capsys.readouterr().out
    assert max(map(len, printed.partition("\n\n")[2].splitlines())) <= 80
    assert re.search(
        r"Messages *\n.*more .*\n.*shop .*\n  chat .*\n  tweets .*\nMade from", printed
    )
    assert "shop: 1 tickets skipped, two readers disagreed on them." in printed
    page = render_page(evaluation)
    names = [page.index(f">{name}<") for name in ("more", "shop", "tweets", "a_template")]
    assert names == sorted(names)
    assert page.index("Made from templates") < names[3]
    assert len(Page(page).images) == 9


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
    assert printed["sets"][0]["score"]["tickets"] == 4
    assert printed == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def test_errors_are_of_the_tree(tmp_path):
    """A model that is not there is one line, before anything is scored."""
    with pytest.raises(EcomIntentError):
        evaluate_model([EvaluationSet("four", ROWS)], model=str(tmp_path / "none"), engine="stub")
