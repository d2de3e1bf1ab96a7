"""Hashes of large files are remembered, and forgotten as soon as a file may have changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ecomintent_batch.storage import hashes
from ecomintent_batch.storage.atomic import sha256_of
from ecomintent_batch.storage.hashes import remembered_sha256

OLD_NS = 1_700_000_000_000_000_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, and no waiting for files to be old enough."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_SETTLED_NS", -(10**12))
    return tmp_path / "cache" / "ecomintent-batch" / "hashes.json"


def write(path: Path, byte: bytes, size: int = 1 << 20) -> Path:
    """Write a file of one byte again and again, with an old time."""
    path.write_bytes(byte * size)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return path


def test_an_unchanged_file_is_read_once(cache: Path, tmp_path: Path) -> None:
    """The second answer comes from the cache: a marker that is put there comes back."""
    file = write(tmp_path / "weights.onnx", b"a")
    assert remembered_sha256(file) == sha256_of(file)
    known = json.loads(cache.read_text())
    known[str(file)]["sha256"] = "marker"
    cache.write_text(json.dumps(known))
    assert remembered_sha256(file) == "marker"


def test_a_changed_file_is_read_again(cache: Path, tmp_path: Path) -> None:
    """Same path, same size, same time of modification: the time of the status change tells."""
    file = write(tmp_path / "weights.onnx", b"a")
    first = remembered_sha256(file)
    write(file, b"b")
    assert remembered_sha256(file) == sha256_of(file) != first
    other = write(tmp_path / "other.onnx", b"c")
    other.replace(file)
    assert remembered_sha256(file) == sha256_of(file)


def test_a_file_just_written_is_not_remembered(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could change again within one tick of the clock of the file system."""
    monkeypatch.setattr(hashes, "_SETTLED_NS", 10**12)
    file = write(tmp_path / "weights.onnx", b"a")
    assert remembered_sha256(file) == sha256_of(file)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b'{"x": 1}'])
def test_a_broken_cache_costs_time_only(cache: Path, tmp_path: Path, content: bytes) -> None:
    """Whatever is in it; and a cache that cannot be written is none."""
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    file = write(tmp_path / "weights.onnx", b"a")
    assert remembered_sha256(file) == sha256_of(file)
    cache.unlink(missing_ok=True)
    cache.parent.rmdir()
    cache.parent.write_text("a file instead of a folder")
    assert remembered_sha256(file) == sha256_of(file)


def test_small_files_are_not_remembered(cache: Path, tmp_path: Path) -> None:
    """They are read faster than they are looked up."""
    remembered_sha256(write(tmp_path / "config.json", b"a", size=100))
    assert not cache.exists()
