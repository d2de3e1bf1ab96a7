"""Messages that customers typed, labelled by one or two readers → rows to train on, by source.

The texts are not part of this repository. `second_readings.tsv` is: for messages that came with one reader's label,
a second reader's, by the hash of the message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ecomintent_batch.errors import SourceError
from ecomintent_batch.text.message import clean_message, hash_message
from ecomintent_batch.training.labelled_sources import Labelled

SECOND_READINGS = Path(__file__).parent / "second_readings.tsv"
DOMINANT_SHARE = 0.75  # of a reader's target, where that reader found a second intent as well

_SCHEMA = {
    "text": pl.String,
    "label": pl.String,
    "second_label": pl.String,
    "first_share": pl.Float64,
    "source": pl.String,
    "split": pl.String,
}

Reading = tuple[str, str | None]  # intent, second intent


def read_real(folder: Path) -> Labelled:
    """Read the JSON lines files of a folder; rows on which two readers disagree (`agreed: false`) are left out.

    Args:
        folder: files with `text`, `intent`, `source`, and where there are such: `also` (a second intent), `agreed`.

    Returns:
        Rows for the train split, under the name of their own source. `first_share` is the probability of `label`, the
        rest is that of `second_label`: the mean of the readers, each of whom shares it between the intents named.

    Raises:
        SourceError: no such files, or a line without text, intent and source.
    """
    second = _read_second_readings()
    rows = [_to_row(line, second) for line in _read_lines(folder) if line.get("agreed", True)]
    if not rows:
        raise SourceError(f"{folder}: expected messages in JSON lines files, found none")
    return Labelled(pl.DataFrame(rows, schema=_SCHEMA))


def _read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("*.jsonl")):
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if not isinstance(line, dict) or not {"text", "intent", "source"} <= line.keys():
                raise SourceError(
                    f"{file}, line {number}: expected an object with text, intent and source, found something else"
                )
            yield line


def _read_second_readings() -> dict[str, Reading]:
    readings: dict[str, Reading] = {}
    for line in SECOND_READINGS.read_text(encoding="utf-8").splitlines():
        key, intent, second = line.split("\t")
        readings[key] = (intent, second or None)
    return readings


def _to_row(line: dict[str, Any], second_readings: dict[str, Reading]) -> dict[str, Any]:
    readings: list[Reading] = [(line["intent"], line.get("also"))]
    again = second_readings.get(hash_message(clean_message([line["text"]])))
    if again and line.get("readers", 1) == 1:
        readings.append(again)
    label, second, share = share_between(readings)
    return {
        "text": line["text"],
        "label": label,
        "second_label": second,
        "first_share": share,
        "source": line["source"],
        "split": "train",
    }


def share_between(readings: list[Reading]) -> tuple[str, str | None, float]:
    """Return the first reader's intent, the likeliest other one, and the share of the former of the two."""
    shares: dict[str, float] = {}
    for intent, second in readings:
        has_two = second is not None and second != intent
        shares[intent] = shares.get(intent, 0) + (DOMINANT_SHARE if has_two else 1)
        if second is not None and has_two:
            shares[second] = shares.get(second, 0) + 1 - DOMINANT_SHARE
    first = readings[0][0]
    others = {intent: share for intent, share in shares.items() if intent != first}
    if not others:
        return first, None, 1.0
    second = max(others, key=lambda intent: others[intent])
    return first, second, shares[first] / (shares[first] + others[second])
