"""A committed run and its summaries → what the report says, in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ecomintent_batch.analytics.case_study import PUBLISHED
from ecomintent_batch.analytics.history import find_previous_run, open_history
from ecomintent_batch.analytics.summaries import Summary, add_change
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.runs.layout import LANGUAGES, UNUSUAL_DAYS, VOLUMES, VOLUMES_PER_DAY
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore

if TYPE_CHECKING:
    import polars as pl

_MOST_MOVED, _MOST_UNUSUAL, _LEAST_SURE = 3, 12, 10
_SHOWN_TEXT = 240  # characters of a message


@dataclass(frozen=True)
class Facts:
    """All that the page shows; tables by the names of the files in `sql/`."""

    manifest: Manifest
    volumes: pl.DataFrame
    mixes: dict[str, pl.DataFrame]
    per_day: pl.DataFrame | None
    unusual: pl.DataFrame | None
    confidence: pl.DataFrame
    languages: pl.DataFrame
    pairs: pl.DataFrame
    least_sure: pl.DataFrame
    moves: list[dict[str, Any]]
    before: str | None
    alerts: list[str]

    @property
    def tickets(self) -> int:
        """Rows of the predictions."""
        return self.manifest.counts.predictions

    @property
    def labelled(self) -> int:
        """Tickets whose first choice reached the threshold."""
        return int((self.volumes["first_choice"] - self.volumes["below_threshold"]).sum())

    @property
    def usd_per_1000(self) -> float | None:
        """Cost of a thousand tickets of this run at the price of the settings."""
        elapsed_s = self.manifest.performance.elapsed_s
        price = self.manifest.settings.hourly_price
        return 1000 * price * elapsed_s / 3600 / self.tickets if self.tickets else None


def gather_facts(store: RunStore, manifest: Manifest, summary: Summary) -> Facts:
    """Read what the summaries lack, and compare with the previous run."""
    tables = summary.tables
    connection = open_views(
        store, [manifest], {"run_id": manifest.run_id, "max_rows": str(_LEAST_SURE)}
    )
    confidence = connection.sql(read_sql("confidence_histogram")).pl()
    pairs = connection.sql(read_sql("multi_intent_pairs")).pl()
    least_sure = connection.sql(read_sql("review_queue")).pl()
    if manifest.settings.keep_text:
        least_sure = _add_messages(connection, least_sure)
    connection.close()
    previous = find_previous_run(store, manifest)
    return Facts(
        manifest=manifest,
        volumes=tables[VOLUMES],
        mixes={
            name: table for name, table in tables.items() if name.startswith("volume_by_intent_by_")
        },
        per_day=_days_to_show(store, manifest, summary),
        unusual=tables.get(UNUSUAL_DAYS),
        confidence=confidence,
        languages=tables[LANGUAGES],
        pairs=pairs,
        least_sure=least_sure,
        moves=add_change(tables[VOLUMES], store, previous).to_dicts() if previous else [],
        before=_describe_previous(previous) if previous else None,
        alerts=[alert.message for alert in summary.alerts],
    )


def describe_unusual(unusual: pl.DataFrame) -> list[str]:
    """Return the most unusual days in words, the newest first."""
    chosen = (
        unusual.sort(unusual["z_score"].abs(), descending=True)
        .head(_MOST_UNUSUAL)
        .sort("day", "intent", descending=[True, False])
    )
    return [_describe_day(row) for row in chosen.iter_rows(named=True)]


def top_moves(moves: Sequence[dict[str, Any]], *, up: bool) -> list[dict[str, Any]]:
    """Return the intents whose share rose, or fell, most."""
    moved = [
        row
        for row in moves
        if (row["share_change"] > 0) == up and abs(row["share_change"]) >= 0.0005
    ]
    return sorted(moved, key=lambda row: -abs(row["share_change"]))[:_MOST_MOVED]


def cost_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return this run's cost of 1,000 tickets, then what the case study published."""
    price = facts.manifest.settings.hourly_price
    note = f"measured: {facts.manifest.performance.elapsed_s:,.1f} s on a machine of {price:g} USD an hour"
    here = {"way": "this run", "usd": facts.usd_per_1000, "note": note}
    return [
        here,
        *(
            {"way": row.way, "usd": row.usd_per_1000, "note": f"published: {row.note}"}
            for row in PUBLISHED
        ),
    ]


def _describe_day(row: dict[str, Any]) -> str:
    usual, tickets = row["usual"], row["tickets"]
    beside = (
        f"{tickets / usual:.1f} times as many as usual"
        if usual and tickets > usual
        else "more than usual"
    )
    if tickets < usual:
        beside = f"{1 - tickets / usual:.0%} fewer than usual"
    return (
        f"{row['day']:%A %d %B %Y}: {tickets:,} {row['intent']} tickets, {beside} "
        f"(the {row['weeks']} {row['day']:%A}s before had {usual:g}; z {row['z_score']:+.1f})"
    )


def _days_to_show(store: RunStore, manifest: Manifest, summary: Summary) -> pl.DataFrame | None:
    """Return the days of a run; an incremental one has few of its own, and the weeks before make them a trend."""
    own = summary.tables.get(VOLUMES_PER_DAY)
    if own is None or not own["day"].drop_nulls().len():
        return None
    if not manifest.settings.incremental:
        return own
    connection = open_history(store, manifest)
    days = connection.sql(read_sql(VOLUMES_PER_DAY)).pl()
    connection.close()
    return days


def _add_messages(connection: Any, least_sure: pl.DataFrame) -> pl.DataFrame:
    rows = connection.execute(
        "SELECT row_number, left(message, ?) AS message FROM predictions WHERE row_number IN (SELECT unnest(?))",
        [_SHOWN_TEXT, least_sure["row_number"].to_list()],
    ).pl()
    return least_sure.join(rows, on="row_number", how="left", maintain_order="left")


def _describe_previous(previous: Manifest) -> str:
    return f"{previous.run_id} of {previous.started_at:%Y-%m-%d %H:%M} UTC"
