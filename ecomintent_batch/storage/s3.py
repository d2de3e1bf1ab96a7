"""Object stores that speak S3. Credentials, region and endpoint are those of the usual AWS_* environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ecomintent_batch.errors import OutputError, RunStateError, SourceError
from ecomintent_batch.storage.location import SCHEME

REQUESTS_AT_ONCE = 16
_DELETED_AT_ONCE = 1000  # of S3
_CONDITION_FAILED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
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


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object by its name relative to a URL."""

    name: str
    n_bytes: int
    modified: datetime
    etag: str


@dataclass(frozen=True, kw_only=True)
class VersionedBody:
    """The bytes of an object, which version they are, and how old by the clock of the store."""

    body: bytes
    etag: str
    age_s: float


@dataclass(frozen=True)
class Store:
    """A bucket and a prefix in it, by their URL."""

    url: str

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config

        return _session().client("s3", config=Config(max_pool_connections=REQUESTS_AT_ONCE))

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
                f"{self.url}: expected a bucket that can be listed, found: {_reason(error)}",
                transient=_is_transient(error),
            ) from None
        objects = [
            StoredObject(
                name=entry["Key"].removeprefix(self._key("")),
                n_bytes=entry["Size"],
                modified=entry["LastModified"],
                etag=entry["ETag"],
            )
            for entry in entries
        ]
        return sorted(objects, key=lambda entry: entry.name)

    def list_names(self, folder: str) -> list[str]:
        """Return the names under a folder, relative to the URL, in their order."""
        return [entry.name for entry in self.list_objects(folder)]

    def delete(self, *names: str) -> None:
        """Remove objects in this order, a thousand in a request; one that is not there is no error."""
        for start in range(0, len(names), _DELETED_AT_ONCE):
            keys = [{"Key": self._key(name)} for name in names[start : start + _DELETED_AT_ONCE]]
            try:
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True}
                )
                found = answer["Errors"][0]["Code"] if answer.get("Errors") else None
            except Exception as error:
                raise OutputError(
                    f"{self.url}/{names[start]}: expected an object that may be removed, found: {_reason(error)}",
                    transient=_is_transient(error),
                ) from None
            if found is not None:
                raise OutputError(
                    f"{self.url}: expected objects that may be removed, found: {found}"
                )

    def read(self, name: str) -> bytes:
        """Return the bytes of one object.

        Raises:
            RunStateError: it is not there, or cannot be read.
        """
        current = self.find(name)
        if current is None:
            raise RunStateError(f"{self.url}/{name}: expected an object, found none")
        return current.body

    def find(self, name: str) -> VersionedBody | None:
        """Return one object; None where there is none.

        Raises:
            RunStateError: it cannot be read.
        """
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(name))
            body = bytes(answer["Body"].read())
        except Exception as error:
            if _reason(error) == "NoSuchKey":
                return None
            raise RunStateError(
                f"{self.url}/{name}: expected an object, found: {_reason(error)}",
                transient=_is_transient(error),
            ) from None
        age_s = (_time_of(answer) - answer["LastModified"]).total_seconds()
        return VersionedBody(body=body, etag=answer["ETag"], age_s=age_s)

    def download(self, name: str, path: Path) -> None:
        """Fetch one object into a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._client.download_file(self.bucket, self._key(name), str(path))
        except Exception as error:
            raise SourceError(
                f"{self.url}/{name}: expected an object, found: {_reason(error)}",
                transient=_is_transient(error),
            ) from None

    def upload(self, path: Path, name: str) -> None:
        """Put a file of any size."""
        try:
            self._client.upload_file(str(path), self.bucket, self._key(name))
        except Exception as error:
            raise OutputError(
                f"{self.url}/{name}: expected a bucket that can be written, found: {_reason(error)}; run the same command again",
                transient=_is_transient(error),
            ) from None

    def put(self, name: str, body: bytes) -> str:
        """Put an object unconditionally and return its version."""
        return self._put(name, body) or ""

    def put_if_absent(self, name: str, body: bytes) -> str | None:
        """Put an object where there is none; return its version, None where there is one."""
        return self._put(name, body, IfNoneMatch="*")

    def put_if_unchanged(self, name: str, body: bytes, etag: str) -> str | None:
        """Replace one version of an object; return the new version, None where it is another one by now."""
        return self._put(name, body, IfMatch=etag)

    def _put(self, name: str, body: bytes, **condition: str) -> str | None:
        try:
            answer = self._client.put_object(
                Bucket=self.bucket, Key=self._key(name), Body=body, **condition
            )
        except Exception as error:
            if condition and _reason(error) in _CONDITION_FAILED:
                return None
            raise OutputError(
                f"{self.url}/{name}: expected a bucket that can be written, found: {_reason(error)}; run the same command again",
                transient=_is_transient(error),
            ) from None
        return str(answer["ETag"])


def let_read(connection: Any, locations: Iterable[str]) -> None:
    """Let a DuckDB connection read files of committed runs, of which some may be objects of a store.

    They never change, so what was read of their heads and footers is kept: each view asks for it again.

    Raises:
        SourceError: the extension or boto3 is not installed, or there are no credentials.
    """
    if any(location.startswith(SCHEME) for location in locations):
        open_for_reading(connection)
        connection.execute("SET enable_http_metadata_cache = true")
        connection.execute("SET parquet_metadata_cache = true")


def _time_of(answer: dict[str, Any]) -> datetime:
    """Return the time of an answer by the clock of the store."""
    sent = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(sent) if sent else datetime.now(UTC)


def _is_transient(error: Exception) -> bool:
    """Return whether the store may answer later: no connection, or a fault of the server."""
    return isinstance(error, OSError) or bool(
        re.search(
            "Connect|Timeout|Endpoint|SlowDown|InternalError|ServiceUnavailable", _reason(error)
        )
    )


def _reason(error: Exception) -> str:
    """Return the code of a store's answer, or the kind of an error: its text may hold keys."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
