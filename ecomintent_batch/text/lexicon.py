"""Words that say of a short text whether it is English.

`english_words.txt` holds the words that occur in three or more tickets of the training corpus. `foreign_words.txt` holds, a
line per language, its commonest words and those of shopping; its last line the words that are as much English ("die",
"due", "met"), which speak for neither side.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

__all__ = ["common_english", "english_words", "foreign_words"]

_COMMON_ENGLISH = (
    "the my i you your is are was it this that and of to for with when what where how do does did can could would will "
    "have has had not don't dont didn't it's i'm im i've ive me we on at but please pls order thanks thank they need want "
    "get got be if been still why who any just from"
)


@cache
def common_english() -> frozenset[str]:
    """Return the eighty commonest words of English tickets."""
    return frozenset(_COMMON_ENGLISH.split())


@cache
def foreign_words() -> dict[str, tuple[str, ...]]:
    """Return each foreign word that is no English word, with the languages that have it."""
    languages: dict[str, list[str]] = {}
    for code, words in _read_foreign().items():
        if code != "shared":
            for word in words:
                languages.setdefault(word, []).append(code)
    return {word: tuple(codes) for word, codes in languages.items()}


@cache
def english_words() -> frozenset[str]:
    """Return the English words that no other language has as well."""
    words = frozenset(_read("english_words.txt").split()) | common_english()
    return words.difference(*_read_foreign().values())


def _read_foreign() -> dict[str, list[str]]:
    lines = (line.split(": ", 1) for line in _read("foreign_words.txt").splitlines())
    return {code: words.split() for code, words in lines}


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
