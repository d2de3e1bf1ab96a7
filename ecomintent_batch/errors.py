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
It never holds ticket text, and never a password.
"""


class EcomIntentError(Exception):
    """Base of the tree above; `str()` of it is the one line that users see."""

    exit_code = 1


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
