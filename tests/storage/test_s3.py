"""Sources and OUT on an object store: moto's server, real requests."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.make_predictions import make_run
from support.servers import connect_s3, moto_server
from support.tickets import ROOT, RecordingProgress
from typer.testing import CliRunner

from ecomintent_batch import pipeline, planning
from ecomintent_batch.analytics.queries import run_query
from ecomintent_batch.analytics.views import open_views
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import OutputError, SourceError, UsageError
from ecomintent_batch.inference.engines.stub import StubEngine
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs import claims, lake, manifest_index, merged_objects
from ecomintent_batch.runs import cleanup as retention
from ecomintent_batch.runs import store as store_module
from ecomintent_batch.runs.compaction import compact_runs
from ecomintent_batch.runs.lake import append_runs
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.publishing import upload_run
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.settings import load_settings
from ecomintent_batch.storage.location import parse_location
from ecomintent_batch.storage.s3 import Store, open_for_reading

pytestmark = pytest.mark.service

BUCKET = "tickets"
OUT = f"s3://{BUCKET}/out"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own on a free port; yields its URL."""
    with moto_server() as url:
        yield url


@pytest.fixture
def client(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an empty bucket; the environment is that of a job, its cache in the test's folder."""
    found = connect_s3(server, BUCKET, tmp_path / "cache", monkeypatch)
    for entry in found.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        found.delete_object(Bucket=BUCKET, Key=entry["Key"])
    return found


def put_csv(
    client: Any, key: str, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("id", "body")
) -> str:
    """Put a CSV export, and return its URL."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    client.put_object(Bucket=BUCKET, Key=key, Body=text.getvalue().encode())
    return f"s3://{BUCKET}/{key}"


def put_parquet(client: Any, key: str, ids: list[str]) -> None:
    """Put a Parquet export."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ids, "body": [f"order {i}" for i in ids]}), sink)
    client.put_object(Bucket=BUCKET, Key=key, Body=sink.getvalue())


@pytest.fixture
def job(tiny_model: Path) -> Any:
    """Run over a source into OUT on the store."""

    def start(source: str, **changes: Any) -> Any:
        options = {
            "out": f"s3://{BUCKET}/out",
            "model": str(tiny_model),
            "engine": "stub",
            "shard_rows": 2,
            **changes,
        }
        return run_job(load_settings(source=source, **options), RecordingProgress())

    return start


def names(client: Any) -> list[str]:
    """Return the keys under OUT."""
    return [
        entry["Key"]
        for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="out/").get("Contents", ())
    ]


def views(run_id: str | None = None) -> duckdb.DuckDBPyConnection:
    """Do what an analyst does: a secret, SET VARIABLE, .read sql/views.sql."""
    connection = duckdb.connect()
    open_for_reading(connection)
    for name, value in {"out": f"s3://{BUCKET}/out", "run_id": run_id}.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    connection.execute((ROOT / "sql" / "views.sql").read_text(encoding="utf-8"))
    return connection


def test_a_run_is_published_with_its_manifest_last(client, job, tmp_path):
    """Parts and rejects come before the manifest; `runs`, `verify` and the views read them; nothing stays behind."""
    source = put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(5)])
    result = job(source)
    found = names(client)
    run_id = result.folder.run_id
    for name in (f"predictions/run_id={run_id}/part-0000{i}.parquet" for i in range(3)):
        assert f"out/{name}" in found
    assert {f"out/runs/{run_id}.json", f"out/rejects/run_id={run_id}.parquet"} < set(found)
    assert f"out/summaries/run_id={run_id}/volume_by_intent.parquet" in found
    times = {
        entry["Key"]: entry["LastModified"]
        for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]
    }
    files = [name for name in times if "/predictions/" in name or "/rejects/" in name]
    assert max(times[name] for name in files) <= times[f"out/runs/{run_id}.json"]
    assert not list((tmp_path / "cache").rglob("part-*"))
    assert not list((tmp_path / "cache").rglob("shard-*"))
    cli = CliRunner()
    assert run_id in cli.invoke(app, ["runs", "--out", f"s3://{BUCKET}/out"]).output
    done = cli.invoke(app, ["verify", "latest", "--out", f"s3://{BUCKET}/out"])
    assert (done.exit_code, done.output.split(" = ")[1].split()[0]) == (0, "5")
    for options in ([], ["--run", run_id], ["--run", "latest"]):
        done = cli.invoke(
            app,
            [
                "query",
                "volume_by_intent",
                "--out",
                f"s3://{BUCKET}/out",
                "--format",
                "csv",
                *options,
            ],
        )
        assert sum(int(line.split(",")[1]) for line in done.output.splitlines()[1:]) == 5
    done = cli.invoke(
        app, ["query", "volume_by_intent", "--out", f"s3://{BUCKET}/out", "--run", "none"]
    )
    assert f"s3://{BUCKET}/out: expected a committed run none, found 1 others" in str(
        done.exception
    )
    assert views().sql("SELECT count(*), count(DISTINCT run_id) FROM predictions").fetchone() == (
        5,
        1,
    )
    assert views(run_id).sql("SELECT count(*) FROM latest_predictions").fetchone() == (5,)
    store = open_store(OUT)
    connection = open_views(store, store.manifests(), views=["runs", "rejects"])
    assert connection.sql("SELECT source FROM runs").fetchone() == (source,)
    assert connection.sql("SELECT count(*) FROM rejects").fetchone() == (0,)


