"""Which columns hold the id, the text and the time: named by options, or known by their usual names.

The lists cover the exports and APIs of Zendesk, Gorgias, Freshdesk, Intercom, Help Scout, HubSpot, Salesforce, Jira, Kayako,
osTicket, Zoho Desk, Front, ServiceNow, Shopify Inbox and Microsoft Graph, and public sets of support tickets. Names on one line
are equally good; a line wins over the lines below it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ecomintent_batch.errors import ColumnError

Ranks = Sequence[Sequence[str]]


def _ranks(text: str) -> Ranks:
    return [line.split() for line in text.strip().splitlines()]


# Names of other languages have no accents here, as `plain_name` leaves them.
_IDS = _ranks("""
ticket_id ticket
ticketid ticket_number ticket_no ticket_nr ticket_key ticket_ref ticket_reference ticket_code hs_ticket_id
ticketnummer id_ticket id_de_ticket id_do_ticket numero_de_ticket numero_ticket n_ticket n_de_ticket
numer_zgloszenia id_zgloszenia numer_ticketu nr_zgloszenia vorgangsnummer fallnummer anfragenummer
チケットid チケット番号 工单id 工单编号 工单号
case_number
case_no case_nr
case_id caseid
conversation_id
request_id display_id
issue_key
incident_id incident_number
complaint_id
enquiry_id inquiry_id interaction_id
thread_id chat_id
id
message_id number uuid key external_id
tweet_id email_id record_id issue_id review_id entity_id submission_id response_id
numero nummer numer
hs_object_id comment_id row_id index _id slug token
""")
_SUBJECTS = _ranks("""
subject ticket_subject
email_subject mail_subject message_subject case_subject conversation_subject subject_line
title
summary
ticket_title ticket_name issue_title issue_summary case_title short_description
betreff asunto sujet objet oggetto onderwerp assunto temat amne emne predmet konu aihe targy subiect 件名 主题 标题 主旨 тема 제목
review_title headline
""")
_BODIES = _ranks("""
body_text text_body body_plain plain_body body_plain_text plain_text_body plain_text plaintext
stripped_text
description_text message_text
body message text ticket_body message_body customer_message
email_body mail_body email_text message_content ticket_message ticket_text ticket_content
first_message_body first_user_message first_customer_message
initial_message original_message first_message first_comment initial_comment
ticket_description case_description issue_description description
content contents
consumer_complaint_narrative complaint_narrative complaint_what_happened narrative complaint
customer_query customer_question customer_inquiry inquiry enquiry query
comment
latest_comment last_message last_customer_message
question
utterance
instruction
msg msg_text msg_body
tweet tweet_text review_text transcript conversation chat dialogue
nachricht nachrichtentext beschreibung anfrage anliegen mensaje mensagem descripcion descricao messaggio descrizione bericht
omschrijving contenu tresc tresc_wiadomosci wiadomosc opis meddelande beskrivning besked beskrivelse melding zprava popis sprava
mesaj aciklama viesti kuvaus uzenet leiras mesajul descriere
本文 内容 お問い合わせ内容 メッセージ 消息 问题描述 描述 留言 сообщение описание текст 내용 메시지
customer_note buyer_message buyer_comment customer_comment buyer_note selftext extract
testo texto texte tekst inhalt contenido contenuto conteudo
testo_messaggio testo_del_messaggio texto_del_mensaje texto_da_mensagem
kundenanliegen kundennachricht kundenanfrage kundentext
body_html html_body description_html message_html html
excerpt preview last_message_preview body_preview snippet blurb
""")
_TIMES = _ranks("""
message_created_at message_created_date message_created_time
created_at created created_time created_date creation_date date_created created_datetime
create_date createdate create_time created_on creation_time created_timestamp datetime_created created_date_time
ticket_created_at
ticket_created_timestamp ticket_created_datetime
ticket_created ticket_created_date ticket_created_time ticket_created_on ticket_creation_date ticket_date created_time_ticket
conversation_started_at
conversation_created_at conversation_created_date
initially_created_at
opened_at date_time_opened opened_datetime
date_opened opened_date open_date opened case_created_date case_date_time_opened
submitted_at date_submitted submission_date submitted_on submitted
sys_created_on
received_date_time sent_date_time
received_at sent_at
date_received received_date received received_on
message_date date_sent
datetime date_time
timestamp
dateline ts
date
time
erstellt_am erstellt erstelldatum eingegangen_am eingang date_de_creation date_creation cree_le fecha_de_creacion fecha_creacion
creado_el creado data_utworzenia utworzono data_di_creazione data_creazione creato_il data_de_criacao criado_em aangemaakt_op
aanmaakdatum skapad oprettet opprettet vytvoreno olusturma_tarihi luotu letrehozva
作成日時 作成日 受付日時 受信日時 创建时间 提交时间 дата_создания
data_apertura data_di_apertura fecha_apertura fecha_de_apertura data_abertura data_de_abertura date_ouverture date_d_ouverture
eroffnet_am angelegt_am aperto_il abierto_el aberto_em ouvert_le geopend_op data_otwarcia
eingang_am eingangsdatum datum_eingang empfangen_am ricevuto_il recibido_el recebido_em recu_le ontvangen_op
gesendet_am inviato_il enviado_el enviado_em envoye_le verzonden_op
created_utc review_date submit_date_utc submit_date submitted_at_utc
datum fecha data дата 日期 日時
""")
_BODY_ENDINGS = (
    "description",
    "body",
    "message",
    "text",
    "comment",
    "content",
    "question",
    "query",
    "narrative",
    "transcript",
)
_ASKS = re.compile(  # a column whose name is the question of a form
    r"(?:how|what)_(?:can|may)_we_help|describe_(?:the|your)|tell_us|what_happened|what_is_(?:the|your)_(?:problem|issue|question)"
    r"|what_went_wrong|s_the_(?:problem|issue)|wie_konnen_wir|womit_konnen_wir|comment_pouvons|como_podemos|come_possiamo"
    r"|hoe_kunnen_we|beschreiben_sie|decrivez|describa"
)
_WRAPPERS = (
    "S",
    "N",
    "$oid",
    "$date",
    "$numberLong",
    "$numberInt",
)  # of a value: DynamoDB's and MongoDB's
_NOT_OF_CUSTOMERS = re.compile(
    r"agent|reply|response|resolution|answer|bot|internal|status|product|tag|note|staff|auto|sla|survey|rating|macro|intent"
    r"|attach"
)
_LEAVES = ("content", "text", "value", "plain", "plain_text", "body", "html", "rendered", "raw")
_IN_LIST = re.compile(r"\.\d+(\.|$)")  # in a path: the number of an element
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae", "°": " ", "º": " "}
)
_ACCENT = re.compile("[\u0300-\u036f]")
_LONGEST_NAME = 40
_MOST_NAMES = 30


@dataclass(frozen=True)
class PickedColumns:
    """The columns of a source that a run reads.

    Attributes:
        ticket_id: None where row numbers replace ids.
        texts: joined in this order.
        kept: the time column first, then those of --keep and --by.
        asked: those of --keep and --by alone.
        notes: what was decided.
        warnings: what people should check.
    """

    ticket_id: str | None
    texts: tuple[str, ...]
    time: str | None
    kept: tuple[str, ...]
    asked: tuple[str, ...] = ()
    time_is_named: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def needed(self) -> list[str]:
        """Return every source column to read, each once."""
        columns = (self.ticket_id, *self.kept, *self.texts)
        return list(dict.fromkeys(column for column in columns if column is not None))

    def as_text(self) -> list[str]:
        """Return the columns that are read as text, of any type."""
        return [*([self.ticket_id] if self.ticket_id else []), *self.texts]

    def without_time(self) -> PickedColumns:
        """Return the same columns if the time column turned out to hold no times; --keep and --by still carry it along."""
        return replace(self, time=None, kept=self.asked)

    def __str__(self) -> str:
        ticket_id = self.ticket_id or "none (row numbers)"
        return f"id {ticket_id}, text {' + '.join(self.texts)}, time {self.time or 'none'}"


def pick_columns(
    name: str,
    columns: Sequence[str],
    *,
    id_column: str | None = None,
    text_column: Sequence[str] = (),
    time_column: str | None = None,
    kept: Sequence[str] = (),
    nested: Mapping[str, Sequence[str]] | None = None,
) -> PickedColumns:
    """Pick the columns to read; named ones must exist, the others are found by their usual names.

    Args:
        name: Of the source, for messages.
        columns: Of the source.
        id_column: As named by people; None to look for it.
        text_column: As named by people; empty to look for subject and body.
        time_column: As named by people; None to look for it.
        kept: Columns to carry along.
        nested: Columns that hold objects or lists, each with the dotted paths of the values inside.

    Raises:
        ColumnError: a named column is missing, or none or two equally good ones were found.
    """
    finder = _Finder(name, columns, nested or {})
    for column in kept:
        finder.check_exists(column)
    ticket_id = (
        finder.take(id_column, "--id-column")
        if id_column
        else finder.find(_IDS, "the ticket's id", "--id-column")
    )
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    if ticket_id is None:
        notes = (
            f"no column with the ticket's id was found among {list_names(columns)}: row numbers are used as ids; "
            "--id-column names one",
        )
    texts = tuple(finder.take(column, "--text-column") for column in text_column)
    if not texts:
        texts, warning = finder.find_texts()
        warnings = (warning,) if warning else ()
    time = (
        finder.take(time_column, "--time-column")
        if time_column
        else finder.find(_TIMES, "the time", "--time-column")
    )
    asked = tuple(dict.fromkeys(kept))
    everything = dict.fromkeys([time, *asked] if time else asked)
    for name_to_read in (ticket_id, *texts, *everything):
        finder.check_not_repeated(name_to_read)
    return PickedColumns(
        ticket_id,
        texts,
        time,
        tuple(everything),
        asked,
        time_is_named=time_column is not None,
        notes=notes,
        warnings=warnings,
    )


@dataclass(frozen=True)
class _Finder:
    """Looks for columns among those of one source."""

    name: str
    columns: Sequence[str]
    nested: Mapping[str, Sequence[str]]

    def check_exists(self, column: str) -> None:
        """Raise ColumnError where a named column is neither a column nor a path into one."""
        root = column.partition(".")[0]
        if column not in self.columns and not ("." in column and root in self.nested):
            raise ColumnError(
                f"{self.name}: expected a column {column!r}, found {list_names(self.columns)}"
            )

    def check_not_repeated(self, column: str | None) -> None:
        """Raise ColumnError where the source has a column twice: which of the two is meant cannot be known."""
        if column is not None and list(self.columns).count(column) > 1:
            raise ColumnError(
                f"{self.name}: expected column names that differ, found {list_names([column])} twice; rename one"
            )

    def take(self, column: str, option: str) -> str:
        """Return a column that people named, or the one value inside where it is nested."""
        self.check_exists(column)
        value = self._value_inside(column, option)
        if value is None:
            raise self._unclear(column, option)
        return value

    def find(self, ranks: Ranks, what: str, option: str) -> str | None:
        """Return the column with one of the usual names; None where there is none.

        Raises:
            ColumnError: two are equally good, or it is nested and what is meant inside cannot be known.
        """
        for candidates in self._tiers():
            for rank in ranks:
                matches = [
                    column
                    for column, plain in candidates
                    if plain in rank and not self._is_object_without_id(column, option)
                ]
                if len(set(matches)) > 1:
                    raise ColumnError(
                        f"{self.name}: expected one column with {what}, found "
                        f"{' and '.join(dict.fromkeys(matches))} equally good "
                        f"among {list_names(self.columns)}; choose with {option}"
                    )
                if matches and (value := self._value_inside(matches[0], option)):
                    return value
                if matches and option != "--time-column":  # a run needs no time
                    raise self._unclear(matches[0], option)
        return None

    def _is_object_without_id(self, column: str, option: str) -> bool:
        """Return whether an object has the name of an id, as `ticket` has, and no id inside: the id is elsewhere."""
        inside = [
            path.lower().rpartition(".")[2].strip("$o") for path in self.nested.get(column, ())
        ]
        is_list = any(name.isdigit() for name in inside)
        return option == "--id-column" and bool(inside) and not is_list and "id" not in inside

    def find_texts(self) -> tuple[tuple[str, ...], str | None]:
        """Return subject and body, and a warning where there is a subject alone."""
        subject = self.find(_SUBJECTS, "the subject", "--text-column")
        body = self.find(_BODIES, "the text", "--text-column") or self._find_by_ending(subject)
        texts = tuple(column for column in (subject, body) if column is not None)
        listed = None if body else self._path_in_list()
        if not texts and listed is not None:
            raise self._unclear(listed.partition(".")[0], "--text-column")
        if not texts:
            raise ColumnError(
                f"{self.name}: expected a column with the text, found {list_names(self.columns)}; give --text-column"
            )
        if body is not None:
            return texts, None
        others = [column for column in self.columns if column != subject]
        return texts, (
            f"only the subject ({subject}) is read: no column with the message was found among {list_names(others)}; "
            f"if one of them holds it, give --text-column {subject} --text-column {listed or 'NAME'}"
        )

    def _path_in_list(self) -> str | None:
        """Return the path of a text inside a list, such as the body of the first of `messages`; None where there is none."""
        inside = [
            path
            for column, paths in self.nested.items()
            if not _NOT_OF_CUSTOMERS.search(plain_name(column))
            for path in paths
            if _IN_LIST.search(path)
        ]
        for rank in _BODIES:
            for path in inside:
                if plain_name(_own_name(path)) in rank:
                    return path
        return None

    def _find_by_ending(self, subject: str | None) -> str | None:
        """Return the one column whose name ends like that of a message, as in `Your question`."""
        matches = [
            column
            for column in self.columns
            if column != subject
            and column not in self.nested
            and (
                (plain := plain_name(column)).rpartition("_")[2] in _BODY_ENDINGS
                or _ASKS.search(plain)
            )
            and not _NOT_OF_CUSTOMERS.search(plain)
        ]
        return matches[0] if len(matches) == 1 else None

    def _tiers(self) -> Iterator[list[tuple[str, str]]]:
        """Yield columns with their plain names: first the source's own, then those inside nested ones."""
        yield [(column, plain_name(column)) for column in self.columns]
        inside = [column for column in self.columns if "." in column]
        inside += [path for paths in self.nested.values() for path in paths]
        inside = [path for path in inside if not _IN_LIST.search(path)]
        yield [(path, plain_name(_own_name(path))) for path in inside]

    def _value_inside(self, column: str, option: str) -> str | None:
        """Return a column as it is, or the path of the one value that is meant inside a nested one; None if unclear."""
        if column not in self.nested:
            return column
        paths = self.nested[column]
        plain = [path for path in paths if not _IN_LIST.search(path)]
        ranks = (
            [_LEAVES] if option != "--text-column" else [*_BODIES, *([leaf] for leaf in _LEAVES)]
        )
        if len(plain) == 1 and len(paths) == 1:
            return plain[0]
        if option == "--id-column":
            ranks = [("id",), *ranks]
        for rank in ranks:
            matches = [path for path in plain if plain_name(path.rpartition(".")[2]) in rank]
            if len(matches) == 1:
                return matches[0]
        return None

    def _unclear(self, column: str, option: str) -> ColumnError:
        """Return the error about a nested column in which several values, or none, could be meant."""
        paths = self.nested[column]
        best = _best_path(paths)
        advice = f"give {option} {best}" if best else f"give {option} with another column"
        kind = "lists or objects" if all(map(_IN_LIST.search, paths)) else "objects"
        return ColumnError(
            f"{self.name}: expected text in column {column!r}, found {kind} "
            f"({list_names(paths) if paths else 'without text'}); {advice}"
        )


