"""Lines of a mail → without banner, footer, device line and signature.

A line is cut only where it can hardly be the customer's: a footer is a fixed phrase, a signature is a block of names, titles
and contact data. A line that reads as prose, one that asks, and a PS stop each cut.
"""

from __future__ import annotations

import re

__all__ = ["without_banner", "without_footer", "without_signature"]

_MAX_LINE = 300  # a longer line is prose: no banner or signature line
_MAX_BLOCK = 14
_MAX_TITLE = 100
_WORD = re.compile(r"\w")
_RULE = re.compile(r"^[-_=*#~|.\s━─═＝—–・]*$")

# What is above the text.
_BANNER = re.compile(
    r"^\W*external(?:\W+(?:e-?mail|message|sender|mail))?\W*(?:$|(?=.{0,40}(?:do not|don't|please|caution"
    r"|warning|use care|this|originat)))"
    r"|^\W*(?:caution|warning|achtung|attention|vorsicht|atención|precaución|attenzione|let op|externe?|uwaga"
    r"|atenção|obs|this|diese|ce|cet|este"
    r"|esta|quest[oa]|dit|deze)\b.{0,60}(?:mail|message|nachricht|correo|bericht|courriel|mensaje|mensagem"
    r"|messaggio)\b.{0,50}"
    r"\b(?:outside|extern\w*|außerhalb|extérieur|fuera|esterno|fora|buiten).{0,40}(?:organi|company|network"
    r"|unternehmen|sender|absender|expéditeur"
    r"|afzender|institution|mittente|remitente|firma|domain|source|quelle|gekommen|empresa|$)",
    re.I,
)
_BANNER_MORE = re.compile(
    r"^(?:please )?(?:do not|don't|never) (?:click|open)|unless you (?:recogni[sz]e|trust|know)"
    r"|^klicken sie (?:nicht|auf keine)|^(?:bitte )?öffnen sie"
    r"|^ne cliquez|^no haga clic|^non cliccare|^klik niet|^open geen",
    re.I,
)

