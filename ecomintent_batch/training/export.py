"""A trained checkpoint → a model folder to ship: fp16 safetensors, ONNX int8 after a parity check, calibration, card."""

from __future__ import annotations

import copy
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecomintent_batch.errors import ModelError, UsageError
from ecomintent_batch.inference.batches import collate, plan_batches, tokenise
from ecomintent_batch.inference.classify import multi_intent_features
from ecomintent_batch.inference.engines import ModelFolder, load_engine, open_model
from ecomintent_batch.inference.engines.first_token import read_first_token_only
from ecomintent_batch.inference.engines.model_folder import softmax
from ecomintent_batch.inference.surprisal import SURPRISAL_FILE, mean_surprisal
from ecomintent_batch.options import THRESHOLD
from ecomintent_batch.storage.atomic import whole_folder, write_json, write_text
from ecomintent_batch.text.message import clean_message
from ecomintent_batch.training.corpus_files import CORPUS, INTENTS, read_jsonl
from ecomintent_batch.training.evaluate import (
    Scored,
    expected_calibration_error,
    fit_temperature,
    measure_set,
    score_labelled,
)
from ecomintent_batch.training.evaluation_records import SetResult
from ecomintent_batch.training.evaluation_set import (
    HELD_OUT,
    EvaluationSet,
    find_held_out,
    match_labels,
    read_evaluation_set,
)
from ecomintent_batch.training.model_card import render_card

MIN_AGREEMENT = 0.995
_OPSET = 18
_SMOOTHING = 0.85  # 0.7 and 0.85 did equally well, 0.5 worse, on models of the nine intents
_SAMPLE_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class ExportOptions:
    """Every option of `ecomintent-batch export`; see its help."""

    checkpoint: str
    out: Path
    calibrate_on: str | None = None
    parity_on: str | None = None
    min_agreement: float = MIN_AGREEMENT
    tests: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("en",)
    temperature: float | None = None
    temperature_per_surprisal: float = 0.0
    average_with: tuple[str, ...] = ()


def export_model(options: ExportOptions, note: Callable[[str], None] = print) -> dict[str, Any]:
    """Write the folder, all or nothing, and return what was measured on the way.

    Raises:
        UsageError: an agreement or a temperature that is none.
        OutputError: `out` is there already, or cannot be written.
        ModelError: no such checkpoint, or int8 and fp32 agree too seldom.
    """
    if not 0 <= options.min_agreement <= 1:
        raise UsageError(f"--min-agreement: expected 0 to 1, found {options.min_agreement:g}")
    if options.temperature is not None and not options.temperature > 0:
        raise UsageError(f"--temperature: expected a number over 0, found {options.temperature:g}")
    checkpoint = open_model(options.checkpoint)
    held_out = find_held_out(checkpoint.path)
    calibrate_on = options.calibrate_on or held_out or "corpus:dev"
    parity_on = options.parity_on or calibrate_on
    sets = {
        name: _read_set(name, checkpoint)
        for name in dict.fromkeys([calibrate_on, parity_on, *options.tests])
    }
    with whole_folder(options.out) as folder:
        note("quantising")
        messages = [clean_message([text]) for text, _ in sets[calibrate_on].rows]
        network = _load_average(checkpoint, options.average_with)
        write_weights(network, checkpoint, messages, folder)
        model = open_model(str(folder))
        agreement = measure_agreement(model, sets[parity_on])
        note(f"int8 and fp32 agree on {agreement:.2%} of {parity_on}")
        if agreement < options.min_agreement:
            raise ModelError(
                f"{options.checkpoint}: expected int8 to give the intent of fp32 for {options.min_agreement:.1%} of {parity_on}, "
                f"found {agreement:.2%}; train longer, or lower --min-agreement"
            )
        measured = calibrate(
            folder,
            sets[calibrate_on],
            options.languages,
            options.temperature,
            options.temperature_per_surprisal,
        )
        measured |= {
            "parity_on": parity_on,
            "agreement": agreement,
            "sets": _measure_sets(folder, sets),
        }
        if held_out:
            shutil.copy(held_out, folder / HELD_OUT)
        write_text(render_card(checkpoint.path, calibrate_on, measured), folder / "README.md")
    return measured


def write_weights(
    network: Any, checkpoint: ModelFolder, messages: Sequence[str], folder: Path
) -> None:
    """Write half-precision safetensors and the int8 network; `messages` show how wide activations get.

    The network is changed in place.
    """
    network = snap_weights(network)
    write_fp16(network, checkpoint.path, folder)
    export_onnx_int8(smooth_activations(network, checkpoint, messages), folder)


def snap_weights(network: Any) -> Any:
    """Round the weights of every linear layer of the encoder to the grid of int8, a scale for each output; return the network.

    The weights that torch computes with are then those that ONNX Runtime has, to within half precision: of the two
    sources of disagreement between int8 and fp32 only the activations are left. Of the 503 tickets of the dev split 7
    had another first intent before, and their labels were as often right (measured on the model of 2026-11-22).
    """
    with torch.no_grad():
        for name, layer in network.named_modules():
            if isinstance(layer, torch.nn.Linear) and "classifier" not in name:
                scale = layer.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
                layer.weight.copy_((layer.weight / scale).round() * scale)
    return network


