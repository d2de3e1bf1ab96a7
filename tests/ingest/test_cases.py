"""Files as helpdesks, spreadsheets, lakes and databases really write them: found, read, or refused in a line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from ecomintent_batch.errors import ColumnError, EcomIntentError, SourceError, UsageError
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.ingest.columns import PickedColumns, pick_columns
from ecomintent_batch.ingest.extract import extract_shards, plan_reading
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.runs.records import Extraction, read_extraction
from ecomintent_batch.schema import output_names

CSV = "id,body\n1,where is it\n2,cancel it\n"


def pick(source: Source, **flags: Any) -> PickedColumns:
    """Pick the columns as a run does."""
    return pick_columns(source.name, source.columns, nested=source.nested, **flags)


def rows_of(
    location: Path | str,
    tmp_path: Path,
    *,
    time_format: str | None = None,
    flags: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[list[dict[str, Any]], Extraction]:
    """Extract a source as a run does; return its rows with their texts joined, and the account of it."""
    source = open_source(str(location), **options)
    picked = pick(source, **(flags or {}))
    names = output_names(picked.kept, ["WISMO", "OTHER"])
    plan = plan_reading(source, picked, names, time_format)
    folder = tmp_path / "shards"
    paths = extract_shards(source, plan, folder, shard_rows=5000, max_reject_ratio=0)
    tables = [pq.read_table(path) for path, _ in list(paths)]
    done = read_extraction(folder)
    assert done is not None
    rows = [row for table in tables for row in table.to_pylist()]
    assert done.source_rows == len(rows) + done.rejected + done.skipped
    texts = [[row.pop(name) for name in list(row) if name.startswith("_text_")] for row in rows]
    for row, parts in zip(rows, texts, strict=True):
        row["text"] = " | ".join(part or "" for part in parts)
    return rows, done


# Columns (cases 12 to 14, 22)


NAMES = """
id|ticket_id|channel|subject|body_text|stripped_text|created_datetime
    id ticket_id, text subject + body_text, time created_datetime
Ticket id|Subject|Ticket created date|First message body
    id Ticket id, text Subject + First message body, time Ticket created date
message_id|message_body|message_created_at|conversation_id|conversation_created_at
    id conversation_id, text message_body, time message_created_at
Conversation ID|Conversation started at|First user message
    id Conversation ID, text First user message, time Conversation started at
Ticket ID|Ticket name|Ticket description|Create date
    id Ticket ID, text Ticket name + Ticket description, time Create date
hs_object_id|subject|content|createdate
    id hs_object_id, text subject + content, time createdate
Case Number|Subject|Description|Date/Time Opened|Status
    id Case Number, text Subject + Description, time Date/Time Opened
Id|CaseNumber|Subject|Description|CreatedDate
    id CaseNumber, text Subject + Description, time CreatedDate
Summary|Issue key|Issue id|Created|Description|Comment|Comment
    id Issue key, text Summary + Description, time Created
ticketmaskid|ticketid|subject|contents|dateline
    id ticketid, text subject + contents, time dateline
ticket_id|number|subject|body|created
    id ticket_id, text subject + body, time created
Ticket ID|Ticket Subject|Ticket Description|Date of Purchase|Resolution
    id Ticket ID, text Ticket Subject + Ticket Description, time none
tweet_id|author_id|inbound|created_at|text
    id tweet_id, text text, time created_at
Number|Short description|Description|Opened
    id Number, text Short description + Description, time Opened
Date received|Consumer complaint narrative|Complaint ID
    id Complaint ID, text Consumer complaint narrative, time Date received
subject|body|answer|queue
    id none (row numbers), text subject + body, time none
Your question|Name
    id none (row numbers), text Your question, time none
