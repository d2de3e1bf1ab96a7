# ruff: noqa: E501 - bodies are as long as they are exported
"""Bodies as shops and helpdesks really export them → the customer's words, each kind in several languages and clients."""

from __future__ import annotations

import base64

import pyarrow as pa
import pytest

from ecomintent_batch.text.message import MAX_CHARS, clean_message, clean_messages, which_are_cut

CANCEL = "Please cancel this order, I bought the wrong lamp."
MUG = "The mug came without its handle. Can you send one that has it?"


@pytest.mark.parametrize("envelope", [
    "You have received a message.\n\n# 205-1111111-2222222:\n1 of Copper desk lamp [ASIN: B0EXAMPLE1]\n\n------------- Begin message -------------\n\n"
    "{}\n\n------------- End message -------------\n\nFor your information: messages are kept for two years.",
    "------------- Message: -------------\n{}\n------------- End message -------------\n\nReply by 4 March.",
    "You have received a message. ------------- Begin message ------------- {} ------------- End message ------------- For your information: …",
    "Sie haben eine Nachricht erhalten.\n\nBestellnummer 205-1:\n1 von Lampe\n\n------------- Anfang der Nachricht -------------\n\n{}\n\n"
    "------------- Ende der Nachricht -------------\n\nZu Ihrer Information: Nachrichten werden aufbewahrt.",
    "Vous avez reçu un message.\n\n------------- Début du message -------------\n{}\n------------- Fin du message -------------\nMerci de répondre.",
    "Has recibido un mensaje.\n\n------------- Inicio del mensaje -------------\n{}\n------------- Fin del mensaje -------------\n",
    "Hai ricevuto un messaggio.\n\n------------- Inizio messaggio -------------\n{}\n------------- Fine messaggio -------------\n",
    "You have received a message from the Amazon Buyer - Anna\n\nOrder ID: 205-1111111-2222222\n\nMessage:\n\n{}\n\nReply | Report\n\nCopyright 2026 Amazon",
    "=== Begin message ===\n{}\n=== End message ===",
    "Message from customer Anna via Kaufland:\n----------------------------\n{}\n----------------------------\nBestellnummer: M4411",
    "Buyer message:\n\n{}\n\nOrder: 12-3344\nReply: https://x.example/reply",
    "------------- メッセージ: -------------\n{}\n------------- メッセージ終了 -------------",
    "New message from: lamp_fan_22 (14)\n\n{}\n\nReply\n\nItem: Copper desk lamp\nItem ID: 1234567890\nEnd time: 3 Mar",
    "Neue Nachricht von: lampe_77 (3)\n\n{}\n\nAntworten\n\nArtikelnr.: 1234567890\n",
    "You have a new message from Anna Prill\n\n{}\n\nView message\n\nOrder #3100000001\n\nTo reply, respond to this email.",
    "You've received the following note from the customer on order #20114\n\n{}\n\n[Order #20114] (22 April 2026)\nLamp | 1 | £21.00\nTotal: £21.00",
])  # fmt: skip
def test_of_a_marketplace_envelope_the_customers_words_remain(envelope):
    """Case 01: what is between the markers, or between the introduction and the links."""
    assert clean_message([envelope.format(CANCEL)]) == CANCEL


INTRODUCTION = "You received a new message from your online store's contact form."


