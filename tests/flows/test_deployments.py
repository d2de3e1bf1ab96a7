"""The deployments: what is declared, and how a real server and its workers carry it out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.prefect_server import Server, stop, wait_until
from support.tickets import ROOT, write_tickets

from ecomintent_batch.errors import SourceError, UsageError
from ecomintent_batch.flows.automations import end_zombies, put_automation, remove_automation
from ecomintent_batch.flows.deployments import (
    DeploymentRequest,
    build_deployments,
    deploy,
    undeploy,
)
from ecomintent_batch.ingest.extract import _list_sizes
from ecomintent_batch.runs.records import read_manifest
from ecomintent_batch.settings import RunSettings

pytestmark = pytest.mark.service

TICKETS = ROOT / "sample_data" / "tickets.csv"
BOTH = ["classify-tickets/classify-daily", "classify-tickets/classify-file"]


def test_paths_hold_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker starts in a folder of its own, so source, OUT and model are made absolute; a URL stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    daily, on_demand = build_deployments(
        DeploymentRequest(
            settings=RunSettings(source="exports/*.csv", out=Path("out"), model="model")
        )
    )
    of_daily, of_file = daily.parameters["settings"], on_demand.parameters["settings"]
    assert of_daily["source"] == f"{tmp_path}/exports/*.csv"
    assert of_daily["out"] == of_file["out"] == f"{tmp_path}/out"
    assert of_daily["model"] == f"{tmp_path}/model"
    assert (daily.parameters["compact_days"], "compact_days" in on_demand.parameters) == (1, False)
    url = build_deployments(
        DeploymentRequest(
            settings=RunSettings(source="postgresql://reader@db.example/shop", table="tickets")
        )
    )[0]
    assert url.parameters["settings"]["source"] == "postgresql://reader@db.example/shop"


def test_each_deployment_gets_the_settings_that_are_its_own() -> None:
    """What tells about the daily source is no default of files on demand; how to classify is."""
    settings = RunSettings(source="shop.duckdb", table="tickets", by=("channel",), threshold=0.8)
    daily, on_demand = build_deployments(
        DeploymentRequest(
            settings=settings, cron="0 5 * * 1", timezone="Europe/Berlin", runner="process"
        )
    )
    given = daily.parameters["settings"]
    assert given["incremental"] is True
    assert (given["table"], given["by"], given["threshold"]) == ("tickets", ["channel"], 0.8)
    assert set(on_demand.parameters["settings"]) == {"lock_timeout", "threshold", "out"}
    assert daily.parameters["runner"] == on_demand.parameters["runner"] == "process"
    (schedule,) = daily.schedules or []
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 5 * * 1", "Europe/Berlin")  # type: ignore[union-attr]
    assert not on_demand.schedules
    for deployment in (daily, on_demand):
        assert deployment.concurrency_limit == 1
        assert deployment.concurrency_options is not None
        assert deployment.concurrency_options.collision_strategy == "ENQUEUE"
        assert deployment.description
        assert deployment.tags


@pytest.mark.parametrize("wrong", [{"cron": "every day"}, {"timezone": "Mars/Base"}])
def test_a_wrong_schedule_is_told(wrong: dict[str, str]) -> None:
    """The line names both options."""
    with pytest.raises(UsageError, match=r"--cron .* --timezone .*: expected"):
        build_deployments(DeploymentRequest(settings=RunSettings(source="x.csv"), **wrong))  # type: ignore[arg-type]


def test_a_million_tickets_make_few_tasks() -> None:
    """SQLite behind a Prefect server bears about 50 mapped tasks a run."""
    assert RunSettings(source="x.csv").shard_rows is None
    sizes = accumulate(_list_sizes(None))
    shards = next(place for place, rows in enumerate(sizes, 1) if rows >= 1_000_000)
    assert shards + len(("plan", "extract", "commit", "summarise", "publish")) <= 50


@pytest.fixture(scope="module")
def notices(server: Server) -> Iterator[list[str]]:
    """What a webhook of the block custom-webhook/ops has heard."""
    heard: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Stay silent."""

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    with server.client():
        block = CustomWebhookNotificationBlock(
            name="ops",
            url=f"http://127.0.0.1:{hook.server_port}/",
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
        )
        block.save("ops", overwrite=True)
    yield heard
    hook.shutdown()


