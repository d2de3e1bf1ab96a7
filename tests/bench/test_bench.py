"""The bench: every contender labels the same messages, and the last line is JSON."""

from __future__ import annotations

import json
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from ecomintent_batch import bench
from ecomintent_batch.bench import comparison
from ecomintent_batch.bench.ceiling import count_operations, measure_ceilings
from ecomintent_batch.bench.contenders import peak_rss_mb
from ecomintent_batch.bench.messages import SETS, make_repeated, make_short
from ecomintent_batch.bench.processor import name_processor
from ecomintent_batch.inference.batches import tokenise
from ecomintent_batch.inference.engines import open_model
from ecomintent_batch.training.export import export_onnx_fp32


def test_the_message_sets_are_what_they_are_called():
    """Short ones are distinct, three in ten of the repeated were said before, the mixed have a tail; each is always the same."""
    assert len(set(make_short(5_000))) == 5_000
    assert len(set(make_repeated(1_000))) == pytest.approx(700, abs=5)
    lengths = tokenise(
        open_model(None).tokenizer, SETS["mixed, 5 to 500 tokens"](2_000), 10_000
    ).lengths
    assert lengths.min() >= 5
    assert 300 < lengths.max() <= 520
    assert np.median(lengths) < 40
    assert all(make(50) == make(50) for make in SETS.values())


def test_operations_are_counted_from_the_config(tiny_model):
    """Products of the encoder: 2 layers of 32 x 32 x 4 and 32 x 64 x 2 a token, attention by the square of the length."""
    found = count_operations(open_model(str(tiny_model)), np.array([3, 5]))
    assert found == pytest.approx(
        (2 * 2 * (4 * 32 * 32 + 2 * 32 * 64) * 8 + 4 * 2 * 32 * (9 + 25)) / 1e9
    )


@pytest.mark.slow
def test_the_bench_ends_in_json(tiny_model, monkeypatch, capsys):
    """On a small model: each set has its contenders, those in fp32 agree, and cost follows from the price."""
    monkeypatch.setattr(comparison, "_TOKENS_OF_SAMPLE", 600)
    monkeypatch.setattr(comparison, "_MESSAGES", 90)
    bench.run_comparison(
        tickets=200,
        model=str(tiny_model),
        device="cpu",
        threads=1,
        hourly_price=3.6,
        export_fp32=export_onnx_fp32,
    )
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert {one["messages"] for one in result["contenders"]} == set(SETS)
    assert result["ceilings_gflop_per_s"]["fp32"] > 0
    for one in result["contenders"]:
        assert one["tickets_per_s"] > 0
        assert one["cost_per_1000"] == pytest.approx(1 / one["tickets_per_s"], abs=1e-6)
        assert one["agreement_with_fp32"] in (None, 1.0)
    assert max(map(len, lines[:-1])) <= 80
    assert any(line.startswith("whole job, stub") for line in lines)


@pytest.mark.slow
def test_scale_reports_time_and_memory_a_ticket(tiny_model, capsys):
    """One line and one row of the JSON for each size."""
    bench.run_scale([50, 100], engines=["stub"], model=str(tiny_model), device="cpu", threads=1)
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["tickets"] for row in rows] == [50, 100]
    assert all(row["us_per_ticket"] > 0 and row["peak_rss_mb"] > 0 for row in rows)


@pytest.mark.slow
def test_the_ceiling_is_the_best_product_that_an_engine_can_reach():
    """No engine does more than its ceiling: int8 products are those of ONNX Runtime where torch's are a naive loop."""
    ceilings = measure_ceilings("cpu", 1)
    assert ceilings["fp32"] > 0
    assert ceilings["int8"] > 0.5 * ceilings["fp32"]


def test_the_processor_is_named():
    """Model, instructions and cores: what a figure needs beside it."""
    assert re.fullmatch(r".+ \(family .+, .+\), \d+ cores", name_processor())


def test_the_peak_of_a_process_is_its_own():
    """A process started by one that has held 400 MB does not count them."""
    held = np.ones(50_000_000)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        assert process.submit(peak_rss_mb).result() < held.nbytes / 2**20
