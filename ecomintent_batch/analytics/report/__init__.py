"""A committed run → report.html: one page that needs nothing beside itself, and asks no network for anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecomintent_batch.analytics.summaries import Summary, summarise_run
from ecomintent_batch.errors import EcomIntentError, without_text
from ecomintent_batch.runs.layout import REPORT, RunFolder
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.storage.atomic import write_text
from ecomintent_batch.storage.location import Location


def summarise_run_safely(
    store: RunStore, manifest: Manifest, warn: Callable[[str], None]
) -> Summary:
    """Write the summaries of a committed run and its report; an error in the report is only a warning."""
    summary = summarise_run(store, manifest)
    try:
        write_report(store, manifest, summary)
    except Exception as error:
        reason = error if isinstance(error, EcomIntentError) else without_text(error)
        warn(
            f"{RunFolder(store.folder, manifest.run_id).report}: expected to write the report, found: {reason}; "
            f"the run is committed, ecomintent-batch report {manifest.run_id} tries again"
        )
    return summary


def make_report_again(out: Location, run_id: str | None = None) -> str:
    """Write the summaries and the report of a committed run again; return the location of the report.

    Raises:
        RunStateError: there is no such run.
    """
    store = open_store(out)
    manifest = store.find(run_id)
    write_report(store, manifest, summarise_run(store, manifest))
    folder = RunFolder(store.folder, manifest.run_id)
    store.save_summaries(folder)
    return store.locate(f"{folder.keys.summaries}/{REPORT}")


def write_report(store: RunStore, manifest: Manifest, summary: Summary) -> Path:
    """Write the page next to the summaries in the local folder, and return its path."""
    from ecomintent_batch.analytics.report.page import render_page

    report = RunFolder(store.folder, manifest.run_id).report
    write_text(render_page(store, manifest, summary), report)
    return report
