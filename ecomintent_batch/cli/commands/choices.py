"""What options of several commands take, and what they need installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class EngineChoice(StrEnum):
    """What --engine takes."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"


class RunnerChoice(StrEnum):
    """What --runner takes."""

    inline = "inline"
    process = "process"
    ray = "ray"


class LengthUnit(StrEnum):
    """What --length-in takes."""

    words = "words"
    tokens = "tokens"


class Precision(StrEnum):
    """What --precision takes."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Say in one line which extra of the package brings a module that is not installed."""
    from ecomintent_batch.errors import EcomIntentError

    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module == "ecomintent_batch":
            raise
        raise EcomIntentError(
            f"{module}: expected it to be installed, found it missing; pip install 'ecomintent-batch[{name}]'"
        ) from None
