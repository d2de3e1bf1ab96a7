"""The command line: flags to settings, exit codes, progress on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ecomintent_batch.pipeline import RunResult

_INTERRUPTED, _TERMINATED = 130, 143
_WrongUsage: Any = typer.BadParameter.__mro__[2]  # ClickException, of the click that typer brings along

app = typer.Typer(
    help="Label the intents of support tickets in batch: exports in, labelled Parquet and volumes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class EngineChoice(StrEnum):
    """What --engine takes."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"


class LengthUnit(StrEnum):
    """What --length-in takes."""

    words = "words"
    tokens = "tokens"


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from ecomintent_batch import __version__

        typer.echo(f"ecomintent-batch {__version__}")
        raise typer.Exit


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="File, glob, folder, .duckdb file, or postgresql:// URL.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the outputs of all runs. [default: ecomintent-out]", show_default=False)
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table of a database source.")] = None,
    query: Annotated[str | None, typer.Option(help="One SELECT over a database source.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ticket's id.")] = None,
    text_column: Annotated[list[str] | None, typer.Option(help="Column with text; repeat to join several.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column with the ticket's time, for daily volumes.")] = None,
    time_format: Annotated[str | None, typer.Option(help="strptime format of a time column that is text.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Source column to carry along; repeatable.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="Source column to break the volumes down by; repeatable.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files, where the guess is wrong.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Delimiter of text files ('tab' for a tab).")] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder or Hugging Face id. [default: the embedded model]", show_default=False)
    ] = None,
    engine: Annotated[
        EngineChoice | None, typer.Option(help="What computes the probabilities. [default: auto]", show_default=False)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [default: auto]", show_default=False)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads that score. [default: all cores]", show_default=False)] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Less confident tickets get OTHER. [default: 0.70]", show_default=False)
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a message that are read. [default: the model's]", show_default=False)
    ] = None,
    max_batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens of one batch. [default: by device]", show_default=False)
    ] = None,
    shard_rows: Annotated[int | None, typer.Option(help="Tickets in one shard. [default: 65536]", show_default=False)] = None,
    max_reject_ratio: Annotated[
        float | None, typer.Option(help="Share of unreadable rows that fails the run. [default: 0.01]", show_default=False)
    ] = None,
    no_dedupe: Annotated[bool, typer.Option("--no-dedupe", help="Score equal messages one by one.")] = False,
    any_language: Annotated[bool, typer.Option("--any-language", help="Label languages unknown to the model, too.")] = False,
    raw_text: Annotated[bool, typer.Option("--raw-text", help="Leave markup, quoted threads and signatures in.")] = False,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Write the cleaned message into the predictions.")] = False,
    resume: Annotated[
        bool | None,
        typer.Option("--resume/--new", help="Pick up an interrupted run, or start afresh. [default: resume]", show_default=False),
    ] = None,
    lock_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for another job in OUT. [default: 0]", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of these options.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Label every ticket of SOURCE, and sum up the volumes by intent."""
    from ecomintent_batch.settings import load_settings

    settings = load_settings(
        config,
        source=source, out=out, table=table, query=query, id_column=id_column, text_column=tuple(text_column or ()),
        time_column=time_column, time_format=time_format, keep=tuple(keep or ()), by=tuple(by or ()), encoding=encoding,
        delimiter=delimiter, model=model, engine=engine.value if engine else None, device=device, threads=threads,
        threshold=threshold, max_length=max_length, max_batch_tokens=max_batch_tokens, shard_rows=shard_rows,
        max_reject_ratio=max_reject_ratio, dedupe=False if no_dedupe else None, any_language=any_language or None,
        raw_text=raw_text or None, keep_text=keep_text or None, resume=resume, lock_timeout=lock_timeout,
    )  # fmt: skip
    from ecomintent_batch.pipeline import run_job
    from ecomintent_batch.terminal import job_progress, print_result

    with job_progress(quiet=quiet or as_json) as progress:
        result = run_job(settings, progress)
    if as_json:
        _print_json(result)
    elif not quiet:
        print_result(result)


