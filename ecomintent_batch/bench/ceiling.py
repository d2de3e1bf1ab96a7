"""The matrix-product ceiling of this machine, and the products that a model needs: how near the one comes to the other."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch.inference.engines import ModelFolder

_ROWS, _INNER, _COLUMNS = 2048, 1536, 1536
_SECONDS = 0.4


def measure_ceilings(device: str, threads: int | None) -> dict[str, float]:
    """Return the operations per second, in thousands of millions, of large products in each type that torch computes here."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    ceilings: dict[str, float] = {}
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}.items():
        left, right = (
            torch.ones(shape, device=device).to(dtype)
            for shape in ((_ROWS, _INNER), (_INNER, _COLUMNS))
        )
        product: Any = torch._int_mm if dtype is torch.int8 else torch.mm
        try:
            ceilings[name] = _rate(product, left, right)
        except RuntimeError:  # torch has no such product on this machine
            continue
    return ceilings


def _rate(product: Any, left: Any, right: Any) -> float:
    import torch

    product(left, right)
    rounds, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        product(left, right)
        if left.is_cuda:
            torch.cuda.synchronize()
        rounds += 1
    return rounds * 2 * _ROWS * _INNER * _COLUMNS / (time.perf_counter() - started) / 1e9


def count_operations(folder: ModelFolder, lengths: NDArray[np.int64]) -> float:
    """Return the multiplications and additions, in thousands of millions, that a BERT-like model needs for some messages.

    Only the encoder's products count: four of hidden x hidden and two of hidden x intermediate a layer and token, and the two
    of attention, which grow with the square of the length; those that an engine leaves out count, too. 0 where the config has
    other names.
    """
    c = folder.config
    hidden = int(c.get("hidden_size") or c.get("dim") or 0)
    inner = int(c.get("intermediate_size") or c.get("hidden_dim") or 0)
    layers = int(c.get("num_hidden_layers") or c.get("n_layers") or 0)
    a_token = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
    return (
        float(a_token * lengths.sum() + 4 * layers * hidden * (lengths.astype(float) ** 2).sum())
        / 1e9
    )
