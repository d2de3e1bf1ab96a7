"""One table of options: settings, command line and docs agree with it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
from typing import get_args

import annotated_types
import pytest
import typer
from support.tickets import ROOT
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app
from ecomintent_batch.cli.commands import deploy, training
from ecomintent_batch.cli.commands.run import run
from ecomintent_batch.cli.reference import make_reference
from ecomintent_batch.options import RUN_OPTIONS, USUAL_Z, WEEKS_COMPARED
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.training.build import DatasetOptions
from ecomintent_batch.training.export import ExportOptions
from ecomintent_batch.training.train import TrainOptions

TYPED = """
t.csv --table a --query b --encoding c --delimiter d --max-reject-ratio 0.5 --id-column e
--text-column f --text-column g --time-column h --time-format i --keep j --by k --by l --model m
--engine torch --device cpu --compile --threads 3 --threshold 0.9 --max-length 64
--max-batch-tokens 512 --no-dedupe --any-language --raw-text --out o --shard-rows 10 --keep-text
--lag-days 1.5 --hourly-price 2 --alert p --lock-timeout 7
"""


def test_settings_have_the_options_of_the_table() -> None:
    """The same names in the same order."""
    assert list(RunSettings.model_fields) == list(RUN_OPTIONS)


@pytest.mark.parametrize("name", RUN_OPTIONS)
def test_a_setting_is_its_option(name: str) -> None:
    """Default, help and bounds of the table; the default itself keeps to them."""
    option, field = RUN_OPTIONS[name], RunSettings.model_fields[name]
    assert field.is_required() == (name == "source")
    if not field.is_required():
        assert field.default == option.default
        RunSettings(source="t.csv", **{name: field.default})
    assert field.description is not None
    assert field.description.startswith(option.help)
    bounds = {type(one): one for one in field.metadata}
    assert getattr(bounds.get(annotated_types.Ge), "ge", None) == option.minimum
    assert getattr(bounds.get(annotated_types.Le), "le", None) == option.maximum


@pytest.mark.parametrize("name", [name for name in RUN_OPTIONS if name != "source"])
def test_the_command_has_the_option(name: str) -> None:
    """`run` takes each option, with the help of the table, and leaves the default to the settings."""
    option, parameter = RUN_OPTIONS[name], inspect.signature(run).parameters[name]
    _, info = get_args(parameter.annotation)
    assert parameter.default is None
    assert info.help.startswith(option.help.rstrip("."))
    assert option.show_default() in info.help


def test_each_option_reaches_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed is what `run` and `deploy` ask the settings for, under the right name."""
    asked: dict[str, object] = {}

    def load(config: object, **flags: object) -> None:
        asked.update({name: value for name, value in flags.items() if value is not None})
        raise typer.Exit

    monkeypatch.setattr("ecomintent_batch.settings.load_settings", load)
    expected = {
        "source": "t.csv",
        "table": "a",
        "query": "b",
        "encoding": "c",
        "delimiter": "d",
        "max_reject_ratio": 0.5,
        "id_column": "e",
        "text_column": ["f", "g"],
        "time_column": "h",
        "time_format": "i",
        "keep": ["j"],
        "by": ["k", "l"],
        "model": "m",
        "engine": "torch",
        "device": "cpu",
        "compile": True,
        "threads": 3,
        "threshold": 0.9,
        "max_length": 64,
        "max_batch_tokens": 512,
        "dedupe": False,
        "any_language": True,
        "raw_text": True,
        "shard_rows": 10,
        "keep_text": True,
        "lag_days": 1.5,
        "hourly_price": 2.0,
        "alert": ["p"],
        "lock_timeout": 7.0,
    }
    for command in ("run", "deploy", "serve"):
        asked.clear()
        CliRunner().invoke(app, [command, *shlex.split(TYPED)])
        assert str(asked.pop("out")) == "o"
        assert asked == expected, command
    assert CliRunner().invoke(app, ["run", "t.csv", "--incremental", "--backfill"]).exit_code == 0
    assert asked["incremental"] is asked["backfill"] is True
    for flag, resume in (("--resume", True), ("--restart", False), ("--new", False)):
        CliRunner().invoke(app, ["run", "t.csv", flag])
        assert asked["resume"] is resume


@pytest.mark.parametrize(
    ("command", "options", "renamed"),
    [
        (training.dataset, DatasetOptions, {"map": "map_file", "weights": "weight"}),
        (training.train, TrainOptions, {}),
        (training.export, ExportOptions, {"tests": "test", "languages": "language"}),
    ],
)
def test_training_commands_have_the_defaults_of_their_options(command, options, renamed) -> None:
    """What the command does not fill in itself has one default in the program and in the options."""
    parameters = inspect.signature(command).parameters
    for field in dataclasses.fields(options):
        default = parameters[renamed.get(field.name, field.name)].default
        if field.default is not dataclasses.MISSING and default is not None:
            assert default == field.default, field.name


def test_help_shows_the_defaults() -> None:
    """In words, too, as in a terminal of 80 columns: rich would take a bracket for markup."""
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "80"}).output
    text = re.sub(r"\W+", " ", shown)
    for default in ("default 0 70", "default detected by name", "default the embedded model"):
        assert default in text


def test_the_docs_show_the_command_line() -> None:
    """docs/cli.md is what `python -m ecomintent_batch.cli.reference` prints."""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == make_reference()
    for name in RUN_OPTIONS:
        assert f"`--{name.replace('_', '-')}`" in make_reference() or name == "source"


def test_sql_has_the_defaults_of_the_program() -> None:
    """A file of sql/ is used alone, too, so it repeats a default; it is the same one."""
    unusual = (ROOT / "sql" / "unusual_days.sql").read_text(encoding="utf-8")
    cost = (ROOT / "sql" / "cost_per_run.sql").read_text(encoding="utf-8")
    assert f"getvariable('min_z')::DOUBLE, {USUAL_Z})" in unusual
    assert f"{WEEKS_COMPARED} weeks" in unusual
    price = RUN_OPTIONS["hourly_price"].show_default()
    assert f"getvariable('hourly_price')::DOUBLE, {price})" in cost


def test_every_command_has_debug() -> None:
    """Every unexpected error advises it."""
    program = typer.main.get_command(app)
    commands = [*program.commands.values(), *program.commands["review"].commands.values()]  # type: ignore[attr-defined]
    for command in commands:
        if not hasattr(command, "commands"):
            assert "debug" in {parameter.name for parameter in command.params}, command.name


def test_deployments_resume_by_themselves() -> None:
    """`deploy` has no option that only a person at the terminal can decide."""
    assert not {"resume", "incremental"} & inspect.signature(deploy.deploy).parameters.keys()
