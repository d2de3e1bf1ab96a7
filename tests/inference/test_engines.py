"""Engines: the numbers are the model's own, whatever the batches, threads and memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tickets import NINE, ROOT, save_tiny_model

from ecomintent_batch.errors import DeviceError, ModelError
from ecomintent_batch.inference.batches import Encodings, collate, plan_batches, tokenise
from ecomintent_batch.inference.classify import (
    ClassifyOptions,
    label_shard,
    prepare_shard,
    score_shard,
)
from ecomintent_batch.inference.engines import ModelFolder, load_engine, open_model
from ecomintent_batch.inference.engines.first_token import read_first_token_only
from ecomintent_batch.inference.engines.onnx_cpu import OnnxEngine
from ecomintent_batch.inference.engines.stub import StubEngine
from ecomintent_batch.inference.engines.torch_any import TorchEngine, find_budget, pick_device
from ecomintent_batch.inference.surprisal import count_surprisal
from ecomintent_batch.storage.atomic import write_parquet
from ecomintent_batch.text.message import clean_message

MESSAGES = [
    "where is my order", "hello", "a", "return the broken size!", "cancel my order, login", "refund a a a a a a a a a",
    "is the size broken?", "where is my refund? where is my order? " * 3, "my order " * 60, "hello",
]  # fmt: skip


def score(engine, model, messages, *, max_tokens=None, order=None, advance=lambda n: None):
    """Score messages, in another order and with another token budget where told; return logits in message order."""
    order = np.arange(len(messages)) if order is None else order
    encodings = tokenise(model.tokenizer, [messages[i] for i in order], model.max_length)
    logits = np.empty((len(messages), len(model.labels)), np.float32)
    logits[order] = engine.score(
        encodings, plan_batches(encodings.lengths, max_tokens or engine.max_batch_tokens), advance
    )
    return logits


@pytest.fixture(scope="module")
def tiny(tiny_model) -> ModelFolder:
    """The tiny DistilBERT."""
    return open_model(str(tiny_model))


@pytest.fixture
def copy_of_tiny(tiny_model, tmp_path) -> Path:
    """A copy of the tiny DistilBERT for a test to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "broken"))


@pytest.fixture(scope="module")
def sample() -> list[str]:
    """Sixty short messages of sample_data, as the model reads them."""
    table = pq.read_table(ROOT / "sample_data" / "tickets.parquet", columns=["subject", "body"])
    messages = [clean_message(texts) for texts in zip(*table.to_pydict().values(), strict=True)]
    return list(dict.fromkeys(message for message in messages if 0 < len(message) < 300))[::4][:60]


@pytest.mark.parametrize("architecture", ["distilbert", "bert", "roberta"])
def test_torch_equals_the_forward_of_transformers(architecture, tmp_path):
    """Any checkpoint gives what transformers gives for each text by itself, its own tokenizer cutting it."""
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    folder = save_tiny_model(tmp_path / architecture, architecture, NINE)
    model = open_model(str(folder))
    assert model.max_length == (62 if architecture == "roberta" else 64)
    found = score(
        TorchEngine(model, device=torch.device("cpu"), threads=2, max_batch_tokens=96),
        model,
        MESSAGES,
    )
    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    reference = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()
    for message, logits in zip(MESSAGES, found, strict=True):
        inputs = fast(
            message,
            truncation=True,
            max_length=model.max_length,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        with torch.inference_mode():
            np.testing.assert_allclose(logits, reference(**inputs).logits[0].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "tokens"), [("bert", 1), ("distilbert", 7), ("roberta", 7)]
)
def test_the_last_layer_of_a_bert_computes_the_first_token_alone(architecture, tokens, tmp_path):
    """A padded batch gives the logits that it gave before, from one token of the last layer where the network is a BERT."""
    from transformers import AutoModelForSequenceClassification

    folder = save_tiny_model(tmp_path / architecture, architecture, NINE)
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    ids, mask = torch.randint(5, 20, (3, 7)), torch.ones((3, 7), dtype=torch.int64)
    mask[1, 4:] = 0
    with torch.inference_mode():
        before = network(input_ids=ids, attention_mask=mask).logits
        found = read_first_token_only(network)(
            input_ids=ids, attention_mask=mask, output_hidden_states=False
        )
        last = getattr(network, architecture)(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found.logits, before)
    assert last.shape[1] == tokens


