"""Messages → token ids → batches of like length, and back into the order of the messages.

A batch holds at most `max_tokens` tokens, padding counted, so its cost is the same for ten long messages as for
a hundred short ones. Because neighbours in a batch are neighbours by length, next to nothing of it is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

# Few tokens are longer than this: what lies behind is seldom read by the model, and need not be tokenised.
_MAX_CHARS_PER_TOKEN = 32
_SLICE = 4096


@dataclass(frozen=True)
class Encodings:
    """Token ids of n messages, back to back.

    Attributes:
        ids: all ids, shape (sum of lengths,).
        starts: where each message begins, shape (n + 1,).
        n_tokens: tokens of each message before it was cut, shape (n,).
    """

    ids: Int32
    starts: Int64
    n_tokens: Int32

    @cached_property
    def lengths(self) -> Int64:
        """Tokens that the model reads of each message, shape (n,)."""
        return np.diff(self.starts)

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """Which messages lost their tail, shape (n,)."""
        return self.n_tokens > self.lengths

    def __len__(self) -> int:
        return len(self.starts) - 1


def tokenise(tokenizer: Tokenizer, messages: Sequence[str], max_length: int) -> Encodings:
    """Tokenise messages in bulk (the Rust tokenizer uses all cores and frees the GIL).

    A message over `max_length` tokens loses its tail and keeps the closing special token. Of one over
    `32 * max_length` characters, `n_tokens` counts that many characters.
    """
    # In slices: the tokenizer's own objects are forty times the size of the ids that are wanted of them.
    slices = [_tokenise_slice(tokenizer, messages[i : i + _SLICE], max_length) for i in range(0, len(messages), _SLICE)]
    n_tokens = np.concatenate([np.zeros(0, np.int32), *(lengths for _, lengths in slices)])
    starts = np.zeros(len(messages) + 1, np.int64)
    np.cumsum(np.minimum(n_tokens, max_length), out=starts[1:])
    return Encodings(np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in slices)]), starts, n_tokens)


def _tokenise_slice(tokenizer: Tokenizer, messages: Sequence[str], max_length: int) -> tuple[Int32, Int32]:
    """Return the ids back to back, cut to `max_length`, and the tokens of each message before the cut."""
    limit = max_length * _MAX_CHARS_PER_TOKEN
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast([message[:limit] for message in messages])]
    for place, message in enumerate(messages):
        if len(message) > limit and len(ids[place]) <= max_length:  # words of thousands of letters: few tokens after all
            ids[place] = tokenizer.encode(message).ids
    n_tokens = np.fromiter(map(len, ids), np.int32, len(ids))
    too_long = np.flatnonzero(n_tokens > max_length)
    if len(too_long):
        closing = _closing_tokens(tokenizer)
        for index in too_long:
            ids[index] = ids[index][: max_length - len(closing)] + closing
    return np.fromiter(chain.from_iterable(ids), np.int32), n_tokens


def _closing_tokens(tokenizer: Tokenizer) -> list[int]:
    """Return the special tokens that the tokenizer puts behind a message ([SEP], </s> …)."""
    encoding = tokenizer.encode("a")
    special = encoding.special_tokens_mask
    count = 0
    while count < len(special) and special[-1 - count]:
        count += 1
    return list(encoding.ids[len(special) - count :])


def plan_batches(lengths: Int64, max_tokens: int, max_rows: int = 1 << 30) -> list[Int64]:
    """Group messages by length into batches of at most `max_tokens` tokens, padding included.

    Longest first: memory is taken once, at the start, and the last batches to finish are small ones. A message
    longer than the budget makes a batch by itself.

    Args:
        lengths: tokens of each message, shape (n,).

    Returns:
        Indices into `lengths`, an array a batch; together they are a permutation of all n.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    batches: list[Int64] = []
    start = 0
    while start < len(order):
        rows = max(1, min(max_rows, max_tokens // max(1, int(lengths[order[start]]))))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def collate(encodings: Encodings, indices: Int64, pad_id: int) -> tuple[Int64, Int64]:
    """Return `input_ids` and `attention_mask` of one batch, both of shape (rows, longest row)."""
    lengths = encodings.lengths[indices]
    width = int(lengths.max(initial=0))
    columns = np.arange(width)
    mask = columns < lengths[:, None]
    positions = np.where(mask, encodings.starts[indices][:, None] + columns, 0)
    input_ids = np.where(mask, encodings.ids[positions] if len(encodings.ids) else 0, pad_id)
    return input_ids.astype(np.int64), mask.astype(np.int64)


def padding_ratio(lengths: Int64, batches: Sequence[Int64]) -> float:
    """Return the share of padding among all tokens of the batches."""
    padded = sum(len(batch) * int(lengths[batch].max(initial=0)) for batch in batches)
    return 1 - float(lengths.sum()) / padded if padded else 0.0


def make_loader(encodings: Encodings, batches: Sequence[Int64], pad_id: int, *, pin_memory: bool) -> Any:
    """Return a torch DataLoader over the batches: pairs of (input_ids, attention_mask), pinned for CUDA.

    It collates in this process: the token ids are flat arrays, so a batch costs microseconds, while a worker would
    copy it through shared memory. Tokenising, the dear part, runs beside the model a shard ahead (`pipeline.py`).
    """
    import torch
    from torch.utils.data import DataLoader, Dataset

    class BatchDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            input_ids, mask = collate(encodings, batches[index], pad_id)
            return torch.from_numpy(input_ids), torch.from_numpy(mask)

    return DataLoader(BatchDataset(), batch_size=None, shuffle=False, pin_memory=pin_memory)
