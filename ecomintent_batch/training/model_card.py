"""The card of a model folder, written from measured figures only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ecomintent_batch.training.evaluation_records import ORDER

_TEMPLATE = "model_card.md.j2"


def render_card(checkpoint: Path, calibrated_on: str, measured: dict[str, Any]) -> str:
    """Return the card as Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        checkpoint: Folder of the trained model; its `training.json`, where `train` left one, says how it was made.
        measured: what `export` measured: agreement, temperature, and a SetResult for each set.
    """
    made = checkpoint / "training.json"
    environment = Environment(  # noqa: S701 - Markdown, and no value in it comes from a ticket
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    training = json.loads(made.read_text(encoding="utf-8")) if made.is_file() else None
    return environment.get_template(_TEMPLATE).render(
        training=training,
        calibrated_on=calibrated_on,
        measured=measured,
        sets=sorted(measured["sets"].values(), key=lambda result: ORDER.index(result.kind)),
    )
