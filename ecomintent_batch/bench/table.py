"""The table of one set of messages, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HEADINGS = ("tickets\n/s", "x", "tokens\n/s", "pad-\nding", "peak\nMB", "as\nfp32", "of\npeak")
_COST_HEADING = "USD per\n1,000"


def print_table(name: str, measurements: Sequence[dict[str, Any]]) -> None:
    """Print a row for each contender; the cost only where an hourly price was given."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        name,
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
        collapse_padding=True,
    )
    with_cost = any(one["cost_per_1000"] is not None for one in measurements)
    for heading in (*_HEADINGS, _COST_HEADING) if with_cost else _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in measurements:
        cells = [
            one["contender"],
            f"{one['tickets_per_s']:,.0f}",
            f"{one['over_batch_64']:.1f}",
            f"{one['real_tokens_per_s']:,.0f}",
            _percent(one["padding_ratio"]),
            f"{one['peak_rss_mb']:,}",
            _percent(one["agreement_with_fp32"]),
            _percent(one["share_of_ceiling"]),
        ]
        table.add_row(*cells, *([f"{one['cost_per_1000']:.6f}"] if with_cost else []))
    Console(highlight=False, width=80).print(table)
    print(flush=True)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
