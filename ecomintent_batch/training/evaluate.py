"""A model's answers on labelled tickets: accuracy, F1, calibration, coverage at the threshold, speed and cost.

The model's first choice is judged, on the message that the job would read. Below the threshold the job says OTHER instead:
the curve over thresholds says how many tickets keep their intent, and how many of those are right. A model of somebody's own
labels says its `other` by the threshold alone, so what the job writes is judged, too, and leads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix, f1_score

from ecomintent_batch.analytics.case_study import PUBLISHED, SOURCE
from ecomintent_batch.analytics.score import Score
from ecomintent_batch.errors import ModelError, UsageError
from ecomintent_batch.inference.batches import Encodings, plan_batches, tokenise
from ecomintent_batch.inference.classify import is_multi_intent
from ecomintent_batch.inference.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.options import HOURLY_PRICE, THRESHOLD
from ecomintent_batch.text.message import clean_message
from ecomintent_batch.training.corpus_files import INTENTS
from ecomintent_batch.training.evaluation_records import (
    ORDER,
    Confusion,
    Cost,
    CoverageRow,
    Evaluation,
    IntentResult,
    Judged,
    Latency,
    MultiIntentResult,
    Published,
    ReliabilityBin,
    SetResult,
    Summary,
    Throughput,
    WeakSpots,
)
from ecomintent_batch.training.evaluation_set import EvaluationSet, match_labels

_BINS = 15
_THRESHOLDS = 100
_WARM_UP_TICKETS, _LATENCY_TICKETS = 10, 200


@dataclass(frozen=True)
class Scored:
    """Labelled tickets with a model's logits, shape (tickets, labels), and tokens."""

    true: list[str]
    logits: NDArray[np.float32]
    encodings: Encodings

    @property
    def n_tokens(self) -> NDArray[np.int32]:
        """Tokens of each ticket, shape (tickets,)."""
        return self.encodings.n_tokens


def evaluate_model(
    sets: Sequence[EvaluationSet],
    *,
    model: str | None = None,
    engine: str = "auto",
    device: str = "auto",
    threshold: float | None = None,
    hourly_price: float = HOURLY_PRICE,
) -> Evaluation:
    """Judge a model by one or more sets of labelled tickets; real messages come first in the result.

    Args:
        sets: Labelled tickets; each becomes one result.
        model: Folder or Hugging Face id; None for the embedded model.
        engine: auto, torch, onnx or stub.
        device: auto, cpu, cuda or cuda:N.
        threshold: Confidence below which the job says OTHER; None for what the model was made with, else 0.70.
        hourly_price: Price of the machine, in USD an hour.

    Raises:
        UsageError: A threshold or price out of range.
        ColumnError: An intent that the model does not know.
        ModelError: No such model, or tickets that it cannot score.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold: expected a number from 0 to 1, found {threshold}")
    if not 0 <= hourly_price < float("inf"):
        raise UsageError(f"--hourly-price: expected USD an hour, 0 or more, found {hourly_price}")
    folder = open_model(model)
    threshold = (
        float(folder.calibration.get("threshold", THRESHOLD)) if threshold is None else threshold
    )
    matched = [match_labels(tickets, folder.labels) for tickets in sets]
    loaded = load_engine(folder, engine=engine, device=device)
    latency = measure_latency(folder, loaded, [row for tickets in matched for row in tickets.rows])
    started = time.perf_counter()
    scored = [score_labelled(folder, loaded, tickets.rows) for tickets in matched]
    elapsed_s = time.perf_counter() - started
    _check_all_scored(folder, scored)
    tickets_per_s = sum(len(tickets.rows) for tickets in matched) / elapsed_s
    results = [
        measure_set(tickets, each, folder, threshold)
        for tickets, each in zip(matched, scored, strict=True)
    ]
    return Evaluation(
        model=folder.fingerprint(loaded.weights_file),
        engine=loaded.description,
        evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        threshold=threshold,
        other=folder.other,
        judges_run=folder.taxonomy is not None,
        sets=sorted(results, key=lambda result: ORDER.index(result.kind)),
        latency_ms=latency,
        throughput=Throughput(elapsed_s=elapsed_s, tickets_per_s=tickets_per_s),
        cost=Cost(
            hourly_price_usd=hourly_price,
            usd_per_1000_tickets=hourly_price / 3600 / tickets_per_s * 1000,
        ),
        weak_spots=read_weak_spots(folder),
        published_source=SOURCE,
        published=[Published(**asdict(row)) for row in PUBLISHED]
        if {*folder.labels} == {*INTENTS}
        else [],
    )


def read_weak_spots(model: ModelFolder) -> WeakSpots | None:
    """Return what cross-validation found when a model of somebody's own labels was made; None for any other model."""
    file = model.path / "training.json"
    if model.taxonomy is None or not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8")).get("weak_spots")
    return WeakSpots.model_validate(found) if found else None


