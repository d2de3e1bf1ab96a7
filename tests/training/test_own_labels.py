"""Labels of one's own: the file and what is wrong with it, the model that is made of it, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from support.tickets import NINE, ROOT
from typer.testing import CliRunner

from ecomintent_batch.analytics.score import Score
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import SourceError
from ecomintent_batch.inference import hub
from ecomintent_batch.inference.engines import load_engine, open_model
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.settings import load_settings
from ecomintent_batch.training import label_model, plain_encoder
from ecomintent_batch.training.corpus_files import read_corpus
from ecomintent_batch.training.evaluate import score_labelled
from ecomintent_batch.training.label_cache import with_labels
from ecomintent_batch.training.label_model import (
    LabelModelOptions,
    LabelReport,
    carry_answers,
    describe_labels,
    list_labels,
    make_label_model,
)
from ecomintent_batch.training.labels_file import read_labels
from ecomintent_batch.training.own_tickets import read_unlabelled
from ecomintent_batch.training.threshold import choose_threshold
from ecomintent_batch.training.weak_spots import describe_weak_spots, find_weak_spots

SHOP = """
other = "NONE_OF_THESE"
[intents.PARCEL]
examples = ["where is my parcel", "parcel not here yet", "when does the parcel come", "Where is my parcel"]
[intents.INVOICE]
description = "needs an invoice"
examples = ["send the invoice again", "I need an invoice with VAT", "invoice for my tax return"]
[intents.LOGIN]
examples = ["cannot log in", "password does not work", "my account is locked", "where is my parcel?"]
[intents.NONE_OF_THESE]
examples = ["do you have jobs", "hello there"]
"""


def write(folder: Path, text: str, name: str = "labels.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_what_a_labels_file_says(tmp_path):
    """Descriptions, distinct examples, the name of `other`; what stands twice is counted, of a contradiction the last counts."""
    labels = read_labels(write(tmp_path, SHOP))
    assert [label.name for label in labels.labels] == ["PARCEL", "INVOICE", "LOGIN"]
    assert (labels.name, labels.other, labels.threshold) == ("labels", "NONE_OF_THESE", None)
    assert labels.other_examples == ("do you have jobs", "hello there")
    assert labels.duplicates == 1
    assert labels.contradictions == (("where is my parcel?", "PARCEL", "LOGIN"),)
    assert labels.labels[0].examples == ("parcel not here yet", "when does the parcel come")
    assert describe_labels(labels) == [("needs an invoice", "INVOICE")]


@pytest.mark.parametrize(("text", "said"), [
    ("[intents.A]\nexamples = ['x y']\n", "expected at least two intents in addition to OTHER, found 1"),
    ("[intents.A\n", r"expected TOML, found: .*line 1"),
    ("extends = 'bank'\n", "extends: expected \"nine_intents\", found 'bank'"),
    ("[intent.A]\n", "expected some of extends, other, threshold, drop, intents, found 'intent'"),
    ("[intents.A]\nexample = ['x']\n", r"intents.A: expected some of description, examples, .* found 'example'"),
    ("[intents.A]\nexamples = 'x'\n", r"intents.A.examples: expected a list of texts, found a text"),
    ("[intents.A]\nexamples = ['x', 3]\n", r"intents.A.examples: expected a list of texts, found a number"),
    ("[intents]\nA = ['x']\n", r"intents.A: expected a table, found a list; write \[intents.A\]"),
    ("[intents.A]\n", "intents.A: expected a description or examples, found neither"),
    ("threshold = 70\n", "threshold: expected a number from 0 to 1, found 70"),
    ("[intents.A]\nrenames = 'WISMO'\n", "expected extends = \"nine_intents\" at the top"),
    ("extends = 'nine_intents'\n[intents.A]\nsplits = 'NEWS'\nexamples = ['x']\n", "expected some of WISMO, .*found 'NEWS'"),
    ("[intents.'A B']\nexamples=['x y']\n[intents.A_B]\nexamples=['y z']\n", "expected intents that differ by a letter"),
])  # fmt: skip
def test_what_is_wrong_with_a_labels_file_is_said_with_its_key(tmp_path, text, said):
    """One line: the file, the key, what was expected there and what was found."""
    with pytest.raises(SourceError, match=said) as error:
        read_labels(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_tables_and_corrected_review_sheets_serve_as_well(tmp_path):
    """A column with text and one with intent; in a sheet, `ok` is the model's own label, and empty is not reviewed."""
    table = pl.DataFrame({"text": ["a b", "c d", "e f"], "intent": ["X", "Y", "OTHER"]})
    table.write_parquet(tmp_path / "t.parquet")
    labels = read_labels(str(tmp_path / "t.parquet"))
    assert [label.name for label in labels.labels] == ["X", "Y"]
    assert labels.other_examples == ("e f",)
    pl.DataFrame(
        {"ticket_id": ["1", "2", "3", "4"], "message": ["a b", "c d", "e f", "g h"], "label": ["ok", "NEW", None, "WISMO"],
         "top_intent": ["LOGIN", "WISMO", "LOGIN", "OTHER"]}
    ).write_excel(tmp_path / "sheet.xlsx")  # fmt: skip
    sheet = read_labels(str(tmp_path / "sheet.xlsx"))
    assert {label.name: label.examples for label in sheet.labels} == {
        "LOGIN": ("a b",), "NEW": ("c d",), "WISMO": ("g h",),
    }  # fmt: skip


