"""The names of everything in OUT: one spelling for a local folder and for the keys of an object store.

predictions/run_id=<id>/part-00000.parquet …    committed predictions
rejects/run_id=<id>.parquet                     source rows that could not be read
summaries/run_id=<id>/                          volume tables, summary.md, report.html
runs/<id>.json                                  the manifest: with it the run is committed
predictions/run_id=merged-<id>/part-00000.parquet …    parts of many small runs, merged by `compact`
compactions/merged-<id>.json                    which runs they hold
reviewed/labels.parquet                         labels that people gave
reports/<first day>_<last day>/                 the tables and the page of a period
staging/<id>/{plan.json, shards/, parts/, receipts/, manifest.json}    a run that is not committed yet
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PREDICTIONS, REJECTS, SUMMARIES, RUNS, STAGING = (
    "predictions",
    "rejects",
    "summaries",
    "runs",
    "staging",
)
FOLDERS = (STAGING, PREDICTIONS, RUNS, REJECTS, SUMMARIES)
COMPACTIONS, MERGED = "compactions", "merged-"
REVIEWED_LABELS = "reviewed/labels.parquet"
REPORTS = "reports"
LOCK = ".lock"
PLAN, EXTRACTION, STAGED_REJECTS = "plan.json", "extraction.json", "rejects.parquet"
LATEST = "latest"

REPORT = "report.html"
SUMMARY_PAGE = "summary.md"
ALERTS = "alerts.json"
VOLUMES, VOLUMES_PER_DAY = "volume_by_intent", "volume_by_intent_per_day"
UNUSUAL_DAYS, LANGUAGES = "unusual_days", "unsupported_languages"
TOPICS, TOPIC_TICKETS = "topics", "topic_tickets"

_OF_RUN = re.compile(r"(?:runs/|\w+/run_id=)([^/]+?)(?:/.+|\.json|\.parquet)?$")


@dataclass(frozen=True, kw_only=True)
class RunKeys:
    """The keys of one committed run, relative to OUT."""

    run_id: str

    @property
    def manifest(self) -> str:
        """The record that makes the run committed."""
        return f"{RUNS}/{self.run_id}.json"

    @property
    def predictions(self) -> str:
        """The folder of the parts."""
        return f"{PREDICTIONS}/run_id={self.run_id}"

    @property
    def rejects(self) -> str:
        """The rows that could not be read."""
        return f"{REJECTS}/run_id={self.run_id}.parquet"

    @property
    def summaries(self) -> str:
        """The folder of the volume tables, the summary page and the report."""
        return f"{SUMMARIES}/run_id={self.run_id}"

    def part(self, file: str) -> str:
        """Return the key of one part."""
        return f"{self.predictions}/{file}"

    def table(self, name: str) -> str:
        """Return the key of one volume table."""
        return f"{self.summaries}/{name}.parquet"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run in a local OUT."""

    out: Path
    run_id: str

    @property
    def keys(self) -> RunKeys:
        """The same names relative to OUT."""
        return RunKeys(run_id=self.run_id)

    @property
    def staging(self) -> Path:
        """The folder of a run that is not committed yet."""
        return self.out / STAGING / self.run_id

    @property
    def plan(self) -> Path:
        """What decides what the parts hold."""
        return self.staging / PLAN

    @property
    def shards(self) -> Path:
        """Shards, rejects and the record of the extraction."""
        return self.staging / "shards"

    @property
    def extraction(self) -> Path:
        """The record of a complete extraction."""
        return self.shards / EXTRACTION

    @property
    def staged_rejects(self) -> Path:
        """The rejects until the run is committed."""
        return self.shards / STAGED_REJECTS

    @property
    def parts(self) -> Path:
        """The parts until they are published."""
        return self.staging / "parts"

    @property
    def receipts(self) -> Path:
        """One receipt for each part that is complete."""
        return self.staging / "receipts"

    @property
    def staged_manifest(self) -> Path:
        """The manifest until the run is committed."""
        return self.staging / "manifest.json"

    @property
    def failure(self) -> Path:
        """There where the source, as it was, could not be read to its end: the parts are of use for that source only."""
        return self.staging / "failed"

    @property
    def predictions(self) -> Path:
        """The published parts."""
        return self.out / self.keys.predictions

    @property
    def rejects(self) -> Path:
        """The rows that could not be read."""
        return self.out / self.keys.rejects

    @property
    def summaries(self) -> Path:
        """Volume tables, summary page and report."""
        return self.out / self.keys.summaries

    @property
    def report(self) -> Path:
        """The report of the run."""
        return self.summaries / REPORT

    @property
    def manifest(self) -> Path:
        """The record that makes the run committed."""
        return self.out / self.keys.manifest

    def part(self, file: str) -> Path:
        """Return the path of a part, whether it is there or not."""
        return (self.predictions if self.predictions.exists() else self.parts) / file

    def part_of(self, shard: Path) -> Path:
        """Return the path of a shard's part, whether it is there or not."""
        return self.part(part_name(shard))

    def receipt_of(self, shard: Path) -> Path:
        """Return the path of the receipt of a shard's part, whether it is there or not."""
        return self.receipts / shard.with_suffix(".json").name


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.parquet"


def merged_folder(compaction_id: str) -> str:
    """Return the key of the folder of merged files; as the folder of a run, so that one glob finds both."""
    return f"{PREDICTIONS}/run_id={compaction_id}"


def compaction_key(compaction_id: str) -> str:
    """Return the key of the record of merged files."""
    return f"{COMPACTIONS}/{compaction_id}.json"


def part_name(shard: Path) -> str:
    """Return the file name of a shard's part."""
    return shard.name.replace("shard-", "part-")


def run_id_of(key: str) -> str | None:
    """Return the id of the run that a key or relative path belongs to; None where it belongs to none."""
    match = _OF_RUN.match(key)
    return match[1] if match else None


def list_plans(out: Path) -> list[Path]:
    """Return the plans of the runs of a local OUT that are not committed yet, oldest first."""
    return sorted((out / STAGING).glob(f"*/{PLAN}"))


def list_manifest_files(out: Path) -> list[Path]:
    """Return the manifests of a local OUT, oldest first."""
    return sorted((out / RUNS).glob("*.json"))
