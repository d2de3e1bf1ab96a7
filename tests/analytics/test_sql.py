"""The files of `sql/`, each run on DuckDB over the outputs of real runs, the way an analyst runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from support.tickets import ROOT, write_tickets

from ecomintent_batch.analytics.views import sql_folder
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.schema import REJECTS

FILES = sorted((ROOT / "sql").glob("*.sql"))
QUERIES = [file for file in FILES if file.name != "views.sql"]
VOLUMES = [ROOT / "sql" / f"volume_by_intent{rest}.sql" for rest in ("", "_by_column", "_per_day")]
VARIABLES = {
    "by_column": "channel",
    "time_column": "created_at",
    "customer_column": "channel",
    "by_columns": "[channel]",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """An OUT with two runs: 30 tickets without a reject, and 12 with two."""
    from ecomintent_batch.settings import RunSettings

    folder = tmp_path_factory.mktemp("sql")
    for count, broken in ((30, ""), (12, "too,few\nx,y\n")):
        source = write_tickets(folder / f"{count}.csv", count)
        with source.open("a", encoding="utf-8") as file:
            file.write(broken)
        settings = RunSettings(
            source=str(source),
            out=folder / "out",
            model=str(tiny_model),
            engine="stub",
            by=("channel",),
            max_reject_ratio=1,
            keep_text=True,
        )
        run_job(settings)
    return folder / "out"


def connect(out: Path, **variables: str | None) -> duckdb.DuckDBPyConnection:
    """Do what an analyst does: SET VARIABLE, .read sql/views.sql; without the lambda arrow, which DuckDB 2 turns off."""
    connection = duckdb.connect()
    connection.execute("SET lambda_syntax = 'DISABLE_SINGLE_ARROW'")
    for name, value in {"out": str(out), **variables}.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    connection.execute((ROOT / "sql" / "views.sql").read_text(encoding="utf-8"))
    return connection


def header_of(file: Path) -> list[str]:
    """Return the comment at the head of a file, an entry for each of its sentences-with-a-name."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            break
        lines.append(line[2:])
    return re.split(r"\n(?= \w)", "\n".join(lines))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_says_what_it_is(file):
    """Purpose, Parameters, Grain, Columns, in this order; every variable it reads is among its parameters."""
    header = [part.strip() for part in header_of(file)]
    assert header[0].endswith(".")
    assert ":" not in header[0]
    names = [part.split(":")[0] for part in header[1:]]
    assert names == ["Parameters", "Grain", "Columns"]
    body = file.read_text(encoding="utf-8")
    for variable in set(re.findall(r"getvariable\('(\w+)'\)", body)) - set(
        re.findall(r"(?m)^SET VARIABLE (\w+)", body)
    ):
        assert variable in header[1]
    if file.name != "views.sql":
        assert len(duckdb.extract_statements(body)) == 1
        assert "run_id" in header[1]


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_each_query_runs_and_returns_its_columns(out, file):
    """The columns are those that the header names."""
    columns = connect(out, **VARIABLES).sql(file.read_text(encoding="utf-8")).columns
    assert [
        column for column in columns if not re.search(rf"\b{column}\b", header_of(file)[3])
    ] == []


@pytest.mark.parametrize("file", VOLUMES, ids=lambda file: file.stem)
def test_the_volumes_count_every_ticket(out, file):
    """Over all runs and over one."""
    connection = connect(out, **VARIABLES)
    (run_id,) = connection.sql("SELECT max(run_id) FROM runs").fetchone()
    whole = connection.sql(file.read_text(encoding="utf-8"))
    tickets = whole.columns.index("tickets")
    assert sum(row[tickets] for row in whole.fetchall()) == 42
    connection.execute("SET VARIABLE run_id = ?", [run_id])
    assert (
        sum(row[tickets] for row in connection.sql(file.read_text(encoding="utf-8")).fetchall())
        == 12
    )