def unknown_path_error(name: str, column: str, option: str, paths: Sequence[str]) -> ColumnError:
    """Return the error about a dotted path that leads to no value in any row, with the path that may be meant."""
    close = get_close_matches(column, paths, 1)
    best = close[0] if close else _best_path(paths) if option == "--text-column" else None
    advice = f"give {option} {best}" if best else f"give {option} with another column"
    return ColumnError(
        f"{name}: expected a path into column {column.partition('.')[0]!r}, found {list_names([column])}, which no row has; "
        f"it has {list_names(paths)}; {advice}"
    )


def _best_path(paths: Sequence[str]) -> str | None:
    """Return the path that most likely leads to a message."""
    for rank in [*_BODIES, _LEAVES]:
        for path in paths:
            names = [part for part in path.split(".") if not part.isdigit()]
            if plain_name(names[-1]) in rank:
                return path
    return paths[0] if paths else None


def _own_name(path: str) -> str:
    """Return the last name of a path that is not what a database wraps its values in."""
    parts = path.split(".")
    return parts[-2] if len(parts) > 1 and parts[-1] in _WRAPPERS else parts[-1]


def plain_name(column: str) -> str:
    """Return a name as the lists spell it: lower case without accents, words joined by underscores."""
    column = re.sub(r"#\s*$", " number", column)  # Case #
    words = re.sub(
        r"([A-Z]+)([A-Z][a-z])", r"\1_\2", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", column)
    )
    if not words.isascii():
        parts = unicodedata.normalize("NFKD", words.lower().translate(_LETTERS))
        words = unicodedata.normalize("NFC", _ACCENT.sub("", parts))
    plain = re.sub(r"[\W_]+", "_", words.lower())
    return plain.strip("_") or plain


def is_usual_name(name: str) -> bool:
    """Decide whether a text is a usual name of an id, a subject, a message or a time."""
    plain = plain_name(name)
    return any(plain in rank for ranks in (_IDS, _SUBJECTS, _BODIES, _TIMES) for rank in ranks)


def list_names(columns: Sequence[str]) -> str:
    """Return the names for a message: few, and none so long that it could be the text of a ticket, not a name."""
    if not columns:
        return "none"
    short = [
        name if len(name) <= _LONGEST_NAME else f"a text of {len(name)} characters"
        for name in columns[:_MOST_NAMES]
    ]
    return ", ".join(short) + (
        f" and {len(columns) - _MOST_NAMES} more" if len(columns) > _MOST_NAMES else ""
    )
