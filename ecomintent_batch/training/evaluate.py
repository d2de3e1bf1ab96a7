"""A model's answers on labelled tickets: accuracy, F1, calibration, what the threshold keeps, speed and cost.

It is the model's first choice that is judged, on the message that the job would read. Below the threshold the job says
OTHER instead: the curve over thresholds tells how many tickets keep their intent, and how many of those are right.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score

from ecomintent_batch.analytics.case_study import PUBLISHED, SOURCE
from ecomintent_batch.errors import ModelError, UsageError
from ecomintent_batch.inference.batches import plan_batches, tokenise
from ecomintent_batch.inference.classify import is_multi_intent
from ecomintent_batch.inference.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.text.message import clean_message
from ecomintent_batch.training.evaluation_set import EvaluationSet, match_labels

_BINS = 15
_THRESHOLDS = 100
_WARM_UP_TICKETS, _LATENCY_TICKETS = 10, 200


@dataclass(frozen=True)
class Scored:
    """Labelled tickets with a model's logits, shape (tickets, labels), and tokens, shape (tickets,)."""

    true: list[str]
    logits: NDArray[np.float32]
    n_tokens: NDArray[np.int32]


def evaluate_model(
    tickets: EvaluationSet,
    *,
    model: str | None = None,
    engine: str = "auto",
    device: str = "auto",
    threshold: float = 0.70,
    hourly_price: float = 0.10,
) -> dict[str, Any]:
    """Return everything there is to say of a model on labelled tickets, as one JSON object.

    Args:
        hourly_price: of the machine, in USD.

    Raises:
        UsageError: a threshold or price that is none.
        ColumnError: an intent that the model does not know.
        ModelError: no such model, or tickets that it cannot score.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold: expected a number from 0 to 1, found {threshold}")
    if not 0 <= hourly_price < float("inf"):
        raise UsageError(f"--hourly-price: expected USD an hour, 0 or more, found {hourly_price}")
    folder = open_model(model)
    matched = match_labels(tickets, folder.labels)
    loaded = load_engine(folder, engine=engine, device=device)
    latency = measure_latency(folder, loaded, matched.rows)
    started = time.perf_counter()
    scored = score_labelled(folder, loaded, matched.rows)
    elapsed_s = time.perf_counter() - started
    failed = int(np.isnan(scored.logits).any(axis=1).sum())
    if failed:
        raise ModelError(
            f"{folder.name}: expected a score for every ticket, found none for {failed:,}; try --engine torch"
        )
    tickets_per_s = len(matched.rows) / elapsed_s
    probabilities = folder.to_probabilities(scored.logits)
    return {
        "source": tickets.name,
        "left_out": tickets.left_out,
        "model": folder.fingerprint(loaded.weights_file),
        "engine": loaded.description,
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **measure(probabilities, folder.labels, scored.true, threshold),
        "by_group": measure_groups(probabilities, folder.labels, scored.true, matched.groups),
        "two_asks": measure_two_asks(probabilities, scored.n_tokens, folder, matched),
        "latency_ms": latency,
        "throughput": {"elapsed_s": elapsed_s, "tickets_per_s": tickets_per_s},
        "cost": {
            "hourly_price_usd": hourly_price,
            "usd_per_1000_tickets": hourly_price / 3600 / tickets_per_s * 1000,
        },
        "published": {"source": SOURCE, "rows": [asdict(row) for row in PUBLISHED]},
    }


def score_labelled(model: ModelFolder, engine: Engine, rows: Sequence[tuple[str, str]]) -> Scored:
    """Run labelled texts through cleaning, tokeniser and engine, as the job does."""
    encodings = tokenise(
        model.tokenizer, [clean_message([text]) for text, _ in rows], model.max_length
    )
    logits = engine.score(
        encodings, plan_batches(encodings.lengths, engine.max_batch_tokens), lambda n: None
    )
    return Scored([intent for _, intent in rows], logits, encodings.n_tokens)


def measure_latency(
    model: ModelFolder, engine: Engine, rows: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Return percentiles of the milliseconds from the text of one ticket to its probabilities.

    A batch of one after a warm-up, over up to 200 tickets from all over the file.
    """
    chosen = [
        rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), _LATENCY_TICKETS)).astype(int)
    ]
    for row in chosen[:_WARM_UP_TICKETS]:
        score_labelled(model, engine, [row])
    milliseconds = []
    for row in chosen:
        started = time.perf_counter()
        model.to_probabilities(score_labelled(model, engine, [row]).logits)
        milliseconds.append(1000 * (time.perf_counter() - started))
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {"tickets": len(chosen), "p50": float(p50), "p95": float(p95), "p99": float(p99)}


