"""Every option of a run, typed and validated once.

The same model serves the command line, the environment (`ECOMINTENT_THRESHOLD=0.8`), a TOML file
(`--config run.toml`) and the form of a Prefect deployment. Flags win over the environment, the
environment over the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from ecomintent_batch.analytics.alerts import parse_alert
from ecomintent_batch.analytics.targets import check_target
from ecomintent_batch.errors import UsageError, hide_password
from ecomintent_batch.options import RUN_OPTIONS, EngineName, FileFormat
from ecomintent_batch.storage.location import Location, absolute_location, parse_location

if TYPE_CHECKING:
    from ecomintent_batch.inference.classify import ClassifyOptions
    from ecomintent_batch.inference.model_cache import EngineOptions

Columns = tuple[str, ...]
_PREFIX = "ECOMINTENT_"
_AS_PATH = WithJsonSchema({"type": "string", "format": "path"})  # one field in a form
# For forms and stored parameters only: a URL on the command line may hold a password.
# A `not`, because its title is what the error of the form shows; no [/ in it, which Prefect would take for markup.
_NO_PASSWORD: dict[str, JsonValue] = {
    "not": {
        "title": "a URL with a password: Prefect stores parameters; leave it out, and set PGPASSWORD where the run happens",
        "pattern": r"^\w+://(?:[^:@/]*:(?!\d+(?:/|\?|#|$)).*@|.*[?&][^=&]*pass[^=&]*=)",
    }
}


Targets = tuple[Annotated[str, Field(json_schema_extra=_NO_PASSWORD)], ...]


def _field(name: str, **more: Any) -> Any:
    """Return the field of an option: default, description and bounds are those of the table."""
    option = RUN_OPTIONS[name]
    default = f" Default: {option.default_text}." if option.default_text else ""
    return Field(
        ... if name == "source" else option.default,
        description=option.help + default,
        ge=option.minimum,
        le=option.maximum,
        pattern=option.pattern,
        **more,
    )


class RunSettings(BaseModel):
    """The parameters of one run; what is not given comes from the environment."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=()
    )

    source: str = _field("source", min_length=1, json_schema_extra=_NO_PASSWORD)
    table: str | None = _field("table")
    query: str | None = _field("query")
    where: str | None = _field("where")
    format: FileFormat | None = _field("format")
    encoding: str | None = _field("encoding")
    delimiter: str | None = _field("delimiter")
    max_reject_ratio: float = _field("max_reject_ratio")
    id_column: str | None = _field("id_column")
    text_column: Columns = _field("text_column")
    time_column: str | None = _field("time_column")
    time_format: str | None = _field("time_format")
    keep: Columns = _field("keep")
    by: Columns = _field("by")
    model: str | None = _field("model")
    labels: Path | None = _field("labels")
    unlabelled: str | None = _field("unlabelled")
    engine: Literal[EngineName, "stub"] = _field("engine")
    device: str = _field("device")
    compile: bool = _field("compile")
    threads: int | None = _field("threads")
    threshold: float = _field("threshold")
    max_length: int | None = _field("max_length")
    max_batch_tokens: int | None = _field("max_batch_tokens")
    dedupe: bool = _field("dedupe")
    any_language: bool = _field("any_language")
    raw_text: bool = _field("raw_text")
    out: Annotated[Location, _AS_PATH, BeforeValidator(parse_location)] = _field("out")
    out_table: str | None = _field("out_table")
    shard_rows: int | None = _field("shard_rows")
    keep_text: bool = _field("keep_text")
    topics: bool = _field("topics")
    incremental: bool = _field("incremental")
    backfill: bool = _field("backfill")
    lag_days: float = _field("lag_days")
    full_every_days: float | None = _field("full_every_days")
    hourly_price: float = _field("hourly_price")
    minutes_per_ticket: float | None = _field("minutes_per_ticket")
    cost_per_ticket: float | None = _field("cost_per_ticket")
    alert: Columns = _field("alert")
    publish: Targets = _field("publish")
    resume: bool = _field("resume")
    on_stale: Literal["refuse", "discard"] = _field("on_stale")
    lock_timeout: float = _field("lock_timeout")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_environment(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        environment = _read_environment()
        return {
            name: environment[name] for name in cls.model_fields if name in environment
        } | values

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value in ("\\t", "tab"):
            return "\t"
        if value is not None and (len(value) != 1 or value in "\r\n\"'\\"):
            raise ValueError("should be one character that is no quote, or 'tab'")
        return value

    @field_validator("text_column", "keep", "by", "alert", "publish", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return (
            tuple(name.strip() for name in value.split(",") if name.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("alert")
    @classmethod
    def _alert_is_known(cls, value: Columns) -> Columns:
        for text in value:
            try:
                parse_alert(text)
            except UsageError as error:
                raise ValueError(str(error).removeprefix("--alert: ")) from None
        return value

    @field_validator("publish")
    @classmethod
    def _target_is_known(cls, value: Columns) -> Columns:
        for target in value:
            try:
                check_target(target)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _alerts_look_within_by(self) -> Self:
        for text in self.alert:
            by = parse_alert(text).by
            if by is not None and by not in self.by:
                raise ValueError(f"alert {text!r} looks within {by}, which is not among --by")
        return self

    @field_serializer("source", when_used="json")
    def _hide_password(self, value: str) -> str:
        return hide_password(value)

    @field_serializer("publish", when_used="json")
    def _hide_passwords(self, value: Columns) -> list[str]:
        return [hide_password(target) for target in value]

    @field_validator("out_table")
    @classmethod
    def _one_spelling(cls, value: str | None) -> str | None:
        """Return a path that means the same in every working folder: by it the table's runs are known."""
        if value is None:
            return None
        return value.rstrip("/") if "://" in value else str(absolute_location(Path(value)))

    @model_validator(mode="after")
    def _table_or_query(self) -> Self:
        if self.table and self.query:
            raise ValueError("--table and --query: give one of the two")
        return self

    @model_validator(mode="after")
    def _topics_have_text(self) -> Self:
        if self.topics and not self.keep_text:
            raise ValueError("--topics: give --keep-text too")
        if self.topics and find_spec("sklearn") is None:
            raise ValueError("--topics needs scikit-learn: pip install 'ecomintent-batch[topics]'")
        return self

    @model_validator(mode="after")
    def _labels_or_model(self) -> Self:
        if self.labels and self.model:
            raise ValueError("--labels and --model: give one of the two")
        if self.unlabelled and not self.labels:
            raise ValueError("--unlabelled: give --labels too")
        return self

    @model_validator(mode="after")
    def _backfill_is_incremental(self) -> Self:
        if self.backfill and not self.incremental:
            raise ValueError("--backfill: give --incremental too")
        return self

    def engine_options(self) -> EngineOptions:
        """Return what decides how the model is loaded."""
        from ecomintent_batch.inference.model_cache import EngineOptions

        return EngineOptions(
            model=self.model,
            engine=self.engine,
            device=self.device,
            threads=self.threads,
            max_batch_tokens=self.max_batch_tokens,
            compile=self.compile,
        )

    def classify_options(self) -> ClassifyOptions:
        """Return what decides what a part holds."""
        from ecomintent_batch.inference.classify import ClassifyOptions

        return ClassifyOptions(
            threshold=self.threshold,
            max_length=self.max_length,
            dedupe=self.dedupe,
            raw_text=self.raw_text,
            keep_text=self.keep_text,
            any_language=self.any_language,
        )

    def with_threshold_of(self, calibration: Mapping[str, Any]) -> Self:
        """Return the settings with the threshold that a model was made with, where nobody has set one."""
        if "threshold" in self.model_fields_set or "threshold" not in calibration:
            return self
        return self.model_copy(update={"threshold": float(calibration["threshold"])})

    def kept_columns(self) -> list[str]:
        """Return the columns of `keep` and `by`, each once, in that order."""
        return list(dict.fromkeys((*self.keep, *self.by)))


def load_settings(config: Path | None = None, **flags: Any) -> RunSettings:
    """Build settings from flags, the environment and a TOML file; the flags None and () are not given.

    Raises:
        UsageError: a value is out of range, unknown, or contradicts another.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    if config is not None:
        given = _without_env(_read_toml(config)) | given
    try:
        return RunSettings(**given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "options"
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {message[0].lower() + message[1:]}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"--config {path}: expected a readable TOML file, found: {error}"
        ) from None
    return {
        # Names may be spelled like flags.
        name.replace("-", "_"): value
        for name, value in values.items()
    }


def _read_environment() -> dict[str, str]:
    """Return the values of `ECOMINTENT_*` variables, in any case, by the names of the settings."""
    return {
        name[len(_PREFIX) :].lower(): value
        for name, value in os.environ.items()
        if name.upper().startswith(_PREFIX)
    }


def _without_env(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that no environment variable sets: the environment wins over the file."""
    environment = _read_environment()
    return {name: value for name, value in values.items() if name not in environment}
