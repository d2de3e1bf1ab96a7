"""The deployments of `prefect.yaml` with the settings of a user: registered with a server, served here, listed, removed.

A name means a pair: `shop` for `shop-daily`, which has a schedule, and `shop-file`, which runs on demand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from prefect import serve
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from ecomintent_batch.errors import EcomIntentError, SourceError, UsageError, hide_password
from ecomintent_batch.flows.automations import (
    end_zombies,
    notify_failures,
    notify_name,
    put_automation,
    remove_automation,
)
from ecomintent_batch.flows.classify_tickets import classify_tickets, reject_password
from ecomintent_batch.flows.runners import Runner
from ecomintent_batch.flows.zombies import HEARTBEAT_S, end_dead_runs, watch_for_dead_runs
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.storage.location import absolute_location
from ecomintent_batch.storage.packaged import packaged_path

DECLARED = packaged_path("flows/prefect.yaml")
DEFAULT_NAME = "classify"
NO_NOTIFICATION = "none"
# What describes one source; all other settings are defaults of files on demand as well.
_OF_A_SOURCE = {
    *("source", "table", "query", "id_column", "text_column", "time_column", "time_format"),
    *("keep", "by", "encoding", "delimiter", "incremental", "backfill", "lag_days"),
    "full_every_days",
}
_IDENTITY = ("source", "table", "query")  # what makes it the same source


@dataclass(frozen=True, kw_only=True)
class DeploymentRequest:
    """What a user wants to have deployed: settings of the runs, when, where the shards are classified, under which name."""

    settings: RunSettings
    name: str = DEFAULT_NAME
    cron: str | None = None
    timezone: str | None = None
    runner: Runner = "inline"
    ray_address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """One deployment as the server has it."""

    name: str
    source: str
    out: str
    schedule: str
    pool: str
    last_run: str


def deploy(
    request: DeploymentRequest,
    *,
    pool: str | None = None,
    notify: str | None = None,
    later: bool = False,
) -> tuple[list[str], str]:
    """Register the deployments, their work pool and the automations; return the names of the deployments and the pool's.

    Args:
        request: What to deploy.
        pool: Work pool; made as a process pool where it does not exist.
        notify: Notification block of failures; `none` takes it back, None leaves it as it is.
        later: Whether the source may be missing now.

    Raises:
        UsageError: no server is named, `notify` names no block of it, the source is a URL that holds a password, or the name
            belongs to another source.
        SourceError: the source cannot be opened, and `later` is not set.
        EcomIntentError: the server does not answer.
    """
    deployments, work_pool = build_deployments(request), _read_declared()[0]["work_pool"]
    pool = pool or str(work_pool["name"])
    check_source(request.settings, later=later)
    with open_server() as client:
        check_same_source(client, request.name, deployments)
        _put_automations(client, request.name, deployments, notify)
        _put_work_pool(client, pool)
        for deployment in deployments:
            deployment.job_variables = work_pool["job_variables"]
            deployment.storage = LocalStorage(
                str(Path.cwd())
            )  # relative paths of a file on demand start here
            deployment.apply(work_pool_name=pool)
        end_dead_runs(client, _read_ids(client, deployments))
    return [deployment.full_name for deployment in deployments], pool


def serve_here(
    request: DeploymentRequest, *, notify: str | None = None, later: bool = False
) -> None:
    """Run what is due in processes of this machine until interrupted; the schedule stays when this ends.

    Runs that an earlier process left Running are ended first: each would block its deployment.
    """
    deployments = build_deployments(request)
    check_source(request.settings, later=later)
    with open_server() as client:
        check_same_source(client, request.name, deployments)
        _put_automations(client, request.name, deployments, notify)
        end_dead_runs(client, _read_ids(client, deployments))
    with (
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: HEARTBEAT_S}),
        watch_for_dead_runs(lambda client: _read_ids(client, deployments)),
    ):
        serve(*deployments, pause_on_shutdown=False, limit=1)


def list_deployments() -> list[Deployed]:
    """Return the deployments of the flow, by name."""
    with open_server() as client:
        of_the_flow = FlowFilter(name=FlowFilterName(any_=[classify_tickets.name]))
        found = client.read_deployments(flow_filter=of_the_flow, limit=200)
        return sorted((_describe(client, one) for one in found), key=lambda one: one.name)


def undeploy(name: str) -> list[str]:
    """Delete the pair of deployments of a name and its notification; return what was deleted.

    Raises:
        UsageError: there is no deployment of this name.
    """
    with open_server() as client:
        names = [_pair_name(name, declared) for declared in _read_declared()]
        of_the_flow = FlowFilter(name=FlowFilterName(any_=[classify_tickets.name]))
        all_of_them = client.read_deployments(flow_filter=of_the_flow, limit=200)
        found = [deployment for deployment in all_of_them if deployment.name in names]
        if not found:
            others = sorted({one.name.rpartition("-")[0] for one in all_of_them})
            raise UsageError(
                f"{name}: expected the name of a deployment, found {', '.join(others) or 'no deployments'}; "
                "see ecomintent-batch deployments"
            )
        for deployment in found:
            client.delete_deployment(deployment.id)
        remove_automation(client, notify_name(name))
        if len(found) == len(all_of_them):
            remove_automation(client, end_zombies().name)
        return sorted(deployment.name for deployment in found)


def build_deployments(request: DeploymentRequest) -> list[RunnerDeployment]:
    """Return the deployments of `prefect.yaml` with the requested settings, and with paths that are valid in any folder.

    Raises:
        UsageError: the source is a URL that holds a password, or the name is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", request.name):
        raise UsageError(f"--name {request.name!r}: expected letters, digits, - and _")
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
            declared, request, for_any_file if "schedules" not in declared else given, where
        )
        for declared in _read_declared()
    ]


