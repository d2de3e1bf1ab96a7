"""Errors: one line for people, attributes for programs, nothing secret in either."""

from __future__ import annotations

import ast
import doctest
import errno
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tickets import ROOT

from ecomintent_batch import errors
from ecomintent_batch.errors import EcomIntentError, OutputError, SourceError, describe_write_error
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.lock import lock_out


def kinds(base: type[EcomIntentError]) -> list[str]:
    """Return the names of a class and of those below it."""
    return [base.__name__, *(name for below in base.__subclasses__() for name in kinds(below))]


def spell(node: ast.expr) -> str:
    """Return the text of a literal, with X for each value that is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "X"


def raised() -> Iterator[str]:
    """Yield file, line and message of each error in the code."""
    names = set(kinds(EcomIntentError))
    for file in sorted((ROOT / "ecomintent_batch").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names and node.args:
                yield f"{file.name}:{node.lineno}|{spell(node.args[0])}"


def test_every_message_follows_the_grammar() -> None:
    """`where: expected …, found …; what to do`; few cannot say `expected`."""
    messages = list(raised())
    assert len(messages) > 100
    loose = []
    for message in messages:
        line, _, text = message.partition("|")
        error = EcomIntentError(text)
        assert "\n" not in text, line
        # A part of a line is completed where it is raised again.
        if error.where is None or error.expected is None:
            loose.append(message)
    assert len(loose) < len(messages) / 8, loose


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("a.csv: expected tickets, found none", ("a.csv", "tickets", "none", None)),
        (
            "C:/a: b.csv: expected a, b, found: x: y; do z; or w",
            ("C:/a: b.csv", "a, b", "x: y", "do z; or w"),
        ),
        ("--set x: expected name=value", ("--set x", "name=value", None, None)),
        ("--table: give one", ("--table", None, "give one", None)),
        ("something", (None, None, None, None)),
    ],
)
def test_attributes_are_the_parts_of_the_line(message: str, parts: tuple[str | None, ...]) -> None:
    """Where, expected, found, remedy; None for what the line does not say; the line itself as it was."""
    error = SourceError(message)
    assert (error.where, error.expected, error.found, error.remedy) == parts
    assert str(error) == message


def test_an_error_travels_whole() -> None:
    """Prefect and process pools pickle errors; the line and whether to try again arrive."""
    error = pickle.loads(pickle.dumps(OutputError("a: expected b, found c", transient=True)))  # noqa: S301
    assert isinstance(error, OutputError)
    assert (str(error), error.transient) == ("a: expected b, found c", True)


@pytest.mark.parametrize(
    ("code", "transient"),
    [(errno.ENOSPC, True), (errno.ESTALE, True), (errno.EACCES, False), (errno.EROFS, False)],
)
def test_a_full_disk_is_worth_another_try(code: int, transient: bool) -> None:
    """Somebody may clear it; permissions do not change by themselves."""
    error = describe_write_error("out", OSError(code, "?"))
    assert error.transient is transient
    assert (error.where, error.expected) == ("out", "room to write")


def test_a_busy_folder_is_worth_another_try(tmp_path: Path, stub_settings) -> None:
    """The other job ends some time; a source that is not there does not appear by itself."""
    settings = stub_settings(tmp_path / "none.csv", tmp_path / "out")
    with (
        lock_out(settings.out, 0, lambda text: None),
        pytest.raises(OutputError) as busy,
    ):
        run_job(settings)
    assert busy.value.transient
    assert busy.value.where == str(settings.out)
    with pytest.raises(SourceError) as missing:
        run_job(settings)
    assert not missing.value.transient
    assert missing.value.expected == "a file, folder or glob"


def test_the_examples_in_the_docstrings_hold() -> None:
    """What a reader tries first."""
    assert doctest.testmod(errors).attempted > 0
    assert doctest.testmod(errors).failed == 0
