"""Values inside nested ones: `source.body`, `comments.0.body`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

_DEEPEST = 4
_MOST_PATHS = 60


def nested_paths(name: str, values: Iterable[Any]) -> list[str] | None:
    """Return the paths of the values inside a column; None if it is not nested.

    Args:
        name: Of the column.
        values: Some of its values; texts that are JSON objects or lists count as such.
    """
    paths: dict[str, None] = {}
    nested = plain = 0
    for value in values:
        if value is None or value == "":
            continue
        inside = _parse(value)
        if isinstance(inside, (dict, list)):
            nested += 1
            if len(paths) < _MOST_PATHS:
                paths.update(dict.fromkeys(_leaves(inside, name, 0)))
        else:
            plain += 1
    return list(paths)[:_MOST_PATHS] if nested > plain else None


def _leaves(value: Any, path: str, depth: int) -> list[str]:
    if depth > _DEEPEST:
        return []
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _leaves(value[key], f"{path}.{key}", depth + 1)]
    if isinstance(value, list):
        return _leaves(value[0], f"{path}.0", depth + 1) if value else []
    return [path]


def _parse(value: Any) -> Any:
    """Return the object or list that a text is the JSON of, and anything else as it is."""
    if isinstance(value, str) and value[:1] in "{[" and value.rstrip()[-1:] in "}]":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def value_at(value: Any, steps: Sequence[str]) -> Any:
    """Return the value at a path; None if there is none. A text along the path is the value itself."""
    for index, step in enumerate(steps):
        value = _parse(value)
        if isinstance(value, dict):
            if (rest := ".".join(steps[index:])) in value:  # a key with dots
                return value[rest]
            value = value.get(step)
        elif isinstance(value, list):
            value = value[int(step)] if step.isdigit() and int(step) < len(value) else None
        else:
            return value
    return value
