"""Real messages: two readers' labels become one target, and what they wrote wins over templates."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from ecomintent_batch.errors import SourceError
from ecomintent_batch.text.message import hash_message
from ecomintent_batch.training import real_messages
from ecomintent_batch.training.build import DatasetOptions, build_dataset
from ecomintent_batch.training.corpus_files import CORPUS, INTENTS, read_real_style
from ecomintent_batch.training.product_fragments import product_fragments
from ecomintent_batch.training.real_messages import read_real, share_between
from ecomintent_batch.training.training_set import read_training_set


def write_lines(file: Path, rows: list[dict[str, object]]) -> Path:
    """Write a JSON lines file, and return its folder."""
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file.parent


@pytest.mark.parametrize(
    ("readings", "shared"),
    [
        ([("WISMO", None)], ("WISMO", None, 1.0)),
        ([("WISMO", None), ("WISMO", None)], ("WISMO", None, 1.0)),
        ([("WISMO", "OTHER")], ("WISMO", "OTHER", 0.75)),
        ([("WISMO", None), ("OTHER", None)], ("WISMO", "OTHER", 0.5)),
        ([("WISMO", None), ("WISMO", "OTHER")], ("WISMO", "OTHER", 0.875)),  # 1.75 of 2
        # 0.75 + 0.25 against 0.25 + 0.75
        ([("WISMO", "OTHER"), ("OTHER", "WISMO")], ("WISMO", "OTHER", 0.5)),
        # 0.75 of the first, 0.25 and 1 of two others: the likelier one stays, 0.75 / 1.75
        ([("WISMO", "OTHER"), ("ACCOUNT_ISSUE", None)], ("WISMO", "ACCOUNT_ISSUE", 3 / 7)),
        ([("WISMO", "WISMO")], ("WISMO", None, 1.0)),
    ],
)
def test_readers_share_a_target(readings, shared):
    """Each reader has one vote, three quarters of it for the first intent named."""
    label, second, share = share_between(readings)
    assert (label, second) == shared[:2]
    assert share == pytest.approx(shared[2])


def test_a_second_reading_counts_where_the_file_has_one_reader(tmp_path, monkeypatch):
    """It is found by the hash of the cleaned message; a file that two readers labelled needs none."""
    readings = tmp_path / "second.tsv"
    readings.write_text(f"{hash_message('where is it')}\tOTHER\t\n")
    monkeypatch.setattr(real_messages, "SECOND_READINGS", readings)
    folder = write_lines(
        tmp_path / "real" / "a.jsonl",
        [
            {"text": "where  is it", "intent": "WISMO", "source": "shop", "readers": 1},
            {"text": "where is it ", "intent": "WISMO", "source": "shop", "readers": 2},
            {"text": "hm", "intent": "OTHER", "source": "shop", "agreed": False},
        ],
    )
    rows = read_real(folder).rows
    assert rows["second_label"].to_list() == ["OTHER", None]
    assert rows["first_share"].to_list() == [0.5, 1.0]
    assert set(rows["source"]) == {"shop"}


@pytest.mark.parametrize("line", ['{"text": "a", "intent": "OTHER"}', "[1]", "{"])
def test_a_line_that_is_no_message_is_named(tmp_path, line):
    """The error names file and line, never the text."""
    (tmp_path / "b.jsonl").write_text(line)
    with pytest.raises(
        SourceError, match=r"b\.jsonl, line 1: expected an object with text"
    ) as caught:
        read_real(tmp_path)
    assert line not in str(caught.value)


def test_a_folder_without_messages_is_refused(tmp_path):
    """A wrong folder is told at once."""
    with pytest.raises(SourceError, match="found none"):
        read_real(tmp_path)


def test_real_messages_win_over_templates_and_keep_their_shares(tmp_path, tiny_model):
    """A text that both have keeps the real label; targets are the shares; a weight names one source."""
    processed = tmp_path / "processed"
    processed.mkdir()
    for name, texts in (
        ("train", ["where is my refund", "track it"]),
        ("validation", ["hm hm"]),
        ("test", ["so so"]),
    ):
        pl.DataFrame({"text": texts, "intent": ["WISMO"] * len(texts)}).write_parquet(
            processed / f"{name}.parquet"
        )
    folder = write_lines(
        tmp_path / "real" / "a.jsonl",
        [
            {"text": "Where is my refund", "intent": "BILLING_DISPUTE", "source": "shop"},
            {"text": "whey", "intent": "PRODUCT_QUESTION", "also": "OTHER", "source": "chat"},
            {"text": "so so", "intent": "OTHER", "source": "chat"},  # a test row: it yields
        ],
    )
    options = DatasetOptions(
        processed=processed, real=folder, corpus=False, model=str(tiny_model), weights=("chat=3",)
    )
    build_dataset(options, tmp_path / "out")
    train = pl.read_parquet(tmp_path / "out" / "train.parquet")
    assert Counter(train.select("text", "intent").iter_rows()) == {
        ("Where is my refund", "BILLING_DISPUTE"): 1,
        ("track it", "WISMO"): 1,
        ("whey", "PRODUCT_QUESTION"): 3,
    }
    data = read_training_set(
        str(tmp_path / "out"), labels=list(INTENTS), dev=None, joined_share=0, seed=0
    )
    target = dict(zip(data.texts, data.targets.tolist(), strict=True))["whey"]
    assert target == [0, 0, 0, 0, 0, 0, 0.75, 0, 0.25]


def test_fragments_name_products_of_the_list():
    """They differ, a seed gives the same ones, and each holds a name; bare names are among them."""
    names = (CORPUS / "product_names.txt").read_text().splitlines()
    fragments = product_fragments(300, seed=1)
    assert fragments == product_fragments(300, seed=1) != product_fragments(300, seed=2)
    assert 200 < len(set(fragments)) == len(fragments) <= 300
    assert all(any(name in fragment for name in names) for fragment in fragments)
    assert set(fragments) & set(names)


def test_the_written_messages_are_what_the_guide_says():
    """Nine intents, every thin one at least 150 times, at least 400 near misses, no text twice."""
    messages = read_real_style()
    intents = Counter(message["intent"] for message in messages)
    assert set(intents) == set(INTENTS)
    assert min(intents.values()) >= 150
    assert Counter(message["kind"] for message in messages)["near_miss"] >= 400
    assert len({message["text"].casefold() for message in messages}) == len(messages) >= 1500
