"""The templates of all pages: one environment, one style."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

_SHARED = Path(__file__).parent  # holds page.css, which pages include


@cache  # compiling the templates takes longer than filling them
def open_templates(folder: Path) -> Environment:
    """Return the environment for the templates of a folder; every value in a `.html` file is escaped.

    Markdown is not escaped: no value in it comes from a ticket.
    """
    return Environment(
        loader=FileSystemLoader([folder, _SHARED]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: Path, **values: Any) -> str:
    """Return a template with its values."""
    return open_templates(template.parent).get_template(template.name).render(**values)
