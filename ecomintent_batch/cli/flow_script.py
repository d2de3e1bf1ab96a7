"""`python -m flows.classify_tickets`: the flow once, with errors as the command line shows them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

from ecomintent_batch.cli.errors import one_line_errors
from ecomintent_batch.cli.parameters import CONFIG_HELP, DEBUG
from ecomintent_batch.flows.classify_tickets import classify_tickets
from ecomintent_batch.options import OUT, RUN_OPTIONS
from ecomintent_batch.runs.layout import SUMMARY_PAGE
from ecomintent_batch.runs.store import open_store
from ecomintent_batch.settings import load_settings


def main() -> None:
    """Run the flow once, on the server of `PREFECT_API_URL` or on a temporary one."""
    parser = ArgumentParser(
        "python -m flows.classify_tickets", description=classify_tickets.__doc__
    )
    parser.add_argument("source", help=RUN_OPTIONS["source"].help)
    parser.add_argument("--out", help=f"{RUN_OPTIONS['out'].help} [default: {OUT}]")
    parser.add_argument("--config", type=Path, help=CONFIG_HELP)
    parser.add_argument("--debug", action="store_true", help=DEBUG.help)
    given = parser.parse_args()
    # A busy machine takes longer than Prefect's 20 seconds to start a server.
    patience = temporary_settings(
        set_defaults={PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}
    )
    with (
        patience,
        one_line_errors(
            parser.prog, debug=given.debug, on_interrupt="; run the same command again to resume"
        ),
    ):
        settings = load_settings(given.config, source=given.source, out=given.out)
        folder = classify_tickets(settings)
        print((folder.summaries / SUMMARY_PAGE).read_text(encoding="utf-8"))
        locate, keys = open_store(settings.out).locate, folder.keys
        print(f"Predictions  {locate(keys.predictions)}")
        print(f"Summaries    {locate(keys.summaries)}")
        print(f"Manifest     {locate(keys.manifest)}")
