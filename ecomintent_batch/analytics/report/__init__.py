"""A committed run → report.html: one page that needs nothing beside itself, and asks no network for anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ecomintent_batch.analytics.summaries import Summary, summarise_run
from ecomintent_batch.errors import EcomIntentError, without_text
from ecomintent_batch.runs.catalog import find_run
from ecomintent_batch.runs.layout import LATEST, RunFolder
from ecomintent_batch.runs.publishing import fetch_run, publish_folder
from ecomintent_batch.runs.records import Manifest, read_manifest
from ecomintent_batch.storage.atomic import write_text
from ecomintent_batch.storage.s3 import Store, as_url, note_store_url


def summarise_run_safely(
    folder: RunFolder, manifest: Manifest, warn: Callable[[str], None]
) -> Summary:
    """Write the summaries of a committed run and its report; the run stands, whatever befalls the page."""
    summary = summarise_run(folder, manifest)
    try:
        write_report(folder, manifest, summary)
    except Exception as error:
        found = error if isinstance(error, EcomIntentError) else without_text(error)
        warn(
            f"{folder.report}: expected to write the report, found: {found}; the run is committed, "
            f"ecomintent-batch report {folder.run_id} tries again"
        )
    return summary


def make_report_again(out: Path, run_id: str | None = None) -> str:
    """Write the summaries and the report of a committed run of a folder or an s3:// URL again; return the report's place.

    Raises:
        RunStateError: there is no such run.
    """
    url = as_url(str(out))
    if url is None:
        return str(_write_again(find_run(out, run_id)))
    store = Store(url)
    with TemporaryDirectory(prefix="ecomintent-report-") as fetched:
        here = Path(fetched)
        note_store_url(here, url)
        folder = RunFolder(here, fetch_run(store, run_id or LATEST, here))
        page = _write_again(folder)
        publish_folder(store, here, folder.summaries.relative_to(here).as_posix())
        return f"{url}/{page.relative_to(here).as_posix()}"


def _write_again(folder: RunFolder) -> Path:
    manifest = read_manifest(folder.manifest)
    return write_report(folder, manifest, summarise_run(folder, manifest))


def write_report(folder: RunFolder, manifest: Manifest, summary: Summary) -> Path:
    """Write the page beside the summaries, and return its path."""
    from ecomintent_batch.analytics.report.page import render_page

    write_text(render_page(folder, manifest, summary), folder.report)
    return folder.report
