"""The tickets most worth a person's time, written to a sheet and read back: people correct, the model learns.

Of the slices of `sql/review_slices.sql` only the control slice measures the accuracy: it alone is drawn at random.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ecomintent_batch.analytics.history import find_labelled_run, read_summary
from ecomintent_batch.analytics.review_labels import add_to_folder, store_labels
from ecomintent_batch.analytics.review_sheet import LABEL, RIGHT, write_xlsx
from ecomintent_batch.analytics.score import Score
from ecomintent_batch.analytics.summaries import neutralise_formulas
from ecomintent_batch.analytics.topics import pick_topic, read_topics
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.errors import SourceError, UsageError
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.runs.layout import TOPIC_TICKETS, UNUSUAL_DAYS
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.schema import probability_column
from ecomintent_batch.storage.atomic import whole_file, write_json
from ecomintent_batch.storage.location import Location
from ecomintent_batch.text.message import clean_message

if TYPE_CHECKING:
    import polars as pl

_NEEDED = ("reason", "run_id", "row_number", LABEL)
_THOUSANDS = "[\\s.,'’\u00a0\u202f]"
_GUARDED = r"^'([=+\-@\t\r])"  # what neutralise_formulas puts before a text
_LIKE_A_LABEL = re.compile(
    r"[\w.&/+-]{1,40}"
)  # one word: more could be the text of a ticket, and messages never show one
_MOST_NAMED = 8
_OF_TOPIC = """
SELECT
    'topic ' || topic AS reason, predictions.ticket_id, predictions.row_number, message, top_intent, confidence,
    second_intent, second_confidence, predictions.run_id
FROM predictions JOIN near USING (run_id, row_number)
QUALIFY row_number() OVER (PARTITION BY message_hash ORDER BY predictions.run_id DESC, predictions.row_number) = 1
ORDER BY distance, predictions.run_id, predictions.row_number
LIMIT 200
"""


@dataclass(frozen=True, kw_only=True)
class Review:
    """What the labels of a run say, this sheet's and those that were imported before.

    Attributes:
        slices: The model's first choice against the labels, by slice.
        by_intent: The same for the control slice, by label.
        has_accuracy: Whether the control slice measures the accuracy: not where only wrong rows were filled in.
        unlabelled: Rows of the sheet without a label, and how many of them belong to the control slice.
        to_train_on: Tickets in the folder, in `labelled.parquet` and `control.parquet`.
        without_message: Labels of the sheet that cannot be trained on, because the sheet has no message.
    """

    slices: dict[str, Score]
    by_intent: dict[str, Score]
    has_accuracy: bool
    unlabelled: int
    unlabelled_control: int
    to_train_on: dict[str, int]
    without_message: int
    files: list[Path]


def export_review(
    out: Location,
    sheet: Path,
    *,
    run_id: str | None = None,
    source: str | None = None,
    sizes: Mapping[str, int],
    topic: int | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Write the tickets of a run that people should label to a CSV or XLSX file, and return them.

    Args:
        out: Folder with the outputs.
        sheet: Where to write; nothing may be there yet.
        run_id: The run; the newest when None.
        source: The run's source, for the messages where the predictions do not have them.
        sizes: Tickets at most of control, disagreeing, drifting and uncertain.
        topic: Write the tickets of this topic of the run and its history, and no others.
        seed: Random seed.
    """
    if sheet.suffix.lower() not in (".csv", ".xlsx"):
        raise UsageError(
            f"{sheet}: expected a name that ends in .csv or .xlsx, found {sheet.suffix or 'no ending'}"
        )
    if sheet.exists():
        raise UsageError(
            f"{sheet}: expected a new file, found one that may hold labels; give another name"
        )
    store = open_store(out)
    manifest = find_labelled_run(store, run_id, with_text=topic is not None)
    if topic is None:
        rows = _add_messages(_choose(store, manifest, sizes, seed), store, manifest, source)
    else:
        rows = _choose_topic(store, manifest, topic)
    rows = neutralise_formulas(_arrange(rows))
    with whole_file(sheet) as temporary:
        if sheet.suffix.lower() == ".csv":
            rows.write_csv(temporary, include_bom=True)  # or Excel takes UTF-8 for another encoding
        else:
            write_xlsx(rows, _labels_of(store, manifest), temporary)
    return rows


