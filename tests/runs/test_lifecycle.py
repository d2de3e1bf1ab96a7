"""The folders of a run: commit, crash, resume, lock, and signals to a real process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.tickets import RecordingProgress, write_tickets

from ecomintent_batch import pipeline, planning
from ecomintent_batch.errors import OutputError, RunStateError
from ecomintent_batch.inference.engines.stub import StubEngine
from ecomintent_batch.ingest.text_source import TextSource
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs import publishing
from ecomintent_batch.runs.catalog import list_runs, new_run_id
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.lock import lock_out
from ecomintent_batch.runs.records import Manifest, Record, parse_record
from ecomintent_batch.runs.store import LocalRuns
from ecomintent_batch.storage.atomic import sha256_of

TICKETS, SHARD_ROWS = 50, 10
PARTS = [f"part-{i:05d}.parquet" for i in range(5)]


@pytest.fixture
def settings(tmp_path, stub_settings):
    """A run of five shards."""
    return stub_settings(
        write_tickets(tmp_path / "tickets.csv", TICKETS), tmp_path / "out", shard_rows=SHARD_ROWS
    )


def visible(out: Path) -> list[str]:
    """List what an analyst's glob over the predictions finds."""
    return sorted(path.name for path in out.glob("predictions/**/*") if path.is_file())


def interrupted_run(out: Path) -> RunFolder:
    """Return the one run in the staging folder."""
    (staging,) = (out / "staging").iterdir()
    return RunFolder(out, staging.name)


def break_engine(monkeypatch: pytest.MonkeyPatch, out: Path, at_shard: int) -> None:
    """Make the engine raise at one shard, when the extraction is complete and the parts before it are written."""
    scored, score = [], StubEngine.score

    def breaking(self, encodings, batches, advance):
        scored.append(len(encodings))
        if len(scored) <= at_shard:
            return score(self, encodings, batches, advance)
        folder = interrupted_run(out)
        while (
            not (folder.shards / "extraction.json").exists()
            or len(list(folder.parts.glob("*.parquet"))) < at_shard
        ):
            time.sleep(0.01)
        raise RuntimeError("the GPU fell off the bus")

    monkeypatch.setattr(StubEngine, "score", breaking)


def predictions(folder: Path) -> list[dict]:
    """Return all rows of some parts, without the time of day."""
    return (
        ds.dataset(sorted(folder.glob("*.parquet")))
        .to_table()
        .drop_columns("classified_at")
        .to_pylist()
    )


def lasting(manifest: Manifest) -> dict:
    """Return what of a manifest does not change from run to run."""
    written = manifest.to_json()
    settings = {key: value for key, value in written["settings"].items() if key != "out"}
    passing = {"run_id", "started_at", "finished_at", "performance", "resumed", "parts", "settings"}
    parts = [(part.file, part.rows) for part in manifest.parts]
    return {
        **{key: value for key, value in written.items() if key not in passing},
        "settings": settings,
        "parts": parts,
    }


