"""`dataset` and `evaluate`: how a model is made and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecomintent_batch.commands.choices import EngineChoice, LengthUnit, needs_extra


def dataset(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files with utterance, instruction or text, and intent: Bitext's, or alike.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="New folder for the three splits and report.json.")] = Path("ecomintent-dataset"),
    from_hub: Annotated[
        list[str] | None, typer.Option(help="Hugging Face dataset to download, 'bitext' for Bitext's two; repeatable.")
    ] = None,
    processed: Annotated[Path | None, typer.Option(help="Folder with train, validation and test.parquet, kept as split.")] = None,
    extra: Annotated[list[str] | None, typer.Option(help="File with text and intent of your own; repeatable.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text in --extra files.")] = None,
    intent_column: Annotated[str | None, typer.Option(help="Column with the intent in --extra files.")] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map", help="TOML file INTENT = [labels], a taxonomy of your own. [default: Bitext's]", show_default=False
        ),
    ] = None,
    corpus: Annotated[
        bool | None,
        typer.Option("--corpus/--no-corpus", help="Add the realistic tickets. [default: unless --map]", show_default=False),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="SOURCE=N: how often its train rows are repeated (0.5: half of them); repeatable.")
    ] = None,
    min_length: Annotated[int, typer.Option(help="Shortest message.")] = 3,
    max_length: Annotated[int, typer.Option(help="Longest message.")] = 200,
    length_in: Annotated[LengthUnit, typer.Option(help="Unit of the two lengths.")] = LengthUnit.words,
    cap: Annotated[float, typer.Option(help="Largest intent over smallest, at most.")] = 4.0,
    near: Annotated[float, typer.Option(help="Similarity from which two texts are near duplicates.")] = 0.8,
    model: Annotated[
        str | None, typer.Option(help="Model whose tokenizer counts. [default: the embedded model]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Build train, validation and test splits from labelled files, and audit them."""
    with needs_extra("train"):
        from ecomintent_batch.training.build import DatasetOptions, build_dataset
    options = DatasetOptions(
        files=tuple(files or ()), from_hub=tuple(from_hub or ()), processed=processed, extra=tuple(extra or ()),
        text_column=text_column, intent_column=intent_column, map=map_file, corpus=corpus, weights=tuple(weight or ()),
        min_length=min_length, max_length=max_length, length_in=length_in.value, cap=cap, near=near, model=model, seed=seed,
    )  # fmt: skip
    report = build_dataset(options, out)
    if as_json:
        import json

        typer.echo(json.dumps(report, indent=2, ensure_ascii=False, default=str))
        return
    from ecomintent_batch.terminal import print_dataset

    print_dataset(report, out)


def evaluate(
    file: Annotated[str, typer.Argument(help="Labelled tickets (CSV, Parquet, JSON lines), or corpus:dev.", show_default=False)],
    text_column: Annotated[str | None, typer.Option(help="Column with the text. [default: text]", show_default=False)] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column with the intent. [default: intent]", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder or Hugging Face id. [default: the embedded model]", show_default=False)
    ] = None,
    engine: Annotated[EngineChoice, typer.Option(help="What computes the probabilities.")] = EngineChoice.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threshold: Annotated[float, typer.Option(help="Confidence under which run says OTHER.")] = 0.70,
    hourly_price: Annotated[float, typer.Option(help="USD an hour of the machine, for the cost of 1,000 tickets.")] = 0.10,
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, confusion.png and evaluation.html.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Judge a model by labelled tickets: accuracy, calibration, speed and cost."""
    with needs_extra("train"):
        from ecomintent_batch.training.evaluate import evaluate_model, print_evaluation
        from ecomintent_batch.training.evaluation_page import write_evaluation
        from ecomintent_batch.training.evaluation_set import read_evaluation_set
    found = evaluate_model(
        read_evaluation_set(file, text_column=text_column, label_column=label_column),
        model=model, engine=engine.value, device=device, threshold=threshold, hourly_price=hourly_price,
    )  # fmt: skip
    written = write_evaluation(found, out) if out else []
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print_evaluation(found)
    for path in written:
        typer.echo(f"  {path}")
