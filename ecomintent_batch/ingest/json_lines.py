"""JSON lines → rows, with a reason for every line that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import Reject, Row
from ecomintent_batch.ingest.encoding import detect_encoding, find_undecodable, open_text

_SAMPLE_OBJECTS = 1000


class JsonLinesFile:
    """One file of JSON objects, one a line; columns are the keys of its first 1,000 objects.

    Raises:
        SourceError: there is no object in it.
    """

    def __init__(self, path: Path, encoding: str | None, name: str | None = None) -> None:
        self.path, self.name = path, name or str(path)
        self.encoding = self.description = encoding or detect_encoding(path)
        keys: dict[str, None] = {}
        problem = "an empty file"
        for _, found in islice(self._objects(), _SAMPLE_OBJECTS):
            if isinstance(found, dict):
                keys.update(dict.fromkeys(found))
            else:
                problem = f"none ({found})"
        self.columns = list(keys)
        if not keys:
            raise SourceError(f"expected a JSON object on each line, found {problem}")

    def _objects(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Yield each line's number with its object, or with the reason why it has none."""
        decoder = json.JSONDecoder(
            parse_float=str, parse_int=str
        )  # as written: ids and prices keep their digits
        with open_text(self.path, self.encoding) as file:
            for number, line in enumerate(file, start=1):
                text = line.strip("\ufeff \t\r\n")
                if not text:
                    continue
                try:
                    found = decoder.decode(text)
                except ValueError as error:
                    message = (
                        error.msg
                        if isinstance(error, json.JSONDecodeError)
                        else type(error).__name__
                    )
                    yield number, f"not JSON: {message}"
                    continue
                except RecursionError:
                    yield number, "not JSON: nested too deep"
                    continue
                yield (
                    number,
                    found
                    if isinstance(found, dict)
                    else f"expected an object, found {type(found).__name__}",
                )

    def rows(self) -> Iterator[Row | Reject]:
        """Yield every object; `row_number` of a reject counts within this file."""
        for row_number, (number, found) in enumerate(self._objects()):
            if isinstance(found, str):
                yield Reject(self.name, number, row_number, None, found)
                continue
            values = [_as_text(found.get(key)) for key in self.columns]
            if (column := find_undecodable(values, self.encoding)) is not None:
                yield Reject(
                    self.name,
                    number,
                    row_number,
                    self.columns[column],
                    "characters that are not Unicode text",
                )
            else:
                yield Row(values, number)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
