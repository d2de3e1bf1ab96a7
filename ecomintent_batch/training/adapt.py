"""Adapt a classifier to a shop's own labelled tickets, without forgetting what it knew.

Two things guard the rest: messages of the package are replayed with the old model's probabilities as targets (learning
without forgetting, Li and Hoiem, 2016), and the new weights end between the old ones and the fine-tuned ones (robust
fine-tuning, Wortsman et al., 2022). docs/review.md has the measurements from which the defaults were chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch import __version__
from ecomintent_batch.analytics.score import Comparison, Score
from ecomintent_batch.analytics.templates import render
from ecomintent_batch.errors import UsageError
from ecomintent_batch.inference.engines import ModelFolder, load_engine, open_model
from ecomintent_batch.inference.engines.model_folder import softmax
from ecomintent_batch.inference.engines.torch_any import pick_device
from ecomintent_batch.storage.atomic import check_new_folder, whole_folder, write_json, write_text
from ecomintent_batch.training.corpus_files import CORPUS, INTENTS
from ecomintent_batch.training.evaluate import fit_temperature, score_labelled
from ecomintent_batch.training.evaluation_records import Record
from ecomintent_batch.training.evaluation_set import EvaluationSet, read_evaluation_set
from ecomintent_batch.training.export import measure_agreement, write_weights
from ecomintent_batch.training.fine_tune import Logits, Targets, Tuner
from ecomintent_batch.training.own_tickets import OwnTickets, pick_replayed, read_own_tickets

_CARD = Path(__file__).with_name("adapted_card.md.j2")
_SHARE_OF_NEW_WEIGHTS = 0.7
_REPLAYED = (150, 400)  # at least and at most; between them as many as the shop has tickets
_FOLDS, _FOLDS_OF_FEW, _FEW = 3, 5, 150
_ENOUGH_TO_CALIBRATE = 100
_LEAST_AGREEMENT = 0.97
_ELSEWHERE = "corpus:dev"


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What `ecomintent-batch train` takes with --init-from and labelled tickets; see its help."""

    data: str
    out: Path
    init_from: str = "embedded"
    epochs: float = 3
    learning_rate: float = 1e-4
    batch_size: int = 32
    device: str = "auto"
    seed: int = 0


class AdaptReport(Record):
    """How a model was adapted, and what that changes; `training.json` of the new folder holds it.

    Attributes:
        own: The old model against the new one on the shop's tickets, each scored by a model that was not trained on it.
        at_random: The same, of the tickets that were drawn at random; None where there are none.
        elsewhere: The old model against the one that was written, on tickets of the package; None where the labels
            differ.
        agreement: Share of the shop's tickets and the replayed messages that int8 and fp32 label alike.
        has_int8: Whether the int8 network was kept; without it `run` computes with torch.
    """

    version: str
    trained_at: str
    init_from: str
    labels: list[str]
    tickets: int
    replayed: int
    folds: int
    own: Comparison
    at_random: Comparison | None
    elsewhere: Comparison | None
    temperature: float
    agreement: float
    has_int8: bool
    elapsed_s: float


def adapt_model(options: AdaptOptions, note: Callable[[str], None] = print) -> AdaptReport:
    """Cross-validate on the shop's tickets, train on all of them, and write a model folder that `run` takes.

    Raises:
        UsageError: Options out of range.
        SourceError: The tickets cannot be read, or are too few.
        ColumnError: A label that the model does not have.
        ModelError: No such model.
        OutputError: `out` exists, or cannot be written.
    """
    _check(options)
    started = time.monotonic()
    given = open_model(None if options.init_from == "embedded" else options.init_from)
    tickets = read_own_tickets(options.data, given.labels)
    count = int(np.clip(len(tickets.messages), *_REPLAYED))
    replayed = pick_replayed(count, options.seed, without=tickets.messages)
    note(
        f"{len(tickets.messages):,} tickets of your own, {len(replayed):,} messages of the package to forget nothing"
    )
    learner = _Learner(given, tickets, replayed, options)
    after, folds = learner.cross_validate(note)
    note("training on all tickets")
    network = learner.train(np.arange(len(tickets.messages)))
    note("quantising")
    with whole_folder(options.out) as folder:
        write_weights(network, given, [*tickets.messages, *replayed], folder)
        temperature = _calibrate(folder, given, after, learner.true)
        agreement, has_int8 = _check_int8(folder, tickets, replayed)
        report = AdaptReport(
            version=__version__,
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            init_from=given.path.name,
            labels=given.labels,
            tickets=len(tickets.messages),
            replayed=len(replayed),
            folds=folds,
            own=_compare(learner.before, after, learner.true),
            at_random=_compare_at_random(learner, after),
            elsewhere=_compare_elsewhere(given, open_model(str(folder))),
            temperature=temperature,
            agreement=agreement,
            has_int8=has_int8,
            elapsed_s=time.monotonic() - started,
        )
        write_json(report.model_dump(mode="json"), folder / "training.json")
        write_text(_render_card(report, options.out), folder / "README.md")
    return report


