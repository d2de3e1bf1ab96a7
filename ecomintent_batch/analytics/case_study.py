"""What the EcomIntent case study published, for a comparison with what was measured here.

Source: github.com/jcbolo72012/ecomintent-api at commit 3ca148dd, README.md (Benchmark) and eval/cost_comparison.json.
Its own row was measured on the held-out tenth of its template-made set; its script (eval/run_eval.py) writes the rows of
the others as constants, which its README calls published benchmarks. None of them was measured again here.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "github.com/jcbolo72012/ecomintent-api, commit 3ca148dd: README.md and eval/cost_comparison.json"


@dataclass(frozen=True)
class PublishedRow:
    """One way of labelling, as published; the cost is of 1,000 single calls."""

    way: str
    accuracy: float
    f1_weighted: float
    p95_ms: float
    usd_per_1000: float | None
    note: str


PUBLISHED = (
    PublishedRow(
        "EcomIntent DistilBERT", 0.9992, 0.9992, 20.4, 0.0062,
        "its own template test; one A10G at 1.10 USD an hour, busy for each p95; its README says about 8 ms, 0.001 USD",
    ),
    PublishedRow("GPT-4o mini, zero-shot", 0.845, 0.840, 450, 0.015, "as quoted by the case study"),
    PublishedRow("GPT-4o mini, 5-shot", 0.880, 0.875, 700, 0.045, "as quoted by the case study"),
    PublishedRow("Forethought", 0.885, 0.880, 300, None, "as quoted by the case study; sold at 30,000 USD a year and more"),
)  # fmt: skip
