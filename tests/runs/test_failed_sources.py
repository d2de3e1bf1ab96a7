"""A run that fails because of its source is in nobody's way once the source is mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tickets import RecordingProgress
from typer.testing import CliRunner

from ecomintent_batch import pipeline
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import RejectedRowsError, RunStateError, SourceError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.layout import RunFolder

GOOD = ["id,body", *(f"{i},where is my order {i}" for i in range(60))]


def torn_rows() -> bytes:
    return "\n".join([*GOOD[:40], "70,one,two,three", "71,", "72,a,b", *GOOD[40:]]).encode()


def torn_lines() -> bytes:
    lines = [json.dumps({"id": i, "body": f"where is my order {i}"}) for i in range(60)]
    return "\n".join([*lines[:50], '{"id": 1, "bo', *lines[50:]]).encode()


def torn_quote() -> bytes:
    return "\n".join([*GOOD[:40], '90,"never closed', *GOOD[40:]]).encode()


def torn_encoding() -> bytes:
    return "\n".join(GOOD).encode() + b"\n99,\xff\xfe\xfd na\xefve\n98,\xff\n"


BROKEN = {
    "t.csv": (torn_rows, "\n".join(GOOD).encode(), {}),
    "t.jsonl": (torn_lines, b'{"id": 1, "body": "where is my order"}\n', {}),
    "quote.csv": (torn_quote, "\n".join(GOOD).encode(), {}),
    "encoding.csv": (torn_encoding, "\n".join(GOOD).encode(), {"encoding": "utf-8"}),
}


def staged(out: Path) -> RunFolder:
    """Return the one run in the staging folder."""
    (staging,) = (out / "staging").iterdir()
    return RunFolder(out, staging.name)


@pytest.mark.parametrize("name", BROKEN)
def test_the_mended_source_is_simply_read_again(name, stub_settings, tmp_path):
    """No --restart: what was made of the broken source is discarded, and the notes say so."""
    make, mended, more = BROKEN[name]
    source = tmp_path / name
    source.write_bytes(make())
    settings = stub_settings(source, tmp_path / "out", **{"shard_rows": 10, **more})
    for _ in range(2):  # it fails again as long as nothing changes
        with pytest.raises((RejectedRowsError, SourceError)):
            run_job(settings)
    assert list(staged(settings.out).receipts.iterdir())
    source.write_bytes(mended)
    progress = RecordingProgress()
    result = run_job(settings, progress)
    assert result.manifest.counts.rejects == 0
    assert not result.manifest.resumed
    assert any(
        "which failed: a source that has changed since" in note for note in progress.notes
    ), progress.notes
    assert not list(settings.out.glob("staging/*"))


def test_another_way_to_read_it_starts_again_too(stub_settings, tmp_path):
    """The encoding was what was wrong, not the file."""
    source = tmp_path / "t.csv"
    source.write_bytes(torn_encoding())
    settings = stub_settings(source, tmp_path / "out", encoding="utf-8", shard_rows=10)
    with pytest.raises(RejectedRowsError):
        run_job(settings)
    progress = RecordingProgress()
    result = run_job(settings.model_copy(update={"encoding": "cp1252"}), progress)
    assert result.manifest.counts.predictions == 62
    [said] = [note for note in progress.notes if "which failed: " in note]
    assert "encoding utf-8 then, cp1252 now" in said


def test_more_rejects_allowed_resumes_what_is_there(stub_settings, tmp_path):
    """The parts of the same source stay valid."""
    source = tmp_path / "t.csv"
    source.write_bytes(torn_rows())
    settings = stub_settings(source, tmp_path / "out", shard_rows=10)
    with pytest.raises(RejectedRowsError):
        run_job(settings)
    failed = staged(settings.out)
    result = run_job(settings.model_copy(update={"max_reject_ratio": 0.2}))
    assert result.folder == failed
    assert result.manifest.resumed


def test_a_failed_run_that_was_resumed_and_interrupted_is_guarded_again(
    stub_settings, tmp_path, monkeypatch
):
    """Only the source's own fault makes parts worthless: an interruption later on does not."""
    source = tmp_path / "t.csv"
    source.write_bytes(torn_rows())
    settings = stub_settings(source, tmp_path / "out", shard_rows=10)
    with pytest.raises(RejectedRowsError):
        run_job(settings)
    more = settings.model_copy(update={"max_reject_ratio": 0.2})
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_job(more)
    source.write_text("\n".join(GOOD))
    with pytest.raises(RunStateError, match="found a source that has changed since"):
        run_job(more)


def test_the_command_line_shows_it(tmp_path, tiny_model):
    """The same two commands as a user gives them."""
    source, runner = tmp_path / "t.csv", CliRunner()
    source.write_bytes(torn_rows())
    command = [
        "run",
        str(source),
        "--model",
        str(tiny_model),
        "--engine",
        "torch",
        "--device",
        "cpu",
    ]
    command += ["--out", str(tmp_path / "out"), "--shard-rows", "10"]
    first = runner.invoke(app, command)
    assert first.exit_code == 1
    source.write_text("\n".join(GOOD))
    second = runner.invoke(app, command)
    assert second.exit_code == 0, second.output
    assert "which failed: a source that has changed since" in " ".join(second.output.split())
