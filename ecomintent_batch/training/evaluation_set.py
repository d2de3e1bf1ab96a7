"""A labelled file, or a realistic split → the tickets to judge a model by, their intents spelled as the model spells them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ecomintent_batch.errors import ColumnError, SourceError, UsageError
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.schema import probability_column
from ecomintent_batch.text.message import clean_message, has_words
from ecomintent_batch.training.corpus_files import CORPUS, read_jsonl, read_tickets
from ecomintent_batch.training.labelled_sources import read_file

_CORPUS_PREFIX = "corpus:"
_TWO_ASKS = {"two-asks-dev": "two_intents", "two-asks-test": "two_intents_test"}
_SPLITS = ("train", "dev", "test", *_TWO_ASKS)
_MOST_NAMES, _MOST_UNKNOWN = 8, 100
_LIKE_A_LABEL = re.compile(
    r"[\w.&/+-]{1,40}"
)  # one word: more could be the text of a ticket, and messages never show one

_Row = dict[str, str | None]  # text, label, second_label, by


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled tickets of one source, and how many rows were left out: unreadable, or without words or a label.

    Attributes:
        rows: text and intent.
        seconds: the second ask of each row, where it has one; empty where the source has no such column.
        groups: what `--by` tells apart, for each row; empty without it.
    """

    name: str
    rows: list[tuple[str, str]]
    left_out: int = 0
    seconds: list[str | None] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)


def read_evaluation_set(
    name: str,
    *,
    text_column: str | None = None,
    intent_column: str | None = None,
    by: str | None = None,
) -> EvaluationSet:
    """Read a labelled file (CSV, Parquet, JSON lines), or realistic tickets of this repository by `corpus:dev`.

    Raises:
        SourceError: it cannot be read, or holds no labelled ticket.
        ColumnError: it has no such columns.
        UsageError: no such split, or both columns are one.
    """
    if name.startswith(_CORPUS_PREFIX):
        found, unreadable = _read_split(name, by), 0
    else:
        found, unreadable = _read_own(name, text_column, intent_column, by)
    kept = [row for row in found if _is_labelled(row)]
    left_out = unreadable + len(found) - len(kept)
    if not kept:
        raise SourceError(f"{name}: expected labelled tickets, found none in {left_out:,} rows")
    return EvaluationSet(
        name,
        [(row["text"] or "", (row["label"] or "").strip()) for row in kept],
        left_out,
        [row["second_label"] for row in kept] if any(row["second_label"] for row in kept) else [],
        [row["by"] for row in kept] if by else [],
    )


def match_labels(tickets: EvaluationSet, labels: Sequence[str]) -> EvaluationSet:
    """Return the tickets with their intents as the model spells them; case and punctuation do not matter.

    Raises:
        ColumnError: an intent that the model does not know.
    """
    spelled = {probability_column(label): label for label in labels}
    unknown = Counter(
        label for _, label in tickets.rows if probability_column(label) not in spelled
    )
    if unknown:
        raise ColumnError(
            f"{tickets.name}: expected labels of the model ({list_names(labels)}), found {_describe(list(unknown))} "
            f"in {unknown.total():,} of {len(tickets.rows):,} tickets; relabel them, or name the column with --intent-column"
        )
    return replace(
        tickets,
        rows=[(text, spelled[probability_column(label)]) for text, label in tickets.rows],
        seconds=[
            spelled.get(probability_column(second)) if second else None
            for second in tickets.seconds
        ],
    )


def _describe(unknown: Sequence[str]) -> str:
    if len(unknown) > _MOST_UNKNOWN or not all(_LIKE_A_LABEL.fullmatch(label) for label in unknown):
        return f"{len(unknown):,} other{'s' if len(unknown) > 1 else ''}"
    return ", ".join(unknown[:_MOST_NAMES]) + (
        f" and {len(unknown) - _MOST_NAMES} more" if len(unknown) > _MOST_NAMES else ""
    )


def _is_labelled(row: _Row) -> bool:
    text, label = row["text"], row["label"]
    return bool(text and label and label.strip() and has_words(clean_message([text])))


def _read_split(name: str, by: str | None) -> list[_Row]:
    split = name.removeprefix(_CORPUS_PREFIX)
    if split not in _SPLITS:
        known = ", ".join(_CORPUS_PREFIX + each for each in _SPLITS)
        raise UsageError(f"{name}: expected one of {known}, found another split")
    tickets = read_jsonl(_TWO_ASKS[split]) if split in _TWO_ASKS else read_tickets(split)
    if not tickets:
        raise SourceError(
            f"{name}: expected realistic tickets in {CORPUS}, found none; use a checkout of the repository"
        )
    if by is not None and by not in tickets[0]:
        raise ColumnError(f"{name}: expected a column {by}, found {list_names(list(tickets[0]))}")
    return [
        {
            "text": row["text"],
            "label": row["intent"],
            "second_label": row.get("second_intent"),
            "by": row[by] if by else None,
        }
        for row in tickets
    ]


def _read_own(
    name: str, text_column: str | None, intent_column: str | None, by: str | None
) -> tuple[list[_Row], int]:
    if text_column is not None and text_column == intent_column:
        raise UsageError(
            f"--text-column and --intent-column: expected two columns, found {text_column} twice"
        )
    try:
        labelled = read_file(name, text_column=text_column, intent_column=intent_column, by=by)
    except ColumnError as error:
        raise ColumnError(f"{error}; name it with --text-column or --intent-column") from None
    return labelled.rows.to_dicts(), labelled.rejected