def test_parts_without_a_manifest_are_not_seen(client, job):
    """Uploads that were interrupted: the views do not list them."""
    job(put_csv(client, "in/a.csv", [("1", "x")]))
    (part,) = [name for name in names(client) if "part-" in name]
    copy = part.replace("run_id=20", "run_id=99")
    client.copy_object(Bucket=BUCKET, Key=copy, CopySource={"Bucket": BUCKET, "Key": part})
    assert views().sql("SELECT count(*) FROM predictions").fetchone() == (1,)


def predictions_of(manifests: list[Manifest]) -> list[int]:
    """Return how many tickets each run labelled."""
    return [manifest.counts.predictions for manifest in manifests]


def stop(*args: Any, **options: Any) -> Any:
    """Stand in for a kill."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "stop_at", ["upload_folder", "upload_run", "move_into_place", "remove_local_copy"]
)
@pytest.mark.parametrize("same_command", [True, False])
def test_a_crash_while_publishing_is_finished_by_the_next_run(
    client, job, monkeypatch, stop_at, same_command
):
    """The same command publishes the old run and makes no new one; another one publishes it first."""
    from ecomintent_batch.runs import publishing, store

    source = put_csv(client, "in/a.csv", [("1", "x"), ("2", "y"), ("3", "z")])
    with monkeypatch.context() as patched:
        patched.setattr(publishing if stop_at == "upload_folder" else store, stop_at, stop)
        with pytest.raises(KeyboardInterrupt):
            job(source)
    is_committed = stop_at in ("move_into_place", "remove_local_copy")
    assert len(open_store(OUT).manifests()) == is_committed
    result = job(source if same_command else put_csv(client, "in/b.csv", [("9", "w")]))
    manifests = open_store(OUT).manifests()
    if not same_command:
        assert predictions_of(manifests) == [3, 1]
    elif stop_at == "remove_local_copy":  # it was committed and summarised: this is another run
        assert predictions_of(manifests) == [3, 3]
    else:
        assert predictions_of(manifests) == [3]
        assert result.folder.run_id == manifests[0].run_id
    for manifest in manifests:
        done = CliRunner().invoke(app, ["verify", manifest.run_id, "--out", OUT])
        assert done.exit_code == 0, done.output
        assert f"out/summaries/run_id={manifest.run_id}/summary.md" in names(client)


def test_a_run_that_is_half_uploaded_is_not_seen(client, job, monkeypatch):
    """Killed after the first of three parts: no query shows its tickets, neither of the shell nor of the command line."""
    uploaded, upload = [], Store.upload

    def upload_one(self, path, name):
        if uploaded:
            raise KeyboardInterrupt
        uploaded.append(name)
        upload(self, path, name)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "upload", upload_one)
        with pytest.raises(KeyboardInterrupt):
            job(put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(6)]))
    assert [name for name in names(client) if "part-" in name]
    with pytest.raises(duckdb.IOException, match=r"No files found|at least one file"):
        views()
    done = CliRunner().invoke(app, ["query", "volume_by_intent", "--out", OUT])
    assert str(done.exception) == f"{OUT}: expected committed runs, found none"
    assert (
        CliRunner().invoke(app, ["runs", "--out", OUT]).output == f"No committed runs in {OUT}.\n"
    )


@pytest.mark.slow
def test_killed_while_uploading_the_same_command_publishes_that_run(client, tiny_model, tmp_path):
    """SIGKILL with some of 120 parts up: nobody sees one of them, and the same command ends with this one run, whole."""
    source = put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(120)])
    options = ["--out", OUT, "--model", str(tiny_model), "--shard-rows", "1", "--quiet"]
    command = [sys.executable, "-m", "ecomintent_batch", "run", source, *options]
    environment = {**os.environ, "ECOMINTENT_ENGINE": "stub"}

    def parts_up() -> int:
        return len([name for name in names(client) if "part-" in name])

    process = subprocess.Popen(command, env=environment)
    while not parts_up():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait(60)
    assert 0 < parts_up() <= 120
    assert open_store(OUT).manifests() == []
    done = CliRunner().invoke(app, ["query", "volume_by_intent", "--out", OUT])
    assert str(done.exception) == f"{OUT}: expected committed runs, found none"
    (killed,) = {name.split("/")[2] for name in names(client) if "part-" in name}
    assert subprocess.run(command, env=environment).returncode == 0
    (manifest,) = open_store(OUT).manifests()
    assert (f"run_id={manifest.run_id}", manifest.counts.predictions) == (killed, 120)
    done = CliRunner().invoke(app, ["verify", "latest", "--out", OUT])
    assert done.exit_code == 0, done.output


def test_the_printed_query_reads_what_manifests_list(client, job, tiny_model):
    """A glob over a store would show runs that are not committed."""
    source = put_csv(client, "in/a.csv", [("1", "x")])
    options = ["--out", OUT, "--model", str(tiny_model)]
    done = CliRunner().invoke(app, ["run", source, *options], env={"ECOMINTENT_ENGINE": "stub"})
    assert done.exit_code == 0, done.output
    assert f"Query        ecomintent-batch query volume_by_intent --out {OUT}\n" in done.output
    assert f"Predictions  {OUT}/predictions/run_id=" in done.output
    assert "*" not in done.output


def test_a_manifest_that_is_there_is_not_replaced(client, tmp_path):
    """Put-if-absent: of two runs of one id, which cannot be, the second is an error."""
    folder = RunFolder(tmp_path, "x")
    folder.shards.mkdir(parents=True)
    folder.staged_manifest.write_text("{}")
    folder.staged_rejects.write_text("")
    client.put_object(Bucket=BUCKET, Key="out/runs/x.json", Body=b"another")
    with pytest.raises(OutputError, match="expected no manifest of this run, found another one"):
        upload_run(Store(OUT), folder)
    assert client.get_object(Bucket=BUCKET, Key="out/runs/x.json")["Body"].read() == b"another"


def test_ids_increase_on_a_machine_whose_clock_is_behind(client, job, tmp_path, monkeypatch):
    """A run of today sorts after one that another machine made in 2099."""
    first = job(put_csv(client, "in/a.csv", [("1", "x")])).manifest
    future = "20990101T000000000000Z-abcdef"
    body = json.dumps(first.to_json()).replace(first.run_id, future)
    client.put_object(Bucket=BUCKET, Key=f"out/runs/{future}.json", Body=body.encode())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    second = job(put_csv(client, "in/b.csv", [("1", "y")])).manifest
    assert second.run_id > future
    assert [run.run_id for run in open_store(OUT).manifests()] == [
        first.run_id,
        future,
        second.run_id,
    ]


def test_two_machines_at_once_label_a_ticket_once(client, job, tmp_path, monkeypatch):
    """While one holds the source the other says so in a line, or waits and then finds nothing new."""
    source = put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(4)])
    with open_store(OUT).hold([source, None, None], 0, print), monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        with pytest.raises(
            OutputError, match=f"{OUT}: expected no other run of this source, found one on"
        ) as caught:
            job(source, incremental=True)
    assert "wait with --lock-timeout" in str(caught.value)
    assert names(client) == []


@pytest.mark.slow
def test_two_machines_in_the_same_moment_label_each_ticket_once(client, tiny_model, tmp_path):
    """Two processes with a cache each: the second waits for the first, and finds nothing new."""
    source = put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(4)])
    options = ["--out", OUT, "--model", str(tiny_model), "--incremental", "--lock-timeout", "120"]
    command = [sys.executable, "-m", "ecomintent_batch", "run", source, *options]
    environment = {**os.environ, "ECOMINTENT_ENGINE": "stub"}
    processes = [
        subprocess.Popen(
            command,
            env=environment | {"XDG_CACHE_HOME": str(tmp_path / name)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for name in "ab"
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert predictions_of(open_store(OUT).manifests()) == [4, 0]


def test_a_dead_machine_is_taken_over(client, job, tmp_path, monkeypatch):
    """The claim of a killed job is its own again at once, another machine's when nobody has renewed it for a while."""
    source = put_csv(client, "in/a.csv", [("1", "x")])
    record = claims.ClaimRecord(owner="dead", host="box-7", started_at="2026-11-27T00:00:00+00:00")
    key = claims.claim_key([source, None, None])
    client.put_object(Bucket=BUCKET, Key=f"out/{key}", Body=record.model_dump_json().encode())
    with pytest.raises(OutputError, match="found one on box-7 since 2026-11-27T00:00:00"):
        job(source)
    monkeypatch.setattr(claims, "STALE_AFTER_S", -1)
    heard = RecordingProgress()
    run_job(load_settings(source=source, out=OUT, engine="stub"), heard)
    assert heard.notes[0] == (
        "a run of this source was interrupted on box-7, where its finished parts are: this run starts from scratch"
    )
    assert [name for name in names(client) if "claims/" in name] == []


