"""What may go from OUT: work that was abandoned, what crashes have left, and committed runs on request.

A committed run goes in an order in which every reader sees all of it or nothing: the manifest first, for those who read
what manifests list, then its predictions by one rename, then the rest. OUT must be locked: nothing here is of a job at work.
An object store has no lock, so what no manifest speaks for there is left alone for a day: somebody may be uploading it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.runs.layout import RunFolder, run_id_of
from ecomintent_batch.runs.lifecycle import discard_run
from ecomintent_batch.runs.publishing import list_manifests
from ecomintent_batch.runs.records import read_manifest
from ecomintent_batch.storage.atomic import flush_to_disk
from ecomintent_batch.storage.s3 import Store, StoredObject, url_of

_UPLOADING = timedelta(days=1)
_PLACES = ("predictions/run_id=*", "rejects/run_id=*.parquet", "summaries/run_id=*")


@dataclass(frozen=True)
class Leftover:
    """Something that may go: where it is, and what it is; in a store, the names of its objects."""

    path: Path
    what: str
    n_bytes: int
    objects: tuple[str, ...] = ()


def list_leftovers(out: Path, older_than_days: float | None = None) -> list[Leftover]:
    """Return what `clean` would remove: abandoned work, strays, and committed runs older than so many days."""
    found = [*_find_abandoned(out), *_find_strays(out)]
    if older_than_days is not None:
        found += _find_old_runs(out, datetime.now(UTC) - timedelta(days=older_than_days))
    return [Leftover(path, what, _size_of(path)) for path, what in found]


def remove_leftover(out: Path, leftover: Leftover) -> None:
    """Remove one of them; a committed run with all that belongs to it."""
    if leftover.path.parent == out / "runs" and leftover.path.suffix == ".json":
        _remove_run(RunFolder(out, leftover.path.stem))
    elif leftover.path.parent == out / "staging":
        discard_run(RunFolder(out, leftover.path.name))
    elif leftover.path.is_dir():
        _remove_folder(out, leftover.path)
    else:
        leftover.path.unlink(missing_ok=True)


def list_stored_leftovers(store: Store, older_than_days: float | None = None) -> list[Leftover]:
    """Return what `clean` would remove of a store: what no manifest speaks for, and committed runs older than so many days."""
    now, by_run = datetime.now(UTC), dict[str, list[StoredObject]]()
    before = None if older_than_days is None else now - timedelta(days=older_than_days)
    for place in ("runs/", "predictions/", "rejects/", "summaries/"):
        for entry in store.list_objects(place):
            if run_id := run_id_of(entry.name):
                by_run.setdefault(run_id, []).append(entry)
    committed = {manifest.run_id: manifest for manifest in list_manifests(store)}
    found = []
    for run_id, entries in sorted(by_run.items()):
        names, n_bytes = (
            tuple(entry.name for entry in entries),
            sum(entry.n_bytes for entry in entries),
        )
        if run_id not in committed and f"runs/{run_id}.json" not in names:
            if max(entry.modified for entry in entries) < now - _UPLOADING:
                found.append(
                    Leftover(
                        Path(f"run_id={run_id}"),
                        "objects of a run without a manifest",
                        n_bytes,
                        names,
                    )
                )
        elif (
            before and run_id in committed and (finished := committed[run_id].finished_at) < before
        ):
            found.append(
                Leftover(
                    Path(f"runs/{run_id}.json"), f"a run of {finished:%Y-%m-%d}", n_bytes, names
                )
            )
    return found


def remove_stored_leftover(store: Store, leftover: Leftover) -> None:
    """Remove one of them; of a committed run the manifest first: from then on no reader of manifests sees it."""
    for name in leftover.objects:
        store.delete(name)


def _find_abandoned(out: Path) -> Iterator[tuple[Path, str]]:
    for staging in sorted((out / "staging").iterdir()):
        folder = RunFolder(out, staging.name)
        if folder.manifest.exists():
            yield staging, "leftovers of a committed run"
        elif not folder.predictions.exists():  # a published one is finished by the next run
            parts = len(list((staging / "receipts").glob("*.json")))
            yield (
                staging,
                f"an interrupted run with {parts} parts"
                if parts
                else "an interrupted run without a part",
            )


def _find_strays(out: Path) -> Iterator[tuple[Path, str]]:
    """Yield temporary files, and what no manifest speaks for, neither in its place nor in staging."""
    for place in ("runs", "rejects", "summaries", "predictions/*", "summaries/*"):
        yield from ((path, "a temporary file") for path in sorted(out.glob(f"{place}/*.tmp")))
    published = url_of(out) is not None
    for place in _PLACES:
        for path in sorted(out.glob(place)):
            run_id = path.name.removeprefix("run_id=").removesuffix(".parquet")
            folder = RunFolder(out, run_id)
            kept = path.parent.name == "summaries" and published  # a store has the rest of the run
            if (
                path.suffix != ".tmp"
                and not kept
                and not folder.manifest.exists()
                and not folder.staging.exists()
            ):
                yield path, f"{path.parent.name} of a run without a manifest"


def _find_old_runs(out: Path, before: datetime) -> Iterator[tuple[Path, str]]:
    for file in sorted((out / "runs").glob("*.json")):
        with suppress(RunStateError):  # `verify` tells of it
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
    """Take a folder out of sight by one rename, then remove it."""
    hidden = out / "staging" / f"{path.name}.removed"
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)
