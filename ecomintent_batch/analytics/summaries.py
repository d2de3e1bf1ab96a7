"""Committed predictions → volume tables, unusual days and alerts, by running the files of `sql/`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from ecomintent_batch.analytics.alerts import Alert, check_alerts, lowest_z, parse_alert
from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.catalog import list_runs, pick_run
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.publishing import list_manifests, list_parts
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.storage.atomic import write_json
from ecomintent_batch.storage.duck import connect, escape_glob
from ecomintent_batch.storage.packaged import packaged_path
from ecomintent_batch.storage.s3 import Store, as_url, open_for_reading, url_of

if TYPE_CHECKING:
    import polars as pl

_FORMULA = r"^[=+\-@\t\r]"
_WEEKS_BACK = 8  # of sql/unusual_days.sql
_SHOWN_ROWS = 200


@dataclass(frozen=True)
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


def list_committed(out: Path) -> list[Manifest]:
    """Return the manifests of the committed runs of a folder or an s3:// URL, oldest first.

    Of a local folder that stands for a URL: those there, and those not yet published.
    """
    url = url_of(out)
    published = list_manifests(Store(url)) if url else []
    here = [] if as_url(str(out)) else list_runs(out)
    return list({manifest.run_id: manifest for manifest in [*published, *here]}.values())


def find_committed(out: Path, run_id: str | None = None) -> Manifest:
    """Return the manifest of a committed run of a folder or an s3:// URL, of the newest for None and `latest`.

    Raises:
        RunStateError: there is no such run.
    """
    manifests = {manifest.run_id: manifest for manifest in list_committed(out)}
    return manifests[pick_run(as_url(str(out)) or str(out), list(manifests), run_id)]


def open_views(
    out: Path, variables: Mapping[str, str | list[str] | None] | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a connection with the variables set and the views of `sql/views.sql` that have data."""
    connection = connect()
    url = as_url(str(out))
    if url:
        open_for_reading(connection)
    for name, value in {
        "out": url or escape_glob(str(out)),
        "run_id": None,
        **(variables or {}),
    }.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    for statement in connection.extract_statements(read_sql("views")):
        try:
            connection.execute(statement)
        except duckdb.IOException:
            if "VIEW predictions" in statement.query:
                raise OutputError(f"{out}: expected committed runs, found none") from None
    return connection


def summarise_run(folder: RunFolder, manifest: Manifest) -> Summary:
    """Write the volume tables of a committed run as Parquet and CSV, and `summary.md`, into a folder that appears whole.

    Where alerts were asked for, `alerts.json` says which conditions hold.
    """
    if not manifest.parts:  # nothing was new
        return _write(folder, {"volume_by_intent": _no_volumes()}, manifest)
    columns, time_column = manifest.columns.kept, manifest.columns.kept_time
    connection = open_views(folder.out, {"run_id": folder.run_id, "time_column": time_column})
    tables = {"volume_by_intent": connection.sql(read_sql("volume_by_intent")).pl()}
    if time_column is not None:
        tables["volume_by_intent_per_day"] = connection.sql(
            read_sql("volume_by_intent_per_day")
        ).pl()
    for by in manifest.settings.by:
        connection.execute("SET VARIABLE by_column = ?", [columns[by]])
        tables[_free_name(by, tables)] = connection.sql(read_sql("volume_by_intent_by_column")).pl()
    tables["unsupported_languages"] = connection.sql(read_sql("unsupported_languages")).pl()
    connection.close()
    if time_column is not None:
        tables["unusual_days"] = find_unusual_days(folder, manifest)
    return _write(folder, tables, manifest)


def find_unusual_days(folder: RunFolder, manifest: Manifest) -> pl.DataFrame:
    """Return the unusual days among those that are new since the run before."""
    connection = open_history(folder, manifest)
    days = connection.sql(read_sql("unusual_days")).pl()
    connection.close()
    return days


def open_history(folder: RunFolder, manifest: Manifest) -> duckdb.DuckDBPyConnection:
    """Return a connection with the days that a run is to be seen beside: its own, and of an incremental one those before.

    The variable `since` is the newest day of the run before it of the same source, NULL for the first.
    """
    runs, time_column = _same_source(folder.out, manifest), manifest.columns.kept_time
    before = _find_before(folder, runs)
    since = newest_day(RunFolder(folder.out, before.run_id)) if before else None
    variables: dict[str, str | list[str] | None] = {
        "run_id": folder.run_id,
        "time_column": time_column,
        "since": None if since is None else since.isoformat(),
        "min_z": str(lowest_z(parse_alert(text) for text in manifest.settings.alert)),
    }
    connection = open_views(folder.out, variables)
    if since is None or time_column is None or not manifest.settings.incremental:
        return connection
    first_day = since - timedelta(weeks=_WEEKS_BACK)
    # A run before that day has no ticket from behind it.
    runs = [run for run in runs if run.started_at.date() >= first_day]
    places = [_place_of(folder.out, run) for run in runs]
    if any(map(as_url, places)):
        open_for_reading(connection)
    parts = [
        part for place, run in zip(places, runs, strict=True) for part in list_parts(place, [run])
    ]
    recent = duckdb.ColumnExpression(time_column) >= duckdb.ConstantExpression(first_day)
    try:
        relation = connection.read_parquet(
            parts, union_by_name=True, hive_partitioning=True
        ).filter(recent)
        relation.create_view("predictions", replace=True)
        connection.execute("SET VARIABLE latest = true")
    except duckdb.Error:  # the columns of earlier runs are of other types
        return open_views(folder.out, variables)
    return connection


