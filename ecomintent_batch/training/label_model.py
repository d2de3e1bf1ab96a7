"""A `LabelSet` → a model folder, in a minute, without a network.

Labels of one's own get a head on the frozen features of the plain encoder, fitted against messages that are probably of none
of them: unlabelled tickets, and messages of the package. Labels that extend the nine start from the embedded model; its upper
layers are trained, and its answers to messages of the package replayed. Cross-validation on the examples gives temperature,
threshold and what is weak. docs/taxonomy.md has the measurements from which the defaults were chosen.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecomintent_batch import __version__
from ecomintent_batch.analytics.score import Comparison, Score
from ecomintent_batch.analytics.templates import render
from ecomintent_batch.inference.engines import ModelFolder, load_engine, open_model
from ecomintent_batch.inference.engines.model_folder import softmax
from ecomintent_batch.inference.engines.torch_any import pick_device
from ecomintent_batch.options import THRESHOLD
from ecomintent_batch.schema import OTHER
from ecomintent_batch.storage.atomic import check_new_folder, whole_folder, write_json, write_text
from ecomintent_batch.training.corpus_files import INTENTS
from ecomintent_batch.training.evaluate import score_labelled
from ecomintent_batch.training.evaluation_records import Record, WeakSpots
from ecomintent_batch.training.evaluation_set import EvaluationSet, read_evaluation_set
from ecomintent_batch.training.export import load_network, measure_agreement, write_weights
from ecomintent_batch.training.fine_tune import Logits, Targets
from ecomintent_batch.training.labels_file import BASE, LabelSet
from ecomintent_batch.training.own_tickets import (
    pick_replayed,
    read_package_messages,
    read_unlabelled,
)
from ecomintent_batch.training.plain_encoder import load_plain_encoder, with_new_head
from ecomintent_batch.training.threshold import choose_threshold, fit_soft_temperature
from ecomintent_batch.training.upper_layers import (
    Features,
    Head,
    UpperLayers,
    UpperTuner,
    fit_head,
)
from ecomintent_batch.training.weak_spots import count_words, describe_scores, find_weak_spots

_CARD = Path(__file__).with_name("label_card.md.j2")
_LEAST_AGREEMENT = 0.95
_BACKGROUND = (150, 1.5, 1500)  # at least, for each example, at most
# Of the user's tickets, of messages of foreign intents, and of the others: the farthest from all examples.
_KEPT = (0.5, 0.6, 0.2)
# Of the examples, for an intent of the nine to be one that a label is about.
_LEAST_COVERED, _COVERED_SHARE = 2, 0.02
# Messages of the package, where the nine are extended; so many of them near to the new labels.
_REPLAYED, _NEAR_SHARE = 600, 0.2
_MAILS, _MAIL_CHARS = 200, (161, 700)  # in addition: without any, long messages are forgotten
_NEW_SHARE, _MOST_REPEATS = 0.25, 8  # of all messages, the examples that extend the nine
_HEAD_C = 0.3  # of the logistic regression: the inverse of its penalty
_ABSENT = -4.0  # bias of a label that has no message yet


@dataclass(frozen=True, kw_only=True)
class LabelModelOptions:
    """What `train LABELS` and `run --labels` decide in addition to the labels; see their help."""

    unlabelled: str | None = None
    epochs: float | None = None
    device: str = "auto"
    seed: int = 0


class LabelReport(Record):
    """How a model of one's own labels was made, and what is weak in them; `training.json` of the folder holds it.

    Attributes:
        weak_spots: By cross-validation; None where no label has two examples.
        elsewhere: The embedded model against this one on `corpus:dev`, of the nine that are kept; None unless they are.
        agreement: Share of the examples that int8 and fp32 label alike.
    """

    version: str
    trained_at: str
    taxonomy: str
    sha256: str
    extends: str | None
    labels: list[str]
    examples: dict[str, int]
    background: int
    folds: int
    weak_spots: WeakSpots | None
    elsewhere: Comparison | None
    temperature: float
    threshold: float
    threshold_is_given: bool
    agreement: float
    has_int8: bool
    elapsed_s: float


def make_label_model(
    label_set: LabelSet,
    out: Path,
    options: LabelModelOptions | None = None,
    note: Callable[[str], None] = print,
) -> LabelReport:
    """Cross-validate on the examples, train on all of them, and write a model folder that `run` takes.

    Raises:
        SourceError: The unlabelled tickets cannot be read.
        OutputError: `out` exists, or cannot be written.
    """
    options = options or LabelModelOptions()
    check_new_folder(out)
    started = time.monotonic()
    learner = _Learner(label_set, options)
    note(learner.describe())
    checked = learner.cross_validate(note)
    note("training on all examples")
    network = learner.assemble()
    note("quantising")
    with whole_folder(out) as folder:
        write_weights(network, learner.model, learner.messages, folder)
        calibration = learner.calibrate(checked)
        write_json(calibration, folder / "calibration.json")
        agreement, has_int8 = _check_int8(folder, [*dict.fromkeys(text for text, _ in learner.own)])
        report = LabelReport(
            version=__version__,
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            taxonomy=label_set.name,
            sha256=label_set.sha256,
            extends=BASE if label_set.extends else None,
            labels=learner.labels,
            examples={label.name: len(label.examples) for label in label_set.labels},
            background=learner.n_background,
            folds=learner.folds,
            weak_spots=learner.find_weak_spots(checked, calibration),
            elsewhere=_compare_elsewhere(label_set, folder) if label_set.extends else None,
            temperature=calibration["temperature"],
            threshold=calibration["threshold"],
            threshold_is_given=label_set.threshold is not None,
            agreement=agreement,
            has_int8=has_int8,
            elapsed_s=time.monotonic() - started,
        )
        write_json(report.model_dump(mode="json"), folder / "training.json")
        scores = describe_scores(report.weak_spots) if report.weak_spots else []
        write_text(render(_CARD, report=report, scores=scores, name=out.name), folder / "README.md")
    return report


@dataclass(frozen=True)
class _Recipe:
    """How long and how fast to train, chosen on three sets of labels (docs/taxonomy.md)."""

    epochs: float
    learning_rate: float
    head_rate: float
    folds: int


_OWN = _Recipe(epochs=0, learning_rate=1e-4, head_rate=3, folds=5)
_EXTENDED = _Recipe(epochs=3, learning_rate=1e-4, head_rate=3, folds=2)


class _Learner:
    """The messages with their targets, and the network that learns from them.

    Attributes:
        own: The examples, then the descriptions, each with its label.
        messages: Those of `own`, then the background or what is replayed.
        true: Index of the label of each message, that of `other` for the background, shape (messages,).
    """

    def __init__(self, label_set: LabelSet, options: LabelModelOptions) -> None:
        self._set, self._seed = label_set, options.seed
        self.model = open_model(None)
        self.labels = list_labels(label_set)
        recipe = _EXTENDED if label_set.extends else _OWN
        self._recipe = replace(
            recipe, epochs=recipe.epochs if options.epochs is None else options.epochs
        )
        self.folds = recipe.folds
        self._tuner = UpperTuner(
            _start_network(label_set, self.model, self.labels),
            self.model,
            pick_device(options.device),
            options.seed,
        )
        self._of_user = np.zeros(0, np.int64)  # rows of unlabelled tickets
        self.own = own = [*label_set.examples, *describe_labels(label_set)]
        rows = self._tuner.add([text for text, _ in own])
        places = [self.labels.index(label) for _, label in own]
        own_targets = np.eye(len(self.labels), dtype=np.float32)[places]
        features = self._tuner.encode(rows)
        others, targets = (
            self._replay(features, options.unlabelled)
            if label_set.extends
            else self._add_background(own, features, options.unlabelled)
        )
        self._features = np.concatenate([features, self._tuner.encode(others)])
        self._rows = np.concatenate([rows, others])
        self._targets = np.concatenate([own_targets, targets])
        self.messages = [self._tuner.messages[row] for row in self._rows]
        self.n_background, self._n_own = len(others), len(own)
        self._is_of_user = np.isin(self._rows, self._of_user)
        self._is_of_user[: self._n_own] = False
        self.true = self._targets.argmax(axis=1)
        if not label_set.extends:
            self.true[self._n_own :] = len(self.labels) - 1
        self._repeats = self._count_repeats()

    def describe(self) -> str:
        """Return in a sentence what the model is made of."""
        examples = (
            f"{count_words(len(self._set.examples), 'example')} of "
            f"{count_words(len(self._set.labels), 'label')}"
        )
        n_user = int(self._is_of_user.sum())
        package = count_words(self.n_background - n_user, "message") + " of the package"
        rest = f"{package} and {n_user:,} of your unlabelled tickets" if n_user else package
        if self._set.extends:
            return f"learning from {examples}; {rest} keep the answers of the embedded model"
        return (
            f"learning from {examples}; {rest} stand for what is none of them ({self._set.other})"
        )

    def train(self, places: NDArray[np.int64] | None = None) -> UpperLayers:
        """Return upper layers trained on some of the messages, or all, the head fitted on frozen features first."""
        if places is None:
            places = np.arange(len(self.messages))
        places = np.repeat(places, np.where(places < self._n_own, self._repeats, 1))
        targets = self._targets[places]
        head = fit_head(self._features[places], targets, self._start_head(), _HEAD_C)
        return self._tuner.fine_tune(
            self._rows[places],
            targets,
            head,
            epochs=self._recipe.epochs,
            learning_rate=self._recipe.learning_rate,
            head_rate=self._recipe.head_rate,
        )

    def assemble(self) -> Any:
        """Return a whole network trained on all messages."""
        return self._tuner.assemble(self.train())

    def cross_validate(self, note: Callable[[str], None]) -> _CrossValidated:
        """Return logits of each example that can be held out, and of the background, by networks that did not see them."""
        places = self._list_held_out()
        logits = np.zeros((len(self.messages), len(self.labels)), np.float32)
        folds = _deal(self.true[places], self.folds, self._seed)
        for fold in range(self.folds if len(places) else 0):
            note(f"cross-validation, fold {fold + 1} of {self.folds}")
            held_out = places[folds == fold]
            upper = self.train(np.setdiff1d(np.arange(len(self.messages)), held_out))
            logits[held_out] = self._tuner.score(upper, self._rows[held_out])
        return _CrossValidated(places, logits[places])

    def calibrate(self, checked: _CrossValidated) -> dict[str, Any]:
        """Return what `calibration.json` says: temperature, threshold, the name of `other`, and which taxonomy this is."""
        taxonomy = {
            "name": self._set.name,
            "sha256": self._set.sha256,
            "extends": BASE if self._set.extends else None,
            "was": self._set.was(),
        }
        if self._set.extends:
            known = dict(self.model.calibration)
            known.pop("multi_intent", None)
            threshold = THRESHOLD if self._set.threshold is None else self._set.threshold
            return {**known, "threshold": threshold, "other": self._set.other, "taxonomy": taxonomy}
        temperature = fit_soft_temperature(checked.logits, self._targets[checked.rows])
        chosen = choose_threshold(
            softmax(checked.logits / temperature), self.true[checked.rows], len(self.labels) - 1
        )
        return {
            "temperature": round(temperature, 4),
            "threshold": chosen if self._set.threshold is None else self._set.threshold,
            "other": self._set.other,
            "taxonomy": taxonomy,
        }

    def find_weak_spots(
        self, checked: _CrossValidated, calibration: dict[str, Any]
    ) -> WeakSpots | None:
        """Return what the cross-validation says of the labels."""
        n_examples = len(self._set.examples)
        mine = checked.rows < n_examples
        if not mine.any():
            return None
        probabilities = softmax(checked.logits / calibration["temperature"])
        first, other = probabilities.argmax(axis=1), len(self.labels) - 1
        to_other = (first == other) | (probabilities.max(axis=1) < calibration["threshold"])
        outside = self.true[checked.rows] == other
        of_user = self._is_of_user[checked.rows]

        def score(which: NDArray[np.bool_]) -> Score:
            return Score(tickets=int(which.sum()), right=int((which & to_other).sum()))

        return find_weak_spots(
            self._set,
            [self._set.examples[row] for row in checked.rows[mine]],
            np.array(self.labels, dtype=object)[first[mine]],
            kept_apart=score(outside & ~mine & ~of_user),
            kept_apart_own=score(outside & of_user),
            examples_of_other=score(outside & mine),
        )

    def _add_background(
        self, own: Sequence[tuple[str, str]], features: Features, unlabelled: str | None
    ) -> tuple[NDArray[np.int64], Targets]:
        """Add messages that are probably of no label: of each pool those that are farthest from all examples.

        Their target is no label in particular (outlier exposure, Hendrycks et al., 2019): confidence falls, the first choice
        stays. With `other` as their target it took one message in eight from its label.
        """
        texts = [text for text, _ in own]
        least, share, most = _BACKGROUND
        count = int(np.clip(share * len(own), least, most))
        of_user = read_unlabelled(unlabelled, 2 * count, self._seed, texts) if unlabelled else []
        foreign, alike = self._pick_of_package(count, [*texts, *of_user])
        of_labels = features[[label != self._set.other for _, label in own]]
        found = [np.zeros(0, np.int64)]
        for pool, kept in zip((of_user, foreign, alike), _KEPT, strict=True):
            if pool:
                rows = self._tuner.add(pool)
                nearness = measure_nearness(self._tuner.encode(rows), of_labels)
                found.append(rows[np.argsort(nearness, kind="stable")[: int(kept * len(rows))]])
                if pool is of_user:
                    self._of_user = found[-1]
        rows = np.concatenate(found)
        return rows, np.full((len(rows), len(self.labels)), 1 / len(self.labels), np.float32)

    def _pick_of_package(self, count: int, without: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return messages of intents of the nine that no label is about, and twice as many of the others."""
        rows = read_package_messages(without)
        random.Random(self._seed).shuffle(rows)  # noqa: S311 - a training set, not a secret
        met = find_covered([text for text, _ in self.own])
        foreign = [text for text, intent in rows if intent not in met][:count]
        return foreign, [text for text, intent in rows if intent in met][: 2 * count]

    def _replay(
        self, features: Features, unlabelled: str | None
    ) -> tuple[NDArray[np.int64], Targets]:
        """Add messages of the package, half of them near to the new labels, with the embedded model's answers."""
        texts = self._tuner.messages
        rows = self._tuner.add(pick_replayed(2 * _REPLAYED, self._seed, without=texts))
        order = np.argsort(-measure_nearness(self._tuner.encode(rows), features), kind="stable")
        n_near = int(_NEAR_SHARE * _REPLAYED)
        rest = np.random.default_rng(self._seed).permutation(order[n_near:])
        rows = rows[np.concatenate([order[:n_near], rest[: _REPLAYED - n_near]])]
        mails = pick_replayed(_MAILS, self._seed, without=(), chars=_MAIL_CHARS)
        rows = np.concatenate([rows, self._tuner.add(mails)])
        if unlabelled:
            more = read_unlabelled(unlabelled, _REPLAYED // 2, self._seed, self._tuner.messages)
            self._of_user = self._tuner.add(more)
            rows = np.concatenate([rows, self._of_user])
        old = load_network(self.model.path).classifier
        with torch.no_grad():
            answers = old(torch.from_numpy(self._tuner.encode(rows))).numpy()
        return rows, carry_answers(softmax(answers), self._set, self.labels)

    def _start_head(self) -> Head:
        head = self._tuner.network.classifier
        return head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()

    def _count_repeats(self) -> int:
        if not self._set.extends:
            return 1
        wanted = _NEW_SHARE * self.n_background / max(1, self._n_own)
        return int(np.clip(round(wanted), 1, _MOST_REPEATS))

    def _list_held_out(self) -> NDArray[np.int64]:
        """Return the examples of labels that have at least two, and the background."""
        n_examples = len(self._set.examples)
        counts = Counter(self.true[:n_examples].tolist())
        examples = [place for place in range(n_examples) if counts[int(self.true[place])] > 1]
        background = [] if self._set.extends else range(self._n_own, len(self.messages))
        return np.array([*examples, *background], dtype=np.int64)


@dataclass(frozen=True)
class _CrossValidated:
    """Rows that were held out once each, shape (rows,), and their logits, shape (rows, labels)."""

    rows: NDArray[np.int64]
    logits: Logits


def measure_nearness(features: Features, others: Features) -> NDArray[np.float32]:
    """Return the cosine of each message to the nearest of some others, shape (messages,)."""
    if not len(others):
        return np.zeros(len(features), np.float32)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, others)]
    return np.asarray((unit[0] @ unit[1].T).max(axis=1), np.float32)


