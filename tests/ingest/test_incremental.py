"""What is classified already is left out, what changed is not, and no ticket falls between two runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tickets import ROOT, RecordingProgress

from ecomintent_batch.errors import RunStateError, UsageError
from ecomintent_batch.inference.engines.stub import StubEngine
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.settings import load_settings

_MICROSECONDS = pa.timestamp("us")
Rows = list[tuple[Any, ...]]


@pytest.fixture
def run(tmp_path, stub_settings):
    """Run incrementally over some rows; return the counts, with the ids that were labelled."""

    def start(rows: Rows, **changes: Any) -> dict[str, Any]:
        source = tmp_path / "tickets.csv"
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("id", "body", "created_at")[: len(rows[0])], *rows])
        if not source.exists() or source.read_bytes() != text.getvalue().encode():
            source.write_bytes(text.getvalue().encode())
        changes = {"incremental": True, "shard_rows": 2, **changes}
        return counts_of(run_job(stub_settings(source, tmp_path / "out", **changes)))

    return start


def counts_of(result: Any) -> dict[str, Any]:
    """Return source_rows, skipped and the ids that a run has labelled, its sums checked."""
    counts = result.manifest.counts
    assert counts.source_rows == counts.predictions + counts.rejects + counts.skipped
    parts = [pq.read_table(result.folder.predictions / part.file) for part in result.manifest.parts]
    ids = [ticket_id for part in parts for ticket_id in part["ticket_id"].to_pylist()]
    assert len(ids) == counts.predictions
    return {"source_rows": counts.source_rows, "skipped": counts.skipped, "ids": ids}


def latest(out: Path) -> dict[str | None, dict[str, Any]]:
    """Return the rows of the view latest_predictions by ticket."""
    connection = duckdb.connect()
    connection.execute("SET VARIABLE out = ?", [str(out)])
    connection.execute((ROOT / "sql" / "views.sql").read_text(encoding="utf-8"))
    rows = connection.sql("SELECT * FROM latest_predictions").to_arrow_table().to_pylist()
    assert len({row["ticket_id"] for row in rows}) == len(rows)
    return {row["ticket_id"]: row for row in rows}


def test_only_new_and_changed_tickets_are_labelled(run, tmp_path):
    """The same id with the same message is skipped, whatever the white space around it; a changed one is labelled again."""
    assert run([("1", "hello"), ("2", "where is it"), ("3", "")])["ids"] == ["1", "2", "3"]
    assert run([("1", "hello"), ("2", "where is it"), ("3", "")]) == {
        "source_rows": 3,
        "skipped": 3,
        "ids": [],
    }
    found = run([("1", "  hello "), ("2", "cancel it"), ("4", "hello"), ("3", "")])
    assert found == {"source_rows": 4, "skipped": 2, "ids": ["2", "4"]}
    assert sorted(latest(tmp_path / "out")) == ["1", "2", "3", "4"]


def test_text_that_changed_back_is_labelled_again(run, tmp_path):
    """Only the newest prediction of a ticket counts: else the view would show what the ticket said in between."""
    for body, expected in [("a", ["1"]), ("b", ["1"]), ("a", ["1"]), ("a", [])]:
        assert run([("1", body)])["ids"] == expected
    first, _, third, _ = [
        pq.read_table(part)["message_hash"][0].as_py()
        if (part := next(folder.glob("*.parquet"), None))
        else None
        for folder in sorted((tmp_path / "out" / "predictions").iterdir())
    ]
    assert latest(tmp_path / "out")["1"]["message_hash"] == first == third


def test_the_newest_row_of_a_ticket_wins(run, tmp_path):
    """By its time, or its place where there is none; the older rows are skipped, every night anew."""
    timed = [
        ("1", "newest", "2026-01-03"),
        ("1", "older", "2026-01-01"),
        ("1", "undated", ""),
        ("2", "x", "2026-01-01"),
    ]
    for expected in (["1", "2"], []):
        assert run(timed, keep_text=True)["ids"] == expected
    assert latest(tmp_path / "out")["1"]["message"] == "newest"
    assert run([("1", "older"), ("1", "newest"), ("2", "x")]) == {
        "source_rows": 3,
        "skipped": 3,
        "ids": [],
    }


def test_tickets_without_an_id_are_never_skipped(run, tmp_path):
    """Nothing tells them apart: each is labelled, and none is taken for another."""
    assert run([("", "hello"), ("", "hello"), ("1", "hello")])["skipped"] == 0
    assert run([("", "hello"), ("", "hello"), ("1", "hello")])["ids"] == [None, None]


def test_a_new_model_labels_new_tickets_only_unless_told(run, tmp_path, tiny_model):
    """--backfill labels all of them again, once."""
    other = shutil.copytree(tiny_model, tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {"a change": True}
    (other / "config.json").write_text(json.dumps(config))  # what the stub's fingerprint covers
    rows = [("1", "hello"), ("2", "where is it")]
    run(rows)
    rows.append(("3", "new"))
    assert run(rows, model=str(other))["ids"] == ["3"]
    assert run(rows, model=str(other), backfill=True)["ids"] == ["1", "2"]
    assert run(rows, model=str(other), backfill=True)["ids"] == []
    assert {row["model"].split("@")[0] for row in latest(tmp_path / "out").values()} == {"other"}


def test_a_failed_ticket_is_tried_again(run, monkeypatch):
    """A prediction with the status error is none."""
    with monkeypatch.context() as patched:
        score = StubEngine.score

        def fail(self, *args):
            logits = score(self, *args)
            logits[0] = float("nan")
            return logits

        patched.setattr(StubEngine, "score", fail)
        assert run([("1", "hello"), ("2", "where is it")], shard_rows=9)["ids"] == ["1", "2"]
    assert run([("1", "hello"), ("2", "where is it")]) == {
        "source_rows": 2,
        "skipped": 1,
        "ids": ["1"],
    }


def test_rejects_are_counted_beside_what_is_skipped(tmp_path, stub_settings):
    """Rows of the source = predictions + rejects + skipped; places stay those of the source."""
    source = tmp_path / "tickets.csv"
    source.write_text("id,body\n1,a\nbroken\n2,b\n3,c\n")
    settings = stub_settings(source, tmp_path / "out", incremental=True, max_reject_ratio=0.5)
    run_job(settings)
    source.write_text("id,body\n1,a\nbroken\n2,new\n3,c\n4,d\n")
    result = run_job(settings)
    expected = {"source_rows": 5, "predictions": 2, "rejects": 1, "skipped": 2}
    assert {name: getattr(result.manifest.counts, name) for name in expected} == expected
    table = pq.read_table(result.folder.predictions / "part-00000.parquet")
    assert table["row_number"].to_pylist() == [2, 4]
    assert "message_hash" in table.schema.names
    assert pq.read_table(result.folder.rejects)["row_number"].to_pylist() == [1]


def test_state_lives_in_the_manifests(run, tmp_path):
    """A run whose manifest is gone does not count, though its parts are there; a part that is gone is an error of one line."""
    run([("1", "hello"), ("2", "x")])
    (manifest,) = (tmp_path / "out" / "runs").iterdir()
    hidden = manifest.rename(tmp_path / "hidden.json")
    assert run([("1", "hello")])["ids"] == ["1"]
    hidden.rename(manifest)
    assert run([("2", "x")])["ids"] == []
    next((tmp_path / "out" / "predictions" / f"run_id={manifest.stem}").iterdir()).unlink()
    with pytest.raises(
        RunStateError, match=r"expected all of them, found: .*ecomintent-batch verify"
    ):
        run([("1", "hello")])


def test_runs_with_other_columns_still_count(run):
    """Parts of different ages differ in their kept columns, and in those columns' types."""
    assert run([("1", "hello", "2026-01-01")], keep=("created_at",))["ids"] == ["1"]
    assert run([("1", "hello", "someday"), ("2", "x", "never")], keep=("created_at",))["ids"] == [
        "2"
    ]
    assert run([("1", "hello"), ("2", "x"), ("3", "y")])["ids"] == ["3"]


