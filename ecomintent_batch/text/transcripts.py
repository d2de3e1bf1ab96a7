"""Chat transcript → the turns of the customer.

The lines are read by one grammar after the other: time, name and text; name, time and text; a line with name and time above
the text; name and text. A text is a transcript where one grammar explains all of it and the two sides can be known: by their
names (Visitor, Support Bot), by the frame of the chat ("Conversation with …"), or by what they say. Otherwise it stays whole:
customers also retell a chat in their own words.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from ecomintent_batch.text.quotes import are_headers

__all__ = ["customer_turns"]

_MAX_LINE = 2000
_MAX_LINES = 2000
_CLOCK = r"(?<!\d)\d{1,2}[:.h]\d\d(?:[:.]\d\d)?(?:[.,]\d{1,3})?(?:\s?[ap]\.?\s?m\.?)?"
_MONTH = (
    r"(?:jan|feb|fév|fev|mar|mär|apr|avr|abr|may|mai|maj|mag|mei|jun|jui|giu|jul|lug|aug|aoû|ago|sep|set|oct"
    r"|okt|ott|out|nov|dec|dez|dic|déc|gen|ene"
    r"|sty|lut|kwi|cze|lip|sie|wrz|paź|lis|gru|янв|фев|мар|апр|ма[йя]|июн|июл|авг|сен|окт|ноя"
    r"|дек)[^\W\d_]{0,8}\.?"
)
_WEEKDAY = (
    r"(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim|mié|jue|vie|sáb|dom|gio"
    r"|seg|ter|qua|qui|sex|yesterday|today"
    r"|gestern|heute|hier|пн|вт|ср|чт|пт|сб|вс)[^\W\d_]{0,8}\.?"
)
_DAY = (
    rf"(?:(?:{_WEEKDAY},?\s)?(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}"
    rf"|\d{{1,2}}\.?\s(?:de\s)?{_MONTH}(?:,?\s(?:de\s)?\d{{4}})?"
    rf"|{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s\d{{4}})?|\d{{4}}年\d{{1,2}}月\d{{1,2}}日)|{_WEEKDAY})"
)
_STAMP = (
    rf"(?:{_DAY}[,T]?\s?(?:at\s|um\s|à\s|a\slas\s|alle\s|kl\.?\s|о\s|·\s|-\s)?)?{_CLOCK}(?:\s?(?:UTC|GMT"
    rf"|CES?T|[EPCM][SD]T|BST|Z|[+-]\d\d:?\d\d|Uhr))?"
    r"(?:,\s?\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})?"
)
_NAME = r"(?:[^\W\d_]|[@+]\w)[^:：\n|\[\]]{0,44}?"

_ANY_CLOCK = re.compile(r"\d[:.h]\d\d")
_ANY_COLON = re.compile(r"[:：](?=\s|$)|：")

_TIME_NAME_TEXT = re.compile(
    rf"^[\[(]?{_STAMP}[\])]?\s*[-–—|•,>]?\s*\*?(?P<name>{_NAME})\*?\s?[:：]\s*(?P<text>.*)$", re.I
)
_NAME_TIME_TEXT = re.compile(
    rf"^(?P<name>{_NAME}),?\s*[-–—|•]?\s*[\[(]?{_STAMP}[\])]?\s?[:：](?!\d)\s*(?P<text>.*)$"
    rf"|^(?P<name2>{_NAME})\s*[\[(]{_STAMP}[\])]\s*(?P<text2>.*)$",
    re.I,
)
_NAME_TIME = re.compile(
    rf"^(?P<name>{_NAME})\s*(?:[,•|·–—-]|at|on|um|à)?\s*[\[(]?{_STAMP}[\])]?(?:,?\s{_DAY})?\s*[:：]?$",
    re.I,
)
_TIME_NAME = re.compile(
    rf"^[\[(]?{_STAMP}[\])]?\s*[,•|·–—-]?\s*(?P<name>[^\W\d_].{{0,44}}?)\s*[:：]?$", re.I
)
_NAME_TEXT = re.compile(rf"^\**(?P<name>{_NAME})\**\s?[:：]\**\s+(?P<text>\S.*)$")
_ROLE_TEXT = re.compile(
    rf"^(?:\[(?P<name>{_NAME})\]|(?P<name2>{_NAME})\s?(?:>|[-–—](?=\s)))\s*(?P<text>\S.*)$"
)
_MAY_BE_ROLE = re.compile(r"(?:\[|[^\s:]{3,20}(?: \w{1,20})?\s?[>–—-])")
_NAME_ALONE = re.compile(rf"^\**(?P<name>{_NAME})\**\s?[:：]\**$")
_TIME_ONLY = re.compile(rf"^[\[(]?{_STAMP}[\])]?$", re.I)
_WHEN_ONLY = re.compile(rf"^[\[(]?(?:{_STAMP}|{_DAY}(?:,? \d{{4}})?)[\])]?$", re.I)
_TIME_FIRST = re.compile(rf"^[\[(]?{_STAMP}(?=[\])\s]|$)", re.I)
_LEADING_TIME = re.compile(rf"^[\[(]{_STAMP}[\])]\s*|\s*[\[(]{_STAMP}[\])]$", re.I)

_CUSTOMER_NAME = re.compile(
    r"\b(?:customer|visitor|guest|client|end[- ]?user|user|shopper|buyer|consumer|caller|lead|kund(?:e|in)"
    r"|besucher(?:in)?|gast|käufer(?:in)?|nutzer(?:in)?|cliente?"
    r"|visiteur|visiteuse|invité|acheteur|visitante|usuari[oa]|comprador(?:a)?|invitad[oa]|visitatore"
    r"|visitatrice|utente|ospite|acquirente|bezoeker|klant|gebruiker"
    r"|usuári[oa]|klient(?:ka)?|gość|odwiedzający|kund|besökare|kunde|gæst|besøgende|asiakas|vierailija"
    r"|zákazník|návštěvník|müşteri|ziyaretçi|клиент|посетитель|покупатель|гость"
    r"|πελάτης|web ?user)\b|ziyaretçi|お客様|お客さま|访客|訪客|客户|顾客|用户|买家|고객|방문자|손님"
    r"|\bV\d{6,}\b|\(anonymous\)|anonymous",
    re.I,
)
_AGENT_NAME = re.compile(
    r"\b(?:agent|support|\w*bot|assistant|operator|system|advisor|adviser|rep|representative|team|service|care"
    r"|help|helpdesk|staff|consultant|concierge|admin"
    r"|moderator|seller|sales|automated|answer|auto[- ]?reply|berater(?:in)?|mitarbeiter(?:in)?|kundenservice"
    r"|kundendienst|kundenberater(?:in)?|verkäufer(?:in)?|systemnachricht|conseiller|conseillère|robot"
    r"|vendeur|agente|asistente|asesora?|vendedora?|operador(?:a)?|operatore|operatrice|assistente|atendente"
    r"|atendimento|medewerker|klantenservice|verkoper|konsultant(?:ka)?|doradca|obsługa"
    r"|kundtjänst|medarbetare|medarbejder|kundeservice|asiakaspalvelu(?:ja)?|operátor|podpora|temsilci(?:si)?"
    r"|destek|оператор|поддержка|бот|консультант|менеджер|shop|store|tienda|boutique|loja|negozio|sklep|winkel"
    r"|hotline|desk|expert|specialist|virtual)\b|\w+bot\b|客服|担当|智能|小助手|助手|システム|ボット"
    r"|オペレーター|スタッフ|상담원|상담사|챗봇|系统"
    r"|机器人|店铺",
    re.I,
)
# The customers are in it, but the name is that of those who serve them.
_SERVES_CUSTOMERS = re.compile(
    r"\b(?:al|ao|aos|à|au|aux|ai|agli|alla|del|dello|do|dos|com o|to|voor|für) (?:clien\w+|consum\w+|usu[aá]ri\w+"
    r"|visita\w+|utent\w+|compra\w+|acquir\w+|klant\w*|kund\w+|customers?|clients?|guests?|visitors?)\b"
    r"|\b(?:atenci[oó]n|servi[czç][ioí]\w*|soporte|suporte|supporto|assist[eê]n[czs]\w*|asistencia|apoio|ayuda|aiuto|aide"
    r"|relations?|sac|equipo|equipe|équipe) (?:clien\w+|consum\w+|usu[aá]ri\w+|visit\w+|utent\w+)\b"
    r"|\b(?:customer|client|visitor|guest|user|buyer|shopper|consumer|klant|kunden?)s?['’]?s?[ -](?:services?|success"
    r"|relations?(?:hip)?|experience|happiness|solutions?|operations|liaison|affairs|manager|executive|partner|champion"
    r"|engagement|cent(?:er|re)|office|line|associate|reception|betreu\w+|hilfe)\b"
    r"|\bkunden(?:betreu\w+|support|center|hilfe|team)\b|\bmüşteri (?:hizmet|temsilci|destek|desteği|ilişki)\w*"
    r"|(?:お客様|お客さま)(?:サポート|センター|相談|サービス|窓口|対応|係)|(?:客户|顾客|用户)(?:服务|支持|经理|中心|代表)"
    r"|고객\s?(?:센터|지원|상담|서비스|만족)|(?:служба|отдел|поддержка|обслуживание)\b.*\bклиент\w*",
    re.I,
)
_SYSTEM_NAME = re.compile(
    r"^\W*(?:system|info|notice|event|note|sistema|système|systeem|システム|系统|시스템|система)\W*$",
    re.I,
)
_COMPANY_NAME = re.compile(
    r"[&@™®]|\b(?:ltd|inc|gmbh|llc|bv|sarl|srl|co|ag|shop|store|bakery|hotel|studio|verwaltung|hausverwaltung"
    r"|werkstatt|praxis|restaurant|apotheke)\b|\.(?:com|de|fr|net|shop|example)\b|\S\s?\([^)]*\)$|\bfrom\b"
    r"|\bde [A-Z]|\bvon [A-Z]",
    re.I,
)
_NUMBERED_CUSTOMER = re.compile(r"^\W*(?:visitor|customer|guest)\W*\d", re.I)
_SELF = re.compile(
    r"^(?:me|i|myself|ich|moi|je|yo|eu|io|ik|ja|jag|jeg|mig|minä|já|ben|я|我|私|나)$", re.I
)
_RETOLD = re.compile(
    r"^(?:your|the|ihr|ihre|der|die|das|votre|le|la|su|el|vostro|il|uw|jullie|de|wasz|twój|seu|o|a|q|you|du"
    r"|sie|vous|tu|he|she|they|er|sie)\b",
    re.I,
)

_SYSTEM_LINE = re.compile(
    r"^\W*(?:(?:started|ended|exported|created) (?:on|at|from|by)\b.{0,60}$|(?:du hast|sie haben|you(?: have)?"
    r"|vous avez|has|hai|você) .{0,60}\b(?:beitrag|post|ad|anzeige|story|publication|publicación|annuncio"
    r"|publicação)\b.{0,30}$|chat (?:van|vom|del|du|de)\b.{0,40}$|chat (?:started|ended|closed|transcript"
    r"|session|began|id|duration|gestartet|beendet|geschlossen"
    r"|begonnen|conversation|on |from |with |log|démarré|terminé|iniciado|finalizado|terminato|gestart"
    r"|beëindigd)"
    r"|(?:live ?)?chat ?(?:verlauf|protokoll|transcript|transkript|log)|chat\W*$|(?:start|end) of (?:chat"
    r"|conversation|transcript)|conversation (?:started|ended|closed|with|transcript|id)|conversation avec"
    r"|conversación con|conversazione con|gespräch mit|gesprek met|conversa com|rozmowa z"
    r"|(?:the )?(?:chat|conversation) (?:was|has been|is now) (?:closed|ended|started|transferred|assigned)"
    r"|transcript\b.{0,60}$|transcription\b.{0,60}$|gesprächsverlauf|this conversation (?:was|has)"
    r"|messages? (?:and calls|to this chat)"
    r"|nachrichten und anrufe sind|les messages et (?:les )?appels|los mensajes y las llamadas"
    r"|i messaggi e le chiamate|as mensagens e as chamadas|チャット(?:開始|終了)|聊天(?:开始|结束|记录)"
    r"|会话(?:开始|结束)|채팅"
    r"|чат (?:начат|завершен)"
    r"|.{1,60}\b(?:joined|left|entered|closed|ended|started|accepted|rejoined|disconnected)(?: the)? (?:chat"
    r"|conversation|session|room)\b.{0,40}$|.{1,60}\b(?:has (?:joined|left|ended)|was assigned|is typing)\W*$"
    r"|.{1,50} (?:hat den chat (?:betreten|verlassen|beendet)|ist dem chat beigetreten|a rejoint (?:le chat"
    r"|la conversation)|a quitté|se ha unido|ha abandonado|è entrat[oa]|ha lasciato|neemt deel|entrou|saiu"
    r"|dołączył\w*|opuścił\w*|czat zakończony).{0,30}$"
    r"|(?:chat )?(?:transferred|assigned|routed) to\b.{0,60}$|(?:rating|csat|duration|wait time"
    r"|visitor (?:info|details)|browser|location|platform|ip(?: address)?|referr?er|started|ended|channel"
    r"|department|agents|served by|page|url|date|time|participants|started on|ended on|tags|status|subject"
    r"|topic)\s?[:：].{0,120}$"
    r"|\*{2,}.{1,120}\*{2,}\W*$|[-=_*~#.\s]{3,}$|powered by\b.{0,40}$|from olark\W*$"
    r"|end[- ]of[- ]transcript|fin de la (?:conversation|conversación)|fine della conversazione"
    r"|einde (?:van het )?gesprek|ende des (?:chats|gesprächs)"
    r")",
    re.I,
)
# Lines of the frame that are fields or have a sentence of their own below them.
_FIXED_LINE = re.compile(
    r"^\W*(?:(?!chat|transcript|conversation)[^\W\d_][\w ()]{0,20}[:：]|messages? |nachrichten und|les messages|los mensajes"
    r"|i messaggi|as mensagens)|^\W*\*",
    re.I,
)
# What a customer adds to words that begin like a line of the frame: "Chat ended without an answer, please cancel 5521".
_SAYS_MORE = re.compile(
    r"\b(?:(?:please|pls)(?! (?:wait|hold|rate|stand|do not|note|be patient|type|choose|select|leave))|bitte(?! warten)"
    r"|s['’]il (?:vous|te) pla[iî]t|svp|por favor|per (?:favore|piacere)|alstublieft|proszę|prosím|lütfen|vänligen"
    r"|пожалуйста|nobody|no one (?:helped|answered|replied)|niemand|personne ne|nadie|nessuno|ninguém"
    r"|without (?:an |any )?(?:answer|reply|help|solution)"
    r"|i (?:still|have|want|need|am|never|got|was|would|did|do)|i['’](?:m|ve|d|ll)|ich (?:will|möchte|habe|brauche|warte)"
    r"|je (?:veux|voudrais|n['’]ai)|quiero|vorrei|quero)\b|ください|请"
    r"|[.!?,;–—-]\s+(?:and |so |now )?(?:cancel|refund|return|send|stop|give|where|when|why|how)\b"
    r"|[.!?]\s+(?!thank|danke|merci|gracias|grazie|bedankt|obrigad|if |you |we |this |the chat|chat |an? "
    r"|please (?:wait|hold|rate|stand))"
    r"[^\W\d_]\w*(?:[^\w\n]+\w+){2,}",
    re.I,
)
_SYSTEM_TEXT = re.compile(
    r"^\W*(?:this message was deleted|diese nachricht wurde gelöscht|ce message a été supprimé"
    r"|(?:se eliminó este|este) mensaje|(?:image|video|audio|sticker|gif|document|media|bild|foto) (?:omitted"
    r"|weggelassen|absente)"
    r"|<?media omitted>?|<medien ausgeschlossen>|<médias omis>|<multimedia omitido>|<[^<>]{3,40}>|null"
    r"|uploaded: .{1,80}"
    r"|missed (?:voice|video) call|nachrichten und anrufe sind ende.{0,80}"
    r"|messages and calls are end.{0,120})\W*$",
    re.I,
)
_AGENT_SAYS = re.compile(
    r"how (?:can|may|could) (?:i|we) (?:help|assist)|(?:can|may) i (?:help|have (?:your|the)|get your|ask)"
    r"|what brings you|thank(?:s| you) for (?:contacting|reaching|messaging|getting in touch|writing|waiting"
    r"|chatting|your (?:message|patience|order|interest))"
    r"|let me (?:check|have a look|take a look|look|see|transfer)|one moment|bear with|happy to (?:help"
    r"|assist)|glad to help|(?:sorry|apologi[sz]e|apologies) (?:to hear|for (?:the|that|any)|about (?:that"
    r"|the))|^(?:oh no|sorry)[!,]|anything else (?:i|we)"
    r"|(?:what is|what's|what was|could you|can you|do you have|may i have|please).{0,30}\byour (?:e-?mail"
    r"|order|name|address|account|phone|postcode|zip|number|details|work)|we (?:usually|are open|will get back"
    r"|have refunded|can offer|'ll get back)|our (?:team|courier|warehouse)|teammate|welcome to"
    r"|ask me anything|i(?:'ll| will) (?:check|transfer|connect|look|send you|arrange)|(?:an )?agent will"
    r"|here are some|automated response|choose (?:a|an|one)|you (?:can|may) (?:find|return|choose)"
    r"|your (?:refund|order|parcel|replacement) (?:has|is|was|will)"
    r"|wie (?:kann|können) (?:ich|wir)|womit kann|(?:ihnen|dir) helfen|einen (?:kleinen )?moment"
    r"|ihre (?:bestellnummer|e-?mail|kundennummer|auftragsnummer|postleitzahl)|vielen dank für ihre"
    r"|tut mir leid|ich (?:schaue|prüfe|sehe) (?:das |mal |gleich |kurz )?nach"
    r"|comment puis-je|en quoi puis-je|je (?:regarde|vérifie)|un instant|votre (?:numéro|e-?mail|adresse mail"
    r"|nom)|merci de (?:nous|votre)|pouvez-vous me|je suis désolée?|bienvenue"
    r"|en qué (?:puedo|podemos)|cómo puedo ayud|un momento|su (?:número|correo|nombre|email)"
    r"|gracias por (?:contact|escrib|su)|lo siento|déjeme|bienvenid[oa]|come posso|posso aiutar|un attimo"
    r"|un operatore|il (?:suo|tuo) (?:numero|ordine|indirizzo)|scegli|mi dispiace|grazie per (?:averci|il)"
    r"|hoe kan ik|waarmee kan|een moment(?:je)?|uw (?:bestelnummer|e-?mail|ordernummer|postcode)"
    r"|je (?:bestelnummer|e-?mailadres)|ik kijk|wat vervelend|em que posso|como posso ajud|um momento|(?:seu"
    r"|teu) (?:pedido|e-?mail|número|nome|cpf)|sinto muito|vou verificar|bem-vind"
    r"|w czym mog|jak mog[ęe] pom|chwil[ęa]|pana|pani |numer zamówienia\?|przykro mi|hur kan (?:jag|vi)"
    r"|hvordan kan (?:jeg|vi)|hvad kan jeg|ditt ordernummer|miten voin|jak (?:vám )?mohu|s čím|nasıl yardımcı"
    r"|hoş ?geldiniz|sipariş numaranız"
    r"|您好|请问您|请提供|亲|欢迎|承知|確認いたし|お問い合わせありがとう|でございます|いただけますか|申し訳"
    r"|무엇을 도와|안녕하세요|чем могу|здравствуйте|подскажите"
    r"|уточните",
    re.I,
)
_CUSTOMER_SAYS = re.compile(
    r"(?<!\w)(?:my|i (?:want|need|ordered|bought|paid|was|got|received|tried|am|have|haven't|can't|cannot|did"
    r"|never|still)|i've|i'd like|mein\w*|ich (?:habe|hab|möchte|will|brauche|warte)|wir haben|ma|mon|mes|j'ai"
    r"|je (?:veux|voudrais|n'ai|ne)|mi|mis|quiero|he (?:pedido|comprado|pagado)"
    r"|mio|mia|ho (?:ordinato|pagato|provato|comprato)|vorrei|mijn|ik (?:heb|wil|kan|zie)|meu|minha|quero"
    r"|comprei|mój|moje|moja|chcę|zamówiłam?|min|mitt|mina|jag (?:vill|har)|jeg (?:vil|har)|siparişim|мой|моя"
    r"|я (?:хочу|заказал\w*)|我的|我想|我要|注文し)(?!\w)",
    re.I,
)
_ROLE_LABEL = re.compile(
    r"(?<=\s)(?=(?:Customer|Visitor|Guest|Client|User|Shopper|Buyer|Agent|Support|Bot|Chatbot|Operator"
    r"|Assistant|Advisor|Kunde|Kundin|Besucher|Mitarbeiter|Berater|Client|Visiteur|Conseiller|Cliente|Agente"
    r"|Visitatore|Operatore|Utente|Klant|Bezoeker|Medewerker|Klient|Konsultant"
    r"|Atendente)(?: [\w#]{1,15})?\s?: )"
)
_FLAT_NAME = re.compile(
    r"(?:^|(?<=\s))([A-ZÀ-ÞŁŚŻ][\w.'’-]{1,20}(?: [A-ZÀ-ÞŁŚŻ][\w.'’-]{0,20})?): (?=\S)"
)
_FLAT_TIME = re.compile(
    rf"(?<=\s)(?=[\[(]?{_STAMP}[\])]?\s*[-–|]?\s*[^\W\d_][^:：\n|\[\]]{{0,30}}?[:：] )", re.I
)
_FRAME_CUSTOMER = re.compile(
    r"(?:conversation|chat|gespräch|transcript|conversación|conversazione|gesprek|conversa|rozmowa) (?:with"
    r"|mit|avec|con|met|com|z|of) (.{2,50}?)\W*$",
    re.I | re.M,
)
_ADDRESSED = re.compile(
    r"^\W*(?:hi|hello|hey|dear|thanks|thank you|good (?:morning|afternoon|evening)|hallo|guten (?:tag|morgen"
    r"|abend)|bonjour|hola|ciao|buongiorno|olá|dzień dobry|beste|hej)\W+(?:herr |frau |mr\.? |mrs\.? |ms\.? "
    r"|monsieur |madame |sr\.? |sra\.? )?([^\W\d_]{2,20})",
    re.I,
)
_ADDRESS_ALONE = re.compile(r"^\S+@\S+\.\w+\.?$")


@dataclass
class _Turn:
    speaker: str
    lines: list[str] = field(default_factory=list)


@dataclass
class _Chat:
    preamble: list[str] = field(default_factory=list)
    frame: list[str] = field(default_factory=list)
    turns: list[_Turn] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)  # sides that the frame gives to names
    below: list[str] = field(default_factory=list)  # what a customer says below turns with times
    has_loose_end: bool = False  # text below the last turn that no header explains


def customer_turns(lines: list[str]) -> list[str] | None:
    """Return the customer's turns of a transcript, None where the lines are none or the two sides cannot be known."""
    lines = [line.lstrip("»«→←▶◀ ") for line in lines]
    filled = [line for line in lines if line]
    if len(filled) > _MAX_LINES:
        return None
    head = "\n".join(filled[:60])[:20_000]
    has_colons = ":" in head or "：" in head
    may_have_times = (has_colons or "." in head or "h" in head) and len(
        _ANY_CLOCK.findall(head)
    ) > 1
    may_have_names = has_colons and len(_ANY_COLON.findall(head)) > 1
    may_have_roles = sum(map(bool, map(_MAY_BE_ROLE.match, filled[:60]))) > 1
    if not (may_have_times or may_have_names or may_have_roles):
        return None
    if len(filled) < 3:
        lines = filled = [part for line in filled for part in _split_flat(line)]
        if len(filled) < 2:
            return None
    if may_have_times and (turns := _timed_turns(lines, filled)):
        return turns
    names = _names(_NAME_TEXT, filled[:60]) if may_have_names else []
    if len(names) > 1 and not are_headers(names):
        untimed = [line for line in lines if not _WHEN_ONLY.match(line)]
        chat = _parse(untimed, _NAME_TEXT, is_stamped=False)
        if _is_plain_chat(chat):
            return _customer_lines(chat)
    if may_have_roles and _count(_ROLE_TEXT, filled[:60]) > 1:
        chat = _parse(lines, _ROLE_TEXT, is_stamped=False)
        sides = {_side_of(turn.speaker) for turn in chat.turns}
        if sides == {"customer", "agent"} and _is_plain_chat(chat):
            return _customer_lines(chat)
    if may_have_names and _count(_NAME_ALONE, filled[:60]) > 2:
        chat = _parse(lines, _NAME_ALONE)
        sides = {_side_of(turn.speaker) for turn in chat.turns}
        if _is_plain_chat(chat) and "agent" in sides:
            return _customer_lines(chat)
    return None


