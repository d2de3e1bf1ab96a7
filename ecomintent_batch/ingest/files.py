"""A location → the files that it names, on disk or in an object store, and what kind their names say."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import Kind

_SUFFIXES: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
    ".duckdb": "duckdb", ".ddb": "duckdb", ".db": "duckdb",
}  # fmt: skip
_KINDS_OF_FOLDERS = ("csv", "jsonl", "parquet")
WHAT_IS_READ = ".csv .tsv .jsonl (also .gz) .parquet .duckdb postgresql:// or s3://"


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        path: where its bytes are.
        name: what people call it: an s3:// URL for a file that was fetched from there.
    """

    path: Path
    name: str


def find_files(location: str) -> list[Path]:
    """Return the files of a location on disk: one file, a glob or a folder.

    Raises:
        SourceError: there is none, one is empty, or one cannot be opened.
    """
    try:
        files = _list_files(location)
        for file in files:
            file.open("rb").close()
            if file.is_file() and file.stat().st_size == 0:
                raise SourceError(f"{file}: expected tickets, found an empty file")
    except (OSError, RuntimeError) as error:  # RuntimeError: ~user, and there is no such user
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(
            f"{getattr(error, 'filename', None) or location}: expected a readable file, found: {problem}"
        ) from None
    return files


def _list_files(location: str) -> list[Path]:
    path = Path(location).expanduser()
    if path.is_dir():
        files = [
            file
            for file in sorted(path.iterdir())
            if file.is_file() and kind_of(file, strict=False) in _KINDS_OF_FOLDERS
        ]
        # A .txt is a README more often than an export; macOS leaves a ._tickets.csv next to each tickets.csv.
        files = [file for file in files if file.suffix != ".txt" and not file.name.startswith(".")]
        if not files:
            raise SourceError(
                f"{location}: expected a folder with ticket files ({WHAT_IS_READ}), found none"
            )
        return files
    if path.exists():
        return [path]
    if not any(character in location for character in "*?["):
        raise SourceError(f"{location}: expected a file, folder or glob, found nothing there")
    names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - a pattern may be absolute
    files = [Path(name) for name in names if Path(name).is_file()]
    if not files:
        raise SourceError(f"{location}: expected at least one file, found none that matches")
    return files


def kind_of(file: Path, strict: bool = True) -> Any:
    """Return the kind that the name of a file says; None if `strict` is false and its ending is unknown."""
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if kind is None and strict:
        raise SourceError(f"{file}: expected {WHAT_IS_READ}, found a name with another ending")
    return kind


def fingerprint_of(files: Sequence[Path]) -> list[Any]:
    """Return path, size and time of change of each file."""
    return [
        [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for file in files
        for stat in [file.stat()]
    ]
