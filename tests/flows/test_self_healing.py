"""A scheduled run heals itself: nobody is there to type `--new`, to make room, or to start it again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from support.flow_runs import interrupted, logs_of, settings_for
from support.tickets import write_tickets

from ecomintent_batch import pipeline
from ecomintent_batch.errors import RunStateError
from ecomintent_batch.flows.classify_tickets import classify_tickets
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import read_manifest

pytestmark = pytest.mark.usefixtures("server")


def run_flow(settings: Any, **others: Any) -> State[RunFolder]:
    """Run the flow in this process."""
    state: State[RunFolder] = classify_tickets(settings, **others, return_state=True)
    return state


def test_a_stale_interrupted_run_is_discarded(tmp_path: Path) -> None:
    """The source was rewritten after a crash: the command refuses, the flow says so and classifies what is there now."""
    source = write_tickets(tmp_path / "tickets.csv", 60)
    settings = settings_for(tmp_path / "out", source=str(source), shard_rows=20, by=())
    job = interrupted(settings)
    pipeline.classify_one(settings, job.folder, job.folder.shards / "shard-00000.parquet")
    write_tickets(source, 61)
    with pytest.raises(RunStateError, match=r"found a source that has changed since; .*--new"):
        run_job(settings)
    assert job.folder.staging.exists()
    state = run_flow(settings)
    folder = state.result()
    assert folder.run_id != job.folder.run_id
    assert read_manifest(folder.manifest).counts.predictions == 61
    discarded = (
        f"discarded run {job.folder.run_id}, which was interrupted: a source that has changed since"
    )
    assert discarded in logs_of(state, until="is committed")
    assert list((tmp_path / "out" / "staging").iterdir()) == []


def test_a_flow_may_be_told_to_refuse(tmp_path: Path) -> None:
    """Who sets on_stale in the parameters gets it."""
    source = write_tickets(tmp_path / "tickets.csv", 60)
    settings = settings_for(
        tmp_path / "out", source=str(source), shard_rows=20, by=(), on_stale="refuse"
    )
    job = interrupted(settings)
    pipeline.classify_one(settings, job.folder, job.folder.shards / "shard-00000.parquet")
    write_tickets(source, 61)
    state = run_flow(settings)
    assert state.is_failed()
    assert "found a source that has changed since" in str(state.message)


def test_summaries_that_cannot_be_written_block_nobody(tmp_path: Path) -> None:
    """A committed run whose part is broken can never be summarised: each later run says so, and goes on."""
    settings = settings_for(tmp_path)
    broken = run_job(settings).folder
    shutil.rmtree(broken.summaries)  # as a crash after the commit leaves it
    (broken.predictions / "part-00001.parquet").write_bytes(b"PAR1 broken")
    state = run_flow(settings)
    folder = state.result()
    assert read_manifest(folder.manifest).counts.predictions == 400
    assert (folder.summaries / "summary.md").exists()
    log = logs_of(state, until="is committed")
    assert f"{broken.summaries}: expected to write the summaries of an earlier run" in log
