"""How an error ends a command: one line on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

INTERRUPTED, TERMINATED = 130, 143  # exit codes: 128 plus the number of the signal
_WrongUsage: Any = typer.BadParameter.__mro__[
    2
]  # ClickException, of the click that typer brings along


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
        _fail(program, f"interrupted{on_interrupt}", TERMINATED if terminated else INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except typer.Abort:
        _fail(program, "interrupted", INTERRUPTED)
    except Exception as error:
        if isinstance(error, _WrongUsage):
            found = hide_password(error.format_message())
            if "\n" not in found:
                _fail(
                    program,
                    f"{found[0].lower()}{found[1:].rstrip('.')}; see {program} --help",
                    error.exit_code,
                )
            error.show()  # no command at all: the help
            sys.exit(error.exit_code)
        if debug:
            raise
        _fail(program, f"{without_text(error)}; run again with --debug, and report it", 1)


def _interrupt_on_sigterm() -> list[int]:
    """Make SIGTERM raise KeyboardInterrupt, and return the list in which it leaves its mark: typer drops what is raised."""
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
