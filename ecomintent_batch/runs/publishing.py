"""A committed run goes from a local folder to an object store, and back to be read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.runs.layout import LATEST, RUNS, RunFolder, RunKeys
from ecomintent_batch.runs.records import Manifest, parse_record
from ecomintent_batch.storage.s3 import Store

_REQUESTS_AT_ONCE = 16


def publish_run(store: Store, out: Path, run_id: str) -> None:
    """Publish a run that is committed in a local folder; its manifest comes last, and only where there is none.

    Raises:
        OutputError: the bucket cannot be written, or another run of this id is there.
    """
    folder = RunFolder(out, run_id)
    # Where a crash has removed some of them already, the store has them.
    publish_folder(store, out, folder.keys.predictions)
    publish_folder(store, out, folder.keys.summaries)
    if folder.rejects.exists():
        store.upload(folder.rejects, folder.keys.rejects)
    body, name = folder.manifest.read_bytes(), folder.keys.manifest
    if not store.put_if_absent(name, body) and store.read(name) != body:
        raise OutputError(
            f"{store.url}/{name}: expected no manifest of this run, found another one; start from scratch with --new"
        )


def publish_folder(store: Store, out: Path, folder: str) -> None:
    """Upload the files of one folder of a local OUT under the same names."""
    for path in sorted((out / folder).rglob("*")):
        if path.is_file():
            store.upload(path, path.relative_to(out).as_posix())


def remove_local_copy(folder: RunFolder) -> None:
    """Remove from the local folder what a store has now, the manifest last: until then it would be published again.

    The summaries stay: people look at the report, and the next run compares itself with them.
    """
    shutil.rmtree(folder.predictions, ignore_errors=True)
    folder.rejects.unlink(missing_ok=True)
    folder.manifest.unlink()


def list_manifests(store: Store) -> list[Manifest]:
    """Return the manifests of the runs that are published, oldest first."""
    names = _manifest_names(store)
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        bodies = list(pool.map(store.read, names))
    return [
        parse_record(Manifest, body, f"{store.url}/{name}")
        for name, body in zip(names, bodies, strict=True)
    ]


def fetch_run(store: Store, run_id: str, folder: Path) -> str:
    """Fetch a run, the newest for `latest`, into a folder that looks like a local OUT; return its id."""
    names = _manifest_names(store)
    if run_id == LATEST and names:
        run_id = Path(names[-1]).stem
    keys = RunKeys(run_id=run_id)
    if keys.manifest not in names:
        raise RunStateError(
            f"{store.url}: expected a committed run {run_id}, found {len(names)} others; see ecomintent-batch runs"
        )
    for name in (keys.manifest, keys.rejects, *store.list_names(f"{keys.predictions}/")):
        store.download(name, folder / name)
    return run_id


def list_parts(out: str, manifests: Sequence[Manifest]) -> list[str]:
    """Return the files, or URLs, of the parts that some manifests list."""
    return [
        f"{out}/{RunKeys(run_id=manifest.run_id).part(part.file)}"
        for manifest in manifests
        for part in manifest.parts
    ]


def _manifest_names(store: Store) -> list[str]:
    return [name for name in store.list_names(f"{RUNS}/") if name.endswith(".json")]
