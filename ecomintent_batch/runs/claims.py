"""One job at a time for a source whose runs are published to an object store: the lock that machines share.

A claim is an object, put only where there is none. While the job works it is renewed, so that a claim that nobody renews is
known to be of a machine that died, and another machine takes it over. All comparisons of times use the clock of the store.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ecomintent_batch.errors import EcomIntentError, OutputError, RunStateError
from ecomintent_batch.runs.records import Record, parse_record
from ecomintent_batch.storage.atomic import write_text
from ecomintent_batch.storage.s3 import Store

RENEW_EVERY_S = 60.0
STALE_AFTER_S = 600.0
_LOOK_AGAIN_S = 5.0


class ClaimRecord(Record):
    """Who runs the job of a source.

    Attributes:
        owner: A random name of the local folder in which the run is made.
        state: `interrupted` where the job ended without a committed run.
    """

    owner: str
    host: str
    started_at: str
    state: Literal["running", "interrupted"] = "running"


class Claim:
    """A claim that this process holds."""

    def __init__(self, store: Store, key: str, record: ClaimRecord, etag: str) -> None:
        self._store, self._key, self._record, self._etag = store, key, record, etag
        self._lock = threading.Lock()
        self._is_lost = False

    def renew(self, state: Literal["running", "interrupted"] = "running") -> bool:
        """Show that this process is alive; return whether it still holds the claim."""
        with self._lock:
            if not self._is_lost:
                body = _to_body(self._record.model_copy(update={"state": state}))
                etag = self._store.put_if_unchanged(self._key, body, self._etag)
                self._is_lost, self._etag = etag is None, etag or self._etag
            return not self._is_lost

    def check(self) -> None:
        """Raise OutputError where another machine took the claim over, because this one did not renew it in time."""
        if not self.renew():
            raise OutputError(
                f"{self._store.url}: expected to be the only run of this source, found that another one took over after "
                f"{STALE_AFTER_S / 60:g} minutes without a sign of this one; run the same command again"
            )

    def release(self) -> None:
        """Remove the claim, unless it is another's."""
        if self.renew():
            self._store.delete(self._key)

    def keep_renewing(self, stop: threading.Event) -> None:
        """Renew until stopped; a store that cannot be reached is asked again."""
        while not stop.wait(RENEW_EVERY_S):
            with suppress(EcomIntentError):
                self.renew()


def claim_key(source: Sequence[str | None]) -> str:
    """Return the key of the claim of a source.

    Args:
        source: Location, table and query.
    """
    digest = hashlib.sha256(repr(tuple(source)).encode()).hexdigest()[:16]
    return f"claims/{digest}.json"


@contextmanager
def hold_claim(
    store: Store, key: str, folder: Path, timeout_s: float, note: Callable[[str], None]
) -> Iterator[Claim]:
    """Hold the claim of a source for one job. An error leaves it marked as interrupted, for the next machine to say so.

    Args:
        store: The object store.
        key: The key of the claim.
        folder: The local folder in which the run is made; it is locked.
        timeout_s: Seconds to wait for another job.
        note: Receives that the job waits, or that another machine was interrupted.

    Raises:
        OutputError: the bucket cannot be written, or another job still holds the claim after `timeout_s`.
    """
    claim = _acquire(store, key, _describe_self(folder), timeout_s, note)
    stop = threading.Event()
    thread = threading.Thread(target=claim.keep_renewing, args=(stop,), daemon=True)
    thread.start()
    try:
        yield claim
    except BaseException:
        with suppress(EcomIntentError):
            claim.renew("interrupted")
        raise
    else:
        with suppress(EcomIntentError):  # the run is committed; a claim that stays is taken over
            claim.release()
    finally:
        stop.set()


def _acquire(
    store: Store, key: str, record: ClaimRecord, timeout_s: float, note: Callable[[str], None]
) -> Claim:
    deadline, is_noted = time.monotonic() + timeout_s, False
    while True:
        if etag := store.put_if_absent(key, _to_body(record)):
            return Claim(store, key, record, etag)
        other = store.find(key)
        if other is None:
            continue  # released in between
        holder = _parse(other.body, f"{store.url}/{key}")
        is_own = (
            holder.owner == record.owner
        )  # this machine died: its folder is locked by this process
        if is_own or holder.state == "interrupted" or other.age_s > STALE_AFTER_S:
            if etag := store.put_if_unchanged(key, _to_body(record), other.etag):
                if not is_own:
                    note(
                        f"a run of this source was interrupted on {holder.host}, where its finished parts are: "
                        "this run starts from scratch"
                    )
                return Claim(store, key, record, etag)
            continue
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise OutputError(
                f"{store.url}: expected no other run of this source, found one on {holder.host} since {holder.started_at}; "
                "wait with --lock-timeout, or run again when it is done"
            )
        if not is_noted:
            note(f"a run of this source is at work on {holder.host}: waiting up to {timeout_s:g} s")
            is_noted = True
        time.sleep(min(_LOOK_AGAIN_S, left_s))


def _describe_self(folder: Path) -> ClaimRecord:
    """Return what this machine says of itself; the same folder says the same after a crash."""
    file = folder / "owner"
    if not file.exists():
        write_text(secrets.token_hex(8), file)
    return ClaimRecord(
        owner=file.read_text(encoding="utf-8"),
        host=socket.gethostname(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _parse(body: bytes, where: str) -> ClaimRecord:
    """Return a claim; one that cannot be read may be taken over."""
    try:
        return parse_record(ClaimRecord, body, where)
    except RunStateError:
        return ClaimRecord(owner="", host="another machine", started_at="", state="interrupted")


def _to_body(record: ClaimRecord) -> bytes:
    return record.model_dump_json(indent=2).encode()
