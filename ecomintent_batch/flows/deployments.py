"""The deployments of `prefect.yaml`, with the settings of a user: registered with a server, or served by this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from prefect import serve
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from ecomintent_batch.errors import EcomIntentError, UsageError, hide_password
from ecomintent_batch.flows.automations import end_zombies, notify_failures, put_automation
from ecomintent_batch.flows.classify_tickets import classify_tickets, reject_password
from ecomintent_batch.flows.runners import Runner
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.storage.location import absolute_location
from ecomintent_batch.storage.packaged import packaged_path

DECLARED = packaged_path("flows/prefect.yaml")
# What tells one source from another; the rest of a user's settings is for files on demand, too.
_OF_A_SOURCE = {
    *("source", "table", "query", "id_column", "text_column", "time_column", "time_format"),
    *("keep", "by", "encoding", "delimiter", "incremental", "backfill", "lag_days"),
}


@dataclass(frozen=True)
class DeploymentRequest:
    """What a user wants to have deployed: settings of the runs, when, and where the shards are classified."""

    settings: RunSettings
    cron: str | None = None
    timezone: str | None = None
    runner: Runner = "inline"
    ray_address: str | None = None


def deploy(
    request: DeploymentRequest, *, pool: str | None = None, notify: str | None = None
) -> tuple[list[str], str]:
    """Register the deployments, their work pool and the automations; return the names of the deployments and the pool's.

    Raises:
        UsageError: no server is named, `notify` names no block of it, or the source is a URL that holds a password.
        EcomIntentError: the server does not answer.
    """
    deployments, work_pool = build_deployments(request), _read_declared()[0]["work_pool"]
    pool = pool or str(work_pool["name"])
    with _open_server() as client:
        _put_automations(client, notify)
        _put_work_pool(client, pool)
        for deployment in deployments:
            deployment.job_variables = work_pool["job_variables"]
            deployment.storage = LocalStorage(
                str(Path.cwd())
            )  # what relative paths of a file on demand are of
            deployment.apply(work_pool_name=pool)
    return [deployment.full_name for deployment in deployments], pool


def serve_here(request: DeploymentRequest, *, notify: str | None = None) -> None:
    """Run what is due in processes of this machine until interrupted; the schedule stays when this ends."""
    deployments = build_deployments(request)
    with _open_server() as client:
        _put_automations(client, notify)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        serve(*deployments, pause_on_shutdown=False, limit=1)


def build_deployments(request: DeploymentRequest) -> list[RunnerDeployment]:
    """Return the deployments of `prefect.yaml` with what was ordered, and with paths that hold in any folder.

    Raises:
        UsageError: the source is a URL that holds a password.
    """
    reject_password(request.settings)
    given = {
        **request.settings.model_dump(mode="json", exclude_unset=True),
        **_absolute_paths(request.settings),
    }
    for_any_file = {name: value for name, value in given.items() if name not in _OF_A_SOURCE}
    where = {
        "runner": request.runner,
        **({"ray_address": request.ray_address} if request.ray_address else {}),
    }
    return [
        _to_deployment(
            declared, request, for_any_file if declared["name"] == "classify-file" else given, where
        )
        for declared in _read_declared()
    ]


def _read_declared() -> list[dict[str, Any]]:
    deployments: list[dict[str, Any]] = yaml.safe_load(DECLARED.read_text(encoding="utf-8"))[
        "deployments"
    ]
    return deployments


def _to_deployment(
    declared: dict[str, Any],
    request: DeploymentRequest,
    given: dict[str, Any],
    where: dict[str, Any],
) -> RunnerDeployment:
    # What the file takes from the environment is for Prefect's own command; here it is given.
    settings = {
        name: value
        for name, value in declared["parameters"]["settings"].items()
        if "{{" not in str(value)
    }
    return RunnerDeployment.from_flow(
        classify_tickets,
        name=declared["name"],
        description=declared["description"],
        tags=declared["tags"],
        schedules=[_to_schedule(schedule, request) for schedule in declared.get("schedules", [])],
        concurrency_limit=ConcurrencyLimitConfig(**declared["concurrency_limit"]),
        parameters={"settings": {**settings, **given}, **where},
        entrypoint_type=EntrypointType.MODULE_PATH,  # an installed package has no file that a worker elsewhere would find
    )


def _to_schedule(declared: dict[str, Any], request: DeploymentRequest) -> Schedule:
    cron, timezone = request.cron or declared["cron"], request.timezone or declared["timezone"]
    try:
        ZoneInfo(timezone)
        return Cron(cron, timezone=timezone, slug=declared["slug"])
    except (ValueError, ZoneInfoNotFoundError):
        raise UsageError(
            f"--cron {cron!r} --timezone {timezone!r}: expected the five fields of cron and a name like Europe/Berlin"
        ) from None


def _absolute_paths(settings: RunSettings) -> dict[str, str]:
    """Return the settings that are paths as absolute ones: a worker starts in a folder of its own."""
    paths = {"out": absolute_location(settings.out)}
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
            raise EcomIntentError(
                f"{hide_password(url)}: expected a Prefect server, found {found}; is it running?"
            )
    return get_client(sync_client=True)


def _put_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Make a process work pool, or leave the pool of that name, of whatever type, as it is."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        )


def _put_automations(client: SyncPrefectClient, notify: str | None) -> None:
    put_automation(client, end_zombies())
    if notify:
        names = [str(declared["name"]) for declared in _read_declared()]
        put_automation(client, notify_failures(client, notify, "classify", names))
