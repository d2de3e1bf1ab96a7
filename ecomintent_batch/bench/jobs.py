"""The whole job, measured: Parquet in, Parquet and summaries out, in a process of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.bench.contenders import peak_rss_mb

_SLICE = 65_536


@dataclass(frozen=True)
class JobMeasurement:
    """Time and peak memory of one whole job."""

    elapsed_s: float
    peak_rss_mb: int


def measure_job(
    messages: Sequence[str], engine: str, model: str | None, device: str, threads: int | None
) -> JobMeasurement:
    """Measure `run` on a Parquet file of these messages, as it is called by default; loading the model counts."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tickets.parquet"
        with pq.ParquetWriter(
            source, pa.schema([("ticket_id", pa.string()), ("body", pa.string())])
        ) as writer:
            for start in range(0, len(messages), _SLICE):
                bodies = list(messages[start : start + _SLICE])
                writer.write_table(
                    pa.table(
                        {
                            "ticket_id": [f"{start + i:08d}" for i in range(len(bodies))],
                            "body": bodies,
                        }
                    )
                )
        out = str(Path(folder) / "out")
        settings = {
            "source": str(source),
            "out": out,
            "engine": engine,
            "model": model,
            "device": device,
            "threads": threads,
        }
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(_run_job, settings).result()


def _run_job(given: dict[str, Any]) -> JobMeasurement:
    from ecomintent_batch.pipeline import run_job
    from ecomintent_batch.settings import load_settings

    started = time.perf_counter()
    run_job(load_settings(**given))
    return JobMeasurement(time.perf_counter() - started, peak_rss_mb())
