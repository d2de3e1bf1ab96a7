"""`query`, `report` and `topics`: looking at what has run."""

from __future__ import annotations

import sys
from typing import Annotated, BinaryIO

import typer

from ecomintent_batch.cli.choices import TableFormat
from ecomintent_batch.cli.errors import needs_extra
from ecomintent_batch.cli.parameters import Json, Out, Quiet, RunId, describe, option
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


def report(
    run_id: RunId = None,
    last: Annotated[
        str | None,
        typer.Option(
            help="Report the newest days or weeks of all runs, such as 7d or 4w.",
            show_default=False,
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First day of such a report, as in 2026-11-01.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help=describe("Its last day.", "the newest with tickets"), show_default=False),
    ] = None,
    minutes_per_ticket: Annotated[float | None, option("minutes_per_ticket")] = None,
    cost_per_ticket: Annotated[float | None, option("cost_per_ticket")] = None,
    out: Out = OUT,
) -> None:
    """Make the report of a run again, or one of some days over all runs, and print its path."""
    from ecomintent_batch.analytics.period import AskedDays
    from ecomintent_batch.analytics.report import make_report_again

    typer.echo(
        make_report_again(
            out,
            run_id,
            asked=AskedDays(last=last, first=first, to=to),
            minutes_per_ticket=minutes_per_ticket,
            cost_per_ticket=cost_per_ticket,
        )
    )


def topics(
    run_id: RunId = None,
    intent: Annotated[
        list[str] | None,
        typer.Option(
            help=describe(
                "Group the messages whose first choice it is, 'any' for all; repeatable.",
                "those that are OTHER or unsure",
            ),
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=describe("Model whose encoder reads the messages.", "that of the run"),
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    draft: Annotated[
        int | None,
        typer.Option(
            help="Print a taxonomy file with an intent made of this topic, of those that were found before.",
            show_default=False,
        ),
    ] = None,
    out: Out = OUT,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Group what is OTHER or unsure by what it is about, in a run with --keep-text and its history."""
    from ecomintent_batch.cli.printing import print_json, print_topics

    if draft is not None:
        from ecomintent_batch.analytics.history import find_labelled_run
        from ecomintent_batch.analytics.topics import draft_intent
        from ecomintent_batch.runs.store import open_store

        store = open_store(out)
        typer.echo(draft_intent(store, find_labelled_run(store, run_id, with_text=True), draft))
        return
    with needs_extra("topics"):
        from ecomintent_batch.analytics.report import make_topics
        from ecomintent_batch.analytics.topics import TopicOptions

        options = TopicOptions(intents=tuple(intent or ()), model=model, seed=seed)
        found, report_file = make_topics(out, run_id, options)
    if as_json:
        print_json(found.to_dicts())
    elif not quiet:
        print_topics(found, report_file)


def _binary_stdout() -> BinaryIO:
    from ecomintent_batch.errors import UsageError

    if sys.stdout.isatty():
        raise UsageError(
            "--format parquet: expected a file or a program, found a terminal; redirect it: > rows.parquet"
        )
    return sys.stdout.buffer