def test_many_small_runs_label_what_one_big_run_does(run, tmp_path, stub_settings):
    """Night after night over a table that grows and changes: the view equals a run over the table as it is at the end."""
    table: dict[str, str] = {}
    for night in range(6):
        table |= {f"{i:03d}": f"where is order {i}" for i in range(night * 5, night * 5 + 7)}
        table |= {f"{i:03d}": f"cancel order {i} {night}" for i in range(0, night * 5, 3)}
        run(sorted(table.items()))
    settings = stub_settings(tmp_path / "tickets.csv", tmp_path / "whole")
    run_job(settings)
    compared = ("intent", "top_intent", "confidence", "message_hash", "status", "n_tokens")
    one, many = (
        {
            ticket: [row[name] for name in compared]
            for ticket, row in latest(tmp_path / name).items()
        }
        for name in ("whole", "out")
    )
    assert one == many
    assert len(one) == len(table)


def test_an_interrupted_incremental_run_is_resumed(run, tmp_path, monkeypatch):
    """What was left out stays left out, and is counted once."""
    run([(str(i), "hello") for i in range(4)])
    rows = [(str(i), "hello" if i < 4 else f"my order {i}") for i in range(12)]
    with monkeypatch.context() as patched:
        scored, score = [], StubEngine.score

        def fail(self, *args):
            scored.append(1)
            if len(scored) > 2:
                raise RuntimeError("gone")
            return score(self, *args)

        patched.setattr(StubEngine, "score", fail)
        with pytest.raises(RuntimeError):
            run(rows)
    assert run(rows) == {"source_rows": 12, "skipped": 4, "ids": [str(i) for i in range(4, 12)]}
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


