"""All manifests of an OUT in one file, so that reading thousands of them takes a moment, or a handful of requests.

The index is a cache and never the truth: which manifests there are, and in which version, is what the folder or the store
lists. What the index lacks, or has in another version, is read one by one; an index that is lost or broken is written again.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError

from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.runs.layout import RUNS
from ecomintent_batch.runs.records import Manifest, parse_record
from ecomintent_batch.storage.atomic import whole_file
from ecomintent_batch.storage.s3 import REQUESTS_AT_ONCE, Store

KEY = "index/manifests.json.gz"
_REWRITE_FROM = 16  # manifests read one by one


class Listed(NamedTuple):
    """A manifest by its key, and what changes when it is written again."""

    key: str
    version: str


class _Entry(BaseModel):
    key: str
    etag: str
    manifest: Manifest


_ENTRIES = TypeAdapter(list[_Entry])


class Shelf(Protocol):
    """Where manifests lie."""

    def list_manifests(self) -> list[Listed]:
        """Return the manifests that are there, oldest first."""

    def read_manifest(self, key: str) -> tuple[bytes, str] | None:
        """Return one manifest and its version; None where it is gone."""

    def read_index(self) -> bytes | None:
        """Return the index, if there is one."""

    def write_index(self, content: bytes) -> None:
        """Replace the index; whoever may only read does without."""

    def locate(self, key: str) -> str:
        """Return a key as messages show it."""


class FolderShelf:
    """The manifests of a local folder; the version of one is its size and the time of its last change."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def list_manifests(self) -> list[Listed]:
        try:
            with os.scandir(self._out / RUNS) as entries:
                found = [
                    Listed(f"{RUNS}/{entry.name}", _version(entry.stat()))
                    for entry in entries
                    if entry.name.endswith(".json")
                ]
        except FileNotFoundError:
            return []
        return sorted(found)

    def read_manifest(self, key: str) -> tuple[bytes, str] | None:
        file = self._out / key
        try:
            version = _version(file.stat())
            return file.read_bytes(), version
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunStateError(
                f"{file}: expected a manifest, found: {type(error).__name__}"
            ) from None

    def read_index(self) -> bytes | None:
        try:
            return (self._out / KEY).read_bytes()
        except OSError:
            return None

    def write_index(self, content: bytes) -> None:
        with suppress(OSError):
            file = self._out / KEY
            file.parent.mkdir(exist_ok=True)
            with whole_file(file) as temporary:
                temporary.write_bytes(content)

    def locate(self, key: str) -> str:
        return str(self._out / key)


class StoreShelf:
    """The manifests of an object store; the version of one is its ETag."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_manifests(self) -> list[Listed]:
        return [
            Listed(entry.name, entry.etag)
            for entry in self._store.list_objects(f"{RUNS}/")
            if entry.name.endswith(".json")
        ]

    def read_manifest(self, key: str) -> tuple[bytes, str] | None:
        current = self._store.find(key)
        return None if current is None else (current.body, current.etag)

    def read_index(self) -> bytes | None:
        index = self._store.find(KEY)
        return None if index is None else index.body

    def write_index(self, content: bytes) -> None:
        with suppress(OutputError):
            self._store.put(KEY, content)

    def locate(self, key: str) -> str:
        return f"{self._store.url}/{key}"


class ManifestIndex:
    """The manifests of one OUT; what was read once is kept."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._known: dict[Listed, _Entry] | None = None

    def list_ids(self) -> list[str]:
        """Return the ids of the runs, oldest first, without reading a manifest."""
        return [Path(entry.key).stem for entry in self._shelf.list_manifests()]

    def read(self, *, refresh: bool = False) -> list[Manifest]:
        """Return the manifests, oldest first.

        Args:
            refresh: Write the index again, because a run was added.
        """
        listed = self._shelf.list_manifests()
        if self._known is None:
            self._known = self._read_index() if len(listed) > 1 else {}
        known = self._known
        missing = [entry for entry in listed if entry not in known]
        known |= {Listed(entry.key, entry.etag): entry for entry in self._read_each(missing)}
        entries = [known[entry] for entry in listed if entry in known]
        if refresh or len(missing) >= _REWRITE_FROM:
            content = gzip.compress(_ENTRIES.dump_json(entries), compresslevel=1)
            self._shelf.write_index(content)
        return [entry.manifest for entry in entries]

    def _read_index(self) -> dict[Listed, _Entry]:
        index = self._shelf.read_index()
        try:
            entries = _ENTRIES.validate_json(gzip.decompress(index)) if index else []
        except (OSError, EOFError, ValidationError):
            return {}  # broken, or of another version of this package
        return {Listed(entry.key, entry.etag): entry for entry in entries}

    def _read_each(self, missing: Sequence[Listed]) -> list[_Entry]:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            found = pool.map(self._read_one, missing)
            return [entry for entry in found if entry is not None]

    def _read_one(self, listed: Listed) -> _Entry | None:
        current = self._shelf.read_manifest(listed.key)
        if current is None:
            return None  # removed since it was listed
        body, version = current
        manifest = parse_record(Manifest, body, self._shelf.locate(listed.key))
        return _Entry(key=listed.key, etag=version, manifest=manifest)


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"
