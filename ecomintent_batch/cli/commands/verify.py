"""`verify`: proving a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    run_id: Annotated[
        str, typer.Argument(help="A committed run, or 'latest'.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
) -> None:
    """Read a committed run again, and prove that it is whole: files, checksums, rows, columns, sums."""
    from ecomintent_batch.runs.store import open_store
    from ecomintent_batch.runs.verify import verify_committed

    manifest, findings = verify_committed(open_store(out), run_id)
    for finding in findings:
        typer.echo(finding)
    if manifest is None or findings:
        raise typer.Exit(1)
    counts = manifest.counts
    typer.echo(
        f"run {manifest.run_id} is whole: {counts.source_rows:,} source rows = {counts.predictions:,} predictions "
        f"+ {counts.rejects:,} rejects + {counts.skipped:,} skipped"
    )
