"""Contact form or notification of a shop system → what the customer typed into it.

A form is a run of labelled fields, one of which is for the message; a notification frames the customer's words with an
introduction and links. Labels are known words, so that facts that a customer lists ("Courier: DPD") are no form; a form
also has an e-mail address or phone number in its field, or an introduction that says what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

__all__ = ["message_of_form"]

_MAX_LINES = 400
_MAX_LABEL = 48
_MAX_FIELD = 100
_MAX_NOTICE = 260
_WORD = re.compile(r"\w")
_ADDRESS = re.compile(r"[^\s@<>]@[\w-]+\.\w")
_ADDRESS_ALONE = re.compile(r"^\W{0,2}[^\s@<>]+@[\w.-]+\.\w+\W{0,2}(?:\(?mailto:\S+)?$")
_PHONE = re.compile(r"\d(?:[ ()./+-]{0,2}\d){5,}")

_LABELS = {  # what each kind of field is called, in lower case
    "name": "name|first name|last name|full name|your name|contact name|customer name|customer|surname|from"
    "|sender|firstname|lastname|username|buyer|contact|nom|prénom|nom complet|votre nom|civilité"
    "|nom et prénom|nombre|apellidos?|nombre completo|nombre y apellidos?|tu nombre|su nombre|nome|cognome"
    "|nome e cognome|il tuo nome|nome completo|seu nome|sobrenome|naam|voornaam|achternaam|uw naam|je naam"
    "|imię|nazwisko|imię i nazwisko|twoje imię|namn|förnamn|efternamn|navn|fornavn|etternavn|efternavn|nimi"
    "|jméno|příjmení|jméno a příjmení|meno|név|nume|prenume|isim|ad|ad soyad|adınız|vorname|nachname"
    "|ihr name|dein name|vor- und nachname|anrede|salutation|title|firma|company|company name|empresa|société"
    "|entreprise|azienda|bedrijf|bedrijfsnaam|お名前|氏名|名前|姓名|您的姓名|称呼|이름|성함|имя|ваше имя|фио|όνομα"
    "|von|de|da|van|od|från|fra",
    "email": "e-?mail|e-?mail ?address|your e-?mail|mail|mail address|e-?mail-?adresse|ihre e-?mail(?:-adresse)?"
    "|email address|courriel|adresse e-?mail|adresse mail|adresse électronique|votre e-?mail|correo"
    "|correo electrónico"
    "|tu correo|dirección de correo(?: electrónico)?|indirizzo e-?mail|posta elettronica|la tua e-?mail"
    "|endereço de e-?mail|seu e-?mail|e-?mailadres|uw e-?mail(?:adres)?|adres e-?mail|twój e-?mail"
    "|e-?postadress|e-?post|e-?mailová adresa"
    "|sähköposti|e-posta|メールアドレス|メール|电子邮箱|邮箱|电子邮件|이메일|почта|электронная почта|reply-to"
    "|customer email"
    "|contact email",
    "phone": "phone|phone ?number|your phone|telephone|telephone number|tel|mobile|mobile number|cell|whatsapp"
    "|telefon|telefonnummer|rufnummer|handy|mobil|handynummer|téléphone|numéro de téléphone|tél|portable"
    "|teléfono|número de teléfono"
    "|móvil|telefono|cellulare|numero di telefono|telefone|celular|número de telefone|telefoon|telefoonnummer"
    "|numer telefonu|telefonszám|puhelin|puhelinnumero|電話番号|お電話番号|电话|联系电话|手机|手机号|전화번호|телефон",
    "place": "country|country code|city|state|zip|zip code|postcode|postal code|address|street|region|land|stadt"
    "|ort|plz|adresse|anschrift|pays|ville|code postal|país|ciudad|dirección|código postal|paese|città"
    "|indirizzo|cap"
    "|cidade|endereço|cep|plaats|adres|kraj|miasto|maa|ülke|国|国家|住所|地址|location|language|locale|sprache|langue",
    "subject": "subject|topic|reason|return reason|reason for return|refund reason"
    "|cancellation reason|contact reason"
    "|category|department|order|order number|order no\\.?|order id|order #"
    "|order reference|product|item|item id|sku|asin|betreff|thema|bestellnummer|auftragsnummer|produkt"
    "|artikel|artikelnummer|abteilung"
    "|objet|sujet|motif|objet de la demande|numéro de commande|n° de commande|commande|produit|asunto|tema"
    "|motivo|número de pedido|pedido|producto|oggetto|argomento|numero ordine|ordine|prodotto|assunto"
    "|número do pedido|produto|onderwerp"
    "|bestelnummer|ordernummer|bestelling|temat|numer zamówienia|zamówienie|produkt|ämne|ordernummer|emne"
    "|ordrenummer|aihe|předmět|číslo objednávky|tárgy|konu|sipariş no|件名|ご用件|注文番号|お問い合わせ種別"
    "|种类|主题|订单号|제목|주문번호"
    "|тема|номер заказа"
    "|via|marketplace|store|shop|type|inquiry type|enquiry type|request type|how did you hear about us",
    "message": "message|your message|the message|message body|body|comments?|your comments?|comment or message"
    "|comments? / questions?|comments or questions|questions? or comments?|enquiry|inquiry|your enquiry"
    "|your inquiry|question|your question|questions|description"
    "|request|your request|details|message details|how can we help(?: you)?|what can we help(?: you)? with"
    "|how may we help(?: you)?|additional (?:information|details|comments)|content|text|note|customer note|buyer'?s? message"
    "|(?:message|note|comments?) from (?:the |your )?(?:buyer|customer|client|guest)"
    "|(?:please )?describe (?:the|your) (?:problem|issue|request|question|case)"
    "|what happened|tell us (?:more|what happened|about it)|what(?:'s|’s| is) (?:the|your) (?:problem|issue|question|request)"
    "|what(?:'s|’s) on your mind|issue description|problem description"
    "|nachricht|ihre nachricht|deine nachricht|nachrichtentext|kommentar|anliegen|ihr anliegen|mitteilung"
    "|anfrage|ihre anfrage|frage|ihre frage|bemerkung|text|inhalt|message|votre message|commentaires?"
    "|votre demande|demande|contenu|corps du message|question"
    "|mensaje|su mensaje|tu mensaje|comentarios?|consulta|cuerpo del mensaje|pregunta|texto|messaggio"
    "|il tuo messaggio|il suo messaggio|testo(?: del messaggio)?|corpo del messaggio|commento|commenti"
    "|richiesta|domanda|mensagem|sua mensagem|comentários?"
    "|bericht|uw bericht|je bericht|berichtinhoud|opmerking(?:en)?|vraag|uw vraag|wiadomość|treść"
    "|treść wiadomości|twoja wiadomość|pytanie|meddelande|ditt meddelande|besked|din besked|melding"
    "|din melding|viesti|zpráva|vaše zpráva|text zprávy|správa|üzenet|mesaj|mesajınız|mesajul"
    "|お問い合わせ内容|お問合せ内容|お問い合わせ|内容|ご質問|メッセージ|本文|メッセージ本文|留言|留言内容"
    "|消息|问题描述|内容描述|메시지|문의 내용|문의내용|내용|сообщение"
    "|ваше сообщение|вопрос|комментарий|текст сообщения|μήνυμα",
    "meta": "timestamp|duration|date|time|submitted|submitted (?:at|on|from)|sent|sent (?:at|on|from)|received|ip|ip address"
    "|remote ip|user agent|browser|device|page|page url|url|page title|referr?er|referred by|powered by"
    "|source|consent|newsletter|subscribe|subscribe to (?:our )?newsletter|marketing"
    "|accepts marketing|gdpr|terms|privacy|form|form name|form id|submission id|entry id|id|attachments?|file"
    "|files|upload|photo|photos|created|website|datum|uhrzeit|gesendet|gesendet am|eingegangen|seite"
    "|seiten-?url|ip-adresse|datenschutz|anhang|anhänge|formular|zustimmung"
    "|heure|envoyé le|envoyé|adresse ip|pièce jointe|pièces jointes|rgpd|consentement|fecha|hora|enviado"
    "|enviado el|dirección ip|página|adjuntos?|data|ora|inviato il|inviato|indirizzo ip|pagina|allegati"
    "|allegato|privacy|enviado em|enviada em|anexo|anexos"
    "|tijd|verzonden op|verzonden|bijlage|bijlagen|ip-adres|godzina|adres strony|agent użytkownika"
    "|zdalny adres ip|adres ip|obsługiwane przez|załącznik|zgoda|tid|skickat|送信日時|日時|ipアドレス|同意"
    "|添付ファイル|时间|提交时间"
    "|来源|제출일|дата|время|страница"
    "|preferred contact(?: method)?|contact preference|reply to this|view",
}
_KIND_OF: list[tuple[str, re.Pattern[str]]] = [
    (
        kind,
        re.compile(
            rf"(?:{names})(?: ?\((?:required|optional|erforderlich|optionnel|opcional)\))?", re.I
        ),
    )
    for kind, names in _LABELS.items()
]
_BARE_MESSAGE = frozenset(
    {
        *(
            "message",
            "comment",
            "comments",
            "body",
            "question",
            "enquiry",
            "inquiry",
            "nachricht",
            "kommentar",
        ),
        *(
            "anliegen",
            "mensaje",
            "comentario",
            "messaggio",
            "mensagem",
            "bericht",
            "wiadomość",
            "meddelande",
        ),
    }
)
_OWNED_MESSAGE = re.compile(
    r"^\W*(?:buyer|customer|client|guest|käufer|kunden|acheteur|comprador|acquirente|koper"
    r"|klant)\w*(?:[’']s)?[ -]?"
    r"(?:comments?|message|note|remarks?|explanation|kommentar|nachricht|anmerkung)\s?:"
    r"|^\W*(?:message|note|comments?) from (?:the |your )?(?:buyer|customer|client|guest)\s?:",
    re.I,
)
# Picked from a list, above what the customer typed.
_SYSTEM_LABEL = re.compile(  # of a form or a relay; no customer calls anything so
    r"^(?:marketplace|buyer|user agent|remote ip|ip address|page url|form (?:name|id)|submission id"
    r"|entry id|timestamp"
    r"|channel|conversation id|ticket id|item id|asin|kupujący|käufer|acheteur|comprador|acquirente|koper)$",
    re.I,
)
_SYSTEM_FACT = re.compile(
    r"^\W*(?:order (?:id|number|no)|asin|sku|item (?:id|name|number)|quantity|listing)\b", re.I
)
_ASKED = re.compile(  # a label that is a question, and its answer in the same line
    r"^(?:what(?:'|’)?s on your mind|(?:how|what) (?:can|may) we help(?: you)?(?: with)?"
    r"|womit können wir(?: ihnen)? helfen"
    r"|comment pouvons-nous vous aider|¿?(?:en|cómo) (?:qué )?podemos ayudarte"
    r"|come possiamo aiutarti)\s?\?\s+(\S.*)$",
    re.I,
)
_REASON = re.compile(
    r"^\W*(?:(?:return |contact |refund |cancellation )?reason(?: for (?:return|contact|refund|request"
    r"|cancellation))?|issue|problem type"
    r"|topic|(?:rückgabe)?grund|kontaktgrund|motif(?: du retour)?|motivo(?: de la devolución| del reso)?"
    r"|retourreden|reden|powód(?: zwrotu)?"
    r"|anledning|årsag)\s?[:：]\s*\S.{0,60}$",
    re.I,
)
_OWNER = re.compile(
    r"^(?:visitor|customer|your|contact|sender|buyer|client|guest|kunden)(?:[’']s)?[ -]", re.I
)
_META_WORDS = re.compile(
    r"newsletter|marketing|consent|privacy|datenschutz|\bip\b|user.?agent|accept|akzeptier|einverstanden"
    r"|zgadzam|j'accepte|acepto|accetto|aceito|akkoord|同意",
    re.I,
)
_FIELD = re.compile(
    rf"^[\W_]{{0,4}}?([^\W\d_][^:：\n\t]{{0,{_MAX_LABEL}}}?)\s?[*_]*\s?(?:[:：]|\t|\s{{3}})[*_\s]*(.*)$"
)
_BARE_LABEL = re.compile(rf"^[\W_]{{0,4}}?([^\W\d_][^:：\n\t?]{{0,{_MAX_LABEL}}}?)\s*[*_?:]*\s*$")
_BRACKETED_LABEL = re.compile(r"^【([^】]{1,20})】[：:]?")
_CONSENT = re.compile(  # at the end of a form without line breaks
    r"(?<=[.!?])\s(?:i (?:agree|accept|consent)|acepto|accetto|aceito|j'accepte|ich (?:akzeptiere|stimme)"
    r"|akkoord"
    r"|zgadzam|subscribe|newsletter|privacy)\b"
    r"[^.:!?]{0,60}:\s*\w{1,6}\W*$",
    re.I,
)
_INTRODUCTION = re.compile(
    r"\b(?:contact(?:form)?|form\w*|submission|submitted|enquiry|inquiry|new (?:message|response|entry|lead"
    r"|request|comment|ticket)|response|message from|a message|new note|following note|kontaktformular"
    r"|kontaktanfrage|anfrage|nachricht|neue\w*"
    r"|formulaire|nouveau message|nouvelle demande|message|demande|formulario|nuevo mensaje|mensaje|solicitud"
    r"|modulo|nuovo messaggio|messaggio|richiesta|formulário|nova mensagem|mensagem|contactformulier|formulier"
    r"|nieuw bericht|bericht|aanvraag"
    r"|formularz\w*|nowa wiadomość|wiadomość|zgłoszenie|formulär|meddelande|kontaktskjema|kontaktformular"
    r"|henvendelse|besked|lomake|viesti|formulář|zpráva|űrlap|üzenet|iletişim formu|mesaj)\b|お問い合わせ"
    r"|フォーム|表单|留言"
    r"|문의|сообщени|заявк|форм",
    re.I,
)
_FORM_FOOTER = re.compile(
    r"送信されました|^\W*(?:enviad[oa]|envoyée?|inviat[oa]|gesendet|wysłan\w*|verzonden|skickat|sendt) (?:desde"
    r"|depuis|da|dal|von|über"
    r"|ze?|via|från|fra|via) .{0,40}(?:https?:|www\.|\bweb|siti?o|\bsite|seite|formul|stron)"
    r"|^\W*(?:submitted|received|sent|created)\W+(?:at |on )?\d{1,4}[-/.]\d|^(?:view|open|manage"
    r"|edit) (?:\w+ ){0,2}"
    r"(?:contact|lead|entry|response|responses|submission|form|profile|ticket|customer|record|deal"
    r"|details)\W*$|^\W*sent (?:from|via|by) \S+(?: \S+){0,3}\W*$|look like spam|manage submissions"
    r"|contact ?form|contactformulier|kontaktformular"
    r"|formulaire de contact|formulario de contacto"
    r"|modulo di contatto|formulário|formularz|\b(?:sent|submitted|received) (?:from|via|through|by"
    r"|on)\b.{0,80}(?:form|site|website|https?:|page)"
    r"|^\W*(?:you can )?(?:view|see|manage|download|edit|log ?in|reply|respond|to reply|to respond|answer"
    r"|unsubscribe|click)\b.{0,100}(?:response|submission|entry|entries|message|e-?mail|here|dashboard|inbox"
    r"|https?:|directly|admin|settings|customer)"
    r"|e-?mail settings|notification settings|paramètres|tableau de bord|benachrichtigung|impostazioni"
    r"|powered by|this (?:e-?mail|message|form) was|diese (?:e-?mail|nachricht) wurde|\bteam \w+$|^\W*(?:ip"
    r"|https?://\S+)\W*$|^\W*ip\W",
    re.I,
)

# Notifications: an introduction, the customer's words, a line where the frame goes on.
_MARKER = re.compile(r"(?<![-_=*])[-_=*]{3,80}[ \t]*([^\n_=*-]{3,60}?)[ \t]*[-_=*]{3,80}(?![-_=*])")
_IN_RULES = tuple(
    a + b for a in "-_=*" for b in "-_=*"
)  # two in a row: quicker to find than a rule
_BEGINS = re.compile(
    r"^(?:begin|start|beginn|anfang|début|inicio|inizio|início|początek|början)\b|^(?:buyer |customer |the )?"
    r"(?:message|nachricht|mensaje|messaggio|mensagem|bericht|wiadomość|meddelande|メッセージ)\s?:?$|ここから|開始|开始",
    re.I,
)
_ENDS = re.compile(
    r"^(?:end|ende|fin|fine|fim|einde|koniec|slut|final)\b|ここまで|終了|の終わり|结束", re.I
)
_OF_MAIL = re.compile(
    r"forward|original|weitergeleitet|transféré|reenviad|inoltrat|doorgestuurd|przekaz", re.I
)
_NOTIFIES = re.compile(
    r"^\W*(?:(?:you(?:'ve| have)?|we) (?:received|got|have)|you have|sie haben|du hast|vous avez|tu as|(?:ha"
    r"|has|tienes|tiene)s? (?:recibido|un)|hai ricevuto|ha ricevuto|hai|ha|você (?:recebeu|tem)|recebeu|u hebt"
    r"|u heeft|je hebt|masz|otrzymałe?[śa]\w*|otrzymano|du har|new|neue|nouveau|nuevo|nuovo|nova|nieuw|nowa"
    r"|nytt|ny)"
    r"\b.{0,60}\b(?:message|voicemail|text|note|question|enquiry|inquiry|comment|review|nachricht|anfrage"
    r"|frage|message|mensaje"
    r"|pregunta|messaggio|domanda|mensagem|pergunta|bericht|vraag|wiadomość|pytanie|meddelande|besked"
    r"|melding)\b.{0,100}$",
    re.I,
)
_NOTIFIES_ALONE = re.compile(
    r"^\W*.{1,60}\b(?:wrote|left|posted) (?:you )?an? (?:new )?(?:review|comment|question)\b.{0,60}$"
    r"|^\W*.{1,60} commented:$|"
    r"^(?!.*\b(?:i|ich|je|yo)\b).{1,60}\b(?:(?:has )?sent you an? (?:message|note|question)"
    r"|(?:has )?messaged you|(?:has )?(?:asked|requested)"
    r" (?:you )?(?:for )?(?:help|a question)|vous a (?:envoyé|écrit|posé)|hat (?:dir"
    r"|ihnen) (?:eine nachricht|geschrieben)|te ha (?:enviado|escrito)"
    r"|ti ha (?:inviato|scritto)|le ha enviado|(?:heeft|stuurde) (?:je|u) een bericht"
    r"|enviou(?:-lhe)? uma mensagem|wysłała? (?:ci|do ciebie) wiadomość"
    r"|har skickat ett meddelande)\b.{0,80}$|"
    r"^\W*(?:buyer|customer|kunden|käufer|client|cliente)[- ]?(?:message|nachricht|anfrage|note)\b.{0,60}$"
    r"|^\W*(?:message|nachricht|mensaje|messaggio|question|note) (?:from|von|vom|de|da) (?:your |a |the "
    r"|dem |einem )?"
    r"(?:customer|buyer|guest|kunden|käufer|client|cliente|acheteur)\b.{0,60}$",
    re.I,
)
# A first line that may announce a message; it does where the last lines hold a button.
_MAY_NOTIFY = re.compile(
    r"^(?!.*[.!?]$).{0,50}\b(?:message|question|enquiry|inquiry|note|nachricht|anfrage|frage|message"
    r"|question|demande|mensaje"
    r"|pregunta|consulta|messaggio|domanda|mensagem|pergunta|bericht|vraag|wiadomość|pytanie|meddelande"
    r"|besked|melding)\b"
    r".{0,80}$",
    re.I,
)
_BUTTON = re.compile(
    r"^(?:Reply|Respond|Answer|View|Open|Go to|Antworten|Auf \S{1,20} antworten|Beantworten?|Répondre"
    r"|Voir|Responder|Ver|Rispondi"
    r"|Visualizza|Beantwoord(?:en)?|Bekijk|Odpowiedz|Zobacz|Svara?|Vis)"
    r"(?: (?:to|on|in|via|à|a|på|na|sur|auf)(?: [^\s@.!?,]+){1,5}| (?:this|the|your|all|diese|le|la|el|il"
    r"|het|de|ce|cette|deze)?"
    r" ?(?i:message|order|conversation|details|listing|item|thread|inbox|enquiry|question|nachricht"
    r"|commande|mensaje|pedido|messaggio"
    r"|ordine|bericht|bestelling|wiadomość|responses?|contact)(?: einfach per E-Mail)?| [A-Z][\w-]{1,30})?\.?$"
)
_STOPS = re.compile(
    r"^\W*(?:jetzt .{0,40}\bantworten\W*$|duration\s?:|beantwoord (?:deze|dit|het|de)\b.{0,60}$"
    r"|trustpilot a/s|view in \S+: https?:"
    r"|(?:reply|respond) (?:to|on) (?:\S+ ?){1,3}\W*$|respond to (?:this|the) .{0,40}$"
    r"|go to (?:the |this |your )?(?:conversation"
    r"|message|order|inbox|thread)\W*$|auf .{1,30} antworten\W*$|répondre à (?:\S+ ?){1,3}$"
    r"|responder a (?:\S+ ?){1,3}$"
    r"|rispondi a (?:\S+ ?){1,3}$|odpowiedz (?:\S+ ?){1,2}$|etsy(?: (?:ireland|customer|support|team"
    r"|seller)\b.{0,30}|, inc\b.{0,80})$"
    r"|(?:view|see|read|open)\b.{0,40}\b(?:message|conversation|order|details|thread|listing|item"
    r"|here)\W*(?:https?:\S+)?|reply(?:\W*$| (?:now|here|to|at|in|via|directly)\b.{0,80}$|\W+\|)"
    r"|respond(?:\W*$| (?:now|to)\b.{0,60}$)|answer now\W*$|antworten\W*$|jetzt antworten\W*$"
    r"|nachricht (?:ansehen|anzeigen|lesen)|répondre\W*$"
    r"|(?:voir|lire) (?:le|la) (?:message|conversation)|responder\W*$|ver (?:el )?mensaje|rispondi\W*$|(?:vedi"
    r"|visualizza|leggi) (?:il )?messaggio|beantwoorden\W*$|bekijk (?:het )?bericht|odpowiedz\W*$|svara\W*$"
    r"|svar\W*$|ver mensagem"
    r"|\[?(?:order|bestellung|commande|pedido|ordine|bestelling|zamówienie)\b ?(?:#|:|no|id|nr|nummer|n°|number"
    r"|summary|details|\d)|to (?:reply|respond)\b|um zu antworten|pour répondre|para responder|per rispondere"
    r"|om te antwoorden"
    r"|(?:item|artikel|article|artículo|articolo|item id|item number|artikelnummer|listing|asin|sku"
    r"|transaction|anzeige|angebot)\s?(?:id|nr|no|number|title|price)?\s?\.?[:#]|(?:buyer|käufer|acheteur"
    r"|seller)\s?[:：]|was this (?:e-?mail|message) helpful|why did i get|for your information"
    r"|zu ihrer information"
    r"|(?:email )?reference id|learn (?:more|to protect)|ebay (?:sent|inc|hat)|etsy,? inc|copyright|©"
    r"|[-_=]{8,}\W*$|please (?:answer|reply|respond)\b.{0,40}\b(?:within|24)|mark (?:as|this)|report\b.{0,40}$"
    r"|solve this)",
    re.I,
)
_FIRST_PERSON = re.compile(
    r"\b(?:i|i'm|my|me|ich|mein\w*|je(?! (?:hebt|kunt|ontvangt|krijgt|bent)\b)|j'ai|mon|ma|yo|mi|mio|mia|eu|meu"
    r"|minha|ik|mijn|jag)\b",
    re.I,
)


@dataclass
class _Field:
    kind: str
    values: list[str] = field(default_factory=list)
    is_systems: bool = False  # "Buyer comment:", "User agent:", which no customer calls it

    @property
    def text(self) -> str:
        return "\n".join(self.values).strip()


def message_of_form(lines: list[str]) -> list[str] | None:
    """Return the lines of the message in a form or a notification, None where the lines are neither."""
    if len(lines) > _MAX_LINES:
        return None
    joined = "\n".join(lines)
    if "【" in joined:
        lines = [_BRACKETED_LABEL.sub(r"\1：", line) for line in lines]
        joined = "\n".join(lines)
    if inside := _between_markers(joined):
        return inside
    is_stacked = "@" in joined and _is_stacked(lines)
    is_labelled = is_stacked or ":" in joined or "：" in joined or "\t" in joined or "?" in joined
    if not is_labelled and not _has_bare_label(lines):
        return _of_notification(lines)
    lines = [part for line in lines for part in _split_fields(line)]
    return _of_fields(lines) or _of_questions(lines) or _of_notification(lines)


def _between_markers(text: str) -> list[str] | None:
    """Return what is between "--- Begin message ---" and "--- End message ---"."""
    begin = None
    signs = [sign for sign in "-_=*" if sign in text]
    if not any(
        one + other in text for one in signs for other in signs
    ):  # quicker than to look for a rule
        return None
    for marker in _MARKER.finditer(text):
        if _OF_MAIL.search(marker[1]):
            return None
        if begin and _ENDS.search(marker[1]):
            inside = text[begin.end() : marker.start()].strip()
            lines = [line.strip() for line in inside.split("\n")]
            return _without_reason(lines) if _WORD.search(inside) else None
        if begin is None and _BEGINS.search(marker[1]):
            begin = marker
    return None


def _without_reason(lines: list[str]) -> list[str]:
    """Leave out the reason on top, which the customer picked, where there is more that was typed."""
    filled = [position for position, line in enumerate(lines) if line]
    if len(filled) < 2 or not _REASON.match(lines[filled[0]]):
        return lines
    rest = lines[filled[1] :]
    labelled = _FIELD.match(rest[0])
    if labelled and _kind_of(labelled[1]) == "message" and len(rest[0].split()) < 60:
        rest = [labelled[2], *rest[1:]]
    return rest if any(map(_WORD.search, rest)) else lines


@lru_cache(maxsize=8192)
def _kind_of(label: str) -> str | None:
    label = " ".join(label.split()).strip(" *_?.#")
    if not label or len(label) > _MAX_LABEL:
        return None
    for words in (label, _OWNER.sub("", label)):
        for kind, pattern in _KIND_OF:
            if pattern.fullmatch(words):
                return kind
    return None


def _split_fields(line: str) -> list[str]:
    """Break a line that holds three fields or more before each of them."""
    if line.count(":") + line.count("：") < 3 or len(line) > 20_000:
        return [line]
    starts: list[int] = []
    kinds: set[str] = set()
    for colon in re.finditer(r"\s?[:：](?!//)(?=\s|$)", line):
        low = max(starts[-1] + 1 if starts else 0, colon.start() - _MAX_LABEL)
        for word in re.finditer(r"(?:^|(?<=[\s|;,.。]))[^\W\d_]", line[low : colon.start()]):
            start = low + word.start()
            kind = _kind_of(line[start : colon.start()])
            if kind and (not line[start].islower()) and (start or not starts):
                starts.append(start)
                kinds.add(kind)
                break
    if len(starts) < 3 or "message" not in kinds:
        return [line]
    pieces = [
        line[start:end].strip(" |;,\t")
        for start, end in zip(starts, [*starts[1:], len(line)], strict=True)
    ]
    return [piece for piece in [line[: starts[0]].strip(), *pieces] if piece]


def _of_fields(lines: list[str]) -> list[str] | None:
    """Return the value of the message field of a run of labelled fields."""
    above: list[str] = []
    fields: list[_Field] = []
    may_be_bare = (_has_bare_label(lines) and _is_introduced(lines)) or _is_stacked(lines)
    for line in lines:
        kind, value = _read_label(line, may_be_bare)
        in_message = bool(fields) and fields[-1].kind == "message"
        if (
            kind
            and in_message
            and (kind != "message" or fields[-1].text)
            and not _starts_field(kind, fields)
            and not (fields[-1].is_systems and _SYSTEM_FACT.match(line))
        ):
            kind = None
        if kind:
            fields.append(_Field(kind, [value] if value else [], _is_systems(kind, line)))
        elif fields:
            fields[-1].values.append(line)
        elif line:
            above.append(line)
    messages = [entry for entry in fields if entry.kind == "message" and _WORD.search(entry.text)]
    if not messages or not _is_form(above, fields):
        return None
    kept = [line for entry in messages for line in [*_without_frame(entry.values), ""]]
    return kept if any(map(_WORD.search, kept)) else None


def _is_systems(kind: str, line: str) -> bool:
    label = _FIELD.match(line)
    if kind == "message":
        return _OWNED_MESSAGE.match(line) is not None
    return label is not None and _SYSTEM_LABEL.match(label[1].strip()) is not None


def _has_bare_label(lines: list[str]) -> bool:
    """Decide whether some line is nothing but the usual name of the message field."""
    return any(len(line) < 16 and line.lower() in _BARE_MESSAGE for line in lines)


def _is_stacked(lines: list[str]) -> bool:
    """Decide whether labels have lines of their own: below that for the address is an address, and another is the message's."""
    filled = [line for line in lines if line]
    return any(
        _ADDRESS_ALONE.match(below) and _bare_kind(label) == "email"
        for label, below in pairwise(filled)
    ) and any(_bare_kind(line) == "message" for line in filled if len(line) < _MAX_LABEL)


