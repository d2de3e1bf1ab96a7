"""Languages of messages, on sets written for it."""

from __future__ import annotations

import json

import pytest
from support.tickets import ROOT

from ecomintent_batch.text.language import detect_language, detect_languages
from ecomintent_batch.text.words import split_words

CORPUS = ROOT / "ecomintent_batch" / "training" / "corpus"


def read_texts(pattern: str) -> list[dict[str, str]]:
    """Return the lines of the corpus files of a pattern."""
    return [
        json.loads(line)
        for file in sorted(CORPUS.glob(pattern))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


def test_other_languages_are_told():
    """Of 210 tickets in seven European languages at least 97 % are told to be in another language than English."""
    foreign = [row["text"] for row in read_texts("languages.jsonl") if row["language"] != "en"]
    told = [text for text in foreign if detect_language(text) not in (None, "en")]
    assert len(foreign) == 210
    assert len(told) >= 0.97 * len(foreign)


def test_english_is_seldom_taken_for_another_language():
    """Of the corpus at most 0.5 %, of the English that was written to mislead at most 5 %."""
    plain = [row["text"] for row in read_texts("batch_*.jsonl")]
    misleading = [row["text"] for row in read_texts("languages.jsonl") if row["language"] == "en"]
    for texts, allowed in ((plain, 0.005), (misleading, 0.05)):
        assert sum(detect_language(text) not in (None, "en") for text in texts) <= allowed * len(
            texts
        )


@pytest.mark.parametrize(
    "message",
    ["", "ok", "???", "#0001234 / AB-99", "https://example.com/bestellung/wo-ist-sie", "🙂🙂🙂"],
)
def test_what_is_in_no_language_is_null(message):
    """Signs, numbers, addresses and a word or two are not enough."""
    assert detect_language(message) is None


@pytest.mark.parametrize(("message", "code"), [
    ("Where is my order? I have been waiting for two weeks.", "en"),
    ("Wo bleibt meine Bestellung? Ich warte seit zwei Wochen darauf.", "de"),
    ("¿Dónde está mi pedido? Llevo dos semanas esperando.", "es"),
    ("Где мой заказ? Я жду уже две недели.", "ru"),
    ("Wat is mit mien Bestellung? Ik tööv al twee Weken dor op un heff noch nix kregen.", None),  # Low German: nds
])  # fmt: skip
def test_a_language_is_two_letters_or_null(message, code):
    """ISO 639-1; a language that has no such code is not given that of another."""
    assert list(detect_languages(split_words([message, "x"]))) == [code, None]
