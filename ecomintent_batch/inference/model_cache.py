"""A model in its engine, loaded once per process."""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, replace

from ecomintent_batch.inference.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.storage.hashes import remembered_sha256

_M_ARENA_MAX = -8  # of malloc.h


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What decides how a model is loaded."""

    model: str | None = None
    engine: str = "auto"
    device: str = "auto"
    threads: int | None = None
    max_batch_tokens: int | None = None
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in its engine, and the fingerprint that its predictions bear."""

    folder: ModelFolder
    engine: Engine
    fingerprint: str


class ModelCache:
    """Holds the model of one run for all threads of this process; `scoring` lets one of them score at a time."""

    def __init__(self) -> None:
        self.scoring = threading.Lock()
        self._loading = threading.Lock()
        self._key: Hashable = None
        self._loaded: LoadedModel | None = None

    def load(self, options: EngineOptions, run_id: str) -> LoadedModel:
        """Return the model of a run.

        The key holds the run as well, because the files of a model may change in the life of a worker.
        """
        with self._loading:
            if self._loaded is None or self._key != (options, run_id):
                limit_malloc_arenas()
                self._loaded = None  # its memory is free before the next model is loaded
                self._loaded = load_model(options, open_model(options.model))
                self._key = (options, run_id)
            return self._loaded


def load_model(options: EngineOptions, model: ModelFolder) -> LoadedModel:
    """Load the engine that the options ask for."""
    engine = load_engine(
        model,
        engine=options.engine,
        device=options.device,
        threads=options.threads,
        max_batch_tokens=options.max_batch_tokens,
        compiled=options.compile,
    )
    fingerprint = model.fingerprint(engine.weights_file)
    folder = replace(model, most_tokens=engine.most_tokens)
    return LoadedModel(folder=folder, engine=engine, fingerprint=fingerprint)


def hash_model(model: ModelFolder) -> str:
    """Return the SHA-256 over the files that decide what a model answers."""
    files = sorted(model.path.rglob("*"))
    hashes = [
        remembered_sha256(file)
        for file in files
        if file.suffix in (".safetensors", ".onnx", ".json")
    ]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def limit_malloc_arenas() -> None:
    """Let the threads share two heaps of glibc: with one each, what they free is kept, and memory grows with the source."""
    # Another C library has no such setting, and does not need it.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
