"""A labelled file, or a realistic split → the tickets to judge a model by, their intents spelled as the model spells them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ecomintent_batch.clean import clean_message, has_words
from ecomintent_batch.columns import list_names
from ecomintent_batch.errors import ColumnError, SourceError, UsageError
from ecomintent_batch.schema import probability_column
from ecomintent_batch.training.dataset import CORPUS, read_corpus
from ecomintent_batch.training.labelled_sources import read_file

_CORPUS_PREFIX = "corpus:"
_SPLITS = ("train", "dev")
_MOST_NAMES, _MOST_UNKNOWN = 8, 100
_LIKE_A_LABEL = re.compile(r"[\w.&/+-]{1,40}")  # one word: more could be the text of a ticket, and messages never show one


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled tickets of one source, and how many rows were left out: unreadable, or without words or a label."""

    name: str
    rows: list[tuple[str, str]]  # text, intent
    left_out: int = 0


def read_evaluation_set(name: str, *, text_column: str | None = None, label_column: str | None = None) -> EvaluationSet:
    """Read a labelled file (CSV, Parquet, JSON lines), or a realistic split of this repository by `corpus:dev`.

    Raises:
        SourceError: it cannot be read, or holds no labelled ticket.
        ColumnError: it has no such columns.
        UsageError: no such split, or both columns are one.
    """
    if name.startswith(_CORPUS_PREFIX):
        found: Sequence[tuple[str | None, str | None]] = _read_split(name)
        unreadable = 0
    else:
        found, unreadable = _read_pairs(name, text_column, label_column)
    rows = [
        (text, label.strip()) for text, label in found if text and label and label.strip() and has_words(clean_message([text]))
    ]
    left_out = unreadable + len(found) - len(rows)
    if not rows:
        raise SourceError(f"{name}: expected labelled tickets, found none in {left_out:,} rows")
    return EvaluationSet(name, rows, left_out)


def match_labels(tickets: EvaluationSet, labels: Sequence[str]) -> EvaluationSet:
    """Return the tickets with their intents as the model spells them; case and punctuation do not matter.

    Raises:
        ColumnError: an intent that the model does not know.
    """
    spelled = {probability_column(label): label for label in labels}
    unknown = Counter(label for _, label in tickets.rows if probability_column(label) not in spelled)
    if unknown:
        raise ColumnError(
            f"{tickets.name}: expected labels of the model ({list_names(labels)}), found {_describe(list(unknown))} "
            f"in {unknown.total():,} of {len(tickets.rows):,} tickets; relabel them, or name the right column with --label-column"
        )
    return replace(tickets, rows=[(text, spelled[probability_column(label)]) for text, label in tickets.rows])


def _describe(unknown: Sequence[str]) -> str:
    if len(unknown) > _MOST_UNKNOWN or not all(_LIKE_A_LABEL.fullmatch(label) for label in unknown):
        return f"{len(unknown):,} other{'s' if len(unknown) > 1 else ''}"
    return ", ".join(unknown[:_MOST_NAMES]) + (f" and {len(unknown) - _MOST_NAMES} more" if len(unknown) > _MOST_NAMES else "")


def _read_split(name: str) -> list[tuple[str, str]]:
    split = name.removeprefix(_CORPUS_PREFIX)
    if split not in _SPLITS:
        raise UsageError(f"{name}: expected {' or '.join(_CORPUS_PREFIX + known for known in _SPLITS)}, found another split")
    rows = read_corpus(split)
    if not rows:
        raise SourceError(f"{name}: expected realistic tickets in {CORPUS}, found none; use a checkout of the repository")
    return rows


def _read_pairs(name: str, text_column: str | None, label_column: str | None) -> tuple[list[tuple[str | None, str | None]], int]:
    if text_column is not None and text_column == label_column:
        raise UsageError(f"--text-column and --label-column: expected two columns, found {text_column} twice")
    try:
        labelled = read_file(name, text_column=text_column, intent_column=label_column)
    except ColumnError as error:
        raise ColumnError(f"{error}; name it with --text-column or --label-column") from None
    return list(labelled.rows.select("text", "label").iter_rows()), labelled.rejected
