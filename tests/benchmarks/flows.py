"""Measure what Prefect costs over the plain command, and what a second Ray worker gains; run it on a quiet machine.

python tests/benchmarks/flows.py --tickets 60000

The plain command and the flow label the same short messages in turn, twice, against one running server. Then a local Ray
cluster of one machine with one core does, and one of two: the time is that of the manifest, `ray.init` and Prefect left out.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.prefect_server import prefect_server, ray_cluster

from ecomintent_batch.bench.messages import make_short
from ecomintent_batch.runs.records import read_manifest

_FLOW = """
import sys
from pathlib import Path
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.flows.classify_tickets import classify_tickets
source, out, runner, address, shard_rows = sys.argv[1:]
settings = RunSettings(source=source, out=Path(out), shard_rows=int(shard_rows))
classify_tickets(settings, runner=runner, ray_address=address or None)
"""


def main() -> None:
    """Print one line a measurement."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--tickets", type=int, default=60_000)
    tickets: int = parser.parse_args().tickets
    with (
        TemporaryDirectory() as folder,
        prefect_server(Path(folder)) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
    ):
        home = Path(folder)
        source = home / "tickets.parquet"
        pq.write_table(
            pa.table({"id": [str(i) for i in range(tickets)], "body": make_short(tickets)}), source
        )
        plain, flow = [], []
        for turn in range(2):
            plain.append(
                _time(
                    server,
                    home,
                    "ecomintent-batch",
                    "run",
                    str(source),
                    "--out",
                    str(home / f"plain-{turn}"),
                )
            )
            flow.append(
                _time(
                    server,
                    home,
                    "python",
                    "-c",
                    _FLOW,
                    str(source),
                    str(home / f"flow-{turn}"),
                    "inline",
                    "",
                    "65536",
                )
            )
        cost = min(flow) - min(plain)
        print(
            f"plain {min(plain):.1f} s, flow {min(flow):.1f} s: {cost:+.1f} s, allowed {10 + 0.02 * min(plain):.1f} s",
            flush=True,
        )
        seconds = {}
        for machines in (1, 2, 1, 2):
            with ray_cluster(server, machines) as cluster:
                out = home / f"ray-{machines}-{len(list(home.iterdir()))}"
                _time(
                    server,
                    home,
                    "python",
                    "-c",
                    _FLOW,
                    str(source),
                    str(out),
                    "ray",
                    cluster.address,
                    str(max(1, tickets // 20)),
                )
            (manifest,) = (out / "runs").iterdir()
            seconds.setdefault(machines, []).append(read_manifest(manifest).performance.elapsed_s)
            print(f"Ray, {machines} of one core: {seconds[machines][-1]:.1f} s", flush=True)
        print(f"two Ray workers over one: {min(seconds[1]) / min(seconds[2]):.2f}x")


def _time(server: Any, home: Path, *command: str) -> float:
    started = time.perf_counter()
    process = server.start(*command, log="measured.log")
    if process.wait():
        sys.exit((home / "measured.log").read_text()[-2000:])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