def test_an_interrupted_run_is_resumed_here_and_said_elsewhere(client, job, tmp_path, monkeypatch):
    """The machine that has the parts goes on with them; another one says that it starts from scratch."""
    source = put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(6)])

    def interrupt() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(StubEngine, "score", stop)
            with pytest.raises(KeyboardInterrupt):
                job(source)

    interrupt()
    heard = RecordingProgress()
    settings = load_settings(source=source, out=OUT, engine="stub", shard_rows=2)
    with monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        run_job(settings, heard)
    assert "this run starts from scratch" in heard.notes[0]
    interrupt()
    assert job(source).manifest.resumed


def test_a_claim_that_was_lost_publishes_nothing(client, job, monkeypatch):
    """A machine that slept while another took over its source notices before its manifest is put."""
    source = put_csv(client, "in/a.csv", [("1", "x")])
    score = StubEngine.score

    def score_late(self, *args):
        key = f"out/{claims.claim_key([source, None, None])}"
        client.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
        return score(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(StubEngine, "score", score_late)
        with pytest.raises(OutputError, match="found that another one took over after 10 minutes"):
            job(source)
    assert open_store(OUT).manifests() == []
    assert predictions_of([job(source).manifest]) == [1]


def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list in which the names of the requests to a store appear."""
    import botocore.client

    requests: list[str] = []
    call = botocore.client.BaseClient._make_api_call

    def counting(self, operation, parameters):
        requests.append(operation)
        return call(self, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", counting)
    return requests


def test_a_thousand_runs_cost_a_handful_of_requests(client, job, monkeypatch):
    """The manifests come from one object; one that is lost, broken or behind is made good."""
    first = job(put_csv(client, "in/a.csv", [("1", "x")])).manifest
    for i in range(60):
        run_id = f"20270101T000000{i:06d}Z-abcdef"
        body = json.dumps(first.to_json()).replace(first.run_id, run_id)
        client.put_object(Bucket=BUCKET, Key=f"out/runs/{run_id}.json", Body=body.encode())
    volumes = f"out/summaries/run_id={first.run_id}/volume_by_intent.parquet"
    client.copy_object(
        Bucket=BUCKET,
        Key=volumes.replace(first.run_id, run_id),
        CopySource={"Bucket": BUCKET, "Key": volumes},
    )
    requests = count_requests(monkeypatch)

    def read() -> tuple[int, int]:
        requests.clear()
        return len(open_store(OUT).manifests()), len(requests)

    assert read() == (61, 1 + 1 + 60 + 1)  # a list, the index, what it lacks, the index again
    assert read() == (61, 2)
    client.delete_object(Bucket=BUCKET, Key=f"out/runs/{first.run_id}.json")
    assert read() == (60, 2)
    body = client.get_object(Bucket=BUCKET, Key="out/runs/20270101T000000000007Z-abcdef.json")[
        "Body"
    ].read()
    changed = body.replace(b'"resumed": false', b'"resumed": true')
    client.put_object(
        Bucket=BUCKET, Key="out/runs/20270101T000000000007Z-abcdef.json", Body=changed
    )
    assert [run.run_id[:22] for run in open_store(OUT).manifests() if run.resumed] == [
        "20270101T000000000007Z"
    ]
    client.put_object(Bucket=BUCKET, Key=f"out/{manifest_index.KEY}", Body=b"broken")
    assert read()[0] == 60
    assert read() == (60, 2)
    requests.clear()
    job(put_csv(client, "in/b.csv", [("2", "y")]), incremental=False)
    assert len(requests) <= 30, requests


def upload_half(upload: Any) -> Any:
    """Die between the files and their record."""

    def stop(store: Store, built: Path, compaction: Any) -> None:
        def fail(*args: Any) -> None:
            raise ZeroDivisionError

        object.__setattr__(store, "put_if_absent", fail)
        upload(store, built, compaction)

    return stop


def put_runs(client: Any, tmp_path: Path, first: int, last: int) -> None:
    """Put runs of three tickets each, made in a folder."""
    folder = tmp_path / f"runs-{first}"
    for run in range(first, last):
        make_run(folder, run, 3, apart=True)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        client.upload_file(str(file), BUCKET, f"out/{file.relative_to(folder).as_posix()}")


@pytest.mark.slow
def test_merged_runs_read_the_same(client, tmp_path, monkeypatch):
    """Before and after, here and in DuckDB's shell; what was merged goes when nobody can read it any more."""

    def ask() -> list[Any]:
        rows = "SELECT run_id, ticket_id, intent FROM predictions ORDER BY ALL"
        of_one = open_store(OUT).run_ids()[3]
        return [
            run_query("volume_by_intent_per_day", OUT).fetchall(),
            run_query("volume_by_intent", OUT, run_id=of_one).fetchall(),
            views().sql(rows).fetchall(),
            views(of_one).sql(rows).fetchall(),
        ]

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--out", OUT])
        assert done.exit_code == 0, (done.output, done.exception)
        return str(done.output)

    def count(prefix: str) -> int:
        return len([name for name in names(client) if name.startswith(f"out/{prefix}")])

    put_runs(client, tmp_path, 0, 20)
    before = ask()
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "upload_merge", upload_half(store_module.upload_merge))
        store = open_store(OUT)
        with store.hold_for_cleaning(0, print), pytest.raises(ZeroDivisionError):
            compact_runs(store, print)
    assert ask() == before  # uploaded, and without a record nobody's
    assert "of 20 runs are in 1 file now" in call("compact", "--older-than", "0")
    assert count("predictions/") == 20 + 2
    assert ask() == before
    requests = count_requests(monkeypatch)
    call("runs")
    assert len(requests) <= 3
    assert "is whole" in call("verify", "latest")
    put_runs(client, tmp_path, 20, 36)
    before = ask()
    assert "of 36 runs are in 1 file now" in call("compact", "--older-than", "0")
    assert ask() == before
    assert call("clean") == f"Nothing to remove in {OUT}.\n"
    monkeypatch.setattr(
        merged_objects, "STILL_READ", timedelta(seconds=-60)
    )  # as if a day had passed
    assert "36 parts that were merged" in call("clean", "--yes")
    assert (count("predictions/"), count("compactions/")) == (1, 1)
    assert ask() == before
    assert "Nothing to merge" in call("compact", "--older-than", "0")
    call("clean", "--older-than", "0", "--yes")
    assert (count("predictions/"), count("compactions/"), count("runs/")) == (0, 0, 0)


