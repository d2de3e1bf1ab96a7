"""Raw body → message."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecomintent_batch.text.language import detect_language
from ecomintent_batch.text.message import clean_message, has_words

THREAD = """Yes please, a refund.

On Mon, 5 Oct 2026 at 10:11, Quillhaven Support <help@example.com> wrote:
> Would you like a refund or an exchange?
"""


@pytest.mark.parametrize(("texts", "message"), [
    (["Subject", "The  body\n\nhere"], "Subject\nThe body here"),
    ([None, "body", ""], "body"),
    ([], ""),
    ([None, "  "], ""),
    (["where is my order", "where is my order"], "where is my order"),
    (["Where is my", "Where is my order?"], "Where is my order?"),
    (["<div>It is <b>broken</b></div><p>Help</p>"], "It is broken Help"),
    (["<style>p {color: red}</style><p>Hi</p><script>x()</script>"], "Hi"),
    (["<p>Refund please</p><blockquote>Dear customer</blockquote>"], "Refund please"),
    (["Fish &amp; chips &lt;3 caf&eacute;"], "Fish & chips <3 café"),
    (["a < b and c > d"], "a < b and c > d"),
    ([THREAD], "Yes please, a refund."),
    (["It broke.\n\n-- \nMargaret Ashdown\n+44 20 7946 0000"], "It broke."),
    (["Where is it?\n\nSent from my iPhone"], "Where is it?"),
    (["Wo ist es?\n\nVon meinem iPhone gesendet"], "Wo ist es?"),
    (["> all of it\n> is quoted"], "> all of it > is quoted"),
    (["a\x00b\x1b[31m\u200bc\ufeff\x85d"], "a b [31m c d"),
    (["cafe\u0301"], "café"),
    (["👍🏽 gracias"], "👍🏽 gracias"),
])  # fmt: skip
def test_a_message_is_the_customers_newest_words(texts, message):
    """Markup, entities, quoted thread, signature, device line and control characters go; the words stay."""
    assert clean_message(texts) == message


def test_raw_keeps_all_but_white_space_and_controls():
    """--raw-text leaves markup, thread and signature in."""
    raw = clean_message(["<b>Hi</b>\x00\n> quoted\n-- \nMe &amp; you"], raw=True)
    assert raw == "<b>Hi</b> > quoted -- Me &amp; you"


@pytest.mark.parametrize(
    ("message", "expected"),
    [("", False), ("?! 😀 -", False), ("7", True), ("何", True), ("a", True)],
)
def test_a_letter_or_digit_of_any_script_is_a_word(message, expected):
    """What has none is empty."""
    assert has_words(message) is expected


@given(st.lists(st.none() | st.text(max_size=200), max_size=3))
@example(["<p>" * 50 + "&#x110000;&#0;\ud7ff"])
@example(["On x wrote:\n>", "-- \n"])
def test_any_text_goes_through(texts):
    """Any Unicode gives single-spaced NFC lines without control characters, whatever it looks like."""
    message = clean_message(texts)
    assert message == unicodedata.normalize("NFC", message)
    for line in message.split("\n"):
        assert line == " ".join(line.split())
        assert not any(unicodedata.category(character) == "Cc" for character in line)
    detect_language(message)


@given(st.text(max_size=300))
def test_raw_cleaning_twice_is_cleaning_once(text):
    """With raw=True a message is its own message."""
    once = clean_message([text], raw=True)
    assert clean_message([once], raw=True) == once


@pytest.mark.parametrize(
    "text", ["<b " * 60_000, "wrote:\n" + " " * 100_000 + "x", "> quoted\n" * 10_000, "_" * 100_000]
)
def test_a_hostile_body_takes_no_minute(text):
    """100,000 characters of half a tag, of blanks, of quotes: a second or so, not quadratic."""
    began = time.process_time()
    clean_message([text])
    assert time.process_time() - began < 3
