"""`--where`: one DuckDB expression over the columns of a source, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from ecomintent_batch.errors import ColumnError, SourceError, UsageError
from ecomintent_batch.ingest.columns import list_names
from ecomintent_batch.storage.duck import connect, first_line

_CLAUSES = ("where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")


def where_columns(expression: str, columns: Sequence[str]) -> list[str]:
    """Check an expression, and return the columns that it reads.

    Raises:
        UsageError: it is not one expression, or holds a query.
        ColumnError: it reads a column that the source does not have.
    """
    found: dict[str, None] = {}
    for reference in _references(_parse(expression)):
        matches = [name for name in columns if name == reference] or [
            name for name in columns if name.lower() == reference.lower()
        ]
        if len(matches) != 1:
            what = "none" if not matches else f"{' and '.join(matches)} equally good"
            raise ColumnError(
                f"--where: expected a column {reference!r}, found {what} among {list_names(columns)}"
            )
        found[matches[0]] = None
    return list(found)


def where_sql(expression: str) -> str:
    """Return the SQL of a checked expression: true or false, false where it is null."""
    return f"coalesce((\n{expression}\n)::BOOLEAN, false)"


def filter_mask(table: pa.Table, expression: str) -> pa.ChunkedArray:
    """Return for which rows of a table a checked expression holds.

    Raises:
        SourceError: it does not fit the values.
    """
    try:
        with connect() as connection:
            connection.register("batch", table)
            query = f"SELECT {where_sql(expression)} AS kept FROM batch"  # noqa: S608 - a checked expression
            mask = connection.sql(query).to_arrow_table().column("kept")
    except duckdb.Error as error:
        raise where_error(error) from None
    if len(mask) != table.num_rows:
        raise UsageError("--where: expected a condition on each row, found one on all of them")
    return mask


def where_error(error: Exception) -> SourceError:
    """Return what DuckDB found wrong with an expression, without the value that it could not convert."""
    reason = re.sub(r"""(['"]).*\1""", r"\1…\1", first_line(error))
    return SourceError(f"--where: expected a condition that fits the columns, found: {reason}")


def _parse(expression: str) -> Any:
    """Return the syntax tree of one expression."""
    if not expression.strip() or expression.rstrip().endswith(";"):
        raise UsageError(
            f"--where: expected one expression, found {expression.strip() or 'nothing'!r}"
        )
    with connect() as connection:
        text = f"SELECT (\n{expression}\n) FROM source"  # noqa: S608 - it is parsed only
        try:
            serialized = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
        except duckdb.Error as error:
            raise UsageError(
                f"--where: expected one expression, found: {first_line(error)}"
            ) from None
    tree = json.loads(serialized[0] if serialized else "{}")
    if tree.get("error"):
        problem = str(tree.get("error_message", "no expression")).splitlines()[0]
        raise UsageError(f"--where: expected one expression, found: {problem}")
    nodes = [statement["node"] for statement in tree["statements"]]
    node = nodes[0]
    if (
        len(nodes) != 1
        or node["type"] != "SELECT_NODE"
        or len(node["select_list"]) != 1
        or node["from_table"].get("table_name") != "source"
        or node["modifiers"]
        or any(node.get(clause) for clause in _CLAUSES)
    ):
        raise UsageError("--where: expected one expression, found a statement")
    return node["select_list"][0]


def _references(tree: Any) -> Iterator[str]:
    if isinstance(tree, list):
        for item in tree:
            yield from _references(item)
    elif isinstance(tree, dict):
        if tree.get("class") == "SUBQUERY":
            raise UsageError(
                "--where: expected one expression over the columns, found a query in it"
            )
        if tree.get("class") in ("STAR", "WINDOW"):
            raise UsageError(
                "--where: expected one expression over the columns of a row, found * or a window"
            )
        if tree.get("class") == "COLUMN_REF":
            yield tree["column_names"][0]
        for value in tree.values():
            yield from _references(value)