@pytest.mark.parametrize("max_tokens", [8, 100, 100_000])
def test_torch_does_not_depend_on_batches_threads_or_order(tiny, max_tokens):
    """Budget, threads and order change the batches and nothing else."""
    usual = score(load_engine(tiny, engine="torch", device="cpu", threads=2), tiny, MESSAGES)
    engine = load_engine(tiny, engine="torch", device="cpu", threads=1)
    shuffled = np.random.default_rng(0).permutation(len(MESSAGES))
    np.testing.assert_allclose(
        score(engine, tiny, MESSAGES, max_tokens=max_tokens, order=shuffled), usual, atol=1e-5
    )


@pytest.mark.model
def test_onnx_does_not_depend_on_threads_or_order(sample):
    """The same batches give the same numbers from one thread as from three, and in any order of distinct lengths."""
    model = open_model(None)
    one, three = (load_engine(model, engine="onnx", threads=threads) for threads in (1, 3))
    by_length = {
        len(ids): i
        for i, ids in enumerate(
            encoding.ids for encoding in model.tokenizer.encode_batch_fast(sample)
        )
    }
    messages = [sample[i] for i in by_length.values()]
    usual = score(one, model, messages, max_tokens=256)
    assert len(messages) > 20
    np.testing.assert_array_equal(score(three, model, messages, max_tokens=256), usual)
    np.testing.assert_array_equal(
        score(three, model, messages, max_tokens=256, order=np.arange(len(messages))[::-1]), usual
    )


@pytest.mark.model
def test_int8_keeps_the_labels_of_fp32(sample):
    """Where fp32 is sure of an intent, int8 says the same; and all its probabilities lie near."""
    model = open_model(None)
    int8 = model.to_probabilities(score(load_engine(model, engine="onnx"), model, sample))
    fp32 = model.to_probabilities(
        score(load_engine(model, engine="torch", device="cpu"), model, sample)
    )
    sure = fp32.max(axis=1) >= 0.7
    assert sure.sum() >= 30
    assert (int8.argmax(axis=1) == fp32.argmax(axis=1))[sure].mean() >= 0.97
    assert np.abs(int8 - fp32).mean() < 0.02


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_compiled_engine_gives_the_same(tiny):
    """Batches of several shapes; the engine says that it is compiled."""
    plain, compiled = (
        load_engine(tiny, engine="torch", device="cpu", threads=1, compiled=flag)
        for flag in (False, True)
    )
    np.testing.assert_allclose(
        score(compiled, tiny, MESSAGES, max_tokens=64),
        score(plain, tiny, MESSAGES, max_tokens=64),
        atol=1e-4,
    )
    assert compiled.description == "torch float32 compiled on cpu, 1 threads"


def test_only_torch_can_be_compiled(tiny, monkeypatch):
    """ONNX Runtime is refused; a machine without a compiler is told in one line."""
    with pytest.raises(DeviceError, match="--compile: expected --engine torch, found onnx"):
        load_engine(open_model(None), device="cpu", compiled=True)
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: lambda **inputs: 1 / 0)
    with pytest.raises(
        ModelError, match=r"a C\+\+ compiler that torch.compile can use, found: ZeroDivisionError"
    ):
        load_engine(tiny, engine="torch", device="cpu", compiled=True)


@pytest.mark.parametrize("engine", ["torch", "stub"])
def test_advance_counts_every_message(tiny, engine):
    """Progress adds up to the messages, whatever the batches."""
    heard: list[int] = []
    score(
        load_engine(tiny, engine=engine, device="cpu"),
        tiny,
        MESSAGES,
        max_tokens=64,
        advance=heard.append,
    )
    assert sum(heard) == len(MESSAGES)
    assert len(heard) > 1