def import_review(out: Location, sheet: Path, into: Path, *, rest_is_right: bool = False) -> Review:
    """Read a sheet with labels; keep them in OUT, and add the tickets to a folder to train on.

    Args:
        out: Folder with the outputs; `latest_predictions` shows the labels as `reviewed_intent`.
        sheet: What `review export` wrote, filled in. `ok` as a label says that the model's intent is right.
        into: Folder for `labelled.parquet`, `control.parquet` and `accuracy.json`; tickets add up by their id.
        rest_is_right: Take rows without a label as right.

    Raises:
        SourceError: It cannot be read, or a label or row is not one of the run; every such row is named.
    """
    import polars as pl

    every = _read_sheet(sheet)
    filled = every if rest_is_right else every.filter(pl.col(LABEL) != "")
    if filled.is_empty():
        raise SourceError(
            f"{sheet}: expected labels in the column {LABEL!r}, found none; fill it in, or say --rest-is-right"
        )
    store = open_store(out)
    rows = _join_predictions(store, sheet, filled).with_columns(
        reviewed_at=pl.lit(datetime.now(UTC)), text=pl.col("message")
    )
    stored = store_labels(store, rows.rename({"intent": "reviewed_intent"}))
    counts, files = add_to_folder(into, rows)
    review = _summarise(
        stored.filter(pl.col("run_id").is_in(rows["run_id"].unique().to_list())), every, rows
    )
    scores = {
        "slices": {name: score.model_dump() for name, score in review.slices.items()},
        "control_by_intent": {name: score.model_dump() for name, score in review.by_intent.items()},
        "control_measures_the_accuracy": review.has_accuracy,
    }
    write_json(scores, into / "accuracy.json")
    return replace(review, to_train_on=counts, files=[*files, into / "accuracy.json"])


def _summarise(stored: pl.DataFrame, every: pl.DataFrame, rows: pl.DataFrame) -> Review:
    """Return the scores over all labels of the run, and what is still open in this sheet."""
    import polars as pl

    control = stored.filter(pl.col("reason") == "control")
    is_open = ~pl.col("row_number").is_in(rows["row_number"].cast(pl.String).to_list())
    unlabelled = every.filter(is_open)
    open_control = len(unlabelled.filter(pl.col("reason") == "control"))
    only_wrong = stored.filter(pl.col("reviewed_intent") == pl.col("top_intent")).is_empty()
    return Review(
        slices=_score_by(stored, "reason"),
        by_intent=_score_by(control.sort("reviewed_intent"), "reviewed_intent"),
        has_accuracy=len(control) > 0 and not (open_control and only_wrong),
        unlabelled=len(unlabelled),
        unlabelled_control=open_control,
        to_train_on={},
        without_message=len(rows.filter(pl.col("text") == "")),
        files=[],
    )


def _choose(
    store: RunStore, manifest: Manifest, sizes: Mapping[str, int], seed: int
) -> pl.DataFrame:
    """Return the tickets of the four slices."""
    unusual = read_summary(store, manifest.run_id, UNUSUAL_DAYS)
    days = [] if unusual is None else unusual.select("day", "intent").rows()
    variables: dict[str, str | list[str] | None] = {name: str(size) for name, size in sizes.items()}
    variables |= {
        "of_run": manifest.run_id,
        "time_column": manifest.columns.kept_time,
        "seed": str(seed),
    }
    variables["unusual"] = [f"{day} {intent}" for day, intent in days]
    # Other models' answers are in other runs.
    connection = open_views(store, store.manifests(), variables)
    rows = connection.sql(read_sql("review_slices")).pl()
    connection.close()
    return rows


def _choose_topic(store: RunStore, manifest: Manifest, topic: int) -> pl.DataFrame:
    """Return the tickets of a topic with their messages, each message once, the nearest to its middle first."""
    tables = read_topics(store, manifest)
    pick_topic(tables, topic)
    near = tables[TOPIC_TICKETS].filter(topic=topic)
    run_ids = set(near["run_id"])
    connection = open_views(store, [run for run in store.manifests() if run.run_id in run_ids])
    connection.register("near", near)
    rows = connection.sql(_OF_TOPIC).pl()
    connection.close()
    return rows


