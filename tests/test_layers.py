"""What a command loads before it needs it. The order of imports itself is checked by import-linter (pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh process has loaded after some code."""
    program = f"import sys; {code}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_command_line_starts_light():
    """`--help` and wrong usage load no library that reads, computes or schedules."""
    heavy = {
        "torch",
        "transformers",
        "prefect",
        "onnxruntime",
        "duckdb",
        "pyarrow",
        "numpy",
        "polars",
        "pydantic",
        "tokenizers",
    }
    assert modules_after("import ecomintent_batch.cli.app") & heavy == set()


def test_the_job_loads_no_engine_before_it_needs_one():
    """Torch takes seconds to import: a run on ONNX Runtime, or one that fails on its source, does not pay them."""
    loaded = modules_after("import ecomintent_batch.pipeline, ecomintent_batch.cli.progress")
    assert (
        loaded
        & {
            "torch",
            "transformers",
            "onnxruntime",
            "prefect",
            "polars",
            "sklearn",
            "jinja2",
        }
        == set()
    )
    assert "duckdb" in loaded
