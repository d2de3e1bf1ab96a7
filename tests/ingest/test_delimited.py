"""Delimited text and JSON lines: every row comes back as it was written, or is rejected with a reason."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import Reject, Row
from ecomintent_batch.ingest.delimited import UNCLOSED, DelimitedFile, Dialect, detect_dialect
from ecomintent_batch.ingest.encoding import detect_encoding
from ecomintent_batch.ingest.json_lines import JsonLinesFile

HEADER = "ticket_id,body\n"


class SingleQuoted(csv.excel):
    """How some databases dump: every field in single quotes."""

    quotechar = "'"
    quoting = csv.QUOTE_ALL


class Semicolon(csv.excel):
    """What Excel writes where the comma is the decimal sign."""

    delimiter = ";"


class Pipe(csv.excel):
    """A column between bars."""

    delimiter = "|"


DIALECTS = {
    "excel": csv.excel,
    "excel-tab": csv.excel_tab,
    "unix": csv.unix_dialect,
    "semicolon": Semicolon,
    "pipe": Pipe,
    "single-quote": SingleQuoted,
}


def read(path: Path, encoding: str | None = None) -> tuple[list[list[str | None]], list[Reject]]:
    """Return the values of the rows and the rejects of a delimited file whose dialect is told from its bytes."""
    found = list(DelimitedFile(path, detect_dialect(path, encoding, None)).rows())
    return [row.values for row in found if isinstance(row, Row)], [
        row for row in found if isinstance(row, Reject)
    ]


def save(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write text as a file, line ends untouched."""
    path = tmp_path / "tickets.csv"
    path.write_bytes(text.encode(encoding))
    return path