class _Learner:
    """The tickets of a shop, the replayed messages, and the model that learns from both."""

    def __init__(
        self, model: ModelFolder, tickets: OwnTickets, replayed: list[str], options: AdaptOptions
    ) -> None:
        self.tickets, self._replayed, self._seed = tickets, replayed, options.seed
        self.true = np.array([model.labels.index(intent) for intent in tickets.intents])
        self._targets = np.eye(len(model.labels), dtype=np.float32)[self.true]
        self._tuner = Tuner(
            model,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            batch_size=options.batch_size,
            share_of_new=_SHARE_OF_NEW_WEIGHTS,
            device=pick_device(options.device),
            seed=options.seed,
        )
        self._answers = softmax(self._tuner.score(self._tuner.network, replayed))
        self.before = self._tuner.score(self._tuner.network, tickets.messages)

    def train(self, rows: NDArray[np.int64]) -> Any:
        """Return a network trained on some of the tickets and all replayed messages."""
        messages = [self.tickets.messages[row] for row in rows] + self._replayed
        targets: Targets = np.concatenate([self._targets[rows], self._answers])
        return self._tuner.fine_tune(messages, targets)

    def cross_validate(self, note: Callable[[str], None]) -> tuple[Logits, int]:
        """Return logits of each ticket by a network that was not trained on it, and the number of folds."""
        n = len(self.tickets.messages)
        folds = _FOLDS if n >= _FEW else _FOLDS_OF_FEW
        order = np.random.default_rng(self._seed).permutation(n)
        logits = np.empty_like(self.before)
        for number, held_out in enumerate(np.array_split(order, folds), 1):
            note(f"cross-validation, fold {number} of {folds}")
            network = self.train(np.setdiff1d(order, held_out))
            logits[held_out] = self._tuner.score(
                network, [self.tickets.messages[row] for row in held_out]
            )
        return logits, folds


def _check(options: AdaptOptions) -> None:
    check_new_folder(options.out)
    for flag, value, least, most in (
        ("--epochs", options.epochs, 0.001, 1000),
        ("--batch-size", options.batch_size, 1, 4096),
        ("--learning-rate", options.learning_rate, 1e-9, 1),
    ):
        if not least <= value <= most:
            raise UsageError(f"{flag}: expected {least:g} to {most:g}, found {value:g}")


def _calibrate(
    folder: Path, given: ModelFolder, held_out: Logits, true: NDArray[np.int64]
) -> float:
    """Write the old model's calibration with a temperature fitted on held-out tickets; return the temperature."""
    calibration = dict(given.calibration)
    if len(true) >= _ENOUGH_TO_CALIBRATE:
        calibration["temperature"] = round(fit_temperature(held_out, true), 4)
        for growth in ("temperature_per_doubling", "temperature_per_surprisal"):
            calibration.pop(growth, None)  # for shops that nobody labelled
    write_json(calibration, folder / "calibration.json")
    return float(calibration.get("temperature", 1.0))


def _check_int8(folder: Path, tickets: OwnTickets, replayed: list[str]) -> tuple[float, bool]:
    """Return the agreement of int8 and fp32, and whether it was enough to keep the int8 network."""
    model = open_model(str(folder))
    agreement = measure_agreement(
        model, EvaluationSet("both", [(text, "") for text in [*tickets.messages, *replayed]])
    )
    has_int8 = agreement >= _LEAST_AGREEMENT
    if not has_int8:
        model.onnx_file.unlink()
    return agreement, has_int8


def _compare(before: Logits, after: Logits, true: NDArray[np.int64]) -> Comparison:
    was, now = before.argmax(axis=1) == true, after.argmax(axis=1) == true
    return Comparison(
        before=Score(tickets=len(true), right=int(was.sum())),
        after=Score(tickets=len(true), right=int(now.sum())),
        gained=int((now & ~was).sum()),
        lost=int((was & ~now).sum()),
    )


def _compare_at_random(learner: _Learner, after: Logits) -> Comparison | None:
    rows = np.flatnonzero(learner.tickets.at_random)
    if not len(rows):
        return None
    return _compare(learner.before[rows], after[rows], learner.true[rows])


def _compare_elsewhere(given: ModelFolder, adapted: ModelFolder) -> Comparison | None:
    """Compare both models, as `run` uses them, on the dev split of the package."""
    if tuple(given.labels) != INTENTS or not CORPUS.is_dir():
        return None
    rows = read_evaluation_set(_ELSEWHERE).rows
    true = np.array([INTENTS.index(intent) for _, intent in rows])
    before, after = (
        score_labelled(model, load_engine(model, device="cpu"), rows).logits
        for model in (given, adapted)
    )
    return _compare(before, after, true)


def _render_card(report: AdaptReport, out: Path) -> str:
    return render(_CARD, report=report, name=out.name)
