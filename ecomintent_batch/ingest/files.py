"""A location → the files that it names, on disk, on standard input or in an object store, and of which kind they are.

The rules are the same everywhere. Of a folder, files with a known ending are read, also in folders called `key=value`, whose
keys become columns; hidden files, those that begin with an underscore, texts such as README.txt and empty files are not.
"""

from __future__ import annotations

import glob
import hashlib
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

from ecomintent_batch.errors import OutputError, SourceError
from ecomintent_batch.ingest.base import Kind
from ecomintent_batch.ingest.encoding import READ_ERRORS, open_binary
from ecomintent_batch.storage.location import SCHEME
from ecomintent_batch.storage.s3 import Store, StoredObject

_SUFFIXES: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".psv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
    ".xlsx": "excel", ".xlsm": "excel", ".xlsb": "excel", ".xls": "excel", ".ods": "excel",
    ".duckdb": "duckdb", ".ddb": "duckdb", ".db": "duckdb",
}  # fmt: skip
_PACKED = (".gz", ".zst", ".zstd", ".bz2", ".xz")
_FORMATS: dict[str, Kind] = {
    "csv": "csv",
    "jsonl": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
    "xlsx": "excel",
}
_KINDS_OF_FOLDERS = ("csv", "jsonl", "parquet", "excel")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_PLAIN_KEY = re.compile(
    r"[\w\-./=]+", re.ASCII
)  # what every client of a store spells in the same way
STDIN = "-"
WHAT_IS_READ = ".csv .tsv .jsonl .json (also .gz .zst .bz2 .xz .zip) .parquet .xlsx .duckdb postgresql:// s3:// or -"


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        path: where its bytes are; of an object that is read where it is, its URL.
        name: what people call it.
        identity: what changes when the file does.
        partitions: what folders called `key=value` say about it.
    """

    path: Path
    name: str
    identity: list[Any] = field(default_factory=list)
    partitions: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """The files of a location.

    Attributes:
        kind: what all of them are.
        files: in the order in which they are read.
        notes: what was left aside.
        keep: private folders with copies, removed when nobody refers to them any more.
        url: whether the files are read in an object store, not here.
        advice: what to try where there are no tickets in them.
    """

    kind: Kind
    files: list[InputFile]
    notes: list[str] = field(default_factory=list)
    keep: list[Any] = field(default_factory=list)
    in_store: bool = False
    advice: str = ""


def list_local(location: str, file_format: str | None = None) -> Listing:
    """List the files of a path, a glob, a folder or standard input.

    Raises:
        SourceError: there is none, all are empty, one cannot be opened, or they are of several kinds.
    """
    try:
        path = Path(location).expanduser()
        if location == STDIN or (path.exists() and not (path.is_file() or path.is_dir())):
            return _spool(location, file_format)
        if path.is_dir() and (path / "_delta_log").is_dir():
            return Listing("delta", [InputFile(path, location, [str(path.resolve())])])
        files, notes = _list_paths(location, path, file_format)
        for file in files:
            file.path.open("rb").close()
    except (OSError, RuntimeError) as error:  # RuntimeError: ~user, and there is no such user
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(
            f"{getattr(error, 'filename', None) or location}: expected a readable file, found: {problem}"
        ) from None
    return _unpack(location, files, file_format, notes, [])


def _list_paths(
    location: str, path: Path, file_format: str | None
) -> tuple[list[InputFile], list[str]]:
    if path.is_dir():
        _refuse_lakes(location, [f"{entry.name}/" for entry in path.iterdir() if entry.is_dir()])
        paths = [entry for entry in _walk(path) if _is_wanted(entry.name, file_format)]
        if not paths:
            raise SourceError(
                f"{location}: expected a folder with ticket files ({WHAT_IS_READ}), found none"
            )
    elif path.exists():
        paths = [path]
    elif not any(character in location for character in "*?["):
        raise SourceError(f"{location}: expected a file, folder or glob, found nothing there")
    else:
        names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - a pattern may be absolute
        paths = [entry for name in names if (entry := Path(name)).is_file()]
        paths = [entry for entry in paths if entry.name[0] not in "._"] or paths
        if not paths:
            raise SourceError(f"{location}: expected at least one file, found none that matches")
    for entry in paths:
        if (entry.parent / "_delta_log").is_dir():
            raise SourceError(
                f"{entry}: expected a Delta table by its folder, found a file of it, which may be removed from the table; "
                f"give {entry.parent}"
            )
    sizes = {entry: entry.stat().st_size if entry.is_file() else 1 for entry in paths}
    kept, notes = _without_empty([str(entry) for entry in paths], [sizes[e] for e in paths])
    return [_local_file(Path(name)) for name in kept], notes


def _walk(folder: Path) -> Iterable[Path]:
    """Yield the files of a folder and of the folders `key=value` in it, in the order of their names."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and re.fullmatch(r"[^=]+=[^=]*", entry.name):
            yield from _walk(entry)
        elif entry.is_file():
            yield entry