def score_labelled(model: ModelFolder, engine: Engine, rows: Sequence[tuple[str, str]]) -> Scored:
    """Run labelled texts through cleaning, tokeniser and engine, as the job does."""
    encodings = tokenise(
        model.tokenizer, [clean_message([text]) for text, _ in rows], model.max_length
    )
    logits = engine.score(
        encodings, plan_batches(encodings.lengths, engine.max_batch_tokens), lambda n: None
    )
    return Scored([intent for _, intent in rows], logits, encodings)


def measure_latency(model: ModelFolder, engine: Engine, rows: Sequence[tuple[str, str]]) -> Latency:
    """Measure batches of one after a warm-up, over up to 200 tickets spread over the rows."""
    chosen = [
        rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), _LATENCY_TICKETS)).astype(int)
    ]
    for row in chosen[:_WARM_UP_TICKETS]:
        score_labelled(model, engine, [row])
    milliseconds = []
    for row in chosen:
        started = time.perf_counter()
        scored = score_labelled(model, engine, [row])
        model.to_probabilities(scored.logits, scored.encodings)
        milliseconds.append(1000 * (time.perf_counter() - started))
    p50, p95, p99 = map(float, np.percentile(milliseconds, [50, 95, 99]))
    return Latency(tickets=len(chosen), p50=p50, p95=p95, p99=p99)


def measure_set(
    tickets: EvaluationSet, scored: Scored, model: ModelFolder, threshold: float
) -> SetResult:
    """Return the figures of one set; of a model of somebody's own labels, of what `run` writes.

    An intent that neither the tickets nor the answers name is in no mean and no table.
    """
    probabilities = model.to_probabilities(scored.logits, scored.encodings)
    answers = Answers.of(probabilities, model.labels, tickets)
    other = model.other if model.taxonomy else None
    judged = answers.as_run(threshold, other) if other else answers
    true, said = answers.true.tolist(), judged.said.tolist()
    used = [label for label in model.labels if label in {*true, *said}]
    report = classification_report(true, said, labels=used, output_dict=True, zero_division=0)
    thresholds = [i / _THRESHOLDS for i in range(_THRESHOLDS)]
    return SetResult(
        **summarise(tickets.name, answers, threshold, other).model_dump(),
        kind=tickets.kind,
        skipped=tickets.skipped,
        disputed=tickets.disputed,
        f1_weighted=float(f1_score(true, said, average="weighted", zero_division=0)),
        mean_confidence=float(answers.confidence.mean()),
        by_intent={label: _to_intent_result(report[label]) for label in used},
        classification_report=classification_report(
            true, said, labels=used, digits=4, zero_division=0
        ),
        confusion=Confusion(labels=used, counts=confusion_matrix(true, said, labels=used).tolist()),
        reliability=bin_confidences(answers.confidence, answers.correct),
        coverage_by_threshold=measure_coverage(answers.confidence, answers.correct, thresholds),
        groups=measure_groups(answers, tickets.groups, threshold, other),
        multi_intent=measure_multi_intent(probabilities, scored.n_tokens, model, tickets),
    )


