"""The job as a Prefect flow: plan → extract → classify (a task run for each shard) → commit → summarise.

The steps are those of `ecomintent_batch/pipeline.py`. Prefect schedules, retries and shows them; what is done already is
read from the plan and the parts on disk, never from Prefect's states. Prefect stores parameters, logs and artifacts, so
they hold no ticket text and no password.

    python -m flows.classify_tickets sample_data/tickets.csv --out ecomintent-out
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Task, flow, get_run_logger, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import task_run as this_task_run
from prefect.tasks import exponential_backoff

from ecomintent_batch import pipeline
from ecomintent_batch.errors import (
    EcomIntentError,
    OutputError,
    RunStateError,
    UsageError,
    describe_write_error,
    hide_password,
    without_text,
)
from ecomintent_batch.flows.page import (
    log_how_to_resume,
    publish_alerts,
    show_progress,
    show_summary,
)
from ecomintent_batch.flows.runners import (
    Runner,
    adapt_to_runner,
    check_ray_answers,
    open_runner,
)
from ecomintent_batch.flows.zombies import record_process
from ecomintent_batch.planning import Job, plan_job, reopen_source, source_of
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.compaction import compact_runs
from ecomintent_batch.runs.describe import PartStats
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.settings import RunSettings

P = ParamSpec("P")
R = TypeVar("R")


class _Log(Progress):
    """Writes to the log of the flow run; where Prefect runs nothing there is none."""

    def note(self, text: str) -> None:
        with suppress(MissingContextError):
            get_run_logger().info(text)

    def warn(self, text: str) -> None:
        with suppress(MissingContextError):
            get_run_logger().warning(text)


def _one_line_errors(step: Callable[P, R]) -> Callable[P, R]:
    """Re-raise EcomIntentErrors; reduce any other error to its type and location, because Prefect stores messages."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return step(*args, **kwargs)
        except EcomIntentError:
            raise
        except OSError as error:
            # Errors of sources and models are ours by now: a file of OUT remains.
            raise describe_write_error(_find_out((*args, *kwargs.values())), error) from None
        except Exception as error:
            raise without_text(error).with_traceback(error.__traceback__) from None

    return run


def _find_out(arguments: Iterable[object]) -> str:
    """Return OUT from the arguments of a step."""
    for argument in arguments:
        if isinstance(argument, Job):
            return argument.store.location
        if isinstance(argument, RunSettings):
            return str(argument.out)
    return "out"


