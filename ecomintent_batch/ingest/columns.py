"""Which columns hold the id, the text and the time: named by flags, or known by their usual names.

The lists cover the exports of Zendesk, Gorgias, Freshdesk, Intercom, Help Scout and Shopify Inbox. Names
on one line are equally good; a line above wins over the lines below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ecomintent_batch.errors import ColumnError

_IDS = (
    ("ticket_id", "ticket_number", "ticket"),
    ("conversation_id", "case_id", "request_id", "case_number", "display_id"),
    ("id",),
    ("message_id", "number", "uuid", "key", "external_id"),
)
_SUBJECTS = (("subject", "ticket_subject"), ("title", "summary"))
_BODIES = (
    ("body_text", "text_body", "body_plain", "plain_body", "stripped_text", "description_text"),
    ("body", "message", "text", "ticket_body", "message_body", "customer_message"),
    (
        "description",
        "content",
        "comment",
        "first_message",
        "latest_comment",
        "last_message",
        "question",
        "utterance",
    ),
    ("body_html", "html_body", "excerpt", "preview"),
)
_TIMES = (
    ("created_at", "created", "created_time", "created_date", "creation_date", "date_created", "created_datetime"),
    ("ticket_created_at", "conversation_started_at", "initially_created_at", "opened_at", "submitted_at"),
    ("received_at", "sent_at", "timestamp", "datetime", "date", "time"),
)  # fmt: skip
_LONGEST_NAME = 40
_MOST_NAMES = 30


@dataclass(frozen=True)
class PickedColumns:
    """The columns of a source that a run reads."""

    ticket_id: str
    texts: tuple[str, ...]
    time: str | None
    kept: tuple[str, ...]  # the time column first, then those of --keep and --by
    asked: tuple[str, ...] = ()  # those of --keep and --by alone
    time_is_named: bool = False

    def needed(self) -> list[str]:
        """Return every source column to read, each once."""
        return list(dict.fromkeys((self.ticket_id, *self.kept, *self.texts)))

    def without_time(self) -> PickedColumns:
        """Return the same columns where the time turned out to be none; --keep and --by still carry it along."""
        return replace(self, time=None, kept=self.asked)

    def __str__(self) -> str:
        return f"id {self.ticket_id}, text {' + '.join(self.texts)}, time {self.time or 'none'}"


def pick_columns(
    name: str,
    columns: Sequence[str],
    *,
    id_column: str | None = None,
    text_column: Sequence[str] = (),
    time_column: str | None = None,
    kept: Sequence[str] = (),
) -> PickedColumns:
    """Pick the columns to read; named ones must exist, the others are found by their usual names.

    Raises:
        ColumnError: a named column is missing, or none or two equally good ones were found.
    """
    named = [
        column for column in (id_column, *text_column, time_column, *kept) if column is not None
    ]
    for column in named:
        if column not in columns:
            raise ColumnError(f"{name}: expected a column {column!r}, found {list_names(columns)}")
    ticket_id = id_column or _find(name, columns, _IDS, "the ticket's id", "--id-column")
    if ticket_id is None:
        raise ColumnError(
            f"{name}: expected a column with the ticket's id, found {list_names(columns)}; give --id-column"
        )
    texts = tuple(text_column)
    if not texts:
        subject = _find(name, columns, _SUBJECTS, "the subject", "--text-column")
        body = _find(name, columns, _BODIES, "the text", "--text-column")
        texts = tuple(column for column in (subject, body) if column is not None)
        if not texts:
            raise ColumnError(
                f"{name}: expected a column with the text, found {list_names(columns)}; give --text-column"
            )
    time = time_column or _find(name, columns, _TIMES, "the time", "--time-column")
    asked = tuple(dict.fromkeys(kept))
    everything = dict.fromkeys([time, *asked] if time else asked)
    return PickedColumns(ticket_id, texts, time, tuple(everything), asked, time_column is not None)


def _find(
    name: str, columns: Sequence[str], ranks: Sequence[Sequence[str]], what: str, flag: str
) -> str | None:
    plain = {
        column: re.sub(
            r"[^a-z0-9]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower()
        ).strip("_")
        for column in columns
    }
    for rank in ranks:
        found = [column for column in columns if plain[column] in rank]
        if len(found) > 1:
            raise ColumnError(
                f"{name}: expected one column with {what}, found {' and '.join(found)} equally good "
                f"among {list_names(columns)}; choose with {flag}"
            )
        if found:
            return found[0]
    return None


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


def check_unique(name: str, columns: Sequence[str]) -> None:
    """Raise ColumnError where two columns share a name, case aside, as they would in SQL."""
    seen: set[str] = set()
    for column in columns:
        if column and column.lower() in seen:
            raise ColumnError(
                f"{name}: expected column names that differ, found {list_names([column])} twice; rename one"
            )
        seen.add(column.lower())