EXTENDED = """
extends = "nine_intents"
drop = ["EXCHANGE_REQUEST"]
[intents.WHERE_IS_IT]
renames = "WISMO"
[intents.WARRANTY]
splits = "DAMAGED_ITEM"
examples = ["is it covered by the warranty", "warranty claim for my kettle"]
"""


def test_labels_that_extend_the_nine(tmp_path):
    """Renamed ones keep their place, dropped ones become `other`, and the record says what each was."""
    labels = read_labels(write(tmp_path, EXTENDED))
    names = list_labels(labels)
    assert names == [
        "WHERE_IS_IT", "RETURN_REQUEST", "CANCEL_ORDER", "DAMAGED_ITEM", "BILLING_DISPUTE", "PRODUCT_QUESTION",
        "ACCOUNT_ISSUE", "WARRANTY", "OTHER",
    ]  # fmt: skip
    assert labels.was() == {"WHERE_IS_IT": "WISMO", "WARRANTY": "DAMAGED_ITEM"}
    carried = carry_answers(np.eye(9), labels, names)
    assert carried.sum(axis=1).tolist() == [1] * 9
    assert names[carried[NINE.index("WISMO")].argmax()] == "WHERE_IS_IT"
    assert names[carried[NINE.index("EXCHANGE_REQUEST")].argmax()] == "OTHER"


def test_the_threshold_is_where_labels_and_the_rest_part():
    """Examples at 0.8, messages of no label at 0.4: any threshold between keeps them apart, the middle is taken."""
    sure, unsure = [0.8, 0.1, 0.1], [0.4, 0.3, 0.3]
    probabilities = np.array([sure] * 30 + [unsure] * 30)
    true = np.array([0] * 30 + [2] * 30)
    assert choose_threshold(probabilities, true, 2) == pytest.approx(0.6, abs=0.02)
    assert choose_threshold(probabilities[:35], true[:35], 2) == 0.5  # too few to choose by


def test_weak_spots_are_said_in_words(tmp_path):
    """Two examples read as another label, one label with three examples, what stands twice and what contradicts."""
    labels = read_labels(write(tmp_path, SHOP))
    rows = [
        ("a 1", "PARCEL"),
        ("a 2", "PARCEL"),
        ("b 1", "LOGIN"),
        ("b 2", "LOGIN"),
        ("c 1", "INVOICE"),
    ]
    found = np.array(["LOGIN", "PARCEL", "PARCEL", "LOGIN", "INVOICE"], dtype=object)
    weak = find_weak_spots(labels, rows, found, Score(tickets=10, right=9))
    assert (weak.score.tickets, weak.score.right) == (5, 3)
    lines = describe_weak_spots(weak)
    assert "90.0 %" in lines[1]
    assert "Confused: LOGIN and PARCEL, 2 examples, such as" in lines
    assert "  a 1 (PARCEL, read as LOGIN)" in lines
    assert "INVOICE: 3 examples; 7 more would help." in lines
    assert "Twice in the file: 1 example; each counts once." in lines
    assert any(
        line.startswith("Contradiction: “where is my parcel?” stands under PARCEL")
        for line in lines
    )


