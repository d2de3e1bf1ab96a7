"""The deployments of `prefect.yaml`, with the settings of a user: registered with a server, or served by this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect import serve
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from ecomintent_batch.errors import EcomIntentError, UsageError, hide_password
from ecomintent_batch.settings import RunSettings
from flows.automations import end_zombies, put_automations, tell_of_failures
from flows.classify_tickets import classify_tickets, refuse_password
from flows.runners import Runner

DECLARED = Path(__file__).with_name("prefect.yaml")
# What tells one source from another; the rest of a user's settings is for files on demand, too.
_OF_A_SOURCE = {
    *("source", "table", "query", "id_column", "text_column", "time_column", "time_format"),
    *("keep", "by", "encoding", "delimiter", "incremental", "lag_days"),
}


def declare_deployments(
    settings: RunSettings,
    *,
    cron: str | None = None,
    timezone: str | None = None,
    runner: Runner = "inline",
    ray_address: str | None = None,
) -> list[RunnerDeployment]:
    """Return the deployments of `prefect.yaml` with the settings that were given, and with paths that hold anywhere.

    Raises:
        UsageError: the source is a URL that holds a password.
    """
    refuse_password(settings)
    given = {**settings.model_dump(mode="json", exclude_unset=True), **_absolute_paths(settings)}
    where: dict[str, Any] = {"runner": runner} | ({"ray_address": ray_address} if ray_address else {})
    deployments = []
    for declared in _read_declared():
        of_file = "schedules" not in declared
        chosen = {name: value for name, value in given.items() if not (of_file and name in _OF_A_SOURCE)}
        of_yaml = {name: value for name, value in declared["parameters"]["settings"].items() if "$" not in str(value)}
        parameters = {"settings": {**of_yaml, **chosen}, **where}
        deployments.append(_to_deployment(declared, parameters, cron, timezone))
    return deployments


def deploy(deployments: Sequence[RunnerDeployment], *, pool: str | None = None, notify: str | None = None) -> str:
    """Register the deployments, their work pool and the automations with the server, and return the name of the pool.

    Raises:
        UsageError: no server is named, or `notify` names no block of it.
        EcomIntentError: the server does not answer.
    """
    work_pool = _read_declared()[0]["work_pool"]
    pool = pool or str(work_pool["name"])
    with _open_server() as client:
        automations = [end_zombies(), *([tell_of_failures(client, notify)] if notify else [])]
        _put_work_pool(client, pool)
        for deployment in deployments:
            deployment.job_variables = work_pool["job_variables"]
            deployment.storage = LocalStorage(str(Path.cwd()))  # what relative paths of a file on demand are of
            deployment.apply(work_pool_name=pool)
        put_automations(client, automations)
    return pool


def serve_here(deployments: Sequence[RunnerDeployment], *, notify: str | None = None) -> None:
    """Run what is due in processes of this machine until interrupted; the schedule stays when this ends."""
    with _open_server() as client:
        put_automations(client, [end_zombies(), *([tell_of_failures(client, notify)] if notify else [])])
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        serve(*deployments, pause_on_shutdown=False, limit=1)


def _read_declared() -> list[dict[str, Any]]:
    deployments: list[dict[str, Any]] = yaml.safe_load(DECLARED.read_text(encoding="utf-8"))["deployments"]
    return deployments


def _to_deployment(
    declared: dict[str, Any], parameters: dict[str, Any], cron: str | None, timezone: str | None
) -> RunnerDeployment:
    schedules = [
        Cron(cron or schedule["cron"], timezone=timezone or schedule["timezone"], slug=schedule["slug"])
        for schedule in declared.get("schedules", [])
    ]
    return RunnerDeployment.from_flow(
        classify_tickets,
        name=declared["name"],
        description=declared["description"],
        tags=declared["tags"],
        schedules=schedules,
        concurrency_limit=ConcurrencyLimitConfig(**declared["concurrency_limit"]),
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,  # an installed package has no file that a worker elsewhere would find
    )


def _absolute_paths(settings: RunSettings) -> dict[str, str]:
    """Return the settings that are paths as absolute ones: a worker starts in a folder of its own."""
    paths = {"out": str(settings.out.absolute())}
    if "://" not in settings.source:
        paths["source"] = str(Path(settings.source).absolute())
    if settings.model and Path(settings.model).exists():
        paths["model"] = str(Path(settings.model).absolute())
    return paths


def _open_server() -> SyncPrefectClient:
    """Return a client of the server of PREFECT_API_URL, which has to be there: a temporary one would keep no schedule."""
    url = PREFECT_API_URL.value()
    if not url:
        raise UsageError(
            "PREFECT_API_URL: expected the URL of a Prefect server, found none; `prefect server start`, "
            "then `export PREFECT_API_URL=http://127.0.0.1:4200/api`"
        )
    client = get_client(sync_client=True)
    with client:
        if (error := client.api_healthcheck()) is not None:
            found = type(error).__name__
            raise EcomIntentError(f"{hide_password(url)}: expected a Prefect server, found {found}; is it running?")
    return get_client(sync_client=True)


def _put_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Make a process work pool, or leave the pool of that name, of whatever type, as it is."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))
