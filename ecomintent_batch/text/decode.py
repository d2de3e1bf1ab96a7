"""Decode bodies that an export left encoded: RTF, MIME, quoted-printable, escaped HTML, encoded words, entities.

Customers also type such characters themselves ("sku=E4", "the shop shows &lt;b&gt;"). A text is decoded only where the
encoding explains all of it; otherwise it is returned as it is.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import html
import quopri
import re
from typing import Any

from ecomintent_batch.text.markup import is_html, mentions_tags

__all__ = ["decode_body"]

_MIME_FIELD = re.compile(
    r"^(?:content-(?:type|transfer-encoding|disposition)|mime-version): *\S", re.I | re.M
)
_FIELD_BLOCK = re.compile(r"\s*(?:[A-Za-z][\w-]*:[^\n]*(?:\n[ \t]+[^\n]*)*\n)+[ \t]*\n")
_BOUNDARY = re.compile(r"^--(\S[^\n]{0,200}?)[ \t]*\n(?=content-[a-z-]+:)", re.I | re.M)

_ENCODED_WORD = re.compile(r"=\?[\w-]{1,40}\?[bq]\?[^?\n]{0,2000}\?=", re.I)
_MAX_PLAIN_WORDS = 4  # "Re: order 4411 =?UTF-8?Q?...?="; more is prose about an encoded word

_EQUALS = re.compile(r"=(?:[0-9A-F]{2}|[0-9a-f]{2}|[ \t]*(?:\n|$))")
_SURE_QUOTED_PRINTABLE = re.compile(
    r"=3D[\"']|=20$|^.{55,80}=$|(?<![\"'“„«‘])(?:\b|(?<=\s)|(?<=[a-z]))=(?:[CD][0-9A-F]"
    r"|E[0-9A-F]=[89AB][0-9A-F])=[89AB][0-9A-F]",
    re.M,
)
_QUOTED_WORD = re.compile(r"[\"'“„«‘][^\s\"'”“»’]*=[C-F][0-9A-F][^\s\"'”“»’]*[\"'”“»’]")
_LATIN_OCTET = re.compile(r"[a-z](?:=[C-F][0-9A-F]){1,2}(?=[a-z])")
_HIGH_OCTET = re.compile(r"=[C-F][0-9A-F]")

_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});")
_BARE_AMPERSAND = re.compile(r"&(?!(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});)")
_ACCENT_ENTITY = re.compile(
    r"[a-zA-Z]&(?:[a-zA-Z](?:uml|acute|grave|circ|tilde|cedil|ring)|szlig);"
)
_TYPED_ENTITY = re.compile(
    r"(?<=\w) &(?!amp)[a-zA-Z]{2,8}; (?=\w)|&(?:lt|gt);(?! ?\d)|[\"'“„«‘]&\w+;[\"'”“»’]|&amp;(?:#?\w{2,8});"
)


_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[nrtbf\"'/\\])")
_BREAK = r"(?:\\r)?\\n"
_SURE_BREAK = re.compile(  # at an end, after a mark, twice in a row, or before a capital in a text that has more of them
    rf"^\s*{_BREAK}|{_BREAK}\s*$|(?<=[.!?,:;)>\]…。！？]){_BREAK}|{_BREAK}\s*{_BREAK}"
    rf"|{_BREAK}(?=[^\W\d_a-zß-ÿ]).*{_BREAK}",
    re.S,
)
_PATH = re.compile(r"(?:^|[\s\"'(])(?:[A-Za-z]:\\|\\\\[\w$])")
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")
_UNESCAPED = {"n": "\n", "r": "\n", "t": "\t", "b": " ", "f": "\n"}


def decode_body(text: str) -> str:
    """Return the text or the HTML that a body holds in encoded form, or the body itself where it is not encoded."""
    if text.lstrip()[:5] == "{\\rtf":
        return _decode_rtf(text)
    if "\\" in text:
        text = _decode_escapes(text)
    if "ontent-" in text or "MIME-V" in text or "CONTENT-" in text:
        text = _decode_mime(text)
    if "=?" in text:
        text = _decode_encoded_words(text)
    if "=" in text and _is_quoted_printable(text):
        text = _decode_octets(quopri.decodestring(text.encode("utf-8", "surrogatepass")))
    if "&" in text:
        text = _decode_entities(text)
    return text


def _decode_rtf(text: str) -> str:
    from striprtf.striprtf import rtf_to_text

    try:
        return str(rtf_to_text(text, errors="ignore"))  # type: ignore[no-untyped-call]
    except (ValueError, LookupError, TypeError, OverflowError):  # a damaged file: read it as it is
        return text


def _decode_escapes(text: str) -> str:
    """Undo the escapes of a JSON or program's string: every backslash begins one, and there are no line breaks."""
    body = text.strip()
    if "\n" in body or _PATH.search(body) or "\\" in _ESCAPE.sub("", body):
        return text
    if not _SURE_BREAK.search(body) and len(_UNICODE_ESCAPE.findall(body)) < 2:
        return text
    if len(body) > 1 and body[0] == body[-1] == '"':
        body = body[1:-1]
    body = _ESCAPE.sub(_unescape, body.replace("\\r\\n", "\\n"))
    return body.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins halves


