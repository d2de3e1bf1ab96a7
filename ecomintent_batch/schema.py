"""The columns of every table that the job writes, and of the shards it keeps between its steps."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import pyarrow as pa

OTHER = "OTHER"
STATUSES = ("ok", "empty", "unsupported_language", "error")
TEXT_PREFIX = "_text_"
IDENTITY = ("ticket_id", "row_number")

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())

REJECTS = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.int64()),
        ("row_number", pa.int64()),
        ("column", pa.string()),
        ("error", pa.string()),
    ]
)


def schema_id(schema: pa.Schema) -> str:
    """Return a short digest of the names and types of columns: files that share it can be read as one."""
    columns = "\n".join(f"{field.name} {field.type}" for field in schema)
    return hashlib.sha256(columns.encode()).hexdigest()[:16]


def probability_column(label: str) -> str:
    """Return the column that holds the probability of a label: `prob_` and the label in lower case."""
    return "prob_" + re.sub(r"\W+", "_", label.strip().lower())


def shard_schema(kept: Sequence[pa.Field], n_texts: int) -> pa.Schema:
    """Return the schema of a shard: id, place, kept columns, then the raw texts."""
    return pa.schema(
        [
            pa.field("ticket_id", pa.string()),
            pa.field("row_number", pa.int64()),
            *kept,
            *(pa.field(f"{TEXT_PREFIX}{i}", pa.string()) for i in range(n_texts)),
        ]
    )


def prediction_schema(
    kept: Sequence[pa.Field], labels: Sequence[str], keep_text: bool
) -> pa.Schema:
    """Return the schema of the predictions."""
    return pa.schema(
        [
            pa.field("ticket_id", pa.string()),
            pa.field("row_number", pa.int64()),
            *kept,
            pa.field("intent", _DICTIONARY),
            pa.field("top_intent", pa.string()),
            pa.field("confidence", pa.float32()),
            pa.field("second_intent", pa.string()),
            pa.field("second_confidence", pa.float32()),
            pa.field("below_threshold", pa.bool_()),
            *(pa.field(probability_column(label), pa.float32()) for label in labels),
            pa.field("status", _DICTIONARY),
            pa.field("n_tokens", pa.int32()),
            pa.field("is_truncated", pa.bool_()),
            pa.field("is_multi_intent", pa.bool_()),
            pa.field("language", pa.string()),
            pa.field("message_hash", pa.string()),
            *([pa.field("message", pa.string())] if keep_text else []),
            pa.field("model", pa.string()),
            pa.field("classified_at", pa.timestamp("us", tz="UTC")),
        ]
    )


def output_names(kept: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Map each kept source column to its name in the predictions.

    A name that the job itself writes (`status`, `language`, `model` … are usual in exports) gets the
    prefix `source_`, repeated until it is free.
    """
    taken = {name.lower() for name in prediction_schema([], labels, keep_text=True).names} | {
        "run_id"
    }
    names: dict[str, str] = {}
    for column in kept:
        name = column
        while name.lower() in taken or name.startswith(TEXT_PREFIX):
            name = "source_" + name.lstrip("_")
        names[column] = name
        taken.add(name.lower())
    return names
