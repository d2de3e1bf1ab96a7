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
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecomintent_batch.text.words import Words, split_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

# Few tokens are longer than this: the rest is seldom read by the model, and need not be tokenised.
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
    slices = (split_words(messages[i : i + _SLICE]) for i in range(0, len(messages), _SLICE))
    return join_encodings([tokenise_words(tokenizer, words, max_length) for words in slices])


def tokenise_words(tokenizer: Tokenizer, words: Words, max_length: int) -> Encodings:
    """Tokenise messages whose words are known: each distinct word once, where the tokenizer reads every word by itself."""
    limit = max_length * _MAX_CHARS_PER_TOKEN
    if (
        _reads_words_alone(tokenizer)
        and (pc.max(pc.utf8_length(words.messages)).as_py() or 0) <= limit
    ):
        return _encode_words(tokenizer, words, max_length)
    ids, n_tokens = _tokenise_slice(tokenizer, words.messages.to_pylist(), max_length)
    return Encodings(ids, _starts_of(np.minimum(n_tokens, max_length)), n_tokens)


def join_encodings(encodings: Sequence[Encodings]) -> Encodings:
    """Return the encodings of several slices as one."""
    n_tokens = np.concatenate([np.zeros(0, np.int32), *(part.n_tokens for part in encodings)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in encodings)])
    return Encodings(
        np.concatenate([np.zeros(0, np.int32), *(part.ids for part in encodings)]),
        _starts_of(lengths),
        n_tokens,
    )


def _reads_words_alone(tokenizer: Tokenizer) -> bool:
    """Tell whether the ids of a message are those of its words in a row: BERT's tokenizer, which splits at every space."""
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and not any(" " in added.content for added in tokenizer.get_added_tokens_decoder().values())
    )


def _encode_words(tokenizer: Tokenizer, words: Words, max_length: int) -> Encodings:
    """Return the ids of messages by those of their distinct words, the special tokens around each."""
    ids = [
        encoding.ids
        for encoding in tokenizer.encode_batch_fast(words.distinct, add_special_tokens=False)
    ]
    opening, closing = _special_tokens(tokenizer)
    pieces = [*ids, opening, closing]
    piece_lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    # The special tokens are two more words: one before each message, one after it.
    sequence = np.insert(
        words.word_of,
        np.repeat(words.starts, 2)[1:-1],
        np.tile([len(ids), len(ids) + 1], len(words)),
    )
    lengths = piece_lengths[sequence]
    flat = np.fromiter(chain.from_iterable(pieces), np.int32)
    ends, places = np.cumsum(lengths), np.arange(lengths.sum())
    tokens = flat[
        np.repeat(_starts_of(piece_lengths)[sequence] - (ends - lengths), lengths) + places
    ]
    n_tokens = (words.add_up(piece_lengths) + len(opening) + len(closing)).astype(np.int32)
    if (n_tokens > max_length).any():
        at = places - np.repeat(
            _starts_of(n_tokens)[:-1], n_tokens
        )  # the place of each token in its message
        total = np.repeat(n_tokens, n_tokens)
        tokens = tokens[
            (total <= max_length) | (at < max_length - len(closing)) | (at >= total - len(closing))
        ]
    return Encodings(tokens, _starts_of(np.minimum(n_tokens, max_length)), n_tokens)


def _starts_of(lengths: NDArray[Any]) -> Int64:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _tokenise_slice(
    tokenizer: Tokenizer, messages: Sequence[str], max_length: int
) -> tuple[Int32, Int32]:
    """Return the ids back to back, cut to `max_length`, and the tokens of each message before the cut."""
    limit = max_length * _MAX_CHARS_PER_TOKEN
    ids = [
        encoding.ids
        for encoding in tokenizer.encode_batch_fast([message[:limit] for message in messages])
    ]
    for place, message in enumerate(messages):
        if (
            len(message) > limit and len(ids[place]) <= max_length
        ):  # words of thousands of letters: few tokens after all
            ids[place] = tokenizer.encode(message).ids
    n_tokens = np.fromiter(map(len, ids), np.int32, len(ids))
    too_long = np.flatnonzero(n_tokens > max_length)
    if len(too_long):
        closing = _special_tokens(tokenizer)[1]
        for index in too_long:
            ids[index] = ids[index][: max_length - len(closing)] + closing
    return np.fromiter(chain.from_iterable(ids), np.int32), n_tokens


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a message ([CLS] and [SEP], <s> and </s> …)."""
    encoding = tokenizer.encode("a")
    own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    return list(encoding.ids[: own[0]]), list(encoding.ids[own[-1] + 1 :])


def special_token_types(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the token types of the special tokens before and after a message; those of its words are 0."""
    encoding = tokenizer.encode("a")
    opening, closing = _special_tokens(tokenizer)
    types = list(encoding.type_ids)
    return types[: len(opening)], types[len(types) - len(closing) :]


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


def make_loader(
    encodings: Encodings, batches: Sequence[Int64], pad_id: int, *, pin_memory: bool
) -> Any:
    """Return a torch DataLoader over the batches: pairs of (input_ids, attention_mask), pinned for CUDA.

    It collates in this process: the token ids are flat arrays, so a batch costs microseconds, while a worker would
    copy it through shared memory. Tokenising, the expensive part, runs concurrently, a shard ahead (`pipeline.py`).
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