@pytest.mark.parametrize("form", [
    f"{INTRODUCTION}\n\nCountry Code:\n\nUS\n\nName:\n\nAnna Prill\n\nEmail:\n\nanna.prill@m.example\n\nPhone:\n\n+15550100\n\nBody:\n\n{{}}",
    f"{INTRODUCTION}   Country Code:   US   Name:   Anna Prill   Email:   anna@m.example   Phone Number:   +15550100   Comment:   {{}}",
    "Name: Anna Prill\nEmail: anna@m.example\nPhone: 0155 500100\nComment: {}",
    "Contact form submission\n\nName\nAnna Prill\n\nEmail\nanna@m.example\n\nMessage\n{}",
    "You have a new chat message!\n\nVisitor name: Anna\nVisitor email: a@m.example\n\nMessage: {}\n\nReply in your inbox: https://x.example",
    "name: Anna\nemail: anna@m.example\nmessage: {}",
    "Name : Anna\nEmail : anna@m.example\nPhone :\nComment : {}",
    "Name: Anna Prill\r\nE-mail: anna@m.example\r\nOrder number: 4411\r\n\r\nMessage:\r\n{}\r\n",
    "Name: Anna Prill | Email: anna@m.example | Phone: 0155 500100 | Message: {}",
    "Name: Anna Prill, Email: anna@m.example, Phone: 0155 500100, Message: {}",
    "First name: Anna\nLast name: Prill\nEmail address: anna@m.example\nSubject: Lamp\nYour message: {}\nNewsletter: no\nIP: 203.0.113.7",
    "**Name:** Anna Prill\n**Email:** anna@m.example\n**Message:** {}",
    "From: Anna Prill <anna@m.example>\nSubject: Lamp\n\nMessage Body:\n{}\n\n-- \nThis e-mail was sent from a contact form on Lamps (https://lamps.example)",
    "Sie haben eine neue Nachricht über das Kontaktformular erhalten.\n\nName: Anna Prill\nE-Mail: anna@m.example\nTelefonnummer: 0170 0000000\nKommentar: {}",
    "Vorname: Anna\nNachname: Prill\nE-Mail-Adresse: anna@m.example\nBetreff: Lampe\nIhre Nachricht: {}",
    "Nom : Prill\nPrénom : Anna\nE-mail : anna@m.example\nTéléphone : 03 00 00 00 21\nVotre message : {}\nEnvoyé le : 12/10/2026 à 19:44",
    "Nombre: Anna Prill\nCorreo electrónico: anna@m.example\nTeléfono: 600 000 000\nMensaje: {}",
    "Nome e cognome: Anna Prill\nEmail: anna@m.example\nTelefono: 333 0000000\nMessaggio: {}",
    "Naam: Anna Prill\nE-mailadres: anna@m.example\nTelefoonnummer: 06 00000000\nBericht: {}",
    "Imię i nazwisko: Anna Prill\nE-mail: anna@m.example\nTelefon: 500 000 000\nTreść wiadomości: {}",
    "お名前：山田\nメールアドレス：anna@m.example\n電話番号：06-0000-0000\nお問い合わせ内容：{}",
    "<html><body><p>New submission</p><table><tr><td>Name</td><td>Anna</td></tr><tr><td>Email</td><td>anna@m.example</td></tr>"
    "<tr><td>Message</td><td>{}</td></tr></table></body></html>",
    "<p><b>Name:</b> Anna</p><p><b>Email:</b> anna@m.example</p><p><b>Message:</b><br>{}</p>",
])  # fmt: skip
def test_of_a_contact_form_the_message_remains(form):
    """Case 02: with line breaks or as one line, whatever the labels are called."""
    assert clean_message([form.format(CANCEL)]) == CANCEL


def test_facts_in_the_message_of_a_form_stay():
    """A customer's own "Word: value" lines below the message label are the message."""
    form = "Name: Anna\nEmail: anna@m.example\nMessage: It broke.\nModel: X200\nBought: 3 March\nPlease refund me."
    assert clean_message([form]) == "It broke. Model: X200 Bought: 3 March Please refund me."


