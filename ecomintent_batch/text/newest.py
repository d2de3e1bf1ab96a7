"""Text of a body → the lines that its sender wrote last.

Forms and envelopes give the value of their message field, chat transcripts the turns of the customer. Of a mail, banner,
earlier mails, footer and signature are left out. Each step goes by shape, and what would leave nothing, or a bare greeting
above a text that asks, is not cut. docs/messages.md says what is cut and how often that is right.
"""

from __future__ import annotations

import re
from itertools import islice

from ecomintent_batch.text.forms import message_of_form
from ecomintent_batch.text.quotes import mend_wrapping, without_quotes
from ecomintent_batch.text.signatures import without_banner, without_footer, without_signature
from ecomintent_batch.text.transcripts import customer_turns

__all__ = ["has_words", "newest_message"]

_WORD = re.compile(r"\w")
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,200}\]\((?:[^()\s]|\([^()\s]{0,100}\)){1,2000}(?: \"[^\"\n]{0,200}\")?\)"
    r"|\[(?:cid|image|inline image|bild|imagen|immagine|afbeelding|obraz|imagem|图片|画像|embedded image"
    r"|photo)\b[^\]\n]{0,200}\]"
    r"|\[[^\]\n]{1,100}\.(?:png|jpe?g|gif|heic|webp|bmp)\]|^[ \t]*<(?!http)[^<>\n@]{1,100}\.(?:png|jpe?g|gif"
    r"|heic|webp)>[ \t]*$"
    r"|data:image/[\w.+-]+;base64,[\w+/=\s%]{20,}",
    re.I | re.M,
)
_NAMES_IMAGE = re.compile(
    r"[a-z,] \[(?:cid|image)\b[^\]\n]{0,60}\] [a-z]"
)  # a marker amid a sentence is mentioned
_DEVICE_ONLY = re.compile(
    r"^\W*(?:sent from|von mein\w+ \w+ gesendet|envoyé de|enviado|inviato|get outlook)\b.{0,40}$",
    re.I,
)
_GREETING = re.compile(
    r"^\W*(?:(?:hi|hello|hey|hiya|dear|good (?:morning|afternoon|evening|day)|hallo|guten (?:tag|morgen|abend)"
    r"|moin|servus|sehr geehrte\w*|liebe[rs]?|bonjour|bonsoir"
    r"|salut|cher|chère|hola|buen[oa]s \w+|estimad[oa]s?|ciao|buon\w+|salve|gentile|olá|oi|bom dia|boa tarde"
    r"|prezad[oa]s?|goede\w*|beste|geachte|dag|hej|hei|dzień dobry"
    r"|cześć|witam|szanown\w+|dobrý den|ahoj|merhaba|cheers|thanks|thank you|team|there|all|sir|madam|sam"
    r"|damen|und|herren|support|so|much|many|for|that)\W*(?:\w+\W*){0,2}){1,3}$",
    re.I,
)
_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]")


def has_words(message: str) -> bool:
    """Decide whether a message holds anything to read: a letter or a digit of any script."""
    return _WORD.search(message) is not None


def newest_message(text: str) -> str:
    """Return what the customer wrote last: no banner, quoted lines, forwarded mail, signature or footer."""
    without_images = text
    if ("[" in text or "<" in text or "data:" in text) and not _NAMES_IMAGE.search(text):
        without_images = _IMAGE.sub("", text)
    if len(without_images) < len(text):
        if not has_words(without_images) or _DEVICE_ONLY.match(without_images.strip()):
            return ""
        text = without_images
    if not text.isascii():
        text = _MARKS.sub("", text)
    text = mend_wrapping(text)
    lines = [line.strip() for line in text.split("\n")]
    if (turns := customer_turns(lines)) is not None:
        return "\n".join(turns)
    form = message_of_form(lines)
    if form is not None:
        lines = form
    if len(lines) == 1:  # the rules below compare lines
        return lines[0]
    for cut in (without_banner, without_quotes, without_footer, without_signature):
        kept = cut(lines)
        if len(kept) < len(lines) and _may_cut(kept, sure=cut is without_quotes):
            lines = kept
    return "\n".join(lines)


def _may_cut(kept: list[str], sure: bool) -> bool:
    """A cut must leave words, and more than a greeting unless what it cuts is an earlier mail."""
    filled = list(islice(filter(has_words, kept), 3))  # three are never a greeting
    if not filled:
        return False
    return sure or len(filled) > 2 or not all(map(_GREETING.match, filled))
