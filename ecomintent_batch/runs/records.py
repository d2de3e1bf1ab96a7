"""The JSON records of a run. Parsing one is the check: what is missing or of another type is an error with its name.

Fields are written in the order in which they are declared. Fields that this version does not know are kept.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.options import HOURLY_PRICE
from ecomintent_batch.runs.layout import EXTRACTION, STAGED_REJECTS
from ecomintent_batch.schema import OTHER
from ecomintent_batch.storage.atomic import sha256_of, write_json

R = TypeVar("R", bound="Record")

Moment = Annotated[
    datetime,
    PlainSerializer(lambda time: time.isoformat(timespec="seconds"), str, when_used="json"),
]


class Record(BaseModel):
    """One JSON record on disk."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="allow", protected_namespaces=()
    )

    def to_json(self) -> dict[str, Any]:
        """Return the values as they are written to disk."""
        return self.model_dump(mode="json")

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(self.to_json(), path)


class Plan(Record):
    """What decides what the parts of a run hold.

    Attributes:
        run_id: The run that was planned; None until it is started.
        source: Name, table and query of the source.
        source_state: What changes when the source does.
        model: SHA-256 over the files of the model.
        version: The version of this package.
        settings: The settings that change the parts.
    """

    run_id: str | None = None
    source: list[Any]
    source_state: list[Any]
    model: str
    version: str
    settings: dict[str, Any]

    def differences(self, then: Plan) -> list[str]:
        """Return in what this plan differs from an earlier one of the same source."""
        changed = []
        if then.source_state != self.source_state:
            changed.append("a source that has changed since")
        if then.model != self.model:
            changed.append("another model")
        if then.version != self.version:
            changed.append(f"version {then.version} then, {self.version} now")
        changed += [
            f"{name} {then.settings.get(name)} then, {value} now"
            for name, value in self.settings.items()
            if then.settings.get(name) != value
        ]
        return changed


class Receipt(Record):
    """Which shard a part was made of, and the SHA-256 of both."""

    shard_sha256: str
    sha256: str
    engine: str | None = None


class RowsBefore(Record):
    """How many rows of the source have a time before the next watermark: what comes there later is too late to be read."""

    until: str
    rows: int


class Extraction(Record):
    """The result of an extraction: rows by shard, and the rejects by reason.

    Attributes:
        source_rows: Rows of the source, tickets and rejects.
        sha256: SHA-256 of each shard, then that of the rejects.
        skipped: Rows for which --where does not hold, that are classified already, or are older rows of the same ticket.
        skipped_by_where: The first of these.
        remarks: What people should know about the rows.
        read_from: Tickets of before were not read and not counted.
        newest: The newest time of a ticket.
        before: Rows before the next watermark, where the source can count them.
        late_rows: Rows that came since an earlier run with a time that is too old to be read.
        extract_s: Seconds that it took.
    """

    # It grows while the source is read, and is written once at the end.
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=False)

    source_rows: int = 0
    shards: list[str] = Field(default_factory=list)
    shard_rows: list[int] = Field(default_factory=list)
    sha256: list[str] = Field(default_factory=list)
    rejected: int = 0
    skipped: int = 0
    skipped_by_where: int = 0
    remarks: list[str] = Field(default_factory=list)
    reasons: dict[str, int] = Field(default_factory=dict)
    read_from: str | None = None
    newest: str | None = None
    before: RowsBefore | None = None
    late_rows: int | None = None
    extract_s: float = 0.0


class Columns(Record):
    """The columns of the source that were read.

    Attributes:
        kept: Source column → its name in the predictions.
    """

    id: str | None
    text: tuple[str, ...]
    time: str | None
    kept: dict[str, str]

    @property
    def kept_time(self) -> str | None:
        """The column of the predictions that holds the time of a ticket."""
        return None if self.time is None else self.kept.get(self.time)


class RecordedSettings(Record):
    """The settings of a run; those that are read again have names here, the others are kept as they were written."""

    source: str | None = None
    table: str | None = None
    query: str | None = None
    where: str | None = None
    format: str | None = None
    by: tuple[str, ...] = ()
    encoding: str | None = None
    delimiter: str | None = None
    threshold: float
    raw_text: bool = False
    keep_text: bool = False
    incremental: bool = False
    hourly_price: float = HOURLY_PRICE
    minutes_per_ticket: float | None = None
    cost_per_ticket: float | None = None
    model: str | None = None
    topics: bool = False
    alert: tuple[str, ...] = ()
    out_table: str | None = None

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        settings: Self = handler(value)
        if isinstance(value, dict):
            settings._written = value
        return settings

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return self._written


class Counts(Record):
    """Rows of a run: source_rows = predictions + rejects + skipped."""

    source_rows: int
    predictions: int
    rejects: int
    skipped: int
    skipped_by_where: int = 0
    below_threshold: int
    by_status: dict[str, int]

    @property
    def answered(self) -> int:
        """Rows of the source that are accounted for."""
        return self.predictions + self.rejects + self.skipped


