"""The README against the command line: every command it shows is known, with every flag it shows."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import polars as pl
import pytest
import typer
from support.tickets import NINE, ROOT
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app

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


class Place:
    """A folder with the files that the README names, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        sample = ROOT / "sample_data"
        shutil.copy(sample / "tickets.csv", folder / "tickets.csv")
        (folder / "exports").mkdir()
        warehouse = duckdb.connect(folder / "warehouse.duckdb")
        tickets = warehouse.from_parquet(str(sample / "tickets.parquet"))
        tickets.project("ticket_id AS id, * EXCLUDE ticket_id, 'north' AS brand").create("tickets")
        tickets.project("*, 'north' AS brand").write_parquet(
            str(folder / "exports" / "2026-11.parquet")
        )
        warehouse.close()
        self.folder = folder

    def run(self, command: str) -> str:
        """Run a command of the README, and return what it prints."""
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        # Whether an alert of the README holds is the sample's matter; that it ends in 3 is in test_alerts.py.
        assert done.exit_code in ((0, 3) if " --alert " in command else (0,)), (
            f"{command}: {done.output}"
        )
        return done.output

    def fill_in(self, sheet: str) -> None:
        """Do what a reader does: put a label beside each ticket."""
        rows = pl.read_excel(self.folder / sheet)
        rows.with_columns(label=pl.lit("WISMO")).write_excel(self.folder / sheet)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new folder to work in."""
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


def of_section(title: str) -> list[str]:
    """Return the commands of a section."""
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [command for command in COMMANDS if command in section]


def test_the_commands_about_sources_run(place: Place) -> None:
    """From files and from DuckDB; Postgres and S3 have real servers in tests of their own."""
    commands = [
        command
        for command in of_section("Sources")
        if "postgresql://" not in command and "s3://" not in command
    ]
    assert len(commands) >= 4
    for command in commands:
        assert "400 tickets labelled" in place.run(command)


def test_the_commands_about_outputs_run(place: Place) -> None:
    """Queries, report, alerts and the review loop, in the README's order; training on it is in a test of its own."""
    place.run("ecomintent-batch run tickets.csv")
    for command in of_section("Outputs"):
        if " train " not in command:
            place.run(command)
        if " export " in command:
            place.fill_in("sheet.xlsx")
    assert (place.folder / "reviewed" / "labelled.parquet").exists()


def test_the_commands_about_killed_runs_run(place: Place) -> None:
    """Incremental, verify, clean."""
    for command in of_section("Killed, repeated, concurrent"):
        place.run(command)


@pytest.mark.slow
def test_the_commands_about_training_run(place: Place, tiny_model: Path) -> None:
    """On little data and a small base; what is measured stands in the model's card."""
    rows = [
        (f"{text} {i}", intent)
        for i in range(12)
        for text, intent in (("where is it", "WISMO"), ("my login", "ACCOUNT_ISSUE"))
    ]
    pl.DataFrame(rows, schema=["body", "topic"], orient="row").write_csv("labelled.csv")
    (place.folder / "bitext").mkdir()
    for split in ("train", "validation", "test"):
        intents = [intent for intent in NINE for _ in range(12)]
        texts = [f"{split} {intent.lower()} please {i}" for i, intent in enumerate(intents)]
        pl.DataFrame({"text": texts, "intent": intents}).write_parquet(f"bitext/{split}.parquet")
    changes = {
        "train dataset": f"--base-model {tiny_model} --epochs 0.1",
        "export trained": "--min-agreement 0",
    }
    for command in of_section("The model, and how far to trust it"):
        place.run(" ".join([command, *(more for part, more in changes.items() if part in command)]))
    assert (place.folder / "my-model" / "onnx" / "model_int8.onnx").exists()


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
    lines = (
        (ROOT / "constraints.txt")
        .read_text(encoding="utf-8")
        .lower()
        .replace("_", "-")
        .splitlines()
    )
    pins = dict(line.split("==") for line in lines if re.match(r"[\w.-]+==", line))
    assert names <= pins.keys()
