"""Conditions on the volumes of a run, such as `WISMO share > 30%`, and what to say when one holds.

    INTENT share  >|<|>=|<= 30%     its share of the tickets of the run (0.3 is the same)
    INTENT volume >|<|>=|<= 500     its tickets in the run
    INTENT unusual [> 4]            a day whose z-score is beyond 3.5, or the bound given (`sql/unusual_days.sql`)

`any` in the place of INTENT stands for each of them. A run looks at the days since the run of the same source before it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ecomintent_batch.errors import UsageError
from ecomintent_batch.options import USUAL_Z

_ANY = "any"
_GRAMMAR = re.compile(
    r"\s*(?P<intent>\S.*?)\s+(?P<measure>share|volume|unusual)(?:\s*(?P<sign>[<>]=?)\s*(?P<bound>\d+(?:\.\d+)?)\s*(?P<percent>%?))?\s*",
    re.I,
)
_SIGNS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Condition:
    """One `--alert`: `bound` is a share from 0 to 1, tickets, or a z-score."""

    text: str
    intent: str
    measure: str
    sign: str
    bound: float

    def is_about(self, intent: str) -> bool:
        """Tell whether it looks at an intent."""
        return self.intent in (_ANY, intent)

    def holds(self, value: float) -> bool:
        """Tell whether a share, a volume or a z-score is beyond the bound."""
        return bool(
            _SIGNS[self.sign](abs(value) if self.measure == "unusual" else value, self.bound)
        )


@dataclass(frozen=True)
class Alert:
    """A condition that holds for one intent: what was found, on which days."""

    condition: str
    intent: str
    measure: str
    value: float
    tickets: int
    days: tuple[str, ...]
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return what `alerts.json` and an event hold of it."""
        return asdict(self)


def parse_alert(text: str) -> Condition:
    """Read one condition.

    Raises:
        UsageError: it does not follow the grammar.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise _wrong(text)
    measure, sign, bound = found["measure"].lower(), found["sign"], found["bound"]
    if measure == "unusual":
        if found["percent"] or (sign and not sign.startswith(">")):
            raise _wrong(text)
        return Condition(text, found["intent"], measure, sign or ">=", float(bound or USUAL_Z))
    if bound is None or (measure == "volume" and found["percent"]):
        raise _wrong(text)
    number = float(bound) / (100 if found["percent"] else 1)
    if measure == "share" and number > 1:
        raise _wrong(text)
    return Condition(text, found["intent"], measure, sign, number)


def check_intents(conditions: Iterable[Condition], labels: Sequence[str]) -> None:
    """Raise UsageError where a condition is about an intent that the model does not know."""
    for condition in conditions:
        if not any(condition.is_about(label) for label in labels):
            raise UsageError(
                f"--alert {condition.text!r}: expected an intent of the model or 'any', found {condition.intent!r}; "
                f"it has {', '.join(labels[:20])}"
            )


def check_alerts(
    conditions: Sequence[Condition],
    volumes: Sequence[Mapping[str, Any]],
    unusual: Sequence[Mapping[str, Any]],
    span: Sequence[str],
) -> list[Alert]:
    """Return an alert for each condition and intent that it holds for.

    Args:
        conditions: What to look for.
        volumes: Rows with intent, tickets and share.
        unusual: Rows with day, intent, tickets, usual and z_score, down to the lowest bound among the conditions.
        span: First and last day of the run's tickets; empty where they have no time.
    """
    alerts: list[Alert] = []
    total = sum(row["tickets"] for row in volumes)
    counts = {row["intent"]: (row["tickets"], row["share"]) for row in volumes}
    for condition in conditions:
        if condition.measure == "unusual":
            alerts += _check_unusual(condition, unusual)
            continue
        intents = list(counts) if condition.intent == _ANY else [condition.intent]
        for intent in intents:
            tickets, share = counts.get(intent, (0, 0.0))
            if condition.holds(share if condition.measure == "share" else tickets):
                alerts.append(_describe_volume(condition, intent, tickets, share, total, span))
    return alerts


def lowest_z(conditions: Iterable[Condition]) -> float:
    """Return the z-score from which a day has to be looked at."""
    return min(
        [USUAL_Z, *(condition.bound for condition in conditions if condition.measure == "unusual")]
    )


def _check_unusual(condition: Condition, unusual: Sequence[Mapping[str, Any]]) -> list[Alert]:
    alerts = []
    for intent in dict.fromkeys(
        row["intent"] for row in unusual if condition.is_about(row["intent"])
    ):
        rows = [
            row for row in unusual if row["intent"] == intent and condition.holds(row["z_score"])
        ]
        if not rows:
            continue
        worst = max(rows, key=lambda row: abs(row["z_score"]))
        days = ", ".join(
            f"{row['day']} ({row['tickets']:,} tickets, usually {row['usual']:g}, z {row['z_score']:+.1f})"
            for row in rows
        )
        alerts.append(
            Alert(
                condition.text, intent, "unusual", worst["z_score"], worst["tickets"], tuple(str(row["day"]) for row in rows),
                f"{intent} unusual on {days}",
            )
        )  # fmt: skip
    return alerts


def _describe_volume(
    condition: Condition, intent: str, tickets: int, share: float, total: int, span: Sequence[str]
) -> Alert:
    value = share if condition.measure == "share" else tickets
    bound = (
        f"{condition.bound:.4g}"
        if condition.measure == "volume"
        else f"{100 * condition.bound:.4g}%"
    )
    when = f", {' to '.join(dict.fromkeys(span))}" if span else ""
    found = (
        f"share {share:.1%} ({tickets:,} of {total:,} tickets)"
        if condition.measure == "share"
        else f"volume {tickets:,}"
    )
    message = f"{intent} {found} {condition.sign} {bound}{when}"
    return Alert(condition.text, intent, condition.measure, value, tickets, tuple(span), message)


def _wrong(text: str) -> UsageError:
    return UsageError(
        f"--alert: expected 'INTENT share > 30%', 'INTENT volume > 500' or 'any unusual', found {text!r}; see the README"
    )