def _timed_turns(lines: list[str], filled: list[str]) -> list[str] | None:
    clocked = [line for line in filled[:60] if _ANY_CLOCK.search(line)]
    stamped = [line for line in clocked if not _TIME_ONLY.match(line)]
    for pattern in (_TIME_NAME_TEXT, _NAME_TIME_TEXT, _NAME_TIME, _TIME_NAME):
        if _count(pattern, stamped) > 1:
            chat = _parse(lines, pattern)
            if _is_chat(chat):
                return _customer_lines(chat)
    if len(clocked) - len(stamped) > 1:
        for parse in (_parse_name_above_time, _parse_time_below):
            chat = parse(filled)
            if _is_chat(chat):
                return _customer_lines(chat)
    return None


def _count(pattern: re.Pattern[str], lines: list[str]) -> int:
    return sum(pattern.match(line) is not None for line in lines if len(line) < _MAX_LINE)


def _names(pattern: re.Pattern[str], lines: list[str]) -> list[str]:
    found = (
        pattern.match(line)
        for line in lines
        if len(line) < _MAX_LINE and (":" in line or "：" in line)
    )
    return [match["name"] for match in found if match]


def _split_flat(line: str) -> list[str]:
    """Break a transcript that an export has joined to one line; any other line stays whole."""
    if len(line) < 40 or len(line) > 50_000:
        return [line]
    for pattern, needed in ((_FLAT_TIME, 2), (_ROLE_LABEL, 1)):
        if pattern is _FLAT_TIME and not _ANY_CLOCK.search(line):
            continue
        parts = [part.strip() for part in pattern.split(line)]
        if len(parts) > needed:
            return parts
    names = Counter(name[1] for name in _FLAT_NAME.finditer(line))
    if len(names) < 2 or max(names.values()) < 2 or sum(names.values()) < 3:
        return [line]
    pieces, done = [], 0
    for name in _FLAT_NAME.finditer(line):
        if names[name[1]] > 1 or _has_side(name[1]):
            pieces.append(line[done : name.start()].strip())
            done = name.start()
    return [piece for piece in [*pieces, line[done:]] if piece]


