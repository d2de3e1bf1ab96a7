"""Real processes killed, starved of disk and set against each other, while somebody reads: all or nothing, exactly once."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from support.tickets import ROOT, write_tickets

from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.catalog import list_runs
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.verify import verify_run
from ecomintent_batch.settings import RunSettings

TICKETS, SHARD_ROWS, KILLS = 12_000, 600, 30

pytestmark = pytest.mark.slow

# Asks the two readers and the view again and again which runs they see, until it is told to stop.
READER = """
import json, sys, duckdb, polars as pl
from pathlib import Path
out, views, expected = sys.argv[1], Path(sys.argv[2]).read_text(), int(sys.argv[3])
glob = f"{out}/predictions/*/*.parquet"
by_duckdb = f"SELECT run_id, count(*), count(DISTINCT row_number) FROM read_parquet('{glob}') GROUP BY ALL"
def connect():
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")  # it would be printed
    return connection
def ask_duckdb():
    return connect().execute(by_duckdb).fetchall()
def ask_polars():
    rows = pl.scan_parquet(glob, hive_partitioning=True).select("run_id", "row_number")
    return rows.group_by("run_id").agg(pl.len().alias("n"), pl.col("row_number").n_unique()).collect().rows()
def ask_view():
    connection = connect()
    connection.execute("SET VARIABLE out = ?", [out])
    for statement in connection.extract_statements(views):
        connection.execute(statement)
        if "VIEW latest_predictions" in statement.query:  # the lists, and the views up to this one
            break
    return connection.execute(
        "SELECT run_id, count(*), count(DISTINCT row_number) FROM predictions GROUP BY ALL UNION ALL "
        "SELECT 'latest', count(*), count(DISTINCT ticket_id) FROM latest_predictions").fetchall()
found = {"queries": 0, "of_runs": 0, "empty": 0, "anomalies": []}
ready = Path(sys.argv[4]); ready.touch()
while ready.exists():
    for ask in (ask_duckdb, ask_polars, ask_view):
        try:
            rows = ask()
        except Exception as error:
            if not any(words in str(error) for words in ("No files found", "expanded paths were empty", "did not match")):
                found["anomalies"].append(f"{ask.__name__}: {error}")
            rows = []
        found["queries"] += 1
        found["of_runs"] += len(rows)
        found["empty"] += not rows
        found["anomalies"] += [f"{ask.__name__}: {row}" for row in rows if row[1:] != (expected, expected)]
print(json.dumps(found))
"""


def start(
    source: Path, out: Path, model: Path, *flags: str, **options: Any
) -> subprocess.Popen[str]:
    """Start the command as cron would."""
    command = [
        sys.executable,
        "-m",
        "ecomintent_batch",
        "run",
        str(source),
        "--out",
        str(out),
        "--quiet",
        *flags,
    ]
    environment = {**os.environ, "ECOMINTENT_ENGINE": "stub", "ECOMINTENT_MODEL": str(model)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [*command, "--shard-rows", str(SHARD_ROWS)],
        env=environment,
        text=True,
        **streams,
        **options,
    )


def wait_for(process: subprocess.Popen[str], out: Path, names: str) -> float:
    """Wait until a run has written a file, and return when, in seconds."""
    deadline = time.monotonic() + 120
    while not list(out.glob(names)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return time.monotonic()


def written_in(out: Path) -> dict[str, set[tuple[str, int]]]:
    """Return the manifests and the files of work, each with the time of its last change."""
    names = {"runs": "runs/*.json", "staging": "staging/**/*"}
    while True:
        with suppress(FileNotFoundError):  # gone between the listing and the look
            return {
                part: {(str(path), path.stat().st_mtime_ns) for path in out.glob(name)}
                for part, name in names.items()
            }


def rows_of(folder: RunFolder) -> pa.Table:
    """Return the predictions of a run, without the time of day."""
    table = (
        ds.dataset(sorted(folder.predictions.iterdir())).to_table().drop_columns("classified_at")
    )
    return table.unify_dictionaries().combine_chunks()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Read OUT all the time in a process of its own; calling it ends that and returns what was seen."""
    ready = tmp_path / "reading"
    command = [
        sys.executable,
        "-c",
        READER,
        tmp_path / "out",
        ROOT / "sql" / "views.sql",
        str(TICKETS),
        ready,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.05)

        def stop() -> dict[str, Any]:
            ready.unlink()
            found: dict[str, Any] = json.loads(process.communicate(timeout=120)[0])
            return found

        yield stop
        process.kill()


