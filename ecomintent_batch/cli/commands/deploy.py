"""`deploy` and `serve`: the job on a schedule, by Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecomintent_batch.cli.choices import Runner
from ecomintent_batch.cli.parameters import Config, Json, Quiet, Source, describe, with_settings

if TYPE_CHECKING:
    from ecomintent_batch.flows.deployments import DeploymentRequest

_Cron = Annotated[
    str | None,
    typer.Option(help=describe("When classify-daily runs.", "0 6 * * *"), show_default=False),
]
_Timezone = Annotated[
    str | None,
    typer.Option(
        help=describe("Time zone of --cron, such as Europe/Berlin.", "UTC"), show_default=False
    ),
]
_Runner = Annotated[
    Runner,
    typer.Option(
        help="Where shards are classified: in the flow's process, in one process per core, on Ray."
    ),
]
_RayAddress = Annotated[
    str | None, typer.Option(help="Ray cluster: host:6379 or ray://host:10001.")
]
_Pool = Annotated[
    str | None,
    typer.Option(
        help=describe("Work pool; created as a process pool if it does not exist.", "ecomintent"),
        show_default=False,
    ),
]
_Notify = Annotated[
    str | None,
    typer.Option(help="Notification block to use on failures, such as slack-webhook/ops."),
]
# classify-daily is incremental as it is; a scheduled run resumes, or discards what no longer fits.
_NOT_DEPLOYED = ("incremental", "backfill", "resume", "on_stale")


@with_settings(without=_NOT_DEPLOYED)
def deploy(
    source: Source,
    *,
    flags: dict[str, Any],
    config: Config = None,
    cron: _Cron = None,
    timezone: _Timezone = None,
    runner: _Runner = "inline",
    ray_address: _RayAddress = None,
    pool: _Pool = None,
    notify: _Notify = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Register the daily and the on-demand deployment with a Prefect server, whose workers run them."""
    request = _read_request(config, cron, timezone, runner, ray_address, source=source, **flags)
    from ecomintent_batch.flows.deployments import deploy as register

    names, pool = register(request, pool=pool, notify=notify)
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json({"deployments": names, "pool": pool})
    elif not quiet:
        typer.echo(f"Registered   {', '.join(names)}")
        typer.echo(f"Work         prefect worker start --pool {pool}")
        typer.echo(f"Run now      prefect deployment run {names[0]}")


@with_settings(without=_NOT_DEPLOYED)
def serve(
    source: Source,
    *,
    flags: dict[str, Any],
    config: Config = None,
    cron: _Cron = None,
    timezone: _Timezone = None,
    runner: _Runner = "inline",
    ray_address: _RayAddress = None,
    notify: _Notify = None,
) -> None:
    """Run both deployments on this machine when they are due, without a work pool or worker."""
    request = _read_request(config, cron, timezone, runner, ray_address, source=source, **flags)
    from ecomintent_batch.flows.deployments import serve_here

    serve_here(request, notify=notify)


def _read_request(
    config: Path | None,
    cron: str | None,
    timezone: str | None,
    runner: Runner,
    ray_address: str | None,
    **flags: Any,
) -> DeploymentRequest:
    from ecomintent_batch.settings import load_settings

    settings = load_settings(config, **flags)  # before Prefect, which takes a second to load
    from ecomintent_batch.flows.deployments import DeploymentRequest

    return DeploymentRequest(settings, cron, timezone, runner, ray_address)
