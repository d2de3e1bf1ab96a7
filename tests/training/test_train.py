"""Training and export, on a random model of two layers: what is learned, what is kept, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tickets import NINE, save_tiny_model

from ecomintent_batch.errors import ModelError, OutputError, SourceError, UsageError
from ecomintent_batch.inference.batches import tokenise
from ecomintent_batch.inference.engines import load_engine, open_model
from ecomintent_batch.training.evaluate import score_labelled
from ecomintent_batch.training.export import ExportOptions, export_model
from ecomintent_batch.training.teacher import label_softly
from ecomintent_batch.training.train import (
    LengthGroupedBatches,
    TrainOptions,
    _smooth,
    train_model,
)
from ecomintent_batch.training.training_set import read_training_set

pytestmark = pytest.mark.model

TOPICS = {"BILLING": "refund the order", "LOGIN": "my login is broken"}


def write_labelled(path: Path, count: int = 60) -> Path:
    """Write tickets of two topics that differ by their words."""
    topics = list(TOPICS)
    rows = [{"text": f"{TOPICS[topics[i % 2]]} {i}", "intent": topics[i % 2]} for i in range(count)]
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder with a tokenizer that transformers can load."""
    from transformers import PreTrainedTokenizerFast

    folder = save_tiny_model(tmp_path_factory.mktemp("base") / "tiny", "bert", ["A", "B"])
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        pad_token="[PAD]",  # noqa: S106 - a token of text
        unk_token="[UNK]",  # noqa: S106 - likewise
        model_max_length=64,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tickets, and a model that was trained on them."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_labelled(folder / "own.csv")
    options = TrainOptions(
        str(data),
        folder / "model",
        base_model=str(base),
        epochs=6,
        learning_rate=5e-3,
        batch_size=8,
    )
    train_model(options, lambda text: None)
    return data, folder / "model"


def test_what_was_taught_is_known(trained):
    """The model tells the topics apart, has their labels, and says how it was made."""
    data, folder = trained
    model = open_model(str(folder))
    rows = list(pl.read_csv(data).iter_rows())
    scored = score_labelled(model, load_engine(model, engine="torch", device="cpu"), rows)
    found = [model.labels[i] for i in scored.logits.argmax(axis=1)]
    assert found == [intent for _, intent in rows]
    made = json.loads((folder / "training.json").read_text())
    assert made["labels"] == ["BILLING", "LOGIN"]
    assert made["epochs"][-1]["accuracy"] == 1.0
    assert made["chosen_by"] == f"a tenth of {data}"


def test_a_model_goes_on_from_another(trained, tmp_path):
    """`--init-from` keeps the labels of the model, and refuses tickets of others in one line."""
    data, folder = trained
    report = train_model(
        TrainOptions(str(data), tmp_path / "on", init_from=str(folder), epochs=1), lambda text: None
    )
    assert report["labels"] == ["BILLING", "LOGIN"]
    pl.DataFrame({"text": ["a", "b"] * 20, "intent": ["X", "Y"] * 20}).write_csv(
        tmp_path / "other.csv"
    )
    with pytest.raises(SourceError, match="expected labels of the model"):
        train_model(
            TrainOptions(str(tmp_path / "other.csv"), tmp_path / "no", init_from=str(folder)),
            lambda text: None,
        )


def test_a_training_that_was_stopped_goes_on(base, tmp_path):
    """The checkpoints of a shorter training are gone on from with --resume, and refused without."""
    data = write_labelled(tmp_path / "own.csv")
    short = TrainOptions(
        str(data), tmp_path / "model", base_model=str(base), epochs=1, batch_size=8
    )
    train_model(short, lambda text: None)
    with pytest.raises(OutputError, match="found a model in it"):
        train_model(short, lambda text: None)
    (
        tmp_path / "model" / "config.json"
    ).unlink()  # as if it had been stopped behind its first epoch
    with pytest.raises(OutputError, match="--resume"):
        train_model(short, lambda text: None)
    longer = TrainOptions(
        str(data), tmp_path / "model", base_model=str(base), epochs=2, batch_size=8, resume=True
    )
    assert [row["epoch"] for row in train_model(longer, lambda text: None)["epochs"]] == [1, 2]
    with pytest.raises(UsageError, match="found none"):
        train_model(
            TrainOptions(str(data), tmp_path / "new", base_model=str(base), resume=True),
            lambda text: None,
        )


