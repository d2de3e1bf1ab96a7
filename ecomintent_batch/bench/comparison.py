"""Throughput next to what a user would pick instead: same weights, same messages, same cores, one run.

Each contender lives in its own process, so that its peak memory is its own. They take turns, so that a machine that slows
down for a while slows down all of them: a rate is the median of a contender's samples. Slow contenders get fewer messages.
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

from ecomintent_batch.bench.ceiling import count_operations, measure_ceilings
from ecomintent_batch.bench.contenders import (
    REFERENCE,
    Contender,
    Sample,
    list_contenders,
    load_contender,
    measure_sample,
)
from ecomintent_batch.bench.jobs import measure_job
from ecomintent_batch.bench.messages import SETS, make_short
from ecomintent_batch.bench.processor import name_processor
from ecomintent_batch.bench.table import print_table
from ecomintent_batch.inference.batches import Int64, tokenise
from ecomintent_batch.inference.engines import ModelFolder, open_model

_SAMPLES = 3
_MESSAGES = 12_000
_TOKENS_OF_SAMPLE = 30_000  # of the fast contenders: a second on two cores
_SHARE_OF_JOB = dict(zip(SETS, (1.0, 0.1, 0.5), strict=True))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One contender on one set of messages; rates are per second, ratios are of 1."""

    messages: str
    contender: str
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
class RunningContender:
    """A contender that is loaded and waits in its process."""

    contender: Contender
    process: ProcessPoolExecutor
    detail: str


@dataclass(frozen=True)
class MeasuredSample:
    """One sample of one contender, with the tokens of each of its messages, shape (messages,)."""

    sample: Sample
    lengths: Int64


Samples = list[tuple[RunningContender, list[MeasuredSample]]]


def run_comparison(
    *,
    tickets: int,
    model: str | None,
    device: str,
    threads: int | None,
    hourly_price: float | None,
    export_fp32: Callable[[Path, Path], None] | None = None,
) -> None:
    """Measure every contender on every set, and the whole job; print a table for each set, and JSON last.

    Args:
        tickets: tickets of the whole job on short messages; it gets a tenth of the mixed ones, half of the repeated ones.
        model: model folder or Hugging Face id; the embedded model for None.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads of each contender; all cores for None.
        hourly_price: USD an hour of this machine, for the cost of 1,000 tickets.
        export_fp32: writes the model of a folder as ONNX in full precision; None where its packages are not installed.
    """
    folder = open_model(model)
    processor = name_processor()
    print(f"measuring on {processor}", flush=True)
    samples, ceilings = _measure_contenders(folder, model, device, threads, export_fp32)
    measurements = [
        measurement
        for name, of_set in samples.items()
        for measurement in _summarise_set(folder, name, of_set, ceilings)
    ]
    print("measuring the whole job", flush=True)
    for name, make in SETS.items():
        messages = make(max(1, int(tickets * _SHARE_OF_JOB[name])))
        measurements.append(
            _measure_whole_job(folder, name, messages, "auto", model, device, threads)
        )
    short, messages = next(iter(SETS)), make_short(tickets)
    measurements.append(_measure_whole_job(folder, short, messages, "stub", model, device, threads))
    measurements = [_compare(one, measurements, hourly_price) for one in measurements]
    for name in SETS:
        print_table(name, [asdict(one) for one in measurements if one.messages == name])
    rates = ", ".join(f"{kind} {rate:,.0f} GFLOP/s" for kind, rate in ceilings.items())
    print(f"{processor}\nlarge matrix products: {rates}", flush=True)
    rows = [asdict(one) for one in measurements]
    print(
        json.dumps({"processor": processor, "ceilings_gflop_per_s": ceilings, "contenders": rows})
    )


def _measure_contenders(
    folder: ModelFolder,
    model: str | None,
    device: str,
    threads: int | None,
    export_fp32: Callable[[Path, Path], None] | None,
) -> tuple[dict[str, Samples], dict[str, float]]:
    """Return the samples of every contender by set, and the best rate of matrix products by type, in GFLOP/s."""
    with ExitStack() as stack:
        fp32_onnx = None
        if export_fp32 is not None:
            fp32_onnx = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"
            export_fp32(folder.path, fp32_onnx)
        contenders = [
            _start(stack, contender, model, device, threads)
            for contender in list_contenders(folder, fp32_onnx, device)
        ]
        ceilings = [_measure_ceilings(device, threads)]
        samples: dict[str, Samples] = {}
        for name, make in SETS.items():
            print(f"measuring {len(contenders)} contenders on messages: {name}", flush=True)
            samples[name] = _measure_in_turns(folder, make(_MESSAGES), contenders)
            ceilings.append(_measure_ceilings(device, threads))
    best = {kind: max(one.get(kind, 0.0) for one in ceilings) for kind in ceilings[0]}
    return samples, best


