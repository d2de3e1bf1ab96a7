"""What a GPU gains, compared with what a user would run on it instead; in less than four minutes, on a bare machine.

    PYTHONPATH=. python tests/benchmarks/gpu.py --hourly-price 2.50
    PYTHONPATH=. python tests/benchmarks/gpu.py --device cpu --messages 2000

It needs torch, transformers, tokenizers, pyarrow and numpy, and of this repository the package without its int8 file, which
makes 64 MiB: move `ecomintent_batch/models/nine_intents/onnx` aside. Every way has the same weights, in bf16 on a GPU that has
it. Tokens are those of the messages, not padding. The share of the peak is that of the largest matrix product that torch reaches
here; idle is the share of the time in which no kernel ran, while the same work ran again under torch's profiler. The last line
is JSON.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils import logging

from ecomintent_batch.bench.ceiling import count_operations, measure_ceilings
from ecomintent_batch.bench.messages import make_mixed, make_short
from ecomintent_batch.bench.processor import name_processor
from ecomintent_batch.inference.batches import make_loader, plan_batches, tokenise
from ecomintent_batch.inference.engines import ModelFolder, load_engine, open_model
from ecomintent_batch.inference.engines.torch_any import pick_device

_BATCH = 64
_SAMPLE_S = 2.0  # a sample is doubled until it takes so long
_SLICE = 65_536
Labeller = Callable[[list[str]], Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of working on one set of messages; rates are per second, shares are of 1."""

    messages: str
    way: str
    tickets: int
    tickets_per_s: float
    tokens_per_s: float
    share_of_peak: float | None
    idle: float | None
    usd_per_1000: float | None


def main() -> None:
    """Measure every way on short and on mixed messages."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--messages", type=int, default=400_000)
    parser.add_argument("--hourly-price", type=float)
    given = parser.parse_args()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder, device = open_model(None), pick_device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    print(f"{name}; {name_processor()}; torch {torch.__version__}", flush=True)
    kind = "bf16" if device.type == "cuda" else "fp32"
    peak = measure_peak(device, kind)
    print(f"largest {kind} product: {peak / 1000:,.1f} TFLOP/s", flush=True)
    rows = []
    ways = load_ways(folder, device)
    for label, messages in (
        ("short", make_short(given.messages)),
        ("mixed, 5 to 500 tokens", make_mixed(given.messages // 4)),
    ):
        for way, (run, has_model) in ways.items():
            row = measure(folder, label, way, run, messages, peak if has_model else None, device)
            if given.hourly_price is not None:
                usd = given.hourly_price / 3600 / row.tickets_per_s * 1000
                row = Row(**{**asdict(row), "usd_per_1000": usd})
            rows.append(row)
            print(describe(row), flush=True)
    print(
        json.dumps(
            {
                "gpu": name,
                "processor": name_processor(),
                "product": kind,
                "peak_gflop_per_s": peak,
                "rows": [asdict(row) for row in rows],
            }
        )
    )


def measure_peak(device: torch.device, kind: str) -> float:
    """Return the rate of the largest matrix product, in GFLOP/s: of square ones on a GPU, which the bench's are too small for."""
    if device.type != "cuda":
        return measure_ceilings("cpu", None)[kind]
    side, best = 8192, 0.0
    left = torch.ones((side, side), device=device, dtype=torch.bfloat16)
    for _ in range(20):
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(4):
            torch.mm(left, left)
        torch.cuda.synchronize(device)
        best = max(best, 4 * 2 * side**3 / (time.perf_counter() - started) / 1e9)
    return best