@app.command()
def runs(
    out: Annotated[Path, typer.Option(help="Folder with the outputs.")] = Path("ecomintent-out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifests as JSON on stdout.")] = False,
) -> None:
    """List the committed runs."""
    from ecomintent_batch.runs import list_runs

    manifests = list_runs(out)
    if as_json:
        import json

        typer.echo(json.dumps(manifests, indent=2))
        return
    from ecomintent_batch.terminal import print_runs

    print_runs(out, manifests)


@app.command()
def bench(
    source: Annotated[
        str | None, typer.Argument(help="Tickets to measure with. [default: made by the command]", show_default=False)
    ] = None,
    tickets: Annotated[int, typer.Option(help="Tickets of the whole-job runs.")] = 20_000,
    baseline_tickets: Annotated[int, typer.Option(help="Tickets of the slow baselines, taken at random.")] = 1_024,
    model: Annotated[str | None, typer.Option(help="Model folder or Hugging Face id.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads that score. [default: all cores]", show_default=False)] = None,
    stub: Annotated[
        list[int] | None, typer.Option(help="Also run the job without a model on so many tickets; repeatable.")
    ] = None,
) -> None:
    """Measure throughput beside the transformers pipeline; the last line is JSON."""
    from ecomintent_batch.bench import run_bench

    run_bench(
        source, tickets=tickets, baseline_tickets=baseline_tickets, model=model, device=device, threads=threads, stub=stub or []
    )


@app.command()
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
    with _extra("train"):
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


@app.command()
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
    with _extra("train"):
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


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say in one line which extra of the package brings a module that is not installed."""
    from ecomintent_batch.errors import EcomIntentError

    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module == "ecomintent_batch":
            raise
        raise EcomIntentError(
            f"{module}: expected it to be installed, found it missing; pip install 'ecomintent-batch[{name}]'"
        ) from None


def _print_json(result: RunResult) -> None:
    import json

    typer.echo(json.dumps(result.manifest, indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line."""
    resumable = "; the same command goes on from here" if "run" in sys.argv[1:2] else ""
    with one_line_errors("ecomintent-batch", debug="--debug" in sys.argv, on_interrupt=resumable):
        code: Any = app(standalone_mode=False)
        if code == _INTERRUPTED:  # typer has swallowed the KeyboardInterrupt
            raise KeyboardInterrupt
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def one_line_errors(program: str, *, debug: bool = False, on_interrupt: str = "") -> Iterator[None]:
    """Turn what is raised inside into one line on stderr and an exit code; SIGTERM is an interrupt with a code of its own."""
    from ecomintent_batch.errors import EcomIntentError, hide_password, without_text

    terminated = _interrupt_on_sigterm()
    try:
        yield
    except EcomIntentError as error:
        if debug:
            raise
        _fail(program, " ".join(str(error).split()), error.exit_code)
    except KeyboardInterrupt:
        _fail(program, f"interrupted{on_interrupt}", _TERMINATED if terminated else _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except typer.Abort:
        _fail(program, "interrupted", _INTERRUPTED)
    except Exception as error:
        if isinstance(error, _WrongUsage):
            found = hide_password(error.format_message())
            if "\n" not in found:
                _fail(program, f"{found[0].lower()}{found[1:].rstrip('.')}; see {program} --help", error.exit_code)
            error.show()  # no command at all: the help
            sys.exit(error.exit_code)
        if debug:
            raise
        _fail(program, f"{without_text(error)}; run again with --debug, and report it", 1)


def _interrupt_on_sigterm() -> list[int]:
    """Make SIGTERM raise KeyboardInterrupt, and return the list in which it leaves its mark: typer drops what is raised."""
    import signal

    terminated: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:
        terminated.append(signum)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    return terminated


def _fail(program: str, message: str, code: int) -> None:
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
