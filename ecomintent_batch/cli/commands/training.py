"""`dataset`, `train`, `evaluate`, `export`: how a model is made and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecomintent_batch.cli.commands.choices import EngineChoice, LengthUnit, Precision, needs_extra


def dataset(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files with utterance, instruction or text, and intent: Bitext's, or alike.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="New folder for the three splits and report.json.")
    ] = Path("ecomintent-dataset"),
    from_hub: Annotated[
        list[str] | None,
        typer.Option(
            help="Hugging Face dataset to download, 'bitext' for Bitext's two; repeatable."
        ),
    ] = None,
    processed: Annotated[
        Path | None,
        typer.Option(help="Folder with train, validation and test.parquet, kept as split."),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(
            help="Folder with banking77/ and clinc150/ as published: human queries.",
            show_default=False,
        ),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="File with text and intent of your own; repeatable.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column with the text in --extra files.")
    ] = None,
    intent_column: Annotated[
        str | None, typer.Option(help="Column with the intent in --extra files.")
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            help="TOML file INTENT = [labels], a taxonomy of your own. [default: Bitext's]",
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        bool | None,
        typer.Option(
            "--corpus/--no-corpus",
            help="Add the realistic tickets. [default: unless --map]",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="SOURCE=N: how often its train rows are repeated (0.5: half of them); repeatable."
        ),
    ] = None,
    min_length: Annotated[int, typer.Option(help="Shortest message.")] = 3,
    max_length: Annotated[int, typer.Option(help="Longest message.")] = 200,
    length_in: Annotated[
        LengthUnit, typer.Option(help="Unit of the two lengths.")
    ] = LengthUnit.words,
    cap: Annotated[float, typer.Option(help="Largest intent over smallest, at most.")] = 4.0,
    near: Annotated[
        float, typer.Option(help="Similarity from which two texts are near duplicates.")
    ] = 0.8,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model whose tokenizer counts. [default: the embedded model]", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Build train, validation and test splits from labelled files, and audit them."""
    with needs_extra("train"):
        from ecomintent_batch.training.build import DatasetOptions, build_dataset
    options = DatasetOptions(
        files=tuple(files or ()), from_hub=tuple(from_hub or ()), processed=processed, public=public, extra=tuple(extra or ()),
        text_column=text_column, intent_column=intent_column, map=map_file, corpus=corpus, weights=tuple(weight or ()),
        min_length=min_length, max_length=max_length, length_in=length_in.value, cap=cap, near=near, model=model, seed=seed,
    )  # fmt: skip
    report = build_dataset(options, out)
    if as_json:
        import json

        typer.echo(json.dumps(report, indent=2, ensure_ascii=False, default=str))
        return
    from ecomintent_batch.cli.printing import print_dataset

    print_dataset(report, out)


