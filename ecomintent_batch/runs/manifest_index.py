"""The manifests of an object store in one object, so that reading thousands of them takes a handful of requests.

The index is a cache and never the truth: which manifests there are, and in which version, is what the store lists. What the
index lacks, or has in another version, is read one by one; an index that is lost or broken is written again.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pydantic import BaseModel, TypeAdapter, ValidationError

from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.layout import RUNS
from ecomintent_batch.runs.records import Manifest, parse_record
from ecomintent_batch.storage.s3 import REQUESTS_AT_ONCE, Store, StoredObject

KEY = "index/manifests.json.gz"
_REWRITE_FROM = 16  # manifests read one by one


class _Entry(BaseModel):
    key: str
    etag: str
    manifest: Manifest


_ENTRIES = TypeAdapter(list[_Entry])


def list_manifest_objects(store: Store) -> list[StoredObject]:
    """Return the manifests that a store lists, oldest first."""
    return [entry for entry in store.list_objects(f"{RUNS}/") if entry.name.endswith(".json")]


class ManifestIndex:
    """The manifests of one store; what was read once is kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], _Entry] | None = None

    def read(self, *, refresh: bool = False) -> list[Manifest]:
        """Return the manifests, oldest first.

        Args:
            refresh: Write the index again, because a run was added.
        """
        listed = list_manifest_objects(self._store)
        if self._known is None:
            self._known = _read_index(self._store) if len(listed) > 1 else {}
        known = self._known
        missing = [entry for entry in listed if (entry.name, entry.etag) not in known]
        known |= {(entry.key, entry.etag): entry for entry in _read_each(self._store, missing)}
        versions = [(entry.name, entry.etag) for entry in listed]
        entries = [known[version] for version in versions if version in known]
        if refresh or len(missing) >= _REWRITE_FROM:
            with suppress(OutputError):  # who may only read does without
                self._store.put(KEY, gzip.compress(_ENTRIES.dump_json(entries), compresslevel=3))
        return [entry.manifest for entry in entries]


def _read_index(store: Store) -> dict[tuple[str, str], _Entry]:
    index = store.find(KEY)
    try:
        entries = _ENTRIES.validate_json(gzip.decompress(index.body)) if index else []
    except (OSError, EOFError, ValidationError):
        return {}  # broken, or of another version of this package
    return {(entry.key, entry.etag): entry for entry in entries}


def _read_each(store: Store, missing: Sequence[StoredObject]) -> list[_Entry]:
    def read(entry: StoredObject) -> _Entry | None:
        current = store.find(entry.name)
        if current is None:
            return None  # removed since it was listed
        manifest = parse_record(Manifest, current.body, f"{store.url}/{entry.name}")
        return _Entry(key=entry.name, etag=current.etag, manifest=manifest)

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return [entry for entry in pool.map(read, missing) if entry is not None]
