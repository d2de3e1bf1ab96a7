"""What `train --init-from` prints of a model that was adapted to a shop's own tickets."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from ecomintent_batch.analytics.score import Comparison
from ecomintent_batch.cli.printing import open_console
from ecomintent_batch.training.adapt import AdaptReport


def print_adapted(report: AdaptReport, out: Path) -> None:
    """Print before and after, whether that is a gain, and how to use the model."""
    console = open_console()
    table = Table("right, % (95 %)", box=None, pad_edge=False, header_style="bold")
    for heading in ("tickets", "before", "after", "gain, points"):
        table.add_column(heading, justify="right", no_wrap=True)
    _add(table, "your tickets", report.own)
    if report.at_random:
        _add(table, "  drawn at random", report.at_random)
    if report.elsewhere:
        _add(table, "corpus:dev", report.elsewhere)
    console.print()
    console.print(table)
    console.print()
    console.print(
        f"Each of your tickets was labelled by a model trained on the others ({report.folds} folds); "
        "the model that was written is trained on all of them.",
        style="dim",
    )
    console.print(judge(report))
    if not report.has_int8:
        console.print(
            f"int8 and fp32 agree on {report.agreement:.1%} only: run will compute with torch, which is slower.",
            soft_wrap=True,
        )
    console.print(f"Model        {out} ({report.elapsed_s:,.0f} s)", soft_wrap=True)
    console.print(f"Use it       ecomintent-batch run TICKETS --model {out}", soft_wrap=True)


def judge(report: AdaptReport) -> str:
    """Return in a sentence whether the shop gains."""
    measured = report.at_random or report.own
    lower, upper = (100 * bound for bound in measured.gain_bounds)
    said = f"{100 * measured.gain:+.1f} points ({lower:+.1f} to {upper:+.1f})"
    if measured.gain_bounds[0] > 0:
        return f"Gain: {said}."
    if measured.gain_bounds[1] < 0:
        return f"Loss: {said}. Keep the model that you have, and check the labels."
    return (
        f"No clear gain: {said} can be chance. Keep the model that you have, or label more tickets."
    )


def _add(table: Table, name: str, row: Comparison) -> None:
    lower, upper = (100 * bound for bound in row.gain_bounds)
    table.add_row(
        name,
        f"{row.after.tickets:,}",
        str(row.before).replace(" %", ""),
        str(row.after).replace(" %", ""),
        f"{100 * row.gain:+.1f} ({lower:+.0f} to {upper:+.0f})",
    )
