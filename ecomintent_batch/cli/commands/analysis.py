"""`query` and `report`: looking at what has run."""

from __future__ import annotations

import sys
from typing import Annotated, BinaryIO

import typer

from ecomintent_batch.cli.choices import TableFormat
from ecomintent_batch.cli.parameters import Json, Out, RunId, describe
from ecomintent_batch.options import OUT


def query(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A query of sql/, or a .sql file; without it they are listed.", show_default=False
        ),
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of a parameter; repeatable.")
    ] = None,
    out: Out = OUT,
    run: Annotated[
        str | None,
        typer.Option(help=describe("One run, or 'latest'.", "all of them"), show_default=False),
    ] = None,
    every_run: Annotated[
        bool,
        typer.Option(
            "--every-run",
            help="Count a ticket once for each run that labelled it, not only in its latest run.",
        ),
    ] = False,
    form: Annotated[
        TableFormat, typer.Option("--format", help="How the rows are printed.")
    ] = "table",
    as_json: Json = False,
) -> None:
    """Run a query over the committed runs; without a name, list them."""
    from ecomintent_batch.analytics.queries import list_queries, run_query
    from ecomintent_batch.cli.printing import print_json, print_queries, print_rows

    if name is None:
        print_json(list_queries()) if as_json else print_queries(list_queries())
        return
    rows = run_query(name, out, sets=sets or [], run_id=run, every_run=every_run)
    form = "json" if as_json else form
    if form == "table":
        print_rows(rows.pl())
    elif form == "csv":
        from ecomintent_batch.analytics.summaries import neutralise_formulas

        typer.echo(neutralise_formulas(rows.pl()).write_csv(), nl=False)
    elif form == "json":
        typer.echo(rows.pl().write_json())
    else:
        rows.pl().write_parquet(_binary_stdout())


def report(run_id: RunId = None, out: Out = OUT) -> None:
    """Make the report of a run again, and print its path."""
    from ecomintent_batch.analytics.report import make_report_again

    typer.echo(make_report_again(out, run_id))


def _binary_stdout() -> BinaryIO:
    from ecomintent_batch.errors import UsageError

    if sys.stdout.isatty():
        raise UsageError(
            "--format parquet: expected a file or a program, found a terminal; redirect it: > rows.parquet"
        )
    return sys.stdout.buffer
