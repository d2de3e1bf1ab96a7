"""What the bench compares: our engines and what a user would pick instead, each loaded once, in its own process.

Rivals are called as their own documentation calls them.
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
class Contender:
    """One way of labelling messages.

    Attributes:
        setting: batch size and order of a pipeline, file of onnx, name of an engine.
        messages: messages in one sample where it is slow; None for as many as there are.
        ceiling: type of the matrix products that it is measured against.
    """

    name: str
    kind: Literal["pipeline", "onnx", "engine"]
    setting: str
    messages: int | None = None
    ceiling: str = "fp32"


@dataclass(frozen=True)
class Sample:
    """One measurement of one contender: how long it took for some messages, and its labels for them."""

    elapsed_s: float
    labels: list[str]
    padding_ratio: float
    peak_rss_mb: int


_ready: dict[str, Labeller] = {}


def load_contender(
    contender: Contender, model: str | None, device: str, threads: int | None
) -> str:
    """Load a contender into this process, warm it up, and describe it."""
    folder = open_model(model)
    maker = {"pipeline": _load_pipeline, "onnx": _load_onnx, "engine": _load_engine}[contender.kind]
    _ready["contender"], description = maker(contender, folder, device, threads)
    _ready["contender"](["warm up"] * 8)
    return description


def measure_sample(messages: list[str]) -> Sample:
    """Label some messages with the contender of this process."""
    started = time.perf_counter()
    labels, padding = _ready["contender"](messages)
    return Sample(time.perf_counter() - started, labels, padding, peak_rss_mb())


def peak_rss_mb() -> int:
    """Return the peak of this process's resident memory.

    On Linux it is read from /proc, because `ru_maxrss` of a child includes its parent's peak.
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
    contender: Contender, folder: ModelFolder, device: str, threads: int | None
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
    batch = int(contender.setting.split()[0])

    def run(messages: list[str]) -> tuple[list[str], float]:
        order = (
            sorted(range(len(messages)), key=lambda i: len(messages[i]))
            if "sorted" in contender.setting
            else range(len(messages))
        )
        results = classify([messages[i] for i in order], batch_size=batch, truncation=True)
        labels = dict(zip(order, (one["label"] for one in results), strict=True))
        return [labels[i] for i in range(len(messages))], _padding(
            folder, [messages[i] for i in order], batch
        )

    return run, f"transformers pipeline, float32 on {device}"


def _load_onnx(
    contender: Contender,
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
    session = ort.InferenceSession(contender.setting, options, providers=["CPUExecutionProvider"])
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
    contender: Contender, folder: ModelFolder, device: str, threads: int | None
) -> tuple[Labeller, str]:
    """Load one of our engines: it tokenises, plans batches and scores, duplicates included."""
    engine = load_engine(folder, engine=contender.setting, device=device, threads=threads)

    def run(messages: list[str]) -> tuple[list[str], float]:
        results: list[Any] = []
        ratio = 0.0
        for start in range(0, len(messages), _SLICE):
            encodings = tokenise(
                folder.tokenizer, messages[start : start + _SLICE], folder.max_length
            )
            batches = plan_batches(encodings.lengths, engine.max_batch_tokens)
            results.append(engine.score(encodings, batches, lambda n: None).argmax(axis=1))
            ratio = padding_ratio(encodings.lengths, batches)
        return [folder.labels[i] for i in np.concatenate(results)], ratio

    return run, f"this package's engine: {engine.description}"


def _padding(folder: ModelFolder, messages: list[str], batch: int) -> float:
    lengths = tokenise(folder.tokenizer, messages, folder.max_length).lengths
    return padding_ratio(
        lengths, [np.arange(i, min(i + batch, len(lengths))) for i in range(0, len(lengths), batch)]
    )


def list_contenders(folder: ModelFolder, fp32_onnx: Path | None, device: str) -> list[Contender]:
    """Return the contenders that this machine and this model allow, slowest first.

    sentence-transformers and SetFit are not among them: they run embedding models, this job sequence classifiers.
    """
    import torch

    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    contenders = [
        Contender("pipeline, one by one", "pipeline", "1", messages=_FEW),
        Contender(REFERENCE, "pipeline", "64", messages=_SOME),
        Contender("pipeline, 64 sorted", "pipeline", "64 sorted", messages=_SOME),
    ]
    if on_cuda:
        return [*contenders, Contender("ours, torch", "engine", "torch", ceiling="bf16")]
    if fp32_onnx is not None:
        contenders.append(
            Contender("bare ONNX fp32, by 32", "onnx", str(fp32_onnx), messages=2 * _SOME)
        )
    contenders.append(Contender("ours, torch fp32", "engine", "torch", messages=2 * _SOME))
    if folder.onnx_file.exists():
        contenders.append(
            Contender("bare ONNX int8, by 32", "onnx", str(folder.onnx_file), ceiling="int8")
        )
        contenders.append(Contender("ours, onnx int8", "engine", "onnx", ceiling="int8"))
    return contenders