# What is below the text.
_MAIL_DEVICE = (
    r"(?:i ?phone|i ?pad|i ?pod|apple|android|galaxy|samsung|xiaomi|redmi|huawei|honor|oneplus|oppo|vivo"
    r"|pixel|fairphone|realme|poco|zte|tcl|alcatel|lenovo|infinix|tecno|surface|macbook|imac|mac|wiko|gigaset"
    r"|nokia|motorola|sony|htc|lg|blackberry"
    r"|windows|mobile?|mobil\w*|handy|smartphone|phone|telefon\w*|téléphone|teléfono|telefone|telefono"
    r"|cellulare|celular|tablet\w*|device|gerät|mail|e-mail"
    r"|outlook|gmail|gmx|web\.de|yahoo|aol|proton|thunderbird|spark|fairemail|mailbird|bluemail|k-9|tutanota"
    r"|hotmail|libero|virgilio|orange|t-online|icloud)"
)
_DEVICE = re.compile(
    r"^\W*(?:"
    rf"sent (?:from|via|with|using)(?: my| the| an?)? ?.{{0,30}}\b{_MAIL_DEVICE}\b[^.?!]{{0,45}}"
    r"|get (?:outlook|bluemail|yahoo mail|the aol app|typeapp) for (?:ios|android|mac|windows|iphone|mobile)"
    rf"|(?:diese (?:e-?mail|nachricht) wurde )?(?:mit der|mit|von|aus"
    rf"|via) .{{0,50}}\b{_MAIL_DEVICE}\b.{{0,40}}(?:gesendet|versandt|geschickt|verschickt)"
    rf"|gesendet (?:von|mit|aus|über)\b.{{0,40}}\b{_MAIL_DEVICE}\b.{{0,30}}|(?:holen sie sich "
    rf"|hol dir )?outlook für (?:ios"
    rf"|android).{{0,30}}"
    rf"|(?:envoyé|expédié|envoyée) (?:de|depuis|à partir|avec|via|par)\b.{{0,40}}\b{_MAIL_DEVICE}\b.{{0,40}}"
    r"|(?:télécharger|obtenir|obtenez) outlook pour.{0,20}|(?:obtener|obtén) outlook para.{0,20}|(?:obter"
    r"|obtenha) o outlook.{0,25}"
    r"|(?:scarica|ottieni) outlook per.{0,20}|(?:download|outlook voor|hanki outlook|hämta outlook"
    r"|skaffa outlook|hent outlook|få outlook|pobierz outlook"
    r"|pobierz program outlook|stáhnout outlook|outlook beszerzése|android için outlook"
    r"|ios için outlook).{0,40}"
    rf"|enviad[oa] (?:desde|de|do|a partir|com|con|pelo|por|mediante)\b.{{0,40}}\b{_MAIL_DEVICE}\b.{{0,40}}"
    rf"|inviat[oa] (?:da|dal|con|tramite)\b.{{0,40}}\b{_MAIL_DEVICE}\b.{{0,40}}"
    rf"|(?:verzonden|verstuurd|gestuurd) (?:vanaf|vanuit|met|via|van)\b.{{0,40}}\b{_MAIL_DEVICE}\b.{{0,40}}"
    rf"|(?:skickat|skickades|sendt|lähetetty|wysłan[eoya]|wysłano|odesláno|odoslané|poslano|trimis|küldve"
    rf"|elküldve|отправлено|надіслано|στάλθηκε)\b.{{0,40}}"
    rf"\b{_MAIL_DEVICE}.{{0,30}}"
    rf"|{_MAIL_DEVICE}.{{0,30}}(?:gönderildi|lähetetty|-?ról küldve|küldve|から送信|에서 보냄|보냄|에서 전송됨)|(?:내"
    rf"|나의) .{{0,30}}(?:보냄|전송됨)"
    r"|.{0,20}(?:iphone|ipad|galaxy|android|スマートフォン|携帯|outlook|メール).{0,10}(?:から送信"
    r"|で送信).{0,10}|(?:发自|發自|来自|從"
    r"|从).{0,40}(?:iphone|ipad|手机|手機|发送|傳送|邮箱|客户端).{0,12}"
    r"|发自我的.{1,25}|傳送自.{1,25}|yahoo mail: search, organi[sz]e, conquer|sent (?:with|via) (?:proton|tuta|spark"
    r"|superhuman)\b.{0,40}|.{0,25}yahoo mail (?:for|auf|pour|para|per|su|en)\b.{0,20}"
    r")\W*(?:https?://\S*|<\S*>)?\W*$",
    re.I,
)
_LINK = re.compile(r"<\s?https?:\S*\s?>|\]?\(\s?https?:\S*\s?\)|[\[\]]")
_FOOTER = re.compile(
    r"^\W*(?:(?:you(?:'re| are| have)? (?:receiv\w+|getting)|sie (?:erhalten|bekommen)|vous recevez"
    r"|(?:ha )?recib\w+|ricevi|(?:u|je) ontvangt|otrzymuje\w+|você recebeu)"
    r" (?:this|these|our|diese\w*|dieser|ce|cet|este|quest[oa]|deze|dit|tę|ten) (?:\w+ )?(?:e-?mails?"
    r"|messages?|newsletter|nachricht|courriel|correo|mensaje|messaggio|bericht|wiadomość|mensagem)"
    r"|(?:to )?unsubscribe\b.{0,60}(?:https?:|[|<]|click|here)|(?:click here|klicken sie hier"
    r"|cliquez ici) (?:to unsubscribe|um sich abzumelden|pour vous désabonner)"
    r"|(?:zum )?(?:abmelden|abbestellen)\b.{0,30}https?:|se désabonner\b.{0,30}https?:"
    r"|(?:this|diese|dieses|ce|cet|este|quest[oa]|dit|deze) (?:e-?mail|message|nachricht|mail|courriel|bericht"
    r"|correo|messaggio) (?:has been |was |is |wurde |a été |ha sido |è stat[oa] |is )"
    r"(?:(?:sent|gesendet|envoyé|enviado|inviat[oa]|verzonden) (?:from a (?:contact )?form|to \S+@\S+"
    r"|über das kontaktformular|an \S+@\S+|via (?:the|a|het|le) (?:contact|form)\w*|à \S+@\S+)"
    r"|.{0,20}(?:scanned|checked|virus|geprüft|gescannt|überprüft|analysé|verified))"
    r"|view (?:this )?(?:e-?mail |message |newsletter )?(?:in|on) (?:your |a |the )?(?:web )?browser\W*$"
    r"|(?:avast|norton|avg)?\W*virus-free\W*(?:www\.\S+|https?\S+|<\S+>)?\W*$"
    r"|(?:<\S+>\W*)?virus-free\W*www\.\S+\W*$|virenfrei\W*(?:www\.\S+"
    r"|https?\S+|<\S+>)?\W*$|(?:garanti )?sans virus\W*(?:www\.\S+)?\W*$|libre de virus\W*(?:www\.\S+)?\W*$"
    r"|(?:P )?(?:please )?(?:consider|think).{0,30}\benvironment\b|(?:P )?(?:bitte )?denken sie an die umwelt"
    r"|(?:P )?pensez à l.environnement|(?:p )?(?:antes de imprimir|prima di stampare|avant d.imprimer"
    r"|denk aan het milieu|tänk på miljön)"
    r"|(?:this e-?mail is a service from|delivered by (?:zendesk|freshdesk))\b|intercom: inbound"
    r"|powered by (?:zendesk|freshdesk|intercom|gorgias|help scout)\b"
    r")",
    re.I,
)
# Every disclaimer and most footers name the mail, the other footers something else: quicker to see than to match.
_MAIL_STEMS = (
    *(
        "mail",
        "post",
        "messag",
        "communication",
        "nachricht",
        "courriel",
        "correo",
        "mensaje",
        "mensagem",
        "bericht",
    ),
    *("wiadomo", "meddel", "zpráv", "comunica", "transmission", "korrespond", "newsletter"),
)
_FOOTER_STEMS = (
    *(
        "unsubscri",
        "abmelden",
        "abbestellen",
        "désabonner",
        "browser",
        "virus",
        "viren",
        "environ",
        "umwelt",
    ),
    *("imprim", "stampare", "milieu", "miljö", "inbound", "powered by", "registered"),
)
_REGISTERED = re.compile(
    r"^.{0,80}\bregistered (?:in (?:england|scotland|wales|ireland)|office)\b.{0,60}(?:\d{5}|no\b|number"
    r"|company|office|reg)",
    re.I,
)
_THIS_MAIL = re.compile(
    r"\b(?:this|diese\w*|ces?|cet|este|quest[oa]|deze|dit|t[aoeę]|tej|niniejsz\w*|detta|denne|tämä|tento|tato"
    r"|esta|eventuali) (?:\w+ )?"
    r"(?:e-?(?:mail|post)|mail|message|communication|nachricht|courriel|correo|mensaje|mensagem|messaggio"
    r"|bericht|wiadomoś\w+|meddel|zpráv|comunicaz\w+|comunicaci\w+|transmission|korrespond\w+)",
    re.I,
)
_LEGAL = (  # what a disclaimer says, a row per matter: two of the rows make one
    "confiden|vertraulich|vertrouwelijk|riservat|poufn|důvěrn|fortrolig|konfidenti|luottamuk|gizli|конфиденц"
    "|datenschutz|rodo|danych osobowych",
    "in error|par erreur|irrtüm|por error|por engano|per errore|onrechte|omyłk|misstag|omylem|versehentlich"
    "|fejl|feil|yanlışlık|по ошибке|abusivamente",
    "intended|recipient|addressee|destinat|empfänger|adressat|adresat|geadresseerd|modtager|příjemc|mottagar"
    "|mottaker|alıcı|bestemd voor",
    "privileged|unauthori|prohibited|disclos|liabil|untersagt|interdit|vietat|prohibid|proibid|verboden"
    "|haftung|responsab|not accept|copyright",
)
_LEGAL_STEMS = tuple(tuple(row.split("|")) for row in _LEGAL)

