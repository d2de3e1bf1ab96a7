"""Files that a machine has broken: never a traceback, never a hang, and every row that is told has one answer."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecomintent_batch.errors import EcomIntentError
from ecomintent_batch.pipeline import run_job

SOURCES = ("csv", "tsv", "jsonl", "parquet", "gz")
_CUTS = b"\",;\n\r\t\\\0\xff\xfe\xc3|'\x1f\x8b{}[]PAR1"


def sound(chance: random.Random, kind: str, path: Path) -> bytes:
    """Return a file of a few dozen tickets as an exporter writes it."""
    words = [
        "order",
        "where",
        'a "quoted" word',
        "late,",
        "line\nbreak",
        "größe",
        "😀",
        "",
        "x" * 300,
        "=1+1",
        "semi;colon",
    ]
    rows = [
        [str(i), " ".join(chance.choices(words, k=chance.randint(0, 6)))]
        for i in range(chance.randint(1, 60))
    ]
    if kind == "parquet":
        pq.write_table(
            pa.table({"id": [r[0] for r in rows], "body": [r[1] for r in rows]}),
            path,
            row_group_size=16,
        )
        return path.read_bytes()
    if kind == "jsonl":
        return "".join(
            json.dumps(
                {"id": r[0], "body": r[1].replace('"', "").replace("\n", " ")}, ensure_ascii=False
            )
            + "\n"
            for r in rows
        ).encode()
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t" if kind == "tsv" else ",").writerows([["id", "body"], *rows])
    data = text.getvalue().encode(
        chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]), "replace"
    )
    if kind == "gz":
        import gzip

        return gzip.compress(data)
    return data


def broken(chance: random.Random, data: bytes) -> bytes:
    """Cut, repeat, overwrite and insert at random places, once to four times."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice([1, 1, 2, 8, 64, 4096]))
        junk = bytes(chance.choices(_CUTS, k=chance.choice([1, 1, 3, 20])))
        kind = chance.randrange(5)
        data = [
            data[:at],
            data[:at] + data[to:],
            data[:at] + junk + data[at:],
            data[:at] + junk + data[at + len(junk) :],
            data[:to] + data[at:],
        ][kind]
    return data


def run_on(data: bytes, kind: str, folder: Path, stub_settings) -> str:
    """Run over a file; return what came of it, the promises checked."""
    path = folder / f"t.{'csv.gz' if kind == 'gz' else kind}"
    path.write_bytes(data)
    settings = stub_settings(path, folder / "out", shard_rows=16, max_reject_ratio=1)
    began, refusal = time.monotonic(), None
    try:
        result = run_job(settings)
    except EcomIntentError as error:
        refusal = str(error)
    finally:
        assert time.monotonic() - began < 60
    if refusal is not None:
        assert "\n" not in refusal
        assert not list((folder / "out").glob("predictions/*"))
        return "refused in a line"
    counts = result.manifest.counts
    places = [
        place
        for file in (*result.folder.predictions.iterdir(), result.folder.rejects)
        for place in pq.ParquetFile(file).read(columns=["row_number"])["row_number"].to_pylist()
    ]
    assert sorted(places) == list(range(counts.source_rows))
    assert counts.source_rows == counts.predictions + counts.rejects
    return "with rejects" if counts.rejects else "labelled whole"


def fuzz(seeds: range, tmp_path: Path, stub_settings) -> Counter[str]:
    """Break a file for each seed; a failure names the seed, and the seed makes the file."""
    came: Counter[str] = Counter()
    for seed in seeds:
        chance = random.Random(seed)  # noqa: S311 - test data
        kind = SOURCES[seed % len(SOURCES)]
        folder = tmp_path / str(seed)
        folder.mkdir()
        data = broken(chance, sound(chance, kind, folder / "sound"))
        try:
            came[run_on(data, kind, folder, stub_settings)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, {kind}, {len(data)} bytes")
            raise
    return came


def test_broken_files(tmp_path, stub_settings):
    """A few dozen, each time the tests run."""
    assert fuzz(range(40), tmp_path, stub_settings).total() == 40


@pytest.mark.slow
def test_many_broken_files(tmp_path, stub_settings, capsys):
    """Several hundred, each made by its seed."""
    came = fuzz(range(1000, 1300), tmp_path, stub_settings)
    with capsys.disabled():
        print(f"\n{came.total()} broken files: {dict(came)}, anomalies 0")
