"""`compact`: few files for thousands of runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ecomintent_batch.cli.parameters import Json, Out, Quiet, option
from ecomintent_batch.options import COMPACT_DAYS, OUT


def compact(
    out: Out = OUT,
    older_than: Annotated[
        float,
        typer.Option(min=0, help="Leave alone the runs of the last N days."),
    ] = COMPACT_DAYS,
    lock_timeout: Annotated[float, option("lock_timeout")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Merge the parts of many small runs into few files; manifests stay, and every query gives the same rows."""
    from ecomintent_batch.runs.compaction import compact_runs
    from ecomintent_batch.runs.store import open_store

    store = open_store(out)

    def note(text: str) -> None:
        if not quiet:
            typer.echo(text, err=as_json)

    with store.hold_for_cleaning(lock_timeout, lambda text: typer.echo(text, err=True)):
        made = compact_runs(store, note, older_than_days=older_than)
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json(
            {
                "files": [file.file for file in made.files] if made else [],
                "runs": sum(len(file.runs) for file in made.files) if made else 0,
            }
        )
    elif made is None:
        note(f"Nothing to merge in {store.location}.")
