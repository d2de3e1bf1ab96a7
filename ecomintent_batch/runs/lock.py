"""One job at a time in a local OUT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ecomintent_batch.errors import OutputError
from ecomintent_batch.runs.layout import FOLDERS, LOCK


@contextmanager
def lock_out(
    out: Path, timeout_s: float, note: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold OUT for one job; the kernel releases it when the process dies. `note` receives that the job has to wait.

    Raises:
        OutputError: OUT cannot be written, or another job still holds it after `timeout_s`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            (out / name).mkdir(exist_ok=True)
        lock = FileLock(out / LOCK, timeout=timeout_s)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not timeout_s:
                raise
            note(f"another job is at work in {out}: waiting up to {timeout_s:g} s for it to leave")
            lock.acquire()
    except Timeout:
        raise OutputError(
            f"{out}: expected to be free, found another job at work in it; wait with --lock-timeout, or use another --out",
            transient=True,
        ) from None
    except OSError as error:
        raise OutputError(
            f"{out}: expected a folder that can be written, found: {error.strerror or error}; choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