def find_run_before(folder: RunFolder, manifest: Manifest) -> Manifest | None:
    """Return the newest earlier run of the same source that has its summaries still; they are in the folder then."""
    return _find_before(folder, _same_source(folder.out, manifest))


def _find_before(folder: RunFolder, runs: Sequence[Manifest]) -> Manifest | None:
    for run in reversed(runs):
        if run.run_id != folder.run_id and _has_volumes(RunFolder(folder.out, run.run_id)):
            return run
    return None


def _has_volumes(run: RunFolder) -> bool:
    """Tell whether the volumes of a run are here, or come from where it is published."""
    volumes, url = run.summaries / "volume_by_intent.parquet", url_of(run.out)
    if url and not volumes.exists():
        store, place = Store(url), run.summaries.relative_to(run.out).as_posix()
        names = {f"{place}/volume_by_intent_per_day.parquet", f"{place}/volume_by_intent.parquet"}
        for name in sorted(
            names.intersection(store.list_names(f"{place}/")), reverse=True
        ):  # what tells comes last
            store.download(name, run.out / name)
    return volumes.exists()


def add_change(volumes: pl.DataFrame, out: Path, before: Manifest) -> pl.DataFrame:
    """Add the tickets and the share that each intent had in an earlier run, and by how much its share has changed."""
    import polars as pl

    earlier = pl.read_parquet(RunFolder(out, before.run_id).summaries / "volume_by_intent.parquet")
    earlier = earlier.select("intent", tickets_before="tickets", share_before="share")
    both = volumes.join(
        earlier, on="intent", how="full", coalesce=True, maintain_order="left_right"
    )
    counted = both.with_columns(
        pl.col("tickets", "share", "tickets_before", "share_before").fill_null(0)
    )
    return counted.with_columns(share_change=pl.col("share") - pl.col("share_before"))


def read_summary(out: Path, run_id: str, name: str) -> pl.DataFrame | None:
    """Return one summary table of a run of a folder or an s3:// URL; None where the run has none of that name."""
    import polars as pl

    file = f"summaries/run_id={run_id}/{name}.parquet"
    if url := as_url(str(out)):
        store = Store(url)
        return pl.read_parquet(store.read(file)) if file in store.list_names(file) else None
    return pl.read_parquet(out / file) if (out / file).exists() else None


def newest_day(folder: RunFolder) -> date | None:
    """Return the last day that the summaries of a run know."""
    table = read_summary(folder.out, folder.run_id, "volume_by_intent_per_day")
    newest = None if table is None else table["day"].max()
    return newest if isinstance(newest, date) else None


def _same_source(out: Path, manifest: Manifest) -> list[Manifest]:
    """Return the runs of a source up to one of them, oldest first, without those that found nothing new."""
    return [
        run
        for run in list_committed(out)
        if run.source == manifest.source
        and run.run_id <= manifest.run_id
        and run.counts.predictions
    ]


def _place_of(out: Path, run: Manifest) -> str:
    """Return where the parts of a run are: here, or else where it is published."""
    url = url_of(out)
    return (
        url
        if url and not RunFolder(out, run.run_id).predictions.exists()
        else escape_glob(str(out))
    )


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


def _write(folder: RunFolder, tables: dict[str, pl.DataFrame], manifest: Manifest) -> Summary:
    """Write tables, page and alerts into a folder that appears whole."""
    target = folder.summaries
    summary = Summary(tables, _to_markdown(folder.run_id, tables), _find_alerts(tables, manifest))
    building = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for name, table in tables.items():
        table.write_parquet(building / f"{name}.parquet")
        neutralise_formulas(table).write_csv(building / f"{name}.csv")
    (building / "summary.md").write_text(summary.markdown, encoding="utf-8")
    if manifest.settings.alert:
        write_json([alert.to_dict() for alert in summary.alerts], building / "alerts.json")
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)
    return summary


def _find_alerts(tables: Mapping[str, pl.DataFrame], manifest: Manifest) -> tuple[Alert, ...]:
    conditions = [parse_alert(text) for text in manifest.settings.alert]
    unusual = tables["unusual_days"].to_dicts() if "unusual_days" in tables else []
    span: list[str] = []
    if "volume_by_intent_per_day" in tables and len(
        days := tables["volume_by_intent_per_day"]["day"].drop_nulls()
    ):
        span = [str(days.min()), str(days.max())]
    return tuple(check_alerts(conditions, tables["volume_by_intent"].to_dicts(), unusual, span))


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
    overall = tables["volume_by_intent"]
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
    if "volume_by_intent_per_day" in tables:
        per_day = tables["volume_by_intent_per_day"]
        days = per_day["day"].drop_nulls()
        span = (
            f"{days.min()!s} to {days.max()!s}, {days.n_unique()} days" if len(days) else "no times"
        )
        lines += ["", f"Daily volumes ({span}) are in `volume_by_intent_per_day.csv`."]
    return "\n".join(lines) + "\n"


def _describe_counting(tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """Say how tickets with two asks, and those in other languages, were counted."""
    lines, seconds = [], int(tables["volume_by_intent"]["as_second"].sum())
    if seconds:
        lines += [
            "",
            f"{seconds:,} tickets have two asks: each counts once, under the first one, and again in the last column under the "
            "second; add the columns to count both ways.",
        ]
    languages = tables.get("unsupported_languages")
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
