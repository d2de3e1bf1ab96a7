"""Extraction: shards of a fixed size, every source row in a shard or among the rejects, and both know its place."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecomintent_batch.errors import ColumnError, RejectedRowsError, SourceError
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.ingest.columns import pick_columns
from ecomintent_batch.ingest.extract import ReadPlan, _list_sizes, extract_shards, plan_reading
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.runs.records import Extraction, read_extraction
from ecomintent_batch.schema import output_names


def plan(location: Path, time_format: str | None = None, **flags: Any) -> tuple[Source, ReadPlan]:
    """Open a source and plan its reading, as a run does."""
    source = open_source(str(location))
    picked = pick_columns(source.name, source.columns, nested=source.nested, **flags)
    return source, plan_reading(
        source, picked, output_names(picked.kept, ["WISMO", "OTHER"]), time_format
    )


def extract(
    location: Path, *, shard_rows: int | None = 100, max_reject_ratio: float = 1.0, **flags: Any
) -> tuple[pa.Table, Extraction]:
    """Return all shards in one table and the account of the extraction, the promises of shards checked."""
    source, reading = plan(location, **flags)
    folder = location.parent / "shards"
    shards = list(
        extract_shards(
            source, reading, folder, shard_rows=shard_rows, max_reject_ratio=max_reject_ratio
        )
    )
    done = read_extraction(folder)
    assert done is not None
    assert [(path.name, rows) for path, rows in shards] == list(
        zip(done.shards, done.shard_rows, strict=True)
    )
    assert [pq.read_metadata(path).num_rows for path, _ in shards] == done.shard_rows
    assert shard_rows is None or all(rows == shard_rows for rows in done.shard_rows[:-1])
    rejects = pq.read_table(folder / "rejects.parquet")
    assert done.rejected == rejects.num_rows == sum(done.reasons.values())
    table = pa.concat_tables(pq.read_table(path) for path, _ in shards)
    places = table["row_number"].to_pylist() + rejects["row_number"].to_pylist()
    assert sorted(places) == list(range(done.source_rows))
    assert not list(folder.glob("*.tmp"))
    return table, done


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """A file to write to; the shards are put beside it."""
    return tmp_path / "tickets.csv"


@pytest.mark.parametrize(
    ("shard_rows", "expected"),
    [(10, [10, 10, 5]), (25, [25]), (24, [24, 1]), (1, [1] * 25), (99, [25])],
)
def test_shards_hold_a_fixed_number_of_tickets(
    csv_file: Path, shard_rows: int, expected: list[int]
) -> None:
    """All but the last are full, whatever the sizes of the batches that the source gives."""
    csv_file.write_text("id,body\n" + "".join(f"{i:03d},hello {i}\n" for i in range(25)))
    table, done = extract(csv_file, shard_rows=shard_rows)
    assert done.shard_rows == expected
    assert table["ticket_id"].to_pylist() == [f"{i:03d}" for i in range(25)]


def test_shards_grow_where_nobody_says_their_size(tmp_path: Path) -> None:
    """A small source has several, which an interrupted run keeps; a large one has no more than it needs."""
    pq.write_table(pa.table({"id": range(30_000), "body": ["x"] * 30_000}), tmp_path / "t.parquet")
    table, done = extract(tmp_path / "t.parquet", shard_rows=None)
    assert done.shard_rows == [4_096, 8_192, 16_384, 1_328]
    assert table["ticket_id"].to_pylist() == [str(i) for i in range(30_000)]
    assert list(islice(_list_sizes(None), 7)) == [
        4_096,
        8_192,
        16_384,
        32_768,
        65_536,
        65_536,
        65_536,
    ]


def test_shards_cross_the_batches_of_a_source(tmp_path: Path) -> None:
    """A shard of more tickets than a batch, and one of fewer, hold the same tickets in the same order."""
    pq.write_table(pa.table({"id": range(20_000), "body": ["x"] * 20_000}), tmp_path / "t.parquet")
    table, done = extract(tmp_path / "t.parquet", shard_rows=9_001)
    assert done.shard_rows == [9_001, 9_001, 1_998]
    assert table["ticket_id"].to_pylist() == [str(i) for i in range(20_000)]


def test_places_go_on_across_files_and_rejects(tmp_path: Path) -> None:
    """Rejects keep their file, line, column and place; the sum over both is every row of the source."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(
        'id,body,created_at\n1,"two\nlines",2026-01-01\n2\n3,x,2026-01-03\n'
    )
    (tmp_path / "in" / "b.csv").write_text(
        "id,body,created_at\n4,too,many,fields\n5,x,soon\n6,x,\n" + "7,x,2026-01-06\n" * 8
    )
    table, done = extract(tmp_path / "in", shard_rows=4)
    assert table["row_number"].to_pylist() == [0, 2, *range(4, 14)]
    assert table["created_at"].null_count == 2
    assert done.remarks[-1] == (
        "1 values of created_at are not times: they are null in the predictions"
    )
    rejects = pq.read_table(tmp_path / "shards" / "rejects.parquet").to_pylist()
    assert [
        (Path(r["file"]).name, r["line"], r["row_number"], r["column"], r["error"]) for r in rejects
    ] == [
        ("a.csv", 4, 1, None, "expected 3 fields, found 1"),
        ("b.csv", 2, 3, None, "expected 3 fields, found 4"),
    ]
    assert done.source_rows == 14


