"""The whole job in one process: extract → classify → commit → summarise, each step beside the next.

The steps are plain functions over a `Job`; `run_job` overlaps them, `flows/` calls them as Prefect tasks.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from ecomintent_batch import __version__
from ecomintent_batch.analytics.alerts import check_intents, parse_alert
from ecomintent_batch.analytics.report import summarise_run_safely
from ecomintent_batch.analytics.summaries import Summary
from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.inference.classify import (
    ClassifyOptions,
    PartStats,
    PreparedShard,
    count_labelled,
    label_shard,
    prepare_shard,
    score_shard,
    write_part,
)
from ecomintent_batch.inference.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.ingest.columns import pick_columns
from ecomintent_batch.ingest.extract import ReadPlan, check_rejects, extract_shards, plan_reading
from ecomintent_batch.ingest.incremental import PreviousPredictions, newest_watermark
from ecomintent_batch.ingest.sources import Source, open_source
from ecomintent_batch.prefetch import prefetch
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.lifecycle import (
    Manifest,
    Plan,
    RunFolder,
    check_no_conflicting_run,
    check_parts,
    commit_run,
    discard_run,
    find_interrupted,
    finish_published,
    finish_run,
    is_part_complete,
    list_parts,
    list_runs,
    list_unsummarised,
    lock_out,
    read_manifest,
    remove_local_copy,
    start_run,
    write_receipt,
)
from ecomintent_batch.runs.records import Extraction, read_extraction
from ecomintent_batch.schema import output_names
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.storage.atomic import sha256_of
from ecomintent_batch.storage.s3 import Store, list_manifests, note_store_url, publish_run

_M_ARENA_MAX = -8  # of malloc.h


@dataclass(frozen=True)
class Job:
    """A run that was planned: what to read, with what, where to."""

    settings: RunSettings
    source: Source
    plan: ReadPlan
    model: ModelFolder
    folder: RunFolder
    resumed: bool
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class RunResult:
    """A committed run."""

    manifest: Manifest
    summary: Summary
    folder: RunFolder


def run_job(settings: RunSettings, progress: Progress | None = None) -> RunResult:
    """Run the whole job in this process.

    Raises:
        EcomIntentError: one of its kinds; nothing of this run is visible in OUT/predictions then.
    """
    progress = progress or Progress()
    try:
        with lock_out(settings.out, settings.lock_timeout, progress.note):
            job = plan_job(settings, progress)
            loaded = load_model(settings, job.model)
            progress.note(
                f"model {job.model.name}, {len(job.model.labels)} intents; {loaded.engine.description}"
            )
            return finish_job(job, _classify_overlapped(job, loaded, progress), progress)
    except BrokenPipeError:  # nobody hears the progress any more
        raise
    except (
        OSError
    ) as error:  # sources and models turn theirs into errors of ours, so a file of OUT is left
        found = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OutputError(
            f"{settings.out}: expected room to write, found: {found}; make room, and run the same command"
        ) from error


def limit_malloc_arenas() -> None:
    """Let the threads share two heaps of glibc: with one each, what they free is kept, and memory grows with the source."""
    with suppress(
        OSError, AttributeError
    ):  # another C library has no such setting, and no need of it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def plan_job(settings: RunSettings, progress: Progress) -> Job:
    """Open source and model, pick the columns, and make (or pick up) the folder of the run. OUT must be locked.

    Raises:
        RunStateError: an interrupted run of this source has parts already, and was planned otherwise.
    """
    limit_malloc_arenas()
    if settings.publish_to:
        note_store_url(settings.out, settings.publish_to)
    model = open_model(settings.model)
    check_intents([parse_alert(text) for text in settings.alert], model.labels)
    source = open_source(
        settings.source,
        table=settings.table,
        query=settings.query,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
    )
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
    folder, resumed = _resume_or_start(settings, _plan_of(settings, source, model), progress)
    return Job(settings, source, plan, model, folder, resumed)


def _resume_or_start(
    settings: RunSettings, plan: Plan, progress: Progress
) -> tuple[RunFolder, bool]:
    """Finish what crashes have left, and return the folder to work in and whether its run is an interrupted one."""
    out = settings.out
    folder, others = find_interrupted(out, plan)
    if folder is not None and not settings.resume:
        others = others if folder.predictions.exists() else [(folder, plan), *others]
        folder = None
    for manifest in finish_published(out, but=folder):
        summarise_run_safely(RunFolder(out, manifest["run_id"]), manifest, progress.warn)
        progress.note(
            f"run {manifest['run_id']} was published before a crash: its manifest is in place now"
        )
    for manifest in list_unsummarised(out):
        summarise_run_safely(RunFolder(out, manifest["run_id"]), manifest, progress.warn)
    publish(settings, progress)
    if folder is not None:
        progress.note(f"resuming run {folder.run_id}")
        return folder, True
    for other, found in others:
        if settings.resume:
            check_no_conflicting_run(other, found, plan)
        discard_run(other)
        progress.note(f"dropped run {other.run_id}, which was interrupted")
    try:
        return start_run(out, plan), False
    except OSError as error:
        raise OutputError(
            f"{out}: expected a folder that can be written, found: {error.strerror}; choose another --out"
        ) from None


@dataclass(frozen=True)
class LoadedModel:
    """A model in its engine, and the fingerprint that its predictions bear."""

    folder: ModelFolder
    engine: Engine
    fingerprint: str


def load_model(s: RunSettings, model: ModelFolder) -> LoadedModel:
    """Load the engine that the settings ask for."""
    engine = load_engine(
        model,
        engine=s.engine,
        device=s.device,
        threads=s.threads,
        max_batch_tokens=s.max_batch_tokens,
        compiled=s.compile,
    )
    return LoadedModel(model, engine, model.fingerprint(engine.weights_file))


def extract(
    job: Job, progress: Progress, loaded: LoadedModel | None = None
) -> Iterator[tuple[Path, int]]:
    """Yield the shards with their rows: those on disk where an extraction is complete, new ones otherwise.

    What is extracted anew gives the same shards where the source is the same, and then their parts are good still.
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
    earlier, read_from = (
        _find_previous(job, progress, loaded) if settings.incremental else (None, None)
    )
    shards = extract_shards(
        job.source,
        job.plan,
        folder,
        shard_rows=settings.shard_rows,
        max_reject_ratio=settings.max_reject_ratio,
        earlier=earlier,
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
    place = settings.publish_to or str(settings.out)
    manifests = list_manifests(Store(place)) if settings.publish_to else list_runs(settings.out)
    if settings.backfill:  # then every ticket may be one to label again, however old
        model = (loaded or _load_once(settings, job.folder.run_id)).fingerprint
    elif (
        job.plan.picked.time_is_named
        and job.plan.time_sql is None
        and job.source.kind not in ("csv", "jsonl")
    ):
        newest = newest_watermark(manifests, _describe_reading(job))
        read_from = newest - timedelta(days=settings.lag_days) if newest else None
        if read_from:
            progress.note(f"reading tickets from {read_from:%Y-%m-%d %H:%M} on")
    files = list_parts(place, manifests)
    progress.note(f"leaving out what {len(manifests):,} committed runs have classified")
    return PreviousPredictions(files, model, settings.raw_text), read_from


def classify_one(settings: RunSettings, folder: RunFolder, shard: Path) -> PartStats | None:
    """Turn one shard into its part, unless that is there: the unit that Prefect maps, retries and spreads over machines.

    All that it takes can travel; model and engine are loaded once per process, and score one shard at a time.
    """
    if is_part_complete(folder, shard):
        return None
    loaded = _load_once(settings, folder.run_id)
    prepared = prepare_shard(shard, loaded.folder, _options(settings))
    with _scoring:
        logits, stats = score_shard(prepared, loaded.engine, lambda tickets: None)
    return _write(settings, folder, loaded, prepared, logits, stats)


def finish_job(job: Job, stats: Sequence[PartStats], progress: Progress) -> RunResult:
    """Commit the parts, and write the summaries."""
    manifest = commit(job, stats)
    summary = summarise(job, progress)
    publish(job.settings, progress)
    return RunResult(manifest, summary, job.folder)


def publish(settings: RunSettings, progress: Progress) -> None:
    """Publish the runs that are committed in the local folder of an object store, and keep no parts of them there."""
    if settings.publish_to is None:
        return
    store = Store(settings.publish_to)
    for manifest in list_runs(settings.out):
        folder = RunFolder(settings.out, manifest["run_id"])
        publish_run(store, folder.out, folder.run_id)
        progress.note(f"run {folder.run_id} is published to {store.url}")
        remove_local_copy(folder)


def commit(job: Job, stats: Sequence[PartStats]) -> Manifest:
    """Publish the parts with their manifest; `stats` are of those that this start of the run has made.

    Raises:
        RunStateError: shards or parts are missing, or the sums do not hold.
    """
    if manifest := finish_run(job.folder):
        return manifest
    started = time.perf_counter()
    extraction = read_extraction(job.folder.shards)
    if extraction is None:
        raise RunStateError(
            f"{job.folder.shards}: expected a complete extraction, found none; run the same command again"
        )
    manifest = _describe(job, extraction, check_parts(job.folder, extraction), stats)
    manifest["performance"]["stages_s"]["commit"] = round(
        time.perf_counter() - started, 3
    )  # all but the renames
    commit_run(job.folder, manifest)
    return manifest


def summarise(job: Job, progress: Progress) -> Summary:
    """Write the volume tables of a committed run and its report, and tell which alerts fired."""
    return summarise_run_safely(job.folder, read_manifest(job.folder.manifest), progress.warn)


def _classify_overlapped(job: Job, loaded: LoadedModel, progress: Progress) -> list[PartStats]:
    """Extract, tokenise the next shard, score this one and write the last one at the same time."""
    stats: list[PartStats] = []
    writing: Future[PartStats] | None = None

    def prepared() -> Iterator[PreparedShard]:
        with closing(prefetch(extract(job, progress, loaded), depth=1 << 20)) as shards:
            for path, rows in shards:
                if job.resumed and is_part_complete(job.folder, path):
                    progress.advance(rows)
                    continue
                yield prepare_shard(path, job.model, _options(job.settings))

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


_loading, _scoring = threading.Lock(), threading.Lock()


def _load_once(settings: RunSettings, run_id: str) -> LoadedModel:
    """Return the model of a run, loaded once per process, whichever thread asks first."""
    with _loading:
        return _load_for(settings, run_id)


@lru_cache(maxsize=1)
def _load_for(settings: RunSettings, run_id: str) -> LoadedModel:  # noqa: ARG001
    """Keyed by the run as well, because the files of a model may change in the life of a worker."""
    limit_malloc_arenas()
    return load_model(settings, open_model(settings.model))


def _options(settings: RunSettings) -> ClassifyOptions:
    s = settings
    return ClassifyOptions(
        s.threshold, s.max_length, s.dedupe, s.raw_text, s.keep_text, s.any_language
    )


def _write(
    settings: RunSettings,
    folder: RunFolder,
    loaded: LoadedModel,
    shard: PreparedShard,
    logits: Any,
    stats: PartStats,
) -> PartStats:
    started = time.perf_counter()
    table = label_shard(shard, logits, loaded.folder, loaded.fingerprint, _options(settings))
    write_part(table, folder.parts, shard.path)
    write_receipt(folder, shard.path, loaded.engine.description)
    return replace(stats, write_s=time.perf_counter() - started)


def _plan_of(settings: RunSettings, source: Source, model: ModelFolder) -> Plan:
    """Return all that decides what the parts of a run hold, and by name and table which source it is of."""
    drivers = {
        "out",
        "resume",
        "lock_timeout",
        "threads",
        "device",
        "source",
        "table",
        "query",
        "max_reject_ratio",
        "alert",
        "hourly_price",
    }
    weights = [
        sha256_of(file)
        for file in sorted(model.path.rglob("*"))
        if file.suffix in (".safetensors", ".onnx", ".json")
    ]
    return {
        "source": [source.name, settings.table, settings.query],
        "source_state": source.fingerprint(),
        "model": hashlib.sha256("".join(weights).encode()).hexdigest(),
        "version": __version__,
        "settings": settings.model_dump(mode="json", exclude=drivers),
    }


def _describe_reading(job: Job) -> Manifest:
    """Return what of a manifest says what was read, and how."""
    picked = job.plan.picked
    return {
        "source": job.source.name,
        "columns": {
            "id": picked.ticket_id,
            "text": list(picked.texts),
            "time": picked.time,
            "kept": job.plan.names,
        },
        "settings": job.settings.model_dump(mode="json"),
    }


def _describe(
    job: Job, extraction: Extraction, parts: list[dict[str, Any]], stats: Sequence[PartStats]
) -> Manifest:
    classified, tokens = sum(stat.rows for stat in stats), sum(stat.tokens for stat in stats)
    folder = job.folder.predictions if job.folder.predictions.exists() else job.folder.parts
    statuses, below_threshold, models = count_labelled([folder / part["file"] for part in parts])
    finished_at = datetime.now(UTC)
    elapsed_s = (finished_at - job.started_at).total_seconds()
    stages_s = {
        "extract": round(extraction.extract_s, 3)
    } | {  # the rest is of the parts that this start has made
        stage: round(sum(getattr(stat, f"{stage}_s") for stat in stats), 3)
        for stage in ("prepare", "score", "write")
    }
    return {
        "run_id": job.folder.run_id,
        "version": __version__,
        "started_at": job.started_at.isoformat(timespec="seconds"),
        "finished_at": finished_at.isoformat(timespec="seconds"),
        **_describe_reading(job),
        "read_from": extraction.read_from,
        "newest": extraction.newest,
        "model": " + ".join(models),
        "engine": " + ".join(sorted({part["engine"] for part in parts})),
        "resumed": job.resumed,
        "counts": {
            "source_rows": extraction.source_rows,
            "predictions": sum(extraction.shard_rows),
            "rejects": extraction.rejected,
            "skipped": extraction.skipped,
            "below_threshold": below_threshold,
            "by_status": statuses,
        },
        "reject_reasons": extraction.reasons,
        "performance": {
            "elapsed_s": round(elapsed_s, 3),
            "score_s": stages_s["score"],
            "tickets_per_s": round(classified / elapsed_s, 1) if elapsed_s else None,
            "messages_scored": sum(stat.messages_scored for stat in stats),
            "tokens": tokens,
            "tokens_per_s": round(tokens / stages_s["score"], 1) if stages_s["score"] else None,
            "padding_ratio": round(
                sum(stat.padding_ratio * stat.tokens for stat in stats) / tokens, 4
            )
            if tokens
            else 0.0,
            "stages_s": stages_s,
        },
        "parts": parts,
        "rejects_sha256": extraction.sha256[-1],
    }
