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
    typer.Option(
        help="Notification block to use on failures, such as slack-webhook/ops; none takes it back."
    ),
]
_Name = Annotated[
    str, typer.Option(help="Name of the pair of deployments: NAME-daily and NAME-file.")
]
_Later = Annotated[
    bool, typer.Option("--later", help="Deploy although the source cannot be opened here and now.")
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
    name: _Name = "classify",
    later: _Later = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Register the daily and the on-demand deployment with a Prefect server, whose workers run them."""
    request = _read_request(
        config, cron, timezone, runner, ray_address, name, source=source, **flags
    )
    from ecomintent_batch.flows.deployments import deploy as register

    names, pool = register(request, pool=pool, notify=notify, later=later)
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
    name: _Name = "classify",
    later: _Later = False,
) -> None:
    """Run both deployments on this machine when they are due, without a work pool or worker."""
    request = _read_request(
        config, cron, timezone, runner, ray_address, name, source=source, **flags
    )
    from ecomintent_batch.flows.deployments import serve_here

    serve_here(request, notify=notify, later=later)


def deployments(as_json: Json = False) -> None:
    """List the deployments of a Prefect server: what they read, when, and how the last run ended."""
    from dataclasses import asdict

    from ecomintent_batch.flows.deployments import list_deployments

    found = list_deployments()
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json([asdict(one) for one in found])
        return
    if not found:
        typer.echo("no deployments; see ecomintent-batch deploy --help")
    for one in found:
        typer.echo(f"{one.name}")
        typer.echo(f"  source    {one.source}")
        typer.echo(f"  out       {one.out}")
        typer.echo(f"  schedule  {one.schedule}")
        typer.echo(f"  runs on   {one.pool}")
        typer.echo(f"  last run  {one.last_run}")


def undeploy(
    name: Annotated[
        str, typer.Argument(help="Name of the pair of deployments.", show_default=False)
    ] = "classify",
) -> None:
    """Remove the deployments of a name, with their schedule and notification; OUT stays as it is."""
    from ecomintent_batch.flows.deployments import undeploy as remove

    typer.echo(f"Removed      {', '.join(remove(name))}")


def _read_request(
    config: Path | None,
    cron: str | None,
    timezone: str | None,
    runner: Runner,
    ray_address: str | None,
    name: str,
    **flags: Any,
) -> DeploymentRequest:
    from ecomintent_batch.settings import load_settings

    settings = load_settings(config, **flags)  # before Prefect, which takes a second to load
    from ecomintent_batch.flows.deployments import DeploymentRequest

    return DeploymentRequest(
        settings=settings,
        name=name,
        cron=cron,
        timezone=timezone,
        runner=runner,
        ray_address=ray_address,
    )