_CONTACT = re.compile(
    r"[^\s@]@[\w-]+\.\w|\bwww\.|https?://|(?<![\S])(?:[a-z\d-]+\.)+[a-z]{2,}(?=$|[\s/|,])| [|·•] "
    r"|(?<!\w)(?:\+|\(?0)\d(?:[ ()./-]{0,2}\d){6,14}\b|\b(?:tel|tél|tlf|phone|fax|ext|mob\w*|cell|direct"
    r"|[tmofe])[.: ]{1,3}[+(]{0,2}\d"
    r"|\(\d{3}\) ?\d{3}-\d{4}|\b\d{3}-\d{3}-\d{4}\b",
    re.I,
)
_COMPANY = re.compile(
    r"\b(?:ltd|limited|inc|llc|llp|plc|corp|gmbh|co\. kg|kg|ag|e\.k|ug|sarl|sas|sa|s\.a|s\.l|s\.r\.l|srl|spa"
    r"|s\.p\.a|bv|b\.v|nv|ab|as|a/s|aps|oy|sp\. ?z ?o\. ?o|sp\. ?k|s\.r\.o|a\.s|kft"
    r"|ltda|pty|株式会社|有限公司)\b\.?|株式会社|有限公司"
    r"|\b(?:manager|director|head of|officer|assistant|coordinator|buyer|purchasing|sales|founder|owner|ceo"
    r"|cfo|cto|engineer|consultant|partner|lead|supervisor|administrator"
    r"|leiter\w*|geschäftsführer\w*|einkauf|vertrieb|sachbearbeiter\w*|directeur|directrice|responsable"
    r"|gérante?|achats|gerente|directora?|compras|responsabile|titolare|acquisti"
    r"|inkoper|inkoop|directeur|kierownik|dyrektor|specjalista|indkøber|inköpare|chef)\b",
    re.I,
)
# "Senior Buyer @ Kestrel Outdoor": what is between the two, and what is written small in either.
_JOINS_TITLE = re.compile(r"[|@/·•–—-]|at|bei|chez|en|bij")
_SMALL_OF_TITLES = re.compile(r"of|and|the|der|für|und|de|des|du|di|la|et|y|e|van|en|&|sp|z")
_CLOSING = re.compile(
    r"^\W*(?:(?!(?:hi|hello|hey|dear|hallo|bonjour|hola|which|what|is|who)\b)\w+\W+){0,3}(?:regards|wishes"
    r"|thanks|thank you|cheers|best|sincerely|faithfully|yours|greetings|grüßen?|gru[sß]s?"
    r"|mfg|cordialement|salutations|merci|saludos?|atentamente|gracias|saluti|grazie|groet\w*|bedankt|hilsen"
    r"|hilsner|hälsningar|mvh"
    r"|tack|takk?|terveisin|kiitos|pozdraw\w*|poważaniem|pozdravem|děkuji|cumprimentos|obrigad[oa]|saygılar\w*"
    r"|üdvözlettel|уважением|abrazos?|abraços?|att|atenciosamente|rgds|mvg|hoogachtend|liefs|teşekkürler"
    r"|çalışmalar|ystävällisin|zdravím)"
    r"(?:\W+(?!for\b|your\b|that\b|is\b|you\b)\w+){0,3}\W*$|^(?:bien à (?:vous|toi)|à bientôt|bonne (?:journée"
    r"|réception|soirée))\W*$|^(?:よろしくお願い\w*|敬具|此致|谢谢|祝好)\W*$",
    re.I,
)
_I = (
    "I|(?i:i(?:'m|’m|'ve|’ve|'d|’d|'ll| (?:am|was|have|had|want|need|can|can't|cannot|got|do|don't|did"
    "|would|will|ordered|received|paid|bought|just|still|never)))"
)
_OTHER_I = (
    "my|me|ich|mir|mein|meine[nmrs]?|j'ai|mon|ma|mes|moi|yo|mi|mis|io|mio|mia|vorrei|eu|meu|minha|ik|mijn"
    "|mij|jag|mój|moje|moja|mnie|jeg"
)
_FIRST_PERSON = re.compile(rf"(?<!\w)(?:{_I}|(?i:{_OTHER_I}))(?!\w)")
_PROSE_WORDS = re.compile(
    rf"(?<!\w)(?:{_I}|(?i:{_OTHER_I}|you|please|pls|want|need|can|could|would|refund|cancel|mich|bitte|je|svp"
    rf"|s'il|quiero|favor|quero|graag|aub|chcę|proszę"
    r"|don't|didn't|isn't|not|nicht|pas|niet|nie|não|non|no|still|but|aber|mais|pero|maar|ale))(?!\w)"
)
_OWN_FACT = re.compile(
    r"^[-*•] |^name:|[?:]$|(?:order|invoice|customer|account|booking|ref|case|ticket|note"
    r"|bestell|kunden|auftrag|commande|pedido|zamówieni|rechnung)\w*\b.*\d",
    re.I,
)
_ITS_BELOW = re.compile(
    r"\b(?:below|unten|folgende\w*|ci-dessous|suivante?|abajo|siguiente|sotto|seguente|hieronder|volgende"
    r"|poniżej|poniższ\w*|abaixo|seguinte|(?:the )?following (?:address|number|person|details|data|e-?mail)"
    r"|nedan|nedenfor"
    r"|(?:new|my) (?:address|number|phone|details)|(?:address|adresse|anschrift|dirección|indirizzo|adres"
    r"|endereço|adresę"
    r"|adress)(?: is| to| ist| lautet| :|:)"
    r"|(?:deliver|ship|send)\w* (?:(?:it|this|them|everything) (?:to|at)|to (?:this|my new))"
    r"|change \w+ address|call me|ring me|reach me"
    r"|contact me|rufen sie|erreichen)\b",
    re.I,
)
_POSTSCRIPT = re.compile(
    r"^\W*(?:p\.? ?p?\.? ?s\b|n\.? ?b\b\.?|p\.? ?d\.?:|ps:|pps|edit:|update:|übrigens|btw|by the way|oh and"
    r"|also\b|and\b|one more|ach ja|au fait|por cierto|a proposito)",
    re.I,
)
_NAME_LINE = re.compile(r"^[\W_]*(?:[^\W\d_][\w.’'-]*\W+){0,3}[^\W\d_][\w.’'-]*\W*$")
_UNFINISHED = re.compile(
    r"(?:[,:;(]|\b(?:to|at|is|are|sind|sont|son|sono|zijn|są|são|lautet|for|with|and|in|an|auf|ist|für"
    r"|und|à|est|pour|et|a|es|para|y|è|per|e|naar|is"
    r"|voor|en|na|do))\s*$",
    re.I,
)
_SLOGAN = re.compile(r"^[\"“„«‘'].*[\"”“»’']\W*$")
_DASHES = ("--", "—", "–", "---", "___", "__")


