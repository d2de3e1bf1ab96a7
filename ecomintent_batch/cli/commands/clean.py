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
    from ecomintent_batch.errors import OutputError
    from ecomintent_batch.runs.cleanup import (
        list_leftovers,
        list_stored_leftovers,
        remove_leftover,
        remove_stored_leftover,
    )
    from ecomintent_batch.runs.lifecycle import lock_out
    from ecomintent_batch.storage.s3 import Store, as_url, work_folder

    url = as_url(str(out))
    folder = work_folder(url) if url else out
    if url is None and not out.is_dir():
        raise OutputError(f"{out}: expected a folder with outputs, found none")
    with lock_out(folder, lock_timeout, lambda text: typer.echo(text, err=True)):
        leftovers = list_leftovers(folder, None if url else older_than)
        for leftover in leftovers:
            typer.echo(f"{leftover.path}  {leftover.what}, {leftover.n_bytes:,} bytes")
            if yes:
                remove_leftover(folder, leftover)
        stored = list_stored_leftovers(Store(url), older_than) if url else []
        for leftover in stored:
            typer.echo(f"{url}/{leftover.path}  {leftover.what}, {leftover.n_bytes:,} bytes")
            if yes:
                remove_stored_leftover(Store(str(url)), leftover)
    if not leftovers and not stored:
        typer.echo(f"Nothing to remove in {url or out}.")
    elif not yes:
        typer.echo("Nothing was removed: add --yes.")