@pytest.mark.parametrize("file", VOLUMES, ids=lambda file: file.stem)
def test_the_grain_is_kept(out, file):
    """One row per what the header says: its leading columns are unique, its shares add up to one."""
    connection = connect(out, **VARIABLES)
    table = connection.sql(file.read_text(encoding="utf-8"))
    key = table.columns[: table.columns.index("tickets")]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
    assert max(Counter(tuple(row[name] for name in key) for row in rows).values()) == 1
    share = next(name for name in table.columns if name.startswith("share"))
    groups = Counter()
    for row in rows:
        groups[row[key[0]] if share != "share" else "all"] += row[share]
    assert all(total == pytest.approx(1) for total in groups.values())


def test_the_volumes_agree_with_a_plain_count(out):
    """The same numbers as counting the rows of the predictions in Python."""
    connection = connect(out)
    plain = Counter(
        intent for (intent,) in connection.sql("SELECT intent::VARCHAR FROM predictions").fetchall()
    )
    rows = connection.sql(
        (ROOT / "sql" / "volume_by_intent.sql").read_text(encoding="utf-8")
    ).fetchall()
    assert {row[0]: row[1] for row in rows if row[1]} == plain
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)


def test_views_read_all_runs_or_one(out):
    """predictions, rejects and runs, by a plain connection; run_id narrows each of them."""
    connection = connect(out)
    assert connection.sql(
        "SELECT count(*), count(DISTINCT run_id) FROM predictions"
    ).fetchone() == (42, 2)
    runs = connection.sql(
        "SELECT run_id, counts.predictions, counts.rejects, source FROM runs ORDER BY run_id"
    ).fetchall()
    assert [row[1:3] for row in runs] == [(30, 0), (12, 2)]
    rejects = connection.sql("SELECT * FROM rejects")
    assert rejects.columns == ["run_id", *REJECTS.names]
    assert [row[0] for row in rejects.fetchall()] == [runs[1][0]] * 2
    connection.execute("SET VARIABLE run_id = ?", [runs[0][0]])
    counts = "SELECT (SELECT count(*) FROM predictions), (SELECT count(*) FROM rejects), (SELECT count(*) FROM runs)"
    assert connection.sql(counts).fetchone() == (30, 0, 1)


def test_each_ticket_counts_once_where_that_is_asked(out):
    """The second run has twelve of the first one's ids: 30 tickets, 12 of them as the newer run has them."""
    connection = connect(out, latest="true")
    assert connection.sql("SELECT count(*), count(DISTINCT ticket_id) FROM tickets").fetchone() == (
        30,
        30,
    )
    newest = connection.sql(
        "SELECT count(*) FROM tickets WHERE run_id = (SELECT max(run_id) FROM runs)"
    ).fetchone()
    assert newest == (12,)
    assert connect(out).sql("SELECT count(*) FROM tickets").fetchone() == (42,)


def test_the_duckdb_shell_runs_the_files_as_they_are(out):
    """What the README shows: the variable, the views, a query, in the shell of DuckDB's command line."""
    shell = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    assert shell, "pip install duckdb-cli, as the extra 'test' does"
    lines = [
        f"SET VARIABLE out = '{out}';",
        ".read sql/views.sql",
        "SET VARIABLE time_column = 'created_at';",
    ]
    lines += [f"SET VARIABLE {name} = 'channel';" for name in ("by_column", "customer_column")]
    lines += ["SET VARIABLE by_columns = ['channel'];"]
    lines += [".mode csv", *(f".read sql/{file.name}" for file in QUERIES)]
    done = subprocess.run(
        [shell, "-batch", "-bail"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "intent,tickets,share,first_choice,below_threshold,mean_confidence,as_second" in done.stdout
    )


def test_the_glob_is_all_an_analyst_needs(out):
    """The line that the terminal prints reads every committed run, and nothing else that lies in OUT."""
    query = f"SELECT count(*) FROM '{out}/predictions/*/*.parquet'"  # noqa: S608 - a path of this test
    assert duckdb.sql(query).fetchone() == (42,)


def test_the_sql_is_found_in_a_checkout():
    """Beside the package here; the wheel carries it inside, as pyproject.toml says."""
    assert sql_folder().resolve() == ROOT / "sql"
    assert 'sql = "ecomintent_batch/sql"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