class SmallMemory(TorchEngine):
    """Runs out of memory where a batch has more rows than fit, or a row more tokens."""

    rows_that_fit, tokens_that_fit = 2, 10_000

    def _forward(self, input_ids, mask):
        if len(input_ids) > self.rows_that_fit or input_ids.shape[1] > self.tokens_that_fit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._forward(input_ids, mask)


def test_out_of_memory_halves_the_batch(tiny):
    """A batch that does not fit is scored in pieces, with the same numbers."""
    engine = SmallMemory(tiny, device=torch.device("cpu"), threads=1)
    np.testing.assert_allclose(
        score(engine, tiny, MESSAGES),
        score(load_engine(tiny, engine="torch", device="cpu"), tiny, MESSAGES),
        atol=1e-5,
    )


@pytest.mark.parametrize(("rates", "expected"), [
    ([100, 190, 350, 360, 900], 400),  # stops growing
    ([100, 190, 350, None, 900], 400),  # memory ends
    ([100, 190, 350, 600, 1000, 5000], 1600),  # so far and no further
    ([None], 100),
])  # fmt: skip
def test_the_budget_is_doubled_while_it_pays(rates, expected):
    """Each doubling has to gain a twentieth."""
    asked = []

    def measure_rate(tokens: int) -> float:
        asked.append(tokens)
        if (rate := rates[len(asked) - 1]) is None:
            raise torch.OutOfMemoryError
        return rate

    assert find_budget(measure_rate, 100, 1600) == expected
    assert asked == [100 * 2**i for i in range(len(asked))]


def test_a_row_that_never_fits_is_an_error_and_the_rest_labelled(tiny, tmp_path):
    """One message too long for the memory gets the status error and nulls, its neighbours their intents."""
    import pyarrow as pa

    engine = SmallMemory(tiny, device=torch.device("cpu"), threads=1)
    engine.tokens_that_fit = 40
    shard = tmp_path / "shard-00000.parquet"
    texts = ["where is my order", "my order " * 60, "hello"]
    write_parquet(
        pa.table({"ticket_id": ["1", "2", "3"], "row_number": [0, 1, 2], "_text_0": texts}), shard
    )
    prepared = prepare_shard(shard, tiny, ClassifyOptions())
    logits, _ = score_shard(prepared, engine, lambda tickets: None)
    part = label_shard(prepared, logits, tiny, "m", ClassifyOptions(threshold=0.0)).to_pydict()
    assert part["status"] == ["ok", "error", "ok"]
    assert part["intent"][1] == "OTHER"
    assert [
        part[name][1] for name in ("top_intent", "confidence", "below_threshold", "prob_wismo")
    ] == [None] * 4
    assert None not in (part["top_intent"][0], part["confidence"][2])


POISON = "order " * 9  # eleven tokens: no other message of the test has as many


class PoisonedTorch(TorchEngine):
    """Raises at every batch in which a row of eleven tokens stands, and for `broken` at every one."""

    broken = False

    def _forward(self, input_ids, mask):
        if self.broken or (mask.sum(axis=1) == 11).any():
            raise IndexError("index out of range in self")
        return super()._forward(input_ids, mask)


class PoisonedOnnx(OnnxEngine):
    """Does the same on ONNX Runtime, which raises its own kind of error."""

    broken = False

    def _run(self, input_ids, mask):
        if self.broken or (mask.sum(axis=1) == 11).any():
            return super()._run(input_ids[0], mask)  # of the wrong rank
        return super()._run(input_ids, mask)


@pytest.fixture(params=["torch", "onnx"])
def poisoned(request, tiny):
    """An engine that one message breaks, with its model."""
    if request.param == "torch":
        return PoisonedTorch(tiny, device=torch.device("cpu"), threads=1), tiny
    model = open_model(None)
    return PoisonedOnnx(model, threads=2), model


@pytest.mark.model
def test_a_message_that_breaks_the_engine_costs_no_other(poisoned):
    """Its row is NaN, which becomes the status error; the rest of its batch is scored as without it."""
    engine, model = poisoned
    messages = [
        "where is my order",
        "hello",
        POISON,
        "cancel the order",
        POISON,
        "my size",
        "a refund",
    ]
    found = score(engine, model, messages)
    assert np.isnan(found).all(axis=1).tolist() == [message == POISON for message in messages]
    sound = [message for message in messages if message != POISON]
    # Dynamic int8 rounds by what else is in the batch.
    np.testing.assert_allclose(
        found[~np.isnan(found).all(axis=1)], score(engine, model, sound), atol=1
    )