@pytest.fixture(scope="module")
def deployed(server: Server, notices: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `deploy` was called for a table of a warehouse."""
    folder = tmp_path_factory.mktemp("shop")
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE tickets AS FROM read_csv(?, all_varchar = true)", [str(TICKETS)]
        )
    done = server.command(
        "ecomintent-batch", "deploy", "warehouse.duckdb", "--table", "tickets", "--out", "out", "--notify",
        "custom-webhook/ops", cwd=folder, ECOMINTENT_ENGINE="stub", ECOMINTENT_SHARD_ROWS="150",
    )  # fmt: skip
    assert all(name in done.stdout for name in BOTH)
    return folder


@pytest.fixture
def worker(server: Server, deployed: Path) -> Iterator[Any]:
    """A worker of the pool."""
    process = server.start("prefect", "worker", "start", "--pool", "ecomintent", log="worker.log")
    yield process
    stop([process])


@pytest.mark.slow
def test_a_scheduled_run_finishes(server: Server, deployed: Path, worker: Any) -> None:
    """The schedule makes a run, the worker carries it out, its page tells of it; the run after it finds nothing new."""
    with server.client() as client:
        daily = client.read_deployment_by_name(BOTH[0])
        schedule = daily.schedules[0]
        assert schedule.active
        soon = IntervalSchedule(interval=timedelta(seconds=20))
        client.update_deployment_schedule(daily.id, schedule.id, schedule=soon)
        run = wait_until(
            lambda: next(
                (
                    run
                    for run in client.read_flow_runs()
                    if (run.deployment_id, run.state_name) == (daily.id, "Completed")
                ),
                None,
            ),
            bool,
            within_s=300,
        )
        client.update_deployment_schedule(daily.id, schedule.id, active=False)
        assert run.auto_scheduled
    (manifest_file, *_) = sorted((deployed / "out" / "runs").iterdir())
    manifest = read_manifest(manifest_file)
    assert manifest.counts.predictions == 400
    log = server.log_of(run.id, until=f"run {manifest.run_id} is committed")
    assert "shard-00002: 100 tickets" in log
    assert "saucepan" not in log
    artifacts = server.artifacts_of(run.id)
    assert float(artifacts["shards-done"].data) == 100
    assert sum(row["tickets"] for row in json.loads(artifacts["volume-by-intent"].data)) == 400
    assert f"run {manifest.run_id}" in artifacts["run-summary"].data
    assert str(deployed / "out" / "predictions") in artifacts["run-summary"].data
    with server.client() as client:
        again = client.create_flow_run_from_deployment(daily.id).id
    server.wait_for(again, "Completed")
    counts = read_manifest(max((deployed / "out" / "runs").iterdir())).counts
    assert (counts.skipped, counts.predictions) == (400, 0)


@pytest.mark.slow
def test_two_triggers_queue(server: Server, deployed: Path, worker: Any) -> None:
    """The second waits for its turn, and the page of the later one compares it with the other."""
    settings = {"source": str(TICKETS), "out": str(deployed / "queue"), "engine": "stub"}
    runs = [server.run_of("classify-file", settings) for _ in range(2)]
    first, second = sorted(
        (server.wait_for(run, "Completed") for run in runs), key=lambda run: run.start_time
    )
    assert first.end_time <= second.start_time
    with server.client() as client:
        states = [state.name for state in client.read_flow_run_states(second.id)]
    assert "AwaitingConcurrencySlot" in states
    assert len(list((deployed / "queue" / "predictions").iterdir())) == 2
    page = server.artifacts_of(second.id)["run-summary"].data
    (earlier, _) = sorted(path.stem for path in (deployed / "queue" / "runs").iterdir())
    assert f"## Change against run {earlier}" in page
    assert "+0.0 points" in page


@pytest.mark.slow
def test_a_failure_is_told(server: Server, deployed: Path, worker: Any, notices: list[str]) -> None:
    """The state says why, the log how it goes on, and the notice reaches the block that `--notify` named."""
    run = server.run_of("classify-file", {"source": "nope.csv", "out": str(deployed / "failed")})
    failed = server.wait_for(run, "Failed")
    assert "nope.csv: expected a file, folder or glob, found nothing there" in failed.state.message
    assert "nothing is kept in" in server.log_of(run, until="continues from it")

    def about_it() -> list[str]:
        return [notice for notice in notices if failed.name in notice]

    wait_until(about_it, bool)
    (notice,) = about_it()
    assert "expected a file" in notice


@pytest.mark.slow
def test_a_notification_is_taken_back(server: Server, deployed: Path) -> None:
    """`--notify none` removes the automation, and another deploy without it leaves things as they are."""
    name = "ecomintent: notify of failures of quiet"
    arguments = ("ecomintent-batch", "deploy", str(TICKETS), "--name", "quiet")

    def automations(*more: str) -> list[str]:
        server.command(*arguments, *more, cwd=deployed)
        with server.client() as client:
            return [found.name for found in client.read_automations_by_name(name)]

    assert automations("--notify", "custom-webhook/ops") == [name]
    assert automations() == [name]
    assert automations("--notify", "none") == []
    listed = server.command("ecomintent-batch", "deployments", cwd=deployed).stdout
    assert f"quiet-daily\n  source    {TICKETS}\n" in listed
    assert "0 6 * * * UTC" in listed
    server.command("ecomintent-batch", "undeploy", "quiet", cwd=deployed)
    assert not server.has("quiet-daily")
    assert server.has("classify-daily")


@pytest.mark.slow
def test_a_name_belongs_to_one_source(server: Server, deployed: Path) -> None:
    """Another source under the same name is refused with both choices, and so is a source that is not there."""
    with temporary_settings({PREFECT_API_URL: server.url}):
        other = DeploymentRequest(settings=RunSettings(source=str(TICKETS)))
        with pytest.raises(
            UsageError,
            match=r"--name classify: expected .*table tickets, which classify-daily reads.*undeploy",
        ):
            deploy(other)
        gone = DeploymentRequest(
            settings=RunSettings(source=str(deployed / "gone.csv")), name="gone"
        )
        with pytest.raises(SourceError, match=r"found nothing there; .* add --later"):
            deploy(gone)
        names, _ = deploy(gone, later=True)
        assert names == ["classify-tickets/gone-daily", "classify-tickets/gone-file"]
        assert undeploy("gone") == ["gone-daily", "gone-file"]
        with pytest.raises(UsageError, match="gone: expected the name of a deployment"):
            undeploy("gone")


@pytest.mark.slow
def test_the_form_says_why_it_refuses_a_password(server: Server, deployed: Path) -> None:
    """`prefect deployment run` shows a sentence and no traceback, and no run is made."""
    given = json.dumps({"source": "postgresql://shop:hunter2@db.example/shop", "table": "tickets"})
    done = subprocess.run(
        [Path(sys.executable).with_name("prefect"), "deployment", "run", BOTH[1], "--param", f"settings={given}"],
        env={**server.env, "COLUMNS": "1000"}, cwd=deployed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert (
        "a URL with a password: Prefect stores parameters; leave it out, and set PGPASSWORD"
        in shown
    )
    assert "Traceback" not in shown


@pytest.mark.slow
def test_what_a_killed_worker_left_is_gone_on_with(
    server: Server, deployed: Path, worker: Any, notices: list[str]
) -> None:
    """Worker and flow are killed at once; the automation ends the run, and the next one finishes it with its parts."""
    with server.client() as client:  # 90 seconds of waiting are for real ones
        (automation,) = client.read_automations_by_name(end_zombies().name)
        client.update_automation(automation.id, end_zombies(after=timedelta(seconds=35)))
    out = deployed / "killed"
    source = write_tickets(deployed / "many.csv", 24_000)
    settings = {
        "source": str(source),
        "out": str(out),
        "shard_rows": 2_000,
        "threads": 1,
        "dedupe": False,
    }
    dead = server.run_of("classify-file", settings)
    parts = wait_until(
        lambda: sorted(out.glob("staging/*/parts/*.parquet")),
        lambda found: len(found) >= 2,
        within_s=60,
    )
    stop([worker], signal.SIGKILL)
    before = {part.name: (part.stat().st_ino, part.stat().st_mtime_ns) for part in parts}
    assert not list(out.glob("predictions/*"))
    other = server.start("prefect", "worker", "start", "--pool", "ecomintent", log="worker.log")
    try:
        following = server.run_of("classify-file", settings)
        ended = server.wait_for(dead, "Crashed", within_s=180)
        assert "No heartbeat" in ended.state.message
        assert server.wait_for(following, "Completed", within_s=120).start_time >= ended.end_time
    finally:
        stop([other])
    (folder,) = (out / "predictions").iterdir()
    assert folder.name == f"run_id={parts[0].parent.parent.name}"
    after = {part.name: (part.stat().st_ino, part.stat().st_mtime_ns) for part in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    manifest = read_manifest(out / "runs" / f"{parts[0].parent.parent.name}.json")
    assert (manifest.resumed, manifest.counts.predictions) == (True, 24_000)
    wait_until(
        lambda: [notice for notice in notices if ended.name in notice and "No heartbeat" in notice],
        bool,
    )


@pytest.mark.slow
def test_sqlite_bears_forty_shards(server: Server, deployed: Path, worker: Any) -> None:
    """A run near the most tasks that SQLite bears ends well, with each task told to the server and no lock in its log."""
    settings = {
        "source": str(TICKETS),
        "out": str(deployed / "forty"),
        "engine": "stub",
        "shard_rows": 10,
    }
    run = server.run_of("classify-file", settings)
    server.wait_for(run, "Completed", within_s=120)
    with server.client() as client:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
        tasks = wait_until(
            lambda: [
                task
                for task in client.read_task_runs(flow_run_filter=of_run)
                if task.state_name == "Completed"
            ],
            lambda found: len(found) == 44,
        )
    assert {task.name for task in tasks} >= {f"classify-shard-{shard:05d}" for shard in range(40)}
    assert "locked" not in server.log_of(run, until="is committed")


@pytest.mark.slow
def test_serve_runs_without_a_worker(server: Server, deployed: Path) -> None:
    """`serve` is server and one command; interrupted, it leaves the schedule on."""
    with server.client() as client:
        serving = server.start(
            "ecomintent-batch", "serve", "warehouse.duckdb", "--table", "tickets", "--out", "served", log="serve.log",
            cwd=deployed, ECOMINTENT_ENGINE="stub",
        )  # fmt: skip
        try:
            run = server.run_of(
                "classify-file",
                {"source": str(TICKETS), "out": str(deployed / "served"), "engine": "stub"},
            )
            server.wait_for(run, "Completed")
        finally:
            stop([serving], signal.SIGINT)
        assert client.read_deployment_by_name(BOTH[0]).schedules[0].active
    assert len(list((deployed / "served" / "runs").iterdir())) == 1


@pytest.mark.slow
def test_a_killed_serve_is_started_again(server: Server, deployed: Path) -> None:
    """`kill -9` in the middle of a run, and `serve` again at once: the first run ends Crashed, the next one resumes it."""
    source, out = write_tickets(deployed / "served.csv", 24_000), deployed / "served-again"
    arguments = ("ecomintent-batch", "serve", str(source), "--out", str(out), "--name", "served")
    settings = {"source": str(source), "out": str(out), "shard_rows": 1_000, "dedupe": False}
    serving = server.start(*arguments, log="serve.log", cwd=deployed)
    try:
        wait_until(lambda: server.has("served-file"), bool, within_s=120)
        dead = server.run_of("served-file", settings)
        parts = wait_until(
            lambda: sorted(out.glob("staging/*/parts/*.parquet")),
            lambda found: len(found) >= 2,
            within_s=180,
        )
        stop([serving], signal.SIGKILL)
        serving = server.start(*arguments, log="serve.log", cwd=deployed)
        following = server.run_of("served-file", settings)
        ended = server.wait_for(dead, "Crashed", within_s=180)
        assert "No heartbeat" in ended.state.message
        server.wait_for(following, "Completed", within_s=300)
    finally:
        stop([serving], signal.SIGKILL)
    (folder,) = (out / "predictions").iterdir()
    assert folder.name == f"run_id={parts[0].parent.parent.name}"


def test_an_automation_that_is_there_is_left_alone(server: Server) -> None:
    """Its trigger keeps its id, with which Prefect waits for heartbeats; another content replaces it."""
    automation = end_zombies()
    automation.name = "ecomintent: test of ids"

    def trigger_id() -> str:
        with server.client() as client:
            (found,) = client.read_automations_by_name(automation.name)
            answer = client.request("GET", "/automations/{id}", path_params={"id": found.id})
        return str(answer.json()["trigger"]["id"])

    with server.client() as client:
        put_automation(client, automation)
        before = trigger_id()
        put_automation(client, automation)
        assert trigger_id() == before
        automation.trigger = end_zombies(after=timedelta(seconds=40)).trigger
        put_automation(client, automation)
        assert trigger_id() != before
        assert [
            found.trigger.within for found in client.read_automations_by_name(automation.name)
        ] == [timedelta(seconds=40)]  # type: ignore[union-attr]
        remove_automation(client, automation.name)
        assert client.read_automations_by_name(automation.name) == []


@pytest.mark.slow
def test_prefect_reads_the_same_file(server: Server, tmp_path: Path) -> None:
    """`prefect deploy` of prefect.yaml registers what `ecomintent-batch deploy` does."""
    file = str(ROOT / "flows" / "prefect.yaml")
    if server.has("classify-daily"):  # of another source
        server.command("ecomintent-batch", "undeploy", "classify", cwd=tmp_path)
    server.command(
        "ecomintent-batch",
        "deploy",
        "warehouse.duckdb",
        "--table",
        "tickets",
        "--later",
        cwd=tmp_path,
    )
    with server.client() as client:
        ours = [client.read_deployment_by_name(name) for name in BOTH]
    server.command(
        "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file, cwd=tmp_path,
        ECOMINTENT_SOURCE=str(tmp_path / "warehouse.duckdb"), ECOMINTENT_TABLE="tickets",
    )  # fmt: skip
    with server.client() as client:
        theirs = [client.read_deployment_by_name(name) for name in BOTH]
    for one, other in zip(ours, theirs, strict=True):
        for same in (
            "entrypoint",
            "description",
            "tags",
            "pull_steps",
            "job_variables",
            "work_pool_name",
            "concurrency_options",
        ):
            assert getattr(one, same) == getattr(other, same)
        settings = one.parameters["settings"]
        assert settings.pop("out") == str(
            tmp_path / "ecomintent-out"
        )  # the default, in the folder of the pull step
        assert settings == other.parameters["settings"]
        assert [it.schedule for it in one.schedules] == [it.schedule for it in other.schedules]
