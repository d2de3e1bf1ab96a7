"""A sheet of an Excel or OpenDocument workbook → a CSV file in a private folder, read like any other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.ingest.files import InputFile, Listing


def unfold_workbooks(listing: Listing, sheet: str | None) -> Listing:
    """Return a listing of CSV files with the cells of workbooks: of the sheet named, else of the first that has rows.

    Raises:
        SourceError: the reader is not installed, a file is no workbook, or it has no such sheet.
    """
    folder = TemporaryDirectory(prefix="ecomintent-source-")
    files, notes, others = [], list(listing.notes), list[str]()
    for index, file in enumerate(listing.files):
        name, rows, sheets = _read_sheet(file, sheet)
        others += [other for other in sheets if other != name and other not in others]
        path = Path(folder.name) / f"{index:05d}"
        with path.open("w", newline="", encoding="utf-8") as written:
            csv.writer(written).writerows(rows)
        files.append(replace(file, path=path, identity=[*file.identity, name]))
        notes.append(f"sheet {name}")
    notes = list(dict.fromkeys(notes))
    advice = f"or choose another sheet with --table: {list_names(others)}" if others else ""
    return replace(listing, files=files, notes=notes, keep=[*listing.keep, folder], advice=advice)


def _read_sheet(
    file: InputFile, sheet: str | None
) -> tuple[str, Sequence[Sequence[str]], list[str]]:
    """Return the name of a sheet, its cells as text, and the names of all sheets."""
    import fastexcel

    try:
        reader = fastexcel.read_excel(file.path)
        names = reader.sheet_names
        if sheet is not None and sheet not in names:
            raise SourceError(
                f"{file.name}: expected a sheet {sheet}, found {list_names(names)}; choose with --table"
            )
        for name in [sheet] if sheet is not None else names:
            cells = reader.load_sheet(name, header_row=None, dtypes="string").to_arrow()
            if cells.num_rows:
                columns = [column.to_pylist() for column in cells.columns]
                rows = [[_text(v) for v in row] for row in zip(*columns, strict=True)]
                return name, rows, names
    except fastexcel.FastExcelError as error:
        reason = str(error).partition("\n")[0].replace(str(file.path), file.name)
        raise SourceError(f"{file.name}: expected a workbook, found: {reason}") from None
    raise SourceError(f"{file.name}: expected a sheet with tickets, found an empty workbook")


def _text(value: Any) -> str:
    return "" if value is None else str(value)
