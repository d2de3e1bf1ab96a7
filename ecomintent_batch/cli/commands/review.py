"""`review`: a sheet of tickets for people to label, and what their labels say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ecomintent_batch.cli.parameters import Json, Out, Quiet, describe
from ecomintent_batch.options import OUT


def export_sheet(
    sheet: Annotated[Path, typer.Argument(help="New .csv or .xlsx file.")] = Path("review.csv"),
    run: Annotated[
        str | None, typer.Option(help=describe("The run.", "the latest"), show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Source of the run: gives the messages of a run without --keep-text.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        int, typer.Option(min=0, help="Tickets drawn at random, to measure the accuracy.")
    ] = 100,
    uncertain: Annotated[
        int, typer.Option(min=0, help="Tickets with the lowest confidence.")
    ] = 100,
    disagreeing: Annotated[
        int, typer.Option(min=0, help="Tickets that another model labels otherwise.")
    ] = 50,
    drifting: Annotated[int, typer.Option(min=0, help="Tickets from unusual days.")] = 50,
    topic: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Only the tickets of this topic, the nearest to its middle first, each message once.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Out = OUT,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a sheet of tickets with an empty column for the label."""
    sizes = {
        "control": control,
        "disagreeing": disagreeing,
        "drifting": drifting,
        "uncertain": uncertain,
    }
    from ecomintent_batch.analytics.review import export_review
    from ecomintent_batch.cli.printing import print_json, print_review_sheet

    rows = export_review(out, sheet, run_id=run, source=source, sizes=sizes, topic=topic, seed=seed)

    if as_json:
        counts = dict(rows.group_by("reason", maintain_order=True).len().iter_rows())
        print_json({"sheet": str(sheet), "tickets": counts})
    elif not quiet:
        print_review_sheet(rows, sheet)


def import_sheet(
    sheet: Annotated[Path, typer.Argument(help="The sheet with labels.")] = Path("review.csv"),
    into: Annotated[
        Path,
        typer.Option(
            help="Folder to train on: labelled.parquet, control.parquet and accuracy.json; tickets add up."
        ),
    ] = Path("reviewed"),
    rest_is_right: Annotated[
        bool, typer.Option("--rest-is-right", help="Take rows without a label as right.")
    ] = False,
    out: Out = OUT,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read the labels: print how often the model is right, and write tickets to train on.

    A label `ok` says that top_intent is right.
    """
    from ecomintent_batch.analytics.review import import_review
    from ecomintent_batch.cli.printing import print_json, print_review

    review = import_review(out, sheet, into, rest_is_right=rest_is_right)
    if as_json:
        print_json(json.loads((into / "accuracy.json").read_text(encoding="utf-8")))
    elif not quiet:
        print_review(review, into)
