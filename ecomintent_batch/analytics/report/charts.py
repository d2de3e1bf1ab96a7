"""Tables → Vega-Lite charts by Altair, and the JavaScript that draws them where there is no network."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

# Each has a contrast of 3 or more on the page's white and on its dark ground; names stand beside every mark all the same,
# because no nine colours are told apart by everybody.
COLOURS = {
    "WISMO": "#0072b2", "RETURN_REQUEST": "#d55e00", "EXCHANGE_REQUEST": "#009074", "CANCEL_ORDER": "#c4588f",
    "DAMAGED_ITEM": "#a87900", "BILLING_DISPUTE": "#7d62c4", "PRODUCT_QUESTION": "#3d8fc4", "ACCOUNT_ISSUE": "#97694a",
    "OTHER": "#78828c",
}  # fmt: skip
_SPEC = dict[str, Any]
_SHOWN_VALUES = 12
_WEEKLY_FROM_DAYS = 200
_BAR, _AXIS, _TREND, _HISTOGRAM = 24, 48, 116, 240  # pixels
_ROOM_FOR_FIGURES = 1.3  # beside the longest bar
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def colours_of(intents: Iterable[str]) -> dict[str, str]:
    """Return the colour of each intent, the same for a name wherever it stands in the nine; others share the rest."""
    rest = itertools.cycle(colour for intent, colour in COLOURS.items() if intent != "OTHER")
    return {intent: COLOURS.get(intent) or next(rest) for intent in sorted(intents)}


def draw_volumes(volumes: pl.DataFrame, colours: Mapping[str, str]) -> _SPEC:
    """Return bars of tickets by intent, the most frequent first, with their shares in figures."""
    import altair as alt

    rows = volumes.select("intent", "tickets", "share").to_dicts()
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("intent:N", sort=[row["intent"] for row in rows], title=None, axis=alt.Axis(ticks=False, domain=False)),
        x=alt.X(
            "tickets:Q", title="tickets", axis=_count_axis(4),
            scale=alt.Scale(domain=[0, _ROOM_FOR_FIGURES * max(row["tickets"] for row in rows)], nice=False),
        ),
        tooltip=[alt.Tooltip("intent:N"), alt.Tooltip("tickets:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
    )  # fmt: skip
    bars = base.mark_bar(height={"band": 0.72}).encode(color=_colour(colours))
    figures = base.mark_text(align="left", dx=4).encode(text=alt.Text("share:Q", format=".1%"))
    return _finish(bars + figures, _BAR * len(rows) + _AXIS)


def draw_trends(
    per_day: pl.DataFrame, unusual: pl.DataFrame, intents: Sequence[str], colours: Mapping[str, str]
) -> list[_SPEC]:
    """Return a line for each intent over the days, or over the weeks of a long span, with unusual days ringed."""
    import altair as alt
    import polars as pl

    weekly = _is_weekly(per_day)
    counted = count_by_time(per_day)
    marked = unusual.select("day", "intent", "tickets", "usual") if not weekly else unusual.head(0)
    span = [str(counted["day"].min()), str(counted["day"].max())]
    charts = []
    for intent in intents:
        rows = (
            counted.filter(pl.col("intent") == intent)
            .with_columns(pl.col("day").cast(pl.String))
            .to_dicts()
        )
        encoded: Any = {
            "x": alt.X(
                "day:T",
                title=None,
                scale=alt.Scale(domain=span),
                axis=alt.Axis(format="%d %b", tickCount=4, labelOverlap=True),
            ),
            "y": alt.Y("tickets:Q", title=None, axis=_count_axis(3), scale=alt.Scale(domainMin=0)),
            "tooltip": [
                alt.Tooltip("day:T", title="week from" if weekly else "day", format="%a %d %b %Y"),
                alt.Tooltip("tickets:Q", format=","),
            ],
        }
        line = (
            alt.Chart(_data(rows)).encode(**encoded).mark_line(color=colours[intent], strokeWidth=2)
        )
        points = line.mark_circle(color=colours[intent], size=18)
        days = (
            marked.filter(pl.col("intent") == intent)
            .with_columns(pl.col("day").cast(pl.String))
            .to_dicts()
        )
        rings = (
            alt.Chart(_data(days))
            .encode(**encoded)
            .mark_point(color=colours[intent], size=140, strokeWidth=2)
        )
        charts.append(_finish(line + points + rings if days else line + points, _TREND))
    return charts


def draw_mix(by_column: pl.DataFrame, intents: Sequence[str], colours: Mapping[str, str]) -> _SPEC:
    """Return a bar of shares for each of the most frequent values of a column."""
    import altair as alt
    import polars as pl

    order = (
        by_column.group_by("value")
        .agg(pl.col("tickets").sum())
        .sort("tickets", "value", descending=[True, False])
    )
    values = order.head(_SHOWN_VALUES)["value"]
    rows = by_column.filter(pl.col("value").is_in(values.implode(), nulls_equal=True)).with_columns(
        pl.col("value").fill_null("(none)"),
        rank=pl.col("intent").replace_strict({name: i for i, name in enumerate(intents)}),
    )
    chart = (
        alt.Chart(_data(rows.to_dicts()))
        .mark_bar(height={"band": 0.78})
        .encode(
            y=alt.Y(
                "value:N", sort=[value or "(none)" for value in values], title=None, axis=alt.Axis(ticks=False, domain=False)
            ),
            x=alt.X("share_of_value:Q", title="share of the tickets", stack="zero", axis=alt.Axis(format="%", tickCount=4)),
            order=alt.Order("rank:Q"),
            color=_colour(colours),
            tooltip=[
                alt.Tooltip("value:N"), alt.Tooltip("intent:N"), alt.Tooltip("tickets:Q", format=","),
                alt.Tooltip("share_of_value:Q", title="share", format=".1%"),
            ],
        )
    )  # fmt: skip
    return _finish(chart, _BAR * len(values) + _AXIS)


def draw_confidence(histogram: pl.DataFrame, threshold: float) -> _SPEC:
    """Return bars of tickets by confidence, those under the threshold paler."""
    import altair as alt

    bars = (
        alt.Chart(_data(histogram.to_dicts()))
        .mark_bar(color=COLOURS["WISMO"], binSpacing=1)
        .encode(
            x=alt.X(
                "confidence_from:Q", bin="binned", title="confidence", scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", values=[0, 0.2, 0.4, 0.6, 0.8, 1]),
            ),
            x2="confidence_to:Q",
            y=alt.Y("tickets:Q", title="tickets", axis=_count_axis(4)),
            opacity=alt.condition(f"datum.confidence_to <= {threshold + 1e-9}", alt.value(0.5), alt.value(1)),
            tooltip=[
                alt.Tooltip("confidence_from:Q", title="from", format=".0%"),
                alt.Tooltip("confidence_to:Q", title="to", format=".0%"), alt.Tooltip("tickets:Q", format=","),
            ],
        )
    )  # fmt: skip
    rule = (
        alt.Chart(_data([{"threshold": threshold}]))
        .mark_rule(strokeDash=[5, 3])
        .encode(x="threshold:Q")
    )
    return _finish(bars + rule, _HISTOGRAM)


def count_by_time(per_day: pl.DataFrame) -> pl.DataFrame:
    """Return day, intent and tickets for every day (or week, where the span is long) and intent, zeros included."""
    import polars as pl

    known = per_day.drop_nulls("day").select("day", "intent", "tickets")
    every = "1d"
    if _is_weekly(per_day):
        known, every = known.with_columns(pl.col("day").dt.truncate("1w")), "1w"
    known = known.group_by("day", "intent").agg(pl.col("tickets").sum())
    days = known.select(pl.date_range(pl.col("day").min(), pl.col("day").max(), every).alias("day"))
    spine = days.join(known.select("intent").unique(), how="cross")
    return (
        spine.join(known, on=["day", "intent"], how="left")
        .with_columns(pl.col("tickets").fill_null(0))
        .sort("day", "intent")
    )


@lru_cache(maxsize=1)
def bundle_script() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that a page can hold."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _is_weekly(per_day: pl.DataFrame) -> bool:
    days = per_day["day"].drop_nulls()
    return len(days) > 0 and (days.max() - days.min()).days > _WEEKLY_FROM_DAYS  # type: ignore[operator,union-attr]


def _data(rows: list[dict[str, Any]]) -> alt.Data:
    import altair as alt

    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _count_axis(ticks: int) -> alt.Axis:
    """Return an axis of whole numbers: there is no half ticket."""
    import altair as alt

    return alt.Axis(tickCount=ticks, labelExpr="datum.value % 1 ? '' : format(datum.value, '~s')")


def _colour(colours: Mapping[str, str]) -> alt.Color:
    import altair as alt

    return alt.Color(
        "intent:N", legend=None, scale=alt.Scale(domain=list(colours), range=list(colours.values()))
    )


def _finish(chart: alt.LayerChart | alt.Chart, height: int) -> _SPEC:
    """Return the chart as plain data: as wide as its place, on the page's own ground."""
    import altair as alt

    config = alt.Config(
        font=_FONT,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", labelLimit=150
        ),
        text=alt.MarkConfig(fontSize=12),
    )
    fit = alt.AutoSizeParams(type="fit", contains="padding", resize=True)
    spec: _SPEC = chart.properties(
        width="container", height=height, background="transparent", autosize=fit, config=config
    ).to_dict()
    return spec
