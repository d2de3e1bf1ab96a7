"""No ticket text and no secret reaches the server, OUT's records or the report, whichever way a run fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from support.flow_runs import logs_of, settings_for
from support.prefect_server import Server

from ecomintent_batch.flows.classify_tickets import classify_tickets

pytestmark = [pytest.mark.service, pytest.mark.slow]

WORDS, SECRET = "zebrafishmarmalade", "hunter2secretpassword"
HEADER = "ticket_id,subject,body,created_at,channel\n"


def fail(settings: Any) -> str:
    """Run the flow until it fails, and return its log."""
    state = classify_tickets(settings, return_state=True)
    assert state.is_failed(), state
    assert WORDS not in str(state.message)
    assert SECRET not in str(state.message)
    return logs_of(state, until="Finished in state Failed")


def rows(good: int, bad: int) -> str:
    """Tickets with the planted words, and rows that have a field too many."""
    lines = [f"{i},late,{WORDS} where is it,2026-01-01,mail" for i in range(good)]
    lines += [f"x{i},late,{WORDS},2026-01-01,mail,{WORDS}" for i in range(bad)]
    return HEADER + "\n".join(lines) + "\n"


@pytest.fixture
def failures(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """OUT after runs that failed at the source, at its values, at its rows, at a part, and one that ended well."""
    monkeypatch.setenv("PGPASSWORD", SECRET)
    out = tmp_path / "out"
    fail(settings_for(out, source=f"postgresql://shop:{SECRET}@127.0.0.1:1/shop", table="tickets"))
    fail(settings_for(out, source=str(tmp_path / "gone.csv")))
    rejected = tmp_path / "rejected.csv"
    rejected.write_text(rows(5, 5))
    fail(settings_for(out, source=str(rejected)))
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute(f"CREATE TABLE tickets AS SELECT 1 AS id, '{WORDS}' AS body")
    casting = "SELECT id, body, body::INTEGER AS channel FROM tickets"
    fail(settings_for(out, source=str(tmp_path / "shop.duckdb"), query=casting, time_column=None))
    source = tmp_path / "tickets.csv"
    source.write_text(rows(300, 1))
    monkeypatch.setattr(classify_tickets, "retries", 0)
    obstacle = settings_for(out, source=str(source), shard_rows=100)
    monkeypatch.setattr("ecomintent_batch.inference.classify.hash_message", explode)
    monkeypatch.setattr("ecomintent_batch.flows.classify_tickets.classify_shard.retries", 0)
    assert "unexpected ValueError in" in fail(obstacle)
    monkeypatch.undo()
    assert classify_tickets(obstacle, return_state=True).is_completed()
    return out


def explode(text: str) -> str:
    """Raise an error that quotes a ticket, as a library may."""
    raise ValueError(f"cannot hash {text}")


def test_nothing_planted_is_kept(failures: Path, server: Server) -> None:
    """Database and log of the server, records, rejects, summaries and report are searched byte by byte."""
    kept = [file for file in server.home.rglob("*") if file.is_file()]
    kept += [file for file in failures.rglob("*") if file.is_file() and file.suffix != ".parquet"]
    assert any(file.name == "report.html" for file in kept)
    assert any(file.name == "prefect.db" for file in kept)
    for file in kept:
        content = file.read_bytes()
        for planted in (WORDS, SECRET):
            assert planted.encode() not in content, file
    for table in failures.glob("*/**/*.parquet"):  # compressed: bytes would tell nothing
        if "staging" not in table.parts:
            assert WORDS not in str(pq.read_table(table, partitioning=None).to_pylist()), table