"""
_LINES = [line.strip() for line in NAMES.strip().splitlines()]


@pytest.mark.parametrize(("columns", "expected"), list(zip(_LINES[::2], _LINES[1::2], strict=True)))
def test_the_names_of_helpdesks(columns: str, expected: str) -> None:
    """As their exports and APIs spell them; a column that repeats matters only to who asks for it."""
    assert str(pick_columns("t", columns.split("|"))) == expected


def test_a_subject_alone_is_taken_with_a_warning() -> None:
    """It names the columns among which the message may be."""
    picked = pick_columns("t", ["id", "subject", "story", "agent_reply"])
    assert picked.texts == ("subject",)
    assert "story, agent_reply" in picked.warnings[0]
    assert pick_columns("t", ["id", "subject", "body"]).warnings == ()


def test_row_numbers_stand_in_for_ids(tmp_path: Path) -> None:
    """A source without ids is accepted, with a note."""
    (tmp_path / "t.csv").write_text("subject,body\nLamp,broken\nMug,late\n")
    rows, _ = rows_of(tmp_path / "t.csv", tmp_path)
    assert [row["ticket_id"] for row in rows] == ["0", "1"]
    assert "row numbers are used as ids" in pick(open_source(str(tmp_path / "t.csv"))).notes[0]


NESTED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "Graph": ({"id": "1", "subject": "Lamp", "body": {"contentType": "html", "content": "late"}}, {}, "Lamp | late"),
    "Intercom": ({"id": "1", "source": {"subject": "", "body": "late"}, "parts": {"parts": []}}, {}, " | late"),
    "HubSpot": ({"id": "1", "properties": {"subject": "Lamp", "content": "late"}}, {}, "Lamp | late"),
    "Jira": ({"key": "A-1", "fields": {"summary": "Lamp", "description": "late", "status": {"name": "x"}}}, {}, "Lamp | late"),
    "a path": ({"id": 1, "a": {"b": [{"c": "late"}]}}, {"text_column": ["a.b.0.c"]}, "late"),
    "one leaf": ({"id": {"$oid": "7"}, "body": {"text": "late"}}, {}, "late"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize(("row", "flags", "expected"), NESTED.values(), ids=NESTED)
def test_nested_values_are_read_by_their_path(
    tmp_path: Path, kind: str, row: dict[str, Any], flags: dict[str, Any], expected: str
) -> None:
    """In JSON, in structs, and in text that is JSON, the text and not a dump of it is read."""
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif kind == "csv":
        cells = [json.dumps(v) if isinstance(v, dict) else str(v) for v in row.values()]
        path.write_text(
            f"{'|'.join(row)}\n{'|'.join(c.replace(chr(34), chr(34) * 2).join(chr(34) * 2) for c in cells)}\n"
        )
    else:
        path.write_text(json.dumps(row))
    rows, _ = rows_of(path, tmp_path, flags=flags)
    assert rows[0]["text"] == expected


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_list_of_messages_is_refused_with_the_path(tmp_path: Path, kind: str) -> None:
    """Which of them is the customer's cannot be known."""
    row = {
        "id": "1",
        "comment": [{"author": "a", "body": "late"}, {"author": "b", "body": "sorry"}],
    }
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps(row))
    with pytest.raises(
        ColumnError, match=r"column 'comment', .*give --text-column comment\.0\.body"
    ):
        pick(open_source(str(path)))
    rows, _ = rows_of(path, tmp_path, flags={"text_column": ["comment.0.body"]})
    assert rows[0]["text"] == "late"


