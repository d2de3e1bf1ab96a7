"""Fixtures that several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NINE = "WISMO RETURN_REQUEST EXCHANGE_REQUEST CANCEL_ORDER DAMAGED_ITEM BILLING_DISPUTE PRODUCT_QUESTION ACCOUNT_ISSUE OTHER".split()


def save_tiny_model(folder: Path, architecture: str, labels: list[str]) -> Path:
    """Save a random two-layer classifier of an architecture, 64 positions, with a WordPiece tokenizer over a few words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModelForSequenceClassification

    words = "[PAD] [UNK] [CLS] [SEP] [MASK] where is my order refund return broken hello size the a cancel login . , ! ?".split()
    words += list("abcdefghijklmnopqrstuvwxyz0123456789") + [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    bert = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}}.get(architecture, bert)
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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DistilBERT with the nine labels, 64 positions."""
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "distilbert", NINE)
