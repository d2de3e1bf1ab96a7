"""The life of a run in a local folder: started, resumed, and made visible all at once.

    OUT/staging/<id>/{plan.json, shards/, parts/, receipts/, manifest.json}    nobody reads here
    OUT/predictions/run_id=<id>/part-00000.parquet                             one rename publishes all parts
    OUT/runs/<id>.json                                                         the manifest, last: the run is committed

A receipt holds the SHA-256 of a part and of its shard: a part whose receipt is missing or differs is made again.

A crash before the rename leaves an interrupted run. A crash after it leaves a run that lacks only its manifest, which the
next start moves into place from the staging folder: `commit_run` where it resumes that run, `finish_published` otherwise.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.runs.catalog import list_names, new_run_id
from ecomintent_batch.runs.layout import FOLDERS, LOCK, STAGING, RunFolder
from ecomintent_batch.runs.records import (
    Extraction,
    Manifest,
    PartRecord,
    Plan,
    Receipt,
    read_manifest,
    read_record,
)
from ecomintent_batch.storage.atomic import flush_to_disk, sha256_of


@contextmanager
def lock_out(
    out: Path, timeout_s: float, note: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold OUT for one job; the kernel releases it when the process dies. `note` receives that the job has to wait.

    Raises:
        OutputError: OUT cannot be written, or another job still holds it after `timeout_s`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            (out / name).mkdir(exist_ok=True)
        lock = FileLock(out / LOCK, timeout=timeout_s)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not timeout_s:
                raise
            note(f"another job is at work in {out}: waiting up to {timeout_s:g} s for it to leave")
            lock.acquire()
    except Timeout:
        raise OutputError(
            f"{out}: expected to be free, found another job at work in it; wait with --lock-timeout, or use another --out"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{out}: expected a folder that can be written, found: {error.strerror or error}; choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_no_conflicting_run(folder: RunFolder, other_plan: Plan, plan: Plan) -> None:
    """Raise RunStateError where an interrupted run of the same source, planned otherwise, has parts that would be lost."""
    if any(folder.receipts.glob("*.json")):
        raise RunStateError(
            f"{folder.staging}: expected an interrupted run that can go on, found {'; '.join(plan.differences(other_plan))}; "
            "go back to that, or discard it and start from scratch with --new"
        )


def start_run(out: Path, plan: Plan) -> RunFolder:
    """Make the staging folder of a new run."""
    folder = RunFolder(out, new_run_id(list_names(out)))
    folder.parts.mkdir(parents=True)
    folder.shards.mkdir()
    folder.receipts.mkdir()
    plan.model_copy(update={"run_id": folder.run_id}).write(folder.plan)
    return folder


def discard_run(folder: RunFolder) -> None:
    """Remove the staging folder of a run that nobody will resume, its plan first."""
    folder.plan.unlink(missing_ok=True)
    shutil.rmtree(folder.staging, ignore_errors=True)


def write_receipt(folder: RunFolder, shard: Path, engine: str) -> None:
    """Write the receipt of a part: with it the shard is done."""
    part = folder.part_of(shard)
    receipt = Receipt(shard_sha256=sha256_of(shard), sha256=sha256_of(part), engine=engine)
    receipt.write(folder.receipt_of(shard))


def is_part_complete(folder: RunFolder, shard: Path) -> bool:
    """Return whether the part of a shard is there, byte for byte as it was made of these very tickets."""
    if folder.predictions.exists():
        return True  # published: only the manifest is missing
    try:
        receipt = read_record(Receipt, folder.receipt_of(shard))
        return receipt.shard_sha256 == sha256_of(shard) and receipt.sha256 == sha256_of(
            folder.part_of(shard)
        )
    except (OSError, RunStateError):
        return False


def check_parts(folder: RunFolder, extraction: Extraction) -> list[PartRecord]:
    """Return the records of the parts, as they go into the manifest.

    Raises:
        RunStateError: a part is missing, was altered, or its rows are not those of its shard.
    """
    return [
        _check_part(folder, folder.shards / name, rows)
        for name, rows in zip(extraction.shards, extraction.shard_rows, strict=True)
    ]


def _check_part(folder: RunFolder, shard: Path, expected: int) -> PartRecord:
    part = folder.part_of(shard)
    try:
        receipt = read_record(Receipt, folder.receipt_of(shard))
        rows, sha256 = pq.read_metadata(part).num_rows, sha256_of(part)
    except (OSError, ValueError, RunStateError) as error:
        reason = "no receipt" if isinstance(error, RunStateError) else type(error).__name__
        raise RunStateError(
            f"{part}: expected a part of {expected} rows, found: {reason}; run the same command again"
        ) from None
    if rows != expected or sha256 != receipt.sha256:
        raise RunStateError(
            f"{part}: expected the {expected} rows written, found it altered; run the same command again"
        )
    return PartRecord(file=part.name, rows=rows, sha256=sha256, engine=receipt.engine)


def commit_run(folder: RunFolder, manifest: Manifest) -> None:
    """Check the sums, publish the parts by one rename, and put the manifest in its place.

    Raises:
        RunStateError: the rows of the source are not those of predictions, rejects and skipped rows.
    """
    counts = manifest.counts
    if (
        counts.answered != counts.source_rows
        or sum(part.rows for part in manifest.parts) != counts.predictions
    ):
        raise RunStateError(
            f"{folder.staging}: expected an answer for {counts.source_rows} rows of the source, found {counts.answered} "
            "(predictions + rejects + skipped); start from scratch with --new, and report it"
        )
    manifest.write(folder.staged_manifest)
    if not folder.predictions.exists():
        for stray in {path.name for path in folder.parts.iterdir()} - {
            part.file for part in manifest.parts
        }:
            (folder.parts / stray).unlink()
        folder.parts.rename(folder.predictions)
        flush_to_disk(folder.predictions.parent)
    _finish(folder)


def finish_run(folder: RunFolder) -> Manifest | None:
    """Commit a run that a crash left published, with its staged manifest; None where there is none that can be read."""
    if not folder.predictions.exists():
        return None
    try:
        manifest = read_manifest(folder.staged_manifest)
    except RunStateError:
        return None
    _finish(folder)
    return manifest


def finish_published(out: Path, but: RunFolder | None = None) -> list[Manifest]:
    """Commit the runs that a crash left published without a manifest, all but one, and return their manifests.

    One whose staged manifest cannot be read is left to its own command, which can write it again.
    """
    finished = []
    for staging in sorted((out / STAGING).iterdir()):
        folder = RunFolder(out, staging.name)
        if folder.manifest.exists():
            shutil.rmtree(staging, ignore_errors=True)  # committed: the crash came while tidying up
        elif not folder.predictions.exists() and not folder.plan.exists():
            # The crash came before there was a plan, or after it was discarded.
            shutil.rmtree(staging, ignore_errors=True)
        elif folder != but and (manifest := finish_run(folder)):
            finished.append(manifest)
    return finished


def _finish(folder: RunFolder) -> None:
    """Move rejects and manifest into their places, the manifest last, and remove the staging folder."""
    if folder.staged_rejects.exists():
        folder.staged_rejects.replace(folder.rejects)
    folder.staged_manifest.replace(folder.manifest)
    flush_to_disk(folder.manifest.parent)
    shutil.rmtree(folder.staging, ignore_errors=True)
