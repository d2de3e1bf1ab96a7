"""`bench`: throughput on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from ecomintent_batch.cli.parameters import describe, option


def bench(
    tickets: Annotated[
        int, typer.Option(min=1, help="Tickets in the run of the whole job on short messages.")
    ] = 200_000,
    model: Annotated[str | None, option("model")] = None,
    device: Annotated[str, option("device")] = "auto",
    threads: Annotated[int | None, option("threads")] = None,
    hourly_price: Annotated[
        float | None,
        typer.Option(min=0, help="USD an hour of this machine: adds the cost of 1,000 tickets."),
    ] = None,
    scale: Annotated[
        list[int] | None,
        typer.Option(
            help="Instead, run the whole job on this many tickets, such as 10000; repeatable."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help=describe("Engine of --scale; repeatable.", "stub"), show_default=False),
    ] = None,
) -> None:
    """Measure the throughput, and that of other libraries on the same messages; the last line is JSON."""
    from collections.abc import Callable
    from importlib.util import find_spec
    from pathlib import Path

    from ecomintent_batch.bench import run_comparison, run_scale

    if scale:
        run_scale(scale, engines=engine or ["stub"], model=model, device=device, threads=threads)
        return
    export_fp32: Callable[[Path, Path], None] | None = None
    if find_spec("onnx") and find_spec("sklearn"):  # of the extra `train`
        from ecomintent_batch.training.export import export_onnx_fp32

        export_fp32 = export_onnx_fp32
    run_comparison(
        tickets=tickets,
        model=model,
        device=device,
        threads=threads,
        hourly_price=hourly_price,
        export_fp32=export_fp32,
    )
