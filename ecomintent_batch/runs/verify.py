"""A committed run, read again: is it complete and unaltered, and does every source row have one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.merged import list_merged
from ecomintent_batch.runs.records import Manifest, MergedFile, read_manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.schema import REJECTS, prediction_schema
from ecomintent_batch.storage.atomic import sha256_of


def verify_committed(
    store: RunStore, run_id: str | None = None
) -> tuple[Manifest | None, list[str]]:
    """Return the manifest of a committed run, None where it cannot be read, and what is wrong with the run.

    Raises:
        RunStateError: there is no such run.
    """
    run_id = store.pick(run_id)
    with store.open_run(run_id) as folder:
        findings = verify_run(folder)
        manifest = None if findings else read_manifest(folder.manifest)
        return manifest, [text.replace(str(folder.out), store.location) for text in findings]


def verify_run(folder: RunFolder) -> list[str]:
    """Return what is wrong with a committed run, a line for each finding.

    Every part is read to its end: present, none too many, SHA-256, rows, columns; the rows of the source are those of
    predictions, rejects and skipped rows, and no two rows answer for the same one.
    """
    try:
        manifest = read_manifest(folder.manifest)
    except RunStateError as error:
        return [str(error)]
    return list(_find_anomalies(folder, manifest))


def _find_anomalies(folder: RunFolder, manifest: Manifest) -> Iterator[str]:
    if manifest.run_id != folder.run_id:
        yield f"{folder.manifest}: expected run_id {folder.run_id}, found {manifest.run_id}"
    row_numbers: list[Any] = []
    merged = next((file for file in list_merged(folder.out) if folder.run_id in file.runs), None)
    if merged is None:
        yield from _check_parts(folder, manifest, row_numbers)
    else:
        yield from _check_merged(folder, manifest, merged, row_numbers)
    readable = len(manifest.parts) if merged is None else 1
    findings = list(_check_file(folder.rejects, manifest.counts.rejects, manifest.rejects_sha256))
    yield from findings
    if not findings:
        if pq.read_schema(folder.rejects).names != REJECTS.names:
            yield f"{folder.rejects}: expected the columns {', '.join(REJECTS.names)}, found others"
        else:
            row_numbers.append(_read_row_numbers(folder.rejects))
    yield from _check_counts(folder, manifest)
    if len(row_numbers) == readable + 1:
        yield from _check_row_numbers(
            folder, manifest.counts.source_rows, np.concatenate(row_numbers)
        )


def _check_parts(folder: RunFolder, manifest: Manifest, row_numbers: list[Any]) -> Iterator[str]:
    """Yield what is wrong with the parts of a run; the row numbers of those that are right are added to the list."""
    listed = [part.file for part in manifest.parts]
    present = {path.name for path in folder.predictions.glob("*")}
    for name in sorted(present - set(listed)):
        yield f"{folder.predictions / name}: expected nothing that the manifest does not list, found a file"
    schemas: list[pa.Schema] = []
    for part in manifest.parts:
        path = folder.predictions / part.file
        findings = list(_check_file(path, part.rows, part.sha256))
        yield from findings
        if not findings:
            schemas.append(pq.read_schema(path))
            row_numbers.append(_read_row_numbers(path))
    if schemas:
        yield from _check_columns(folder, manifest, schemas)


def _check_merged(
    folder: RunFolder, manifest: Manifest, merged: MergedFile, row_numbers: list[Any]
) -> Iterator[str]:
    """Do the same for a run in a merged file: the SHA-256 of its parts was checked as they were merged."""
    path = folder.out / merged.file
    findings = list(_check_file(path, merged.rows, merged.sha256))
    yield from findings
    if findings:
        return
    table = pq.read_table(
        path,
        columns=["row_number"],
        filters=[("run_id", "==", manifest.run_id)],
        partitioning=None,
    )
    if len(table) != manifest.counts.predictions:
        yield f"{path}: expected {manifest.counts.predictions} rows of run {manifest.run_id}, found {len(table)}"
    yield from _check_names(path, manifest, pq.read_schema(path))
    row_numbers.append(table["row_number"].to_numpy())


def _read_row_numbers(path: Path) -> Any:
    return pq.read_table(path, columns=["row_number"], partitioning=None)["row_number"].to_numpy()


def _check_file(path: Path, rows: int, sha256: str) -> Iterator[str]:
    """Yield why a Parquet file is not the one that was written."""
    if not path.is_file():
        yield f"{path}: expected a file of {rows} rows, found none"
        return
    if sha256_of(path) != sha256:
        yield f"{path}: expected the bytes that were written, found others (SHA-256)"
        return
    try:
        rows_read = sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches())
    except (OSError, pa.ArrowException) as error:
        yield f"{path}: expected a Parquet file, found: {type(error).__name__}"
        return
    if rows_read != rows:
        yield f"{path}: expected {rows} rows, found {rows_read}"


def _check_columns(
    folder: RunFolder, manifest: Manifest, schemas: Sequence[pa.Schema]
) -> Iterator[str]:
    for part, schema in zip(manifest.parts, schemas, strict=False):
        yield from _check_names(folder.predictions / part.file, manifest, schema)
        if not schema.equals(schemas[0]):
            yield f"{folder.predictions / part.file}: expected the columns of the first part, found others"


def _check_names(path: Path, manifest: Manifest, schema: pa.Schema) -> Iterator[str]:
    contract = prediction_schema([], [], manifest.settings.keep_text).names
    expected = (*contract, *manifest.columns.kept.values())
    if missing := [name for name in expected if name not in schema.names]:
        yield f"{path}: expected the column {missing[0]}, found none"


def _check_counts(folder: RunFolder, manifest: Manifest) -> Iterator[str]:
    counts = manifest.counts
    sums = {
        "source rows": (counts.source_rows, counts.answered),
        "predictions": (counts.predictions, sum(part.rows for part in manifest.parts)),
        "predictions by status": (counts.predictions, sum(counts.by_status.values())),
    }
    for what, (expected, found) in sums.items():
        if expected != found:
            yield f"{folder.manifest}: expected {expected} {what}, found {found}"


def _check_row_numbers(folder: RunFolder, source_rows: int, row_numbers: Any) -> Iterator[str]:
    """Yield a finding where a row of the source has two answers, or an answer has no row."""
    distinct = np.unique(row_numbers)
    if len(distinct) != len(row_numbers):
        row_number, times = Counter(row_numbers.tolist()).most_common(1)[0]
        yield f"{folder.predictions}: expected one answer for each row of the source, found {times} for row_number {row_number}"
    if len(distinct) and not 0 <= distinct[0] <= distinct[-1] < source_rows:
        yield f"{folder.predictions}: expected row_number within {source_rows} source rows, found {distinct[0]} to {distinct[-1]}"
