"""How the times of a column are written, told from its first values.

Times with a zone become UTC, so that the days of a run do not depend on the machine; times without one stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ecomintent_batch.errors import ColumnError, UsageError
from ecomintent_batch.storage.duck import connect

_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
# Two digits of a year come first: %Y would take 26 for the year 26.
_DAY_FIRST, _MONTH_FIRST = ("%d %m %y", "%d %m %Y"), ("%m %d %y", "%m %d %Y")
_NAMED_MONTH = ("%d %b %y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y")
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ")

# Four digits of a year: DuckDB would take 28/09/26 for the year 28. Shopify puts a space before the zone.
_ISO = r"CASE WHEN value ~ '\d{4}\D.*' THEN TRY_CAST(regexp_replace(value, ' ([+-]\d\d:?\d\d)$', '\1') AS TIMESTAMPTZ) END"
# Between 1989 and 2160, in seconds, milliseconds or microseconds: an order number or a 20260928 is none of them.
_EPOCH = """to_timestamp(CASE WHEN number BETWEEN 6e8 AND 6e9 THEN number WHEN number BETWEEN 6e11 AND 6e12 THEN number / 1e3
    WHEN number BETWEEN 6e14 AND 6e15 THEN number / 1e6 END)"""
# value: the text. number: the same as a number. plain: its date as three words behind no weekday, its zone as an offset.
_CAST = r"""
WITH texts AS (SELECT nullif(trim(translate(value::VARCHAR, chr(8239) || chr(160), '  ')), '') AS value FROM batch),
bare AS (SELECT value, regexp_replace(value, '^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? +', '') AS plain FROM texts),
zoned AS (SELECT value, regexp_replace(plain, ' (GMT|UTC|Z)$', ' +0000') AS plain FROM bare),
split AS (SELECT value, regexp_replace(plain, '^(\w+)[-./ ]+(\w+)[-./, ]+(\w+)[ ,]*', '\1 \2 \3 ') AS plain FROM zoned),
spelled AS (SELECT value, trim(plain) AS plain, TRY_CAST(value AS DOUBLE) AS number FROM split)
SELECT ({sql})::TIMESTAMP AS found, value IS NOT NULL AND found IS NULL AS broken FROM spelled
"""


def choose_time_sql(
    values: pa.ChunkedArray, column: str, time_format: str | None
) -> tuple[str | None, str]:
    """Return the SQL expression that `cast_times` needs for these values (None where they are times) and a note for people.

    Raises:
        ColumnError: they are no times, or could be either d/m/Y or m/d/Y.
        UsageError: `time_format` is none.
    """
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return None, ""
    if not any(
        check(values.type)
        for check in (pa.types.is_string, pa.types.is_integer, pa.types.is_floating)
    ):
        raise ColumnError(f"column {column!r}: expected times, found the type {values.type}")
    day_first, month_first = _dates(_DAY_FIRST), _dates(_MONTH_FIRST)
    candidates = {
        _ISO: "",
        day_first: "day before month",
        month_first: "month before day",
        _dates(_NAMED_MONTH): "month by name",
        _strptime("value", _COMPACT): "no separators",
        _EPOCH: "counted from 1970",
    }
    if time_format:
        candidates = {_strptime("value", [time_format]): time_format}
    broken = {sql: _count_broken(values, sql) for sql in candidates}
    # Where nothing fits all values, nine in ten are enough: the others are no times and go to the rejects.
    most = 0.1 * (len(values) - values.null_count)
    found = [sql for sql in candidates if broken[sql] == 0] or [
        sql for sql in candidates if broken[sql] <= most
    ]
    if not found:
        expected = time_format or "ISO times, d/m/Y, m/d/Y or seconds since 1970"
        raise ColumnError(
            f"column {column!r}: expected {expected}, found something else; give --time-format"
        )
    if found[:2] == [day_first, month_first]:
        raise ColumnError(
            f"column {column!r}: expected times, found dates that could be d/m/Y or m/d/Y; give --time-format"
        )
    note = candidates[found[0]]
    return found[0], f"times in {column}: {note}" if note else ""


def cast_times(values: pa.ChunkedArray, sql: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return the times, and a mask of the values that are none; empty texts are no time and not broken."""
    with connect() as connection:
        connection.register("batch", pa.table({"value": values}))
        table = connection.sql(_CAST.format(sql=sql)).to_arrow_table()
    return table.column("found"), table.column("broken")


def _count_broken(values: pa.ChunkedArray, sql: str) -> int:
    try:
        return int(pc.sum(cast_times(values, sql)[1]).as_py() or 0)
    except duckdb.InvalidInputException as error:
        found = str(error).rpartition("specifier ")[2]
        raise UsageError(f"--time-format: expected a strptime format, found {found}") from None


def _dates(dates: tuple[str, ...]) -> str:
    # In one call, DuckDB 1.5.5 gives the offset of one row to the rows behind it that have none.
    zoned = _strptime("plain", [f"{date} %H:%M:%S %z" for date in dates])
    return f"coalesce({_strptime('plain', [''.join(pair) for pair in product(dates, _CLOCKS)])}, {zoned}::TIMESTAMP)"


def _strptime(source: str, formats: Sequence[str]) -> str:
    quoted = ", ".join("'" + text.replace("'", "''") + "'" for text in formats)
    return f"try_strptime({source}, [{quoted}])"
