"""What an evaluation says, as typed records; `evaluation.json` holds them as they are here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ecomintent_batch.analytics.score import Score

Kind = Literal["messages", "synthetic", "template"]
"""Where the texts of a set come from: given tickets, the package's model-written corpus, a template with placeholders."""
ORDER: tuple[Kind, ...] = ("messages", "synthetic", "template")
"""Real messages lead wherever sets are listed."""


class Record(BaseModel):
    """A frozen record; a field that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Summary(Record):
    """One row of the table: a set, or one group of it.

    Attributes:
        score: The model's first choice against the label.
        score_or_also: The same where a second label that a reader found equally defensible counts too; None
            where no ticket has one.
        calibration_error: Mean gap between confidence and accuracy over 15 bins, weighted by tickets.
        coverage: Share of the tickets whose confidence reaches the threshold.
        score_at_threshold: The first choice, among those tickets.
    """

    name: str
    score: Score
    score_or_also: Score | None
    f1_macro: float
    calibration_error: float
    coverage: float
    score_at_threshold: Score

    @property
    def short_name(self) -> str:
        """The name of a file without folder and ending; `corpus:dev` as it is."""
        return self.name if self.name.startswith("corpus:") else Path(self.name).stem or self.name


class IntentResult(Record):
    """Precision, recall and F1 of one intent, over `support` tickets."""

    precision: float
    recall: float
    f1: float
    support: int


class Confusion(Record):
    """Tickets by true intent (row) and first choice (column)."""

    labels: list[str]
    counts: list[list[int]]


class ReliabilityBin(Record):
    """Tickets whose confidence is in one bin."""

    lower: float
    upper: float
    tickets: int
    confidence: float
    accuracy: float


class CoverageRow(Record):
    """Tickets whose confidence reaches a threshold; the accuracy is None where there are none."""

    threshold: float
    tickets: int
    coverage: float
    accuracy: float | None


class MultiIntentResult(Record):
    """How well tickets with two asks are read."""

    tickets: int
    dominant_first: float
    both_in_first_two: float
    detected: float


class SetResult(Summary):
    """One set in full.

    Attributes:
        skipped: Rows that could not be read, or without words or a label.
        disputed: Rows with agreed=false, skipped: two readers gave two labels.
        groups: One summary for each value of the `--by` column.
    """

    kind: Kind
    skipped: int
    disputed: int
    f1_weighted: float
    mean_confidence: float
    by_intent: dict[str, IntentResult]
    classification_report: str
    confusion: Confusion
    reliability: list[ReliabilityBin]
    coverage_by_threshold: list[CoverageRow]
    groups: list[Summary]
    multi_intent: MultiIntentResult | None


class Latency(Record):
    """Percentiles of the milliseconds from the text of one ticket to its probabilities."""

    tickets: int
    p50: float
    p95: float
    p99: float


class Throughput(Record):
    """Tickets per second in batches, cleaning and tokenising included."""

    elapsed_s: float
    tickets_per_s: float


class Cost(Record):
    """USD for 1,000 tickets, on a machine of some USD an hour."""

    hourly_price_usd: float
    usd_per_1000_tickets: float


class Published(Record):
    """One row of the case study's table; it was not measured here."""

    way: str
    accuracy: float
    f1_weighted: float
    p95_ms: float
    usd_per_1000: float | None
    note: str


class Confused(Record):
    """Two labels that are taken for each other, and some of the messages."""

    labels: tuple[str, str]
    tickets: int
    examples: list[str]


class NeedsExamples(Record):
    """A label with few examples, or that is read badly; the recall is None where too few could be held out."""

    label: str
    examples: int
    recall: float | None
    more: int


class WeakSpots(Record):
    """What cross-validation on the examples of a model's labels found.

    Attributes:
        score: The first choice, among the examples that are not of `other`.
        other: What is said below the threshold.
        kept_apart: Messages of none of the labels, and how many were sent to `other`.
        contradictions: Messages that stood under two labels, with both; the last one counted.
    """

    score: Score
    other: str
    kept_apart: Score
    confused: list[Confused]
    needs_examples: list[NeedsExamples]
    duplicates: int
    contradictions: list[tuple[str, str, str]]


class Evaluation(Record):
    """Everything that was measured of one model."""

    model: str
    engine: str
    evaluated_at: str
    threshold: float
    sets: list[SetResult]
    latency_ms: Latency
    throughput: Throughput
    cost: Cost
    weak_spots: WeakSpots | None = None
    published_source: str
    published: list[Published]
