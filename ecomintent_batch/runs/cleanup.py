"""What may be removed from OUT: abandoned work, what crashes have left, and committed runs on request.

A committed run is removed in an order in which every reader sees all of it or nothing: the manifest first, for those who read
what manifests list, then its predictions by one rename, then the rest. OUT must be locked, so that no job is at work in it.
An object store has no lock, so objects of a run without a manifest are left alone for a day: somebody may be uploading it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.runs.layout import (
    MERGED,
    PREDICTIONS,
    REJECTS,
    RUNS,
    STAGING,
    SUMMARIES,
    RunFolder,
    RunKeys,
    list_manifest_files,
    run_id_of,
)
from ecomintent_batch.runs.merged import find_merge_leftovers, is_of_merge, remove_merge_leftover
from ecomintent_batch.runs.records import Manifest, read_manifest
from ecomintent_batch.storage.atomic import flush_to_disk
from ecomintent_batch.storage.s3 import Store, StoredObject

_UPLOADING = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that may be removed.

    Attributes:
        location: The path or URL, for people.
        path: The local file or folder; unused in a store.
        what: Why it may be removed.
        keys: The objects of a store, the manifest first.
    """

    location: str
    what: str
    n_bytes: int
    path: Path = Path()
    keys: tuple[str, ...] = ()


def list_leftovers(
    out: Path, older_than_days: float | None = None, *, keep_summaries: bool = False
) -> list[Leftover]:
    """Return what `clean` would remove from a local folder.

    Args:
        out: The folder.
        older_than_days: Also list committed runs older than so many days.
        keep_summaries: Keep summaries of runs whose manifest is not there.
    """
    paths = [
        *_find_abandoned(out),
        *_find_strays(out, keep_summaries=keep_summaries),
        *find_merge_leftovers(out),
    ]
    if older_than_days is not None:
        paths += _find_old_runs(out, datetime.now(UTC) - timedelta(days=older_than_days))
    return [
        Leftover(location=str(path), path=path, what=what, n_bytes=_size_of(path))
        for path, what in paths
    ]


def remove_leftover(out: Path, leftover: Leftover) -> None:
    """Remove a leftover of a local folder; a committed run with everything that belongs to it."""
    path = leftover.path
    if is_of_merge(out, path):
        remove_merge_leftover(out, path)
    elif path.parent == out / RUNS and path.suffix == ".json":
        _remove_run(RunFolder(out, path.stem))
    elif path.parent == out / STAGING:
        folder = RunFolder(out, path.name)
        folder.plan.unlink(missing_ok=True)
        shutil.rmtree(folder.staging, ignore_errors=True)
    elif path.is_dir():
        _remove_folder(out, path)
    else:
        path.unlink(missing_ok=True)


def list_stored_leftovers(
    store: Store, manifests: Sequence[Manifest], older_than_days: float | None = None
) -> list[Leftover]:
    """Return what `clean` would remove from a store: objects of runs without a manifest, and old committed runs.

    Args:
        store: The object store.
        manifests: The committed runs.
        older_than_days: Also list committed runs older than so many days.
    """
    now = datetime.now(UTC)
    before = None if older_than_days is None else now - timedelta(days=older_than_days)
    committed = {manifest.run_id: manifest for manifest in manifests}
    leftovers = []
    for run_id, objects in sorted(_group_by_run(store).items()):
        names = tuple(entry.name for entry in objects)
        n_bytes = sum(entry.n_bytes for entry in objects)
        if run_id.startswith(MERGED):
            continue
        manifest = committed.get(run_id)
        if manifest is None and RunKeys(run_id=run_id).manifest not in names:
            if max(entry.modified for entry in objects) < now - _UPLOADING:
                leftovers.append(
                    Leftover(
                        location=f"{store.url}/run_id={run_id}",
                        what="objects of a run without a manifest",
                        n_bytes=n_bytes,
                        keys=names,
                    )
                )
        elif manifest and before and manifest.finished_at < before:
            key = RunKeys(run_id=run_id).manifest
            leftovers.append(
                Leftover(
                    location=f"{store.url}/{key}",
                    what=f"a run of {manifest.finished_at:%Y-%m-%d}",
                    n_bytes=n_bytes,
                    keys=(key, *(name for name in names if name != key)),
                )
            )
    return leftovers


def _group_by_run(store: Store) -> dict[str, list[StoredObject]]:
    by_run: dict[str, list[StoredObject]] = {}
    for folder in (RUNS, PREDICTIONS, REJECTS, SUMMARIES):
        for entry in store.list_objects(f"{folder}/"):
            if run_id := run_id_of(entry.name):
                by_run.setdefault(run_id, []).append(entry)
    return by_run


def _find_abandoned(out: Path) -> Iterator[tuple[Path, str]]:
    for staging in sorted((out / STAGING).iterdir()):
        folder = RunFolder(out, staging.name)
        if staging.name.startswith(MERGED):
            continue
        if folder.manifest.exists():
            yield staging, "leftovers of a committed run"
        elif not folder.predictions.exists():  # a published one is finished by the next run
            parts = len(list(folder.receipts.glob("*.json")))
            done = f"with {parts} parts" if parts else "without a part"
            yield staging, f"an interrupted run {done}"


def _find_strays(out: Path, *, keep_summaries: bool) -> Iterator[tuple[Path, str]]:
    """Yield temporary files, and files of runs that have neither a manifest nor a staging folder."""
    for folder in (RUNS, REJECTS, SUMMARIES, f"{PREDICTIONS}/*", f"{SUMMARIES}/*"):
        yield from ((path, "a temporary file") for path in sorted(out.glob(f"{folder}/*.tmp")))
    for folder in (PREDICTIONS, REJECTS, *(() if keep_summaries else (SUMMARIES,))):
        for path in sorted(out.glob(f"{folder}/run_id=*")):
            run_id = run_id_of(path.relative_to(out).as_posix())
            run = RunFolder(out, run_id or path.name)
            if run.run_id.startswith(MERGED):
                continue
            if path.suffix != ".tmp" and not run.manifest.exists() and not run.staging.exists():
                yield path, f"{folder} of a run without a manifest"


def _find_old_runs(out: Path, before: datetime) -> Iterator[tuple[Path, str]]:
    for file in list_manifest_files(out):
        with suppress(RunStateError):  # `verify` reports it
            finished = read_manifest(file).finished_at
            if finished < before:
                yield file, f"a run of {finished:%Y-%m-%d}"


def _size_of(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _remove_run(folder: RunFolder) -> None:
    folder.manifest.unlink(missing_ok=True)
    flush_to_disk(folder.manifest.parent)
    for path in (folder.predictions, folder.summaries):
        if path.exists():
            _remove_folder(folder.out, path)
    folder.rejects.unlink(missing_ok=True)


def _remove_folder(out: Path, path: Path) -> None:
    """Hide a folder by one rename, then remove it."""
    hidden = out / STAGING / f"{path.name}.removed"
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)
