"""The flow, on a real Prefect server of its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH
from prefect.utilities.schema_tools.validation import is_valid
from support.flow_runs import (
    TICKETS,
    attempts_of_tasks,
    interrupted,
    logs_of,
    run_id_of,
    settings_for,
    when_there,
)
from support.make_predictions import make_run
from support.prefect_server import Server

from ecomintent_batch import pipeline
from ecomintent_batch.cli.flow_script import main
from ecomintent_batch.errors import OutputError, SourceError, UsageError
from ecomintent_batch.flows import classify_tickets as module
from ecomintent_batch.flows.classify_tickets import classify_shard, classify_tickets
from ecomintent_batch.flows.runners import keep_one_gpu
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.planning import plan_job
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.compaction import AT_LEAST
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lock import lock_out
from ecomintent_batch.runs.records import read_manifest
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.storage.atomic import sha256_of

SHARDS = ["shard-00000", "shard-00001", "shard-00002"]


pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.service]


@pytest.fixture(scope="module")
def done(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> tuple[State[RunFolder], RunFolder]:
    """One flow run that went well."""
    state = classify_tickets(settings_for(tmp_path_factory.mktemp("flow")), return_state=True)
    return state, state.result()


@pytest.mark.slow
def test_older_small_runs_are_merged_and_their_rows_in_the_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the daily deployment asks for it; a merge that fails is a warning, and the run is whole."""
    settings = settings_for(tmp_path).model_copy(update={"out_table": str(tmp_path / "table")})
    out = Path(str(settings.out))
    for number in range(AT_LEAST):
        make_run(out, number, 3, apart=True)

    def fail(*arguments: Any, **options: Any) -> None:
        raise OutputError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(module, "compact_runs", fail)
        classify_tickets(settings, compact_days=1)
    assert len(list((out / "predictions").iterdir())) == AT_LEAST + 1
    classify_tickets(settings, compact_days=1)
    names = sorted(path.name for path in (out / "predictions").iterdir())
    assert [name.startswith("run_id=merged-") for name in names] == [False, False, True]
    assert DeltaTable(tmp_path / "table").version() == 1


def test_outputs_are_those_of_the_command_line(
    done: tuple[State[RunFolder], RunFolder], tmp_path: Path
) -> None:
    """Both drivers write the same predictions, summaries and manifest."""
    flow_run, command = done[1], run_job(settings_for(tmp_path)).folder
    parts = sorted(path.name for path in command.predictions.iterdir())
    assert (
        sorted(path.name for path in flow_run.predictions.iterdir())
        == parts
        == [f"part-0000{i}.parquet" for i in range(3)]
    )
    for part in parts:
        tables = [
            pq.read_table(run.predictions / part, partitioning=None) for run in (flow_run, command)
        ]
        assert (
            tables[0].drop_columns("classified_at").equals(tables[1].drop_columns("classified_at"))
        )
    tables_of = [
        {file.name: file.read_text() for file in run.summaries.glob("*.csv")}
        for run in (flow_run, command)
    ]
    assert tables_of[0] == tables_of[1]
    assert set(tables_of[0]) > {"volume_by_intent.csv", "volume_by_intent_by_channel.csv"}
    manifests = [read_manifest(run.manifest).to_json() for run in (flow_run, command)]
    for manifest in manifests:
        for of_this_run in ("run_id", "started_at", "finished_at"):
            del manifest[of_this_run]
        del manifest["settings"]["out"]
        manifest["settings"].pop("on_stale", None)
        for seconds in ("elapsed_s", "score_s", "tickets_per_s", "tokens_per_s", "stages_s"):
            del manifest["performance"][seconds]
        manifest["parts"] = [part["rows"] for part in manifest["parts"]]
    assert manifests[0] == manifests[1]
    assert not flow_run.staging.exists()


