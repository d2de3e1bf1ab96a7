"""Other people's models: heads of several labels, positions behind padding, networks that padding changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tickets import save_tiny_model
from tokenizers import Tokenizer, processors
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import ModelError
from ecomintent_batch.inference.batches import plan_batches, tokenise
from ecomintent_batch.inference.engines import ModelFolder, open_model
from ecomintent_batch.inference.engines.model_folder import sigmoid
from ecomintent_batch.inference.engines.torch_any import TorchEngine
from ecomintent_batch.inference.model_cache import EngineOptions, load_model

LABELS = ["WISMO", "RETURN", "OTHER"]
TEXTS = [
    "order",
    "where is my order",
    "my order " * 60,
    "hello refund",
    "return the broken size, please!",
]
BERT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
# architecture, its sizes, tokens that it reads, and whether padding changes its answers
KINDS = {
    "longformer": ({**BERT, "max_position_embeddings": 66, "attention_window": 8}, 64, False),
    "longformer, odd window": ({**BERT, "max_position_embeddings": 66, "attention_window": 10}, 64, False),
    "roberta": ({**BERT, "max_position_embeddings": 66}, 64, False),
    "roberta, padded by 0": ({**BERT, "max_position_embeddings": 66, "pad_token_id": 0}, 65, False),
    "mpnet": ({**BERT, "max_position_embeddings": 66}, 64, False),
    "data2vec-text": ({**BERT, "max_position_embeddings": 66}, 64, False),
    "albert": ({**BERT, "max_position_embeddings": 64, "embedding_size": 32}, 64, False),
    "xlnet": ({"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}, 512, True),
    "fnet": ({**BERT, "max_position_embeddings": 64, "tpu_short_seq_length": 64}, 64, True),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, 64, True),
    "gpt2, with padding": ({"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "pad_token_id": 0}, 64, False),
    "convbert": ({**BERT, "max_position_embeddings": 64, "embedding_size": 32, "pad_token_id": 0}, 64, True),
    "funnel": ({"block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64}, 512, False),
}  # fmt: skip
ENDINGS = {"xlnet": "$A [SEP] [CLS]:2", "funnel": "[CLS]:2 $A [SEP]"}


def make_model(base: Path, kind: str, tiny: Path) -> Path:
    """Save a random classifier of an architecture."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    architecture, folder = kind.split(",", maxsplit=1)[0], base / "model"
    config = AutoConfig.for_model(
        architecture, vocab_size=93, id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)}, **KINDS[kind][0],
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    if architecture in ENDINGS:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=ENDINGS[architecture], special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_each_message_has_the_logits_that_it_has_alone(kind, tiny_model, tmp_path):
    """Cut to what the network reads, with its own token types, padded only where that changes nothing."""
    from transformers import AutoModelForSequenceClassification

    folder = make_model(tmp_path, kind, tiny_model)
    loaded = load_model(
        EngineOptions(engine="torch", device="cpu", threads=1), open_model(str(folder))
    )
    model, (_, limit, is_changed) = loaded.folder, KINDS[kind]
    assert model.max_length == limit
    assert ("one message at a time" in loaded.engine.description) == is_changed
    encodings = tokenise(model.tokenizer, TEXTS, limit)
    found = loaded.engine.score(encodings, plan_batches(encodings.lengths, 2048), lambda n: None)

    reference = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(limit)
    for text, logits in zip(TEXTS, found, strict=True):
        one = tokenizer.encode(text)
        types = {"token_type_ids": torch.tensor([one.type_ids])} if any(one.type_ids) else {}
        with torch.inference_mode():
            expected = reference(input_ids=torch.tensor([one.ids]), **types).logits[0].numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


def test_positions_by_name_for_engines_without_torch():
    """What ONNX Runtime goes by: the name of the architecture and the id of padding."""

    def limit(**config: object) -> int:
        model = ModelFolder(Path("none"), "none")
        model.__dict__["config"] = config
        return model.max_length

    assert limit(model_type="longformer", max_position_embeddings=4098, pad_token_id=1) == 4096
    assert limit(model_type="xlm-roberta", max_position_embeddings=514, pad_token_id=1) == 512
    assert limit(model_type="mpnet", max_position_embeddings=514, pad_token_id=1) == 512
    assert limit(model_type="esm", max_position_embeddings=1026, pad_token_id=1) == 1024
    assert limit(model_type="bert", max_position_embeddings=512, pad_token_id=0) == 512
    assert limit(model_type="gpt2", n_positions=1024) == 1024
    assert limit(model_type="xlnet", max_position_embeddings=-1) == 512
    assert limit(model_type="t5") == 512


