"""Lines of a mail → the lines that its sender wrote last.

Threads, signatures and footers are told by their shape rather than by the phrases of each mail client in each language: an
attribution is a line that ends in a colon and holds a date or an address, a header block is a run of "Word: value" lines with
a clock in it, a signature is a tail of short lines with a phone number, an address or a URL. Reply parsers that know the
phrases left 45 % of the dev mails wrong (mail-parser-reply 1.36). What would leave nothing is not cut.
"""

from __future__ import annotations

import re

_MAX_LINE = 300  # a longer line is prose: no header, divider or signature line
_WORD = re.compile(r"\w")
_IMAGE = re.compile(r"\[(?:cid|image|inline image)\b[^\]\n]{0,200}\]", re.I)

# Banners above the text, dividers and headers between two mails.
_BANNER = re.compile(
    r"^\W*external(?:\W+(?:e-?mail|message|sender))?\W*$|(?:mail|message|nachricht|correo|bericht)\b.{0,50}"
    r"\b(?:outside|extern|außerhalb|extérieur|fuera).{0,30}(?:organi|company|network|unternehmen|sender|absender|expéditeur|afzender)",
    re.I,
)
_BANNER_MORE = re.compile(
    r"^(?:please )?do not (?:click|open)|unless you (?:recogni[sz]e|trust|know)", re.I
)
_DIVIDER = re.compile(
    r"^[#=*_-]{2,}.{0,150}(?:messag|mensa|nachricht|bericht|wiadomo|meddel|besked|viesti|zpráv|forward|wrote|reply|antwort|répon"
    r"|respon|rispo|svar|odpow).{0,80}[#=*_-]{2,}$",
    re.I,
)
_FORWARDED = re.compile(
    r"forward|weitergeleit|transf|reenvi|rinvia|inoltra|doorgest|vidare|videre|przek|přepos|välit",
    re.I,
)
_HEADER = re.compile(r"^\*?([^\W\d][\w '-]{0,20}?) ?\*?[:：](?!//)")
_SENDER = re.compile(
    r"\*?(?:from|von|de|da|van|od|fra|från|lähettäjä|feladó|от|від|από) ?\*?:", re.I
)
_FORM_FIELD = re.compile(
    r"^\W*(?:\w+ )?(?:name|e-?mail|phone|telephone|message|order)\b[^:]{0,12}:", re.I | re.M
)
_FORM = re.compile(
    r"\A\s*[\w -]{0,20}name: ?(?:[^\n]{0,100}\n+[^\W\d][\w '-]{0,20}: ?){2,8}(?<=message: )", re.I
)
_CLOCK = re.compile(r"\b\d{1,2}[:.h]\d\d\b|\b\d{1,2} ?[ap]m\b", re.I)
_DATE = re.compile(r"\b\d{1,2}[:.h]\d\d\b|\b(?:19|20)\d\d\b|\b\d{1,2}[./]\d{1,2}[./]\d\d")
_WROTE = re.compile(
    r"\b(?:wrote|schrieb|écrit|escribió|scritto|schreef|geschreven|napsal|napisał|escreveu|skrev|kirjoitti|írta|scris)\b",
    re.I,
)
_ADDRESS = re.compile(r"[^\s@]@[\w-]+\.\w")