def _add_messages(
    rows: pl.DataFrame, store: RunStore, manifest: Manifest, source: str | None
) -> pl.DataFrame:
    """Add what people need to read: from the predictions where they hold it, else from the source."""
    import polars as pl

    if manifest.settings.keep_text:
        messages = _read_messages(store, manifest, rows["row_number"].to_list())
    elif source is not None:
        messages = _read_source(
            source, manifest, dict(rows.select("row_number", "ticket_id").iter_rows())
        )
    else:
        messages = {}
    texts = [messages.get(number, "") for number in rows["row_number"]]
    return rows.with_columns(pl.Series("message", texts, dtype=pl.String))


def _read_messages(store: RunStore, manifest: Manifest, row_numbers: list[int]) -> dict[int, str]:
    connection = open_views(store, [manifest])
    query = "SELECT row_number, message FROM predictions WHERE row_number IN (SELECT unnest(?))"
    rows = connection.execute(query, [row_numbers]).fetchall()
    connection.close()
    return {number: message or "" for number, message in rows}


def _read_source(
    location: str, manifest: Manifest, wanted: Mapping[int, str | None]
) -> dict[int, str]:
    """Return the messages of some rows of a source, as the run has cleaned them, where their id is that of then."""
    settings, columns = manifest.settings, manifest.columns
    source = open_source(
        location,
        table=settings.table, query=settings.query, encoding=settings.encoding, delimiter=settings.delimiter,
        file_format=settings.format,
    )  # fmt: skip
    names = [name for name in (columns.id, *columns.text) if name]
    known = {*source.columns, *source.nested}
    missing = [name for name in names if not known.intersection((name, name.partition(".")[0]))]
    if missing:
        raise SourceError(
            f"{source.name}: expected the columns of the run, found no {', '.join(missing)}; give the run's source"
        )
    messages = {}
    for batch in source.read(names, names):
        numbers = batch.row_numbers.to_pylist()
        for index in [i for i, number in enumerate(numbers) if number in wanted]:
            values = {name: batch.table[name][index].as_py() for name in names}
            if columns.id is None or values[columns.id] == wanted[numbers[index]]:
                texts = [values[name] for name in columns.text]
                messages[numbers[index]] = clean_message(texts, raw=settings.raw_text)
    return messages


def _arrange(rows: pl.DataFrame) -> pl.DataFrame:
    """Put what people read first, with an empty column for their label next to it."""
    import polars as pl

    chosen = ["confidence", "second_intent", "second_confidence", "reason", "row_number", "run_id"]
    rows = rows.with_columns(
        pl.lit("").alias(LABEL), pl.col("confidence", "second_confidence").cast(pl.Float64).round(3)
    )
    return rows.select("ticket_id", "message", LABEL, "top_intent", *chosen)


def _read_sheet(sheet: Path) -> pl.DataFrame:
    """Return the rows of a sheet as text, each with its line number."""
    import polars as pl

    if sheet.suffix.lower() == ".xlsx":
        try:
            rows = pl.read_excel(sheet, infer_schema_length=0).with_row_index("line", offset=2)
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise SourceError(
                f"{sheet}: expected a readable XLSX file, found: {type(error).__name__}"
            ) from None
    else:
        source = open_source(str(sheet))
        batches = list(source.read(source.columns, source.columns))
        frames = [
            pl.DataFrame(batch.table).with_columns(line=pl.Series(batch.lines or batch.row_numbers))
            for batch in batches
        ]
        rows = pl.concat(frames) if frames else pl.DataFrame({name: [] for name in source.columns})
    missing = [name for name in _NEEDED if name not in rows.columns]
    if missing:
        raise SourceError(
            f"{sheet}: expected the columns of `review export`, found no {', '.join(missing)}; export it again"
        )
    if "message" not in rows.columns:
        rows = rows.with_columns(pl.lit("").alias("message"))
    text = (
        pl.col("message", LABEL, "reason", "run_id", "row_number")
        .cast(pl.String)
        .fill_null("")
        .str.strip_chars()
    )
    # A spreadsheet shows 2988 as 2,988 or 2.988, and saves it so; a number with a fraction of zero is whole.
    number = pl.col("row_number").str.replace(r"[.,]0{1,2}$", "").str.replace_all(_THOUSANDS, "")
    return rows.with_columns(text).with_columns(
        pl.col("message").str.replace(_GUARDED, "$1"),
        pl.when(number.str.contains(r"^\d+$")).then(number).otherwise(pl.col("row_number")),
    )


