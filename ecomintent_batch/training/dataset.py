"""Labelled texts from several places → one mixed training set.

The EcomIntent split teaches the nine classes, the corpus of this folder teaches how customers write, public
human queries (Banking77, CLINC150) widen it where their meaning fits.
"""

from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path

import polars as pl

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
_MAPS = Path(__file__).parent / "maps"
_PER_LABEL = 250  # of a public set, so that card questions do not become what BILLING_DISPUTE means
_JOINERS = (" ", "\n", " Also, ", " And ", "\n\nAnother thing: ", " btw ", "\n\nOn another order: ", " One more thing, ")
_FIRST_SHARE = 0.62  # of the label of two tickets in one, to the ask that comes first

Labelled = pl.DataFrame  # columns: text, target (one probability per intent), source


def read_jsonl(name: str) -> list[dict[str, str]]:
    """Return the lines of one file of the corpus folder."""
    return [json.loads(line) for line in (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def read_corpus(split: str) -> list[tuple[str, str]]:
    """Return (text, intent) of the realistic tickets of one split, `train` or `dev`."""
    rows: list[tuple[str, str]] = []
    for file in sorted(CORPUS.glob("batch_*.jsonl")):
        rows += [(ticket["text"], ticket["intent"]) for ticket in read_jsonl(file.stem) if ticket["split"] == split]
    return rows


def read_public(data: Path) -> list[tuple[str, str]]:
    """Return (text, intent) of the Banking77 and CLINC150 train queries that `maps/` names."""
    clinc = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    found = _mapped([tuple(row) for row in clinc["train"] + clinc["oos_train"]], "clinc150")
    banking = pl.read_csv(data / "banking77" / "train.csv")
    return found + _mapped(list(zip(banking["text"], banking["category"], strict=True)), "banking77")


def mix_training_set(data: Path, *, bitext_share: float, corpus_weight: int, pair_share: float, seed: int = 0) -> Labelled:
    """Return the training set: the EcomIntent split, public queries, and the corpus `corpus_weight` times.

    Args:
        data: the folder with `bitext/`, `banking77/` and `clinc150/`.
        bitext_share: share of the EcomIntent split, drawn at random.
        corpus_weight: how often each realistic ticket is seen in one epoch.
        pair_share: two tickets in one, as a share of the corpus rows, with a label shared between their intents.
    """
    rng = random.Random(seed)  # noqa: S311 - a training set, not a secret
    corpus = read_corpus("train")
    bitext = pl.read_parquet(data / "bitext" / "train.parquet").sample(fraction=bitext_share, seed=seed)
    rows = [(text, _one_hot(intent), "bitext") for text, intent in zip(bitext["text"], bitext["intent"], strict=True)]
    rows += [(text, _one_hot(intent), "public") for text, intent in read_public(data)]
    rows += [(text, _one_hot(intent), "corpus") for text, intent in corpus] * corpus_weight
    short = [(text, intent) for text, intent in corpus if len(text) < 300]
    for _ in range(int(pair_share * corpus_weight * len(corpus))):
        (first, intent), (second, other) = rng.sample(short, 2)
        if intent != other:
            rows.append((first + rng.choice(_JOINERS) + second, _shared(intent, other), "pair"))
    rng.shuffle(rows)
    return pl.DataFrame(rows, schema={"text": pl.String, "target": pl.List(pl.Float32), "source": pl.String}, orient="row")


def _mapped(rows: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    table = tomllib.loads((_MAPS / f"{name}.toml").read_text(encoding="utf-8"))
    intent_of = {label: intent for intent, labels in table.items() for label in labels}
    counts: dict[str, int] = {}
    found = []
    for text, label in random.Random(0).sample(rows, len(rows)):  # noqa: S311 - as above
        intent = intent_of.get(label)
        if intent is not None and counts.get(intent, 0) < _PER_LABEL * (2 if intent == "OTHER" else 1):
            counts[intent] = counts.get(intent, 0) + 1
            found.append((text, intent))
    return found


def _one_hot(intent: str) -> list[float]:
    return [float(intent == name) for name in INTENTS]


def _shared(first: str, second: str) -> list[float]:
    return [_FIRST_SHARE * (name == first) + (1 - _FIRST_SHARE) * (name == second) for name in INTENTS]