@pytest.mark.parametrize(("chat", "turns"), [
    ("Customer: I want to cancel order 4411\nAgent: What is your email address?\nCustomer: anna@m.example\nAgent: Thanks, it was placed at 10:30 today\n"
     "Customer: yes please cancel it\n\nChat closed by agent", "I want to cancel order 4411 anna@m.example yes please cancel it"),
    ("Chat started\nAnna: the lamp came without its shade\nNora: Sorry! What is your email?\nAnna: anna@m.example\n"
     "Nora: Thank you, we are open until 18:30", "the lamp came without its shade anna@m.example"),
    ("Hello, where is my lamp\nNora: What is your email address?\nAnna: anna@m.example\nNora: It was placed at 10:30 today\nAnna: and I was charged twice for it",
     "Hello, where is my lamp anna@m.example and I was charged twice for it"),
    ("[10:02] Visitor: my lamp is late\n[10:03] Support Bot: Hi! One moment.\n[10:05] Visitor: cancel it", "my lamp is late cancel it"),
    ("(10:02:11 AM) Anna: my lamp is late\n(10:03:00 AM) *** Nora joined the chat ***\n(10:03:20 AM) Nora: Hi Anna, how can I help?\n(10:04:00 AM) Anna: cancel it",
     "my lamp is late cancel it"),
    ("2026-03-02 10:02 Besucher: Meine Lampe fehlt\n2026-03-02 10:03 Mitarbeiterin Nora: Guten Tag, wie kann ich helfen?\n2026-03-02 10:04 Besucher: stornieren bitte",
     "Meine Lampe fehlt stornieren bitte"),
    ("Visiteur : ma lampe est cassée\nConseiller : Bonjour, votre numéro de commande ?\nVisiteur : 4411, je veux un remboursement",
     "ma lampe est cassée 4411, je veux un remboursement"),
    ("Cliente: mi lámpara llegó rota\nAgente: ¿Me da su número de pedido?\nCliente: 4411", "mi lámpara llegó rota 4411"),
    ("Klant: mijn lamp is kapot\nMedewerker: Wat vervelend! Uw bestelnummer?\nKlant: 4411", "mijn lamp is kapot 4411"),
    ("02/03/2026, 10:02 - Anna Prill: my lamp is late\n02/03/2026, 10:05 - Lamps & More: Hi Anna, sorry about that!\n02/03/2026, 10:06 - Anna Prill: <Media omitted>\n"
     "02/03/2026, 10:07 - Anna Prill: cancel it", "my lamp is late cancel it"),
    ("Anna Prill (10:02): my lamp is late\nNora (10:03): Hello Anna, let me check.\nAnna Prill (10:04): cancel it", "my lamp is late cancel it"),
    ("Anna Prill\n10:02\nmy lamp is late\n\nSupport Team\n10:03\nHi Anna, one moment\n\nAnna Prill\n10:04\ncancel it", "my lamp is late cancel it"),
    ("Customer: my lamp is late Agent: Sorry! What is your order number? Customer: 4411, cancel it", "my lamp is late 4411, cancel it"),
    ("Lena: Welcome to Lampshop, how may I help you today?\nAnna: where is my lamp", "where is my lamp"),
    ("Chat Transcript\nVisitor: Anna\nOperator: Lena\n\nAnna: where is my lamp\nLena: one moment\nAnna: cancel it", "where is my lamp cancel it"),
    ("Anna:\nwhere is my lamp\nAgent Lena:\none moment\nAnna:\ncancel it", "where is my lamp cancel it"),
    ("Anna at 10:02, Mar 2:\nwhere is my lamp\n\nLena at 10:03, Mar 2:\none moment\n\nAnna at 10:04, Mar 2:\ncancel it", "where is my lamp cancel it"),
    ("Kundin, 02.03.2026 10:02\nWo ist meine Lampe\nSupport, 02.03.2026 10:03\nGuten Tag!\nKundin, 02.03.2026 10:04\nstornieren", "Wo ist meine Lampe stornieren"),
    ("[Bot] Hello! How can I help?\n[Customer] cancel 4411\n[Bot] Which order?\n[Customer] the lamp", "cancel 4411 the lamp"),
    ("Customer - where is my lamp\nAgent - one moment\nCustomer - cancel it", "where is my lamp cancel it"),
    ("客户: 灯坏了\n客服: 您好，请提供订单号\n客户: 4411 我要退款", "灯坏了 4411 我要退款"),
    ("10:02 | Anna : ma lampe est cassée\n10:03 | Bot : Bonjour ! Un instant.\n10:04 | Anna : je veux un remboursement", "ma lampe est cassée je veux un remboursement"),
    ("<p><b>Visitor</b> (10:02): my lamp is late</p><p><b>Nora</b> (10:03): Let me check</p><p><b>Visitor</b> (10:05): cancel it</p>", "my lamp is late cancel it"),
])  # fmt: skip
def test_of_a_chat_the_customers_turns_remain(chat, turns):
    """Case 03: without agents, bots and system lines, whatever the two sides are called."""
    assert clean_message([chat]) == turns


