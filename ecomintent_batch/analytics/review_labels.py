"""Labels that people gave, kept by ticket: in OUT for the view `latest_predictions`, in a folder for `train`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ecomintent_batch.errors import SourceError
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.atomic import whole_file

if TYPE_CHECKING:
    import polars as pl

_STORED = (
    "ticket_id",
    "run_id",
    "row_number",
    "message_hash",
    "reviewed_intent",
    "top_intent",
    "reason",
    "reviewed_at",
)
_TO_TRAIN_ON = ("text", "intent", "ticket_id", "run_id", "row_number", "reason", "reviewed_at")
FILES = {"labelled": "labelled.parquet", "control": "control.parquet"}


def store_labels(store: RunStore, rows: pl.DataFrame) -> pl.DataFrame:
    """Add labels to those of OUT, a later one instead of an earlier one of the same row; return all of them.

    Raises:
        OutputError: OUT cannot be written.
    """
    import polars as pl

    stored = store.read_labels()
    rows = rows.select(_STORED)
    merged = (
        rows
        if stored is None
        else pl.concat([pl.read_parquet(io.BytesIO(stored)), rows], how="vertical_relaxed")
    )
    merged = merged.unique(["run_id", "row_number"], keep="last", maintain_order=True)
    buffer = io.BytesIO()
    merged.write_parquet(buffer)
    store.save_labels(buffer.getvalue())
    return merged


def add_to_folder(into: Path, rows: pl.DataFrame) -> tuple[dict[str, int], list[Path]]:
    """Add labelled messages to `labelled.parquet` and `control.parquet`, a later label instead of an earlier one of the ticket.

    Returns:
        Tickets in each file by its name, and the files that there are.

    Raises:
        SourceError: The folder holds other files under these names.
    """
    import polars as pl

    known = [
        frame for name in FILES.values() if (frame := _read_to_train_on(into / name)) is not None
    ]
    new = rows.filter(pl.col("text") != "").select(_TO_TRAIN_ON)
    key = pl.coalesce("ticket_id", pl.concat_str("run_id", pl.col("row_number"), separator=" "))
    merged = (
        pl.concat([*known, new], how="vertical_relaxed")
        .with_columns(key=key)
        .unique("key", keep="last", maintain_order=True)
        .drop("key")
    )
    into.mkdir(parents=True, exist_ok=True)
    counts, files = {}, []
    for name, file in FILES.items():
        is_control = pl.col("reason") == "control"
        part = merged.filter(is_control if name == "control" else ~is_control)
        counts[name] = len(part)
        if len(part):
            _write(part, into / file)
            files.append(into / file)
        else:
            (into / file).unlink(missing_ok=True)
    return counts, files


def _read_to_train_on(file: Path) -> pl.DataFrame | None:
    import polars as pl

    if not file.exists():
        return None
    try:
        return pl.read_parquet(file).select(_TO_TRAIN_ON)
    except (OSError, pl.exceptions.PolarsError):
        raise SourceError(
            f"{file}: expected tickets of `review import`, found another file; give another --into"
        ) from None


def _write(rows: pl.DataFrame, path: Path) -> None:
    with whole_file(path) as temporary:
        rows.write_parquet(temporary)
