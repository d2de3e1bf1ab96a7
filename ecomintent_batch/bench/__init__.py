"""Throughput beside what a user would pick instead: same weights, same messages, same cores, one run.

Each way lives in a process of its own, so that its peak memory is its own, and they take turns, so that a machine that slows
down for a while slows down all of them: a rate is the median of a way's turns. Ways that are slow get a part of the messages.
The last line is JSON.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from ecomintent_batch.bench.ceiling import count_operations, measure_ceilings
from ecomintent_batch.bench.jobs import measure_job
from ecomintent_batch.bench.messages import SETS, make_short
from ecomintent_batch.bench.ways import REFERENCE, Turn, Way, list_ways, load_way, take_turn
from ecomintent_batch.inference.batches import Int64, tokenise
from ecomintent_batch.inference.engines import ModelFolder, open_model

_TURNS = 3
_MESSAGES = 12_000
_TOKENS_A_TURN = 30_000  # of the fast ways: a second on two cores
_SHARE_OF_JOB = dict(zip(SETS, (1.0, 0.1, 0.5), strict=True))


@dataclass(frozen=True)
class Measured:
    """One way of labelling one set of messages, measured."""

    messages: str
    way: str
    detail: str
    tickets: int
    tickets_per_s: float
    real_tokens_per_s: float
    over_batch_64: float | None = None
    padding_ratio: float | None = None
    peak_rss_mb: int = 0
    agreement_with_fp32: float | None = None
    share_of_ceiling: float | None = None
    cost_per_1000: float | None = None


@dataclass(frozen=True)
class Started:
    """A way that waits in its process."""

    way: Way
    process: ProcessPoolExecutor
    detail: str


@dataclass(frozen=True)
class Took:
    """One turn of one way, with the tokens of each of its messages."""

    turn: Turn
    lengths: Int64


def run_bench(
    *,
    tickets: int,
    model: str | None,
    device: str,
    threads: int | None,
    hourly_price: float | None,
    export_fp32: Callable[[Path, Path], None] | None = None,
) -> None:
    """Measure every way on every set, and the whole job; print a table for each set, and JSON last.

    Args:
        tickets: tickets of the whole job on short messages; the mixed ones get a tenth of them, the repeated ones a half.
        hourly_price: what an hour of this machine costs, for the cost of 1,000 tickets.
        export_fp32: writes the model of a folder in ONNX at full precision, where what it takes is installed.
    """
    folder = open_model(model)
    measured: list[Measured] = []
    with ExitStack() as stack:
        fp32_onnx = None
        if export_fp32 is not None:
            fp32_onnx = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"
            export_fp32(folder.path, fp32_onnx)
        ways = [
            _start(stack, way, model, device, threads)
            for way in list_ways(folder, fp32_onnx, device)
        ]
        ceilings = [_measure_ceilings(device, threads)]
        turns: dict[str, list[tuple[Started, list[Took]]]] = {}
        for name, make in SETS.items():
            print(f"measuring {len(ways)} ways on messages: {name}", flush=True)
            turns[name] = _take_turns(folder, make(_MESSAGES), ways)
            ceilings.append(_measure_ceilings(device, threads))
    ceiling = {kind: max(one.get(kind, 0.0) for one in ceilings) for kind in ceilings[0]}
    for name, taken in turns.items():
        reference = next(took for started, took in taken if started.way.name == REFERENCE)
        measured += [
            _sum_up(folder, name, started, took, reference, ceiling) for started, took in taken
        ]
    print("measuring the whole job", flush=True)
    for name, make in SETS.items():
        messages = make(max(1, int(tickets * _SHARE_OF_JOB[name])))
        measured.append(_measure_whole_job(folder, name, messages, "auto", model, device, threads))
    measured.append(
        _measure_whole_job(
            folder, next(iter(SETS)), make_short(tickets), "stub", model, device, threads
        )
    )
    measured = [_compare(one, measured, hourly_price) for one in measured]
    for name in SETS:
        _print_table(name, [one for one in measured if one.messages == name])
    print(
        f"matrix products here: {', '.join(f'{kind} {rate:,.0f} GFLOP/s' for kind, rate in ceiling.items())}",
        flush=True,
    )
    print(json.dumps({"ceilings_gflop_per_s": ceiling, "ways": [asdict(one) for one in measured]}))


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
            rows.append(
                {
                    "engine": engine,
                    "tickets": size,
                    **asdict(job),
                    "us_per_ticket": us,
                    "kb_per_ticket": kb,
                }
            )
    print(json.dumps(rows))


def _start(
    stack: ExitStack, way: Way, model: str | None, device: str, threads: int | None
) -> Started:
    process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
    return Started(way, process, process.submit(load_way, way, model, device, threads).result())


def _measure_ceilings(device: str, threads: int | None) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure_ceilings, device, threads).result()


def _take_turns(
    folder: ModelFolder, messages: list[str], ways: Sequence[Started]
) -> list[tuple[Started, list[Took]]]:
    """Let the ways take turns; each turn has messages of its own, of which a slow way gets the first ones."""
    lengths = tokenise(folder.tokenizer, messages, folder.max_length).lengths
    most = min(len(messages) // _TURNS, int(_TOKENS_A_TURN / lengths.mean()))
    taken: list[tuple[Started, list[Took]]] = [(started, []) for started in ways]
    for first in range(0, _TURNS * most, most):
        for started, took in taken:
            part = slice(first, first + min(started.way.messages or most, most))
            took.append(
                Took(started.process.submit(take_turn, messages[part]).result(), lengths[part])
            )
    return taken


def _sum_up(
    folder: ModelFolder,
    name: str,
    started: Started,
    took: Sequence[Took],
    reference: Sequence[Took],
    ceiling: dict[str, float],
) -> Measured:
    def rate(of: Callable[[Took], float]) -> float:
        return median(of(one) / one.turn.elapsed_s for one in took)

    most = ceiling.get(started.way.ceiling)
    return Measured(
        name,
        started.way.name,
        started.detail,
        sum(len(one.lengths) for one in took),
        round(rate(lambda one: len(one.lengths)), 1),
        round(rate(lambda one: float(one.lengths.sum()))),
        padding_ratio=round(median(one.turn.padding_ratio for one in took), 4),
        peak_rss_mb=max(one.turn.peak_rss_mb for one in took),
        agreement_with_fp32=_agreement(took, reference),
        share_of_ceiling=round(rate(lambda one: count_operations(folder, one.lengths)) / most, 3)
        if most
        else None,
    )


def _agreement(took: Sequence[Took], reference: Sequence[Took]) -> float:
    """Return the share of the messages that both have labelled to which both give the same first intent."""
    turns = zip(took, reference, strict=True)
    pairs = [
        pair
        for ours, theirs in turns
        for pair in zip(ours.turn.labels, theirs.turn.labels, strict=False)
    ]
    return round(sum(ours == theirs for ours, theirs in pairs) / len(pairs), 4)


def _measure_whole_job(
    folder: ModelFolder,
    name: str,
    messages: list[str],
    engine: str,
    model: str | None,
    device: str,
    threads: int | None,
) -> Measured:
    job = measure_job(messages, engine, model, device, threads)
    tokens = int(tokenise(folder.tokenizer, messages, folder.max_length).lengths.sum())
    way = "whole job" if engine == "auto" else f"whole job, {engine}"
    rate = round(len(messages) / job.elapsed_s, 1)
    detail = f"source to summaries, engine {engine}"
    return Measured(
        name,
        way,
        detail,
        len(messages),
        rate,
        round(tokens / job.elapsed_s),
        peak_rss_mb=job.peak_rss_mb,
    )


def _compare(one: Measured, measured: Sequence[Measured], hourly_price: float | None) -> Measured:
    slow = next(
        other for other in measured if (other.messages, other.way) == (one.messages, REFERENCE)
    )
    cost = round(hourly_price / 3.6 / one.tickets_per_s, 7) if hourly_price is not None else None
    return replace(
        one, over_batch_64=round(one.tickets_per_s / slow.tickets_per_s, 2), cost_per_1000=cost
    )


def _print_table(name: str, measured: Sequence[Measured]) -> None:
    """Print a table of 80 columns at most."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        name,
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
        collapse_padding=True,
    )
    with_cost = any(one.cost_per_1000 is not None for one in measured)
    headings = [
        "tickets\n/s",
        "x",
        "tokens\n/s",
        "pad-\nding",
        "peak\nMB",
        "as\nfp32",
        "of\npeak",
        "USD per\n1,000",
    ]
    for heading in headings if with_cost else headings[:-1]:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in measured:
        table.add_row(
            one.way,
            f"{one.tickets_per_s:,.0f}",
            f"{one.over_batch_64:.1f}",
            f"{one.real_tokens_per_s:,.0f}",
            _percent(one.padding_ratio),
            f"{one.peak_rss_mb:,}",
            _percent(one.agreement_with_fp32),
            _percent(one.share_of_ceiling),
            *([] if one.cost_per_1000 is None else [f"{one.cost_per_1000:.6f}"]),
        )
    Console(highlight=False, width=80).print(table)
    print(flush=True)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