def test_run_ids_sort_by_time(monkeypatch):
    """An id begins with the second it was made in, and two of one second differ."""
    ids = [new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [run_id.split("-")[0] for run_id in ids] == sorted(
        run_id.split("-")[0] for run_id in ids
    )


def test_a_committed_run_is_complete_and_tidy(settings):
    """Parts, rejects and manifest in their places, hashes that fit, nothing left in staging."""
    result = run_job(settings)
    folder = result.folder
    assert visible(settings.out) == PARTS
    assert folder.rejects.exists()
    assert list(settings.out.glob("staging/*")) == []
    assert json.loads(folder.manifest.read_text()) == list_runs(settings.out)[0].to_json()
    assert list_runs(settings.out)[0].to_json() == result.manifest.to_json()
    for part in result.manifest.parts:
        path = folder.predictions / part.file
        assert part.rows == pq.read_metadata(path).num_rows == SHARD_ROWS
        assert part.sha256 == sha256_of(path)


def crash_before_the_rename(monkeypatch):
    """Stop where the manifest has just been staged."""

    def write(self, path, original=Record.write):
        original(self, path)
        if path.name == "manifest.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(Record, "write", write)


def crash_behind_the_rename(monkeypatch):
    """Stop where the parts are published and nothing else is."""

    def publish(store, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalRuns, "publish", publish)


def crash_while_tidying(monkeypatch):
    """Stop where the manifest is in its place and the staging folder half gone."""

    def rmtree(path, **options):
        (path / "shards" / "extraction.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing.shutil, "rmtree", rmtree)


@pytest.mark.parametrize(("crash", "is_visible", "is_redone"), [
    (crash_before_the_rename, False, False),
    (crash_behind_the_rename, True, False),
    (crash_while_tidying, True, True),
])  # fmt: skip
def test_a_crash_while_committing_is_mended_by_the_next_start(
    settings, crash, is_visible, is_redone
):
    """All parts are visible or none; the same command finishes that run, with the files that are there."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        crash(monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            run_job(settings)
    crashed = interrupted_run(settings.out)
    assert visible(settings.out) == (PARTS if is_visible else [])
    assert len(list_runs(settings.out)) == is_redone
    before = {
        path.name: path.stat().st_mtime_ns for path in settings.out.glob("*/*/**/part-*.parquet")
    }

    result = run_job(settings)
    assert (result.folder != crashed) == is_redone
    assert len(list_runs(settings.out)) == 1 + is_redone
    assert {path.name: path.stat().st_mtime_ns for path in crashed.predictions.iterdir()} == before
    assert crashed.manifest.exists()
    assert crashed.rejects.exists()
    assert (result.folder.summaries / "summary.md").exists()
    assert list(settings.out.glob("staging/*")) == []


def test_another_command_finishes_a_published_run(settings, tmp_path, stub_settings):
    """A run that lacks its manifest gets it, and its summaries, from whichever run starts next."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        crash_behind_the_rename(monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            run_job(settings)
    crashed = interrupted_run(settings.out)
    result = run_job(stub_settings(write_tickets(tmp_path / "other.csv", 7), settings.out))
    assert [manifest.run_id for manifest in list_runs(settings.out)] == sorted(
        [crashed.run_id, result.folder.run_id]
    )
    assert (crashed.summaries / "summary.md").exists()
    assert result.manifest.counts.predictions == 7
    assert list(settings.out.glob("staging/*")) == []


def test_an_interrupted_run_redoes_only_what_is_missing(settings, tmp_path, monkeypatch):
    """Parts that are there stay as they are; the result is that of a run nobody interrupted."""
    interrupted = interrupt(settings, at_shard=2)
    assert visible(settings.out) == []
    before = {path.name: path.stat().st_mtime_ns for path in interrupted.parts.iterdir()}
    assert sorted(before) == PARTS[:2]

    result = run_job(settings)
    assert result.folder == interrupted
    assert result.manifest.resumed
    after = {path.name: path.stat().st_mtime_ns for path in result.folder.predictions.iterdir()}
    assert sorted(after) == PARTS
    assert {name: after[name] for name in before} == before

    whole = run_job(settings.model_copy(update={"out": tmp_path / "whole"}))
    assert predictions(result.folder.predictions) == predictions(whole.folder.predictions)
    assert lasting(result.manifest) == lasting(whole.manifest)
    assert {name: table.to_dicts() for name, table in result.summary.tables.items()} == {
        name: table.to_dicts() for name, table in whole.summary.tables.items()
    }


def interrupt(settings, at_shard: int = 1) -> RunFolder:
    """Run until the engine breaks, and return what it leaves in staging."""
    with pytest.MonkeyPatch.context() as breaking:
        break_engine(breaking, settings.out, at_shard)
        with pytest.raises(RuntimeError):
            run_job(settings)
    return interrupted_run(settings.out)


@pytest.mark.parametrize(("change", "resumes"), [
    ({}, True),
    ({"threads": 1, "lock_timeout": 1.0, "max_reject_ratio": 0.5}, True),
    ({"resume": False}, False),
    ({"resume": False, "threshold": 0.5}, False),
])  # fmt: skip
def test_an_interrupted_run_is_picked_up_or_dropped(settings, change, resumes):
    """The same command goes on with it; --restart starts afresh, and drops it."""
    interrupted = interrupt(settings)
    result = run_job(settings.model_copy(update=change))
    assert (result.folder == interrupted) is resumes
    assert result.manifest.resumed is resumes
    assert result.manifest.counts.predictions == TICKETS
    assert list(settings.out.glob("staging/*")) == []


def test_what_is_not_the_same_run_is_refused(settings, tiny_model, tmp_path, monkeypatch):
    """Other settings, another model, a changed source, another version: each is named, nothing is lost, and --restart goes on."""
    interrupted = interrupt(settings)
    other_model = shutil.copytree(tiny_model, tmp_path / "other")
    (other_model / "calibration.json").write_text('{"temperature": 2}')
    for change, found in [
        ({"threshold": 0.5}, "threshold 0.7 then, 0.5 now"),
        (
            {"shard_rows": 11, "by": ("channel",)},
            r"by \[\] then, \['channel'\] now; shard_rows 10 then, 11 now",
        ),
        ({"model": str(other_model)}, "another model; model .* then, .*other now"),
    ]:
        with pytest.raises(
            RunStateError,
            match=f"{interrupted.staging}: expected .* found {found}; go back to that, or discard it",
        ):
            run_job(settings.model_copy(update=change))
    with monkeypatch.context() as patched:
        patched.setattr(planning, "__version__", "99")
        with pytest.raises(RunStateError, match=r"found version .* then, 99 now; go back"):
            run_job(settings)
    write_tickets(Path(settings.source), TICKETS + 1)
    with pytest.raises(RunStateError, match="found a source that has changed since; go back"):
        run_job(settings)
    assert interrupted_run(settings.out) == interrupted
    result = run_job(settings.model_copy(update={"resume": False}))
    assert not result.manifest.resumed
    assert result.manifest.counts.predictions == TICKETS + 1
    assert list(settings.out.glob("staging/*")) == []


def test_an_interrupted_run_without_a_part_is_in_nobodys_way(settings):
    """Nothing is lost with it: another threshold starts afresh without --restart."""
    interrupted = interrupt(settings, at_shard=0)
    result = run_job(settings.model_copy(update={"threshold": 0.5}))
    assert result.folder != interrupted
    assert list(settings.out.glob("staging/*")) == []


def test_a_folder_without_a_plan_is_swept_away(settings):
    """A crash in the moment in which a run begins leaves nothing that anybody could go on with."""
    (settings.out / "staging" / "20200101T000000000000Z-aaaaaa" / "parts").mkdir(parents=True)
    run_job(settings)
    assert list(settings.out.glob("staging/*")) == []


def test_a_run_of_another_source_leaves_it_alone(settings, tmp_path, stub_settings):
    """Two sources may share OUT: a run of one starts and commits while the other waits to be resumed."""
    interrupted = interrupt(settings)
    other = run_job(stub_settings(write_tickets(tmp_path / "other.csv", 7), settings.out))
    assert other.manifest.counts.predictions == 7
    assert run_job(settings).folder == interrupted


def truncate_a_part(folder: RunFolder) -> None:
    """Cut the end of a part off, as a full disk or a broken one does."""
    os.truncate(folder.parts / PARTS[1], 500)


def alter_a_part(folder: RunFolder) -> None:
    """Write a part that is sound, and has a row less."""
    part = folder.parts / PARTS[1]
    pq.write_table(pq.read_table(part).slice(1), part)


def delete_a_part(folder: RunFolder) -> None:
    """Lose a part, and keep its receipt."""
    (folder.parts / PARTS[1]).unlink()


def lose_a_receipt(folder: RunFolder) -> None:
    """Crash between a part and its receipt."""
    (folder.staging / "receipts" / "shard-00001.json").unlink()


def tear_a_receipt(folder: RunFolder) -> None:
    """Leave half a receipt."""
    (folder.staging / "receipts" / "shard-00001.json").write_text('{"rows": 10, "sha')


def delete_a_shard(folder: RunFolder) -> None:
    """Lose a shard whose part is not made yet."""
    (folder.shards / "shard-00003.parquet").unlink()


def delete_a_finished_shard(folder: RunFolder) -> None:
    """Lose a shard whose part is there."""
    (folder.shards / "shard-00000.parquet").unlink()


def alter_a_shard(folder: RunFolder) -> None:
    """Swap two shards."""
    shutil.copy(folder.shards / "shard-00004.parquet", folder.shards / "shard-00003.parquet")


def tear_the_extraction(folder: RunFolder) -> None:
    """Leave half of the account of the extraction."""
    file = folder.shards / "extraction.json"
    file.write_text(file.read_text()[:40])


def leave_strays(folder: RunFolder) -> None:
    """Leave a temporary file, and a part too many."""
    (folder.parts / "part-00004.parquet.123.tmp").write_bytes(b"half")
    shutil.copy(folder.parts / PARTS[0], folder.parts / "part-00005.parquet")


@pytest.mark.parametrize("spoil", [
    truncate_a_part, alter_a_part, delete_a_part, lose_a_receipt, tear_a_receipt, delete_a_shard, delete_a_finished_shard,
    alter_a_shard, tear_the_extraction, leave_strays,
])  # fmt: skip
def test_what_was_spoilt_is_redone(settings, tmp_path, spoil):
    """Resume trusts no file that is not byte for byte what was written; the result is that of a run nobody disturbed."""
    interrupted = interrupt(settings, at_shard=3)
    kept = {
        path.name: path.stat().st_mtime_ns
        for path in interrupted.parts.glob("part-0000[02].parquet")
    }
    spoil(interrupted)
    result = run_job(settings)
    assert result.folder == interrupted
    assert visible(settings.out) == PARTS
    assert {name: (result.folder.predictions / name).stat().st_mtime_ns for name in kept} == kept
    whole = run_job(settings.model_copy(update={"out": tmp_path / "whole"}))
    assert predictions(result.folder.predictions) == predictions(whole.folder.predictions)
    assert lasting(result.manifest) == lasting(whole.manifest)


def test_a_part_that_is_altered_before_the_commit_is_not_published(settings, monkeypatch):
    """The last look before the rename is at the bytes, too; the same command redoes that part."""

    def describe(*args, original=pipeline.check_parts):
        truncate_a_part(args[0])
        return original(*args)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "check_parts", describe)
        with pytest.raises(
            RunStateError,
            match=r"part-00001\.parquet: expected a part of 10 rows, found: .*; run the same command",
        ):
            run_job(settings)
    assert visible(settings.out) == []
    assert run_job(settings).manifest.resumed


def test_sums_that_do_not_hold_are_not_published(settings, monkeypatch):
    """A row of the source without an answer stops the run before anybody sees it."""

    def read(self, *args, original=TextSource.read):
        batches = list(original(self, *args))
        yield from (
            replace(batch, table=batch.table.slice(1), row_numbers=batch.row_numbers.slice(1))
            for batch in batches
        )

    monkeypatch.setattr(TextSource, "read", read)
    with pytest.raises(
        RunStateError, match="expected an answer for 50 rows of the source, found 49"
    ):
        run_job(settings)
    assert visible(settings.out) == []


def test_a_half_written_manifest_is_written_anew(settings):
    """Published, and the manifest torn before it got its place: the same command makes it of plan, shards and parts."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        crash_behind_the_rename(monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            run_job(settings)
    crashed = interrupted_run(settings.out)
    staged = crashed.staging / "manifest.json"
    whole = parse_record(Manifest, staged.read_text(), "staged")
    staged.write_text(staged.read_text()[:200])
    (settings.out / "runs" / f"{crashed.run_id}.json.77.tmp").write_text('{"run_id":')
    result = run_job(settings)
    assert result.folder == crashed
    assert result.manifest.parts == whole.parts
    assert lasting(result.manifest) == lasting(whole)
    assert [manifest.run_id for manifest in list_runs(settings.out)] == [crashed.run_id]


def test_a_crash_before_the_summaries_costs_none(settings, tmp_path, stub_settings):
    """Committed and not summed up: whichever run starts next writes the summaries of both."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            pipeline, "summarise_run_safely", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            run_job(settings)
    run_job(stub_settings(write_tickets(tmp_path / "other.csv", 7), settings.out))
    assert len(list(settings.out.glob("summaries/*/summary.md"))) == 2


def test_ids_go_on_where_the_clock_was_moved_back(settings, monkeypatch):
    """A run of today sorts behind the one that was made when the clock stood in 2099, so views know the newest."""
    first = run_job(settings).folder
    future = "20990101T000000000000Z-abcdef"
    for place in ("predictions/run_id={}", "runs/{}.json", "summaries/run_id={}"):
        (settings.out / place.format(first.run_id)).rename(settings.out / place.format(future))
    manifest = settings.out / "runs" / f"{future}.json"
    manifest.write_text(manifest.read_text().replace(first.run_id, future))
    second = run_job(settings).folder
    assert second.run_id > future
    assert run_job(settings).folder.run_id > second.run_id


def test_a_torn_manifest_is_an_error_of_one_line(settings):
    """`runs` names the file that is no manifest."""
    result = run_job(settings)
    result.folder.manifest.write_text("{")
    with pytest.raises(RunStateError, match="expected a manifest"):
        list_runs(settings.out)


def test_a_second_job_on_the_same_out_fails_at_once(settings):
    """While one job holds OUT another says so, without waiting or touching anything; later it may run."""
    with lock_out(settings.out, 0):
        began = time.monotonic()
        with pytest.raises(OutputError, match="another job at work"):
            run_job(settings)
        assert time.monotonic() - began < 10
        assert list(settings.out.glob("staging/*")) == []
    run_job(settings)


def test_a_job_waits_for_the_lock_as_long_as_it_is_told(settings):
    """With --lock-timeout the second job starts when the first one leaves."""
    held = lock_out(settings.out, 0)
    held.__enter__()
    timer = threading.Timer(0.3, held.__exit__, (None, None, None))
    timer.start()
    heard = RecordingProgress()
    run_job(settings.model_copy(update={"lock_timeout": 20.0}), heard)
    timer.join()
    assert (
        heard.notes[0]
        == f"another job is at work in {settings.out}: waiting up to 20 s for it to leave"
    )


@pytest.mark.parametrize("where", ["a-file/out", "a-file"])
def test_an_out_that_cannot_be_made_is_one_line(settings, tmp_path, where):
    """OUT under a file, or a file itself: an OutputError that names it."""
    (tmp_path / "a-file").touch()
    with pytest.raises(OutputError, match=f"{where}: expected a folder that can be written"):
        run_job(settings.model_copy(update={"out": tmp_path / where}))


def command_line(settings, *flags: str, **options) -> subprocess.Popen[str]:
    """Start the same run as a real process."""
    command = [
        sys.executable,
        "-m",
        "ecomintent_batch",
        "run",
        settings.source,
        "--out",
        str(settings.out),
        *flags,
    ]
    environment = {**os.environ, "ECOMINTENT_ENGINE": "stub", "ECOMINTENT_MODEL": settings.model}
    return subprocess.Popen(
        [*command, "--shard-rows", str(settings.shard_rows)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_leaves_a_run_that_can_be_resumed(tmp_path, stub_settings, signum, code):
    """Stopped in the middle: the code of the signal, one line, nothing published; the same command goes on."""
    settings = stub_settings(
        write_tickets(tmp_path / "tickets.csv", 12_000), tmp_path / "out", shard_rows=100
    )
    process = command_line(settings)
    deadline = time.monotonic() + 300
    while not list(settings.out.glob("staging/*/parts/*.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signum)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (code, "")
    assert visible(settings.out) == []
    if signum != signal.SIGKILL:
        assert (
            err.splitlines()[-1]
            == "ecomintent-batch: interrupted; run the same command again to resume"
        )
        assert "Traceback" not in err
    interrupted = interrupted_run(settings.out)
    result = run_job(settings)
    assert result.folder == interrupted
    assert result.manifest.counts.predictions == 12_000


def test_a_full_disk_is_one_line(tmp_path, stub_settings):
    """Where the parts do not fit: exit code 1, the place and the reason, nothing published."""
    import resource

    settings = stub_settings(
        write_tickets(tmp_path / "tickets.csv", 20_000), tmp_path / "out", shard_rows=20_000
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # noqa: E731
    process = command_line(settings, "--quiet", preexec_fn=limit)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1
    assert err.startswith(f"ecomintent-batch: {settings.out}: expected room to write")
    assert visible(settings.out) == []
