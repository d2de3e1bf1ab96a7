"""`--debug`, `--quiet` and `--json` mean the same in every command that has them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.tickets import write_tickets
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app, main
from ecomintent_batch.errors import EcomIntentError, UsageError
from ecomintent_batch.pipeline import RunResult, run_job


@pytest.fixture
def result(tmp_path: Path, stub_settings) -> RunResult:
    """A committed run of 40 tickets."""
    source = write_tickets(tmp_path / "tickets.csv", 40)
    return run_job(stub_settings(source, tmp_path / "out"))


def invoke(*arguments: object) -> str:
    """Run a command that succeeds, and return what it prints on stdout."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [["run", "none.csv"], ["verify"], ["report"], ["query", "none"], ["review", "import"]],
)
@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback(
    command: list[str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the command or after it; without it the error is one line and an exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ecomintent-batch", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (1, 2)
    typed = ["--debug", *command] if where == "before" else [*command, "--debug"]
    monkeypatch.setattr(sys, "argv", ["ecomintent-batch", *typed])
    with pytest.raises(EcomIntentError):
        main()


@pytest.mark.parametrize("opposite", ["--restart", "--new"])
def test_resume_and_its_opposite_are_refused(
    opposite: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In either order, one line and exit code 2, before the source is looked for."""
    for flags in (["--resume", opposite], [opposite, "--resume"]):
        arguments = ["run", str(tmp_path / "none.csv"), *flags]
        monkeypatch.setattr(sys, "argv", ["ecomintent-batch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == UsageError.exit_code
        assert f"--resume and {opposite}: expected one of them" in capsys.readouterr().err


def test_json_is_one_document(result: RunResult) -> None:
    """Of each command that reads runs: something that a program parses, and nothing else."""
    out = ["--out", result.store.location]
    assert [run["run_id"] for run in json.loads(invoke("runs", *out, "--json"))] == [result.run_id]
    assert json.loads(invoke("verify", *out, "--json")) == {
        "run_id": result.run_id,
        "whole": True,
        "findings": [],
    }
    assert json.loads(invoke("clean", *out, "--json")) == {"removed": False, "leftovers": []}
    as_json = invoke("query", "volume_by_intent", *out, "--json")
    assert sum(row["tickets"] for row in json.loads(as_json)) == 40
    assert as_json == invoke("query", "volume_by_intent", *out, "--format", "json")
    assert "volume_by_intent" in json.loads(invoke("query", "--json"))


def test_quiet_says_nothing_on_success(result: RunResult) -> None:
    """The exit code says it; a fault is still printed."""
    out = ["--out", result.store.location]
    assert invoke("verify", *out, "--quiet") == ""
    assert invoke("clean", *out, "--quiet") == ""
    next(result.folder.predictions.glob("*.parquet")).unlink()
    done = CliRunner().invoke(app, ["verify", *out, "--quiet"])
    assert done.exit_code == 1
    assert "expected a file of 40 rows, found none" in done.stdout


def test_verify_takes_the_latest_run(result: RunResult) -> None:
    """Without an id, and as `latest`, as ever."""
    out = ["--out", result.store.location]
    assert invoke("verify", *out) == invoke("verify", "latest", *out)
    assert f"run {result.run_id} is whole: 40 source rows" in invoke("verify", *out)
