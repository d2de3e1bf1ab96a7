"""Labelled texts of one place → rows of text, label, source and split: files, the hub, a processed split, the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ecomintent_batch.columns import list_names
from ecomintent_batch.errors import ColumnError, SourceError
from ecomintent_batch.sources import open_source
from ecomintent_batch.textfiles import Reject
from ecomintent_batch.training.dataset import CORPUS, read_corpus

SPLITS = ("train", "validation", "test")
BITEXT_ON_THE_HUB = (
    "bitext/Bitext-retail-ecommerce-llm-chatbot-training-dataset",
    "bitext/Bitext-customer-support-llm-chatbot-training-dataset",
)
_TEXTS = ("utterance", "instruction", "text")
_LABELS = ("intent", "label")
SCHEMA = {"text": pl.String, "label": pl.String, "source": pl.String, "split": pl.String}


@dataclass(frozen=True)
class Labelled:
    """Rows of one source: columns of `SCHEMA`, where `split` is null for rows that are yet to be split."""

    rows: pl.DataFrame
    rejected: int = 0


def read_file(location: str, *, text_column: str | None = None, intent_column: str | None = None) -> Labelled:
    """Read text and label of a CSV, Parquet or JSON lines file, which may be a glob or a folder.

    Raises:
        SourceError: the file cannot be read.
        ColumnError: it has no such columns.
    """
    source = open_source(location)
    text = _find_column(location, source.columns, text_column, _TEXTS, "the text")
    label = _find_column(location, source.columns, intent_column, _LABELS, "the intent")
    rejects: list[Reject] = []
    pairs = [(batch.table[text], batch.table[label]) for batch in source.read([text, label], [text, label], rejects.append)]
    texts = [value for column, _ in pairs for value in column.to_pylist()]
    labels = [value for _, column in pairs for value in column.to_pylist()]
    return Labelled(_frame(texts, labels, Path(location).name.partition(".")[0] or location), len(rejects))


def read_hub(dataset: str) -> Labelled:
    """Download the CSV and Parquet files of a Hugging Face dataset once into the hub's cache, and read them.

    Raises:
        SourceError: no such dataset, the hub cannot be reached, or there is no such file in it.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(dataset, repo_type="dataset", allow_patterns=["*.csv", "*.parquet"]))
    except Exception as error:  # the hub client raises its own, the HTTP client's and OS errors
        raise SourceError(
            f"{dataset}: expected a dataset on the Hugging Face hub, found: {type(error).__name__}; name downloaded files"
        ) from None
    found = [read_file(str(file)) for file in sorted([*folder.rglob("*.csv"), *folder.rglob("*.parquet")])]
    if not found:
        raise SourceError(f"{dataset}: expected CSV or Parquet files in the dataset, found none")
    rows = pl.concat([labelled.rows for labelled in found]).with_columns(source=pl.lit(dataset.rpartition("/")[2]))
    return Labelled(rows, sum(labelled.rejected for labelled in found))


def read_processed(folder: Path) -> list[Labelled]:
    """Read `train`, `validation` and `test.parquet` of a folder; every row keeps its split."""
    found = []
    for split in SPLITS:
        labelled = read_file(str(folder / f"{split}.parquet"))
        found.append(Labelled(labelled.rows.with_columns(source=pl.lit("processed"), split=pl.lit(split)), labelled.rejected))
    return found


def read_realistic() -> list[Labelled]:
    """Read the realistic tickets of this project; its dev split is for validation.

    Raises:
        SourceError: the corpus is not there: it stands in the repository, not in the installed package.
    """
    if not CORPUS.is_dir():
        raise SourceError(f"{CORPUS}: expected the corpus, found none; use a checkout of the repository, or --no-corpus")
    return [
        Labelled(_frame([text for text, _ in rows], [intent for _, intent in rows], "corpus", split))
        for split, rows in (("train", read_corpus("train")), ("validation", read_corpus("dev")))
    ]


def _frame(texts: Sequence[str | None], labels: Sequence[str | None], source: str, split: str | None = None) -> pl.DataFrame:
    rows = pl.DataFrame({"text": texts, "label": labels}, schema={"text": pl.String, "label": pl.String})
    return rows.with_columns(source=pl.lit(source), split=pl.lit(split, pl.String))


def _find_column(name: str, columns: Sequence[str], named: str | None, usual: Sequence[str], what: str) -> str:
    wanted = [named] if named else [column for column in usual if column in columns]
    if not wanted or wanted[0] not in columns:
        raise ColumnError(f"{name}: expected a column {named or ' or '.join(usual)} with {what}, found {list_names(columns)}")
    return wanted[0]