def test_a_delta_table_on_the_store(client, job):
    """Beside OUT; each run once."""
    from deltalake import DeltaTable

    table = f"s3://{BUCKET}/table"
    runs = [
        job(put_csv(client, f"in/{name}.csv", [(name, "x")]), out_table=table).run_id
        for name in "ab"
    ]
    assert append_runs(open_store(OUT), table) == []
    found = DeltaTable(table, storage_options=lake._options()).to_pyarrow_dataset().to_table()
    assert sorted(found["run_id"].to_pylist()) == runs


def test_summaries_that_fail_do_not_block_the_next_run(client, job, monkeypatch):
    """The run is committed; the next one warns, goes on, and the one after that makes the summaries good."""

    def fail(*args: Any) -> Any:
        raise ZeroDivisionError("a bug")

    sources = [put_csv(client, f"in/{name}.csv", [("1", name)]) for name in "abc"]
    heard = RecordingProgress()
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "summarise_run_safely", fail)
        with pytest.raises(ZeroDivisionError):
            job(sources[0])
    with monkeypatch.context() as patched:
        patched.setattr(planning, "summarise_run_safely", fail)
        run_job(load_settings(source=sources[1], out=OUT, engine="stub"), heard)
    assert len(heard.warnings) == 1
    assert (
        "expected to write the summaries of an earlier run, found: unexpected ZeroDivisionError"
        in heard.warnings[0]
    )
    job(sources[2])
    runs = [run.run_id for run in open_store(OUT).manifests()]
    assert len(runs) == 3
    assert all(f"out/summaries/run_id={run_id}/summary.md" in names(client) for run_id in runs)


