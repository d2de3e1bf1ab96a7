"""Values that nobody expects, and what must work whatever they are."""

# ruff: noqa: E501 - lists of values

from __future__ import annotations

import itertools
from typing import Any

from ecomintent_batch.analytics.queries import run_query
from ecomintent_batch.analytics.report import make_report_again
from ecomintent_batch.pipeline import run_job

GOOD = ["2026-03-02 10:00:00"] * 600
TIMES = [
    "", " ", "NULL", "\\N", "0000-00-00", "0000-01-01 00:00:00", "0001-01-01", "1753-01-01", "1899-12-30", "1900-01-01", "1970-01-01",
    "9999-12-31 23:59:59.999999", "10000-01-01", "99999-12-31", "294247-01-10 04:00:54", "infinity", "-infinity", "0044-03-15 (BC)",
    "-0044-03-15", "2026-02-30", "2026-13-01", "2026-03-02 25:00", "2026-03-02T10:00+99:99", "now", "today", "epoch", "soon",
    "1e400", "-1", "0", "NaN", "1772445600", "9" * 40, "2026-03-02 10:00:60", "2026-03-02 24:00:00", "٢٠٢٦-٠٣-٠٢", "2026-03-02\u0000",
    "2026-W10-1", "2026-061", "20260302T101112Z", "2026-03-02T10:00:00.123456789123Z", "Mon Mar 02 10:14:00 +0000 2026", "/Date(1772445600000)/",
    "46083.5", "1.7724456e9", "1772445600000000000", "-62135596800", "253402300800", "31/12/99", "00/00/00", "2/29/2025", "12:00 AM", "10:12AM",
    "2026-03-02 10:00 Mars/Phobos", "0000-00-00 00:00:00", "1000-01-01", "2038-01-19 03:14:08", "٪", "=NOW()", "2026-03-02 10:00:00 BC", "{d '2026-03-02'}",
]  # fmt: skip
TEXTS = [
    "", " ", "NULL", "\\N", "nan", "=1+1", "@SUM(A1)", "x" * 70_000, "\x00", "\x1b[31m", "\u202e", "😀" * 300, "a\u0301" * 500, "'; DROP TABLE t; --",
    '"', "''", "{}", "[]", '{"a": 1}', "<b>", "&#0;", "&#x110000;", "\r\n", "\t", ",,,", "\\", "%s %d {x}", "$1", "\ufeff", "\uffff", "-", "0", "1e400",
    "Infinity", "null", "true", "../../etc/passwd", "C:\\x", "\u2028", "ﷺ" * 50,
    "N/A", "(no subject)", "\\n\\n", "\\ud800", "<" * 3000, "&" * 3000, ">" * 3000 + "x", "[" * 2000, "{" * 2000, "(" * 2000 + ")" * 2000, "=?utf-8?b?!!?=",
    "Content-Type: text/plain\n\n", "{\\rtf1 \\u-99999 x}", "--b\nContent-Type: x\n\n--b--", "=\n=\n=3D", "<p" + " a" * 2000, "<!--", "<![CDATA[", "From: a\nTo: b\nSubject: c",
    "On 1 Jan wrote:\n> x", "a:" * 900, "10:00 a: b\n" * 300, "\n" * 3000, " " * 5000, "\u0300" * 500, "\U000e0041" * 50, "𝕨𝕙𝕖𝕣𝕖", "ｗｈｅｒｅ", "\x85", "\x1d\x1e", "SELECT 1",
]  # fmt: skip
IDS = [
    "",
    "0",
    "-0",
    "00",
    "1e400",
    "NaN",
    "inf",
    "9" * 60,
    "1.0",
    "a/b",
    "..",
    "\x00",
    "x" * 5000,
    "'",
    '"',
    "=1+1",
    "é",
    "e\u0301",
    "😀",
    *(
        "NULL",
        "None",
        "1,5",
        "1 234",
        "0x1F",
        "1e3",
        "+1",
        "1_000",
        "٣",
        "-",
        "a\nb",
        "a,b",
        "a;b",
        "\t",
        "\ufeff1",
        "%2e",
        "s3://x",
        "CON",
        "true",
    ),
]
TYPED = [
    "TIMESTAMP 'infinity'", "TIMESTAMP '-infinity'", "TIMESTAMP '0044-03-15 (BC)'", "TIMESTAMP '294247-01-10 04:00:54'",
    "DATE 'infinity'", "DATE '0001-01-01'", "DATE '9999-12-31'", "TIMESTAMPTZ 'infinity'", "TIMESTAMPTZ '0001-01-01 00:00:00+00'",
    "TIMESTAMP_S '9999-12-31 23:59:59'", "TIMESTAMP_MS '1900-01-01'", "TIMESTAMP_NS '1800-01-01'", "TIME '10:00'", "INTERVAL 3 DAY",
    "170141183460469231731687303715884105727::HUGEINT", "'inf'::DOUBLE", "'-inf'::DOUBLE", "'nan'::DOUBLE", "1e308::DOUBLE",
    "99999999999999999999999999999999999999::DECIMAL(38, 0)", "''::BLOB", "'\\xFF\\x00'::BLOB", "[NULL]", "[[1], NULL]", "{'a': {'b': NULL}}",
    "MAP {'a': 1}", "uuid()", "true", "'a'::ENUM ('a', 'b')", "NULL", "'101'::BIT", "-1::TINYINT",
]  # fmt: skip


def hostile_rows() -> list[dict[str, str]]:
    """Return good rows, then one for each hostile value, the other columns going round."""
    rows = [
        {"id": str(i), "body": "where is it", "created_at": time, "brand": "north"}
        for i, time in enumerate(GOOD)
    ]
    ids, texts, times = map(itertools.cycle, (IDS, TEXTS, TIMES))
    rows += [
        {"id": next(ids), "body": next(texts), "created_at": next(times), "brand": next(texts)}
        for _ in range(2 * max(len(IDS), len(TEXTS), len(TIMES)))
    ]
    return rows


def check_out(settings: Any, rows: int | None) -> None:
    """Run, make the report again, query, and run once more in the same OUT; None where lines around the table may go."""
    for _ in range(2):
        result = run_job(settings)
        rows = result.manifest.counts.source_rows if rows is None else rows
        assert result.manifest.counts.source_rows == rows
        assert result.folder.report.exists(), "the report"
        assert result.folder.report.stat().st_size < 400_000
        assert result.manifest.counts.answered == rows
    make_report_again(settings.out)
    assert run_query("volume_by_intent", settings.out).fetchall()
    run_query("review_queue", settings.out).fetchall()
    if result.manifest.columns.time:
        days = run_query("volume_by_intent_per_day", settings.out).fetchall()
        assert sum(row[2] for row in days if isinstance(row[2], int)) <= rows
