"""What a run looks like on a terminal, in a log, and to a program."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from support.tickets import write_tickets

from ecomintent_batch.cli import printing as terminal
from ecomintent_batch.cli import progress as terminal_progress
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.catalog import list_runs


@pytest.fixture
def settings(tmp_path, stub_settings):
    """A run of 40 tickets in shards of ten."""
    return stub_settings(
        write_tickets(tmp_path / "tickets.csv", 40), tmp_path / "out", shard_rows=10
    )


@pytest.fixture
def named_model(tiny_model, tmp_path) -> Path:
    """The tiny model with labels that are long, or look like markup."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "named"))
    labels = ["is this [bold] or :bug:", "a label of many words " * 5, "one_word_" * 20, *"abcdef"]
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = dict(enumerate(labels))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, so that what any library prints is seen."""
    command = [sys.executable, "-m", "ecomintent_batch", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=400
    )


def test_a_log_gets_plain_lines(settings, monkeypatch, capsys):
    """Where stderr is no terminal: what was picked, then now and then a line with tickets, rate and time left."""
    monkeypatch.setattr(terminal_progress, "_LINE_EVERY_S", 0.0)
    with terminal_progress.show_progress(quiet=False) as progress:
        run_job(settings, progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    lines = err.splitlines()
    assert lines[1] == "columns: id ticket_id, text body, time created_at"
    progressed = [
        line
        for line in lines
        if re.fullmatch(r"\d+ of \d+\+? tickets, [\d,]+/s(, [\d,]+ s left)?", line)
    ]
    assert progressed[-1].startswith("40 of 40")
    assert len(lines) == 3 + len(progressed)


def test_a_terminal_gets_a_bar(settings, monkeypatch, capsys):
    """Where stderr is one: the notes above a bar with the rate, at the whole of the tickets in the end."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with terminal_progress.show_progress(quiet=False) as progress:
        run_job(settings, progress)
    err = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "columns: id ticket_id, text body, time created_at\n" in err
    assert re.search(r"tickets ━+ 100% [\d,]+/s", err)


@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_of_the_volume_table_wraps(settings, named_model, monkeypatch, capsys, columns):
    """At 80 columns each intent has one line, whatever its name; names that look like markup are shown as they are."""
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run_job(settings.model_copy(update={"model": str(named_model), "threshold": 0.0}))
    terminal.print_result(result)
    table = capsys.readouterr().out.split("\n\n")[0].strip("\n").splitlines()
    assert re.split(r"  +", table[0].strip()) == [
        "intent",
        "tickets",
        "share",
        "moved to OTHER",
    ]
    volumes = result.summary.tables["volume_by_intent"]
    assert len(table) == 1 + len(volumes)
    assert all(len(line) <= columns for line in table)
    for line, (intent, tickets) in zip(
        table[1:], volumes.select("intent", "tickets").rows(), strict=True
    ):
        shown, *numbers = re.split(r"  +", line.strip())
        assert intent.startswith(shown.rstrip("…"))
        assert numbers[0] == str(tickets)
    assert any("[bold] or :bug:" in line for line in table)


def test_the_result_says_where_the_files_are(settings, tmp_path, capsys):
    """Counts, rate and paths, each on one line however long; the query that is shown runs."""
    out = tmp_path / "it's [red] out" / ("deep" * 30)
    result = run_job(settings.model_copy(update={"out": out}))
    terminal.print_result(result)
    shown = capsys.readouterr().out
    assert "40 tickets labelled (7 empty), 0 rows rejected.\n" in shown
    assert re.search(r"\d\.\d s, [\d,]+ tickets/s, \d+\.\d% padding, stub \(no model\)\.\n", shown)
    assert f"Predictions  {result.folder.predictions}\n" in shown
    assert f"Summaries    {result.folder.summaries}\n" in shown
    assert "Rejects" not in shown
    query = re.search(r"^Query +duckdb -c (.*)$", shown, re.MULTILINE)[1].replace(
        "[red]", "[[]red]"
    )
    assert sum(count for _, count in duckdb.sql(shlex.split(query)[0]).fetchall()) == 40


def test_rejects_are_pointed_to(settings, capsys):
    """Where rows were rejected, their file is named."""
    with Path(settings.source).open("a", encoding="utf-8") as file:
        file.write("too,few\n")
    result = run_job(settings.model_copy(update={"max_reject_ratio": 0.5}))
    terminal.print_result(result)
    shown = capsys.readouterr().out
    assert "1 rows rejected." in shown
    assert f"Rejects      {result.folder.rejects}\n" in shown


def test_runs_are_listed_a_line_each(settings, monkeypatch, capsys):
    """run, start, source, tickets; and a sentence where there is none."""
    monkeypatch.setenv("COLUMNS", "200")
    terminal.print_runs(settings.out, [])
    assert capsys.readouterr().out == f"No committed runs in {settings.out}.\n"
    result = run_job(settings)
    terminal.print_runs(settings.out, list_runs(settings.out))
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "started", "tickets", "rejects", "tickets/s", "source"]
    assert line.split()[0] == result.folder.run_id
    assert settings.source in line
    assert line.split()[3:5] == ["40", "0"]


def test_runs_fit_eighty_columns(settings, monkeypatch, capsys):
    """The id of a run stays whole, and its source goes below."""
    monkeypatch.setenv("COLUMNS", "80")
    result = run_job(settings)
    terminal.print_runs(settings.out, list_runs(settings.out))
    header, line, source = capsys.readouterr().out.splitlines()
    assert len(header) <= 80
    assert "source" not in header
    assert line.startswith(result.run_id)
    assert source == f"  {settings.source}"


def test_the_volumes_add_up(settings, capsys):
    """Nobody has to subtract: what was moved to OTHER is said, and OTHER is the sum of its parts."""
    result = run_job(settings.model_copy(update={"threshold": 0.5}))
    terminal.print_result(result)
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in shown.split("\n\n")[0].splitlines() if line}
    parts = re.search(
        r"OTHER: (\d+) labelled OTHER \+ (\d+) moved(?: \+ (\d+) without words)?", shown
    )
    own, moved, unread = (int(number or 0) for number in parts.groups())
    assert own + moved + unread == int(rows["OTHER"][1])
    assert moved == sum(
        int(row[3]) for row in rows.values() if len(row) == 4 and row[0] != "intent"
    )
    assert unread == 7
    assert (
        "Moved: confidence under 0.50.\n" in shown
    )  # no ticket is in a language unknown to the model


def test_json_is_the_manifest_and_nothing_else(settings):
    """--json: stdout is one JSON document, the manifest on disk."""
    done = run_command(
        "run",
        settings.source,
        "--out",
        str(settings.out),
        "--json",
        ECOMINTENT_ENGINE="stub",
        ECOMINTENT_MODEL=settings.model,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == list_runs(settings.out)[0].to_json()


@pytest.mark.parametrize("engine", [pytest.param("torch", marks=pytest.mark.slow), "onnx"])
@pytest.mark.model
def test_quiet_prints_nothing_on_success(settings, engine):
    """--quiet: not a word on either stream, of ours or of the libraries that run the model."""
    model = {"ECOMINTENT_MODEL": settings.model} if engine == "torch" else {}
    done = run_command(
        "run",
        settings.source,
        "--out",
        str(settings.out),
        "--engine",
        engine,
        "--device",
        "cpu",
        "--quiet",
        **model,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list_runs(settings.out)) == 1
