"""`bench`: how fast it is here."""

from __future__ import annotations

from typing import Annotated

import typer


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