# What stands below the text.
_RULE = re.compile(r"^[-_=*#~|.\s]*$")
_DEVICE = re.compile(
    r"^(?=.{0,90}$)(?=.*(?:phone|pad|mobil|mail|outlook|android|galaxy|samsung|windows|blackberry|tablet|device))"
    r"(?:sent (?:from|via|with|using)\b|get\b|von m|diese|gesendet|envoyé|télécharge|enviado|obt[eé]n|inviato|scarica"
    r"|ver(?:zonden|stuurd)|skickat|sendt|lähetetty|wysłan|odesláno|outlook für)",
    re.I,
)
_FOOTER = re.compile(
    r"^\W*(?:(?:you (?:are |have )?receiv\w+|sie erhalten|vous recevez|recib\w+|ricevi|u ontvangt|otrzymuje\w+) \w+ "
    r"(?:e-?mail|message|newsletter|nachricht|courriel|correo|messaggio|bericht)"
    r"|(?:to )?unsubscribe\b.{0,60}(?:https?:|[|<]|click)|this (?:e-?mail|message) (?:has been|was|is) (?:sent|scanned|checked)"
    r"|.{0,60}\bto add (?:additional |a )?comments?,? (?:please )?reply to this"
    r"|view (?:this )?(?:e-?mail )?in (?:your )?browser|.{0,60}\bregistered (?:in (?:england|scotland|wales|ireland)|office)"
    r"|virus-free|(?:please )?(?:consider|think).{0,30}\benvironment|bitte denken sie an die umwelt|pensez à l.environnement)",
    re.I,
)
_THIS_MAIL = re.compile(
    r"\b(?:this|diese\w*|ces?|cet|este|quest[oa]|deze|dit|t[ao]|niniejsz\w*|detta|denne|tämä|tento|tato) (?:\w+ )?"
    r"(?:e-?(?:mail|post)|mail|message|communication|nachricht|courriel|correo|mensaje|mensagem|messaggio|bericht|wiadomość|meddel|zpráv)",
    re.I,
)
_LEGAL = (  # what a disclaimer says, a row per matter: two of the rows make one
    (
        "confiden",
        "vertraulich",
        "vertrouwelijk",
        "riservat",
        "poufn",
        "důvěrn",
        "fortrolig",
        "konfidenti",
        "luottamuk",
    ),
    (
        "in error",
        "par erreur",
        "irrtüm",
        "por error",
        "por engano",
        "per errore",
        "onrechte",
        "omyłk",
        "misstag",
        "omylem",
    ),
    (
        "intended",
        "recipient",
        "addressee",
        "destinat",
        "empfänger",
        "adressat",
        "adresat",
        "geadresseerd",
        "modtager",
        "příjemc",
    ),
    (
        "privileged",
        "unauthori",
        "prohibited",
        "disclos",
        "liabil",
        "untersagt",
        "interdit",
        "vietat",
    ),
)
_CONTACT = re.compile(
    r"[^\s@]@[\w-]+\.\w|\bwww\.|https?://|(?<![\S])(?:[a-z\d-]+\.)+[a-z]{2,}(?=$|[\s/|,])| [|·•] "
    r"|(?<!\w)(?:\+|\(?0)\d(?:[ ()./-]{0,2}\d){6,14}\b|\b(?:tel|tél|tlf|phone|fax|ext|mob\w*|cell|[tm])[.: ]{1,3}[+(]?\d",
    re.I,
)
_CLOSING = re.compile(
    r"^\W*(?:\w+\W+){0,3}(?:regards|wishes|thanks|thank you|cheers|best|sincerely|faithfully|yours|greetings|grüßen?|gru[sß]s?"
    r"|mfg|cordialement|salutations|merci|saludos?|atentamente|gracias|saluti|grazie|groet\w*|bedankt|hilsen|hilsner|hälsningar|mvh"
    r"|tack|takk?|terveisin|kiitos|pozdraw\w*|poważaniem|pozdravem|děkuji|cumprimentos|obrigad[oa])(?:\W+\w+){0,3}\W*$",
    re.I,
)
_OWN_FACT = re.compile(
    r"^[-*•] |^name:|[?:]$|(?:order|invoice|customer|account|booking|ref|case|ticket|note"
    r"|bestell|kunden|auftrag|commande|pedido)\w*\b.*\d",
    re.I,
)


def has_words(message: str) -> bool:
    """Tell whether a message holds anything to read: a letter or a digit of any script."""
    return _WORD.search(message) is not None


def newest_message(text: str) -> str:
    """Return what the customer wrote last: no banner, quoted lines, forwarded mail, signature or footer."""
    lines = [line.strip() for line in _FORM.sub("", _IMAGE.sub("", text)).split("\n")]
    for cut in (_without_banner, _without_thread, _without_footer, _without_signature):
        kept = cut(lines)
        if len(kept) < len(lines) and any(map(has_words, kept)):
            lines = kept
    return "\n".join(lines)


def _without_banner(lines: list[str]) -> list[str]:
    for start, line in enumerate(lines):
        if (
            line
            and not _BANNER.search(line[:_MAX_LINE])
            and not (start and _BANNER_MORE.search(line[:_MAX_LINE]))
        ):
            return lines[start:]
    return lines


def _without_thread(lines: list[str]) -> list[str]:
    """Leave out quoted lines wherever they stand, and all that follows a header; a header on top goes alone."""
    kept: list[str] = []
    spoken = own_arrow = False
    position = 0
    while position < len(lines):
        line, previous = lines[position], lines[position - 1] if position else ""
        position += 1
        if line.startswith(">"):  # a list of the customer's own stands right below its colon
            own_arrow = (
                own_arrow
                if previous.startswith(">")
                else previous.endswith(":") and kept[-1:] == [previous]
            )
            if not own_arrow and line[1:2] != "=" and not line[1:2].isdigit():
                continue
        elif line and len(line) < _MAX_LINE:
            if line[-1] in ":：" and (height := _attribution_height(lines, position - 1)):
                del kept[len(kept) - height + 1 :]
                spoken = any(map(has_words, kept[:50]))
                following = next(filter(None, lines[position:]), ">")
                if spoken and following[0] != ">":
                    break
                continue
            if (
                end := position
                if _DIVIDER.match(line)
                else _header_end(lines, position - 1)
                if ":" in line
                else 0
            ):
                if spoken:
                    break
                position = end
                continue
        spoken = spoken or has_words(line)
        kept.append(line)
    else:
        return kept
    while kept and (
        _RULE.match(kept[-1]) or (kept[-1].endswith(":") and _FORWARDED.search(kept[-1]))
    ):
        kept.pop()
    return kept


