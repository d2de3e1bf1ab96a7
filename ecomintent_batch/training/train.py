"""Fine-tune an encoder on labelled tickets: the case study's recipe, the best epoch chosen on realistic tickets.

AdamW, cosine schedule, 10 % warm-up, weight decay 0.01, early stopping with patience 3, best checkpoint by weighted F1,
half precision where the device has it. With a teacher, the targets are its probabilities mixed with the labels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from ecomintent_batch import __version__
from ecomintent_batch.errors import ModelError, OutputError, UsageError
from ecomintent_batch.inference.batches import tokenise
from ecomintent_batch.inference.engines import open_model
from ecomintent_batch.inference.engines.model_folder import EMBEDDED
from ecomintent_batch.inference.engines.torch_any import pick_device
from ecomintent_batch.inference.hub import fetch_from_hub
from ecomintent_batch.inference.surprisal import SURPRISAL_FILE, count_surprisal
from ecomintent_batch.storage.atomic import write_json
from ecomintent_batch.text.message import clean_message
from ecomintent_batch.training.evaluation_set import write_held_out
from ecomintent_batch.training.plain_encoder import load_plain_encoder, with_new_head
from ecomintent_batch.training.precision import autocast_dtype
from ecomintent_batch.training.teacher import label_softly
from ecomintent_batch.training.training_set import Targets, TrainingSet, read_training_set

_FILES = ("*.json", "*.safetensors", "vocab.txt", "merges.txt", "*.model")
_PATIENCE = 3
_LOGGED_STEPS = 50
_LONGEST = 512


@dataclass(frozen=True)
class TrainOptions:
    """Every option of `ecomintent-batch train`; see its help."""

    data: str
    out: Path
    base_model: str | None = None
    init_from: str | None = None
    dev: str | None = None
    teacher: str | None = None
    teacher_share: float = 0.7
    epochs: float = 4
    batch_size: int = 32
    learning_rate: float = 1e-4
    max_length: int | None = None
    joined_share: float = 0.15
    typo_share: float = 0.0
    altered_share: float = 0.0
    smoothing: float = 0.0
    precision: str = "auto"
    device: str = "auto"
    resume: bool = False
    seed: int = 0


def train_model(options: TrainOptions, note: Callable[[str], None] = print) -> dict[str, Any]:
    """Train, and save the best epoch with its tokenizer into `options.out`; return what `training.json` there says.

    Raises:
        UsageError: options out of range.
        SourceError: the data cannot be read.
        ModelError: the base model, the model to go on from, or the teacher is not there or does not fit.
        OutputError: `out` holds a model, or checkpoints without `--resume`.
    """
    _check(options)
    device = pick_device(options.device)
    given = (
        open_model(None if options.init_from == "embedded" else options.init_from)
        if options.init_from
        else None
    )
    data = read_training_set(
        options.data,
        labels=given.labels if given else None,
        dev=options.dev,
        joined_share=options.joined_share,
        typo_share=options.typo_share,
        altered_share=options.altered_share,
        seed=options.seed,
    )
    set_seed(options.seed)
    tokenizer, model = _load_network(options, str(given.path) if given else None, data.labels)
    limit = options.max_length or data.max_length or _LONGEST
    max_length = min(limit, tokenizer.model_max_length, model.config.max_position_embeddings)
    texts, targets = _teach(options, data, device, note)
    note(
        f"{len(texts):,} texts to train on, {len(data.dev.rows):,} of {data.dev.name} to choose the best epoch by"
    )
    progress = _Progress(note)
    trainer = SoftTargetTrainer(
        model=model,
        args=_arguments(options, device, len(texts)),
        train_dataset=TicketDataset(tokenizer, texts, targets, max_length),
        eval_dataset=_dev_dataset(tokenizer, data, max_length),
        data_collator=PadBatch(tokenizer.pad_token_id),
        compute_metrics=_metrics,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=_PATIENCE), progress],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=options.resume or None)
    trainer.save_model(str(options.out))
    tokenizer.save_pretrained(options.out)
    _save_surprisal(options.out, texts)
    write_held_out(data.dev, options.out)
    report = _describe(options, data, len(texts), max_length, trainer.state)
    write_json(report, options.out / "training.json")
    return report


class LengthGroupedBatches(torch.utils.data.Sampler[list[int]]):
    """Batches of like length, shuffled again each epoch.

    The Trainer's own grouping mixes lengths within a batch: with chats and long emails in one set, nine tokens in ten
    were padding.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = (
            np.array(lengths),
            batch_size,
            seed,
            0,
        )

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which the order depends together with the seed."""
        self.epoch = epoch

    def __iter__(self) -> Any:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        order = np.argsort(self.lengths + rng.uniform(0, 2, len(self.lengths)), kind="stable")
        starts = rng.permutation(np.arange(0, len(order), self.batch_size))
        for start in starts:
            yield order[start : start + self.batch_size].tolist()


class SoftTargetTrainer(Trainer):
    """A Trainer whose labels are probabilities over the intents, and whose batches are of like length."""

    def get_train_dataloader(self) -> Any:
        """Return the batches of an epoch."""
        dataset: Any = self.train_dataset
        sampler = LengthGroupedBatches(
            list(map(len, dataset.ids)), self.args.per_device_train_batch_size, self.args.seed
        )
        return torch.utils.data.DataLoader(
            dataset, batch_sampler=sampler, collate_fn=self.data_collator
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the cross entropy against the probabilities."""
        targets = inputs.pop("labels")
        outputs = model(**inputs)
        loss = cross_entropy(outputs.logits.float(), targets)
        return (loss, outputs) if return_outputs else loss


class TicketDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Token ids and targets, in memory."""

    def __init__(
        self, tokenizer: Any, messages: list[str], targets: Targets, max_length: int
    ) -> None:
        self.ids = tokenizer(messages, truncation=True, max_length=max_length)["input_ids"]
        self.targets = targets

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.ids[index], "labels": self.targets[index]}


class PadBatch:
    """Collate to the longest row of a batch."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask (rows, tokens) and labels (rows, intents)."""
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            mask[i, : len(row["input_ids"])] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": torch.from_numpy(np.stack([row["labels"] for row in rows])),
        }


class _Progress(TrainerCallback):
    """Says how far a training is, and how each epoch did on the tickets that choose."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note, self._began, self._first_step = note, 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; a resumed training does not begin at step 0."""
        self._began, self._first_step = time.monotonic(), state.global_step

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print a line for what the Trainer logs: the loss every few steps, the metrics after each epoch."""
        logs = logs or {}
        if "loss" in logs:
            done = state.global_step - self._first_step
            left = (
                (time.monotonic() - self._began) / done * (state.max_steps - state.global_step) / 60
            )
            self._note(f"epoch {logs['epoch']:.2f}, step {state.global_step:,} of {state.max_steps:,}, "
                       f"loss {logs['loss']:.4f}, {left:.0f} min left")  # fmt: skip
        elif "eval_accuracy" in logs:
            self._note(f"epoch {logs['epoch']:.0f}: accuracy {logs['eval_accuracy']:.4f}, "
                       f"weighted F1 {logs['eval_f1_weighted']:.4f}, loss {logs['eval_loss']:.4f}")  # fmt: skip


def _check(options: TrainOptions) -> None:
    for flag, value, least, most in (
        ("--epochs", options.epochs, 0.001, 1000),
        ("--batch-size", options.batch_size, 1, 4096),
        ("--learning-rate", options.learning_rate, 1e-9, 1),
        ("--teacher-share", options.teacher_share, 0, 1),
        ("--joined-share", options.joined_share, 0, 10),
        ("--typo-share", options.typo_share, 0, 1),
        ("--altered-share", options.altered_share, 0, 1),
        ("--smoothing", options.smoothing, 0, 0.5),
        ("--max-length", options.max_length or 8, 8, _LONGEST * 16),
    ):
        if not least <= value <= most:
            raise UsageError(f"{flag}: expected {least:g} to {most:g}, found {value:g}")
    if (options.out / "config.json").exists():
        raise OutputError(
            f"{options.out}: expected a new folder, found a model in it; choose another --out"
        )
    begun = any(options.out.glob("checkpoints/checkpoint-*"))
    if begun and not options.resume:
        raise OutputError(
            f"{options.out}: expected a new folder, found checkpoints in it; go on with --resume, or choose another"
        )
    if options.resume and not begun:
        raise UsageError(
            f"--resume: expected checkpoints in {options.out}, found none; start without it"
        )


def _load_network(
    options: TrainOptions, init_from: str | None, labels: list[str]
) -> tuple[Any, Any]:
    """Return tokenizer and classifier; only the head of a base model is new."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    name = init_from or options.base_model
    if name is None:
        network = with_new_head(load_plain_encoder(), labels)
        return AutoTokenizer.from_pretrained(EMBEDDED), network
    try:
        folder = Path(name) if Path(name).is_dir() else fetch_from_hub(name, _FILES)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # of a classifier of other labels the head is new, too
        )
        return AutoTokenizer.from_pretrained(folder), model
    except (
        Exception
    ) as error:  # transformers raises OSError, ValueError, SafetensorError and the hub's own
        raise ModelError(
            f"{name}: expected an encoder with safetensors weights and a tokenizer, found: {type(error).__name__}; "
            "give its folder, an id where the Hugging Face hub can be reached, or leave it out for the one of the package"
        ) from None


