"""The Python API: what it returns, what it refuses, and what importing it loads."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.tickets import ROOT, write_tickets

import ecomintent_batch
from ecomintent_batch import (
    Progress,
    RunSettings,
    UsageError,
    api,
    classify,
    list_runs,
    query,
    run,
)

pytestmark = pytest.mark.model


def test_importing_the_package_loads_nothing_else() -> None:
    """No third-party module and no module of its own: under 0.1 s on any machine."""
    program = (
        "import sys; before = set(sys.modules); import ecomintent_batch; "
        "print(*(name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["ecomintent_batch"]


def test_every_public_name_is_there() -> None:
    """Each name in `__all__` can be imported, is listed and documented; another one is an error."""
    for name in ecomintent_batch.__all__:
        assert getattr(ecomintent_batch, name).__doc__, name
        assert name in dir(ecomintent_batch)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ecomintent_batch.nothing


def test_the_examples_in_the_docstrings_hold() -> None:
    """With the embedded model."""
    for module in (ecomintent_batch, api):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


def test_the_examples_in_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/python.md, block by block, on the sample tickets."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    sample = ROOT / "sample_data" / "tickets.csv"
    (tmp_path / "tickets.csv").write_bytes(sample.read_bytes())
    names: dict[str, Any] = {"tickets": pl.read_csv("tickets.csv", infer_schema=False).head(9)}
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    for block in blocks:
        exec(block, names)  # noqa: S102 - our own page
    assert len(blocks) == 2
    assert names["tickets"]["intent"].null_count() == 0
    assert names["result"].volumes["tickets"].sum() == 400


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, object]:
    """Settings of a run without a model."""
    return {"model": str(tiny_model), "engine": "stub", "out": tmp_path / "out", "shard_rows": 10}


def test_run_returns_what_it_committed(tmp_path: Path, settings: dict[str, object]) -> None:
    """Volumes and predictions as Polars, manifest, report; callbacks arrive; the second run is empty."""
    notes: list[str] = []

    class Notes(Progress):
        def note(self, text: str) -> None:
            notes.append(text)

    source = write_tickets(tmp_path / "tickets.csv", 40)
    result = run(source, Notes(), **settings)
    assert any("columns:" in note for note in notes)
    assert result.manifest.counts.predictions == 40
    assert result.volumes["tickets"].sum() == 40
    predictions = result.predictions.collect()
    assert predictions.height == 40
    assert predictions["row_number"].to_list() == list(range(40))
    assert result.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list_runs(tmp_path / "out")["run_id"].to_list() == [result.run_id]
    empty = run(source, **settings, incremental=True)
    assert empty.predictions.collect().is_empty()
    assert empty.volumes.is_empty()


def test_runs_and_queries_are_frames(tmp_path: Path, settings: dict[str, object]) -> None:
    """One row per run with its counts; a query with its parameters; names and values are checked."""
    source = write_tickets(tmp_path / "tickets.csv", 40)
    assert list_runs(tmp_path / "out").is_empty()
    run(source, **settings)
    run(source, **{**settings, "threshold": 0.9})
    rows = list_runs(tmp_path / "out")
    assert rows.select("tickets", "rejects", "skipped").rows() == [(40, 0, 0)] * 2
    assert rows["started_at"].dtype == pl.Datetime("us", "UTC")
    assert query("volume_by_intent", tmp_path / "out")["tickets"].sum() == 40
    assert query("volume_by_intent", tmp_path / "out", every_run=True)["tickets"].sum() == 80
    by_week = query("volume_by_intent_per_period", tmp_path / "out", run="latest", period="week")
    assert by_week["period"].dt.weekday().unique().to_list() == [1]
    with pytest.raises(UsageError, match="--set perid: expected a parameter"):
        query("volume_by_intent_per_period", tmp_path / "out", perid="week")
    with pytest.raises(UsageError, match="--threshold: input should be less"):
        run(source, **{**settings, "threshold": 2})


@pytest.mark.parametrize("kind", [list, pl.Series, iter])
def test_classify_labels_texts_in_their_order(kind) -> None:
    """A list, a series, a generator; equal texts get equal rows; no text is `empty`."""
    texts = ["Where is my parcel?", None, "I want to return these shoes", "Where is my parcel?"]
    labels = classify(kind(texts))
    assert labels["intent"].to_list() == ["WISMO", "OTHER", "RETURN_REQUEST", "WISMO"]
    assert labels["status"].to_list() == ["ok", "empty", "ok", "ok"]
    assert labels.row(0)[:-1] == labels.row(3)[:-1]
    assert labels["confidence"][1] is None
    probabilities = labels.select(pl.sum_horizontal(pl.col("^prob_.*$").cast(pl.Float64)))
    assert probabilities.to_series().round(5).to_list() == [1.0, 0.0, 1.0, 1.0]


def test_classify_gives_what_a_run_gives(tmp_path: Path) -> None:
    """The same model and text, the same row, but for the time."""
    source = ROOT / "sample_data" / "tickets.csv"
    predictions = run(source, out=tmp_path / "out", text_column=["body"]).predictions.collect()
    labels = classify(pl.read_csv(source, infer_schema=False)["body"])
    same = ["intent", "top_intent", "status", "language", "model"]
    assert labels.select(same).equals(predictions.select(pl.col(same).cast(pl.String)))


def test_classify_takes_a_threshold_and_a_model(tiny_model: Path) -> None:
    """A threshold of one leaves nothing but OTHER; another model brings its own columns."""
    assert classify(["Where is my parcel?"], threshold=1)["intent"].to_list() == ["OTHER"]
    labels = classify(["a", "b"], model=tiny_model, engine="torch", device="cpu", threshold=0)
    assert labels.height == 2
    assert "prob_wismo" in labels.columns


def test_classify_without_texts_has_the_columns() -> None:
    """So that code that goes on with them needs no special case."""
    assert classify([]).is_empty()
    assert classify([]).schema == classify(["x"]).schema


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "texts: expected several strings, found one"),
        ([1, 2], "texts: expected strings, found int"),
        (pl.Series([1.5]), "texts: expected strings, found Float64"),
    ],
)
def test_classify_refuses_what_is_no_text(texts, message: str) -> None:
    """One line, and nothing of the values."""
    with pytest.raises(UsageError, match=message):
        classify(texts)


def test_a_missing_text_of_pandas_is_empty() -> None:
    """There it is a NaN among strings."""
    assert classify(["Where is my parcel?", float("nan")])["status"].to_list() == ["ok", "empty"]


def test_settings_are_checked_where_they_are_made() -> None:
    """The class of the settings is public; it is the one that the command line fills."""
    assert RunSettings(source="t.csv", by=("channel",)).by == ("channel",)
