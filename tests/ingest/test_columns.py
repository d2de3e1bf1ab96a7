"""Columns: found by their usual names, named by flags, or told as missing."""

from __future__ import annotations

from typing import Any

import pytest

from ecomintent_batch.errors import ColumnError
from ecomintent_batch.ingest.columns import list_names, pick_columns


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            "id created_at subject description status",
            "id id, text subject + description, time created_at",
        ),  # Zendesk
        (
            "Ticket ID|Created Time|Subject|Description|Status",
            "id Ticket ID, text Subject + Description, time Created Time",
        ),
        (
            "ticket_id|created_datetime|subject|body_text|body_html",
            "id ticket_id, text subject + body_text, time created_datetime",
        ),
        (
            "conversation_id|conversation_started_at|message",
            "id conversation_id, text message, time conversation_started_at",
        ),
        (
            "ConversationId|CreatedAt|MessageBody",
            "id ConversationId, text MessageBody, time CreatedAt",
        ),
        ("utterance|id", "id id, text utterance, time none"),
        ("id|ticket_id|body|title|date", "id ticket_id, text title + body, time date"),
        ("Numero|Testo|Data apertura", "id Numero, text Testo, time Data apertura"),
        ("Numéro|Message|Date d'ouverture", "id Numéro, text Message, time Date d'ouverture"),
        ("Case #|Subject|msg", "id Case #, text Subject + msg, time none"),
        ("Ticket #|Message #|Message", "id Ticket #, text Message, time none"),
        (
            "Fallnummer|Kundenanliegen|Eingang am",
            "id Fallnummer, text Kundenanliegen, time Eingang am",
        ),
        ("id|Contenido|Fecha de apertura", "id id, text Contenido, time Fecha de apertura"),
        ("number|subject", "id number, text subject, time none"),
        ("subject|question", "id none (row numbers), text subject + question, time none"),
    ],
)
def test_usual_names_are_found(columns: str, expected: str) -> None:
    """Exports of helpdesks need no flags, however they spell their columns."""
    assert str(pick_columns("t", columns.split("|" if "|" in columns else None))) == expected


def test_flags_win_over_names() -> None:
    """What is named is taken, in the order of the flags, and each column is read once."""
    picked = pick_columns(
        "t",
        ["id", "ref", "a", "b", "at"],
        id_column="ref",
        text_column=("b", "a"),
        time_column="at",
        kept=("a", "at", "id", "a"),
    )
    assert (picked.ticket_id, picked.texts, picked.time, picked.kept) == (
        "ref",
        ("b", "a"),
        "at",
        ("at", "a", "id"),
    )
    assert picked.needed() == ["ref", "at", "a", "id", "b"]
    assert picked.time_is_named


def test_a_time_that_is_none_is_kept_where_it_was_asked_for() -> None:
    """Without its time a ticket still carries the column that --by names."""
    assert pick_columns("t", ["id", "body", "date"]).without_time().kept == ()
    assert pick_columns("t", ["id", "body", "date"], kept=("date",)).without_time().kept == (
        "date",
    )


@pytest.mark.parametrize(
    ("columns", "flags", "message"),
    [
        (["id", "text"], {"id_column": "nope"}, "expected a column 'nope', found id, text"),
        (["id", "text"], {"kept": ("Text",)}, "expected a column 'Text', found id, text"),
        (["id", "name"], {}, "expected a column with the text, found id, name; give --text-column"),
        (
            ["id", "body", "message"],
            {},
            "found body and message equally good among id, body, message; choose with --text-column",
        ),
        (["ticket_id", "ticket", "body"], {}, "choose with --id-column"),
        (["id", "body", "created_at", "created"], {}, "choose with --time-column"),
        ([], {}, "found none"),
    ],
)
def test_none_or_two_are_an_error(columns: list[str], flags: dict[str, Any], message: str) -> None:
    """The message lists the columns, and the flag that helps."""
    with pytest.raises(ColumnError) as caught:
        pick_columns("t.csv", columns, **flags)
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.csv: ")


def test_text_that_stands_for_names_is_not_repeated() -> None:
    """A file without a header has a ticket where its names should be, and a wide one fills no screen."""
    text = "my order has not arrived and I am really upset about this"
    assert list_names(["1", text]) == "1, a text of 57 characters"
    assert list_names([str(i) for i in range(100)]).endswith("28, 29 and 70 more")


def test_an_object_called_like_an_id_is_none():
    """Where `ticket` holds subject and description, the id is `id`; where it holds an id, that is it."""
    nested = {"ticket": ["ticket.subject", "ticket.description"]}
    picked = pick_columns("x", ["id", "ticket"], nested=nested, text_column=["ticket.description"])
    assert picked.ticket_id == "id"
    nested = {"ticket": ["ticket.id", "ticket.description"]}
    picked = pick_columns("x", ["id", "ticket"], nested=nested, text_column=["ticket.description"])
    assert picked.ticket_id == "ticket.id"