def test_incremental_runs_read_what_is_published(client, job):
    """State lives in the store's manifests, so that it does not matter on which machine the next run is made."""
    rows = [(str(i), f"order {i}") for i in range(4)]
    job(put_csv(client, "in/a.csv", rows), incremental=True)
    result = job(
        put_csv(client, "in/a.csv", [*rows[:3], ("3", "changed"), ("4", "new")]), incremental=True
    )
    assert result.manifest.counts.skipped == 3
    assert views().sql("SELECT count(*) FROM latest_predictions").fetchone() == (5,)


def test_verify_finds_what_was_altered_in_the_store(client, job):
    """A line with the URL for each finding."""
    job(put_csv(client, "in/a.csv", [(str(i), "x") for i in range(3)]))
    part = next(name for name in names(client) if name.endswith("part-00001.parquet"))
    client.put_object(Bucket=BUCKET, Key=part, Body=b"PAR1")
    done = CliRunner().invoke(app, ["verify", "latest", "--out", f"s3://{BUCKET}/out"])
    assert (done.exit_code, done.output) == (
        1,
        f"s3://{BUCKET}/{part}: expected the bytes that were written, found others (SHA-256)\n",
    )


def test_another_machine_knows_the_weeks_before(client, job, tmp_path, monkeypatch):
    """Two tickets a day for eight weeks, then a machine without a cache brings a week with a burst on its Wednesday."""
    days = [datetime(2026, 9, 7, 9) + timedelta(days=day) for day in range(63)]
    rows = [
        (f"{day:%m%d}-{i}", "where is it", str(day))
        for day in days
        for i in range(2 + 6 * (day.date() == date(2026, 11, 4)))
    ]
    header, options = (
        ("id", "body", "created_at"),
        {"incremental": True, "alert": ["any unusual > 4"], "shard_rows": 200},
    )
    before = put_csv(client, "in/a.csv", [row for row in rows if row[2] < "2026-11-02"], header)
    first = job(before, **options)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    second = job(put_csv(client, "in/a.csv", rows, header), **options)
    assert second.manifest.counts.predictions == 14 + 6
    assert [(alert.days, alert.tickets) for alert in second.summary.alerts] == [
        (("2026-11-04",), 8)
    ]
    summaries = f"out/summaries/run_id={second.folder.run_id}"
    written = (
        client.get_object(Bucket=BUCKET, Key=f"{summaries}/report.html")["Body"].read().decode()
    )
    assert first.folder.run_id in written  # what the run is compared with
    client.delete_object(Bucket=BUCKET, Key=f"{summaries}/report.html")
    done = CliRunner().invoke(app, ["report", "--out", f"s3://{BUCKET}/out"])
    assert done.output.split() == [f"s3://{BUCKET}/{summaries}/report.html"]
    again = client.get_object(Bucket=BUCKET, Key=f"{summaries}/report.html")["Body"].read().decode()
    assert first.folder.run_id in again