@pytest.mark.model
def test_an_engine_that_scores_nothing_is_an_error(poisoned):
    """Where each message of a batch fails, the run ends: a broken engine must not make a run of error rows."""
    engine, model = poisoned
    engine.broken = True
    with pytest.raises(Exception, match=r"index out of range|Invalid rank"):
        score(engine, model, ["where is my order", "hello", "a refund"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees_with_cpu(sample):
    """Half precision on CUDA gives the probabilities of fp32 on CPU within its rounding."""
    model = open_model(None)
    cuda = load_engine(model)
    assert "cuda" in cuda.description
    expected = model.to_probabilities(
        score(load_engine(model, engine="torch", device="cpu"), model, sample)
    )
    found = model.to_probabilities(score(cuda, model, sample))
    sure = expected.max(axis=1) >= 0.7
    assert (found.argmax(axis=1) == expected.argmax(axis=1))[sure].all()
    assert np.abs(found - expected).mean() < 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without CUDA")
@pytest.mark.model
def test_auto_takes_onnx_on_cpu_where_the_folder_has_it(tiny):
    """Without CUDA: int8 of the embedded model, torch for a folder that has no ONNX file, stub when told."""
    assert isinstance(load_engine(open_model(None)), OnnxEngine)
    assert isinstance(load_engine(tiny), TorchEngine)
    assert isinstance(load_engine(tiny, engine="stub"), StubEngine)
    assert pick_device("auto").type == "cpu"


@pytest.mark.parametrize(("engine", "device", "expected"), [
    ("auto", "cuda:99", "expected a CUDA device"),
    ("torch", "cuda:99", "expected a CUDA device"),
    ("onnx", "cuda", "--engine torch on a GPU"),
])  # fmt: skip
def test_a_device_that_is_not_there_is_an_error(engine, device, expected):
    """One line that names the device and what to do."""
    with pytest.raises(DeviceError, match=expected):
        load_engine(open_model(None), engine=engine, device=device)


def change_config(folder: Path, **changes) -> None:
    """Change keys of config.json; None drops one."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if value is not None})
    )


@pytest.mark.parametrize(("spoil", "expected"), [
    (lambda folder: (folder / "config.json").unlink(), "expected config.json, found none"),
    (lambda folder: (folder / "config.json").write_text("{"), "expected a readable config.json"),
    (lambda folder: (folder / "config.json").write_text("[]"), "expected an object in config.json"),
    (lambda folder: change_config(folder, id2label=None), "expected id2label"),
    (lambda folder: change_config(folder, id2label={"0": "ONE"}), "expected id2label"),
    (lambda folder: change_config(folder, id2label={"0": "A", "2": "B"}), "expected id2label"),
    (lambda folder: change_config(folder, id2label={"0": "SIZE", "1": "size"}), "expected labels that differ"),
    (lambda folder: change_config(folder, id2label={"0": "Where?", "1": "Where!"}), "expected labels that differ"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "expected a fast tokenizer"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), "expected a readable tokenizer.json"),
])  # fmt: skip
def test_a_folder_without_labels_or_tokenizer_is_refused(copy_of_tiny, spoil, expected):
    """The folder is opened before any ticket is read, and says what it lacks."""
    spoil(copy_of_tiny)
    with pytest.raises(ModelError, match=expected):
        open_model(str(copy_of_tiny))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "no-owner", __file__])
def test_a_name_that_is_no_folder_is_refused(name):
    """What cannot be a hub id is not looked up on the network."""
    with pytest.raises(ModelError, match="expected a model folder or a Hugging Face id"):
        open_model(name)


def keep_only(folder: Path, *prefixes: str) -> None:
    """Drop the weights that do not begin with one of the prefixes."""
    file = folder / "model.safetensors"
    weights = {
        name: tensor.clone()
        for name, tensor in load_file(file).items()
        if name.startswith(prefixes)
    }
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(("spoil", "expected"), [
    (lambda folder: (folder / "model.safetensors").unlink(), "pickled weights are not loaded"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "found: "),
    (lambda folder: keep_only(folder, "distilbert."), "found none for classifier.bias, classifier.weight"),
    (lambda folder: change_config(folder, id2label={"0": "A", "1": "B"}, label2id=None), "found: "),
    (lambda folder: change_config(folder, model_type="no_such_type"), "found: "),
])  # fmt: skip
def test_weights_that_do_not_fit_are_refused(copy_of_tiny, spoil, expected):
    """No layer is ever filled with random numbers."""
    spoil(copy_of_tiny)
    with pytest.raises(ModelError, match=expected):
        load_engine(open_model(str(copy_of_tiny)), engine="torch", device="cpu")


class _Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_pickled_weights_are_refused_unread(copy_of_tiny, tmp_path, monkeypatch):
    """A folder that has only pytorch_model.bin is an error, and nothing in it runs."""
    monkeypatch.chdir(tmp_path)
    (copy_of_tiny / "model.safetensors").unlink()
    torch.save({"classifier.bias": _Bomb()}, copy_of_tiny / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"expected weights in model\.safetensors"):
        load_engine(open_model(str(copy_of_tiny)), engine="torch", device="cpu")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.model
def test_onnx_needs_its_file_and_its_labels(copy_of_tiny):
    """No ONNX file, a torn one, or one with another number of outputs: an error each."""
    with pytest.raises(ModelError, match="use --engine torch, or run export"):
        load_engine(open_model(str(copy_of_tiny)), engine="onnx")
    file = copy_of_tiny / "onnx" / "model_int8.onnx"
    file.parent.mkdir()
    file.write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"expected a readable model_int8\.onnx"):
        load_engine(open_model(str(copy_of_tiny)), engine="onnx")
    shutil.copy(open_model(None).onnx_file, file)
    change_config(copy_of_tiny, id2label={"0": "A", "1": "B"})
    with pytest.raises(ModelError, match="expected 2 outputs"):
        load_engine(open_model(str(copy_of_tiny)), engine="onnx")


@pytest.mark.parametrize(("config", "named", "expected"), [
    ({"model_type": "bert", "max_position_embeddings": 512}, None, 512),
    ({"model_type": "roberta", "max_position_embeddings": 514}, None, 512),
    ({"model_type": "bert", "max_position_embeddings": 512}, 128, 128),
    ({"model_type": "bert", "max_position_embeddings": 512}, 10**30, 512),
    ({"model_type": "xlnet"}, None, 512),
])  # fmt: skip
def test_max_length_is_what_the_positions_and_the_tokenizer_allow(
    tmp_path, config, named, expected
):
    """RoBERTa loses two positions, and the shorter of the two limits holds."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    if named is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": named}))
    assert ModelFolder(tmp_path, "m").max_length == expected


