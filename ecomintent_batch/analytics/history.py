"""A run and the runs before it: their tickets as one history, each counted once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import duckdb

from ecomintent_batch.analytics.alerts import lowest_z, parse_alert
from ecomintent_batch.analytics.days import split_odd_days
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.options import WEEKS_COMPARED
from ecomintent_batch.runs.layout import LATEST, UNUSUAL_DAYS, VOLUMES, VOLUMES_PER_DAY
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.storage.packaged import packaged_path
from ecomintent_batch.text.lexicon import common_english, english_words

if TYPE_CHECKING:
    import polars as pl

FINDINGS, PHRASES = "findings", "rising_phrases"
DAYS_OF_PHRASES = 28  # of sql/rising_phrases.sql
_WEEKS_OF_PHRASES = 13  # three times as many days, and one week more
_MOST_LOOKED_AT = 5  # each is a request to an object store
WEEKS_OF_FINDINGS = 61  # of sql/findings.sql: 52 full weeks, and the 8 before the first of them


# Common words that tell no topic from another.
_SAY_NOTHING = (
    "about after again also always another because been before being even ever every getting give going having here into "
    "keep know like made make many more most much need only other over really said same says seems should some something such "
    "tell than their them then there these thing think those through very want were which while without"
)


def find_labelled_run(store: RunStore, run_id: str | None, *, with_text: bool = False) -> Manifest:
    """Return a run; where none is named, the newest that has predictions, because a run may have had nothing new.

    Args:
        store: Where the runs are.
        run_id: The run; None or `latest` for the newest.
        with_text: Whether its messages must have been kept, too.

    Raises:
        RunStateError: There is no such run.
    """
    named = store.find(run_id)
    if run_id not in (None, LATEST):
        return named
    for run in (named, *reversed(store.manifests())):
        if run.counts.predictions and (run.settings.keep_text or not with_text):
            return run
    return named


def list_history(store: RunStore, manifest: Manifest) -> list[Manifest]:
    """Return the runs with which a run makes one history, oldest first, itself last.

    They read the same columns of the same table or query with the same model, independent of the file's name: dated exports
    are one history.
    """
    earlier = [
        run
        for run in store.manifests()
        if run.run_id < manifest.run_id and run.counts.predictions and _reads_alike(run, manifest)
    ]
    return [*earlier, manifest]


def list_other_histories(store: RunStore, manifest: Manifest) -> list[Manifest]:
    """Return the earlier runs of another table, query, column or model, with which a run is not compared."""
    return [
        run
        for run in store.manifests()
        if run.run_id < manifest.run_id
        and run.counts.predictions
        and not _reads_alike(run, manifest)
    ]


def find_previous_run(store: RunStore, manifest: Manifest) -> Manifest | None:
    """Return the newest earlier run of the same history that still has its summaries, of the newest few."""
    earlier = list_history(store, manifest)[:-1]
    for run in reversed(earlier[-_MOST_LOOKED_AT:]):
        if store.read_summary(run.run_id, VOLUMES) is not None:
            return run
    return None


def newest_known_day(store: RunStore, manifest: Manifest) -> date | None:
    """Return the last day that the previous run of the history knows; None for the first run."""
    previous = find_previous_run(store, manifest)
    table = None if previous is None else read_summary(store, previous.run_id, VOLUMES_PER_DAY)
    if table is None:
        return None
    newest = split_odd_days(table, manifest.started_at.date())[0]["day"].max()
    return newest if isinstance(newest, date) else None


def read_summary(store: RunStore, run_id: str, name: str) -> pl.DataFrame | None:
    """Return one summary table of a run; None where the run has none of that name."""
    import polars as pl

    table = store.read_summary(run_id, name)
    return None if table is None else pl.read_parquet(table)


def find_unusual_days(store: RunStore, manifest: Manifest, by: str | None = None) -> pl.DataFrame:
    """Return the unusual days among those that are new since the previous run.

    Args:
        store: Where the runs are.
        manifest: The run.
        by: A column of the predictions within whose values to look; None for all tickets together.
    """
    connection = open_history(store, manifest)
    connection.execute("SET VARIABLE by_column = ?", [by])
    days = connection.sql(read_sql(UNUSUAL_DAYS)).pl()
    connection.close()
    return days


def find_changes(store: RunStore, manifest: Manifest, first_day: date | None) -> pl.DataFrame:
    """Return the findings among the weeks and months that a run has tickets of, and the newest full ones.

    Args:
        store: Where the runs are.
        manifest: The run.
        first_day: The first day of the run's own tickets.
    """
    columns = manifest.columns.kept
    connection = open_history(store, manifest, weeks=WEEKS_OF_FINDINGS)
    variables = {
        "by_columns": [columns[by] for by in manifest.settings.by],
        "since": None if first_day is None else first_day.isoformat(),
    }
    for name, value in variables.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    table = connection.sql(read_sql(FINDINGS)).pl()
    connection.close()
    return table


def find_rising_phrases(store: RunStore, manifest: Manifest) -> pl.DataFrame:
    """Return the phrases that came up in the newest days, of common English words only: no name, number or address.

    `names.txt` holds the words of the lexicon that are written with a capital within a sentence of the training corpus.
    """
    connection = open_history(store, manifest, weeks=_WEEKS_OF_PHRASES)
    phrases = count_phrases(connection)
    connection.close()
    return phrases


def count_phrases(
    connection: duckdb.DuckDBPyConnection, days: int = DAYS_OF_PHRASES
) -> pl.DataFrame:
    """Return the phrases that came up in so many newest days of the tickets that a connection shows."""
    words = {"words": list_plain_words(), "days": str(days)}
    for name, value in words.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    return connection.sql(read_sql(PHRASES)).pl()


def list_plain_words() -> list[str]:
    """Return the words that may be shown: common English ones, no name and no word that only one ticket has."""
    names = packaged_path("analytics/names.txt").read_text(encoding="utf-8").split()
    return sorted(english_words().difference(common_english(), names, _SAY_NOTHING.split()))


def open_history(
    store: RunStore, manifest: Manifest, *, weeks: int = WEEKS_COMPARED
) -> duckdb.DuckDBPyConnection:
    """Return a connection with the tickets that a run is compared with: its own, and those of the weeks before them.

    The variable `since` is the newest day of the previous run of the history, NULL for the first.
    """
    time_column, since = manifest.columns.kept_time, newest_known_day(store, manifest)
    variables: dict[str, str | list[str] | None] = {
        "run_id": manifest.run_id,
        "time_column": time_column,
        "since": None if since is None else since.isoformat(),
        "min_z": str(lowest_z(parse_alert(text) for text in manifest.settings.alert)),
    }
    connection = open_views(store, [manifest], variables)
    if since is None or time_column is None:
        return connection
    back = timedelta(weeks=weeks)
    first_day = since - back if since >= date.min + back else date.min
    runs = _list_recent(list_history(store, manifest), first_day)
    if _add_earlier(connection, store, runs, manifest, first_day):
        return connection
    return open_views(store, [manifest], variables)


def _add_earlier(
    connection: duckdb.DuckDBPyConnection,
    store: RunStore,
    runs: Sequence[Manifest],
    manifest: Manifest,
    first_day: date,
) -> bool:
    """Let the views show the tickets of all these runs; return False where their columns do not fit together."""
    parts = store.parts(runs)
    column = manifest.columns.kept_time or ""
    recent = duckdb.ColumnExpression(column) >= duckdb.ConstantExpression(first_day)
    own = duckdb.ColumnExpression("run_id") == duckdb.ConstantExpression(manifest.run_id)
    try:
        relation = connection.sql(parts.select(connection))
        relation.filter(recent | own).create_view("predictions", replace=True)
        connection.execute("SET VARIABLE latest = true")
    except duckdb.Error:  # the columns of earlier runs are of other types
        return False
    return True


def _list_recent(runs: Sequence[Manifest], first_day: date) -> list[Manifest]:
    """Return the runs that can have tickets from a day on: one that was started before it has none."""
    return [run for run in runs[:-1] if run.started_at.date() >= first_day] + [runs[-1]]


def _reads_alike(run: Manifest, other: Manifest) -> bool:
    """Return whether two runs read the same columns of the same table or query with the same model."""
    return all(
        mine == theirs
        for mine, theirs in (
            (run.model, other.model),
            (run.settings.table, other.settings.table),
            (run.settings.query, other.settings.query),
            (run.settings.raw_text, other.settings.raw_text),
            (run.columns.id, other.columns.id),
            (run.columns.text, other.columns.text),
            (run.columns.time, other.columns.time),
        )
    )
