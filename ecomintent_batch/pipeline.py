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

from ecomintent_batch.analytics.report import summarise_run_safely
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.errors import RunStateError, describe_write_error
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
from ecomintent_batch.ingest.incremental import PreviousPredictions, newest_watermark
from ecomintent_batch.planning import Job, plan_job, source_of
from ecomintent_batch.prefetch import prefetch
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.describe import PartStats, describe_run
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lifecycle import (
    check_parts,
    commit_run,
    finish_run,
    is_part_complete,
    write_receipt,
)
from ecomintent_batch.runs.records import Manifest, read_extraction
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.settings import RunSettings

_models = ModelCache()


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A committed run."""

    manifest: Manifest
    summary: Summary
    folder: RunFolder
    store: RunStore


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
            return finish_job(job, _classify_overlapped(job, loaded, progress), progress)
    except BrokenPipeError:  # nobody reads the progress any more
        raise
    except OSError as error:  # errors of sources and models are ours by now: a file of OUT remains
        raise describe_write_error(store.location, error) from error


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
    previous, read_from = (
        _find_previous(job, progress, loaded) if settings.incremental else (None, None)
    )
    shards = extract_shards(
        job.source,
        job.plan,
        folder,
        shard_rows=settings.shard_rows,
        max_reject_ratio=settings.max_reject_ratio,
        previous=previous,
        read_from=read_from,
    )
    for path, rows in shards:
        tickets += rows
        progress.extracted(tickets, complete=False)
        yield path, rows
    progress.extracted(tickets, complete=True)


def _find_previous(
    job: Job, progress: Progress, loaded: LoadedModel | None
) -> tuple[PreviousPredictions, datetime | None]:
    """Return the predictions that committed runs have made, and the time of the first ticket to read."""
    settings, model, read_from = job.settings, None, None
    manifests = job.store.manifests()
    if settings.backfill:  # then every ticket may be one to label again, however old
        model = (loaded or _models.load(settings.engine_options(), job.folder.run_id)).fingerprint
    elif (
        job.plan.picked.time_is_named
        and job.plan.time_sql is None
        and job.source.kind not in ("csv", "jsonl")
    ):
        newest = newest_watermark(manifests, job.reading())
        read_from = newest - timedelta(days=settings.lag_days) if newest else None
        if read_from:
            progress.note(f"reading tickets from {read_from:%Y-%m-%d %H:%M} on")
    files = [part for manifest in manifests for part in job.store.part_locations(manifest)]
    progress.note(f"skipping what {len(manifests):,} committed runs have classified")
    return PreviousPredictions(files, model, settings.raw_text), read_from


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
        started_at=job.started_at,
        resumed=job.resumed,
        commit_s=time.perf_counter() - started,
    )
    commit_run(job.store, job.folder, manifest)
    return manifest


def summarise(job: Job, manifest: Manifest, progress: Progress) -> Summary:
    """Write the volume tables and the report of a committed run; return them with the alerts that fired."""
    return summarise_run_safely(job.store, manifest, progress.warn)


def settle(job: Job) -> None:
    """Finish a run whose summaries are written."""
    job.store.settle(job.folder)


def _classify_overlapped(job: Job, loaded: LoadedModel, progress: Progress) -> list[PartStats]:
    """Extract, tokenise the next shard, score this one and write the previous one at the same time."""
    stats: list[PartStats] = []
    writing: Future[PartStats] | None = None

    def prepared() -> Iterator[PreparedShard]:
        with closing(prefetch(extract(job, progress, loaded), depth=1 << 20)) as shards:
            for path, rows in shards:
                if job.resumed and is_part_complete(job.folder, path):
                    progress.advance(rows)
                    continue
                yield prepare_shard(path, job.model, job.settings.classify_options())

    with ThreadPoolExecutor(1, "write") as writer, closing(prefetch(prepared(), depth=1)) as shards:
        for shard in shards:
            logits, stat = score_shard(shard, loaded.engine, progress.advance)
            if writing:
                stats.append(writing.result())
            writing = writer.submit(_write, job.settings, job.folder, loaded, shard, logits, stat)
            del shard, logits
        if writing:
            stats.append(writing.result())
    return stats


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