def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Decide on a retry: an EcomIntentError says whether it helps; of what is unexpected nobody knows, so it is tried."""
    return getattr(state.data, "transient", True)


_NOTHING_KEPT: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
# 10, 20, 40, 80 seconds: a database server restarts, a writer closes its file, somebody makes room.
_RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
    **_NOTHING_KEPT,
}
_SHARD_RETRIES = 3


@task(task_run_name="plan", **_RETRIES)
@_one_line_errors
def plan(settings: RunSettings, store: RunStore) -> Job:
    """Open source and model, and create or resume the folder of the run."""
    return plan_job(settings, store, _Log())


@task(task_run_name="extract", **_RETRIES)
@_one_line_errors
def extract(job: Job) -> list[Path]:
    """Read the source into shards; a retry opens the source again, because its connection may be lost."""
    if (this_task_run.run_count or 0) > 1:
        job = reopen_source(job)
        _Log().note(f"source {job.source.name}: reading it again from its start")
    shards = list(pipeline.extract(job, _Log()))
    _Log().note(
        f"run {job.folder.run_id}: {sum(rows for _, rows in shards):,} tickets, shards: {len(shards)}"
    )
    return [path for path, _ in shards]


@task(
    task_run_name="classify-{shard.stem}",
    retries=_SHARD_RETRIES,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    **_NOTHING_KEPT,
)
def classify_shard(shard: Path, settings: RunSettings, folder: RunFolder) -> PartStats | None:
    """Label the tickets of one shard, unless its part is complete."""
    if folder.run_id in _unwritable:
        raise OutputError(_unwritable[folder.run_id])
    try:
        stats = _one_line_errors(pipeline.classify_one)(settings, folder, shard)
    except OutputError as error:
        if error.transient and (this_task_run.run_count or 0) > _SHARD_RETRIES:
            _unwritable[folder.run_id] = str(error)
        raise
    done = (
        f"{stats.rows:,} tickets, {stats.score_s:.1f} s on {stats.engine}"
        if stats
        else "its part is complete already"
    )
    _Log().note(f"{shard.stem}: {done}")
    return stats


# Runs for which writing a part failed after all retries: their other shards would wait in vain, one after another.
_unwritable: dict[str, str] = {}


@task(task_run_name="commit", **_RETRIES)
@_one_line_errors
def commit(job: Job, stats: Sequence[PartStats]) -> Manifest:
    """Publish all parts at once, with their manifest."""
    manifest = pipeline.commit(job, stats)
    where = job.store.locate(job.folder.keys.predictions)
    _Log().note(f"run {job.folder.run_id} is committed: {where}")
    return manifest


@task(
    task_run_name="summarise",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=is_transient,
    **_NOTHING_KEPT,
)
@_one_line_errors
def summarise(job: Job, manifest: Manifest) -> None:
    """Summarise the volumes by intent, in OUT and as artifacts."""
    summary = pipeline.summarise(job, manifest, _Log())
    show_summary(job.store, manifest, summary)
    for alert in summary.alerts:
        _Log().warn(f"alert: {alert.message}")
    publish_alerts(job.folder, summary)
    pipeline.settle(job)


@task(task_run_name="publish", **_RETRIES)
@_one_line_errors
def publish(job: Job) -> None:
    """Write the tables of all committed runs where dashboards read them."""
    pipeline.publish(job, _Log())


@task(task_run_name="append", **_RETRIES)
@_one_line_errors
def append(job: Job) -> None:
    """Append what is committed to the table of `out_table`."""
    pipeline.append(job, _Log())


@task(task_run_name="compact", **_NOTHING_KEPT)
@_one_line_errors
def compact(store: RunStore, days: float) -> None:
    """Merge the parts of older runs; the run of this flow is whole, whatever becomes of that."""
    try:
        compact_runs(store, _Log().note, older_than_days=days)
    except EcomIntentError as error:
        _Log().warn(f"parts are not merged: {error}; the next run tries again")


@flow(
    name="classify-tickets",
    persist_result=False,
    on_failure=[log_how_to_resume],
    on_crashed=[log_how_to_resume],
    on_cancellation=[log_how_to_resume],
)
def classify_tickets(
    settings: RunSettings,
    runner: Runner = "inline",
    ray_address: str | None = None,
    compact_days: float | None = None,
) -> RunFolder:
    """Label every ticket of a source, publish the labels all at once, and summarise the volumes by intent.

    Args:
        settings: What to read, with which model, where to.
        runner: Where the shards are classified: in this process, in one process a core, or on a Ray cluster.
        ray_address: Of the cluster, host:6379 or ray://host:10001; RAY_ADDRESS, or the one on this machine, when unset.
        compact_days: Merge the parts of small runs that are so many days old into few files; not at all when unset.
    """
    record_process()
    reject_password(settings)
    if "on_stale" not in settings.model_fields_set:  # nobody is there to choose
        settings = settings.model_copy(update={"on_stale": "discard"})
    if runner == "ray":
        check_ray_answers(ray_address)
    if settings.labels is not None:
        from ecomintent_batch.training.label_cache import with_labels

        settings = _one_line_errors(with_labels)(settings, _Log().note)
    store = open_store(settings.out)
    with store.hold(source_of(settings), settings.lock_timeout, _Log().note):
        job = plan(settings, store)
        shards = extract(job)
        manifest = commit(job, classify(job, shards, runner, ray_address))
        summarise(job, manifest)
        if settings.publish:
            publish(job)
        if settings.out_table is not None:
            append(job)
        if compact_days is not None:
            compact(store, compact_days)
    return job.folder


def classify(
    job: Job, shards: Sequence[Path], runner: Runner, ray_address: str | None
) -> list[PartStats]:
    """Map the shards over the runner, and wait for all of them: OUT stays locked until the last one has ended."""
    settings, folder = adapt_to_runner(runner, job.settings, job.folder)
    shards = [folder.shards / shard.name for shard in shards]
    if not isinstance(classify_shard, Task):  # without its decorator it is a plain function
        costs = [classify_shard(shard, settings, folder) for shard in shards]
        return [stats for stats in costs if stats is not None]
    if not shards:
        return []
    _unwritable.pop(folder.run_id, None)  # of an earlier flow run in this process
    with open_runner(runner, settings, ray_address) as task_runner:
        parameters = {"shard": shards, "settings": unmapped(settings), "folder": unmapped(folder)}
        mapped = task_runner.map(classify_shard, parameters)  # type: ignore[arg-type]  # its tasks are invariant
        futures = dict(zip(mapped, shards, strict=True))
        return gather_parts(futures, show_progress(len(shards), folder.run_id))


def gather_parts(
    futures: dict[PrefectFuture[PartStats | None], Path], show_done: Callable[[int], None]
) -> list[PartStats]:
    """Return the statistics of the parts once all shards have ended.

    Raises:
        RunStateError: at least one shard has no part; it names the first one and its reason.
    """
    costs: list[PartStats | None] = []
    failed: dict[str, Exception] = {}
    for future in as_completed(list(futures)):
        try:
            costs.append(future.result())
        except Exception as error:
            failed[futures[future].stem] = error
        else:
            show_done(len(costs))
    if failed:
        first = min(failed)
        reason = (
            failed[first]
            if isinstance(failed[first], EcomIntentError)
            else without_text(failed[first])
        )
        raise RunStateError(
            f"{len(failed)} of {len(futures)} shards failed, the others keep their parts; {first}: {reason}"
        )
    return [cost for cost in costs if cost is not None]


def reject_password(settings: RunSettings) -> None:
    """Raise UsageError where the source, or a target of --publish, is a URL that holds a password."""
    for location in (settings.source, *settings.publish):
        hidden = hide_password(location)
        if hidden != location:
            raise UsageError(
                f"{hidden}: expected a URL without a password, found one, and Prefect stores parameters; "
                "set PGPASSWORD where it runs"
            )


def _drop_traceback(record: logging.LogRecord) -> bool:
    """Log an EcomIntentError as its one line."""
    if record.exc_info and isinstance(record.exc_info[1], EcomIntentError):
        record.exc_info = None
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_drop_traceback)
