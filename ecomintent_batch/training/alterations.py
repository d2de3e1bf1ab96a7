"""Alterations that change no label: typos, letter case, missing spaces, abbreviations, emoji, hashtags, handles.

`train` adds altered copies of its texts, and a test asks how many labels stay under such alterations.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD = re.compile(
    r"(?<![\w{@#/.])[A-Za-z]{4,}(?![\w}@/.])"
)  # no placeholder, no part of an address
_MARK = re.compile(r"[.,!?;:]+(?=\s|$)")
_EMOJI = ("😡", "🙏", "😭", "👍", "🤔", "😊", "😤", "❤️", "🙄", "😂", "!!", "???")
_HASHTAGS = (
    "#fail",
    "#help",
    "#customerservice",
    "#badservice",
    "#disappointed",
    "#shop",
    "#pleasehelp",
    "#neveragain",
)
_HANDLES = (
    "@shop",
    "@support",
    "@ShopHelp",
    "@CustomerCare",
    "@storeindia",
    "@help",
    "@mystore",
    "@BrandSupport",
)
_SHORT_FORMS = {
    "please": ("pls", "plz"),
    "you": ("u",),
    "your": ("ur",),
    "are": ("r",),
    "when": ("wen",),
    "how": ("hw",),
    "not": ("nt",),
    "address": ("addr",),
    "delivery": ("del", "dlvry"),
    "amount": ("amt",),
    "order": ("ordr", "oder"),
    "have": ("hv",),
    "and": ("n", "&"),
    "thanks": ("thx", "tnx"),
    "what": ("wat", "wht"),
    "because": ("bcz", "coz"),
    "product": ("prod", "prdct"),
}
_SHORT_FORM_SHARE = 0.6  # of the words that have one
_LEAST_WORDS_TO_DROP_ONE = 8

Alteration = Callable[[str, random.Random], str]


def alter(text: str, rng: random.Random) -> str:
    """Return the text with one to three alterations drawn at random."""
    for alteration in rng.sample(ALTERATIONS, rng.choice([1, 1, 2, 2, 3])):
        text = alteration(text, rng)
    return text


def slip(text: str, rng: random.Random) -> str:
    """Drop, double, swap or mistype one letter of one word of four or more."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    index = rng.randrange(word.start(), word.end() - 1)
    one, two = text[index], text[index + 1]
    row = next(keys for keys in _KEYS if one.lower() in keys)
    near = row[max(0, row.index(one.lower()) - 1) : row.index(one.lower()) + 2].replace(
        one.lower(), ""
    )
    typed = rng.choice(["", one + one, two + one, rng.choice(near), one + rng.choice(near)])
    return text[:index] + typed + text[index + (2 if typed == two + one else 1) :]


def change_case(text: str, rng: random.Random) -> str:
    """Return the text in capitals, in small letters, or with one capital."""
    change: Callable[[str], str] = rng.choice([str.upper, str.lower, str.lower, str.capitalize])
    return change(text)


def drop_space(text: str, rng: random.Random) -> str:
    """Join two words of three or more."""
    spaces = [index for index, character in enumerate(text) if character == " "]
    if len(spaces) < 2:
        return text
    index = rng.choice(spaces)
    return text[:index] + text[index + 1 :]


def drop_punctuation(text: str, _: random.Random) -> str:
    """Drop the punctuation at the end of words; a text of nothing else stays."""
    return " ".join(_MARK.sub("", text).split()) or text


def abbreviate(text: str, rng: random.Random) -> str:
    """Write some words as in a chat: please → pls."""

    def shorten(word: re.Match[str]) -> str:
        forms = _SHORT_FORMS.get(word[0].lower())
        return rng.choice(forms) if forms and rng.random() < _SHORT_FORM_SHARE else word[0]

    return re.sub(r"[A-Za-z]+", shorten, text)


def stretch(text: str, rng: random.Random) -> str:
    """Repeat the last letter of one word."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    end = rng.choice(words).end()
    return text[:end] + text[end - 1] * rng.randint(1, 3) + text[end:]


def drop_word(text: str, rng: random.Random) -> str:
    """Drop one word of eight or more: of fewer, it may be the one that says it all."""
    words = text.split(" ")
    if len(words) < _LEAST_WORDS_TO_DROP_ONE:
        return text
    del words[rng.randrange(len(words))]
    return " ".join(words)


def add_tags(text: str, rng: random.Random) -> str:
    """Add a handle in front, a hashtag at the end, or both."""
    handle, hashtag = rng.choice(_HANDLES), rng.choice(_HASHTAGS)
    return rng.choice([f"{handle} {text}", f"{text} {hashtag}", f"{handle} {text} {hashtag}"])


def add_emoji(text: str, rng: random.Random) -> str:
    """Add an emoji, or marks, in front or at the end."""
    emoji = rng.choice(_EMOJI)
    return rng.choice([f"{text} {emoji}", f"{emoji} {text}"])


ALTERATIONS: tuple[Alteration, ...] = (
    slip,
    slip,  # the most frequent one by far
    slip,
    change_case,
    drop_space,
    drop_punctuation,
    abbreviate,
    stretch,
    drop_word,
    add_tags,
    add_emoji,
)