def test_killed_at_any_moment_nothing_is_lost_twice_or_half_seen(
    tmp_path: Path,
    tiny_model: Path,
    reader: Callable[[], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGKILL at random moments, the same command again each time, two readers and a view asking all the time."""
    source, out = write_tickets(tmp_path / "tickets.csv", TICKETS), tmp_path / "out"
    settings = RunSettings(
        source=str(source),
        out=tmp_path / "whole",
        model=str(tiny_model),
        engine="stub",
        shard_rows=SHARD_ROWS,
    )
    reference = rows_of(run_job(settings).folder)
    process = start(source, tmp_path / "timed", tiny_model)
    begins, ends = (
        wait_for(process, tmp_path / "timed", name)
        for name in ("staging/*/plan.json", "runs/*.json")
    )
    process.communicate(timeout=300)
    chance = random.Random(20261124)  # noqa: S311 - moments, not secrets
    killed = dict.fromkeys(("at work", "published", "committed", "too early"), 0)
    for _ in range(5 * KILLS):
        before, parts_left = (
            written_in(out),
            TICKETS // SHARD_ROWS - len(list(out.glob("staging/*/receipts/*.json"))),
        )
        process = start(source, out, tiny_model)
        if chance.random() < 0.9:  # the others may be killed before they have begun
            while written_in(out) == before and process.poll() is None:
                time.sleep(0.005)
        time.sleep(chance.uniform(0, (ends - begins) * parts_left / (TICKETS // SHARD_ROWS)))
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode in (0, -9)
        after = written_in(out)
        staged = [RunFolder(out, folder.name) for folder in out.glob("staging/*")]
        assert len(staged) <= 1
        committed, worked = (
            len(after["runs"]) > len(before["runs"]),
            after["staging"] != before["staging"],
        )
        published = any(folder.predictions.exists() for folder in staged)
        killed[
            "committed"
            if committed
            else "published"
            if published
            else "at work"
            if worked
            else "too early"
        ] += 1
        if killed["at work"] + killed["published"] == KILLS:
            break
    assert killed["at work"] + killed["published"] == KILLS, killed
    process = start(source, out, tiny_model)
    assert process.communicate(timeout=300) == ("", "")
    seen = reader()
    manifests = list_runs(out)
    assert [verify_run(RunFolder(out, manifest.run_id)) for manifest in manifests] == [[]] * len(
        manifests
    )
    for manifest in manifests:
        assert rows_of(RunFolder(out, manifest.run_id)).equals(reference)
    resumed = sum(manifest.resumed for manifest in manifests)
    assert {folder.name for folder in out.glob("predictions/*")} == {
        f"run_id={manifest.run_id}" for manifest in manifests
    }
    assert len(list(out.glob("summaries/*/summary.md"))) == len(manifests)
    assert list(out.glob("staging/*")) == []
    assert not [path for path in out.rglob("*.tmp") if path.parent.name != "runs"]
    with capsys.disabled():
        print(
            f"\nkilled {killed}, runs committed {len(manifests)} ({resumed} of them resumed), {seen}"
        )
    assert seen["anomalies"] == []
    assert seen["of_runs"] > 0


def test_two_jobs_at_once(tmp_path: Path, tiny_model: Path) -> None:
    """Started in the same moment: one works, the other says so at once, or waits for it with --lock-timeout."""
    source, out = write_tickets(tmp_path / "tickets.csv", 12_000), tmp_path / "out"
    processes = [start(source, out, tiny_model, stdin=subprocess.DEVNULL) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert sorted(errors)[1].startswith(
        f"ecomintent-batch: {out}: expected to be free, found another job at work in it; wait"
    )
    processes = [start(source, out, tiny_model, "--lock-timeout", "300") for _ in range(2)]
    assert [(process.communicate(timeout=300)[1], process.returncode) for process in processes] == [
        ("", 0)
    ] * 2
    assert [verify_run(RunFolder(out, manifest.run_id)) for manifest in list_runs(out)] == [[]] * 3


def test_out_removed_while_a_job_works(tmp_path: Path, tiny_model: Path) -> None:
    """One line and exit code 1, not a traceback; the same command makes OUT anew."""
    source, out = write_tickets(tmp_path / "tickets.csv", 30_000), tmp_path / "out"
    process = start(source, out, tiny_model)
    wait_for(process, out, "staging/*/parts/*.parquet")
    out.rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    assert error.startswith("ecomintent-batch: ")
    assert error.count("\n") == 1
    assert start(source, out, tiny_model).wait(300) == 0
    (manifest,) = list_runs(out)
    assert verify_run(RunFolder(out, manifest.run_id)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True
    )
    if done.returncode:
        pytest.skip("no tmpfs may be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_one_line_and_resumed_when_there_is_room(
    tmp_path: Path, tiny_model: Path, small_disk: Path
) -> None:
    """Nothing published and no torn file under a final name; with room, the same command goes on to the same result."""
    source, out = write_tickets(tmp_path / "tickets.csv", 60_000), small_disk / "out"
    process = start(source, out, tiny_model)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    assert (
        error
        == f"ecomintent-batch: {out}: expected room to write, found: No space left on device; "
        + ("make room, and run the same command\n")
    )
    assert list(out.glob("predictions/*")) == []
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    assert start(source, out, tiny_model).wait(300) == 0
    (manifest,) = list_runs(out)
    assert verify_run(RunFolder(out, manifest.run_id)) == []
    whole = RunSettings(
        source=str(source),
        out=tmp_path / "whole",
        model=str(tiny_model),
        engine="stub",
        shard_rows=SHARD_ROWS,
    )
    assert rows_of(RunFolder(out, manifest.run_id)).equals(rows_of(run_job(whole).folder))
