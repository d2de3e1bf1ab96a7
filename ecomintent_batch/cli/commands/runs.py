"""`runs`: what has run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def runs(
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifests as JSON on stdout.")
    ] = False,
) -> None:
    """List the committed runs."""
    from ecomintent_batch.runs.store import open_store

    store = open_store(out)
    manifests = store.manifests()
    if as_json:
        import json

        typer.echo(json.dumps([manifest.to_json() for manifest in manifests], indent=2))
        return
    from ecomintent_batch.cli.printing import print_runs

    print_runs(store.location, manifests)