def test_review_reads_the_store(client, job, tmp_path):
    """The sheet comes from the store's parts, and what is read back is set beside them."""
    source = put_csv(client, "in/a.csv", [(str(i), f"order {i}") for i in range(20)])
    job(source)
    out, sheet, cli = f"s3://{BUCKET}/out", tmp_path / "sheet.csv", CliRunner()
    slices = ["--control", "6", "--uncertain", "4", "--disagreeing", "0", "--drifting", "0"]
    done = cli.invoke(
        app, ["review", "export", str(sheet), "--out", out, "--source", source, *slices]
    )
    assert done.exit_code == 0, done.output
    assert "10 tickets to label (6 control, 4 uncertain)." in done.output
    rows = pl.read_csv(sheet, infer_schema=False)
    assert set(rows["message"]) < {f"order {i}" for i in range(20)}
    rows.with_columns(label=pl.lit("WISMO")).write_csv(sheet)
    done = cli.invoke(
        app, ["review", "import", str(sheet), "--out", out, "--into", str(tmp_path / "reviewed")]
    )
    assert done.exit_code == 0, done.output
    assert "95 % interval" in done.output


def test_clean_removes_old_runs_and_what_nobody_uploads_any_more(client, job, monkeypatch):
    """A run is removed whole, on request; objects without a manifest when a day has passed; nothing without --yes."""
    old, new = (
        job(put_csv(client, f"in/{name}.csv", [("1", name)])).folder.run_id for name in "ab"
    )
    name = f"out/runs/{old}.json"
    manifest = json.loads(client.get_object(Bucket=BUCKET, Key=name)["Body"].read())
    client.put_object(
        Bucket=BUCKET,
        Key=name,
        Body=json.dumps({**manifest, "finished_at": "2026-01-01T00:00:00+00:00"}),
    )
    client.put_object(
        Bucket=BUCKET, Key="out/predictions/run_id=x/part-00000.parquet", Body=b"12345"
    )
    client.put_object(Bucket=BUCKET, Key="out/notes.txt", Body=b"not ours")

    def clean(*flags: str) -> str:
        done = CliRunner().invoke(app, ["clean", "--out", f"s3://{BUCKET}/out", *flags])
        assert done.exit_code == 0, done.output
        return done.output

    before = names(client)
    assert clean() == f"Nothing to remove in s3://{BUCKET}/out.\n"
    listed = clean("--older-than", "30")
    assert f"s3://{BUCKET}/{name}  a run of 2026-01-01" in listed
    assert listed.endswith("Nothing was removed: add --yes.\n")
    assert names(client) == before
    clean("--older-than", "30", "--yes")
    assert not [found for found in names(client) if old in found]
    assert views().sql("SELECT DISTINCT run_id FROM predictions").fetchall() == [(new,)]
    monkeypatch.setattr(retention, "_UPLOADING", timedelta(seconds=-60))  # as if the day had passed
    assert (
        clean("--yes")
        == f"s3://{BUCKET}/out/run_id=x  objects of a run without a manifest, 5 bytes\n"
    )
    assert not [found for found in names(client) if "run_id=x" in found]
    assert {"out/notes.txt", f"out/runs/{new}.json"} < set(names(client))


