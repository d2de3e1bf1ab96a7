"""`review`: tickets out to people, and their labels back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecomintent_batch.cli.commands.choices import needs_extra

app = typer.Typer(
    help="Let people label the tickets most worth it, and learn from them.", no_args_is_help=True
)


@app.command("export")
def export_sheet(
    sheet: Annotated[Path, typer.Argument(help="New .csv or .xlsx file.")] = Path("review.csv"),
    run: Annotated[
        str | None, typer.Option(help="The run. [default: the newest]", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="The run's source, for the messages of a run without --keep-text.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        int, typer.Option(min=0, help="Tickets drawn at random; they measure the accuracy.")
    ] = 100,
    uncertain: Annotated[int, typer.Option(min=0, help="The least sure tickets.")] = 100,
    disagreeing: Annotated[
        int, typer.Option(min=0, help="Tickets of which another model says otherwise.")
    ] = 50,
    drifting: Annotated[int, typer.Option(min=0, help="Tickets of unusual days.")] = 50,
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a sheet with a column for the label."""
    sizes = {
        "control": control,
        "disagreeing": disagreeing,
        "drifting": drifting,
        "uncertain": uncertain,
    }
    with needs_extra("review"):
        from ecomintent_batch.analytics.review import export_review
        from ecomintent_batch.cli.printing import print_review_sheet

        rows = export_review(out, sheet, run_id=run, source=source, sizes=sizes, seed=seed)
    print_review_sheet(rows, sheet)


@app.command("import")
def import_sheet(
    sheet: Annotated[Path, typer.Argument(help="The sheet with labels.")] = Path("review.csv"),
    into: Annotated[
        Path, typer.Option(help="Folder for labelled.parquet, control.parquet and accuracy.json.")
    ] = Path("reviewed"),
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Read the labels: how often the model is right, and tickets to train on."""
    with needs_extra("review"):
        from ecomintent_batch.analytics.review import import_review
        from ecomintent_batch.cli.printing import print_review

        print_review(import_review(out, sheet, into))
