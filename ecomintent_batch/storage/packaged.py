"""Files that ship with the package and are not Python: the SQL queries, the embedded model, the Prefect declaration."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def packaged_path(name: str) -> Path:
    """Return the path of a file or folder of the package; in a checkout, `sql` and `flows` are at the top level.

    Args:
        name: relative to the package, as in `models/nine_intents` or `sql`.
    """
    package = Path(str(files("ecomintent_batch")))
    inside = package / name
    return inside if inside.exists() else package.parent / name