def _parse(lines: list[str], pattern: re.Pattern[str], is_stamped: bool = True) -> _Chat:
    chat = _Chat()
    is_open = False
    for line in lines:
        if not line:
            continue
        header = (
            pattern.match(line) if len(line) < _MAX_LINE and not _TIME_ONLY.match(line) else None
        )
        groups = header.groupdict() if header else {}
        name = (groups.get("name") or groups.get("name2") or "").strip(" *_-–|,")
        if header and name and len(name.split()) < 7 and not _SYSTEM_LINE.match(line):
            text = _LEADING_TIME.sub("", groups.get("text") or groups.get("text2") or "").strip()
            chat.turns.append(_Turn(name, [text] if text else []))
            is_open, chat.has_loose_end = True, False
        elif _is_system(line):
            chat.frame.append(line)
            is_open = is_open and not is_stamped
        elif is_stamped and _TIME_FIRST.match(line) and pattern in (_TIME_NAME_TEXT, _TIME_NAME):
            chat.frame.append(line)
            is_open = False
        elif not chat.turns:
            chat.preamble.append(line)
        elif is_stamped and _SAYS_MORE.search(line) and (not is_open or _SYSTEM_LINE.match(line)):
            chat.below.append(line)
        elif is_open:
            chat.turns[-1].lines.append(line)
            chat.has_loose_end = chat.has_loose_end or not is_stamped
        else:
            chat.frame.append(line)
    return _without_cast(chat)


