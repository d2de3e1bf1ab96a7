"""An error ends a command with one line on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

INTERRUPTED, TERMINATED = 130, 143  # exit codes: 128 plus the number of the signal
# ClickException of the click that typer bundles.
_WrongUsage: Any = typer.BadParameter.__mro__[2]


@contextmanager
def one_line_errors(program: str, *, debug: bool = False, on_interrupt: str = "") -> Iterator[None]:
    """Turn an exception raised inside into one line on stderr and an exit code; SIGTERM has a code of its own."""
    from ecomintent_batch.errors import EcomIntentError, hide_password, without_text

    terminated = _interrupt_on_sigterm()
    try:
        yield
    except EcomIntentError as error:
        if debug:
            raise
        _fail(program, " ".join(str(error).split()), error.exit_code)
    except KeyboardInterrupt:
        _fail(program, f"interrupted{on_interrupt}", TERMINATED if terminated else INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except typer.Abort:
        _fail(program, "interrupted", INTERRUPTED)
    except Exception as error:
        if isinstance(error, _WrongUsage):
            message = hide_password(error.format_message()).replace("Value error, ", "")
            if "\n" in message:  # no command at all: show the help
                error.show()
                sys.exit(error.exit_code)
            message = f"{message[0].lower()}{message[1:].rstrip('.')}; see {program} --help"
            _fail(program, message, error.exit_code)
        if debug:
            raise
        _fail(program, f"{without_text(error)}; run again with --debug, and report it", 1)


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Name the extra of the package that installs a missing module, in one line."""
    from ecomintent_batch.errors import EcomIntentError

    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module == "ecomintent_batch":
            raise
        raise EcomIntentError(
            f"{module}: expected it to be installed, found it missing; pip install 'ecomintent-batch[{name}]'"
        ) from None


def _interrupt_on_sigterm() -> list[int]:
    """Make SIGTERM raise KeyboardInterrupt, and return a list that it appends to: typer drops the exception itself."""
    import signal

    terminated: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:  # noqa: ARG001
        terminated.append(signum)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    return terminated


def _fail(program: str, message: str, code: int) -> None:
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(code)
