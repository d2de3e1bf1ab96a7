"""Labelled files, folders of them, or a split of the corpus → the tickets to judge a model by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from ecomintent_batch.errors import ColumnError, SourceError, UsageError
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.schema import probability_column
from ecomintent_batch.storage.atomic import write_parquet
from ecomintent_batch.text.message import clean_message, has_words
from ecomintent_batch.training.corpus_files import CORPUS, read_jsonl, read_tickets
from ecomintent_batch.training.evaluation_records import Kind
from ecomintent_batch.training.labelled_sources import read_file

HELD_OUT = "held_out.parquet"
"""In a model's folder: the labelled tickets that its training kept out, to choose the best epoch by."""

_CORPUS_PREFIX = "corpus:"
_MULTI_INTENT = {"two-asks-dev": "two_intents", "two-asks-test": "two_intents_test"}
_SPLITS = ("train", "dev", "test", *_MULTI_INTENT)
_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")  # of labelled files in a folder
_MOST_NAMES, _MOST_UNKNOWN = 8, 100
_LIKE_A_LABEL = re.compile(
    r"[\w.&/+-]{1,40}"
)  # one word: more could be the text of a ticket, and messages never show one
_PLACEHOLDER = re.compile(r"\{\{[^{}]+\}\}")  # as the case study's templates leave them
_TEMPLATE_SHARE = 0.02  # 7 % of the case study's texts have a placeholder, none of 5,019 real ones

_Row = dict[str, str | None]  # text, label, second_label, also, agreed, by


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled tickets of one source.

    Attributes:
        rows: Text and intent of each ticket.
        skipped: Rows that could not be read, or without words or a label.
        disputed: Rows with agreed=false, skipped: two readers gave two labels.
        seconds: The second ask of each row, or None; empty where the source has no such column.
        also: A second label that a reader found equally defensible, or None; empty likewise.
        groups: Value of the `--by` column of each row; empty without it.
    """

    name: str
    rows: list[tuple[str, str]]
    skipped: int = 0
    disputed: int = 0
    seconds: list[str | None] = field(default_factory=list)
    also: list[str | None] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """Whether the texts are the model-written corpus, a template with placeholders, or neither."""
        if self.name.startswith(_CORPUS_PREFIX):
            return "synthetic"
        templates = sum(_PLACEHOLDER.search(text) is not None for text, _ in self.rows)
        return "template" if templates > _TEMPLATE_SHARE * len(self.rows) else "messages"


def find_held_out(model: str | Path) -> str | None:
    """Return the tickets that the training of a model kept out; None where its folder has none."""
    file = Path(model) / HELD_OUT
    return str(file) if file.exists() else None


def write_held_out(tickets: EvaluationSet, folder: Path) -> None:
    """Write tickets into a model's folder, unless they are of the corpus, which is there anyway."""
    if not tickets.name.startswith(_CORPUS_PREFIX):
        table = pa.table(
            {
                "text": [text for text, _ in tickets.rows],
                "intent": [label for _, label in tickets.rows],
            }
        )
        write_parquet(table, folder / HELD_OUT)


def read_evaluation_sets(
    names: Sequence[str],
    *,
    text_column: str | None = None,
    intent_column: str | None = None,
    by: str | None = None,
    note: Callable[[str], None] = print,
) -> list[EvaluationSet]:
    """Read labelled files, each labelled file of a folder, and splits of the corpus; each becomes one set.

    A file of a folder without the two columns is skipped with a note. The `by` column may be missing in some of several
    sets, but not in all.

    Raises:
        SourceError: A file cannot be read, or a set holds no labelled ticket.
        ColumnError: A file has no such columns.
        UsageError: No such split, or both columns are one.
    """
    sets, missing = [], []
    for name in names:
        files = _list_files(name)
        for file in files:
            try:
                tickets, lacks_by = _read_one(file, (text_column, intent_column), by)
            except ColumnError:
                if files == [name]:
                    raise
                note(f"{file}: skipped, it has no columns with text and intent")
                continue
            sets.append(tickets)
            missing += [file] if lacks_by else []
    if not sets:
        raise SourceError(f"{', '.join(names)}: expected labelled tickets, found none")
    if by is not None and len(missing) == len(sets):
        columns = list_names(_list_columns(missing[0]))
        raise ColumnError(
            f"{missing[0]}: expected a column {by}, found {columns}; give another --by"
        )
    for name in missing:
        note(f"{name}: no column {by}, judged as a whole")
    return sets


