"""Tables for dashboards: in a DuckDB file that is opened again, a real Postgres server, and a workbook."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml
from support.committed_runs import describe, put, summarise, write_run
from support.postgres import IN_URL, PASSWORD, execute, postgres_server
from support.tickets import ROOT, write_tickets
from typer.testing import CliRunner

from ecomintent_batch.analytics.publish import SCHEMA, TABLES, publish_runs
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import OutputError, UsageError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.store import LocalRuns
from ecomintent_batch.settings import load_settings
from ecomintent_batch.storage.duck import load_extension

DAY = datetime(2026, 10, 1, 9)
FIRST = [
    ("WISMO", 0.9, "ok", "chat", DAY),
    ("WISMO", 0.5, "ok", "=1+1", DAY),
    (None, None, "empty", "chat", None),
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two runs; the second one labels the first ticket again, and has a message that must stay at home."""
    folder = tmp_path / "out"
    put(folder, "r1", FIRST)
    run, manifest = write_run(
        folder, "r2", [("DAMAGED_ITEM", 0.8, "ok", "email", DAY)], message=["secret words"]
    )
    summarise(run, describe(run, manifest, 1))
    return folder


def test_a_duckdb_file_has_the_tables_and_views_when_it_is_opened_again(out, tmp_path):
    """Each ticket once, as its newest run has it; typed; no message; published twice it is the same."""
    file = tmp_path / "bi.duckdb"
    for _ in range(2):
        rows = publish_runs(LocalRuns(out), str(file))
        assert rows == {"tickets": 3, "volumes": 6, "findings": 0, "topics": 0, "runs": 2}
    with duckdb.connect(
        str(file.rename(tmp_path / "renamed.duckdb")), read_only=True
    ) as connection:
        connection.execute(f"USE {SCHEMA}")
        tickets = connection.sql(
            "SELECT ticket_id, run_id, ticket_time, channel, intent, top_intent, below_threshold, status FROM tickets ORDER BY 1"
        ).fetchall()
        assert tickets == [
            ("0", "r2", DAY, "email", "DAMAGED_ITEM", "DAMAGED_ITEM", False, "ok"),
            ("1", "r1", DAY, "=1+1", "OTHER", "WISMO", True, "ok"),
            ("2", "r1", None, "chat", "OTHER", None, None, "empty"),
        ]
        assert "message" not in connection.sql("FROM tickets").columns
        assert connection.sql(
            "SELECT week, value, tickets FROM volumes_by_week WHERE by_column = 'channel' AND intent = 'DAMAGED_ITEM'"
        ).fetchall() == [(date(2026, 9, 28), "email", 1)]
        assert connection.sql(
            "SELECT sum(tickets) FROM volumes WHERE by_column IS NULL"
        ).fetchone() == (3,)
        assert connection.sql("FROM newest_findings").fetchall() == []
        assert connection.sql("SELECT run_id, tickets FROM runs").fetchall() == [
            ("r1", 3),
            ("r2", 1),
        ]
    assert b"secret words" not in (tmp_path / "renamed.duckdb").read_bytes()


def test_the_sources_of_dbt_are_the_tables(out, tmp_path):
    """Every table and column of sql/sources.yml is there; `tickets` has the --by columns besides."""
    publish_runs(LocalRuns(out), str(tmp_path / "bi.duckdb"))
    (source,) = yaml.safe_load((ROOT / "sql" / "sources.yml").read_text(encoding="utf-8"))[
        "sources"
    ]
    assert source["schema"] == SCHEMA
    assert tuple(table["name"] for table in source["tables"]) == TABLES
    with duckdb.connect(str(tmp_path / "bi.duckdb")) as connection:
        for table in source["tables"]:
            columns = connection.sql(f"FROM {SCHEMA}.{table['name']}").columns
            assert [column["name"] for column in table["columns"]] == [
                name for name in columns if name != "channel"
            ]


def test_a_workbook_has_a_sheet_for_each_table(out, tmp_path):
    """A channel that looks like a formula is text."""
    publish_runs(LocalRuns(out), str(tmp_path / "bi.xlsx"))
    sheets = pl.read_excel(tmp_path / "bi.xlsx", sheet_id=0)
    assert set(sheets) == set(TABLES)
    assert sorted(sheets["tickets"]["channel"]) == ["=1+1", "chat", "email"]
    assert sheets["runs"]["tickets"].to_list() == [3, 1]


def test_columns_of_a_source_keep_out_of_the_way(tmp_path):
    """A --by column called `topic`, and one with blanks and capitals, get plain names of their own."""
    kept = {"created_at": [DAY] * 3, "topic": ["a"] * 3, "Brand Name": ["b"] * 3}
    run, manifest = write_run(tmp_path / "out", "r1", FIRST, kept=kept, by=("topic", "Brand Name"))
    describe(run, manifest, 3)
    publish_runs(LocalRuns(tmp_path / "out"), str(tmp_path / "bi.duckdb"))
    with duckdb.connect(str(tmp_path / "bi.duckdb")) as connection:
        assert connection.sql(
            "SELECT DISTINCT topic_, brand_name, topic FROM ecomintent.tickets"
        ).fetchall() == [("a", "b", None)]


def test_runs_that_do_not_fit_together_are_told(tmp_path):
    """A channel that is an object in one run and a text in the other: one line, and no file."""
    kept = {"created_at": [DAY] * 3, "channel": [{"id": 1}] * 3}
    run, manifest = write_run(tmp_path / "out", "r1", FIRST, kept=kept)
    describe(run, manifest, 3)
    put(tmp_path / "out", "r2", FIRST, first_id=9)
    target = tmp_path / "bi.duckdb"
    try:
        rows = publish_runs(LocalRuns(tmp_path / "out"), str(target))
    except OutputError as error:
        assert "expected runs whose columns fit together" in str(error)  # noqa: PT017 - either is right
        assert not target.exists()
    else:
        assert rows["tickets"] == 6


