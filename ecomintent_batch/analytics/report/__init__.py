"""A committed run → report.html: one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ecomintent_batch.analytics.history import find_labelled_run
from ecomintent_batch.analytics.summaries import Summary, no_volumes, summarise_run
from ecomintent_batch.analytics.topics import TopicOptions, find_topics, read_topics
from ecomintent_batch.errors import EcomIntentError, without_text
from ecomintent_batch.runs.layout import REPORT, TOPICS, VOLUMES, RunFolder
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.storage.atomic import write_text
from ecomintent_batch.storage.location import Location

if TYPE_CHECKING:
    import polars as pl

    from ecomintent_batch.analytics.period import AskedDays
    from ecomintent_batch.analytics.report.facts import Prices

T = TypeVar("T")


def summarise_run_safely(
    store: RunStore, manifest: Manifest, warn: Callable[[str], None]
) -> Summary:
    """Write the summaries of a committed run and its report; what fails is only a warning, because the run is committed.

    Where the daily volumes and those by column cannot be made, the volumes by intent alone are written.
    """
    folder = RunFolder(store.folder, manifest.run_id)
    topics = None
    if manifest.settings.topics and manifest.parts:
        topics = _try(
            lambda: find_topics(store, manifest),
            f"{folder.summaries}: expected to find the topics",
            manifest,
            warn,
        )
    summary = _try(
        lambda: summarise_run(store, manifest, topics=topics),
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


def make_report_again(
    out: Location,
    run_id: str | None = None,
    *,
    asked: AskedDays | None = None,
    minutes_per_ticket: float | None = None,
    cost_per_ticket: float | None = None,
) -> str:
    """Write the summaries and the report of a committed run again, or of some days; return the location of the report.

    Args:
        out: Where the runs are.
        run_id: The run, or the run whose history is meant; the newest when None.
        asked: The days over all runs of the history; None for the run alone.
        minutes_per_ticket: What a ticket takes a person; as the run's settings say when None.
        cost_per_ticket: What it costs; as the run's settings say when None.

    Raises:
        RunStateError: There is no such run.
        UsageError: There are no such days.
    """
    from ecomintent_batch.analytics.report.facts import Prices
    from ecomintent_batch.analytics.report.period import report_period

    store = open_store(out)
    manifest = find_labelled_run(store, run_id) if asked else store.find(run_id)
    settings = manifest.settings
    prices = Prices(
        minutes=settings.minutes_per_ticket if minutes_per_ticket is None else minutes_per_ticket,
        cost=settings.cost_per_ticket if cost_per_ticket is None else cost_per_ticket,
    )
    if asked:
        return report_period(store, manifest, asked, prices)
    summary = summarise_run(store, manifest, topics=read_topics(store, manifest))
    write_report(store, manifest, summary, prices)
    folder = RunFolder(store.folder, manifest.run_id)
    store.save_summaries(folder)
    return store.locate(f"{folder.keys.summaries}/{REPORT}")


def make_topics(
    out: Location, run_id: str | None, options: TopicOptions
) -> tuple[pl.DataFrame, str]:
    """Find the topics of a committed run, write them and its report, and return the topics and the report's location.

    Raises:
        RunStateError: There is no such run.
        UsageError: The run kept no messages.
    """
    store = open_store(out)
    manifest = find_labelled_run(store, run_id, with_text=True)
    tables = find_topics(store, manifest, options)
    write_report(store, manifest, summarise_run(store, manifest, topics=tables))
    folder = RunFolder(store.folder, manifest.run_id)
    store.save_summaries(folder)
    return tables[TOPICS], store.locate(f"{folder.keys.summaries}/{REPORT}")


def write_report(
    store: RunStore, manifest: Manifest, summary: Summary, prices: Prices | None = None
) -> Path:
    """Write the page next to the summaries in the local folder, and return its path."""
    from ecomintent_batch.analytics.report.page import render_page

    report = RunFolder(store.folder, manifest.run_id).report
    write_text(render_page(store, manifest, summary, prices), report)
    return report