def _is_system(line: str) -> bool:
    """Return whether a line is of the frame of a chat, and no customer's who speaks of the chat."""
    if not _SYSTEM_LINE.match(line):
        return False
    return _FIXED_LINE.match(line) is not None or not _SAYS_MORE.search(line)


def _without_cast(chat: _Chat) -> _Chat:
    """Take "Visitor: Anna" for a line of the frame where Anna speaks herself."""
    names = {turn.speaker for turn in chat.turns}
    for turn in chat.turns:
        side = _side_of(turn.speaker)
        if side and len(turn.lines) == 1 and turn.lines[0] in names - {turn.speaker}:
            chat.named[turn.lines[0]] = side
    chat.turns = [
        turn for turn in chat.turns if not (len(turn.lines) == 1 and turn.lines[0] in chat.named)
    ]
    return chat


def _parse_name_above_time(lines: list[str]) -> _Chat:
    """Read name, time and text, each on lines of its own."""
    chat = _Chat()
    for position, line in enumerate(lines):
        following = lines[position + 1] if position + 1 < len(lines) else ""
        if _TIME_ONLY.match(line) and position:
            continue
        if _TIME_ONLY.match(following) and len(line) < 50:
            chat.turns.append(_Turn(line))
        elif _is_system(line):
            chat.frame.append(line)
        elif chat.turns:
            chat.turns[-1].lines.append(line)
        else:
            chat.preamble.append(line)
    if any(not turn.lines for turn in chat.turns):  # the times are below the texts
        return _Chat()
    return chat


