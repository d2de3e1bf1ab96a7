"""The tickets most worth a human look, out to a sheet and back: people correct, the model learns.

Of the slices of `sql/review_slices.sql` only the control slice says how often the model is right: it alone is drawn at random.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecomintent_batch.analytics.history import read_summary
from ecomintent_batch.analytics.summaries import neutralise_formulas
from ecomintent_batch.analytics.views import open_views, read_sql
from ecomintent_batch.errors import SourceError, UsageError
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.runs.layout import UNUSUAL_DAYS
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore, open_store
from ecomintent_batch.schema import probability_column
from ecomintent_batch.storage.atomic import whole_file, write_json
from ecomintent_batch.storage.location import Location
from ecomintent_batch.text.message import clean_message

if TYPE_CHECKING:
    import polars as pl

LABEL = "label"
_NEEDED = ("reason", "run_id", "row_number", LABEL)
_GUARDED = r"^'([=+\-@\t\r])"  # what neutralise_formulas puts before a text
_LIKE_A_LABEL = re.compile(
    r"[\w.&/+-]{1,40}"
)  # one word: more could be the text of a ticket, and messages never show one
_Z95 = 1.959964


@dataclass(frozen=True)
class Score:
    """How many of the tickets people labelled the model had right; the bounds are Wilson's, at 95 %."""

    tickets: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share of the tickets that were right."""
        return self.right / self.tickets

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the accuracy."""
        n, p, zz = self.tickets, self.accuracy, _Z95 * _Z95
        centre, half = (
            (p + zz / (2 * n)) / (1 + zz / n),
            _Z95 * math.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n),
        )
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_dict(self) -> dict[str, Any]:
        """Return what is written down of it."""
        lower, upper = self.bounds
        return {
            "tickets": self.tickets,
            "right": self.right,
            "accuracy": self.accuracy,
            "lower": lower,
            "upper": upper,
        }


@dataclass(frozen=True)
class Review:
    """What a corrected sheet says: scores by slice, and of the control slice by label; where the rows went."""

    slices: dict[str, Score]
    by_intent: dict[str, Score]
    unlabelled: int
    labelled: int
    files: list[Path]


