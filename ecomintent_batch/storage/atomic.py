"""Files that are there whole or not at all: a temporary name, a flush to the disk, a rename."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.errors import OutputError

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on a clean exit it is flushed to disk and takes its name.

    The temporary name ends in `.tmp`, so that no glob over `*.parquet` sees it.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_to_disk(path.parent)


def check_new_folder(out: Path) -> None:
    """Refuse a folder that has something in it.

    Raises:
        OutputError: it has, or it is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out}: expected a new or empty folder, found something in it; choose another --out"
        )


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `out` that takes its name on a clean exit.

    Raises:
        OutputError: `out` is there already and not empty, or cannot be written.
    """
    check_new_folder(out)
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
        try:
            yield building
            building.chmod(0o755)
            building.rename(out)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        flush_to_disk(parent)
    except OSError as error:
        raise OutputError(
            f"{out}: expected a folder that can be written, found: {error.strerror}"
        ) from None


def link_tree(source: Path, target: Path) -> None:
    """Make a folder with the same files, by hard links.

    Raises:
        OSError: the file system has no hard links.
    """
    shutil.copytree(source, target, copy_function=os.link)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; return False where the system or the file system cannot.

    Linux can, on its own file systems. There is no such call in Python.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done: int = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0


def flush_to_disk(path: Path) -> None:
    """Call fsync on a file, or on a folder so that its renames last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write one Parquet file, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_text(text: str, path: Path) -> None:
    """Write one UTF-8 text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Write one JSON file, whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
