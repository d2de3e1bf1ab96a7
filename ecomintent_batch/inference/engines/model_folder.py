"""A model folder: labels, tokenizer, calibration, weights. Plain Hugging Face layout, nothing of our own."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch.errors import ModelError
from ecomintent_batch.inference.batches import Encodings
from ecomintent_batch.inference.hub import fetch_from_hub
from ecomintent_batch.inference.surprisal import SURPRISAL_FILE, measure_strangeness
from ecomintent_batch.schema import OTHER, probability_column
from ecomintent_batch.storage.hashes import remembered_sha256
from ecomintent_batch.storage.packaged import packaged_path

EMBEDDED = packaged_path("models/nine_intents")
# Positions are counted from the one after the padding's. torch shows it in the network; the ONNX engine goes by these names.
_PADDED_POSITIONS = re.compile(
    "roberta|xlm-roberta|xlm-roberta-xl|roberta-prelayernorm|xmod|camembert|mpnet|longformer|data2vec-text|ibert|luke"
    "|lilt|markuplm|layoutlmv3|esm"
)
_USUAL_PADDING = 1  # of these, where the configuration names none, and of MPNet always
_DEFAULT_MAX_LENGTH = 512
_REFERENCE_TOKENS = 16  # where the temperature grows with the length alone, it is for these
_LEAST_TEMPERATURE = 0.5


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the probability of each label by itself, of logits of any shape, in their own precision."""
    with np.errstate(over="ignore"):  # exp(-logit) may be infinite, and the probability is 0 then
        return np.asarray(1 / (1 + np.exp(-logits)))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities of logits of shape (messages, labels), in their own precision; rows add up to 1."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class ModelFolder:
    """The files of one sequence-classification model.

    Attributes:
        path: The folder.
        name: What it is called in messages.
        most_tokens: What its network can read, where the engine found out; the configuration decides without.
    """

    path: Path
    name: str
    most_tokens: int | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`."""
        return _read_json(self.path / "config.json", self.name)

    @cached_property
    def labels(self) -> list[str]:
        """Label names in the order of the model's outputs."""
        by_id = self.config.get("id2label")
        if (
            not isinstance(by_id, dict)
            or len(by_id) < 2
            or sorted(map(str, by_id), key=_as_int) != [str(i) for i in range(len(by_id))]
        ):
            raise ModelError(
                f"{self.name}: expected id2label with at least two labels in config.json, found none; is it a classifier?"
            )
        labels = [str(by_id[key]) for key in sorted(by_id, key=_as_int)]
        if len({probability_column(label) for label in labels}) != len(labels):
            raise ModelError(
                f"{self.name}: expected labels that differ by a letter or digit, found {', '.join(labels)}"
            )
        return labels

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """`calibration.json`, empty where the model has none."""
        file = self.path / "calibration.json"
        return _read_json(file, self.name) if file.exists() else {}

    @property
    def languages(self) -> list[str]:
        """ISO 639-1 codes of the languages it was trained on; empty where `calibration.json` does not say."""
        return list(self.calibration.get("languages", []))

    @property
    def other(self) -> str:
        """What is said below the threshold, and of tickets that cannot be read."""
        return str(self.calibration.get("other", OTHER))

    @property
    def taxonomy(self) -> dict[str, Any] | None:
        """Which labels of somebody's own it was made of; None for any other model."""
        known = self.calibration.get("taxonomy")
        return {**known, "other": self.other} if isinstance(known, dict) else None

    @property
    def onnx_file(self) -> Path:
        """The int8 model for CPUs; it need not exist."""
        return self.path / "onnx" / "model_int8.onnx"

    @cached_property
    def tokenizer(self) -> Any:
        """The fast tokenizer, without padding and truncation, which `batching.py` does."""
        from tokenizers import Tokenizer

        file = self.path / "tokenizer.json"
        if not file.exists():
            raise ModelError(f"{self.name}: expected a fast tokenizer (tokenizer.json), found none")
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(
                f"{self.name}: expected a readable tokenizer.json, found: {error}"
            ) from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def pad_id(self) -> int:
        """The id that fills short rows; masked, so any valid id does."""
        return int(self.config.get("pad_token_id") or 0)

    @cached_property
    def max_length(self) -> int:
        """Tokens of a message that the model can read."""
        named = self.config.get("max_position_embeddings") or self.config.get("n_positions")
        positions = (
            named if isinstance(named, int | float) and named > 0 else _DEFAULT_MAX_LENGTH
        ) - self._positions_before_text()
        positions = min(int(positions), self.most_tokens or int(positions))
        file = self.path / "tokenizer_config.json"
        named = _read_json(file, self.name).get("model_max_length") if file.exists() else None
        return (
            min(positions, int(named))
            if isinstance(named, int | float) and named > 0
            else positions
        )

    def _positions_before_text(self) -> int:
        kind = str(self.config.get("model_type"))
        if not _PADDED_POSITIONS.fullmatch(kind):
            return 0
        named = self.config.get("pad_token_id")
        return 1 + (_USUAL_PADDING if kind == "mpnet" or named is None else int(named))

    @property
    def probabilities(self) -> str:
        """What makes probabilities of logits: "sigmoid" for a multi-label head, whose intents are independent, or "softmax"."""
        is_multi_label = self.config.get("problem_type") == "multi_label_classification"
        return "sigmoid" if is_multi_label else "softmax"

    def fingerprint(self, weights_file: str) -> str:
        """Return `<name>@<12 hex digits>` over weights, labels, tokenizer and calibration."""
        head = ["sigmoid"] if self.probabilities == "sigmoid" else []
        digest = hashlib.sha256(
            json.dumps([self.labels, self.calibration, *head], sort_keys=True).encode()
        )
        files = ["tokenizer.json", weights_file]
        if (self.path / SURPRISAL_FILE).exists():
            files.append(SURPRISAL_FILE)
        for file in files:
            digest.update(remembered_sha256(self.path / file).encode())
        return f"{self.path.resolve().name if self.path.exists() else self.name}@{digest.hexdigest()[:12]}"

    @cached_property
    def token_surprisal(self) -> NDArray[np.uint8]:
        """How rare each token was in training, shape (vocabulary,); see `inference/surprisal.py`.

        Raises:
            ModelError: no such file, or too short a one.
        """
        expected = (
            f"{self.name}: expected {SURPRISAL_FILE}, for the temperature of calibration.json"
        )
        try:
            table = np.load(self.path / SURPRISAL_FILE, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"{expected}, found: {type(error).__name__}") from None
        if table.dtype != np.uint8 or table.shape != (self.tokenizer.get_vocab_size(),):
            raise ModelError(f"{expected}, found {table.dtype} of shape {table.shape}")
        return np.asarray(table)

    def to_probabilities(
        self, logits: NDArray[np.float32], encodings: Encodings | None = None
    ) -> NDArray[np.float32]:
        """Return calibrated probabilities, of the logits over the temperature.

        Those of a multi-label head are sigmoids; of any other a softmax, whose rows add up to 1.

        Args:
            logits: shape (messages, labels).
            encodings: the messages: of unknown shops, long ones are read with too much confidence, so a model may have a
                temperature that grows with their strangeness. None for that of a usual message.
        """
        scaled = logits.astype(np.float64) / self.temperatures(len(logits), encodings)
        squash = sigmoid if self.probabilities == "sigmoid" else softmax
        return np.asarray(squash(scaled), np.float32)

    def temperatures(self, n: int, encodings: Encodings | None = None) -> NDArray[np.float64]:
        """Return the temperature of each of n messages, shape (n, 1)."""
        temperatures = np.full(n, float(self.calibration.get("temperature", 1.0)))
        if encodings is None:
            return temperatures[:, None]
        if per_surprisal := float(self.calibration.get("temperature_per_surprisal", 0.0)):
            usual = float(self.calibration.get("usual_surprisal", 0.0))
            temperatures += per_surprisal * measure_strangeness(
                encodings, self.token_surprisal, usual
            )
        if per_doubling := float(self.calibration.get("temperature_per_doubling", 0.0)):
            doublings = np.log2(np.maximum(encodings.n_tokens, 1) / _REFERENCE_TOKENS)
            temperatures += per_doubling * doublings
        if per_surprisal or per_doubling:
            temperatures = np.maximum(temperatures, _LEAST_TEMPERATURE)
        return temperatures[:, None]


def open_model(model: str | None) -> ModelFolder:
    """Open a model folder, the embedded one for None; fetch a Hugging Face id once into the hub's cache.

    Raises:
        ModelError: no such folder, labels or tokenizer missing, or the hub cannot be reached.
    """
    if model is None:
        folder = ModelFolder(EMBEDDED, "embedded model")
    elif Path(model).expanduser().is_dir():
        folder = ModelFolder(Path(model).expanduser(), model)
    elif Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(
            f"{model}: expected a model folder or a Hugging Face id (owner/name), found neither"
        )
    else:
        folder = ModelFolder(_download(model), model)
    if folder.config.get("problem_type") == "regression":
        raise ModelError(
            f"{folder.name}: expected a classifier, found a regression head in config.json"
        )
    _ = folder.labels, folder.tokenizer
    return folder


def _download(hub_id: str) -> Path:
    patterns = [
        "*.json",
        "*.safetensors",
        "*.npy",
        "onnx/model_int8.onnx",
        "vocab.txt",
        "merges.txt",
    ]
    try:
        return fetch_from_hub(hub_id, patterns)
    except Exception as error:  # the hub client raises its own, requests' and OS errors
        raise ModelError(
            f"{hub_id}: expected a model on the Hugging Face hub, found: {type(error).__name__}; download it and give its folder",
            transient=type(error).__name__ not in ("RepositoryNotFoundError", "GatedRepoError"),
        ) from None


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{name}: expected {file.name}, found none; is this a model folder?"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: expected a readable {file.name}, found: {type(error).__name__}"
        ) from None
    if not isinstance(value, dict):
        raise ModelError(f"{name}: expected an object in {file.name}, found {type(value).__name__}")
    return value


def _as_int(key: Any) -> int:
    try:
        return int(key)
    except ValueError:
        return -1
