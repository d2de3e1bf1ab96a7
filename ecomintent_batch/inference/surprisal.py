"""How unlike the training messages a message is: the mean surprisal of its tokens, in nats.

The surprisal of a token is minus the logarithm of the share of training messages that hold it. Special tokens are in all of
them, so theirs is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch.inference.batches import Encodings

SURPRISAL_FILE = "token_surprisal.npy"
_STEPS = 16  # of a nat: a byte a token holds up to 15.9 nats, one message in eight million
_FEW_TOKENS, _MOST_DOUBLINGS = 8, 4


def count_surprisal(encodings: Encodings, vocabulary: int) -> NDArray[np.uint8]:
    """Return the surprisal of each token id, shape (vocabulary,), in sixteenths of a nat.

    Args:
        encodings: the training messages.
        vocabulary: token ids that there are.
    """
    message = np.repeat(np.arange(len(encodings)), encodings.lengths)
    distinct = np.unique(message * vocabulary + encodings.ids) % vocabulary
    held = np.bincount(distinct, minlength=vocabulary)
    surprisal = -np.log((held + 0.5) / max(1, len(encodings)))
    return np.clip(np.round(_STEPS * surprisal), 0, 255).astype(np.uint8)


def mean_surprisal(encodings: Encodings, of_token: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean surprisal of the tokens of each message, shape (messages,); 0 without any."""
    surprisal = of_token[encodings.ids].astype(np.int64)
    total = _add_up(surprisal, encodings)
    counted = _add_up((surprisal > 0).astype(np.int64), encodings)
    return np.asarray(total / np.maximum(counted, 1) / _STEPS)


def measure_strangeness(
    encodings: Encodings, of_token: NDArray[np.uint8], usual: float
) -> NDArray[np.float64]:
    """Return how far the temperature of each message is from the usual one, shape (messages,).

    It is the surprisal over the usual one, times the doublings of the tokens over 8: a product's name alone is always
    strange, and is read as well as other messages are; forty strange tokens are not.
    """
    doublings = np.log2(np.maximum(encodings.n_tokens, 1) / _FEW_TOKENS)
    return np.asarray(
        (mean_surprisal(encodings, of_token) - usual) * np.clip(doublings, 0, _MOST_DOUBLINGS)
    )


def _add_up(values: NDArray[np.int64], encodings: Encodings) -> NDArray[np.int64]:
    before = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(before[encodings.starts[1:]] - before[encodings.starts[:-1]])