@pytest.mark.parametrize(
    ("rows", "flags", "advice"),
    [
        ([{"id": "1", "messages": [{"body": "late"}]}], {"text_column": ["messages.body"]}, "--text-column messages.0.body"),
        ([{"id": "1", "message": {"body": "late"}}], {"text_column": ["message.boddy"]}, "--text-column message.body"),
        ([{"id": "1", "a": {"b": {"text": "late"}}}], {"text_column": ["a.text"]}, "--text-column a.b.text"),
        ([{"id": "1", "message": {"body": "late", "id": "7"}}], {"id_column": "message.ids"}, "--id-column message.id"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_path_that_no_row_has_is_refused_with_the_path(
    tmp_path: Path, kind: str, rows: list[dict[str, Any]], flags: dict[str, Any], advice: str
) -> None:
    """Else every ticket would be empty."""
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        pa.csv.write_csv(
            pa.table({name: [json.dumps(row[name]) for row in rows] for name in rows[0]}), path
        )
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        ColumnError, match=rf"which no row has; it has .*; give {re.escape(advice)}$"
    ):
        rows_of(path, tmp_path, flags=flags)


def test_a_path_that_some_rows_have_is_read(tmp_path: Path) -> None:
    """Be it beyond the rows that are looked at first, or null in all of them."""
    lines = [{"id": str(i), "m": {"note": None}} for i in range(3000)] + [
        {"id": "x", "m": {"body": "late"}}
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows, _ = rows_of(tmp_path / "t.jsonl", tmp_path, flags={"text_column": ["m.body", "m.note"]})
    assert [row["text"] for row in rows if row["text"] != " | "] == ["late | "]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"conversations":[{"id":"1","messages":[{"author":"c","body":"late"}]}]}', "messages.0.body"),
        ('{"id":"1","thread":[{"from":"c","text":"late"}]}', "thread.0.text"),
        ('{"id":"1","tags":[{"name":"x"}],"log":[{"who":"c","message":"late"}]}', "log.0.message"),
        ('{"id":"1","data":{"items":[{"who":"c","message":"late"}]}}', "data.items.0.message"),
    ],
)  # fmt: skip
def test_a_list_that_may_hold_the_text_is_named(tmp_path: Path, text: str, path: str) -> None:
    """Where no column has the text, the error gives the path into a list."""
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ColumnError, match=rf"give --text-column {re.escape(path)}$"):
        pick(open_source(str(tmp_path / "t.json")))


# JSON (cases 15, 23)


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1,"body":"a"}\n{"id":2,"body":"b"}\n',
        '[{"id":1,"body":"a"},{"id":2,"body":"b"}]',
        '[\n  {"id": 1,\n "body": "a"},\n  {"id": 2, "body": "b"}\n]\n',
        '{"tickets":[{"id":1,"body":"a"},{"id":2,"body":"b"}],"count":2,"next_page":null}',
        '{"users":[{"id":9,"name":"x"},{"id":8},{"id":7}],"tickets":[{"id":1,"body":"a"},{"id":2,"body":"b"}]}',
        '{\n "data": {"conversations": {"nodes": [{"id":1,"body":"a"},{"id":2,"body":"b"}]}}}',
        '{"edges":[{"node":{"id":1,"body":"a"}},{"node":{"id":2,"body":"b"}}]}',
        '{\n "id": 1,\n "body": "a"\n}\n{\n "id": 2,\n "body": "b"\n}\n',
    ],
)
def test_json_in_all_its_shapes(tmp_path: Path, text: str) -> None:
    """Lines, one array, what an API answers, objects over several lines."""
    (tmp_path / "t.json").write_text(text)
    rows, _ = rows_of(tmp_path / "t.json", tmp_path)
    assert [(row["ticket_id"], row["text"]) for row in rows] == [("1", "a"), ("2", "b")]


def test_a_ticket_with_comments_is_no_answer_of_an_api(tmp_path: Path) -> None:
    """One object with a list in it stays one ticket."""
    (tmp_path / "t.json").write_text(
        '{"id": 7, "body": "late", "comments": [{"id": 1, "body": "x"}]}'
    )
    assert [row["ticket_id"] for row in rows_of(tmp_path / "t.json", tmp_path)[0]] == ["7"]