def measure(
    probabilities: NDArray[np.float32], labels: Sequence[str], true: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Return accuracy, F1 by intent, confusions, calibration, and coverage and accuracy over thresholds.

    An intent that neither the tickets nor the answers name is left out of the means and the tables.
    """
    found = [labels[i] for i in probabilities.argmax(axis=1)]
    confidence = probabilities.max(axis=1)
    correct = np.array([a == b for a, b in zip(found, true, strict=True)])
    met = [label for label in labels if label in {*true, *found}]
    report = classification_report(true, found, labels=met, output_dict=True, zero_division=0)
    at_threshold = measure_coverage(confidence, correct, [threshold])[0]
    return {
        "tickets": len(true),
        "accuracy": float(accuracy_score(true, found)),
        "f1_weighted": float(f1_score(true, found, average="weighted", zero_division=0)),
        "f1_macro": float(f1_score(true, found, average="macro", zero_division=0)),
        "mean_confidence": float(confidence.mean()),
        "ece": expected_calibration_error(confidence, correct),
        "threshold": threshold,
        "coverage_at_threshold": at_threshold["coverage"],
        "accuracy_at_threshold": at_threshold["accuracy"],
        "by_intent": {
            label: {**report[label], "support": int(report[label]["support"])} for label in met
        },
        "report": classification_report(true, found, labels=met, digits=4, zero_division=0),
        "confusion": {"labels": met, "counts": confusion_matrix(true, found, labels=met).tolist()},
        "reliability": bin_confidences(confidence, correct),
        "coverage": measure_coverage(
            confidence, correct, [i / _THRESHOLDS for i in range(_THRESHOLDS)]
        ),
    }


def measure_groups(
    probabilities: NDArray[np.float32],
    labels: Sequence[str],
    true: Sequence[str],
    groups: Sequence[str | None],
) -> dict[str, dict[str, float]]:
    """Return tickets and accuracy of each group, by name; nothing where there are none."""
    right = np.array(
        [labels[i] == intent for i, intent in zip(probabilities.argmax(axis=1), true, strict=True)]
    )
    names = np.array([group or "(none)" for group in groups], dtype=object)
    return {
        str(name): {
            "tickets": int((names == name).sum()),
            "accuracy": float(right[names == name].mean()),
        }
        for name in sorted(set(names))
    }


def measure_two_asks(
    probabilities: NDArray[np.float32],
    n_tokens: NDArray[np.int32],
    model: ModelFolder,
    tickets: EvaluationSet,
) -> dict[str, float] | None:
    """Return how often the dominant ask comes first, both are the first two, and the signal sees two; None without any."""
    rows = [row for row, second in enumerate(tickets.seconds) if second]
    if not rows:
        return None
    ranked = np.array(model.labels, dtype=object)[np.argsort(-probabilities, axis=1)]
    both = [{*ranked[row, :2]} == {tickets.rows[row][1], tickets.seconds[row]} for row in rows]
    return {
        "tickets": len(rows),
        "dominant_first": float(np.mean([ranked[row, 0] == tickets.rows[row][1] for row in rows])),
        "both_in_two": float(np.mean(both)),
        "seen_as_two": float(
            is_multi_intent(probabilities, n_tokens, model.calibration)[rows].mean()
        ),
    }


def bin_confidences(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_]
) -> list[dict[str, float]]:
    """Return tickets, mean confidence and accuracy of 15 bins of equal width; empty ones are left out."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        {
            "from": int(b) / _BINS,
            "to": (int(b) + 1) / _BINS,
            "tickets": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(correct[bins == b].mean()),
        }
        for b in np.unique(bins)
    ]


