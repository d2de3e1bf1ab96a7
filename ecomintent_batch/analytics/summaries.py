"""Committed predictions → volume tables, unusual days and alerts, by running the files of `sql/`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecomintent_batch.analytics.alerts import UNSURE, Alert, Counted, check_alerts, parse_alert
from ecomintent_batch.analytics.days import describe_odd_days, split_odd_days
from ecomintent_batch.analytics.findings import describe_finding, describe_findings, list_new
from ecomintent_batch.analytics.history import (
    DAYS_OF_PHRASES,
    FINDINGS,
    PHRASES,
    find_changes,
    find_rising_phrases,
    find_unusual_days,
    newest_known_day,
)
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.runs.layout import (
    ALERTS,
    LANGUAGES,
    SUMMARY_PAGE,
    UNUSUAL_DAYS,
    VOLUMES,
    VOLUMES_PER_DAY,
    RunFolder,
)
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.atomic import write_json

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_FORMULA = r"^[=+\-@\t\r]"
_SHOWN_ROWS = 200
OF_COLUMN = "volume_by_intent_by_"  # and the name of a column


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The tables of one run, or of some days, by name, and the page that shows them.

    `days_of_phrases` says how many newest days the rising phrases are of.
    """

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    markdown: str = ""
    alerts: tuple[Alert, ...] = ()
    days_of_phrases: int = DAYS_OF_PHRASES


def summarise_run(
    store: RunStore,
    manifest: Manifest,
    *,
    only_volumes: bool = False,
    topics: Mapping[str, pl.DataFrame] | None = None,
) -> Summary:
    """Write the volume tables of a committed run as Parquet and CSV, and `summary.md`, into a folder that appears whole.

    The folder is in the local folder of the store. Where alerts were asked for, `alerts.json` says which conditions hold.

    Args:
        store: Where the runs are.
        manifest: The run.
        only_volumes: Leave out all tables but the volumes by intent.
        topics: The tables of its topics, where it has them.
    """
    if not manifest.parts:  # nothing was new
        return _write(store, {VOLUMES: no_volumes()}, manifest)
    time_column = manifest.columns.kept_time
    variables = {"run_id": manifest.run_id, "time_column": time_column}
    connection = open_views(store, [manifest], variables)
    if only_volumes:
        return _write(store, {VOLUMES: connection.sql(read_sql(VOLUMES)).pl()}, manifest)
    tables = count_volumes(connection, manifest)
    connection.close()
    if time_column is not None:
        tables[UNUSUAL_DAYS] = find_unusual_days(store, manifest)
        tables[FINDINGS] = find_changes(
            store, manifest, _first_day(tables, manifest.started_at.date())
        )
        if manifest.settings.keep_text:
            tables[PHRASES] = find_rising_phrases(store, manifest)
    tables |= topics or {}
    return _write(store, tables, manifest)


def count_volumes(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest
) -> dict[str, pl.DataFrame]:
    """Return the volumes of the tickets that a connection shows: by intent, day, each --by column, and languages."""
    tables = {VOLUMES: connection.sql(read_sql(VOLUMES)).pl()}
    if manifest.columns.kept_time is not None:
        tables[VOLUMES_PER_DAY] = connection.sql(read_sql(VOLUMES_PER_DAY)).pl()
    for by, name in _name_tables_of_columns(manifest.settings.by).items():
        connection.execute("SET VARIABLE by_column = ?", [manifest.columns.kept[by]])
        tables[name] = connection.sql(read_sql("volume_by_intent_by_column")).pl()
    tables[LANGUAGES] = connection.sql(read_sql(LANGUAGES)).pl()
    return tables