BOTH = {"id": 9, "subject": "cancel", "body": "y"}
LATE_KEYS: dict[str, tuple[str, int, str, dict[str, Any], str]] = {
    "a subject": ("jsonl", 1100, "body", BOTH, "cancel | y"),
    "in an array": ("json", 1100, "body", BOTH, "cancel | y"),
    "far behind": ("jsonl", 9000, "body", {"id": 9, "body": "y", "title": "cancel"}, "cancel | y"),
    "the body itself": ("jsonl", 1100, "subject", BOTH, "cancel | y"),
    "an object": ("jsonl", 1100, "title", {"id": 9, "title": "cancel", "source": {"body": "y"}}, "cancel | y"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "count", "key", "late", "text"), LATE_KEYS.values(), ids=LATE_KEYS
)
def test_keys_that_come_late(
    tmp_path: Path, kind: str, count: int, key: str, late: dict[str, Any], text: str
) -> None:
    """A column that the first thousand objects lack is read."""
    path, rows = tmp_path / f"t.{kind}", [*({"id": i, key: "x"} for i in range(count)), late]
    path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    assert rows_of(path, tmp_path)[0][-1]["text"] == text


def test_an_array_that_breaks_off_is_refused(tmp_path: Path) -> None:
    """What lies behind the break cannot be counted."""
    (tmp_path / "t.json").write_text('[{"id": 1, "body": "a"}, {"id": 2, "bo')
    with pytest.raises(SourceError, match="found: JSON that breaks off"):
        open_source(str(tmp_path / "t.json"))


# Types of columns (cases 16, 17)


def test_binary_text_is_decoded(tmp_path: Path) -> None:
    """UTF-8 as text, bytes of Windows too, and a binary id in hexadecimal."""
    bodies = ["It’s late – sorry".encode(), "größer".encode("cp1252"), None]
    table = pa.table({"id": [bytes(range(250, 256)), b"A-1", None], "body": bodies})
    pq.write_table(table, tmp_path / "t.parquet")
    rows, _ = rows_of(tmp_path / "t.parquet", tmp_path)
    assert [row["text"] for row in rows] == ["It’s late – sorry", "größer", ""]
    assert [row["ticket_id"] for row in rows] == ["fafbfcfdfeff", "A-1", None]


@pytest.mark.parametrize("kind", [
    pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary()), pa.binary_view(), "BLOB",
], ids=str)  # fmt: skip
def test_binary_text_of_any_type_is_decoded(tmp_path: Path, kind: Any) -> None:
    """Case 16: however a file or a database spells bytes."""
    body = "It’s broken – I’d like it back"[:25].encode()
    body += b"." * (29 - len(body))
    if kind == "BLOB":
        path, options = tmp_path / "t.duckdb", {"table": "t"}
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS id, $1::BLOB AS body", [body])
    else:
        path, options = tmp_path / "t.parquet", {}
        pq.write_table(
            pa.table({"id": [1], "body": pa.array([body], pa.binary()).cast(kind)}), path
        )
    assert rows_of(path, tmp_path, **options)[0][0]["text"] == body.decode()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (
            [48213.0, 1.7841400123456788e16, float("nan")],
            pa.float64(),
            ["48213", "17841400123456788", None],
        ),
        ([48213.0], pa.float32(), ["48213"]),
        ([90071992547409921], pa.int64(), ["90071992547409921"]),
        ([90071992547409921], pa.decimal128(38, 4), ["90071992547409921"]),
        (["007", "1e5"], pa.string(), ["007", "1e5"]),
    ],
)
def test_ids_keep_every_digit(tmp_path: Path, values: list[Any], kind: Any, expected: Any) -> None:
    """Whatever the type of the column, and no more digits than there are."""
    ids = (
        pa.array(values, pa.int64()).cast(kind)
        if pa.types.is_decimal(kind)
        else pa.array(values, kind)
    )
    pq.write_table(pa.table({"id": ids, "body": ["x"] * len(ids)}), tmp_path / "t.parquet")
    assert [row["ticket_id"] for row in rows_of(tmp_path / "t.parquet", tmp_path)[0]] == expected


# Times (cases 18, 20, 24)


