"""`publish`: tables that a dashboard reads."""

from __future__ import annotations

from typing import Annotated

import typer

from ecomintent_batch.cli.parameters import Json, Out, Quiet
from ecomintent_batch.options import OUT


def publish(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="A .duckdb file, a postgresql:// URL (set PGPASSWORD), or an .xlsx file.",
            show_default=False,
            metavar="TARGET...",
        ),
    ],
    out: Out = OUT,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write tickets, volumes, findings, topics and runs to where dashboards read them, in one transaction."""
    from ecomintent_batch.analytics.publish import publish_runs
    from ecomintent_batch.analytics.targets import check_target
    from ecomintent_batch.cli.printing import print_json
    from ecomintent_batch.errors import hide_password
    from ecomintent_batch.runs.store import open_store

    store = open_store(out)
    for target in targets:
        check_target(target)
    written = {hide_password(target): publish_runs(store, target) for target in targets}
    if as_json:
        print_json(written)
    elif not quiet:
        for target, rows in written.items():
            counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
            typer.echo(f"{target}: {counts}")