@pytest.mark.parametrize("text", [
    # case 04: own "Word: value" lines
    "My parcel went missing.\nCourier: DPD\nDelivered: 14:05\nSigned by: neighbour@m.example\nPlease refund me.",
    "I was charged twice for this\n\nInvoice: 20261\nPaid: 10:31, 3 March\nCard holder: anna@m.example\nAmount: 45.00\n\nPlease return one payment.",
    "Hi\n\nItem: Copper lamp\nBought: 3 March 10:30\nAccount: anna@m.example\n\nI want to cancel it please.",
    "Item: Copper lamp\nBroken part: shade\nArrived: 3 March 10:30\nAccount: anna@m.example\nThanks for your help",
    "From: Leeds\nTo: York\nDate: 14 May, 10:30\nSeat: 14\n\nThe train never ran. Refund please.",
    "Bestellung: 4411\nGeliefert: 14:05 Uhr\nKonto: anna@m.example\n\nEs fehlt der Schirm.",
    "Commande : 4411\nLivrée : 3 mars 10:30\nCompte : anna@m.example\n\nIl manque l'abat-jour.",
    "Name: Anna Prill\nOrder: 4411\nProblem: the shade is broken\nWish: refund\nE-mail: anna@m.example",
    "Size: M\nColour: red\n\nSize: L\nColour: blue\n\nAre both in stock?",
    "Old email: a@m.example\nNew email: b@m.example\nSince: 10:30 today\nPlease change it.",
    "New question about the lamp:\n\nis it dimmable?\n\nOrder #4411 is the one I mean, please cancel it too",
    "Monday 10:00 driver: nobody home\nTuesday 10:00 driver: nobody home\nI was home all day!",
    "10:02 Called support: no answer\n10:15 Called support: still nothing\nPlease refund",
    "Name: should be Kowalczyk\nEmail: is fine\nMessage: wrong surname on my ticket",
    # case 05: own emphasis
    "Order 4411 has not arrived.\n***THIS IS MY THIRD MESSAGE***\nCancel it and refund me.",
    "Hello\n--- my message from Monday ---\nPlease cancel order 4411",
    "My lamp is late.\n**Please respond today**\nI want to cancel the order.",
    "You have a new voicemail from +1 555 0100\n--- Voicemail message ---\nHi, I was charged twice for order 4411.",
    "Hallo\n*** BITTE ANTWORTEN SIE AUF MEINE NACHRICHT ***\nDie Lampe fehlt.",
    "Bonjour\n=== troisième message ===\nma lampe n'est pas là",
    "Hi\n----- reply to my question please -----\nis it in stock?",
    "##URGENT MESSAGE##\ncancel order 4411",
    "Hola\n** mi respuesta de ayer **\nquiero cancelar",
    # case 06: thanks
    "Hi\nThanks for your email\nI want to cancel the order\nplease refund my card\nthe lamp is too big",
    "Hi there, cheers\nparcel came today\none mug is smashed\ncan you send another one",
    "Hi\nwhich is best\nred lamp\nblue lamp\ngreen lamp",
    "Hello Sam\nMany thanks for that\nThe jumper is too small\nI would like to send it back\nHow do I do that",
    "Hallo\nvielen Dank\ndie Lampe ist zu groß\nich möchte sie umtauschen\ntel. 0170 0000000",
    "Bonjour\nMerci\nla lampe est trop grande\nje veux la renvoyer\nappelez-moi au 06 00 00 00 18",
    "Hi\nKind regards to Nora\nshe helped me\nbut the lamp is broken\nanna@m.example is my email",
    "Gracias\nLa lámpara llegó rota\nQuiero cambiarla\nMi teléfono: 600 000 000",
    "Thanks\nRed lamp\nBlue lamp\nGreen lamp",
    # case 07: sentences that sound like footers
    "Hi\nThis email is sent on behalf of my mother, who cannot log in to her account.\nPlease reset her password.",
    "Hi\nYou have received two messages from me about the double charge.\nPlease refund one of the payments.",
    "Hello,\n\nThis message was sent to you already on Monday without any answer. Cancel my order 4411 please.",
    "Hi\nView in browser does not work for your mail with the return label. Send it again.",
    "Hi\nTo unsubscribe I clicked the link, but I still get your mails.",
    "Hallo\nDiese E-Mail wurde von meiner Tochter gesendet, ich kann mich nicht einloggen.",
    "Hi\nYou are receiving this email because my parcel is lost. Where is it?",
    "Hello\nI received a message in error about a confidential order. I am not the intended recipient.",
    "Hi\nPlease consider the environment and use less plastic. Also my lamp is broken.",
    "Hi\nunsubscribe me please\nand cancel order 4411",
    # case 08: below a dash or a name
    "The parcel came today\n—\nbut the glass is broken, I want my money back",
    "Two questions:\n1 size M in stock?\n--\n2 cancel order 4411",
    "I talked to your chat:\nMe: where is it\nAgent: tomorrow\nIt never came. Refund!",
    "Yesterday at 16:40 your website said:\nIn stock.\nToday at 9:15 your website said:\nBack in 6 weeks.\nCancel please.",
    "The screen is cracked.\nGet me a new tablet or my money back",
    "Broken again!!!\n---\nOrder 4411\nAnna Prill\n---\nRefund now",
    "It broke.\n--\nRefund now",
    "My new details are\n\nAnna Prill\nAcme Ltd\nT: 0155 500100\nanna@acme.example",
    "All good.\n--\nOne thing: how do I open the battery door?",
    "Danke!\n-- \nAber die Lampe ist kaputt, bitte umtauschen",
    "Merci Nora\n--\nil manque une vis",
    "Love it.\nThanks,\nAnna\n\nOh and please cancel the second one",
    "Thanks,\nAnna\nthe key was not in the box",
    "It is late.\n\nRegards,\nTom\n\nP.S. cancel the second lamp too",
])  # fmt: skip
def test_what_a_customer_types_in_such_a_shape_stays(text):
    """Cases 04 to 08: facts, emphasis, thanks, sentences like footers, text below a dash or a name."""
    assert clean_message([text]) == clean_message([text], raw=True)


