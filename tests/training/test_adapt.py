"""Adapting a classifier to a shop's own tickets, on a random model of two layers: what is measured, kept and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from support.tickets import save_tiny_model
from typer.testing import CliRunner

from ecomintent_batch.analytics.score import Comparison, Score
from ecomintent_batch.cli.adapted import judge
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import ColumnError, OutputError, SourceError, UsageError
from ecomintent_batch.inference.engines import load_engine, open_model
from ecomintent_batch.text.message import clean_message
from ecomintent_batch.training.adapt import AdaptOptions, AdaptReport, adapt_model
from ecomintent_batch.training.corpus_files import read_corpus
from ecomintent_batch.training.evaluate import score_labelled
from ecomintent_batch.training.fine_tune import Tuner, interpolate
from ecomintent_batch.training.own_tickets import pick_replayed, read_own_tickets

pytestmark = pytest.mark.model

TOPICS = {"BILLING": "refund the order", "LOGIN": "my login is broken"}
OPTIONS = {"epochs": 8, "learning_rate": 5e-3, "batch_size": 8, "device": "cpu"}


def write_reviewed(folder: Path, count: int = 60) -> Path:
    """Write what `review import` writes: two topics that differ by their words, a third of them drawn at random."""
    folder.mkdir()
    topics = list(TOPICS)
    rows = [{"text": f"{TOPICS[topics[i % 2]]} {i}", "intent": topics[i % 2]} for i in range(count)]
    pl.DataFrame(rows[count // 3 :]).write_parquet(folder / "labelled.parquet")
    pl.DataFrame(rows[: count // 3]).write_parquet(folder / "control.parquet")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder of the two labels, with a tokenizer that transformers can load."""
    from transformers import PreTrainedTokenizerFast

    folder = save_tiny_model(tmp_path_factory.mktemp("base") / "tiny", "bert", list(TOPICS))
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        pad_token="[PAD]",  # noqa: S106 - a token of text
        unk_token="[UNK]",  # noqa: S106 - likewise
        model_max_length=64,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(base, tmp_path_factory) -> tuple[Path, Path, AdaptReport]:
    """The tickets, the model that was adapted to them, and the report."""
    folder = tmp_path_factory.mktemp("adapted")
    data = write_reviewed(folder / "reviewed")
    options = AdaptOptions(data=str(data), out=folder / "better", init_from=str(base), **OPTIONS)
    return data, folder / "better", adapt_model(options, lambda text: None)


def test_the_gain_is_measured_on_held_out_tickets(adapted):
    """Sixty tickets in five folds; a random model is right by chance, the adapted one knows the words."""
    _, _, report = adapted
    assert (report.tickets, report.folds, report.own.after.tickets) == (60, 5, 60)
    assert report.own.before.right < 45
    assert report.own.after.right > 55
    assert report.own.gained - report.own.lost == report.own.after.right - report.own.before.right
    assert report.at_random is not None
    assert report.at_random.after.tickets == 20
    assert report.elsewhere is None  # corpus:dev has other labels
    assert report.replayed == 150


def test_the_model_is_ready_to_run(adapted):
    """Weights, int8 network, calibration and card; what was learned is known to int8, too."""
    data, folder, report = adapted
    model = open_model(str(folder))
    assert report.has_int8
    rows = list(pl.read_parquet(data / "labelled.parquet").iter_rows())
    scored = score_labelled(model, load_engine(model, engine="onnx"), rows)
    right = [model.labels[i] == true for i, (_, true) in zip(scored.logits.argmax(1), rows, strict=True)]  # fmt: skip
    assert np.mean(right) == 1
    written = json.loads((folder / "training.json").read_text())
    assert written == report.model_dump(mode="json")
    assert f"| of them drawn at random | 20 | {report.at_random.before} |" in (folder / "README.md").read_text()  # fmt: skip


def test_the_command_says_what_is_gained_and_how_to_use_it(adapted, tmp_path):
    """From a model that knows the tickets there is nothing to gain, and that is said."""
    data, folder, _ = adapted
    arguments = ["train", data, "--init-from", folder, "--out", tmp_path / "again", "--epochs", 1]
    done = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "No clear gain: +0.0 points" in done.output
    assert "drawn at random" in done.output
    assert f"ecomintent-batch run TICKETS --model {tmp_path / 'again'}" in done.output
    assert (tmp_path / "again" / "onnx" / "model_int8.onnx").exists()


@pytest.mark.parametrize(("gained", "lost", "said"), [
    (20, 3, "Gain: +17.0 points (+7.2 to +26.8)."),
    (6, 4, "No clear gain: +2.0 points (-5.2 to +9.2) can be chance."),
    (2, 20, "Loss: -18.0 points"),
])  # fmt: skip
def test_a_gain_is_claimed_only_beyond_chance(adapted, gained, lost, said):
    """Of 100 tickets: (gained - lost) ± (1.96 * sqrt(changed - (gained - lost)² / 100) + 1), in points."""
    own = Comparison(
        before=Score(tickets=100, right=50),
        after=Score(tickets=100, right=50 + gained - lost),
        gained=gained,
        lost=lost,
    )
    report = adapted[2].model_copy(update={"own": own, "at_random": None})
    assert judge(report).startswith(said)