def read_evaluation_set(
    name: str, *, text_column: str | None = None, intent_column: str | None = None
) -> EvaluationSet:
    """Read one labelled file (CSV, Parquet, JSON lines), or one split of the corpus by `corpus:dev`.

    Raises:
        SourceError: It cannot be read, or holds no labelled ticket.
        ColumnError: It has no such columns.
        UsageError: No such split, or both columns are one.
    """
    return _read_one(name, (text_column, intent_column), None)[0]


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
        seconds=[_spell(label, spelled) for label in tickets.seconds],
        also=[_spell(label, spelled) for label in tickets.also],
    )


def _list_files(name: str) -> list[str]:
    """Return the labelled files of a folder, or the name itself."""
    folder = Path(name)
    if name.startswith(_CORPUS_PREFIX) or not folder.is_dir():
        return [name]
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith((".", "_"))
    )
    if not files:
        raise SourceError(
            f"{name}: expected CSV, Parquet or JSON lines files in the folder, found none"
        )
    return [str(path) for path in files]


def _read_one(
    name: str, columns: tuple[str | None, str | None], by: str | None
) -> tuple[EvaluationSet, bool]:
    """Return one set, and whether it lacks the `by` column."""
    if name.startswith(_CORPUS_PREFIX):
        rows, unreadable = _read_split(name, by), 0
    else:
        rows, unreadable = _read_labelled_file(name, *columns, by)
    kept = [row for row in rows if _is_labelled(row) and not _is_disputed(row)]
    disputed = sum(_is_labelled(row) and _is_disputed(row) for row in rows)
    skipped = unreadable + len(rows) - len(kept) - disputed
    if not kept:
        raise SourceError(
            f"{name}: expected labelled tickets, found none in {skipped + disputed:,} rows"
        )
    has_by = by is not None and "by" in kept[0]
    return EvaluationSet(
        name,
        [(row["text"] or "", (row["label"] or "").strip()) for row in kept],
        skipped,
        disputed,
        _values(kept, "second_label"),
        _values(kept, "also"),
        [row["by"] for row in kept] if has_by else [],
    ), by is not None and not has_by


def _list_columns(name: str) -> list[str]:
    if name.startswith(_CORPUS_PREFIX):
        return list(_read_corpus_file(name)[0])
    return list(open_source(name).columns)


def _values(rows: Sequence[_Row], name: str) -> list[str | None]:
    """Return a column, or nothing where it has no value at all."""
    values = [row.get(name) or None for row in rows]
    return values if any(values) else []


def _describe(unknown: Sequence[str]) -> str:
    if len(unknown) > _MOST_UNKNOWN or not all(_LIKE_A_LABEL.fullmatch(label) for label in unknown):
        return f"{len(unknown):,} other{'s' if len(unknown) > 1 else ''}"
    return ", ".join(unknown[:_MOST_NAMES]) + (
        f" and {len(unknown) - _MOST_NAMES} more" if len(unknown) > _MOST_NAMES else ""
    )


def _spell(label: str | None, spelled: dict[str, str]) -> str | None:
    return spelled.get(probability_column(label)) if label else None


def _is_labelled(row: _Row) -> bool:
    text, label = row["text"], row["label"]
    return bool(text and label and label.strip() and has_words(clean_message([text])))


def _is_disputed(row: _Row) -> bool:
    return (row.get("agreed") or "").strip().lower() in ("false", "0", "no")


def _read_split(name: str, by: str | None) -> list[_Row]:
    return [
        {"text": row["text"], "label": row["intent"], "second_label": row.get("second_intent")}
        | ({"by": row[by]} if by in row else {})
        for row in _read_corpus_file(name)
    ]


def _read_corpus_file(name: str) -> list[dict[str, str]]:
    split = name.removeprefix(_CORPUS_PREFIX)
    if split not in _SPLITS:
        known = ", ".join(_CORPUS_PREFIX + each for each in _SPLITS)
        raise UsageError(f"{name}: expected one of {known}, found another split")
    tickets = read_jsonl(_MULTI_INTENT[split]) if split in _MULTI_INTENT else read_tickets(split)
    if not tickets:
        raise SourceError(
            f"{name}: expected the corpus in {CORPUS}, found none; use a checkout of the repository"
        )
    return tickets


def _read_labelled_file(
    name: str, text_column: str | None, intent_column: str | None, by: str | None
) -> tuple[list[_Row], int]:
    if text_column is not None and text_column == intent_column:
        raise UsageError(
            f"--text-column and --intent-column: expected two columns, found {text_column} twice"
        )
    further = {"also": "also", "agreed": "agreed"} | ({"by": by} if by else {})
    try:
        labelled = read_file(
            name, text_column=text_column, intent_column=intent_column, further=further
        )
    except ColumnError as error:
        raise ColumnError(f"{error}; name it with --text-column or --intent-column") from None
    return labelled.rows.to_dicts(), labelled.rejected