@pytest.mark.parametrize(("text", "ask"), [
    ("New enquiry from the website\n*** Please do not reply to this message ***\n\nTopic: Refund\nI was charged twice for order 4411.", "charged twice"),
    ("The lamp is late.\nThanks,\nAnna\nanna@m.example\nPS cancel the second lamp too", "PS cancel the second lamp too"),
    ("Late again.\n\nBest regards\nTom Smith\nBuyer | Acme Ltd\nT: 0155 500100\n\nPS: cancel the second lamp", "PS: cancel the second lamp"),
    ("Schöne Lampe.\n\nViele Grüße\nAnna Prill\nTel. 0170 0000000\n\nPS: Bitte die zweite stornieren", "PS: Bitte die zweite stornieren"),
])  # fmt: skip
def test_the_ask_stays_whatever_goes(text, ask):
    """Of a text with a signature in its midst, what is below it stays."""
    assert ask in clean_message([text])


SHOP = "Shop <help@shop.example>"
THEIRS = (
    "Hello Anna, we refunded your order yesterday, the money should reach your card in five days."
)


@pytest.mark.parametrize("quoted", [
    "On Wed, Mar 4, 2026 at 2:05 PM Quillhaven Customer Support <support@quillhaven-home.example\n> wrote:\n\n{}",
    "On Wed, Mar 4, 2026 at 2:05 PM Quillhaven Customer Support <support@quillhaven-home.example\n> wrote:\n\n> {}",
    "ons. 4. mars 2026 kl. 14:05 skrev Shop Support <demo@shop.example\n>:\n\n> {}",
    f"On Tuesday, March 3, 2026, 10:12 AM, {SHOP} wrote:   {{}}",
    f"Sent from my Galaxy\n\n-------- Original message --------From: {SHOP} Date: 03/03/2026  10:12  (GMT+00:00) To: anna@m.example Subject: Re: mug {{}}",
    "On Mar 3, 2026, at 10:12 AM, Shop Support wrote:\n\n{}",
    "‫בתאריך יום ג׳, 3 במרץ 2026 ב-10:12 מאת ‪Shop‬‏ <‪help@shop.example‬‏>:‬\n\n{}",
    "في الثلاثاء، 3 مارس 2026 في 10:12 ص تمت كتابة ما يلي بواسطة ‪Shop‬‏ <‪help@shop.example‬‏>:‬\n\n{}",
    f"Am 03.03.2026 um 10:12 schrieb {SHOP}\n\n{{}}",
    f"**From:** {SHOP}\n**Sent:** Tuesday, March 3, 2026 10:12 AM\n**To:** Anna <anna@m.example>\n**Subject:** RE: mug\n\n{{}}",
    f"From: {SHOP}\n\nSent: Tuesday, March 3, 2026 10:12 AM\n\nTo: Anna <anna@m.example>\n\nSubject: RE: mug\n\n{{}}",
    '------------------ 原始邮件 ------------------\n发件人: "Shop" <help@shop.example>;\n发送时间: 2026年3月3日(星期二) 中午10:12\n主题: Re: mug\n\n{}',
    f"Le mar. 3 mars 2026 à 10:12, {SHOP} a écrit :\n\n{{}}",
    "El 3 mar 2026, a las 10:12, Soporte escribió:\n\n{}",
    f"Il giorno mar 3 mar 2026 alle ore 10:12 {SHOP} ha\nscritto:\n\n> {{}}",
    f"Op di 3 mrt 2026 om 10:12 schreef {SHOP}:\n\n> {{}}",
    f"wt., 3 mar 2026 o 10:12 {SHOP} napisał(a):\n\n> {{}}",
    f"Em ter., 3 de mar. de 2026 às 10:12, {SHOP} escreveu:\n\n> {{}}",
    f"3 Mar 2026 Sal, 10:12 tarihinde {SHOP} şunu yazdı:\n\n> {{}}",
    f"вт, 3 мар. 2026 г. в 10:12, {SHOP}:\n\n> {{}}",
    f"2026年3月3日(火) 10:12 {SHOP}:\n\n> {{}}",
    f"Von: {SHOP}\nGesendet: Dienstag, 3. März 2026 10:12\nAn: Anna <anna@m.example>\nBetreff: AW: Tasse\n\n{{}}",
    f"De : {SHOP}\nEnvoyé : mardi 3 mars 2026 10:12\nÀ : Anna\nObjet : RE: tasse\n\n{{}}",
    f"De: {SHOP}\nEnviado: martes, 3 de marzo de 2026 10:12\nPara: Anna\nAsunto: RE: taza\n\n{{}}",
    f"Da: {SHOP}\nInviato: martedì 3 marzo 2026 10:12\nA: Anna\nOggetto: R: tazza\n\n{{}}",
    f"Från: {SHOP}\nSkickat: den 3 mars 2026 10:12\nTill: Anna\nÄmne: SV: mugg\n\n{{}}",
    f"Lähettäjä: {SHOP}\nLähetetty: tiistai 3. maaliskuuta 2026 10.12\nVastaanottaja: Anna\nAihe: VS: muki\n\n{{}}",
    f"差出人: {SHOP}\n送信日時: 2026年3月3日 10:12\n宛先: Anna\n件名: Re: マグ\n\n{{}}",
    f"________________________________\nFrom: {SHOP}\nSent: 03 March 2026 10:12\nTo: Anna\nSubject: Re: mug\n\n{{}}",
    f"-----Original Message-----\nFrom: {SHOP}\nSent: 03 March 2026 10:12\nTo: Anna\nSubject: Re: mug\n\n{{}}",
    f"-----Ursprüngliche Nachricht-----\nVon: {SHOP}\nGesendet: 3. März 2026 10:12\nAn: Anna\nBetreff: Re: Tasse\n\n{{}}",
    f"---------- Forwarded message ---------\nFrom: {SHOP}\nDate: Tue, Mar 3, 2026 at 10:12 AM\nSubject: mug\nTo: <anna@m.example>\n\n{{}}",
    "##- Please type your reply above this line -##\n\nYour request (48120) has been updated.\n\n{}",
    f"From: {SHOP} Sent: Tuesday, March 3, 2026 10:12 AM To: Anna <anna@m.example> Subject: RE: mug {{}}",
])  # fmt: skip
def test_the_quoted_mail_goes(quoted):
    """Case 09: attributions and headers of mail clients, wrapped, joined, without ">", in many languages."""
    assert clean_message([f"{MUG}\n\n{quoted.format(THEIRS)}"]) == MUG
    assert (
        clean_message(
            [f"{MUG}\r\n\r\n{quoted.format(THEIRS)}".replace("\n", "\r\n").replace("\r\r", "\r")]
        )
        == MUG
    )


