"""The steps of a job that a driver calls: plan, extract, classify, commit, summarise.

The steps are plain functions over a `Job`. `run_job` runs them concurrently in this process: while one shard is scored, the
next is tokenised and the previous one is written. `flows/` calls them as Prefect tasks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ecomintent_batch.analytics.publish import publish_runs
from ecomintent_batch.analytics.report import summarise_run_safely
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.errors import (
    OutputError,
    RejectedRowsError,
    RunStateError,
    SourceError,
    describe_write_error,
    hide_password,
)
from ecomintent_batch.inference.classify import (
    PreparedShard,
    label_shard,
    prepare_shard,
    score_shard,
    write_part,
)
from ecomintent_batch.inference.engines import Logits
from ecomintent_batch.inference.model_cache import LoadedModel, ModelCache, load_model
from ecomintent_batch.ingest.extract import check_rejects, extract_shards
from ecomintent_batch.ingest.incremental import (
    PreviousPredictions,
    count_late_rows,
    is_full_run_due,
    newest_watermark,
)
from ecomintent_batch.planning import Job, plan_job, reopen_source, source_of
from ecomintent_batch.prefetch import prefetch
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.describe import PartStats, describe_run
from ecomintent_batch.runs.lake import append_runs
from ecomintent_batch.runs.layout import VOLUMES, RunFolder
from ecomintent_batch.runs.lifecycle import (
    check_parts,
    commit_run,
    finish_run,
    is_part_complete,
    write_receipt,
)
from ecomintent_batch.runs.records import Manifest, read_extraction, read_remarks
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.settings import RunSettings

if TYPE_CHECKING:
    import polars as pl

_models = ModelCache()
_PAUSES_S = (2, 10, 30)  # a database server restarts within them


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A committed run."""

    manifest: Manifest
    summary: Summary
    folder: RunFolder
    store: RunStore

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.manifest.run_id

    @property
    def volumes(self) -> pl.DataFrame:
        """Tickets by intent: `intent`, `tickets`, `share` and so on, the most frequent first."""
        return self.summary.tables[VOLUMES]

    @property
    def predictions(self) -> pl.LazyFrame:
        """One row per labelled ticket; without columns where no ticket was new."""
        import polars as pl

        parts = self.store.parts([self.manifest])
        if parts.merged:
            rows = pl.scan_parquet(parts.merged, hive_partitioning=False)
            return rows.filter(pl.col("run_id") == self.run_id).drop("run_id")
        return pl.scan_parquet(parts.own) if parts.own else pl.LazyFrame()

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.folder.report


def run_job(settings: RunSettings, progress: Progress | None = None) -> RunResult:
    """Run the whole job in this process.

    Raises:
        EcomIntentError: the job failed; nothing of this run is visible in OUT/predictions then.
    """
    progress, store = progress or Progress(), open_store(settings.out)
    try:
        with store.hold(source_of(settings), settings.lock_timeout, progress.note):
            job = plan_job(settings, store, progress)
            loaded = load_model(settings.engine_options(), job.model)
            progress.note(
                f"model {job.model.name}, {len(job.model.labels)} intents; {loaded.engine.description}"
            )
            return finish_job(job, _classify_source(job, loaded, progress), progress)
    except BrokenPipeError:  # nobody reads the progress any more
        raise
    except OSError as error:  # errors of sources and models are ours by now: a file of OUT remains
        raise describe_write_error(store.location, error) from error


def _classify_source(job: Job, loaded: LoadedModel, progress: Progress) -> list[PartStats]:
    """Classify all tickets; where the source is at fault, the next run may start again without `--restart`."""
    try:
        return _classify_all(job, loaded, progress)
    except (SourceError, RejectedRowsError) as error:
        if not error.transient:
            job.folder.failure.touch()
        raise


