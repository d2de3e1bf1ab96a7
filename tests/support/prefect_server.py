"""A real Prefect server and its workers, as processes of their own that a test starts, kills and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, LogFilter, LogFilterFlowRunId
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from support.tickets import ROOT


@dataclass(frozen=True)
class Server:
    """A server on a loopback port, with its database and logs in a folder."""

    url: str
    home: Path
    env: dict[str, str]

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """Yield a client of it."""
        with (
            temporary_settings({PREFECT_API_URL: self.url}),
            get_client(sync_client=True) as client,
        ):
            yield client

    def command(self, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this Python's environment against it, until it ends well."""
        program, *rest = arguments
        done = subprocess.run(
            [Path(sys.executable).with_name(program), *rest],
            env={**self.env, **env}, cwd=cwd, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(
        self, *arguments: str, log: str, cwd: Path | None = None, **env: str
    ) -> psutil.Process:
        """Start a program of this Python's environment in the background."""
        program, *rest = arguments
        with (self.home / log).open("ab") as file:
            started = subprocess.Popen(
                [Path(sys.executable).with_name(program), *rest],
                env={**self.env, **env}, cwd=cwd or self.home, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        return psutil.Process(started.pid)

    def has(self, deployment: str) -> bool:
        """Tell whether there is a deployment of this name."""
        with self.client() as client:
            try:
                client.read_deployment_by_name(f"classify-tickets/{deployment}")
            except ObjectNotFound:
                return False
        return True

    def run_of(self, deployment: str, settings: dict[str, Any], **others: Any) -> UUID:
        """Trigger a run of a deployment."""
        with self.client() as client:
            found = client.read_deployment_by_name(f"classify-tickets/{deployment}")
            return client.create_flow_run_from_deployment(
                found.id, parameters={"settings": settings, **others}
            ).id

    def wait_for(self, run: UUID, *states: str, within_s: float = 90) -> Any:
        """Return a flow run once it is in one of the states; fail where it ends in another."""
        with self.client() as client:
            found = wait_until(
                lambda: client.read_flow_run(run),
                lambda it: it.state_name in states or it.state.is_final(),
                within_s,
            )
        assert found.state_name in states, found.state
        return found

    def log_of(self, run: UUID, until: str = "") -> str:
        """Return the log of a flow run, once a text is in it."""
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        with self.client() as client:
            return wait_until(
                lambda: "\n".join(
                    log.message for log in client.read_logs(log_filter=of_run, limit=200)
                ),
                lambda log: until in log,
            )

    def artifacts_of(self, run: UUID) -> dict[str, Any]:
        """Return the artifacts of a flow run by their key."""
        with self.client() as client:
            found = client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id={"any_": [run]})
            )
        return {artifact.key: artifact for artifact in found}


@contextmanager
def prefect_server(home: Path, **env: str) -> Iterator[Server]:
    """Start a server, yield it, and stop it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = Server(
        f"http://127.0.0.1:{port}/api",
        home,
        {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
            # How long a run that waits for its turn sleeps: 30 s, where nothing else is said.
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            **env,
        },
    )
    process = server.start(
        "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), log="server.log"
    )
    try:
        wait_until(lambda: _answers(server.url), bool, within_s=120)
        yield server
    finally:
        stop([process])


def wait_until(read: Callable[[], Any], enough: Callable[[Any], bool], within_s: float = 30) -> Any:
    """Read again until it is enough, and fail where it never is."""
    deadline = time.monotonic() + within_s
    while not enough(found := read()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {found}"
        time.sleep(0.2)
    return found


def stop(processes: Sequence[psutil.Process], signal_: signal.Signals = signal.SIGTERM) -> None:
    """End processes with all that they have started, in the end by force."""
    family = [
        one
        for process in processes
        if process.is_running()
        for one in (process, *process.children(recursive=True))
    ]
    for process in family if signal_ == signal.SIGKILL else processes:
        if process.is_running():
            process.send_signal(signal_)
    _, alive = psutil.wait_procs(family, timeout=15)
    for process in alive:
        process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def ray_cluster(server: Server, machines: int) -> Iterator[Any]:
    """Yield a Ray cluster of machines of one core each, as processes of this one, that know the server's environment."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "DO_NOT_TRACK", "RAY_USAGE_STATS_ENABLED"):
            patch.setenv(name, server.env[name])
        machine = {"num_cpus": 1, "num_gpus": 0}
        cluster = Cluster(
            initialize_head=True, head_node_args={**machine, "include_dashboard": False}
        )
        for _ in range(machines - 1):
            cluster.add_node(**machine)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
