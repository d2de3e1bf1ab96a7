"""torch on CUDA or CPU: one path, the device a parameter; bf16 on CUDA, fp32 on CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ecomintent_batch.errors import DeviceError, ModelError
from ecomintent_batch.inference.batches import Encodings, Int64, collate, make_loader
from ecomintent_batch.inference.engines.first_token import read_first_token_only
from ecomintent_batch.inference.engines.model_folder import ModelFolder
from ecomintent_batch.inference.engines.splitting import score_pieces

_LEAST_ON_CUDA, _MOST_ON_CUDA = 16_384, 1_048_576
_WIDTH = 64  # tokens of the messages that the budget is measured with
_WORTH_DOUBLING = 1.05


def pick_device(device: str) -> torch.device:
    """Return the torch device for auto, cpu, cuda or cuda:N.

    Raises:
        DeviceError: there is no such CUDA device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            raise DeviceError(
                f"--device {device}: expected a CUDA device, found {count} of them; use --device cpu"
            )
    return found


def find_budget(measure_rate: Callable[[int], float], least: int, most: int) -> int:
    """Double a budget of tokens a batch until throughput stops growing or memory ends, and return the best.

    Args:
        measure_rate: returns the tokens a second of a batch of so many tokens; may raise `torch.OutOfMemoryError`.
    """
    best, best_rate = least, 0.0
    budget = least
    while budget <= most:
        try:
            rate = measure_rate(budget)
        except torch.OutOfMemoryError:
            break
        if rate < _WORTH_DOUBLING * best_rate:
            break
        best, best_rate = budget, rate
        budget *= 2
    return best


class TorchEngine:
    """Runs the safetensors weights of any sequence-classification checkpoint."""

    def __init__(
        self,
        model: ModelFolder,
        *,
        device: torch.device,
        threads: int,
        max_batch_tokens: int | None = None,
        compiled: bool = False,
    ) -> None:
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        on_cuda = device.type == "cuda"
        weights = sorted(model.path.glob("*.safetensors"))
        if not weights:
            raise ModelError(
                f"{model.name}: expected weights in model.safetensors, found none; pickled weights are not loaded"
            )
        if not on_cuda:
            torch.set_num_threads(threads)
        dtype = (
            torch.bfloat16
            if on_cuda and torch.cuda.is_bf16_supported()
            else torch.float16
            if on_cuda
            else torch.float32
        )
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            loaded, found = AutoModelForSequenceClassification.from_pretrained(
                model.path,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=dtype,
                output_loading_info=True,
            )
        except (
            Exception
        ) as error:  # transformers raises OSError, ValueError, RuntimeError, SafetensorError …
            raise ModelError(
                f"{model.name}: expected a sequence-classification model, found: {type(error).__name__}"
            ) from None
        if found["missing_keys"]:  # transformers would fill them with random numbers, and go on
            raise ModelError(
                f"{model.name}: expected weights for every layer, found none for {', '.join(sorted(found['missing_keys'])[:3])}; "
                "fine-tune it as a classifier first"
            )
        self._model: Any = read_first_token_only(loaded.to(device).eval())
        self._device, self._pad_id, self._labels = device, model.pad_id, len(model.labels)
        if compiled:
            self._compile(model)
        self.max_batch_tokens = max_batch_tokens or (
            find_budget(self._measure_rate, _LEAST_ON_CUDA, _MOST_ON_CUDA) if on_cuda else 2048
        )
        how = f"{str(dtype).removeprefix('torch.')}{' compiled' if compiled else ''}"
        self.description = f"torch {how} on {device}" + ("" if on_cuda else f", {threads} threads")
        self.weights_file = weights[0].name

    def score(self, encodings: Encodings, batches: Sequence[Int64], advance: Any) -> Any:
        """See `Engine.score`.

        On CUDA nothing waits for a batch: copies and kernels queue up, and the logits come back in one copy.
        """
        logits = torch.full((len(encodings), self._labels), torch.nan, device=self._device)
        loader = make_loader(
            encodings, batches, self._pad_id, pin_memory=self._device.type == "cuda"
        )
        with torch.inference_mode():
            for batch, loaded in zip(batches, loader, strict=True):
                for piece, found in score_pieces(
                    batch, partial(self._score_piece, encodings, batch, loaded)
                ):
                    logits[torch.from_numpy(piece).to(self._device)] = found
                advance(len(batch))
        return logits.float().cpu().numpy()

    def _score_piece(
        self, encodings: Encodings, batch: Int64, loaded: Sequence[torch.Tensor], piece: Int64
    ) -> torch.Tensor:
        """Score a batch as it was loaded, or a piece of it."""
        tensors = (
            loaded
            if piece is batch
            else [torch.from_numpy(array) for array in collate(encodings, piece, self._pad_id)]
        )
        try:
            return self._forward(
                *(tensor.to(self._device, non_blocking=True) for tensor in tensors)
            )
        except torch.OutOfMemoryError:
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            raise

    def _compile(self, model: ModelFolder) -> None:
        """Compile the network for batches of any shape, and try it: what is missing shows here and not in the first shard."""
        self._model = torch.compile(self._model, dynamic=True)
        try:
            for rows, tokens in ((2, 8), (3, 16)):
                self._try(rows, tokens)
        except Exception as error:  # torch raises its own kinds, none of them public
            raise ModelError(
                f"{model.name}: expected a network and a C++ compiler that torch.compile can use, found: {type(error).__name__}; "
                "run without --compile"
            ) from None

    def _measure_rate(self, tokens: int) -> float:
        """Return the tokens a second of a batch of so many."""
        for _ in range(2):  # the first one warms up
            torch.cuda.synchronize(self._device)
            started = time.perf_counter()
            self._try(tokens // _WIDTH, _WIDTH)
            torch.cuda.synchronize(self._device)
        return tokens / (time.perf_counter() - started)

    @torch.inference_mode()
    def _try(self, rows: int, tokens: int) -> None:
        """Score a batch of no meaning."""
        ids = torch.zeros((rows, tokens), dtype=torch.int64, device=self._device)
        self._forward(ids, torch.ones_like(ids))

    def _forward(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the logits of one batch, shape (rows, labels), float32."""
        logits: torch.Tensor = self._model(input_ids=input_ids, attention_mask=mask).logits
        return logits.float()
