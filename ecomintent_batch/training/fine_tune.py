"""Fine-tune a classifier for a few epochs, and end between its old and its new weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from ecomintent_batch.inference.batches import Encodings, collate, plan_batches, tokenise
from ecomintent_batch.inference.engines import ModelFolder
from ecomintent_batch.training.export import load_network
from ecomintent_batch.training.precision import autocast_dtype

Targets = NDArray[np.float32]
"""Probabilities, shape (messages, labels)."""
Logits = NDArray[np.float32]

_MOST_TOKENS, _SCORED_TOKENS = 160, 4096
_WARM_UP_SHARE, _WEIGHT_DECAY, _LARGEST_NORM = 0.1, 0.01, 1.0


class Tuner:
    """A model that is fine-tuned several times, from the same weights each time."""

    def __init__(
        self,
        model: ModelFolder,
        *,
        epochs: float,
        learning_rate: float,
        batch_size: int,
        share_of_new: float,
        device: torch.device,
        seed: int,
    ) -> None:
        self._model, self._device = model, device
        self._epochs, self._learning_rate, self._batch_size = epochs, learning_rate, batch_size
        self._share_of_new, self._seed = share_of_new, seed
        self.network = load_network(model.path).to(device)

    def score(self, network: Any, messages: Sequence[str]) -> Logits:
        """Return logits, shape (messages, labels)."""
        encodings = self._encode(messages)
        logits = np.empty((len(messages), len(self._model.labels)), np.float32)
        network.eval()
        with torch.inference_mode():
            for batch in plan_batches(encodings.lengths, _SCORED_TOKENS):
                logits[batch] = self._forward(network, encodings, batch).float().cpu().numpy()
        return logits

    def fine_tune(self, messages: Sequence[str], targets: Targets) -> Any:
        """Return a network whose weights end between the model's own and those trained on the messages."""
        torch.manual_seed(self._seed)
        network = copy.deepcopy(self.network).train()
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=self._learning_rate, weight_decay=_WEIGHT_DECAY
        )
        encodings, dtype = self._encode(messages), autocast_dtype(self._device)
        steps = max(1, round(self._epochs * -(-len(messages) // self._batch_size)))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_at(step / steps)
        )
        for _, batch in zip(range(steps), self._batches(encodings.lengths), strict=False):
            with torch.autocast(
                self._device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None
            ):
                logits = self._forward(network, encodings, batch)
            loss = cross_entropy(logits.float(), torch.from_numpy(targets[batch]).to(self._device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_NORM)
            optimizer.step()
            schedule.step()
        return interpolate(self.network, network, self._share_of_new)

    def _encode(self, messages: Sequence[str]) -> Encodings:
        return tokenise(self._model.tokenizer, messages, min(self._model.max_length, _MOST_TOKENS))

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield batches of similar length without end, in a new order each epoch."""
        rng = np.random.default_rng(self._seed)
        while True:
            order = np.argsort(lengths + rng.uniform(0, 4, len(lengths)), kind="stable")
            for start in rng.permutation(np.arange(0, len(order), self._batch_size)):
                yield order[start : start + self._batch_size]

    def _forward(
        self, network: Any, encodings: Encodings, batch: NDArray[np.int64]
    ) -> torch.Tensor:
        ids, mask = map(torch.from_numpy, collate(encodings, batch, self._model.pad_id))
        logits: torch.Tensor = network(
            input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
        ).logits
        return logits


def interpolate(old: Any, new: Any, share_of_new: float) -> Any:
    """Return `new` with its weights moved towards `old`, in place."""
    weights = old.state_dict()
    with torch.no_grad():
        for name, value in new.state_dict().items():
            if value.is_floating_point():
                value.lerp_(weights[name], 1 - share_of_new)
    return new.eval()


def learning_rate_at(progress: float) -> float:
    """Return the learning rate as a share of its peak: a linear warm-up, then a cosine."""
    if progress < _WARM_UP_SHARE:
        return (progress + 0.01) / (_WARM_UP_SHARE + 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE)))
