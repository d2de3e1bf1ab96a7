"""How many of some tickets were labelled right, with an interval."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, computed_field

_Z95 = 1.959964


class Score(BaseModel):
    """Tickets, and how many of them were right; the bounds are Wilson's score interval at 95 %."""

    model_config = ConfigDict(frozen=True)

    tickets: int
    right: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def accuracy(self) -> float | None:
        """Share of the tickets that were right; None without tickets."""
        return self.right / self.tickets if self.tickets else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lower and upper bound of the accuracy; None without tickets."""
        if not self.tickets:
            return None
        n, p, zz = self.tickets, self.right / self.tickets, _Z95 * _Z95
        centre = (p + zz / (2 * n)) / (1 + zz / n)
        half = _Z95 * math.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        """Return the accuracy and its interval, in per cent."""
        if self.accuracy is None or self.bounds is None:
            return "–"
        lower, upper = self.bounds
        return f"{self.accuracy:.1%} ({100 * lower:.0f}–{100 * upper:.0f})".replace("%", " %")


class Comparison(BaseModel):
    """Two models on the same tickets: `gained` are those that only the second has right, `lost` those that only the first has."""

    model_config = ConfigDict(frozen=True)

    before: Score
    after: Score
    gained: int
    lost: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gain(self) -> float:
        """Share of the tickets that are right after, minus the share before."""
        return (self.gained - self.lost) / self.after.tickets

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gain_bounds(self) -> tuple[float, float]:
        """Bounds of the gain at 95 %, of paired proportions with a continuity correction."""
        n, changed = self.after.tickets, self.gained + self.lost
        half = (_Z95 * math.sqrt(changed - (self.gained - self.lost) ** 2 / n) + 1) / n
        return max(-1.0, self.gain - half), min(1.0, self.gain + half)
