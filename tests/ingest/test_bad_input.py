"""What a stranger gets wrong: one line that says what to do, the exit code, and nothing in OUT/predictions."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from ecomintent_batch.cli import app as cli

Case = Callable[[Path], list[str]]
GOOD = "ticket_id,body,created_at\n1,where is my secret order,2026-01-01\n2,thanks,2026-01-02\n"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No case here needs a model to run."""
    monkeypatch.setenv("ECOMINTENT_ENGINE", "stub")


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Call the command as the shell does; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["ecomintent-batch", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, *capsys.readouterr()


def file(content: str | bytes, name: str = "tickets.csv", *flags: str) -> Case:
    """Make a case: a file with some content, and flags."""

    def write(folder: Path) -> list[str]:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return [str(folder / name), *flags]

    return write


def workbook(sheets: dict[str, list[list[str]]]) -> Case:
    """Make a case: a workbook with some sheets."""

    def write(folder: Path) -> list[str]:
        with xlsxwriter.Workbook(folder / "t.xlsx") as book:
            for name, rows in sheets.items():
                sheet = book.add_worksheet(name)
                for index, row in enumerate(rows):
                    sheet.write_row(index, 0, row)
        return [str(folder / "t.xlsx")]

    return write


def database(*flags: str) -> Case:
    """Make a case: a database with a table of tickets, and flags."""

    def write(folder: Path) -> list[str]:
        with duckdb.connect(str(folder / "t.duckdb")) as connection:
            connection.execute("CREATE TABLE tickets AS SELECT 1 AS id, 'secret' AS body")
        return [str(folder / "t.duckdb"), *flags]

    return write


def parquet(cut: int) -> Case:
    """Make a case: a Parquet file that lacks its last bytes."""

    def write(folder: Path) -> list[str]:
        pq.write_table(pa.table({"id": ["1"], "body": ["secret"]}), folder / "t.parquet")
        (folder / "t.parquet").write_bytes((folder / "t.parquet").read_bytes()[:-cut])
        return [str(folder / "t.parquet")]

    return write


def badly_encoded_parquet(folder: Path) -> list[str]:
    """Make a case: a Parquet file whose writer did not know UTF-8."""
    bodies = pa.StringArray.from_buffers(
        1, pa.py_buffer(b"\0\0\0\0\x09\0\0\0"), pa.py_buffer(b"secret \xff\xfe")
    )
    pq.write_table(pa.table({"id": ["1"], "body": bodies}), folder / "t.parquet")
    return [str(folder / "t.parquet")]


def unreadable(folder: Path) -> list[str]:
    """Make a case: something that root cannot read either."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "t.csv"))
    return [str(folder / "t.csv")]


def folder_without_tickets(folder: Path) -> list[str]:
    """Make a case: a folder that holds other things."""
    (folder / "photos").mkdir()
    (folder / "photos" / "cat.jpg").write_bytes(b"\xff\xd8")
    return [str(folder / "photos")]


CASES: dict[str, tuple[Case, int, str]] = {
    "missing file": (
        lambda folder: [str(folder / "nope.csv")],
        1,
        "nope.csv: expected a file, folder or glob, found nothing",
    ),
    "unreadable file": (unreadable, 1, "t.csv: expected a readable file, found: "),
    "empty file": (file(b""), 1, "tickets.csv: expected tickets, found an empty file"),
    "header only": (file("ticket_id,body\n"), 1, "tickets.csv: expected tickets, found none"),
    "no row that can be read": (
        file("ticket_id,body\nsecret\n"),
        1,
        "found 1 rows that cannot be read: expected 2 fields",
    ),
    "too many rejects": (
        file(GOOD + "secret\n"),
        1,
        "found 1 of 3 (1 x expected 3 fields, found 1); fix the source or raise",
    ),
    "wrong column": (
        file(GOOD, "t.csv", "--id-column", "nr"),
        1,
        "expected a column 'nr', found ticket_id, body, created_at",
    ),
    "wrong column to keep": (
        file(GOOD, "t.csv", "--by", "brand"),
        1,
        "expected a column 'brand', found ticket_id",
    ),
    "no column with text": (
        file("ticket_id,x\n1,secret\n"),
        1,
        "expected a column with the text, found ticket_id, x; give --text",
    ),
    "no header": (
        file("1,my secret is that I never got the blue jacket\n2,b\n"),
        1,
        "found 1, a text of 45 characters; give",
    ),
    "twin columns": (
        file("id,body,body\n1,a,secret\n"),
        1,
        "expected column names that differ, found body twice; rename one",
    ),
    "no time": (
        file(GOOD, "t.csv", "--time-column", "body"),
        1,
        "column 'body': expected ISO times, d/m/Y, m/d/Y or seconds",
    ),
    "wrong time format": (
        file(GOOD, "t.csv", "--time-format", "%Q"),
        2,
        "--time-format: expected a strptime format or one of excel",
    ),
    "text called Parquet": (
        file(GOOD, "t.parquet"),
        1,
        "t.parquet: expected a Parquet file, found another kind of content",
    ),
    "Parquet without its footer": (
        parquet(30),
        1,
        "t.parquet: expected a Parquet file, found another kind of content, or one cut",
    ),
    "Parquet with a torn footer": (parquet(8), 1, "t.parquet: expected a Parquet file"),
    "Parquet that is not UTF-8": (
        badly_encoded_parquet,
        1,
        "t.parquet: cannot be read: Invalid string encoding",
    ),
    "torn gzip": (
        file(gzip.compress(GOOD.encode() * 99)[:-20], "t.csv.gz"),
        1,
        "found: Compressed file ended before",
    ),
    "a workbook": (
        file(b"PK\x03\x04\0\0\0\0", "t.csv"),
        1,
        "expected text, found an Excel workbook or a zip archive; export",
    ),
    "another ending": (
        file(GOOD, "t.docx"),
        1,
        "t.docx: expected .csv .tsv .jsonl .json (also .gz",
    ),
    "folder without tickets": (
        folder_without_tickets,
        1,
        "photos: expected a folder with ticket files",
    ),
    "JSON that is no lines": (
        file('[\n{"id": 1}\n]\n', "t.jsonl"),
        1,
        "expected a column with the text, found id",
    ),
    "a workbook with a cover": (
        workbook({"Cover": [["Report of March"]], "Tickets": [["id", "body"], ["1", "late"]]}),
        1,
        "found Report of March; give --text-column; or choose another sheet with --table: Tickets",
    ),
    "a workbook whose first sheet has a header alone": (
        workbook({"Old": [["id", "body"]], "New": [["id", "body"], ["1", "late"]], "Notes": []}),
        1,
        "expected tickets, found none; or choose another sheet with --table: New, Notes",
    ),
    "a path that no row has": (
        file(
            '{"id": "1", "messages": [{"body": "late"}]}',
            "t.jsonl",
            "--text-column",
            "messages.body",
        ),
        1,
        "which no row has; it has messages.0.body; give --text-column messages.0.body",
    ),
    "unknown encoding": (
        file(GOOD, "t.csv", "--encoding", "nope"),
        1,
        "cannot be read as nope (LookupError)",
    ),
    "no such table": (
        database("--table", "nope"),
        1,
        "t.duckdb: expected a table nope, found tickets",
    ),
    "no table named": (
        database(),
        2,
        "t.duckdb: expected --table or --query for a database, found neither",
    ),
    "table and query": (
        database("--table", "t", "--query", "SELECT 1"),
        2,
        "--table and --query: give one of the two",
    ),
    "a table of a file": (
        file(GOOD, "t.csv", "--table", "tickets"),
        2,
        "--table and --query: expected a database, found",
    ),
    "no SELECT": (
        database("--query", "DELETE FROM tickets"),
        1,
        "--query: expected one SELECT, found DELETE",
    ),
    "no SQL": (
        database("--query", "SELEC 1"),
        1,
        "--query: expected one SELECT, found: syntax error at or near",
    ),
    "a query that breaks off": (
        database("--query", "SELECT id, body::INT AS body FROM tickets"),
        1,
        "Could not convert string '…'",
    ),
    "no database": (
        file(GOOD * 999, "t.duckdb", "--table", "tickets"),
        1,
        "t.duckdb: expected a DuckDB database, found: ",
    ),
    "no device": (
        file(GOOD, "t.csv", "--device", "cuda:99", "--engine", "torch"),
        1,
        "--device cuda:99: expected a CUDA device",
    ),
    "no such device": (
        file(GOOD, "t.csv", "--device", "tpu"),
        2,
        "--device: string should match pattern",
    ),
    "no model": (
        file(GOOD, "t.csv", "--model", "./nope"),
        1,
        "./nope: expected a model folder or a Hugging Face id",
    ),
    "no number": (file(GOOD, "t.csv", "--threshold", "high"), 2, "invalid value for '--threshold'"),
    "out of range": (
        file(GOOD, "t.csv", "--threshold", "7"),
        2,
        "--threshold: input should be less than or equal to 1",
    ),
    "no flag": (file(GOOD, "t.csv", "--fast"), 2, "no such option: --fast"),
    "a second source": (
        file(GOOD, "t.csv", "postgresql://u:secret@h/d"),
        2,
        "(postgresql://u:***@h/d)",
    ),
    "no config": (
        file(GOOD, "t.csv", "--config", "nope.toml"),
        2,
        "--config nope.toml: expected a readable TOML file, found: ",
    ),
    "config is no TOML": (
        file("secret", "t.toml", "--config", __file__),
        2,
        "test_bad_input.py: expected a readable TOML file",
    ),
    "no server": (
        lambda folder: ["postgresql://u:secret@127.0.0.1:1/d", "--table", "t"],
        1,
        "postgresql://u:***@127.0.0.1:1/d: ",
    ),
    "another server": (lambda folder: ["mysql://u:secret@h/d"], 1, "mysql://…: expected .csv"),
    "an empty name": (lambda folder: [""], 2, "--source: string should have at least 1 character"),
}


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize(("case", "code", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: Case,
    code: int,
    message: str,
) -> None:
    """Each fails with its exit code and a line that tells no ticket and no password, and publishes nothing."""
    out = tmp_path / "out"
    found, stdout, stderr = call(
        monkeypatch, capsys, "run", "--quiet", "--out", str(out), *case(tmp_path)
    )
    assert stderr.startswith("ecomintent-batch: ")
    assert stderr.count("\n") == 1
    assert message in stderr
    assert found == code
    assert "secret" not in stderr
    assert stdout == ""
    assert not list(out.glob("predictions/*"))


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ("config.json", "expected config.json, found none; is this a model folder?"),
        ("id2label", "expected id2label with at least two labels in config.json"),
        ("tokenizer.json", "expected a fast tokenizer (tokenizer.json), found none"),
        ("model.safetensors", "expected weights in model.safetensors"),
    ],
)
def test_a_model_folder_that_lacks_something(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
    lacks: str,
    message: str,
) -> None:
    """What is missing is named before a ticket is read."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    if lacks == "id2label":
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(
            json.dumps({key: value for key, value in config.items() if key != "id2label"})
        )
    else:
        (model / lacks).unlink()
    arguments = [
        *file(GOOD)(tmp_path),
        "--model",
        str(model),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    code, _, stderr = call(monkeypatch, capsys, "run", *arguments)
    assert code == 1
    assert stderr.startswith(f"ecomintent-batch: {model}: ")
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not list((tmp_path / "out" / "predictions").iterdir())


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("place", ["tickets.csv", "tickets.csv/out", "/proc/out", "/dev/null/out"])
def test_an_out_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """A file where the folder should be, and places where not even root can make one."""
    source = file(GOOD)(tmp_path)
    code, _, stderr = call(
        monkeypatch, capsys, "run", *source, "--quiet", "--out", str(tmp_path / place)
    )
    assert code == 1
    assert stderr.startswith(
        f"ecomintent-batch: {tmp_path / place}: expected a folder that can be written, found: "
    )
    assert stderr.count("\n") == 1
    assert (tmp_path / "tickets.csv").read_text() == GOOD


@pytest.mark.usefixtures("stub")
def test_a_database_that_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock is told, and the same command works once it is gone."""
    arguments = [
        *database("--table", "tickets")(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, arguments[0]]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        code, _, stderr = call(monkeypatch, capsys, "run", *arguments)
        assert (code, stderr.count("\n")) == (1, 1)
        assert "found it locked by a writer; try again when it is done" in stderr
        writer.communicate("")
    assert not list((tmp_path / "out" / "predictions").iterdir())
    assert call(monkeypatch, capsys, "run", *arguments) == (0, "", "")


def test_the_real_command_prints_no_traceback(tmp_path: Path) -> None:
    """From a shell too: notes on stderr first, the error as its last line, and nothing on stdout."""
    source = file(GOOD, "t.csv", "--time-column", "body", "--out", str(tmp_path / "out"))(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "ecomintent_batch", "run", *source], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("ecomintent-batch: ")
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


BODIES = {
    "null": None,
    "empty": "",
    "white": " \t\u00a0\n ",
    "nul": "where\0is my order",
    "only nuls": "\0\0\0",
    "controls": "my \x07\x1b[31morder\x7f\x85 is late\u202e",
    "emoji": "😀👍🏽 wo ist mein Paket? 👩‍👩‍👧",
    "only emoji": "👍🏽",
    "long": "refund " * 14_286,
    "one word": "x" * 100_000,
    "formula": "=HYPERLINK(1)",
    "id": "where is it",
}
EMPTY = {"null", "empty", "white", "only nuls", "only emoji"}


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "duckdb"])
def test_every_row_of_a_wild_table_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Empty, huge and odd bodies get a prediction, rows that cannot be read a reject, and the order is the source's."""
    path, flags, rejected = tmp_path / f"tickets.{kind}", [], 0
    table = pa.table(
        {
            "ticket_id": list(BODIES),
            'brand "a";b': ["=1+1", None] * 6,
            "body": list(BODIES.values()),
        }
    )
    if kind == "csv":
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows(
            [table.column_names, *zip(*table.to_pydict().values(), strict=True)]
        )
        path.write_bytes(
            buffer.getvalue().encode()
            + b'more,than,three,fields\nfewer\nbad,x,\xff\n"never closed,x,y\n'
        )
        rejected = 4
    elif kind == "jsonl":
        path.write_text(
            "".join(json.dumps(row) + "\n" for row in table.to_pylist()) + '{"ticket_id": \n[]\n'
        )
        rejected = 2
    elif kind == "parquet":
        pq.write_table(table, path)
    else:
        with duckdb.connect(str(path)) as connection:
            connection.register("source", table)
            connection.execute("CREATE TABLE t AS FROM source")
        flags = ["--table", "t"]
    out = tmp_path / "out"
    flags += [
        "--out",
        str(out),
        "--json",
        "--max-reject-ratio",
        "0.5",
        "--by",
        'brand "a";b',
        "--keep-text",
    ]
    code, stdout, stderr = call(monkeypatch, capsys, "run", str(path), *flags)
    assert (code, stderr) == (0, "")
    counts = json.loads(stdout)["counts"]
    assert (counts["source_rows"], counts["predictions"], counts["rejects"]) == (
        len(BODIES) + rejected,
        len(BODIES),
        rejected,
    )
    rows = pq.read_table(out / "predictions").sort_by("row_number").to_pylist()
    assert [row["ticket_id"] for row in rows] == list(BODIES)
    assert {row["ticket_id"] for row in rows if row["status"] == "empty"} == EMPTY
    assert {row["ticket_id"] for row in rows if row["status"] != "ok"} == EMPTY | {
        "emoji"
    }  # which asks in German
    messages = {row["ticket_id"]: row["message"] for row in rows}
    assert messages["nul"] == "where is my order"
    assert len(messages["one word"]) == 100_000
    rejects = pq.read_table(next((out / "rejects").iterdir())).to_pylist()
    assert sorted(r["row_number"] for r in rejects) == list(
        range(len(BODIES), len(BODIES) + rejected)
    )
    volumes = next(out.glob("summaries/*/volume_by_intent_by_*.csv")).read_text()
    assert "'=1+1" in volumes
