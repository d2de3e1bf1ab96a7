"""Values that options of several commands take."""

from __future__ import annotations

from typing import Literal

Runner = Literal["inline", "process", "ray"]
LengthUnit = Literal["words", "tokens"]
Precision = Literal["auto", "fp32", "bf16"]
TableFormat = Literal["table", "csv", "json", "parquet"]