def _parse_time_below(lines: list[str]) -> _Chat:
    """Read name, text and time, each on lines of its own."""
    chat = _Chat()
    block: list[str] = []
    for line in lines:
        if not _TIME_ONLY.match(line):
            block.append(line)
            continue
        if len(block) < 2 or len(block[0]) > 50:
            return _Chat()
        chat.turns.append(_Turn(block[0], block[1:]))
        block = []
    chat.frame = [line for line in block if _is_system(line)]
    return chat if len(chat.frame) == len(block) else _Chat()


def _is_chat(chat: _Chat) -> bool:
    """Accept turns with times: names come again, or say which side they are; nothing long is above them."""
    counts = Counter(turn.speaker for turn in chat.turns)
    if len(chat.turns) < 2 or sum(map(len, chat.preamble)) > 300 or len(counts) > 8:
        return False
    if any(_RETOLD.match(name) and " " in name for name in counts):
        return False
    if not any(turn.lines for turn in chat.turns):
        return False
    if _are_notes(chat):
        return False
    known = any(map(_has_side, counts))
    return known or (max(counts.values()) > 1 and len(chat.turns) > len(counts))


def _is_plain_chat(chat: _Chat) -> bool:
    """Accept turns without times: nothing but turns, two to four names of which one comes again, nobody retells."""
    counts = Counter(turn.speaker for turn in chat.turns)
    if not 2 <= len(counts) <= 4 or sum(map(len, chat.preamble)) > 200 or len(chat.preamble) > 2:
        return False
    if are_headers(counts):  # with text after the first sixty lines
        return False
    shop = {turn.speaker for turn in chat.turns if _AGENT_SAYS.search(" ".join(turn.lines))}
    told = [name for name in counts if _RETOLD.match(name) and name not in shop]
    if any(map(_SELF.match, counts)) or any(name.lower() != "you" for name in told):
        return False
    if told and (len(counts) != 2 or len(chat.turns) < 4 or chat.preamble or chat.has_loose_end):
        return False
    if any(line.endswith(":") or _CHAT_TOLD.search(line) for line in chat.preamble):
        return False
    known = list(filter(_has_side, counts))
    if len(known) == len(counts) and all(_side_of(name) == "customer" for name in known):
        return False
    if _are_notes(chat):
        return False
    is_answered = len(known) > 1 or _AGENT_SAYS.search(" ".join(chat.turns[0].lines)) is not None
    if len(chat.turns) < 3 and not is_answered:
        return False
    says = any(_AGENT_SAYS.search(" ".join(turn.lines)) for turn in chat.turns)
    if not (known or chat.frame or says or told) or (max(counts.values()) < 2 and not is_answered):
        return False
    if chat.has_loose_end:
        return _roles(chat).get(chat.turns[-1].speaker) == "customer"
    return True