def _labels_of(store: RunStore, manifest: Manifest) -> list[str]:
    """Return the labels of a run's model, in its order, spelled as it spells them where it gave them."""
    connection = open_views(store, [manifest])
    columns = connection.sql("SELECT * FROM predictions LIMIT 0").columns
    names = connection.sql(
        "SELECT DISTINCT unnest([top_intent, second_intent]) FROM predictions"
    ).fetchall()
    connection.close()
    spelled = {probability_column(name): name for (name,) in names if name}
    return [
        spelled.get(column, column.removeprefix("prob_").upper())
        for column in columns
        if column.startswith("prob_")
    ]


def _join_predictions(store: RunStore, sheet: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Add the run's ids, hashes and first choices, and the labels as `intent`, spelled as the model spells them."""
    import polars as pl

    run_ids = sorted(set(rows["run_id"]))
    manifests = [store.find(run_id) for run_id in run_ids]
    if len({run.model for run in manifests}) != 1:
        raise SourceError(
            f"{sheet}: expected tickets of one model, found several; import each sheet by itself"
        )
    manifest = manifests[-1]
    numbers = [int(value) for value in rows["row_number"] if re.fullmatch(r"\d+", value)]
    connection = open_views(store, manifests)
    query = """
        SELECT run_id, row_number::VARCHAR AS row_number, ticket_id, message_hash, top_intent
        FROM predictions WHERE row_number IN (SELECT unnest(?))
    """
    predicted = connection.execute(query, [numbers]).pl()
    connection.close()
    rows = rows.select("line", "message", LABEL, "reason", "run_id", "row_number").join(
        predicted, on=["run_id", "row_number"], how="left", maintain_order="left"
    )
    spelled = {probability_column(label): label for label in _labels_of(store, manifest)}
    intents = [
        first if label == "" or (label.casefold() == RIGHT and probability_column(label) not in spelled)
        else spelled.get(probability_column(label))
        for label, first in rows.select(LABEL, "top_intent").iter_rows()
    ]  # fmt: skip
    rows = rows.with_columns(intent=pl.Series(intents, dtype=pl.String))
    _check_rows(sheet, rows, list(spelled.values()))
    return rows.with_columns(pl.col("row_number").cast(pl.Int64))


def _check_rows(sheet: Path, rows: pl.DataFrame, labels: list[str]) -> None:
    """Name every row that is not of the run, or every label that is not of the model, in one error."""
    import polars as pl

    missing = rows.filter(pl.col("top_intent").is_null())
    if len(missing):
        raise SourceError(
            f"{sheet}, {_name_lines(missing['line'].to_list())}: expected a row_number of the run, found none of its "
            "labelled tickets; restore the column"
        )
    wrong = rows.filter(pl.col("intent").is_null())
    if len(wrong):
        shown = wrong.with_columns(
            shown=pl.col(LABEL).map_elements(
                lambda label: repr(label) if _LIKE_A_LABEL.fullmatch(label) else "another text",
                return_dtype=pl.String,
            )
        )
        found = [
            f"{label} ({_name_lines(group['line'].to_list())})"
            for (label,), group in shown.group_by("shown", maintain_order=True)
        ]
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise SourceError(
            f"{sheet}: expected intents of the model in {LABEL!r} ({', '.join(labels)}; {RIGHT} for the model's own), "
            f"found {', '.join(found[:_MOST_NAMED])}{more}; correct them"
        )


def _name_lines(lines: list[int]) -> str:
    named = ", ".join(map(str, lines[:_MOST_NAMED]))
    more = f" and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    return f"line{'s' if len(lines) > 1 else ''} {named}{more}"


def _score_by(stored: pl.DataFrame, column: str) -> dict[str, Score]:
    return {
        str(value): Score(
            tickets=len(group), right=int((group["reviewed_intent"] == group["top_intent"]).sum())
        )
        for (value,), group in stored.group_by(column, maintain_order=True)
    }
