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


class Judged(Record):
    """One way to label some tickets, against their labels.

    Attributes:
        score: How many are right.
        score_or_also: The same where a second label that a reader found equally defensible counts too; None
            where no ticket has one.
    """

    score: Score
    score_or_also: Score | None
    f1_macro: float


class Summary(Judged):
    """One row of the table: a set, or one group of it; its own figures are of the model's first choice.

    Attributes:
        calibration_error: Mean gap between confidence and accuracy over 15 bins, weighted by tickets.
        coverage: Share of the tickets whose confidence reaches the threshold.
        score_at_threshold: The first choice, among those tickets.
        as_run: The intent that `run` writes, below the threshold the model's `other`; of a model of somebody's own labels.
    """

    name: str
    calibration_error: float
    coverage: float
    score_at_threshold: Score
    as_run: Judged | None = None

    @property
    def headline(self) -> Judged:
        """What to trust the model by: what `run` writes, where that was judged, else the first choice."""
        return self.as_run or self

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
    """Tickets by true intent (row) and what was said (column)."""

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
    """One set in full; by intent and in the confusions it is what `headline` is of.

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
        kept_apart: Messages of the package, of none of the labels, and how many were sent to `other`.
        kept_apart_own: The same of the user's unlabelled tickets that are probably of none of the labels.
        examples_of_other: The same of the examples that stand under `other`.
        contradictions: Messages that stood under two labels, with both; the last one counted.
    """

    score: Score
    other: str
    kept_apart: Score
    kept_apart_own: Score = Score(tickets=0, right=0)
    examples_of_other: Score = Score(tickets=0, right=0)
    confused: list[Confused]
    needs_examples: list[NeedsExamples]
    duplicates: int
    contradictions: list[tuple[str, str, str]]


class Evaluation(Record):
    """Everything that was measured of one model.

    Attributes:
        other: What `run` writes below the threshold.
        judges_run: Whether what `run` writes was judged, and leads; else the first choice does.
        published: Of the case study, for models of its nine intents only.
    """

    model: str
    engine: str
    evaluated_at: str
    threshold: float
    other: str
    judges_run: bool
    sets: list[SetResult]
    latency_ms: Latency
    throughput: Throughput
    cost: Cost
    weak_spots: WeakSpots | None = None
    published_source: str
    published: list[Published]
