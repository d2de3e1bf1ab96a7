"""How a run that is complete in its local folder becomes visible: by a move, or by uploads.

An object store has no rename: parts and rejects go to keys that hold the id of the run, then the manifest, put only where
there is none. Until then no reader of manifests sees the run, and a crash in between costs another upload of the same bytes.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.storage.atomic import flush_to_disk
from ecomintent_batch.storage.s3 import REQUESTS_AT_ONCE, Store


def move_into_place(folder: RunFolder) -> None:
    """Move rejects and manifest of a local run into their places, the manifest last, and remove the staging folder."""
    if folder.staged_rejects.exists():
        folder.staged_rejects.replace(folder.rejects)
    folder.staged_manifest.replace(folder.manifest)
    flush_to_disk(folder.manifest.parent)
    shutil.rmtree(folder.staging, ignore_errors=True)


def upload_run(store: Store, folder: RunFolder) -> None:
    """Upload parts and rejects of a run, and its staged manifest last, only where there is none.

    Raises:
        OutputError: the bucket cannot be written, or another run of this id is there.
    """
    upload_folder(store, folder.out, folder.keys.predictions)
    # A crash may have moved them already.
    rejects = folder.staged_rejects if folder.staged_rejects.exists() else folder.rejects
    store.upload(rejects, folder.keys.rejects)
    body, key = folder.staged_manifest.read_bytes(), folder.keys.manifest
    if not store.put_if_absent(key, body) and store.read(key) != body:
        raise OutputError(
            f"{store.url}/{key}: expected no manifest of this run, found another one; start from scratch with --restart"
        )


def upload_folder(store: Store, out: Path, folder: str) -> None:
    """Upload the files of one folder of a local OUT under the same names."""
    files = sorted(path for path in (out / folder).rglob("*") if path.is_file())
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for _ in pool.map(lambda path: store.upload(path, path.relative_to(out).as_posix()), files):
            pass


def remove_local_copy(folder: RunFolder) -> None:
    """Remove from the local folder what a store has now, the manifest last: until then the run counts as unsettled.

    The summaries stay: people look at the report.
    """
    shutil.rmtree(folder.predictions, ignore_errors=True)
    folder.rejects.unlink(missing_ok=True)
    folder.manifest.unlink()