@dataclass(frozen=True)
class Answers:
    """What is said of tickets and the labels; every array has one entry a ticket.

    Attributes:
        also: A second label that a reader found equally defensible, or None.
        said: The model's first choice, or what `run` writes.
    """

    true: NDArray[np.object_]
    also: NDArray[np.object_]
    said: NDArray[np.object_]
    confidence: NDArray[np.float32]

    @classmethod
    def of(
        cls, probabilities: NDArray[np.float32], labels: Sequence[str], tickets: EvaluationSet
    ) -> Answers:
        """Take the likeliest label of each ticket."""
        also = tickets.also or [None] * len(tickets.rows)
        return cls(
            np.array([intent for _, intent in tickets.rows], dtype=object),
            np.array(also, dtype=object),
            np.array(labels, dtype=object)[probabilities.argmax(axis=1)],
            probabilities.max(axis=1),
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the label is said."""
        return np.asarray(self.said == self.true, dtype=bool)

    def as_run(self, threshold: float, other: str) -> Answers:
        """Return what `run` writes: `other` below the threshold."""
        return replace(self, said=np.where(self.confidence < threshold, other, self.said))

    def at(self, chosen: NDArray[np.bool_]) -> Answers:
        """Return those of some tickets."""
        return Answers(
            self.true[chosen], self.also[chosen], self.said[chosen], self.confidence[chosen]
        )


def judge(answers: Answers) -> Judged:
    """Return how many are right, and the mean F1 of the intents that occur."""
    has_also = any(label is not None for label in answers.also)
    either = answers.correct | np.asarray(answers.said == answers.also, dtype=bool)
    true, said = answers.true.tolist(), answers.said.tolist()
    used = sorted({*true, *said})
    return Judged(
        score=_to_score(answers.correct),
        score_or_also=_to_score(either) if has_also else None,
        f1_macro=float(f1_score(true, said, labels=used, average="macro", zero_division=0)),
    )


def summarise(name: str, answers: Answers, threshold: float, other: str | None = None) -> Summary:
    """Return one row of the table, of first choices; where `other` is given, of what `run` writes, too."""
    correct, sure = answers.correct, answers.confidence >= threshold
    return Summary(
        **judge(answers).model_dump(),
        name=name,
        as_run=judge(answers.as_run(threshold, other)) if other else None,
        calibration_error=expected_calibration_error(answers.confidence, correct),
        coverage=float(sure.mean()),
        score_at_threshold=_to_score(correct[sure]),
    )


def measure_groups(
    answers: Answers, groups: Sequence[str | None], threshold: float, other: str | None = None
) -> list[Summary]:
    """Return a row for each group, the largest first; nothing where there are none."""
    names = np.array([group or "(none)" for group in groups], dtype=object)
    rows = [
        summarise(str(name), answers.at(np.asarray(names == name)), threshold, other)
        for name in sorted(set(names))
    ]
    return sorted(rows, key=lambda row: -row.score.tickets)


def measure_multi_intent(
    probabilities: NDArray[np.float32],
    n_tokens: NDArray[np.int32],
    model: ModelFolder,
    tickets: EvaluationSet,
) -> MultiIntentResult | None:
    """Return how tickets with two asks are read, or None where the set has none."""
    rows = [row for row, second in enumerate(tickets.seconds) if second]
    if not rows:
        return None
    ranked = np.array(model.labels, dtype=object)[np.argsort(-probabilities, axis=1)]
    both = [{*ranked[row, :2]} == {tickets.rows[row][1], tickets.seconds[row]} for row in rows]
    detected = is_multi_intent(probabilities, n_tokens, model.calibration)[rows]
    return MultiIntentResult(
        tickets=len(rows),
        dominant_first=float(np.mean([ranked[row, 0] == tickets.rows[row][1] for row in rows])),
        both_in_first_two=float(np.mean(both)),
        detected=float(detected.mean()),
    )


def bin_confidences(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_]
) -> list[ReliabilityBin]:
    """Return the bins that hold a ticket, of 15 of equal width."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        ReliabilityBin(
            lower=int(b) / _BINS,
            upper=(int(b) + 1) / _BINS,
            tickets=int((bins == b).sum()),
            confidence=float(confidence[bins == b].mean()),
            accuracy=float(correct[bins == b].mean()),
        )
        for b in np.unique(bins)
    ]


def expected_calibration_error(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_]
) -> float:
    """Return the mean gap between confidence and accuracy over the bins, weighted by their tickets."""
    gaps = [
        abs(row.confidence - row.accuracy) * row.tickets
        for row in bin_confidences(confidence, correct)
    ]
    return float(np.sum(gaps)) / len(correct)


def measure_coverage(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_], thresholds: Sequence[float]
) -> list[CoverageRow]:
    """Return for each threshold the share of tickets that reach it, and the accuracy of those."""
    rows = []
    for threshold in thresholds:
        sure = confidence >= threshold
        rows.append(
            CoverageRow(
                threshold=threshold,
                tickets=int(sure.sum()),
                coverage=float(sure.mean()),
                accuracy=float(correct[sure].mean()) if sure.any() else None,
            )
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


def _check_all_scored(model: ModelFolder, scored: Sequence[Scored]) -> None:
    failed = sum(int(np.isnan(each.logits).any(axis=1).sum()) for each in scored)
    if failed:
        raise ModelError(
            f"{model.name}: expected a score for every ticket, found none for {failed:,}; try --engine torch"
        )


def _to_score(correct: NDArray[np.bool_]) -> Score:
    return Score(tickets=len(correct), right=int(correct.sum()))


def _to_intent_result(row: dict[str, float]) -> IntentResult:
    return IntentResult(
        precision=row["precision"],
        recall=row["recall"],
        f1=row["f1-score"],
        support=int(row["support"]),
    )
