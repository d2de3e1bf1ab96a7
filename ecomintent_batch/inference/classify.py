"""One shard → one part: clean, tokenise, score, label."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecomintent_batch.errors import SourceError
from ecomintent_batch.inference.batches import (
    Encodings,
    Int64,
    join_encodings,
    padding_ratio,
    plan_batches,
    tokenise_words,
)
from ecomintent_batch.inference.engines import Engine, ModelFolder
from ecomintent_batch.inference.model_cache import LoadedModel
from ecomintent_batch.options import THRESHOLD
from ecomintent_batch.runs.describe import PartStats
from ecomintent_batch.runs.layout import part_name
from ecomintent_batch.schema import (
    IDENTITY,
    STATUSES,
    TEXT_PREFIX,
    prediction_schema,
    probability_column,
)
from ecomintent_batch.storage.atomic import write_parquet
from ecomintent_batch.text.language import detect_languages
from ecomintent_batch.text.message import (
    clean_messages,
    hash_message,
    which_are_cut,
    which_have_words,
)
from ecomintent_batch.text.words import split_words

OK, EMPTY, UNSUPPORTED_LANGUAGE, ERROR = range(len(STATUSES))
_SLICE_ROWS = 8192
# Of the second intent, for a model without a trained signal.
_PLAIN_MULTI_INTENT = {"softmax": 0.30, "sigmoid": 0.50}


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions:
    """The settings that decide what a part holds."""

    threshold: float = THRESHOLD
    max_length: int | None = None
    dedupe: bool = True
    raw_text: bool = False
    keep_text: bool = False
    any_language: bool = False


@dataclass(frozen=True, kw_only=True)
class PreparedShard:
    """A shard with its messages tokenised: all that does not need the model is done.

    Attributes:
        kept: ticket_id, row_number and the kept columns.
        messages: distinct messages (all of them where dedupe is off), a large_string array.
        languages: ISO 639-1 code or None for each message.
        message_of: index into `messages` for each ticket, shape (tickets,).
        to_score: indices of the messages with words.
        encodings: token ids of the messages in `to_score`.
    """

    path: Path
    kept: pa.Table
    messages: pa.Array
    message_of: Int64
    languages: NDArray[np.object_]
    to_score: Int64
    encodings: Encodings
    prepare_s: float


def prepare_shard(path: Path, model: ModelFolder, options: ClassifyOptions) -> PreparedShard:
    """Read a shard, clean its texts, find equal messages, detect their language and tokenise them."""
    started = time.perf_counter()
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{path}: expected a shard of this run, found: {type(error).__name__}; start from scratch with --restart"
        ) from None
    texts = table.select([name for name in table.column_names if name.startswith(TEXT_PREFIX)])
    kept = table.select([name for name in table.column_names if not name.startswith(TEXT_PREFIX)])
    del table
    prepared = prepare_texts(kept, texts, model, options, path)
    return replace(prepared, prepare_s=time.perf_counter() - started)


def prepare_texts(
    kept: pa.Table, texts: pa.Table, model: ModelFolder, options: ClassifyOptions, path: Path
) -> PreparedShard:
    """Clean texts, find equal messages, detect their language and tokenise them.

    Args:
        kept: ticket_id, row_number and the kept columns.
        texts: One or more columns of text, as many rows as `kept`.
        model: Gives tokenizer and maximum length.
        options: The settings that decide what a part holds.
        path: The shard; not read here.
    """
    started = time.perf_counter()
    # In slices, so that the texts that need cleaning are never all Python strings at once.
    cleaned = [
        clean_messages(batch.columns, raw=options.raw_text)
        for batch in texts.to_batches(_SLICE_ROWS)
    ]
    messages = pa.chunked_array(cleaned, pa.large_string()).combine_chunks()
    message_of = np.arange(len(messages), dtype=np.int64)
    del texts, cleaned
    if options.dedupe:
        encoded = messages.dictionary_encode()
        messages, message_of = encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)
    max_length = min(options.max_length or model.max_length, model.max_length)
    readable = which_have_words(messages)
    languages = np.full(len(messages), None, object)
    encodings: list[Encodings] = []
    for start in range(0, len(messages), _SLICE_ROWS):
        chosen = np.flatnonzero(readable[start : start + _SLICE_ROWS]) + start
        words = split_words(messages.take(pa.array(chosen)))
        languages[chosen] = detect_languages(words)
        encodings.append(tokenise_words(model.tokenizer, words, max_length))
    to_score = np.flatnonzero(readable).astype(np.int64)
    return PreparedShard(
        path=path,
        kept=kept,
        messages=messages,
        message_of=message_of,
        languages=languages,
        to_score=to_score,
        encodings=join_encodings(encodings),
        prepare_s=time.perf_counter() - started,
    )


def classify_texts(texts: pa.Array, loaded: LoadedModel, options: ClassifyOptions) -> pa.Table:
    """Return the predictions of texts in memory, in their order, without the columns of a source."""
    rows = pa.array(range(len(texts)), pa.int64())
    kept = pa.table([pa.nulls(len(texts), pa.string()), rows], names=list(IDENTITY))
    column = pa.table([texts.cast(pa.string())], names=[f"{TEXT_PREFIX}0"])
    shard = prepare_texts(kept, column, loaded.folder, options, Path())
    logits, _ = score_shard(shard, loaded.engine, lambda tickets: None)
    table = label_shard(shard, logits, loaded.folder, loaded.fingerprint, options)
    return table.drop_columns(list(IDENTITY))


def score_shard(
    shard: PreparedShard, engine: Engine, advance: Callable[[float], None]
) -> tuple[Any, PartStats]:
    """Return the logits of the messages to score, shape (len(to_score), labels), and what they cost.

    `advance` receives tickets, so that it ends at the rows of the shard however many were equal.
    """
    batches = plan_batches(shard.encodings.lengths, engine.max_batch_tokens)
    tickets, messages = len(shard.message_of), len(shard.to_score)
    started = time.perf_counter()
    logits = engine.score(shard.encodings, batches, lambda n: advance(n * tickets / messages))
    if not messages:
        advance(tickets)
    stats = PartStats(
        rows=tickets,
        messages_scored=messages,
        tokens=int(shard.encodings.lengths.sum()),
        padding_ratio=padding_ratio(shard.encodings.lengths, batches),
        prepare_s=shard.prepare_s,
        score_s=time.perf_counter() - started,
        engine=engine.description,
    )
    return logits, stats


def label_shard(
    shard: PreparedShard,
    logits: Any,
    model: ModelFolder,
    fingerprint: str,
    options: ClassifyOptions,
) -> pa.Table:
    """Return the predictions of a shard in the order of its tickets."""
    n, labels = len(shard.messages), pa.array(model.labels, pa.string())
    probabilities = np.full((n, len(labels)), np.nan, np.float32)
    probabilities[shard.to_score] = model.to_probabilities(logits, shard.encodings)
    n_tokens, is_truncated = np.zeros(n, np.int32), np.zeros(n, bool)
    n_tokens[shard.to_score], is_truncated[shard.to_score] = (
        shard.encodings.n_tokens,
        shard.encodings.is_truncated,
    )
    is_truncated |= which_are_cut(shard.messages)
    status = np.full(n, EMPTY)
    status[shard.to_score] = OK
    failed = np.asarray(np.isnan(probabilities).any(axis=1))
    if model.languages and not options.any_language:
        foreign = [
            language is not None and language not in model.languages for language in shard.languages
        ]
        status[np.array(foreign, bool) & (status == OK)] = UNSUPPORTED_LANGUAGE
    status[failed & (status != EMPTY)] = ERROR

    ranked = np.argsort(np.where(failed[:, None], 0, -probabilities), axis=1, kind="stable")
    rows = np.arange(n)
    first, second = ranked[:, 0], ranked[:, 1]
    confidence, second_confidence = probabilities[rows, first], probabilities[rows, second]
    unsure = confidence < options.threshold
    intent = pc.if_else(
        pa.array(unsure | (status != OK)), model.other, labels.take(pa.array(first))
    )
    plain = _PLAIN_MULTI_INTENT[model.probabilities]
    multi = is_multi_intent(probabilities, n_tokens, model.calibration, plain) & ~failed

    of_messages: dict[str, Any] = {
        "intent": intent.dictionary_encode(),
        "top_intent": labels.take(pa.array(first, mask=failed)),
        "confidence": pa.array(confidence, mask=failed),
        "second_intent": labels.take(pa.array(second, mask=failed)),
        "second_confidence": pa.array(second_confidence, mask=failed),
        "below_threshold": pa.array(unsure, mask=failed),
        **{
            probability_column(label): pa.array(probabilities[:, i].copy(), mask=failed)
            for i, label in enumerate(model.labels)
        },
        "status": pa.array(STATUSES, pa.string()).take(pa.array(status)).dictionary_encode(),
        "n_tokens": pa.array(n_tokens),
        "is_truncated": pa.array(is_truncated),
        "is_multi_intent": pa.array(multi),
        "language": pa.array(shard.languages, pa.string()),
        "message_hash": pa.array(map(hash_message, shard.messages.to_pylist()), pa.string()),
        "message": shard.messages.cast(pa.string()) if options.keep_text else None,
    }
    of_messages = {name: values for name, values in of_messages.items() if values is not None}
    return _to_predictions(shard, of_messages, model.labels, fingerprint)


def _to_predictions(
    shard: PreparedShard, of_messages: dict[str, Any], labels: Sequence[str], fingerprint: str
) -> pa.Table:
    """Return a row for each ticket: its kept columns, the columns of its message, model and time."""
    tickets = len(shard.message_of)
    of_tickets = pa.table(of_messages).take(pa.array(shard.message_of)).unify_dictionaries()
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
    columns = {
        **dict(zip(shard.kept.column_names, shard.kept.columns, strict=True)),
        **dict(zip(of_tickets.column_names, of_tickets.columns, strict=True)),
        "model": pa.repeat(pa.scalar(fingerprint, pa.string()), tickets),
        "classified_at": pa.repeat(now, tickets),
    }
    kept = [field for field in shard.kept.schema if field.name not in IDENTITY]
    schema = prediction_schema(kept, labels, "message" in of_messages)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def is_multi_intent(
    probabilities: NDArray[np.float32],
    n_tokens: NDArray[np.int32],
    calibration: dict[str, Any],
    plain: float = _PLAIN_MULTI_INTENT["softmax"],
) -> NDArray[np.bool_]:
    """Return which messages have two intents, by the model's trained signal where it has one, else by the second's `plain`.

    The signal is a logistic regression over (first, second and third probability, log of the tokens), whose
    coefficients are in `calibration.json`.
    """
    ranked = -np.sort(-np.nan_to_num(probabilities), axis=1)
    signal = calibration.get("multi_intent")
    if signal is None:
        return np.asarray(ranked[:, 1] >= plain)
    return np.asarray(
        multi_intent_features(ranked, n_tokens) @ np.array(signal["coefficients"])
        + signal["intercept"]
        > 0
    )


def multi_intent_features(
    ranked: NDArray[np.float32], n_tokens: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the inputs of the multi-intent signal, shape (messages, 4), from descending probabilities."""
    third = ranked[:, 2] if ranked.shape[1] > 2 else np.zeros(len(ranked))
    return np.column_stack([ranked[:, 0], ranked[:, 1], third, np.log1p(n_tokens)]).astype(
        np.float64
    )


def write_part(table: pa.Table, folder: Path, shard: Path) -> Path:
    """Write the part of a shard, whole or not at all, and return its path."""
    path = folder / part_name(shard)
    write_parquet(table, path)
    return path
