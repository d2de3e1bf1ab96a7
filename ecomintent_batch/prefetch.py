"""Run an iterator in a thread, a bounded number of items ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield the items of an iterator that runs in a thread, up to `depth` items ahead.

    Its errors are raised here, and closing this generator stops the thread. An item is started only when there is room
    for it, so that at most `depth` of them take memory.
    """
    ready: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    room, stop = threading.Semaphore(depth), threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            while room.acquire() and not stop.is_set():
                ready.put((True, next(iterator)))
        except StopIteration:
            ready.put((False, None))
        except BaseException as error:
            ready.put((False, error))
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                room.release()
                yield value
                del value  # or this frame would hold an item while it waits for the next
            elif value is not None:
                raise value
            else:
                return
    finally:
        stop.set()
        room.release()
        thread.join()
