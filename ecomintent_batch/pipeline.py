"""The whole job in one process: extract → classify → commit → summarise, each step beside the next.

The steps are plain functions over a `Job`; `run_job` overlaps them, `flows/` calls them as Prefect tasks.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ecomintent_batch import __version__
from ecomintent_batch.alerts import check_intents, parse_alert
from ecomintent_batch.classify import (
    ClassifyOptions,
    PartStats,
    PreparedShard,
    count_labelled,
    label_shard,
    prepare_shard,
    score_shard,
    write_part,
)
from ecomintent_batch.columns import pick_columns
from ecomintent_batch.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.extract import Extraction, ReadPlan, check_rejects, extract_shards, plan_reading, read_extraction
from ecomintent_batch.files import sha256_of
from ecomintent_batch.report import sum_up_run
from ecomintent_batch.runs import (
    Manifest,
    RunFolder,
    commit_run,
    find_interrupted,
    finish_published,
    lock_out,
    read_manifest,
    start_run,
)
from ecomintent_batch.schema import output_names
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.sources import Source, open_source
from ecomintent_batch.summarise import Summary

T = TypeVar("T")
_M_ARENA_MAX = -8  # of malloc.h


class Progress:
    """What a driver hears while a job runs; this one is silent."""

    def note(self, text: str) -> None:
        """Say one thing that was found or decided."""

    def warn(self, text: str) -> None:
        """Say one thing that went wrong and did not stop the job."""

    def found(self, tickets: int, *, complete: bool) -> None:
        """Say how many tickets were extracted so far, and whether that is all."""

    def advance(self, tickets: float) -> None:
        """Say that tickets were scored (called from several threads)."""


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
    _share_heaps()
    try:
        with lock_out(settings.out, settings.lock_timeout):
            job = plan_job(settings, progress)
            engine = load_model_engine(settings, job.model)
            progress.note(f"model {job.model.name}, {len(job.model.labels)} intents; {engine.description}")
            return finish_job(job, _classify_overlapped(job, engine, progress), progress)
    except BrokenPipeError:  # nobody hears the progress any more
        raise
    except OSError as error:  # sources and models turn theirs into errors of ours, so a file of OUT is left
        found = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OutputError(
            f"{settings.out}: expected room to write, found: {found}; make room, and run the same command"
        ) from error


def _share_heaps() -> None:
    """Let the threads share two heaps of glibc: with one each, what they free is kept, and memory grows with the source."""
    with suppress(OSError, AttributeError):  # another C library has no such setting, and no need of it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def plan_job(settings: RunSettings, progress: Progress) -> Job:
    """Open source and model, pick the columns, and make (or pick up) the folder of the run. OUT must be locked."""
    model = open_model(settings.model)
    check_intents([parse_alert(text) for text in settings.alert], model.labels)
    source = open_source(
        settings.source, table=settings.table, query=settings.query, encoding=settings.encoding, delimiter=settings.delimiter
    )
    picked = pick_columns(
        source.name,
        source.columns,
        id_column=settings.id_column,
        text_column=settings.text_column,
        time_column=settings.time_column,
        kept=settings.kept_columns(),
    )
    plan = plan_reading(source, picked, output_names(picked.kept, model.labels), settings.time_format)
    progress.note(f"source {source.name} ({', '.join([source.kind, *source.notes])})")
    progress.note(f"columns: {plan.picked}")
    for column, name in plan.names.items():
        if column != name:
            progress.note(f"column {column} is called {name} in the predictions, which have a column of that name")
    for note in plan.notes:
        progress.note(note)
    fingerprint = _fingerprint(settings, source, model)
    folder = find_interrupted(settings.out, fingerprint) if settings.resume else None
    for manifest in finish_published(settings.out, but=folder):
        sum_up_run(RunFolder(settings.out, manifest["run_id"]), manifest, progress.warn)
        progress.note(f"run {manifest['run_id']} was published before a crash: its manifest is in place now")
    if folder is not None:
        progress.note(f"resuming run {folder.run_id}")
        return Job(settings, source, plan, model, folder, resumed=True)
    try:
        folder = start_run(settings.out, fingerprint, {"source": source.name, "version": __version__})
    except OSError as error:
        raise OutputError(
            f"{settings.out}: expected a folder that can be written, found: {error.strerror}; choose another --out"
        ) from None
    return Job(settings, source, plan, model, folder, resumed=False)


def load_model_engine(s: RunSettings, model: ModelFolder) -> Engine:
    """Load the engine that the settings ask for."""
    return load_engine(model, engine=s.engine, device=s.device, threads=s.threads, max_batch_tokens=s.max_batch_tokens)


def extract(job: Job, progress: Progress) -> Iterator[tuple[Path, int]]:
    """Yield the shards with their rows: those on disk where an extraction is complete, new ones otherwise."""
    settings, tickets = job.settings, 0
    done = read_extraction(job.folder.shards) if job.resumed else None
    if done is not None:
        check_rejects(job.source.name, done, settings.max_reject_ratio)
        progress.found(sum(done.shard_rows), complete=True)
        yield from ((job.folder.shards / name, rows) for name, rows in zip(done.shards, done.shard_rows, strict=True))
        return
    for stale in (*job.folder.shards.iterdir(), *job.folder.parts.iterdir()):
        stale.unlink()
    shards = extract_shards(
        job.source, job.plan, job.folder.shards, shard_rows=settings.shard_rows, max_reject_ratio=settings.max_reject_ratio
    )
    for path, rows in shards:
        tickets += rows
        progress.found(tickets, complete=False)
        yield path, rows
    progress.found(tickets, complete=True)


def classify_one(settings: RunSettings, folder: RunFolder, shard: Path) -> PartStats | None:
    """Turn one shard into its part, unless that is there: the unit that Prefect maps, retries and spreads over machines.

    All that it takes can travel; model and engine are loaded once per process, and score one shard at a time.
    """
    if folder.part_of(shard).exists():
        return None
    with _loading:
        model, engine = _load_once(settings, folder.run_id)
    prepared = prepare_shard(shard, model, _options(settings))
    with _scoring:
        logits, stats = score_shard(prepared, engine, lambda tickets: None)
    _write(settings, folder, model, engine, prepared, logits)
    return stats


def finish_job(job: Job, stats: Sequence[PartStats], progress: Progress) -> RunResult:
    """Commit the parts, and write the summaries."""
    manifest = commit(job, stats)
    return RunResult(manifest, summarise(job, progress), job.folder)


def commit(job: Job, stats: Sequence[PartStats]) -> Manifest:
    """Publish the parts with their manifest; `stats` are of those that this start of the run has made.

    Raises:
        RunStateError: shards or parts are missing, or the sums do not hold.
    """
    extraction = read_extraction(job.folder.shards)
    if extraction is None:
        raise RunStateError(f"{job.folder.shards}: expected a complete extraction, found none; start afresh with --new")
    return commit_run(job.folder, extraction, _describe(job, extraction, stats))


def summarise(job: Job, progress: Progress) -> Summary:
    """Write the volume tables of a committed run and its report, and tell which alerts fired."""
    return sum_up_run(job.folder, read_manifest(job.folder.manifest), progress.warn)


def _classify_overlapped(job: Job, engine: Engine, progress: Progress) -> list[PartStats]:
    """Extract, tokenise the next shard, score this one and write the last one at the same time."""
    stats: list[PartStats] = []
    writing: Future[None] | None = None

    def prepared() -> Iterator[PreparedShard]:
        with closing(_ahead(extract(job, progress), depth=1 << 20)) as shards:
            for path, rows in shards:
                if job.resumed and job.folder.part_of(path).exists():
                    progress.advance(rows)
                    continue
                yield prepare_shard(path, job.model, _options(job.settings))

    with ThreadPoolExecutor(1, "write") as writer, closing(_ahead(prepared(), depth=1)) as shards:
        for shard in shards:
            logits, stat = score_shard(shard, engine, progress.advance)
            stats.append(stat)
            if writing:
                writing.result()
            writing = writer.submit(_write, job.settings, job.folder, job.model, engine, shard, logits)
            del shard, logits
        if writing:
            writing.result()
    return stats


_loading, _scoring = threading.Lock(), threading.Lock()


@lru_cache(maxsize=1)
def _load_once(settings: RunSettings, run_id: str) -> tuple[ModelFolder, Engine]:
    """Keyed by the run as well, because the files of a model may change in the life of a worker."""
    model = open_model(settings.model)
    return model, load_model_engine(settings, model)


def _options(settings: RunSettings) -> ClassifyOptions:
    s = settings
    return ClassifyOptions(s.threshold, s.max_length, s.dedupe, s.raw_text, s.keep_text, s.any_language)


def _write(
    settings: RunSettings, folder: RunFolder, model: ModelFolder, engine: Engine, shard: PreparedShard, logits: Any
) -> None:
    table = label_shard(shard, logits, model, model.fingerprint(engine.weights_file), _options(settings))
    write_part(table, folder.parts, shard.path)


def _ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Run an iterator in a thread, up to `depth` items ahead; its errors surface here, and closing this stops it.

    An item is begun only when there is room for it, so that no more than `depth` of them take memory.
    """
    ready: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    room, stop = threading.Semaphore(depth), threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            while room.acquire() and not stop.is_set():
                ready.put((True, next(iterator)))
        except StopIteration:
            ready.put((False, None))
        except BaseException as error:
            ready.put((False, error))
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                room.release()
                yield value
                del value  # or this frame would hold a shard while it waits for the next
            elif value is not None:
                raise value
            else:
                return
    finally:
        stop.set()
        room.release()
        thread.join()


