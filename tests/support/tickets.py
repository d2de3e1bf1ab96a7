"""What many tests need: an export, a tiny model, a Progress that records."""

from __future__ import annotations

import csv
from pathlib import Path

from ecomintent_batch.progress import Progress

ROOT = Path(__file__).parents[2]
NINE = [
    "WISMO", "RETURN_REQUEST", "EXCHANGE_REQUEST", "CANCEL_ORDER", "DAMAGED_ITEM",
    "BILLING_DISPUTE", "PRODUCT_QUESTION", "ACCOUNT_ISSUE", "OTHER",
]  # fmt: skip
_WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "where", "is", "my", "order", "refund", "return", "broken", "hello", "size",
    "the", "a", "cancel", "login", ".", ",", "!", "?",
]  # fmt: skip


def save_tiny_model(folder: Path, architecture: str, labels: list[str]) -> Path:
    """Save a random two-layer classifier of an architecture, 64 positions, with a WordPiece tokenizer over a few words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModelForSequenceClassification

    characters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*_WORDS, *characters, *(f"##{c}" for c in characters)]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    bert = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    sizes = {"distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}}.get(
        architecture, bert
    )
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(vocabulary),
        max_position_embeddings=64,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **sizes,
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def write_tickets(path: Path, count: int) -> Path:
    """Write a CSV export: ids with leading zeros, a day for every ten tickets, three channels, a sixth of the bodies empty."""
    bodies = [
        "where is my order",
        "refund {i}",
        "",
        "cancel the order {i}!",
        "hello",
        "my size is broken {i}",
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ticket_id", "created_at", "channel", "body"])
        for i in range(count):
            day = f"2026-{10 + i // 300 % 3:02d}-{1 + i // 10 % 30:02d} 08:00:00"
            writer.writerow(
                [f"{i:06d}", day, ["email", "chat", ""][i % 3], bodies[i % 6].format(i=i)]
            )
    return path


class RecordingProgress(Progress):
    """Writes down what a driver is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.totals: list[tuple[int, bool]] = []
        self.tickets = 0.0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def extracted(self, tickets: int, *, complete: bool) -> None:
        self.totals.append((tickets, complete))

    def advance(self, tickets: float) -> None:
        self.tickets += tickets
