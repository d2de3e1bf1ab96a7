"""`bench`: how fast it is here."""

from __future__ import annotations

from typing import Annotated

import typer


def bench(
    tickets: Annotated[
        int, typer.Option(min=1, help="Tickets of the whole job on short messages.")
    ] = 200_000,
    model: Annotated[str | None, typer.Option(help="Model folder or Hugging Face id.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads that score. [default: all cores]", show_default=False),
    ] = None,
    hourly_price: Annotated[
        float | None, typer.Option(min=0, help="Price of an hour here: adds the cost of 1,000.")
    ] = None,
    scale: Annotated[
        list[int] | None,
        typer.Option(
            help="Instead, run the whole job on so many tickets, 10000 for one; repeatable."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engines of --scale; repeatable. [default: stub]")
    ] = None,
) -> None:
    """Measure throughput against what else would label the same messages; the last line is JSON."""
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
