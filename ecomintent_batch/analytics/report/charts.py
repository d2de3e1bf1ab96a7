"""Numbers → charts as SVG, drawn where the page is written: the page needs no script, and prints as it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    import polars as pl

# Each has a contrast of 3 or more on the page's white and on its dark ground; names are next to every mark all the same,
# because nobody can rely on telling nine colours apart.
COLOURS = {
    "WISMO": "#0072b2", "RETURN_REQUEST": "#d55e00", "EXCHANGE_REQUEST": "#009074", "CANCEL_ORDER": "#c4588f",
    "DAMAGED_ITEM": "#a87900", "BILLING_DISPUTE": "#7d62c4", "PRODUCT_QUESTION": "#3d8fc4", "ACCOUNT_ISSUE": "#97694a",
    "OTHER": "#78828c",
}  # fmt: skip
_MOST_POINTS = 200
_DAYS_OF_A_GAP, _LEAST_SHARE = 120, 0.01  # what is farther off, and less, is not drawn
_STEPS = ("day", "week", "month", "year")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 340, 130, 34, 38, 16, 20
_WIDE, _TALL = 560, 210

_RING = Markup(
    '<circle cx="{:.1f}" cy="{:.1f}" r="6" fill="none" stroke="{}" class="ring"><title>{}</title></circle>'
)
_COLUMN = Markup(
    '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"><title>{}</title></rect>'
)
_GRID = Markup('<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" class="grid"/>')


@dataclass(frozen=True)
class Period:
    """Tickets over time in steps that are not too many.

    Attributes:
        step: day, week, month or year.
        starts: The first day of each step, without gaps.
        tickets: Of each intent, one number for each step.
        not_drawn: Tickets whose date is far from all others.
        first_day: The first day of the tickets that are drawn.
        last_day: The last one.
    """

    step: str
    starts: list[date]
    tickets: dict[str, list[int]]
    not_drawn: int
    first_day: date
    last_day: date


def colours_of(intents: Iterable[str]) -> dict[str, str]:
    """Return the colour of each intent, the same for a name at any position among the nine; others share the rest."""
    rest = itertools.cycle(colour for intent, colour in COLOURS.items() if intent != "OTHER")
    return {intent: COLOURS.get(intent) or next(rest) for intent in sorted(intents)}


def count_by_time(per_day: pl.DataFrame) -> Period | None:
    """Return the tickets by day, or by week, month or year where the span is long; None without a time."""
    import polars as pl

    known = per_day.drop_nulls("day").select("day", "intent", "tickets")
    if known.is_empty():
        return None
    first, last = _find_span(known.group_by("day").agg(pl.col("tickets").sum()).sort("day"))
    drawn = known.filter(pl.col("day").is_between(first, last))
    step = next(
        name
        for name in _STEPS
        if name == _STEPS[-1] or len(_list_steps(first, last, name)) <= _MOST_POINTS
    )
    starts = _list_steps(first, last, step)
    places = {start: place for place, start in enumerate(starts)}
    tickets = {intent: [0] * len(starts) for intent in sorted(set(known["intent"]))}
    for day, intent, count in drawn.iter_rows():
        tickets[intent][places[_start_of(day, step)]] += count
    not_drawn = int(known["tickets"].sum()) - int(drawn["tickets"].sum())
    return Period(step, starts, tickets, not_drawn, first, last)


def draw_bar(share: float, colour: str) -> Markup:
    """Return a bar from 0 to 1, as wide as its cell."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{:.2f}" height="10" fill="{}"/></svg>'
    ).format(100 * share, colour)


