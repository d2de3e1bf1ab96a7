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
    from tempfile import TemporaryDirectory

    from ecomintent_batch.runs.catalog import find_run
    from ecomintent_batch.runs.publishing import fetch_run
    from ecomintent_batch.runs.records import read_manifest
    from ecomintent_batch.runs.verify import verify_run
    from ecomintent_batch.storage.s3 import Store, as_url

    with TemporaryDirectory(prefix="ecomintent-verify-") as fetched:
        if url := as_url(str(out)):
            out, run_id = Path(fetched), fetch_run(Store(url), run_id, Path(fetched))
        folder = find_run(out, run_id)
        findings = [finding.replace(fetched, url or fetched) for finding in verify_run(folder)]
        counts = None if findings else read_manifest(folder.manifest).counts
    for finding in findings:
        typer.echo(finding)
    if counts is None:
        raise typer.Exit(1)
    typer.echo(
        f"run {folder.run_id} is whole: {counts.source_rows:,} source rows = {counts.predictions:,} predictions "
        f"+ {counts.rejects:,} rejects + {counts.skipped:,} skipped"
    )
