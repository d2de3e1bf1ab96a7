"""What the page of a flow run shows: how far it is, the volumes, how they changed, where the files are, how to go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import Flow, get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run as this_flow_run

from ecomintent_batch.analytics.history import find_previous_run, read_summary
from ecomintent_batch.analytics.summaries import Summary, add_change
from ecomintent_batch.errors import without_text
from ecomintent_batch.runs.layout import STAGING, VOLUMES, RunFolder, RunKeys, list_plans
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store

if TYPE_CHECKING:
    import polars as pl


def show_progress(shards: int, run_id: str) -> Callable[[int], None]:
    """Show a bar, and return what sets it to a number of shards done."""
    if not shards or this_flow_run.id is None:  # nobody to show it to
        return lambda done: None
    described = f"Shards of run {run_id} with their part, of {shards}"
    bar: Any = create_progress_artifact(progress=0.0, key="shards-done", description=described)

    def show(done: int) -> None:
        update_progress_artifact(bar, progress=100 * done / shards)

    return show


def show_summary(store: RunStore, manifest: Manifest, summary: Summary) -> None:
    """Show the volumes as a table, the findings as Markdown, and links that a browser can open.

    What fails here is a warning: the run is committed, and its summaries are in OUT.
    """
    if this_flow_run.id is None:
        return
    try:
        _create_artifacts(store, manifest, summary)
    except Exception as error:
        get_run_logger().warning(
            "run %s: expected to show its volumes on this page, found: %s; they are in %s",
            manifest.run_id,
            without_text(error),
            store.locate(RunKeys(run_id=manifest.run_id).summaries),
        )


def _create_artifacts(store: RunStore, manifest: Manifest, summary: Summary) -> None:
    # Not at the top: once polars is loaded, no Ctrl-C gets through to a thread that waits (2.1.0).
    from polars import selectors

    of_run = f"Run {manifest.run_id}"
    files = _list_files(store, manifest)
    if not manifest.counts.predictions:
        page = f"# {of_run}\n\n{describe_nothing_new(manifest)}\n{files}"
        create_markdown_artifact(
            key="run-summary", markdown=page, description=f"{of_run}: nothing new"
        )
        return
    volumes, previous = summary.tables[VOLUMES], find_previous_run(store, manifest)
    earlier = None if previous is None else read_summary(store, previous.run_id, VOLUMES)
    if earlier is not None:
        volumes = add_change(volumes, earlier)
    rounded = volumes.with_columns(selectors.float().round(4))
    create_table_artifact(key="volume-by-intent", table=rounded.to_dicts(), description=of_run)
    page = summary.markdown + _describe_change(volumes, previous) + files
    create_markdown_artifact(key="run-summary", markdown=page, description=of_run)
    report = store.locate(f"{RunKeys(run_id=manifest.run_id).summaries}/report.html")
    if link := to_link(report):
        create_link_artifact(link=link, link_text=report, key="report", description=of_run)


def describe_nothing_new(manifest: Manifest) -> str:
    """Return the sentence about a run that has labelled no ticket."""
    counts = manifest.counts
    rejected = f"; {counts.rejects:,} rows could not be read" if counts.rejects else ""
    since = f" since {manifest.read_from[:16].replace('T', ' ')}" if manifest.read_from else ""
    read = f"Nothing new: {counts.source_rows:,} rows were read{since}"
    return f"{read}, and {counts.skipped:,} of them are labelled already{rejected}."


def to_link(location: str) -> str | None:
    """Return a link that a browser may open from the page of the server; None for a path of the machine of the run."""
    return location if location.startswith(("s3://", "http://", "https://")) else None


def publish_alerts(folder: RunFolder, summary: Summary) -> None:
    """Emit an event for each alert that fired: automations on `ecomintent-batch.alert` turn it into a message to people."""
    if this_flow_run.id is None:
        return
    for alert in summary.alerts:
        resource = {
            "prefect.resource.id": f"ecomintent-batch.intent.{alert.intent}",
            "prefect.resource.name": alert.intent,
        }
        emit_event(
            "ecomintent-batch.alert",
            resource=resource,
            payload={"run_id": folder.run_id, **alert.to_dict()},
        )


def log_how_to_resume(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Say in the log of a run that ended early what is kept of it, and that the next one continues from it."""
    log = flow_run_logger(flow_run, flow)
    kept = describe_kept(
        open_store(dict(flow_run.parameters["settings"]).get("out", "ecomintent-out")).folder
    )
    again = "the next run of the same parameters continues from it (`resume`)"
    log.warning("%s: %s; %s", state.name, kept, again)


def describe_kept(out: Path) -> str:
    """Return what the newest run under way in OUT has on disk."""
    plans = list_plans(out)
    if not plans:
        return f"nothing is kept in {out / STAGING}"
    folder = RunFolder(out, plans[-1].parent.name)
    parts, shards = (
        len(list(folder.receipts.glob("*.json"))),
        len(list(folder.shards.glob("shard-*.parquet"))),
    )
    extracted = "" if folder.extraction.exists() else ", and the source was not read to its end"
    return f"run {folder.run_id} keeps {parts} parts in {folder.staging}, of {shards} shards{extracted}"


def _describe_change(volumes: pl.DataFrame, previous: Manifest | None) -> str:
    if previous is None:
        return "\n## Change\n\nNo earlier run of this source to compare with.\n"
    lines = [f"\n## Change against run {previous.run_id}\n"]
    lines += [
        "| intent | tickets | before | share | before | change |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['intent']} | {row['tickets']:,} | {row['tickets_before']:,} "
        f"| {row['share']:.1%} | {row['share_before']:.1%} | {100 * row['share_change']:+.1f} points |"
        for row in volumes.iter_rows(named=True)
    ]
    return "\n".join(lines) + "\n"


def _list_files(store: RunStore, manifest: Manifest) -> str:
    keys = RunKeys(run_id=manifest.run_id)
    files = {
        "Predictions": keys.predictions,
        "Summaries": keys.summaries,
        "Report": f"{keys.summaries}/report.html",
        "Manifest": keys.manifest,
    }
    if manifest.counts.rejects:
        files["Rejects"] = keys.rejects
    lines = []
    for name, key in files.items():
        location = store.locate(key)
        link = to_link(location)
        shown = f"[{location}]({link})" if link else f"`{Path(location).absolute()}`"
        lines.append(f"- {name}: {shown}")
    return "\n## Files\n\n" + "\n".join(lines) + "\n"
