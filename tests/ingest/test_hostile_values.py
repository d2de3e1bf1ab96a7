"""Whatever a value is, a run is committed, and OUT works for the report, the queries and the next run."""

# ruff: noqa: E501 - lists of values

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecomintent_batch.analytics.queries import run_query
from ecomintent_batch.analytics.report import make_report_again
from ecomintent_batch.errors import ColumnError
from ecomintent_batch.pipeline import run_job

GOOD = ["2026-03-02 10:00:00"] * 600
TIMES = [
    "", " ", "NULL", "\\N", "0000-00-00", "0000-01-01 00:00:00", "0001-01-01", "1753-01-01", "1899-12-30", "1900-01-01", "1970-01-01",
    "9999-12-31 23:59:59.999999", "10000-01-01", "99999-12-31", "294247-01-10 04:00:54", "infinity", "-infinity", "0044-03-15 (BC)",
    "-0044-03-15", "2026-02-30", "2026-13-01", "2026-03-02 25:00", "2026-03-02T10:00+99:99", "now", "today", "epoch", "soon",
    "1e400", "-1", "0", "NaN", "1772445600", "9" * 40, "2026-03-02 10:00:60", "2026-03-02 24:00:00", "٢٠٢٦-٠٣-٠٢", "2026-03-02\u0000",
]  # fmt: skip
TEXTS = [
    "", " ", "NULL", "\\N", "nan", "=1+1", "@SUM(A1)", "x" * 70_000, "\x00", "\x1b[31m", "\u202e", "😀" * 300, "a\u0301" * 500, "'; DROP TABLE t; --",
    '"', "''", "{}", "[]", '{"a": 1}', "<b>", "&#0;", "&#x110000;", "\r\n", "\t", ",,,", "\\", "%s %d {x}", "$1", "\ufeff", "\uffff", "-", "0", "1e400",
    "Infinity", "null", "true", "../../etc/passwd", "C:\\x", "\u2028", "ﷺ" * 50,
]  # fmt: skip
IDS = [
    "",
    "0",
    "-0",
    "00",
    "1e400",
    "NaN",
    "inf",
    "9" * 60,
    "1.0",
    "a/b",
    "..",
    "\x00",
    "x" * 5000,
    "'",
    '"',
    "=1+1",
    "é",
    "e\u0301",
    "😀",
]
TYPED = [
    "TIMESTAMP 'infinity'", "TIMESTAMP '-infinity'", "TIMESTAMP '0044-03-15 (BC)'", "TIMESTAMP '294247-01-10 04:00:54'",
    "DATE 'infinity'", "DATE '0001-01-01'", "DATE '9999-12-31'", "TIMESTAMPTZ 'infinity'", "TIMESTAMPTZ '0001-01-01 00:00:00+00'",
    "TIMESTAMP_S '9999-12-31 23:59:59'", "TIMESTAMP_MS '1900-01-01'", "TIMESTAMP_NS '1800-01-01'", "TIME '10:00'", "INTERVAL 3 DAY",
    "170141183460469231731687303715884105727::HUGEINT", "'inf'::DOUBLE", "'-inf'::DOUBLE", "'nan'::DOUBLE", "1e308::DOUBLE",
    "99999999999999999999999999999999999999::DECIMAL(38, 0)", "''::BLOB", "'\\xFF\\x00'::BLOB", "[NULL]", "[[1], NULL]", "{'a': {'b': NULL}}",
    "MAP {'a': 1}", "uuid()", "true", "'a'::ENUM ('a', 'b')", "NULL", "'101'::BIT", "-1::TINYINT",
]  # fmt: skip


def hostile_rows() -> list[dict[str, str]]:
    """Return good rows, then one for each hostile value, the other columns going round."""
    rows = [
        {"id": str(i), "body": "where is it", "created_at": time, "brand": "north"}
        for i, time in enumerate(GOOD)
    ]
    ids, texts, times = map(itertools.cycle, (IDS, TEXTS, TIMES))
    rows += [
        {"id": next(ids), "body": next(texts), "created_at": next(times), "brand": next(texts)}
        for _ in range(2 * max(len(IDS), len(TEXTS), len(TIMES)))
    ]
    return rows


def check_out(settings: Any, rows: int) -> None:
    """Run, make the report again, query, and run once more in the same OUT."""
    for run in range(2):
        result = run_job(settings)
        assert result.manifest.counts.source_rows == rows
        assert result.folder.report.exists(), "the report"
        assert result.folder.report.stat().st_size < 400_000
        assert run or result.manifest.counts.predictions + result.manifest.counts.rejects == rows
    make_report_again(settings.out)
    assert run_query("volume_by_intent", settings.out).fetchall()
    run_query("review_queue", settings.out).fetchall()
    if result.manifest.columns.time:
        days = run_query("volume_by_intent_per_day", settings.out).fetchall()
        assert sum(row[2] for row in days if isinstance(row[2], int)) <= rows


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
