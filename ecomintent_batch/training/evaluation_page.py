"""An evaluation → evaluation.json, confusion.png and evaluation.html, a page that needs no other file."""

from __future__ import annotations

import base64
import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ecomintent_batch.analytics.templates import render
from ecomintent_batch.errors import OutputError
from ecomintent_batch.storage.atomic import whole_file
from ecomintent_batch.training.evaluation_records import (
    Confusion,
    CoverageRow,
    Evaluation,
    ReliabilityBin,
    SetResult,
)
from ecomintent_batch.training.weak_spots import describe_weak_spots

_TEMPLATE = Path(__file__).with_name("evaluation.html")
_DPI = 180
_LEGIBLE_LABELS = 20  # more rows than these, and a confusion matrix shows colours without numbers
_MOST_CONFUSIONS = 15
_TABLE_THRESHOLDS = {0, 30, 50, 60, 65, 70, 75, 80, 85, 90, 95, 99}  # hundredths
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#c2570c", "#6b7280"


def write_evaluation(evaluation: Evaluation, out: Path) -> list[Path]:
    """Write the three files into a folder, all of them or none, and return their paths.

    `confusion.png` is of the first set.

    Raises:
        OutputError: The folder cannot be written.
    """
    contents = {
        "evaluation.json": (evaluation.model_dump_json(indent=2) + "\n").encode(),
        "confusion.png": draw_confusion(
            evaluation.sets[0].confusion,
            "what run writes" if evaluation.judges_run else "the model's first choice",
        ),
        "evaluation.html": render_page(evaluation).encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:  # the names are taken when all three are on the disk
            for name, content in contents.items():
                stack.enter_context(whole_file(out / name)).write_bytes(content)
    except OSError as error:
        raise OutputError(
            f"{out}: expected a folder that can be written, found: {error.strerror}; give another --out"
        ) from None
    return [out / name for name in contents]


def render_page(evaluation: Evaluation) -> str:
    """Return the page; every value from outside goes through the template's escaping."""
    return render(
        _TEMPLATE,
        evaluation=evaluation,
        lead=evaluation.sets[0],
        weak=describe_weak_spots(evaluation.weak_spots) if evaluation.weak_spots else [],
        has_also=any(result.score_or_also for result in evaluation.sets),
        details=[_detail(result, evaluation.threshold) for result in evaluation.sets],
    )


def _detail(result: SetResult, threshold: float) -> dict[str, Any]:
    """Return what the page shows of one set: its result, its plots and the rows of two tables."""
    said = "what run writes" if result.as_run else "the model's first choice"
    return {
        "result": result,
        "confusion": _inline(draw_confusion(result.confusion, said)),
        "reliability": _inline(draw_reliability(result.reliability)),
        "coverage": _inline(draw_coverage(result.coverage_by_threshold, threshold)),
        "coverage_rows": [
            row
            for row in result.coverage_by_threshold
            if round(100 * row.threshold) in _TABLE_THRESHOLDS
        ],
        "confusions": list_confusions(result.confusion)[:_MOST_CONFUSIONS],
    }


def list_confusions(confusion: Confusion) -> list[dict[str, Any]]:
    """Return which intents were labelled as which others, the most frequent first."""
    labels = confusion.labels
    wrong = [
        {"true": labels[i], "found": labels[j], "tickets": count, "share": count / sum(row)}
        for i, row in enumerate(confusion.counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(wrong, key=lambda pair: -pair["tickets"])


def draw_confusion(confusion: Confusion, said: str) -> bytes:
    """Return a PNG: a row for each true intent, coloured by its shares, with the tickets in figures."""
    labels, counts = confusion.labels, np.array(confusion.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(max(4.2, 0.62 * len(labels) + 1.8), 16)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_shorten(label) for label in labels]
    font = 8 if len(labels) <= _LEGIBLE_LABELS else 5
    axes.set_xticks(
        range(len(labels)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=font
    )
    axes.set_yticks(range(len(labels)), names, fontsize=font)
    axes.set(xlabel=said, ylabel="the ticket's intent")
    if len(labels) <= _LEGIBLE_LABELS:
        for i, j in np.argwhere(counts > 0):
            colour = "white" if shares[i, j] > 0.5 else "#111827"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8, color=colour)
    return _to_png(figure)


def draw_reliability(rows: list[ReliabilityBin]) -> bytes:
    """Return a PNG of accuracy against confidence; the area of a point is its share of the tickets."""
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1, label="confidence = accuracy")
    x, y = [row.confidence for row in rows], [row.accuracy for row in rows]
    tickets = np.array([row.tickets for row in rows])
    axes.plot(x, y, color=_BLUE, linewidth=1)
    axes.scatter(
        x,
        y,
        s=15 + 240 * tickets / tickets.sum(),
        color=_BLUE,
        alpha=0.75,
        label="tickets of one bin",
        zorder=3,
    )
    axes.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), xlabel="confidence", ylabel="accuracy")
    _finish(axes)
    return _to_png(figure)


def draw_coverage(rows: list[CoverageRow], threshold: float) -> bytes:
    """Return a PNG of coverage and accuracy over thresholds, with the chosen one."""
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.subplots()
    x = [row.threshold for row in rows]
    accuracy = [np.nan if row.accuracy is None else row.accuracy for row in rows]
    axes.plot(x, accuracy, color=_BLUE, label="accuracy of the tickets kept")
    axes.plot(
        x,
        [row.coverage for row in rows],
        color=_ORANGE,
        linestyle="-.",
        label="share of tickets kept",
    )
    axes.axvline(
        threshold, color=_GREY, linestyle=":", linewidth=1.2, label=f"threshold {threshold:g}"
    )
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="threshold")
    _finish(axes)
    return _to_png(figure)


def _finish(axes: Any) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="#e5e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="best")


def _to_png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _shorten(label: str) -> str:
    # matplotlib would set what is between two dollar signs as mathematics
    plain = label.replace("$", r"\$")
    return plain if len(plain) <= 24 else plain[:23] + "…"
