"""Words: what is done in bulk, word by word, gives what each message alone would give."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tickets import ROOT

from ecomintent_batch.inference import batches as batching
from ecomintent_batch.inference.batches import tokenise_words
from ecomintent_batch.inference.engines import open_model
from ecomintent_batch.text.language import detect_language, detect_languages
from ecomintent_batch.text.message import clean_message, clean_messages, has_words, which_have_words
from ecomintent_batch.text.words import split_words

CORPUS = ROOT / "ecomintent_batch" / "training" / "corpus"
PIECES = [
    "where", "is my order", " ", "  ", "\n", "\t", "#4711-9", "don't", "[SEP]", "[CLS]order", "a@b.example",
    "https://x.example/?a=1",
    "<b>", "&amp;", "&", "=20", "é", "e\u0301", "\u0301", "何", "İ", "ß", "😀", "\x00", "\u200b", "\xa0",
    "\u2028", "\x0c", "x" * 101, "ΑΣ", "",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@pytest.fixture(scope="module")
def tickets() -> list[str]:
    """Raw bodies as customers write them: short tickets, whole mails, seven other languages."""
    bodies = pq.read_table(ROOT / "sample_data" / "tickets.parquet", columns=["body"])[
        "body"
    ].to_pylist()
    for name in ("raw_emails", "languages", "batch_01"):
        rows = [
            json.loads(line)
            for line in (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        bodies += [row.get("text") or row["body"] for row in rows]
    return [body or "" for body in bodies]


def check_cleaning(columns, raw):
    """Compare the bulk with the single message, for all rows of some text columns."""
    found = clean_messages([pa.array(column, pa.string()) for column in columns], raw=raw)
    assert found.to_pylist() == [clean_message(row, raw=raw) for row in zip(*columns, strict=True)]
    assert which_have_words(found).tolist() == [has_words(message) for message in found.to_pylist()]


@pytest.mark.parametrize("raw", [False, True])
def test_tickets_are_cleaned_in_bulk_as_one_by_one(tickets, raw):
    """One column or two, plain text or mail, None among them: the same messages."""
    check_cleaning([[None, *tickets]], raw)
    check_cleaning([[text[:20] for text in tickets], tickets], raw)


@given(st.lists(st.tuples(texts, texts), max_size=5), st.booleans())
def test_any_text_is_cleaned_in_bulk_as_alone(rows, raw):
    """No character slips past the test for plain text."""
    check_cleaning([[first for first, _ in rows], [second for _, second in rows]], raw)


def check_tokens(messages, max_length=16):
    """Compare the ids by distinct words with those that the tokenizer gives for whole messages."""
    model = open_model(None)
    found = tokenise_words(model.tokenizer, split_words(messages), max_length)
    ids, n_tokens = batching._tokenise_slice(model.tokenizer, messages, max_length)
    assert found.n_tokens.tolist() == n_tokens.tolist()
    assert found.ids.tolist() == ids.tolist()
    assert found.lengths.tolist() == [min(n, max_length) for n in n_tokens]


def test_tickets_are_tokenised_by_words_as_whole(tickets):
    """Cleaned or raw, short or cut: the ids of the model's own tokenizer."""
    assert batching._reads_words_alone(open_model(None).tokenizer)
    for messages in ([clean_message([text]) for text in tickets], tickets):
        check_tokens(messages)
        check_tokens(messages, max_length=512)


@given(st.lists(texts, max_size=5))
def test_any_text_is_tokenised_by_words_as_whole(messages):
    """Special tokens in the text, controls, accents and scripts included."""
    check_tokens(messages)


def test_languages_are_detected_by_words_as_of_whole_messages(tickets):
    """The same codes, in the order of the messages."""
    messages = [clean_message([text]) for text in tickets]
    assert list(detect_languages(split_words(messages))) == [
        detect_language(message) for message in messages
    ]


@given(st.lists(texts, max_size=5))
def test_the_language_of_any_text_is_detected_by_its_words(messages):
    """Addresses, numbers and signs are left out of a word as of a message."""
    assert list(detect_languages(split_words(messages))) == [
        detect_language(message) for message in messages
    ]


def test_a_tokenizer_that_reads_over_spaces_gets_whole_messages(tokenizer_over_spaces):
    """Byte-level BPE takes the space into the word: its messages stay whole."""
    assert not batching._reads_words_alone(tokenizer_over_spaces)
    words = split_words(["where is", " my  order"])
    found = tokenise_words(tokenizer_over_spaces, words, 64)
    assert found.ids.tolist() == [
        i for e in tokenizer_over_spaces.encode_batch(words.messages.to_pylist()) for i in e.ids
    ]


@pytest.fixture
def tokenizer_over_spaces():
    """A byte-level tokenizer without merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = {
        letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def test_words_are_added_up_by_message():
    """Also of an empty message, and of a slice of an array."""
    words = split_words(pa.array(["left out", "a bb", "", "a a a"], pa.large_string()).slice(1))
    lengths = [len(word) for word in words.distinct]
    assert words.add_up(np.array(lengths)).tolist() == [3, 0, 3]
    assert len(words) == 3
