"""Committed runs written without a job: what summaries, queries and the report read."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.runs.lifecycle import RunFolder
from ecomintent_batch.schema import REJECTS, prediction_schema
from support.tickets import NINE

# top_intent, confidence, status, channel, created_at
ROWS = [
    ("WISMO", 0.9, "ok", "chat", datetime(2026, 10, 1, 1)),
    ("WISMO", 0.8, "ok", "email", datetime(2026, 10, 1, 23)),
    ("WISMO", 0.4, "ok", "chat", datetime(2026, 10, 2, 1)),
    ("BILLING_DISPUTE", 0.9, "ok", None, datetime(2026, 10, 2, 1)),
    ("OTHER", 0.6, "ok", "chat", None),
    (None, None, "empty", "chat", datetime(2026, 10, 2, 9)),
    ("WISMO", 0.7, "ok", "chat", datetime(2026, 10, 2, 9)),
    (None, None, "error", "email", datetime(2026, 10, 2, 9)),
]


def write_run(
    out: Path,
    run_id: str = "r1",
    rows=ROWS,
    *,
    kept=None,
    by=("channel",),
    time="created_at",
    first_id=0,
    **columns_of_job,
) -> tuple[RunFolder, dict]:
    """Write a committed run as the job does: parts, rejects, and what of the manifest the summaries need.

    Columns of the predictions that the rows do not give are null, or as given by name.
    """
    columns = kept or {"created_at": [row[4] for row in rows], "channel": [row[3] for row in rows]}
    tables = {name: pa.array(values) for name, values in columns.items()}
    labels = {
        "ticket_id": [str(first_id + i) for i in range(len(rows))],
        "row_number": list(range(len(rows))),
        "intent": ["OTHER" if row[1] is None or row[1] < 0.7 else row[0] for row in rows],
        "top_intent": [row[0] for row in rows],
        "confidence": [row[1] for row in rows],
        "below_threshold": [None if row[1] is None else row[1] < 0.7 for row in rows],
        "status": [row[2] for row in rows],
        **columns_of_job,
    }
    schema = prediction_schema(
        [pa.field(name, array.type) for name, array in tables.items()], NINE, keep_text=False
    )
    arrays = [
        tables[field.name]
        if field.name in tables
        else pa.array(labels.get(field.name, [None] * len(rows)), field.type)
        for field in schema
    ]
    folder = RunFolder(out, run_id)
    folder.predictions.mkdir(parents=True)
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema), folder.predictions / "part-00000.parquet"
    )
    folder.rejects.parent.mkdir(exist_ok=True)
    pq.write_table(REJECTS.empty_table(), folder.rejects)
    columns = {"kept": {name: name for name in columns}, "time": time}
    manifest = {
        "run_id": run_id,
        "source": "s",
        "columns": columns,
        "settings": {"by": list(by)},
        "parts": [{"file": "part-00000.parquet"}],
    }
    return folder, manifest


def describe(folder: Any, manifest: dict[str, Any], rows: int, **settings: Any) -> dict[str, Any]:
    """Return a whole manifest, written where the job writes it."""
    whole = {
        "run_id": folder.run_id, "source": "shop.csv", "started_at": "2026-11-02T04:00:00+00:00",
        "finished_at": "2026-11-02T04:00:10+00:00", "model": "m", "engine": "e", "parts": [{"file": "part-00000.parquet"}],
        "reject_reasons": {}, "performance": {"elapsed_s": 36.0, "tickets_per_s": 10.0},
        "counts": {"source_rows": rows, "predictions": rows, "rejects": 0, "skipped": 0, "by_status": {"ok": rows}},
        "columns": manifest["columns"],
        "settings": {"threshold": 0.7, "keep_text": False, "hourly_price": 0.5, **manifest["settings"], **settings},
    }  # fmt: skip
    folder.manifest.parent.mkdir(exist_ok=True)
    folder.manifest.write_text(json.dumps(whole))
    return whole


def put(out: Path, run_id: str, rows: list[tuple[Any, ...]], **columns: Any) -> None:
    """Write a committed run with its manifest; rows are (top_intent, confidence, status, channel, time)."""
    folder, manifest = write_run(out, run_id, rows, **columns)
    describe(folder, manifest, len(rows))
