"""Results on the terminal: tables that fit its width, and JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

    from ecomintent_batch.analytics.review import Review
    from ecomintent_batch.analytics.score import Score
    from ecomintent_batch.pipeline import RunResult
    from ecomintent_batch.runs.records import Manifest


_UNLIMITED = 100_000
_MOST_TOPICS = 20


def open_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text unchanged: here `[1]` and `:bug:` can be names of files and labels."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a value, or a record, as one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_to_json))


def _to_json(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def print_result(result: RunResult) -> None:
    """Print the volumes, what the run has cost, and where its files are."""
    console = open_console()
    counts, performance = result.manifest.counts, result.manifest.performance
    volumes = result.volumes.rows(named=True)
    console.print()
    if counts.predictions:
        console.print(_make_volume_table(volumes, result.manifest.other))
        console.print()
        console.print(_explain_other(volumes, result.manifest), style="dim", soft_wrap=True)
    others = [f"{count:,} {status}" for status, count in counts.by_status.items() if status != "ok"]
    rest = f" ({', '.join(others)})" if others else ""
    skipped = ""
    if result.manifest.settings.where:
        skipped += f", {counts.skipped_by_where:,} skipped by --where"
    if result.manifest.settings.incremental:
        others_skipped = counts.skipped - counts.skipped_by_where
        skipped += (
            f", {others_skipped:,} skipped as classified already or as older rows of their ticket"
        )
    console.print(
        f"{counts.predictions:,} tickets labelled{rest}, {counts.rejects:,} rows rejected{skipped}."
    )
    if performance.tickets_per_s:
        console.print(
            f"{performance.elapsed_s:.1f} s, {performance.tickets_per_s:,.0f} tickets/s, "
            f"{performance.padding_ratio:.1%} padding, {result.manifest.engine}."
        )
    keys, locate = result.folder.keys, result.store.locate
    if counts.rejects:
        console.print(f"Rejects      {locate(keys.rejects)}", soft_wrap=True)
    console.print(f"Predictions  {locate(keys.predictions)}", soft_wrap=True)
    console.print(f"Summaries    {locate(keys.summaries)}", soft_wrap=True)
    report = result.folder.report
    if report.exists():
        console.print(f"Report       {report}", soft_wrap=True)
    console.print(f"Query        {result.store.example_query()}", soft_wrap=True)


def _make_volume_table(volumes: Sequence[Mapping[str, Any]], other: str) -> Table:
    """Return the volumes with what was moved: tickets, not something to subtract it from."""
    table = Table("intent", box=None, pad_edge=False, header_style="bold")
    for heading in ("tickets", "share", f"moved to {other}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in volumes:
        moved = "" if row["intent"] == other else f"{row['first_choice'] - row['tickets']:,}"
        name = Text(row["intent"], no_wrap=True, overflow="ellipsis")
        table.add_row(name, f"{row['tickets']:,}", f"{row['share']:.1%}", moved)
    return table


def _explain_other(volumes: Sequence[Mapping[str, Any]], manifest: Manifest) -> str:
    """Say what the tickets below the threshold are; the numbers add up to its line in the table."""
    other = manifest.other
    of_other = {row["intent"]: row for row in volumes}.get(other)
    own = of_other["first_choice"] if of_other else 0
    moved = sum(row["first_choice"] - row["tickets"] for row in volumes if row["intent"] != other)
    unread = (of_other["tickets"] if of_other else 0) - own - moved
    parts = [f"{own:,} labelled {other}", f"{moved:,} moved"]
    parts += [f"{unread:,} without words"] if unread else []
    is_foreign = manifest.counts.by_status.get("unsupported_language", 0) > 0
    why = ", or a language unknown to the model" if is_foreign else ""
    return (
        f"Moved: confidence under {manifest.settings.threshold:.2f}{why}.\n"
        f"{other}: {' + '.join(parts)}."
    )


def print_runs(location: str, manifests: Sequence[Manifest]) -> None:
    """Print each committed run; its source on a line of its own where one line is too short for all."""
    console = open_console()
    if not manifests:
        console.print(f"No committed runs in {location}.", soft_wrap=True)
        return
    rows = [
        {
            "run": one.run_id,
            "started": f"{one.started_at:%Y-%m-%d %H:%M}",
            "tickets": f"{one.counts.predictions:,}",
            "rejects": f"{one.counts.rejects:,}",
            "tickets/s": f"{one.performance.tickets_per_s or 0:,.0f}",
        }
        for one in manifests
    ]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = ["  ".join(_align(name, name, widths) for name in widths)]
    lines += ["  ".join(_align(row[name], name, widths) for name in widths) for row in rows]
    sources = ["source", *(one.source for one in manifests)]
    fits = len(lines[0]) + 2 + max(map(len, sources)) <= console.width
    for line, source in zip(lines, sources, strict=True):
        console.print(f"{line}  {source}" if fits else line, soft_wrap=True)
        if not fits and line is not lines[0]:
            console.print(f"  {source}", style="dim", soft_wrap=True)


def _align(text: str, column: str, widths: Mapping[str, int]) -> str:
    width = widths[column]
    return text.ljust(width) if column in ("run", "started") else text.rjust(width)


def print_rows(rows: pl.DataFrame) -> None:
    """Print the rows of a query; into a file or pipe as wide as they are."""
    from ecomintent_batch.cli.tables import lay_out

    console = open_console()
    width = console.width if console.is_terminal or "COLUMNS" in os.environ else _UNLIMITED
    print(lay_out(rows, width))


def print_queries(queries: Mapping[str, str]) -> None:
    """Print the names of the queries, each with its first sentence."""
    console = open_console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, sentence in queries.items():
        table.add_row(name, sentence)
    console.print(table)


def print_topics(topics: pl.DataFrame, report: str) -> None:
    """Print the topics: their size, whether they grew, what they are about, and what to do with one."""
    console = open_console()
    if topics.is_empty():
        console.print("No topic: too few of the messages are alike.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("topic", "tickets", "newest", "usual"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("about", overflow="fold", ratio=3)
    table.add_column("nearest intents", overflow="fold", ratio=2)
    for row in topics.head(_MOST_TOPICS).iter_rows(named=True):
        newest = "–" if row["newest_tickets"] is None else f"{row['newest_tickets']:,}"
        grown = " +" if row["score"] is not None and row["score"] >= row["bound"] else ""
        usual = "–" if row["usual_tickets"] is None else f"{row['usual_tickets']:,.0f}"
        about = Text(row["phrases"] or f"such as {row['ticket_1']}")
        table.add_row(
            f"{row['topic']}",
            f"{row['tickets']:,}",
            newest + grown,
            usual,
            about,
            Text(row["nearest_intents"]),
        )
    console.print(table)
    more = len(topics) - _MOST_TOPICS
    if more > 0:
        console.print(f"{more:,} smaller ones: ecomintent-batch query topics", style="dim")
    console.print(
        "Newest are the tickets of 28 days, usual those of the 56 before; + is more than chance.",
        style="dim",
    )
    console.print(f"Report       {report}", soft_wrap=True)
    console.print(
        "Next         ecomintent-batch review export topic.xlsx --topic 1", soft_wrap=True
    )


def print_review_sheet(rows: pl.DataFrame, sheet: Path) -> None:
    """Print how many tickets of each slice wait for a label, and where."""
    console = open_console()
    counts = dict(rows.group_by("reason", maintain_order=True).len().iter_rows())
    listed = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    console.print(f"{len(rows):,} tickets to label ({listed}).")
    if len(rows) and not (rows["message"] != "").any():
        console.print(
            "Without their messages: this run did not keep them; give its source with --source.",
            soft_wrap=True,
        )
    console.print(f"Sheet        {sheet}", soft_wrap=True)


def print_review(review: Review, into: Path) -> None:
    """Print how often the model was right, by slice and by intent, what was written, and what to do next."""
    console = open_console()
    table = Table("slice or intent", box=None, pad_edge=False, header_style="bold")
    for heading in ("labelled", "right", "accuracy", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, score in sorted(review.slices.items(), key=lambda pair: pair[0] != "control"):
        claimed = name == "control" and review.has_accuracy
        table.add_row(Text(name), *_score_cells(score, claimed=claimed))
        if claimed:
            for intent, each in review.by_intent.items():
                table.add_row(Text(f"  {intent}"), *_score_cells(each, claimed=True))
    console.print(table)
    for line in _explain_review(review):
        console.print(line, style="dim", soft_wrap=True)
    for path in review.files:
        console.print(f"  {path}", soft_wrap=True)
    if sum(review.to_train_on.values()):
        total = sum(review.to_train_on.values())
        console.print(
            f"Next         ecomintent-batch train {into} --init-from embedded --out better ({total:,} tickets)",
            soft_wrap=True,
        )


def _score_cells(score: Score, *, claimed: bool) -> tuple[str, str, str, str]:
    """Return the cells of a slice; only one that was drawn at random has an accuracy."""
    if not claimed or score.bounds is None:
        return f"{score.tickets:,}", f"{score.right:,}", "", ""
    lower, upper = score.bounds
    return (
        f"{score.tickets:,}",
        f"{score.right:,}",
        f"{score.accuracy:.1%}",
        f"{lower:.1%} – {upper:.1%}",
    )


def _explain_review(review: Review) -> Iterator[str]:
    if review.has_accuracy:
        yield "Only the control slice is drawn at random: its line is the model's accuracy."
        if review.unlabelled_control:
            yield f"{review.unlabelled_control:,} control rows have no label: the accuracy holds if they were not chosen."
    elif review.unlabelled_control:
        yield "No accuracy: only rows where the model is wrong have a label; if the others are right, say --rest-is-right."
    if review.unlabelled:
        yield f"{review.unlabelled:,} rows have no label yet."
    if review.without_message:
        yield f"{review.without_message:,} labels came without a message, so they cannot be trained on; export with --source."


def print_dataset(report: dict[str, Any], out: Path) -> None:
    """Print the rows that each step kept, the splits by intent, the lengths, and what leaks between the splits."""
    console = open_console()
    _print_table(
        console,
        ["step", "rows", "dropped"],
        [[step["step"], step["rows"], step["dropped"]] for step in report["steps"]],
    )
    if report["unmapped_labels"]:
        labels = ", ".join(
            f"{label} ({count:,})" for label, count in list(report["unmapped_labels"].items())[:8]
        )
        console.print(f"Unmapped labels: {labels}", soft_wrap=True)
    if report["duplicates_with_another_intent"]:
        console.print(
            f"{report['duplicates_with_another_intent']:,} of the duplicates had another intent than the row that stays."
        )
    console.print()
    splits = list(report["splits"])
    rows = [
        [intent, *(counts[name] for name in splits)] for intent, counts in report["intents"].items()
    ]
    _print_table(console, ["intent", *splits], [*rows, ["all", *report["splits"].values()]])
    if report["not_split"]:
        few = ", ".join(f"{intent} ({count})" for intent, count in report["not_split"].items())
        console.print(f"Too few to split, for training only: {few}", soft_wrap=True)
    console.print()
    tokens = report["tokens"]
    console.print(
        f"Tokens       p50 {tokens['p50']}, p95 {tokens['p95']}, p99 {tokens['p99']}, max {tokens['max']}; "
        f"suggested max length {tokens['suggested_max_length']} ({tokens['cut_at_suggested']:,} messages cut)"
    )
    for pair in report["leakage"]["between"]:
        console.print(
            f"Leakage      {pair['of']} in {pair['in']}: {pair['exact']:,} exact, {pair['near']:,} near of {pair['rows']:,}"
            + (
                f", {pair['near_with_another_intent']:,} of them under another intent"
                if pair["near_with_another_intent"]
                else ""
            )
        )
    console.print(f"Dataset      {out}", soft_wrap=True)


def _print_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table of one column of names and further ones of counts."""
    table = Table(headings[0], box=None, pad_edge=False, header_style="bold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, *counts in rows:
        table.add_row(
            Text(name, no_wrap=True, overflow="ellipsis"), *(f"{count:,}" for count in counts)
        )
    console.print(table)