def test_weights_end_between_old_and_new(base):
    """At 0.7 each weight is 0.3 of the old one and 0.7 of the new one."""
    model = open_model(str(base))
    tuner = Tuner(
        model,
        epochs=1,
        learning_rate=1e-3,
        batch_size=8,
        share_of_new=0.7,
        device=torch.device("cpu"),
        seed=0,
    )
    old = {name: value.clone() for name, value in tuner.network.state_dict().items()}
    targets = np.tile(np.array([[1, 0]], np.float32), (8, 1))
    new = tuner.fine_tune(["refund the order"] * 8, targets).state_dict()
    assert all(torch.equal(old[name], value) for name, value in tuner.network.state_dict().items())
    assert not torch.equal(old["classifier.weight"], new["classifier.weight"])
    far = interpolate(tuner.network, tuner.fine_tune(["refund"] * 8, targets), 0.0).state_dict()
    assert torch.equal(far["classifier.weight"], old["classifier.weight"])


def test_replayed_messages_are_training_messages_of_others():
    """Short, distinct from the shop's own, never of the splits that judge; the same for a seed."""
    replayed = pick_replayed(400, 3, without=[])
    judged = {clean_message([text]) for split in ("dev", "test") for text, _ in read_corpus(split)}
    assert len(replayed) == 400
    assert max(map(len, replayed)) <= 160
    assert not {text for text in judged if len(text) > 20} & set(replayed)  # "hi" is in both
    assert pick_replayed(400, 3, without=[]) == replayed != pick_replayed(400, 4, without=[])
    assert not set(replayed[:50]) & set(pick_replayed(10**6, 3, without=replayed[:50]))


def test_of_equal_messages_the_last_label_counts(tmp_path):
    """A ticket that was labelled twice is trained on once; the drawn-at-random flag comes from the file or a column."""
    rows = [{"text": f"order {i}", "intent": "LOGIN", "reason": None} for i in range(20)]
    rows.append({"text": "order 0", "intent": "billing", "reason": "control"})
    rows.append({"text": "?!", "intent": "LOGIN", "reason": None})
    pl.DataFrame(rows, schema_overrides={"reason": pl.String}).write_csv(tmp_path / "own.csv")
    tickets = read_own_tickets(str(tmp_path / "own.csv"), list(TOPICS))
    assert len(tickets.messages) == 20
    assert tickets.intents.count("BILLING") == tickets.at_random.count(True) == 1
    assert tickets.messages[tickets.at_random.index(True)] == "order 0"


def test_what_cannot_be_adapted_is_refused(base, tmp_path):
    """Too few tickets, a folder without any, a label that the model lacks, a folder that exists, options out of range."""
    data = write_reviewed(tmp_path / "few", 12)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text("{}")
    other = write_reviewed(tmp_path / "many", 60)
    pl.DataFrame({"text": [f"order {i}" for i in range(30)], "intent": ["X"] * 30}).write_csv(tmp_path / "x.csv")  # fmt: skip
    for source, out, changes, kind, said in (
        (data, "out", {}, SourceError, "expected at least 20 labelled tickets, found 12"),
        (
            tmp_path / "there",
            "out",
            {},
            SourceError,
            "expected labelled.parquet of `review import`",
        ),
        (tmp_path / "x.csv", "out", {}, ColumnError, "found X in 30 of 30 tickets"),
        (other, "there", {}, OutputError, "expected a new or empty folder"),
        (other, "out", {"learning_rate": 5.0}, UsageError, "--learning-rate"),
    ):
        options = AdaptOptions(
            data=str(source), out=tmp_path / out, init_from=str(base), **{**OPTIONS, **changes}
        )
        with pytest.raises(kind, match=said):
            adapt_model(options, lambda text: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_embedded_model_learns_a_rule_of_one_shop_and_forgets_nothing(tmp_path):
    """A shop that counts prices as BILLING_DISPUTE: a clear gain on held-out ones; corpus:dev loses a point at most."""
    goods = ["whey protein", "dumbbells", "yoga mat", "omega 3", "green tea", "resistance tube"]
    asks = ["price of {}?", "how much is the {}", "{} price pls", "cost of {} 1 kg", "what does {} cost"]  # fmt: skip
    rows = [(ask.format(item), "BILLING_DISPUTE") for item in goods for ask in asks]
    polite = ("pls", "sir", "tell me")
    rows += [(f"is the {item} vegan, {word}", "PRODUCT_QUESTION") for item in goods for word in polite]  # fmt: skip
    pl.DataFrame(rows, schema=["text", "intent"], orient="row").write_csv(tmp_path / "own.csv")
    report = adapt_model(
        AdaptOptions(data=str(tmp_path / "own.csv"), out=tmp_path / "better", device="cpu"),
        lambda text: None,
    )
    assert report.own.before.accuracy < 0.6
    assert report.own.gain > 0.2
    assert report.own.gain_bounds[0] > 0
    assert report.elsewhere is not None
    assert report.elsewhere.gain > -0.01
    assert report.has_int8
