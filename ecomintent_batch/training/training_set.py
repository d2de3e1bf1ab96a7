"""What to train on and what to choose by: a folder of `dataset`, or labelled tickets of one's own → texts and targets.

A target is a probability for each label: one label's, or shared between the asks of a ticket that has two.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from ecomintent_batch.errors import SourceError
from ecomintent_batch.training.alterations import Alteration, alter, slip
from ecomintent_batch.training.corpus_files import CORPUS, INTENTS
from ecomintent_batch.training.evaluation_set import (
    EvaluationSet,
    match_labels,
    read_evaluation_set,
)
from ecomintent_batch.training.labelled_sources import read_file

Targets = NDArray[np.float32]

_FIRST_SHARE = 0.75  # of the target of a ticket with two asks, to the dominant one
_JOINERS = (
    " ",
    "\n",
    " Also, ",
    " And ",
    "\n\nAnother thing: ",
    " btw ",
    "\n\nOn another order: ",
    " One more thing, ",
)
_JOINED_CHARS = 300  # of each of two tickets that are made one, at most
_DEV_SHARE = 0.1


@dataclass(frozen=True)
class TrainingSet:
    """Texts with targets of shape (texts, labels), texts without, and labelled tickets to choose the best epoch by."""

    labels: list[str]
    texts: list[str]
    targets: Targets
    unlabelled: list[str]
    dev: EvaluationSet
    max_length: int | None = None


def read_training_set(
    location: str,
    *,
    labels: Sequence[str] | None,
    dev: str | None,
    joined_share: float,
    typo_share: float = 0.0,
    altered_share: float = 0.0,
    seed: int,
) -> TrainingSet:
    """Read a folder that `dataset` made, or a labelled file.

    Args:
        labels: of the model to go on from; None for those of the data.
        dev: labelled file or `corpus:dev`; None for the realistic dev split where the labels are the nine intents,
            else the validation split of the folder, or a tenth of the file.
        joined_share: tickets made of two of different intents, as a share of the realistic rows (of all where there are none).
        typo_share: texts that come once more with a typo, as a share of all.
        altered_share: texts that come once more as `alterations.alter` changes them, as a share of all.

    Raises:
        SourceError: it cannot be read.
        ColumnError: a label that the model to go on from does not have.
    """
    read = _read_folder if Path(location).is_dir() else _read_own_file
    found = read(location, labels, dev, joined_share, seed)
    rows = np.arange(len(found.texts))
    texts, targets = _add_copies(found.texts, found.targets, rows, slip, typo_share, seed)
    texts, targets = _add_copies(texts, targets, rows, alter, altered_share, seed + 1)
    return replace(found, texts=texts, targets=targets)


def _read_folder(
    location: str, labels: Sequence[str] | None, dev: str | None, joined_share: float, seed: int
) -> TrainingSet:
    folder = Path(location)
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        train = pl.read_parquet(folder / "train.parquet")
        own = list(report["intents"])
        max_length = int(report["tokens"]["suggested_max_length"])
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise SourceError(
            f"{location}: expected report.json and train.parquet of ecomintent-batch dataset, found: {type(error).__name__}"
        ) from None
    used = list(labels or own)
    realistic = tuple(used) == INTENTS and CORPUS.is_dir()
    tickets = read_evaluation_set(
        dev or ("corpus:dev" if realistic else str(folder / "validation.parquet"))
    )
    unlabelled = folder / "unlabelled.parquet"
    # A folder of an earlier version has no shares.
    shares = train.get_column("first_share", default=pl.Series([None] * train.height)).to_list()
    texts, targets = _to_targets(
        match_labels(_as_set(location, train), used).rows,
        train["second_intent"].to_list(),
        used,
        shares,
    )
    # Templates glued together say nothing of how a customer changes the subject: where there are realistic ones, only those.
    of_corpus = np.flatnonzero((train["source"] == "corpus").to_numpy())
    texts, targets = _add_joined(
        texts, targets, of_corpus if len(of_corpus) else np.arange(len(texts)), joined_share, seed
    )
    return TrainingSet(
        used,
        texts,
        targets,
        pl.read_parquet(unlabelled)["text"].to_list() if unlabelled.exists() else [],
        match_labels(tickets, used),
        max_length,
    )


def _read_own_file(
    location: str, labels: Sequence[str] | None, dev: str | None, joined_share: float, seed: int
) -> TrainingSet:
    labelled = read_file(location).rows.drop_nulls(["text", "label"])
    used = list(labels or sorted(labelled["label"].unique()))
    rows = match_labels(
        EvaluationSet(location, list(labelled.select("text", "label").iter_rows())), used
    ).rows
    if dev is None:
        kept, held_out = _hold_out(location, rows, seed)
        tickets = EvaluationSet(f"a tenth of {location}", held_out)
    else:
        kept, tickets = rows, match_labels(read_evaluation_set(dev), used)
    texts, targets = _add_joined(
        *_to_targets(kept, [None] * len(kept), used), np.arange(len(kept)), joined_share, seed
    )
    return TrainingSet(used, texts, targets, [], tickets)


def _hold_out(
    location: str, rows: list[tuple[str, str]], seed: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    try:
        kept, held_out = train_test_split(
            rows, test_size=_DEV_SHARE, stratify=[label for _, label in rows], random_state=seed
        )
    except ValueError:  # too few rows, or of some label
        raise SourceError(
            f"{location}: expected enough tickets of each label to hold a tenth out, found {len(rows):,} in all; "
            "add tickets, or name others to choose by with --dev"
        ) from None
    return kept, held_out


def _as_set(location: str, frame: pl.DataFrame) -> EvaluationSet:
    return EvaluationSet(location, list(frame.select("text", "intent").iter_rows()))


def _to_targets(
    rows: Sequence[tuple[str, str]],
    seconds: Sequence[str | None],
    labels: Sequence[str],
    shares: Sequence[float | None] | None = None,
) -> tuple[list[str], Targets]:
    """Return the texts and their targets; `shares` are those of the first intents, None the usual one."""
    place = {label: index for index, label in enumerate(labels)}
    targets = np.zeros((len(rows), len(labels)), np.float32)
    all_shares = shares or [None] * len(rows)
    for row, ((_, intent), second, given) in enumerate(zip(rows, seconds, all_shares, strict=True)):
        targets[row, place[intent]] = 1.0
        if second in place and second != intent:
            share = _FIRST_SHARE if given is None else given
            targets[row, place[intent]], targets[row, place[second]] = share, 1 - share
    return [text for text, _ in rows], targets


def _add_joined(
    texts: list[str], targets: Targets, places: NDArray[np.int64], share: float, seed: int
) -> tuple[list[str], Targets]:
    """Add tickets made of two of the places, of different intents; the one that comes first counts as dominant."""
    rng = random.Random(seed)  # noqa: S311 - a training set, not a secret
    short = [
        row
        for row in places.tolist()
        if len(texts[row]) < _JOINED_CHARS and targets[row].max() == 1
    ]
    joined, shared = [], []
    for _ in range(int(share * len(places)) if len(short) > 1 else 0):
        first, second = rng.sample(short, 2)
        if (targets[first] != targets[second]).any():
            joined.append(texts[first] + rng.choice(_JOINERS) + texts[second])
            shared.append(_FIRST_SHARE * targets[first] + (1 - _FIRST_SHARE) * targets[second])
    return texts + joined, np.concatenate(
        [targets, np.array(shared, np.float32).reshape(-1, targets.shape[1])]
    )


def _add_copies(
    texts: list[str],
    targets: Targets,
    places: NDArray[np.int64],
    change: Alteration,
    share: float,
    seed: int,
) -> tuple[list[str], Targets]:
    """Add a share of the texts at some places once more, each changed."""
    rng = random.Random(seed)  # noqa: S311 - a training set, not a secret
    chosen = rng.sample(places.tolist(), int(share * len(places)))
    changed = {row: change(texts[row], rng) for row in chosen}
    rows = [row for row, text in changed.items() if text != texts[row]]
    return texts + [changed[row] for row in rows], np.concatenate([targets, targets[rows]])