def find_covered(messages: Sequence[str]) -> set[str]:
    """Return the intents of the nine, but OTHER, that some messages are about, by the embedded model."""
    model = open_model(None)
    logits = score_labelled(
        model, load_engine(model, device="cpu"), [(text, "") for text in messages]
    ).logits
    counts = Counter(model.labels[place] for place in logits.argmax(axis=1))
    least = max(_LEAST_COVERED, _COVERED_SHARE * len(messages))
    return {intent for intent, count in counts.items() if intent != OTHER and count >= least}


def list_labels(label_set: LabelSet) -> list[str]:
    """Return the labels in model order: those of the nine that are kept, under their new names, the others, then `other`."""
    renamed = {label.renames: label.name for label in label_set.labels if label.renames}
    kept = [
        renamed.get(intent, intent)
        for intent in (INTENTS if label_set.extends else ())
        if intent != OTHER and intent not in label_set.dropped
    ]
    names = [label.name for label in label_set.labels]
    return [*dict.fromkeys([*kept, *names]), label_set.other]


def describe_labels(label_set: LabelSet) -> list[tuple[str, str]]:
    """Return the descriptions as messages; of a label without examples its name, too."""
    rows = [(label.description, label.name) for label in label_set.labels if label.description]
    spoken = [
        (label.name.replace("_", " ").lower(), label.name)
        for label in label_set.labels
        if not label.examples and not label.renames
    ]
    return [*rows, *spoken]


