"""`run`: the job itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecomintent_batch.cli.commands.choices import EngineChoice

if TYPE_CHECKING:
    from ecomintent_batch.pipeline import RunResult

_ALERTED = 3


def run(
    source: Annotated[
        str,
        typer.Argument(
            help="File, glob, folder, .duckdb file, or postgresql:// URL.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the outputs of all runs. [default: ecomintent-out]", show_default=False
        ),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table of a database source.")] = None,
    query: Annotated[str | None, typer.Option(help="One SELECT over a database source.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ticket's id.")] = None,
    text_column: Annotated[
        list[str] | None, typer.Option(help="Column with text; repeat to join several.")
    ] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column with the ticket's time, for daily volumes.")
    ] = None,
    time_format: Annotated[
        str | None, typer.Option(help="strptime format of a time column that is text.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Source column to carry along; repeatable.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Source column to break the volumes down by; repeatable."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of text files, where the guess is wrong.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Delimiter of text files ('tab' for a tab).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model folder or Hugging Face id. [default: the embedded model]",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        EngineChoice | None,
        typer.Option(help="What computes the probabilities. [default: auto]", show_default=False),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or cuda:N. [default: auto]", show_default=False),
    ] = None,
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Compile the torch engine first: for millions of tickets."),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads that score. [default: all cores]", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Less confident tickets get OTHER. [default: 0.70]", show_default=False),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a message that are read. [default: the model's]", show_default=False
        ),
    ] = None,
    max_batch_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of one batch. [default: by device]", show_default=False),
    ] = None,
    shard_rows: Annotated[
        int | None, typer.Option(help="Tickets in one shard. [default: 65536]", show_default=False)
    ] = None,
    max_reject_ratio: Annotated[
        float | None,
        typer.Option(
            help="Share of unreadable rows that fails the run. [default: 0.01]", show_default=False
        ),
    ] = None,
    no_dedupe: Annotated[
        bool, typer.Option("--no-dedupe", help="Score equal messages one by one.")
    ] = False,
    any_language: Annotated[
        bool, typer.Option("--any-language", help="Label languages unknown to the model, too.")
    ] = False,
    raw_text: Annotated[
        bool, typer.Option("--raw-text", help="Leave markup, quoted threads and signatures in.")
    ] = False,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Write the cleaned message into the predictions.")
    ] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Leave out tickets that are classified already.")
    ] = False,
    lag_days: Annotated[
        float | None,
        typer.Option(
            help="Days before the last run to read again, with --time-column. [default: 3]",
            show_default=False,
        ),
    ] = None,
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill", help="With --incremental: label again what another model has labelled."
        ),
    ] = False,
    hourly_price: Annotated[
        float | None,
        typer.Option(help="USD an hour of the machine. [default: 0.10]", show_default=False),
    ] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 3 if it holds: 'WISMO share > 30%', 'any unusual'; repeatable."
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--new",
            help="Pick up an interrupted run, or start afresh. [default: resume]",
            show_default=False,
        ),
    ] = None,
    lock_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds to wait for another job in OUT. [default: 0]", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any of these options.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest as JSON on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Label every ticket of SOURCE, and sum up the volumes by intent."""
    from ecomintent_batch.settings import load_settings

    settings = load_settings(
        config,
        source=source, out=out, table=table, query=query, id_column=id_column, text_column=tuple(text_column or ()),
        time_column=time_column, time_format=time_format, keep=tuple(keep or ()), by=tuple(by or ()), encoding=encoding,
        delimiter=delimiter, model=model, engine=engine.value if engine else None, device=device, threads=threads,
        compile=compile_ or None,
        threshold=threshold, max_length=max_length, max_batch_tokens=max_batch_tokens, shard_rows=shard_rows,
        max_reject_ratio=max_reject_ratio, dedupe=False if no_dedupe else None, any_language=any_language or None,
        raw_text=raw_text or None, keep_text=keep_text or None, resume=resume, lock_timeout=lock_timeout,
        incremental=incremental or None, lag_days=lag_days, backfill=backfill or None,
        hourly_price=hourly_price, alert=tuple(alert or ()),
    )  # fmt: skip
    from ecomintent_batch.cli.printing import job_progress, print_result
    from ecomintent_batch.pipeline import run_job

    with job_progress(quiet=quiet or as_json) as progress:
        result = run_job(settings, progress)
    if as_json:
        _print_json(result)
    elif not quiet:
        print_result(result)
    if result.summary.alerts:
        for fired in result.summary.alerts:
            typer.echo(f"ecomintent-batch: alert: {fired.message}", err=True)
        raise typer.Exit(_ALERTED)


def _print_json(result: RunResult) -> None:
    import json

    typer.echo(json.dumps(result.manifest.to_json(), indent=2, ensure_ascii=False))