def _bare_kind(line: str) -> str | None:
    """Return the kind of field whose label is all of a line, in capitals or marked, else None."""
    bare = _BARE_LABEL.match(line)
    return _kind_of(bare[1]) if bare and (line[0].isupper() or not line[0].isalpha()) else None


def _introduces(line: str) -> bool:
    patterns = (_INTRODUCTION.search, _NOTIFIES.match, _NOTIFIES_ALONE.match)
    return any(matches(line) for matches in patterns)


def _is_introduced(lines: list[str]) -> bool:
    return any(map(_INTRODUCTION.search, [line[:200] for line in lines[:6] if line][:2]))


def _read_label(line: str, may_be_bare: bool) -> tuple[str | None, str]:
    """Return the kind of field that a line begins, and what of its value the line holds."""
    if not line or len(line) > 5000:
        return None, ""
    has_sign = ":" in line or "：" in line or "\t" in line or "   " in line
    labelled = _FIELD.match(line) if has_sign else None
    if labelled and (kind := _kind_of(labelled[1])):
        return kind, labelled[2]
    if "?" in line and (asked := _ASKED.match(line)):
        return "message", asked[1]
    may_be_label = line[-1] in ":：*?" or (may_be_bare and line[0].isupper())
    bare = _BARE_LABEL.match(line) if may_be_label else None
    if bare and (kind := _kind_of(bare[1])):
        return kind, ""
    return None, ""