def smooth_activations(network: Any, model: ModelFolder, messages: Sequence[str]) -> Any:
    """Shrink the widest inputs of the layers after the activation function, and widen their weights by as much.

    One scale serves all inputs of a layer when they are quantised, so a few wide ones leave few steps to the others
    (SmoothQuant, Xiao et al., 2023). The products stay what they are; one multiplication is added for each such layer.
    """
    down = {name: layer for name, layer in network.named_modules() if _projects_down(name, layer)}
    widest = _measure_inputs(network, down, model, messages)
    for name, layer in down.items():
        weights = layer.weight.abs().amax(dim=0).clamp(min=1e-5)
        scale = widest[name].clamp(min=1e-5) ** _SMOOTHING / weights ** (1 - _SMOOTHING)
        scale = (scale / scale.median()).clamp(0.05, 50).detach()
        owner, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(owner), attribute, Smoothed(layer, scale))
    return network


class Smoothed(torch.nn.Module):
    """A linear layer with scaled weights, preceded by the inverse of the scale."""

    def __init__(self, layer: torch.nn.Linear, scale: torch.Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.layer.weight.data *= scale
        self.inverse = torch.nn.Buffer(1 / scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the layer gave before."""
        outputs: torch.Tensor = self.layer(inputs * self.inverse)
        return outputs


def _projects_down(name: str, layer: Any) -> bool:
    return (
        isinstance(layer, torch.nn.Linear)
        and layer.in_features > layer.out_features
        and "classifier" not in name
    )


def _measure_inputs(
    network: Any, layers: dict[str, Any], model: ModelFolder, messages: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return the largest absolute value of each input of some layers, over some messages."""
    widest: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[[Any, Any], None]:
        def see(layer: Any, inputs: Any) -> None:  # noqa: ARG001
            found = inputs[0].abs().reshape(-1, inputs[0].shape[-1]).amax(dim=0)
            widest[name] = torch.maximum(widest[name], found) if name in widest else found

        return see

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    encodings = tokenise(model.tokenizer, messages, model.max_length)
    with torch.inference_mode():
        for batch in plan_batches(encodings.lengths, _SAMPLE_BATCH_TOKENS):
            ids, mask = map(torch.from_numpy, collate(encodings, batch, model.pad_id))
            network(input_ids=ids, attention_mask=mask)
    for hook in hooks:
        hook.remove()
    return widest


def export_onnx_int8(network: Any, target: Path) -> Path:
    """Write `onnx/model_int8.onnx` under `target`, and return its path.

    The last layer computes its first token only. Weights are quantised to int8 per channel, activations at run time
    (`quantize_dynamic`), on the plain graph: on the fused one accuracy was lost. Of the 387 messages of `sample_data` a model
    of the nine intents gave 12 another first intent than in fp32, none of them at a confidence over 0.7; per tensor it was 42
    and 23, at the same speed.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx_file = target / "onnx" / "model_int8.onnx"
    onnx_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model.onnx"
        _export_plain(read_first_token_only(network), plain)
        with _without_warnings():  # it advises to fuse the graph first
            quantize_dynamic(plain, onnx_file, weight_type=QuantType.QInt8, per_channel=True)
    return onnx_file


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Let no library log anything below an error."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def export_onnx_fp32(checkpoint: Path, onnx_file: Path) -> None:
    """Write the whole graph in full precision, as anybody would, to compare with."""
    _export_plain(load_network(checkpoint), onnx_file)


def write_fp16(network: Any, checkpoint: Path, target: Path) -> None:
    """Write config, tokenizer, token surprisal where there is one, and half-precision safetensors into `target`."""
    _hide_progress_bars()
    copy.deepcopy(network).half().save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, target / name)
    if (checkpoint / SURPRISAL_FILE).exists():
        shutil.copy(checkpoint / SURPRISAL_FILE, target / SURPRISAL_FILE)
    (target / "model.safetensors").chmod(0o644)


def load_network(checkpoint: Path) -> Any:
    """Load a classifier in full precision, from safetensors, with attention that can be exported."""
    from transformers import AutoModelForSequenceClassification

    _hide_progress_bars()
    return AutoModelForSequenceClassification.from_pretrained(
        checkpoint,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        attn_implementation="eager",
    ).eval()


def _hide_progress_bars() -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]


def _load_average(checkpoint: ModelFolder, others: Sequence[str]) -> Any:
    """Return the network whose weights are the mean of several of the same shape and labels.

    Raises:
        ModelError: another shape, or other labels.
    """
    network = load_network(checkpoint.path)
    for nth, name in enumerate(others, 2):
        other = open_model(name)
        weights = load_network(other.path).state_dict()
        own = network.state_dict()
        if other.labels != checkpoint.labels or any(
            name not in weights or weights[name].shape != value.shape for name, value in own.items()
        ):
            raise ModelError(
                f"{name}: expected labels and weights of the shape of {checkpoint.name} to average with, found others"
            )
        network.load_state_dict(
            {
                name: value + (weights[name] - value) / nth if value.is_floating_point() else value
                for name, value in own.items()
            }
        )
    return network


def _export_plain(model: Any, path: Path) -> None:
    input_ids = torch.ones((2, 16), dtype=torch.int64)
    mask = torch.ones_like(input_ids)
    mask[0, 9:] = 0

    class LogitsOnly(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(
                input_ids=input_ids, attention_mask=attention_mask
            ).logits
            return logits

    axes = {0: "rows", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            LogitsOnly(),
            (input_ids, mask),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "rows"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def calibrate(
    target: Path,
    tickets: EvaluationSet,
    languages: tuple[str, ...] = ("en",),
    temperature: float | None = None,
    per_surprisal: float = 0.0,
) -> dict[str, Any]:
    """Write `calibration.json`, fitted on realistic tickets and the two-intent set, and return what was measured.

    The temperature is fitted to the engine that runs by default (ONNX int8); its error is measured on the half of the
    tickets that it was not fitted on, both ways. The multi-intent signal, for the nine intents only, is measured by
    five-fold cross-validation.

    Args:
        temperature: fitted elsewhere, such as on sources that were left out of a training of the same recipe; None to fit
            it to the tickets.
        per_surprisal: what is added to a given temperature with strangeness (`inference/surprisal.py`); the usual surprisal
            is the median over the tickets.
    """
    (target / "calibration.json").unlink(missing_ok=True)
    model = open_model(str(target))
    scored = score_labelled(model, load_engine(model, engine="onnx"), tickets.rows)
    true = np.array([list(model.labels).index(intent) for intent in scored.true])
    is_given = temperature is not None
    temperature = fit_temperature(scored.logits, true) if temperature is None else temperature
    calibration: dict[str, Any] = {
        "temperature": round(temperature, 4),
        "languages": list(languages),
    }
    if is_given and per_surprisal:
        usual = np.median(mean_surprisal(scored.encodings, model.token_surprisal))
        calibration["temperature_per_surprisal"] = per_surprisal
        calibration["usual_surprisal"] = round(float(usual), 3)
    write_json(calibration, target / "calibration.json")
    measured: dict[str, Any] = {
        "temperature": temperature,
        "temperature_is_given": is_given,
        "temperature_per_surprisal": calibration.get("temperature_per_surprisal", 0.0),
        "ece_cross_fitted": _cross_fit_ece(scored.logits, true),
    }
    if tuple(model.labels) == INTENTS and CORPUS.is_dir():
        calibration["multi_intent"], of_signal = _fit_multi_intent(open_model(str(target)), scored)
        measured |= of_signal
    write_json(calibration, target / "calibration.json")
    return measured


def _cross_fit_ece(logits: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    halves = np.arange(len(true)) % 2 == 0
    crossed = np.empty_like(logits)
    for half in (halves, ~halves):
        crossed[~half] = softmax(logits[~half] / fit_temperature(logits[half], true[half]))
    return expected_calibration_error(crossed.max(axis=1), crossed.argmax(axis=1) == true)


def _fit_multi_intent(
    model: ModelFolder, single: Scored
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit a logistic regression that tells tickets with two asks from those with one."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    pairs = score_labelled(
        model,
        load_engine(model, engine="onnx"),
        [(row["text"], row["intent"]) for row in read_jsonl("two_intents")],
    )
    probabilities = np.concatenate(
        [model.to_probabilities(each.logits, each.encodings) for each in (single, pairs)]
    )
    n_tokens = np.concatenate([single.n_tokens, pairs.n_tokens])
    features = multi_intent_features(-np.sort(-probabilities, axis=1), n_tokens)
    has_two = np.arange(len(probabilities)) >= len(single.logits)
    signal = LogisticRegression(C=10, max_iter=1000)
    found = cross_val_predict(signal, features, has_two, cv=5)
    signal.fit(features, has_two)
    return {
        "coefficients": [round(float(c), 5) for c in signal.coef_[0]],
        "intercept": round(float(signal.intercept_[0]), 5),
    }, {
        "multi_intent_recall": float(found[has_two].mean()),
        "multi_intent_false_alarms": float(found[~has_two].mean()),
    }


def measure_agreement(model: ModelFolder, tickets: EvaluationSet) -> float:
    """Return the share of tickets on which ONNX int8 and torch fp32 agree in the first intent."""
    both = [
        score_labelled(
            model, load_engine(model, engine=name, device="cpu"), tickets.rows
        ).logits.argmax(axis=1)
        for name in ("onnx", "torch")
    ]
    return float((both[0] == both[1]).mean())


def _read_set(name: str, model: ModelFolder) -> EvaluationSet:
    return match_labels(read_evaluation_set(name), model.labels)


def _measure_sets(folder: Path, sets: dict[str, EvaluationSet]) -> dict[str, SetResult]:
    """Judge the folder as `run` would use it on a CPU."""
    model = open_model(str(folder))
    engine = load_engine(model, engine="onnx")
    return {
        name: measure_set(tickets, score_labelled(model, engine, tickets.rows), model, THRESHOLD)
        for name, tickets in sets.items()
    }