def test_sources(client, job, tmp_path):
    """Parquet by glob and by folder, CSV with rejects that know their URL, and a fingerprint that follows the objects."""
    put_parquet(client, "in/p/a.parquet", ["1", "2"])
    put_parquet(client, "in/p/b [1].parquet", ["3"])
    for url in (f"s3://{BUCKET}/in/p/*.parquet", f"s3://{BUCKET}/in/p/"):
        source = open_source(url)
        assert (source.kind, source.columns) == ("parquet", ["id", "body"])
        assert sum(batch.table.num_rows for batch in source.read(["id"], ["id"])) == 3
    before = source.fingerprint()
    put_parquet(client, "in/p/a.parquet", ["1", "2", "4"])
    assert open_source(f"s3://{BUCKET}/in/p/").fingerprint() != before
    client.put_object(Bucket=BUCKET, Key="in/t/x.csv", Body=b"id,body\n1,fine\n2,too,many\n")
    result = job(f"s3://{BUCKET}/in/t/x.csv", out=tmp_path / "local", max_reject_ratio=0.5)
    assert result.manifest.source == f"s3://{BUCKET}/in/t/x.csv"
    assert pq.read_table(result.folder.rejects)["file"].to_pylist() == [f"s3://{BUCKET}/in/t/x.csv"]


