"""Files, databases and a real Postgres server → one stream of tables in source order."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.testing
from support.postgres import IN_URL, PASSWORD, execute, postgres_server

from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import ColumnError, EcomIntentError, SourceError, UsageError
from ecomintent_batch.ingest.base import Reject, Source
from ecomintent_batch.ingest.columns import pick_columns
from ecomintent_batch.ingest.sources import open_source

TICKETS = pa.table({"ticket_id": ["001", "002", "003"], "body": ["where is it", None, "thanks"]})


def read(
    source: Source, columns: list[str], as_text: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Return the rows, each with its `row_number`, and the rejects of a source."""
    batches = list(source.read(columns, as_text))
    rejects = [reject for batch in batches for reject in batch.rejects]
    rows = [
        {**row, "row_number": number}
        for batch in batches
        for row, number in zip(batch.table.to_pylist(), batch.row_numbers.to_pylist(), strict=True)
    ]
    return rows, rejects


# Files


def test_a_folder_of_text_files_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """Places go on from file to file, rejects counted; the order of columns may differ; packed files are unpacked."""
    (tmp_path / "a.csv").write_text("ticket_id,body\n0001,first\n0002,second,too many\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"body;ticket_id\nthird;0003\n"))
    (tmp_path / "._a.csv").write_bytes(b"\0\5\x16\7 what macOS leaves beside a file")
    (tmp_path / "readme.txt").write_text("not tickets")
    rows, rejects = read(open_source(str(tmp_path)), ["ticket_id", "body"])
    assert rows == [
        {"ticket_id": "0001", "body": "first", "row_number": 0},
        {"ticket_id": "0003", "body": "third", "row_number": 2},
    ]
    assert [(Path(r.file).name, r.line, r.row_number) for r in rejects] == [("a.csv", 3, 1)]


def test_a_column_that_later_json_lines_brought_is_null_before(tmp_path: Path) -> None:
    """Objects of different ages are read as one source; an id that is a number keeps its digits."""
    (tmp_path / "1.jsonl").write_text('{"id": 7, "body": "old"}\n{"id": broken}\n')
    (tmp_path / "2.jsonl").write_text('{"id": "007", "body": "new", "channel": "chat"}\n')
    rows, rejects = read(open_source(str(tmp_path / "*.jsonl")), ["id", "body", "channel"])
    assert [tuple(row.values()) for row in rows] == [
        ("7", "old", None, 0),
        ("007", "new", "chat", 2),
    ]
    assert [(r.line, r.row_number) for r in rejects] == [(2, 1)]


@pytest.mark.parametrize("place", ["file", "glob", "folder"])
def test_parquet(tmp_path: Path, place: str) -> None:
    """One file, a glob, or a folder; a name full of wildcards is a name."""
    folder = tmp_path / "it's [new]"
    folder.mkdir()
    pq.write_table(TICKETS, folder / "tickets [1]?*.parquet")
    location = {
        "file": folder / "tickets [1]?*.parquet",
        "glob": tmp_path / "**" / "*.parquet",
        "folder": folder,
    }[place]
    source = open_source(str(location))
    assert source.kind == "parquet"
    rows, _ = read(source, ["ticket_id", "body"])
    assert rows == [{**row, "row_number": i} for i, row in enumerate(TICKETS.to_pylist())]


def test_parquet_files_of_different_ages(tmp_path: Path) -> None:
    """Columns are matched by name: one that is missing is null, an id that became text is text throughout."""
    pq.write_table(pa.table({"id": [1, 2], "body": ["a", "b"]}), tmp_path / "2025.parquet")
    pq.write_table(
        pa.table({"body": ["c"], "channel": ["chat"], "id": ["A-3"]}), tmp_path / "2026.parquet"
    )
    rows, _ = read(open_source(str(tmp_path)), ["id", "body", "channel"], as_text=("id", "body"))
    assert [tuple(row.values()) for row in rows] == [
        ("1", "a", None, 0),
        ("2", "b", None, 1),
        ("A-3", "c", "chat", 2),
    ]


def test_parquet_streams_its_row_groups(tmp_path: Path) -> None:
    """Batches are a few thousand rows, and their order is that of the file."""
    pq.write_table(pa.table({"id": range(50_000)}), tmp_path / "t.parquet", row_group_size=7_000)
    batches = list(open_source(str(tmp_path / "t.parquet")).read(["id"], ["id"]))
    assert max(batch.table.num_rows for batch in batches) <= 8192
    assert [value for batch in batches for value in batch.table["id"].to_pylist()] == [
        str(i) for i in range(50_000)
    ]
    assert [number for batch in batches for number in batch.row_numbers.to_pylist()] == list(
        range(50_000)
    )


# What is no source


def write_torn_gzip(path: Path) -> None:
    """Write a packed CSV that stops in the middle."""
    path.write_bytes(
        gzip.compress(b"ticket_id,body\n" + os.urandom(50_000).hex().encode() + b",x\n")[:-20_000]
    )


def write_corrupt_gzip(path: Path) -> None:
    """Write a packed CSV with a few bytes turned over."""
    data = bytearray(
        gzip.compress(b"ticket_id,body\n" + os.urandom(50_000).hex().encode() + b",x\n")
    )
    data[500:540] = bytes(40)
    path.write_bytes(data)


def write_torn_parquet(path: Path) -> None:
    """Write a Parquet file that lacks its footer."""
    pq.write_table(TICKETS, path)
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("missing.csv", None, "missing.csv: expected a file, folder or glob, found nothing there"),
        ("none*.csv", None, "expected at least one file, found none that matches"),
        ("x" * 300 + ".csv", None, "expected a readable file, found: File name too long"),
        ("folder", Path.mkdir, "expected a folder with ticket files"),
        ("tickets.docx", lambda path: path.write_bytes(b"PK"), "found a name with another ending"),
        ("tickets.xlsx", lambda path: path.write_bytes(b"PK"), "expected a workbook, found: "),
        ("empty.csv", Path.touch, "expected tickets, found an empty file"),
        (
            "empty.jsonl.gz",
            lambda path: path.write_bytes(gzip.compress(b"")),
            "found an empty file",
        ),
        ("torn.csv.gz", write_torn_gzip, "found: Compressed file ended"),
        ("corrupt.csv.gz", write_corrupt_gzip, "expected text that can be read, found: "),
        (
            "text.parquet",
            lambda path: path.write_text("ticket_id,body\n1,hello\n"),
            "expected a Parquet file",
        ),
        ("torn.parquet", write_torn_parquet, "or one cut short"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, write: Any, message: str
) -> None:
    """Each error names the place and what was found there."""
    if write:
        write(tmp_path / name)
    with pytest.raises(SourceError) as caught:
        read(open_source(str(tmp_path / name)), [])
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_others_may_not_read(tmp_path: Path) -> None:
    """Without the permission, the message is the system's; root is let in anywhere, so it steps back first."""
    path = tmp_path / "t.csv"
    path.write_text("ticket_id,body\n1,x\n")
    path.chmod(0)
    was = os.geteuid()
    os.seteuid(65534 if was == 0 else was)
    try:
        with pytest.raises(
            SourceError, match=r"t\.csv: expected a readable file, found: Permission denied"
        ):
            open_source(str(path))
    finally:
        os.seteuid(was)


def test_a_file_that_breaks_off_while_it_is_read(tmp_path: Path) -> None:
    """A torn .gz whose beginning is sound fails when its end is reached, not in silence."""
    path = tmp_path / "t.csv.gz"
    lines = b"".join(b'%d,"%s"\n' % (i, os.urandom(50).hex().encode()) for i in range(9000))
    path.write_bytes(gzip.compress(b"id,body\n" + lines)[:-500])
    # Detecting the encoding would read it to the end already.
    source = open_source(str(path), encoding="utf-8")
    with pytest.raises(SourceError, match="expected to be read to its end"):
        read(source, ["id"])


def test_kinds_do_not_mix(tmp_path: Path) -> None:
    """A folder with the same tickets as CSV and Parquet would count them twice."""
    pq.write_table(TICKETS, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("ticket_id,body\n1,x\n")
    with pytest.raises(SourceError, match="expected files of one kind, found csv, parquet"):
        open_source(str(tmp_path))


def test_text_files_with_other_columns_do_not_mix(tmp_path: Path) -> None:
    """A file of another export is named, with the columns of both."""
    (tmp_path / "a.csv").write_text("ticket_id,body\n1,x\n")
    (tmp_path / "b.csv").write_text("order,price\n1,x\n")
    with pytest.raises(
        SourceError,
        match=r"b\.csv: expected the columns of .*a\.csv \(ticket_id, body\), found order, price",
    ):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    "location", ["~nobody-of-this-name/t.csv", "gs://bucket/t.csv", "jdbc:postgresql://u:pass@h/db"]
)
def test_locations_of_other_kinds(location: str) -> None:
    """URLs that are not read, and homes that do not exist, are errors without a password in them."""
    with pytest.raises(SourceError, match=r"^(?!.*pass)"):
        open_source(location)


# DuckDB


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a table, one of the same name in another schema, and one with odd names and types."""
    path = tmp_path / "helpdesk.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE tickets AS SELECT * FROM (VALUES (1, 'here'), (2, NULL)) t(id, body)"
        )
        connection.execute(
            "CREATE SCHEMA archive; CREATE TABLE archive.tickets AS SELECT 9 AS id, 'old' AS body"
        )
        connection.execute(
            "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.twin (id INT); CREATE TABLE b.twin (id INT)"
        )
        connection.execute(
            """CREATE TABLE "o"";dd" AS SELECT 1::HUGEINT AS "i""d;", INTERVAL 90 MINUTE AS took, [INTERVAL 1 DAY] AS many,
            'a'::ENUM ('a', 'b') AS kind, union_value(n := 1) AS either, uuid() AS guid, {'x': [1]} AS nested,
            TIMESTAMPTZ '2026-01-01 23:30:00-05:00' AS at"""
        )
    return path


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"table": "tickets"}, [(1, "here"), (2, None)]),
        ({"table": "archive.tickets"}, [(9, "old")]),
        (
            {"query": "SELECT id, body FROM tickets ORDER BY id DESC -- newest first"},
            [(2, None), (1, "here")],
        ),
        ({"query": "FROM archive.tickets;"}, [(9, "old")]),
        (
            {
                "query": "WITH t AS (SELECT id, upper(body) AS body FROM tickets) SELECT * FROM t WHERE id = 1"
            },
            [(1, "HERE")],
        ),
    ],
)
def test_duckdb(database: Path, what: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    """A table, one of another schema, and any SELECT; two readers at once."""
    source, other = (open_source(str(database), **what) for _ in range(2))
    assert [(row["id"], row["body"]) for row in read(source, ["id", "body"])[0]] == expected
    assert [row["id"] for row in read(other, ["id"], ("id",))[0]] == [
        str(row[0]) for row in expected
    ]


def test_every_type_has_its_place_in_a_shard(database: Path, tmp_path: Path) -> None:
    """Types that Parquet does not know come as text, and times in UTC wherever the machine is."""
    source = open_source(str(database), table='o";dd')
    batch = next(source.read(source.columns, ['i"d;']))
    pq.write_table(batch.table, tmp_path / "t.parquet")
    row = batch.table.to_pylist()[0]
    assert (row['i"d;'], row["took"], row["kind"]) == ("1", "01:30:00", "a")
    assert row["at"] == datetime(2026, 1, 2, 4, 30, tzinfo=UTC)
    assert str(batch.table.schema.field("at").type) == "timestamp[us, tz=UTC]"


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ({}, UsageError, "expected --table or --query"),
        (
            {"table": "nope"},
            SourceError,
            'expected a table nope, found o";dd, tickets, a.twin, archive',
        ),
        ({"table": "twin"}, SourceError, "found a.twin and b.twin; name its schema too"),
        ({"query": "DROP TABLE tickets"}, SourceError, "expected one SELECT, found DROP"),
        ({"query": "SELECT 1; SELECT 2"}, SourceError, "expected one SELECT, found SELECT, SELECT"),
        (
            {"query": "SELECT 1) t; DELETE FROM tickets; --"},
            SourceError,
            "expected one SELECT, found: ",
        ),
        ({"query": "COPY tickets TO 'x.csv'"}, SourceError, "expected one SELECT, found COPY"),
        ({"query": ""}, SourceError, "expected one SELECT, found nothing"),
        ({"query": "SELECT nope FROM tickets"}, SourceError, 'Referenced column "nope" not found'),
    ],
)
def test_what_a_database_does_not_have(
    database: Path, what: dict[str, str], kind: type[EcomIntentError], message: str
) -> None:
    """Tables and queries that do not work out are told in a line that says what is there."""
    with pytest.raises(kind) as caught:
        open_source(str(database), **what)
    assert message in str(caught.value)


def test_a_value_that_breaks_a_query_is_not_shown(database: Path) -> None:
    """DuckDB quotes what it cannot convert; that could be a ticket."""
    source = open_source(str(database), query="SELECT id, body::INT AS body FROM tickets")
    with pytest.raises(SourceError, match=r"Could not convert string '…' to INT32") as caught:
        read(source, ["id", "body"])
    assert "here" not in str(caught.value)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_that_another_process_holds(database: Path, read_only: bool) -> None:
    """Readers share it, because it is opened to read only; a writer keeps them out, and the message says so."""
    script = (
        f"import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only={read_only}); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(database)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        if read_only:
            assert open_source(str(database), table="tickets").columns == ["id", "body"]
        else:
            with pytest.raises(SourceError, match="locked by a writer; try again"):
                open_source(str(database), table="tickets")
        holder.communicate("")


def test_databases_that_are_none(tmp_path: Path, database: Path) -> None:
    """A file of another kind, two at once, and database flags on a file."""
    (tmp_path / "b.duckdb").write_text("ticket_id,body\n1,blocked by a lock\n" * 1000)
    (tmp_path / "t.csv").write_text("ticket_id,body\n1,x\n")
    with pytest.raises(SourceError, match="expected a DuckDB database, found: "):
        open_source(str(tmp_path / "b.duckdb"), table="tickets")
    with pytest.raises(SourceError, match="expected one database, found 2"):
        open_source(str(tmp_path / "*.duckdb"), table="tickets")
    with pytest.raises(UsageError, match="--table and --query: expected a database"):
        open_source(str(tmp_path / "t.csv"), table="tickets")


# Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A real server with a few tickets; yields host:port/database."""
    with postgres_server() as server_at:
        execute(
            server_at,
            "CREATE TABLE tickets AS SELECT '00' || i AS ticket_id, 'where is my order ' || i AS body, "
            "timestamptz '2026-01-01 23:30-05' AS created_at, 'chat' AS channel FROM generate_series(1, 20) i",
            "CREATE SEQUENCE counter",
            'CREATE SCHEMA "Old Desk"',
            'CREATE TABLE "Old Desk"."Tick""ets" AS SELECT 7 AS "Id", \'lost\' AS "Message Body"',
            f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON tickets TO reader",
        )
        yield server_at


@pytest.mark.service
def test_postgres(postgres: str) -> None:
    """A table, one with names in capitals, and a query, with the password in the URL or in the environment."""
    url = f"postgresql://shop:{IN_URL}@{postgres}"
    source = open_source(url, table="tickets")
    rows, _ = read(source, ["ticket_id", "body", "created_at"], ("ticket_id", "body"))
    assert len(rows) == 20
    assert rows[0]["ticket_id"] == "001"
    assert rows[0]["created_at"] == datetime(2026, 1, 2, 4, 30, tzinfo=UTC)
    odd = open_source(url, table='Old Desk.Tick"ets')
    assert read(odd, ["Id", "Message Body"], ("Id",))[0] == [
        {"Id": "7", "Message Body": "lost", "row_number": 0}
    ]
    queried = open_source(url, query="SELECT ticket_id, body FROM tickets WHERE ticket_id = '003'")
    assert [row["body"] for row in read(queried, ["ticket_id", "body"])[0]] == [
        "where is my order 3"
    ]
    for opened in (source, odd, queried):
        assert opened.name == f"postgresql://shop:***@{postgres}"


@pytest.mark.service
def test_postgres_numbers_without_precision_keep_their_digits(postgres: str) -> None:
    """Of a table as Postgres writes them; in a query, where DuckDB has lost digits already, ids over 2^53 are refused."""
    url = f"postgresql://shop:{IN_URL}@{postgres}"
    execute(
        postgres,
        'CREATE TABLE big (id numeric, "Body" text, price numeric(8, 2))',
        "INSERT INTO big VALUES (48213, 'a', 1.5), (90071992547409921, 'b', 2), (90071992547409922, 'c', 3)",
    )
    source = open_source(url, table="big", where="price > 1.6")
    rows, _ = read(source, ["id", "Body", "price"], ("id", "Body"))
    assert [row["id"] for row in rows] == ["90071992547409921", "90071992547409922"]
    queried = open_source(url, query="SELECT * FROM big")
    with pytest.raises(SourceError, match="ids of a numeric column without precision lose digits"):
        read(queried, ["id"], ("id",))
    execute(postgres, "DROP TABLE big")


@pytest.mark.service
def test_postgres_is_opened_read_only(postgres: str) -> None:
    """Not even a function in a SELECT may write."""
    url = f"postgresql://shop:{IN_URL}@{postgres}"
    sneaky = "SELECT * FROM postgres_query('warehouse', 'SELECT nextval(''counter'')::text AS ticket_id')"
    with pytest.raises(SourceError, match="in a read-only transaction"):
        read(open_source(url, query=sneaky), ["ticket_id"])


@pytest.mark.parametrize(
    ("user", "options", "message"),
    [
        ("shop:wr0ng-one@", "", "password authentication failed"),
        ("shop@", "?password=wr0ng-one", "password authentication failed"),
        ("shop@", "", "password authentication failed"),
        ("shop:wr0ng-one@rest@", "", "expected / @ % in a password as %2F %40 %25"),
        ("shop:wr0ng-one/rest@", "", "expected / @ % in a password as %2F %40 %25"),
        ("shop:wr0ng-one%zz@", "", "expected / @ % in a password as %2F %40 %25"),
        ("shop@", "?password=wr0ng-one%zz", "expected / @ % in a password as %2F %40 %25"),
        ("shop:wr0ng-one@", "?sslmode=bogus", "invalid sslmode value"),
    ],
)
def test_no_password_is_in_an_error(
    postgres: str, monkeypatch: pytest.MonkeyPatch, user: str, options: str, message: str
) -> None:
    """However a URL is wrong, and wherever its password stands, the error does not repeat it."""
    monkeypatch.setenv("PGPASSWORD", "wr0ng-one")
    with pytest.raises(SourceError) as caught:
        open_source(f"postgresql://{user}{postgres}{options}", table="tickets")
    assert message in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    assert "rest" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.service
def test_no_password_is_in_the_error_of_a_server_that_goes_away(postgres: str) -> None:
    """Connections made while reading fail with the whole URL in DuckDB's message."""
    source = open_source(f"postgresql://reader:{IN_URL}@{postgres}", table="tickets")
    execute(
        postgres,
        "ALTER ROLE reader PASSWORD 'changed'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'",
    )
    with pytest.raises(SourceError) as caught:
        read(source, ["ticket_id"])
    assert "Unable to connect to Postgres" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_table_that_postgres_does_not_have(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of the shop are listed, those of the server itself are not."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(SourceError) as caught:
        open_source(f"postgresql://shop@{postgres}", table="nope")
    assert str(caught.value).endswith('expected a table nope, found tickets, Old Desk.Tick"ets')


@pytest.mark.parametrize("in_environment", [True, False])
def test_a_run_over_postgres_keeps_the_password_to_itself(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_environment: bool
) -> None:
    """Nothing that a run prints or leaves behind, staging folders included, holds the password in any spelling."""
    monkeypatch.setenv("ECOMINTENT_ENGINE", "stub")
    if in_environment:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url = f"postgresql://shop{'' if in_environment else ':' + IN_URL}@{postgres}"
    out = tmp_path / "out"
    cli = typer.testing.CliRunner()
    done = cli.invoke(app, ["run", url, "--table", "tickets", "--by", "channel", "--out", str(out)])
    assert done.exit_code == 0, done.output
    failed = cli.invoke(
        app,
        [
            "run",
            url,
            "--table",
            "tickets",
            "--time-column",
            "body",
            "--time-format",
            "%d",
            "--out",
            str(out),
        ],
    )
    assert isinstance(failed.exception, EcomIntentError)
    manifest = json.loads(next((out / "runs").glob("*.json")).read_text())
    assert manifest["counts"]["predictions"] == 20
    assert manifest["source"] == f"postgresql://shop{'' if in_environment else ':***'}@{postgres}"
    everything = (
        done.output
        + str(failed.exception)
        + "".join(
            file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()
        )
    )
    for spelling in ("s3cret", PASSWORD, IN_URL):
        assert spelling not in everything


def test_postgres_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel of the extra, the message says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"pip install 'ecomintent-batch\[warehouse\]'"):
        open_source("postgresql://shop@127.0.0.1:1/db", table="tickets")


def test_a_duplicate_name_is_told_without_its_text(tmp_path: Path) -> None:
    """A file without a header has text where names should be: it is not repeated."""
    text = "my order has not arrived and I am really upset about this"
    (tmp_path / "t.csv").write_text(f"{text},{text}\n1,2\n")
    source = open_source(str(tmp_path / "t.csv"))
    with pytest.raises(ColumnError, match="found a text of 57 characters twice"):
        pick_columns("t.csv", source.columns, text_column=[text])


def test_a_column_that_is_there_twice_matters_only_to_who_reads_it(tmp_path: Path) -> None:
    """Jira repeats Comment and Sprint, a Parquet file may hold Body and body: the other columns are read."""
    (tmp_path / "t.csv").write_text("id,Sprint,Sprint,body\n1,a,b,hello\n")
    twins = pa.Table.from_arrays([pa.array(["1"])] * 3, names=["Body", "body", "id"])
    pq.write_table(twins, tmp_path / "t.parquet")
    assert read(open_source(str(tmp_path / "t.csv")), ["id", "body"])[0] == [
        {"id": "1", "body": "hello", "row_number": 0}
    ]
    source = open_source(str(tmp_path / "t.parquet"))
    assert read(source, ["id"])[0] == [{"id": "1", "row_number": 0}]
    with pytest.raises(ColumnError, match="found Body twice"):
        pick_columns("t.parquet", source.columns)