def _local_file(path: Path) -> InputFile:
    found = path.stat()
    identity = [str(path.resolve()), found.st_size, found.st_mtime_ns]
    return InputFile(path, str(path), identity, _partitions(path.parts[:-1]))


def _is_wanted(name: str, file_format: str | None) -> bool:
    """Return whether a file of a folder holds tickets, by its name."""
    if name[0] in "._":
        return False
    if file_format and not PurePosixPath(name).suffix:
        return True
    if name.lower().endswith(".zip"):
        return True
    # A .txt is a README more often than an export.
    return not name.lower().endswith(".txt") and kind_of(name) in _KINDS_OF_FOLDERS


def _refuse_lakes(location: str, folders: Sequence[str]) -> None:
    for marker, what in ((".hoodie/", "a Hudi table"), ("metadata/", "an Iceberg table")):
        if marker in folders and (marker == ".hoodie/" or "data/" in folders):
            raise SourceError(
                f"{location}: expected a folder with ticket files, found {what}, whose files may be out of date; "
                "export it, or query it by a database"
            )


def _without_empty(names: list[str], sizes: list[int]) -> tuple[list[str], list[str]]:
    kept = [name for name, size in zip(names, sizes, strict=True) if size]
    if not kept:
        raise SourceError(f"{names[0]}: expected tickets, found an empty file")
    empty = len(names) - len(kept)
    return kept, [f"{empty} empty file{'s' if empty > 1 else ''} skipped"] if empty else []


def _partitions(folders: Sequence[str]) -> dict[str, str | None]:
    pairs = [folder.partition("=") for folder in folders if re.fullmatch(r"[^=]+=[^=]*", folder)]
    return {
        unquote(key): None if value == _NULL_PARTITION else unquote(value) or None
        for key, _, value in pairs
    }


