"""Flow runs whose process died: marked as Crashed, because they occupy the one slot of their deployment until then.

A run writes its host, process id and start time into its labels. On the same host that answers at once whether it is alive;
for other hosts its heartbeats do.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import EventFilter
from prefect.runtime import flow_run as this_flow_run
from prefect.states import Crashed

HEARTBEAT_S = 30
SILENCE = timedelta(seconds=3 * HEARTBEAT_S)  # two heartbeats may get lost
START_UP = timedelta(minutes=5)  # of a run that is Pending: its container may still be pulled
CRASHED_MESSAGE = "No heartbeat: the process or its machine died. The next run with the same parameters resumes it."
_HOST, _PID, _STARTED = "ecomintent.host", "ecomintent.pid", "ecomintent.process-started"


def record_process() -> None:
    """Write into the labels of this flow run which process it is; without a server there is nothing to write to."""
    if this_flow_run.id is None:
        return
    process = psutil.Process()
    labels = {_HOST: socket.gethostname(), _PID: process.pid, _STARTED: process.create_time()}
    with suppress(Exception), get_client(sync_client=True) as client:  # heartbeats remain
        client.update_flow_run_labels(UUID(str(this_flow_run.id)), labels)


def end_dead_runs(client: SyncPrefectClient, deployments: Sequence[UUID]) -> list[str]:
    """Mark the dead runs of some deployments as Crashed; return their names."""
    ended = []
    for run in _read_unfinished(client, deployments):
        if is_dead(client, run):
            client.set_flow_run_state(run.id, Crashed(message=CRASHED_MESSAGE))
            ended.append(run.name)
    return ended


@contextmanager
def watch_for_dead_runs(
    read_deployments: Callable[[SyncPrefectClient], Sequence[UUID]],
) -> Iterator[None]:
    """Look for dead runs of some deployments every 30 seconds, in a thread, until the context ends."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(HEARTBEAT_S):
            with suppress(Exception), get_client(sync_client=True) as client:  # it may be away
                end_dead_runs(client, read_deployments(client))

    thread = threading.Thread(target=watch, name="watch-for-dead-runs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()


def is_dead(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Decide by its process where that was on this host, else by its last heartbeat."""
    pid, started = run.labels.get(_PID), run.labels.get(_STARTED)
    if run.labels.get(_HOST) == socket.gethostname() and isinstance(pid, int):
        return not _is_process(pid, float(started or 0))
    pending = run.state is not None and run.state.type == StateType.PENDING
    return datetime.now(UTC) - _last_sign(client, run) > (START_UP if pending else SILENCE)


def _is_process(pid: int, started: float) -> bool:
    """Tell whether the process with this id is the one that was started then, and not a later one with the same id."""
    try:
        process = psutil.Process(pid)
        is_same = abs(process.create_time() - started) < 2
        return is_same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _read_unfinished(client: SyncPrefectClient, deployments: Sequence[UUID]) -> list[FlowRun]:
    if not deployments:
        return []
    types = [StateType.RUNNING, StateType.PENDING]
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
        ),
    )


def _last_sign(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """Return the last sign of life of the run: its newest heartbeat, or its last change of state."""
    changed = run.state.timestamp if run.state else run.created or datetime.now(UTC)
    heartbeats = EventFilter.model_validate(
        {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run.id}"]},
            "occurred": {"since": changed},
        }
    )
    newest = client.read_events(heartbeats, limit=1).events
    return max([changed, *(event.occurred for event in newest)])
