"""Where the runs of an OUT are, and how to get at them: in a local folder, or in an object store.

Runs are made in a local folder in both cases. `open_store` is the only place that asks which of the two it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from ecomintent_batch.errors import EcomIntentError, OutputError, RunStateError
from ecomintent_batch.runs.catalog import (
    list_names,
    list_runs,
    list_unsummarised,
    new_run_id,
    pick_run,
)
from ecomintent_batch.runs.claims import Claim, claim_key, hold_claim
from ecomintent_batch.runs.cleanup import (
    Leftover,
    list_leftovers,
    list_stored_leftovers,
    remove_leftover,
)
from ecomintent_batch.runs.layout import (
    PREDICTIONS,
    REVIEWED_LABELS,
    SUMMARIES,
    RunFolder,
    RunKeys,
    compaction_key,
    run_id_of,
)
from ecomintent_batch.runs.lock import lock_out
from ecomintent_batch.runs.manifest_index import FolderShelf, ManifestIndex, StoreShelf
from ecomintent_batch.runs.merged import list_merged, publish_merge, sweep_merges
from ecomintent_batch.runs.merged_objects import (
    MERGE_CLAIM,
    list_stored_merge_leftovers,
    list_stored_merged,
    sweep_stored_merges,
    upload_merge,
)
from ecomintent_batch.runs.parts import Parts, find_parts
from ecomintent_batch.runs.publishing import (
    move_into_place,
    remove_local_copy,
    upload_folder,
    upload_run,
)
from ecomintent_batch.runs.records import (
    Compaction,
    Manifest,
    MergedFile,
    parse_record,
    read_manifest,
)
from ecomintent_batch.storage.atomic import whole_file
from ecomintent_batch.storage.location import Location, parse_location, work_folder
from ecomintent_batch.storage.s3 import Store

Note = Callable[[str], None]
Source = Sequence[str | None]  # location, table and query: what a run is of


class RunStore(Protocol):
    """The runs of one OUT.

    Attributes:
        location: The place as messages show it.
        folder: The local folder in which runs are made.
    """

    @property
    def location(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def hold(self, source: Source, timeout_s: float, note: Note) -> AbstractContextManager[None]:
        """Hold OUT for one job of a source; what another job holds is waited for, up to `timeout_s`.

        Raises:
            OutputError: OUT cannot be written, or another job still holds it.
        """

    def new_run_id(self) -> str:
        """Return an id that sorts after those of all runs, even if the clock was set back."""

    def run_ids(self) -> list[str]:
        """Return the ids of the committed runs, oldest first, without reading a manifest."""

    def manifests(self) -> list[Manifest]:
        """Return the manifests of the committed runs, oldest first."""

    def pick(self, run_id: str | None = None) -> str:
        """Return the id of a committed run, of the newest for None and `latest`.

        Raises:
            RunStateError: there is no such run.
        """

    def find(self, run_id: str | None = None) -> Manifest:
        """Return the manifest of a committed run, of the newest for None and `latest`.

        Raises:
            RunStateError: there is no such run.
        """

    def publish(self, folder: RunFolder) -> None:
        """Commit a run whose parts are in its predictions folder and whose manifest is staged."""

    def settle(self, folder: RunFolder) -> None:
        """Finish a committed run once its summaries are written."""

    def unsettled(self) -> list[Manifest]:
        """Return the manifests of committed runs whose summaries are not written: they crashed after the commit."""

    def parts(self, manifests: Sequence[Manifest]) -> Parts:
        """Return the files or URLs that hold the predictions of some runs."""

    def merged_files(self) -> tuple[MergedFile, ...]:
        """Return the merged files that are in force."""

    def hold_merge(self, note: Note) -> AbstractContextManager[None]:
        """Hold what two merges must not do at once; the local folder is held already."""

    def sweep_merges(self) -> None:
        """Remove what earlier merges have replaced, and what crashes have left of them."""

    def publish_merge(self, built: Path, compaction: Compaction, *, at_once: bool) -> None:
        """Put merged files, which are in a staging folder, in place of what they hold.

        Args:
            built: Their folder.
            compaction: Their record.
            at_once: Remove what they replace now, and not when no reader can be at it any more.
        """

    def read_bytes(self, key: str) -> bytes:
        """Return the bytes of a file or object.

        Raises:
            RunStateError: it is not there, or cannot be read.
        """

    def reject_location(self, manifest: Manifest) -> str:
        """Return the file or URL of the rejects of a run."""

    def read_summary(self, run_id: str, name: str) -> bytes | None:
        """Return one summary table of a run, as Parquet; None where there is none."""

    def summary_locations(self, manifests: Sequence[Manifest], name: str) -> list[str]:
        """Return the files or URLs of one summary table of some runs, of those that have it."""

    def read_labels(self) -> bytes | None:
        """Return the labels that people gave to tickets, as Parquet; None where there are none."""

    def save_labels(self, content: bytes) -> None:
        """Replace the labels that people gave.

        Raises:
            OutputError: OUT cannot be written.
        """

    def label_locations(self) -> list[str]:
        """Return the file or URL of the labels that people gave, if there are any."""

    def save_summaries(self, folder: RunFolder) -> None:
        """Put summaries that were written in the local folder where the run is."""

    def save_folder(self, key: str) -> None:
        """Put a folder of files that were written in the local folder where the runs are."""

    def open_run(self, run_id: str) -> AbstractContextManager[RunFolder]:
        """Yield a local folder with the manifest, the parts and the rejects of a committed run."""

    def locate(self, key: str) -> str:
        """Return the file or URL of a key."""

    def leftovers(self, older_than_days: float | None) -> list[Leftover]:
        """Return what `clean` would remove: abandoned work, strays, and committed runs older than so many days."""

    def remove(self, leftover: Leftover) -> None:
        """Remove one leftover; a committed run with everything that belongs to it."""

    def hold_for_cleaning(self, timeout_s: float, note: Note) -> AbstractContextManager[None]:
        """Hold the local folder while leftovers are listed and removed."""

    def example_query(self) -> str:
        """Return a command that counts the committed predictions."""


def open_store(out: Location) -> RunStore:
    """Return the runs of a local folder, or of the URL of an object store."""
    location = parse_location(out)
    return S3Runs(location) if isinstance(location, str) else LocalRuns(location)


class LocalRuns:
    """The runs of a local folder."""

    def __init__(self, out: Path) -> None:
        self.folder = out
        self._index = ManifestIndex(FolderShelf(out))

    @property
    def location(self) -> str:
        return str(self.folder)

    def hold(self, source: Source, timeout_s: float, note: Note) -> AbstractContextManager[None]:
        return lock_out(self.folder, timeout_s, note)

    def new_run_id(self) -> str:
        return new_run_id(list_names(self.folder))

    def run_ids(self) -> list[str]:
        return self._index.list_ids()

    def manifests(self) -> list[Manifest]:
        return self._index.read()

    def pick(self, run_id: str | None = None) -> str:
        return pick_run(self.location, self.run_ids(), run_id)

    def find(self, run_id: str | None = None) -> Manifest:
        return read_manifest(RunFolder(self.folder, self.pick(run_id)).manifest)

    def publish(self, folder: RunFolder) -> None:
        move_into_place(folder)

    def settle(self, folder: RunFolder) -> None:
        pass

    def unsettled(self) -> list[Manifest]:
        return list_unsummarised(self.folder)

    def parts(self, manifests: Sequence[Manifest]) -> Parts:
        return find_parts(manifests, self.merged_files(), self._own_parts, self.locate)

    def _own_parts(self, manifest: Manifest) -> list[str]:
        predictions = RunFolder(self.folder, manifest.run_id).predictions
        return [str(predictions / part.file) for part in manifest.parts]

    def merged_files(self) -> tuple[MergedFile, ...]:
        return list_merged(self.folder)

    def hold_merge(self, note: Note) -> AbstractContextManager[None]:
        return nullcontext()

    def sweep_merges(self) -> None:
        sweep_merges(self.folder)

    def publish_merge(self, built: Path, compaction: Compaction, *, at_once: bool) -> None:
        publish_merge(self.folder, built, compaction)

    def read_bytes(self, key: str) -> bytes:
        try:
            return (self.folder / key).read_bytes()
        except OSError as error:
            raise RunStateError(
                f"{self.folder / key}: expected a file, found: {error.strerror}"
            ) from None

    def reject_location(self, manifest: Manifest) -> str:
        return str(RunFolder(self.folder, manifest.run_id).rejects)

    def read_summary(self, run_id: str, name: str) -> bytes | None:
        file = self.folder / RunKeys(run_id=run_id).table(name)
        return file.read_bytes() if file.exists() else None

    def summary_locations(self, manifests: Sequence[Manifest], name: str) -> list[str]:
        files = [self.folder / RunKeys(run_id=run.run_id).table(name) for run in manifests]
        return [str(file) for file in files if file.exists()]

    def read_labels(self) -> bytes | None:
        file = self.folder / REVIEWED_LABELS
        return file.read_bytes() if file.exists() else None

    def save_labels(self, content: bytes) -> None:
        file = self.folder / REVIEWED_LABELS
        try:
            file.parent.mkdir(exist_ok=True)
            with whole_file(file) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise OutputError(
                f"{file}: expected a file that can be written, found: {error.strerror}; check the folder's rights"
            ) from None

    def label_locations(self) -> list[str]:
        file = self.folder / REVIEWED_LABELS
        return [str(file)] if file.exists() else []

    def save_summaries(self, folder: RunFolder) -> None:
        pass

    def save_folder(self, key: str) -> None:
        pass

    @contextmanager
    def open_run(self, run_id: str) -> Iterator[RunFolder]:
        yield RunFolder(self.folder, run_id)

    def locate(self, key: str) -> str:
        return str(self.folder / key)

    def leftovers(self, older_than_days: float | None) -> list[Leftover]:
        return list_leftovers(self.folder, older_than_days)

    def remove(self, leftover: Leftover) -> None:
        remove_leftover(self.folder, leftover)

    def hold_for_cleaning(self, timeout_s: float, note: Note) -> AbstractContextManager[None]:
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder}: expected a folder with outputs, found none")
        return lock_out(self.folder, timeout_s, note)

    def example_query(self) -> str:
        glob = f"{self.folder}/{PREDICTIONS}/*/*.parquet".replace("'", "''")
        query = f"SELECT intent, count(*) FROM '{glob}' GROUP BY ALL"  # noqa: S608 - shown, not run
        return f'duckdb -c "{query}"'


class S3Runs:
    """The runs of an object store; each is made in a local folder, whose files are removed when it is published."""

    def __init__(self, url: str) -> None:
        self.location = url
        self.folder = work_folder(url)
        self._store = Store(url)
        self._local = LocalRuns(self.folder)
        self._index = ManifestIndex(StoreShelf(self._store))
        self._claim: Claim | None = None

    @contextmanager
    def hold(self, source: Source, timeout_s: float, note: Note) -> Iterator[None]:
        key = claim_key(source)
        with (
            lock_out(self.folder, timeout_s, note),
            # A bucket that cannot be written is noticed here, before anything is read or scored.
            hold_claim(self._store, key, self.folder, timeout_s, note) as self._claim,
        ):
            yield

    def new_run_id(self) -> str:
        return new_run_id([*self.run_ids(), *list_names(self.folder)])

    def run_ids(self) -> list[str]:
        return self._index.list_ids()

    def manifests(self) -> list[Manifest]:
        return self._index.read()

    def pick(self, run_id: str | None = None) -> str:
        return pick_run(self.location, self.run_ids(), run_id)

    def find(self, run_id: str | None = None) -> Manifest:
        key = RunKeys(run_id=self.pick(run_id)).manifest
        return parse_record(Manifest, self._store.read(key), self.locate(key))

    def publish(self, folder: RunFolder) -> None:
        if self._claim is not None:
            self._claim.check()
        upload_run(self._store, folder)
        move_into_place(folder)
        with suppress(EcomIntentError):  # the run is committed, and the index is only a cache
            self._index.read(refresh=True)

    def settle(self, folder: RunFolder) -> None:
        self.save_summaries(folder)
        remove_local_copy(folder)

    def unsettled(self) -> list[Manifest]:
        return list_runs(self.folder)

    def parts(self, manifests: Sequence[Manifest]) -> Parts:
        return find_parts(manifests, self.merged_files(), self._own_parts, self.locate)

    def _own_parts(self, manifest: Manifest) -> list[str]:
        if RunFolder(self.folder, manifest.run_id).predictions.exists():  # just made
            return self._local._own_parts(manifest)
        keys = RunKeys(run_id=manifest.run_id)
        return [self.locate(keys.part(part.file)) for part in manifest.parts]

    def merged_files(self) -> tuple[MergedFile, ...]:
        return list_stored_merged(self._store)

    @contextmanager
    def hold_merge(self, note: Note) -> Iterator[None]:
        with hold_claim(self._store, MERGE_CLAIM, self.folder, 0, note):
            yield

    def sweep_merges(self) -> None:
        sweep_merges(self.folder)
        sweep_stored_merges(self._store)

    def publish_merge(self, built: Path, compaction: Compaction, *, at_once: bool) -> None:
        upload_merge(self._store, built, compaction)
        shutil.rmtree(built.parent)
        if at_once:
            sweep_stored_merges(self._store, timedelta(0))

    def read_bytes(self, key: str) -> bytes:
        return self._store.read(key)

    def reject_location(self, manifest: Manifest) -> str:
        return self.locate(RunKeys(run_id=manifest.run_id).rejects)

    def read_summary(self, run_id: str, name: str) -> bytes | None:
        table = self._store.find(RunKeys(run_id=run_id).table(name))
        return None if table is None else table.body

    def summary_locations(self, manifests: Sequence[Manifest], name: str) -> list[str]:
        keys = {RunKeys(run_id=run.run_id).table(name) for run in manifests}
        stored = self._store.list_names(f"{SUMMARIES}/")
        return [self.locate(key) for key in stored if key in keys]

    def read_labels(self) -> bytes | None:
        found = self._store.find(REVIEWED_LABELS)
        return None if found is None else found.body

    def save_labels(self, content: bytes) -> None:
        with TemporaryDirectory(prefix="ecomintent-labels-") as folder:
            file = Path(folder) / "labels.parquet"
            file.write_bytes(content)
            self._store.upload(file, REVIEWED_LABELS)

    def label_locations(self) -> list[str]:
        return list(map(self.locate, self._store.list_names(REVIEWED_LABELS)))

    def save_summaries(self, folder: RunFolder) -> None:
        self.save_folder(folder.keys.summaries)

    def save_folder(self, key: str) -> None:
        upload_folder(self._store, self.folder, key)

    @contextmanager
    def open_run(self, run_id: str) -> Iterator[RunFolder]:
        keys = RunKeys(run_id=run_id)
        merged = next((file for file in self.merged_files() if run_id in file.runs), None)
        if merged is None:
            parts = self._store.list_names(f"{keys.predictions}/")
        else:
            parts = [merged.file, compaction_key(run_id_of(merged.file) or "")]
        with TemporaryDirectory(prefix="ecomintent-run-") as fetched:
            for key in (keys.manifest, keys.rejects, *parts):
                self._store.download(key, Path(fetched) / key)
            yield RunFolder(Path(fetched), run_id)

    def locate(self, key: str) -> str:
        return f"{self.location}/{key}"

    def leftovers(self, older_than_days: float | None) -> list[Leftover]:
        # The summaries of published runs stay in the local folder.
        local = list_leftovers(self.folder, keep_summaries=True)
        return [
            *local,
            *list_stored_leftovers(self._store, self.manifests(), older_than_days),
            *list_stored_merge_leftovers(self._store),
        ]

    def remove(self, leftover: Leftover) -> None:
        if not leftover.keys:
            self._local.remove(leftover)
            return
        self._store.delete(leftover.keys[0])  # the manifest: nobody sees the run from now on
        self._store.delete(*leftover.keys[1:])

    def hold_for_cleaning(self, timeout_s: float, note: Note) -> AbstractContextManager[None]:
        return lock_out(self.folder, timeout_s, note)

    def example_query(self) -> str:
        return f"ecomintent-batch query volume_by_intent --out {self.location}"
