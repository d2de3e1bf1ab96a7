"""`run`: the job itself."""

from __future__ import annotations

from typing import Any

import typer

from ecomintent_batch.cli.parameters import Config, Json, Quiet, Source, with_settings

_ALERTED = 3


@with_settings()
def run(
    source: Source,
    *,
    flags: dict[str, Any],
    config: Config = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Label every ticket of SOURCE, and summarise the volumes by intent."""
    from ecomintent_batch.settings import load_settings

    settings = load_settings(config, source=source, **flags)
    from ecomintent_batch.cli.printing import print_json, print_result
    from ecomintent_batch.cli.progress import show_progress
    from ecomintent_batch.pipeline import run_job

    with show_progress(quiet=quiet or as_json) as progress:
        result = run_job(settings, progress)
    if as_json:
        print_json(result.manifest)
    elif not quiet:
        print_result(result)
    if result.summary.alerts:
        for alert in result.summary.alerts:
            typer.echo(f"ecomintent-batch: alert: {alert.message}", err=True)
        raise typer.Exit(_ALERTED)
