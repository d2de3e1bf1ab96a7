"""A committed run → report.html: one page that needs nothing beside itself, and asks no network for anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecomintent_batch.errors import EcomIntentError, without_text
from ecomintent_batch.files import write_text
from ecomintent_batch.runs import Manifest, RunFolder
from ecomintent_batch.summarise import Summary, summarise_run


def sum_up_run(folder: RunFolder, manifest: Manifest, warn: Callable[[str], None]) -> Summary:
    """Write the summaries of a committed run and its report; the run stands, whatever befalls the page."""
    summary = summarise_run(folder, manifest)
    try:
        write_report(folder, manifest, summary)
    except Exception as error:
        found = error if isinstance(error, EcomIntentError) else without_text(error)
        warn(
            f"{folder.summaries / 'report.html'}: expected to write the report, found: {found}; the run is committed, "
            f"ecomintent-batch report {folder.run_id} tries again"
        )
    return summary


def write_report(folder: RunFolder, manifest: Manifest, summary: Summary) -> Path:
    """Write the page beside the summaries, and return its path."""
    from ecomintent_batch.report.page import render_page

    path = folder.summaries / "report.html"
    write_text(render_page(folder, manifest, summary), path)
    return path
