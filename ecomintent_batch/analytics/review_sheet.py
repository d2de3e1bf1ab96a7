"""The XLSX sheet that people label: drop-down labels, wrapped messages, the definitions of the intents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecomintent_batch.storage.packaged import packaged_path

if TYPE_CHECKING:
    import polars as pl

LABEL = "label"
RIGHT = "ok"  # in the label column: the model's intent is right
_GUIDE = packaged_path("training/corpus/GUIDE.md")
_DEFINITION = re.compile(r"^\| *([A-Z_]+) *\| *(.+?) *\| *(.*?) *\|$", re.MULTILINE)
_TICKETS, _INTENTS = "tickets", "intents"
_WIDTHS = {"ticket_id": 110, "message": 560, LABEL: 170, "top_intent": 170, "second_intent": 170}
_TOP = {"valign": "top"}
_WRAPPED = {**_TOP, "text_wrap": True}
# A row number with a separator of thousands would be saved with it.
_FORMATS = {"message": _WRAPPED, "row_number": {**_TOP, "num_format": "0"}}


def write_xlsx(rows: pl.DataFrame, labels: Sequence[str], path: Path) -> None:
    """Write a workbook: the tickets, and a second sheet that says what each label means."""
    import xlsxwriter

    with xlsxwriter.Workbook(path) as workbook:
        rows.write_excel(
            workbook,
            worksheet=_TICKETS,
            freeze_panes=(1, rows.columns.index(LABEL) + 1),
            column_widths={name: width for name, width in _WIDTHS.items() if name in rows.columns},
            column_formats={name: _FORMATS.get(name, _TOP) for name in rows.columns},
        )
        choices = [*([] if _is_taken(labels) else [RIGHT]), *labels]
        _write_definitions(workbook, choices)
        if len(rows):
            column = rows.columns.index(LABEL)
            workbook.get_worksheet_by_name(_TICKETS).data_validation(
                1, column, len(rows), column,
                {
                    "validate": "list",
                    "source": f"={_INTENTS}!$A$2:$A${len(choices) + 1}",
                    "input_title": "Intent",
                    "input_message": f"What the customer wants. {RIGHT}: top_intent is right. "
                    f"The sheet {_INTENTS!r} says what each means.",
                    "error_title": "Not a label",
                    "error_message": f"Choose one of the list; the sheet {_INTENTS!r} has the definitions.",
                },
            )  # fmt: skip


def read_definitions() -> dict[str, tuple[str, str]]:
    """Return for each intent of the embedded model what it means, and what sounds like it but is another."""
    text = _GUIDE.read_text(encoding="utf-8") if _GUIDE.is_file() else ""
    return {
        intent: (f"The customer {means}", other)
        for intent, means, other in _DEFINITION.findall(text)
    }


def _write_definitions(workbook: Any, choices: Sequence[str]) -> None:
    definitions = {
        RIGHT: ("the intent in top_intent is right", ""),
        **read_definitions(),
    }
    sheet = workbook.add_worksheet(_INTENTS)
    bold, wrapped = (workbook.add_format(style) for style in ({"bold": True}, _WRAPPED))
    sheet.set_column(0, 0, 24, wrapped)
    sheet.set_column(1, 2, 70, wrapped)
    sheet.freeze_panes(1, 0)
    for column, heading in enumerate(
        ("label", "meaning", "another intent, though it sounds alike")
    ):
        sheet.write_string(0, column, heading, bold)
    for row, choice in enumerate(choices, 1):
        for column, text in enumerate((choice, *definitions.get(choice, ("", "")))):
            sheet.write_string(row, column, text)


def _is_taken(labels: Sequence[str]) -> bool:
    return any(label.casefold() == RIGHT for label in labels)
