"""Lines of a mail → without the earlier mails that it quotes or forwards.

An earlier mail begins at an attribution ("On … wrote:"), at a block of mail headers, at a divider of a mail client, or its
lines begin with ">". Customers write lines of each shape themselves, so each needs evidence that a customer does not give:
an attribution has an address with a clock, or the whole form of one and no "you" or "your"; a block names sender, date and
subject, or holds an address next to the names of two headers; a divider consists of a known phrase between its dashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ecomintent_batch.text.markup import QUOTE_BELOW

__all__ = ["are_headers", "mend_wrapping", "without_quotes"]

_MAX_LINE = 300  # a longer line is prose
_MAX_HEADER_LINES = 14
_MAX_BEGIN = 70  # of "Begin forwarded message:" in any language
_WORD = re.compile(r"\w")
_RULE = re.compile(r"^[-_=*#~|.\s]*$")

_ADDRESS = re.compile(r"[^\s@<>()\[\]]@[\w-]+\.\w|\[mailto:|<[^\s<>]+@[^\s<>]+>")
_CLOCK = re.compile(r"\b\d{1,2}[:.h]\d\d\b|\b\d{1,2} ?[ap]m\b|\d{1,2}時|\d{1,2}点|\d{1,2}시", re.I)
_DATE = re.compile(
    r"\b\d{1,2}[:.h]\d\d\b|\b(?:19|20)\d\d\b|\b\d{1,2}[./]\d{1,2}[./]\d\d|\d月|\d월|\d年"
)
_WROTE_WORDS = (
    "wrote|writes|schrieb|geschrieben|a écrit|écrit|ha escrito|escribió|ha scritto|scritto|schreef|geschreven"
    "|het volgende"
    "|napsala?|napísala?|napisała?|napisał\\(a\\)|napisao|pisze|escreveu|skrev|kirjoitti|írta|scris|написала?"
    "|пишет|писала?|написав"
    "|έγραψε|yazdı|写道|寫道|書きました|כתב|كتب|작성|viết|menulis|rašė|kirjutas"
)
_WROTE_STEMS = (  # one of them is in each of these: quicker to see than to match
    *(
        "wrote",
        "writes",
        "schr",
        "écrit",
        "escri",
        "scri",
        "volgende",
        "naps",
        "napí",
        "pisze",
        "escreveu",
        "skrev",
    ),
    *(
        "kirjo",
        "kirju",
        "írta",
        "напис",
        "пиш",
        "писал",
        "έγραψε",
        "yazdı",
        "写",
        "寫",
        "書",
        "כתב",
        "كتب",
        "작성",
        "viết",
    ),
    *("menulis", "rašė"),
)
_WROTE = re.compile(rf"(?<!\w)(?:{_WROTE_WORDS})(?!\w)|写道|寫道|書きました|작성", re.I)
_OPENING = re.compile(
    r"^[\W_]*(?:on|at|am|le|el|il|op|em|no dia|a|w dniu|dnia|dne|dňa|den|på|pe|στις|в|le|ha|date|le|vào|pada"
    r"|du|den"
    r"|(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim|mié|jue|vie|sáb|dom|gio"
    r"|sab|seg|ter|qua"
    r"|qui|sex|ma|wo|vr|za|zo|pon|wt|śr|czw|pt|sob|niedz|mån|tis|ons|tor|fre|lör|sön|man|tir|lør|søn|пн|вт|ср"
    r"|чт|пт|сб|вс)\w*\.?,?"
    r"|\d)(?=\W|$|\d)",
    re.I,
)
_NAMED_OPENING = re.compile(r"^[^<>:]{1,80}<[^\s<>]+@[^\s<>]+>")
_SECOND_PERSON = re.compile(
    r"(?<!\w)(?:you|your|ihr|ihre|ihren|ihrer|euer|eure|vous|votre|vos|usted|ustedes|su|sus|tu|vuestr[oa]|voi"
    r"|vostr[oa]|il suo|uw"
    r"|jullie|wasz|wasza|pan|pani|państw\w*|seu|sua|kurier|courier|driver|agent|colleague|we|i|ich|je|j'ai|yo"
    r"|io|eu|ik)(?!\w)",
    re.I,
)

# Headers of a mail: what each client calls them, in lower case.
_HEADER_KINDS = {
    "from": "from|von|de|da|van|od|fra|från|lähettäjä|feladó|от|від|от кого|από|kimden|gönderen|发件人|寄件者|寄件人|差出人"
    "|送信者|送信元"
    "|보낸 사람|보낸사람|remitente|expéditeur|mittente|absender|afzender|nadawca|odesílatel|avsändare|afsender"
    "|avsender|de la"
    "|expeditor|remetente|מאת|من|from name",
    "date": "sent|date|gesendet|gesendet am|datum|envoyé|envoyé le|enviado|enviado el|enviada em|enviado em"
    "|enviada|fecha|inviato"
    "|inviato il|data|verzonden|wysłano|data wysłania|odesláno|odoslané|dátum|skickat|sendt|sendt dato|dato"
    "|lähetetty|päivämäärä|päiväys"
    "|küldve|elküldve|отправлено|дата|дата отправки|надіслано|gönderildi|gönderilme tarihi|tarih|发送时间|发送日期|日期"
    "|送信日時|送信日|日時|寄件日期"
    "|日付|보낸 날짜|보낸날짜|날짜|trimis|תאריך|נשלח|التاريخ|تاريخ|στάλθηκε|ημερομηνία|sent at|sent on|received",
    "to": "to|an|à|a|para|aan|do|til|till|vastaanottaja|címzett|кому|kime|alıcı|收件人|宛先|받는 사람|받는사람|naar|komu"
    "|către|destinatario"
    "|destinataire|destinatário|empfänger|mottagare|modtager|προς|אל|إلى|reply-to|reply to|antwort an"
    "|responder a|répondre à",
    "subject": "subject|betreff|objet|asunto|oggetto|assunto|onderwerp|temat|předmět|predmet|ämne|emne|aihe|tárgy"
    "|тема|konu|主题|主題"
    "|主旨|件名|제목|subiect|sujet|titel|θέμα|נושא|الموضوع|titre",
    "copy": "cc|bcc|kopie|копия|dw|udw|抄送|copie|cc:n|kopia|importance|priority|attachments?|anlagen?|wichtigkeit"
    "|priorität|importancia"
    "|pièces jointes|allegati|bijlagen|reply-to|참조",
}
_KIND_OF = {
    name: kind
    for kind, names in _HEADER_KINDS.items()
    for name in names.replace("?", "").split("|")
}
_HEADER = re.compile(r"^[*_|>\s]*([^\W\d_][\w '’-]{0,24}?)\s?[*_]*\s?[:：](?!//)[*_\s]*(.*)$")
_FORM_LABEL = re.compile(
    r"^\W*(?:\w+ )?(?:name|e-?mail|phone|telephone|message|message body|order|comments?"
    r"|telefon\w*)\b[^:]{0,12}:",
    re.I | re.M,
)
_FLAT_LABELS = "|".join(
    sorted(
        (re.escape(name) for name in _KIND_OF if len(name) > 1 and _KIND_OF[name] != "copy"),
        key=len,
        reverse=True,
    )
)
_FLAT_LABEL = re.compile(rf"(?<![\w-])[*_]*({_FLAT_LABELS})\s?[*_]*[:：][*_]*(?=\s|[*_<])", re.I)

# Dividers of mail clients and helpdesks.
_ORIGINAL = re.compile(
    r"(?:(?:begin|start|anfang|inicio|début|end|ende|fin|fine) (?:of )?)?(?:(?:the |der |du |del )?(?:original"
    r"|forwarded|weitergeleitete?|ursprüngliche?|"
    r"original[- ]?nachricht|transféré|oorspronkelijk|origineel|doorgestuurd|przekazana|przesłana|oryginalna"
    r"|původní|pôvodná|přeposlan|"
    r"preposlan|videresend?t|oprindelig|opprinnelig|ursprungligt?|vidarebefordrat?|alkuperäinen|välitetty"
    r"|edelleenlähetetty|eredeti|"
    r"továbbított|исходное|пересылаемое|переадресованное|пересланное|перенаправленное|iletilen|yönlendirilen"
    r"|orijinal|özgün|asıl|"
    r"αρχικό|προωθημένο)\w*|(?:message|mensaje|mensagem|messaggio|e-mail|mail|correo|courriel) (?:d[’']origine"
    r"|original[e]?|initial|"
    r"transféré|reenviad[oa]|inoltrat[oa]|encaminhada|rispost[oa])|原始邮件|原邮件|原始郵件|转发邮件"
    r"|转发的邮件|轉寄郵件|回复的原邮件"
    r"|元のメッセージ|元のメール|"
    r"転送メッセージ|転送されたメッセージ|転送|원본 메시지|원본 메일|전달된 메시지|original message)"
    r"(?: ?(?:message|mail|e-?mail|nachricht|bericht|wiadomość|zpráva|správa|meddelelse|melding|meddelande"
    r"|besked|viesti|üzenet|"
    r"сообщение|письмо|повідомлення|ileti|mesaj|posta|μήνυμα|邮件|メール))?(?:[ ,:]*(?:from|von|de|by|am|on|vom|le"
    r"|du)\b.{0,60})?[ .:]*",
    re.I,
)
_FRAMED = re.compile(r"^[\W_]{0,3}([-_=*#~]{2,})\s*([^\s-].{0,150}?)\s*[-_=*#~]{2,}\W*$")
_REPLY_ABOVE = re.compile(
    r"\b(?:reply|replies|respond|antwort\w*|répon\w+|respond\w+|responda|respuesta|resposta|rispo\w+|svar\w*"
    r"|odpow\w+|odpov\w+|yanıt\w*"
    r"|beantwoord\w*|antwoord\w*|reageer\w*|vastau\w*|typ\w+|schreiben|écri\w+|escrib\w+|scriv\w+)\b.{0,80}"
    r"\b(?:above|oberhalb|über|au-dessus|ci-dessus|encima|arriba|sopra|acima|boven|powyżej|nad|ovanför|ovan"
    r"|over|yläpuolel\w*|üzerin\w*|yukarı\w*)\b"
    r"|返信.{0,30}(?:上|線)|(?:在|请).{0,10}(?:上方|以上).{0,10}回复|above this line",
    re.I,
)
_ABOVE_ALONE = re.compile(
    r"^.{0,60}\bto add (?:additional |a )?comments?,? (?:please )?reply to this e-?mail\b"
    r"|^\W*(?:please )?(?:(?:type|write|enter) )?(?:your )?reply (?:above|over) this line\W*$",
    re.I,
)
_MY = re.compile(
    r"(?<!\w)(?:my|our|mein\w*|unser\w*|mon|ma|mes|mi|mis|mio|mia|mijn|mój|moja|minha|meu)(?!\w)",
    re.I,
)
_BEGIN_FORWARD = re.compile(
    r"^(?:begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-?mail)|début du (?:message"
    r"|courriel) (?:transféré|réexpédié)"
    r"|inicio del mensaje reenviado|inizio messaggio inoltrato|início da mensagem (?:re)?encaminhada"
    r"|begin doorgestuurd bericht"
    r"|początek przekazywanej wiadomości|vidarebefordrat brev|start på videresendt besked|videresendt melding"
    r"|přeposlaná zpráva)\s*:?$",
    re.I,
)
_ENDS_FORWARD = re.compile(
    r"forward|weitergeleit|transf|reenvi|rinvia|inoltra|doorgest|vidare|videre|przek|přepos|välit",
    re.I,
)

# An attribution or a divider in the midst of a line, where an export has lost the line breaks.
_ANY_DATE = re.compile(r"\d[:.h]\d\d|\d{4}")
_WROTE_COLON = re.compile(rf"(?<!\w)(?:{_WROTE_WORDS})(?!\w)[^\n:]{{0,60}}:(?!//)")
_FLAT_OPENING = re.compile(
    r"(?:^|(?<=[\s.!?…)]))(?:On|Am|Le|El|Il|Op|Em|No dia|W dniu|Dnia|Den|Dne|Dňa|Pe)\s(?=[^\n]{0,40}\d)"
)
_MAX_ATTRIBUTION = 180
_FLAT_ADDRESSED = re.compile(
    rf"^([^\n<>]{{0,120}}<[^\s<>]+@[^\s<>]+>,?\s?(?:(?:{_WROTE_WORDS})\s?)?:)[ \t]+(?=\S)", re.M
)
_FLAT_DIVIDER = re.compile(
    r"(?<![-_])(?:[-_][-_]{3,60} ?[^\W\d_][^\n_-]{4,40}? ?[-_]{4,60})(?![-_])"
)
_DEVICES = (
    "sent from my",
    "von meinem",
    "gesendet von",
    "envoyé de",
    "enviado de",
    "enviado do",
    "inviato da",
    "vanaf mijn",
    "från min",
    "fra min",
    "outlook for",
)
_FLAT_DEVICE = re.compile(
    r"(?<=\S)[ \t]+(?=(?:sent from my (?:iphone|ipad|galaxy|samsung|android|mobile|phone)|von meinem (?:iphone"
    r"|ipad|samsung|android|handy)"
    r"|gesendet von (?:mein\w+ )?(?:iphone|ipad|mail|outlook)|envoyé (?:de mon|depuis mon|à partir de) \w+"
    r"|enviado (?:desde|do|de) (?:mi|meu|mi) \w+"
    r"|inviato da(?:l mio)? (?:iphone|ipad|\w+)|(?:verstuurd|verzonden) vanaf mijn \w+|skickat från min \w+"
    r"|sendt fra min \w+"
    r"|get outlook for (?:ios|android))\b[^\n.?!]{0,30}$)",
    re.I | re.M,
)
_WRAPPED_ADDRESS = re.compile(r"<\s{0,2}([^\s<>]{1,90}@[^\s<>]{1,90})[ \t]*\n?[ \t]*>")
_COMPARISON = re.compile(r"^>=|^> ?\d")
_QUOTED_LINE = re.compile(  # of an earlier mail: empty, quoted twice, or a greeting
    r"^>\s*(?:$|>|(?:hi|hello|hey|dear|hallo|guten|sehr geehrte|liebe|bonjour|hola|estimad|buon|gentile|ciao"
    r"|olá|beste|geachte|dzień|witam|szanown)\b)",
    re.I,
)

# What a shop asks or offers, and a customer who lists questions does not.
_SHOP_ASKS = re.compile(
    r"\b(?:your (?:order|address|name|e-?mail|phone|account|size|return|parcel)|would you (?:like|prefer)"
    r"|(?:did|have|had|were) you"
    r"|do you (?:want|prefer|need|still|remember)|(?:could|can) you (?:please )?(?:tell|send|give|share"
    r"|provide|confirm|let|describe"
    r"|attach|check|try)|we (?:can|could|will|would|have|are|need)|please (?:confirm|send|provide|share"
    r"|let|attach|tell|reply|check)"
    r"|refund or|ihre? (?:bestell|adress|kunden|telefon|e-?mail)\w*|(?:welche|wann|wie"
    r"|wo)\b.{0,40} (?:haben|hatten) sie"
    r"|möchten sie|(?:können|könnten) sie uns|bitte (?:senden|bestätigen|nennen|schicken|teilen)"
    r"|wir (?:können|haben|brauchen)"
    r"|votre (?:numéro|commande|adresse|e-?mail)|pouvez-vous (?:nous|me)|souhaitez-vous|avez-vous"
    r"|préférez-vous|nous pouvons"
    r"|su (?:número|pedido|dirección|correo)|podría (?:enviar|decir|confirmar)\w*|prefiere|ha recibido|podemos"
    r"|il (?:suo|tuo) (?:numero|ordine|indirizzo)|può (?:inviar|dir|conferm)\w*|preferisce|possiamo"
    r"|uw (?:bestel|adres|order)\w*"
    r"|wilt u|heeft u|kunt u ons|numer zamówienia|czy (?:może|woli|chce) pan\w*|möchtest du|hast du"
    r"|deine? (?:bestell|adress)\w*)",
    re.I,
)


def are_headers(names: Iterable[str]) -> bool:
    """Decide whether some words before colons are the headers of a mail: its sender, and its receiver or subject."""
    kinds = {_KIND_OF.get(name.lower()) for name in names}
    return "from" in kinds and not kinds.isdisjoint(("to", "subject"))


def mend_wrapping(text: str) -> str:
    """Join addresses that were wrapped, and break lines before and after attributions and dividers that were joined."""
    if "<" in text and "@" in text:
        text = _WRAPPED_ADDRESS.sub(r"<\1>", text)
        text = _FLAT_ADDRESSED.sub(_break_after, text)
    may_quote = ":" in text and any(stem in text for stem in _WROTE_STEMS)
    if may_quote and _ANY_DATE.search(text):
        text = _break_around_attributions(text)
    if "----" in text or "____" in text:
        text = _FLAT_DIVIDER.sub(_break_at_divider, text)
    if text.count(":") > 2 and _ADDRESS.search(text):
        text = "\n".join(map(_break_before_headers, text.split("\n")))
    small = text.lower()
    if any(device in small for device in _DEVICES):
        text = _FLAT_DEVICE.sub("\n", text)
    return text


def _break_after(attribution: re.Match[str]) -> str:
    sure = _DATE.search(attribution[1]) and _CLOCK.search(attribution[1])
    return f"{attribution[1]}\n" if sure else attribution[0]


def _break_around_attributions(text: str) -> str:
    """Break the line before and after each "On … wrote:" that is in the midst of one."""
    pieces, done = [], 0
    for end in _WROTE_COLON.finditer(text):
        first = max(done, end.start() - _MAX_ATTRIBUTION)
        first = text.rfind("\n", first, end.start()) + 1 or first
        for opening in _FLAT_OPENING.finditer(text, first, end.end()):
            start = opening.start()
            if _is_attribution(text[start : end.end()]):
                pieces += [text[done:start], "\n", text[start : end.end()], "\n"]
                done = end.end()
                break
    return "".join([*pieces, text[done:]])


def _break_at_divider(divider: re.Match[str]) -> str:
    return f"\n{divider[0]}\n" if _is_divider(divider[0]) else divider[0]


def _break_before_headers(line: str) -> str:
    """Break a line where sender, date and subject of a mail follow each other in it."""
    if len(line) < 40 or line.count(":") < 3:
        return line
    labels = list(_FLAT_LABEL.finditer(line))
    for first, label in enumerate(labels):
        if _KIND_OF[label[1].lower()] != "from" or not label[1][0].isupper():
            continue
        kinds = [_KIND_OF[other[1].lower()] for other in labels[first : first + 5]]
        block = line[label.start() : labels[min(first + 3, len(labels) - 1)].end()]
        if {"from", "date", "subject"} <= set(kinds) and _ADDRESS.search(block):
            return f"{line[: label.start()]}\n{line[label.start() :]}"
    return line


def without_quotes(lines: list[str]) -> list[str]:
    """Leave out quoted lines wherever they are, and all that follows a header; a header at the top goes alone."""
    kept: list[str] = []
    spoken = False
    own = _own_arrows(lines)
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if line.startswith(">"):
            if position - 1 not in own:
                continue
        elif line and len(line) < _MAX_LINE:
            if height := _attribution_height(lines, position - 1):
                del kept[len(kept) - height + 1 :]
                spoken = any(map(_WORD.search, kept[:50]))
                following = next(filter(None, lines[position : position + 9]), ">")
                if spoken and following[0] != ">":
                    break
                continue
            if end := (
                _divider_end(lines, position - 1)
                or _header_end(lines, position - 1)
                or _notes_header_end(lines, position - 1)
            ):
                if spoken:
                    break
                position = end
                continue
        elif len(line) >= _MAX_LINE and _is_flat_header(line) and spoken:
            break
        spoken = spoken or _WORD.search(line) is not None
        kept.append(line)
    else:
        return kept
    while kept and (
        _RULE.match(kept[-1])
        or _ORIGINAL.fullmatch(kept[-1])
        or (kept[-1].endswith(":") and _ENDS_FORWARD.search(kept[-1]))
    ):
        kept.pop()
    return kept


def _own_arrows(lines: list[str]) -> set[int]:
    """Return which lines that begin with ">" are the customer's own: a list, a menu path, a comparison.

    In a mail with an attribution none is, nor in one that begins with ">". Without either, a block is a list where it
    follows a colon or a line of text directly, unless it greets somebody or quotes a quotation.
    """
    blocks = _arrow_blocks(lines)
    if not blocks:
        return set()
    first, last = blocks[0][0], blocks[-1][1]
    if not any(lines[:first]):
        return set()
    own = {
        position
        for start, end in blocks
        for position in range(start, end)
        if _COMPARISON.match(lines[position]) and not _CLOCK.search(lines[position][:30])
    }
    if any(
        _ends_in_colon(line) and _attribution_height(lines, i)
        for i, line in enumerate(lines[:last])
    ):
        return {position for position in own if lines[position].startswith(">=")}
    if _is_interleaved(lines, blocks):
        return own
    for start, end in blocks:
        looks_quoted = any(map(_QUOTED_LINE.match, lines[start:end]))
        follows_text = bool(lines[start - 1])
        before = next(filter(None, reversed(lines[max(0, start - 3) : start])), "")
        if not looks_quoted and (follows_text or _ends_in_colon(before)):
            own.update(range(start, end))
    return own


def _is_interleaved(lines: list[str], blocks: list[tuple[int, int]]) -> bool:
    """Decide whether the customer answers, line by line, what a shop has asked or offered in two blocks or more."""
    answered = [
        end < len(lines) and lines[end] != "" and not any(map(_COMPARISON.match, lines[start:end]))
        for start, end in blocks
    ]
    asked = [_SHOP_ASKS.search(" ".join(lines[start:end])) is not None for start, end in blocks]
    questions = [
        lines[end - 1].endswith("?") or by_shop
        for (_, end), by_shop in zip(blocks, asked, strict=True)
    ]
    return len(blocks) > 1 and all(answered) and any(asked) and sum(questions) * 2 > len(blocks)


def _arrow_blocks(lines: list[str]) -> list[tuple[int, int]]:
    """Return start and end of each run of lines that begin with ">"."""
    blocks: list[tuple[int, int]] = []
    for position, line in enumerate(lines):
        if not line.startswith(">"):
            continue
        if blocks and blocks[-1][1] == position:
            blocks[-1] = (blocks[-1][0], position + 1)
        else:
            blocks.append((position, position + 1))
    return blocks


def _ends_in_colon(line: str) -> bool:
    return 0 < len(line) < _MAX_LINE and line[-1] in ":："


def _is_attribution(text: str) -> bool:
    """Decide whether a text is an attribution by its own form alone."""
    has_clock, has_date = _CLOCK.search(text), _DATE.search(text)
    if _ADDRESS.search(text):
        return bool(has_clock or (has_date and _WROTE.search(text)))
    return bool(
        has_clock
        and has_date
        and _WROTE.search(text)
        and (_OPENING.match(text) or text[:1].isdigit())
        and not _SECOND_PERSON.search(text)
    )


def _attribution_height(lines: list[str], last: int) -> int:
    """Return over how many lines, ending in this one, an attribution ("On … wrote:") is wrapped; 0 where there is none."""
    line = lines[last]
    if line[-1] not in ":：":
        bare = (
            line[-1] in ">)"
            and len(line) < 200
            and _ADDRESS.search(line)
            and _CLOCK.search(line)
            and _OPENING.match(line)
            and _WROTE.search(line)
        )
        return 1 if bare else 0
    height, text = 1, line
    while (
        not (_OPENING.match(text) and _is_whole_attribution(text))
        and height < 4
        and height <= last
        and len(lines[last - height]) < _MAX_LINE
    ):
        above = lines[last - height]
        if not above or above.startswith(">") or above[-1] in ".!?":
            break
        if _is_whole_attribution(text) and not _OPENING.match(above):
            break
        text = f"{above} {text}"
        height += 1
    if not _is_whole_attribution(text) or (
        height > 1 and not (_OPENING.match(text) or _NAMED_OPENING.match(text))
    ):
        height, text = 1, line
    if not (_ADDRESS.search(text) or _WROTE.search(text)):
        return 0
    following = next(filter(None, lines[last + 1 : last + 5]), "")
    quoted = following.startswith(">") and len(text) < 200
    return height if _is_attribution(text) or quoted else 0


def _is_whole_attribution(text: str) -> bool:
    """Decide whether a text has both parts of an attribution: when, and who or "wrote"."""
    return bool(_DATE.search(text) and (_ADDRESS.search(text) or _WROTE.search(text)))


def _is_divider(line: str) -> bool:
    if not line[:1].isalnum() and (framed := _FRAMED.match(line)):
        phrase = framed[2]
        if _is_attribution(phrase):
            return True
        if _MY.search(phrase):
            return False
        return bool(
            _ORIGINAL.fullmatch(phrase)
            or _REPLY_ABOVE.search(phrase)
            or (_WROTE.search(phrase) and _DATE.search(phrase))
        )
    if len(line) > _MAX_BEGIN:  # as nearly all lines of prose are
        return "to add " in line.lower() and _ABOVE_ALONE.match(line) is not None
    return bool(_ABOVE_ALONE.match(line) or _BEGIN_FORWARD.match(line))


def _divider_end(lines: list[str], start: int) -> int:
    """Return where a divider ends together with the headers right below it; 0 where none starts here."""
    if lines[start] != QUOTE_BELOW and not _is_divider(lines[start]):
        return 0
    end = start + 1
    while end < len(lines) and not lines[end]:
        end += 1
    return _header_run(lines, end)[0] if end < len(lines) and _label_kind(lines[end]) else start + 1


def _label_kind(line: str) -> str | None:
    label = _HEADER.match(line)
    return _KIND_OF.get(label[1].lower().strip()) if label else None


def _header_run(lines: list[str], start: int) -> tuple[int, list[str]]:
    """Return where the run of "Word: value" lines that starts here ends, and its lines; blank lines may part them."""
    end, block = start, [lines[start]]
    end += 1
    while end < len(lines) and len(block) < _MAX_HEADER_LINES:
        line = lines[end]
        following = lines[end + 1] if not line and end + 1 < len(lines) else line
        if not line and not (_label_kind(following) and _label_kind(block[-1])):
            break
        if line:
            continues = _ADDRESS.search(line) and len(line) < 200
            if not (_HEADER.match(line) or continues):
                break
            block.append(line)
        end += 1
    return end, block


def _header_end(lines: list[str], start: int) -> int:
    """Return where a block of mail headers that starts here ends; 0 where none does. A contact form is none."""
    line = lines[start]
    label = _HEADER.match(line) if ":" in line or "：" in line else None
    if not label or not label[2]:
        return 0
    if label[1].lower() not in _KIND_OF and "<" not in label[2]:
        return 0
    if _is_flat_header(lines[start]):
        return start + 1
    end, block = _header_run(lines, start)
    kinds = [_label_kind(line) for line in block]
    text = "\n".join(block)
    if len(block) < 3 and not {"from", "subject"} <= set(kinds):
        return 0
    known = {kind for kind in kinds if kind}
    has_address, has_clock = _ADDRESS.search(text), _CLOCK.search(text)
    if {"from", "date", "subject"} <= known and (has_address or has_clock or len(block) > 3):
        return end
    if {"from", "subject"} <= known and has_address and kinds[0] == "from":
        return end
    if len(known) > 2 and known & {"from"} and has_address and has_clock:
        return end
    foreign = len(block) > 2 and _ADDRESS.search(block[0]) and "<" in block[0] and has_clock
    return end if foreign and not _FORM_LABEL.search(text) else 0


def _notes_header_end(lines: list[str], start: int) -> int:
    """Return where a header as Lotus Notes writes it ends, the sender above the time above "To" alone; 0 where none is."""
    if "@" not in lines[start] or len(lines[start]) > 120 or not _ADDRESS.search(lines[start]):
        return 0
    below = [i for i in range(start + 1, min(start + 6, len(lines))) if lines[i]][:2]
    if len(below) < 2 or len(lines[below[0]]) > 40:
        return 0
    has_time = _DATE.search(lines[below[0]]) and _CLOCK.search(lines[below[0]])
    is_to = _KIND_OF.get(lines[below[1]].lower().strip(" :*")) == "to"
    return below[1] + 1 if has_time and is_to else 0


def _is_flat_header(line: str) -> bool:
    """Decide whether sender, date and subject of a mail follow each other in one line, from its start on."""
    if line.count(":") < 3:
        return False
    labels = list(_FLAT_LABEL.finditer(line[:600]))
    if len(labels) < 3 or labels[0].start() > 3:
        return False
    kinds = {_KIND_OF[label[1].lower()] for label in labels}
    return {"from", "date", "subject"} <= kinds and _ADDRESS.search(line[:600]) is not None