@pytest.mark.model
def test_weeks_with_too_few_before_them_are_published_and_a_run_with_nothing_new_hides_none(
    tmp_path,
):
    """A first export has no usual week; a second run over it labels nothing, and days are still reported."""
    source, target, folder = tmp_path / "t.csv", str(tmp_path / "x.duckdb"), tmp_path / "out"
    days = ("2026-11-02", "2026-11-05", "2026-11-09")
    rows = "".join(f"{i},{day},where is my parcel {i}\n" for i, day in enumerate(days))
    source.write_text("id,created_at,body\n" + rows)
    arguments = ["run", str(source), "--out", str(folder), "--incremental"]
    for _ in range(2):
        done = CliRunner().invoke(app, [*arguments, "--publish", target])
        assert done.exit_code == 0, done.output
    with duckdb.connect(target) as connection:
        said = connection.table(f"{SCHEMA}.findings").select("sentence").fetchall()
    assert said == [
        ("2 tickets in the week of 2 November 2026; too few weeks before it to judge.",)
    ]
    report = CliRunner().invoke(app, ["report", "--last", "7d", "--out", str(folder)])
    assert report.exit_code == 0, report.output


@pytest.mark.parametrize("target", ["bi.csv", "mysql://host/db", "s3://bucket/bi.duckdb"])
def test_another_target_is_wrong_usage(tmp_path, target):
    """Before anything is read."""
    with pytest.raises(
        UsageError, match=r"expected a \.duckdb file, a postgresql:// URL or an \.xlsx file"
    ):
        publish_runs(LocalRuns(tmp_path), target)
    with pytest.raises(UsageError, match="--publish: publish"):
        load_settings(source="t.csv", publish=[target])


def test_a_run_publishes_when_asked(tmp_path, stub_settings):
    """Again with each run; a password of the URL is in no file; a target that cannot be written leaves the run committed."""
    target = tmp_path / "bi.duckdb"
    for count in (12, 30):
        source = write_tickets(tmp_path / f"{count}.csv", count)
        run_job(stub_settings(source, tmp_path / "out", publish=(str(target),)))
    with duckdb.connect(str(target)) as connection:
        assert connection.sql(
            "SELECT count(*), count(DISTINCT run_id) FROM ecomintent.tickets"
        ).fetchone() == (30, 1)
    url = "postgresql://shop:hunter2@127.0.0.1:1/none"
    with pytest.raises(
        OutputError, match="the run is committed, ecomintent-batch publish tries again"
    ) as caught:
        run_job(stub_settings(source, tmp_path / "out", publish=(url,)))
    assert "hunter2" not in str(caught.value)
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) == 3
    assert not any(
        b"hunter2" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A real server; yields host:port/database."""
    with postgres_server() as server_at:
        yield server_at


def read(server_at: str, query: str) -> list[tuple]:
    """Return rows as the server has them."""
    with duckdb.connect() as connection:
        load_extension(connection, "postgres_scanner")
        connection.execute(
            f"ATTACH 'postgresql://shop:{IN_URL}@{server_at}' AS server (TYPE postgres)"
        )
        return connection.execute("SELECT * FROM postgres_query('server', ?)", [query]).fetchall()


def test_a_postgres_server_gets_the_tables(out, postgres, monkeypatch):
    """With the password in the environment; other tables stay, and so does a view on ours; twice is the same."""
    execute(postgres, "CREATE TABLE tickets AS SELECT 'mine' AS ticket_id")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url = f"postgresql://shop@{postgres}"
    result = CliRunner().invoke(app, ["publish", url, "--out", str(out)], catch_exceptions=False)
    assert result.output.strip() == f"{url}: 3 tickets, 6 volumes, 0 findings, 0 topics, 2 runs"
    execute(
        postgres,
        "CREATE VIEW unsure AS SELECT ticket_id FROM ecomintent.tickets WHERE below_threshold",
    )
    put(out, "r3", [("WISMO", 0.6, "ok", "chat", DAY)], first_id=7)
    publish_runs(LocalRuns(out), f"postgresql://shop:{IN_URL}@{postgres}")
    assert read(postgres, "SELECT ticket_id FROM unsure ORDER BY 1") == [("1",), ("7",)]
    assert read(postgres, "SELECT ticket_id FROM public.tickets") == [("mine",)]
    assert read(postgres, "SELECT count(*), min(ticket_time) FROM ecomintent.tickets") == [(4, DAY)]
    types = read(
        postgres,
        "SELECT data_type FROM information_schema.columns WHERE table_schema = 'ecomintent' AND table_name = 'tickets' "
        "AND column_name IN ('confidence', 'below_threshold', 'ticket_time') ORDER BY column_name",
    )
    assert types == [("boolean",), ("double precision",), ("timestamp without time zone",)]


def test_a_postgres_server_that_refuses_changes_nothing(out, postgres):
    """A role without rights: one line without the password, and the tables of before."""
    publish_runs(LocalRuns(out), f"postgresql://shop:{IN_URL}@{postgres}")
    execute(
        postgres,
        "CREATE ROLE guest LOGIN PASSWORD 'guest-word'; GRANT USAGE ON SCHEMA ecomintent TO guest",
    )
    before = read(postgres, "SELECT count(*) FROM ecomintent.tickets")
    with pytest.raises(OutputError, match="nothing was changed") as caught:
        publish_runs(LocalRuns(out), f"postgresql://guest:guest-word@{postgres}")
    assert "guest-word" not in str(caught.value)
    assert read(postgres, "SELECT count(*) FROM ecomintent.tickets") == before