def kind_of(name: str) -> Kind | None:
    """Return the kind that the name of a file says; None if its ending is unknown."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def _kind_of_all(location: str, files: Sequence[InputFile], file_format: str | None) -> Kind:
    if file_format:
        return _FORMATS[file_format]
    kinds = set()
    for file in files:
        kind = kind_of(file.name)
        if kind is None:
            raise SourceError(
                f"{file.name}: expected {WHAT_IS_READ}, found a name with another ending; "
                "say what it is with --format"
            )
        kinds.add(kind)
    if len(kinds) > 1:
        raise SourceError(
            f"{location}: expected files of one kind, found {', '.join(sorted(kinds))}; name one kind by a glob"
        )
    return kinds.pop()


def _unpack(
    location: str,
    files: Sequence[InputFile],
    file_format: str | None,
    notes: list[str],
    keep: list[Any],
) -> Listing:
    """Replace zip archives by the ticket files in them, and say what all files are."""
    unpacked: list[InputFile] = []
    for file in files:
        if file.name.lower().endswith(".zip"):
            folder = TemporaryDirectory(prefix="ecomintent-source-")
            keep.append(folder)
            unpacked += _unzip(file, Path(folder.name), file_format)
        else:
            unpacked.append(file)
    return Listing(_kind_of_all(location, unpacked, file_format), unpacked, notes, keep)


def _unzip(file: InputFile, folder: Path, file_format: str | None) -> list[InputFile]:
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir()
                and not member.filename.startswith("__MACOSX/")
                and _is_wanted(PurePosixPath(member.filename).name, file_format)
                and member.file_size
            ]
            if any(member.flag_bits & 1 for member in members):
                raise SourceError(
                    f"{file.name}: expected an archive without a password, found one; unpack it first"
                )
            found = []
            for index, member in enumerate(sorted(members, key=lambda member: member.filename)):
                path = folder / f"{index:05d}"
                with archive.open(member) as packed, path.open("wb") as written:
                    shutil.copyfileobj(packed, written)
                name = f"{file.name}/{member.filename}"
                found.append(InputFile(path, name, [*file.identity, member.filename]))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *READ_ERRORS) as error:
        raise SourceError(
            f"{file.name}: expected a zip archive, found: {type(error).__name__}; fetch it again"
        ) from None
    if not found:
        raise SourceError(f"{file.name}: expected ticket files ({WHAT_IS_READ}) in it, found none")
    return found


def _spool(location: str, file_format: str | None) -> Listing:
    """Copy what can be read only once into a private folder."""
    name = "standard input" if location in (STDIN, "/dev/stdin") else location
    if location == STDIN and sys.stdin.isatty():
        raise SourceError(f"{name}: expected tickets, found a terminal; give a file, or a pipe")
    if location != STDIN and stat.S_ISSOCK(Path(location).stat().st_mode):
        raise OSError(6, "No such device or address", location)
    folder = TemporaryDirectory(prefix="ecomintent-source-")
    path = Path(folder.name) / "stdin"
    digest = hashlib.sha256()
    opened = sys.stdin.buffer if location == STDIN else Path(location).open("rb")  # noqa: SIM115
    with path.open("wb") as written:
        while block := opened.read(1 << 20):
            digest.update(block)
            written.write(block)
    if not path.stat().st_size:
        raise SourceError(f"{name}: expected tickets, found an empty file")
    file = InputFile(path, name, [name, digest.hexdigest()])
    kind = _FORMATS[file_format] if file_format else _sniff(path)
    if kind is None:
        return replace(
            _unpack(location, [replace(file, name=f"{name}.zip")], None, [], [folder]),
        )
    return Listing(kind, [file], [], [folder])


def _sniff(path: Path) -> Kind | None:
    """Return the kind that the first bytes of a file say; None for an archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return "excel" if any(name.startswith("xl/") for name in names) else None
    try:
        with open_binary(path) as file:
            head = file.read(4096)
    except READ_ERRORS:
        return "csv"
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else "csv"


