"""The card of a model folder, written from measured figures only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ecomintent_batch.analytics.templates import render
from ecomintent_batch.training.evaluation_records import ORDER

_TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def render_card(checkpoint: Path, calibrated_on: str, measured: dict[str, Any]) -> str:
    """Return the card as Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        checkpoint: Folder of the trained model; its `training.json`, where `train` left one, says how it was made.
        measured: what `export` measured: agreement, temperature, and a SetResult for each set.
    """
    made = checkpoint / "training.json"
    training = json.loads(made.read_text(encoding="utf-8")) if made.is_file() else None
    return render(
        _TEMPLATE,
        training=training,
        calibrated_on=calibrated_on,
        measured=measured,
        sets=sorted(measured["sets"].values(), key=lambda result: ORDER.index(result.kind)),
    )
