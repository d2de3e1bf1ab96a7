"""A model's answers on labelled tickets: accuracy, F1, calibration, and what the threshold keeps.

    python -m ecomintent_batch.training.evaluate FILE [--model DIR] [--engine onnx] [--json]

FILE holds `text` and `intent` (CSV, Parquet, JSON lines); `corpus:dev` is the realistic dev split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, classification_report, f1_score

from ecomintent_batch.batching import plan_batches, tokenise
from ecomintent_batch.clean import clean_message
from ecomintent_batch.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.training.dataset import read_corpus

_BINS = 15


@dataclass(frozen=True)
class Scored:
    """Labelled tickets with a model's logits, shape (tickets, labels), and tokens, shape (tickets,)."""

    true: list[str]
    logits: NDArray[np.float32]
    n_tokens: NDArray[np.int32]


def read_labelled(name: str) -> list[tuple[str, str]]:
    """Return (text, intent) of a labelled file, or of `corpus:train` and `corpus:dev`."""
    if name.startswith("corpus:"):
        return read_corpus(name.removeprefix("corpus:"))
    readers = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    frame: pl.DataFrame = readers[Path(name).suffix](name)
    return list(zip(frame["text"].to_list(), frame["intent"].to_list(), strict=True))


def score_labelled(model: ModelFolder, engine: Engine, rows: Sequence[tuple[str, str]]) -> Scored:
    """Run labelled texts through cleaning, tokeniser and engine, as the job does."""
    encodings = tokenise(model.tokenizer, [clean_message([text]) for text, _ in rows], model.max_length)
    logits = engine.score(encodings, plan_batches(encodings.lengths, engine.max_batch_tokens), lambda n: None)
    return Scored([intent for _, intent in rows], logits, encodings.n_tokens)


def measure(probabilities: NDArray[np.float32], labels: Sequence[str], true: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return accuracy, F1, expected calibration error, and coverage and accuracy at the threshold."""
    found = [labels[i] for i in probabilities.argmax(axis=1)]
    confidence = probabilities.max(axis=1)
    correct = np.array([a == b for a, b in zip(found, true, strict=True)])
    sure = confidence >= threshold
    report = classification_report(true, found, labels=list(labels), output_dict=True, zero_division=0)
    return {
        "tickets": len(true),
        "accuracy": float(accuracy_score(true, found)),
        "f1_weighted": float(f1_score(true, found, average="weighted")),
        "f1_macro": float(f1_score(true, found, average="macro")),
        "mean_confidence": float(confidence.mean()),
        "ece": expected_calibration_error(confidence, correct),
        "coverage_at_threshold": float(sure.mean()),
        "accuracy_at_threshold": float(correct[sure].mean()) if sure.any() else None,
        "by_intent": {label: report[label] for label in labels},
    }


def expected_calibration_error(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> float:
    """Return the mean gap between confidence and accuracy over 15 bins of equal width, weighted by their tickets."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - correct[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(np.sum(gaps))


def fit_temperature(logits: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    """Return the temperature with the least negative log likelihood (Guo et al., 2017), by a search over a grid."""

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        log_probabilities = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-log_probabilities[np.arange(len(true)), true].mean())

    grid = np.exp(np.linspace(np.log(0.3), np.log(5), 300))
    return float(grid[int(np.argmin([loss(temperature) for temperature in grid]))])


def main() -> None:
    """Read the options, score, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--model")
    parser.add_argument("--engine", default="auto", choices=["auto", "torch", "onnx"])
    parser.add_argument("--threshold", type=float, default=0.70)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = open_model(options.model)
    engine = load_engine(model, engine=options.engine, device="cpu")
    scored = score_labelled(model, engine, read_labelled(options.file))
    result = measure(model.to_probabilities(scored.logits), model.labels, scored.true, options.threshold)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        if isinstance(value, float):
            print(f"{name:<24}{value:.4f}")
    print(f"{'intent':<24}{'precision':>10}{'recall':>10}{'f1':>10}{'support':>10}")
    for label, row in result["by_intent"].items():
        print(f"{label:<24}{row['precision']:>10.3f}{row['recall']:>10.3f}{row['f1-score']:>10.3f}{row['support']:>10.0f}")


if __name__ == "__main__":
    main()
