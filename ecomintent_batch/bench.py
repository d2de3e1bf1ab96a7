"""Throughput beside what a user would pick instead: same weights, same messages, one process, one run.

Every way scores the same messages, equal ones included (no dedupe), on the same cores. The baseline is slow, so it gets
a random part of the messages; a rate is tickets/s over the way's own messages. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecomintent_batch.batching import padding_ratio, plan_batches, tokenise
from ecomintent_batch.clean import clean_message
from ecomintent_batch.columns import pick_columns
from ecomintent_batch.engines import Engine, ModelFolder, load_engine, open_model
from ecomintent_batch.errors import SourceError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.settings import load_settings
from ecomintent_batch.sources import open_source

_BASELINE_BATCH = 64
_TURNS = 4
_SEED = 20261122


@dataclass(frozen=True)
class Measured:
    """One way of labelling, measured."""

    way: str
    tickets: int
    elapsed_s: float
    tickets_per_s: float
    peak_rss_mb: int


def run_bench(
    source: str | None,
    *,
    tickets: int,
    baseline_tickets: int,
    model: str | None,
    device: str,
    threads: int | None,
    stub: Sequence[int],
) -> None:
    """Measure, print a table, and print JSON last.

    Args:
        source: tickets to measure with, repeated with distinct ids up to `tickets`; short made-up ones when None.
        stub: sizes at which the job also runs without a model, for the memory and time of all that stands around it.
    """
    folder = open_model(model)
    messages = _repeat(_read_messages(source) if source else make_messages(2_000), tickets)
    lengths = tokenise(folder.tokenizer, messages, folder.max_length).lengths
    print(f"{tickets:,} tickets, {lengths.mean():.1f} tokens each, model {folder.name}, device {device}", flush=True)
    measured = [
        _measure_job(f"whole job, stub engine, {count:,}", _repeat(messages, count), "stub", model, device, threads)
        for count in stub
    ]
    engine = load_engine(folder, device=device, threads=threads)
    baseline = random.Random(_SEED).sample(messages, min(baseline_tickets, len(messages)))  # noqa: S311 - not a secret
    run_engine, run_pipeline = _prepare_engine(folder, engine), _prepare_pipeline(folder, device, threads)
    # In turns, so that a machine that slows down for a while slows down both.
    turns = [
        (_measure("", len(ours), partial(run_engine, ours)), _measure("", len(theirs), partial(run_pipeline, theirs)))
        for ours, theirs in zip(_slices(messages, _TURNS), _slices(baseline, _TURNS), strict=True)
    ]
    alone = _total(f"engine alone: {engine.description}", [ours for ours, _ in turns])
    slow = _total(f"transformers pipeline, batch {_BASELINE_BATCH}, fp32", [theirs for _, theirs in turns])
    job = _measure_job("whole job: Parquet in, Parquet and summaries out", messages, "auto", model, device, threads)
    measured += [alone, job, slow]
    _print_table(measured)
    result = {
        "tickets": tickets,
        "mean_tokens": round(float(lengths.mean()), 2),
        "padding_ratio": round(padding_ratio(lengths, plan_batches(lengths, engine.max_batch_tokens)), 4),
        "engine_over_pipeline": round(alone.tickets_per_s / slow.tickets_per_s, 2),
        "job_over_pipeline": round(job.tickets_per_s / slow.tickets_per_s, 2),
        "ways": [asdict(way) for way in measured],
    }
    print(json.dumps(result))


def make_messages(count: int) -> list[str]:
    """Return short distinct messages, the same on every machine: for speed only, they teach and judge nothing."""
    rng = random.Random(_SEED)  # noqa: S311 - as above
    openings = ("", "hi, ", "hello ", "hey there, ", "good morning, ", "urgent: ", "question: ", "sorry to ask again, ")
    things = (
        "order",
        "parcel",
        "jacket",
        "invoice",
        "kettle",
        "password",
        "refund",
        "gift card",
        "size 42 boots",
        "subscription",
    )
    asks = (
        "where is my {}",
        "i want to return the {}",
        "the {} is broken",
        "can i change the {}",
        "please cancel my {}",
        "any news on my {}?",
    )
    ends = ("", " please", " thanks", " it has been {} days", ", number {}", " since the {}th", " asap")
    return [
        rng.choice(openings) + rng.choice(asks).format(rng.choice(things)) + rng.choice(ends).format(rng.randrange(10, 99_999))
        for _ in range(count)
    ]


def _read_messages(source: str) -> list[str]:
    opened = open_source(source)
    # A labelled set has no ids: any column serves, for only the text is read.
    picked = pick_columns(opened.name, opened.columns, id_column=opened.columns[0])
    messages: list[str] = []
    for batch in opened.read(list(picked.texts), list(picked.texts), lambda reject: None):
        columns = [batch.table.column(name).to_pylist() for name in picked.texts]
        messages += [clean_message(row) for row in zip(*columns, strict=True)]
    messages = [message for message in messages if message]
    if not messages:
        raise SourceError(f"{source}: expected tickets to measure with, found none")
    return messages


def _repeat(messages: Sequence[str], count: int) -> list[str]:
    return [messages[i % len(messages)] for i in range(count)]


def _slices(messages: Sequence[str], count: int) -> list[list[str]]:
    return [list(messages[i::count]) for i in range(count)]


def _prepare_engine(folder: ModelFolder, engine: Engine) -> Callable[[list[str]], object]:
    def run(messages: list[str]) -> None:
        for start in range(0, len(messages), 65_536):
            encodings = tokenise(folder.tokenizer, messages[start : start + 65_536], folder.max_length)
            engine.score(encodings, plan_batches(encodings.lengths, engine.max_batch_tokens), lambda n: None)

    run(["warm up"] * _BASELINE_BATCH)
    return run


def _prepare_pipeline(folder: ModelFolder, device: str, threads: int | None) -> Callable[[list[str]], object]:
    """Return transformers' own pipeline in fp32, at batch size 64, in the order in which the tickets come."""
    import torch
    from transformers import AutoTokenizer, pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = pipeline(
        "text-classification",
        model=str(folder.path),
        tokenizer=AutoTokenizer.from_pretrained(folder.path, model_max_length=folder.max_length),
        device=device,
        dtype=torch.float32,
    )

    def run(messages: list[str]) -> object:
        return classifier(messages, batch_size=_BASELINE_BATCH, truncation=True)

    run(["warm up"] * _BASELINE_BATCH)
    return run


