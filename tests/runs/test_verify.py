"""A run read again: whole where it is, and a line for each thing that is not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tickets import write_tickets
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.verify import verify_run
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.storage.atomic import sha256_of


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunFolder:
    """A run of three parts and one reject."""
    folder = tmp_path_factory.mktemp("verify")
    source = write_tickets(folder / "t.csv", 25)
    with source.open("a", encoding="utf-8") as file:
        file.write("too,few\n")
    settings = RunSettings(
        source=str(source),
        out=folder / "out",
        model=str(tiny_model),
        engine="stub",
        shard_rows=10,
        max_reject_ratio=1,
    )
    return run_job(settings).folder


@pytest.fixture
def folder(committed: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it, to be spoilt."""
    return RunFolder(Path(shutil.copytree(committed.out, tmp_path / "out")), committed.run_id)


def call(*arguments: str) -> tuple[int, list[str]]:
    """Call a command; return its exit code and the lines it prints."""
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output.splitlines()


def test_a_run_that_is_whole_says_so(folder: RunFolder) -> None:
    """One line with the sums, by id or as the latest."""
    assert verify_run(folder) == []
    for run_id in (folder.run_id, "latest"):
        code, lines = call("verify", run_id, "--out", str(folder.out))
        assert (code, len(lines)) == (0, 1)
        assert lines[0].endswith(
            "is whole: 26 source rows = 25 predictions + 1 rejects + 0 skipped"
        )


def change_manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[RunFolder], None]:
    """Return what applies a change to the manifest."""

    def spoil(folder: RunFolder) -> None:
        manifest = json.loads(folder.manifest.read_text())
        change(manifest)
        folder.manifest.write_text(json.dumps(manifest))

    return spoil


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Callable[[RunFolder], None]:
    """Return what rewrites the second part, and has the manifest say that this is how it was written."""

    def spoil(folder: RunFolder) -> None:
        part = folder.predictions / "part-00001.parquet"
        pq.write_table(change(pq.ParquetFile(part).read()), part)
        change_manifest(lambda manifest: manifest["parts"][1].update(sha256=sha256_of(part)))(
            folder
        )

    return spoil


def answer_twice(table: pa.Table) -> pa.Table:
    """Let two rows of a part answer for the same row of the source."""
    places = table["row_number"].to_pylist()
    return table.set_column(1, "row_number", pa.array([places[1], *places[1:]]))


def flip_a_bit(folder: RunFolder) -> None:
    """Change one bit in the middle of a part."""
    part = folder.predictions / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)


SPOILT: dict[str, tuple[Callable[[RunFolder], Any], list[str]]] = {
    "part gone": (
        lambda f: (f.predictions / "part-00001.parquet").unlink(),
        ["part-00001.parquet: expected a file of 10 rows, found none"],
    ),
    "part truncated": (
        lambda f: os.truncate(f.predictions / "part-00002.parquet", 99),
        ["part-00002.parquet: expected the bytes that were written, found others (SHA-256)"],
    ),
    "bit flipped": (
        flip_a_bit,
        ["part-00000.parquet: expected the bytes that were written, found others (SHA-256)"],
    ),
    "part too many": (
        lambda f: shutil.copy(
            f.predictions / "part-00000.parquet", f.predictions / "part-00009.parquet"
        ),
        ["part-00009.parquet: expected nothing that the manifest does not list, found a file"],
    ),
    "rejects gone": (
        lambda f: f.rejects.unlink(),
        [".parquet: expected a file of 1 rows, found none"],
    ),
    "predictions gone": (
        lambda f: shutil.rmtree(f.predictions),
        [
            f"part-0000{i}.parquet: expected a file of {rows} rows, found none"
            for i, rows in enumerate([10, 10, 5])
        ],
    ),
    "row lost": (
        rewrite(lambda table: table.slice(1)),
        ["part-00001.parquet: expected 10 rows, found 9"],
    ),
    "row twice": (
        rewrite(answer_twice),
        ["expected one answer for each row of the source, found 2 for row_number 11"],
    ),
    "column gone": (
        rewrite(lambda table: table.drop_columns("message_hash")),
        [
            "expected the column message_hash, found none",
            "expected the columns of the first part, found others",
        ],
    ),
    "column of another type": (
        rewrite(
            lambda table: table.set_column(1, "row_number", table["row_number"].cast(pa.int32()))
        ),
        ["expected the columns of the first part, found others"],
    ),
    "sums": (
        change_manifest(lambda manifest: manifest["counts"].update(source_rows=27)),
        ["expected 27 source rows, found 26"],
    ),
    "another id": (
        change_manifest(lambda manifest: manifest.update(run_id="x")),
        ["expected run_id "],
    ),
    "manifest without parts": (
        change_manifest(lambda manifest: manifest.pop("parts")),
        ["expected a manifest, found parts: field required"],
    ),
    "manifest torn": (
        lambda f: os.truncate(f.manifest, 300),
        ["expected a manifest, found json invalid"],
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), SPOILT.values(), ids=SPOILT)
def test_each_anomaly_is_a_line(
    folder: RunFolder, spoil: Callable[[RunFolder], Any], expected: list[str]
) -> None:
    """Exit code 1, and exactly these findings."""
    spoil(folder)
    code, lines = call("verify", "latest", "--out", str(folder.out))
    assert code == 1
    assert len(lines) == len(expected), lines
    for line, part in zip(lines, expected, strict=True):
        assert part in line


def test_a_run_that_is_not_there(folder: RunFolder, tmp_path: Path) -> None:
    """What is there instead is told."""
    for out, found in (
        (folder.out, f"1 others, the newest {folder.run_id}"),
        (tmp_path, "no committed runs"),
    ):
        done = CliRunner().invoke(app, ["verify", "nope", "--out", str(out)])
        assert f"expected a committed run nope, found {found}" in str(done.exception)