def carry_answers(answers: NDArray[Any], label_set: LabelSet, labels: Sequence[str]) -> Targets:
    """Return probabilities of the nine as those of other labels: renamed ones move, dropped ones become `other`.

    Args:
        answers: Of the nine, shape (messages, 9).
        label_set: Says what is renamed and dropped.
        labels: In the order of the new model.
    """
    renamed = {label.renames: label.name for label in label_set.labels if label.renames}
    targets = np.zeros((len(answers), len(labels)), np.float32)
    for place, intent in enumerate(INTENTS):
        name = (
            label_set.other
            if intent in (OTHER, *label_set.dropped)
            else renamed.get(intent, intent)
        )
        targets[:, labels.index(name)] += answers[:, place]
    return targets


def _start_network(label_set: LabelSet, model: ModelFolder, labels: Sequence[str]) -> Any:
    """Return the plain encoder with an empty head, or the embedded model with rows for the new labels."""
    if not label_set.extends:
        return with_new_head(load_plain_encoder(), labels)
    network = load_network(model.path)
    old = network.classifier
    place_of = carry_answers(np.eye(len(INTENTS)), label_set, labels).argmax(axis=1)
    head = with_new_head(network, labels).classifier
    with torch.no_grad():
        head.bias.fill_(_ABSENT)
        for place, intent in enumerate(INTENTS):
            if intent not in label_set.dropped:
                head.weight[place_of[place]], head.bias[place_of[place]] = old.weight[place], old.bias[place]  # fmt: skip
    return network


