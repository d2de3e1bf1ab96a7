"""Object stores that speak S3: sources are read from them, and committed runs are published to them.

A store has no rename, so a run is made in a local folder and published by uploads: parts, rejects and summaries under keys
that hold its id, then the manifest, put only if it is not there. Until then no reader of manifests sees it; a crash in
between costs another upload of the same bytes. Credentials, region and endpoint are those of the usual AWS_* environment.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ecomintent_batch.errors import OutputError, RunStateError, SourceError

SCHEME = "s3://"
_URL_FILE = "url"
_EXTRA = "pip install 'ecomintent-batch[s3]'"


def open_for_reading(connection: Any) -> None:
    """Let a DuckDB connection read s3:// paths.

    Raises:
        SourceError: the extension or boto3 is not installed, or there are no credentials.
    """
    from ecomintent_batch.storage.duck import load_extension

    try:
        load_extension(connection, "httpfs")
    except Exception as error:  # duckdb's errors; it is not imported for a check of its kind
        raise SourceError(
            f"s3://…: expected DuckDB's httpfs extension, found: {type(error).__name__}; {_EXTRA}"
        ) from None
    session = _session()
    credentials = session.get_credentials()
    if credentials is None:
        raise SourceError(
            "s3://…: expected credentials, found none; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    frozen = credentials.get_frozen_credentials()
    options = {
        "KEY_ID": frozen.access_key,
        "SECRET": frozen.secret_key,
        "REGION": session.region_name or "us-east-1",
    }
    if frozen.token:
        options["SESSION_TOKEN"] = frozen.token
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        scheme, _, host = endpoint.rstrip("/").rpartition("://")
        options |= {"ENDPOINT": host, "URL_STYLE": "path", "USE_SSL": str(scheme != "http").lower()}
    listed = ", ".join(
        f"{name} '" + value.replace("'", "''") + "'" for name, value in options.items()
    )
    connection.execute(f"CREATE OR REPLACE SECRET objectstore (TYPE s3, {listed})")


def _session() -> Any:
    try:
        import boto3
    except ModuleNotFoundError:
        raise SourceError(
            f"s3://…: expected boto3 to be installed, found it missing; {_EXTRA}"
        ) from None
    return boto3.Session()


@dataclass(frozen=True)
class StoredObject:
    """An object by its name relative to a URL."""

    name: str
    n_bytes: int
    modified: datetime


@dataclass(frozen=True)
class Store:
    """A bucket and a prefix in it, by their URL."""

    url: str

    @cached_property
    def _client(self) -> Any:
        return _session().client("s3")

    @property
    def bucket(self) -> str:
        """The bucket of the URL."""
        return self.url.removeprefix(SCHEME).partition("/")[0]

    def _key(self, name: str) -> str:
        prefix = self.url.removeprefix(SCHEME).partition("/")[2].strip("/")
        return f"{prefix}/{name}" if prefix else name

    def list_objects(self, folder: str) -> list[StoredObject]:
        """Return the objects under a folder in the order of their names."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key(folder)
            )
            entries = [entry for page in pages for entry in page.get("Contents", ())]
        except Exception as error:  # botocore's kinds are many, and hold the request
            raise OutputError(
                f"{self.url}: expected a bucket that can be listed, found: {_reason(error)}"
            ) from None
        found = [
            StoredObject(
                entry["Key"].removeprefix(self._key("")), entry["Size"], entry["LastModified"]
            )
            for entry in entries
        ]
        return sorted(found, key=lambda entry: entry.name)

    def list_names(self, folder: str) -> list[str]:
        """Return the names under a folder, relative to the URL, in their order."""
        return [entry.name for entry in self.list_objects(folder)]

    def delete(self, name: str) -> None:
        """Remove one object, if it is there."""
        try:
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))
        except Exception as error:
            raise OutputError(
                f"{self.url}/{name}: expected an object that may be removed, found: {_reason(error)}"
            ) from None

    def read(self, name: str) -> bytes:
        """Return the bytes of one object."""
        try:
            return bytes(
                self._client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read()
            )
        except Exception as error:
            raise RunStateError(
                f"{self.url}/{name}: expected an object, found: {_reason(error)}"
            ) from None

    def download(self, name: str, path: Path) -> None:
        """Fetch one object into a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._client.download_file(self.bucket, self._key(name), str(path))
        except Exception as error:
            raise SourceError(
                f"{self.url}/{name}: expected an object, found: {_reason(error)}"
            ) from None

    def upload(self, path: Path, name: str) -> None:
        """Put a file, whatever its size."""
        try:
            self._client.upload_file(str(path), self.bucket, self._key(name))
        except Exception as error:
            raise OutputError(
                f"{self.url}/{name}: expected a bucket that can be written, found: {_reason(error)}; run the same command again"
            ) from None

    def put_if_absent(self, name: str, body: bytes) -> bool:
        """Put an object where there is none, and tell whether it was put."""
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=self._key(name), Body=body, IfNoneMatch="*"
            )
        except Exception as error:
            if _reason(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise OutputError(
                f"{self.url}/{name}: expected a bucket that can be written, found: {_reason(error)}; run the same command again"
            ) from None
        return True


def note_store_url(folder: Path, url: str) -> None:
    """Note in a local folder that its runs are published to a URL, so that what looks back from it looks there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _URL_FILE).write_text(url + "\n", encoding="utf-8")


def url_of(out: Path) -> str | None:
    """Return the URL at which the runs of an OUT are: of one that is a URL, or a local folder that stands for one."""
    if url := as_url(str(out)):
        return url
    noted = out / _URL_FILE
    return noted.read_text(encoding="utf-8").strip() if noted.is_file() else None


def work_folder(url: str) -> Path:
    """Return the local folder in which the runs of a URL are made: private, the same for every run of it."""
    import hashlib

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ecomintent-batch" / hashlib.sha256(url.encode()).hexdigest()[:16]


def as_url(location: str) -> str | None:
    """Return an s3:// URL as it was meant, also where pathlib has folded its slashes; None for anything else."""
    match = re.match(r"s3:/+(?=[^/])", location)
    return SCHEME + location[match.end() :].rstrip("/") if match else None


def _reason(error: Exception) -> str:
    """Return the code of a store's answer, or the kind of an error: its text may hold keys."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
