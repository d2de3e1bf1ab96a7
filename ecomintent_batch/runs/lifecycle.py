"""The folders of a run, and the protocol by which it becomes visible all at once.

    OUT/staging/<id>/{plan.json, shards/, parts/, receipts/, manifest.json}   under way; nobody reads here
    OUT/predictions/run_id=<id>/part-00000.parquet                             the one rename that publishes
    OUT/runs/<id>.json                                                         the manifest, last: the run is committed

A receipt says which shard a part was made of and the SHA-256 of both: a part without one, or with another one, is redone.

A crash before the rename leaves an interrupted run, a crash behind it a run that lacks only its manifest, which the
next start moves into place from the staging folder: `commit_run` where it resumes that run, `finish_published` else.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.runs.records import Extraction
from ecomintent_batch.storage.atomic import flush_to_disk, sha256_of, write_json

LATEST = "latest"

Manifest = dict[str, Any]
Plan = dict[str, Any]
_RUN_ID = re.compile(r"(?:run_id=)?(\d{8}T\d{12}Z)-[0-9a-f]{6}(?:\.json)?")
_TIME_OF_ID = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class RunFolder:
    """Where the files of one run are."""

    out: Path
    run_id: str

    @property
    def staging(self) -> Path:
        """The folder of a run under way."""
        return self.out / "staging" / self.run_id

    @property
    def shards(self) -> Path:
        """Shards, rejects and `extraction.json`."""
        return self.staging / "shards"

    @property
    def parts(self) -> Path:
        """Parts, until they are published."""
        return self.staging / "parts"

    @property
    def predictions(self) -> Path:
        """The published parts."""
        return self.out / "predictions" / f"run_id={self.run_id}"

    @property
    def rejects(self) -> Path:
        """The rows that could not be read."""
        return self.out / "rejects" / f"run_id={self.run_id}.parquet"

    @property
    def summaries(self) -> Path:
        """Volume tables and `summary.md`."""
        return self.out / "summaries" / f"run_id={self.run_id}"

    @property
    def manifest(self) -> Path:
        """The record that makes the run committed."""
        return self.out / "runs" / f"{self.run_id}.json"

    def part_of(self, shard: Path) -> Path:
        """Return where the part of a shard stands, or will."""
        folder = self.predictions if self.predictions.exists() else self.parts
        return folder / shard.name.replace("shard-", "part-")

    def receipt_of(self, shard: Path) -> Path:
        """Return where the receipt of a shard's part stands, or will."""
        return self.staging / "receipts" / shard.with_suffix(".json").name


def new_run_id(out: Path | None = None) -> str:
    """Return an id that sorts by time, to the microsecond: `20261122T223901512873Z-3f9c2a`.

    In OUT it sorts behind the ids that are there, also where the clock was moved back since.
    """
    names = (
        [
            path.name
            for place in ("runs", "predictions", "staging")
            for path in out.glob(f"{place}/*")
        ]
        if out
        else []
    )
    taken = [
        datetime.strptime(match[1], _TIME_OF_ID).replace(tzinfo=UTC)
        for match in map(_RUN_ID.fullmatch, names)
        if match
    ]
    now = max([datetime.now(UTC), *(time + timedelta(microseconds=1) for time in taken)])
    return f"{now:{_TIME_OF_ID}}-{secrets.token_hex(3)}"