def _unescape(escape: re.Match[str]) -> str:
    kind = escape[0][1]
    return chr(int(escape[0][2:], 16)) if kind == "u" else _UNESCAPED.get(kind, kind)


def _decode_mime(text: str) -> str:
    """Return the text parts of a raw mail, or of MIME parts whose mail header is missing."""
    if not _MIME_FIELD.search(text):
        return text
    block, boundary = _FIELD_BLOCK.match(text), _BOUNDARY.search(text)
    if block and _MIME_FIELD.search(block[0]) and (not boundary or "boundary=" in block[0].lower()):
        source = text.lstrip()
    elif boundary and (block or len(text[: boundary.start()].split()) < 30):
        parts = text[boundary.start() :]
        source = f'Content-Type: multipart/mixed; boundary="{boundary[1]}"\n\n{parts}'
    else:
        return text
    try:
        found = _text_parts(email.message_from_string(source))
    except (email.errors.MessageError, ValueError, LookupError, RecursionError):
        return text
    plain = [part for kind, part in found if kind == "text/plain" and part.strip()]
    marked = [part for kind, part in found if kind == "text/html" and part.strip()]
    return "\n".join(plain) if plain else marked[0] if marked else text


def _text_parts(message: Any) -> list[tuple[str, str]]:
    """Return type and text of each part, without attachments and attached mails."""
    if message.get_content_disposition() == "attachment":
        return []
    if message.get_content_type() == "message/rfc822":
        return []
    payload = message.get_payload()
    if isinstance(payload, list):
        return [found for part in payload for found in _text_parts(part)]
    if message.get_content_maintype() != "text" or message.get_filename():
        return []
    encoding = str(message.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding in ("base64", "quoted-printable"):
        payload = _decode_octets(message.get_payload(decode=True), message.get_content_charset())
    return [(message.get_content_type(), str(payload).replace("\r\n", "\n"))]


def _decode_encoded_words(text: str) -> str:
    """Decode RFC 2047 words where they are the text, not where the text mentions one."""
    remainder = _ENCODED_WORD.sub(" ", text)
    if remainder == text or len(remainder.split()) > _MAX_PLAIN_WORDS:
        return text
    joined = re.sub(r"(\?=)\s+(?==\?)", r"\1", text)
    return _ENCODED_WORD.sub(lambda word: _decode_word(word[0]), joined)


def _decode_word(word: str) -> str:
    try:
        return str(email.header.make_header(email.header.decode_header(word)))
    except (ValueError, LookupError, email.errors.HeaderParseError):
        return word


def _is_quoted_printable(text: str) -> bool:
    """Every "=" starts an escape or ends a line, and one at least is such as nobody types."""
    equals = text.count("=")
    if len(_EQUALS.findall(text)) < equals:
        return False
    if _SURE_QUOTED_PRINTABLE.search(text):
        return not _QUOTED_WORD.search(text) or equals > 4
    return len(_HIGH_OCTET.findall(text)) > 1 and _LATIN_OCTET.search(text) is not None


def _decode_octets(octets: bytes, charset: str | None = None) -> str:
    for encoding in (charset, "utf-8"):
        if encoding:
            try:
                return octets.decode(encoding)
            except (UnicodeDecodeError, LookupError):
                continue
    return octets.decode("cp1252", "replace")


def _decode_entities(text: str) -> str:
    """Unescape a text that was escaped as a whole: HTML with its tags escaped, or plain text with its signs escaped."""
    if is_html(text) or not _ENTITY.search(text):
        return text
    once = html.unescape(text)
    if "&lt;" in text or "&amp;lt;" in text:
        for unescaped in (once, html.unescape(once)):
            if is_html(unescaped) and not mentions_tags(unescaped):
                return unescaped
    is_typed = (
        "<" in text
        or _TYPED_ENTITY.search(text)
        or _BARE_AMPERSAND.search(text)
        or (_ACCENT_ENTITY.search(text) and any(map(_is_accented, text)))
    )
    return text if is_typed else once


def _is_accented(character: str) -> bool:
    return "À" <= character <= "ſ"