def _starts_field(kind: str, fields: list[_Field]) -> bool:
    """Decide whether a label below the message is one of the form, rather than a fact that the customer states.

    What the form had above is not asked twice, and what a customer is likely to state is no end of the message.
    """
    seen = {entry.kind for entry in fields}
    return kind in ("meta", "phone", "email", "place", "name") and (
        kind == "meta" or kind not in seen
    )


def _is_form(above: list[str], fields: list[_Field]) -> bool:
    if len(above) > 5 or any(len(line) > 200 for line in above):
        return False
    others = [entry for entry in fields if entry.kind != "message"]
    introduced = any(map(_introduces, above))
    titled = len(above) == 1 and len(above[0]) < 60 and above[0][-1] not in "?!."
    if any(_FIRST_PERSON.search(line) for line in above) or (above and not (introduced or titled)):
        return False
    reachable = any(
        entry.kind == "email" and _ADDRESS.search(entry.text) for entry in others
    ) or any(entry.kind == "phone" and _PHONE.search(entry.text) for entry in others)
    sender = any(entry.kind == "name" and _ADDRESS.search(entry.text) for entry in others)
    if any(entry.is_systems and len(others) > (entry.kind != "message") for entry in fields):
        return True
    if (reachable or sender) and (len(others) > 1 or introduced):
        return True
    return introduced and bool(others)


