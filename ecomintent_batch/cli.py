"""The command line: what it consists of, its exit codes, and how errors look."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from ecomintent_batch.commands import analysis, bench, clean, deploy, review, run, runs, training, verify

_INTERRUPTED, _TERMINATED = 130, 143
_WrongUsage: Any = typer.BadParameter.__mro__[2]  # ClickException, of the click that typer brings along

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
    verify.verify,
    clean.clean,
    training.dataset,
    training.train,
    training.evaluate,
    training.export,
    deploy.deploy,
    deploy.serve,
    bench.bench,
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(review.app, name="review")


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from ecomintent_batch import __version__

        typer.echo(f"ecomintent-batch {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    resumable = "; the same command goes on from here" if "run" in sys.argv[1:2] else ""
    with one_line_errors("ecomintent-batch", debug="--debug" in sys.argv, on_interrupt=resumable):
        code: Any = app(standalone_mode=False)
        if code == _INTERRUPTED:  # typer has swallowed the KeyboardInterrupt
            raise KeyboardInterrupt
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def one_line_errors(program: str, *, debug: bool = False, on_interrupt: str = "") -> Iterator[None]:
    """Turn what is raised inside into one line on stderr and an exit code; SIGTERM is an interrupt with a code of its own."""
    from ecomintent_batch.errors import EcomIntentError, hide_password, without_text

    terminated = _interrupt_on_sigterm()
    try:
        yield
    except EcomIntentError as error:
        if debug:
            raise
        _fail(program, " ".join(str(error).split()), error.exit_code)
    except KeyboardInterrupt:
        _fail(program, f"interrupted{on_interrupt}", _TERMINATED if terminated else _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except typer.Abort:
        _fail(program, "interrupted", _INTERRUPTED)
    except Exception as error:
        if isinstance(error, _WrongUsage):
            found = hide_password(error.format_message())
            if "\n" not in found:
                _fail(program, f"{found[0].lower()}{found[1:].rstrip('.')}; see {program} --help", error.exit_code)
            error.show()  # no command at all: the help
            sys.exit(error.exit_code)
        if debug:
            raise
        _fail(program, f"{without_text(error)}; run again with --debug, and report it", 1)


def _interrupt_on_sigterm() -> list[int]:
    """Make SIGTERM raise KeyboardInterrupt, and return the list in which it leaves its mark: typer drops what is raised."""
    import signal

    terminated: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:
        terminated.append(signum)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    return terminated


def _fail(program: str, message: str, code: int) -> None:
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
