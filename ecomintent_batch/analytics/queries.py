"""The queries of `sql/` by name, with their parameters filled in from what is known of the runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import duckdb

from ecomintent_batch.analytics.views import open_views, read_sql, sql_folder
from ecomintent_batch.errors import UsageError
from ecomintent_batch.runs.catalog import pick_run
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.storage.location import Location

_NEEDED = ("time_column", "by_column", "customer_column")
# Only where they are given, not those of the newest run.
_OPTIONAL = {
    "unusual_days": ("by_column",),
    "volume_by_intent_per_period": ("by_column",),
    "typical_tickets": ("by_column",),
}
_UNNEEDED = {"typical_tickets": ("time_column",)}
_PARAMETER = re.compile(r"getvariable\('(\w+)'\)")
_WORD, _COMMENT = re.compile(r"\w+"), re.compile(r"--.*")
_OF_VIEWS = ("out", "run_id", "latest")


def list_queries() -> dict[str, str]:
    """Return the first sentence of each query by its name."""
    names = sorted(path.stem for path in sql_folder().glob("*.sql") if path.stem != "views")
    return {name: read_sql(name).partition("\n")[0].removeprefix("-- ") for name in names}


def run_query(
    name: str,
    out: Location,
    *,
    sets: Sequence[str] = (),
    run_id: str | None = None,
    every_run: bool = False,
) -> duckdb.DuckDBPyRelation:
    """Run a query by its name, or a file, over one run or all; of all, each ticket counts once unless `every_run`.

    Raises:
        UsageError: no such query, file or parameter, or one that is needed is missing.
        RunStateError: no such run.
    """
    run = partial(_run_once, name, out, sets=sets, run_id=run_id, every_run=every_run)
    try:
        return run()
    except (
        duckdb.IOException
    ):  # a file that was merged, or cleaned away, since the runs were listed
        try:
            return run()
        except duckdb.IOException as error:
            raise _explain(name, error) from None


def _run_once(
    name: str, out: Location, *, sets: Sequence[str], run_id: str | None, every_run: bool
) -> duckdb.DuckDBPyRelation:
    text, given = _read_query(name), dict(_split(one) for one in sets)
    known = sorted(set(_PARAMETER.findall(text)) - set(_OF_VIEWS))
    for parameter in given:
        if parameter not in known:
            raise UsageError(
                f"--set {parameter}: expected a parameter of {name}, which has {', '.join(known) or 'none'}"
            )
    store = open_store(out)
    manifests = store.manifests()
    if run_id is not None:
        run_id = pick_run(store.location, [run.run_id for run in manifests], run_id)
    latest = run_id is None and not every_run and len(manifests) > 1
    manifests = [run for run in manifests if run_id in (None, run.run_id)]
    usual = _usual_columns(manifests)
    variables: dict[str, str | list[str] | None] = {
        parameter: given.get(parameter, usual.get(parameter)) for parameter in known
    }
    optional = _OPTIONAL.get(name, ())
    variables |= {column: given.get(column) for column in optional}
    free = (*optional, *_UNNEEDED.get(name, ()))
    for column in _NEEDED:
        if column in known and column not in free and variables[column] is None:
            raise UsageError(
                f"{name}: expected the column to look at, found no --set {column}=...; give a kept column"
            )
    connection = open_views(
        store,
        manifests,
        {
            **variables,
            "out": store.location,
            "run_id": run_id,
            "latest": "true" if latest else None,
        },
        views=_find_views(text),
    )
    try:
        rows = connection.sql(text)
        if rows is None:
            raise UsageError(f"{name}: expected a statement that returns rows, found none")
        return rows.execute()
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise _explain(name, error) from None


def _find_views(text: str) -> set[str]:
    """Return the tables that a query reads; all its words if DuckDB cannot parse it before the views are there."""
    try:
        with duckdb.connect() as connection:
            return {name.lower() for name in connection.get_table_names(text)}
    except duckdb.Error:
        return set(_WORD.findall(_COMMENT.sub("", text).lower()))


def _read_query(name: str) -> str:
    if name in list_queries():
        return read_sql(name)
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"{name}: expected a query or a .sql file, found neither; ecomintent-batch query lists them"
        ) from None


def _split(pair: str) -> tuple[str, str]:
    parameter, sign, value = pair.partition("=")
    if not sign or not parameter:
        raise UsageError(f"--set {pair}: expected name=value")
    return parameter.strip(), value


def _usual_columns(manifests: Sequence[Manifest]) -> dict[str, str | list[str] | None]:
    """Return what the newest run says of its columns, and of what a ticket costs."""
    if not manifests:
        return {}
    newest = manifests[-1]
    by = newest.settings.by
    return {
        "time_column": newest.columns.kept_time,
        "by_column": newest.columns.kept[by[0]] if by else None,
        "by_columns": [newest.columns.kept[name] for name in by],
        "minutes_per_ticket": _to_text(newest.settings.minutes_per_ticket),
        "cost_per_ticket": _to_text(newest.settings.cost_per_ticket),
    }


def _to_text(number: float | None) -> str | None:
    return None if number is None else str(number)


def _explain(name: str, error: duckdb.Error) -> UsageError:
    """Return the first line of what DuckDB says, but not where that may quote a value of a ticket."""
    said = (
        "a value of a column or of --set is not of the type needed"
        if isinstance(error, duckdb.DataError)
        else str(error)
    )
    return UsageError(f"{name}: expected a query that runs, found: {said.partition(chr(10))[0]}")
