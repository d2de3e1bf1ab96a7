"""One table of options: help, default and bounds of each, for the settings, the command line, the forms and the docs.

It imports nothing that takes time, because `--help` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

EngineName = Literal["auto", "torch", "onnx"]
FileFormat = Literal["csv", "jsonl", "json", "parquet", "xlsx"]

OUT = Path("ecomintent-out")
THRESHOLD = 0.70
HOURLY_PRICE = 0.10  # USD
LEAST_SHARD_ROWS, SHARD_ROWS = 4_096, 65_536
COMPACT_DAYS = 1.0  # younger runs are not merged
USUAL_Z = 3.5  # robust z-score from which a day is unusual; sql/unusual_days.sql has the same
WEEKS_COMPARED = 8  # so many weeks say what is usual; sql/unusual_days.sql has the same

EMBEDDED_MODEL = "the embedded model"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        help: One sentence.
        kind: Type of one value.
        default: Value when nobody sets it.
        default_text: The default in words, where the value does not say it.
        repeatable: Whether it takes several values.
        flags: How the command line spells it, where that is not `--name`.
        minimum: Smallest number.
        maximum: Largest number.
        pattern: Regular expression that the whole value matches.
        group: Heading in `run --help` and in docs/cli.md.
    """

    help: str
    kind: Any = str
    default: Any = None
    default_text: str = ""
    repeatable: bool = False
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    group: str = "Run"

    def show_default(self) -> str:
        """Return the default as help texts show it; empty where there is none."""
        if self.default_text or self.default is None or self.default is False or self.default == ():
            return self.default_text
        return f"{self.default:.2f}" if isinstance(self.default, float) else str(self.default)


_SOURCE, _COLUMNS, _MODEL, _RUN = "Source", "Columns", "Model and labels", "Run and outputs"