def add_change(volumes: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Add the tickets and the share that each intent had earlier, and by how much its share has changed."""
    import polars as pl

    earlier = earlier.select("intent", tickets_before="tickets", share_before="share")
    both = volumes.join(
        earlier, on="intent", how="full", coalesce=True, maintain_order="left_right"
    )
    counted = both.with_columns(
        pl.col("tickets", "share", "tickets_before", "share_before").fill_null(0)
    )
    return counted.with_columns(share_change=pl.col("share") - pl.col("share_before"))


def _first_day(tables: Mapping[str, pl.DataFrame], run_day: date) -> date | None:
    first = split_odd_days(tables[VOLUMES_PER_DAY], run_day)[0]["day"].min()
    return first if isinstance(first, date) else None


def no_volumes() -> pl.DataFrame:
    """Return the volumes of a run that had no ticket to label."""
    import polars as pl

    schema = {
        "intent": pl.String,
        "tickets": pl.Int64,
        "share": pl.Float64,
        "first_choice": pl.Int64,
    }
    return pl.DataFrame(
        schema={
            **schema,
            "below_threshold": pl.Int64,
            "mean_confidence": pl.Float64,
            "as_second": pl.Int64,
        }
    )


def _write(store: RunStore, tables: dict[str, pl.DataFrame], manifest: Manifest) -> Summary:
    """Write tables, page and alerts into a folder that appears whole."""
    summary = Summary(
        tables=tables,
        markdown=to_markdown(f"run {manifest.run_id}", manifest.started_at.date(), tables),
        alerts=_find_alerts(store, tables, manifest),
    )
    with replace_folder(RunFolder(store.folder, manifest.run_id).summaries) as building:
        write_tables(summary, building)
        if manifest.settings.alert:
            write_json([alert.to_dict() for alert in summary.alerts], building / ALERTS)
    return summary


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of another one when it is complete."""
    building = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    yield building
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)


def write_tables(summary: Summary, folder: Path) -> None:
    """Write the tables as Parquet and CSV, and `summary.md`."""
    for name, table in summary.tables.items():
        table.write_parquet(folder / f"{name}.parquet")
        neutralise_formulas(table).write_csv(folder / f"{name}.csv")
    (folder / SUMMARY_PAGE).write_text(summary.markdown, encoding="utf-8")


def _find_alerts(
    store: RunStore, tables: Mapping[str, pl.DataFrame], manifest: Manifest
) -> tuple[Alert, ...]:
    conditions = [parse_alert(text) for text in manifest.settings.alert]
    if not conditions:
        return ()
    span: list[str] = []
    if VOLUMES_PER_DAY in tables and len(
        days := split_odd_days(tables[VOLUMES_PER_DAY], manifest.started_at.date())[0][
            "day"
        ].drop_nulls()
    ):
        span = [str(days.min()), str(days.max())]
    unusual = tables[UNUSUAL_DAYS].to_dicts() if UNUSUAL_DAYS in tables else []
    volumes = tables[VOLUMES].select("intent", "tickets", "share", unsure="below_threshold")
    counted: dict[tuple[str, str] | None, Counted] = {
        None: Counted(volumes=_with_unsure(volumes), unusual=unusual)
    }
    looked_within = {condition.by for condition in conditions}
    for by, name in _name_tables_of_columns(manifest.settings.by).items():
        if by in looked_within and name in tables:
            needed = any(item.by == by and item.measure == "unusual" for item in conditions)
            counted |= _count_groups(store, manifest, by, tables[name], needed=needed)
    changes: list[tuple[dict[str, Any], str]] = []
    if FINDINGS in tables:
        known = newest_known_day(store, manifest)
        source_names = {name: column for column, name in manifest.columns.kept.items()}
        for row in list_new(tables[FINDINGS], known):
            column = source_names.get(row["by_column"])
            changes.append(({**row, "by_column": column}, describe_finding(row)))
    return tuple(check_alerts(conditions, counted, changes, span))


def _count_groups(
    store: RunStore, manifest: Manifest, by: str, volumes: pl.DataFrame, *, needed: bool
) -> dict[tuple[str, str] | None, Counted]:
    """Return what alerts look at for each value of a column; its unusual days only where they are needed."""
    column = manifest.columns.kept[by]
    days = (
        find_unusual_days(store, manifest, column).to_dicts()
        if needed and manifest.columns.kept_time is not None
        else []
    )
    counted: dict[tuple[str, str] | None, Counted] = {}
    for (value,), table in volumes.drop_nulls("value").group_by("value", maintain_order=True):
        rows = table.select("intent", "tickets", "unsure", share="share_of_value")
        own = [row for row in days if row["value"] == value]
        counted[by, str(value)] = Counted(volumes=_with_unsure(rows), unusual=own)
    return counted