def extract(
    job: Job, progress: Progress, loaded: LoadedModel | None = None
) -> Iterator[tuple[Path, int]]:
    """Yield the shards with their rows: those on disk where an extraction is complete, new ones otherwise.

    Re-extracting an unchanged source gives identical shards, so existing parts stay valid.
    """
    settings, folder, tickets = job.settings, job.folder.shards, 0
    done = read_extraction(folder) if job.resumed else None
    if done is not None:
        check_rejects(job.source.name, done, settings.max_reject_ratio)
        progress.extracted(sum(done.shard_rows), complete=True)
        yield from (
            (folder / name, rows) for name, rows in zip(done.shards, done.shard_rows, strict=True)
        )
        return
    for stale in folder.iterdir():
        stale.unlink()
    previous, window = (
        _find_previous(job, progress, loaded) if settings.incremental else (None, Window())
    )
    shards = extract_shards(
        job.source,
        job.plan,
        folder,
        shard_rows=settings.shard_rows,
        max_reject_ratio=settings.max_reject_ratio,
        previous=previous,
        read_from=window.read_from,
        late_rows=window.late_rows,
        lag=window.lag,
    )
    for path, rows in shards:
        tickets += rows
        progress.extracted(tickets, complete=False)
        yield path, rows
    progress.extracted(tickets, complete=True)
    for remark in read_remarks(folder):
        if remark not in job.source.warnings:  # said when the source was opened
            progress.note(remark)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a source that an incremental run reads.

    Attributes:
        read_from: Tickets before this time are not read; None where all are.
        late_rows: Tickets before it that came since the last run.
        lag: How far before the newest ticket the next run starts; None where the source has no watermark.
    """

    read_from: datetime | None = None
    late_rows: int | None = None
    lag: timedelta | None = None


def _find_previous(
    job: Job, progress: Progress, loaded: LoadedModel | None
) -> tuple[PreviousPredictions, Window]:
    """Return the predictions that committed runs have made, and which part of the source to read."""
    settings, model, window = job.settings, None, Window()
    manifests = job.store.manifests()
    if settings.backfill:  # then every ticket may be one to label again, however old
        model = (loaded or _models.load(settings.engine_options(), job.folder.run_id)).fingerprint
    elif (
        settings.lag_days
        and job.plan.picked.time_is_named
        and job.plan.times is None
        and job.source.filters_by_time
    ):
        window = _find_window(job, manifests, progress)
    progress.note(f"skipping what {len(manifests):,} committed runs have classified")
    parts = job.store.parts(manifests)
    return PreviousPredictions(parts, model, settings.raw_text), window


def _find_window(job: Job, manifests: Sequence[Manifest], progress: Progress) -> Window:
    """Return from which time on to read, and warn of tickets that came too late for it."""
    settings, reading, lag = job.settings, job.reading(), timedelta(days=job.settings.lag_days)
    newest = newest_watermark(manifests, reading)
    if newest is None:
        return Window(lag=lag)
    if is_full_run_due(manifests, reading, settings.full_every_days, job.started_at):
        progress.note(f"reading the whole source: no run has for {settings.full_every_days:g} days")
        return Window(lag=lag)
    read_from = newest - lag
    progress.note(f"reading tickets from {read_from:%Y-%m-%d %H:%M} on")
    late = count_late_rows(job.source, manifests, reading, read_from)
    if late and late[0]:
        progress.warn(
            f"{late[0]:,} tickets with times before {late[1]:%Y-%m-%d %H:%M} have come since the last run, too late to be read; "
            "run once with --lag-days 0, or give a larger --lag-days"
        )
    return Window(read_from=read_from, late_rows=late[0] if late else None, lag=lag)


def classify_one(settings: RunSettings, folder: RunFolder, shard: Path) -> PartStats | None:
    """Turn one shard into its part, unless that is there: the unit that Prefect maps, retries and spreads over machines.

    Its arguments can be sent to other processes; model and engine are loaded once per process, and score one shard at a time.
    """
    if is_part_complete(folder, shard):
        return None
    loaded = _models.load(settings.engine_options(), folder.run_id)
    prepared = prepare_shard(shard, loaded.folder, settings.classify_options())
    with _models.scoring:
        logits, stats = score_shard(prepared, loaded.engine, lambda tickets: None)
    return _write(settings, folder, loaded, prepared, logits, stats)


def finish_job(job: Job, stats: Sequence[PartStats], progress: Progress) -> RunResult:
    """Commit the parts, and write the summaries."""
    manifest = commit(job, stats)
    summary = summarise(job, manifest, progress)
    settle(job)
    publish(job, progress)
    append(job, progress)
    return RunResult(manifest=manifest, summary=summary, folder=job.folder, store=job.store)


def commit(job: Job, stats: Sequence[PartStats]) -> Manifest:
    """Publish the parts with their manifest; `stats` are those of the parts that this start of the run has made.

    Raises:
        RunStateError: shards or parts are missing, or the sums do not hold.
    """
    if manifest := finish_run(job.store, job.folder):
        return manifest
    started = time.perf_counter()
    extraction = read_extraction(job.folder.shards)
    if extraction is None:
        raise RunStateError(
            f"{job.folder.shards}: expected a complete extraction, found none; run the same command again"
        )
    parts = check_parts(job.folder, extraction)
    manifest = describe_run(
        job.folder,
        job.reading(),
        extraction,
        parts,
        stats,
        probabilities=job.model.probabilities,
        started_at=job.started_at,
        resumed=job.resumed,
        commit_s=time.perf_counter() - started,
    )
    commit_run(job.store, job.folder, manifest)
    return manifest


def summarise(job: Job, manifest: Manifest, progress: Progress) -> Summary:
    """Write the volume tables and the report of a committed run; return them with the alerts that fired."""
    return summarise_run_safely(job.store, manifest, progress.warn)


def publish(job: Job, progress: Progress) -> None:
    """Write the tables of all committed runs to each target that was asked for.

    Raises:
        OutputError: a target cannot be written; the run is committed all the same.
    """
    for target in job.settings.publish:
        try:
            rows = publish_runs(job.store, target)
        except OutputError as error:
            raise OutputError(
                f"{error}; the run is committed, ecomintent-batch publish tries again",
                transient=error.transient,
            ) from None
        progress.note(f"published {rows['tickets']:,} tickets to {hide_password(target)}")


def append(job: Job, progress: Progress) -> None:
    """Append committed runs to the table of --out-table; those of before that are not in it first.

    Raises:
        OutputError: it cannot be written; the run is committed all the same.
    """
    table = job.settings.out_table
    if table is not None:
        for run_id in append_runs(job.store, table):
            progress.note(f"run {run_id} is in {table}")


def settle(job: Job) -> None:
    """Finish a run whose summaries are written."""
    job.store.settle(job.folder)


def _classify_all(job: Job, loaded: LoadedModel, progress: Progress) -> list[PartStats]:
    """Classify every shard; where the connection to the source breaks, read it again and keep the parts that are made."""
    stats: list[PartStats] = []
    reported: set[Path] = set()
    for pause_s in (*_PAUSES_S, None):
        try:
            _classify_overlapped(job, loaded, progress, stats, reported)
        except SourceError as error:
            if not error.transient or pause_s is None:
                raise
            progress.warn(f"{error}; reading the source again in {pause_s} s")
            time.sleep(pause_s)
            job = replace(_reopen(job), resumed=True)
        else:
            break
    return stats


def _reopen(job: Job) -> Job:
    try:
        return reopen_source(job)
    except SourceError as error:
        if error.transient:
            return job  # the next reading fails, and is tried again after a longer pause
        raise


def _classify_overlapped(
    job: Job,
    loaded: LoadedModel,
    progress: Progress,
    stats: list[PartStats],
    reported: set[Path],
) -> None:
    """Extract, tokenise the next shard, score this one and write the previous one at the same time.

    Args:
        job: The run.
        loaded: Its model.
        progress: Receives the tickets that were scored.
        stats: Takes the statistics of the parts.
        reported: The shards whose tickets `progress` has received.
    """
    writing: Future[PartStats] | None = None

    def prepared() -> Iterator[PreparedShard]:
        with closing(prefetch(extract(job, progress, loaded), depth=1 << 20)) as shards:
            for path, rows in shards:
                if job.resumed and is_part_complete(job.folder, path):
                    if path not in reported:
                        progress.advance(rows)
                    continue
                reported.add(path)
                yield prepare_shard(path, loaded.folder, job.settings.classify_options())

    with ThreadPoolExecutor(1, "write") as writer, closing(prefetch(prepared(), depth=1)) as shards:
        for shard in shards:
            logits, stat = score_shard(shard, loaded.engine, progress.advance)
            if writing:
                stats.append(writing.result())
            writing = writer.submit(_write, job.settings, job.folder, loaded, shard, logits, stat)
            del shard, logits
        if writing:
            stats.append(writing.result())


def _write(
    settings: RunSettings,
    folder: RunFolder,
    loaded: LoadedModel,
    shard: PreparedShard,
    logits: Logits,
    stats: PartStats,
) -> PartStats:
    started = time.perf_counter()
    table = label_shard(
        shard, logits, loaded.folder, loaded.fingerprint, settings.classify_options()
    )
    write_part(table, folder.parts, shard.path)
    write_receipt(folder, shard.path, loaded.engine.description)
    return replace(stats, write_s=time.perf_counter() - started)