def expected_calibration_error(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_]
) -> float:
    """Return the mean gap between confidence and accuracy over the bins, weighted by their tickets."""
    gaps = [
        abs(row["confidence"] - row["accuracy"]) * row["tickets"]
        for row in bin_confidences(confidence, correct)
    ]
    return float(np.sum(gaps)) / len(correct)


def measure_coverage(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_], thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    """Return for each threshold the share of tickets that reach it, and the accuracy of those (None where there are none)."""
    rows = []
    for threshold in thresholds:
        sure = confidence >= threshold
        accuracy = float(correct[sure].mean()) if sure.any() else None
        rows.append(
            {
                "threshold": threshold,
                "tickets": int(sure.sum()),
                "coverage": float(sure.mean()),
                "accuracy": accuracy,
            }
        )
    return rows


def fit_temperature(logits: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    """Return the temperature with the least negative log likelihood (Guo et al., 2017), by a search over a grid."""

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        log_probabilities = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-log_probabilities[np.arange(len(true)), true].mean())

    grid = np.exp(np.linspace(np.log(0.3), np.log(5), 300))
    return float(grid[int(np.argmin([loss(temperature) for temperature in grid]))])


def print_evaluation(found: dict[str, Any]) -> None:
    """Print an evaluation as the case study prints its own, with what it leaves out behind it."""
    left_out = (
        f" ({found['left_out']:,} rows without words or a label left out)"
        if found["left_out"]
        else ""
    )
    sure = found["accuracy_at_threshold"]
    latency = found["latency_ms"]
    print(f"{found['source']}: {found['tickets']:,} tickets{left_out}")
    print(f"Model {found['model']}, {found['engine']}\n")
    print(f"  Accuracy:    {found['accuracy']:.4f}  ({found['accuracy']:.2%})")
    print(f"  F1 weighted: {found['f1_weighted']:.4f}")
    print(f"  F1 macro:    {found['f1_macro']:.4f}\n")
    print(found["report"])
    print(
        f"  Calibration: expected error {found['ece']:.4f}, mean confidence {found['mean_confidence']:.4f}"
    )
    print(
        f"  Threshold:   {found['coverage_at_threshold']:.2%} of the tickets reach {found['threshold']:g}, "
        + ("none to be right" if sure is None else f"{sure:.2%} of them right")
    )
    for name, group in found["by_group"].items():
        print(f"  {name:<13}{group['accuracy']:.2%} of {group['tickets']:,} right")
    if found["two_asks"]:
        two = found["two_asks"]
        print(
            f"  Two asks:    dominant first in {two['dominant_first']:.1%} of {two['tickets']:,}, both in the first two "
            f"{two['both_in_two']:.1%}, seen as two {two['seen_as_two']:.1%}"
        )
    print(
        f"  Latency:     p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms, p99 {latency['p99']:.1f} ms, "
        f"one ticket at a time ({latency['tickets']})"
    )
    print(f"  Throughput:  {found['throughput']['tickets_per_s']:,.0f} tickets/s in batches")
    print(f"  Cost:        {found['cost']['usd_per_1000_tickets']:.6f} USD for 1,000 tickets, on a machine of "
          f"{found['cost']['hourly_price_usd']:g} USD an hour\n")  # fmt: skip
    print(
        f"  {'published, not measured here':<30}{'accuracy':>10}{'weighted F1':>13}{'p95 ms':>8}{'USD/1,000':>11}"
    )
    for row in found["published"]["rows"]:
        cost = "–" if row["usd_per_1000"] is None else f"{row['usd_per_1000']:.4f}"
        print(
            f"  {row['way']:<30}{row['accuracy']:>10.4f}{row['f1_weighted']:>13.4f}{row['p95_ms']:>8.0f}{cost:>11}"
        )
    print(f"  {found['published']['source']}")
