"""Fine-tune an encoder on the mixed training set; the best epoch is chosen on the realistic dev split.

    python -m ecomintent_batch.training.train --data DIR --base-model DIR --out DIR [--epochs 4] [--resume]

The recipe is the case study's: AdamW, cosine schedule, 10 % warm-up, weight decay 0.01, best checkpoint by weighted
F1, bf16 where the device has it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EarlyStoppingCallback, Trainer, TrainingArguments

from ecomintent_batch.clean import clean_message
from ecomintent_batch.training.dataset import INTENTS, mix_training_set, read_corpus


class LengthGroupedBatches(torch.utils.data.Sampler[list[int]]):
    """Batches of like length, in an order drawn anew each epoch.

    The Trainer's own grouping mixes lengths within a batch: with chats and long emails in one set, nine tokens in ten
    were padding.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.array(lengths), batch_size, seed, 0

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Set what the order depends on beside the seed."""
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
        sampler = LengthGroupedBatches(list(map(len, dataset.ids)), self.args.per_device_train_batch_size, self.args.seed)
        return torch.utils.data.DataLoader(dataset, batch_sampler=sampler, collate_fn=self.data_collator)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the cross entropy against the probabilities."""
        targets = inputs.pop("labels")
        outputs = model(**inputs)
        loss = cross_entropy(outputs.logits.float(), targets, label_smoothing=self.args.label_smoothing_factor)
        return (loss, outputs) if return_outputs else loss


class TicketDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Token ids and targets, in memory."""

    def __init__(self, tokenizer: Any, texts: list[str], targets: list[list[float]], max_length: int) -> None:
        messages = [clean_message([text]) for text in texts]
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
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


def train(options: argparse.Namespace) -> None:
    """Train, and save the best checkpoint with its tokenizer into `options.out`."""
    tokenizer = AutoTokenizer.from_pretrained(options.base_model)
    labels = dict(enumerate(INTENTS))
    model = AutoModelForSequenceClassification.from_pretrained(
        options.base_model,
        num_labels=len(INTENTS),
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
        use_safetensors=True,
        trust_remote_code=False,
    )
    mixed = mix_training_set(
        options.data,
        bitext_share=options.bitext_share,
        corpus_weight=options.corpus_weight,
        pair_share=options.pair_share,
        seed=options.seed,
    )
    print(mixed["source"].value_counts(sort=True), flush=True)
    dev = read_corpus("dev")
    dev_targets = [[float(intent == name) for name in INTENTS] for _, intent in dev]
    trainer = SoftTargetTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(options.out / "checkpoints"),
            num_train_epochs=options.epochs,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            weight_decay=0.01,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=64,
            label_smoothing_factor=options.label_smoothing,
            bf16=options.bf16,
            use_cpu=not torch.cuda.is_available(),
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            load_best_model_at_end=True,
            metric_for_best_model="f1_weighted",
            logging_steps=100,
            disable_tqdm=True,
            report_to=[],
            seed=options.seed,
            remove_unused_columns=False,
        ),
        train_dataset=TicketDataset(tokenizer, mixed["text"].to_list(), mixed["target"].to_list(), options.max_length),
        eval_dataset=TicketDataset(tokenizer, [text for text, _ in dev], dev_targets, options.max_length),
        data_collator=PadBatch(tokenizer.pad_token_id),
        compute_metrics=_metrics,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=3)],
    )
    trainer.train(resume_from_checkpoint=options.resume or None)
    trainer.save_model(str(options.out))
    tokenizer.save_pretrained(options.out)
    print(trainer.evaluate(), flush=True)


def _metrics(predicted: Any) -> dict[str, float]:
    found, true = predicted.predictions.argmax(axis=1), np.asarray(predicted.label_ids).argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(true, found)),
        "f1_weighted": float(f1_score(true, found, average="weighted")),
        "f1_macro": float(f1_score(true, found, average="macro")),
    }


def main() -> None:
    """Read the options, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with bitext/, banking77/, clinc150/")
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--bitext-share", type=float, default=0.5)
    parser.add_argument("--corpus-weight", type=int, default=2)
    parser.add_argument("--pair-share", type=float, default=0.15)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="mixed precision; on CPUs with AVX512-BF16 or AMX too")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