def _are_notes(chat: _Chat) -> bool:
    """Decide whether the names are labels, as in the notes of a call: "Agent: Mia", "Customer: Jo Hill", "Issue: no refund"."""
    sides = {turn.speaker: _side_of(turn.speaker) for turn in chat.turns}
    if not {"customer", "agent"} <= set(sides.values()):
        return False
    said: dict[str | None, list[str]] = {}
    for turn in chat.turns:
        said.setdefault(sides[turn.speaker], []).append(" ".join(turn.lines))
    is_helped = any(map(_AGENT_SAYS.search, said["agent"]))
    if all(map(_ONLY_A_NAME.match, said["customer"])) and not is_helped:
        return True
    if len(chat.turns) > len(sides):  # somebody speaks again
        return False
    if any(side is None or _NOTE.match(name) for name, side in sides.items()):
        return True
    starts_with_names = all(_NAME_FIRST.match(said[side][0]) for side in ("customer", "agent"))
    return (starts_with_names and not is_helped) or any(map(_LABEL_INSIDE.search, said["agent"]))


_NOTE = re.compile(r"^\W*(?:notes?|info|notice)\W*$", re.I)
_NO_NAME = r"(?!(?:hi|hello|hey|hallo|hola|ciao|bonjour|olá|ok|okay|yes|no|sure|done|thanks|sorry|ja|nein|oui|sí|sim)\b)"
_PIECE_OF_NAME = r"(?:[^\W\d_a-zß-ÿ][\w'’.-]*|\S+@\S+|[#+]?\d[\d-]*)"
_ONLY_A_NAME = re.compile(rf"^(?i:{_NO_NAME}){_PIECE_OF_NAME}(?: {_PIECE_OF_NAME}){{0,3}}\W*$")
_NAME_FIRST = re.compile(
    rf"^(?i:{_NO_NAME}){_PIECE_OF_NAME}(?: {_PIECE_OF_NAME}){{0,2}}(?:\W*$|[.,;]|\s?[(/|–—-])"
)
_LABEL_INSIDE = re.compile(r"(?:^|\s)[^\W\d_]\w{2,20}\s?: (?=\w)")