def _fingerprint(settings: RunSettings, source: Source, model: ModelFolder) -> str:
    """Return a hash of all that decides what the parts of a run hold."""
    drivers = {"out", "resume", "lock_timeout", "threads", "device", "source", "alert", "hourly_price"}
    weights = [sha256_of(file) for file in sorted(model.path.rglob("*")) if file.suffix in (".safetensors", ".onnx", ".json")]
    decisive = [settings.model_dump(mode="json", exclude=drivers), source.name, source.fingerprint(), weights, __version__]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _describe(job: Job, extraction: Extraction, stats: Sequence[PartStats]) -> Manifest:
    classified, tokens = sum(stat.rows for stat in stats), sum(stat.tokens for stat in stats)
    statuses, models = count_labelled(sorted(job.folder.parts.glob("*.parquet")))
    finished_at = datetime.now(UTC)
    elapsed_s = (finished_at - job.started_at).total_seconds()
    return {
        "run_id": job.folder.run_id,
        "version": __version__,
        "started_at": job.started_at.isoformat(timespec="seconds"),
        "finished_at": finished_at.isoformat(timespec="seconds"),
        "source": job.source.name,
        "columns": {
            "id": job.plan.picked.ticket_id,
            "text": list(job.plan.picked.texts),
            "time": job.plan.picked.time,
            "kept": job.plan.names,
        },
        "model": " + ".join(models),
        "engine": " + ".join(sorted({stat.engine for stat in stats})),
        "settings": job.settings.model_dump(mode="json"),
        "resumed": job.resumed,
        "counts": {
            "source_rows": extraction.source_rows,
            "predictions": sum(extraction.shard_rows),
            "rejects": extraction.rejected,
            "skipped": 0,
            "by_status": statuses,
        },
        "reject_reasons": extraction.reasons,
        "performance": {
            "elapsed_s": round(elapsed_s, 3),
            "score_s": round(sum(stat.score_s for stat in stats), 3),
            "tickets_per_s": round(classified / elapsed_s, 1) if elapsed_s else None,
            "messages_scored": sum(stat.messages_scored for stat in stats),
            "tokens": tokens,
            "padding_ratio": round(sum(stat.padding_ratio * stat.tokens for stat in stats) / tokens, 4) if tokens else 0.0,
        },
    }
