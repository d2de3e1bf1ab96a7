"""Committed predictions → volume tables, by running the files of `sql/`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs import Manifest, RunFolder

if TYPE_CHECKING:
    import polars as pl

_FORMULA = r"^[=+\-@\t\r]"
_SHOWN_ROWS = 200


@dataclass(frozen=True)
class Summary:
    """The volume tables of one run, by name, and the page that shows them."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    markdown: str = ""


def sql_folder() -> Path:
    """Return the folder with the SQL files: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent / "sql"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "sql"


def read_sql(name: str) -> str:
    """Return the text of one SQL file."""
    return (sql_folder() / f"{name}.sql").read_text(encoding="utf-8")


def open_views(out: Path, variables: Mapping[str, str | None] | None = None) -> duckdb.DuckDBPyConnection:
    """Return a connection with the variables set and the views of `sql/views.sql` that have data."""
    connection = duckdb.connect()
    connection.execute("SET enable_external_file_cache = false")  # it would hold whatever was read of the parts
    connection.execute("SET TimeZone = 'UTC'")  # days of times with a zone must not depend on the machine
    plain = re.sub(r"([*?\[])", r"[\1]", str(out))  # an OUT named `run[1]` is no glob
    for name, value in {"out": plain, "run_id": None, **(variables or {})}.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    for statement in connection.extract_statements(read_sql("views")):
        try:
            connection.execute(statement)
        except duckdb.IOException:
            if "VIEW predictions" in statement.query:
                raise OutputError(f"{out}: expected committed runs, found none") from None
    return connection


def summarise_run(folder: RunFolder, manifest: Manifest) -> Summary:
    """Write the volume tables of a committed run as Parquet and CSV, and `summary.md`, into a folder that appears whole."""
    if not any(folder.predictions.glob("*.parquet")):  # nothing was new
        return _write(folder, {"volume_by_intent": _no_volumes()})
    columns, time_column = manifest["columns"]["kept"], manifest["columns"]["time"]
    connection = open_views(folder.out, {"run_id": folder.run_id, "time_column": columns.get(time_column)})
    tables = {"volume_by_intent": connection.sql(read_sql("volume_by_intent")).pl()}
    if time_column is not None:
        tables["volume_by_intent_per_day"] = connection.sql(read_sql("volume_by_intent_per_day")).pl()
    for by in manifest["settings"]["by"]:
        connection.execute("SET VARIABLE by_column = ?", [columns[by]])
        tables[_free_name(by, tables)] = connection.sql(read_sql("volume_by_intent_by_column")).pl()
    connection.close()
    return _write(folder, tables)


def _no_volumes() -> pl.DataFrame:
    """Return the volumes of a run that had no ticket to label."""
    import polars as pl

    schema = {"intent": pl.String, "tickets": pl.Int64, "share": pl.Float64, "first_choice": pl.Int64}
    return pl.DataFrame(schema={**schema, "below_threshold": pl.Int64, "mean_confidence": pl.Float64})


def _write(folder: RunFolder, tables: dict[str, pl.DataFrame]) -> Summary:
    """Write tables and page into a folder that appears whole."""
    target = folder.summaries
    summary = Summary(tables, _to_markdown(folder.run_id, tables))
    building = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for name, table in tables.items():
        table.write_parquet(building / f"{name}.parquet")
        neutralise_formulas(table).write_csv(building / f"{name}.csv")
    (building / "summary.md").write_text(summary.markdown, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)
    return summary


def neutralise_formulas(table: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before every text that a spreadsheet would take for a formula."""
    import polars as pl

    def guarded(name: str) -> pl.Expr:
        text = pl.col(name)
        return pl.when(text.str.contains(_FORMULA)).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).alias(name)

    return table.with_columns(guarded(name) for name, dtype in table.schema.items() if dtype == pl.String)


def _to_markdown(run_id: str, tables: Mapping[str, pl.DataFrame]) -> str:
    lines = [f"# Tickets by intent, run {run_id}", ""]
    overall = tables["volume_by_intent"]
    lines += ["| intent | tickets | share | first choice | of them unsure |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {_cell(row['intent'])} | {row['tickets']:,} | {row['share']:.1%} "
        f"| {row['first_choice']:,} | {row['below_threshold']:,} |"
        for row in overall.iter_rows(named=True)
    ]
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
                lines += ["", f"The first {_SHOWN_ROWS} of {len(table):,} rows; all are in `{name}.csv`."]
    if "volume_by_intent_per_day" in tables:
        per_day = tables["volume_by_intent_per_day"]
        days = per_day["day"].drop_nulls()
        span = f"{days.min()!s} to {days.max()!s}, {days.n_unique()} days" if len(days) else "no times"
        lines += ["", f"Daily volumes ({span}) are in `volume_by_intent_per_day.csv`."]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    text = "(none)" if value is None else " ".join(str(value).split())[:80]
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text)


def _free_name(column: str, taken: Collection[str]) -> str:
    """Name the table of a column; `Brand name` and `brand_name` get one each."""
    name = "volume_by_intent_by_" + (re.sub(r"\W+", "_", column).strip("_").lower() or "column")
    while name in taken:
        name += "_"
    return name