@pytest.mark.parametrize(("name", "content"), [
    ("t.csv", b"id,body\n1,a\n,b\n\\N,c\nNULL,d\n"),
    ("t.tsv", b"id\tbody\n1\ta\n\tb\n<NULL>\tc\n\td\n"),
    ("t.jsonl", b'{"id": 1, "body": "a"}\n{"id": null, "body": "b"}\n{"body": "c"}\n{"id": "", "body": "d"}\n'),
    ("t.json", b'[{"id": 1, "body": "a"}, {"id": null, "body": "b"}, {"body": "c"}, {"body": "d"}]'),
    ("t.parquet", None),
])  # fmt: skip
def test_rows_without_an_id_are_noted(tmp_path: Path, name: str, content: bytes | None) -> None:
    """They are labelled; what that means for later runs is said."""
    path = tmp_path / name
    if content is None:
        pq.write_table(pa.table({"id": [1, None, None, None], "body": list("abcd")}), path)
    else:
        path.write_bytes(content)
    rows, done = rows_of(path, tmp_path)
    assert [row["ticket_id"] for row in rows] == ["1", None, None, None]
    assert any("3 rows have no id in id: each is labelled" in remark for remark in done.remarks)


def test_what_is_no_time_costs_no_ticket(tmp_path: Path) -> None:
    """Markers, zero dates, infinity, BC and the far future are null, and the ticket is there."""
    odd = [
        "NULL",
        "\\N",
        "0000-00-00 00:00:00",
        "0000-01-01",
        "infinity",
        "0044-03-15 (BC)",
        "99999-01-01",
        "soon",
        "",
    ]
    lines = [f"{i},hello,{value}" for i, value in enumerate([*odd, *["2026-03-02 10:00:00"] * 20])]
    (tmp_path / "t.csv").write_text("id,body,created_at\n" + "\n".join(lines))
    rows, done = rows_of(tmp_path / "t.csv", tmp_path)
    assert [str(row["created_at"]) for row in rows] == ["None"] * len(odd) + [
        "2026-03-02 10:00:00"
    ] * 20
    assert "1 values of created_at are not times" in done.remarks[0]


@pytest.mark.parametrize(
    "value", ["TIMESTAMP 'infinity'", "TIMESTAMP '-infinity'", "TIMESTAMP '0044-03-15 (BC)'", "DATE 'infinity'",
              "TIMESTAMPTZ 'infinity'", "TIMESTAMP '33658-09-27 01:46:39'", "TIMESTAMP_S '9999-12-31 23:59:59'"],
)  # fmt: skip
def test_times_that_python_cannot_hold(tmp_path: Path, value: str) -> None:
    """Of a database that knows them."""
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT 1 AS id, 'x' AS body, {value} AS created_at")
    rows, done = rows_of(tmp_path / "t.duckdb", tmp_path, table="t")
    kept = "9999" in value
    assert (rows[0]["created_at"] is not None, done.newest is not None) == (kept, kept)


# Files and places (cases 20, 21, 23, 25, 29, 30)


AROUND: dict[str, tuple[str, list[str]]] = {
    "preamble": ("Ticket report\nGenerated 2026-03-02\n\nticket_id,subject,body\n1,Late,where\n", ["1"]),
    "padded preamble": ("Report,,\nFrom: 1 March,,\n,,\nticket_id,subject,body\n1,Late,where\n2,Late,why\n", ["1", "2"]),
    "total": ("ticket_id,subject,body\n1,Late,where\n2,Late,why\nTotal,2,\n", ["1", "2"]),
    "footer": ('"ticket_id","body"\n"1","a"\n"2","b"\n\n"Grand Totals (2 records)"\n"Copyright (c) 2026 x"\n', ["1", "2"]),
    "psql": ("ticket_id|body\n1|a\n2|b\n(2 rows)\n", ["1", "2"]),
    "trailing commas": ("ticket_id,subject,body\n1,Late,where,\n2,Late,why,,\n", ["1", "2"]),
    "commas of the header": ("ticket_id,subject,body,,\n1,Late,where,,\n2,Late,why\n", ["1", "2"]),
    "a message of one word": ("ticket_id,body\n1,Total\n2,b\n", ["1", "2"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "ids"), AROUND.values(), ids=AROUND)
def test_lines_around_the_table(tmp_path: Path, text: str, ids: list[str]) -> None:
    """Titles, sums, footers and commas without fields are neither tickets nor rejects."""
    (tmp_path / "t.csv").write_text(text)
    rows, done = rows_of(tmp_path / "t.csv", tmp_path)
    assert [row["ticket_id"] for row in rows] == ids
    assert done.rejected == 0


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("I don’t know – can’t you tell me?", "mac_roman"),
        ("größer, naïve, “déjà vu” für 5 €", "mac_roman"),
        ("I don’t know – can’t you tell me?", "cp1252"),
        ("größer, naïve, “déjà vu” für 5 €", "cp1252"),
        ("Señor Ángel quiere más", "cp1252"),
    ],
)
def test_encodings_of_one_byte(tmp_path: Path, text: str, encoding: str) -> None:
    """Excel for Mac writes Mac Roman, Excel for Windows cp1252; the note says that it is a guess."""
    (tmp_path / "t.csv").write_bytes(f'id,body\n1,"{text}"\n'.encode(encoding))
    rows, _ = rows_of(tmp_path / "t.csv", tmp_path)
    assert rows[0]["text"] == text
    assert f"{encoding} (a guess)" in open_source(str(tmp_path / "t.csv")).notes[0]