def _teach(
    options: TrainOptions, data: TrainingSet, device: torch.device, note: Callable[[str], None]
) -> tuple[list[str], Targets]:
    """Return the messages and their targets, the teacher's share mixed in."""
    messages = [clean_message([text]) for text in data.texts]
    if options.teacher is None:
        return messages, _smooth(data.targets, options.smoothing)
    everything = messages + data.unlabelled
    soft = label_softly(
        options.teacher, everything, data.labels, device, options.out / "checkpoints", note
    )
    of_labelled = soft[: len(messages)]
    agrees = of_labelled.argmax(axis=1) == data.targets.argmax(axis=1)
    # Where the teacher is wrong, the label alone counts, and where there are two asks: it does not know which is dominant.
    share = np.where(agrees & (data.targets.max(axis=1) == 1), options.teacher_share, 0)[:, None]
    note(f"the teacher agrees with {agrees.mean():.2%} of the labels")
    mixed = np.asarray(share * of_labelled + (1 - share) * data.targets, np.float32)
    mixed = _smooth(mixed, options.smoothing)
    return everything, np.concatenate([mixed, soft[len(messages) :]]).astype(np.float32)


def _save_surprisal(folder: Path, messages: list[str]) -> None:
    """Write how rare each token is, next to the tokenizer: a temperature may depend on it (`export`)."""
    model = open_model(str(folder))
    encodings = tokenise(model.tokenizer, messages, model.max_length)
    np.save(folder / SURPRISAL_FILE, count_surprisal(encodings, model.tokenizer.get_vocab_size()))


def _smooth(targets: Targets, share: float) -> Targets:
    """Return the targets with a share of each spread evenly over the labels."""
    return np.asarray((1 - share) * targets + share / targets.shape[1], np.float32)


def _dev_dataset(tokenizer: Any, data: TrainingSet, max_length: int) -> TicketDataset:
    place = {label: index for index, label in enumerate(data.labels)}
    targets = np.eye(len(data.labels), dtype=np.float32)[
        [place[intent] for _, intent in data.dev.rows]
    ]
    return TicketDataset(
        tokenizer, [clean_message([text]) for text, _ in data.dev.rows], targets, max_length
    )


def _arguments(options: TrainOptions, device: torch.device, n_texts: int) -> TrainingArguments:
    dtype = (
        autocast_dtype(device)
        if options.precision == "auto"
        else {"bf16": torch.bfloat16}.get(options.precision)
    )
    steps_per_epoch = -(-n_texts // options.batch_size)
    return TrainingArguments(
        output_dir=str(options.out / "checkpoints"),
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        weight_decay=0.01,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=64,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        use_cpu=device.type == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="f1_weighted",
        logging_steps=min(_LOGGED_STEPS, steps_per_epoch),
        disable_tqdm=True,
        report_to=[],
        seed=options.seed,
        remove_unused_columns=False,
    )


def _metrics(predicted: Any) -> dict[str, float]:
    found, true = (
        predicted.predictions.argmax(axis=1),
        np.asarray(predicted.label_ids).argmax(axis=1),
    )
    return {
        "accuracy": float(accuracy_score(true, found)),
        "f1_weighted": float(f1_score(true, found, average="weighted")),
        "f1_macro": float(f1_score(true, found, average="macro")),
    }


def _describe(
    options: TrainOptions, data: TrainingSet, n_texts: int, max_length: int, state: Any
) -> dict[str, Any]:
    """Return how the model was made, for its card."""
    epochs = [
        {
            name.removeprefix("eval_"): row[name]
            for name in ("epoch", "eval_accuracy", "eval_f1_weighted", "eval_loss")
        }
        for row in state.log_history
        if "eval_accuracy" in row
    ]
    report: dict[str, Any] = json.loads(
        json.dumps(
            {
                "version": __version__,
                "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "options": {
                    name: value
                    for name, value in asdict(options).items()
                    if value is not None and value is not False
                },
                "labels": data.labels,
                "texts": n_texts,
                "unlabelled": len(data.unlabelled) if options.teacher else 0,
                "chosen_by": data.dev.name,
                "max_length": max_length,
                "epochs": epochs,
            },
            default=str,
        )
    )
    return report
