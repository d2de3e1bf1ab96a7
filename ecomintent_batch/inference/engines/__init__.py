"""What turns token ids into logits: torch on CUDA or CPU, ONNX Runtime on CPU.

An engine is a class with the attributes and the one method of `Engine`; `load_engine` picks it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch.errors import DeviceError, ModelError
from ecomintent_batch.inference.batches import Encodings, Int64
from ecomintent_batch.inference.engines.model_folder import ModelFolder, open_model

Logits = NDArray[np.float32]
Advance = Callable[[int], None]


class Engine(Protocol):
    """Scores batches of token ids."""

    description: str  # for people: "onnx int8 on cpu, 2 threads"
    weights_file: str  # what the fingerprint of the model covers, relative to its folder
    max_batch_tokens: int
    most_tokens: (
        int | None
    )  # that the network can read of a message; None where only the configuration says it

    def score(self, encodings: Encodings, batches: Sequence[Int64], advance: Advance) -> Logits:
        """Return the logits, shape (messages, labels), in message order; NaN rows could not be scored.

        `advance` is called with a number of messages as they are done, from any thread.
        """


def load_engine(
    model: ModelFolder,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    max_batch_tokens: int | None = None,
    compiled: bool = False,
) -> Engine:
    """Load a model into the engine asked for.

    `auto` takes torch on CUDA where there is one, ONNX Runtime on CPU where the folder has an int8 model, and torch on
    CPU otherwise.

    Args:
        compiled: let `torch.compile` compile the torch engine.

    Raises:
        DeviceError: the device is not there, or the engine cannot run on it.
        ModelError: the folder lacks what the engine reads.
    """
    if engine == "stub":
        from ecomintent_batch.inference.engines.stub import StubEngine

        return StubEngine(model)
    if engine == "auto":
        engine = (
            "torch"
            if device.startswith("cuda")
            or not model.onnx_file.exists()
            or (device == "auto" and count_gpus())
            else "onnx"
        )
    threads = threads or count_cores()
    if compiled and engine != "torch":
        raise DeviceError(f"--compile: expected --engine torch, found {engine}")
    if engine == "onnx":
        if device.startswith("cuda"):
            raise DeviceError(
                f"--engine onnx: expected --device cpu, found {device}; use --engine torch on a GPU"
            )
        if not model.onnx_file.exists():
            raise ModelError(
                f"{model.name}: expected onnx/{model.onnx_file.name}, found none; use --engine torch, or run export"
            )
        from ecomintent_batch.inference.engines.onnx_cpu import OnnxEngine

        return OnnxEngine(model, threads=threads, max_batch_tokens=max_batch_tokens)
    from ecomintent_batch.inference.engines.torch_any import TorchEngine, pick_device

    return TorchEngine(
        model,
        device=pick_device(device),
        threads=threads,
        max_batch_tokens=max_batch_tokens,
        compiled=compiled,
    )


def count_cores() -> int:
    """Return the cores that this process may use (a container's or a taskset's share)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_gpus() -> int:
    """Return the CUDA devices that torch sees, without paying a second for importing it where there is no NVIDIA driver."""
    if not any(
        Path(path).exists()
        for path in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")
    ):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


__all__ = [
    "Engine",
    "Logits",
    "ModelFolder",
    "count_cores",
    "count_gpus",
    "load_engine",
    "open_model",
]
