"""`dataset`, `train`, `evaluate`, `export`: training a model and evaluating it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ecomintent_batch.cli.choices import LengthUnit, Precision
from ecomintent_batch.cli.errors import needs_extra
from ecomintent_batch.cli.parameters import Json, Quiet, describe, option
from ecomintent_batch.errors import UsageError
from ecomintent_batch.options import HOURLY_PRICE, EngineName


def dataset(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files with the columns intent, and utterance, instruction or text, such as Bitext's.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="New folder for the three splits and report.json.")
    ] = Path("ecomintent-dataset"),
    from_hub: Annotated[
        list[str] | None,
        typer.Option(
            help="Hugging Face dataset to download; 'bitext' for both of Bitext's; repeatable."
        ),
    ] = None,
    processed: Annotated[
        Path | None,
        typer.Option(
            help="Folder with train.parquet, validation.parquet and test.parquet; these splits are kept."
        ),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(
            help="Folder with banking77/ and clinc150/ as published: queries written by people.",
            show_default=False,
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(
            help="Folder of JSON lines files with text, intent, source: messages that customers typed.",
            show_default=False,
        ),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="File of your own with text and intent; repeatable.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column with the text in the --extra files.")
    ] = None,
    intent_column: Annotated[
        str | None, typer.Option(help="Column with the intent in the --extra files.")
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            help=describe("TOML file of your own taxonomy: INTENT = [labels].", "Bitext's"),
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        bool | None,
        typer.Option(
            "--corpus/--no-corpus",
            help=describe("Add the realistic tickets.", "yes, without --map"),
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="SOURCE=N: repeat its training rows N times (0.5: half of them); repeatable."
        ),
    ] = None,
    min_length: Annotated[int, typer.Option(help="Length of the shortest message.")] = 3,
    max_length: Annotated[int, typer.Option(help="Length of the longest message.")] = 200,
    length_in: Annotated[
        LengthUnit, typer.Option(help="Unit of --min-length and --max-length.")
    ] = "words",
    cap: Annotated[
        float, typer.Option(help="Largest ratio of the largest intent to the smallest.")
    ] = 4.0,
    near: Annotated[
        float, typer.Option(help="Similarity above which two texts count as near duplicates.")
    ] = 0.8,
    model: Annotated[
        str | None,
        typer.Option(
            help=describe("Model whose tokenizer counts the tokens.", "the embedded model"),
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Build train, validation and test splits from labelled files, and audit them."""
    with needs_extra("train"):
        from ecomintent_batch.training.build import DatasetOptions, build_dataset
    options = DatasetOptions(
        files=tuple(files or ()), from_hub=tuple(from_hub or ()), processed=processed, public=public, real=real,
        extra=tuple(extra or ()), text_column=text_column, intent_column=intent_column, map=map_file, corpus=corpus,
        weights=tuple(weight or ()),
        min_length=min_length, max_length=max_length, length_in=length_in, cap=cap, near=near, model=model, seed=seed,
    )  # fmt: skip
    report = build_dataset(options, out)
    from ecomintent_batch.cli.printing import print_dataset, print_json

    if as_json:
        print_json(report)
    elif not quiet:
        print_dataset(report, out)


