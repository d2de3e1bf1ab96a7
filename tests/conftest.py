"""Fixtures that several packages share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from support.tickets import NINE, save_tiny_model

from ecomintent_batch.settings import RunSettings

# The networks of the tests are tiny, and on a busy machine two threads that wait for each other are many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile(
    "no deadline", deadline=None
)  # the machine may be busy, and first calls load models
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DistilBERT with the nine labels, 64 positions."""
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "distilbert", NINE)


@pytest.fixture
def stub_settings(tiny_model: Path) -> Callable[..., RunSettings]:
    """Settings of a run without a model: `stub_settings(source, out, shard_rows=10)`."""

    def make(source: Path | str, out: Path, **changes: Any) -> RunSettings:
        return RunSettings(
            **{
                "source": str(source),
                "out": out,
                "model": str(tiny_model),
                "engine": "stub",
                **changes,
            }
        )

    return make
