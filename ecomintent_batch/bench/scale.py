"""The whole job at several sizes: what a ticket costs in time and memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ecomintent_batch.bench.jobs import measure_job
from ecomintent_batch.bench.messages import make_short


def run_scale(
    sizes: Sequence[int],
    *,
    engines: Sequence[str],
    model: str | None,
    device: str,
    threads: int | None,
) -> None:
    """Run the whole job at several sizes, print time and memory a ticket, and JSON last."""
    rows: list[dict[str, Any]] = []
    for engine in engines:
        for size in sizes:
            job = measure_job(make_short(size), engine, model, device, threads)
            us, kb = 1e6 * job.elapsed_s / size, 1024 * job.peak_rss_mb / size
            print(
                f"{engine}, {size:,} tickets: {job.elapsed_s:,.1f} s, {us:,.1f} us a ticket; "
                f"peak {job.peak_rss_mb:,} MB, {kb:,.2f} KB a ticket",
                flush=True,
            )
            row = {"engine": engine, "tickets": size, **asdict(job)}
            rows.append({**row, "us_per_ticket": us, "kb_per_ticket": kb})
    print(json.dumps(rows))
