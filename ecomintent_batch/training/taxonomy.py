"""Fine labels of a source → the intents of a model, by a TOML file: `INTENT = ["label", …]`, in the model's order."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ecomintent_batch.errors import SourceError
from ecomintent_batch.schema import probability_column

BITEXT_MAP = Path(__file__).parent / "maps" / "bitext.toml"


@dataclass(frozen=True)
class Taxonomy:
    """The intents in model order, and which of them each label means; labels differ by more than their case."""

    intents: list[str]
    intent_of: dict[str, str]

    def find(self, label: str) -> str | None:
        """Return the intent of a label, or of an intent's own name; None where the map does not name it."""
        return self.intent_of.get(label.strip().casefold())


def read_taxonomy(file: Path) -> Taxonomy:
    """Read a map.

    Raises:
        SourceError: no such file, no TOML, fewer than two intents, or a label that is listed under two of them.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = (
            error.strerror if isinstance(error, OSError) else f"{type(error).__name__} ({error})"
        )
        raise SourceError(
            f'{file}: expected a TOML file with a line INTENT = ["label", …] for each intent, found: {found}'
        ) from None
    intent_of: dict[str, str] = {}
    for intent, labels in table.items():
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise SourceError(
                f"{file}: expected a list of labels for {intent}, found {type(labels).__name__}"
            )
        for label in labels:
            other = intent_of.setdefault(label.strip().casefold(), intent)
            if other != intent:
                raise SourceError(
                    f"{file}: expected each label under one intent, found {label!r} under {other} and {intent}"
                )
    if len({probability_column(intent) for intent in table}) < max(2, len(table)):
        raise SourceError(
            f"{file}: expected at least two intents that differ by a letter or digit, found {list(table)}"
        )
    own = {intent.strip().casefold(): intent for intent in table}
    return Taxonomy(list(table), own | intent_of)
