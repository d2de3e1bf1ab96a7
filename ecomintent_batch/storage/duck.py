"""DuckDB, whatever it is asked: how a path is written so that it is not taken for a glob."""

from __future__ import annotations

import re


def escape_glob(path: str) -> str:
    """Return a glob that matches this one path: DuckDB takes every name for a glob."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)
