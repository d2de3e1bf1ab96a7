"""Merging the parts of many runs: the same rows for every reader, whatever breaks, and no row of a run that was removed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from support.committed_runs import put
from support.make_predictions import make_run
from support.tickets import ROOT
from typer.testing import CliRunner

from ecomintent_batch.analytics.queries import run_query
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import UsageError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs import compaction, merged
from ecomintent_batch.runs.compaction import AT_LEAST, compact_runs
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.runs.verify import verify_committed
from ecomintent_batch.settings import RunSettings

RUNS, TICKETS = AT_LEAST + 4, 3
QUERIES = ("volume_by_intent_per_day", "cost_per_run")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty runs of three tickets."""
    out = tmp_path_factory.mktemp("compaction") / "out"
    for run in range(RUNS):
        make_run(out, run, TICKETS, apart=True)
    (out / "staging").mkdir()
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def call(*arguments: str) -> str:
    """Call a command; return what it prints."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def compact(out: Path) -> str:
    """Merge whatever can be merged."""
    return call("compact", "--out", str(out), "--older-than", "0")


def ask(out: Path) -> dict[str, object]:
    """Return what every kind of reader sees."""
    answers: dict[str, object] = {name: run_query(name, out).fetchall() for name in QUERIES}
    of_one = open_store(out).run_ids()[2]
    answers["one run"] = run_query("volume_by_intent", out, run_id=of_one).fetchall()
    for run_id in (None, of_one):
        connection = duckdb.connect()
        for name, value in {"out": str(out), "run_id": run_id}.items():
            connection.execute(f"SET VARIABLE {name} = ?", [value])
        connection.execute((ROOT / "sql" / "views.sql").read_text(encoding="utf-8"))
        rows = "SELECT run_id, ticket_id, row_number, intent, channel FROM predictions ORDER BY ALL"
        answers[f"shell {run_id}"] = connection.sql(rows).fetchall()
    return answers


def count_by_glob(out: Path) -> int:
    """Do what an analyst does who knows the folder only."""
    tickets = duckdb.read_parquet(f"{out}/predictions/*/*.parquet")
    [(distinct, rows)] = tickets.aggregate("count(DISTINCT ticket_id), count(*)").fetchall()
    assert distinct == rows
    return int(rows)


def files(out: Path) -> list[str]:
    """Return the files of predictions and of merges."""
    return sorted(
        path.relative_to(out).as_posix()
        for folder in ("predictions", "compactions", "staging")
        for path in (out / folder).rglob("*")
        if path.is_file()
    )


def test_every_reader_sees_the_same(out: Path) -> None:
    """In one file now; each run is proven through it, and manifests, rejects and summaries are as they were."""
    before, kept = ask(out), sorted((out / "runs").iterdir())
    assert f"the parts of {RUNS} runs are in 1 file now" in compact(out)
    assert [name.partition("/")[0] for name in files(out)] == ["compactions", "predictions"]
    assert ask(out) == before
    assert count_by_glob(out) == RUNS * TICKETS
    assert sorted((out / "runs").iterdir()) == kept
    assert [verify_committed(open_store(out), run.stem)[1] for run in kept] == [[]] * RUNS
    assert compact(out) == f"Nothing to merge in {out}.\n"
    assert call("clean", "--out", str(out)) == f"Nothing to remove in {out}.\n"


def test_a_merged_file_that_was_altered_is_found(out: Path) -> None:
    """By its SHA-256, for each run that it holds; and it is not merged on."""
    compact(out)
    file = next((out / "predictions").glob("*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    findings = verify_committed(open_store(out))[1]
    assert findings == [f"{file}: expected the bytes that were written, found others (SHA-256)"]


def test_a_merged_file_whose_record_is_lost_stays(out: Path) -> None:
    """It may be the only copy: nothing removes it, and a query fails instead of counting less."""
    compact(out)
    [record] = (out / "compactions").iterdir()
    hidden = record.rename(out.parent / record.name)
    assert call("clean", "--out", str(out), "--yes") == f"Nothing to remove in {out}.\n"
    with pytest.raises(UsageError, match="No files found"):
        run_query("volume_by_intent", out)
    hidden.rename(record)
    assert count_by_glob(out) == sum(
        row[1] for row in run_query("volume_by_intent", out).fetchall()
    )


def test_the_next_merge_takes_up_the_last(out: Path) -> None:
    """Sixteen more runs are in one file with the others; fewer wait."""
    compact(out)
    for run in range(RUNS, RUNS + AT_LEAST - 1):
        make_run(out, run, TICKETS, apart=True)
    assert "Nothing to merge" in compact(out)
    make_run(out, RUNS + AT_LEAST, TICKETS, apart=True)
    before = ask(out)
    assert f"of {RUNS + AT_LEAST} runs are in 1 file now" in compact(out)
    assert len(files(out)) == 2
    assert ask(out) == before


class Stop(BaseException):
    """The machine died."""


def die(*args: object, **options: object) -> None:
    raise Stop


def no_exchange(*args: object) -> bool:
    return False


CRASHES: dict[str, list[tuple[object, str, Callable[..., object]]]] = {
    "before the record": [(compaction, "_check_rows", die)],
    "before the exchange": [(merged, "exchange", die)],
    "while the copy is made": [(merged, "link_tree", die)],
    "before what was replaced is removed": [(merged, "sweep_merges", die)],
    "no exchange: before what was replaced is removed": [
        (merged, "exchange", no_exchange),
        (merged, "sweep_merges", die),
    ],
    "no exchange: while it is removed": [
        (merged, "exchange", no_exchange),
        (merged, "remove_merge_leftover", die),
    ],
}


@pytest.mark.parametrize("patches", CRASHES.values(), ids=CRASHES)
@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_crash_at_any_step_changes_nothing(
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    patches: list[tuple[object, str, Callable[..., object]]],
    again: bool,
) -> None:
    """Every reader of manifests sees the same rows right after it, and a glob too where folders can be exchanged."""
    if again:
        compact(out)
        for run in range(RUNS, RUNS + AT_LEAST):
            make_run(out, run, TICKETS, apart=True)
    make_run(out, 200_000, TICKETS, apart=True)  # of next year: it is not old enough
    before, rows = ask(out), count_by_glob(out)
    store = open_store(out)
    with monkeypatch.context() as patched:
        # What the merge sweeps first is nothing here.
        patched.setattr(store, "sweep_merges", lambda: None)
        for where, name, what in patches:
            patched.setattr(where, name, what)
        with pytest.raises(Stop):
            compact_runs(store, lambda text: None)
    assert ask(out) == before
    if (merged, "exchange", no_exchange) not in patches:
        assert count_by_glob(out) == rows
    call("clean", "--out", str(out), "--yes")
    assert not [name for name in files(out) if name.startswith("staging")]
    compact(out)
    assert len(files(out)) == 3  # with the young run
    assert ask(out) == before
    assert count_by_glob(out) == rows


def test_without_an_exchange_the_result_is_the_same(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that has none, or no hard links."""
    before = ask(out)
    monkeypatch.setattr(
        os, "link", lambda *args, **options: (_ for _ in ()).throw(OSError(95, "Not supported"))
    )
    assert f"of {RUNS} runs" in compact(out)
    assert len(files(out)) == 2
    assert ask(out) == before
    assert count_by_glob(out) == RUNS * TICKETS


