"""Flow runs in the process of a test: their settings, and what the server keeps of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import State

from ecomintent_batch import pipeline
from ecomintent_batch.planning import Job, plan_job
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.lock import lock_out
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.settings import RunSettings
from support.tickets import ROOT

TICKETS = ROOT / "sample_data" / "tickets.csv"


def settings_for(out: Path, **given: Any) -> RunSettings:
    """Settings of a run in three shards without a model."""
    return RunSettings(
        **{
            "source": str(TICKETS),
            "out": out,
            "engine": "stub",
            "shard_rows": 150,
            "by": ("channel",),
            **given,
        }
    )


def interrupted(settings: RunSettings) -> Job:
    """Leave a run in OUT that stopped when its shards were extracted."""
    with lock_out(settings.out, 0):
        job = plan_job(settings, open_store(settings.out), Progress())
        list(pipeline.extract(job, Progress()))
    return job


def run_id_of(state: State[Any]) -> UUID:
    """The id of the flow run that ended in this state."""
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def when_there(read: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """Read again until it is enough: the server gets task runs and logs a moment after the flow ends."""
    deadline = time.monotonic() + 20
    while not enough(found := read()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def attempts_of_tasks(state: State[Any], expected: set[str]) -> dict[str, int]:
    """How often each task run was started, by its name without the suffix that Prefect adds."""
    runs = FlowRunFilter(id=FlowRunFilterId(any_=[run_id_of(state)]))

    def read() -> dict[str, int]:
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=runs)
        return {
            run.name: run.run_count
            for run in found
            if run.state is not None and run.state.is_final()
        }

    return when_there(read, lambda found: expected <= set(found))


def logs_of(state: State[Any], until: str) -> str:
    """What the server keeps of the log of a flow run, once a text is in it."""
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id_of(state)]))

    def read() -> str:
        with get_client(sync_client=True) as client:
            return "\n".join(log.message for log in client.read_logs(log_filter=of_run, limit=200))

    return when_there(read, lambda text: until in text)