RUN_OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "source": Option(
            help="File, glob, folder, - (standard input), .duckdb file, s3:// URL, or postgresql:// URL without its password.",
            group=_SOURCE,
        ),
        "table": Option(help="Table of a database, or sheet of a workbook.", group=_SOURCE),
        "query": Option(help="One SELECT over a database source.", group=_SOURCE),
        "where": Option(
            help="DuckDB expression over the columns: only rows for which it holds are read.",
            group=_SOURCE,
        ),
        "format": Option(
            help="What the files are.",
            kind=FileFormat,
            default_text="as their names say",
            group=_SOURCE,
        ),
        "encoding": Option(
            help="Encoding of text files.", default_text="detected from their bytes", group=_SOURCE
        ),
        "delimiter": Option(
            help="Delimiter of text files; 'tab' for a tab.",
            default_text="detected from their lines",
            group=_SOURCE,
        ),
        "max_reject_ratio": Option(
            help="Share of unreadable rows above which the run fails.",
            kind=float,
            default=0.01,
            minimum=0,
            maximum=1,
            group=_SOURCE,
        ),
        "id_column": Option(
            help="Column with the ticket's id.", default_text="detected by name", group=_COLUMNS
        ),
        "text_column": Option(
            help="Column with text; several are joined in this order.",
            default=(),
            default_text="detected by name",
            repeatable=True,
            group=_COLUMNS,
        ),
        "time_column": Option(
            help="Column with the ticket's time, for volumes per day.",
            default_text="detected by name",
            group=_COLUMNS,
        ),
        "time_format": Option(
            help="How times are written: a strptime format, or excel, s, ms, us, ns for numbers.",
            default_text="detected",
            group=_COLUMNS,
        ),
        "keep": Option(
            help="Source column to carry into the predictions.",
            default=(),
            repeatable=True,
            group=_COLUMNS,
        ),
        "by": Option(
            help="Source column to break the volumes down by.",
            default=(),
            repeatable=True,
            group=_COLUMNS,
        ),
        "model": Option(
            help="Model folder or Hugging Face id.", default_text=EMBEDDED_MODEL, group=_MODEL
        ),
        "labels": Option(
            help="Labels of your own (TOML, or a table of labelled texts): a model of them is made on first use, and kept.",
            kind=Path,
            group=_MODEL,
        ),
        "unlabelled": Option(
            help="With --labels: an export of yours, to learn from it what is none of the labels.",
            group=_MODEL,
        ),
        "engine": Option(
            help="Engine that computes the probabilities: torch on a GPU, onnx on a CPU.",
            kind=EngineName,
            default="auto",
            group=_MODEL,
        ),
        "device": Option(
            help="auto, cpu, cuda or cuda:N.",
            default="auto",
            pattern=r"^(auto|cpu|cuda(:\d+)?)$",
            group=_MODEL,
        ),
        "compile": Option(
            help="Compile the torch engine first (torch.compile): takes a minute, pays for millions of tickets.",
            kind=bool,
            default=False,
            group=_MODEL,
        ),
        "threads": Option(
            help="CPU threads of the engine.",
            kind=int,
            default_text="all cores",
            minimum=1,
            group=_MODEL,
        ),
        "threshold": Option(
            help="Tickets with a lower confidence get the intent OTHER.",
            kind=float,
            default=THRESHOLD,
            default_text=f"{THRESHOLD:.2f}, or what a model of your own labels was made with",
            minimum=0,
            maximum=1,
            group=_MODEL,
        ),
        "max_length": Option(
            help="Tokens of a message that the model reads.",
            kind=int,
            default_text="the model's limit",
            minimum=8,
            group=_MODEL,
        ),
        "max_batch_tokens": Option(
            help="Tokens of one batch, padding included.",
            kind=int,
            default_text="depends on the device",
            minimum=8,
            group=_MODEL,
        ),
        "dedupe": Option(
            help="Score identical messages of a shard once.",
            kind=bool,
            default=True,
            default_text="dedupe",
            flags=("--dedupe/--no-dedupe",),
            group=_MODEL,
        ),
        "any_language": Option(
            help="Also label tickets in languages that the model was not trained on.",
            kind=bool,
            default=False,
            group=_MODEL,
        ),
        "raw_text": Option(
            help="Keep markup, quoted threads and signatures in the text that the model reads.",
            kind=bool,
            default=False,
            group=_MODEL,
        ),
        "out": Option(
            help="Folder or s3:// URL that holds the outputs of all runs.",
            kind=Path,
            default=OUT,
            group=_RUN,
        ),
        "out_table": Option(
            help="Delta table, a folder or s3:// URL, to which each run is appended in one transaction.",
            group=_RUN,
        ),
        "shard_rows": Option(
            help="Tickets in one shard, the unit of retry and resume.",
            kind=int,
            default_text="4,096 in the first, then twice as many each, up to 65,536",
            minimum=1,
            group=_RUN,
        ),
        "keep_text": Option(
            help="Write the cleaned message into the predictions.",
            kind=bool,
            default=False,
            group=_RUN,
        ),
        "topics": Option(
            help="Group the messages that are OTHER or unsure by what they are about; needs --keep-text.",
            kind=bool,
            default=False,
            group=_RUN,
        ),
        "incremental": Option(
            help="Skip tickets whose current message is classified already.",
            kind=bool,
            default=False,
            group=_RUN,
        ),
        "backfill": Option(
            help="With --incremental: label again what another model has labelled.",
            kind=bool,
            default=False,
            group=_RUN,
        ),
        "lag_days": Option(
            help="With --incremental and --time-column: days before the newest ticket to read again, for late rows; 0 reads all.",
            kind=float,
            default=3,
            minimum=0,
            group=_RUN,
        ),
        "full_every_days": Option(
            help="With --incremental and --time-column: read the whole source when the last such run is so many days old.",
            kind=float,
            minimum=0,
            group=_RUN,
        ),
        "hourly_price": Option(
            help="USD an hour of this machine, for the costs shown.",
            kind=float,
            default=HOURLY_PRICE,
            minimum=0,
            group=_RUN,
        ),
        "minutes_per_ticket": Option(
            help="Minutes that a person takes for one ticket: the report turns volumes into hours.",
            kind=float,
            minimum=0,
            group=_RUN,
        ),
        "cost_per_ticket": Option(
            help="What one ticket costs, in any currency: the report turns volumes into money.",
            kind=float,
            minimum=0,
            group=_RUN,
        ),
        "alert": Option(
            help="Exit with code 3 if this condition holds: 'WISMO share > 30%', 'any unusual'.",
            default=(),
            repeatable=True,
            group=_RUN,
        ),
        "publish": Option(
            help="Write tables for dashboards to a .duckdb file, a postgresql:// URL or an .xlsx file when the run is committed.",
            default=(),
            repeatable=True,
            group=_RUN,
        ),
        "resume": Option(
            help="Resume an interrupted run of the same settings and source, or discard it and start again.",
            kind=bool,
            default=True,
            default_text="resume",
            flags=("--resume/--restart", " /--new"),
            group=_RUN,
        ),
        "on_stale": Option(
            help="What to do with an interrupted run that no longer fits source or settings; a flow discards it.",
            kind=Literal["refuse", "discard"],
            default="refuse",
            group=_RUN,
        ),
        "lock_timeout": Option(
            help="Seconds to wait for another job that works in --out.",
            kind=float,
            default=0,
            minimum=0,
            group=_RUN,
        ),
    }
)