cells = st.one_of(
    st.text(max_size=12),
    st.text(alphabet=" \t\r\n,;|\"'\\=a1é\x00\x85\u2028😀", max_size=12),
)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3), max_size=6),
    dialect=st.sampled_from(sorted(DIALECTS)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
)
def test_a_table_comes_back_exactly(
    tmp_path: Path, rows: list[list[str]], dialect: str, encoding: str
) -> None:
    """What csv.writer wrote comes back in its place; only what no longer is text (U+FFFD in UTF-16) is rejected."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, DIALECTS[dialect]).writerows([["ticket_id", "subject", "body"], *rows])
    path = save(tmp_path, buffer.getvalue(), encoding)
    found = list(DelimitedFile(path, detect_dialect(path, None, None)).rows())
    assert len(found) == len(rows)
    for place, (written, row) in enumerate(zip(rows, found, strict=True)):
        if isinstance(row, Reject):
            assert (row.row_number, row.error) == (
                place,
                f"bytes that are not {detect_encoding(path)}",
            )
            assert "\ufffd" in "".join(written)
        else:
            assert row.values == [value or None for value in written]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_told_by_the_header_and_the_rows(tmp_path: Path, delimiter: str) -> None:
    """A comma in the text of a semicolon file does not make it a comma file."""
    lines = [
        f"ticket_id{delimiter}body",
        *(f'{i:04d}{delimiter}"so, where; is | it\tnow"' for i in range(9)),
    ]
    rows, rejects = read(save(tmp_path, "\n".join(lines)))
    assert rows[0] == ["0000", "so, where; is | it\tnow"]
    assert len(rows) == 9
    assert not rejects


def test_a_long_body_does_not_hide_the_delimiter(tmp_path: Path) -> None:
    """A field over csv's own limit of 131,072 characters is a field like any other, in the guess as in the reading."""
    long = "word " * 40_000
    rows, rejects = read(save(tmp_path, f"ticket_id;body\n1;{long}\n2;short, and sweet\n"))
    assert rows == [["1", long], ["2", "short, and sweet"]]
    assert not rejects


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_hint_of_excel_names_the_delimiter(tmp_path: Path, end: str) -> None:
    """`sep=|` is obeyed, is no row, and counts as a line."""
    path = save(tmp_path, end.join(["sep=|", "ticket_id|body", "1|one, two", "2"]), "utf-8-sig")
    rows, rejects = read(path)
    assert rows == [["1", "one, two"]]
    assert [(reject.line, reject.row_number) for reject in rejects] == [(4, 1)]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
        ("cp1252", "cp1252"),
        ("latin-1", "latin-1"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_encodings_are_told_apart(tmp_path: Path, written: str, found: str, packed: bool) -> None:
    """The accents of each encoding survive, packed or not, though they first show on the last line."""
    accents = {"latin-1": "Größe à Málaga \x81", "cp1252": "Größe “à” 5 €"}.get(
        written, "Größe “à” 5 € 注文 😀"
    )
    data = (HEADER + "1,plain\n" * 20_000 + f"00042,{accents}\n").encode(written)
    path = tmp_path / "tickets.csv"
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    assert detect_encoding(path) == found
    rows, rejects = read(path)
    assert rows[-1] == ["00042", accents]
    assert len(rows) == 20_001
    assert not rejects


def test_utf_16_without_bom_is_told_by_its_header(tmp_path: Path) -> None:
    """Bodies in Japanese hold no NUL to count, the names of the columns do."""
    rows, _ = read(save(tmp_path, HEADER + "1,ご注文の商品が届きません\n" * 300, "utf-16-le"))
    assert rows[0] == ["1", "ご注文の商品が届きません"]


def test_nuls_do_not_make_utf_16(tmp_path: Path) -> None:
    """A file that a crash has padded with NULs is still UTF-8."""
    assert detect_encoding(save(tmp_path, HEADER + "1,hello\n" + "\0" * 5000)) == "utf-8"


def test_torn_characters_cost_their_row(tmp_path: Path) -> None:
    """An exporter that cuts at 255 bytes tears a character: that row is named, its column too, the others are read."""
    path = tmp_path / "tickets.csv"
    path.write_bytes(
        (HEADER + "1,Größe ärgerlich\n").encode()
        + "2,für".encode()[:-2]
        + b"\n"
        + "3,schön\n".encode()
    )
    rows, rejects = read(path)
    assert rows == [["1", "Größe ärgerlich"], ["3", "schön"]]
    assert rejects == [Reject(str(path), 3, 1, "body", "bytes that are not utf-8")]


def test_a_named_encoding_is_taken_as_it_is(tmp_path: Path) -> None:
    """What cannot be known from the bytes (cp1252 that is also UTF-8) can be said; a BOM is no part of the header."""
    assert read(save(tmp_path, HEADER + "1,Ã©\n", "cp1252"), "cp1252")[0] == [["1", "Ã©"]]
    path = save(tmp_path, '"ticket_id","body"\n1,x\n', "utf-8-sig")
    assert DelimitedFile(path, detect_dialect(path, "utf-8", None)).columns == ["ticket_id", "body"]


@pytest.mark.parametrize("encoding", ["nonsense", "base64", "idna"])
def test_an_encoding_that_is_none_is_an_error(tmp_path: Path, encoding: str) -> None:
    """A codec that does not exist, or does not make text, is named in one line."""
    with pytest.raises(SourceError, match=f"cannot be read as {encoding}"):
        read(save(tmp_path, HEADER + f"{'.' * 99},hi\n"), encoding)


def test_ids_newlines_and_control_characters_come_back(tmp_path: Path) -> None:
    """Leading zeros, newlines in fields, NULs, control characters and a body of 100,000 characters stay as they are."""
    bodies = [
        "two\nlines\r\nand three",
        "nul \0 here",
        "bell \a esc \x1b[31m del \x7f",
        "x" * 100_000,
        "nel \x85 ls \u2028",
    ]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(
        [["ticket_id", "body"], *([f"{i:08d}", body] for i, body in enumerate(bodies))]
    )
    rows, rejects = read(save(tmp_path, buffer.getvalue()))
    assert rows == [[f"{i:08d}", body] for i, body in enumerate(bodies)]
    assert not rejects


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,a\r\n2,b\n3,c\r4,d", ["1", "2", "3", "4"]),
        ("1,a\r2,b\r\r3,c\r", ["1", "2", "3"]),
        ("\n\n1,a\n\n\n2,b\n\n", ["1", "2"]),
    ],
    ids=["mixed", "CR only", "blank lines"],
)
def test_line_ends_and_blank_lines(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Rows end at any line end, and an empty line is no row."""
    rows, rejects = read(save(tmp_path, HEADER + text))
    assert [row[0] for row in rows] == expected
    assert not rejects


def test_blank_lines_before_the_header(tmp_path: Path) -> None:
    """The header is the first line that holds anything, and lines are counted from the first of the file."""
    path = save(tmp_path, "\r\n\r\n" + HEADER + "1,a\n2\n")
    rows, rejects = read(path)
    assert rows == [["1", "a"]]
    assert [(reject.line, reject.row_number) for reject in rejects] == [(5, 1)]


def test_backslash_escapes_are_read_where_they_are_used(tmp_path: Path) -> None:
    """MySQL writes \\" for a quote and \\\\ for a backslash; elsewhere a backslash before the closing quote is text."""
    escaped = '"1","she said \\"where, then\\" and left"\n"2","C:\\\\temp"\n'
    assert read(save(tmp_path, HEADER + escaped))[0] == [
        ["1", 'she said "where, then" and left'],
        ["2", "C:\\temp"],
    ]
    doubled = '"1","path C:\\"\n"2","no ""quotes"", C:\\new"\n'
    assert read(save(tmp_path, HEADER + doubled))[0] == [
        ["1", "path C:\\"],
        ["2", 'no "quotes", C:\\new'],
    ]


def test_wrong_numbers_of_fields_are_rejected_by_line(tmp_path: Path) -> None:
    """Too many and too few fields are named with the line in the file and the place among the rows."""
    path = save(tmp_path, HEADER + '1,"two\nlines"\n2,a,b,c\n\n3\n4,ok\n')
    rows, rejects = read(path)
    assert [row[0] for row in rows] == ["1", "4"]
    assert rejects == [
        Reject(str(path), 4, 1, None, "expected 2 fields, found 4"),
        Reject(str(path), 6, 2, None, "expected 2 fields, found 1"),
    ]


@pytest.mark.parametrize("place", [0, 3, 6], ids=["start", "middle", "end"])
@pytest.mark.parametrize(
    "later", ["plain words", '"quoted, words"', '""', '",led by a comma"', '"two\nlines"']
)
def test_an_unclosed_quote_costs_its_line_only(tmp_path: Path, place: int, later: str) -> None:
    """The rows behind it are read, however the next of them is written."""
    lines = [f"{i},{later}" for i in range(6)]
    lines.insert(place, 'X,"oops')
    path = save(tmp_path, HEADER + "\n".join(lines) + "\n")
    rows, rejects = read(path)
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    line = 2 + sum(entry.count("\n") + 1 for entry in lines[:place])
    assert rejects == [Reject(str(path), line, place, None, UNCLOSED)]


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ('1,"Hello\nmy order, please" he said', "text after a closing quote"),
        (
            '1,"Hello,\nmy order, please\nthe blue one, I mean\nBob",extra',
            "expected 2 fields, found 3",
        ),
        ('1,"Hello Bob\nmy order\nplease, thanks\nand bye', UNCLOSED),
    ],
    ids=["text behind the quote", "too many fields", "cut off"],
)
def test_the_lines_of_one_message_do_not_become_tickets(
    tmp_path: Path, broken: str, error: str
) -> None:
    """A malformed row of several lines is rejected whole: no line of it is taken for a ticket, two fields or not."""
    path = save(tmp_path, f"{HEADER}0,fine\n{broken}")
    rows, rejects = read(path)
    assert rows == [["0", "fine"]]
    assert rejects == [Reject(str(path), 3, 1, None, error)]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff\r\n", " \t\n", "\0\0\0"])