# The watermark

DAY = datetime(2026, 3, 10, 12)


def write_parquet(
    path: Path, rows: list[tuple[str, Any]], kind: pa.DataType = _MICROSECONDS
) -> Path:
    """Write tickets with their times."""
    times = pa.array([time for _, time in rows], kind)
    pq.write_table(
        pa.table(
            {
                "id": [i for i, _ in rows],
                "body": [f"order {i}" for i, _ in rows],
                "created_at": times,
            }
        ),
        path,
    )
    return path


@pytest.fixture
def parquet_run(tmp_path, stub_settings):
    """Run incrementally over a Parquet file with the time column named; return ids, read_from and the notes."""

    def start(
        rows: list[tuple[str, Any]], kind: pa.DataType = _MICROSECONDS, **changes: Any
    ) -> Any:
        source = write_parquet(tmp_path / "tickets.parquet", rows, kind)
        heard = RecordingProgress()
        options = {"incremental": True, "time_column": "created_at", **changes}
        result = run_job(stub_settings(source, tmp_path / "out", **options), heard)
        return counts_of(result), result.manifest.read_from, heard.notes

    return start


def test_old_tickets_are_not_read_again(parquet_run):
    """From the newest time less the lag on; tickets of before are not counted, undated ones always read."""
    rows: list[tuple[str, Any]] = [
        ("1", DAY - timedelta(days=9)),
        ("2", DAY - timedelta(days=2)),
        ("3", DAY),
        ("4", None),
    ]
    assert parquet_run(rows)[1] is None
    rows += [
        ("late", DAY - timedelta(days=2)),
        ("too late", DAY - timedelta(days=4)),
        ("new", DAY + timedelta(days=1)),
        ("5", None),
    ]
    found, read_from, notes = parquet_run(rows)
    assert found == {"source_rows": 6, "skipped": 3, "ids": ["late", "new", "5"]}
    assert read_from == "2026-03-07T12:00:00"
    assert "reading tickets from 2026-03-07 12:00 on" in notes
    found, read_from, _ = parquet_run(rows, lag_days=30)
    assert (found["ids"], read_from) == (["too late"], "2026-02-09T12:00:00")


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns"),
        pa.timestamp("s"),
        pa.date32(),
    ],
    ids=str,
)
def test_the_watermark_fits_every_kind_of_time(parquet_run, kind):
    """With a zone, without, to the nanosecond, and dates, of which the whole day is read."""
    days = [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]
    values = [day.date() if pa.types.is_date(kind) else day for day in days]
    parquet_run([(str(i), value) for i, value in enumerate(values)], kind)
    found, read_from, _ = parquet_run(
        [(str(i), value) for i, value in enumerate(values)], kind, lag_days=1
    )
    assert found == {"source_rows": 2, "skipped": 2, "ids": []}
    assert read_from is not None


