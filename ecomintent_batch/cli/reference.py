"""The command line as a page of Markdown: `python -m ecomintent_batch.cli.reference > docs/cli.md`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from ecomintent_batch.cli.app import app
from ecomintent_batch.cli.commands.run import run

_OWN = "option"
_INTRODUCTION = """\
# Command line

Made by `python -m ecomintent_batch.cli.reference > docs/cli.md`; a test compares it with the program.

Each option of `run` is also an environment variable (`--max-reject-ratio 0.05` is
`ECOMINTENT_MAX_REJECT_RATIO=0.05`) and a line of the TOML file of `--config` (`max_reject_ratio = 0.05`).
Flags win over the environment, the environment over the file. Several columns in one variable are
separated by commas.

Every command has `--debug`, before or after its name: it shows the traceback of an error. Two more options
mean the same wherever they exist: `--quiet` prints only warnings and errors, `--json` prints the result as
one JSON document on stdout, and nothing else.

| exit code | meaning |
|---:|---|
| 0 | done |
| 1 | the job failed, or `verify` found a fault |
| 2 | wrong usage |
| 3 | a condition of `--alert` holds |
| 130, 143 | interrupted (Ctrl+C, SIGTERM); the same command resumes the run |

An error is one line on stderr: where, what was expected, what was found, what to do.
"""


@dataclass(frozen=True)
class _Row:
    """One argument or option of a command."""

    spelled: str
    text: str
    default: str
    panel: str
    is_argument: bool


def make_reference() -> str:
    """Return the page."""
    sections = [_describe_command(name, function) for name, function in _list_commands(app)]
    return "\n".join([_INTRODUCTION, *sections])


def _list_commands(program: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for command in program.registered_commands:
        function: Any = command.callback
        yield prefix + (command.name or function.__name__), function
    for group in program.registered_groups:
        if group.typer_instance is not None:
            yield from _list_commands(group.typer_instance, f"{prefix}{group.name} ")


def _describe_command(name: str, function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    rows = [_describe_parameter(one) for one in parameters if one.name != "debug"]
    arguments = [row for row in rows if row.is_argument]
    options = [row for row in rows if not row.is_argument]
    words = [row.spelled if row.default == "required" else f"[{row.spelled}]" for row in arguments]
    usage = " ".join(["ecomintent-batch", name, *words, "[OPTIONS]"])
    lines = [f"## {name}", "", inspect.getdoc(function) or "", ""]
    lines += ["```text", usage, "```", "", *_to_table("argument", arguments)]
    settings = [row for row in options if row.panel != _OWN]
    if name == "run":
        for panel, members in groupby(settings, key=lambda row: row.panel):
            lines += _to_table(panel.lower(), members)
    elif settings:
        lines += [_refer_to_run({row.spelled for row in settings}), ""]
    lines += _to_table(_OWN, [row for row in options if row.panel == _OWN])
    return "\n".join(lines)


def _refer_to_run(spelled: set[str]) -> str:
    """Say which options of `run` a command has, too."""
    parameters = inspect.signature(run).parameters.values()
    rows = [_describe_parameter(one) for one in parameters]
    missing = [row.spelled for row in rows if row.panel != _OWN and row.spelled not in spelled]
    flags = [flag for one in missing for flag in re.findall("`[^`]+`", one)]
    return f"Has the options of [run](#run), too, except {', '.join(flags)}."


def _describe_parameter(parameter: inspect.Parameter) -> _Row:
    kind, info = get_args(parameter.annotation)
    text, _, named = (info.help or "").partition(" \\[default: ")
    is_argument = isinstance(info, ArgumentInfo)
    return _Row(
        spelled=info.metavar or parameter.name.upper()
        if is_argument
        else _spell_flags(parameter.name, kind, info),
        text=text,
        default=named.removesuffix("]") or _show_default(parameter.default),
        panel=info.rich_help_panel or _OWN,
        is_argument=is_argument,
    )


def _spell_flags(name: str, kind: Any, info: OptionInfo) -> str:
    declared = [info.default, *(info.param_decls or ())]
    flags = [
        flag.strip()
        for one in declared
        if isinstance(one, str)
        for flag in one.split("/")
        if flag.strip()
    ] or [f"--{name.replace('_', '-')}"]
    value = _show_kind(kind)
    return ", ".join(f"`{flag}`" for flag in flags) + (f" {value}" if value else "")


def _show_kind(kind: Any) -> str:
    """Return the placeholder of a value: its choices or its type; nothing for a flag."""
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    inner = [one for one in get_args(kind) if one is not NoneType]
    if inner:
        return _show_kind(inner[0])
    return "" if kind is bool else {str: "TEXT", int: "N", float: "NUMBER"}.get(kind, "PATH")


def _show_default(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    return "" if default is None or default is False else str(default)


def _to_table(heading: str, rows: Iterable[_Row]) -> list[str]:
    lines = [f"| {row.spelled} | {_cell(row.text)} | {_cell(row.default)} |" for row in rows]
    return [f"| {heading} | meaning | default |", "|---|---|---|", *lines, ""] if lines else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(make_reference(), end="")
