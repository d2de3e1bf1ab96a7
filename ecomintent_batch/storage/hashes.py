"""SHA-256 of large files, remembered between processes: the weights of a model are read once, not for every run."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from ecomintent_batch.errors import OutputError
from ecomintent_batch.storage.atomic import sha256_of, write_json

_REMEMBERED_BYTES = 1 << 20  # smaller files are read faster than looked up
_SETTLED_NS = 2_000_000_000  # a file this young may still change within one tick of its time
_MOST_FILES = 200


def remembered_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; of a large one that is unchanged, the one that was computed before.

    Unchanged means: the same path, inode, size and times of modification and of status change, as in git's index.
    """
    state = path.stat()
    if state.st_size < _REMEMBERED_BYTES:
        return sha256_of(path)
    key = str(path.resolve())
    stamp = [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    known = _read_known()
    entry = known.get(key)
    if isinstance(entry, dict) and entry.get("stamp") == stamp and isinstance(entry["sha256"], str):
        return entry["sha256"]
    sha256 = sha256_of(path)
    if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED_NS:
        _write_known({**known, key: {"stamp": stamp, "sha256": sha256}})
    return sha256


def cache_folder() -> Path:
    """Return where this package keeps what can be made again: under XDG_CACHE_HOME, or `.cache` of the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecomintent-batch"


def _cache_file() -> Path:
    return cache_folder() / "hashes.json"


def _read_known() -> dict[str, object]:
    try:
        known = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return {}
    return known if isinstance(known, dict) else {}


def _write_known(known: dict[str, object]) -> None:
    """Write what is known; a cache that cannot be written costs time only."""
    with suppress(OSError, OutputError, RuntimeError):
        file = _cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(dict(list(known.items())[-_MOST_FILES:]), file)
