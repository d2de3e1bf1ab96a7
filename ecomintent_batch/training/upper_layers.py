"""Fine-tune the upper layers of a BERT classifier: what the lower ones give is computed once for all messages and trainings.

With three of six layers and the embeddings frozen, a training step costs a third: no backward pass through them, no word
embeddings for the optimiser, and the last layer computes its first token only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from ecomintent_batch.inference.batches import collate, plan_batches, tokenise
from ecomintent_batch.inference.engines import ModelFolder
from ecomintent_batch.inference.engines.first_token import FirstTokenLayer
from ecomintent_batch.training.fine_tune import Logits, Targets, learning_rate_at
from ecomintent_batch.training.precision import autocast_dtype

Features = NDArray[np.float32]
Head = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights and biases of the last layer, shapes (labels, hidden) and (labels,)."""

FROZEN_LAYERS = 3
_MOST_TOKENS, _BATCH_TOKENS, _BATCH_SIZE = 128, 4096, 32
_WEIGHT_DECAY, _LARGEST_NORM = 0.01, 1.0
_LENGTH_NOISE = 6  # tokens: batches of like length, in a new order each epoch


class UpperLayers(torch.nn.Module):
    """The layers over the frozen ones, the pooler and the head."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        layers = network.bert.encoder.layer[FROZEN_LAYERS:]
        self.layers, self.last = torch.nn.ModuleList(layers[:-1]), FirstTokenLayer(layers[-1])
        self.pooler, self.dropout, self.head = (
            network.bert.pooler,
            network.dropout,
            network.classifier,
        )

    def encode(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return what the head reads, shape (rows, hidden); `mask` is 0 where a token may be read, else very small."""
        for layer in self.layers:
            found = layer(hidden, mask)
            hidden = found if isinstance(found, torch.Tensor) else found[0]
        pooled: torch.Tensor = self.pooler(self.last(hidden, mask))
        return pooled

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (rows, labels)."""
        logits: torch.Tensor = self.head(self.dropout(self.encode(hidden, mask)))
        return logits


class UpperTuner:
    """A network whose upper layers are trained several times on some of the same messages."""

    def __init__(self, network: Any, model: ModelFolder, device: torch.device, seed: int) -> None:
        """Take the network to start from; tokenizer and padding are the model's."""
        self.network, self._model, self._device, self._seed = network.to(device).eval(), model, device, seed  # fmt: skip
        self._dtype = autocast_dtype(device)
        self._upper = UpperLayers(network)
        self.messages: list[str] = []
        self._hidden: list[torch.Tensor] = []

    def add(self, messages: Sequence[str]) -> NDArray[np.int64]:
        """Compute what the frozen layers give of more messages, and return their rows."""
        encodings = tokenise(self._model.tokenizer, messages, min(self._model.max_length, _MOST_TOKENS))  # fmt: skip
        found: list[torch.Tensor] = [torch.empty(0)] * len(messages)
        bert = self.network.bert
        with torch.inference_mode(), self._autocast():
            for batch in plan_batches(encodings.lengths, _BATCH_TOKENS):
                ids, attended = map(torch.from_numpy, collate(encodings, batch, self._model.pad_id))
                hidden = bert.embeddings(input_ids=ids.to(self._device))
                mask = _to_mask(attended.to(self._device))
                for layer in bert.encoder.layer[:FROZEN_LAYERS]:
                    out = layer(hidden, mask)
                    hidden = out if isinstance(out, torch.Tensor) else out[0]
                for row, states, length in zip(
                    batch, hidden, encodings.lengths[batch], strict=True
                ):
                    found[row] = states[: int(length)].to("cpu", torch.bfloat16).clone()
        rows = np.arange(len(self.messages), len(self.messages) + len(messages))
        self.messages += messages
        self._hidden += found
        return rows

    def encode(self, rows: NDArray[np.int64]) -> Features:
        """Return what the head reads of messages before any training, shape (rows, hidden)."""
        return self._apply(self._upper, self._upper.encode, rows)

    def score(self, upper: UpperLayers, rows: NDArray[np.int64]) -> Logits:
        """Return logits, shape (rows, labels)."""
        return self._apply(upper, upper, rows)

    def fine_tune(
        self,
        rows: NDArray[np.int64],
        targets: Targets,
        head: Head,
        *,
        epochs: float,
        learning_rate: float,
        head_rate: float,
    ) -> UpperLayers:
        """Return upper layers that were trained on some rows, which may stand more than once.

        Args:
            rows: Messages to train on.
            targets: A probability for each label, shape (rows, labels).
            head: What to start with.
            epochs: Over the rows; 0 leaves it at the head.
            learning_rate: At its peak.
            head_rate: Times the learning rate, that of the head.
        """
        torch.manual_seed(self._seed)
        upper = copy.deepcopy(self._upper).train()
        _set_head(upper.head, head)
        if not epochs:
            return upper.eval()
        of_head = {id(value) for value in upper.head.parameters()}
        rest = [value for value in upper.parameters() if id(value) not in of_head]
        optimizer = torch.optim.AdamW(
            [
                {"params": rest, "lr": learning_rate},
                {"params": list(upper.head.parameters()), "lr": learning_rate * head_rate},
            ],
            weight_decay=_WEIGHT_DECAY,
        )
        steps = max(1, round(epochs * -(-len(rows) // _BATCH_SIZE)))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_at(step / steps)
        )
        for _, batch in zip(range(steps), self._batches(rows), strict=False):
            with self._autocast():
                logits = upper(*self._pad(rows[batch]))
            wanted = torch.from_numpy(targets[batch]).to(self._device)
            optimizer.zero_grad()
            cross_entropy(logits.float(), wanted).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(upper.parameters(), _LARGEST_NORM)
            optimizer.step()
            schedule.step()
        return upper.eval()

    def assemble(self, upper: UpperLayers) -> Any:
        """Return the whole network with trained upper layers."""
        network = copy.deepcopy(self.network)
        UpperLayers(network).load_state_dict(upper.state_dict())
        return network.cpu().eval()

    def _apply(self, upper: UpperLayers, compute: Any, rows: NDArray[np.int64]) -> Features:
        lengths = np.array([len(self._hidden[row]) for row in rows], dtype=np.int64)
        found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
        upper.eval()
        with torch.inference_mode(), self._autocast():
            for batch in plan_batches(lengths, _BATCH_TOKENS):
                out = compute(*self._pad(rows[batch])).float().cpu().numpy()
                for place, values in zip(batch, out, strict=True):
                    found[place] = values
        return np.stack(found)

    def _pad(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states, shape (rows, tokens, hidden), and their mask."""
        states = [self._hidden[row] for row in rows]
        hidden = torch.nn.utils.rnn.pad_sequence(states, batch_first=True).float()
        lengths = torch.tensor([len(each) for each in states])
        attended = torch.arange(hidden.shape[1])[None, :] < lengths[:, None]
        return hidden.to(self._device), _to_mask(attended.to(self._device))

    def _batches(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield places in `rows`, of messages of similar length, without end."""
        rng = np.random.default_rng(self._seed)
        lengths = np.array([len(self._hidden[row]) for row in rows])
        while True:
            noise = rng.uniform(0, _LENGTH_NOISE, len(lengths))
            order = np.argsort(lengths + noise, kind="stable")
            for start in rng.permutation(np.arange(0, len(order), _BATCH_SIZE)):
                yield order[start : start + _BATCH_SIZE]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, dtype=self._dtype or torch.bfloat16, enabled=self._dtype is not None
        )


def fit_head(features: Features, targets: Targets, start: Head, c: float) -> Head:
    """Return the head that a logistic regression on frozen features gives, drawn towards the one to start from.

    Args:
        features: Shape (messages, hidden).
        targets: Shape (messages, labels).
        start: Weights and biases.
        c: The inverse of the penalty on the distance from the start.
    """
    inputs, wanted = torch.from_numpy(features), torch.from_numpy(targets)
    first = torch.from_numpy(start[0])
    weights = first.clone().requires_grad_()
    biases = torch.from_numpy(start[1]).clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights, biases], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = (weights - first).square().sum() / (2 * c * len(features))
        value = cross_entropy(inputs @ weights.T + biases, wanted) + penalty
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach().numpy(), biases.detach().numpy()


def _set_head(layer: Any, head: Head) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head[0]))
        layer.bias.copy_(torch.from_numpy(head[1]))


def _to_mask(attended: torch.Tensor) -> torch.Tensor:
    """Return what is added to the attention, shape (rows, 1, 1, tokens)."""
    return (1 - attended[:, None, None, :].float()) * torch.finfo(torch.float32).min
