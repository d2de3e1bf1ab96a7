"""Facts and charts → HTML without a script; every value from outside goes through the template's escaping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Template

from ecomintent_batch.analytics.alerts import lowest_z, parse_alert
from ecomintent_batch.analytics.examples import Example
from ecomintent_batch.analytics.report.charts import (
    Period,
    colours_of,
    count_by_time,
    draw_bar,
    draw_confidence,
    draw_trend,
)
from ecomintent_batch.analytics.report.facts import (
    MOST_TOPICS,
    Facts,
    Prices,
    cost_rows,
    describe_source,
    describe_span,
    list_clear_days,
    list_languages,
    list_mixes,
    top_moves,
)
from ecomintent_batch.analytics.report.gather import gather_facts
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.analytics.templates import open_templates
from ecomintent_batch.analytics.topics import DAYS
from ecomintent_batch.options import WEEKS_COMPARED
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

_MOST_TRENDS = 12
_MOST_ROWS = 60
_MOST_OF_IDS = 42  # characters
_OTHER_PARTS = {
    "sure": "something else, sure",
    "unsure": "no intent reached the threshold",
    "foreign": "in a language unknown to the model",
    "empty": "without words",
    "error": "could not be scored",
}


def render_page(
    store: RunStore, manifest: Manifest, summary: Summary, prices: Prices | None = None
) -> str:
    """Return the page of a run; of one that had nothing new, a page that says so."""
    if not manifest.counts.predictions:
        return _open_template().render(manifest=manifest, facts=None)
    settings = manifest.settings
    prices = prices or Prices(minutes=settings.minutes_per_ticket, cost=settings.cost_per_ticket)
    return render_facts(gather_facts(store, manifest, summary, prices))


def render_facts(facts: Facts) -> str:
    """Return the page of a run or of a period."""
    return _open_template().render(manifest=facts.manifest, facts=facts, **_to_show(facts))


def _open_template() -> Template:
    environment = open_templates(Path(__file__).parent)
    environment.filters |= {
        "count": _count,
        "percent": _percent,
        "points": _points,
        "clock": _clock,
        "usd": show_usd,
        "amount": show_amount,
    }
    return environment.get_template("report.html")


def _to_show(facts: Facts) -> dict[str, Any]:
    """Return the charts, and the rows of the tables."""
    intents = facts.volumes["intent"].to_list()
    colours = colours_of(intents)
    time = None if facts.per_day is None else count_by_time(facts.per_day)
    languages = list_languages(facts)
    return {
        "span": describe_span(facts),
        "source": describe_source(facts),
        "intents": intents,
        "colours": colours,
        "bar": draw_bar,
        "widest": max(facts.volumes["share"].to_list(), default=1) or 1,
        "other_parts": _OTHER_PARTS,
        "time": time,
        "trends": [] if time is None else _draw_trends(facts, time, intents, colours),
        "days": [] if time is None else _list_days(time, intents),
        "mixes": list_mixes(facts),
        "languages": languages if len(languages) > 1 else [],
        "examples": _list_examples(facts),
        "extra": _count_extra(facts),
        "confidence": None if facts.confidence.is_empty() else _draw_all(facts),
        "risers": top_moves(facts.moves, up=True),
        "fallers": top_moves(facts.moves, up=False),
        "topics": [] if facts.topics is None else facts.topics.head(MOST_TOPICS).to_dicts(),
        "topic_days": DAYS,
        "topics_have_time": facts.topics is not None and facts.topics["usual_tickets"].count() > 0,
        "costs": cost_rows(facts),
        "most_rows": _MOST_ROWS,
        "usual_z": lowest_z(map(parse_alert, facts.manifest.settings.alert)),
        "weeks": WEEKS_COMPARED,
    }


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Typical tickets of one number: where on the page they are, and what they are of."""

    anchor: str
    title: str
    tickets: list[Example]

    @property
    def ids(self) -> str:
        """The ids in a line; how many they are where they are long."""
        ids = ", ".join(one.ticket_id for one in self.tickets)
        return ids if len(ids) <= _MOST_OF_IDS else f"{len(self.tickets)} tickets"


def _list_examples(facts: Facts) -> dict[str, Examples]:
    """Return the typical tickets by what they are of, in the order of the page."""
    listed = [(key, tickets) for key, tickets in facts.examples.items() if tickets]
    return {
        key: Examples(anchor=f"e{place}", title=_name_group(key), tickets=tickets)
        for place, (key, tickets) in enumerate(listed)
    }


def _name_group(key: str) -> str:
    kind, _, name = key.partition(" ")
    if kind == "intent":
        return name
    if kind == "topic":
        return f"Topic {name}"
    return f"OTHER: {_OTHER_PARTS.get(name, name)}" if kind == "part" else key


def _count_extra(facts: Facts) -> dict[str, float]:
    """Return the tickets beyond the usual of each finding that tells some, where their price is known."""
    rows = facts.changes.rows if facts.changes and facts.prices else {}
    return {
        text: row["found"] - row["usual"]
        for text, row in rows.items()
        if row["measure"] == "tickets" and row["found"] > row["usual"]
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


def show_amount(amount: float) -> str:
    """Show hours or money: with one decimal below 100."""
    return f"{amount:,.1f}" if amount < 100 else f"{amount:,.0f}"


def _clock(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