@contextmanager
def lock_out(
    out: Path, timeout_s: float, note: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold OUT for one job; the kernel lets go of it when the process dies. `note` hears that it has to wait.

    Raises:
        OutputError: OUT cannot be written, or another job still holds it after `timeout_s`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("staging", "predictions", "runs", "rejects", "summaries"):
            (out / name).mkdir(exist_ok=True)
        lock = FileLock(out / ".lock", timeout=timeout_s)
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


def find_interrupted(
    out: Path, plan: Plan
) -> tuple[RunFolder | None, list[tuple[RunFolder, Plan]]]:
    """Return the newest run without a manifest that has this very plan, and the unpublished others of the same source."""
    same, others = None, []
    for file in sorted((out / "staging").glob("*/plan.json"), reverse=True):
        folder = RunFolder(out, file.parent.name)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # torn: what it planned cannot be known, and `clean` lists it
        if folder.manifest.exists() or found.get("source") != plan["source"]:
            continue
        if same is None and not _differences(found, plan):
            same = folder
        elif not folder.predictions.exists():
            others.append((folder, found))
    return same, others


def check_no_conflicting_run(folder: RunFolder, found: Plan, plan: Plan) -> None:
    """Raise RunStateError where an interrupted run has parts that a new one of the same source, planned otherwise, would drop."""
    if any((folder.staging / "receipts").glob("*.json")):
        raise RunStateError(
            f"{folder.staging}: expected an interrupted run that can go on, found {'; '.join(_differences(found, plan))}; "
            "go back to that, or drop it and start afresh with --new"
        )


def _differences(then: Plan, now: Plan) -> list[str]:
    """Say in what two plans of one source differ."""
    changed = []
    if then.get("source_state") != now["source_state"]:
        changed.append("a source that has changed since")
    if then.get("model") != now["model"]:
        changed.append("another model")
    if then.get("version") != now["version"]:
        changed.append(f"version {then.get('version')} then, {now['version']} now")
    was = then.get("settings", {})
    changed += [
        f"{name} {was.get(name)} then, {value} now"
        for name, value in now["settings"].items()
        if was.get(name) != value
    ]
    return changed


def start_run(out: Path, plan: Plan) -> RunFolder:
    """Make the staging folder of a new run."""
    folder = RunFolder(out, new_run_id(out))
    folder.parts.mkdir(parents=True)
    folder.shards.mkdir()
    (folder.staging / "receipts").mkdir()
    write_json({"run_id": folder.run_id, **plan}, folder.staging / "plan.json")
    return folder


def discard_run(folder: RunFolder) -> None:
    """Remove the staging folder of a run that nobody will resume, its plan first."""
    (folder.staging / "plan.json").unlink(missing_ok=True)
    shutil.rmtree(folder.staging, ignore_errors=True)


def write_receipt(folder: RunFolder, shard: Path, engine: str) -> None:
    """Write the receipt of a part: with it the shard is done."""
    part = folder.part_of(shard)
    write_json(
        {"shard_sha256": sha256_of(shard), "sha256": sha256_of(part), "engine": engine},
        folder.receipt_of(shard),
    )


def is_part_complete(folder: RunFolder, shard: Path) -> bool:
    """Tell whether the part of a shard is there, byte for byte as it was made of these very tickets."""
    if folder.predictions.exists():
        return True  # published: what is to do is to put the manifest in its place
    try:
        receipt = json.loads(folder.receipt_of(shard).read_text(encoding="utf-8"))
        return bool(
            receipt["shard_sha256"] == sha256_of(shard)
            and receipt["sha256"] == sha256_of(folder.part_of(shard))
        )
    except (OSError, ValueError, KeyError):
        return False


def check_parts(folder: RunFolder, extraction: Extraction) -> list[dict[str, Any]]:
    """Return name, rows, SHA-256 and engine of each part, as they go into the manifest.

    Raises:
        RunStateError: a part is missing, was altered, or its rows are not those of its shard.
    """
    described = []
    for name, expected in zip(extraction.shards, extraction.shard_rows, strict=True):
        part = folder.part_of(folder.shards / name)
        try:
            receipt = json.loads(
                folder.receipt_of(folder.shards / name).read_text(encoding="utf-8")
            )
            rows, written, found = (
                pq.read_metadata(part).num_rows,
                receipt["sha256"],
                sha256_of(part),
            )
        except (OSError, ValueError, KeyError) as error:
            raise RunStateError(
                f"{part}: expected a part of {expected} rows, found: {type(error).__name__}; run the same command again"
            ) from None
        if rows != expected or found != written:
            raise RunStateError(
                f"{part}: expected the {expected} rows written, found it altered; run the same command again"
            )
        described.append(
            {"file": part.name, "rows": rows, "sha256": found, "engine": receipt.get("engine")}
        )
    return described


def commit_run(folder: RunFolder, manifest: Manifest) -> None:
    """Check the sums, publish the parts by one rename, and put the manifest in its place.

    Raises:
        RunStateError: the rows of the source are not those of predictions, rejects and what was skipped.
    """
    counts = manifest["counts"]
    found = counts["predictions"] + counts["rejects"] + counts["skipped"]
    if (
        found != counts["source_rows"]
        or sum(part["rows"] for part in manifest["parts"]) != counts["predictions"]
    ):
        raise RunStateError(
            f"{folder.staging}: expected an answer for {counts['source_rows']} rows of the source, found {found} "
            "(predictions + rejects + skipped); start afresh with --new, and report it"
        )
    write_json(manifest, folder.staging / "manifest.json")
    if not folder.predictions.exists():
        for leftover in {path.name for path in folder.parts.iterdir()} - {
            part["file"] for part in manifest["parts"]
        }:
            (folder.parts / leftover).unlink()
        folder.parts.rename(folder.predictions)
        flush_to_disk(folder.predictions.parent)
    _finish(folder)


def finish_run(folder: RunFolder) -> Manifest | None:
    """Commit a run that a crash left published, with the manifest of then; None where it is not, or that cannot be read."""
    if not folder.predictions.exists():
        return None
    try:
        manifest = read_manifest(folder.staging / "manifest.json")
    except RunStateError:
        return None
    _finish(folder)
    return manifest


def finish_published(out: Path, but: RunFolder | None = None) -> list[Manifest]:
    """Commit the runs that a crash left published without a manifest, all but one, and return their manifests.

    One whose staged manifest cannot be read is left to its own command, which knows how to write it anew.
    """
    finished = []
    for staging in sorted((out / "staging").iterdir()):
        folder = RunFolder(out, staging.name)
        if folder.manifest.exists():
            shutil.rmtree(staging, ignore_errors=True)  # committed: the crash came while tidying up
        elif not folder.predictions.exists() and not (staging / "plan.json").exists():
            shutil.rmtree(
                staging, ignore_errors=True
            )  # the crash came before there was a plan, or behind dropping it
        elif folder != but and (manifest := finish_run(folder)):
            finished.append(manifest)
    return finished


def list_unsummarised(out: Path) -> list[Manifest]:
    """Return the manifests of committed runs without summaries: a crash came behind the commit."""
    summarised = {folder.name for folder in (out / "summaries").glob("run_id=*")}
    return [
        read_manifest(file)
        for file in sorted((out / "runs").glob("*.json"))
        if f"run_id={file.stem}" not in summarised
    ]


def list_runs(out: Path) -> list[Manifest]:
    """Return the manifests of the committed runs, oldest first."""
    return [read_manifest(file) for file in sorted((out / "runs").glob("*.json"))]


def list_parts(out: str, manifests: Sequence[Manifest]) -> list[str]:
    """Return the files, or URLs, of the parts that some manifests list."""
    return [
        f"{out}/predictions/run_id={found['run_id']}/{part['file']}"
        for found in manifests
        for part in found["parts"]
    ]


def remove_local_copy(folder: RunFolder) -> None:
    """Remove what a store has now from the local folder, the manifest last: until then it would be published again.

    The summaries stay: people look at the report, and the next run compares itself with them.
    """
    shutil.rmtree(folder.predictions, ignore_errors=True)
    folder.rejects.unlink(missing_ok=True)
    folder.manifest.unlink()


def find_run(out: Path, run_id: str | None = None) -> RunFolder:
    """Return the folder of a committed run, of the newest for None and `latest`.

    Raises:
        RunStateError: there is no such run.
    """
    return RunFolder(
        out, pick_run(str(out), sorted(file.stem for file in (out / "runs").glob("*.json")), run_id)
    )


def pick_run(out: str, committed: Sequence[str], run_id: str | None = None) -> str:
    """Return the id of one of the committed runs, which come oldest first; of the newest for None and `latest`.

    Raises:
        RunStateError: there is no such run.
    """
    if run_id in (None, LATEST) and committed:
        return committed[-1]
    if run_id is not None and run_id in committed:
        return run_id
    found = (
        f"{len(committed)} others, the newest {committed[-1]}" if committed else "no committed runs"
    )
    raise RunStateError(
        f"{out}: expected a committed run{f' {run_id}' if run_id else ''}, found {found}; see ecomintent-batch runs"
    )


def read_manifest(file: Path) -> Manifest:
    """Read one manifest."""
    try:
        manifest: Manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunStateError(f"{file}: expected a manifest, found: {type(error).__name__}") from None
    return manifest


def _finish(folder: RunFolder) -> None:
    """Move what stands beside the parts into its place, the manifest last, and drop the staging folder."""
    rejects = folder.shards / "rejects.parquet"
    if rejects.exists():
        rejects.replace(folder.rejects)
    (folder.staging / "manifest.json").replace(folder.manifest)
    flush_to_disk(folder.manifest.parent)
    shutil.rmtree(folder.staging, ignore_errors=True)
