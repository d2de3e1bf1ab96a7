"""Whatever a value is, a run is committed, and OUT works for the report, the queries and the next run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hostile import TYPED, check_out, hostile_rows
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import ColumnError
from ecomintent_batch.pipeline import run_job


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_hostile_text(tmp_path: Path, stub_settings: Any, kind: str) -> None:
    """Dates, numbers, words and markup in every column of files."""
    rows, path = hostile_rows(), tmp_path / f"t.{kind}"
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    check_out(stub_settings(path, tmp_path / "out", by=("brand",), keep_text=True), len(rows))


def test_hostile_types_as_kept_columns(tmp_path: Path, stub_settings: Any) -> None:
    """Each type that a database has is carried along and broken down by."""
    names = [f"c{i}" for i in range(len(TYPED))]
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        columns = ", ".join(f"{value} AS {name}" for value, name in zip(TYPED, names, strict=True))
        connection.execute(f"CREATE TABLE t AS SELECT 1 AS id, 'hello' AS body, {columns}")
    check_out(stub_settings(tmp_path / "t.duckdb", tmp_path / "out", table="t", by=names), 1)


@pytest.mark.parametrize("value", TYPED)
def test_hostile_types_as_time_and_id(tmp_path: Path, stub_settings: Any, value: str) -> None:
    """A ticket is labelled, whatever its time and its id are; a list as an id is refused in a line, and OUT works."""
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.execute(
            f"CREATE TABLE t AS SELECT {value} AS key, 'x' AS body, {value} AS created_at"
        )
    settings = stub_settings(tmp_path / "t.duckdb", tmp_path / "out", table="t")
    if value.startswith(("[", "MAP")):
        with pytest.raises(ColumnError, match=r"expected text in column 'key'[^\n]*$"):
            run_job(settings)
        settings = stub_settings(
            tmp_path / "t.duckdb", tmp_path / "out", table="t", id_column="body"
        )
    result = run_job(settings)
    assert result.manifest.counts.predictions == 1
    assert result.folder.report.exists()


@pytest.mark.parametrize(
    "days", [["0001-01-01"], ["9999-12-31"], ["0001-01-01", "2026-03-02", "9999-12-31"]], ids=len
)
def test_reports_of_days_at_the_ends_of_the_calendar(
    tmp_path: Path, stub_settings: Any, days: list[str]
) -> None:
    """Of the run, of its last days, and of all days that there are."""
    rows = " UNION ALL ".join(
        f"SELECT {i} AS id, 'where is it' AS body, TIMESTAMP '{day}' AS created_at"
        for i, day in enumerate(days)
    )
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t AS {rows}")
    result = run_job(stub_settings(tmp_path / "t.duckdb", tmp_path / "out", table="t"))
    assert result.report.exists()
    for asked in (["--last", "7d"], ["--from", "0001-01-01", "--to", "9999-12-31"]):
        done = CliRunner().invoke(app, ["report", *asked, "--out", str(tmp_path / "out")])
        assert done.exit_code == 0, done.exception