def _attribution_height(lines: list[str], last: int) -> int:
    """Return over how many lines, ending in this one, an attribution ("On … wrote:") is wrapped; 0 where there is none."""
    height, text = 1, lines[last]
    while (
        not _DATE.search(text)
        and height < 3
        and height <= last
        and len(lines[last - height]) < _MAX_LINE
    ):
        if not lines[last - height] or lines[last - height].startswith(">"):
            break
        text = f"{lines[last - height]} {text}"
        height += 1
    if not _DATE.search(text) or (
        height > 1 and not (_ADDRESS.search(text) or _WROTE.search(text))
    ):
        height, text = 1, lines[last]
        if not (_ADDRESS.search(text) or _WROTE.search(text)):
            return 0
    following = next(filter(None, lines[last + 1 :]), "")
    sure = _ADDRESS.search(text) and (
        _CLOCK.search(text) or (_DATE.search(text) and _WROTE.search(text))
    )
    return height if sure or following.startswith(">") else 0


def _header_end(lines: list[str], start: int) -> int:
    """Return where a block of mail headers that starts here ends; 0 where none does. A contact form is none."""
    end = start
    while end < min(len(lines), start + 12) and (
        _HEADER.match(lines[end]) or (end > start and _ADDRESS.search(lines[end]))
    ):
        end += 1
    block = "\n".join(lines[start:end])
    known = _ADDRESS.search(block) or (end - start > 3 and _SENDER.match(block))
    return (
        end
        if end - start > 2 and known and _CLOCK.search(block) and not _FORM_FIELD.search(block)
        else 0
    )


def _without_footer(lines: list[str]) -> list[str]:
    """Cut at the first footer line, or at the first paragraph that disclaims: says two legal matters of "this message"."""
    start = 0
    for position, line in enumerate([*lines, ""]):
        if line and position and _FOOTER.match(line[:_MAX_LINE]):
            return lines[:position]
        if not line:
            paragraph = lines[start:position]
            if (
                paragraph
                and _legal_matters(paragraph) > 1
                and _THIS_MAIL.search(" ".join(paragraph))
            ):
                return lines[
                    : next(
                        i
                        for i in range(start, position)
                        if _legal_matters([lines[i]]) or _THIS_MAIL.search(lines[i])
                    )
                ]
            start = position + 1
    return lines


def _legal_matters(paragraph: list[str]) -> int:
    text = " ".join(paragraph).lower()
    return sum(any(stem in text for stem in stems) for stems in _LEGAL)


def _without_signature(lines: list[str]) -> list[str]:
    """Cut below a "-- " line, then device lines and signature blocks, from the end up."""
    lines = lines[:]
    while lines and _RULE.match(lines[-1]):
        del lines[-1]
    for position in range(max(1, len(lines) - 14), len(lines)):
        if lines[position] in ("--", "—") and not any(
            line.endswith("?") for line in lines[position:]
        ):
            del lines[position:]
            break
    while lines:
        if _RULE.match(lines[-1]) or _DEVICE.match(lines[-1]):
            del lines[-1]
        elif (start := _signature_start(lines)) < len(lines):
            del lines[start:]
        else:
            break
    return lines


def _signature_start(lines: list[str]) -> int:
    """Return where the signature block at the end starts: it stays unless it says more than a name."""
    top = len(lines)
    while top and len(lines) - top < 14 and _may_sign(lines[top - 1]):
        top -= 1
        if lines[top] and _CLOSING.match(lines[top]):
            break
    else:  # no closing: the last paragraph, if it is not the only one
        while top < len(lines) and "" in lines[top:]:
            top += 1
        paragraph = lines[top:]
        above = next(filter(None, reversed(lines[:top])), ":")
        named = len(paragraph) > 1 and ":" not in paragraph[0] and not _CONTACT.search(paragraph[0])
        is_block = named and top and not lines[top - 1] and any(map(_CONTACT.search, paragraph))
        return top if is_block and not above.endswith(":") else len(lines)
    below = [position for position in range(top + 1, len(lines)) if lines[position]]
    if len(below) < 3 and not any(_CONTACT.search(lines[position]) for position in below):
        return len(lines)
    if len(below) == 1 and "|" not in lines[below[0]]:
        return len(lines)
    if re.search(r"[,!.] *\w+\W*$", lines[top]):  # "Thanks, Anna"
        return top + 1
    if len(lines[below[0]].split()) == 1:  # a first name
        return below[0] + 1
    return top


def _may_sign(line: str) -> bool:
    sentence = line.endswith((".", "!", ";")) and len(line.split()) > 5
    return (len(line) < 80 and not sentence and not _OWN_FACT.search(line)) or (
        len(line) < 200 and " | " in line
    )
