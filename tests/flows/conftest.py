"""One Prefect server for all tests of the flow in a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_RESULTS_LOCAL_STORAGE_PATH,
    temporary_settings,
)
from support.prefect_server import Server, prefect_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that this process, and what it starts, talks to; stored results would land in a folder of the test."""
    settings = temporary_settings(
        {
            PREFECT_RESULTS_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results"),
            PREFECT_API_URL: "http://127.0.0.1:9/api",
        }
    )
    # Never left: when the process ends, Prefect sends what it still has, and without a URL it would start a server for that.
    settings.__enter__()
    with (
        prefect_server(tmp_path_factory.mktemp("prefect")) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
    ):
        yield server
        APILogWorker.drain_all(timeout=20)  # while there is somebody to receive it
        EventsWorker.drain_all(timeout=20)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what needs the server."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("service")