def without_banner(lines: list[str]) -> list[str]:
    """Leave out the warning about external senders that a mail gateway puts at the top."""
    for start, line in enumerate(lines):
        head = line[:_MAX_LINE]
        if head and not _BANNER.search(head) and not (start and _BANNER_MORE.search(head)):
            return lines[start:]
        if head and _BANNER.search(head) and _FIRST_PERSON.search(head):
            return lines[start:]
    return lines


def without_footer(lines: list[str]) -> list[str]:
    """Cut footers and disclaimers, from the first one that starts the tail; a disclaimer may be above a footer."""
    while len(kept := _without_one_footer(lines)) < len(lines):
        lines = kept
    return lines


def _without_one_footer(lines: list[str]) -> list[str]:
    """Cut at the first footer line, or at the first paragraph that disclaims: says two legal matters of "this message"."""
    text = "\n".join(lines).lower()
    names_mail = any(stem in text for stem in _MAIL_STEMS)
    may_disclaim = names_mail and _legal_matters(lines) > 1
    may_end = names_mail or any(stem in text for stem in _FOOTER_STEMS)
    if not (may_disclaim or may_end):
        return lines
    start = 0
    for position, line in enumerate([*lines, ""]):
        is_footer = line and position and may_end and _is_footer(line[:_MAX_LINE])
        if is_footer and _is_tail(lines[position:]):
            return lines[:position]
        if not line and may_disclaim:
            paragraph = lines[start:position]
            if paragraph and _disclaims(paragraph) and _is_tail(lines[position:]):
                first = next(
                    i
                    for i in range(start, position)
                    if _legal_matters([lines[i]]) or _THIS_MAIL.search(lines[i])
                )
                return lines[:first]
            start = position + 1
    return lines


