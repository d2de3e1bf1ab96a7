"""`deploy` and `serve`: the job on a schedule, by Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecomintent_batch.cli.commands.choices import RunnerChoice

if TYPE_CHECKING:
    from ecomintent_batch.flows.deployments import DeploymentRequest

_Source = Annotated[
    str,
    typer.Argument(
        help="What classify-daily reads: file, glob, .duckdb file, or postgresql:// URL.",
        show_default=False,
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the outputs of all runs. [default: ecomintent-out]", show_default=False
    ),
]
_Table = Annotated[str | None, typer.Option(help="Table of a database source.")]
_Query = Annotated[str | None, typer.Option(help="One SELECT over a database source.")]
_Config = Annotated[Path | None, typer.Option(help="TOML file with any of the options of `run`.")]
_Cron = Annotated[
    str | None,
    typer.Option(help="When classify-daily runs. [default: 0 6 * * *]", show_default=False),
]
_Timezone = Annotated[
    str | None,
    typer.Option(help="Of --cron, as in Europe/Berlin. [default: UTC]", show_default=False),
]
_Runner = Annotated[
    RunnerChoice,
    typer.Option(help="Where shards are classified: flow's process, a process a core, Ray."),
]
_RayAddress = Annotated[
    str | None, typer.Option(help="Ray cluster: host:6379 or ray://host:10001.")
]
_Pool = Annotated[
    str | None,
    typer.Option(
        help="Work pool; made as a process pool where missing. [default: ecomintent]",
        show_default=False,
    ),
]
_Notify = Annotated[
    str | None, typer.Option(help="Notification block told of failures, as in slack-webhook/ops.")
]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def deploy(
    source: _Source,
    out: _Out = None,
    table: _Table = None,
    query: _Query = None,
    config: _Config = None,
    cron: _Cron = None,
    timezone: _Timezone = None,
    runner: _Runner = RunnerChoice.inline,
    ray_address: _RayAddress = None,
    pool: _Pool = None,
    notify: _Notify = None,
    debug: _Debug = False,
) -> None:
    """Register the daily and the on-demand deployment with a Prefect server, for its workers to run."""
    request = _read_request(
        config,
        cron,
        timezone,
        runner,
        ray_address,
        source=source,
        out=out,
        table=table,
        query=query,
    )
    from ecomintent_batch.flows.deployments import deploy as register

    names, pool = register(request, pool=pool, notify=notify)
    typer.echo(f"Registered   {', '.join(names)}")
    typer.echo(f"Work         prefect worker start --pool {pool}")
    typer.echo(f"Run now      prefect deployment run {names[0]}")


def serve(
    source: _Source,
    out: _Out = None,
    table: _Table = None,
    query: _Query = None,
    config: _Config = None,
    cron: _Cron = None,
    timezone: _Timezone = None,
    runner: _Runner = RunnerChoice.inline,
    ray_address: _RayAddress = None,
    notify: _Notify = None,
    debug: _Debug = False,
) -> None:
    """Run the two deployments on this machine when they are due, without work pool and worker."""
    request = _read_request(
        config,
        cron,
        timezone,
        runner,
        ray_address,
        source=source,
        out=out,
        table=table,
        query=query,
    )
    from ecomintent_batch.flows.deployments import serve_here

    serve_here(request, notify=notify)


def _read_request(
    config: Path | None,
    cron: str | None,
    timezone: str | None,
    runner: RunnerChoice,
    ray_address: str | None,
    **flags: Any,
) -> DeploymentRequest:
    from ecomintent_batch.settings import load_settings

    settings = load_settings(
        config, **flags
    )  # before Prefect is loaded: wrong usage is told at once
    from ecomintent_batch.flows.deployments import DeploymentRequest

    return DeploymentRequest(settings, cron, timezone, runner.value, ray_address)