def test_artifacts_show_the_volumes(done: tuple[State[RunFolder], RunFolder]) -> None:
    """The table artifact has the numbers of the run, the markdown artifact is its summary.md."""
    state, folder = done
    table, page = Artifact.get("volume-by-intent"), Artifact.get("run-summary")
    assert table is not None
    assert page is not None
    assert table.flow_run_id == page.flow_run_id == run_id_of(state)
    volumes = {row["intent"]: row["tickets"] for row in json.loads(table.data)}
    on_disk = pq.read_table(folder.summaries / "volume_by_intent.parquet").to_pylist()
    assert volumes == {row["intent"]: row["tickets"] for row in on_disk}
    assert sum(volumes.values()) == 400
    assert page.data.startswith((folder.summaries / "summary.md").read_text())
    assert f"- Predictions: `{folder.predictions}`" in page.data
    assert "No earlier run of this source" in page.data
    bar = Artifact.get("shards-done")
    assert bar is not None
    assert (bar.type, float(bar.data), bar.flow_run_id) == ("progress", 100.0, run_id_of(state))


def test_prefect_keeps_no_ticket_text(done: tuple[State[RunFolder], RunFolder]) -> None:
    """A task run for each shard, and neither logs nor parameters nor stored results with words of a ticket."""
    state, folder = done
    tasks = attempts_of_tasks(state, {f"classify-{shard}" for shard in SHARDS})
    assert {name for name in tasks if name.startswith("classify")} == {
        f"classify-{shard}" for shard in SHARDS
    }
    log = logs_of(state, until=f"run {folder.run_id} is committed")
    assert "columns: id ticket_id, text subject + body, time created_at" in log
    assert "shard-00002: 100 tickets" in log
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(run_id_of(state))
    assert flow_run.parameters["settings"]["source"] == str(TICKETS)
    assert "saucepan" in TICKETS.read_text()
    assert "saucepan" not in log + json.dumps(flow_run.parameters)
    stored = [file.read_bytes() for file in PREFECT_RESULTS_LOCAL_STORAGE_PATH.value().iterdir()]
    assert not any(b"saucepan" in result for result in stored)


def test_an_alert_is_an_event_and_a_warning(tmp_path: Path) -> None:
    """The server has an event with intent, numbers and days, for automations to act on; the log has its line."""
    state = classify_tickets(
        settings_for(tmp_path, alert=("any volume > 0", "WISMO share > 99.9%")), return_state=True
    )
    run_id = state.result().run_id
    fired = json.loads((state.result().summaries / "alerts.json").read_text())
    events: Any = {"filter": {"event": {"name": ["ecomintent-batch.alert"]}}, "limit": 50}

    def read() -> list[dict[str, Any]]:
        with get_client(sync_client=True) as client:
            found = client._client.post("/events/filter", json=events).json()["events"]
        return [event for event in found if event["payload"]["run_id"] == run_id]

    found = when_there(read, lambda found: len(found) == len(fired))
    assert {event["payload"]["message"] for event in found} == {alert["message"] for alert in fired}
    assert {event["resource"]["prefect.resource.name"] for event in found} == {
        alert["intent"] for alert in fired
    }
    log = logs_of(state, until=fired[-1]["message"])
    assert all(f"alert: {alert['message']}" in log for alert in fired)