def _is_footer(line: str) -> bool:
    small = line.lower()
    may_be = any(stem in small for stem in (*_MAIL_STEMS, *_FOOTER_STEMS))
    return may_be and bool(_FOOTER.match(line) or _REGISTERED.match(line))


def _is_tail(lines: list[str]) -> bool:
    """Decide whether nothing in these lines is in the first person or asks: nobody wrote them by hand."""
    return not any(
        line.endswith("?") or _POSTSCRIPT.match(line) or _FIRST_PERSON.search(line)
        for line in lines[:40]
    )


def _disclaims(paragraph: list[str]) -> bool:
    text = " ".join(paragraph)
    if _legal_matters(paragraph) < 2 or not _THIS_MAIL.search(text):
        return False
    return not _FIRST_PERSON.search(text) or _legal_matters(paragraph) > 3


def _legal_matters(paragraph: list[str]) -> int:
    text = " ".join(paragraph).lower()
    return sum(any(stem in text for stem in stems) for stems in _LEGAL_STEMS)


def without_signature(lines: list[str]) -> list[str]:
    """Cut below a "-- " line, then device lines and signature blocks, from the end up; a PS below them stays."""
    lines = lines[:]
    while lines and (_RULE.match(lines[-1]) or _is_device(lines[-1])):
        del lines[-1]
    lines, postscript = _split_postscript(lines)
    for position in range(max(1, len(lines) - _MAX_BLOCK), len(lines)):
        is_first = lines[position] in _DASHES and lines[position] not in lines[:position]
        if is_first and _is_signature(lines[position + 1 :]):
            del lines[position:]
            break
    while lines:
        if _RULE.match(lines[-1]) or _is_device(lines[-1]):
            del lines[-1]
        elif (start := _signature_start(lines)) < len(lines):
            del lines[start:]
        else:
            break
    return lines + postscript