def test_the_fingerprint_covers_weights_labels_tokenizer_and_calibration(copy_of_tiny):
    """A change of any of the four is another model; the same files are the same."""

    def fingerprint() -> str:
        return ModelFolder(copy_of_tiny, "m").fingerprint("model.safetensors")

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    assert seen[0].startswith("broken@")
    (copy_of_tiny / "calibration.json").write_text('{"temperature": 2.0}')
    seen.append(fingerprint())
    change_config(copy_of_tiny, id2label={str(i): label[::-1] for i, label in enumerate(NINE)})
    seen.append(fingerprint())
    for name in ("tokenizer.json", "model.safetensors"):
        with (copy_of_tiny / name).open("ab") as file:
            file.write(b" ")
        seen.append(fingerprint())
    assert len(set(seen)) == 5


def test_temperature_softens_and_rows_add_up_to_one(copy_of_tiny):
    """Probabilities are the softmax over the temperature, a NaN row stays NaN, and large logits do not overflow."""
    (copy_of_tiny / "calibration.json").write_text('{"temperature": 2.0}')
    logits = np.array([[2.0, 0.0], [1000.0, -1000.0], [np.nan, np.nan]], np.float32)
    found = ModelFolder(copy_of_tiny, "m").to_probabilities(logits)
    np.testing.assert_allclose(found[:2], [[np.e / (np.e + 1), 1 / (np.e + 1)], [1, 0]], atol=1e-6)
    assert np.isnan(found[2]).all()


