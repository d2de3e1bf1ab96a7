"""What `train LABELS` and `run --labels` print of a model of somebody's own labels."""

from __future__ import annotations

from pathlib import Path

from ecomintent_batch.cli.printing import open_console
from ecomintent_batch.training.label_model import LabelReport
from ecomintent_batch.training.weak_spots import describe_weak_spots


def print_label_model(report: LabelReport, out: Path, *, err: bool = False) -> None:
    """Print how well the labels are distinguished, what is weak, and how to use the model."""
    console = open_console(stderr=err)
    console.print()
    lines = describe_weak_spots(report.weak_spots) if report.weak_spots else []
    if not lines:
        lines = [
            "No label has two examples: nothing could be held out, so nothing is known of the accuracy."
        ]
    if report.elsewhere:
        lines.insert(
            1, f"On {report.elsewhere.after.tickets:,} tickets of corpus:dev, the nine intents: {report.elsewhere.after} right, "
            f"{report.elsewhere.before} by the embedded model."
        )  # fmt: skip
    for line in lines:
        console.print(line, soft_wrap=True)
    how = "of the file" if report.threshold_is_given else "chosen by cross-validation"
    if report.extends and not report.threshold_is_given:
        how = "the usual one"
    console.print(f"Threshold    {report.threshold:.2f} ({how}); below it: {report.labels[-1]}", soft_wrap=True)  # fmt: skip
    if not report.has_int8:
        console.print(
            f"int8 and fp32 agree on {report.agreement:.1%} only: run will compute with torch, which is slower.",
            soft_wrap=True,
        )
    console.print(f"Model        {out} ({report.elapsed_s:,.0f} s)", soft_wrap=True)
    if not err:
        console.print(f"Use it       ecomintent-batch run TICKETS --model {out}", soft_wrap=True)
