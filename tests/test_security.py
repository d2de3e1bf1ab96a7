"""What a run must never do: leave files open to all, run what a name or a query smuggles in, tell what tickets say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import duckdb
import pyarrow.parquet as pq
import pytest
from support.tickets import write_tickets

from ecomintent_batch.errors import SourceError, hide_password
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.pipeline import run_job


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run with this umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_have_the_users_umask(tmp_path, stub_settings, umask):
    """Every file and folder of OUT, the lock too: nothing is more open than the user wants, or less so for a group."""
    run_job(
        stub_settings(write_tickets(tmp_path / "t.csv", 30), tmp_path / "out", incremental=True)
    )
    found = list((tmp_path / "out").rglob("*"))
    assert len(found) > 8
    for path in found:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_nothing_is_written_outside_out(tmp_path, stub_settings):
    """No temporary file in a place that others may write to, and none left beside the source."""
    (tmp_path / "temporary").mkdir()
    source = write_tickets(tmp_path / "t.csv", 30)
    settings = stub_settings(source, tmp_path / "out")
    command = [
        sys.executable,
        "-m",
        "ecomintent_batch",
        "run",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--incremental",
        "-q",
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "ECOMINTENT_ENGINE": "stub"}
    environment["ECOMINTENT_MODEL"] = str(settings.model)
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t.csv", "temporary"]


@pytest.mark.parametrize("query", [
    "COPY (SELECT 1) TO '{folder}/x.csv'",
    "ATTACH '{folder}/x.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '1GB'",
    "PRAGMA memory_limit = '1GB'",
    "CALL pragma_version()",
    "EXPORT DATABASE '{folder}/x'",
    "CREATE TABLE x AS SELECT 1",
    "INSERT INTO t SELECT * FROM t",
    "UPDATE t SET body = ''",
    "CHECKPOINT",
    "VACUUM",
    "USE memory",
    "SELECT * FROM t; COPY t TO '{folder}/x.csv'",
    "SELECT 1) AS a; COPY t TO '{folder}/x.csv'; --",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE x AS SELECT 1",
])  # fmt: skip
def test_a_query_may_only_read(tmp_path, query):
    """One SELECT and nothing else, over a database that is opened read-only."""
    database = tmp_path / "t.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS id, 'x' AS body")
    before = database.read_bytes()
    with pytest.raises(SourceError, match="--query: expected one SELECT, found"):
        open_source(str(database), query=query.format(folder=tmp_path))
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.duckdb"]


NASTY = [
    'a"b',
    "a;b",
    "a'b",
    "a\nb",
    "a--b",
    '"; DROP TABLE t; --',
    "a]b",
    "Ünï cödé",
    "{x}",
    "%s",
    "$1",
    "[x]*",
]


@pytest.mark.parametrize("name", NASTY)
def test_names_do_not_break_out(tmp_path, stub_settings, name):
    """Columns, tables, files and OUT with quotes, semicolons and line ends are names and nothing more."""
    folder = tmp_path / name.replace("/", "")
    folder.mkdir()
    database = folder / f"{name}.duckdb"
    quoted = name.replace('"', '""')
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            f"CREATE TABLE \"{quoted}\" AS SELECT 1 AS id, 'x' AS body, '=1+1' AS \"{quoted} \""
        )
    settings = stub_settings(
        database, folder / "out", table=name, by=(f"{name} ",), incremental=True
    )
    result = run_job(settings)
    assert run_job(settings).manifest.counts.skipped == 1
    table = pq.read_table(result.folder.predictions / "part-00000.parquet")
    assert table[f"{name} "].to_pylist() == ["=1+1"]
    (volumes,) = result.folder.summaries.glob("volume_by_intent_by_*.csv")
    assert "'=1+1" in volumes.read_text()


def test_text_is_in_no_output_unless_asked_for(tmp_path, stub_settings):
    """Not in a part, a reject, a manifest, a summary, or what an interrupted run leaves behind when it is done."""
    source = tmp_path / "t.csv"
    source.write_text("id,body\n1,my unmistakable words\n2,unmistakable,too many\n")
    for keep in (False, True):
        out = tmp_path / f"out-{keep}"
        run_job(stub_settings(source, out, keep_text=keep, max_reject_ratio=1, incremental=True))
        everything = b"".join(
            path.read_bytes()
            for path in out.rglob("*")
            if path.is_file() and path.suffix not in (".parquet", ".html")
        )
        pages = "".join(path.read_text() for path in out.rglob("*.html"))
        parts = [str(pq.ParquetFile(path).read().to_pylist()) for path in out.rglob("*.parquet")]
        assert b"unmistakable" not in everything
        assert ("unmistakable" in "".join(parts)) is keep
        assert ("unmistakable" in pages) is keep  # as one of three typical tickets


@pytest.mark.parametrize("url", [
    "postgresql://u:secret@h/d", "postgresql://u:se@cret@h:5432/d", "postgresql://u@h/d?password=secret&x=1",
    "postgresql://u:sec/ret@h/d", "s3://key:secret@bucket/x", "https://h/x?access_token=secret",
])  # fmt: skip
def test_urls_are_shown_without_their_passwords(url):
    """Wherever the password stands."""
    assert "ret" not in hide_password(url).replace("postgresql", "")
