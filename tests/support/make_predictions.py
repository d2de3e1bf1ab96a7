"""Make an OUT with runs of any size without a model, to measure the queries and the report with.

python tests/support/make_predictions.py OUT --tickets 5000000 --runs 2

The tickets of each run have the same ids, spread evenly over a year, and the model of each run is another one; a tenth of the
messages is repeated, a fiftieth is in another language.
"""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import (
    Columns,
    Counts,
    Manifest,
    PartRecord,
    Performance,
    RecordedSettings,
)
from ecomintent_batch.schema import REJECTS
from ecomintent_batch.storage.atomic import sha256_of

_PART_ROWS = 65_536
_TICKETS = """
WITH drawn AS (
    SELECT
        i, hash(i, 1) % 1_000_000 / 1e6 AS u, hash(i, 2) % 1_000_000 / 1e6 AS v, hash(i, 3 + $run) % 1_000_000 / 1e6 AS w,
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
    i AS row_number,
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
    'model-' || $run AS model,
    TIMESTAMPTZ '2026-11-02 04:00:00+00' + to_days($run::INT) AS classified_at
FROM labelled
"""


def make_run(out: Path, run: int, tickets: int) -> RunFolder:
    """Write the parts, the empty rejects and the manifest of one run."""
    started_at = datetime(2026, 11, 2, 4, tzinfo=UTC) + timedelta(days=run)
    folder = RunFolder(out, f"{started_at:%Y%m%dT%H%M%S%fZ}-{run:06x}")
    folder.predictions.mkdir(parents=True)
    connection = duckdb.connect()
    for part, first in enumerate(range(0, tickets, _PART_ROWS)):
        values = {
            "first": first,
            "last": min(first + _PART_ROWS, tickets),
            "tickets": tickets,
            "run": run,
        }
        table = connection.execute(_TICKETS, values).to_arrow_table()
        pq.write_table(table, folder.predictions / f"part-{part:05d}.parquet", compression="zstd")
    folder.rejects.parent.mkdir(exist_ok=True)
    pq.write_table(REJECTS.empty_table(), folder.rejects)
    folder.manifest.parent.mkdir(exist_ok=True)
    describe_run(folder, run, tickets, started_at).write(folder.manifest)
    return folder


def describe_run(folder: RunFolder, run: int, tickets: int, started_at: datetime) -> Manifest:
    """Return the manifest of such a run."""
    elapsed_s = tickets / 1300
    engine = "onnx int8 on cpu, 2 threads"
    return Manifest(
        run_id=folder.run_id,
        version="0",
        started_at=started_at,
        finished_at=started_at + timedelta(hours=2),
        source="shop.duckdb, table tickets",
        columns=Columns(
            id="ticket_id",
            text=("body",),
            time="created_at",
            kept={name: name for name in ("created_at", "channel", "customer_id")},
        ),
        settings=RecordedSettings.model_validate(
            {"by": ["channel"], "threshold": 0.7, "keep_text": False}
        ),
        read_from=None,
        newest=None,
        model=f"model-{run}",
        engine=engine,
        resumed=False,
        counts=Counts(
            source_rows=tickets,
            predictions=tickets,
            rejects=0,
            skipped=0,
            below_threshold=0,
            by_status={"ok": tickets},
        ),
        reject_reasons={},
        performance=Performance(
            elapsed_s=elapsed_s,
            score_s=elapsed_s,
            tickets_per_s=1300.0,
            messages_scored=tickets,
            tokens=15 * tickets,
            tokens_per_s=15 * 1300.0,
            padding_ratio=0.0,
            stages_s={},
        ),
        parts=tuple(
            PartRecord(
                file=part.name,
                rows=pq.read_metadata(part).num_rows,
                sha256=sha256_of(part),
                engine=engine,
            )
            for part in sorted(folder.predictions.iterdir())
        ),
        rejects_sha256=sha256_of(folder.rejects),
    )


def main() -> None:
    """Make the runs that the command line asks for."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tickets", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    for run in range(given.runs):
        print(make_run(given.out, run, given.tickets).predictions)


if __name__ == "__main__":
    main()