def test_a_failing_shard_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stood in the way of one part is gone at the second attempt, and the run ends well."""
    settings = settings_for(tmp_path)
    job = interrupted(settings)
    part = job.folder.part_of(Path(f"{SHARDS[1]}.parquet"))
    # A folder of the name under which the part is written first: an error of the system, as a full disk would be.
    obstacle = part.with_name(f"{part.name}.{os.getpid()}.tmp")
    obstacle.mkdir()
    is_worth_a_retry = classify_shard.retry_condition_fn

    def mend_and_ask(task: Any, run: Any, state: Any) -> bool:
        obstacle.rmdir()
        return bool(is_worth_a_retry(task, run, state))

    monkeypatch.setattr(classify_shard, "retry_condition_fn", mend_and_ask)
    monkeypatch.setattr(classify_shard, "retry_delay_seconds", 0)
    state = classify_tickets(settings, return_state=True)
    assert state.is_completed()
    assert read_manifest(state.result().manifest).counts.predictions == 400
    names = {f"classify-{shard}" for shard in SHARDS}
    tasks = attempts_of_tasks(state, names)
    assert {name: tasks[name] for name in names} == {
        f"classify-{shard}": 1 + (shard == SHARDS[1]) for shard in SHARDS
    }
    assert "expected room to write, found: Is a directory" in logs_of(state, until="is committed")


def test_a_broken_shard_fails_the_run_at_once(tmp_path: Path) -> None:
    """An error of ours is not tried again; the other shards end, and nothing is visible."""
    settings = settings_for(tmp_path, shard_rows=40)
    job = interrupted(settings)
    broken, record = (
        job.folder.shards / f"{SHARDS[0]}.parquet",
        job.folder.shards / "extraction.json",
    )
    broken.write_bytes(b"PAR1 broken")
    extraction = json.loads(
        record.read_text()
    )  # as if it had been written so: of an altered one the shards are made anew
    extraction["sha256"][0] = sha256_of(broken)
    record.write_text(json.dumps(extraction))
    state = classify_tickets(settings, return_state=True)
    assert state.is_failed()
    assert "1 of 10 shards failed, the others keep their parts; shard-00000: " in str(state.message)
    assert "expected a shard of this run, found: " in str(state.message)
    kept = f"run {job.folder.run_id} keeps 9 parts in {job.folder.staging}, of 10 shards"
    assert kept in logs_of(state, until="continues from it")
    assert attempts_of_tasks(state, {f"classify-{SHARDS[0]}"})[f"classify-{SHARDS[0]}"] == 1
    assert sorted(path.name for path in job.folder.parts.iterdir()) == [
        f"part-0000{i}.parquet" for i in range(1, 10)
    ]
    assert not list((tmp_path / "predictions").iterdir())
    with lock_out(tmp_path, 0):
        pass  # the flow has let go of OUT


def test_a_bad_source_fails_the_run_with_its_line(tmp_path: Path) -> None:
    """The state of the flow run says what `ecomintent-batch run` would print."""
    settings = settings_for(tmp_path, source=str(tmp_path / "nope.csv"))
    state = classify_tickets(settings, return_state=True)
    assert state.is_failed()
    with pytest.raises(SourceError) as error:
        plan_job(settings, open_store(settings.out), Progress())
    assert str(error.value) in str(state.message)
    assert "Traceback" not in logs_of(state, until="Finished in state Failed")


def test_out_is_locked(tmp_path: Path) -> None:
    """A flow does not work in a folder where another job does."""
    with lock_out(tmp_path, 0), pytest.raises(OutputError, match="found another job at work"):
        classify_tickets(settings_for(tmp_path))


def test_resume_skips_the_parts_that_are_there(tmp_path: Path) -> None:
    """A part of the interrupted run is published as it was, and counted with the others."""
    settings = settings_for(tmp_path)
    job = interrupted(settings)
    pipeline.classify_one(settings, job.folder, job.folder.shards / f"{SHARDS[0]}.parquet")
    before = job.folder.part_of(Path(f"{SHARDS[0]}.parquet")).stat()
    state = classify_tickets(settings, return_state=True)
    folder = state.result()
    assert folder == job.folder
    after = (folder.predictions / "part-00000.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    manifest = read_manifest(folder.manifest)
    assert manifest.resumed is True
    assert sum(manifest.counts.by_status.values()) == manifest.counts.predictions == 400
    assert "shard-00000: its part is complete already" in logs_of(state, until="is committed")


def test_a_password_is_refused_and_not_stored(tmp_path: Path) -> None:
    """The flow tells how to do without, and Prefect never sees the password."""
    settings = settings_for(
        tmp_path, source="postgresql://shop:hunter2@db.example/tickets", table="tickets"
    )
    state = classify_tickets(settings, return_state=True)
    with pytest.raises(
        UsageError, match=r"postgresql://shop:\*\*\*@db\.example/tickets: .*PGPASSWORD"
    ):
        state.result()
    with get_client(sync_client=True) as client:
        parameters = client.read_flow_run(run_id_of(state)).parameters
    assert parameters["settings"]["source"] == "postgresql://shop:***@db.example/tickets"
    assert "hunter2" not in logs_of(state, until="Finished in state Failed")


def test_the_form_has_every_setting() -> None:
    """The parameter schema names and describes each field of RunSettings."""
    form = classify_tickets.parameters.model_dump()["definitions"]["RunSettings"]
    assert form["required"] == ["source"]
    described = {name: field.description for name, field in RunSettings.model_fields.items()}
    assert {name: shown["description"] for name, shown in form["properties"].items()} == described
    assert all(described.values())


@pytest.mark.parametrize(
    ("given", "is_fine"),
    [
        ({"source": "tickets.csv"}, True),
        ({"source": "postgresql://shop@db.example:5432/tickets", "table": "tickets"}, True),
        ({"source": "postgresql://shop:hunter2@db.example/tickets"}, False),
        ({"source": "postgresql://db.example/tickets?user=shop&password=hunter2"}, False),
        ({"source": "tickets.csv", "publish": ["bi.duckdb", "postgresql://bi@db/shop"]}, True),
        ({"source": "tickets.csv", "publish": ["postgresql://bi:hunter2@db/shop"]}, False),
        ({"source": "tickets.csv", "threshold": 7}, False),
        ({"source": "tickets.csv", "treshold": 0.7}, False),
        ({}, False),
    ],
)
def test_the_form_refuses_what_the_flow_would(given: dict[str, Any], is_fine: bool) -> None:
    """Prefect checks parameters against the schema before it stores them."""
    assert (
        is_valid({"settings": given}, classify_tickets.parameters.model_dump_for_openapi())
        is is_fine
    )


def test_the_module_runs_without_decorators(tmp_path: Path) -> None:
    """Prefect is a driver and no more: its decorators deleted, the flow is a function that does the job."""
    tree = ast.parse(Path(module.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = [
                it
                for it in node.decorator_list
                if ast.unparse(it).split("(")[0] not in ("flow", "task")
            ]
    plain = ModuleType("plain")
    exec(compile(tree, "plain.py", "exec"), plain.__dict__)  # noqa: S102 - our own module
    assert not hasattr(plain.classify_tickets, "fn")
    folder = plain.classify_tickets(settings_for(tmp_path))
    assert read_manifest(folder.manifest).counts.predictions == 400


def test_main_prints_where_the_outputs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m flows.classify_tickets` takes the environment as the command line does."""
    monkeypatch.setenv("ECOMINTENT_ENGINE", "stub")
    monkeypatch.setattr(sys, "argv", ["classify_tickets", str(TICKETS), "--out", str(tmp_path)])
    main()
    printed = capsys.readouterr().out
    (folder,) = (tmp_path / "predictions").iterdir()
    assert f"Predictions  {folder}\n" in printed
    assert "| intent | tickets |" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["nope.csv"], 1, "nope.csv: expected a file, folder or glob, found nothing there"),
        (
            ["postgresql://shop:hunter2@db.example/tickets"],
            2,
            "postgresql://shop:***@db.example/tickets: expected",
        ),
    ],
)
def test_main_ends_with_one_line_and_a_code(
    arguments: list[str],
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An error is the line and the exit code of `ecomintent-batch run`."""
    monkeypatch.setattr(sys, "argv", ["classify_tickets", *arguments, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == code
    errors = capsys.readouterr().err
    assert f"python -m flows.classify_tickets: {line}" in errors
    assert "Traceback" not in errors
    assert "hunter2" not in errors


@pytest.mark.slow
def test_shards_travel_to_other_processes(tmp_path: Path) -> None:
    """The mapped task takes and gives only what can be pickled, so any task runner of Prefect can spread it."""
    folder = classify_tickets(settings_for(tmp_path, threads=2), runner="process")
    assert read_manifest(folder.manifest).counts.predictions == 400


def read_own_gpu(seconds: float) -> str:
    """Return the GPUs that a worker of a pool may see, slowly, so that each worker answers once."""
    time.sleep(seconds)
    return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize(("visible", "expected"), [(None, ["0", "1"]), ("3,5", ["3", "5"])])
@pytest.mark.slow
def test_each_worker_of_a_pool_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[str]
) -> None:
    """Two workers on a machine with two GPUs see one each, of those that the flow may see."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with ProcessPoolExecutor(2, get_context("spawn"), keep_one_gpu, (2,)) as pool:
        assert sorted(pool.map(read_own_gpu, [0.5, 0.5])) == expected


def test_the_module_leaves_interrupts_to_python() -> None:
    """Polars takes over SIGINT when it is loaded, and a flow that waits for its shards would not hear of it."""
    code = "import sys, ecomintent_batch.flows.classify_tickets; print('polars' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False\n"
    )
