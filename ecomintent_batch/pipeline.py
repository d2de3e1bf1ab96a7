"""The steps of a job that a driver calls: plan, extract, classify, commit, summarise.

The steps are plain functions over a `Job`. `run_job` runs them concurrently in this process: while one shard is scored, the
next is tokenised and the previous one is written. `flows/` calls them as Prefect tasks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ecomintent_batch import __version__
from ecomintent_batch.analytics.alerts import check_intents, parse_alert
from ecomintent_batch.analytics.report import summarise_run_safely
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.errors import (
    EcomIntentError,
    RunStateError,
    describe_write_error,
    hide_password,
    without_text,
)
from ecomintent_batch.inference.classify import (
    ClassifyOptions,
    PreparedShard,
    label_shard,
    prepare_shard,
    score_shard,
    write_part,
)
from ecomintent_batch.inference.engines import Logits, ModelFolder, open_model
from ecomintent_batch.inference.model_cache import (
    EngineOptions,
    LoadedModel,
    ModelCache,
    hash_model,
    limit_malloc_arenas,
    load_model,
)
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.ingest.columns import pick_columns
from ecomintent_batch.ingest.extract import ReadPlan, check_rejects, extract_shards, plan_reading
from ecomintent_batch.ingest.incremental import PreviousPredictions, newest_watermark
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.prefetch import prefetch
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.catalog import find_interrupted
from ecomintent_batch.runs.describe import PartStats, describe_run
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lifecycle import (
    check_no_conflicting_run,
    check_parts,
    commit_run,
    discard_run,
    finish_published,
    finish_run,
    is_part_complete,
    start_run,
    write_receipt,
)
from ecomintent_batch.runs.records import (
    Columns,
    Manifest,
    Plan,
    Reading,
    RecordedSettings,
    read_extraction,
)
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.schema import output_names
from ecomintent_batch.settings import RunSettings

# Settings that a run may be resumed with, whatever they were when it was interrupted.
_NOT_IN_PARTS = (
    "out",
    "resume",
    "on_stale",
    "lock_timeout",
    "threads",
    "device",
    "source",
    "table",
    "query",
    "max_reject_ratio",
    "alert",
    "hourly_price",
)
_models = ModelCache()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that was planned: what to read, with what, where to."""

    settings: RunSettings
    source: Source
    plan: ReadPlan
    model: ModelFolder
    store: RunStore
    folder: RunFolder
    resumed: bool
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


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
            loaded = load_model(_engine_options(settings), job.model)
            progress.note(
                f"model {job.model.name}, {len(job.model.labels)} intents; {loaded.engine.description}"
            )
            return finish_job(job, _classify_overlapped(job, loaded, progress), progress)
    except BrokenPipeError:  # nobody reads the progress any more
        raise
    except OSError as error:  # errors of sources and models are ours by now: a file of OUT remains
        raise describe_write_error(store.location, error) from error


def source_of(settings: RunSettings) -> list[str | None]:
    """Return what a run is of: location, table and query."""
    return [hide_password(settings.source), settings.table, settings.query]


def plan_job(settings: RunSettings, store: RunStore, progress: Progress) -> Job:
    """Open source and model, pick the columns, and make (or pick up) the folder of the run. OUT must be held.

    Raises:
        RunStateError: an interrupted run of this source has parts already, and was planned differently.
    """
    limit_malloc_arenas()
    model = open_model(settings.model)
    check_intents([parse_alert(text) for text in settings.alert], model.labels)
    source = _open_source(settings)
    picked = pick_columns(
        source.name,
        source.columns,
        id_column=settings.id_column,
        text_column=settings.text_column,
        time_column=settings.time_column,
        kept=settings.kept_columns(),
    )
    plan = plan_reading(
        source, picked, output_names(picked.kept, model.labels), settings.time_format
    )
    progress.note(f"source {source.name} ({', '.join([source.kind, *source.notes])})")
    progress.note(f"columns: {plan.picked}")
    for column, name in plan.names.items():
        if column != name:
            progress.note(
                f"column {column} is called {name} in the predictions, which have a column of that name"
            )
    for note in plan.notes:
        progress.note(note)
    run_plan = _plan_of(settings, source, model)
    folder, resumed = _resume_or_start(
        store,
        run_plan,
        progress,
        resume=settings.resume,
        discard_stale=settings.on_stale == "discard",
    )
    return Job(
        settings=settings,
        source=source,
        plan=plan,
        model=model,
        store=store,
        folder=folder,
        resumed=resumed,
    )


