"""Facts and charts → HTML; every value from outside goes through the template's escaping."""

from __future__ import annotations

import math
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ecomintent_batch.analytics.alerts import lowest_z, parse_alert
from ecomintent_batch.analytics.report.charts import (
    bundle_script,
    colours_of,
    count_by_time,
    draw_confidence,
    draw_mix,
    draw_trends,
    draw_volumes,
)
from ecomintent_batch.analytics.report.facts import (
    Facts,
    cost_rows,
    describe_unusual,
    gather_facts,
    top_moves,
)
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.options import WEEKS_COMPARED
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

_MOST_TRENDS = 12
_MOST_ROWS = 200


def render_page(store: RunStore, manifest: Manifest, summary: Summary) -> str:
    """Return the page of a run; of one that had nothing new, a page that says so."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "percent": _percent,
        "points": _points,
        "clock": _clock,
        "usd": show_usd,
    }
    facts = gather_facts(store, manifest, summary) if manifest.counts.predictions else None
    return environment.get_template("report.html").render(
        manifest=manifest,
        facts=facts,
        nonce=secrets.token_urlsafe(16),
        **(_to_show(facts) if facts else {"charts": {}, "script": ""}),
    )


def _to_show(facts: Facts) -> dict[str, Any]:
    """Return the charts by their places in the page, and the rows of the tables beneath."""
    intents = facts.volumes["intent"].to_list()
    colours = colours_of(intents)
    charts: dict[str, Any] = {"volumes": draw_volumes(facts.volumes, colours)}
    charts["confidence"] = draw_confidence(_all_intents(facts), facts.manifest.settings.threshold)
    charts |= {
        f"mix-{i}": draw_mix(table, intents, colours)
        for i, table in enumerate(facts.mixes.values())
    }
    trends: list[dict[str, Any]] = []
    if facts.per_day is not None:
        shown = [intent for intent in intents if intent in set(facts.per_day["intent"])][
            :_MOST_TRENDS
        ]
        unusual = facts.unusual if facts.unusual is not None else facts.per_day.head(0)
        for i, spec in enumerate(draw_trends(facts.per_day, unusual, shown, colours)):
            charts[f"trend-{i}"] = spec
            trends.append({"intent": shown[i], "chart": f"trend-{i}"})
    return {
        "charts": charts,
        "script": bundle_script(),
        "colours": colours,
        "trends": trends,
        "days": _pivot_days(facts, [trend["intent"] for trend in trends]),
        "unusual": describe_unusual(facts.unusual) if facts.unusual is not None else None,
        "risers": top_moves(facts.moves, up=True),
        "fallers": top_moves(facts.moves, up=False),
        "costs": cost_rows(facts),
        "most_rows": _MOST_ROWS,
        "usual_z": lowest_z(map(parse_alert, facts.manifest.settings.alert)),
        "weeks": WEEKS_COMPARED,
    }


def _all_intents(facts: Facts) -> Any:
    import polars as pl

    bins = ["confidence_from", "confidence_to"]
    return facts.confidence.group_by(bins).agg(pl.col("tickets").sum()).sort(bins)


def _pivot_days(facts: Facts, intents: list[str]) -> list[dict[str, Any]]:
    """Return a row for each day or week, the newest first, with a column for each intent."""
    if facts.per_day is None:
        return []
    wide = (
        count_by_time(facts.per_day)
        .pivot("intent", index="day", values="tickets")
        .sort("day", descending=True)
    )
    return wide.select("day", *intents).head(_MOST_ROWS).to_dicts()


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points".replace("-", "−")


def show_usd(amount: float) -> str:
    """Show two digits of what is far less than a cent."""
    return (
        f"{amount:.4f}"
        if amount >= 0.001 or not amount
        else f"{amount:.{1 - math.floor(math.log10(amount))}f}"
    )


def _clock(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
