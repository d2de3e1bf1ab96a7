"""The folders of a run, and the protocol by which it becomes visible all at once.

    OUT/staging/<id>/{plan.json, shards/, parts/, manifest.json}   under way; nobody reads here
    OUT/predictions/run_id=<id>/part-00000.parquet                  the one rename that publishes
    OUT/runs/<id>.json                                              the manifest, last: the run is committed

A crash before the rename leaves an interrupted run, a crash behind it a run that lacks only its manifest, which the
next start moves into place from the staging folder: `commit_run` where it resumes that run, `finish_published` else.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ecomintent_batch.errors import OutputError, RunStateError, UsageError
from ecomintent_batch.extract import Extraction
from ecomintent_batch.files import flush_to_disk, sha256_of, write_json

Manifest = dict[str, Any]


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


def new_run_id() -> str:
    """Return an id that sorts by time, to the microsecond: `20261122T223901512873Z-3f9c2a`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(3)}"


@contextmanager
def lock_out(out: Path, timeout_s: float) -> Iterator[None]:
    """Hold OUT for one job; the kernel lets go of it when the process dies.

    Raises:
        OutputError: OUT cannot be written, or another job still holds it after `timeout_s`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("staging", "predictions", "runs", "rejects", "summaries"):
            (out / name).mkdir(exist_ok=True)
        lock = FileLock(out / ".lock", timeout=timeout_s, mode=0o666)
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


def find_interrupted(out: Path, fingerprint: str) -> RunFolder | None:
    """Return the newest run without a manifest whose plan has this fingerprint."""
    for plan in sorted((out / "staging").glob("*/plan.json"), reverse=True):
        folder = RunFolder(out, plan.parent.name)
        try:
            if not folder.manifest.exists() and json.loads(plan.read_text(encoding="utf-8"))["fingerprint"] == fingerprint:
                return folder
        except (OSError, ValueError, KeyError):
            continue
    return None


def start_run(out: Path, fingerprint: str, plan: dict[str, Any]) -> RunFolder:
    """Make the staging folder of a new run."""
    folder = RunFolder(out, new_run_id())
    folder.parts.mkdir(parents=True)
    folder.shards.mkdir()
    write_json({"run_id": folder.run_id, "fingerprint": fingerprint, **plan}, folder.staging / "plan.json")
    return folder


def commit_run(folder: RunFolder, extraction: Extraction, manifest: Manifest) -> Manifest:
    """Check the sums, publish the parts by one rename, and put the manifest in its place.

    Of a run that was published before a crash only the last is done, with the manifest of then.

    Raises:
        RunStateError: a part is missing, or its rows are not those of its shard.
    """
    if folder.predictions.exists():
        manifest = read_manifest(folder.staging / "manifest.json")
        _finish(folder)
        return manifest
    parts = [folder.part_of(Path(shard)) for shard in extraction.shards]
    manifest = {**manifest, "parts": _describe_parts(parts, extraction.shard_rows)}
    for leftover in folder.parts.glob("*.tmp"):
        leftover.unlink()
    write_json(manifest, folder.staging / "manifest.json")
    folder.parts.rename(folder.predictions)
    flush_to_disk(folder.predictions.parent)
    _finish(folder)
    return manifest


def finish_published(out: Path, but: RunFolder | None = None) -> list[Manifest]:
    """Commit the runs that a crash left published without a manifest, all but one, and return their manifests."""
    finished = []
    for staging in sorted((out / "staging").iterdir()):
        folder = RunFolder(out, staging.name)
        if folder.manifest.exists():
            shutil.rmtree(staging, ignore_errors=True)  # committed: the crash came while tidying up
        elif folder != but and folder.predictions.exists():
            finished.append(read_manifest(staging / "manifest.json"))
            _finish(folder)
    return finished


def list_runs(out: Path) -> list[Manifest]:
    """Return the manifests of the committed runs, oldest first."""
    return [read_manifest(file) for file in sorted((out / "runs").glob("*.json"))]


def find_run(out: Path, run_id: str | None = None) -> Manifest:
    """Return the manifest of a committed run, of the newest where none is named.

    Raises:
        UsageError: there is no such run.
    """
    manifests = list_runs(out)
    found = [manifest for manifest in manifests if run_id in (None, manifest["run_id"])]
    if not found:
        named = f"run {run_id}" if run_id else "a run"
        raise UsageError(f"{out}: expected {named} to be committed, found {len(manifests)} other runs; see ecomintent-batch runs")
    return found[-1]


def read_manifest(file: Path) -> Manifest:
    """Read one manifest."""
    try:
        manifest: Manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunStateError(f"{file}: expected a manifest, found: {type(error).__name__}") from None
    return manifest


def _describe_parts(parts: Sequence[Path], expected_rows: Sequence[int]) -> list[dict[str, Any]]:
    described = []
    for part, expected in zip(parts, expected_rows, strict=True):
        found = pq.read_metadata(part).num_rows if part.exists() else None
        if found != expected:
            raise RunStateError(f"{part}: expected {expected} rows, found {found}; start afresh with --new")
        described.append({"file": part.name, "rows": found, "sha256": sha256_of(part)})
    return described


def _finish(folder: RunFolder) -> None:
    """Move what stands beside the parts into its place, the manifest last, and drop the staging folder."""
    rejects = folder.shards / "rejects.parquet"
    if rejects.exists():
        rejects.replace(folder.rejects)
    (folder.staging / "manifest.json").replace(folder.manifest)
    flush_to_disk(folder.manifest.parent)
    shutil.rmtree(folder.staging, ignore_errors=True)