@pytest.mark.parametrize("quoted", [
    f"On Tue, Mar 3, 2026 at 10:12 AM {SHOP} wrote: > {THEIRS}",
    f"On Mar 3, 2026, at 10:12 AM, Shop Support wrote: {THEIRS}",
    f"Am 03.03.2026 um 10:12 schrieb {SHOP}: {THEIRS}",
    f"-----Original Message----- From: {SHOP} Sent: 03 March 2026 10:12 To: Anna Subject: Re: mug {THEIRS}",
    f"From: {SHOP} Sent: 03 March 2026 10:12 To: Anna <a@m.example> Subject: Re: mug {THEIRS}",
    f"Sent from my iPhone On Mar 3, 2026, at 10:12 AM, {SHOP} wrote: {THEIRS}",
    "Sent from my iPhone",
    "Von meinem iPhone gesendet",
])  # fmt: skip
def test_the_quoted_mail_goes_from_a_body_without_line_breaks(quoted):
    """Exports join the lines of a mail to one."""
    assert clean_message([f"{MUG} {quoted}"]) == MUG


TWICE = "I was charged twice."
PART = base64.b64encode(TWICE.encode()).decode()


@pytest.mark.parametrize("body", [
    "&lt;div dir=&quot;ltr&quot;&gt;&lt;p&gt;I was charged twice.&lt;/p&gt;&lt;/div&gt;&lt;blockquote&gt;We refunded you&lt;/blockquote&gt;",
    "&lt;p&gt;I was charged twice.&lt;/p&gt;",
    "&amp;lt;p&amp;gt;I was charged twice.&amp;lt;/p&amp;gt;",
    "I was&lt;br&gt;charged twice.",
    "=?UTF-8?B?SSB3YXMgY2hhcmdlZCB0d2ljZS4=?=",
    "=?utf-8?Q?I_was_charged_twice.?=",
    "=?iso-8859-1?Q?I_was?= =?iso-8859-1?Q?_charged_twice.?=",
    f'MIME-Version: 1.0\n\n----_com.phone.mail_27724\nContent-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: base64\n\n{PART}\n\n----_com.phone.mail_27724--',
    f'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary="b1"\n\n--b1\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n{PART}\n\n--b1\n'
    "Content-Type: text/html\n\n<p>I was charged twice.</p>\n\n--b1--",
    "--b2\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nI was charged=\n twice.\n\n--b2--",
    "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\n<div>I was charged twice.</div>",
    '--b3\r\nContent-Type: text/html; charset="us-ascii"\r\n\r\n<p>I was charged twice.</p>\r\n--b3\r\nContent-Type: image/png; name="a.png"\r\n'
    "Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b3--",
    r"{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}}\f0\fs20 I was charged twice.\par}",
    r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Calibri;}}{\*\generator Riched20;}\pard\f0 I was \b charged\b0  twice.\par" + "\n}",
    "![](https://shop.desk.example/attachments/token/abc/?name=image0.jpeg)\nI was charged twice.",
    "I was charged twice.\n[image: screenshot.png]",
    "I was charged twice. [cid:image001.png@01DA77C2]",
])  # fmt: skip
def test_an_encoded_body_is_decoded(body):
    """Case 10: escaped HTML, encoded words, MIME parts, quoted-printable, RTF, image markers."""
    assert clean_message([body]) == TWICE


