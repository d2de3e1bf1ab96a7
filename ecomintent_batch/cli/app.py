"""The command line: its commands, its exit codes, and how it prints errors."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ecomintent_batch.cli.commands import (
    analysis,
    bench,
    clean,
    compact,
    deploy,
    publish,
    review,
    run,
    runs,
    training,
    verify,
)
from ecomintent_batch.cli.errors import INTERRUPTED, one_line_errors
from ecomintent_batch.cli.parameters import with_debug

app = typer.Typer(
    help="Label the intents of support tickets in batch: exports in, labelled Parquet and volumes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    run.run,
    runs.runs,
    analysis.query,
    analysis.report,
    analysis.topics,
    publish.publish,
    verify.verify,
    clean.clean,
    compact.compact,
    training.dataset,
    training.train,
    training.evaluate,
    training.export,
    deploy.deploy,
    deploy.serve,
    deploy.deployments,
    deploy.undeploy,
    bench.bench,
)
for _command in _COMMANDS:
    app.command()(with_debug(_command))

_review = typer.Typer(
    help="Let people label selected tickets, and learn from their labels.", no_args_is_help=True
)
_review.command("export")(with_debug(review.export_sheet))
_review.command("import")(with_debug(review.import_sheet))
app.add_typer(_review, name="review")


@app.callback()
@with_debug
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from ecomintent_batch import __version__

        typer.echo(f"ecomintent-batch {__version__}")
        raise typer.Exit


def _check_resume(arguments: list[str]) -> None:
    """Refuse --resume together with its opposite: of a flag given both ways, the parser takes the last."""
    opposite = next((flag for flag in ("--restart", "--new") if flag in arguments), None)
    if opposite and "--resume" in arguments:
        from ecomintent_batch.errors import UsageError

        raise UsageError(
            f"--resume and {opposite}: expected one of them, found both; leave one out"
        )


def main() -> None:
    """Run the command line."""
    resumable = "; run the same command again to resume" if "run" in sys.argv[1:3] else ""
    with one_line_errors("ecomintent-batch", debug="--debug" in sys.argv, on_interrupt=resumable):
        _check_resume(sys.argv)
        code: Any = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer returns the code instead of the KeyboardInterrupt
            raise KeyboardInterrupt
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
