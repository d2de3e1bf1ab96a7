"""`run`: the job itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ecomintent_batch.cli.errors import needs_extra
from ecomintent_batch.cli.parameters import Config, Json, Quiet, Source, with_settings

if TYPE_CHECKING:
    from ecomintent_batch.settings import RunSettings

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

    if settings.labels is not None:
        settings = _make_model(settings, quiet=quiet or as_json)
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


def _make_model(settings: RunSettings, *, quiet: bool) -> RunSettings:
    """Return the settings with the model of --labels, made now where it is not kept; what is weak in it goes to stderr."""
    with needs_extra("train"):
        from ecomintent_batch.cli.labels import print_label_model
        from ecomintent_batch.training.label_cache import with_labels
    return with_labels(
        settings,
        lambda text: None if quiet else typer.echo(text, err=True),
        lambda report, folder: None if quiet else print_label_model(report, folder, err=True),
    )