def test_a_time_in_the_future_hides_nothing(parquet_run):
    """One ticket of 2099 would move the watermark over all that comes; the start of the run is as far as it goes."""
    parquet_run([("1", datetime.now()), ("typo", datetime(2099, 1, 1))])
    found, _, _ = parquet_run(
        [
            ("1", datetime.now()),
            ("2", datetime.now() + timedelta(seconds=9)),
            ("typo", datetime(2099, 1, 1)),
        ]
    )
    assert found["ids"] == ["2"]


def test_a_watermark_is_of_the_same_reading_only(parquet_run, tmp_path, stub_settings):
    """Another source, other columns, --backfill, or a time column that nobody named: everything is read."""
    old, new = [("1", DAY)], [("1", DAY), ("2", DAY - timedelta(days=300))]
    parquet_run(old)
    source = write_parquet(tmp_path / "other.parquet", [("9", DAY - timedelta(days=300))])
    options = {"incremental": True, "time_column": "created_at"}
    other = run_job(stub_settings(source, tmp_path / "out", **options))
    assert (other.manifest.read_from, counts_of(other)["ids"]) == (None, ["9"])
    assert parquet_run(new, backfill=True)[0]["ids"] == ["2"]
    found, read_from, _ = parquet_run([*new, ("3", DAY - timedelta(days=300))], time_column=None)
    assert (read_from, found["ids"]) == (None, ["3"])
    found, read_from, _ = parquet_run([*new, ("4", DAY - timedelta(days=300))], raw_text=True)
    assert (read_from, found["ids"]) == (None, ["4"])


def test_text_sources_are_read_whole(run):
    """A CSV has to be read to its end anyway; the anti-join alone decides, and a late row is never lost."""
    run([("1", "x", "2026-03-10")], time_column="created_at")
    found = run([("1", "x", "2026-03-10"), ("2", "y", "2020-01-01")], time_column="created_at")
    assert found == {"source_rows": 2, "skipped": 1, "ids": ["2"]}


def test_a_table_is_read_from_the_watermark_on(tmp_path, stub_settings):
    """The condition goes into the query of a DuckDB table, whatever the time column is called."""
    database = tmp_path / "t.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("""CREATE TABLE t AS SELECT i AS id, 'order ' || i AS body,
            DATE '2026-01-01' + i::INT AS "when ""at""; --" FROM range(40) r(i)""")
    settings = stub_settings(
        database, tmp_path / "out", table="t", incremental=True, time_column='when "at"; --'
    )
    run_job(settings)
    with duckdb.connect(str(database)) as connection:
        connection.execute("INSERT INTO t VALUES (99, 'new', DATE '2026-02-11')")
    result = run_job(settings)
    assert counts_of(result) == {"source_rows": 5, "skipped": 4, "ids": ["99"]}
    assert date.fromisoformat(result.manifest.read_from[:10]) == date(2026, 2, 6)


def test_backfill_alone_is_wrong_usage():
    """It says which option it lacks."""
    with pytest.raises(UsageError, match="--backfill: give --incremental too"):
        load_settings(source="x", backfill=True)