def test_a_folder_of_export_can_teach(tiny_model, tmp_path):
    """Its weights are of half precision, and a CPU trains in bf16 or fp32."""
    from transformers import AutoModelForSequenceClassification

    half = Path(shutil.copytree(tiny_model, tmp_path / "half"))
    AutoModelForSequenceClassification.from_pretrained(tiny_model).half().save_pretrained(half)
    found, expected = (
        label_softly(
            str(folder),
            ["refund the order"],
            NINE,
            torch.device("cpu"),
            tmp_path / folder.name,
            lambda line: None,
        )
        for folder in (half, tiny_model)
    )
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_a_student_learns_from_its_teacher(trained, base, tmp_path):
    """The teacher's probabilities stand in for labels; a teacher of other labels is refused."""
    data, teacher = trained
    lines: list[str] = []
    soft = label_softly(
        str(teacher),
        ["refund the order", "my login"],
        ["BILLING", "LOGIN"],
        torch.device("cpu"),
        tmp_path,
        lines.append,
    )
    assert soft.argmax(axis=1).tolist() == [0, 1]
    assert soft.sum(axis=1) == pytest.approx(1, abs=1e-5)
    train_model(
        TrainOptions(
            str(data),
            tmp_path / "student",
            base_model=str(base),
            teacher=str(teacher),
            epochs=1,
            joined_share=0,
        ),
        lines.append,
    )
    assert any("the teacher agrees with 100.00% of the labels" in line for line in lines)
    with pytest.raises(ModelError, match="expected a teacher of the labels"):
        label_softly(str(teacher), ["x"], NINE, torch.device("cpu"), tmp_path, lines.append)


def test_a_ticket_with_two_asks_shares_its_target(tmp_path):
    """The dominant ask has the larger share; joined tickets are made of two that differ, and only of realistic ones."""
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [
        {
            "text": f"text {i}",
            "intent": "WISMO" if i % 2 else "OTHER",
            "second_intent": None,
            "source": "corpus",
        }
        for i in range(20)
    ]
    rows += [{"text": "both", "intent": "WISMO", "second_intent": "OTHER", "source": "corpus"}]
    rows += [
        {"text": f"template {i}", "intent": "WISMO", "second_intent": None, "source": "processed"}
        for i in range(20)
    ]
    pl.DataFrame(rows, schema_overrides={"second_intent": pl.String}).write_parquet(
        folder / "train.parquet"
    )
    report = {"intents": {label: {} for label in NINE}, "tokens": {"suggested_max_length": 64}}
    (folder / "report.json").write_text(json.dumps(report))
    found = read_training_set(str(folder), labels=None, dev=None, joined_share=2.0, seed=0)
    assert found.dev.name == "corpus:dev"
    both = found.targets[found.texts.index("both")]
    assert (both[0], both[8]) == pytest.approx((0.75, 0.25))
    assert found.targets.sum(axis=1) == pytest.approx(1)
    joined = found.texts[len(rows) :]
    assert len(joined) > 10
    assert not any("template" in text for text in joined)
    assert np.allclose(np.sort(found.targets[len(rows) :], axis=1)[:, -2:], [0.25, 0.75])


def test_typos_are_one_slip_in_one_word(tmp_path):
    """Half of the texts come once more, with their target, one letter more, fewer or other; placeholders stay whole."""
    source = tmp_path / "own.csv"
    rows = [
        ("refund my order {{Order Number}} by mail", "REFUND"),
        ("cannot log in as me@example.com today", "LOGIN"),
    ]
    pl.DataFrame(rows * 30, schema=["text", "intent"], orient="row").write_csv(source)
    plain, found = (
        read_training_set(
            str(source), labels=None, dev=None, joined_share=0, typo_share=share, seed=3
        )
        for share in (0, 0.5)
    )
    added = found.texts[len(plain.texts) :]
    assert found.texts[: len(plain.texts)] == plain.texts
    assert len(added) == len(plain.texts) // 2
    intent_of = {
        text: found.labels[row.argmax()]
        for text, row in zip(plain.texts, plain.targets, strict=True)
    }
    for text, target in zip(added, found.targets[len(plain.texts) :], strict=True):
        (original,) = (
            before for before in intent_of if found.labels[target.argmax()] == intent_of[before]
        )
        assert text != original
        assert abs(len(text) - len(original)) <= 1
        assert "{{Order Number}}" in text or "me@example.com" in text
        assert sum(a != b for a, b in zip(text.split(), original.split(), strict=True)) == 1


def test_batches_of_like_length_hold_every_row_once():
    """Each epoch has an order of its own, and a seed gives the same one again."""
    lengths = [5, 90, 7, 60, 5, 8, 91, 61]
    batches = LengthGroupedBatches(lengths, 2, seed=1)
    first, second = list(batches), list(batches)
    again = list(LengthGroupedBatches(lengths, 2, seed=1))
    assert sorted(row for batch in first for row in batch) == list(range(8))
    assert first == again != second
    assert all(abs(lengths[a] - lengths[b]) < 10 for a, b in first)


