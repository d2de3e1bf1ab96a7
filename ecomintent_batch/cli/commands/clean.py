"""`clean`: removing what no run needs any more."""

from __future__ import annotations

from typing import Annotated

import typer

from ecomintent_batch.cli.parameters import Json, Out, Quiet, option
from ecomintent_batch.options import OUT


def clean(
    out: Out = OUT,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0, help="Also remove committed runs older than N days.", show_default=False
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove; without it, only list what would be removed.")
    ] = False,
    lock_timeout: Annotated[float, option("lock_timeout")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List or remove interrupted runs and what crashes have left in --out; never anything of a running job."""
    from ecomintent_batch.runs.compaction import compact_runs
    from ecomintent_batch.runs.store import open_store

    store, silent = open_store(out), quiet or as_json
    with store.hold_for_cleaning(lock_timeout, lambda text: typer.echo(text, err=True)):
        leftovers = store.leftovers(older_than)
        for leftover in leftovers:
            if not silent:
                typer.echo(f"{leftover.location}  {leftover.what}, {leftover.n_bytes:,} bytes")
        if yes:
            for leftover in leftovers:
                store.remove(leftover)
            compact_runs(store, lambda text: None, only_removed=True)
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        rows = [
            {"path": str(one.location), "what": one.what, "bytes": one.n_bytes} for one in leftovers
        ]
        print_json({"removed": yes, "leftovers": rows})
    elif not silent and not leftovers:
        typer.echo(f"Nothing to remove in {store.location}.")
    elif not silent and not yes:
        typer.echo("Nothing was removed: add --yes.")
