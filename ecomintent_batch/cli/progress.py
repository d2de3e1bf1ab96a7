"""Progress of a run on the terminal: a bar if stderr is a terminal, plain lines if it is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ecomintent_batch import progress
from ecomintent_batch.cli.printing import open_console

_LINE_EVERY_S = 10.0


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[progress.Progress]:
    """Yield the callbacks that print to stderr."""
    console = open_console(stderr=True)
    if quiet:
        yield _Warnings(console)
    elif console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        ) as bar:
            yield _Bar(bar)
    else:
        yield _Lines(console)


class _Warnings(progress.Progress):
    """Prints warnings, and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def warn(self, text: str) -> None:
        self._console.print(text, style="yellow", soft_wrap=True)


class _Counting(_Warnings):
    """Counts the tickets and the time since the first one was scored."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._lock = threading.Lock()
        self._done, self._total, self._complete = 0.0, 0, False
        self._began = 0.0

    def extracted(self, tickets: int, *, complete: bool) -> None:
        with self._lock:
            self._total, self._complete = tickets, complete

    def _count(self, tickets: float) -> float:
        """Add tickets, and return the rate in tickets/s."""
        self._began = self._began or time.monotonic()
        self._done += tickets
        return self._done / max(time.monotonic() - self._began, 1e-3)


class _Bar(_Counting):
    """Shows a bar with the rate below the notes."""

    def __init__(self, bar: Progress) -> None:
        super().__init__(bar.console)
        self._bar = bar
        self._task = bar.add_task("tickets", total=None, rate="")

    def note(self, text: str) -> None:
        self._bar.console.print(text, style="dim", soft_wrap=True)

    def extracted(self, tickets: int, *, complete: bool) -> None:
        super().extracted(tickets, complete=complete)
        self._bar.update(self._task, total=tickets)

    def advance(self, tickets: float) -> None:
        with self._lock:
            rate = self._count(tickets)
            self._bar.update(self._task, completed=self._done, rate=f"{rate:,.0f}/s")


class _Lines(_Counting):
    """Prints the notes, and every ten seconds a line with tickets, rate and time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._next = time.monotonic() + _LINE_EVERY_S

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def advance(self, tickets: float) -> None:
        with self._lock:
            rate = self._count(tickets)
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + _LINE_EVERY_S
            left = (
                f", {max(self._total - self._done, 0) / rate:,.0f} s left" if self._complete else ""
            )
            self._console.print(
                f"{self._done:,.0f} of {self._total:,}{'' if self._complete else '+'} tickets, {rate:,.0f}/s{left}",
                soft_wrap=True,
            )
