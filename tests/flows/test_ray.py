"""The shards of a run on a Ray cluster of two machines with one core each, and a real Prefect server."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from support.prefect_server import Server, ray_cluster, wait_until
from support.tickets import write_tickets

from ecomintent_batch.errors import UsageError
from ecomintent_batch.flows.classify_tickets import classify_tickets
from ecomintent_batch.flows.runners import adapt_to_runner, open_runner
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import read_manifest
from ecomintent_batch.settings import RunSettings

pytestmark = pytest.mark.service


def test_settings_travel_with_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has other folders, a share of one core, and sees one GPU, whatever its number here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    settings = RunSettings(source="tickets.csv", model="model", device="cuda:1")
    elsewhere, folder = adapt_to_runner("ray", settings, RunFolder(Path("out"), "id"))
    assert (elsewhere.model, elsewhere.device, elsewhere.threads) == (
        f"{tmp_path}/model",
        "cuda",
        1,
    )
    assert folder.out == tmp_path / "out"
    assert adapt_to_runner("inline", settings, RunFolder(Path("out"), "id")) == (
        settings,
        RunFolder(Path("out"), "id"),
    )


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prefect-ray the line says how to get it."""
    monkeypatch.setitem(__import__("sys").modules, "prefect_ray", None)
    with (
        pytest.raises(UsageError, match=r"pip install 'ecomintent-batch\[ray\]'"),
        open_runner("ray", RunSettings(source="x"), None),
    ):
        pass


@pytest.fixture(scope="module")
def cluster(server: Server) -> Iterator[Any]:
    """A head and a second machine, as processes of this one."""
    pytest.importorskip("prefect_ray", reason="needs the extra `ray`")
    with ray_cluster(server, machines=2) as cluster:
        yield cluster


def workers_of_ray() -> list[psutil.Process]:
    """The processes in which the tasks of this test's flow run."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.name().startswith("ray::")
    ]


@pytest.mark.slow
def test_ray_writes_the_bytes_of_inline(cluster: Any, tmp_path: Path) -> None:
    """Parts of two machines hold what those of one process do; each machine has loaded the model once."""
    source = write_tickets(tmp_path / "tickets.csv", 3_000)
    settings = RunSettings(source=str(source), out=tmp_path / "ray", shard_rows=500, dedupe=False)
    folder = classify_tickets(settings, runner="ray", ray_address=cluster.address)
    inline = run_job(settings.model_copy(update={"out": tmp_path / "inline"})).folder
    for part in sorted(inline.predictions.iterdir()):
        tables = [
            pq.read_table(run.predictions / part.name, partitioning=None)
            for run in (folder, inline)
        ]
        assert (
            tables[0].drop_columns("classified_at").equals(tables[1].drop_columns("classified_at"))
        )
    manifest = read_manifest(folder.manifest)
    assert re.fullmatch(
        r"onnx int8( \(.*\))? on cpu, 1 thread", manifest.engine
    )  # one for both machines
    assert manifest.counts.predictions == 3_000


@pytest.mark.slow
def test_a_killed_ray_worker_costs_its_shard_only(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    """Ray starts the shard again elsewhere; parts that were there stay as they were, and the run ends well."""
    source = write_tickets(tmp_path / "tickets.csv", 12_000)
    out = tmp_path / "out"
    arguments = ["-c", _RUN, str(source), str(out), cluster.address]
    flow = server.start("python", *arguments, log="ray-flow.log")
    parts = wait_until(
        lambda: sorted(out.glob("staging/*/parts/*.parquet")),
        lambda found: len(found) >= 2,
        within_s=90,
    )
    before = {part.name: (part.stat().st_ino, part.stat().st_mtime_ns) for part in parts}
    (victim, *_) = [worker for worker in workers_of_ray() if "IDLE" not in worker.name()]
    os.kill(victim.pid, signal.SIGKILL)
    assert flow.wait(timeout=120) == 0, (server.home / "ray-flow.log").read_text()
    (manifest,) = (out / "runs").iterdir()
    after = {
        part.name: (part.stat().st_ino, part.stat().st_mtime_ns)
        for part in (out / "predictions").glob("*/*.parquet")
    }
    assert {name: after[name] for name in before} == before
    assert (
        read_manifest(manifest).resumed,
        read_manifest(manifest).counts.predictions,
    ) == (False, 12_000)


_RUN = """
import sys
from pathlib import Path
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.flows.classify_tickets import classify_tickets
source, out, address = sys.argv[1:]
settings = RunSettings(source=source, out=Path(out), shard_rows=1_000, dedupe=False)
classify_tickets(settings, runner="ray", ray_address=address)
"""
