"""The README against the command line: every command it shows is known, with every flag it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import typer
from conftest import ROOT

from ecomintent_batch.cli import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)
COMMANDS = [
    line.partition("#")[0].strip()
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
    if "ecomintent-batch " in line or "-m flows." in line
]
CLI = typer.main.get_command(app)


def test_readme_is_read_in_one_sitting() -> None:
    """It stays within 200 lines."""
    assert len(README.splitlines()) <= 200


def test_readme_has_no_placeholder() -> None:
    """Nothing was left to fill in."""
    assert not re.search(r"@@|TODO|TBD|FIXME", README)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_known(command: str) -> None:
    """Subcommand and flags parse, whatever the files behind them."""
    part = command.split("&&")[-1].strip()
    words = shlex.split(part)
    if "-m" in words:
        assert (ROOT / (words[words.index("-m") + 1].replace(".", "/") + ".py")).exists()
        return
    assert words[0].endswith("ecomintent-batch")
    name, *arguments = words[1:]
    CLI.commands[name].make_context(name, arguments, parent=None)  # type: ignore[attr-defined]


def test_every_subcommand_is_in_the_readme() -> None:
    """A command that nobody can find does not exist."""
    missing = [name for name in CLI.commands if f"ecomintent-batch {name}" not in README]  # type: ignore[attr-defined]
    assert not missing


def test_the_main_command_runs(tmp_path: str) -> None:
    """The first of the two commands, behind its set-up, prints the volumes of the sample tickets."""
    command = next(command for command in COMMANDS if "sample_data" in command)
    words = shlex.split(command.split("&&")[-1])[1:]
    done = subprocess.run(
        [sys.executable, "-m", "ecomintent_batch", *words, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "400 tickets labelled" in done.stdout


def test_constraints_pin_what_is_needed() -> None:
    """Every direct dependency has an exact pin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["warehouse"]]
    names = {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    pins = dict(line.split("==") for line in lines if re.match(r"[\w.-]+==", line))
    assert names <= pins.keys()
