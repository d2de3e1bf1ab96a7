"""The ways of labelling messages that the bench sets side by side; each is loaded once, in a process of its own.

What a user would pick instead is called as its own documentation calls it.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecomintent_batch.inference.batches import padding_ratio, plan_batches, tokenise
from ecomintent_batch.inference.engines import ModelFolder, load_engine, open_model

REFERENCE = "pipeline, batch 64"
_SLICE = 65_536
_FEW, _SOME = 16, 192
Labeller = Callable[
    [list[str]], tuple[list[str], float]
]  # messages → their first intents, and the share of padding


@dataclass(frozen=True)
class Way:
    """One way of labelling, and how many messages it gets a turn where it is slow."""

    name: str
    kind: Literal["pipeline", "onnx", "engine"]
    setting: str  # of a pipeline its batch and order, of onnx its file, of an engine its name
    messages: int | None = None
    ceiling: str = "fp32"  # the matrix products that it is measured against


@dataclass(frozen=True)
class Turn:
    """What one way has made of the messages of one turn."""

    elapsed_s: float
    labels: list[str]
    padding_ratio: float
    peak_rss_mb: int


_ready: dict[str, Labeller] = {}


def load_way(way: Way, model: str | None, device: str, threads: int | None) -> str:
    """Load a way into this process, warm it up, and return what computes in it."""
    folder = open_model(model)
    maker = {"pipeline": _load_pipeline, "onnx": _load_onnx, "engine": _load_engine}[way.kind]
    _ready["way"], description = maker(way, folder, device, threads)
    _ready["way"](["warm up"] * 8)
    return description


def take_turn(messages: list[str]) -> Turn:
    """Label some messages by the way that this process holds."""
    started = time.perf_counter()
    labels, padding = _ready["way"](messages)
    return Turn(time.perf_counter() - started, labels, padding, peak_rss_mb())


def peak_rss_mb() -> int:
    """Return the peak of this process's resident memory.

    Linux counts the parent's peak into `ru_maxrss` of a process that it has started, so there the kernel's own count is read.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024
    except (OSError, IndexError, ValueError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        1024 if sys.platform != "darwin" else 2**20
    )


def _load_pipeline(
    way: Way, folder: ModelFolder, device: str, threads: int | None
) -> tuple[Labeller, str]:
    """Load transformers' own pipeline in fp32."""
    import torch
    from transformers import AutoTokenizer, pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    tokenizer = AutoTokenizer.from_pretrained(folder.path, model_max_length=folder.max_length)
    classify = pipeline(
        "text-classification",
        model=str(folder.path),
        tokenizer=tokenizer,
        device=device,
        dtype=torch.float32,
    )
    batch = int(way.setting.split()[0])

    def run(messages: list[str]) -> tuple[list[str], float]:
        order = (
            sorted(range(len(messages)), key=lambda i: len(messages[i]))
            if "sorted" in way.setting
            else range(len(messages))
        )
        found = classify([messages[i] for i in order], batch_size=batch, truncation=True)
        labels = dict(zip(order, (one["label"] for one in found), strict=True))
        return [labels[i] for i in range(len(messages))], _padding(
            folder, [messages[i] for i in order], batch
        )

    return run, f"transformers pipeline, float32 on {device}"


def _load_onnx(
    way: Way,
    folder: ModelFolder,
    device: str,  # noqa: ARG001
    threads: int | None,
) -> tuple[Labeller, str]:
    """Load an ONNX file into ONNX Runtime as it comes, fed by batches of 32 in order of length, padded by the tokenizer."""
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = ort.InferenceSession(way.setting, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    tokenizer.enable_truncation(folder.max_length)
    tokenizer.enable_padding(pad_id=folder.pad_id)
    names = [node.name for node in session.get_inputs()]

    def run(messages: list[str]) -> tuple[list[str], float]:
        labels = [""] * len(messages)
        order = sorted(range(len(messages)), key=lambda i: len(messages[i]))
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            encodings = tokenizer.encode_batch([messages[i] for i in batch])
            tensors = {
                "input_ids": [e.ids for e in encodings],
                "attention_mask": [e.attention_mask for e in encodings],
            }
            tensors["token_type_ids"] = [e.type_ids for e in encodings]
            logits = session.run(None, {name: np.array(tensors[name], np.int64) for name in names})[
                0
            ]
            for index, label in zip(batch, logits.argmax(axis=1), strict=True):
                labels[index] = folder.labels[label]
        return labels, _padding(folder, [messages[i] for i in order], 32)

    return run, f"onnxruntime {ort.__version__}, its own threads"


def _load_engine(
    way: Way, folder: ModelFolder, device: str, threads: int | None
) -> tuple[Labeller, str]:
    """Load an engine of ours; it tokenises, plans its batches and scores, and leaves out nothing that is equal."""
    engine = load_engine(folder, engine=way.setting, device=device, threads=threads)

    def run(messages: list[str]) -> tuple[list[str], float]:
        found: list[Any] = []
        ratio = 0.0
        for start in range(0, len(messages), _SLICE):
            encodings = tokenise(
                folder.tokenizer, messages[start : start + _SLICE], folder.max_length
            )
            batches = plan_batches(encodings.lengths, engine.max_batch_tokens)
            found.append(engine.score(encodings, batches, lambda n: None).argmax(axis=1))
            ratio = padding_ratio(encodings.lengths, batches)
        return [folder.labels[i] for i in np.concatenate(found)], ratio

    return run, f"this package's engine: {engine.description}"


def _padding(folder: ModelFolder, messages: list[str], batch: int) -> float:
    lengths = tokenise(folder.tokenizer, messages, folder.max_length).lengths
    return padding_ratio(
        lengths, [np.arange(i, min(i + batch, len(lengths))) for i in range(0, len(lengths), batch)]
    )


def list_ways(folder: ModelFolder, fp32_onnx: Path | None, device: str) -> list[Way]:
    """Return the ways that this machine and this model allow, slowest first.

    sentence-transformers and SetFit have no place among them: they read embedding models, this job sequence classifiers.
    """
    import torch

    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    ways = [
        Way("pipeline, one by one", "pipeline", "1", messages=_FEW),
        Way(REFERENCE, "pipeline", "64", messages=_SOME),
        Way("pipeline, 64 sorted", "pipeline", "64 sorted", messages=_SOME),
    ]
    if on_cuda:
        return [*ways, Way("ours, torch", "engine", "torch", ceiling="bf16")]
    if fp32_onnx is not None:
        ways.append(Way("bare ONNX fp32, by 32", "onnx", str(fp32_onnx), messages=2 * _SOME))
    ways.append(Way("ours, torch fp32", "engine", "torch", messages=2 * _SOME))
    if folder.onnx_file.exists():
        ways.append(Way("bare ONNX int8, by 32", "onnx", str(folder.onnx_file), ceiling="int8"))
        ways.append(Way("ours, onnx int8", "engine", "onnx", ceiling="int8"))
    return ways
