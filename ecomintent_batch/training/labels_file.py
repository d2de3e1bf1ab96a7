"""Labels of one's own: a TOML file with descriptions and examples, or labelled texts in a table → a checked `LabelSet`."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.schema import OTHER, probability_column
from ecomintent_batch.storage.atomic import sha256_of
from ecomintent_batch.text.message import clean_message, has_words
from ecomintent_batch.training.corpus_files import INTENTS
from ecomintent_batch.training.own_tickets import list_labelled_files, read_labelled_rows

BASE = "nine_intents"
ENOUGH_EXAMPLES = 10  # of an intent: from here on more of them bring little (docs/taxonomy.md)
_TOP_KEYS = ("extends", "other", "threshold", "drop", "intents")
_INTENT_KEYS = ("description", "examples", "renames", "splits")
_MOST_LABELS = 300
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class OwnLabel:
    """One label.

    Attributes:
        examples: Distinct messages as the job reads them.
        renames: The intent of the nine that this is another name for.
        splits: The intent of the nine that this was a part of.
    """

    name: str
    description: str = ""
    examples: tuple[str, ...] = ()
    renames: str | None = None
    splits: str | None = None


@dataclass(frozen=True)
class LabelSet:
    """A taxonomy, checked.

    Attributes:
        name: The name of the file without its ending.
        sha256: Of the file, or over the files of a folder.
        labels: All but `other`.
        other: The name of what is none of the labels.
        other_examples: Messages that are none of the labels.
        threshold: Confidence below which `other` is said; None to choose it by cross-validation.
        extends: Whether the nine intents are kept.
        dropped: Those of the nine that are not.
        duplicates: Examples that stood twice under one label.
        contradictions: Messages that stood under two labels, with these; the last one counts.
    """

    name: str
    sha256: str
    labels: tuple[OwnLabel, ...]
    other: str = OTHER
    other_examples: tuple[str, ...] = ()
    threshold: float | None = None
    extends: bool = False
    dropped: tuple[str, ...] = ()
    duplicates: int = 0
    contradictions: tuple[tuple[str, str, str], ...] = ()

    @property
    def examples(self) -> list[tuple[str, str]]:
        """Message and label of every example, those of `other` last."""
        rows = [(text, label.name) for label in self.labels for text in label.examples]
        return [*rows, *((text, self.other) for text in self.other_examples)]

    def was(self) -> dict[str, str]:
        """Return for each label that renames or splits one of the nine which one; for `other` its usual name."""
        found = {label.name: label.renames or label.splits for label in self.labels}
        renamed = {} if self.other == OTHER else {self.other: OTHER}
        return {name: old for name, old in found.items() if old} | renamed


def is_labels_file(location: str) -> bool:
    """Return whether a location is a TOML file of labels."""
    return Path(location).suffix.lower() == ".toml"


def read_labels(location: str) -> LabelSet:
    """Read labels from TOML, from any labelled table (CSV, XLSX, Parquet, JSON lines), or from a folder of `review import`.

    Raises:
        SourceError: It cannot be read, or says something that cannot be meant; the message names file and key.
    """
    label_set = _read_toml(Path(location)) if is_labels_file(location) else _read_table(location)
    names = [label.name for label in label_set.labels]
    kept = set(INTENTS) - {*label_set.dropped, OTHER} if label_set.extends else set()
    if len(names) + len(kept) < 2:
        raise SourceError(
            f"{location}: expected at least two intents in addition to {label_set.other}, found {len(names)}; add intents"
        )
    if len(names) > _MOST_LABELS:
        raise SourceError(
            f"{location}: expected at most {_MOST_LABELS} intents, found {len(names)}"
        )
    _check_distinct(location, [*names, label_set.other])
    return label_set


@dataclass
class _Examples:
    """Examples as they are read: cleaned, each once, and of contradicting ones the last."""

    label_of: dict[str, tuple[str, str]] = field(default_factory=dict)
    duplicates: int = 0
    contradictions: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, text: str, label: str) -> None:
        message = clean_message([text])
        if not has_words(message):
            return
        key = " ".join(_WORD.findall(message.casefold()))
        before = self.label_of.pop(key, None)
        if before and before[1] == label:
            self.duplicates += 1
        elif before:
            self.contradictions.append((message, before[1], label))
        self.label_of[key] = (message, label)

    def of(self, label: str) -> tuple[str, ...]:
        return tuple(message for message, name in self.label_of.values() if name == label)


def _read_toml(file: Path) -> LabelSet:
    table = _load(file)
    _check_keys(str(file), table, _TOP_KEYS)
    extends = table.get("extends")
    if extends not in (None, BASE):
        raise SourceError(f'{file}, extends: expected "{BASE}", found {extends!r}; or leave it out')
    other = _text(f"{file}, other", table.get("other", OTHER))
    intents = table.get("intents", {})
    if not isinstance(intents, dict):
        raise SourceError(
            f"{file}, intents: expected tables [intents.NAME], found {_kind(intents)}"
        )
    examples = _Examples()
    labels = [_read_intent(file, name, value, examples) for name, value in intents.items()]
    dropped = _names_of_nine(f"{file}, drop", table.get("drop", []), extends)
    for label in labels:
        for key in ("renames", "splits"):
            _names_of_nine(f"{file}, intents.{label.name}.{key}", getattr(label, key), extends)
    renamed = Counter(label.renames for label in labels if label.renames)
    if renamed and renamed.most_common(1)[0][1] > 1:
        twice = renamed.most_common(1)[0][0]
        raise SourceError(
            f"{file}, intents: expected one intent that renames {twice}, found {renamed[twice]}; use splits"
        )
    return LabelSet(
        name=file.stem,
        sha256=sha256_of(file),
        labels=tuple(
            OwnLabel(
                label.name, label.description, examples.of(label.name), label.renames, label.splits
            )
            for label in labels
            if label.name != other
        ),
        other=other,
        other_examples=examples.of(other),
        threshold=_read_threshold(file, table.get("threshold")),
        extends=extends is not None,
        dropped=tuple(dropped),
        duplicates=examples.duplicates,
        contradictions=tuple(examples.contradictions),
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SourceError(f"{file}: expected a TOML file, found: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(
            f"{file}: expected UTF-8, found another encoding; save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{file}: expected TOML, found: {error}; see docs/taxonomy.md") from None


def _read_intent(file: Path, name: str, value: Any, examples: _Examples) -> OwnLabel:
    where = f"{file}, intents.{name}"
    if not isinstance(value, dict):
        raise SourceError(
            f'{where}: expected a table, found {_kind(value)}; write [intents.{name}] and under it examples = ["…"]'
        )
    _check_keys(where, value, _INTENT_KEYS)
    texts = value.get("examples", [])
    wrong = (
        texts
        if not isinstance(texts, list)
        else next((t for t in texts if not isinstance(t, str)), None)
    )
    if wrong is not None:
        raise SourceError(
            f'{where}.examples: expected a list of texts, found {_kind(wrong)}; write ["…", "…"]'
        )
    for text in texts:
        examples.add(text, name)
    label = OwnLabel(
        name,
        _text(f"{where}.description", value.get("description", "")),
        tuple(texts),
        value.get("renames"),
        value.get("splits"),
    )
    if not (texts or label.description or label.renames):
        raise SourceError(f"{where}: expected a description or examples, found neither; add one")
    if label.renames and label.splits:
        raise SourceError(f"{where}: expected renames or splits, found both; keep one")
    return label


def _read_table(location: str) -> LabelSet:
    examples = _Examples()
    names: dict[str, str] = {}
    files = list_labelled_files(location)
    for file in files:
        for text, label in read_labelled_rows(file).select("message", "label").iter_rows():
            name = names.setdefault(probability_column(label), label.strip())
            if text:
                examples.add(text, name)
    other = names.pop(probability_column(OTHER), OTHER)
    digests = "".join(map(sha256_of, files))
    return LabelSet(
        name=Path(location).stem,
        sha256=hashlib.sha256(digests.encode()).hexdigest(),
        labels=tuple(OwnLabel(name, "", examples.of(name)) for name in names.values()),
        other=other,
        other_examples=examples.of(other),
        duplicates=examples.duplicates,
        contradictions=tuple(examples.contradictions),
    )


def _names_of_nine(where: str, value: Any, extends: str | None) -> list[str]:
    """Return names of intents that the file refers to, checked: the nine, and only where they are extended."""
    names = [value] if isinstance(value, str) else value or []
    allowed = [intent for intent in INTENTS if intent != OTHER]
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise SourceError(f"{where}: expected some of {', '.join(allowed)}, found {wrong[0]!r}")
    if names and extends is None:
        raise SourceError(
            f'{where}: expected extends = "{BASE}" at the top of the file, found none; add it'
        )
    return list(names)


def _read_threshold(file: Path, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SourceError(f"{file}, threshold: expected a number from 0 to 1, found {value!r}")
    return float(value)


def _check_keys(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise SourceError(
            f"{where}: expected some of {', '.join(known)}, found {unknown[0]!r}; see docs/taxonomy.md"
        )


def _check_distinct(location: str, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        column = probability_column(name)
        if column in seen or not column.strip("prob_"):
            raise SourceError(
                f"{location}: expected intents that differ by a letter or digit, found {seen.get(column, name)!r} and {name!r}"
            )
        seen[column] = name


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SourceError(f"{where}: expected a text, found {_kind(value)}; put it in quotes")
    return value.strip()


def _kind(value: Any) -> str:
    kinds = {dict: "a table", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "another kind")