def check_source(settings: RunSettings, *, later: bool) -> None:
    """Open the source, so that a typing error is found now and not at six in the morning.

    Raises:
        SourceError: it cannot be opened, and `later` is not set.
    """
    if later:
        return
    try:
        open_source(
            settings.source,
            table=settings.table,
            query=settings.query,
            encoding=settings.encoding,
            delimiter=settings.delimiter,
        )
    except SourceError as error:
        raise SourceError(
            f"{error}; if it will be there when it runs, or on another machine, add --later"
        ) from None


def check_same_source(
    client: SyncPrefectClient, name: str, deployments: Sequence[RunnerDeployment]
) -> None:
    """Raise UsageError where a deployment of this name reads another source: it would be replaced in silence."""
    for deployment, existing in zip(deployments, _read_pair(client, deployments), strict=True):
        if existing is None or not deployment.schedules:
            continue
        then, now = existing.parameters.get("settings", {}), deployment.parameters["settings"]
        if any(then.get(part) != now.get(part) for part in _IDENTITY):
            raise UsageError(
                f"--name {name}: expected {_say_source(then)}, which {deployment.name} reads, found {_say_source(now)}; "
                f"give this one another --name, or remove the first: ecomintent-batch undeploy {name}"
            )


def open_server() -> SyncPrefectClient:
    """Return a client of the server of PREFECT_API_URL, which is required: a temporary server would keep no schedule.

    Raises:
        UsageError: no server is named.
        EcomIntentError: the server does not answer.
    """
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


def _read_declared() -> list[dict[str, Any]]:
    deployments: list[dict[str, Any]] = yaml.safe_load(DECLARED.read_text(encoding="utf-8"))[
        "deployments"
    ]
    return deployments


def _pair_name(name: str, declared: dict[str, Any]) -> str:
    """Return `shop-daily` for `shop` and the declared `classify-daily`."""
    return name + str(declared["name"]).removeprefix(DEFAULT_NAME)


def _to_deployment(
    declared: dict[str, Any],
    request: DeploymentRequest,
    given: dict[str, Any],
    where: dict[str, Any],
) -> RunnerDeployment:
    # What the file takes from the environment is for `prefect deploy`; here the settings are given.
    settings = {
        name: value
        for name, value in declared["parameters"]["settings"].items()
        if "{{" not in str(value)
    }
    parameters = {**declared["parameters"], "settings": {**settings, **given}, **where}
    return RunnerDeployment.from_flow(
        classify_tickets,
        name=_pair_name(request.name, declared),
        description=declared["description"],
        tags=declared["tags"],
        schedules=[_to_schedule(schedule, request) for schedule in declared.get("schedules", [])],
        concurrency_limit=ConcurrencyLimitConfig(**declared["concurrency_limit"]),
        parameters=parameters,
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


def _read_pair(
    client: SyncPrefectClient, deployments: Sequence[RunnerDeployment]
) -> list[DeploymentResponse | None]:
    """Return what the server has under the names of the deployments; None for what it lacks."""
    found: list[DeploymentResponse | None] = []
    for deployment in deployments:
        try:
            found.append(client.read_deployment_by_name(deployment.full_name))
        except ObjectNotFound:
            found.append(None)
    return found


def _read_ids(client: SyncPrefectClient, deployments: Sequence[RunnerDeployment]) -> list[UUID]:
    return [found.id for found in _read_pair(client, deployments) if found is not None]


def _say_source(settings: dict[str, Any]) -> str:
    source = settings.get("source") or "no source"
    if settings.get("table"):
        return f"{source} table {settings['table']}"
    return f"{source} by a query" if settings.get("query") else str(source)


def _describe(client: SyncPrefectClient, deployment: DeploymentResponse) -> Deployed:
    settings = deployment.parameters.get("settings") or {}
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(
            {
                "deployment_id": {"any_": [str(deployment.id)]},
                "state": {"type": {"not_any_": ["SCHEDULED"]}},
            }
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=1,
    )
    schedules = [
        f"{getattr(one.schedule, 'cron', None) or one.schedule} {getattr(one.schedule, 'timezone', '') or ''}".strip()
        + ("" if one.active else " (paused)")
        for one in deployment.schedules
    ]
    return Deployed(
        name=deployment.name,
        source=_say_source(settings) if settings.get("source") else "given with each run",
        out=str(settings.get("out") or ""),
        schedule=", ".join(schedules) or "on demand",
        pool=deployment.work_pool_name or "served",
        last_run=f"{runs[0].state_name} {runs[0].expected_start_time:%Y-%m-%d %H:%M}"
        if runs
        else "none",
    )


def _put_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Make a process work pool, or leave a pool of that name as it is, of any type."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        )


def _put_automations(
    client: SyncPrefectClient,
    name: str,
    deployments: Sequence[RunnerDeployment],
    notify: str | None,
) -> None:
    put_automation(client, end_zombies())
    if notify == NO_NOTIFICATION:
        remove_automation(client, notify_name(name))
    elif notify:
        names = [str(deployment.name) for deployment in deployments]
        put_automation(client, notify_failures(client, notify, name, names))
