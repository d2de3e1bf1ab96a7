"""A shop's own labelled tickets, and the package's messages that are replayed with them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ecomintent_batch.analytics.review_sheet import LABEL, RIGHT
from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.columns import pick_columns
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.text.message import clean_message, has_words
from ecomintent_batch.training.corpus_files import CORPUS
from ecomintent_batch.training.evaluation_set import EvaluationSet, match_labels
from ecomintent_batch.training.labelled_sources import read_file

REVIEWED = ("labelled.parquet", "control.parquet")  # what `review import` writes
LEAST_TICKETS = 20
_MOST_UNLABELLED, _MOST_CHARS = 50_000, 1000
_REPLAYED_CHARS = 160  # a long mail costs as much as ten short messages, and guards no better
_TRAINING_FILES = ("batch_*.jsonl", "pairs_*.jsonl", "real_style_*.jsonl")


@dataclass(frozen=True)
class OwnTickets:
    """Distinct labelled messages; `at_random` says which were drawn at random, so that they measure the accuracy."""

    messages: list[str]
    intents: list[str]
    at_random: list[bool]


def is_own_tickets(location: str) -> bool:
    """Return whether a location holds labelled tickets, not the splits that `dataset` makes."""
    return not (Path(location) / "report.json").exists()


def read_own_tickets(location: str, labels: list[str]) -> OwnTickets:
    """Read a folder that `review import` wrote, or any labelled file; of equal messages the last label counts.

    Raises:
        SourceError: It cannot be read, or holds fewer than 20 labelled tickets.
        ColumnError: A label that the model does not have.
    """
    rows = pl.concat([read_labelled_rows(file) for file in list_labelled_files(location)])
    rows = rows.filter(pl.col("message") != "").unique("message", keep="last", maintain_order=True)
    if len(rows) < LEAST_TICKETS:
        raise SourceError(
            f"{location}: expected at least {LEAST_TICKETS} labelled tickets, found {len(rows)}; label more"
        )
    pairs = list(rows.select("message", "label").iter_rows())
    matched = match_labels(EvaluationSet(location, pairs), labels)
    return OwnTickets(
        rows["message"].to_list(),
        [intent for _, intent in matched.rows],
        rows["at_random"].to_list(),
    )


def pick_replayed(
    count: int, seed: int, *, without: Sequence[str], chars: tuple[int, int] = (0, _REPLAYED_CHARS)
) -> list[str]:
    """Return messages that the package's model was trained on, drawn at random; none where there is no corpus.

    Args:
        count: How many, at most.
        seed: Of the draw.
        without: Messages that are not wanted.
        chars: Their least and greatest length.
    """
    messages = [message for message, _ in read_package_messages(without, chars)]
    rng = random.Random(seed)  # noqa: S311 - a training set, not a secret
    return rng.sample(messages, min(count, len(messages)))


def read_package_messages(
    without: Sequence[str], chars: tuple[int, int] = (0, _REPLAYED_CHARS)
) -> list[tuple[str, str]]:
    """Return messages of some lengths, with their intents, that the package's model was trained on."""
    known = set(without)
    return [
        row
        for pattern in _TRAINING_FILES
        for file in sorted(CORPUS.glob(pattern))
        for row in _read_training_messages(file)
        if chars[0] <= len(row[0]) <= chars[1] and row[0] not in known
    ]


def read_unlabelled(location: str, count: int, seed: int, without: Sequence[str]) -> list[str]:
    """Return distinct messages of an export, drawn at random from its first 50,000 rows.

    Raises:
        SourceError: It cannot be read.
        ColumnError: No column with text is found.
    """
    source = open_source(location)
    columns = pick_columns(source.name, source.columns, nested=source.nested).texts
    found: dict[str, None] = {}
    for batch in source.read(columns, columns):
        texts = zip(*(batch.table[name].to_pylist() for name in columns), strict=True)
        found |= dict.fromkeys(clean_message(row) for row in texts)
        if len(found) > _MOST_UNLABELLED:
            break
    known = set(without)
    messages = [text[:_MOST_CHARS] for text in found if has_words(text) and text not in known]
    rng = random.Random(seed)  # noqa: S311 - a training set, not a secret
    return rng.sample(messages, min(count, len(messages)))


def list_labelled_files(location: str) -> list[Path]:
    """Return the files of a folder that `review import` wrote, or the file itself."""
    folder = Path(location)
    if not folder.is_dir():
        return [folder]
    files = [folder / name for name in REVIEWED if (folder / name).exists()]
    if not files:
        raise SourceError(
            f"{location}: expected {REVIEWED[0]} of `review import`, found none; give a folder of it, or a labelled file"
        )
    return files


def read_labelled_rows(file: Path) -> pl.DataFrame:
    """Return message, label and at_random of a labelled file, or of a corrected review sheet; no words, an empty message."""
    is_sheet = {"message", LABEL, "top_intent"} <= set(open_source(str(file)).columns)
    rows = read_file(
        str(file),
        text_column="message" if is_sheet else None,
        intent_column=LABEL if is_sheet else None,
        further={"reason": "reason"} | ({"top_intent": "top_intent"} if is_sheet else {}),
    ).rows
    if is_sheet:
        is_right = pl.col("label").str.strip_chars().str.to_lowercase() == RIGHT
        rows = rows.with_columns(label=pl.when(is_right).then("top_intent").otherwise("label"))
    rows = rows.drop_nulls(["text", "label"]).filter(pl.col("label").str.strip_chars() != "")
    at_random = pl.lit(file.name == "control.parquet")
    if "reason" in rows.columns:
        at_random = (pl.col("reason") == "control").fill_null(value=False)
    messages = [clean_message([text]) for text in rows["text"]]
    return rows.select(
        pl.Series("message", [text if has_words(text) else "" for text in messages], pl.String),
        "label",
        at_random=at_random,
    )


def _read_training_messages(file: Path) -> list[tuple[str, str]]:
    """Return the messages of a corpus file that are for training, with intents; dev and test stay unseen."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        (clean_message([line["text"]]), line["intent"])
        for line in lines
        if line.get("split", "train") == "train"
    ]
