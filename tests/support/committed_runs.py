"""Committed runs written without a job: what summaries, queries and the report read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.analytics.report import write_report
from ecomintent_batch.analytics.summaries import Summary, summarise_run
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import (
    Columns,
    Counts,
    Manifest,
    PartRecord,
    Performance,
    RecordedSettings,
)
from ecomintent_batch.runs.store import LocalRuns
from ecomintent_batch.schema import REJECTS, prediction_schema, schema_id
from ecomintent_batch.storage.atomic import sha256_of
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
) -> tuple[RunFolder, Manifest]:
    """Write the files of a run as the job does, and return its manifest, which is not written yet.

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
        [pa.field(name, array.type) for name, array in tables.items()],
        NINE,
        keep_text="message" in columns_of_job,
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
    columns = Columns(id="id", text=("body",), time=time, kept={name: name for name in columns})
    return folder, make_manifest(folder, columns, len(rows), by=tuple(by))


def make_manifest(
    folder: RunFolder,
    columns: Columns,
    rows: int,
    *,
    started_at: datetime = datetime(2026, 11, 2, 4, tzinfo=UTC),
    model: str = "m",
    **settings: Any,
) -> Manifest:
    """Return the manifest of a run that labelled every row, from the parts in its folder."""
    return Manifest(
        run_id=folder.run_id,
        version="0",
        started_at=started_at,
        finished_at=started_at + timedelta(seconds=10),
        source="shop.csv",
        columns=columns,
        settings=RecordedSettings.model_validate(
            {"threshold": 0.7, "hourly_price": 0.5, **settings}
        ),
        read_from=None,
        newest=None,
        model=model,
        engine="e",
        resumed=False,
        counts=Counts(
            source_rows=rows,
            predictions=rows,
            rejects=0,
            skipped=0,
            below_threshold=0,
            by_status={"ok": rows},
        ),
        reject_reasons={},
        performance=Performance(
            elapsed_s=36.0,
            score_s=30.0,
            tickets_per_s=10.0,
            messages_scored=rows,
            tokens=rows,
            tokens_per_s=1.0,
            padding_ratio=0.0,
            stages_s={},
        ),
        parts=tuple(
            PartRecord(
                file=path.name,
                rows=pq.read_metadata(path).num_rows,
                sha256=sha256_of(path),
                engine="e",
            )
            for path in sorted(folder.predictions.iterdir())
        ),
        rejects_sha256=sha256_of(folder.rejects),
        schema_id=schema_id(pq.read_schema(min(folder.predictions.iterdir()))),
    )


def describe(folder: RunFolder, manifest: Manifest, rows: int, **settings: Any) -> Manifest:
    """Write a manifest where the job writes it, with other settings, and return it."""
    settings = {**manifest.settings.to_json(), **settings}
    whole = make_manifest(folder, manifest.columns, rows, **settings)
    folder.manifest.parent.mkdir(exist_ok=True)
    whole.write(folder.manifest)
    return whole


def summarise(folder: RunFolder, manifest: Manifest) -> Summary:
    """Write the summaries of a run."""
    return summarise_run(LocalRuns(folder.out), manifest)


def report(folder: RunFolder, manifest: Manifest) -> Path:
    """Write the summaries and the report of a run, and return the path of the report."""
    return write_report(LocalRuns(folder.out), manifest, summarise(folder, manifest))


def put(out: Path, run_id: str, rows: list[tuple[Any, ...]], **columns: Any) -> None:
    """Write a committed run with its manifest; rows are (top_intent, confidence, status, channel, time)."""
    folder, manifest = write_run(out, run_id, rows, **columns)
    describe(folder, manifest, len(rows))
