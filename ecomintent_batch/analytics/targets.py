"""Where tables for dashboards can go."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from ecomintent_batch.errors import UsageError, hide_password

_POSTGRES = ("postgresql://", "postgres://")
_DUCKDB = (".duckdb", ".ddb", ".db")


def check_target(target: str) -> Literal["duckdb", "postgres", "xlsx"]:
    """Return what kind of target a name is of.

    Raises:
        UsageError: It is none.
    """
    suffix = PurePath(target).suffix.lower()
    if target.startswith(_POSTGRES):
        return "postgres"
    if "://" not in target and suffix in (*_DUCKDB, ".xlsx"):
        return "xlsx" if suffix == ".xlsx" else "duckdb"
    raise UsageError(
        f"publish {hide_password(target)}: expected a .duckdb file, a postgresql:// URL or an .xlsx file, found another name"
    )