def _measure_job(way: str, messages: Sequence[str], engine: str, model: str | None, device: str, threads: int | None) -> Measured:
    """Measure `run` in a process of its own, so that its peak memory holds nothing of what ran before."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tickets.parquet"
        with pq.ParquetWriter(source, pa.schema([("ticket_id", pa.string()), ("body", pa.string())])) as writer:
            for start in range(0, len(messages), 65_536):
                bodies = list(messages[start : start + 65_536])
                ids = [f"{start + i:08d}" for i in range(len(bodies))]
                writer.write_table(pa.table({"ticket_id": ids, "body": bodies}))
        out = str(Path(folder) / "out")
        settings = {"source": str(source), "out": out, "engine": engine, "model": model, "device": device, "threads": threads}
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(_run_job, way, len(messages), settings).result()


def _run_job(way: str, tickets: int, given: dict[str, Any]) -> Measured:
    settings = load_settings(**given, dedupe=False)
    return _measure(way, tickets, lambda: run_job(settings))


def _total(way: str, turns: Sequence[Measured]) -> Measured:
    tickets, elapsed_s = sum(turn.tickets for turn in turns), sum(turn.elapsed_s for turn in turns)
    return Measured(way, tickets, round(elapsed_s, 2), round(tickets / elapsed_s, 1), max(turn.peak_rss_mb for turn in turns))


def _measure(way: str, tickets: int, work: Callable[[], object]) -> Measured:
    with _peak_memory() as peak:
        started = time.perf_counter()
        work()
        elapsed_s = time.perf_counter() - started
    return Measured(way, tickets, round(elapsed_s, 2), round(tickets / elapsed_s, 1), peak[0] // 2**20)


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Yield a list whose first entry becomes the peak of resident bytes, sampled every 20 ms."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], _resident_bytes())
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _print_table(measured: Sequence[Measured]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("way", box=None, pad_edge=False, header_style="bold")
    for heading in ("tickets", "seconds", "tickets/s", "x", "peak MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for way in measured:
        ratio = f"{way.tickets_per_s / measured[-1].tickets_per_s:.1f}"
        table.add_row(
            way.way, f"{way.tickets:,}", f"{way.elapsed_s:,.1f}", f"{way.tickets_per_s:,.0f}", ratio, f"{way.peak_rss_mb:,}"
        )
    Console(highlight=False).print(table)
    print("x: times the last line. Each whole job runs in a process of its own; peak MB is that process's.", flush=True)
