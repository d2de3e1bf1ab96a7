"""The JSON records of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from ecomintent_batch.storage.atomic import sha256_of


@dataclass
class Extraction:
    """What an extraction has brought: rows by shard, and the rejects by reason.

    Attributes:
        source_rows: every row of the source, by the places that it has counted.
        sha256: of the shards, and of the rejects behind them.
        skipped: rows left out, because they are classified already or a newer row of the same ticket is there.
        read_from: tickets of before were not read, nor counted.
        newest: the newest time of a ticket.
        extract_s: seconds that it took.
    """

    source_rows: int = 0
    shards: list[str] = field(default_factory=list)
    shard_rows: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    rejected: int = 0
    skipped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    read_from: str | None = None
    newest: str | None = None
    extract_s: float = 0.0


def read_extraction(folder: Path) -> Extraction | None:
    """Return what a complete extraction has left in a folder; None where it did not finish, or was altered since."""
    file = folder / "extraction.json"
    try:
        done = Extraction(**json.loads(file.read_text(encoding="utf-8")))
        found = [sha256_of(folder / name) for name in (*done.shards, "rejects.parquet")]
    except (OSError, ValueError, TypeError):
        return None
    return done if found == done.sha256 else None