def test_messages_of_no_label_are_told_by_where_they_are_from(tmp_path):
    """The package's, one's own unlabelled tickets, the examples of `other`; a set without messages is not named."""
    labels = read_labels(write(tmp_path, SHOP))
    rows, found = [("a 1", "PARCEL")], np.array(["PARCEL"], dtype=object)
    ten, four, none = (
        Score(tickets=10, right=9),
        Score(tickets=4, right=2),
        Score(tickets=0, right=0),
    )
    lines = describe_weak_spots(find_weak_spots(labels, rows, found, ten, four))
    assert lines[0].startswith("Cross-validated: 100.0 % (21–100) of 1 example right")
    assert re.fullmatch(
        r"Sent to NONE_OF_THESE: 90.0 % .* of 10 messages of the package that .*", lines[1]
    )
    assert re.fullmatch(
        r"Sent to NONE_OF_THESE: 50.0 % .* of 4 unlabelled tickets of yours.*", lines[2]
    )
    lines = describe_weak_spots(find_weak_spots(labels, rows, found, none))
    assert not any(line.startswith("Sent to") for line in lines)


def test_the_plain_encoder_is_unpacked_as_it_was_packed(tmp_path):
    """Four bits and a scale for 64 weights: a tenth of their spread at most is lost, biases next to nothing."""
    network = plain_encoder.load_plain_encoder()
    plain_encoder.pack_encoder(network, tmp_path / "again.xz")
    before = network.state_dict()
    after = plain_encoder.unpack_encoder(tmp_path / "again.xz")
    assert len(after) > 90
    for name, value in after.items():
        lost = (value - before[name]).square().mean().sqrt()
        assert lost <= 0.05 * before[name].square().mean().sqrt() + 1e-4, name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What `run --labels` prints on first use, and the settings of the same run again; few messages beside the examples."""
    folder = tmp_path_factory.mktemp("labels")
    pl.DataFrame({"id": [1, 2], "text": ["where is my parcel", "?!"]}).write_csv(folder / "t.csv")
    source, tickets, out = write(folder, SHOP), folder / "t.csv", folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_model, "_BACKGROUND", (24, 1, 24))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        done = CliRunner().invoke(app, ["run", str(tickets), "--labels", source, "--out", str(out)])
        assert done.exit_code == 0, done.output
        settings = load_settings(source=str(tickets), labels=source, out=out)
        notes: list[str] = []
        settings = with_labels(settings, notes.append)
    return source, done.output, settings, notes


def test_the_model_folder_is_a_model_like_any_other(made):
    """Labels in order, `other` last, int8, calibration, card; the examples are known."""
    source, _, settings, _ = made
    folder = Path(settings.model)
    model = open_model(str(folder))
    report = LabelReport.model_validate_json((folder / "training.json").read_text())
    assert model.labels == ["PARCEL", "INVOICE", "LOGIN", "NONE_OF_THESE"]
    assert model.other == "NONE_OF_THESE"
    assert report.has_int8
    assert report.folds == 5
    assert model.taxonomy is not None
    assert model.taxonomy["sha256"] == read_labels(source).sha256
    rows = [row for row in read_labels(source).examples if row[1] != model.other]
    scored = score_labelled(model, load_engine(model, engine="onnx"), rows)
    right = [model.labels[i] == label for i, (_, label) in zip(scored.logits.argmax(1), rows, strict=True)]  # fmt: skip
    assert np.mean(right) > 0.8
    assert "| PARCEL | 2 |" in (folder / "README.md").read_text()


def test_trained_upper_layers_are_those_of_the_whole_network(tmp_path, monkeypatch):
    """What the tuner scores over the frozen layers is what the assembled network gives, to within half precision."""
    monkeypatch.setattr(label_model, "_BACKGROUND", (8, 1, 8))
    learner = label_model._Learner(read_labels(write(tmp_path, SHOP)), LabelModelOptions(epochs=1))
    upper = learner.train()
    network = learner._tuner.assemble(upper)
    ids = learner.model.tokenizer.encode(learner.messages[0]).ids
    with torch.inference_mode():
        whole = network(input_ids=torch.tensor([ids])).logits.numpy()[0]
    assert np.abs(learner._tuner.score(upper, learner._rows[:1])[0] - whole).max() < 0.1


def test_run_makes_the_model_once(made):
    """On first use it says what is weak; then the model is found again. The manifest names the taxonomy."""
    _, output, settings, notes = made
    assert "Cross-validated:" in output
    assert "moved to NONE_OF_THESE" in output
    assert re.match(
        r"learning from 11 examples of 3 labels; 2\d messages of the package stand for what is none of them \(NONE_OF_THESE\)\n",
        output,
    )
    assert "language unknown" not in output
    assert "Please consider" not in output
    assert "Writing model shards" not in output
    assert notes == [f"model of labels: {settings.model}"]
    (manifest,) = open_store(settings.out).manifests()
    assert manifest.taxonomy is not None
    assert (manifest.taxonomy.name, manifest.other) == ("labels", "NONE_OF_THESE")
    assert manifest.model.startswith("labels@")
    assert manifest.settings.threshold == open_model(settings.model).calibration["threshold"]
    rows = pl.read_parquet(f"{settings.out}/predictions/*/*.parquet")
    assert rows.filter(status="empty")["intent"].to_list() == ["NONE_OF_THESE"]


def test_evaluate_says_what_is_weak_and_takes_the_threshold_of_the_model(made, tmp_path):
    """In the terminal and on the page."""
    source, _, settings, _ = made
    rows = read_labels(source).examples
    pl.DataFrame(rows, schema=["text", "intent"], orient="row").write_csv(tmp_path / "own.csv")
    arguments = [
        "evaluate",
        tmp_path / "own.csv",
        "--model",
        settings.model,
        "--out",
        tmp_path / "page",
    ]
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    assert "What is weak in these labels" in done.output
    assert "INVOICE: 3 examples" in done.output
    page = (tmp_path / "page" / "evaluation.html").read_text()
    assert "What is weak in these labels" in page
    evaluation = json.loads((tmp_path / "page" / "evaluation.json").read_text())
    assert evaluation["threshold"] == open_model(settings.model).calibration["threshold"]
    for shown in (done.output, page):
        assert f"NONE_OF_THESE below {evaluation['threshold']:g}" in shown
        assert "first choice" in shown
        assert "GPT-4o" not in shown
    assert "below the threshold get the intent NONE_OF_THESE" in page


def test_evaluate_judges_what_run_writes(made, tmp_path):
    """As many right as in the column `intent` of a run of the same tickets, messages of no label among them."""
    source, _, settings, _ = made
    rows = [*read_labels(source).examples, ("my cat likes the garden", "NONE_OF_THESE")]
    tickets = tmp_path / "own.csv"
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(tickets)
    common = ["--model", settings.model, "--threshold", "0.6"]
    done = CliRunner().invoke(app, ["evaluate", str(tickets), "--intent-column", "label", *common, "--json"])  # fmt: skip
    assert done.exit_code == 0, done.output
    judged = json.loads(done.stdout)["sets"][0]["as_run"]["score"]
    arguments = ["run", str(tickets), "--keep", "label", *common, "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    labelled = pl.read_parquet(f"{tmp_path}/out/predictions/*/*.parquet")
    assert judged["tickets"] == len(labelled)
    assert judged["right"] == (labelled["intent"].cast(pl.String) == labelled["label"]).sum()


def test_unlabelled_tickets_are_read_as_run_reads_them(tmp_path):
    """Distinct messages with words, none of those that are known."""
    pl.DataFrame({"id": range(4), "body": ["one two", "one two", "?!", "three four"]}).write_csv(tmp_path / "t.csv")  # fmt: skip
    assert read_unlabelled(str(tmp_path / "t.csv"), 9, 0, ["three four"]) == ["one two"]


def test_a_hub_that_does_not_answer_is_given_up_at_once(monkeypatch):
    """An address that nobody has: the look-up fails, or is not waited for."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    assert not hub.is_hub_reachable()


