"""Everything this package raises on purpose.

EcomIntentError           exit code 1
├── UsageError            exit code 2: options that contradict each other
├── SourceError           the source cannot be opened or read
│   └── ColumnError       a column is missing, or cannot be detected by its name
├── ModelError            a model folder lacks a file, or a file is not what it should be
├── DeviceError           the device that was asked for does not exist
├── OutputError           --out cannot be written, or another job holds it
├── RejectedRowsError     more rows were rejected than --max-reject-ratio allows
└── RunStateError         the files on disk contradict the plan of the run

Each message is one line: `where: expected …, found …; what to do`. It never holds ticket text or a password:
the two functions at the end see to that.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

_MESSAGE = re.compile(
    r"(?P<where>.*?): expected (?P<expected>.*?)(?:, found:? (?P<found>.*?))?(?:; (?P<remedy>.*))?",
    re.DOTALL,
)
_OTHER_MESSAGE = re.compile(r"(?P<where>.*?): (?P<found>.*?)(?:; (?P<remedy>.*))?", re.DOTALL)
# To the last @, not to the first / or #: a password that should have been percent-encoded is hidden whole too.
_CREDENTIALS = re.compile(r"(?<=://)([^:@/]*):(?!\d+(?:[/?#]|$)).*@")
_SECRET_OPTIONS = re.compile(r"(?i)([?&][^=&]*(?:pass|secret|key|token)[^=&]*)=[^&]*")


class EcomIntentError(Exception):
    """Base of the tree above; `str()` of it is the one line that users see.

    >>> error = SourceError("tickets.csv: expected a readable file, found: Permission denied; check its mode")
    >>> error.where, error.expected, error.found, error.remedy
    ('tickets.csv', 'a readable file', 'Permission denied', 'check its mode')

    Attributes:
        transient: Whether trying again, without any change, can help.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient

    @property
    def where(self) -> str | None:
        """The file, URL, column or option that the error is about."""
        return self._part("where")

    @property
    def expected(self) -> str | None:
        """What was expected there."""
        return self._part("expected")

    @property
    def found(self) -> str | None:
        """What was there instead."""
        return self._part("found")

    @property
    def remedy(self) -> str | None:
        """What to do, where one thing is known to help."""
        return self._part("remedy")

    def _part(self, name: str) -> str | None:
        parts = _MESSAGE.fullmatch(str(self)) or _OTHER_MESSAGE.fullmatch(str(self))
        return parts.groupdict().get(name) if parts else None


class UsageError(EcomIntentError):
    """Options that contradict each other."""

    exit_code = 2


class SourceError(EcomIntentError):
    """The source cannot be opened or read."""


class ColumnError(SourceError):
    """A column is missing, or cannot be detected by its name."""


class ModelError(EcomIntentError):
    """A model folder lacks a file, or a file is not what it should be."""


class DeviceError(EcomIntentError):
    """The device that was asked for does not exist."""


class OutputError(EcomIntentError):
    """`--out` cannot be written, or another job holds it."""


class RejectedRowsError(EcomIntentError):
    """More rows were rejected than the run allows."""


class RunStateError(EcomIntentError):
    """The files on disk contradict the plan of the run."""


def describe_write_error(out: Path | str, error: OSError) -> OutputError:
    """Return the error of a file of OUT that could not be written; transient where room, or a mount, may come back."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return OutputError(
        f"{out}: expected room to write, found: {reason}; make room, and run the same command",
        transient=error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS),
    )


def hide_password(location: str) -> str:
    """Return a URL with its password, and every option that could hold one, replaced by `***`."""
    if "://" not in location:
        return location
    return _SECRET_OPTIONS.sub(r"\1=***", _CREDENTIALS.sub(r"\1:***@", location))


class UnexpectedError(RuntimeError):
    """An error outside the tree, reduced to its type and location."""


def without_text(error: BaseException) -> UnexpectedError:
    """Return type and location of an error outside the tree: its text could hold anything, tickets included."""
    if isinstance(error, UnexpectedError):
        return error
    trace, location = error.__traceback__, "?"
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if {"ecomintent_batch", "flows"}.intersection(file.parts):
            location = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return UnexpectedError(f"unexpected {type(error).__name__} in {location}")