def test_a_folder_is_read_by_the_rules_of_local_folders(client):
    """Markers, hidden and empty objects, and READMEs are passed over; every key is read, whatever characters it has."""
    put_parquet(client, "in/spark/part-00000.parquet", ["1", "2"])
    client.put_object(Bucket=BUCKET, Key="in/spark/_SUCCESS", Body=b'{"a": 1}')
    assert (
        sum(b.table.num_rows for b in open_source(f"s3://{BUCKET}/in/spark/").read(["id"], ["id"]))
        == 2
    )
    odd = ["a b", "a+b", "a%20b", "aü", "a#b", "a?b", "a[1]"]
    for name in odd:
        put_csv(client, f"in/odd/{name}.csv", [(name, "x")])
    for name, body in (
        ("README.md", b"hello"),
        (".DS_Store", b"\0"),
        ("._a.csv", b"\0"),
        ("e.csv", b""),
    ):
        client.put_object(Bucket=BUCKET, Key=f"in/odd/{name}", Body=body)
    for url in (f"s3://{BUCKET}/in/odd/", f"s3://{BUCKET}/in/odd", f"s3://{BUCKET}/in/odd/*.csv"):
        source = open_source(url)
        assert "1 empty file skipped" in source.notes
        ids = [
            value
            for batch in source.read(["id"], ["id"])
            for value in batch.table["id"].to_pylist()
        ]
        assert sorted(ids) == sorted(odd)
    for name in odd:
        assert len(open_source(f"s3://{BUCKET}/in/odd/{name}.csv").columns) == 2
    for name in ("a?b", "a b"):
        put_parquet(client, f"in/parquet/brand=x/{name}.parquet", [name])
    rows = [
        r
        for b in open_source(f"s3://{BUCKET}/in/parquet/").read(["id", "brand"], ["id"])
        for r in b.table.to_pylist()
    ]
    assert rows == [{"id": "a b", "brand": "x"}, {"id": "a?b", "brand": "x"}]


@pytest.mark.parametrize(("key", "body", "message"), [
    ("torn.csv.gz", gzip.compress(b"id,body\n1,x\n" * 99)[:-20], "expected text that can be read, found: Compressed file ended"),
    ("empty.csv", b"", "expected tickets, found an empty file"),
    ("not.parquet", b"hello", "cannot be read"),
    ("a.docx", b"hello", "found a name with another ending"),
])  # fmt: skip
def test_errors_name_the_url(client, key, body, message):
    """With its two slashes, and not the path of a temporary copy."""
    client.put_object(Bucket=BUCKET, Key=f"in/{key}", Body=body)
    with pytest.raises(SourceError, match=f"^s3://{BUCKET}/in/{key}: .*{message}") as caught:
        open_source(f"s3://{BUCKET}/in/{key}")
    assert "/tmp" not in str(caught.value)  # noqa: S108 - where copies are


@pytest.mark.parametrize(("url", "options", "kind", "message"), [
    (f"s3://{BUCKET}/none/*.csv", {}, SourceError, "found none"),
    (f"s3://{BUCKET}/none.csv", {}, SourceError, "expected objects that can be read"),
    ("s3://no-such-bucket-here/x.csv", {}, SourceError, "expected objects that can be read"),
    (f"s3://{BUCKET}/x.csv", {"table": "t"}, UsageError, "expected a database"),
])  # fmt: skip
def test_what_is_not_there_is_one_line(client, url, options, kind, message):
    """No traceback, and no key."""
    with pytest.raises(kind, match=message) as caught:
        open_source(url, **options)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_out_that_cannot_be_written_is_noticed_first(client, job, tmp_path, monkeypatch):
    """Before a ticket is read or scored: one line that names the bucket, and no key; when it is there, one run."""
    source = put_csv(client, "in/a.csv", [("1", "x")])
    with monkeypatch.context() as patched:
        patched.setattr(StubEngine, "score", stop)
        with pytest.raises(
            OutputError,
            match=r"s3://no-such-bucket-here/out/.*: expected a bucket that can be written, found: NoSuchBucket",
        ):
            job(source, out="s3://no-such-bucket-here/out")
    everything = b"".join(
        path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()
    )
    assert b"s3cret" not in everything
    client.create_bucket(
        Bucket="no-such-bucket-here",
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    job(source, out="s3://no-such-bucket-here/out")
    assert len(open_store("s3://no-such-bucket-here/out").manifests()) == 1


@pytest.mark.parametrize(("given", "expected"), [
    ("s3://b/x", "s3://b/x"), ("s3:/b/x", "s3://b/x"), (Path("s3://b/x/"), "s3://b/x"),
    ("out", Path("out")), ("/s3/x", Path("/s3/x")),
])  # fmt: skip
def test_urls_survive_pathlib(given, expected):
    """What the command line takes for a path is the URL that was meant, in settings and in messages."""
    assert parse_location(given) == expected
    settings = load_settings(source="x", out=given)
    assert settings.out == expected
    assert json.loads(settings.model_dump_json())["out"] == str(expected)
    assert open_store(given).location == str(expected)
