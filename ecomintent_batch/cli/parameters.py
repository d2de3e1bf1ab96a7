"""Parameters of commands, made from the table of options, and those that every command has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ecomintent_batch.options import RUN_OPTIONS, Option

CONFIG_HELP = "TOML file with any of the options of `run`, by name."
DEBUG = Option(help="Show the traceback of an error.", kind=bool, default=False)


def _flags(name: str, row: Option) -> tuple[str, ...]:
    # Named, because typer would give an unnamed flag a negative `--no-name`.
    return row.flags or (f"--{name.replace('_', '-')}",)


def option(name: str, *, help: str = "", settable: bool = False) -> Any:
    """Return the typer option of a name in the table.

    Args:
        name: Name in `RUN_OPTIONS`.
        help: Help for a command where the option means something more special.
        settable: Whether environment and TOML file may set it too: then the settings check its bounds.
    """
    row = RUN_OPTIONS[name]
    shown = row.show_default()
    text = help or row.help
    if row.repeatable:
        text = f"{text.rstrip('.')}; repeatable."
    return typer.Option(
        *_flags(name, row),
        help=describe(text, shown),
        show_default=False,
        min=None if settable else row.minimum,
        max=None if settable else row.maximum,
        rich_help_panel=row.group if settable else None,
    )


def describe(text: str, default: str) -> str:
    """Return a help text with a default in words; rich would read a plain bracket as markup."""
    return f"{text} \\[default: {default}]" if default else text


Source = Annotated[
    str,
    typer.Argument(help=RUN_OPTIONS["source"].help, metavar="SOURCE", show_default=False),
]
Out = Annotated[Path, option("out")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON document on stdout.")
]
Config = Annotated[Path | None, typer.Option(help=CONFIG_HELP)]
RunId = Annotated[
    str | None,
    typer.Argument(
        help=describe("A committed run.", "the latest"), metavar="RUN_ID", show_default=False
    ),
]


def with_settings(*, without: Iterable[str] = ()) -> Callable[[Callable[..., None]], Any]:
    """Give a command an option for each setting; its parameter `flags` receives those that were given.

    Nothing is a default here, so that the environment and the TOML file can set what no flag sets.
    """
    names = [name for name in RUN_OPTIONS if name not in {"source", *without}]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**values: Any) -> None:
            flags = {name: values.pop(name) for name in names}
            function(**values, flags=flags)

        _set_parameters(command, [*_parameters(function, but="flags"), *map(_setting, names)])
        return command

    return decorate


def with_debug(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--debug`, which `main` reads: it must work where parsing fails, too."""

    @functools.wraps(function)
    def command(*, debug: bool = False, **values: Any) -> None:  # noqa: ARG001
        function(**values)

    flag = typer.Option(*_flags("debug", DEBUG), help=DEBUG.help)
    _set_parameters(
        command, [*_parameters(function), _parameter("debug", Annotated[bool, flag], False)]
    )
    return command


def _setting(name: str) -> inspect.Parameter:
    """Return the parameter of one setting, None where it is not given."""
    row = RUN_OPTIONS[name]
    kind = list[row.kind] if row.repeatable else row.kind  # type: ignore[name-defined]
    return _parameter(name, Annotated[kind | None, option(name, settable=True)], None)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _parameters(function: Callable[..., None], but: str = "") -> list[inspect.Parameter]:
    signature = inspect.signature(function, eval_str=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != but
    ]


def _set_parameters(command: Any, parameters: list[inspect.Parameter]) -> None:
    """Set what typer reads of a function: its signature and its annotations."""
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {
        "return": None
    }
