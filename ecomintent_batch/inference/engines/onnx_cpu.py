"""ONNX Runtime on CPU: one session, weights in memory once, one single-threaded run per core at a time.

Measured on two cores, this beats one run over all cores: small matrix products do not split well, batches do.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ecomintent_batch.errors import ModelError
from ecomintent_batch.inference.batches import Encodings, Int64, collate
from ecomintent_batch.inference.engines.model_folder import ModelFolder
from ecomintent_batch.inference.engines.splitting import score_pieces

_EXACT = ("AMX", "VNNI")  # kernels that add up products of u8 and s8 in 32 bits


class OnnxEngine:
    """Runs `onnx/model_int8.onnx`."""

    def __init__(
        self, model: ModelFolder, *, threads: int, max_batch_tokens: int | None = None
    ) -> None:
        kernels = _kernels()
        try:
            self._session = open_session(str(model.onnx_file))
        except Exception as error:  # onnxruntime raises its own kinds, none of them public
            raise ModelError(
                f"{model.name}: expected a readable {model.onnx_file.name}, found: {type(error).__name__}"
            ) from None
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._labels, self._pad_id, self._threads = len(model.labels), model.pad_id, threads
        width = self._session.get_outputs()[0].shape[-1]
        if isinstance(width, int) and width != self._labels:
            raise ModelError(
                f"{model.name}: expected {self._labels} outputs in {model.onnx_file.name}, found {width}; export it again"
            )
        self.max_batch_tokens = (
            max_batch_tokens or 384
        )  # more falls out of the cache: up to a fifth slower
        self.description = f"onnx int8{f' ({kernels})' if kernels else ''} on cpu, {threads} thread{'s' if threads > 1 else ''}"
        self.weights_file = str(model.onnx_file.relative_to(model.path))
        self.most_tokens: int | None = None

    def score(self, encodings: Encodings, batches: Sequence[Int64], advance: Any) -> Any:
        """See `Engine.score`."""
        logits = np.full((len(encodings), self._labels), np.nan, np.float32)

        def run(batch: Int64) -> None:
            for piece, found in score_pieces(
                batch, lambda rows: self._run(*collate(encodings, rows, self._pad_id))
            ):
                logits[piece] = found
            advance(len(batch))

        with ThreadPoolExecutor(self._threads, "onnx") as pool:
            try:
                futures = [pool.submit(run, batch) for batch in batches]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return logits

    def _run(self, input_ids: Int64, mask: Int64) -> Any:
        """Return the logits of one batch, shape (rows, labels)."""
        tensors = {
            "input_ids": input_ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(input_ids),
        }
        return self._session.run(None, {name: tensors[name] for name in self._inputs})[0]


def open_session(network: str | bytes) -> ort.InferenceSession:
    """Return a single-threaded session of a network in a file, or in memory."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without VNNI or AMX, products of u8 and s8 overflow 16 bits and answers go wrong: u8 kernels are right there, and with
    # VNNI half as fast for the same answers.
    options.add_session_config_entry(
        "session.x64quantprecision", "0" if _kernels() in _EXACT else "1"
    )
    return ort.InferenceSession(
        network,
        options,
        providers=["CPUExecutionProvider"],
        # Its fused kernel takes six times what Add and LayerNormalization take: a tenth of the whole.
        disabled_optimizers=["SkipLayerNormFusion"],
    )


def _kernels() -> str:
    """Say which matrix instructions of this processor ONNX Runtime takes, where the system tells them."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return ""
    kinds = {
        "amx_int8": "AMX",
        "avx512_vnni": "VNNI",
        "avx_vnni": "VNNI",
        "avx2": "AVX2 without VNNI",
    }
    return next((said for flag, said in kinds.items() if flag in flags), "")