def _start(
    stack: ExitStack, contender: Contender, model: str | None, device: str, threads: int | None
) -> RunningContender:
    process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
    detail = process.submit(load_contender, contender, model, device, threads).result()
    return RunningContender(contender, process, detail)


def _measure_ceilings(device: str, threads: int | None) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure_ceilings, device, threads).result()


def _measure_in_turns(
    folder: ModelFolder, messages: list[str], contenders: Sequence[RunningContender]
) -> Samples:
    """Let the contenders take turns; each turn has its own messages, of which a slow contender gets the first ones."""
    lengths = tokenise(folder.tokenizer, messages, folder.max_length).lengths
    most = min(len(messages) // _SAMPLES, int(_TOKENS_OF_SAMPLE / lengths.mean()))
    measured: Samples = [(running, []) for running in contenders]
    for first in range(0, _SAMPLES * most, most):
        for running, samples in measured:
            part = slice(first, first + min(running.contender.messages or most, most))
            sample = running.process.submit(measure_sample, messages[part]).result()
            samples.append(MeasuredSample(sample, lengths[part]))
    return measured


def _summarise_set(
    folder: ModelFolder, name: str, of_set: Samples, ceilings: dict[str, float]
) -> list[Measurement]:
    reference = next(samples for running, samples in of_set if running.contender.name == REFERENCE)
    return [
        _summarise(folder, name, running, samples, reference, ceilings)
        for running, samples in of_set
    ]


def _summarise(
    folder: ModelFolder,
    name: str,
    running: RunningContender,
    samples: Sequence[MeasuredSample],
    reference: Sequence[MeasuredSample],
    ceilings: dict[str, float],
) -> Measurement:
    def rate(amount: Callable[[MeasuredSample], float]) -> float:
        return median(amount(one) / one.sample.elapsed_s for one in samples)

    ceiling = ceilings.get(running.contender.ceiling)
    operations = rate(lambda one: count_operations(folder, one.lengths))
    return Measurement(
        messages=name,
        contender=running.contender.name,
        detail=running.detail,
        tickets=sum(len(one.lengths) for one in samples),
        tickets_per_s=round(rate(lambda one: len(one.lengths)), 1),
        real_tokens_per_s=round(rate(lambda one: float(one.lengths.sum()))),
        padding_ratio=round(median(one.sample.padding_ratio for one in samples), 4),
        peak_rss_mb=max(one.sample.peak_rss_mb for one in samples),
        agreement_with_fp32=_agreement(samples, reference),
        share_of_ceiling=round(operations / ceiling, 3) if ceiling else None,
    )


def _agreement(samples: Sequence[MeasuredSample], reference: Sequence[MeasuredSample]) -> float:
    """Return the share of messages that both have labelled to which both give the same first intent."""
    pairs = [
        pair
        for ours, theirs in zip(samples, reference, strict=True)
        for pair in zip(ours.sample.labels, theirs.sample.labels, strict=False)
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
) -> Measurement:
    job = measure_job(messages, engine, model, device, threads)
    tokens = int(tokenise(folder.tokenizer, messages, folder.max_length).lengths.sum())
    return Measurement(
        messages=name,
        contender="whole job" if engine == "auto" else f"whole job, {engine}",
        detail=f"source to summaries, engine {engine}",
        tickets=len(messages),
        tickets_per_s=round(len(messages) / job.elapsed_s, 1),
        real_tokens_per_s=round(tokens / job.elapsed_s),
        peak_rss_mb=job.peak_rss_mb,
    )


def _compare(
    one: Measurement, measurements: Sequence[Measurement], hourly_price: float | None
) -> Measurement:
    reference = next(
        other
        for other in measurements
        if (other.messages, other.contender) == (one.messages, REFERENCE)
    )
    cost = round(hourly_price / 3.6 / one.tickets_per_s, 7) if hourly_price is not None else None
    ratio = round(one.tickets_per_s / reference.tickets_per_s, 2)
    return replace(one, over_batch_64=ratio, cost_per_1000=cost)
