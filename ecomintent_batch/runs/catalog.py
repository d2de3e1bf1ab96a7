"""Which runs are in a local OUT: committed, interrupted, without summaries."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.runs.layout import (
    LATEST,
    PREDICTIONS,
    RUNS,
    STAGING,
    SUMMARIES,
    RunFolder,
    list_manifest_files,
    list_plans,
)
from ecomintent_batch.runs.records import Manifest, Plan, read_manifest, read_record

_RUN_ID = re.compile(r"(?:run_id=)?(\d{8}T\d{12}Z)-[0-9a-f]{6}(?:\.json)?")
_TIME_OF_ID = "%Y%m%dT%H%M%S%fZ"


def new_run_id(taken: Iterable[str] = ()) -> str:
    """Return an id that sorts by time, to the microsecond: `20261122T223901512873Z-3f9c2a`.

    Ids always increase, even if the clock was set back.

    Args:
        taken: Ids, or names of files and folders that hold them; other names are ignored.
    """
    times = [
        datetime.strptime(match[1], _TIME_OF_ID).replace(tzinfo=UTC)
        for match in map(_RUN_ID.fullmatch, taken)
        if match
    ]
    now = max([datetime.now(UTC), *(time + timedelta(microseconds=1) for time in times)])
    return f"{now:{_TIME_OF_ID}}-{secrets.token_hex(3)}"


def list_names(out: Path) -> list[str]:
    """Return the names in a local OUT that hold the id of a run, committed or not."""
    return [path.name for name in (RUNS, PREDICTIONS, STAGING) for path in out.glob(f"{name}/*")]


def find_interrupted(
    out: Path, plan: Plan
) -> tuple[RunFolder | None, list[tuple[RunFolder, Plan]]]:
    """Return the newest run without a manifest that has this very plan, and the unpublished others of the same source."""
    same, others = None, []
    for file in reversed(list_plans(out)):
        folder = RunFolder(out, file.parent.name)
        try:
            other_plan = read_record(Plan, file)
        except RunStateError:
            continue  # torn: what it planned cannot be known, and `clean` lists it
        if folder.manifest.exists() or other_plan.source != plan.source:
            continue
        if same is None and not plan.differences(other_plan):
            same = folder
        elif not folder.predictions.exists():
            others.append((folder, other_plan))
    return same, others


def list_unsummarised(out: Path) -> list[Manifest]:
    """Return the manifests of committed runs without summaries: they crashed after the commit."""
    summarised = {path.name for path in (out / SUMMARIES).glob("*")}
    return [
        read_manifest(file)
        for file in list_manifest_files(out)
        if RunFolder(out, file.stem).summaries.name not in summarised
    ]


def list_runs(out: Path) -> list[Manifest]:
    """Return the manifests of the committed runs, oldest first."""
    return [read_manifest(file) for file in list_manifest_files(out)]


def pick_run(out: str, committed: Sequence[str], run_id: str | None = None) -> str:
    """Return the id of one of the committed runs, which come oldest first; of the newest for None and `latest`.

    Raises:
        RunStateError: there is no such run.
    """
    if run_id in (None, LATEST) and committed:
        return committed[-1]
    if run_id is not None and run_id in committed:
        return run_id
    others = (
        f"{len(committed)} others, the newest {committed[-1]}" if committed else "no committed runs"
    )
    raise RunStateError(
        f"{out}: expected a committed run{f' {run_id}' if run_id else ''}, found {others}; see ecomintent-batch runs"
    )
