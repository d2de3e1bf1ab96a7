"""The Python API: run the job, label texts in memory, and read what has run.

Import from the package itself: `from ecomintent_batch import classify`. It loads what a function needs when it is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecomintent_batch.errors import UsageError
from ecomintent_batch.inference.model_cache import ModelCache
from ecomintent_batch.options import OUT, SHARD_ROWS, THRESHOLD, EngineName
from ecomintent_batch.pipeline import RunResult, run_job
from ecomintent_batch.progress import Progress
from ecomintent_batch.settings import load_settings
from ecomintent_batch.storage.location import parse_location

if TYPE_CHECKING:
    import polars as pl

_models = ModelCache()


def run(source: str | Path, progress: Progress | None = None, **settings: Any) -> RunResult:
    """Label every ticket of a source, commit the predictions, and summarise the volumes.

    It does what `ecomintent-batch run` does: an interrupted run of the same source is resumed, and `ECOMINTENT_*`
    variables set what the arguments do not.

    Args:
        source: File, glob, folder, .duckdb file, or URL.
        progress: Receives callbacks while the job runs.
        settings: Fields of `RunSettings`, such as `out`, `by=["channel"]`, `threshold`.

    Returns:
        The committed run: `run_id`, `manifest`, `volumes`, `predictions`, `report`.

    Raises:
        EcomIntentError: One of its kinds; then no prediction of this run is visible in `out`.
    """
    loaded = load_settings(source=str(source), **settings)
    if loaded.labels is not None:
        from ecomintent_batch.training.label_cache import with_labels

        loaded = with_labels(loaded, (progress or Progress()).note)
    return run_job(loaded, progress)


def classify(
    texts: Iterable[str | None] | pl.Series,
    *,
    model: str | Path | None = None,
    threshold: float | None = None,
    engine: EngineName = "auto",
    device: str = "auto",
    any_language: bool = False,
    raw_text: bool = False,
) -> pl.DataFrame:
    """Label texts in memory; the model stays loaded for the next call.

    >>> from ecomintent_batch import classify
    >>> classify(["Where is my parcel?", None]).select("intent", "status").rows()
    [('WISMO', 'ok'), ('OTHER', 'empty')]

    Args:
        texts: A list, or a Polars, pandas or NumPy column of strings; None is an empty text.
        model: Model folder or Hugging Face id; None for the embedded model.
        threshold: Texts with a lower confidence get the intent OTHER; None for what the model was made with, else 0.70.
        engine: auto, torch or onnx.
        device: auto, cpu, cuda or cuda:N.
        any_language: Also label texts in languages that the model was not trained on.
        raw_text: Keep markup, quoted threads and signatures.

    Returns:
        One row per text, in their order, with the columns of the predictions: `intent`, `top_intent`, `confidence`,
        `second_intent`, `second_confidence`, `below_threshold`, a probability per label, `status`, `language` and so on.

    Raises:
        UsageError: Something else than strings, or a threshold out of range.
        ModelError: There is no such model.
        DeviceError: There is no such device.
    """
    import polars as pl
    import pyarrow as pa

    from ecomintent_batch.inference.classify import ClassifyOptions, classify_texts
    from ecomintent_batch.inference.model_cache import EngineOptions

    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold: expected a number from 0 to 1, found {threshold}")
    column = _to_series(texts)
    engine_options = EngineOptions(
        model=None if model is None else str(model), engine=engine, device=device
    )
    loaded = _models.load(engine_options, "classify")
    usual = float(loaded.folder.calibration.get("threshold", THRESHOLD))
    options = ClassifyOptions(
        threshold=usual if threshold is None else threshold,
        any_language=any_language,
        raw_text=raw_text,
    )
    with _models.scoring:
        tables = [
            classify_texts(part.to_arrow(), loaded, options)
            # At least one part, so that no text at all gives the columns, too.
            for part in (
                column.slice(i, SHARD_ROWS) for i in range(0, len(column) or 1, SHARD_ROWS)
            )
        ]
    frame = pl.DataFrame(pa.concat_tables(tables, promote_options="permissive"))
    return frame.with_columns(pl.col("intent", "status").cast(pl.String))


def list_runs(out: str | Path = OUT) -> pl.DataFrame:
    """Return one row per committed run, the oldest first.

    Args:
        out: Folder or s3:// URL of the outputs.

    Returns:
        Columns: run_id, started_at, finished_at, source, tickets, rejects, skipped, model, engine, tickets_per_s.
    """
    import polars as pl

    from ecomintent_batch.runs.store import open_store

    time = pl.Datetime("us", "UTC")
    schema: dict[str, Any] = {
        "run_id": pl.String,
        "started_at": time,
        "finished_at": time,
        "source": pl.String,
        "tickets": pl.Int64,
        "rejects": pl.Int64,
        "skipped": pl.Int64,
        "model": pl.String,
        "engine": pl.String,
        "tickets_per_s": pl.Float64,
    }
    rows = [
        {
            **{name: getattr(one, name) for name in schema if hasattr(one, name)},
            "tickets": one.counts.predictions,
            "rejects": one.counts.rejects,
            "skipped": one.counts.skipped,
            "tickets_per_s": one.performance.tickets_per_s,
        }
        for one in open_store(parse_location(out)).manifests()
    ]
    return pl.DataFrame(rows, schema=schema)


def query(
    name: str | Path,
    out: str | Path = OUT,
    *,
    run: str | None = None,
    every_run: bool = False,
    **parameters: object,
) -> pl.DataFrame:
    """Run one of the queries that `ecomintent-batch query` lists, or a .sql file, over the committed runs.

    Args:
        name: Name of a query, or path of a file.
        out: Folder or s3:// URL of the outputs.
        run: Id of one run, or "latest"; None for all runs.
        every_run: Count a ticket once for each run that labelled it, not only in its latest run.
        parameters: Parameters that the first lines of the file describe, such as `period="week"`.

    Raises:
        UsageError: There is no such query or parameter, or a parameter is missing.
        RunStateError: There is no such run.
    """
    from ecomintent_batch.analytics.queries import run_query

    sets = [f"{key}={value}" for key, value in parameters.items()]
    rows = run_query(str(name), parse_location(out), sets=sets, run_id=run, every_run=every_run)
    return rows.pl()


def _to_series(texts: Iterable[str | None] | pl.Series) -> pl.Series:
    """Return texts as one column of strings."""
    import polars as pl

    if isinstance(texts, pl.Series):
        if texts.dtype not in (pl.String, pl.Null, pl.Categorical, pl.Enum):
            raise UsageError(f"texts: expected strings, found {texts.dtype}")
        return texts.cast(pl.String)
    if isinstance(texts, str | bytes):
        raise UsageError("texts: expected several strings, found one; put it into a list")
    values = [None if _is_missing(text) else text for text in texts]
    wrong = next((text for text in values if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise UsageError(f"texts: expected strings, found {type(wrong).__name__}")
    return pl.Series("text", values, pl.String)


def _is_missing(text: object) -> bool:
    """Return whether a value is None, or pandas' NaN: the one number that differs from itself."""
    return text is None or (isinstance(text, float) and text != text)
