"""Make an OUT with runs of any size without a model, to measure the queries and the report with.

PYTHONPATH=tests python -m support.make_predictions OUT --tickets 5000000 --runs 2
PYTHONPATH=tests python -m support.make_predictions OUT --tickets 10 --runs 10000 --apart

The tickets of each run have the same ids, spread evenly over a year, and the model of each run is another one; with --apart
each run has ids of its own and all have one model. A tenth of the messages is repeated, a fiftieth is in another language.
"""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import Columns
from ecomintent_batch.schema import REJECTS
from support.committed_runs import make_manifest

_PART_ROWS = 65_536
_connection = duckdb.connect()
_TICKETS = """
WITH drawn AS (
    SELECT
        i, hash(i, 1) % 1_000_000 / 1e6 AS u, hash(i, 2) % 1_000_000 / 1e6 AS v, hash(i, 3 + $model) % 1_000_000 / 1e6 AS w,
        ['WISMO', 'WISMO', 'WISMO', 'RETURN_REQUEST', 'RETURN_REQUEST', 'DAMAGED_ITEM', 'BILLING_DISPUTE', 'EXCHANGE_REQUEST',
         'PRODUCT_QUESTION', 'CANCEL_ORDER', 'ACCOUNT_ISSUE', 'OTHER'] AS intents
    FROM range($first, $last) AS rows(i)
),
labelled AS (
    SELECT
        *, intents[1 + (u * 12)::INT % 12] AS top_intent, intents[1 + ((u * 12)::INT + 3 + (v * 5)::INT) % 12] AS second_intent,
        (1 - 0.6 * w * w)::FLOAT AS confidence
    FROM drawn
)
SELECT
    lpad(i::VARCHAR, 9, '0') AS ticket_id,
    i - $start AS row_number,
    TIMESTAMP '2025-11-03' + to_seconds((i * 364 * 86400 // $tickets)) AS created_at,
    ['email', 'chat', 'web_form', 'instagram'][1 + (v * v * 4)::INT % 4] AS channel,
    'c' || (hash(i, 4) % ($tickets // 3 + 1)) AS customer_id,
    CASE WHEN confidence < 0.7 THEN 'OTHER' ELSE top_intent END AS intent,
    top_intent,
    confidence,
    second_intent,
    ((1 - confidence) * 0.7)::FLOAT AS second_confidence,
    confidence < 0.7 AS below_threshold,
    (w * 0.02)::FLOAT AS prob_wismo, (w * 0.04)::FLOAT AS prob_return_request, (w * 0.06)::FLOAT AS prob_exchange_request,
    (w * 0.08)::FLOAT AS prob_cancel_order, (w * 0.10)::FLOAT AS prob_damaged_item, (w * 0.12)::FLOAT AS prob_billing_dispute,
    (w * 0.14)::FLOAT AS prob_product_question, (w * 0.16)::FLOAT AS prob_account_issue, (w * 0.18)::FLOAT AS prob_other,
    CASE WHEN v < 0.02 THEN 'unsupported_language' ELSE 'ok' END AS status,
    (10 + w * 90)::INT AS n_tokens,
    false AS is_truncated,
    confidence < 0.62 AS is_multi_intent,
    CASE WHEN v < 0.02 THEN ['de', 'es', 'fr'][1 + (u * 3)::INT % 3] ELSE 'en' END AS language,
    md5(CASE WHEN w < 0.1 THEN i % 5000 ELSE i + 5000 END::VARCHAR) AS message_hash,
    'model-' || $model AS model,
    TIMESTAMPTZ '2026-11-02 04:00:00+00' + to_days($model::INT) AS classified_at
FROM labelled
"""


def make_run(
    out: Path, run: int, tickets: int, *, apart: bool = False, **settings: Any
) -> RunFolder:
    """Write the parts, the empty rejects and the manifest of one run.

    Args:
        out: The folder of all runs.
        run: The number of this one; each starts five minutes after the one before.
        tickets: How many it has.
        apart: Give it tickets of its own and the model of all others, as scheduled runs have them.
        settings: Other settings of its manifest.
    """
    started_at = datetime(2025, 11, 3, 4, tzinfo=UTC) + timedelta(minutes=5 * run)
    folder = RunFolder(out, f"{started_at:%Y%m%dT%H%M%S%fZ}-{run:06x}")
    folder.predictions.mkdir(parents=True)
    start, model = (run * tickets, 0) if apart else (0, run)
    for part, first in enumerate(range(start, start + tickets, _PART_ROWS)):
        values = {
            "first": first,
            "last": min(first + _PART_ROWS, start + tickets),
            "start": start,
            "tickets": max(tickets, 105_000 if apart else 0),
            "model": model,
        }
        table = _connection.execute(_TICKETS, values).to_arrow_table()
        pq.write_table(table, folder.predictions / f"part-{part:05d}.parquet", compression="zstd")
    folder.rejects.parent.mkdir(exist_ok=True)
    pq.write_table(REJECTS.empty_table(), folder.rejects)
    folder.summaries.mkdir(
        parents=True
    )  # a run without one has crashed, and the next job writes them
    folder.manifest.parent.mkdir(exist_ok=True)
    columns = Columns(
        id="ticket_id",
        text=("body",),
        time="created_at",
        kept={name: name for name in ("created_at", "channel", "customer_id")},
    )
    manifest = make_manifest(
        folder,
        columns,
        tickets,
        started_at=started_at,
        model=f"model-{model}",
        by=("channel",),
        **settings,
    )
    folder.manifest.write_text(manifest.model_dump_json(indent=2))
    return folder


def main() -> None:
    """Make the runs that the command line asks for."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tickets", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--apart", action="store_true")
    given = parser.parse_args()
    for run in range(given.runs):
        make_run(given.out, run, given.tickets, apart=given.apart)


if __name__ == "__main__":
    main()