def test_the_sample_labels_are_ten_with_examples():
    """The file that docs/taxonomy.md walks through."""
    labels = read_labels(str(ROOT / "sample_data" / "labels.toml"))
    assert len(labels.labels) == 10
    assert min(len(label.examples) for label in labels.labels) >= 5
    assert not labels.duplicates
    assert not labels.contradictions


@pytest.mark.slow
def test_one_more_intent_costs_the_nine_next_to_nothing(tmp_path):
    """Fifteen examples of WARRANTY_CLAIM: F1 of 0.8 on sixty held out, among the dev tickets; a point less there at most."""
    data = Path(__file__).parent / "data"
    report = make_label_model(read_labels(str(data / "warranty.toml")), tmp_path / "ten")
    assert report.elsewhere is not None
    assert report.elsewhere.gain >= -0.01
    held_out = (data / "warranty_held_out.txt").read_text(encoding="utf-8").splitlines()
    model = open_model(str(tmp_path / "ten"))
    engine, new = load_engine(model, engine="onnx"), model.labels.index("WARRANTY_CLAIM")
    found, others = (
        int((score_labelled(model, engine, rows).logits.argmax(axis=1) == new).sum())
        for rows in ([(text, "") for text in held_out], read_corpus("dev"))
    )
    assert 2 * found / (len(held_out) + found + others) >= 0.8
