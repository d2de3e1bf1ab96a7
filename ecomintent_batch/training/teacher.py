"""A teacher's probabilities for messages: soft targets in addition to the labels, or instead of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecomintent_batch.errors import ModelError
from ecomintent_batch.inference.batches import make_loader, plan_batches, tokenise
from ecomintent_batch.inference.engines import ModelFolder, open_model
from ecomintent_batch.training.precision import autocast_dtype

_BATCH_TOKENS = 4096


def label_softly(
    teacher: str,
    messages: Sequence[str],
    labels: Sequence[str],
    device: torch.device,
    cache: Path,
    note: Callable[[str], None],
) -> NDArray[np.float32]:
    """Return the teacher's probabilities, shape (messages, labels), calibrated where it is; kept in `cache` for a resume.

    Raises:
        ModelError: no such model, or one of other labels.
    """
    model = open_model(teacher)
    if list(model.labels) != list(labels):
        raise ModelError(
            f"{teacher}: expected a teacher of the labels {', '.join(labels)}, found {', '.join(model.labels)}"
        )
    distinct = list(dict.fromkeys(messages))
    key = hashlib.sha256(
        "\0".join([teacher, *distinct]).encode("utf-8", "surrogatepass")
    ).hexdigest()[:16]
    file = cache / f"teacher_{key}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, _score(model, distinct, device, note))
    place = {message: index for index, message in enumerate(distinct)}
    logits = np.load(file, allow_pickle=False)[[place[message] for message in messages]]
    encodings = tokenise(model.tokenizer, messages, model.max_length)
    return model.to_probabilities(logits, encodings)


def _score(
    model: ModelFolder, messages: Sequence[str], device: torch.device, note: Callable[[str], None]
) -> NDArray[np.float32]:
    """Return logits; in half precision where the device has it, which is three times as fast and good enough to teach."""
    from transformers import AutoModelForSequenceClassification

    # In fp32: a folder that `export` wrote holds fp16, which autocast on a CPU does not take.
    network: Any = AutoModelForSequenceClassification.from_pretrained(
        model.path, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    network = network.to(device).eval()
    encodings = tokenise(model.tokenizer, messages, model.max_length)
    batches = plan_batches(encodings.lengths, _BATCH_TOKENS)
    logits = np.empty((len(messages), len(model.labels)), np.float32)
    dtype = autocast_dtype(device)
    loader = make_loader(encodings, batches, model.pad_id, pin_memory=device.type == "cuda")
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None),
    ):
        for nth, (batch, (ids, mask)) in enumerate(zip(batches, loader, strict=True)):
            logits[batch] = (
                network(input_ids=ids.to(device), attention_mask=mask.to(device))
                .logits.float()
                .cpu()
                .numpy()
            )
            if nth % 100 == 0:
                note(f"teacher: batch {nth:,} of {len(batches):,}")
    return logits