def test_columns_get_their_names_and_types(csv_file: Path) -> None:
    """Subject and body in order, kept columns as they are called, times as times; a name that the job writes gets a prefix."""
    header = 'id,"a"";b;c",status,body,subject,created_at'
    csv_file.write_text(f"{header}\n007,odd,open,the body,the subject,2026-01-02 03:04\n")
    table, _ = extract(csv_file, kept=['a";b;c', "status", "id"])
    assert table.schema.names == [
        "ticket_id", "row_number", "created_at", 'a";b;c', "source_status", "id", "_text_0", "_text_1",
    ]  # fmt: skip
    row = table.to_pylist()[0]
    assert str(row.pop("created_at")) == "2026-01-02 03:04:00"
    assert list(row.values()) == ["007", 0, "odd", "open", "007", "the subject", "the body"]


@pytest.mark.parametrize(("rejected", "passes"), [(1, True), (2, False)])
def test_the_share_of_rejects_is_limited(csv_file: Path, rejected: int, passes: bool) -> None:
    """At the limit a run goes on; over it the error counts the reasons, and no extraction is left that looks complete."""
    csv_file.write_text("id,body\n" + "1,ok\n" * (100 - rejected) + "2,my,secret\n" * rejected)
    if passes:
        assert extract(csv_file, max_reject_ratio=0.01)[1].reasons == {
            "expected 2 fields, found 3": 1
        }
        return
    with pytest.raises(RejectedRowsError) as caught:
        extract(csv_file, max_reject_ratio=0.01)
    assert (
        "at most 1.00% of the rows to be rejected, found 2 of 100 (2 x expected 2 fields, found 3)"
        in str(caught.value)
    )
    assert "secret" not in str(caught.value)
    assert read_extraction(csv_file.parent / "shards") is None


def test_a_time_column_that_was_found_may_be_none(csv_file: Path) -> None:
    """A column that is only called date costs the daily volumes, with a note; one that was named is an error."""
    csv_file.write_text("id,body,date\n1,x,02/03/2026\n2,y,04/05/2026\n")
    _, reading = plan(csv_file)
    assert reading.picked.time is None
    assert reading.names == {}
    assert reading.notes[0].startswith(
        "no daily volumes: column 'date': expected times, found dates that could be"
    )
    assert extract(csv_file, kept=["date"])[0]["date"].to_pylist() == ["02/03/2026", "04/05/2026"]
    with pytest.raises(ColumnError, match=r"tickets\.csv: column 'date': .*give --time-format"):
        plan(csv_file, time_column="date")
    assert str(extract(csv_file, time_format="%d/%m/%Y")[0]["date"][0]) == "2026-03-02 00:00:00"


def test_the_way_of_times_is_told_from_the_first_that_are_there(csv_file: Path) -> None:
    """A column that was introduced late is empty in thousands of rows before its first value."""
    csv_file.write_text("id,body,created_at\n" + "1,x,\n" * 9_000 + "2,x,28/09/2026\n" * 3)
    table, done = extract(csv_file, shard_rows=50_000)
    assert str(table["created_at"][-1]) == "2026-09-28 00:00:00"
    assert done.rejected == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,body\n", "expected tickets, found none"),
        ("id,body\n1\n2\n", "found 2 rows that cannot be read: expected 2 fields"),
    ],
)
def test_a_source_without_a_ticket(csv_file: Path, content: str, message: str) -> None:
    """A header alone, and rows of which none can be read, are errors before a run begins."""
    csv_file.write_text(content)
    with pytest.raises(SourceError, match=message):
        plan(csv_file)
