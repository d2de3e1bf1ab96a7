"""Batch intent labels for support tickets: exports in, labelled Parquet and volumes out.

>>> from ecomintent_batch import classify
>>> classify(["Where is my parcel?"])["intent"][0]
'WISMO'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecomintent_batch.api import classify, list_runs, query, run
    from ecomintent_batch.errors import (
        ColumnError,
        DeviceError,
        EcomIntentError,
        ModelError,
        OutputError,
        RejectedRowsError,
        RunStateError,
        SourceError,
        UsageError,
    )
    from ecomintent_batch.pipeline import RunResult
    from ecomintent_batch.progress import Progress
    from ecomintent_batch.settings import RunSettings

__version__ = "0.1.0"
__all__ = [
    "ColumnError",
    "DeviceError",
    "EcomIntentError",
    "ModelError",
    "OutputError",
    "Progress",
    "RejectedRowsError",
    "RunResult",
    "RunSettings",
    "RunStateError",
    "SourceError",
    "UsageError",
    "classify",
    "list_runs",
    "query",
    "run",
]
_MODULES = {
    **dict.fromkeys(("run", "classify", "list_runs", "query"), "api"),
    "Progress": "progress",
    "RunResult": "pipeline",
    "RunSettings": "settings",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: `import ecomintent_batch` itself loads nothing else."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
