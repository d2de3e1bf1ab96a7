"""The first step of a job: open source and model, pick the columns, and find or make the folder of the run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ecomintent_batch import __version__
from ecomintent_batch.analytics.alerts import check_intents, parse_alert
from ecomintent_batch.analytics.report import summarise_run_safely
from ecomintent_batch.errors import EcomIntentError, SourceError, hide_password, without_text
from ecomintent_batch.inference.engines import ModelFolder, open_model
from ecomintent_batch.inference.model_cache import hash_model, limit_malloc_arenas
from ecomintent_batch.ingest.base import Source
from ecomintent_batch.ingest.columns import pick_columns
from ecomintent_batch.ingest.extract import ReadPlan, plan_reading
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.progress import Progress
from ecomintent_batch.runs.lake import check_lake
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lifecycle import resume_or_start
from ecomintent_batch.runs.records import (
    Columns,
    Manifest,
    Plan,
    Reading,
    RecordedSettings,
    Taxonomy,
)
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.schema import output_names
from ecomintent_batch.settings import RunSettings

# Settings that may differ from those of the interrupted run when it is resumed.
_NOT_IN_PARTS = (
    "out",
    "resume",
    "on_stale",
    "lock_timeout",
    "threads",
    "device",
    "source",
    "table",
    "query",
    "max_reject_ratio",
    "alert",
    "hourly_price",
    "minutes_per_ticket",
    "cost_per_ticket",
    "topics",
    "publish",
    "out_table",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that was planned: what to read, with what, where to."""

    settings: RunSettings
    source: Source
    plan: ReadPlan
    model: ModelFolder
    store: RunStore
    folder: RunFolder
    resumed: bool
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def reading(self) -> Reading:
        """Return what the manifest of the run says about what was read, and how."""
        picked = self.plan.picked
        return Reading(
            source=self.source.name,
            columns=Columns(
                id=picked.ticket_id,
                text=tuple(picked.texts),
                time=picked.time,
                kept=self.plan.names,
            ),
            taxonomy=Taxonomy.model_validate(known) if (known := self.model.taxonomy) else None,
            settings=RecordedSettings.model_validate(self.settings.model_dump(mode="json")),
        )


def source_of(settings: RunSettings) -> list[str | None]:
    """Return what a run is of: location, table and query."""
    return [hide_password(settings.source), settings.table, settings.query]


def plan_job(settings: RunSettings, store: RunStore, progress: Progress) -> Job:
    """Open source and model, pick the columns, and make (or pick up) the folder of the run. OUT must be held.

    Raises:
        RunStateError: an interrupted run of this source has parts already, and was planned differently.
    """
    limit_malloc_arenas()
    if settings.out_table is not None:
        check_lake()
    model = open_model(settings.model)
    settings = settings.with_threshold_of(model.calibration)
    check_intents([parse_alert(text) for text in settings.alert], model.labels)
    source = _open_source(settings)
    try:
        plan = _plan_reading(settings, source, model)
    except SourceError as error:
        if not source.advice:
            raise
        raise type(error)(f"{error}; {source.advice}") from None
    _note_reading(source, plan, progress)
    if model.probabilities == "sigmoid":
        progress.note(
            f"model {model.name}: multi-label, so each intent's probability is its own sigmoid, they do not add up to 1, "
            "and confidence is the highest"
        )
    folder, resumed = resume_or_start(
        store,
        _plan_of(settings, source, model),
        progress.note,
        lambda manifest: _summarise_late(store, manifest, progress),
        resume=settings.resume,
        discard_stale=settings.on_stale == "discard",
    )
    return Job(
        settings=settings,
        source=source,
        plan=plan,
        model=model,
        store=store,
        folder=folder,
        resumed=resumed,
    )


def _plan_reading(settings: RunSettings, source: Source, model: ModelFolder) -> ReadPlan:
    picked = pick_columns(
        source.name,
        source.columns,
        id_column=settings.id_column,
        text_column=settings.text_column,
        time_column=settings.time_column,
        kept=settings.kept_columns(),
        nested=source.nested,
    )
    names = output_names(picked.kept, model.labels)
    return plan_reading(source, picked, names, settings.time_format)


def _note_reading(source: Source, plan: ReadPlan, progress: Progress) -> None:
    progress.note(f"source {source.name} ({', '.join([source.kind, *source.notes])})")
    progress.note(f"columns: {plan.picked}")
    for column, name in plan.names.items():
        if column != name:
            progress.note(
                f"column {column} is called {name} in the predictions, which have a column of that name"
            )
    for note in plan.notes:
        progress.note(note)
    for warning in (*source.warnings, *plan.picked.warnings):
        progress.warn(warning)


def reopen_source(job: Job) -> Job:
    """Return the job with its source opened again: a database connection that broke does not come back by itself."""
    return replace(job, source=_open_source(job.settings))


def _open_source(settings: RunSettings) -> Source:
    return open_source(
        settings.source,
        table=settings.table,
        query=settings.query,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        where=settings.where,
        file_format=settings.format,
    )


def _summarise_late(store: RunStore, manifest: Manifest, progress: Progress) -> None:
    """Write the summaries of a run that crashed after its commit; what fails here is no reason not to start the next run."""
    folder = RunFolder(store.folder, manifest.run_id)
    try:
        summarise_run_safely(store, manifest, progress.warn)
        store.settle(folder)
    except Exception as error:
        reason = error if isinstance(error, EcomIntentError) else without_text(error)
        progress.warn(
            f"{store.locate(folder.keys.summaries)}: expected to write the summaries of an earlier run, found: {reason}; "
            f"that run is committed, ecomintent-batch report {manifest.run_id} tries again"
        )


def _plan_of(settings: RunSettings, source: Source, model: ModelFolder) -> Plan:
    """Return what decides what the parts of a run hold, and which source the run is of."""
    return Plan(
        source=[source.name, settings.table, settings.query],
        source_state=source.fingerprint(),
        model=hash_model(model),
        version=__version__,
        settings=settings.model_dump(mode="json", exclude=set(_NOT_IN_PARTS)),
    )
