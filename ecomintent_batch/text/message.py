"""Raw body → message: the customer's newest words, without markup, quoted thread or signature.

Nine messages in ten are one line of plain text that meets no rule; they are recognised in bulk. `decode` undoes what an
export left encoded, selectolax reads HTML, `newest` finds the customer's newest words among the lines.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecomintent_batch.text.decode import decode_body
from ecomintent_batch.text.markup import html_to_text, is_html
from ecomintent_batch.text.newest import has_words, newest_message

__all__ = [
    "clean_message",
    "clean_messages",
    "has_words",
    "hash_message",
    "html_to_text",
    "newest_message",
    "which_are_cut",
    "which_have_words",
]

MAX_CHARS = 200_000
_MAX_NOTHING = 40

_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffc\ufffd\U000e0000-\U000e007f]"
)
# What a system, or somebody who had to fill in the field, puts where there is no text; in the syntax of both engines.
_NOTHING = (
    r"(?i)^\s*(?:[-–—_.]+|(?:n/?a|n\.a\.?|none|null|nil|nan|undefined|no (?:subject|body|text|content"
    r"|message|description"
    r"|comments?|value|data))\.?|[\[(<{]\s*(?:n/?a|none|null|nil|nan|undefined|empty|blank|no (?:subject"
    r"|body|text|content"
    r"|message|description|comments?|value|data)|kein betreff|kein inhalt|aucun objet|sans objet"
    r"|sin asunto|nessun oggetto"
    r"|sem assunto|geen onderwerp|brak tematu)\s*[\])>}])\s*$"
)
_IS_NOTHING = re.compile(_NOTHING)
# In RE2's syntax, what `_clean_text` may change: anything but single spaces between ASCII characters, and in one line …
_RAW_RULES = "[^ -~]|  |^ | $"
# … markup, escapes and images, the colon of a form, a chat or an attribution, and a device line after the text.
_RULES = (
    _RAW_RULES
    + r"|[<&=:\\]|\\rtf|\[.*\]|data:image|(?i:sent from|gesendet|envoy|enviad|inviat|verzonden|verstuurd"
    r"|skickat|sendt|get outlook)" + f"|{_NOTHING}"
)


def clean_message(texts: Sequence[str | None], *, raw: bool = False) -> str:
    """Join the text columns of one ticket into the message that the model reads.

    Args:
        texts: raw texts in reading order (subject, body); None and blank ones are skipped, and so is a text that
            the next one begins with.
        raw: keep markup, threads and signatures; only control characters and runs of white space go.

    Returns:
        NFC, single spaces, a line for each text; "" where none is left.
    """
    return _join([_clean_text(text, raw) for text in texts if text])


def clean_messages(texts: Sequence[pa.Array], *, raw: bool = False) -> pa.Array:
    """Return the messages of many tickets, one array a text column, as `clean_message` makes them one by one.

    Plain text meets no rule and is recognised in bulk; of the rest, equal texts are cleaned once.
    """
    columns = [_clean_column(column.cast(pa.large_string()).fill_null(""), raw) for column in texts]
    if len(columns) == 1:
        return columns[0]
    return pa.array(
        map(_join, zip(*(column.to_pylist() for column in columns), strict=True)), pa.large_string()
    )


def which_have_words(messages: pa.Array) -> NDArray[np.bool_]:
    """Return for each message whether it holds anything to read."""
    found = pc.match_substring_regex(messages, r"\w").to_numpy(
        zero_copy_only=False
    )  # \w of RE2 is ASCII only
    found[~found] = [
        has_words(message) for message in messages.filter(pa.array(~found)).to_pylist()
    ]
    return np.asarray(found)


def _clean_column(texts: pa.Array, raw: bool) -> pa.Array:
    meets_a_rule = pc.or_(
        pc.match_substring_regex(texts, _RAW_RULES if raw else _RULES),
        pc.greater(pc.utf8_length(texts), MAX_CHARS),
    )
    some = texts.filter(meets_a_rule).dictionary_encode()
    cleaned = pa.array(
        (_clean_text(text, raw) for text in some.dictionary.to_pylist()), pa.large_string()
    )
    return pc.replace_with_mask(texts, meets_a_rule, cleaned.take(some.indices))


def _join(parts: Sequence[str]) -> str:
    joined = list(dict.fromkeys(part for part in parts if part))
    if len(joined) == 2 and joined[1].startswith(joined[0]):
        del joined[0]
    return "\n".join(joined)


def hash_message(message: str) -> str:
    """Return 128 bits of BLAKE2b of a message, in hex: equal messages share it, and it does not give them away."""
    return hashlib.blake2b(message.encode(), digest_size=16).hexdigest()


def which_are_cut(messages: pa.Array) -> NDArray[np.bool_]:
    """Return for each message whether it reaches the limit on characters, so that its end was cut off."""
    long = pc.greater_equal(pc.utf8_length(messages), MAX_CHARS - 1)  # a blank at the end goes, too
    return np.asarray(long.to_numpy(zero_copy_only=False))


def _clean_text(text: str, raw: bool) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not raw:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = decode_body(text)
        if "<" in text and is_html(text):
            text = html_to_text(text)
        text = newest_message(text)
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
    # The limit comes last: markup, attached images and quoted mails do not count.
    joined = " ".join(text.split())
    if not raw and len(joined) < _MAX_NOTHING and _IS_NOTHING.match(joined):
        return ""
    if not joined.isprintable():  # the quickest way to see that there is no control character
        joined = " ".join(_CONTROLS.sub(" ", joined).split())
    return joined[:MAX_CHARS].rstrip()
