"""HTML body → its visible text, with marks where a quotation was.

A quotation that the mail client marks as such (blockquote, its own class) leaves a line ">", and a header block that it
marks leaves `QUOTE_BELOW`: the rules for threads do not have to know the language of what is quoted.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["QUOTE_BELOW", "html_to_text", "is_html"]

QUOTE_BELOW = "\x1d"  # a line of its own: what follows is an earlier mail

_NAMES = (
    "p|br|div|span|html|body|table|tbody|td|tr|th|a|b|i|u|ul|ol|li|pre|font|strong|em|blockquote|img|hr"
    "|h[1-6]|style|head|meta"
    "|section|article|center|title|small|sup|sub|s|code|o:p"
)
_TAG = re.compile(rf"<(/?)({_NAMES}|!doctype)(?=[\s/>])[^<>]*>", re.I)
_ENDS_WITH_TAG = re.compile(rf"</?(?:{_NAMES})(?:\s[^<>]*)?/?>\s*\Z", re.I)
_ENDLESS = frozenset("br hr img meta !doctype p li td tr th tbody html body head o:p".split())  # noqa: SIM905
_CONTAINERS = frozenset("div table html body p head !doctype style span font".split())  # noqa: SIM905
_BREAK = re.compile(r"\S<br\s*/?>|<br\s*/?>\S", re.I)
_MAX_BARE = 2000
_FEW_TAGS = 4
_MAX_TAGS = 400  # of a long body the first ones are enough to see what it is

_LINE_TAG = re.compile(
    r"<(?:/p|p class=\"?Mso\w*|/?(?:div|tr|li|h[1-6])|/t[dh](?=>\s*</tr)|(br)|(p|hr|/?(?:table|ul|ol"
    r"|blockquote))|(/t[dh]))\b",
    re.I,
)
_LINE_END = "\x1e"  # a line tag sets it, and a run of them ends one line
_UNSEEN = (
    "style, script, head, title, .gmail_signature, .gmail_signature_prefix, .moz-signature, #Signature, .yahoo_quoted, "
    '[hidden], [style*="display:none"], [style*="display: none"]'
)
_QUOTE = (  # an editor's indent has no border
    'blockquote:not([style*="border:none"]):not([style*="border: none"]), .protonmail_quote, .freshdesk_quote, '
    ".gorgias-quote, .zendesk_quote, .front-quote, .tutanota_quote, .zmail_extra, .moz-forward-container"
)
_HEADERS = (
    "#divRplyFwdMsg, .OutlookMessageHeader, #appendonsend, #mail-editor-reference-message-container"
)
_ATTRIBUTION = ".gmail_attr, .moz-cite-prefix, .moz-email-headers-table"
_FORWARD_MARK = re.compile(r"-{4,}|={4,}")


def is_html(text: str) -> bool:
    """Decide whether a text is HTML, rather than prose that mentions a tag.

    HTML starts or ends with a tag, or closes every tag that it opens, or breaks lines in the midst of its words, or is nothing
    but tags.
    """
    start = _TAG.match(text.lstrip()[:2000])
    if start and start[2].lower() in _CONTAINERS:
        return True
    opened: dict[str, int] = {}
    pairs = unbalanced = tags = 0
    # A pair is enough where a text starts or ends with a tag; else all tags are counted.
    is_enough = start is not None or _ENDS_WITH_TAG.search(text[-400:]) is not None
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        tags += 1
        if tags > _MAX_TAGS:
            break
        if not tag[1]:
            opened[name] = opened.get(name, 0) + 1
        elif opened.get(name):
            opened[name] -= 1
            pairs += 1
            if is_enough:
                return True
        else:
            unbalanced += 1
    if not tags:
        return False
    if len(text) < _MAX_BARE and not _TAG.sub("", text).strip():
        return True
    unbalanced += sum(count for name, count in opened.items() if name not in _ENDLESS)
    if start:
        return _BREAK.search(text) is not None or " src=" in text
    if is_enough:
        return _BREAK.search(text) is not None
    return (pairs > 0 and not unbalanced) or _BREAK.search(text) is not None


def mentions_tags(text: str) -> bool:
    """Decide whether few tags stand amid a sentence, as in "the page shows <div>NaN</div> instead of the price"."""
    body = text.strip()
    if _TAG.match(body) or _ENDS_WITH_TAG.search(body[-400:]) or _BREAK.search(body):
        return False
    return len(_TAG.findall(body[:2000])) <= _FEW_TAGS and len(body) < _MAX_BARE


def html_to_text(markup: str) -> str:
    """Return the visible text of an HTML body, a line per block, a tab between cells, ">" instead of each quotation."""
    text = _render(markup, keep_quotes=False)
    if any(map(str.isalnum, text)):
        return text
    return _render(markup, keep_quotes=True)


def _render(markup: str, keep_quotes: bool) -> str:
    from selectolax.lexbor import LexborHTMLParser

    if "<pre" not in markup:
        markup = " ".join(markup.split())
    tree = LexborHTMLParser(_LINE_TAG.sub(_mark_line, markup))
    for node in tree.css(_UNSEEN if not keep_quotes else "style, script, head, title"):
        node.decompose()
    if not keep_quotes:
        _replace_quotes(tree)
    if tree.body is None:
        return ""
    return _end_lines(tree.body.text(separator="", strip=False))


def _mark_line(tag: re.Match[str]) -> str:
    mark = "\t" if tag[3] else "\n\n" if tag[2] else "\n" if tag[1] else _LINE_END
    return mark + tag[0]


def _end_lines(text: str) -> str:
    """Set one line break instead of each run of marks, the blanks around it and one line break in front of it."""
    piece, *others = text.split(_LINE_END)
    lines: list[str] = []
    for following in others:
        piece = piece.rstrip(" ")
        if piece or not lines:  # else between two marks of a run
            lines.append(piece.removesuffix("\n"))
        piece = following.lstrip(" ")
    return "\n".join([*lines, piece])


def _replace_quotes(tree: Any) -> None:
    for node in tree.css(_HEADERS):
        node.insert_before(f"\n\n{QUOTE_BELOW}\n\n")
    if tree.css_first("blockquote") is not None:
        for node in tree.css(_ATTRIBUTION):
            if not _FORWARD_MARK.search(node.text()):
                node.decompose()
    for node in tree.css(_QUOTE):
        node.replace_with("\n\n>\n\n")
