"""The job against what a user would pick instead, measured side by side in one run."""

from ecomintent_batch.bench.comparison import run_comparison
from ecomintent_batch.bench.scale import run_scale

__all__ = ["run_comparison", "run_scale"]
