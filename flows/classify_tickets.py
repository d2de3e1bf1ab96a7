"""The job as a Prefect flow: plan → extract → classify (a task run for each shard) → commit → summarise.

The steps are those of `ecomintent_batch/pipeline.py`. Prefect schedules, retries and shows them; what was done is read
from the plan and the parts on disk, never from its states. Prefect stores parameters, logs and artifacts, so no ticket
text and no password gets into them.

    python -m flows.classify_tickets sample_data/tickets.csv --out ecomintent-out
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Task, flow, get_run_logger, task, unmapped
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.futures import wait
from prefect.runtime import task_run
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from ecomintent_batch import pipeline
from ecomintent_batch.classify import PartStats
from ecomintent_batch.errors import EcomIntentError, UsageError, hide_password, without_text
from ecomintent_batch.pipeline import Job, Progress
from ecomintent_batch.runs import RunFolder, lock_out
from ecomintent_batch.settings import RunSettings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


class _Log(Progress):
    """Writes to the log of the run; where Prefect runs nothing there is none."""

    def note(self, text: str) -> None:
        with suppress(MissingContextError):
            get_run_logger().info(text)

    def warn(self, text: str) -> None:
        with suppress(MissingContextError):
            get_run_logger().warning(text)


def _no_ticket_text(step: Callable[P, R]) -> Callable[P, R]:
    """Let errors of ours pass, and tell only kind and place of others: Prefect stores all that an error says."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return step(*args, **kwargs)
        except EcomIntentError:
            raise
        except Exception as error:
            raise without_text(error).with_traceback(error.__traceback__) from None

    return run


def _is_worth_a_retry(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """A full disk or a lost connection may pass; an error of ours says what somebody has to do first."""
    return not isinstance(state.data, EcomIntentError)


@task(cache_policy=NO_CACHE, persist_result=False)
@_no_ticket_text
def plan(settings: RunSettings) -> Job:
    """Open source and model, and make, or pick up, the folder of the run."""
    return pipeline.plan_job(settings, _Log())


@task(cache_policy=NO_CACHE, persist_result=False)
@_no_ticket_text
def extract(job: Job) -> list[Path]:
    """Read the source into shards."""
    shards = list(pipeline.extract(job, _Log()))
    _Log().note(f"run {job.folder.run_id}: {sum(rows for _, rows in shards):,} tickets, shards: {len(shards)}")
    return [path for path, _ in shards]


@task(
    task_run_name="classify-{shard.stem}",
    retries=3,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=_is_worth_a_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
@_no_ticket_text
def classify_shard(shard: Path, settings: RunSettings, folder: RunFolder) -> PartStats | None:
    """Label the tickets of one shard, unless its part is there."""
    stats = pipeline.classify_one(settings, folder, shard)
    done = f"{stats.rows:,} tickets, {stats.score_s:.1f} s on {stats.engine}" if stats else "has its part already"
    _Log().note(f"{shard.stem}: {done}")
    return stats


@task(cache_policy=NO_CACHE, persist_result=False)
@_no_ticket_text
def commit(job: Job, stats: Sequence[PartStats]) -> None:
    """Publish the parts all at once, with their manifest."""
    pipeline.commit(job, stats)
    _Log().note(f"run {job.folder.run_id} is committed: {job.folder.predictions}")


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=_is_worth_a_retry, cache_policy=NO_CACHE, persist_result=False)
@_no_ticket_text
def summarise(job: Job) -> None:
    """Sum up the volumes by intent, on disk and as artifacts."""
    summary = pipeline.summarise(job, _Log())
    if task_run.id is None:  # nobody to show artifacts to
        return
    # Not at the top: once polars is loaded, no Ctrl-C gets through to a thread that waits (2.1.0).
    from polars import selectors

    volumes = summary.tables["volume_by_intent"].with_columns(selectors.float().round(4))
    of_run = f"Run {job.folder.run_id}"
    create_table_artifact(key="volume-by-intent", table=volumes.to_dicts(), description=of_run)
    create_markdown_artifact(key="run-summary", markdown=summary.markdown, description=of_run)


# Two workers: a shard is cleaned and tokenised while the one before it is scored, and two are held in memory.
@flow(
    name="classify-tickets",
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type]  # its futures are invariant
    persist_result=False,
)
def classify_tickets(settings: RunSettings) -> RunFolder:
    """Label every ticket of a source, publish the labels all at once, and sum up the volumes by intent.

    Args:
        settings: What to read, with which model, where to.
    """
    refuse_password(settings)
    with lock_out(settings.out, settings.lock_timeout):
        job = plan(settings)
        shards = extract(job)
        commit(job, classify(job, shards))
        summarise(job)
    return job.folder


def classify(job: Job, shards: Sequence[Path]) -> list[PartStats]:
    """Map the shards over the task runner, and wait for all of them: OUT stays locked while one is at work."""
    if not isinstance(classify_shard, Task):  # without its decorator it is a function like any other
        found = [classify_shard(shard, job.settings, job.folder) for shard in shards]
    else:
        futures = classify_shard.map(shards, settings=unmapped(job.settings), folder=unmapped(job.folder))
        wait(futures)
        found = futures.result()
    return [stats for stats in found if stats is not None]


def refuse_password(settings: RunSettings) -> None:
    """Raise UsageError where the source is a URL that holds a password."""
    hidden = hide_password(settings.source)
    if hidden != settings.source:
        raise UsageError(
            f"{hidden}: expected a URL without a password, found one, and Prefect stores parameters; set PGPASSWORD where it runs"
        )


def _drop_traceback(record: logging.LogRecord) -> bool:
    """Leave an error of ours at its one line."""
    if record.exc_info and isinstance(record.exc_info[1], EcomIntentError):
        record.exc_info = None
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_drop_traceback)


def main() -> None:
    """Run the flow once, on the server of `PREFECT_API_URL` or on a temporary one."""
    from ecomintent_batch.cli import one_line_errors

    parser = ArgumentParser("python -m flows.classify_tickets", description=classify_tickets.__doc__)
    parser.add_argument("source", help="file, glob, folder, .duckdb file, or postgresql:// URL")
    parser.add_argument("--out", help="folder for the outputs of all runs (default: ecomintent-out)")
    parser.add_argument("--config", type=Path, help="TOML file with any of the settings; ECOMINTENT_* variables do too")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args()
    # A busy machine takes longer than Prefect's 20 seconds to start a server.
    patience = temporary_settings(set_defaults={PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120})
    with patience, one_line_errors(parser.prog, debug=given.debug, on_interrupt="; the same command goes on from here"):
        folder = classify_tickets(load_settings(given.config, source=given.source, out=given.out))
        print((folder.summaries / "summary.md").read_text(encoding="utf-8"))
        print(f"Predictions  {folder.predictions}\nSummaries    {folder.summaries}\nManifest     {folder.manifest}")


if __name__ == "__main__":
    main()
