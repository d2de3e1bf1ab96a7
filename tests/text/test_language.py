"""Languages of messages, on sets written for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tickets import ROOT

from ecomintent_batch.text.language import detect_language, detect_languages
from ecomintent_batch.text.words import split_words

CORPUS = ROOT / "ecomintent_batch" / "training" / "corpus"
DATA = Path(__file__).parent / "data"


def read_texts(folder: Path, pattern: str) -> list[dict[str, str]]:
    """Return the lines of the files of a pattern."""
    return [
        json.loads(line)
        for file in sorted(folder.glob(pattern))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


def is_foreign(text: str) -> bool:
    return detect_language(text) not in (None, "en")


@pytest.mark.parametrize(
    ("folder", "pattern", "count"),
    [
        (CORPUS, "languages.jsonl", 210),
        (DATA, "foreign.jsonl", 320),
        (DATA, "fragments.jsonl", 170),
    ],
)
def test_other_languages_are_detected(folder, pattern, count):
    """At least 97 % of the tickets in other languages, and of fragments of two to five words in seventeen."""
    foreign = [row["text"] for row in read_texts(folder, pattern) if row["language"] != "en"]
    assert len(foreign) == count
    assert sum(map(is_foreign, foreign)) >= 0.97 * count


@pytest.mark.parametrize(
    ("folder", "pattern", "allowed"),
    [
        (CORPUS, "batch_*.jsonl", 0.001),
        (DATA, "english.jsonl", 0.005),
        (DATA, "loanwords.jsonl", 0),
    ],
)
def test_english_is_not_taken_for_another_language(folder, pattern, allowed):
    """Of the corpus one ticket in a thousand at most, of 520 short subjects one in two hundred, of loanwords none."""
    texts = [row["text"] for row in read_texts(folder, pattern)]
    wrong = [text for text in texts if is_foreign(text)]
    assert len(wrong) <= allowed * len(texts), wrong


def test_misleading_english_is_seldom_taken_for_another_language():
    """Of the English that was written to mislead at most 2 %."""
    texts = [
        row["text"] for row in read_texts(CORPUS, "languages.jsonl") if row["language"] == "en"
    ]
    assert sum(map(is_foreign, texts)) <= 0.02 * len(texts)


@pytest.mark.parametrize("text", [
    "Late parcel", "Parcel stolen", "Resend parcel", "Password reset", "Dress torn", "Lost package",  # case 26
    "Torn box", "Chair wobbles", "Courier rude", "Cracked screen", "Coupon rejected", "Locker jammed",
    "Le Creuset lid chipped", "Zara jeans ripped", "Café table wobbly", "décor item cracked", "Häagen-Dazs melted",
    "Björn Borg boxers small",
    "en route since May", "Non delivery", "Till receipt lost", "Due refund", "Ten items short", "Bin lid broken",
    "LATE PARCEL", "late parcel!!", "Re: Lost package", "parcle stollen", "pls resend parcel", "Mrs Kowalczyk's parcel",
])  # fmt: skip
def test_short_english_is_kept(text):
    """Subjects of two or three words, with brands, names and slips."""
    assert not is_foreign(text)


@pytest.mark.parametrize("text", [
    "Wo ist meine Bestellung", "Où est ma commande ?", "¿Dónde está mi paquete?", "Dov'è il mio ordine?",
    "Waar is mijn bestelling",
    "Gdzie jest moje zamówienie", "Onde está o meu pedido", "Var är mitt paket", "Hvor er min pakke", "Kde je můj balík",
    "Siparişim nerede", "заказ не пришел", "我的订单在哪里，还没到", "mot de passe oublié", "Annuler ma commande svp",
])  # fmt: skip
def test_short_tickets_in_other_languages_are_detected(text):
    """Three words are enough where they are words of the language."""
    assert is_foreign(text)


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
