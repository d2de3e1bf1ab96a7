"""torch on CUDA or CPU: one path, the device a parameter; bf16 on CUDA, fp32 on CPU."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ecomintent_batch.errors import DeviceError, ModelError
from ecomintent_batch.inference.batches import (
    Encodings,
    Int64,
    collate,
    make_loader,
    special_token_types,
    tokenise,
)
from ecomintent_batch.inference.engines.first_token import read_first_token_only
from ecomintent_batch.inference.engines.model_folder import ModelFolder
from ecomintent_batch.inference.engines.splitting import score_pieces

_LEAST_ON_CUDA, _MOST_ON_CUDA = 16_384, 1_048_576
_WIDTH = 64  # tokens of the messages that the budget is measured with
_WORTH_DOUBLING = 1.05
_PROBES = (
    "order",
    "where is my order",
    "I want to return the shoes that I ordered, where do I send them?",
)
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 0.05  # of the largest logit
_ZERO = 1e-6  # between logits that are all next to zero


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


def load_network(model: ModelFolder, device: torch.device) -> tuple[Any, str]:
    """Return the classifier of a folder on a device, ready to answer, and the name of the file of its weights.

    Raises:
        ModelError: there are no weights, or not for every layer.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    on_cuda = device.type == "cuda"
    weights = sorted(model.path.glob("*.safetensors"))
    if not weights:
        raise ModelError(
            f"{model.name}: expected weights in model.safetensors, found none; pickled weights are not loaded"
        )
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
    return loaded.to(device).eval(), weights[0].name


def open_hidden_states(model: ModelFolder, pick_layer: Callable[[int], int]) -> Callable[..., Any]:
    """Return a function from input_ids and attention_mask to the hidden states of one layer, shape (rows, tokens, hidden size).

    Args:
        model: Its safetensors weights are read.
        pick_layer: Returns the layer, from 1, of so many.
    """
    device = pick_device("auto")
    network, _ = load_network(model, device)
    inputs = Inputs(network, model.tokenizer)

    def run(input_ids: Int64, mask: Int64) -> Any:
        arguments = inputs.of(
            torch.from_numpy(input_ids).to(device), torch.from_numpy(mask).to(device)
        )
        with torch.inference_mode():
            states = network(**arguments, output_hidden_states=True).hidden_states
            return states[pick_layer(len(states) - 1)].float().cpu().numpy()

    return run


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
        on_cuda = device.type == "cuda"
        if not on_cuda:
            torch.set_num_threads(threads)
        loaded, weights_file = load_network(model, device)
        dtype = loaded.dtype
        self._model: Any = read_first_token_only(loaded)
        self._device, self._pad_id, self._labels = device, model.pad_id, len(model.labels)
        self._inputs = Inputs(self._model, model.tokenizer)
        self.most_tokens = count_positions(self._model)
        self._one_by_one = self._depends_on_batch(model)
        if compiled:
            self._compile(model)
        self.max_batch_tokens = max_batch_tokens or (
            find_budget(self._measure_rate, _LEAST_ON_CUDA, _MOST_ON_CUDA) if on_cuda else 2048
        )
        how = f"{str(dtype).removeprefix('torch.')}{' compiled' if compiled else ''}"
        self.description = f"torch {how} on {device}" + ("" if on_cuda else f", {threads} threads")
        if self._one_by_one:
            self.description += (
                ", one message at a time (padding would change this model's answers)"
            )
        self.weights_file = weights_file

    def score(self, encodings: Encodings, batches: Sequence[Int64], advance: Any) -> Any:
        """See `Engine.score`.

        On CUDA nothing waits for a batch: copies and kernels queue up, and the logits come back in one copy.
        """
        logits = torch.full((len(encodings), self._labels), torch.nan, device=self._device)
        if self._one_by_one:
            batches = [batch[[i]] for batch in batches for i in range(len(batch))]
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
        logits: torch.Tensor = self._model(**self._inputs.of(input_ids, mask)).logits
        return logits.float()

    @torch.inference_mode()
    def _depends_on_batch(self, model: ModelFolder) -> bool:
        """Try whether a short message has other logits in a batch with a longer one, which pads it.

        So it is with XLNet, whose answer is in the last token, and with networks that have no mask or no token for padding.

        Raises:
            ModelError: the network cannot score one message alone.
        """
        limit = min(model.max_length, self.most_tokens or model.max_length)
        encodings = tokenise(model.tokenizer, _PROBES, limit)
        rows = np.arange(len(_PROBES), dtype=np.int64)
        try:
            alone = torch.cat([self._score_rows(encodings, rows[[i]]) for i in rows])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each architecture raises its own kinds
            raise ModelError(
                f"{model.name}: expected a network that scores input_ids with an attention_mask, found: {type(error).__name__}; "
                "it cannot be used here"
            ) from None
        if alone.shape != (len(rows), self._labels):
            raise ModelError(
                f"{model.name}: expected {self._labels} logits a message, found {alone[0].numel()}; "
                "id2label does not fit the weights"
            )
        try:
            together = self._score_rows(encodings, rows)
        except torch.OutOfMemoryError:
            return False
        except Exception:  # no padding token, say
            return True
        near = _TOLERANCE if self._model.dtype == torch.float32 else _HALF_TOLERANCE
        return bool((together - alone).abs().max() > near * alone.abs().max() + _ZERO)

    def _score_rows(self, encodings: Encodings, rows: Int64) -> torch.Tensor:
        tensors = (torch.from_numpy(array) for array in collate(encodings, rows, self._pad_id))
        return self._forward(*(tensor.to(self._device) for tensor in tensors))


class Inputs:
    """What a network takes of a batch, by the names of its own arguments."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        accepted = inspect.signature(network.forward).parameters
        self._takes_mask = "attention_mask" in accepted
        # All types are 0 with BERT's, and need not be given; XLNet and Funnel have another one for their classifying token.
        opening, closing = special_token_types(tokenizer)
        is_typed = "token_type_ids" in accepted and any(opening + closing)
        self._types = (opening, closing) if is_typed else None

    def of(self, input_ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the arguments for one batch, its ids and mask both of shape (rows, tokens)."""
        arguments = {"input_ids": input_ids}
        if self._takes_mask:
            arguments["attention_mask"] = mask
        if self._types:
            arguments["token_type_ids"] = self._type_ids(mask)
        return arguments

    def _type_ids(self, mask: torch.Tensor) -> torch.Tensor:
        opening, closing = self._types or ((), ())
        types, ends = torch.zeros_like(mask), mask.sum(dim=1)
        rows = torch.arange(len(mask), device=mask.device)
        for position, kind in enumerate(opening):
            types[:, position] = kind
        for position, kind in enumerate(closing):
            types[rows, ends - len(closing) + position] = kind
        return types


def count_positions(network: torch.nn.Module) -> int | None:
    """Return the tokens that the table of positions has room for, where it also counts those of padding; else None.

    RoBERTa, Longformer and their like number the text from the position after the padding's, and show that to torch.
    """
    most = getattr(network.config, "max_position_embeddings", None)
    rooms = [
        table.num_embeddings - table.padding_idx - 1
        for name, table in network.named_modules()
        if isinstance(table, torch.nn.Embedding)
        and table.padding_idx is not None
        and table.num_embeddings == most
        and "position" in name
    ]
    return min(rooms, default=None)
