"""The merged files of an object store: put under new keys, then their record, which is the commit.

What they replace stays for a day, because a query that was started before may still read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.cleanup import Leftover
from ecomintent_batch.runs.layout import (
    COMPACTIONS,
    MERGED,
    PREDICTIONS,
    compaction_key,
    merged_folder,
    run_id_of,
)
from ecomintent_batch.runs.parts import list_in_force, list_replaced
from ecomintent_batch.runs.records import Compaction, MergedFile, parse_record
from ecomintent_batch.storage.s3 import REQUESTS_AT_ONCE, Store, StoredObject

MERGE_CLAIM = "claims/merge.json"
STILL_READ = timedelta(days=1)
_WITHOUT_RECORD = "merged files without a record"


def list_stored_merged(store: Store) -> tuple[MergedFile, ...]:
    """Return the merged files of a store that are in force."""
    compactions = _read_compactions(store)
    if not compactions:
        return ()
    return list_in_force(compactions, store.list_names(f"{PREDICTIONS}/run_id={MERGED}"))


def upload_merge(store: Store, built: Path, compaction: Compaction) -> None:
    """Upload merged files, and their record last, only where there is none.

    Raises:
        OutputError: the bucket cannot be written.
    """
    folder = merged_folder(compaction.compaction_id)
    for file in sorted(built.iterdir()):
        store.upload(file, f"{folder}/{file.name}")
    key = compaction_key(compaction.compaction_id)
    if not store.put_if_absent(key, compaction.model_dump_json(indent=2).encode()):
        raise OutputError(f"{store.url}/{key}: expected no record of this merge, found one")


def sweep_stored_merges(store: Store, still_read: timedelta | None = None) -> None:
    """Remove what merges have replaced, once nobody can read it any more; what no record names is for `clean`."""
    for leftover in list_stored_merge_leftovers(store, still_read):
        if leftover.what != _WITHOUT_RECORD:
            store.delete(*leftover.keys)


def list_stored_merge_leftovers(
    store: Store, still_read: timedelta | None = None
) -> list[Leftover]:
    """Return the objects that merges have replaced before this time, and what crashes have left; records last."""
    compactions = _read_compactions(store)
    objects = store.list_objects(f"{PREDICTIONS}/")
    merged = [entry for entry in objects if (run_id_of(entry.name) or "").startswith(MERGED)]
    in_force = list_in_force(compactions, [entry.name for entry in merged])
    until = datetime.now(UTC) - (STILL_READ if still_read is None else still_read)
    settled = [record for record in compactions if record.made_at <= until]
    kept = {file.file for file in in_force}
    replaced = list_replaced(settled, [entry.name for entry in merged])
    recorded = {file.file for record in compactions for file in record.files}
    done = {
        run_id for r in settled for file in r.files if file.file in kept for run_id in file.runs
    }
    own = [entry for entry in objects if run_id_of(entry.name) in done]
    old = [entry for entry in merged if entry.name in replaced]
    unknown = [entry for entry in merged if entry.name not in recorded and entry.modified < until]
    left = {entry.name for entry in merged} - {entry.name for entry in old}
    records = [
        compaction_key(record.compaction_id)
        for record in settled
        if not left.intersection(file.file for file in record.files)
    ]
    return [
        *_to_leftover(store, PREDICTIONS, f"{len(own):,} parts that were merged", own),
        *_to_leftover(store, PREDICTIONS, f"{len(old):,} merged files that were replaced", old),
        *_to_leftover(store, PREDICTIONS, _WITHOUT_RECORD, unknown),
        *(
            Leftover(
                location=f"{store.url}/{key}",
                what="the record of merged files that are gone",
                n_bytes=0,
                keys=(key,),
            )
            for key in records
        ),
    ]


def _to_leftover(
    store: Store, folder: str, what: str, objects: Sequence[StoredObject]
) -> list[Leftover]:
    if not objects:
        return []
    return [
        Leftover(
            location=f"{store.url}/{folder}",
            what=what,
            n_bytes=sum(entry.n_bytes for entry in objects),
            keys=tuple(entry.name for entry in objects),
        )
    ]


def _read_compactions(store: Store) -> list[Compaction]:
    names = store.list_names(f"{COMPACTIONS}/")

    def read(name: str) -> Compaction | None:
        found = store.find(name)
        if found is None:
            return None  # removed since it was listed
        return parse_record(Compaction, found.body, f"{store.url}/{name}")

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return [record for record in pool.map(read, names) if record is not None]