@pytest.fixture
def set_logits(tmp_path) -> Path:
    """A DistilBERT that answers every message with the logits 3, 2.9, -5, its head of several labels."""
    folder = save_tiny_model(tmp_path / "multilabel", "distilbert", LABELS)
    change_config(folder, problem_type="multi_label_classification")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"].zero_()
    weights["classifier.bias"] = torch.tensor([3.0, 2.9, -5.0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def change_config(folder: Path, **changes: object) -> None:
    """Change values of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def run(folder: Path, source: Path, out: Path) -> str:
    """Run the job with a model and return what it prints."""
    result = CliRunner().invoke(
        app,
        [
            "run",
            str(source),
            "--model",
            str(folder),
            "--engine",
            "torch",
            "--device",
            "cpu",
            "--out",
            str(out),
        ],
    )
    assert result.exit_code == 0, result.output
    return result.output


def predictions(out: Path) -> duckdb.DuckDBPyRelation:
    """Return what a run has predicted."""
    return duckdb.read_parquet(f"{out}/predictions/*/*.parquet")


def test_a_head_of_several_labels_has_sigmoids_and_says_so(set_logits, tmp_path):
    """0.953 and 0.948, not 0.52 and 0.47; the manifest and the output say which they are."""
    source = tmp_path / "t.csv"
    source.write_text("id,body\n1,where is my order\n2,hello\n")
    output = run(set_logits, source, tmp_path / "out")
    assert "multi-label, so each intent's probability is its own sigmoid" in " ".join(
        output.split()
    )
    [manifest] = (tmp_path / "out/runs").glob("*.json")
    assert json.loads(manifest.read_text())["probabilities"] == "sigmoid"
    rows = (
        predictions(tmp_path / "out")
        .project(
            "intent, top_intent, confidence, second_intent, second_confidence, prob_other, is_multi_intent"
        )
        .fetchall()
    )
    expected = sigmoid(np.array([3.0, 2.9, -5.0]))
    assert [row[:2] + row[3:4] + row[6:] for row in rows] == [
        ("WISMO", "WISMO", "RETURN", True)
    ] * 2
    np.testing.assert_allclose([row[2:3] + row[4:6] for row in rows], [expected] * 2, rtol=1e-5)

    change_config(set_logits, problem_type="single_label_classification")
    output = run(set_logits, source, tmp_path / "plain")
    assert "multi-label" not in output
    [manifest] = (tmp_path / "plain/runs").glob("*.json")
    assert json.loads(manifest.read_text())["probabilities"] == "softmax"
    rows = (
        predictions(tmp_path / "plain").project("round(confidence, 2)::VARCHAR, intent").fetchall()
    )
    assert rows == [("0.52", "OTHER")] * 2


def test_sigmoids_of_any_logit():
    """No overflow, no warning, also at a temperature; the multi-label fingerprint is another one."""
    model = ModelFolder(Path("none"), "none")
    model.__dict__["config"] = {"problem_type": "multi_label_classification"}
    model.__dict__["calibration"] = {"temperature": 2.0}
    found = model.to_probabilities(np.array([[0.0, 2.0, -2e5, 2e5, np.nan]], np.float32))
    np.testing.assert_allclose(found, [[0.5, 0.731059, 0.0, 1.0, np.nan]], rtol=1e-5)


@pytest.mark.parametrize(("changes", "said"), [
    ({"problem_type": "regression"}, "expected a classifier, found a regression head"),
    ({"id2label": {"0": "A", "1": "B"}}, "expected a sequence-classification model|expected 2 logits"),
])  # fmt: skip
def test_what_is_no_classifier_is_refused_in_one_line(changes, said, set_logits):
    """A regression head, or labels that do not fit the weights."""
    change_config(set_logits, **changes)
    with pytest.raises(ModelError, match=said):
        TorchEngine(open_model(str(set_logits)), device=torch.device("cpu"), threads=1)


def test_a_network_that_cannot_score_one_message_is_refused_at_its_start(
    tiny_model, tmp_path, monkeypatch
):
    """Before any ticket is read, in one line."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    monkeypatch.setattr(TorchEngine, "_forward", lambda *_: 1 / 0)
    with pytest.raises(
        ModelError, match="scores input_ids with an attention_mask, found: ZeroDivisionError"
    ):
        TorchEngine(open_model(str(folder)), device=torch.device("cpu"), threads=1)
