"""A batch that cannot be scored is halved until the message that broke it is alone, and the others are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ecomintent_batch.inference.batches import Int64

Score = Callable[[Int64], Any]


def score_pieces(batch: Int64, score: Score) -> list[tuple[Int64, Any]]:
    """Return the pieces of a batch that could be scored, all of it mostly, each with its logits.

    Raises:
        Exception: what `score` raised, where it fails for each message of several: then the engine is broken, not they.
    """
    try:
        return [(batch, score(batch))]
    except (
        Exception
    ):  # each library raises its own kinds, and no ticket may end the run by any of them
        pieces = list(_score_halves(batch, score))
        if not pieces and len(batch) > 1:
            raise
        return pieces


def _score_halves(batch: Int64, score: Score) -> Iterator[tuple[Int64, Any]]:
    for half in np.array_split(batch, 2) if len(batch) > 1 else []:
        try:
            yield half, score(half)
        except Exception:
            yield from _score_halves(half, score)
