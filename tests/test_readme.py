"""README and docs against the program: every command that they show is known, and those of the README run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import typer
from support.tickets import NINE, ROOT
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app

pytestmark = pytest.mark.model

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))
}
PAGES["README.md"] = README
CLI = typer.main.get_command(app)


def commands_of(text: str) -> list[str]:
    """Return the commands in the shell blocks of a page, without comments; lines that end in a backslash are joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [line.partition(" #")[0].strip() for line in lines]
    return [line for line in found if "ecomintent-batch " in line or "-m flows." in line]


COMMANDS = commands_of(README)


def test_the_readme_is_read_in_one_sitting() -> None:
    """At most 130 lines of ordinary width; commands may be longer."""
    lines = README.splitlines()
    assert len(lines) <= 130
    assert max(len(line) for line in lines if "ecomintent-batch" not in line) <= 125


@pytest.mark.parametrize("page", PAGES)
def test_nothing_was_left_to_fill_in(page: str) -> None:
    """No placeholder, and every relative link leads to a file."""
    assert not re.search(r"@@|TODO|TBD|FIXME", PAGES[page])
    folder = ROOT if page == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", PAGES[page]):
        assert (folder / target).exists(), target


@pytest.mark.parametrize(
    ("page", "command"),
    [(page, command) for page, text in PAGES.items() for command in commands_of(text)],
)
def test_each_command_is_known(page: str, command: str) -> None:
    """Subcommand and flags parse, whatever the files behind them."""
    part = command.split("&&")[-1].split(" | ")[-1].strip()
    words = shlex.split(part.replace("$seed", "1"))
    while "=" in words[0]:  # environment variables
        del words[0]
    if words[0].endswith("python") or words[0] == "python":
        assert (ROOT / (words[words.index("-m") + 1].replace(".", "/") + ".py")).exists()
        return
    assert words[0].endswith("ecomintent-batch"), page
    name, *arguments = [word for word in words[1:] if word != "--debug"]
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
    """Return the commands of a section of the README."""
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [command for command in COMMANDS if command in section]


def test_the_commands_that_use_it_run(place: Place) -> None:
    """From files and from DuckDB; Postgres and S3 have real servers in tests of their own."""
    commands = [
        command
        for command in of_section("Use it")
        if "postgresql://" not in command and "s3://" not in command
    ]
    assert len(commands) >= 4
    for command in commands:
        printed = place.run(command)
        assert re.search(r"\d+ tickets labelled", printed) or " query " in command


def test_the_commands_about_labels_run(place: Place) -> None:
    """The review loop, in the README's order; training on it is in a test of its own."""
    place.run("ecomintent-batch run tickets.csv")
    for command in of_section("How far to trust the labels"):
        if " train " not in command:
            place.run(command)
        if " export " in command:
            place.fill_in("sheet.xlsx")
    assert (place.folder / "reviewed" / "labelled.parquet").exists()


def test_the_python_block_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it is, next to the sample tickets."""
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - the README's own code
    assert names["labels"].height == names["tickets"].height == 400
    assert names["result"].volumes["tickets"].sum() == 400


@pytest.mark.slow
def test_the_commands_about_training_run(place: Place, tiny_model: Path) -> None:
    """docs/own-model.md on little data and a small base."""
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
    for command in commands_of(PAGES["own-model.md"]):
        place.run(" ".join([command, *(more for part, more in changes.items() if part in command)]))
    assert (place.folder / "my-model" / "onnx" / "model_int8.onnx").exists()


def test_every_subcommand_is_on_a_page() -> None:
    """A command that nobody can find does not exist."""
    text = "\n".join(PAGES.values())
    missing = [name for name in CLI.commands if f"ecomintent-batch {name}" not in text]  # type: ignore[attr-defined]
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
