"""Tickets that arrive later than the lag: counted at the source, warned of, and found by a run that reads everything."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecomintent_batch.pipeline import RunResult, run_job
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.records import read_manifest

DAY = datetime(2026, 3, 10, 12)


class Heard(Progress):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def incremental_run(tmp_path: Path, stub_settings: Any) -> Any:
    """Return what runs the job over tickets of some days before DAY, and what it said."""

    def start(days_before: dict[str, float], **options: Any) -> tuple[RunResult, Heard]:
        source, heard = tmp_path / "tickets.parquet", Heard()
        times = [DAY - timedelta(days=days) for days in days_before.values()]
        columns = {
            "ticket_id": list(days_before),
            "body": [f"where is order {name}" for name in days_before],
            "created_at": pa.array(times, pa.timestamp("us")),
        }
        pq.write_table(pa.table(columns), source)
        given = {"incremental": True, "time_column": "created_at", **options}
        return run_job(stub_settings(source, tmp_path / "out", **given), heard), heard

    return start


def test_late_rows_are_counted_and_named(incremental_run: Any) -> None:
    """Two of three late tickets lie before the watermark: the run says so once, and its manifest has the number."""
    known: dict[str, float] = {"1": 9, "2": 2, "3": 0}
    first, _ = incremental_run(known)
    assert first.manifest.before is not None
    assert first.manifest.before.rows == 1  # ticket 1 is older than three days before the newest
    known |= {"in time": 2.5, "late": 4, "very late": 40}
    second, heard = incremental_run(known)
    assert second.manifest.counts.predictions == 1
    assert second.manifest.late_rows == 2
    (warning,) = heard.warnings
    assert warning.startswith(
        "2 tickets with times before 2026-03-07 12:00 have come since the last run"
    )
    third, heard = incremental_run(known)
    assert (third.manifest.late_rows, heard.warnings) == (0, [])
    assert read_manifest(third.folder.manifest).before == third.manifest.before


def test_no_lag_is_no_watermark(incremental_run: Any) -> None:
    """--lag-days 0 reads everything, and so finds what came late."""
    known: dict[str, float] = {"1": 9, "2": 0}
    incremental_run(known)
    found, _ = incremental_run(known | {"late": 30}, lag_days=0)
    assert found.manifest.read_from is None
    assert (found.manifest.counts.source_rows, found.manifest.counts.predictions) == (3, 1)


def test_the_whole_source_is_compared_every_few_days(incremental_run: Any) -> None:
    """A run reads everything when the last such run is older than asked; else it starts at the watermark."""
    known: dict[str, float] = {"1": 9, "2": 0}
    incremental_run(known)
    known["late"] = 30
    within, heard = incremental_run(known, full_every_days=7)
    assert (within.manifest.late_rows, within.manifest.counts.predictions) == (1, 0)
    due, heard = incremental_run(known, full_every_days=0)
    assert "reading the whole source: no run has for 0 days" in heard.notes
    assert (due.manifest.read_from, due.manifest.counts.predictions) == (None, 1)
    assert heard.warnings == []
