"""A scheduled run heals itself: nobody is there to type `--restart`, to make room, or to start it again."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from support.flow_runs import attempts_of_tasks, interrupted, logs_of, settings_for
from support.tickets import write_tickets

from ecomintent_batch import pipeline
from ecomintent_batch.errors import RunStateError
from ecomintent_batch.flows.classify_tickets import classify_shard, classify_tickets
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lock import lock_out
from ecomintent_batch.runs.records import read_manifest

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.service]


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
    with pytest.raises(RunStateError, match=r"found a source that has changed since; .*--restart"):
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
    assert f"{broken.summaries}: expected to write the summaries, found: " in log


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first shards are tried again, the others are not; with room, the next run resumes and ends well."""
    settings = settings_for(tmp_path / "out", shard_rows=40)
    job = interrupted(settings)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(job.folder.parts)]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("no tmpfs may be mounted here")
    monkeypatch.setattr(classify_shard, "retry_delay_seconds", 0)
    try:
        state = run_flow(settings)
    finally:
        subprocess.run(["umount", "-l", job.folder.parts], check=True)
    full = f"{settings.out}: expected room to write, found: No space left on device; make room"
    assert state.is_failed()
    assert "10 of 10 shards failed" in str(state.message)
    assert full in str(state.message)
    log = logs_of(state, until="continues from it")
    assert "Traceback" not in log
    names = {f"classify-shard-{shard:05d}" for shard in range(10)}
    attempts = attempts_of_tasks(state, names)
    assert sorted(attempts[name] for name in names)[:8] == [1] * 8
    folder = run_flow(settings).result()
    assert folder == job.folder
    assert read_manifest(folder.manifest).counts.predictions == 400


@pytest.mark.slow
def test_a_ray_address_that_nobody_answers(tmp_path: Path) -> None:
    """One line within half a minute, and OUT is free."""
    pytest.importorskip("prefect_ray", reason="needs the extra `ray`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = settings_for(tmp_path)
    state = run_flow(settings, runner="ray", ray_address=f"127.0.0.1:{port}")
    assert state.is_failed()
    assert f"ray_address 127.0.0.1:{port}: expected a Ray cluster, found: " in str(state.message)
    assert "\n" not in str(state.message)
    with lock_out(tmp_path, 0, lambda text: None):
        pass
