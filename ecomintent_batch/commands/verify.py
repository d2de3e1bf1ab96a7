"""`verify`: proving a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    run_id: Annotated[str, typer.Argument(help="A committed run, or 'latest'.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
) -> None:
    """Read a committed run again, and prove that it is whole: files, checksums, rows, columns, sums."""
    from ecomintent_batch.runs import find_run, read_manifest
    from ecomintent_batch.verify import verify_run

    folder = find_run(out, run_id)
    findings = verify_run(folder)
    for finding in findings:
        typer.echo(finding)
    if findings:
        raise typer.Exit(1)
    counts = read_manifest(folder.manifest)["counts"]
    typer.echo(
        f"run {folder.run_id} is whole: {counts['source_rows']:,} source rows = {counts['predictions']:,} predictions "
        f"+ {counts['rejects']:,} rejects + {counts['skipped']:,} skipped"
    )
