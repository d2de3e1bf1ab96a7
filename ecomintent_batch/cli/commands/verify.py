"""`verify`: proving that a run is whole."""

from __future__ import annotations

import typer

from ecomintent_batch.cli.parameters import Json, Out, Quiet, RunId
from ecomintent_batch.options import OUT


def verify(
    run_id: RunId = None, out: Out = OUT, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Read a committed run again, and prove that it is whole: files, checksums, rows, columns, sums."""
    from ecomintent_batch.runs.store import open_store
    from ecomintent_batch.runs.verify import verify_committed

    store = open_store(out)
    run_id = store.pick(run_id)
    manifest, findings = verify_committed(store, run_id)
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json({"run_id": run_id, "whole": not findings, "findings": findings})
    else:
        for finding in findings:
            typer.echo(finding)
    if manifest is None or findings:
        raise typer.Exit(1)
    counts = manifest.counts
    if not quiet and not as_json:
        typer.echo(
            f"run {run_id} is whole: {counts.source_rows:,} source rows = {counts.predictions:,} predictions "
            f"+ {counts.rejects:,} rejects + {counts.skipped:,} skipped"
        )