def _is_device(line: str) -> bool:
    """Decide whether a line is what a device or a mail app adds, with or without a link."""
    if len(line) > _MAX_LINE:
        return False
    return _DEVICE.match(_LINK.sub("", line)) is not None


def _split_postscript(lines: list[str]) -> tuple[list[str], list[str]]:
    for position in range(max(1, len(lines) - _MAX_BLOCK), len(lines)):
        if re.match(r"^\W*(?:p\.? ?p?\.? ?s\b|n\.? ?b\b|p\.? ?d\.?:)", lines[position], re.I):
            return lines[:position], lines[position:]
    return lines, []


def _reads_as_prose(line: str) -> bool:
    """Decide whether a line says or asks something, rather than names a person, a company or a number."""
    if line.endswith("?"):
        return True
    words = re.findall(r"[^\W\d_][\w'’]*", _CONTACT.sub(" ", line))
    if len(words) < 3:
        return False
    small = sum(word[0].islower() for word in words)
    if _PROSE_WORDS.search(line) and small * 2 >= len(words) - 1:
        return True
    return len(words) > 5 and small * 2 > len(words) and not _CONTACT.search(line)


def _is_signature(block: list[str]) -> bool:
    """Decide whether the lines below a dash sign the mail: a name on top, and nothing that reads as the customer's words."""
    filled = [line for line in block if line and not _is_device(line)]
    if not filled or all(map(_SLOGAN.match, filled)):
        return True
    prose = [line for line in filled if _reads_as_prose(line)]
    has_contact = any(_CONTACT.search(line) or _COMPANY.search(line) for line in filled)
    if _reads_as_prose(filled[0]) or (filled[0][0].islower() and not _CONTACT.search(filled[0])):
        return False
    if not has_contact and any(_PROSE_WORDS.search(line) for line in filled):
        return False
    words = re.findall(r"[^\W\d_][\w'’.]*", filled[0])
    is_name = _NAME_LINE.match(filled[0]) and not any(word[0].islower() for word in words)
    named = is_name or has_contact
    asks = any(line.endswith("?") or _FIRST_PERSON.search(line) for line in prose)
    return bool(named) and (
        not prose or (has_contact and not asks and len(prose) * 2 <= len(filled))
    )


