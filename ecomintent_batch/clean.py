"""Raw body → message: the customer's newest words, without markup, quoted thread or signature.

Nine messages in ten are plain text without a thread, and leave by the first return; only those that show a sign of
markup or of a mail thread meet the parsers (selectolax for HTML, mail-parser-reply for threads).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffc\ufffd\U000e0000-\U000e007f]"
)
_TAG = re.compile(
    r"</?(?:p|br|div|span|html|body|table|td|tr|a|b|i|u|ul|ol|li|font|strong|em|blockquote|img|h[1-6]|style|head|meta)\b[^<>]*>",
    re.I,
)
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]{2,8});")
_THREAD_SIGN = re.compile(
    r"^[ \t]*>|wrote:|schrieb|escribi|a écrit|^[ \t]*(?:From|Von|De|Da|Van):|^--[ \t]*$|^_{5,}|^-{2,}[ \t]*(?:Original|Forwarded)"
    r"|^[ \t]*(?:Sent from|Get Outlook|Sent via|Von meinem|Envoyé de|Enviado desde)",
    re.I | re.M,
)
_DEVICE_LINE = re.compile(
    r"^[ \t]*(?:Sent (?:from|via|with)|Get Outlook for|Von meinem|Envoyé de|Enviado (?:desde|do)|Verstuurd vanaf|Inviato da)\b"
    r".{0,60}$",
    re.I | re.M,
)
_SIGNATURE = re.compile(r"^--[ \t]*$.*", re.M | re.S)
_WORD = re.compile(r"\w")
_DROPPED = (
    "style, script, head, title, blockquote, .gmail_quote, .gmail_signature, #divRplyFwdMsg, .moz-cite-prefix, .yahoo_quoted"
)
_MAX_CHARS = 200_000


def clean_message(texts: Sequence[str | None], *, raw: bool = False) -> str:
    """Join the text columns of one ticket into the message that the model reads.

    Args:
        texts: raw texts in reading order (subject, body); None and blank ones are left out, and so is a text that
            the next one begins with.
        raw: keep markup, threads and signatures; only control characters and runs of white space go.

    Returns:
        NFC, single spaces, a line for each text; "" where none is left.
    """
    parts: list[str] = []
    for text in texts:
        if not text:
            continue
        part = _clean_text(text[:_MAX_CHARS], raw)
        if part and part not in parts:
            parts.append(part)
    if len(parts) == 2 and parts[1].startswith(parts[0]):
        del parts[0]
    return "\n".join(parts)


def has_words(message: str) -> bool:
    """Tell whether a message holds anything to read: a letter or a digit of any script."""
    return _WORD.search(message) is not None


def _clean_text(text: str, raw: bool) -> str:
    if not raw:
        if "<" in text and _TAG.search(text):
            text = html_to_text(text)
        elif "&" in text and _ENTITY.search(text):
            text = html.unescape(text)
        if _THREAD_SIGN.search(text):
            text = newest_message(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(_CONTROLS.sub(" ", text).split())


def html_to_text(markup: str) -> str:
    """Return the visible text of an HTML body, a line per block, without quoted threads."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(markup)
    for node in tree.css(_DROPPED):
        node.decompose()
    body = tree.body
    return "" if body is None else body.text(separator="\n", strip=False)


def newest_message(text: str) -> str:
    """Return what the customer wrote last: no quoted lines, no forwarded headers, no signature.

    Where a parser would leave nothing (a mail that is all quote), the text comes back as it was.
    """
    newest = _reply_parser().parse_reply(text=text) or ""
    newest = _DEVICE_LINE.sub("", _SIGNATURE.sub("", newest))
    return newest if has_words(newest) else text


@cache
def _reply_parser() -> Any:
    from mailparser_reply import EmailReplyParser

    return EmailReplyParser(languages=["en", "de", "fr", "es", "it", "nl", "pl", "pt"])