class Performance(Record):
    """Time and work of a run; of a resumed one, what its last start did."""

    elapsed_s: float
    score_s: float
    tickets_per_s: float | None
    messages_scored: int
    tokens: int
    tokens_per_s: float | None
    padding_ratio: float
    stages_s: dict[str, float]


class PartRecord(Record):
    """One part of a run."""

    file: str
    rows: int
    sha256: str
    engine: str | None = None


class Taxonomy(Record):
    """The labels of a model of somebody's own; the nine intents have no such record.

    Attributes:
        name: Of the labels file, without its ending.
        sha256: Of that file.
        extends: `nine_intents` where these are kept.
        was: Label → the intent of the nine that it renames, or was a part of.
        other: What is said below the threshold.
    """

    name: str
    sha256: str
    extends: str | None = None
    was: dict[str, str] = Field(default_factory=dict)
    other: str = OTHER


class Reading(Record):
    """What a run reads, and how: runs that read the same way share a watermark."""

    source: str
    columns: Columns
    settings: RecordedSettings
    taxonomy: Taxonomy | None = None

    def is_same_as(self, other: Reading | Manifest) -> bool:
        """Return whether two runs read the same rows in the same way."""
        mine, theirs = self.settings, other.settings
        return (
            self.source == other.source
            and (self.columns.id, self.columns.text, self.columns.time)
            == (other.columns.id, other.columns.text, other.columns.time)
            and (mine.table, mine.query, mine.where, mine.raw_text)
            == (theirs.table, theirs.query, theirs.where, theirs.raw_text)
        )


class Manifest(Record):
    """The record of a committed run.

    Attributes:
        probabilities: "softmax", or "sigmoid" where the model is multi-label: each intent by itself, no sum of 1. None before
            there were sigmoids.
        schema_id: Names and types of the columns of the parts; runs that share it are read without a look at each file.
    """

    run_id: str
    version: str
    started_at: Moment
    finished_at: Moment
    source: str
    columns: Columns
    settings: RecordedSettings
    read_from: str | None
    newest: str | None
    model: str
    engine: str
    resumed: bool
    counts: Counts
    reject_reasons: dict[str, int]
    performance: Performance
    parts: tuple[PartRecord, ...]
    rejects_sha256: str
    before: RowsBefore | None = None
    late_rows: int | None = None
    probabilities: str | None = None
    taxonomy: Taxonomy | None = None
    schema_id: str | None = None

    @property
    def other(self) -> str:
        """What is said of tickets below the threshold."""
        return self.taxonomy.other if self.taxonomy else OTHER


class MergedFile(Record):
    """A file that holds the parts of many runs.

    Attributes:
        file: Its key.
        schema_id: Names and types of the columns of these parts; the file has the column `run_id`, too.
        runs: The rows of each run.
    """

    file: str
    rows: int
    sha256: str
    schema_id: str
    runs: dict[str, int]


class Compaction(Record):
    """The record of one merge.

    Attributes:
        files: The files that it made.
        replaces: The keys of earlier merged files whose rows are in these now.
    """

    compaction_id: str
    version: str
    made_at: Moment
    files: tuple[MergedFile, ...]
    replaces: tuple[str, ...] = ()


def parse_record(kind: type[R], text: str | bytes, where: str) -> R:
    """Parse a record.

    Raises:
        RunStateError: a field is missing or of another type; the message names it, and no value.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        problem = f"{field}: {first['msg'].lower()}" if field else first["type"].replace("_", " ")
        raise RunStateError(
            f"{where}: expected a {kind.__name__.lower()}, found {problem}"
        ) from None


def read_record(kind: type[R], file: Path) -> R:
    """Read a record.

    Raises:
        RunStateError: it is not there, cannot be read, or a field is missing or of another type.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise RunStateError(
            f"{file}: expected a {kind.__name__.lower()}, found: {type(error).__name__}"
        ) from None
    return parse_record(kind, text, str(file))


def read_remarks(folder: Path) -> list[str]:
    """Return what a complete extraction has to say about the rows."""
    text = (folder / "extraction.json").read_text(encoding="utf-8")
    return Extraction.model_validate_json(text).remarks


def read_extraction(folder: Path) -> Extraction | None:
    """Return the record of a complete extraction; None where it did not finish, or a file was altered since.

    Args:
        folder: The folder of the shards.
    """
    try:
        done = read_record(Extraction, folder / EXTRACTION)
        hashes = [sha256_of(folder / name) for name in (*done.shards, STAGED_REJECTS)]
    except (OSError, RunStateError):
        return None
    return done if hashes == done.sha256 else None


def read_manifest(file: Path) -> Manifest:
    """Read one manifest.

    Raises:
        RunStateError: it is not there, cannot be read, or a field is missing or of another type.
    """
    return read_record(Manifest, file)
