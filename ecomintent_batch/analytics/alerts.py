"""Conditions on the volumes of a run, such as `WISMO share > 30%`, and what to say when one holds.

    INTENT share  >|<|>=|<= 30%     its share of the tickets of the run (0.3 is the same)
    INTENT volume >|<|>=|<= 500     its tickets in the run
    INTENT unusual [> 4]            a day whose z-score is beyond 3.5, or the bound given (`sql/unusual_days.sql`)
    INTENT changed [> 5]            a finding of the newest full week or month, or a drift (`sql/findings.sql`)
    … by COLUMN                     the same within each value of a --by column

`any` instead of INTENT means each of them, `unsure` the tickets below the threshold (share, volume, changed). A run looks at
the days since the previous run.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ecomintent_batch.errors import UsageError
from ecomintent_batch.options import USUAL_Z

_ANY, UNSURE = "any", "unsure"
_GRAMMAR = re.compile(
    r"\s*(?P<intent>\S.*?)\s+(?P<measure>share|volume|unusual|changed)"
    r"(?:\s*(?P<sign>[<>]=?)\s*(?P<bound>\d+(?:\.\d+)?)\s*(?P<percent>%?))?(?:\s+by\s+(?P<by>\S.*?))?\s*",
    re.I,
)
_SIGNS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Condition:
    """One `--alert`: `bound` is a share from 0 to 1, tickets, or a score; `by` is a --by column."""

    text: str
    intent: str
    measure: str
    sign: str
    bound: float
    by: str | None = None

    def is_about(self, intent: str) -> bool:
        """Return whether it looks at an intent."""
        return self.intent in (_ANY, intent)

    def holds(self, value: float) -> bool:
        """Return whether a share, a volume or a score is beyond the bound."""
        size = abs(value) if self.measure in ("unusual", "changed") else value
        return bool(_SIGNS[self.sign](size, self.bound))


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
    by: str | None = None
    group: str | None = None

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
    measure, sign, bound, by = found["measure"].lower(), found["sign"], found["bound"], found["by"]
    if measure in ("unusual", "changed"):
        if found["percent"] or (sign and not sign.startswith(">")):
            raise _wrong(text)
        least = USUAL_Z if measure == "unusual" else 0.0
        return Condition(text, found["intent"], measure, sign or ">=", float(bound or least), by)
    if bound is None or (measure == "volume" and found["percent"]):
        raise _wrong(text)
    number = float(bound) / (100 if found["percent"] else 1)
    if measure == "share" and number > 1:
        raise _wrong(text)
    return Condition(text, found["intent"], measure, sign, number, by)


def check_intents(conditions: Iterable[Condition], labels: Sequence[str]) -> None:
    """Raise UsageError where a condition is about an intent that the model does not know."""
    for condition in conditions:
        if not any(condition.is_about(label) for label in (*labels, UNSURE)):
            raise UsageError(
                f"--alert {condition.text!r}: expected an intent of the model, 'any' or 'unsure', found {condition.intent!r}; "
                f"it has {', '.join(labels[:20])}"
            )


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What alerts look at, of all tickets or of those of one value of a column.

    Attributes:
        volumes: Rows with intent, tickets and share; `unsure` is one of the intents.
        unusual: Rows with day, intent, tickets, usual and z_score, down to the lowest bound among the conditions.
    """

    volumes: Sequence[Mapping[str, Any]]
    unusual: Sequence[Mapping[str, Any]] = ()


def check_alerts(
    conditions: Sequence[Condition],
    counted: Mapping[tuple[str, str] | None, Counted],
    changes: Sequence[tuple[Mapping[str, Any], str]] = (),
    span: Sequence[str] = (),
) -> list[Alert]:
    """Return an alert for each condition, group and intent that it holds for.

    Args:
        conditions: What to look for.
        counted: Of all tickets under None, and by (column, value).
        changes: Findings that are new, each with its sentence.
        span: First and last day of the run's tickets; empty where they have no time.
    """
    alerts: list[Alert] = []
    for condition in conditions:
        if condition.measure == "changed":
            alerts += _check_changes(condition, changes)
            continue
        for group, tables in counted.items():
            if (group[0] if group else None) == condition.by:
                found = _check_group(condition, tables, span)
                alerts += found if group is None else [_name_group(alert, group) for alert in found]
    return alerts


def _check_group(condition: Condition, tables: Counted, span: Sequence[str]) -> list[Alert]:
    if condition.measure == "unusual":
        return _check_unusual(condition, tables.unusual)
    total = sum(row["tickets"] for row in tables.volumes if row["intent"] != UNSURE)
    counts = {row["intent"]: (row["tickets"], row["share"]) for row in tables.volumes}
    every = [intent for intent in counts if intent != UNSURE]
    alerts = []
    for intent in every if condition.intent == _ANY else [condition.intent]:
        tickets, share = counts.get(intent, (0, 0.0))
        if condition.holds(share if condition.measure == "share" else tickets):
            alerts.append(_describe_volume(condition, intent, tickets, share, total, span))
    return alerts


def _check_changes(
    condition: Condition, changes: Sequence[tuple[Mapping[str, Any], str]]
) -> list[Alert]:
    alerts = []
    for row, sentence in changes:
        intent = UNSURE if row["measure"] == "unsure_share" else row["intent"] or _ANY
        if (
            condition.intent in (_ANY, intent)
            and condition.by in (None, row["by_column"])
            and condition.holds(row["score"])
        ):
            days = (str(row["period"]), str(row["period_end"]))
            alerts.append(
                Alert(
                    condition.text, intent, "changed", row["score"], row["tickets"], days,
                    f"{sentence.rstrip('.')} (score {row['score']:+.1f})", row["by_column"], row["value"],
                )
            )  # fmt: skip
    return alerts


def _name_group(alert: Alert, group: tuple[str, str]) -> Alert:
    column, value = group
    return replace(alert, by=column, group=value, message=f"{column} {value[:60]}: {alert.message}")


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
    forms = "'INTENT share > 30%', 'INTENT volume > 500', 'any unusual' or 'any changed by COLUMN'"
    return UsageError(f"--alert: expected {forms}, found {text!r}; see the README")