def list_stored(url: str, file_format: str | None = None) -> Listing:
    """List the objects of a URL by the rules of local files, and fetch those that are not read where they are.

    Raises:
        SourceError: there is none, all are empty, they cannot be read, or they are of several kinds.
    """
    bucket, _, pattern = url.removeprefix(SCHEME).partition("/")
    store = Store(f"{SCHEME}{bucket}")
    prefix = re.split(r"[*?\[]", pattern)[0]
    try:
        objects = {entry.name: entry for entry in store.list_objects(prefix)}
    except (OutputError, SourceError) as error:
        found = str(error).partition("found: ")[2] or str(error)
        raise SourceError(f"{url}: expected objects that can be read, found: {found}") from None
    if pattern not in objects and prefix != pattern:
        literal = store.list_objects(pattern) if "[" in pattern or "?" in pattern else []
        objects |= {entry.name: entry for entry in literal if entry.name == pattern}
    names = _choose_keys(url, pattern, objects, file_format)
    sizes = [objects[name].n_bytes for name in names]
    kept, notes = _without_empty([f"{SCHEME}{bucket}/{name}" for name in names], sizes)
    files = [_stored_file(name, objects[name.removeprefix(f"{SCHEME}{bucket}/")]) for name in kept]
    parquet = file_format in (None, "parquet") and all(
        (file_format or kind_of(file.name)) == "parquet" for file in files
    )
    if parquet and all(_PLAIN_KEY.fullmatch(file.name.removeprefix(SCHEME)) for file in files):
        return Listing("parquet", files, notes, in_store=True)
    folder = TemporaryDirectory(prefix="ecomintent-source-")
    fetched = []
    for index, file in enumerate(files):
        # DuckDB reads the columns of `key=value` folders from the path.
        keys = [part for part in file.name.split("/")[3:-1] if re.fullmatch(r"[^=]+=[^=]*", part)]
        path = Path(folder.name).joinpath(*keys, f"{index:05d}")
        store.download(file.name.removeprefix(f"{SCHEME}{bucket}/"), path)
        fetched.append(replace(file, path=path))
    return _unpack(url, fetched, file_format, notes, [folder])


def _choose_keys(
    url: str, pattern: str, objects: dict[str, StoredObject], file_format: str | None
) -> list[str]:
    """Return the keys that a pattern means: an object, a glob, or the files of a folder."""
    if pattern in objects and pattern:
        return [pattern]
    if re.search(r"[*?\[]", pattern):
        matches = [name for name in objects if _glob_pattern(pattern).fullmatch(name)]
        matches = [n for n in matches if PurePosixPath(n).name[:1] not in "._"] or matches
        matches = [name for name in matches if not name.endswith("/")]
        if not matches:
            raise SourceError(f"{url}: expected at least one object, found none that matches")
        return sorted(matches)
    folder = pattern if pattern.endswith("/") or not pattern else f"{pattern}/"
    inside = [name.removeprefix(folder) for name in objects if name.startswith(folder)]
    if not inside:
        raise SourceError(f"{url}: expected objects that can be read, found none")
    _refuse_lakes(url, sorted({f"{name.partition('/')[0]}/" for name in inside if "/" in name}))
    if any(name.startswith("_delta_log/") for name in inside):
        raise SourceError(
            f"{url}: expected a folder with ticket files, found a Delta table; copy it to a disk, and name its folder"
        )
    wanted = [
        name
        for name in sorted(inside)
        if all(re.fullmatch(r"[^=]+=[^=]*", part) for part in name.split("/")[:-1])
        and not name.endswith("/")
        and _is_wanted(name.rpartition("/")[2], file_format)
    ]
    if not wanted:
        raise SourceError(
            f"{url}: expected a folder with ticket files ({WHAT_IS_READ}), found none"
        )
    return [folder + name for name in wanted]


def _glob_pattern(pattern: str) -> re.Pattern[str]:
    """Translate a glob: `*` and `?` stay within a folder, `**/` crosses folders."""
    translated = ""
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern, re.DOTALL):
        if piece == "**/":
            translated += "(?:.*/)?"
        elif piece in ("**", "*", "?"):
            translated += {"**": ".*", "*": "[^/]*", "?": "[^/]"}[piece]
        elif len(piece) > 1:
            translated += (
                f"[{'^' if piece[1] == '!' else ''}{re.escape(piece[1:-1].lstrip('!'))}]".replace(
                    r"\-", "-"
                )
            )
        else:
            translated += re.escape(piece)
    return re.compile(translated)


def _stored_file(url: str, entry: StoredObject) -> InputFile:
    folders = url.removeprefix(SCHEME).split("/")[1:-1]
    identity = [url, entry.n_bytes, entry.etag]
    return InputFile(Path(url), url, identity, _partitions(folders))
