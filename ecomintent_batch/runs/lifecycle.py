"""The life of a run in its local folder: started, resumed, and made visible all at once.

    OUT/staging/<id>/{plan.json, shards/, parts/, receipts/, manifest.json}    nobody reads here
    OUT/predictions/run_id=<id>/part-00000.parquet                             one rename publishes all parts
    OUT/runs/<id>.json                                                         the manifest, last: the run is committed

A receipt holds the SHA-256 of a part and of its shard: a part whose receipt is missing or differs is made again.

A crash before the rename leaves an interrupted run. A crash after it leaves a run that lacks only its manifest, which the
next start publishes from the staging folder: `commit_run` where it resumes that run, `finish_published` otherwise. How a
manifest is published is up to the store: it is moved into its place, or uploaded after the parts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from ecomintent_batch.errors import RunStateError, describe_write_error
from ecomintent_batch.runs.catalog import find_interrupted
from ecomintent_batch.runs.layout import STAGING, RunFolder
from ecomintent_batch.runs.merged import sweep_merges
from ecomintent_batch.runs.records import (
    Extraction,
    Manifest,
    PartRecord,
    Plan,
    Receipt,
    read_manifest,
    read_record,
)
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.atomic import flush_to_disk, sha256_of


def resume_or_start(
    store: RunStore,
    plan: Plan,
    note: Callable[[str], None],
    summarise: Callable[[Manifest], None],
    *,
    resume: bool,
    discard_stale: bool,
) -> tuple[RunFolder, bool]:
    """Finish what crashes have left; return the folder to work in, and whether its run was interrupted before.

    Args:
        store: Where the runs are; OUT is held.
        plan: What decides what the parts of the run hold.
        note: Receives what was found and done.
        summarise: Writes the summaries of a run that crashed after its commit; raises nothing.
        resume: Pick up an interrupted run of this very plan.
        discard_stale: Discard an interrupted run of the same source that was planned differently.

    Raises:
        RunStateError: such a run has parts already, and is not to be discarded.
        OutputError: OUT cannot be written.
    """
    folder, others = find_interrupted(store.folder, plan)
    if folder is not None and not resume:
        others = others if folder.predictions.exists() else [(folder, plan), *others]
        folder = None
    for manifest in finish_published(store, but=folder):
        note(f"run {manifest.run_id} was published before a crash: its manifest is in place now")
    for manifest in store.unsettled():
        summarise(manifest)
    if folder is not None:
        note(f"resuming run {folder.run_id}")
        folder.failure.unlink(missing_ok=True)
        return folder, True
    for other, other_plan in others:
        if resume and not discard_stale:
            check_no_conflicting_run(other, other_plan, plan)
        reason = "; ".join(plan.differences(other_plan))
        ended = "failed" if other.failure.exists() else "was interrupted"
        discard_run(other)
        note(f"discarded run {other.run_id}, which {ended}{f': {reason}' if reason else ''}")
    try:
        return start_run(store, plan), False
    except OSError as error:
        raise describe_write_error(store.location, error) from None


def check_no_conflicting_run(folder: RunFolder, other_plan: Plan, plan: Plan) -> None:
    """Raise RunStateError where an interrupted run of the same source, planned otherwise, has parts that would be lost.

    Those of a run that failed because of its source are no loss: whoever mended the source, or how it is read, wants others.
    """
    if not folder.failure.exists() and any(folder.receipts.glob("*.json")):
        raise RunStateError(
            f"{folder.staging}: expected an interrupted run that can go on, found {'; '.join(plan.differences(other_plan))}; "
            "go back to that, or discard it and start from scratch with --restart"
        )


def start_run(store: RunStore, plan: Plan) -> RunFolder:
    """Make the staging folder of a new run."""
    folder = RunFolder(store.folder, store.new_run_id())
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


def commit_run(store: RunStore, folder: RunFolder, manifest: Manifest) -> None:
    """Check the sums, publish the parts by one rename, and publish the manifest.

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
            "(predictions + rejects + skipped); start from scratch with --restart, and report it"
        )
    manifest.write(folder.staged_manifest)
    if not folder.predictions.exists():
        for stray in {path.name for path in folder.parts.iterdir()} - {
            part.file for part in manifest.parts
        }:
            (folder.parts / stray).unlink()
        folder.parts.rename(folder.predictions)
        flush_to_disk(folder.predictions.parent)
    store.publish(folder)


def finish_run(store: RunStore, folder: RunFolder) -> Manifest | None:
    """Commit a run that a crash left published, with its staged manifest; None where there is none that can be read."""
    if not folder.predictions.exists():
        return None
    try:
        manifest = read_manifest(folder.staged_manifest)
    except RunStateError:
        return None
    store.publish(folder)
    return manifest


def finish_published(store: RunStore, but: RunFolder | None = None) -> list[Manifest]:
    """Commit the runs that a crash left published without a manifest, all but one, and return their manifests.

    One whose staged manifest cannot be read is left to its own command, which can write it again.
    """
    finished = []
    sweep_merges(store.folder)
    for staging in sorted((store.folder / STAGING).iterdir()):
        folder = RunFolder(store.folder, staging.name)
        if folder.manifest.exists():
            shutil.rmtree(staging, ignore_errors=True)  # committed: the crash came while tidying up
        elif not folder.predictions.exists() and not folder.plan.exists():
            # The crash came before there was a plan, or after it was discarded.
            shutil.rmtree(staging, ignore_errors=True)
        elif folder != but and (manifest := finish_run(store, folder)):
            finished.append(manifest)
    return finished