def test_a_temperature_may_grow_with_the_tokens(copy_of_tiny):
    """1 for 16 tokens and half more per doubling: 2 for 64, never under 0.5; without tokens, that of 16."""
    (copy_of_tiny / "calibration.json").write_text(
        '{"temperature": 1.0, "temperature_per_doubling": 0.5}'
    )
    model = ModelFolder(copy_of_tiny, "m")
    messages = Encodings(
        np.zeros(85, np.int32), np.array([0, 16, 80, 84, 85]), np.array([16, 64, 4, 1], np.int32)
    )
    assert model.temperatures(4, messages)[:, 0].tolist() == [1.0, 2.0, 0.5, 0.5]
    logits = np.array([[2.0, 0.0]] * 4, np.float32)
    expected = [1 / (1 + np.exp(-2 / temperature)) for temperature in (1.0, 2.0, 0.5, 0.5)]
    np.testing.assert_allclose(model.to_probabilities(logits, messages)[:, 0], expected, rtol=1e-5)
    assert (model.to_probabilities(logits)[:, 0] == model.to_probabilities(logits)[0, 0]).all()


def test_a_temperature_may_grow_with_strangeness(copy_of_tiny):
    """Half more per nat over the usual surprisal of 2 and doubling of the tokens over 8; a name alone is never strange."""
    (copy_of_tiny / "calibration.json").write_text(
        '{"temperature": 1.0, "temperature_per_surprisal": 0.5, "usual_surprisal": 2.0}'
    )
    model = ModelFolder(copy_of_tiny, "m")
    table = np.full(model.tokenizer.get_vocab_size(), 16 * 2, np.uint8)
    table[7], table[0] = (
        16 * 4,
        0,
    )  # a rare token of 4 nats; one that is in every message and does not count
    ids = np.array([0] + [7] * 15 + [5] * 16 + [7] * 4 + [7] * 512, np.int32)
    lengths = np.array([16, 16, 4, 512], np.int32)
    messages = Encodings(ids, np.concatenate([[0], np.cumsum(lengths)]), lengths)
    with pytest.raises(ModelError, match=r"token_surprisal\.npy"):
        model.temperatures(4, messages)
    np.save(copy_of_tiny / "token_surprisal.npy", table)
    before = model.fingerprint("model.safetensors")
    assert model.temperatures(4, messages)[:, 0].tolist() == [2.0, 1.0, 1.0, 5.0]
    assert model.temperatures(4)[:, 0].tolist() == [1.0] * 4
    np.save(copy_of_tiny / "token_surprisal.npy", table + 1)
    assert ModelFolder(copy_of_tiny, "m").fingerprint("model.safetensors") != before


def test_surprisal_is_that_of_the_share_of_messages(tiny):
    """A token in every message has none; one in half of them 0.69 nats, however often it stands in one; others more."""
    encodings = tokenise(tiny.tokenizer, ["a a b", "b", "a a a b", "b"], 64)
    special, a, b = (
        int(tiny.tokenizer.encode("a").ids[0]),
        *(tiny.tokenizer.token_to_id(c) for c in "ab"),
    )
    table = count_surprisal(encodings, tiny.tokenizer.get_vocab_size())
    assert table[special] == table[b] == 0
    assert table[a] / 16 == pytest.approx(-np.log(2.5 / 4), abs=1 / 32)
    assert table.max() / 16 == pytest.approx(-np.log(0.5 / 4), abs=1 / 32)


def test_a_pad_id_never_reaches_the_model(tiny):
    """Padding is masked: another pad id gives the same batch to the model but for the masked places."""
    encodings = tokenise(tiny.tokenizer, ["hello", "where is my order"], 64)
    (a, mask), (b, _) = (collate(encodings, np.array([0, 1]), pad_id) for pad_id in (0, 9))
    assert ((a == b) | (mask == 0)).all()
    assert (a != b).any()