def _deal(true: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return a fold for each row, the rows of one label spread over all folds."""
    order = np.random.default_rng(seed).permutation(len(true))
    order = order[np.argsort(true[order], kind="stable")]
    folds = np.empty(len(true), np.int64)
    folds[order] = np.arange(len(true)) % n_folds
    return folds


def _check_int8(folder: Path, messages: Sequence[str]) -> tuple[float, bool]:
    """Return the agreement of int8 and fp32 on the examples, and whether it was enough to keep the int8 network."""
    model = open_model(str(folder))
    agreement = measure_agreement(model, EvaluationSet("", [(text, "") for text in messages]))
    has_int8 = agreement >= _LEAST_AGREEMENT
    if not has_int8:
        model.onnx_file.unlink()
    return agreement, has_int8


def _compare_elsewhere(label_set: LabelSet, folder: Path) -> Comparison | None:
    """Compare the embedded model and the new one on the dev split, both as `run` uses them; of the nine that are kept."""
    rows = [
        row for row in read_evaluation_set("corpus:dev").rows if row[1] not in label_set.dropped
    ]
    old_name = label_set.was()
    right = []
    for model in (open_model(None), open_model(str(folder))):
        logits = score_labelled(model, load_engine(model, device="cpu"), rows).logits
        found = [model.labels[place] for place in logits.argmax(axis=1)]
        right.append(
            np.array([old_name.get(label, label) == true for label, (_, true) in zip(found, rows, strict=True)])
        )  # fmt: skip
    was, now = right
    return Comparison(
        before=Score(tickets=len(rows), right=int(was.sum())),
        after=Score(tickets=len(rows), right=int(now.sum())),
        gained=int((now & ~was).sum()),
        lost=int((was & ~now).sum()),
    )
