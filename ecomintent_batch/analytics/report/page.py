"""Facts and charts → HTML without a script; every value from outside goes through the template's escaping."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from ecomintent_batch.analytics.alerts import lowest_z, parse_alert
from ecomintent_batch.analytics.report.charts import (
    Period,
    colours_of,
    count_by_time,
    draw_bar,
    draw_confidence,
    draw_trend,
)
from ecomintent_batch.analytics.report.facts import (
    Facts,
    cost_rows,
    describe_span,
    describe_unusual,
    gather_facts,
    list_clear_days,
    list_mixes,
    top_moves,
)
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.analytics.templates import open_templates
from ecomintent_batch.options import WEEKS_COMPARED
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

_MOST_TRENDS = 12
_MOST_ROWS = 60
_OTHER_PARTS = {
    "sure": "something else, sure",
    "unsure": "no intent reached the threshold",
    "foreign": "in a language unknown to the model",
    "empty": "without words",
    "error": "could not be scored",
}


def render_page(store: RunStore, manifest: Manifest, summary: Summary) -> str:
    """Return the page of a run; of one that had nothing new, a page that says so."""
    environment = open_templates(Path(__file__).parent)
    environment.filters |= {
        "count": _count,
        "percent": _percent,
        "points": _points,
        "clock": _clock,
        "usd": show_usd,
    }
    facts = gather_facts(store, manifest, summary) if manifest.counts.predictions else None
    return environment.get_template("report.html").render(
        manifest=manifest, facts=facts, **(_to_show(facts) if facts else {})
    )


def _to_show(facts: Facts) -> dict[str, Any]:
    """Return the charts, and the rows of the tables."""
    intents = facts.volumes["intent"].to_list()
    colours = colours_of(intents)
    time = None if facts.per_day is None else count_by_time(facts.per_day)
    return {
        "span": describe_span(facts),
        "intents": intents,
        "colours": colours,
        "bar": draw_bar,
        "widest": max(facts.volumes["share"].to_list(), default=1) or 1,
        "other_parts": _OTHER_PARTS,
        "time": time,
        "trends": [] if time is None else _draw_trends(facts, time, intents, colours),
        "days": [] if time is None else _list_days(time, intents),
        "mixes": list_mixes(facts),
        "confidence": None if facts.confidence.is_empty() else _draw_all(facts),
        "unusual": None if facts.unusual is None else describe_unusual(facts.unusual),
        "risers": top_moves(facts.moves, up=True),
        "fallers": top_moves(facts.moves, up=False),
        "costs": cost_rows(facts),
        "most_rows": _MOST_ROWS,
        "usual_z": lowest_z(map(parse_alert, facts.manifest.settings.alert)),
        "weeks": WEEKS_COMPARED,
    }


def _draw_trends(
    facts: Facts, time: Period, intents: list[str], colours: dict[str, str]
) -> list[dict[str, Any]]:
    trends = []
    for intent in [name for name in intents if name in time.tickets][:_MOST_TRENDS]:
        unusual = set()
        if facts.unusual is not None and time.step == "day":
            clear = list_clear_days(facts.unusual)
            unusual = set(clear.filter(clear["intent"] == intent)["day"])
        chart = draw_trend(time.starts, time.tickets[intent], colours[intent], unusual, intent)
        ringed = bool(unusual.intersection(time.starts))
        trends.append({"intent": intent, "chart": chart, "ringed": ringed})
    return trends


def _list_days(time: Period, intents: list[str]) -> list[dict[str, Any]]:
    """Return a row for each step, the newest first, with the tickets of each intent."""
    shown = [name for name in intents if name in time.tickets][:_MOST_TRENDS]
    rows = [
        {"start": start, "tickets": [time.tickets[intent][place] for intent in shown]}
        for place, start in enumerate(time.starts)
    ]
    return rows[: -_MOST_ROWS - 1 : -1]


def _draw_all(facts: Facts) -> Any:
    import polars as pl

    bins = ["confidence_from", "confidence_to"]
    histogram = facts.confidence.group_by(bins).agg(pl.col("tickets").sum())
    return draw_confidence(histogram, facts.manifest.settings.threshold)


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * abs(value):.1f} points"


def show_usd(amount: float) -> str:
    """Show two digits of what is far less than a cent."""
    return (
        f"{amount:.4f}"
        if amount >= 0.001 or not amount
        else f"{amount:.{1 - math.floor(math.log10(amount))}f}"
    )


def _clock(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
