"""One Prefect server for all tests of the flow in a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_RESULTS_LOCAL_STORAGE_PATH,
    temporary_settings,
)
from support.prefect_server import Server, prefect_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that this process, and what it starts, talks to; stored results would land in a folder of the test."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        stored = tmp_path_factory.mktemp("results")
        with temporary_settings(
            {PREFECT_API_URL: server.url, PREFECT_RESULTS_LOCAL_STORAGE_PATH: stored}
        ):
            yield server


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what needs the server."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("service")
