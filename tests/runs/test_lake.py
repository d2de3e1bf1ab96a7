"""Runs in a Delta table: each once, in one transaction, whatever was tried before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from support.make_predictions import make_run

from ecomintent_batch.errors import OutputError, UsageError
from ecomintent_batch.pipeline import RunResult, run_job
from ecomintent_batch.runs import lake
from ecomintent_batch.runs.compaction import AT_LEAST, compact_runs
from ecomintent_batch.runs.lake import append_runs
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.settings import RunSettings


@pytest.fixture
def run(tmp_path: Path, stub_settings: Callable[..., RunSettings]) -> Callable[..., RunResult]:
    """Label tickets, in parts of two, and append them to a table."""

    def start(*ids: str, **changes: object) -> RunResult:
        source = tmp_path / f"{'-'.join(ids)}.csv"
        source.write_text("id,body,brand\n" + "".join(f"{i},hello {i},b\n" for i in ids))
        options = {"out_table": str(tmp_path / "table"), "shard_rows": 2, **changes}
        return run_job(stub_settings(source, tmp_path / "out", **options))

    return start


def read(table: Path) -> list[tuple[str, str]]:
    """Return what DuckDB sees of the table."""
    rows = duckdb.from_arrow(DeltaTable(table).to_pyarrow_dataset())
    return rows.project("run_id, ticket_id").order("ALL").fetchall()


def test_a_run_is_one_transaction(run: Callable[..., RunResult], tmp_path: Path) -> None:
    """Three parts are one version, with the id of the run; columns that a later run adds are added."""
    first = run("1", "2", "3", "4", "5")
    assert DeltaTable(tmp_path / "table").version() == 0
    second = run("6", keep=("brand",))
    table = DeltaTable(tmp_path / "table")
    assert table.version() == 1
    assert table.history()[0]["run_id"] == second.run_id
    assert read(tmp_path / "table") == [
        *((first.run_id, ticket) for ticket in "12345"),
        (second.run_id, "6"),
    ]
    rows = duckdb.from_arrow(table.to_pyarrow_dataset())
    assert rows.project("brand").distinct().order("ALL").fetchall() == [("b",), (None,)]


def test_a_run_that_was_not_appended_is_so_by_the_next(
    run: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed all the same; trying again appends nothing twice, and a run without the option nothing at all."""
    first = run("1")
    with monkeypatch.context() as patched:
        patched.setattr(lake, "_append", lambda *arguments: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OutputError, match=r"the runs are committed, and the next one appends"):
            run("2")
    store = open_store(tmp_path / "out")
    second = store.manifests()[-1].run_id
    assert read(tmp_path / "table") == [(first.run_id, "1")]
    run("3", out_table=None)
    fourth = run("4", incremental=True)
    assert read(tmp_path / "table") == [
        (first.run_id, "1"),
        (second, "2"),
        (fourth.run_id, "4"),
    ]
    assert append_runs(store, str(tmp_path / "table")) == []
    assert run("4", incremental=True).manifest.counts.predictions == 0
    assert DeltaTable(tmp_path / "table").version() == 2


def test_merged_runs_can_still_be_appended(tmp_path: Path) -> None:
    """A table that is lost is made again, whatever has become of the parts."""
    out, table = tmp_path / "out", str(tmp_path / "table")
    for number in range(AT_LEAST):
        make_run(out, number, 3, apart=True, out_table=table)
    (out / "staging").mkdir()
    compact_runs(open_store(out), lambda text: None)
    assert len(append_runs(open_store(out), table)) == AT_LEAST
    assert len(read(tmp_path / "table")) == 3 * AT_LEAST


def test_without_the_package_nothing_is_read(
    run: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line before the run, not a failure after it."""
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(UsageError, match=r"pip install 'ecomintent-batch\[lake\]'"):
        run("1")
