"""Callbacks of a running job, for any display: a terminal, a Prefect log, a notebook."""

from __future__ import annotations


class Progress:
    """Receives callbacks while a job runs; this one ignores them. Subclass it to show them."""

    def note(self, text: str) -> None:
        """Receive one thing that was detected or decided."""

    def warn(self, text: str) -> None:
        """Receive one thing that went wrong and did not stop the job."""

    def extracted(self, tickets: int, *, complete: bool) -> None:
        """Receive the number of tickets extracted so far, and whether the source was read to its end."""

    def advance(self, tickets: float) -> None:
        """Receive the number of tickets scored since the last call; called from several threads."""