def test_a_file_without_a_header_is_empty(tmp_path: Path, content: str) -> None:
    """White space, a BOM and NULs are nothing."""
    with pytest.raises(SourceError, match="found an empty file"):
        read(save(tmp_path, content))


@pytest.mark.parametrize(
    ("head", "kind"), [(b"PK\x03\x04", "an Excel workbook"), (b"PAR1", "a Parquet file")]
)
def test_what_is_no_text_is_named(tmp_path: Path, head: bytes, kind: str) -> None:
    """A workbook that someone has renamed to .csv is told as such, not shown as columns."""
    path = tmp_path / "tickets.csv"
    path.write_bytes(head + b"\x14\x00\x06\x00" * 50)
    with pytest.raises(SourceError, match=kind):
        read(path)


def test_a_broken_header_is_an_error(tmp_path: Path) -> None:
    """A quote that is never closed in the header leaves nothing to name the fields by."""
    path = save(tmp_path, 'ticket_id,"body\n1,x\n')
    with pytest.raises(
        SourceError, match="expected a header line, found a quote that is never closed"
    ):
        DelimitedFile(path, Dialect("utf-8"))


def test_json_lines_keep_ids_as_written(tmp_path: Path) -> None:
    """Numbers keep their digits, nested values become JSON, absent keys are null, and rejects know their line."""
    path = tmp_path / "tickets.jsonl"
    path.write_text(
        '{"id": 12345678901234567890, "body": "where?", "price": 1.10}\n'
        '{"id": "00042", "tags": ["a", {"b": null}], "vip": true}\n'
        "\n"
        '{"id": 3, "body": "torn\n'
        '["no", "object"]\n'
        '{"id": 5, "body": "half \\ud83d"}\n'
        '{"id": 6, "body": "nul \\u0000, emoji \\ud83d\\ude00"}',
        encoding="utf-8-sig",
    )
    parsed = JsonLinesFile(path, None)
    assert parsed.columns == ["id", "body", "price", "tags", "vip"]
    rows = [row for row in parsed.rows() if isinstance(row, Row)]
    assert [row.values for row in rows] == [
        ["12345678901234567890", "where?", "1.10", None, None],
        ["00042", None, None, '["a", {"b": null}]', "true"],
        ["6", "nul \0, emoji 😀", None, None, None],
    ]
    rejects = [row for row in parsed.rows() if isinstance(row, Reject)]
    assert [(reject.line, reject.row_number, reject.column) for reject in rejects] == [
        (4, 2, None),
        (5, 3, None),
        (6, 4, "body"),
    ]
    assert "torn" not in rejects[0].error
    assert rejects[1].error == "expected an object, found list"


def test_json_lines_without_an_object(tmp_path: Path) -> None:
    """A file of something else is named by what its lines are."""
    path = tmp_path / "tickets.jsonl"
    path.write_text("[1]\n[2]\n")
    with pytest.raises(SourceError, match="expected a JSON object on each line, found none"):
        JsonLinesFile(path, None)