@pytest.mark.parametrize(("body", "message"), [
    ("=?utf-8?Q?I_was_charged_twice_=E2=80=93_refund_one?=", "I was charged twice – refund one"),
    ("Re: =?utf-8?B?w4RyZ2Vy?=", "Re: Ärger"),
    ("Gr=C3=BC=C3=9Fe, die Lampe ist kaputt", "Grüße, die Lampe ist kaputt"),
    ("Die Lampe l=E4sst sich nicht =F6ffnen, sie ist f=FCr mich nutzlos und ich h=E4tte gern =\nErsatz.",
     "Die Lampe lässt sich nicht öffnen, sie ist für mich nutzlos und ich hätte gern Ersatz."),
    ("Fish &amp; chips for O&#39;Neil &quot;the cook&quot;", "Fish & chips for O'Neil \"the cook\""),
    (r"{\rtf1\ansi\ansicpg1252 Gr\'fc\'dfe, 249 \u8364?\par}", "Grüße, 249 €"),
])  # fmt: skip
def test_decoded_letters_are_right(body, message):
    """Case 10: accents and signs of each encoding."""
    assert clean_message([body]) == message


@pytest.mark.parametrize("body", [
    "![](https://shop.desk.example/attachments/token/abc/?name=image0.jpeg)", "![photo](https://x.example/a.png)\n\n![](https://x.example/b(1).png)", "[image: image0.jpeg]",
    "[cid:image001.png@01DA77C2]\n\n[cid:image002.png@01DA77C2]", "<img src='data:image/png;base64,iVBORw0KGgo='>", "<div><img src=\"https://x.example/a.png\"><br></div>",
    "[IMG_2231.jpg] [IMG_2232.jpg]", "<image0.jpeg>\n<image1.jpeg>", "[Bild: foto.jpg]", "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
    "![](https://x.example/a.png)\n\nSent from my iPhone",
])  # fmt: skip
def test_a_body_of_images_alone_is_empty(body):
    """Case 10: there is nothing to read in it."""
    assert clean_message([body]) == ""


SERVES = "Atención al Cliente|Servicio al Cliente|Soporte Cliente|Servizio al Cliente|Assistenza Cliente|SAC Cliente Luar|Client Services" \
    "|Client Success Mia|Visitor Services|Guest Relations|Müşteri Hizmetleri|お客様サポート|Service Client|Customer Care|Kundendienst" \
    "|Atendimento ao Cliente|Apoio ao Consumidor|Suporte ao usuário|고객센터|Customer Experience Team"  # fmt: skip


@pytest.mark.parametrize("agent", SERVES.split("|"))
@pytest.mark.parametrize("chat", [
    "Carmen: quiero devolver el vestido\n{}: ¿Número?\nCarmen: ES-4410",
    "[10:01] Carmen: quiero devolver el vestido\n[10:02] {}: ¿Número?\n[10:03] Carmen: ES-4410",
])  # fmt: skip
def test_who_serves_customers_is_no_customer(agent, chat):
    """A word for customer in the name of a department or of a role does not make it one."""
    assert clean_message([chat.format(agent)]) == "quiero devolver el vestido ES-4410"


@pytest.mark.parametrize("notes", [
    *(f"Agent: Mia\nCustomer: Jo Hill\nOrder: 5521\n{label}: {{}}" for label in ("Issue", "Message", "Notes", "Note", "Summary", "Subject", "Agent notes")),
    "Kunde: Jo Hill\nMitarbeiter: Mia\nAnliegen: {}", "Cliente: Jo\nAgente: Mia\nMotivo: {}", "Seller: Luar Shop\nBuyer: jo_hill\nProblem: {}",
    "Customer: Jo. Agent: Mia. {} for 5521", "Customer: Jo Hill, order 5521 Agent: Mia Issue: {}", "Customer: Jo Hill\nAgent: Mia, {}",
    "Agent:\nMia\nCustomer:\nJo Hill\nIssue:\n{}", "[Agent] Mia\n[Customer] Jo Hill\n[Issue] {}", "[10:01] Agent: Mia\n[10:01] Customer: Jo Hill\n[10:02] Issue: {}",
])  # fmt: skip
def test_notes_of_a_call_are_no_chat(notes):
    """Labels with names behind them: nothing of the matter is lost."""
    assert "Still no refund" in clean_message([notes.format("Still no refund")])


