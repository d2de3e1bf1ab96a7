"""Servers of a test's own, and the environment of a job that uses one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest


@contextmanager
def moto_server() -> Iterator[str]:
    """Start moto's S3 on a free port; yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def connect_s3(url: str, bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the environment of a job on an object store, make its bucket if there is none, and return a client."""
    values = {
        "ACCESS_KEY_ID": "key",
        "SECRET_ACCESS_KEY": "s3cret",
        "ENDPOINT_URL": url,
        "DEFAULT_REGION": "eu-central-1",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    client = boto3.client("s3")
    if bucket not in [known["Name"] for known in client.list_buckets()["Buckets"]]:
        client.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    return client