_CHAT_TOLD = re.compile(
    r"\b(?:chat|phone|conversation|talked|spoke|told|said|agent|yesterday|went|telefon\w*|gespräch|gesagt"
    r"|conversación|dijo|dijeron|téléphone|détail|conversazione|detto|gesprek|gezegd|rozmow\w*|conversa)\b",
    re.I,
)


def _roles(chat: _Chat) -> dict[str, str]:
    """Return "customer", "agent" or "system" for each speaker; nothing where the two sides cannot be known."""
    names = list(dict.fromkeys(turn.speaker for turn in chat.turns))
    roles: dict[str, str] = {}
    for name in names:
        if side := chat.named.get(name) or _side_of(name):
            roles[name] = side
        elif name.lower() in ("you", "du", "sie", "vous", "tú", "usted", "tu", "jij", "você"):
            roles[name] = "agent"  # the export is the shop's
    frame = "\n".join([*chat.preamble, *chat.frame])
    if framed := _FRAME_CUSTOMER.search(frame):
        roles.update(
            {name: "customer" for name in names if name == framed[1] and name not in roles}
        )
    if len(names) == 1 and not roles:
        return {}
    customers = [name for name in names if roles.get(name) == "customer"]
    unknown = [name for name in names if name not in roles]
    if customers:
        return roles | dict.fromkeys(unknown, "agent")
    if len(unknown) == 1 and "agent" in roles.values():
        return roles | {unknown[0]: "customer"}
    if not unknown:
        return roles
    scores = {name: _agent_score(name, names, chat) for name in unknown}
    lowest = min(unknown, key=lambda name: scores[name])
    others = [name for name in unknown if name != lowest]
    if others and min(scores[name] for name in others) - scores[lowest] < 2:
        return {}
    return roles | dict.fromkeys(others, "agent") | {lowest: "customer"}


