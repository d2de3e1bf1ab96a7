"""Messages → their words, each distinct one once: work that depends on one word is done once per distinct word.

A word is what is between single spaces. A shard of 65,536 short messages holds half a million words and some tens of
thousands of distinct ones. Splitting, encoding and adding up run in Arrow and numpy, without the GIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class Words:
    """The words of n messages, back to back.

    Attributes:
        messages: the messages themselves, a large_string array.
        distinct: every word that occurs, once.
        word_of: index into `distinct` of each word, shape (words,).
        starts: where each message begins, shape (n + 1,).
    """

    messages: Any
    distinct: list[str]
    word_of: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def add_up(self, of_distinct: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sum over the words of each message of a number that is known for each distinct word."""
        running = np.zeros(len(self.word_of) + 1, np.int64)
        np.cumsum(of_distinct[self.word_of], out=running[1:])
        return running[self.starts[1:]] - running[self.starts[:-1]]


def split_words(messages: Sequence[str] | pa.Array) -> Words:
    """Split messages at their spaces; two spaces have an empty word between them."""
    texts = messages if isinstance(messages, pa.Array) else pa.array(messages, pa.large_string())
    lists = pc.split_pattern(texts, " ")
    starts = lists.offsets.to_numpy().astype(np.int64)
    words = lists.values.slice(starts[0], starts[-1] - starts[0]).dictionary_encode()
    return Words(
        texts,
        words.dictionary.to_pylist(),
        words.indices.to_numpy().astype(np.int64),
        starts - starts[0],
    )