def _signature_start(lines: list[str]) -> int:
    """Return where the signature block at the end starts: it stays unless it says more than a name."""
    top = len(lines)
    while top and len(lines) - top < _MAX_BLOCK and _may_sign(lines[top - 1]):
        top -= 1
        if lines[top] and _CLOSING.match(lines[top]):
            break
    else:  # no closing: the last paragraph, if it is not the only one
        return _unclosed_start(lines, top)
    below = [position for position in range(top + 1, len(lines)) if lines[position]]
    has_contact = any(
        _CONTACT.search(lines[position]) or _names_title(lines[position]) for position in below
    )
    has_company = any(_COMPANY.search(lines[position]) for position in below)
    if not has_contact and not (has_company and len(below) > 2):
        return len(lines)
    if len(below) == 1 and "|" not in lines[below[0]]:
        return len(lines)
    if _ITS_BELOW.search(" ".join(lines[:top])[-400:]):
        return len(lines)
    if re.search(r"[,!.] *\w+\W*$", lines[top]):  # "Thanks, Anna"
        return top + 1
    if len(lines[below[0]].split()) == 1 and not _CONTACT.search(lines[below[0]]):  # a first name
        return below[0] + 1
    return top


def _unclosed_start(lines: list[str], top: int) -> int:
    """Return where the last paragraph starts if it signs the mail: a name, then contact data, after a full sentence."""
    while top < len(lines) and "" in lines[top:]:
        top += 1
    paragraph = [line for line in lines[top:] if not _RULE.match(line)]
    above = [line for line in lines[:top] if line]
    if not above or len(paragraph) < 2 or lines[top - 1]:
        return len(lines)
    if ":" in paragraph[0] or _CONTACT.search(paragraph[0]) or not _NAME_LINE.match(paragraph[0]):
        return len(lines)
    signs = any(map(_CONTACT.search, paragraph)) or any(map(_names_title, paragraph[1:3]))
    if not signs or paragraph[0][:1].islower():
        return len(lines)
    is_named = (
        paragraph[0].startswith(above[-1].strip(" ,.!")) and len(above) > 1
    )  # "Luc", "Luc Delmotte"
    sure = (
        is_named
        or above[-1][-1] in ".!?)…。！？"
        or sum(map(bool, map(_CONTACT.search, paragraph))) > 1
    )
    if not sure or _UNFINISHED.search(above[-1][-12:]) or _ITS_BELOW.search(" ".join(above)[-400:]):
        return len(lines)
    return top


def _names_title(line: str) -> bool:
    """Decide whether a line is a role and a company, all in capitals but for small words, with something between the two."""
    if len(line) > _MAX_TITLE or not _COMPANY.search(line):
        return False
    words = line.split()
    joins = [word for word in words[1:-1] if _JOINS_TITLE.fullmatch(word) or word.endswith(",")]
    return bool(joins) and all(
        _JOINS_TITLE.fullmatch(word)
        or _SMALL_OF_TITLES.fullmatch(word)
        or not word.strip("(&\"'")[:1].islower()
        for word in words
    )


def _may_sign(line: str) -> bool:
    if not line:
        return True
    if " | " in line and len(line) < 200:
        return not line.endswith("?")
    if len(line) >= 80 or line.endswith("?"):
        return False
    if line.endswith((".", "!", ";")) and len(line.split()) > 5 and not _COMPANY.search(line):
        return False
    if _OWN_FACT.search(line) or _POSTSCRIPT.match(line):
        return False
    return not _reads_as_prose(line) or _CLOSING.match(line) is not None