@pytest.mark.parametrize(
    ("text", "encoding", "is_doubtful"),
    [
        ("Dzień dobry, chciałabym zwrócić zamówienie, proszę o zwrot", "cp1250", True),
        ("Ještě jsem nedostala zásilku, můžete ji zrušit? Děkuji", "cp1250", True),
        ("Gdje je moja narudžba? Želim povrat, još čekam, kućište je oštećeno", "cp1250", True),
        ("A termék törött, időpont, köszönöm, hűtő", "cp1250", True),
        ("Где мой заказ? Хочу вернуть деньги", "cp1251", True),
        ("Πού είναι η παραγγελία μου;", "cp1253", True),
        ("注文した商品が届きません。返金してください", "shift_jis", True),
        ("我的订单在哪里,我要退款", "gbk", True),
        ("größer, naïve, “déjà vu” für 5 €", "cp1252", False),
        ("Où est ma commande n° 4411 ? J’ai payé 45 € – Noël à la crèmerie", "cp1252", False),
        ("Perché non è arrivato? Però lì è così, può darsi di più", "cp1252", False),
        ("Jeg får ikke tak i noen på telefon, øl, være", "cp1252", False),
        ("Não recebi a encomenda, quero devolução das opções", "cp1252", False),
        ("größer, naïve, “déjà vu” für 5 €", "mac_roman", False),
    ],
)
def test_a_guess_that_fits_badly_is_a_warning(
    tmp_path: Path, text: str, encoding: str, is_doubtful: bool
) -> None:
    """It names the option, in the run and in its manifest; a guess that fits is no more than a note."""
    path = tmp_path / "t.csv"
    path.write_bytes(f'id;body\n1;"{text}"\n'.encode(encoding))
    warnings = open_source(str(path)).warnings
    assert any("--encoding: cp1250" in warning for warning in warnings) == is_doubtful
    assert rows_of(path, tmp_path)[1].remarks == warnings
    assert open_source(str(path), encoding=encoding).warnings == []


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("t.csv.gz", gzip.compress),
        ("t.csv.bz2", bz2.compress),
        ("t.csv.xz", lzma.compress),
        ("t.csv.zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
    ],
)
def test_packed_files(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    """By their first bytes."""
    (tmp_path / name).write_bytes(pack(CSV.encode()))
    assert len(rows_of(tmp_path / name, tmp_path)[0]) == 2


def test_archives_and_workbooks(tmp_path: Path) -> None:
    """A zip archive is read like a folder, the first sheet with rows like a CSV file; ids and times come as they are shown."""
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("export/a.csv", CSV)
        archive.writestr("__MACOSX/._a.csv", "x")
        archive.writestr("README.txt", "x")
    assert len(rows_of(tmp_path / "t.zip", tmp_path)[0]) == 2
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as workbook:
        workbook.add_worksheet("empty")
        sheet = workbook.add_worksheet("tickets")
        for index, row in enumerate(
            [["Report"], [], ["id", "body"], [48213, "where is it"], [7, "late"]]
        ):
            sheet.write_row(index, 0, row)
    rows, _ = rows_of(tmp_path / "t.xlsx", tmp_path)
    assert [(row["ticket_id"], row["text"]) for row in rows] == [
        ("48213", "where is it"),
        ("7", "late"),
    ]
    with pytest.raises(SourceError, match="expected a sheet nope, found empty, tickets"):
        open_source(str(tmp_path / "t.xlsx"), table="nope")
    assert "--table: empty" in open_source(str(tmp_path / "t.xlsx")).advice


def test_folders_of_spark(tmp_path: Path) -> None:
    """Empty parts, markers and hidden files are passed over; folders `key=value` give columns."""
    folder = tmp_path / "out"
    for brand, value in (("brand=north%20sea", "1"), ("brand=__HIVE_DEFAULT_PARTITION__", "2")):
        (folder / brand).mkdir(parents=True)
        (folder / brand / "part-0.csv").write_text(f"id,body\n{value},x\n")
        (folder / brand / "part-1.csv").touch()
        (folder / brand / "part-2.csv.gz").write_bytes(gzip.compress(b""))
    (folder / "_SUCCESS").write_text("{}")
    (folder / ".part-0.csv.crc").write_bytes(b"crc")
    rows, _ = rows_of(folder, tmp_path, flags={"kept": ["brand"]})
    assert sorted((row["ticket_id"], row["brand"]) for row in rows if row["brand"]) == [
        ("1", "north sea")
    ]
    assert len(rows) == 2


@pytest.mark.parametrize("location", ["hive", "hive/**/*.parquet"])
def test_hive_folders_of_parquet(tmp_path: Path, location: str) -> None:
    """The same for Parquet, as a folder and as a glob."""
    for brand in ("north", "south"):
        (tmp_path / "hive" / f"brand={brand}").mkdir(parents=True)
        pq.write_table(
            pa.table({"id": [brand], "body": ["x"]}),
            tmp_path / "hive" / f"brand={brand}" / "p.parquet",
        )
    rows, _ = rows_of(tmp_path / location, tmp_path, flags={"kept": ["brand"]})
    assert {row["ticket_id"]: row["brand"] for row in rows} == {"north": "north", "south": "south"}


def write_delta(folder: Path) -> Path:
    """Write a Delta table of two versions: the second replaces the file of the first."""
    (folder / "_delta_log").mkdir(parents=True)
    fields = [
        {"name": n, "type": "string", "nullable": True, "metadata": {}} for n in ("id", "body")
    ]
    meta = {"id": "x", "format": {"provider": "parquet", "options": {}}, "partitionColumns": [], "configuration": {},
            "schemaString": json.dumps({"type": "struct", "fields": fields})}  # fmt: skip

    def add(name: str, ids: list[str]) -> dict[str, Any]:
        pq.write_table(pa.table({"id": ids, "body": ["x"] * len(ids)}), folder / name)
        size = (folder / name).stat().st_size
        return {
            "add": {
                "path": name,
                "partitionValues": {},
                "size": size,
                "modificationTime": 1,
                "dataChange": True,
            }
        }

    entries = [
        [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": meta}, add("old.parquet", ["1", "2"])],
        [{"remove": {"path": "old.parquet", "dataChange": True, "deletionTimestamp": 1}}, add("new.parquet", ["1", "2", "3"])],
    ]  # fmt: skip
    for version, lines in enumerate(entries):
        (folder / "_delta_log" / f"{version:020d}.json").write_text(
            "\n".join(map(json.dumps, lines))
        )
    return folder


def test_delta_tables_are_read_by_their_log(tmp_path: Path) -> None:
    """The file that was removed is not read; files of a table are refused."""
    folder = write_delta(tmp_path / "delta")
    assert [row["ticket_id"] for row in rows_of(folder, tmp_path)[0]] == ["1", "2", "3"]
    with pytest.raises(SourceError, match="expected a Delta table by its folder"):
        open_source(str(folder / "*.parquet"))


def test_a_format_for_names_that_do_not_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--format`, and what comes by standard input."""
    (tmp_path / "tickets_0000_part_00").write_text("id|body\n1|where is it\n")
    with pytest.raises(SourceError, match="say what it is with --format"):
        open_source(str(tmp_path / "tickets_0000_part_00"))
    assert len(rows_of(tmp_path / "tickets_0000_part_00", tmp_path, file_format="csv")[0]) == 1
    for data in (
        CSV.encode(),
        b'{"id": 1, "body": "x"}\n{"id": 2, "body": "x"}',
        gzip.compress(CSV.encode()),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert len(rows_of("-", tmp_path)[0]) == 2


COMMENTS = "id,ticket_id,created,body,author_type\n1,77,2026-03-01,charged twice,end-user\n2,77,2026-03-02,Sorry,agent\n"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "duckdb"])
def test_agents_rows_are_left_out_of_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    """Case 25: one row a message, and one label for the ticket."""
    path, options = tmp_path / f"t.{kind}", {"table": "t"} if kind == "duckdb" else {}
    table = pa.Table.from_pylist([
        {"id": "77", "body": "I was charged twice", "author": "end-user"},
        {"id": "77", "body": "Sorry! We have refunded you", "author": "agent"},
        {"id": "78", "body": "Thanks", "author": None},
    ])  # fmt: skip
    rows = table.to_pylist()
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "parquet":
        pq.write_table(table, path)
    elif kind == "duckdb":
        with duckdb.connect(str(path)) as connection:
            connection.register("messages", table)
            connection.execute("CREATE TABLE t AS SELECT * FROM messages")
    else:
        sign = "\t" if kind == "tsv" else ","
        lines = [sign.join(value or "" for value in row.values()) for row in rows]
        path.write_text("\n".join([sign.join(rows[0]), *lines]))
    found, done = rows_of(path, tmp_path, where="author = 'end-user'", **options)
    assert [(row["ticket_id"], row["text"]) for row in found] == [("77", "I was charged twice")]
    assert (done.source_rows, done.skipped_by_where) == (3, 2)


def test_where_leaves_rows_out(tmp_path: Path) -> None:
    """They count as skipped, the others keep their row numbers; ids that repeat are noted."""
    (tmp_path / "t.csv").write_text(COMMENTS + "3,78,2026-03-03,hello,end-user\n")
    rows, done = rows_of(tmp_path / "t.csv", tmp_path, where="author_type <> 'agent'")
    assert [(row["row_number"], row["text"]) for row in rows] == [
        (0, "charged twice"),
        (2, "hello"),
    ]
    assert (done.skipped, done.skipped_by_where, done.remarks) == (1, 1, [])
    _, done = rows_of(tmp_path / "t.csv", tmp_path)
    assert "2 rows share 1 ids in ticket_id" in done.remarks[0]
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t AS FROM '{tmp_path / 't.csv'}'")
    rows, done = rows_of(
        tmp_path / "t.duckdb", tmp_path, table="t", where="author_type <> 'agent' AND id < 3"
    )
    assert ([row["row_number"] for row in rows], done.skipped) == ([0], 2)


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("", UsageError),
        ("true; DROP TABLE t", UsageError),
        ("1) FROM t WHERE (true", UsageError),
        ("id IN (SELECT 1)", UsageError),
        ("true) FROM read_csv('/etc/passwd", UsageError),
        ("*", UsageError),
        ("nope = 1", ColumnError),
        ("author_type::INT = 1", SourceError),
        ("count(*) > 0", UsageError),
    ],
)
def test_where_is_one_expression(tmp_path: Path, where: str, kind: type[EcomIntentError]) -> None:
    """No statement, no query, no column that is not there; an error shows no value."""
    (tmp_path / "t.csv").write_text(COMMENTS)
    with pytest.raises(kind, match="--where: expected") as caught:
        rows_of(tmp_path / "t.csv", tmp_path, where=where)
    assert "end-user" not in str(caught.value)