def _without_frame(lines: list[str]) -> list[str]:
    """Leave out the fields and the footer that follow the value of the message field."""
    for position, line in enumerate(lines):
        ends = position and line and (_STOPS.match(line) or _FORM_FOOTER.search(line))
        if ends and not any(map(_FIRST_PERSON.search, lines[position:])):
            lines = lines[:position]
            break
    kept = [_CONSENT.sub("", line) for line in lines]
    while kept:
        line = kept[-1]
        labelled = _FIELD.match(line)
        is_meta = labelled is not None and (
            _META_WORDS.search(labelled[1]) or _kind_of(labelled[1]) == "meta"
        )
        if len(kept) > 1 and (not _WORD.search(line) or is_meta):
            kept.pop()
        else:
            break
    return kept


def _of_questions(lines: list[str]) -> list[str] | None:
    """Return the answer to the question of a survey that asks for the message, or the longest answer."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    answers = [
        (block[0], block[1:]) for block in paragraphs if len(block) > 1 and block[0][-1] in "?:*"
    ]
    if (
        len(answers) < 3
        or not _INTRODUCTION.search(" ".join(paragraphs[0]))
        or len(paragraphs[0]) > 2
    ):
        return None
    asked = [answer for heading, answer in answers if _ASKS_MESSAGE.search(heading)]
    return (
        asked or [max((answer for _, answer in answers), key=lambda answer: len("".join(answer)))]
    )[-1]


_ASKS_MESSAGE = re.compile(
    r"\b(?:help|message|comments?|question|tell us|describe|problem|issue|details|feedback|anything else"
    r"|helfen|nachricht|anliegen|beschreib\w*|frage|aider|message|question|problème|ayudar\w*|mensaje|consulta"
    r"|aiutar\w*|messaggio|ajudar|mensagem|helpen|bericht|pomóc|wiadomość)\b",
    re.I,
)


def _of_notification(lines: list[str]) -> list[str] | None:
    """Return what is between the introduction of a notification and the line where its frame goes on."""
    filled = [position for position, line in enumerate(lines) if line]
    start = next(
        (
            position
            for position in filled[:4]
            if len(lines[position]) < _MAX_NOTICE
            and (_NOTIFIES.match(lines[position]) or _NOTIFIES_ALONE.match(lines[position]))
        ),
        None,
    )
    if start is None and filled and _is_announced([lines[position] for position in filled]):
        start = filled[0]
    if start is None or _FIRST_PERSON.search(lines[start]):
        return None
    if any(len(lines[position]) > 60 for position in filled if position < start):
        return None
    first = start + 1
    while first < len(lines) and (
        not lines[first]
        or lines[first].endswith((":", "："))
        or _STOPS.match(lines[first])
        or _REASON.match(lines[first])
    ):
        first += 1
    stop = next(
        (
            position
            for position in filled
            if position > first
            and (_STOPS.match(lines[position]) or _BUTTON.match(lines[position]))
        ),
        None,
    )
    if stop is None or any(map(_FIRST_PERSON.search, lines[stop:])):  # the customer goes on below
        return None
    inside = _below_labels(lines[first:stop])
    return inside if any(map(_WORD.search, inside)) else None


def _is_announced(filled: list[str]) -> bool:
    """Decide whether the first line may announce a message and a button is among the last ones: no customer types both."""
    is_notice = len(filled) > 2 and len(filled[0]) < _MAX_NOTICE and _MAY_NOTIFY.match(filled[0])
    return bool(is_notice) and any(map(_BUTTON.match, filled[max(2, len(filled) - 3) :]))


def _below_labels(lines: list[str]) -> list[str]:
    """Return what is in the message's own field, where nothing but other fields is above it; else all lines."""
    for position, line in enumerate(lines[:12]):
        label = _FIELD.match(line)
        if label and _kind_of(label[1]) == "message":
            return [label[2], *lines[position + 1 :]]
        if line and not (label and len(line) < _MAX_FIELD):
            break
    return lines
