"""Detect how the times of a column are written from its first values, and read them.

Times with a zone become UTC, so that the days of a run do not depend on the machine; times without one stay as they are.
A value that is no time never costs its ticket: it becomes null. Words for null, zero dates, infinity and years outside 1 to
9999 count as missing, anything else that cannot be read as broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ecomintent_batch.errors import ColumnError, UsageError
from ecomintent_batch.storage.duck import connect, quote_text

NAMED_FORMATS = ("excel", "s", "ms", "us", "ns")
_BROKEN_SHARE = 0.1  # of the first values may be broken where no way of writing fits all
_NULL_WORDS = (
    "", "-", "--", "---", "?", "0", "0.0", "-1", "null", "(null)", "<null>", "[null]", "\\n", "none", "nil", "nan", "nat",
    "na", "n/a", "#n/a", "undefined", "unknown", "never", "empty", "tbd", "inf", "+inf", "-inf", "infinity", "+infinity",
    "-infinity", "invalid date", "not set", "no date",
)  # fmt: skip
# The year 0 is no year, and MySQL writes 0000-00-00 for a date that is missing.
_ZERO_OR_BC = r"0{1,4}[-/.]0{1,2}[-/.]0{1,4}([ T].*)?|0000-.*|.*\bBC\)?|[-+]?\d{5,}-\d.*"
_ISO = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,9})?( ?Z| UTC| ?[+-]\d\d:?\d\d)?|[T ]\d\d:\d\d)?"
_OFFSETS = {
    "EST": "-0500", "EDT": "-0400", "CST": "-0600", "CDT": "-0500", "MST": "-0700", "MDT": "-0600", "PST": "-0800",
    "PDT": "-0700", "AKST": "-0900", "AKDT": "-0800", "HST": "-1000", "WET": "+0000", "WEST": "+0100", "BST": "+0100",
    "CET": "+0100", "CEST": "+0200", "MEZ": "+0100", "MESZ": "+0200", "EET": "+0200", "EEST": "+0300", "MSK": "+0300",
    "JST": "+0900", "KST": "+0900", "AEST": "+1000", "AEDT": "+1100", "NZST": "+1200", "NZDT": "+1300",
}  # fmt: skip
_MONTHS = {
    "SEPT": "SEP", "JÄN": "JAN", "JANUAR": "JAN", "JÄNNER": "JAN", "FEBRUAR": "FEB", "MÄRZ": "MAR", "MÄR": "MAR", "MRZ": "MAR",
    "MAI": "MAY", "JUNI": "JUN", "JULI": "JUL", "OKT": "OCT", "OKTOBER": "OCT", "DEZ": "DEC", "DEZEMBER": "DEC",
    "JANVIER": "JAN", "JANV": "JAN", "FÉVRIER": "FEB", "FÉVR": "FEB", "FÉV": "FEB", "MARS": "MAR", "AVRIL": "APR", "AVR": "APR",
    "JUIN": "JUN", "JUILLET": "JUL", "JUIL": "JUL", "AOÛT": "AUG", "SEPTEMBRE": "SEP", "OCTOBRE": "OCT", "NOVEMBRE": "NOV",
    "DÉCEMBRE": "DEC", "DÉC": "DEC", "ENERO": "JAN", "ENE": "JAN", "FEBRERO": "FEB", "MARZO": "MAR", "ABRIL": "APR", "ABR": "APR",
    "MAYO": "MAY", "JUNIO": "JUN", "JULIO": "JUL", "AGOSTO": "AUG", "AGO": "AUG", "SEPTIEMBRE": "SEP", "OCTUBRE": "OCT",
    "NOVIEMBRE": "NOV", "DICIEMBRE": "DEC", "DIC": "DEC", "GENNAIO": "JAN", "GEN": "JAN", "FEBBRAIO": "FEB", "APRILE": "APR",
    "MAGGIO": "MAY", "MAG": "MAY", "GIUGNO": "JUN", "GIU": "JUN", "LUGLIO": "JUL", "LUG": "JUL", "SETTEMBRE": "SEP",
    "SET": "SEP", "OTTOBRE": "OCT", "OTT": "OCT", "DICEMBRE": "DEC", "JANEIRO": "JAN", "FEVEREIRO": "FEB", "FEV": "FEB",
    "MARÇO": "MAR", "MAIO": "MAY", "MAI.": "MAY", "JUNHO": "JUN", "JULHO": "JUL", "SETEMBRO": "SEP", "OUTUBRO": "OCT",
    "OUT": "OCT", "NOVEMBRO": "NOV", "DEZEMBRO": "DEC", "JANUARI": "JAN", "FEBRUARI": "FEB", "MAART": "MAR", "MRT": "MAR",
    "MEI": "MAY", "AUGUSTUS": "AUG",
}  # fmt: skip
# What differs between ways of writing one time, in upper case, applied in this order; those of words where there are words.
_OF_WORDS = (
    (r"^/DATE\((-?\d+)([+-]\d{4})?\)/$", r"\1"),  # .NET's JSON
    (r"""^["']|["']$""", ""),
    (r" *[\[(][^\])]*[\])]$", ""),  # (Coordinated Universal Time), [Europe/Paris]
    (r"^(?:MON|TUE|WED|THU|FRI|SAT|SUN)[A-Z]*[.,]* +", ""),
    (r"\b(\d{1,2})(?:ST|ND|RD|TH)\b", r"\1"),
    (r",? +(?:AT|UM|À|@|-|–|—|\|) +(\d{1,2}(?::\d\d| ?[AP]))", r" \1"),
    (r"^(\d{1,2}) DE ([A-ZÇ]+) DE (\d{4})", r"\1 \2 \3"),
    (r"(\d) *([AP])\.? ?M\b\.?", r"\1 \2M"),
    (r"([T ,])(\d{1,2}) ([AP]M)", r"\1\2:00 \3"),
    (r"([T ,]\d{1,2})H(\d\d)", r"\1:\2"),
    (r"(\d|M) *(?:GMT|UTC) *([+-])(\d)$", r"\1 \g20\g300"),
    (r"(?:GMT|UTC) *([+-]\d\d)", r" \1"),
    (r" *([+-]\d\d:?\d\d) +(?:UTC|GMT|[A-Z]{3,5})$", r" \1"),  # Go, Ruby
    (r"(\d|M) *(?:GMT|UTC|ZULU|Z)$", r"\1 +0000"),
    (r"(\d) +(?:GMT|UTC|Z) +(\d{4})$", r"\1 +0000 \2"),
    (r"^([A-Z]{3,9})\.? +(\d{1,2}),? +(\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: [AP]M)?(?: [+-]\d{4})?),? +(\d{4})$", r"\1 \2 \4 \3"),
)  # fmt: skip
_OF_DIGITS = (
    (r"(:\d\d:\d\d)[,:](\d+)", r"\1.\2"),
    (r"(:[0-5]\d):60\b", r"\1:59"),  # a leap second
    (
        r"^(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])[T _]?([01]\d|2[0-4])([0-5]\d)([0-5]\d)(\.\d+)?( ?[+-]\d\d:?\d\d)?$",
        r"\1-\2-\3 \4:\5:\6\7\8",
    ),
    (r"^(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])[T _]?([01]\d|2[0-4])([0-5]\d)$", r"\1-\2-\3 \4:\5"),
    (r"^(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$", r"\1-\2-\3"),
    (r"^(\d{4}-\d\d-\d\d) ?[+-]\d\d:?\d\d$", r"\1"),
    (r"(:\d\d(?:\.\d+)?(?: [AP]M)?) *([+-]\d\d)$", r"\1 \g200"),
    (r"(:\d\d(?:\.\d+)?(?: [AP]M)?) *([+-]\d\d):?(\d\d)$", r"\1 \2\3"),
)  # fmt: skip
_PARTS = (
    r"^(.+?)(?:[T ,]+(\d{1,2}:\d\d(?::\d\d(?:\.\d{1,9})?)?\d*)(?: ([AP]M))?(?: ([+-]\d{4}))?)?$"
)
# Two digits of a year come first: %Y would take 26 for the year 26.
_DATES = {
    "day_first": ("%d %m %y", "%d %m %Y"),
    "month_first": ("%m %d %y", "%m %d %Y"),
    "named": ("%d %b %y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%b %d %y", "%Y %b %d", "%Y %B %d"),
    "iso": ("%Y %m %d", "%Y %m", "%Y %j"),
}  # fmt: skip
_NOTES = {
    "iso": "",
    "day_first": "day before month",
    "month_first": "month before day",
    "named": "month by name",
    "epoch": "counted from 1970",
    "serial": "serial numbers of Excel",
}
# Between 1989 and 2160, in seconds, milliseconds, microseconds or nanoseconds: an order number or a 20260928 is none of them.
_EPOCH = """CASE WHEN number BETWEEN 6e8 AND 6e9 THEN number WHEN number BETWEEN 6e11 AND 6e12 THEN number / 1e3
    WHEN number BETWEEN 6e14 AND 6e15 THEN number / 1e6 WHEN number BETWEEN 6e17 AND 6e18 THEN number / 1e9 END"""