def test_no_row_of_a_removed_run_stays(out: Path) -> None:
    """The file that held it is written again without it."""
    compact(out)
    old = min((out / "runs").glob("*.json"))
    old.write_text(
        json.dumps(json.loads(old.read_text()) | {"finished_at": "2020-01-01T00:00:00+00:00"})
    )
    call("clean", "--out", str(out), "--older-than", "1500", "--yes")
    assert not old.exists()
    assert count_by_glob(out) == (RUNS - 1) * TICKETS
    tables = [
        pq.read_table(file, partitioning=None) for file in (out / "predictions").glob("*/*.parquet")
    ]
    assert old.stem not in {run for table in tables for run in table["run_id"].to_pylist()}
    assert len(files(out)) == 2
    call("clean", "--out", str(out), "--older-than", "0", "--yes")
    assert files(out) == []


def test_what_does_not_fit_together_is_in_files_of_its_own(out: Path) -> None:
    """Runs with other columns; a run with an altered part stays as it is, and is named."""
    for run in range(2):
        put(
            out,
            f"20200101T00000{run}000000Z-00000{run}",
            [("WISMO", 0.9, "ok", "chat", None)],
            first_id=900 + run,
        )
    spoilt = sorted((out / "predictions").iterdir())[-1] / "part-00000.parquet"
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
    said = compact(out)
    assert f"the parts of {RUNS + 1} runs are in 2 files now" in said
    assert f"run {spoilt.parent.name.removeprefix('run_id=')} is not merged: " in said
    assert spoilt.exists()


def test_merged_tickets_are_not_labelled_again(
    tmp_path: Path, stub_settings: Callable[..., RunSettings]
) -> None:
    """An incremental run finds them; its history goes on; the result of an earlier run can still be read."""

    def write(name: str, ids: range) -> Path:
        file = tmp_path / f"{name}.csv"
        file.write_text("id,body\n" + "".join(f"{i},hello {i}\n" for i in ids))
        return file

    results = [
        run_job(stub_settings(write(str(i), range(i, i + 1)), tmp_path / "out"))
        for i in range(AT_LEAST)
    ]
    before = results[0].predictions.collect()
    compact(tmp_path / "out")
    assert results[0].predictions.collect().equals(before)
    everything = write("all", range(AT_LEAST + 2))
    again = run_job(stub_settings(everything, tmp_path / "out", incremental=True)).manifest
    assert (again.counts.skipped, again.counts.predictions) == (AT_LEAST, 2)