@pytest.mark.parametrize("below", [
    "Transcript of yesterday. Please cancel 5521 now.", "Chat ended without an answer, please cancel 5521", "The agent left the chat, nobody helped. Cancel 5521",
    "Chat closed before I got an answer. Cancel 5521", "Chat ended: nobody helped, please cancel 5521", "Conversation ended - cancel 5521 today",
    "Gesprächsverlauf von gestern. Bitte 5521 stornieren.", "Conversation with you yesterday. I want 5521 cancelled",
])  # fmt: skip
@pytest.mark.parametrize("chat", [
    "Visitor: where is it?\nAgent: on its way\nVisitor: ok", "Visitor: where is it?\nAgent: on its way",
    "[10:01] Visitor: where is it?\n[10:02] Agent: on its way", "[10:01] Visitor: where is it?\n[10:02] Agent: on its way\nChat ended",
    "Visitor (10:01): where is it?\nAgent (10:02): on its way\nVisitor (10:03): ok",
])  # fmt: skip
def test_words_below_a_chat_are_the_customers(chat, below):
    """They may begin like a line of the frame."""
    assert below in clean_message([f"{chat}\n\n{below}"])


@pytest.mark.parametrize("below", [
    "Chat ended", "Chat closed by agent", "Chat ended on Mon, 3 March 2026", "Anna left the chat", "Chat ended after 5 min. Thank you for chatting with us",
    "This conversation has been closed. If you need more help, write to us.",
])  # fmt: skip
def test_lines_of_the_frame_of_a_chat_go(below):
    """Also with a sentence of the system behind them."""
    assert (
        clean_message([f"Visitor: where is it?\nAgent: on its way\nVisitor: ok\n\n{below}"])
        == "where is it? ok"
    )


@pytest.mark.parametrize("text", [
    "the page shows &lt;div&gt;NaN&lt;/div&gt; instead of the price", "there is a &lt;b&gt;Sale&lt;/b&gt; in my mail", "I see &lt;td&gt;undefined&lt;/td&gt; under my order",
    "your mail says &lt;p&gt;Hello &lt;b&gt;NAME&lt;/b&gt;&lt;/p&gt; and no more",
    "my item is sku=E4 please check", "codes sku=E4, sku=E3 and sku=C5 are missing", "the coupon SAVE100%25 is invalid", "https://x.example/?a=3D1&b=20 fails",
    "the shop shows &lt;b&gt; in the headings", "every &amp; is now &amp;amp; in your mails", "your page has &lt; instead of a sign", "a < b and c > d", "size < 40 or > 44?",
    "how do I remove the <hr> under the logo?", "I deleted <div class=\"line\"> in header.php but it is still there", "my template ends without </body> now",
    "the subject reads =?UTF-8?Q?caf=C3=A9?= since Monday, how do I fix that in the plugin?", r"The path C:\rtf1\new is not found", "Content-Type: what do I enter there in the importer?",
    "where is {\\rtf1 used in your template", "my name is <anna@m.example>", "2=4 means two for four, right=", "x = y", "see [section 4] of the manual", "[order 4411] where is it",
])  # fmt: skip
def test_what_only_looks_encoded_stays(text):
    """Case 10: codes, escapes and tags that the customer writes about."""
    assert clean_message([text]) == text


@pytest.mark.parametrize("markup", [
    "<div><img src=\"data:image/png;base64,{image}\"></div><p>{text}</p>",
    "<p>{text}</p><img src=\"data:image/png;base64,{image}\">",
    "<style>{image}</style><p>{text}</p>",
    "<html><head><!-- {image} --></head><body>{text}</body></html>",
    "<p>{text}</p><blockquote>{quoted}</blockquote>",
    "{text}\n\nOn Tue, Mar 3, 2026 at 10:12 AM Shop <help@shop.example> wrote:\n\n> {quoted}",
])  # fmt: skip
def test_the_limit_counts_the_message_alone(markup):
    """Case 11: 300,000 characters of image, style, comment or quotation do not push the text out."""
    body = markup.format(text=MUG, image="iVBORw0KGgo" * 30_000, quoted="we refunded you " * 20_000)
    messages = clean_messages([pa.array([body])])
    assert messages.to_pylist() == [MUG]
    assert not which_are_cut(messages)[0]


def test_a_message_that_is_cut_says_so():
    """Longer than the limit in words, or in one word, alone or below a subject."""
    bodies = ["word " * MAX_CHARS, "x" * (MAX_CHARS + 1), "x" * 10]
    messages = clean_messages([pa.array(["subject"] * 3), pa.array(bodies)])
    assert which_are_cut(messages).tolist() == [True, True, False]
    assert all(len(message) <= MAX_CHARS + 8 for message in messages.to_pylist())
