"""Predictions of a fixed input, row for row, while the code around them moves."""

from __future__ import annotations

import hashlib
import json

import pyarrow.dataset as ds
from support.tickets import ROOT

from ecomintent_batch.pipeline import run_job

# Of the 400 sample tickets, without the columns that hold the moment or the model.
EXPECTED = "c18804047df320d433ccd5f58c571d8a5badd5d5304e3da680373b4c3a7a2eec"


def test_predictions_of_the_sample_stay(stub_settings, tmp_path):
    """A change of this hash is a change of what users get: it needs a line in the CHANGELOG."""
    settings = stub_settings(
        ROOT / "sample_data" / "tickets.csv", tmp_path, by=("channel",), shard_rows=150
    )
    run_job(settings)
    table = ds.dataset(tmp_path / "predictions", format="parquet").to_table().sort_by("row_number")
    rows = table.drop_columns(["model", "classified_at"]).to_pylist()
    text = json.dumps(rows, default=str, ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == EXPECTED
