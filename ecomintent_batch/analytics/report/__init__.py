"""A committed run → report.html: one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from ecomintent_batch.analytics.summaries import Summary, no_volumes, summarise_run
from ecomintent_batch.errors import EcomIntentError, without_text
from ecomintent_batch.runs.layout import REPORT, VOLUMES, RunFolder
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.storage.atomic import write_text
from ecomintent_batch.storage.location import Location

T = TypeVar("T")


def summarise_run_safely(
    store: RunStore, manifest: Manifest, warn: Callable[[str], None]
) -> Summary:
    """Write the summaries of a committed run and its report; what fails is only a warning, because the run is committed.

    Where the daily volumes and those by column cannot be made, the volumes by intent alone are written.
    """
    folder = RunFolder(store.folder, manifest.run_id)
    summary = _try(
        lambda: summarise_run(store, manifest),
        f"{folder.summaries}: expected to write the summaries",
        manifest,
        warn,
    )
    if summary is None:
        write = partial(summarise_run, store, manifest, only_volumes=True)
        summary = _try(
            write,
            f"{folder.summaries}: expected to write the summaries",
            manifest,
            lambda text: None,
        )
        return summary or Summary(tables={VOLUMES: no_volumes()})
    _try(
        lambda: write_report(store, manifest, summary),
        f"{folder.report}: expected to write the report",
        manifest,
        warn,
    )
    return summary


def _try(
    write: Callable[[], T], where: str, manifest: Manifest, warn: Callable[[str], None]
) -> T | None:
    """Return what `write` returns; None with a warning if it fails for any reason."""
    try:
        return write()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of Polars is no Exception
        reason = error if isinstance(error, EcomIntentError) else without_text(error)
        warn(
            f"{where}, found: {reason}; the run is committed, "
            f"ecomintent-batch report {manifest.run_id} tries again"
        )
        return None


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
