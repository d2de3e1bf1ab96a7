"""JSON → rows: objects one a line, one array, a list inside an object, or objects one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ecomintent_batch.errors import SourceError
from ecomintent_batch.ingest.base import Reject, Row
from ecomintent_batch.ingest.encoding import detect_encoding, find_undecodable, is_guess, open_text
from ecomintent_batch.ingest.paths import nested_paths, value_at

_SAMPLE_OBJECTS = 1000
_CHUNK = 1 << 20
_SPACE = "\ufeff \t\r\n"
_LISTS = (
    "tickets", "conversations", "cases", "issues", "requests", "threads", "messages", "results", "data", "records", "items",
    "value", "values", "rows", "nodes", "edges", "hits", "entries", "objects", "list", "content", "response",
)  # fmt: skip
_DEEPEST_LIST = 3
# As written: ids and prices keep their digits.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda name: None)
_Found = tuple[int, Any]  # a line and a value, or an _Unreadable


class _Unreadable(str):
    """Why there is no value."""

    __slots__ = ()


class JsonLinesFile:
    """One file of JSON objects; columns are the keys of all of them.

    Raises:
        SourceError: there is no object in it.
    """

    def __init__(self, path: Path, encoding: str | None, name: str | None = None) -> None:
        self.path, self.name = path, name or str(path)
        self.encoding = encoding or detect_encoding(path)
        self.layout = self._detect_layout()
        self.description = self.encoding + {"lines": "", "array": ", one array"}.get(
            self.layout, ", a list inside an object" if self.layout == "wrapped" else ", objects"
        )
        if encoding is None and is_guess(self.encoding):
            self.description += " (a guess)"
        self.columns, self.nested = self._find_columns()

    def _detect_layout(self) -> str:
        with open_text(self.path, self.encoding) as file:
            lines = list(islice((text for line in file if (text := line.strip(_SPACE))), 2))
        first, second = [*lines, "", ""][:2]
        whole, next_whole = _decode(first), _decode(second)
        if isinstance(next_whole, dict):
            return "lines"
        if first.startswith("["):
            is_line = not isinstance(whole, _Unreadable) and second.startswith("[")
            return "lines" if is_line else "array"
        if isinstance(whole, dict):
            return "wrapped" if not second and _find_list(whole) is not None else "lines"
        if not first.startswith("{") or (isinstance(whole, _Unreadable) and second.startswith("{")):
            return "lines"
        with open_text(self.path, self.encoding) as file:
            values = list(islice(_stream_values(file, in_array=False), 2))
        alone = len(values) == 1 and isinstance(values[0][1], dict)
        return "wrapped" if alone and _find_list(values[0][1]) is not None else "objects"

    def _find_columns(self) -> tuple[list[str], dict[str, list[str]]]:
        """Return the keys of all objects in their order, and the paths inside those that are nested."""
        keys: dict[str, None] = {}
        sample: list[dict[str, Any]] = []
        problem = "an empty file"
        for _, value in self._objects():
            if isinstance(value, _Unreadable):
                problem = f"none ({value})"
                continue
            has_new_key = not value.keys() <= keys.keys()
            if has_new_key:
                keys.update(dict.fromkeys(value))
            if has_new_key or len(sample) < _SAMPLE_OBJECTS:
                sample.append(value)
        if not keys:
            raise SourceError(f"expected a JSON object on each line, found {problem}")
        paths = {key: nested_paths(key, (value.get(key) for value in sample)) for key in keys}
        return list(keys), {key: inside for key, inside in paths.items() if inside is not None}

    def _objects(self) -> Iterator[_Found]:
        """Yield each object with its line, or the reason why there is none."""
        with open_text(self.path, self.encoding) as file:
            if self.layout == "lines":
                values: Iterator[_Found] = _read_lines(file)
            elif self.layout == "wrapped":
                whole = _decode(file.read().strip(_SPACE))
                values = ((0, value) for value in _find_list(whole) or [])
            else:
                values = _stream_values(file, in_array=self.layout == "array")
            for line, value in values:
                if isinstance(value, (dict, _Unreadable)):
                    yield line, value
                else:
                    yield line, _Unreadable(f"expected an object, found {type(value).__name__}")

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row | Reject]:
        """Yield every object with some columns, all by default; `row_number` of a reject counts within this file."""
        names = self.columns if columns is None else columns
        steps = [
            None if name in self.columns or "." not in name else name.split(".") for name in names
        ]
        for row_number, (line, value) in enumerate(self._objects()):
            if isinstance(value, _Unreadable):
                yield Reject(self.name, line or None, row_number, None, str(value))
                continue
            values = [
                _as_text(value.get(name) if path is None else value_at(value, path))
                for name, path in zip(names, steps, strict=True)
            ]
            column = find_undecodable(values, self.encoding)
            if column is None:
                yield Row(values, line)
            else:
                error = "characters that are not Unicode text"
                yield Reject(self.name, line or None, row_number, names[column], error)


def _decode(text: str) -> Any:
    """Return the value of a JSON text, or the reason why there is none."""
    try:
        return _DECODER.decode(text)
    except ValueError as error:
        message = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        return _Unreadable(f"not JSON: {message}")
    except RecursionError:
        return _Unreadable("not JSON: nested too deep")


def _read_lines(file: IO[str]) -> Iterator[_Found]:
    for number, line in enumerate(file, start=1):
        if text := line.strip(_SPACE):
            yield number, _decode(text)


def _stream_values(file: IO[str], *, in_array: bool) -> Iterator[_Found]:
    """Yield the values of one array, or values one after the other, independent of line breaks.

    Raises:
        EOFError: after a broken value nothing can be read.
    """
    buffer, position, size, at_end = "", 0, _CHUNK, False
    started = not in_array
    while True:
        while position < len(buffer) and buffer[position] in _SPACE + ",":
            position += 1
        if position < len(buffer) and not started:
            started, position = True, position + 1  # the bracket
            continue
        if position < len(buffer) and buffer[position] == "]" and in_array:
            return
        try:
            if position >= len(buffer):
                raise ValueError("nothing left")
            value, position = _DECODER.raw_decode(buffer, position)
        except RecursionError:
            raise EOFError("JSON that is nested too deep") from None
        except ValueError:
            if at_end:
                if position >= len(buffer.rstrip(_SPACE)) and not in_array:
                    return
                raise EOFError("JSON that breaks off") from None
            more = file.read(size)
            at_end, size = not more, size * 2
            buffer, position = buffer[position:] + more, 0
            continue
        size = _CHUNK
        yield 0, value


def _find_list(value: Any) -> list[Any] | None:
    """Return the list of objects that an answer of an API wraps; None if the object is a ticket itself."""
    if not isinstance(value, dict) or "id" in value or "_id" in value:
        return None
    named: list[tuple[int, list[Any]]] = []
    level: list[dict[str, Any]] = [value]
    for _ in range(_DEEPEST_LIST):
        for inside in level:
            for key, items in inside.items():
                if isinstance(items, list) and items and all(isinstance(i, dict) for i in items):
                    if key.lower() in _LISTS:
                        named.append((_LISTS.index(key.lower()), items))
                    elif inside is value:
                        named.append((len(_LISTS) - len(items), items))
        level = [item for inside in level for item in inside.values() if isinstance(item, dict)]
    if not named:
        return None
    items = min(named, key=lambda pair: pair[0])[1]
    if all(isinstance(item.get("node"), dict) for item in items):  # GraphQL
        return [item["node"] for item in items]
    return items


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
