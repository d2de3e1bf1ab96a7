"""Every knob of a run, typed and validated once.

The same model serves the command line, the environment (`ECOMINTENT_THRESHOLD=0.8`), a TOML file
(`--config run.toml`) and the form of a Prefect deployment. Flags win over the environment, the
environment over the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ecomintent_batch.analytics.alerts import parse_alert
from ecomintent_batch.errors import UsageError, hide_password
from ecomintent_batch.storage.location import Location, parse_location

if TYPE_CHECKING:
    from ecomintent_batch.inference.classify import ClassifyOptions
    from ecomintent_batch.inference.model_cache import EngineOptions

Columns = Annotated[tuple[str, ...], NoDecode]  # in the environment `channel,brand`, not JSON
_AS_PATH = WithJsonSchema({"type": "string", "format": "path"})  # one field in a form
EngineName = Literal["auto", "torch", "onnx", "stub"]
# For forms and stored parameters only: a command line may hold the password of its user.
_NO_PASSWORD: dict[str, JsonValue] = {
    "pattern": r"^(?!\w+://([^:@/]*:(?!\d+([/?#]|$)).*@|.*[?&][^=&]*pass[^=&]*=))"
}


class RunSettings(BaseSettings):
    """The parameters of one run."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="ECOMINTENT_", extra="forbid", frozen=True, protected_namespaces=()
    )

    source: str = Field(
        min_length=1,
        description="File, glob, folder, .duckdb file, or postgresql:// URL without its password.",
        json_schema_extra=_NO_PASSWORD,
    )
    out: Annotated[Location, _AS_PATH, BeforeValidator(parse_location)] = Field(
        Path("ecomintent-out"),
        description="Folder, or s3:// URL, that holds the outputs of all runs.",
    )
    table: str | None = Field(None, description="Table of a database source.")
    query: str | None = Field(None, description="One SELECT over a database source.")
    id_column: str | None = Field(
        None, description="Column with the ticket's id; found by its name when unset."
    )
    text_column: Columns = Field((), description="Columns with the text, joined in this order.")
    time_column: str | None = Field(
        None, description="Column with the ticket's time, for daily volumes."
    )
    time_format: str | None = Field(
        None, description="strptime format of a time column that is text."
    )
    keep: Columns = Field((), description="Source columns to carry into the predictions.")
    by: Columns = Field((), description="Source columns to break the volumes down by.")
    encoding: str | None = Field(
        None, description="Encoding of text files; told from their bytes when unset."
    )
    delimiter: str | None = Field(
        None, description="Delimiter of text files; told from their lines when unset."
    )
    model: str | None = Field(
        None, description="Model folder or Hugging Face id; the embedded model when unset."
    )
    engine: EngineName = Field("auto", description="What computes the probabilities.")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N."
    )
    compile: bool = Field(
        False,
        description="Compile the torch engine first (torch.compile): a minute, for millions of tickets.",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads that score; all cores when unset."
    )
    threshold: float = Field(
        0.70, ge=0, le=1, description="Less confident tickets get the intent OTHER."
    )
    max_length: int | None = Field(
        None, ge=8, description="Tokens of a message that the model reads."
    )
    max_batch_tokens: int | None = Field(
        None, ge=8, description="Tokens of one batch, padding included."
    )
    shard_rows: int = Field(65_536, ge=1, description="Tickets in one shard.")
    max_reject_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of unreadable rows that fails the run."
    )
    dedupe: bool = Field(True, description="Score identical messages of a shard once.")
    any_language: bool = Field(
        False, description="Label tickets in languages that the model was not trained on, too."
    )
    raw_text: bool = Field(False, description="Leave markup, quoted threads and signatures in.")
    keep_text: bool = Field(False, description="Write the cleaned message into the predictions.")
    incremental: bool = Field(
        False, description="Leave out tickets whose message is classified already."
    )
    backfill: bool = Field(
        False,
        description="With incremental: tickets that another model has classified count as new.",
    )
    lag_days: float = Field(
        3,
        ge=0,
        description="With incremental and a time column: days to read again, for late rows.",
    )
    hourly_price: float = Field(
        0.10, ge=0, description="USD an hour of the machine, for the cost in the report."
    )
    alert: Columns = Field(
        (), description="Conditions such as 'WISMO share > 30%' that set exit code 3."
    )
    resume: bool = Field(
        True, description="Pick up an interrupted run of the same settings and source."
    )
    on_stale: Literal["refuse", "discard"] = Field(
        "refuse",
        description="What to do with an interrupted run that no longer fits source or settings; a flow discards it.",
    )
    lock_timeout: float = Field(
        0, ge=0, description="Seconds to wait for another job to leave OUT."
    )

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value in ("\\t", "tab"):
            return "\t"
        if value is not None and (len(value) != 1 or value in "\r\n\"'\\"):
            raise ValueError("should be one character that is no quote, or 'tab'")
        return value

    @field_validator("text_column", "keep", "by", "alert", mode="before")
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

    @field_serializer("source", when_used="json")
    def _hide_password(self, value: str) -> str:
        return hide_password(value)

    @model_validator(mode="after")
    def _table_or_query(self) -> Self:
        if self.table and self.query:
            raise ValueError("--table and --query: give one of the two")
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

    def kept_columns(self) -> list[str]:
        """Return the columns named by keep and by, each once, in that order."""
        return list(dict.fromkeys((*self.keep, *self.by)))


def load_settings(config: Path | None = None, **flags: Any) -> RunSettings:
    """Build settings from flags (None and () count as not given), the environment and a TOML file.

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
        name.replace("-", "_"): value for name, value in values.items()
    }  # spelled as the flags are, too


def _without_env(values: dict[str, Any]) -> dict[str, Any]:
    """Drop what the environment sets too, because the environment wins over the file."""
    import os

    environment = {name.upper() for name in os.environ}
    return {
        name: value
        for name, value in values.items()
        if f"ECOMINTENT_{name.upper()}" not in environment
    }