def _resume_or_start(
    store: RunStore, plan: Plan, progress: Progress, *, resume: bool, discard_stale: bool
) -> tuple[RunFolder, bool]:
    """Finish what crashes have left; return the folder to work in, and whether its run was interrupted before."""
    folder, others = find_interrupted(store.folder, plan)
    if folder is not None and not resume:
        others = others if folder.predictions.exists() else [(folder, plan), *others]
        folder = None
    for manifest in finish_published(store, but=folder):
        progress.note(
            f"run {manifest.run_id} was published before a crash: its manifest is in place now"
        )
    for manifest in store.unsettled():
        _summarise_late(store, manifest, progress)
    if folder is not None:
        progress.note(f"resuming run {folder.run_id}")
        return folder, True
    for other, other_plan in others:
        if resume and not discard_stale:
            check_no_conflicting_run(other, other_plan, plan)
        reason = "; ".join(plan.differences(other_plan))
        discard_run(other)
        progress.note(
            f"discarded run {other.run_id}, which was interrupted{f': {reason}' if reason else ''}"
        )
    try:
        return start_run(store, plan), False
    except OSError as error:
        raise describe_write_error(store.location, error) from None


def _summarise_late(store: RunStore, manifest: Manifest, progress: Progress) -> None:
    """Write the summaries of a run that crashed after its commit; what fails here is no reason not to start the next run."""
    try:
        summarise_run_safely(store, manifest, progress.warn)
        store.settle(RunFolder(store.folder, manifest.run_id))
    except Exception as error:
        reason = error if isinstance(error, EcomIntentError) else without_text(error)
        progress.warn(
            f"run {manifest.run_id}: expected to write its summaries, found: {reason}; the run is committed, "
            f"ecomintent-batch report {manifest.run_id} tries again"
        )


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


def reopen_source(job: Job) -> Job:
    """Return the job with its source opened again: a database connection that broke does not come back by itself."""
    return replace(job, source=_open_source(job.settings))


def _open_source(settings: RunSettings) -> Source:
    return open_source(
        settings.source,
        table=settings.table,
        query=settings.query,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
    )


def _find_previous(
    job: Job, progress: Progress, loaded: LoadedModel | None
) -> tuple[PreviousPredictions, datetime | None]:
    """Return the predictions that committed runs have made, and the time of the first ticket to read."""
    settings, model, read_from = job.settings, None, None
    manifests = job.store.manifests()
    if settings.backfill:  # then every ticket may be one to label again, however old
        model = (loaded or _models.load(_engine_options(settings), job.folder.run_id)).fingerprint
    elif (
        job.plan.picked.time_is_named
        and job.plan.time_sql is None
        and job.source.kind not in ("csv", "jsonl")
    ):
        newest = newest_watermark(manifests, _reading_of(job))
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
    loaded = _models.load(_engine_options(settings), folder.run_id)
    prepared = prepare_shard(shard, loaded.folder, _classify_options(settings))
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
        _reading_of(job),
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
                yield prepare_shard(path, job.model, _classify_options(job.settings))

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


def _engine_options(settings: RunSettings) -> EngineOptions:
    return EngineOptions(
        model=settings.model,
        engine=settings.engine,
        device=settings.device,
        threads=settings.threads,
        max_batch_tokens=settings.max_batch_tokens,
        compile=settings.compile,
    )


def _classify_options(settings: RunSettings) -> ClassifyOptions:
    return ClassifyOptions(
        threshold=settings.threshold,
        max_length=settings.max_length,
        dedupe=settings.dedupe,
        raw_text=settings.raw_text,
        keep_text=settings.keep_text,
        any_language=settings.any_language,
    )


def _write(
    settings: RunSettings,
    folder: RunFolder,
    loaded: LoadedModel,
    shard: PreparedShard,
    logits: Logits,
    stats: PartStats,
) -> PartStats:
    started = time.perf_counter()
    options = _classify_options(settings)
    table = label_shard(shard, logits, loaded.folder, loaded.fingerprint, options)
    write_part(table, folder.parts, shard.path)
    write_receipt(folder, shard.path, loaded.engine.description)
    return replace(stats, write_s=time.perf_counter() - started)


def _plan_of(settings: RunSettings, source: Source, model: ModelFolder) -> Plan:
    """Return what decides what the parts of a run hold, and which source the run is of."""
    return Plan(
        source=[source.name, settings.table, settings.query],
        source_state=source.fingerprint(),
        model=hash_model(model),
        version=__version__,
        settings=settings.model_dump(mode="json", exclude=set(_NOT_IN_PARTS)),
    )


def _reading_of(job: Job) -> Reading:
    """Return what the manifest of a run says about what was read, and how."""
    picked = job.plan.picked
    return Reading(
        source=job.source.name,
        columns=Columns(
            id=picked.ticket_id, text=tuple(picked.texts), time=picked.time, kept=job.plan.names
        ),
        settings=RecordedSettings.model_validate(job.settings.model_dump(mode="json")),
    )