def train(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder that dataset made, or labelled tickets of your own.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model.", show_default=False)],
    base_model: Annotated[
        str | None,
        typer.Option(
            help="Any encoder: folder or Hugging Face id. [default: all-MiniLM-L6-v2]",
            show_default=False,
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Classifier to go on from, with its labels ('embedded': the one of this package).",
            show_default=False,
        ),
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(
            help="Labelled tickets that choose the best epoch. [default: corpus:dev for the nine intents]",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="Larger classifier to learn from: folder or id.", show_default=False),
    ] = None,
    teacher_share: Annotated[
        float, typer.Option(help="The teacher's share of a target that has a label, too.")
    ] = 0.7,
    epochs: Annotated[float, typer.Option(help="Times through the data, at most.")] = 4,
    batch_size: Annotated[int, typer.Option(help="Texts of one step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="At its height, behind the warm-up.")] = 1e-4,
    max_length: Annotated[
        int | None,
        typer.Option(help="Tokens of a text. [default: what dataset suggests]", show_default=False),
    ] = None,
    joined_share: Annotated[
        float,
        typer.Option(help="Tickets with two asks made of two, as a share of the realistic ones."),
    ] = 0.15,
    typo_share: Annotated[
        float, typer.Option(help="Texts that come once more with a typo, as a share of all.")
    ] = 0.0,
    precision: Annotated[
        Precision, typer.Option(help="auto: half where the device has it.")
    ] = Precision.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Fine-tune an encoder on labelled tickets, and keep the best epoch."""
    with needs_extra("train"):
        from ecomintent_batch.training.train import BASE_MODEL, TrainOptions, train_model
    options = TrainOptions(
        data=data, out=out, base_model=base_model or BASE_MODEL, init_from=init_from, dev=dev, teacher=teacher,
        teacher_share=teacher_share, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, max_length=max_length,
        joined_share=joined_share, typo_share=typo_share, precision=precision.value, device=device,
        resume=resume, seed=seed,
    )  # fmt: skip
    report = train_model(options, lambda text: typer.echo(text))
    best = max(epoch["f1_weighted"] for epoch in report["epochs"])
    typer.echo(f"Model  {out}  (weighted F1 {best:.4f} on {report['chosen_by']})")


def evaluate(
    sets: Annotated[
        list[str],
        typer.Argument(
            help="Labelled tickets: CSV, Parquet or JSON lines files, folders of them, corpus:dev, corpus:test.",
            show_default=False,
            metavar="SET...",
        ),
    ],
    text_column: Annotated[
        str | None, typer.Option(help="Column with the text. [default: text]", show_default=False)
    ] = None,
    intent_column: Annotated[
        str | None,
        typer.Option(help="Column with the intent. [default: intent]", show_default=False),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Column, each value of which gets a row of its own.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model folder or Hugging Face id. [default: the embedded model]",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        EngineChoice, typer.Option(help="What computes the probabilities.")
    ] = EngineChoice.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threshold: Annotated[float, typer.Option(help="Confidence below which run says OTHER.")] = 0.70,
    hourly_price: Annotated[
        float, typer.Option(help="USD an hour of the machine, for the cost of 1,000 tickets.")
    ] = 0.10,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for evaluation.json, confusion.png and evaluation.html.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the evaluation as JSON on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Judge a model by labelled tickets, one row a set: accuracy, calibration, speed and cost."""
    with needs_extra("train"):
        from ecomintent_batch.training.evaluate import evaluate_model
        from ecomintent_batch.training.evaluation_page import write_evaluation
        from ecomintent_batch.training.evaluation_set import read_evaluation_sets
    read = read_evaluation_sets(
        sets, text_column=text_column, intent_column=intent_column, by=by,
        note=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    evaluation = evaluate_model(
        read, model=model, engine=engine.value, device=device, threshold=threshold, hourly_price=hourly_price,
    )  # fmt: skip
    written = write_evaluation(evaluation, out) if out else []
    if as_json:
        typer.echo(evaluation.model_dump_json(indent=2))
        return
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
        str, typer.Option(help="Labelled tickets that fit the temperature; never trained on.")
    ] = "corpus:dev",
    parity_on: Annotated[
        str | None,
        typer.Option(
            help="Labelled tickets of the parity gate. [default: those of --calibrate-on]",
            show_default=False,
        ),
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(help="Share of them that int8 must label like fp32.")
    ] = 0.995,
    test: Annotated[
        list[str] | None,
        typer.Option(help="Further labelled tickets for the card; repeatable.", show_default=False),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="ISO 639-1 code that the model knows; repeatable. [default: en]",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Make a trained model ready to ship: ONNX int8 behind a parity gate, calibration, model card."""
    with needs_extra("train"):
        from ecomintent_batch.training.export import ExportOptions, export_model
    options = ExportOptions(
        checkpoint=checkpoint, out=out, calibrate_on=calibrate_on, parity_on=parity_on, min_agreement=min_agreement,
        tests=tuple(test or ()), languages=tuple(language or ("en",)),
    )  # fmt: skip
    measured = export_model(options, lambda text: typer.echo(text))
    for name, found in measured["sets"].items():
        typer.echo(
            f"{name}: {found.score} of {found.score.tickets:,} tickets right, "
            f"calibration error {found.calibration_error:.3f}"
        )
    typer.echo(f"Model  {out}")