def train(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder that `dataset` made or `review import` wrote, labelled tickets of your own, or a TOML file of labels.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model.", show_default=False)],
    base_model: Annotated[
        str | None,
        typer.Option(
            help=describe("Encoder: folder or Hugging Face id.", "one of the package"),
            show_default=False,
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Classifier to start from, with its labels ('embedded': the model of this package). On tickets of your own: "
            "cross-validates, keeps what the model knew, and quantises.",
            show_default=False,
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            help="An export of yours, to learn from it what is none of your labels.",
            show_default=False,
        ),
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(
            help=describe(
                "Labelled tickets that select the best epoch.", "corpus:dev for the nine intents"
            ),
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Larger classifier to learn from: folder or Hugging Face id.", show_default=False
        ),
    ] = None,
    teacher_share: Annotated[
        float, typer.Option(help="Share of the teacher in the target of a labelled text.")
    ] = 0.7,
    epochs: Annotated[
        float | None,
        typer.Option(
            help=describe(
                "Maximum epochs.",
                "4; 3 with --init-from on tickets of your own; 8 for labels of your own",
            ),
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Batch size.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    max_length: Annotated[
        int | None,
        typer.Option(
            help=describe("Tokens of a text.", "what `dataset` suggests"), show_default=False
        ),
    ] = None,
    joined_share: Annotated[
        float,
        typer.Option(
            help="Multi-intent tickets made by joining two, as a share of the realistic tickets."
        ),
    ] = 0.15,
    typo_share: Annotated[
        float, typer.Option(help="Texts repeated with a typo, as a share of all texts.")
    ] = 0.0,
    altered_share: Annotated[
        float,
        typer.Option(
            help="Texts repeated with typos, other case, emoji, hashtags, as a share of all texts."
        ),
    ] = 0.0,
    smoothing: Annotated[
        float, typer.Option(help="Share of each target that is spread evenly over the intents.")
    ] = 0.0,
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where the device supports it.")
    ] = "auto",
    device: Annotated[str, option("device")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a model of your own labels, adapt one to your own tickets, or fine-tune an encoder and keep the best epoch."""
    with needs_extra("train"):
        from ecomintent_batch.training.own_tickets import is_own_tickets
    if not (base_model or init_from or dev or teacher or resume) and is_own_tickets(data):
        _train_labels(data, out, unlabelled, epochs, device, seed, quiet=quiet, as_json=as_json)
        return
    if unlabelled:
        raise UsageError(
            "--unlabelled: expected labels of your own, without --init-from or --base-model; leave it out"
        )
    if init_from and not (dev or teacher or resume) and is_own_tickets(data):
        with needs_extra("train"):
            from ecomintent_batch.cli.adapted import print_adapted
            from ecomintent_batch.training.adapt import AdaptOptions, adapt_model
        adapted = adapt_model(
            AdaptOptions(
                data=data, out=out, init_from=init_from, epochs=epochs or 3, batch_size=batch_size,
                learning_rate=learning_rate, device=device, seed=seed,
            ),
            _note(quiet or as_json),
        )  # fmt: skip
        if as_json:
            typer.echo(adapted.model_dump_json(indent=2))
        elif not quiet:
            print_adapted(adapted, out)
        return
    with needs_extra("train"):
        from ecomintent_batch.training.train import TrainOptions, train_model
    options = TrainOptions(
        data=data, out=out, base_model=base_model, init_from=init_from, dev=dev, teacher=teacher,
        teacher_share=teacher_share, epochs=epochs or 4, batch_size=batch_size, learning_rate=learning_rate,
        max_length=max_length, joined_share=joined_share, typo_share=typo_share, altered_share=altered_share,
        smoothing=smoothing, precision=precision, device=device, resume=resume, seed=seed,
    )  # fmt: skip
    report = train_model(options, _note(quiet or as_json))
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json(report)
    elif not quiet:
        best = max(epoch["f1_weighted"] for epoch in report["epochs"])
        typer.echo(f"Model  {out}  (weighted F1 {best:.4f} on {report['chosen_by']})")


def _train_labels(
    data: str,
    out: Path,
    unlabelled: str | None,
    epochs: float | None,
    device: str,
    seed: int,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    with needs_extra("train"):
        from ecomintent_batch.cli.labels import print_label_model
        from ecomintent_batch.training.label_model import LabelModelOptions, make_label_model
        from ecomintent_batch.training.labels_file import read_labels
    options = LabelModelOptions(unlabelled=unlabelled, epochs=epochs, device=device, seed=seed)
    report = make_label_model(read_labels(data), out, options, _note(quiet or as_json))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif not quiet:
        print_label_model(report, out)


def evaluate(
    sets: Annotated[
        list[str] | None,
        typer.Argument(
            help=describe(
                "Labelled tickets: CSV, Parquet or JSON lines files, folders of them, corpus:dev, corpus:test.",
                "what the training of the model kept out",
            ),
            show_default=False,
            metavar="[SET...]",
        ),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help=describe("Column with the text.", "text"), show_default=False)
    ] = None,
    intent_column: Annotated[
        str | None,
        typer.Option(help=describe("Column with the intent.", "intent"), show_default=False),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Column, each value of which gets a row of its own.", show_default=False),
    ] = None,
    model: Annotated[str | None, option("model")] = None,
    engine: Annotated[EngineName, option("engine")] = "auto",
    device: Annotated[str, option("device")] = "auto",
    threshold: Annotated[float | None, option("threshold")] = None,
    hourly_price: Annotated[float, option("hourly_price")] = HOURLY_PRICE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for evaluation.json, confusion.png and evaluation.html.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate a model on labelled tickets, one row a set: accuracy, calibration, speed and cost."""
    with needs_extra("train"):
        from ecomintent_batch.training.evaluate import evaluate_model
        from ecomintent_batch.training.evaluation_page import write_evaluation
        from ecomintent_batch.training.evaluation_set import find_held_out, read_evaluation_sets
    held_out = find_held_out(model) if model else None
    if not (sets or held_out):
        raise UsageError(
            "SET: expected labelled tickets, found none, and none that the training of --model kept out"
        )
    read = read_evaluation_sets(
        sets or [str(held_out)], text_column=text_column, intent_column=intent_column, by=by,
        note=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    evaluation = evaluate_model(
        read, model=model, engine=engine, device=device, threshold=threshold, hourly_price=hourly_price,
    )  # fmt: skip
    written = write_evaluation(evaluation, out) if out else []
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json(evaluation)
    elif not quiet:
        from ecomintent_batch.cli.evaluation import print_evaluation, print_written

        print_evaluation(evaluation)
        print_written(written)


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="Trained model: folder or Hugging Face id.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="New folder for the model to ship.", show_default=False)
    ],
    calibrate_on: Annotated[
        str | None,
        typer.Option(
            help=describe(
                "Labelled tickets to fit the temperature on; must not be training data.",
                "what the training kept out, else corpus:dev",
            ),
            show_default=False,
        ),
    ] = None,
    parity_on: Annotated[
        str | None,
        typer.Option(
            help=describe("Labelled tickets for the parity gate.", "those of --calibrate-on"),
            show_default=False,
        ),
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(help="Share of them that int8 must label the same as fp32.")
    ] = 0.995,
    test: Annotated[
        list[str] | None,
        typer.Option(
            help="Further labelled tickets to evaluate on for the model card; repeatable.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help=describe("ISO 639-1 code of a language of the model; repeatable.", "en"),
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Softmax temperature, fitted elsewhere. [default: fitted to --calibrate-on]",
            show_default=False,
        ),
    ] = None,
    temperature_per_surprisal: Annotated[
        float,
        typer.Option(
            help="Added to --temperature per nat that a message's tokens are rarer than usual, and doubling of them over 8."
        ),
    ] = 0.0,
    average_with: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint of the same start to average the weights with; repeatable.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Prepare a trained model for use: ONNX int8 that passes a parity gate, calibration, model card."""
    with needs_extra("train"):
        from ecomintent_batch.training.export import ExportOptions, export_model
    options = ExportOptions(
        checkpoint=checkpoint, out=out, calibrate_on=calibrate_on, parity_on=parity_on, min_agreement=min_agreement,
        tests=tuple(test or ()), languages=tuple(language or ("en",)), temperature=temperature,
        temperature_per_surprisal=temperature_per_surprisal, average_with=tuple(average_with or ()),
    )  # fmt: skip
    measured = export_model(options, _note(quiet or as_json))
    if as_json:
        from ecomintent_batch.cli.printing import print_json

        print_json(measured)
    elif not quiet:
        for name, result in measured["sets"].items():
            typer.echo(
                f"{name}: {result.score} of {result.score.tickets:,} tickets right, "
                f"calibration error {result.calibration_error:.3f}"
            )
        typer.echo(f"Model  {out}")


def _note(silent: bool) -> Callable[[str], None]:
    """Return what prints the notes of a long job."""
    return lambda text: None if silent else typer.echo(text)
