"""`runs`: what has run."""

from __future__ import annotations

from ecomintent_batch.cli.parameters import Json, Out
from ecomintent_batch.options import OUT


def runs(out: Out = OUT, as_json: Json = False) -> None:
    """List the committed runs."""
    from ecomintent_batch.cli.printing import print_json, print_runs
    from ecomintent_batch.runs.store import open_store

    store = open_store(out)
    manifests = store.manifests()
    if as_json:
        print_json(manifests)
    else:
        print_runs(store.location, manifests)
