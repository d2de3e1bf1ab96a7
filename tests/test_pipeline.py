"""The whole job in one process, from source to manifest, and what happens when a step of it fails."""

from __future__ import annotations

import csv
import threading
import time
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.tickets import RecordingProgress, write_tickets

from ecomintent_batch import __version__, pipeline
from ecomintent_batch.errors import SourceError
from ecomintent_batch.inference.engines.stub import StubEngine
from ecomintent_batch.pipeline import run_job

TICKETS = 95


def threads() -> set[str]:
    """Return the names of the threads that this job could have left behind."""
    return {
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    }


@pytest.fixture
def settings(tmp_path, stub_settings):
    """A run of 95 tickets and two broken lines, in shards of 20."""
    source = write_tickets(tmp_path / "tickets.csv", TICKETS)
    with source.open("a", encoding="utf-8") as file:
        file.write("too,few\nor,too,many,fields,here\n")
    return stub_settings(
        source,
        tmp_path / "out",
        shard_rows=20,
        max_reject_ratio=0.05,
        by=("channel",),
        keep=("body",),
    )


def test_every_source_row_is_accounted_for(settings):
    """Rows of the source = predictions + rejects; each part holds its shard; the order is the source's."""
    result = run_job(settings)
    counts = result.manifest.counts
    assert counts.to_json() == {
        "source_rows": 97, "predictions": 95, "rejects": 2, "skipped": 0, "skipped_by_where": 0,
        "below_threshold": 0, "by_status": {"ok": 79, "empty": 16},
    }  # fmt: skip
    assert [part.rows for part in result.manifest.parts] == [20, 20, 20, 20, 15]
    assert (
        sum(result.manifest.reject_reasons.values())
        == pq.read_table(result.folder.rejects).num_rows
        == 2
    )
    found = ds.dataset(sorted(result.folder.predictions.iterdir())).to_table().to_pydict()
    with Path(settings.source).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:TICKETS]
    assert found["row_number"] == list(range(TICKETS))
    assert found["ticket_id"] == [row["ticket_id"] for row in rows]
    assert found["body"] == [row["body"] or None for row in rows]
    assert found["created_at"][11] == datetime(2026, 10, 2, 8)


def test_the_manifest_says_where_the_time_went(settings):
    """Each stage before the commit has its seconds, and none is longer than the run on one thread a stage."""
    performance = run_job(settings).manifest.performance
    assert set(performance.stages_s) == {"extract", "prepare", "score", "write", "commit"}
    assert all(0 <= seconds <= performance.elapsed_s for seconds in performance.stages_s.values())
    # On a fast machine the stub takes less than the millisecond to which seconds are rounded.
    assert performance.tokens_per_s is None or performance.tokens_per_s > 0


def test_the_manifest_says_how_the_run_was_made(settings):
    """Who reads a run months later finds source, columns, model, settings and times in it."""
    manifest = run_job(settings).manifest
    assert manifest.version == __version__
    assert manifest.source == settings.source
    assert manifest.columns.to_json() == {
        "id": "ticket_id", "text": ["body"], "time": "created_at",
        "kept": {"created_at": "created_at", "body": "body", "channel": "channel"},
    }  # fmt: skip
    assert manifest.model.startswith("tiny@")
    assert manifest.engine == "stub (no model)"
    assert manifest.resumed is False
    assert manifest.settings.shard_rows == 20
    assert manifest.settings.by == ("channel",)
    assert manifest.started_at <= manifest.finished_at
    performance = manifest.performance
    assert performance.elapsed_s > 0
    assert TICKETS / performance.tickets_per_s == pytest.approx(performance.elapsed_s, abs=0.001)
    assert 0 < performance.messages_scored < 79
    assert 0 <= performance.padding_ratio < 1


def test_a_driver_hears_of_every_ticket(settings):
    """What was picked is noted, totals grow to the whole, and the tickets scored add up to it."""
    heard = RecordingProgress()
    run_job(settings, heard)
    assert any("id ticket_id, text body, time created_at" in note for note in heard.notes)
    assert heard.totals[-1] == (TICKETS, True)
    assert [total for total, complete in heard.totals if not complete] == [20, 40, 60, 80, 95]
    assert heard.tickets == pytest.approx(TICKETS)


def test_a_taken_name_is_noted(settings, tmp_path):
    """A kept column that the predictions have already is renamed, and said so."""
    (tmp_path / "named.csv").write_text("id,text,status\n1,hello,open\n", encoding="utf-8")
    heard = RecordingProgress()
    result = run_job(
        settings.model_copy(
            update={"source": str(tmp_path / "named.csv"), "by": ("status",), "keep": ()}
        ),
        heard,
    )
    assert any("column status is called source_status" in note for note in heard.notes)
    table = pq.read_table(result.folder.predictions / "part-00000.parquet")
    assert (table["source_status"].to_pylist(), table["status"].to_pylist()) == (["open"], ["ok"])
    assert result.summary.tables["volume_by_intent_by_status"]["value"].to_list() == ["open"]


def fail_at(times: int):
    """Return a function that works so many times, then fails."""

    def wrap(original):
        left = iter(range(times))

        def function(*args, **options):
            if next(left, None) is None:
                raise ZeroDivisionError("a bug")
            return original(*args, **options)

        return function

    return wrap


@pytest.mark.parametrize(("owner", "name", "times"), [
    (pipeline, "extract_shards", 0),
    (pipeline, "prepare_shard", 0),
    (pipeline, "prepare_shard", 2),
    (StubEngine, "score", 2),
    (pipeline, "label_shard", 0),
    (pipeline, "write_part", 4),
])  # fmt: skip
def test_an_error_in_any_step_surfaces(settings, monkeypatch, owner, name, times):
    """Whichever thread it happens in, the run ends with that error, no thread is left, and nothing is visible."""
    before = threads()
    monkeypatch.setattr(owner, name, fail_at(times)(getattr(owner, name)))
    with pytest.raises(ZeroDivisionError):
        run_job(settings)
    deadline = time.monotonic() + 30
    while threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() - before == set()
    assert list((settings.out / "predictions").iterdir()) == []


def test_a_source_that_breaks_off_leaves_nothing_visible(tmp_path, stub_settings):
    """A query that fails in its middle, shards behind it done already: one line, and no predictions."""
    database = tmp_path / "tickets.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT i AS ticket_id, 'where is it ' || i AS body FROM range(60000) r(i)"
        )
    query = "SELECT ticket_id, CASE WHEN ticket_id > 50000 THEN error('the warehouse is on fire') ELSE body END AS body FROM t"
    settings = stub_settings(database, tmp_path / "out", query=query, shard_rows=5000)
    before = threads()
    with pytest.raises(SourceError, match=r"cannot be read: .*the warehouse is on fire"):
        run_job(settings)
    assert threads() - before == set()
    assert list((settings.out / "predictions").iterdir()) == []
    assert list(settings.out.glob("staging/*/shards/shard-*.parquet"))


def test_one_shard_or_many_label_alike(settings, tmp_path):
    """The size of the shards changes the files and no row."""

    def rows(out: str, shard_rows: int) -> list[dict]:
        result = run_job(
            settings.model_copy(update={"out": tmp_path / out, "shard_rows": shard_rows})
        )
        table = ds.dataset(sorted(result.folder.predictions.iterdir())).to_table()
        return table.drop_columns("classified_at").to_pylist()

    assert rows("a", 7) == rows("b", 1000)
