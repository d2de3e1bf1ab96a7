"""`clean`: tidying up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def clean(
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0, help="Committed runs older than so many days go, too.", show_default=False
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without, it is only listed.")
    ] = False,
    lock_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a job in OUT.")
    ] = 0,
) -> None:
    """List, or remove, interrupted runs and what crashes have left in OUT; never anything of a running job."""
    from ecomintent_batch.runs.store import open_store

    store = open_store(out)
    with store.hold_for_cleaning(lock_timeout, lambda text: typer.echo(text, err=True)):
        leftovers = store.leftovers(older_than)
        for leftover in leftovers:
            typer.echo(f"{leftover.location}  {leftover.what}, {leftover.n_bytes:,} bytes")
            if yes:
                store.remove(leftover)
    if not leftovers:
        typer.echo(f"Nothing to remove in {store.location}.")
    elif not yes:
        typer.echo("Nothing was removed: add --yes.")
