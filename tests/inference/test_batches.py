"""Tokens, batches, and the way back to the order of the messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomintent_batch.inference import batches as batching
from ecomintent_batch.inference.batches import (
    Encodings,
    collate,
    make_loader,
    padding_ratio,
    plan_batches,
    tokenise,
)
from ecomintent_batch.inference.engines import ModelFolder

LENGTHS = st.lists(st.integers(1, 700), max_size=300)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    """The tiny model's tokenizer: letters and a few words, [CLS] = 2, [SEP] = 3."""
    return ModelFolder(tiny_model, "tiny").tokenizer


def encodings_of(rows: list[list[int]]) -> Encodings:
    """Put rows of ids back to back."""
    lengths = np.array([len(row) for row in rows], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Encodings(
        np.array([token for row in rows for token in row], np.int32),
        starts,
        lengths.astype(np.int32),
    )


@given(lengths=LENGTHS, max_tokens=st.integers(8, 2000), max_rows=st.integers(1, 64))
def test_batches_are_a_permutation_within_the_budget(lengths, max_tokens, max_rows):
    """Each message is in one batch, no batch of several is over its tokens or rows, and the longest come first."""
    array = np.array(lengths, np.int64)
    batches = plan_batches(array, max_tokens, max_rows)
    order = np.concatenate([np.zeros(0, np.int64), *batches])
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert array[order].tolist() == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * array[batch].max() <= max_tokens


@given(
    rows=st.lists(st.lists(st.integers(1, 999), min_size=1, max_size=30), min_size=1, max_size=60),
    max_tokens=st.integers(8, 90),
)
def test_scattering_batches_restores_the_order(rows, max_tokens):
    """What is computed batch by batch and written to the batch's indices stands in message order."""
    encodings = encodings_of(rows)
    sums = np.zeros(len(rows), np.int64)
    for batch in plan_batches(encodings.lengths, max_tokens):
        input_ids, mask = collate(encodings, batch, pad_id=7)
        sums[batch] = (input_ids * mask).sum(axis=1)
    assert sums.tolist() == [sum(row) for row in rows]


@given(
    rows=st.lists(st.lists(st.integers(1, 999), min_size=1, max_size=30), min_size=1, max_size=20),
    pad_id=st.integers(0, 9),
)
def test_collate_equals_a_plain_loop(rows, pad_id):
    """The flat gather gives what padding row by row gives, in any order of rows."""
    indices = np.arange(len(rows), dtype=np.int64)[::-1]
    width = max(map(len, rows))
    input_ids, mask = collate(encodings_of(rows), indices, pad_id)
    assert input_ids.tolist() == [rows[i] + [pad_id] * (width - len(rows[i])) for i in indices]
    assert mask.tolist() == [[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in indices]
    assert input_ids.dtype == mask.dtype == np.int64


def test_the_loader_yields_the_collated_batches():
    """The DataLoader's tensors are those of `collate`, batch for batch."""
    encodings = encodings_of([[5] * n for n in (3, 9, 1, 4, 4, 12)])
    batches = plan_batches(encodings.lengths, max_tokens=12)
    loaded = [
        (ids.tolist(), mask.tolist())
        for ids, mask in make_loader(encodings, batches, 0, pin_memory=False)
    ]
    assert len(batches) > 2
    assert loaded == [
        tuple(array.tolist() for array in collate(encodings, batch, 0)) for batch in batches
    ]


def test_a_message_within_the_limit_is_whole(tokenizer):
    """Up to `max_length` tokens nothing is cut or flagged, and the ids are the tokenizer's own."""
    messages = ["", "where is my order", "a a a a a a"]
    encodings = tokenise(tokenizer, messages, max_length=8)
    assert encodings.n_tokens.tolist() == [2, 6, 8]
    assert not encodings.is_truncated.any()
    assert encodings.ids.tolist() == [
        token for message in messages for token in tokenizer.encode(message).ids
    ]


def test_a_long_message_keeps_its_closing_token(tokenizer):
    """One token too many: the tail goes, [SEP] stays, the count and the flag tell of it."""
    encodings = tokenise(tokenizer, ["hello", "where is my order a a a"], max_length=8)
    assert encodings.n_tokens.tolist() == [3, 9]
    assert encodings.lengths.tolist() == [3, 8]
    assert encodings.is_truncated.tolist() == [False, True]
    assert encodings.ids[encodings.starts[1] :].tolist() == [
        *tokenizer.encode("where is my order a a").ids[:7],
        3,
    ]


def test_a_tail_behind_a_very_long_word_is_not_lost_in_silence(tokenizer):
    """A word of thousands of characters is one unknown token: what stands behind it is read."""
    message = "x" * 5000 + " where is my order"
    encodings = tokenise(tokenizer, [message], max_length=16)
    assert encodings.ids.tolist() == tokenizer.encode(message).ids
    assert not encodings.is_truncated.any()


def test_slices_leave_no_seam(tokenizer, monkeypatch):
    """Tokenised in slices of three or all at once: the same ids, lengths and counts."""
    messages = ["where is my order " * n for n in range(10)]
    whole = tokenise(tokenizer, messages, max_length=16)
    monkeypatch.setattr(batching, "_SLICE", 3)
    sliced = tokenise(tokenizer, messages, max_length=16)
    for name in ("ids", "starts", "n_tokens"):
        assert getattr(sliced, name).tolist() == getattr(whole, name).tolist()


def test_no_messages_make_no_batches(tokenizer):
    """An empty shard of words is no special case for anybody."""
    encodings = tokenise(tokenizer, [], max_length=8)
    assert len(encodings) == 0
    assert plan_batches(encodings.lengths, 64) == []
    assert padding_ratio(encodings.lengths, []) == 0.0


def test_padding_ratio_counts_the_padding():
    """Rows of 4 and 2 tokens in one batch: 2 of its 8 are padding."""
    assert padding_ratio(np.array([4, 2]), [np.array([0, 1])]) == pytest.approx(2 / 8)