def test_export_ships_what_was_measured(trained, tmp_path):
    """int8, calibration and card are next to the weights, and int8 gives the intents of fp32."""
    data, checkpoint = trained
    measured = export_model(
        ExportOptions(str(checkpoint), tmp_path / "ship", calibrate_on=str(data)), lambda text: None
    )
    assert {path.name for path in (tmp_path / "ship").iterdir()} >= {
        "README.md", "calibration.json", "config.json", "model.safetensors", "onnx", "tokenizer.json"
    }  # fmt: skip
    assert measured["agreement"] >= 0.995
    model = open_model(str(tmp_path / "ship"))
    assert model.calibration["temperature"] == pytest.approx(measured["temperature"], abs=1e-3)
    card = (tmp_path / "ship" / "README.md").read_text()
    assert f"/{data.name} | 60 | 100.00 % | 94.0–100.0 |" in card
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        export_model(
            ExportOptions(str(checkpoint), tmp_path / "ship", calibrate_on=str(data)),
            lambda text: None,
        )


def test_a_temperature_fitted_elsewhere_is_kept(trained, tmp_path):
    """It is written as given, the card says where it comes from, and zero is refused."""
    data, checkpoint = trained
    options = ExportOptions(
        str(checkpoint),
        tmp_path / "ship",
        calibrate_on=str(data),
        temperature=1.75,
        temperature_per_surprisal=0.25,
    )
    export_model(options, lambda text: None)
    model = open_model(str(tmp_path / "ship"))
    strange = tokenise(model.tokenizer, ["order", " ".join(["zyx wvu"] * 40)], model.max_length)
    usual, more = model.temperatures(2, strange)[:, 0]
    assert usual == 1.75 < more
    assert "sources that were left out" in (tmp_path / "ship" / "README.md").read_text()
    with pytest.raises(UsageError, match="--temperature"):
        export_model(replace(options, temperature=0.0), lambda text: None)


def test_weights_of_several_trainings_are_averaged(trained, base, tmp_path):
    """Of three networks whose head's bias is 1, 2 and 6, the mean is 3; other labels are refused."""
    data, checkpoint = trained
    given = []
    for value in (1.0, 2.0, 6.0):
        copied = Path(shutil.copytree(checkpoint, tmp_path / f"bias-{value}"))
        weights = load_file(copied / "model.safetensors")
        weights["classifier.bias"][:] = value
        save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
        given.append(str(copied))
    options = ExportOptions(
        given[0], tmp_path / "ship", calibrate_on=str(data), average_with=tuple(given[1:])
    )
    export_model(options, lambda text: None)
    averaged = load_file(tmp_path / "ship" / "model.safetensors")
    assert averaged["classifier.bias"].tolist() == pytest.approx([3.0, 3.0], abs=1e-3)
    with pytest.raises(ModelError, match="to average with"):
        export_model(
            replace(options, out=tmp_path / "no", average_with=(str(base),)), lambda text: None
        )


def test_smoothing_spreads_a_share_of_every_target():
    """A tenth of the target of two labels is 0.05 each."""
    targets = np.array([[1, 0], [0.75, 0.25]], np.float32)
    np.testing.assert_allclose(_smooth(targets, 0.1), [[0.95, 0.05], [0.725, 0.275]], atol=1e-6)


def test_export_refuses_what_quantising_breaks(base, tmp_path):
    """A head that is set to split the tickets in the middle decides by noise: under the gate nothing is written."""
    rows = [(f"order {i} my {i * 7}", "AB"[i % 2]) for i in range(200)]
    pl.DataFrame(rows, schema=["text", "intent"], orient="row").write_csv(tmp_path / "own.csv")
    checkpoint = Path(shutil.copytree(base, tmp_path / "undecided"))
    model = open_model(str(checkpoint))
    logits = score_labelled(model, load_engine(model, engine="torch", device="cpu"), rows).logits
    weights = load_file(checkpoint / "model.safetensors")
    weights["classifier.bias"][1] -= float(np.median(logits[:, 1] - logits[:, 0]))
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    options = ExportOptions(
        str(checkpoint),
        tmp_path / "ship",
        calibrate_on=str(tmp_path / "own.csv"),
        min_agreement=1.0,
    )
    with pytest.raises(ModelError, match="expected int8 to give the intent of fp32"):
        export_model(options, lambda text: None)
    assert not list(tmp_path.glob("*ship*"))


@pytest.mark.parametrize(("changes", "flag"), [
    ({"epochs": 0}, "--epochs"), ({"learning_rate": 5.0}, "--learning-rate"), ({"teacher_share": 1.5}, "--teacher-share"),
    ({"typo_share": 2}, "--typo-share"), ({"altered_share": 2}, "--altered-share"), ({"smoothing": 0.9}, "--smoothing"),
])  # fmt: skip
def test_what_cannot_be_is_refused_first(changes, flag, tmp_path):
    """Before anything is read."""
    with pytest.raises(UsageError, match=flag):
        train_model(TrainOptions("missing.csv", tmp_path / "out", **changes), lambda text: None)
