"""The matrix products that this machine can do, and those that a model needs: how near the one comes to the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch.inference.engines import ModelFolder

_ROWS, _INNER, _COLUMNS = 2048, 1536, 1536
_SECONDS = 0.4


def measure_ceilings(device: str, threads: int | None) -> dict[str, float]:
    """Return the rate of large matrix products by type, in GFLOP/s: the best of the libraries that the engines use.

    torch alone is no measure: without VNNI its int8 product is a naive loop, 400 times slower than that of ONNX Runtime.

    Returns:
        Rates under `fp32`, `bf16` and `int8`; a type that no library multiplies here is absent.
    """
    products = [*_torch_products(device, threads), *_onnx_products(device, threads)]
    best: dict[str, float] = {}
    for kind, product in products:
        try:
            best[kind] = max(best.get(kind, 0.0), _rate(product))
        except RuntimeError:  # the library has no such product on this machine
            continue
    return best


def _torch_products(device: str, threads: int | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    import torch

    if threads:
        torch.set_num_threads(threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    for kind, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}.items():
        left = torch.ones((_ROWS, _INNER), device=device).to(dtype)
        right = torch.ones((_INNER, _COLUMNS), device=device).to(dtype)
        multiply: Any = torch._int_mm if dtype is torch.int8 else torch.mm

        def product(multiply: Any = multiply, left: Any = left, right: Any = right) -> None:
            multiply(left, right)
            if left.is_cuda:
                torch.cuda.synchronize()

        yield kind, product


def _onnx_products(device: str, threads: int | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield ONNX Runtime's products on a CPU: its int8 ones are those that the int8 engine computes with."""
    if device.startswith("cuda") or not find_spec("onnx"):  # onnx comes with the extra `train`
        return
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    for kind, operator, element, dtype in (
        ("fp32", "MatMul", TensorProto.FLOAT, np.float32),
        ("int8", "MatMulInteger", TensorProto.UINT8, np.uint8),
    ):
        weights = np.ones((_INNER, _COLUMNS), np.float32 if kind == "fp32" else np.int8)
        result = TensorProto.FLOAT if kind == "fp32" else TensorProto.INT32
        graph = helper.make_graph(
            [helper.make_node(operator, ["left", "right"], ["product"])],
            "product",
            [helper.make_tensor_value_info("left", element, [_ROWS, _INNER])],
            [helper.make_tensor_value_info("product", result, [_ROWS, _COLUMNS])],
            [numpy_helper.from_array(weights, "right")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        left = np.ones((_ROWS, _INNER), dtype)

        def product(session: Any = session, left: Any = left) -> None:
            session.run(None, {"left": left})

        yield kind, product


def _rate(product: Callable[[], Any]) -> float:
    """Return operations per second of one product, in thousands of millions."""
    product()
    rounds, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        product()
        rounds += 1
    return rounds * 2 * _ROWS * _INNER * _COLUMNS / (time.perf_counter() - started) / 1e9


def count_operations(folder: ModelFolder, lengths: NDArray[np.int64]) -> float:
    """Return the multiplications and additions that a BERT-like model needs for some messages, in thousands of millions.

    Counted are the encoder's products: four of hidden x hidden and two of hidden x intermediate for each layer and token, and
    the two of attention, which grow with the square of the length. Products that an engine skips are counted, too.

    Args:
        folder: its config has the sizes, under the names of BERT or of DistilBERT; 0 where it has other names.
        lengths: tokens of each message, shape (messages,).
    """
    c = folder.config
    hidden = int(c.get("hidden_size") or c.get("dim") or 0)
    inner = int(c.get("intermediate_size") or c.get("hidden_dim") or 0)
    layers = int(c.get("num_hidden_layers") or c.get("n_layers") or 0)
    for_a_token = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
    for_attention = 4 * layers * hidden * (lengths.astype(float) ** 2).sum()
    return float(for_a_token * lengths.sum() + for_attention) / 1e9
