"""The script for a GPU: every way of it runs with the few packages that a bare machine has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.tickets import ROOT

_WAYS = 5
# What such a machine lacks is not found; the script is run as __main__.
_BARE = """
import runpy, sys
from importlib.machinery import PathFinder
LACKS = {"polars", "duckdb", "prefect", "typer", "pydantic", "onnxruntime", "onnx", "boto3", "sklearn", "accelerate"}
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in LACKS else super().find_spec(name, path, target)
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(*arguments: str) -> dict[str, object]:
    """Run it with bare imports, in a copy of the package without its int8 file."""
    done = subprocess.run(
        [sys.executable, "-c", _BARE, str(ROOT / "tests/benchmarks/gpu.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_every_way_runs_with_few_packages() -> None:
    """On the CPU, where there is no idle GPU to speak of."""
    found = run_script("--device", "cpu", "--messages", "300", "--hourly-price", "1")
    rows = found["rows"]
    assert isinstance(rows, list)
    assert len(rows) == 2 * _WAYS
    assert all(row["tickets_per_s"] > 0 and row["usd_per_1000"] > 0 for row in rows)
    assert {row["idle"] for row in rows} == {None}


@pytest.mark.gpu
def test_ours_keeps_the_gpu_busier() -> None:
    """Than fixed batches do; and no way is over the peak."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    rows = run_script("--device", "cuda", "--hourly-price", "2.5")["rows"]
    assert isinstance(rows, list)
    rates = {(row["messages"], row["way"]): row["tickets_per_s"] for row in rows}
    fixed = "fixed batches of 64, padded to the longest"
    assert all(rates[label, "ours"] > rates[label, fixed] for label, _ in rates)
    assert all((row["share_of_peak"] or 0) <= 1 for row in rows)


def test_the_tree_is_small_enough(tmp_path: Path) -> None:
    """What such a machine gets is under 64 MiB without the int8 file."""
    tree = shutil.copytree(
        ROOT / "ecomintent_batch",
        tmp_path / "ecomintent_batch",
        ignore=shutil.ignore_patterns("onnx", "__pycache__"),
        copy_function=os.link,
    )
    size = sum(file.stat().st_size for file in Path(tree).rglob("*") if file.is_file())
    assert size < 64 << 20
