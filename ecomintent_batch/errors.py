"""Everything this package raises on purpose.

EcomIntentError           exit code 1
├── UsageError            exit code 2: options that contradict each other
├── SourceError           the source cannot be opened or read
│   └── ColumnError       a column is missing, or cannot be told by its name
├── ModelError            a model folder lacks a file, or a file is not what it should be
├── DeviceError           the device asked for is not there
├── OutputError           OUT cannot be written, or another job holds it
├── RejectedRowsError     more rows were rejected than --max-reject-ratio allows
└── RunStateError         what is on disk contradicts the plan of the run

Each message is one line: where, what was expected, what was found, what to do.
It never holds ticket text, and never a password: the two functions at the end see to that.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TypeVar

E = TypeVar("E", bound="EcomIntentError")


# To the last @, not to the first / or #: a password that should have been percent-encoded is hidden whole too.
_CREDENTIALS = re.compile(r"(?<=://)([^:@/]*):(?!\d+(?:[/?#]|$)).*@")
_SECRET_OPTIONS = re.compile(r"(?i)([?&][^=&]*(?:pass|secret|key|token)[^=&]*)=[^&]*")


class EcomIntentError(Exception):
    """Base of the tree above; `str()` of it is the one line that users see.

    Attributes:
        transient: the same step may succeed if it is tried again (a lost connection, a full disk); set per instance.
    """

    exit_code = 1
    transient: bool = False


class UsageError(EcomIntentError):
    """Options that contradict each other."""

    exit_code = 2


class SourceError(EcomIntentError):
    """The source cannot be opened or read."""


class ColumnError(SourceError):
    """A column is missing, or cannot be told by its name."""


class ModelError(EcomIntentError):
    """A model folder lacks a file, or a file is not what it should be."""


class DeviceError(EcomIntentError):
    """The device asked for is not there."""


class OutputError(EcomIntentError):
    """OUT cannot be written, or another job holds it."""


class RejectedRowsError(EcomIntentError):
    """More rows were rejected than the run allows."""


class RunStateError(EcomIntentError):
    """What is on disk contradicts the plan of the run."""


def mark_transient(error: E) -> E:
    """Say of an error that trying again may help, and return it."""
    error.transient = True
    return error


def describe_write_error(out: Path | str, error: OSError) -> OutputError:
    """Return the line about a file of OUT that could not be written; transient where room, or a mount, may come back."""
    found = os.strerror(error.errno) if error.errno else type(error).__name__
    described = OutputError(
        f"{out}: expected room to write, found: {found}; make room, and run the same command"
    )
    described.transient = error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS)
    return described


def hide_password(location: str) -> str:
    """Return a URL with its password, and every option that could hold one, replaced by `***`."""
    if "://" not in location:
        return location
    return _SECRET_OPTIONS.sub(r"\1=***", _CREDENTIALS.sub(r"\1:***@", location))


class UnexpectedError(RuntimeError):
    """An error outside the tree, told by its kind and place."""


def without_text(error: Exception) -> UnexpectedError:
    """Return what may be told of an error outside the tree: its text could hold anything, tickets included."""
    if isinstance(error, UnexpectedError):
        return error
    trace, place = error.__traceback__, "?"
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if {"ecomintent_batch", "flows"}.intersection(file.parts):
            place = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return UnexpectedError(f"unexpected {type(error).__name__} in {place}")
