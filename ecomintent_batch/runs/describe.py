"""What a run did → its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from ecomintent_batch import __version__
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import (
    Counts,
    Extraction,
    Manifest,
    PartRecord,
    Performance,
    Reading,
)
from ecomintent_batch.schema import schema_id


@dataclass(frozen=True, kw_only=True)
class PartStats:
    """The cost of one part."""

    rows: int
    messages_scored: int
    tokens: int
    padding_ratio: float
    prepare_s: float
    score_s: float
    engine: str
    write_s: float = 0.0


def describe_run(
    folder: RunFolder,
    reading: Reading,
    extraction: Extraction,
    parts: Sequence[PartRecord],
    stats: Sequence[PartStats],
    *,
    probabilities: str,
    started_at: datetime,
    resumed: bool,
    commit_s: float,
) -> Manifest:
    """Return the manifest of a run whose parts are complete.

    Args:
        folder: The run.
        reading: What was read, and how.
        extraction: Rows by shard, and rejects.
        parts: The records of all parts.
        stats: The cost of those parts that this start of the run has made.
        probabilities: What made them of the model's logits, "softmax" or "sigmoid".
        started_at: When this start began.
        resumed: Whether an earlier start of the run was interrupted.
        commit_s: Seconds that the commit took so far: all but the renames.
    """
    files = [folder.part(part.file) for part in parts]
    statuses, below_threshold, models = count_labelled(files)
    finished_at = datetime.now(UTC)
    elapsed_s = (finished_at - started_at).total_seconds()
    return Manifest(
        run_id=folder.run_id,
        version=__version__,
        started_at=started_at,
        finished_at=finished_at,
        source=reading.source,
        columns=reading.columns,
        settings=reading.settings,
        read_from=extraction.read_from,
        newest=extraction.newest,
        model=" + ".join(models),
        engine=" + ".join(sorted({part.engine for part in parts if part.engine})),
        resumed=resumed,
        counts=Counts(
            source_rows=extraction.source_rows,
            predictions=sum(extraction.shard_rows),
            rejects=extraction.rejected,
            skipped=extraction.skipped,
            skipped_by_where=extraction.skipped_by_where,
            below_threshold=below_threshold,
            by_status=statuses,
        ),
        reject_reasons=extraction.reasons,
        performance=describe_performance(stats, elapsed_s, extraction.extract_s, commit_s),
        parts=tuple(parts),
        rejects_sha256=extraction.sha256[-1],
        before=extraction.before,
        late_rows=extraction.late_rows,
        probabilities=probabilities,
        taxonomy=reading.taxonomy,
        schema_id=schema_id(pq.read_schema(files[0])) if files else None,
    )


def describe_performance(
    stats: Sequence[PartStats], elapsed_s: float, extract_s: float, commit_s: float
) -> Performance:
    """Return the time and the work of a run; everything but the extraction is of the parts of this start."""
    classified, tokens = sum(stat.rows for stat in stats), sum(stat.tokens for stat in stats)
    score_s = round(sum(stat.score_s for stat in stats), 3)
    padding = sum(stat.padding_ratio * stat.tokens for stat in stats)
    return Performance(
        elapsed_s=round(elapsed_s, 3),
        score_s=score_s,
        tickets_per_s=round(classified / elapsed_s, 1) if elapsed_s else None,
        messages_scored=sum(stat.messages_scored for stat in stats),
        tokens=tokens,
        tokens_per_s=round(tokens / score_s, 1) if score_s else None,
        padding_ratio=round(padding / tokens, 4) if tokens else 0.0,
        stages_s={
            "extract": round(extract_s, 3),
            "prepare": round(sum(stat.prepare_s for stat in stats), 3),
            "score": score_s,
            "write": round(sum(stat.write_s for stat in stats), 3),
            "commit": round(commit_s, 3),
        },
    )


def count_labelled(parts: Sequence[Path]) -> tuple[dict[str, int], int, list[str]]:
    """Return the tickets of some parts by status, how many are below the threshold, and the models that labelled them."""
    statuses: Counter[str] = Counter()
    below_threshold = 0
    models: set[str] = set()
    for part in parts:
        table = pq.read_table(
            part,
            columns=["status", "model", "below_threshold"],
            read_dictionary=["model"],
            partitioning=None,
        )
        grouped = table.group_by(["status", "model"]).aggregate(
            [([], "count_all"), ("below_threshold", "sum")]
        )
        for row in grouped.to_pylist():
            statuses[row["status"]] += row["count_all"]
            below_threshold += row["below_threshold_sum"] or 0
            models.add(row["model"])
    return dict(statuses), below_threshold, sorted(models)
