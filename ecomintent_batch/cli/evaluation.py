"""What an evaluation looks like on the terminal: a table of the sets, then one set in detail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ecomintent_batch.analytics.score import Score
from ecomintent_batch.cli.printing import open_console
from ecomintent_batch.training.evaluation_records import Evaluation, Judged, Kind, Summary
from ecomintent_batch.training.weak_spots import describe_weak_spots

_TITLES: dict[Kind, str] = {
    "messages": "Messages",
    "synthetic": "Written by models",
    "template": "Made from templates",
}


def print_evaluation(evaluation: Evaluation) -> None:
    """Print one row a set, the details of a set that is alone, and speed and cost."""
    console = open_console()
    console.print(f"Model {evaluation.model}, {evaluation.engine}", soft_wrap=True)
    console.print()
    if len(evaluation.sets) == 1:
        _print_details(console, evaluation)
    console.print(_make_table(evaluation))
    for line in _explain(evaluation):
        console.print(line, style="dim", soft_wrap=True)
    console.print()
    if evaluation.weak_spots:
        console.print("What is weak in these labels, by cross-validation on their examples:")
        for line in describe_weak_spots(evaluation.weak_spots):
            console.print(f"  {line}", soft_wrap=True)
        console.print()
    _print_speed(console, evaluation)
    if len(evaluation.sets) == 1 and evaluation.published:
        _print_published(console, evaluation)


def _make_table(evaluation: Evaluation) -> Table:
    has_also = any(result.score_or_also for result in evaluation.sets)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("set", overflow="ellipsis", no_wrap=True, vertical="bottom")
    also = [("or\nalso", 5)] if has_also else []
    headings = [("tickets", 7), ("right\n%", 5), ("95 %\n", 6), *also, ("macro\nF1", 5), ("calib.\nerror", 6)]  # fmt: skip
    for heading, width in [
        *headings,
        (f"reach\n{evaluation.threshold:g}", 5),
        ("right\nthere", 5),
        ("95 %\n", 6),
    ]:
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom", min_width=width)
    kinds = dict.fromkeys(result.kind for result in evaluation.sets)
    for kind in kinds:
        if len(kinds) > 1:
            table.add_row(Text(_TITLES[kind], style="dim"))
        for result in evaluation.sets:
            if result.kind == kind:
                table.add_row(Text(result.short_name), *_to_cells(result, has_also))
                if result.as_run:
                    table.add_row(Text("  first choice"), *_judged_cells(result, has_also))
                for group in result.groups:
                    table.add_row(Text("  " + group.name), *_to_cells(group, has_also))
    return table


def _to_cells(row: Summary, has_also: bool) -> Iterator[str]:
    yield from _judged_cells(row.headline, has_also)
    yield f"{row.calibration_error:.3f}"
    yield _percent(row.coverage)
    yield _percent(row.score_at_threshold.accuracy)
    yield _interval(row.score_at_threshold)


def _judged_cells(row: Judged, has_also: bool) -> Iterator[str]:
    yield f"{row.score.tickets:,}"
    yield _percent(row.score.accuracy)
    yield _interval(row.score)
    if has_also:
        yield _percent(row.score_or_also.accuracy) if row.score_or_also else "–"
    yield f"{row.f1_macro:.2f}"


def _explain(evaluation: Evaluation) -> Iterator[str]:
    """Yield what the columns mean where it is not plain, and what was skipped."""
    if evaluation.judges_run:
        yield f"right: what run writes, {evaluation.other} below {evaluation.threshold:g}; then the first choice alone."
    if any(result.score_or_also for result in evaluation.sets):
        yield "or also: right, or the label that a reader found equally defensible."
    for result in evaluation.sets:
        if result.disputed:
            yield f"{result.short_name}: {result.disputed:,} tickets skipped, two readers disagreed on them."
        if result.skipped:
            yield f"{result.short_name}: {result.skipped:,} rows skipped, without words or a label, or unreadable."


def _print_details(console: Console, evaluation: Evaluation) -> None:
    result = evaluation.sets[0]
    console.print(f"{result.name}: {result.score.tickets:,} tickets", soft_wrap=True)
    console.print()
    judged = result.headline
    console.print(f"  Accuracy:    {judged.score.accuracy:.4f}  ({judged.score})")
    if result.as_run:
        console.print(
            f"               as run writes it, {evaluation.other} below {evaluation.threshold:g}; "
            f"first choice: {result.score.accuracy:.4f}  ({result.score})",
            soft_wrap=True,
        )
    console.print(f"  F1 weighted: {result.f1_weighted:.4f}")
    console.print(f"  F1 macro:    {judged.f1_macro:.4f}")
    console.print(f"  Confidence:  {result.mean_confidence:.4f} on average")
    console.print()
    console.print(result.classification_report, soft_wrap=True)
    multi = result.multi_intent
    if multi:
        console.print(
            f"  Multi-intent: of {multi.tickets:,} tickets with two asks the dominant one comes first "
            f"in {multi.dominant_first:.1%},\n                both are the first two in "
            f"{multi.both_in_first_two:.1%}, {multi.detected:.1%} are detected\n"
        )


def _print_speed(console: Console, evaluation: Evaluation) -> None:
    latency, cost = evaluation.latency_ms, evaluation.cost
    console.print(
        f"  Latency:     p50 {latency.p50:.1f} ms, p95 {latency.p95:.1f} ms, p99 {latency.p99:.1f} ms, "
        f"one at a time ({latency.tickets})"
    )
    console.print(f"  Throughput:  {evaluation.throughput.tickets_per_s:,.0f} tickets/s in batches")
    console.print(
        f"  Cost:        {cost.usd_per_1000_tickets:.6f} USD for 1,000 tickets, "
        f"at {cost.hourly_price_usd:g} USD an hour"
    )


def _print_published(console: Console, evaluation: Evaluation) -> None:
    console.print()
    console.print(
        f"  {'published, not measured here':<30}{'accuracy':>10}{'weighted F1':>13}{'p95 ms':>8}{'USD/1,000':>11}"
    )
    for row in evaluation.published:
        cost = "–" if row.usd_per_1000 is None else f"{row.usd_per_1000:.4f}"
        console.print(
            f"  {row.way:<30}{row.accuracy:>10.4f}{row.f1_weighted:>13.4f}{row.p95_ms:>8.0f}{cost:>11}"
        )
    console.print(f"  {evaluation.published_source}", soft_wrap=True)


def print_written(paths: list[Path]) -> None:
    """Print the files that were written."""
    console = open_console()
    for path in paths:
        console.print(f"  {path}", soft_wrap=True)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _interval(score: Score) -> str:
    bounds = [f"{100 * bound:.0f}" for bound in score.bounds or ()]
    return "–".join(dict.fromkeys(bounds))  # one number where both round to the same