def load_ways(folder: ModelFolder, device: torch.device) -> dict[str, tuple[Labeller, bool]]:
    """Return what is measured, by its name, and whether the model takes part."""
    engine = load_engine(folder, engine="torch", device=str(device))
    print(f"{engine.description}, {engine.max_batch_tokens:,} tokens a batch", flush=True)
    tokenizer = AutoTokenizer.from_pretrained(folder.path, model_max_length=folder.max_length)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(folder.path, dtype=dtype)
    model = model.to(device).eval()
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=device)

    def run_pipeline(messages: list[str]) -> None:
        classify(messages, batch_size=_BATCH, truncation=True)

    @torch.inference_mode()
    def run_fixed(messages: list[str]) -> None:
        found = []
        for start in range(0, len(messages), _BATCH):
            batch = tokenizer(
                messages[start : start + _BATCH], padding=True, truncation=True, return_tensors="pt"
            )
            found.append(model(**batch.to(device)).logits.argmax(dim=1))
        torch.cat(found).cpu()

    def load_only(messages: list[str]) -> None:
        for encodings in _tokenise(folder, messages):
            batches = plan_batches(encodings.lengths, engine.max_batch_tokens)
            on_gpu = device.type == "cuda"
            for batch in make_loader(encodings, batches, folder.pad_id, pin_memory=on_gpu):
                for tensor in batch:
                    tensor.to(device, non_blocking=True)
        _wait(device)

    def run_ours(messages: list[str]) -> None:
        for encodings in _tokenise(folder, messages):
            batches = plan_batches(encodings.lengths, engine.max_batch_tokens)
            engine.score(encodings, batches, lambda n: None)

    known: dict[int, Any] = {}

    def run_engine(messages: list[str]) -> None:
        if len(messages) not in known:
            return  # of the warm-up
        for encodings in known[len(messages)]:
            batches = plan_batches(encodings.lengths, engine.max_batch_tokens)
            engine.score(encodings, batches, lambda n: None)

    run_engine.prepare = lambda messages: known.update(  # type: ignore[attr-defined]
        {len(messages): _tokenise(folder, messages)}
    )
    return {
        "transformers pipeline, batch 64": (run_pipeline, True),
        "fixed batches of 64, padded to the longest": (run_fixed, True),
        "tokenise and load, no model": (load_only, False),
        "ours, tokenised before": (run_engine, True),
        "ours": (run_ours, True),
    }


def measure(
    folder: ModelFolder,
    label: str,
    way: str,
    run: Labeller,
    messages: list[str],
    peak: float | None,
    device: torch.device,
) -> Row:
    """Double the sample until it takes a while, or there are no more messages."""
    prepare = getattr(run, "prepare", lambda sample: None)
    run(messages[:_BATCH])
    size = min(4 * _BATCH, len(messages))
    while True:
        sample = messages[:size]
        prepare(sample)
        _wait(device)
        started = time.perf_counter()
        run(sample)
        _wait(device)
        elapsed_s = time.perf_counter() - started
        if elapsed_s >= _SAMPLE_S or size == len(messages):
            break
        size = min(2 * size, len(messages))
    lengths = np.concatenate([part.lengths for part in _tokenise(folder, sample)])
    gflop_per_s = count_operations(folder, lengths) / elapsed_s
    return Row(
        messages=label,
        way=way,
        tickets=size,
        tickets_per_s=size / elapsed_s,
        tokens_per_s=float(lengths.sum()) / elapsed_s,
        share_of_peak=None if peak is None else gflop_per_s / peak,
        idle=measure_idle(lambda: run(sample), device),
        usd_per_1000=None,
    )


def measure_idle(run: Callable[[], None], device: torch.device) -> float | None:
    """Return the share of the time in which the GPU did nothing; None without a GPU, or where it cannot be profiled."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        started = time.perf_counter()
        run()
        _wait(device)
        elapsed_us = 1e6 * (time.perf_counter() - started)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiled.events()
        if event.device_type.name == "CUDA"
    )
    return 1 - _covered(spans) / elapsed_us if spans else None


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return how much of a line some spans cover, which are sorted by their start."""
    total, end = 0.0, float("-inf")
    for first, last in spans:
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def _tokenise(folder: ModelFolder, messages: list[str]) -> list[Any]:
    return [
        tokenise(folder.tokenizer, messages[start : start + _SLICE], folder.max_length)
        for start in range(0, len(messages), _SLICE)
    ]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(row: Row) -> str:
    """Return a row as one line."""
    share = "" if row.share_of_peak is None else f", {row.share_of_peak:.1%} of the peak"
    idle = "" if row.idle is None else f", GPU idle {row.idle:.0%}"
    usd = "" if row.usd_per_1000 is None else f", {row.usd_per_1000:.6f} USD per 1,000"
    return f"{row.messages}: {row.way}: {row.tickets_per_s:,.0f} tickets/s, {row.tokens_per_s:,.0f} tokens/s{share}{idle}{usd}"


if __name__ == "__main__":
    main()