def export_review(
    out: Location,
    sheet: Path,
    *,
    run_id: str | None = None,
    source: str | None = None,
    sizes: Mapping[str, int],
    seed: int = 0,
) -> pl.DataFrame:
    """Write the tickets of a run that people should label to a CSV or XLSX file, and return them.

    Args:
        out: Folder with the outputs.
        sheet: Where to write; nothing may be there yet.
        run_id: The run; the newest when None.
        source: The run's source, to add the messages where the predictions do not hold them.
        sizes: Tickets at most of control, disagreeing, drifting and uncertain.
        seed: Of what is drawn at random.
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
    manifest = store.find(run_id)
    rows = _add_messages(_choose(store, manifest, sizes, seed), store, manifest, source)
    rows = neutralise_formulas(_arrange(rows))
    with whole_file(sheet) as temporary:
        if sheet.suffix.lower() == ".csv":
            rows.write_csv(temporary, include_bom=True)  # or Excel takes UTF-8 for another encoding
        else:
            with temporary.open("wb") as file:
                rows.write_excel(
                    file, autofit=True, freeze_panes=(1, 0), column_widths={"message": 600}
                )
    return rows


def import_review(out: Location, sheet: Path, into: Path) -> Review:
    """Read a corrected sheet, and write `labelled.parquet`, `control.parquet` and `accuracy.json` into a folder.

    Raises:
        SourceError: it cannot be read, or a label or row is not one of the run.
    """
    import polars as pl

    rows = _read_sheet(sheet)
    blank = rows.filter(pl.col(LABEL) == "")
    rows = rows.filter(pl.col(LABEL) != "")
    if rows.is_empty():
        raise SourceError(
            f"{sheet}: expected labels in the column {LABEL!r}, found none; fill it in"
        )
    rows = _join_predictions(open_store(out), sheet, rows)
    slices = {
        str(reason): _score(group)
        for (reason,), group in rows.group_by("reason", maintain_order=True)
    }
    control = rows.filter(pl.col("reason") == "control")
    by_intent = {
        str(label): _score(group)
        for (label,), group in control.sort(LABEL).group_by(LABEL, maintain_order=True)
    }
    into.mkdir(parents=True, exist_ok=True)
    scores = {
        "slices": {name: score.to_dict() for name, score in slices.items()},
        "control_by_intent": {name: score.to_dict() for name, score in by_intent.items()},
    }
    write_json(scores, into / "accuracy.json")
    files = [into / "accuracy.json"]
    labelled = 0
    for name, part in (
        ("labelled", rows.filter(pl.col("reason") != "control")),
        ("control", control),
    ):
        texts = part.filter(pl.col("message") != "").select(text="message", intent=LABEL)
        labelled += len(texts) if name == "labelled" else 0
        if len(texts):
            files.append(into / f"{name}.parquet")
            with whole_file(files[-1]) as temporary:
                texts.write_parquet(temporary)
    return Review(slices, by_intent, len(blank), labelled, files)


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
    found = connection.execute(query, [row_numbers]).fetchall()
    connection.close()
    return {number: message or "" for number, message in found}


def _read_source(
    location: str, manifest: Manifest, wanted: Mapping[int, str | None]
) -> dict[int, str]:
    """Return the messages of some rows of a source, as the run has cleaned them, where their id is that of then."""
    settings, columns = manifest.settings, manifest.columns
    source = open_source(
        location,
        table=settings.table, query=settings.query, encoding=settings.encoding, delimiter=settings.delimiter,
    )  # fmt: skip
    names = [name for name in (columns.id, *columns.text) if name]
    missing = [name for name in names if name not in source.columns]
    if missing:
        raise SourceError(
            f"{source.name}: expected the columns of the run, found no {', '.join(missing)}; give the run's source"
        )
    messages = {}
    for batch in source.read(names, names):
        numbers = batch.row_numbers.to_pylist()
        for place in [i for i, number in enumerate(numbers) if number in wanted]:
            values = {name: batch.table[name][place].as_py() for name in names}
            if columns.id is None or values[columns.id] == wanted[numbers[place]]:
                texts = [values[name] for name in columns.text]
                messages[numbers[place]] = clean_message(texts, raw=settings.raw_text)
    return messages


def _arrange(rows: pl.DataFrame) -> pl.DataFrame:
    """Put what people read first, and an empty column for their label beside it."""
    import polars as pl

    chosen = ["confidence", "second_intent", "second_confidence", "reason", "row_number", "run_id"]
    rows = rows.with_columns(
        pl.lit("").alias(LABEL), pl.col("confidence", "second_confidence").cast(pl.Float64).round(3)
    )
    return rows.select("ticket_id", "message", LABEL, "top_intent", *chosen)


def _read_sheet(sheet: Path) -> pl.DataFrame:
    """Return the rows of a sheet as text, with the line that each stands in."""
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
    return rows.with_columns(text).with_columns(pl.col("message").str.replace(_GUARDED, "$1"))


def _join_predictions(store: RunStore, sheet: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Add what the model said, and spell the labels as it does."""
    import polars as pl

    run_ids = rows["run_id"].unique().to_list()
    if len(run_ids) != 1:
        raise SourceError(
            f"{sheet}: expected tickets of one run, found {len(run_ids)}; import each sheet by itself"
        )
    connection = open_views(store, [store.find(run_ids[0])])
    columns = connection.sql("SELECT * FROM predictions LIMIT 0").columns
    numbers = [int(value) for value in rows["row_number"] if re.fullmatch(r"\d+", value)]
    query = "SELECT row_number::VARCHAR AS row_number, top_intent AS said FROM predictions WHERE row_number IN (SELECT unnest(?))"
    said = connection.execute(query, [numbers]).pl()
    names = connection.sql(
        "SELECT DISTINCT unnest([top_intent, second_intent]) FROM predictions"
    ).fetchall()
    connection.close()
    spelled = {probability_column(name): name for (name,) in names if name}
    rows = rows.join(said, on="row_number", how="left", maintain_order="left")
    for line, label, answer in rows.select("line", LABEL, "said").iter_rows():
        _check_row(f"{sheet}, line {line}", label, answer, columns)
    labels = pl.col(LABEL).map_elements(
        lambda label: spelled.get(probability_column(label), label), return_dtype=pl.String
    )
    return rows.with_columns(labels)


def _check_row(where: str, label: str, said: str | None, columns: list[str]) -> None:
    if said is None:
        raise SourceError(
            f"{where}: expected a row_number of the run, found none of its labelled tickets; restore the column"
        )
    if probability_column(label) not in columns:
        shown = repr(label) if _LIKE_A_LABEL.fullmatch(label) else "another text"
        known = ", ".join(
            name.removeprefix("prob_").upper() for name in columns if name.startswith("prob_")
        )
        raise SourceError(
            f"{where}: expected an intent of the model in {LABEL!r} ({known}), found {shown}; correct it"
        )


def _score(rows: pl.DataFrame) -> Score:
    return Score(len(rows), int((rows["said"] == rows[LABEL]).sum()))
