"""Labelled texts of one place → rows of text, labels, source and split: files, the hub, the corpus."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from ecomintent_batch.errors import ColumnError, SourceError
from ecomintent_batch.inference.hub import fetch_from_hub
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.training.corpus_files import (
    CORPUS,
    read_corpus,
    read_real_style,
    read_two_asks,
)
from ecomintent_batch.training.product_fragments import product_fragments

SPLITS = ("train", "validation", "test")
BITEXT_ON_THE_HUB = (
    "bitext/Bitext-retail-ecommerce-llm-chatbot-training-dataset",
    "bitext/Bitext-customer-support-llm-chatbot-training-dataset",
)
_TEXTS = ("utterance", "instruction", "text", "sentence")
_LABELS = ("intent", "label")
_MAPS = Path(__file__).parent / "maps"
_PER_INTENT = 250  # of a public set, so that card questions do not become what BILLING_DISPUTE means; twice that of OTHER


@dataclass(frozen=True)
class Labelled:
    """Rows of one source.

    Attributes:
        rows: text, label, second_label (of a ticket with two asks, else null), first_share (probability of the label
            where there are two, null: the default), source, split (null: yet to be split).
        unlabelled: texts without a label of use, for a teacher to label.
    """

    rows: pl.DataFrame
    rejected: int = 0
    unlabelled: tuple[str, ...] = ()


def read_file(
    location: str,
    *,
    text_column: str | None = None,
    intent_column: str | None = None,
    further: Mapping[str, str] = MappingProxyType({}),
) -> Labelled:
    """Read text and label of a CSV, Parquet or JSON lines file, which may be a glob or a folder.

    A column `second_intent` becomes the second label; `further` names columns to read where the file has them, as text,
    by the name that they get.

    Raises:
        SourceError: the file cannot be read.
        ColumnError: it has no such columns.
    """
    source = open_source(location)
    text = _find_column(location, source.columns, text_column, _TEXTS, "the text")
    label = _find_column(location, source.columns, intent_column, _LABELS, "the intent")
    wanted = {"text": text, "label": label}
    optional = {"second_label": "second_intent", **further}
    wanted |= {name: column for name, column in optional.items() if column in source.columns}
    columns = list(dict.fromkeys(wanted.values()))
    batches = list(source.read(columns, columns))
    read = {
        name: [value for batch in batches for value in batch.table[column].to_pylist()]
        for name, column in wanted.items()
    }
    rows = _frame(
        read.pop("text"), read.pop("label"), Path(location).name.partition(".")[0] or location
    )
    return Labelled(
        rows.with_columns(
            pl.Series(name, [None if value is None else str(value) for value in values], pl.String)
            for name, values in read.items()
        ),
        sum(len(batch.rejects) for batch in batches),
    )


def read_hub(dataset: str) -> Labelled:
    """Download the CSV and Parquet files of a Hugging Face dataset once into the hub's cache, and read them.

    Raises:
        SourceError: no such dataset, the hub cannot be reached, or there is no such file in it.
    """
    try:
        folder = fetch_from_hub(dataset, ["*.csv", "*.parquet"], repo_type="dataset")
    except Exception as error:  # the hub client raises its own, the HTTP client's and OS errors
        raise SourceError(
            f"{dataset}: expected a dataset on the Hugging Face hub, found: {type(error).__name__}; name downloaded files"
        ) from None
    found = [
        read_file(str(file))
        for file in sorted([*folder.rglob("*.csv"), *folder.rglob("*.parquet")])
    ]
    if not found:
        raise SourceError(f"{dataset}: expected CSV or Parquet files in the dataset, found none")
    rows = pl.concat([labelled.rows for labelled in found]).with_columns(
        source=pl.lit(dataset.rpartition("/")[2])
    )
    return Labelled(rows, sum(labelled.rejected for labelled in found))


def read_processed(folder: Path) -> list[Labelled]:
    """Read `train`, `validation` and `test.parquet` of a folder; every row keeps its split."""
    found = []
    for split in SPLITS:
        labelled = read_file(str(folder / f"{split}.parquet"))
        found.append(
            Labelled(
                labelled.rows.with_columns(source=pl.lit("processed"), split=pl.lit(split)),
                labelled.rejected,
            )
        )
    return found


def read_realistic() -> list[Labelled]:
    """Read the realistic tickets of this project; its dev split is for validation.

    Raises:
        SourceError: the corpus is not there: it is in the repository, not in the installed package.
    """
    if not CORPUS.is_dir():
        raise SourceError(
            f"{CORPUS}: expected the corpus, found none; use a checkout of the repository, or --no-corpus"
        )
    two = read_two_asks()
    asks = _frame(
        [row["text"] for row in two], [row["intent"] for row in two], "corpus", "train"
    ).with_columns(second_label=pl.Series([row["second_intent"] for row in two], dtype=pl.String))
    train, dev = (
        _frame([text for text, _ in rows], [intent for _, intent in rows], "corpus", split)
        for split, rows in (("train", read_corpus("train")), ("validation", read_corpus("dev")))
    )
    fragments = product_fragments()
    products = _frame(fragments, ["PRODUCT_QUESTION"] * len(fragments), "product_names", "train")
    return [
        Labelled(products),
        Labelled(pl.concat([train, asks])),
        Labelled(_read_real_style()),
        Labelled(dev),
    ]


def _read_real_style() -> pl.DataFrame:
    messages = read_real_style()
    rows = _frame(
        [row["text"] for row in messages],
        [row["intent"] for row in messages],
        "real_style",
        "train",
    )
    return rows.with_columns(
        second_label=pl.Series([row.get("second_intent") for row in messages], dtype=pl.String)
    )


def read_public(folder: Path) -> list[Labelled]:
    """Read the train queries of Banking77 and CLINC150 under a folder, by `maps/`; the test queries stay unseen.

    A query whose label is not in the map, or that is one too many of its intent, is unlabelled.

    Raises:
        SourceError: the folder lacks `banking77/train.csv` or `clinc150/data_full.json`, as published.
    """
    try:
        banking = pl.read_csv(folder / "banking77" / "train.csv").select("text", "category").rows()
        clinc = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
        queries = {
            "banking77": banking,
            "clinc150": [*map(tuple, clinc["train"] + clinc["oos_train"])],
        }
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise SourceError(
            f"{folder}: expected banking77/train.csv and clinc150/data_full.json as published, found: {type(error).__name__}"
        ) from None
    return [_map_public(name, rows) for name, rows in queries.items()]


def _map_public(name: str, rows: Sequence[tuple[str, ...]]) -> Labelled:
    table = tomllib.loads((_MAPS / f"{name}.toml").read_text(encoding="utf-8"))
    intent_of = {label: intent for intent, labels in table.items() for label in labels}
    counts = dict.fromkeys(table, 0)
    labelled, unlabelled = [], []
    for text, label in random.Random(0).sample(rows, len(rows)):  # noqa: S311 - a training set, not a secret
        intent = intent_of.get(label)
        if intent is None or counts[intent] >= _PER_INTENT * (2 if intent == "OTHER" else 1):
            unlabelled.append(text)
            continue
        counts[intent] += 1
        labelled.append((text, intent))
    texts, intents = zip(*labelled, strict=True)
    return Labelled(_frame(texts, intents, name, "train"), unlabelled=tuple(unlabelled))


def _frame(
    texts: Sequence[str | None], labels: Sequence[str | None], source: str, split: str | None = None
) -> pl.DataFrame:
    rows = pl.DataFrame(
        {"text": texts, "label": labels}, schema={"text": pl.String, "label": pl.String}
    )
    return rows.with_columns(
        second_label=pl.lit(None, pl.String),
        first_share=pl.lit(None, pl.Float64),
        source=pl.lit(source),
        split=pl.lit(split, pl.String),
    )


def _find_column(
    name: str, columns: Sequence[str], named: str | None, usual: Sequence[str], what: str
) -> str:
    wanted = [named] if named else [column for column in usual if column in columns]
    if not wanted or wanted[0] not in columns:
        raise ColumnError(
            f"{name}: expected a column {named or ' or '.join(usual)} with {what}, found {list_names(columns)}"
        )
    return wanted[0]
