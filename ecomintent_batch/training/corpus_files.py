"""The realistic tickets of this repository, and the nine intents in model order."""

from __future__ import annotations

import json
from pathlib import Path

INTENTS = (
    "WISMO",
    "RETURN_REQUEST",
    "EXCHANGE_REQUEST",
    "CANCEL_ORDER",
    "DAMAGED_ITEM",
    "BILLING_DISPUTE",
    "PRODUCT_QUESTION",
    "ACCOUNT_ISSUE",
    "OTHER",
)
CORPUS = Path(__file__).parent / "corpus"


def read_jsonl(name: str) -> list[dict[str, str]]:
    """Return the lines of one file of the corpus folder."""
    return [
        json.loads(line)
        for line in (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def read_corpus(split: str) -> list[tuple[str, str]]:
    """Return (text, intent) of the realistic tickets of one split: `train`, `dev` or `test`."""
    return [(ticket["text"], ticket["intent"]) for ticket in read_tickets(split)]


def read_tickets(split: str) -> list[dict[str, str]]:
    """Return text, intent and register of the realistic tickets of one split."""
    rows = [
        ticket for file in sorted(CORPUS.glob("batch_*.jsonl")) for ticket in read_jsonl(file.stem)
    ]
    return [ticket for ticket in rows if ticket["split"] == split]


def read_two_asks() -> list[dict[str, str]]:
    """Return text, intent (the dominant ask's) and second_intent of the train tickets with two asks."""
    return [
        ticket for file in sorted(CORPUS.glob("pairs_*.jsonl")) for ticket in read_jsonl(file.stem)
    ]


def read_real_style() -> list[dict[str, str]]:
    """Return text, intent, and second_intent where there are two, of the messages written in the manner of real ones."""
    return [
        message
        for file in sorted(CORPUS.glob("real_style_*.jsonl"))
        for message in read_jsonl(file.stem)
    ]