_SERIAL = (
    "CASE WHEN number BETWEEN {low} AND {high} THEN round(number * 864e5) / 1e3 - 2209161600 END"
)
_UNITS = {"s": "1", "ms": "1e3", "us": "1e6", "ns": "1e9"}
_FIRST, _LAST = date(1, 1, 1), date(9999, 12, 31)


@dataclass(frozen=True)
class TimeParser:
    """One way of writing times: `iso`, `day_first` … of `_NOTES`, one of NAMED_FORMATS, or a strptime format."""

    way: str
    is_format: bool = False

    def parse(self, values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
        """Return the times, and how many values are neither a time nor a word for a missing one."""
        if self.is_format or not _is_text(values.type):
            return _parse_slowly(values, self)
        text = values.cast(pa.string())
        if (times := _parse_at_once(text)) is not None:
            return null_impossible(times), 0
        with connect() as connection:
            connection.register("batch", pa.table({"value": text}))
            times = connection.sql(_FAST).to_arrow_table().column("time")
        left = pc.and_(pc.is_null(times), pc.is_valid(text))
        times = null_impossible(times)
        if not pc.any(left).as_py():
            return times, 0
        others, broken = _parse_slowly(text.filter(left), self)
        replaced = pc.replace_with_mask(
            times.combine_chunks(), left.combine_chunks(), others.combine_chunks()
        )
        return pa.chunked_array([replaced]), broken


_FAST = rf"""
SELECT CASE WHEN value ~ '{_ISO}' THEN
    TRY_CAST(regexp_replace(value, ' ([+-]\d\d:?\d\d)$', '\1') AS TIMESTAMPTZ) END::TIMESTAMP AS time
FROM batch
"""  # noqa: S608 - constants of this file


def detect_times(
    values: pa.ChunkedArray, column: str, time_format: str | None
) -> tuple[TimeParser | None, str]:
    """Return how these values are written (None if they are times already) and a note for people.

    Raises:
        ColumnError: they are no times, or could be either d/m/Y or m/d/Y.
        UsageError: `time_format` is not a format.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return None, ""
    if not (_is_text(values.type) or _is_number(values.type) or pa.types.is_null(values.type)):
        raise ColumnError(f"column {column!r}: expected times, found the type {values.type}")
    if time_format:
        return _check_format(values, column, time_format), f"times in {column}: {time_format}"
    counts = {way: TimeParser(way).parse(values)[1] for way in _NOTES}
    if not _are_mostly_fractions(values):  # whole numbers could be numbers of anything
        counts["serial"] = len(values) + 1
    known = len(values) - values.null_count
    fitting = [way for way in _NOTES if counts[way] == 0] or [
        way for way in _NOTES if counts[way] <= _BROKEN_SHARE * known
    ]
    if not fitting:
        raise ColumnError(
            f"column {column!r}: expected ISO times, d/m/Y, m/d/Y or seconds since 1970, found something else; "
            "give --time-format (a strptime format, or excel for Excel's serial numbers)"
        )
    if fitting[:2] == ["day_first", "month_first"] and not _have_dots(values):
        raise ColumnError(
            f"column {column!r}: expected times, found dates that could be d/m/Y or m/d/Y; give --time-format"
        )
    note = _NOTES[fitting[0]]
    return TimeParser(fitting[0]), f"times in {column}: {note}" if note else ""


def _have_dots(values: pa.ChunkedArray) -> bool:
    """Decide whether dates are written 02.03.2026, which nobody does who puts the month first."""
    written = [text for text in map(str, values.drop_null().to_pylist()) if text.strip()]
    return all(re.match(r"\s*\d{1,2}\. ?\d{1,2}\. ?\d{2}", text) for text in written)


def _are_mostly_fractions(values: pa.ChunkedArray) -> bool:
    written = [str(value).replace(",", ".") for value in values.drop_null().to_pylist()]
    numbers = [text for text in written if re.fullmatch(r"\d{5}(\.\d+)?", text)]
    fractions = [text for text in numbers if re.search(r"\.\d*[1-9]", text)]
    return bool(fractions) and 2 * len(fractions) >= len(numbers)


def _check_format(values: pa.ChunkedArray, column: str, time_format: str) -> TimeParser:
    parser = TimeParser(time_format, is_format=True)
    try:
        broken = parser.parse(values)[1]
    except duckdb.InvalidInputException as error:
        wrong = str(error).rpartition("specifier ")[2]
        raise UsageError(
            f"--time-format: expected a strptime format or one of {', '.join(NAMED_FORMATS)}, found {wrong}"
        ) from None
    if broken > _BROKEN_SHARE * (len(values) - values.null_count):
        raise ColumnError(
            f"column {column!r}: expected {time_format}, found something else; give --time-format"
        )
    return parser


def null_impossible(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace times outside the years 1 to 9999 by null: infinity, BC, and what no calendar of Python can hold."""
    kind = times.type
    if pa.types.is_date(kind):
        days = times.cast(pa.date32()) if kind == pa.date32() else times
        low, high = _FIRST, _LAST
        inside = pc.and_(
            pc.greater_equal(days, pa.scalar(low, kind)), pc.less_equal(days, pa.scalar(high, kind))
        )
    else:
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        low_s, high_s = -62135596800, 253402300799
        limit = 2**63 - 1
        numbers = times.cast(pa.int64())
        inside = pc.and_(
            pc.greater_equal(numbers, max(low_s * per_second, -limit)),
            pc.less_equal(numbers, min((high_s + 1) * per_second - 1, limit - 1)),
        )
    if pc.all(inside).as_py() is not False:
        return times
    return pc.if_else(inside, times, pa.scalar(None, kind))


def _parse_at_once(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Read texts that are all plain ISO times, all with a zone or all without; None if one is not."""
    for zone in (None, "UTC"):
        try:
            return text.cast(pa.timestamp("us", zone)).cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            continue
    return None


def _parse_slowly(values: pa.ChunkedArray, parser: TimeParser) -> tuple[pa.ChunkedArray, int]:
    """Read values of every kind: each is rewritten to date, clock, half of the day and zone first."""
    with connect() as connection:
        connection.register("batch", pa.table({"value": values}))
        table = connection.sql(_slow_sql(parser)).to_arrow_table()
    return table.column("time"), pc.sum(table.column("broken")).as_py() or 0


def _slow_sql(parser: TimeParser) -> str:
    text = r"upper(trim(translate(value::VARCHAR, chr(8239) || chr(160) || chr(8722) || chr(9), '  - ')))"
    nulls = ", ".join(quote_text(word.upper()) for word in _NULL_WORDS)
    return f"""
WITH texts AS (SELECT value, {text} AS text FROM batch),
worded AS (
    SELECT *, text IN ({nulls}) OR regexp_full_match(text, {quote_text(_ZERO_OR_BC)}) AS missing,
        CASE WHEN regexp_full_match(text, '[-0-9:., T]*') THEN text ELSE {_rewrite("text", _OF_WORDS)} END AS words FROM texts
),
zoned AS (
    SELECT *, regexp_extract(words, '\\d(?: [AP]M)? ([A-Z]{{3,4}})$', 1) AS abbreviation,
        CASE WHEN abbreviation <> '' THEN {_case("abbreviation", _OFFSETS)} END AS zone FROM worded
),
plain AS (
    SELECT value, missing, 
        {_rewrite("coalesce(left(words, -length(abbreviation)) || zone, words)", _OF_DIGITS)} AS plain
    FROM zoned
),
parted AS (
    SELECT *, regexp_extract(plain, {quote_text(_PARTS)}, ['day', 'clock', 'half', 'zone']) AS parts,
        TRY_CAST(regexp_replace(plain, '^(\\d+),(\\d+)$', '\\1.\\2') AS DOUBLE) AS number FROM plain
),
timed AS (
    SELECT *, regexp_replace(parts.day, '[-./, ]+', ' ', 'g') AS day,
        TRY_CAST(CASE WHEN length(parts.clock) <= 5 THEN parts.clock || ':00' ELSE parts.clock END AS TIME) AS clock
    FROM parted
),
placed AS (
    SELECT *, CASE WHEN parts.clock = '' THEN to_hours(0)
        ELSE to_microseconds(epoch_us(clock))
            + CASE WHEN parts.half = 'PM' AND hour(clock) < 12 THEN to_hours(12)
                WHEN parts.half = 'AM' AND hour(clock) = 12 THEN to_hours(-12) ELSE to_hours(0) END
            - CASE WHEN parts.zone = '' THEN to_hours(0) ELSE to_minutes(
                (left(parts.zone, 1) || '1')::BIGINT * (substr(parts.zone, 2, 2)::BIGINT * 60 + right(parts.zone, 2)::BIGINT)) END
        END AS since_midnight
    FROM timed
),
read AS (SELECT value, missing, {_time_sql(parser)} AS time FROM placed)
SELECT
    CASE WHEN NOT missing AND time BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'
        THEN time END AS time,
    (value IS NOT NULL AND NOT missing AND time IS NULL)::INTEGER AS broken
FROM read
"""  # noqa: S608 - constants of this file and quoted text


def _rewrite(sql: str, rewrites: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in rewrites:
        spelled = replacement.replace(r"\g", "\\")  # RE2 knows one-digit groups only
        sql = f"regexp_replace({sql}, {quote_text(pattern)}, {quote_text(spelled)})"
    return sql


def _case(sql: str, values: Mapping[str, str]) -> str:
    whens = " ".join(f"WHEN {quote_text(k)} THEN {quote_text(v)}" for k, v in values.items())
    return f"CASE {sql} {whens} END"


def _time_sql(parser: TimeParser) -> str:
    if parser.is_format and parser.way not in NAMED_FORMATS:
        return f"try_strptime(value::VARCHAR, {quote_text(parser.way)})::TIMESTAMP"
    if parser.way in _UNITS:
        return _from_seconds(f"number / {_UNITS[parser.way]}")
    if parser.way == "excel":
        return _from_seconds(_SERIAL.format(low=1, high=2958465))
    ways = {
        "epoch": _from_seconds(_EPOCH),
        "serial": _from_seconds(_SERIAL.format(low=32874, high=73050)),
        **{way: _from_date(way, formats) for way, formats in _DATES.items()},
    }
    iso_week = "try_strptime(parts.day, '%G-W%V-%u') + since_midnight"
    return f"coalesce({', '.join([ways[parser.way], ways['iso'], iso_week, ways['named']])})"


def _from_date(way: str, formats: Sequence[str]) -> str:
    listed = ", ".join(map(quote_text, formats))
    if way == "named":
        months = f"coalesce({_case('word', _MONTHS)}, word)"
        english = f"array_to_string(list_transform(string_split(trim(day), ' '), lambda word: {months}), ' ')"
        date = f"coalesce(try_strptime(day, [{listed}]), try_strptime({english}, [{listed}]))"
        return f"(CASE WHEN regexp_matches(day, '[A-Z]') THEN {date} END) + since_midnight"
    guard = r"\d{4} \d{1,3}( \d{1,2})?" if way == "iso" else r"\d{1,2} \d{1,2} \d{2,4}"
    return f"(CASE WHEN regexp_full_match(day, '{guard}') THEN try_strptime(day, [{listed}]) END) + since_midnight"


def _from_seconds(seconds: str) -> str:
    inside = f"({seconds}) BETWEEN -62135596800 AND 253402300799"
    return f"CASE WHEN {inside} THEN make_timestamp(round(({seconds}) * 1e6)::BIGINT) END"


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
