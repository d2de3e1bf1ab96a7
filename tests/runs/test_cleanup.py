"""Tidying up: listed first, removed on request, never anything of a running job."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.tickets import write_tickets
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.cleanup import list_leftovers
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lock import lock_out


@pytest.fixture
def out(tmp_path, stub_settings):
    """An OUT with two committed runs, the first of them of 40 days ago."""
    settings = stub_settings(write_tickets(tmp_path / "t.csv", 20), tmp_path / "out", shard_rows=10)
    old = run_job(settings).folder.manifest
    old.write_text(
        json.dumps(json.loads(old.read_text()) | {"finished_at": "2020-01-01T00:00:00+00:00"})
    )
    run_job(settings)
    return settings.out


def add_strays(out: Path) -> list[Path]:
    """Leave what crashes leave, and return where it is."""
    done = sorted((out / "predictions").iterdir())[0]
    orphan = Path(shutil.copytree(done, done.with_name("run_id=20200101T000000000000Z-aaaaaa")))
    interrupted = out / "staging" / "20200102T000000000000Z-bbbbbb"
    (interrupted / "receipts").mkdir(parents=True)
    (interrupted / "receipts" / "shard-00000.json").touch()
    (interrupted / "plan.json").write_text("{}")
    torn = out / "runs" / "20200103T000000000000Z-cccccc.json.77.tmp"
    torn.write_text("{")
    building = out / "summaries" / "run_id=20200104T000000000000Z-dddddd.tmp"
    building.mkdir()
    return sorted([orphan, interrupted, torn, building])


def files(out: Path) -> dict[str, int]:
    """Return every file of OUT but the lock, with its size."""
    return {
        str(path): path.stat().st_size
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def clean(out: Path, *flags: str) -> str:
    """Call the command, and return what it prints."""
    done = CliRunner().invoke(app, ["clean", "--out", str(out), *flags])
    assert done.exit_code == 0, done.exception
    return done.output


def test_without_yes_nothing_is_removed(out):
    """The list names each place, what it is and its size."""
    strays = add_strays(out)
    before = files(out)
    shown = clean(out, "--older-than", "30")
    assert files(out) == before
    assert shown.splitlines()[-1] == "Nothing was removed: add --yes."
    for path in strays:
        assert str(path) in shown
    assert "an interrupted run with 1 parts" in shown
    assert "a run of 2020-01-01" in shown


def test_what_was_abandoned_goes_and_committed_runs_stay(out):
    """With --yes alone, the two runs are untouched, byte for byte."""
    before = files(out)
    strays = add_strays(out)
    clean(out, "--yes")
    assert files(out) == before
    assert not any(path.exists() for path in strays)
    assert clean(out, "--yes") == f"Nothing to remove in {out}.\n"


def test_old_runs_go_on_request(out):
    """All that belongs to the old one goes, and the new one is whole."""
    old, new = (RunFolder(out, file.stem) for file in sorted((out / "runs").glob("*.json")))
    clean(out, "--older-than", "30", "--yes")
    assert not any(
        path.exists() for path in (old.manifest, old.predictions, old.rejects, old.summaries)
    )
    assert list((out / "staging").iterdir()) == []
    assert CliRunner().invoke(app, ["verify", new.run_id, "--out", str(out)]).exit_code == 0


@pytest.mark.parametrize("after", ["manifest", "predictions"])
def test_a_crash_while_removing_is_cleaned_up_by_the_next(out, monkeypatch, after):
    """Whatever was left has no manifest any more, and goes without being asked for by its age."""
    old = RunFolder(out, min((out / "runs").glob("*.json")).stem)
    with monkeypatch.context() as patched:

        def stop(*args, **options):
            raise KeyboardInterrupt

        patched.setattr(*((Path, "rename") if after == "manifest" else (shutil, "rmtree")), stop)
        CliRunner().invoke(app, ["clean", "--out", str(out), "--older-than", "30", "--yes"])
    assert not old.manifest.exists()
    clean(out, "--yes")
    assert not any(path.exists() for path in (old.predictions, old.rejects, old.summaries))
    assert len(list((out / "runs").iterdir())) == len(list((out / "predictions").iterdir())) == 1
    assert list((out / "staging").iterdir()) == []


def test_a_published_run_without_its_manifest_is_no_stray(out):
    """The next run finishes it, so `clean` leaves it alone."""
    folder = RunFolder(out, max((out / "runs").glob("*.json")).stem)
    folder.staging.mkdir()
    folder.manifest.rename(folder.staging / "manifest.json")
    assert list_leftovers(out) == []


def test_nothing_is_removed_while_a_job_is_at_work(out):
    """Not even listed: the staging folder may be the job's. --lock-timeout waits for it."""
    add_strays(out)
    with lock_out(out, 0):
        done = CliRunner().invoke(app, ["clean", "--out", str(out), "--yes"])
        assert "found another job at work in it" in str(done.exception)
    assert len(list_leftovers(out)) == 4


def test_a_run_whose_age_cannot_be_known_stays(out):
    """A torn manifest is for `verify` to tell of."""
    manifest = min((out / "runs").glob("*.json"))
    manifest.write_text("{")
    clean(out, "--older-than", "0", "--yes")
    assert [file.name for file in (out / "runs").iterdir()] == [manifest.name]
    assert (out / "predictions" / f"run_id={manifest.stem}").exists()