def _side_of(name: str) -> str | None:
    """Return which side a name says that its bearer is on, None where it is only a name."""
    if _SYSTEM_NAME.match(name):
        return "system"
    if _SERVES_CUSTOMERS.search(name):
        return "agent"
    if _AGENT_NAME.search(name) and not _NUMBERED_CUSTOMER.match(name):
        return "agent"
    return "customer" if _CUSTOMER_NAME.search(name) or _SELF.match(name) else None


def _has_side(name: str) -> bool:
    """Return whether a name says which side its bearer is on, be it of both in turn."""
    return any(
        kind.search(name) is not None for kind in (_CUSTOMER_NAME, _AGENT_NAME, _SERVES_CUSTOMERS)
    )


def _agent_score(name: str, names: list[str], chat: _Chat) -> float:
    """Return how much a speaker sounds like the shop rather than the customer."""
    texts = [text for turn in chat.turns if turn.speaker == name for text in turn.lines]
    score = 2.0 if _COMPANY_NAME.search(name) else 0.0
    for text in texts:
        score += 2 * (_AGENT_SAYS.search(text) is not None)
        score -= _CUSTOMER_SAYS.search(text) is not None
        score -= 2 * (_ADDRESS_ALONE.match(text) is not None)
        addressed = _ADDRESSED.match(text)
        if addressed and any(
            addressed[1].lower() in other.lower().split() for other in names if other != name
        ):
            score += 1.5
    joined = re.search(
        rf"{re.escape(name)}\W+(?:has )?(?:joined|entered|accepted)", "\n".join(chat.frame)
    )
    score += 2 * (joined is not None)
    if chat.preamble and not any(
        map(_is_title, chat.preamble)
    ):  # the first words are the customer's
        score += 1.5 * (chat.turns[0].speaker == name)
    elif chat.turns[0].speaker == name and not _AGENT_SAYS.search(" ".join(chat.turns[0].lines)):
        score -= 1
    return score


def _customer_lines(chat: _Chat) -> list[str] | None:
    roles = _roles(chat)
    if "customer" not in roles.values():
        return None
    spoken = [line for line in chat.preamble if not _is_title(line)]
    for turn in chat.turns:
        if roles.get(turn.speaker) == "customer":
            spoken += [line for line in turn.lines if not _SYSTEM_TEXT.match(line)]
    spoken += chat.below
    return spoken if any(map(str.isalnum, "".join(spoken))) else None


def _is_title(line: str) -> bool:
    """Decide whether a line above the turns is a heading rather than something that the customer says."""
    words = line.split()
    return (
        _is_system(line)
        or len(words) < 4
        or (
            len(words) < 9
            and line[-1] not in "?!."
            and sum(word[0].isupper() for word in words) * 2 >= len(words)
        )
    )