def draw_trend(
    starts: Sequence[date], counts: Sequence[int], colour: str, unusual: Collection[date], name: str
) -> Markup:
    """Return a line over time with its highest and its newest number, and rings around unusual days."""
    top = nice_limit(max(counts))
    across = (_WIDTH - _LEFT - _RIGHT) / max(len(starts) - 1, 1)
    points = [
        (_LEFT + place * across, _scale(count, top, _HEIGHT)) for place, count in enumerate(counts)
    ]
    parts = [_draw_count_axis(top, _WIDTH, _HEIGHT), _draw_time_axis(starts, across)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(
        Markup('<polyline points="{}" fill="none" stroke="{}" class="line"/>').format(line, colour)
    )
    if len(points) == 1:
        parts.append(_draw_dot(points[0], colour))
    highest, last = max(range(len(counts)), key=counts.__getitem__), len(counts) - 1
    x, y = points[last]
    parts.append(_draw_text(x + 4, y + 4, f"{counts[last]:,}", "start", "figure"))
    if highest != last:
        x, y = points[highest]
        parts.append(
            _draw_text(max(x, _LEFT + 12), y - 5, f"{counts[highest]:,}", "middle", "figure")
        )
    for place, start in enumerate(starts):
        if start in unusual:
            x, y = points[place]
            said = f"{start:%a %d %b %Y}: {counts[place]:,} tickets, unusual"
            parts.append(_RING.format(x, y, colour, said))
    said = f"{name}: from {counts[0]:,} to {counts[-1]:,} tickets, at most {max(counts):,}"
    return _wrap(parts, _WIDTH, _HEIGHT, said)


def draw_confidence(histogram: pl.DataFrame, threshold: float) -> Markup:
    """Return bars of tickets by confidence from 0 to 100 %, those under the threshold paler."""
    rows = histogram.sort("confidence_from").to_dicts()
    total = sum(row["tickets"] for row in rows)
    top = nice_limit(max(row["tickets"] for row in rows))
    span = _WIDE - _LEFT - _RIGHT
    parts = [_draw_count_axis(top, _WIDE, _TALL)]
    for row in rows:
        x, wide = (
            _LEFT + span * row["confidence_from"],
            span * (row["confidence_to"] - row["confidence_from"]),
        )
        y = _scale(row["tickets"], top, _TALL)
        css = "below" if row["confidence_to"] <= threshold + 1e-9 else "above"
        said = f"{100 * row['confidence_from']:.0f} to {100 * row['confidence_to']:.0f} %: {row['tickets']:,} tickets"
        parts.append(_COLUMN.format(x + 0.5, y, wide - 1, _TALL - _BOTTOM - y, css, said))
        if row["tickets"] >= 0.03 * total:
            share = f"{100 * row['tickets'] / total:.0f} %"
            parts.append(_draw_text(x + wide / 2, y - 3, share, "middle", "figure"))
    for tenth in range(0, 11, 2):
        anchor = "end" if tenth == 10 else "middle"
        parts.append(
            _draw_text(_LEFT + span * tenth / 10, _TALL - 6, f"{10 * tenth} %", anchor, "")
        )
    x = _LEFT + span * threshold
    parts.append(
        Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="{1}" class="threshold"/>').format(
            x, _TALL - _BOTTOM
        )
    )
    parts.append(_draw_text(x - 4, 12, f"threshold {threshold:g}", "end", "figure"))
    return _wrap(parts, _WIDE, _TALL, "Tickets by the confidence of their first choice")


def nice_limit(highest: float) -> int:
    """Return the end of an axis: 1, 2 or 5 times a power of ten, an even one of two ticks where it can be."""
    if highest <= 1:
        return 1
    power = 10 ** math.floor(math.log10(highest))
    steps = [step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10)]
    return int(next(step for step in steps if step >= highest and step == int(step)))


def _find_span(days: pl.DataFrame) -> tuple[date, date]:
    """Return the first and last day without those that a long gap separates from nearly all tickets."""
    rows = days.rows()
    least = _LEAST_SHARE * sum(count for _, count in rows)
    groups: list[list[tuple[date, int]]] = [[rows[0]]]
    for before, row in itertools.pairwise(rows):
        if (row[0] - before[0]).days > _DAYS_OF_A_GAP:
            groups.append([])
        groups[-1].append(row)
    kept = [group for group in groups if sum(count for _, count in group) >= least]
    return kept[0][0][0], kept[-1][-1][0]


def _start_of(day: date, step: str) -> date:
    if step == "week":
        return day - timedelta(days=day.weekday())
    if step == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if step == "year" else day


def _next_start(day: date, step: str) -> date:
    far = {"day": 1, "week": 7, "month": 31, "year": 366}[step]
    return _start_of(day + timedelta(days=far), step)


def _list_steps(first: date, last: date, step: str) -> list[date]:
    """Return the starts of the steps from one day to another, and one more than can be drawn at most."""
    starts = [_start_of(first, step)]
    while starts[-1] < _start_of(last, step) and (len(starts) <= _MOST_POINTS or step == "year"):
        starts.append(_next_start(starts[-1], step))
    return starts


def _scale(count: float, top: float, height: int) -> float:
    return height - _BOTTOM - (height - _TOP - _BOTTOM) * count / top


def _draw_count_axis(top: int, width: int, height: int) -> Markup:
    """Return lines at zero, at half of the height and at its end; there is no half ticket."""
    ticks = [0, top // 2, top] if top % 2 == 0 else [0, top]
    parts = []
    for tick in ticks:
        y = _scale(tick, top, height)
        parts.append(_GRID.format(_LEFT, width - _RIGHT, y, y))
        parts.append(_draw_text(_LEFT - 5, y + 4, _shorten(tick), "end", ""))
    return Markup("").join(parts)


def _draw_time_axis(starts: Sequence[date], across: float) -> Markup:
    """Return three dates with their years at most."""
    last = len(starts) - 1
    places = [0] if last == 0 else [0, last] if last < 4 else [0, last // 2, last]
    by_month = (starts[-1] - starts[0]).days > 62
    parts = []
    for place in places:
        anchor = "middle" if 0 < place < last else "start" if place == 0 else "end"
        day = starts[place]
        text = f"{day:%b %Y}" if by_month else f"{day.day} {day:%b %Y}"
        parts.append(_draw_text(_LEFT + place * across, _HEIGHT - 5, text, anchor, ""))
    return Markup("").join(parts)


def _draw_dot(point: tuple[float, float], colour: str) -> Markup:
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>').format(*point, colour)


def _draw_text(x: float, y: float, text: str, anchor: str, css: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, css, text
    )


def _shorten(count: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)


def _wrap(parts: Sequence[Markup], width: int, height: int, said: str) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, escape(said), Markup("").join(parts)
    )
