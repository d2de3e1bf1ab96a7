"""Rows of a query as text that fits a terminal: no column is dropped, no value is broken over lines.

What is too wide gets, in this order: headings on several lines, shortened hashes and paths, one line per value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

if TYPE_CHECKING:
    import polars as pl

MAX_ROWS = 10_000
_GAP = "  "
_SHORT = 14  # characters that stay of a hash or a path
_KEYS = ("run_id", "ticket_id", "row_number", "intent", "day", "period", "value")


@dataclass(frozen=True)
class _Column:
    """One column: its name, the lines of its heading, its cells."""

    name: str
    heading: tuple[str, ...]
    cells: tuple[str, ...]
    right: bool

    @property
    def width(self) -> int:
        return max(map(cell_len, (*self.heading, *self.cells)))


def lay_out(frame: pl.DataFrame, width: int) -> str:
    """Return the rows as lines of at most `width` characters, unless one value alone is longer."""
    shown = frame.head(MAX_ROWS)
    columns = [_to_column(shown[name]) for name in shown.columns]
    if not columns:
        return ""
    steps: tuple[Callable[[_Column], _Column], ...] = (_same, _split_heading, _shorten)
    for step in steps:
        columns = [step(column) for column in columns]
        if sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1) <= width:
            lines = _to_lines(columns)
            break
    else:
        lines = _stack([_to_column(shown[name]) for name in shown.columns])
    text = "\n".join(lines)
    more = f"\n({len(shown):,} of {len(frame):,} rows)" if len(frame) > len(shown) else ""
    return f"{text}{more}" if len(frame) else f"{text}\n(0 rows)"


def format_value(value: Any) -> str:
    """Return a value as a reader wants it: minutes of a time, nothing for NULL."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(one)}" for key, one in value.items())
    return " ".join(str(value).split())


def format_floats(values: Sequence[float | None]) -> list[str]:
    """Return numbers with the same decimals, at most four; with three digits each where that would show zeros."""
    numbers = [value for value in values if value is not None]
    if any(0 < abs(value) < 0.001 for value in numbers):
        return ["" if value is None else f"{value:.3g}" for value in values]
    decimals = next(
        (d for d in range(4) if all(abs(round(v, d) - v) < 0.00005 for v in numbers)), 4
    )
    return ["" if value is None else f"{value:.{decimals}f}" for value in values]


def _to_column(series: pl.Series) -> _Column:
    values = series.to_list()
    cells = format_floats(values) if series.dtype.is_float() else list(map(format_value, values))
    return _Column(series.name, (series.name,), tuple(cells), series.dtype.is_numeric())


def _same(column: _Column) -> _Column:
    return column


def _split_heading(column: _Column) -> _Column:
    """Put each word of a name on a line of its own: `mean_confidence` is wider than its numbers."""
    first, *rest = column.name.split("_")
    return replace(column, heading=tuple(_join_short([first, *(f"_{word}" for word in rest)])))


def _join_short(words: Sequence[str]) -> list[str]:
    """Join words while a line stays under ten characters."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < 10:
            lines[-1] += word
        else:
            lines.append(word)
    return lines


def _shorten(column: _Column) -> _Column:
    """Keep both ends of hashes and paths; a key stays whole, because people copy it."""
    if column.right or column.name.endswith(_KEYS):
        return column
    return replace(column, cells=tuple(map(_keep_ends, column.cells)))


def _keep_ends(text: str) -> str:
    if len(text) <= _SHORT:
        return text
    head = _SHORT // 2
    return f"{text[:head]}…{text[len(text) - (_SHORT - head - 1) :]}"


def _to_lines(columns: Sequence[_Column]) -> list[str]:
    height = max(len(column.heading) for column in columns)
    widths = [column.width for column in columns]
    # Headings end at the same line.
    headings = [("",) * (height - len(one.heading)) + one.heading for one in columns]
    rows = [*zip(*headings, strict=True), *zip(*(one.cells for one in columns), strict=True)]
    return [
        _GAP.join(
            _pad(text, width, right=column.right)
            for text, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _stack(columns: Sequence[_Column]) -> list[str]:
    """Return a line per value and an empty line between rows."""
    width = max(len(column.name) for column in columns)
    lines: list[str] = []
    for row in range(len(columns[0].cells)):
        lines += [""] if lines else []
        lines += [f"{one.name:<{width}}{_GAP}{one.cells[row]}".rstrip() for one in columns]
    return lines or [column.name for column in columns]