def _with_unsure(volumes: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the volumes as rows, with one more for the tickets below the threshold."""
    unsure, tickets = int(volumes["unsure"].sum()), int(volumes["tickets"].sum())
    share = unsure / tickets if tickets else 0.0
    return [*volumes.to_dicts(), {"intent": UNSURE, "tickets": unsure, "share": share}]


def neutralise_formulas(table: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before every text that a spreadsheet would take for a formula."""
    import polars as pl

    def guarded(name: str) -> pl.Expr:
        text = pl.col(name)
        return (
            pl.when(text.str.contains(_FORMULA))
            .then(pl.concat_str(pl.lit("'"), text))
            .otherwise(text)
            .alias(name)
        )

    return table.with_columns(
        guarded(name) for name, dtype in table.schema.items() if dtype == pl.String
    )


def to_markdown(what: str, run_day: date, tables: Mapping[str, pl.DataFrame]) -> str:
    """Return the volumes as a page of Markdown."""
    lines = [f"# Tickets by intent, {what}", ""]
    overall = tables[VOLUMES]
    if FINDINGS in tables:
        lines += ["## Findings", ""]
        changes = describe_findings(tables[FINDINGS], tables.get(PHRASES))
        lines += [f"- {_cell(text, 300)}" for text in changes.sentences]
        lines += ["", "## Volumes", ""]
    lines += [
        "| intent | tickets | share | first choice | of them unsure | as second ask |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {_cell(row['intent'])} | {row['tickets']:,} | {row['share']:.1%} "
        f"| {row['first_choice']:,} | {row['below_threshold']:,} | {row['as_second']:,} |"
        for row in overall.iter_rows(named=True)
    ]
    lines += _describe_counting(tables)
    for name, table in tables.items():
        if name.startswith(OF_COLUMN):
            lines += [
                "",
                f"## By {_cell(name.removeprefix(OF_COLUMN))}",
                "",
                "| value | intent | tickets | share |",
                "|---|---|---:|---:|",
            ]
            lines += [
                f"| {_cell(row['value'])} | {_cell(row['intent'])} | {row['tickets']:,} | {row['share_of_value']:.1%} |"
                for row in table.head(_SHOWN_ROWS).iter_rows(named=True)
            ]
            if len(table) > _SHOWN_ROWS:
                lines += [
                    "",
                    f"The first {_SHOWN_ROWS} of {len(table):,} rows; all are in `{name}.csv`.",
                ]
    if VOLUMES_PER_DAY in tables:
        per_day, odd = split_odd_days(tables[VOLUMES_PER_DAY], run_day)
        days = per_day["day"].drop_nulls()
        span = (
            f"{days.min()!s} to {days.max()!s}, {days.n_unique()} days" if len(days) else "no times"
        )
        lines += ["", f"Daily volumes ({span}) are in `volume_by_intent_per_day.csv`."]
        if odd_days := describe_odd_days(odd):
            lines += ["", odd_days]
    return "\n".join(lines) + "\n"


def _describe_counting(tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """Say how multi-intent tickets, and those in other languages, were counted."""
    lines, seconds = [], int(tables[VOLUMES]["as_second"].sum())
    if seconds:
        lines += [
            "",
            f"{seconds:,} tickets have two asks: each counts once, under the first one, and again in the last column under the "
            "second; add the columns to count both ways.",
        ]
    languages = tables.get(LANGUAGES)
    if languages is not None and len(languages):
        listed = ", ".join(
            f"{_cell(row['language'])} {row['tickets']:,}"
            for row in languages.iter_rows(named=True)
        )
        lines += [
            "",
            f"{languages['tickets'].sum():,} tickets are in languages unknown to the model ({listed}); they count as OTHER.",
        ]
    return lines


def _cell(value: object, longest: int = 80) -> str:
    text = "(none)" if value is None else " ".join(str(value).split())[:longest]
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text)


def _name_tables_of_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return the name of the table of each column; `Brand name` and `brand_name` get one each."""
    names: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"\W+", "_", column).strip("_").lower()
        name = OF_COLUMN + (plain or "column")
        while name in (*names.values(), VOLUMES_PER_DAY):
            name += "_"
        names[column] = name
    return names
