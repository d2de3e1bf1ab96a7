"""Committed predictions → volume tables, unusual days and alerts, by running the files of `sql/`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb

from ecomintent_batch.analytics.alerts import Alert, check_alerts, lowest_z, parse_alert
from ecomintent_batch.errors import OutputError
from ecomintent_batch.options import WEEKS_COMPARED
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
from ecomintent_batch.storage.duck import connect, escape_glob
from ecomintent_batch.storage.packaged import packaged_path
from ecomintent_batch.storage.s3 import let_read

if TYPE_CHECKING:
    import polars as pl

_VIEW = re.compile(r"VIEW (\w+) AS")
_FORMULA = r"^[=+\-@\t\r]"
_SHOWN_ROWS = 200


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The volume tables of one run, by name, and the page that shows them."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    markdown: str = ""
    alerts: tuple[Alert, ...] = ()


def sql_folder() -> Path:
    """Return the folder with the SQL files."""
    return packaged_path("sql")


def read_sql(name: str) -> str:
    """Return the text of one SQL file."""
    return (sql_folder() / f"{name}.sql").read_text(encoding="utf-8")


def open_views(
    store: RunStore,
    manifests: Sequence[Manifest],
    variables: Mapping[str, str | list[str] | None] | None = None,
    *,
    views: Collection[str] = (),
) -> duckdb.DuckDBPyConnection:
    """Return a connection with the variables set and the views of `sql/views.sql` over some committed runs.

    Args:
        store: Where the runs are.
        manifests: The runs. What they list is read, and nothing else: no file is looked for by a pattern.
        variables: The parameters of a query.
        views: Those of `rejects` and `runs` that are needed; they read a file for each run.

    Raises:
        OutputError: no run has predictions.
    """
    parts = [part for manifest in manifests for part in store.part_locations(manifest)]
    if not parts:
        raise OutputError(f"{store.location}: expected committed runs, found none")
    connection = connect()
    let_read(connection, parts)
    rejects = [store.reject_location(manifest) for manifest in manifests]
    lists = {"parts": parts, "reject_files": rejects}
    for name, files in lists.items():
        connection.execute(f"SET VARIABLE {name} = ?", [list(map(escape_glob, files))])
    for name, value in {"run_id": None, **(variables or {})}.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    skipped = {"rejects", "runs"}.difference(views)
    for statement in connection.extract_statements(read_sql("views")):
        view = _VIEW.search(statement.query)
        if view and view[1] == "runs" and "runs" in views:
            _create_runs(connection, manifests, statement)
        elif view and view[1] not in skipped:
            connection.execute(statement)
    return connection


def _create_runs(
    connection: duckdb.DuckDBPyConnection,
    manifests: Sequence[Manifest],
    statement: duckdb.Statement,
) -> None:
    """Create the view `runs` over manifests that are in memory."""
    with TemporaryDirectory(prefix="ecomintent-runs-") as folder:
        file = Path(folder) / "runs.json"
        file.write_text(
            "\n".join(manifest.model_dump_json() for manifest in manifests), encoding="utf-8"
        )
        connection.execute("SET VARIABLE manifest_files = ?", [[str(file)]])
        connection.execute(statement)
        connection.execute("CREATE TABLE runs_read AS FROM runs")
    connection.execute("CREATE OR REPLACE VIEW runs AS FROM runs_read")


def summarise_run(store: RunStore, manifest: Manifest) -> Summary:
    """Write the volume tables of a committed run as Parquet and CSV, and `summary.md`, into a folder that appears whole.

    The folder is in the local folder of the store. Where alerts were asked for, `alerts.json` says which conditions hold.
    """
    if not manifest.parts:  # nothing was new
        return _write(store, {VOLUMES: _no_volumes()}, manifest)
    columns, time_column = manifest.columns.kept, manifest.columns.kept_time
    variables = {"run_id": manifest.run_id, "time_column": time_column}
    connection = open_views(store, [manifest], variables)
    tables = {VOLUMES: connection.sql(read_sql(VOLUMES)).pl()}
    if time_column is not None:
        tables[VOLUMES_PER_DAY] = connection.sql(read_sql(VOLUMES_PER_DAY)).pl()
    for by in manifest.settings.by:
        connection.execute("SET VARIABLE by_column = ?", [columns[by]])
        tables[_free_name(by, tables)] = connection.sql(read_sql("volume_by_intent_by_column")).pl()
    tables[LANGUAGES] = connection.sql(read_sql(LANGUAGES)).pl()
    connection.close()
    if time_column is not None:
        tables[UNUSUAL_DAYS] = find_unusual_days(store, manifest)
    return _write(store, tables, manifest)


def find_unusual_days(store: RunStore, manifest: Manifest) -> pl.DataFrame:
    """Return the unusual days among those that are new since the previous run."""
    connection = open_history(store, manifest)
    days = connection.sql(read_sql(UNUSUAL_DAYS)).pl()
    connection.close()
    return days


def open_history(store: RunStore, manifest: Manifest) -> duckdb.DuckDBPyConnection:
    """Return a connection with the days that a run is compared with: its own, and of an incremental run those before.

    The variable `since` is the newest day of the previous run of the same source, NULL for the first.
    """
    runs, time_column = _list_same_source(store, manifest), manifest.columns.kept_time
    previous = _find_previous(store, manifest, runs)
    since = _newest_day(store, previous) if previous else None
    variables: dict[str, str | list[str] | None] = {
        "run_id": manifest.run_id,
        "time_column": time_column,
        "since": None if since is None else since.isoformat(),
        "min_z": str(lowest_z(parse_alert(text) for text in manifest.settings.alert)),
    }
    connection = open_views(store, [manifest], variables)
    if since is None or time_column is None or not manifest.settings.incremental:
        return connection
    first_day = since - timedelta(weeks=WEEKS_COMPARED)
    # A run that was started before that day has no ticket of a later one.
    recent_runs = [run for run in runs if run.started_at.date() >= first_day]
    parts = [part for run in recent_runs for part in store.part_locations(run)]
    let_read(connection, parts)
    recent = duckdb.ColumnExpression(time_column) >= duckdb.ConstantExpression(first_day)
    try:
        relation = connection.read_parquet(
            list(map(escape_glob, parts)), union_by_name=True, hive_partitioning=True
        ).filter(recent)
        relation.create_view("predictions", replace=True)
        connection.execute("SET VARIABLE latest = true")
    except duckdb.Error:  # the columns of earlier runs are of other types
        return open_views(store, [manifest], variables)
    return connection


def find_previous_run(store: RunStore, manifest: Manifest) -> Manifest | None:
    """Return the newest earlier run of the same source that still has its summaries."""
    return _find_previous(store, manifest, _list_same_source(store, manifest))


def _find_previous(
    store: RunStore, manifest: Manifest, runs: Sequence[Manifest]
) -> Manifest | None:
    for run in reversed(runs):
        if run.run_id != manifest.run_id and store.read_summary(run.run_id, VOLUMES) is not None:
            return run
    return None


def add_change(volumes: pl.DataFrame, store: RunStore, previous: Manifest) -> pl.DataFrame:
    """Add the tickets and the share that each intent had in an earlier run, and by how much its share has changed."""
    import polars as pl

    earlier = read_summary(store, previous.run_id, VOLUMES)
    if earlier is None:
        return volumes.head(0)
    earlier = earlier.select("intent", tickets_before="tickets", share_before="share")
    both = volumes.join(
        earlier, on="intent", how="full", coalesce=True, maintain_order="left_right"
    )
    counted = both.with_columns(
        pl.col("tickets", "share", "tickets_before", "share_before").fill_null(0)
    )
    return counted.with_columns(share_change=pl.col("share") - pl.col("share_before"))


def read_summary(store: RunStore, run_id: str, name: str) -> pl.DataFrame | None:
    """Return one summary table of a run; None where the run has none of that name."""
    import polars as pl

    table = store.read_summary(run_id, name)
    return None if table is None else pl.read_parquet(table)


def _newest_day(store: RunStore, manifest: Manifest) -> date | None:
    """Return the last day that the summaries of a run know."""
    table = read_summary(store, manifest.run_id, VOLUMES_PER_DAY)
    newest = None if table is None else table["day"].max()
    return newest if isinstance(newest, date) else None


def _list_same_source(store: RunStore, manifest: Manifest) -> list[Manifest]:
    """Return the runs of a source up to one of them, oldest first, without those that found nothing new."""
    earlier = [
        run
        for run in store.manifests()
        if run.source == manifest.source and run.run_id < manifest.run_id and run.counts.predictions
    ]
    return [*earlier, manifest]


def _no_volumes() -> pl.DataFrame:
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
    target = RunFolder(store.folder, manifest.run_id).summaries
    summary = Summary(
        tables=tables,
        markdown=_to_markdown(manifest.run_id, tables),
        alerts=_find_alerts(tables, manifest),
    )
    building = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for name, table in tables.items():
        table.write_parquet(building / f"{name}.parquet")
        neutralise_formulas(table).write_csv(building / f"{name}.csv")
    (building / SUMMARY_PAGE).write_text(summary.markdown, encoding="utf-8")
    if manifest.settings.alert:
        write_json([alert.to_dict() for alert in summary.alerts], building / ALERTS)
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)
    return summary


def _find_alerts(tables: Mapping[str, pl.DataFrame], manifest: Manifest) -> tuple[Alert, ...]:
    conditions = [parse_alert(text) for text in manifest.settings.alert]
    unusual = tables[UNUSUAL_DAYS].to_dicts() if UNUSUAL_DAYS in tables else []
    span: list[str] = []
    if VOLUMES_PER_DAY in tables and len(days := tables[VOLUMES_PER_DAY]["day"].drop_nulls()):
        span = [str(days.min()), str(days.max())]
    return tuple(check_alerts(conditions, tables[VOLUMES].to_dicts(), unusual, span))


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


def _to_markdown(run_id: str, tables: Mapping[str, pl.DataFrame]) -> str:
    lines = [f"# Tickets by intent, run {run_id}", ""]
    overall = tables[VOLUMES]
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
        if name.startswith("volume_by_intent_by_"):
            lines += [
                "",
                f"## By {_cell(name.removeprefix('volume_by_intent_by_'))}",
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
        per_day = tables[VOLUMES_PER_DAY]
        days = per_day["day"].drop_nulls()
        span = (
            f"{days.min()!s} to {days.max()!s}, {days.n_unique()} days" if len(days) else "no times"
        )
        lines += ["", f"Daily volumes ({span}) are in `volume_by_intent_per_day.csv`."]
    return "\n".join(lines) + "\n"


def _describe_counting(tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """Say how tickets with two asks, and those in other languages, were counted."""
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


def _cell(value: object) -> str:
    text = "(none)" if value is None else " ".join(str(value).split())[:80]
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text)


def _free_name(column: str, taken: Collection[str]) -> str:
    """Name the table of a column; `Brand name` and `brand_name` get one each."""
    name = "volume_by_intent_by_" + (re.sub(r"\W+", "_", column).strip("_").lower() or "column")
    while name in taken:
        name += "_"
    return name
