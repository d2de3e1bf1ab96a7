"""Findings of `sql/findings.sql` → sentences, the strongest of each period, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_MIN_PERIODS = 4  # of sql/findings.sql
_MOST_NEWEST, _MOST_EARLIER, _MOST_DRIFTS, _MOST_PHRASES = 5, 5, 3, 4
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Changes:
    """What the report says of the findings.

    Attributes:
        newest: Of the newest full week and month; the first sentence says what they are.
        earlier: Of the weeks and months before, the strongest first.
        drifts: Shares that moved slowly.
        left_out: Findings in the table that are not among these.
        words: What came up in the messages, where they are kept.
        rows: The finding of each sentence that tells one.
    """

    newest: tuple[str, ...]
    earlier: tuple[str, ...]
    drifts: tuple[str, ...]
    left_out: int
    words: tuple[str, ...] = ()
    rows: Mapping[str, _Row] = field(default_factory=dict)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them: the newest week first, then what moved slowly, then earlier weeks."""
        return self.newest + self.words + self.drifts + self.earlier


def describe_findings(
    findings: pl.DataFrame, phrases: pl.DataFrame | None = None, phrase_days: int = 28
) -> Changes:
    """Return the strongest findings in words; a finding that another one explains is part of that one's sentence.

    Args:
        findings: The rows of `sql/findings.sql`.
        phrases: The rows of `sql/rising_phrases.sql`, where messages are kept.
        phrase_days: How many newest days they came up in.
    """
    rows = list(findings.iter_rows(named=True))
    newest = _newest_totals(rows)
    week = newest.get("week")
    year = week["period_end"].year if week else None
    chosen = _choose([row for row in rows if row["is_finding"]])
    recent = [row for row in chosen if _is_of_newest(row, newest)]
    earlier = [row for row in chosen if row["kind"] != "drift" and row not in recent]
    drifts = [row for row in chosen if row["kind"] == "drift"]
    shown = recent[:_MOST_NEWEST], earlier[:_MOST_EARLIER], drifts[:_MOST_DRIFTS]
    said = [tuple(describe_finding(row, year) for row in part) for part in shown]
    return Changes(
        newest=(_describe_newest(week, found=bool(recent)), *said[0]),
        earlier=said[1],
        drifts=said[2],
        left_out=len(chosen) - sum(map(len, shown)),
        words=()
        if phrases is None or phrases.is_empty()
        else (_describe_phrases(phrases, phrase_days),),
        rows={
            text: row
            for texts, part in zip(said, shown, strict=True)
            for text, row in zip(texts, part, strict=True)
        },
    )


def list_new(findings: pl.DataFrame, known: date | None) -> list[dict[str, Any]]:
    """Return the findings of the newest full week and month, and the drifts, if that week has ended since a day.

    Args:
        findings: The rows of `sql/findings.sql`.
        known: The newest day of the previous run; None for the first run.
    """
    rows = list(findings.iter_rows(named=True))
    newest = _newest_totals(rows)
    new = {kind for kind, row in newest.items() if known is None or row["period_end"] >= known}
    return [
        row
        for row in rows
        if row["is_finding"]
        and (
            ("week" in new and row["kind"] == "drift")
            or (row["kind"] in new and _is_of_newest(row, newest))
        )
    ]


def describe_finding(row: _Row, year: int | None = None) -> str:
    """Return one finding in a sentence.

    Args:
        row: A row of findings.
        year: The year that need not be named.
    """
    group = f"{_name_group(row)}: " if row["value"] is not None else ""
    if row["kind"] == "drift":
        return group + _describe_drift(row)
    when = _name_period(row, year)
    if row["usual"] is None:
        return f"{group}{_describe_found(row)} {when}; too few {row['kind']}s before it to judge."
    if row["measure"] == "unsure_share":
        return f"{group}{_percent(row['found'])} of the tickets unsure {when}, usually {_percent(row['usual'])}."
    if row["intent"] is None:
        return f"{group}{row['found']:,.0f} tickets {when}, usually {row['usual']:,.0f}."
    return f"{group}{row['intent']} {row['found']:,.0f} {when}, usually {row['usual']:,.0f}."


def _describe_phrases(phrases: pl.DataFrame, days: int) -> str:
    """Return the clearest phrases, of those that share a word the clearest one only."""
    said: list[str] = []
    used: set[str] = set()
    intent = phrases["intent"][0]
    for row in phrases.iter_rows(named=True):
        words = set(row["phrase"].split())
        if words & used or len(said) >= _MOST_PHRASES:
            continue
        used |= words
        text = f"“{row['phrase']}” in {row['tickets']:,} tickets, usually {row['usual']:,.0f}"
        # The others have their intent only where it is another one.
        said.append(
            f"{text}, most of them {row['intent']}" if not said or row["intent"] != intent else text
        )
    return f"Words that came up in the newest {days} days: {'; '.join(said)}."


def name_day(day: date, year: int | None = None) -> str:
    """Return `8 June 2026`, without the year that need not be named."""
    return f"{day.day} {day:%B}" + ("" if day.year == year else f" {day.year}")


def _choose(found: Sequence[_Row]) -> list[_Row]:
    """Return the findings to tell, the strongest first."""
    strongest: dict[tuple[Any, ...], _Row] = {}
    # Within the same period one event shows in an intent, in its brand and in its channel: the clearest one is kept.
    for row in sorted(found, key=_by_strength):
        key = (row["kind"], row["period"], row["intent"], row["measure"], row["score"] > 0)
        strongest.setdefault(key, row)
    rows = list(strongest.values())
    return [row for row in rows if not any(_explains(other, row) for other in rows)]


def _explains(cause: _Row, row: _Row) -> bool:
    """Return whether a finding is implied by another: a month by its week, a step by its drift."""
    if row is cause or row["intent"] != cause["intent"] or row["score"] * cause["score"] < 0:
        return False
    if "unsure_share" in (row["measure"], cause["measure"]) and row["measure"] != cause["measure"]:
        return False
    if cause["kind"] == "drift":
        weaker: bool = abs(row["score"]) < abs(cause["score"])
        return row["kind"] == "month" or (row["kind"] == "week" and weaker)
    overlap: bool = row["period"] <= cause["period_end"] and cause["period"] <= row["period_end"]
    return (row["kind"], cause["kind"]) == ("month", "week") and overlap


def _by_strength(row: _Row) -> tuple[Any, ...]:
    return (-abs(row["score"]) / row["bound"], row["by_column"] or "", row["value"] or "")


def _newest_totals(rows: Sequence[_Row]) -> dict[str, _Row]:
    """Return the row of all tickets of the newest full week and month, by kind; rows come newest first."""
    newest: dict[str, _Row] = {}
    for row in rows:
        if _is_total(row):
            newest.setdefault(row["kind"], row)
    return newest


def _is_total(row: _Row) -> bool:
    """Return whether a row is about all tickets of a week or month."""
    return (row["measure"], row["intent"], row["value"]) == ("tickets", None, None) and row[
        "kind"
    ] != "drift"


def _is_of_newest(row: _Row, newest: Mapping[str, _Row]) -> bool:
    kind = newest.get(row["kind"])
    return kind is not None and row["period"] == kind["period"]


def _describe_newest(week: _Row | None, *, found: bool) -> str:
    if week is None:
        return "Too few weeks to judge: there is no full week, from Monday to Sunday, yet."
    total = f"The newest full week, of {name_day(week['period'])}, has {week['found']:,.0f} tickets"
    if week["score"] is None:
        before = week["periods"]
        return (
            f"{total}. Too few weeks to judge: there {'is' if before == 1 else 'are'} {before} full "
            f"week{'' if before == 1 else 's'} before it, and {_MIN_PERIODS} are needed."
        )
    return f"{total}, usually {week['usual']:,.0f}{'' if found else '; nothing in it stands out'}."


def _describe_drift(row: _Row) -> str:
    verb = "rose" if row["found"] > row["usual"] else "fell"
    low, high = sorted(abs(100 * row[name]) for name in ("low", "high"))
    what = "the share of unsure tickets" if row["measure"] == "unsure_share" else row["intent"]
    of = "" if row["measure"] == "unsure_share" else " of the tickets"
    return (
        f"{what} {verb} slowly, from {_percent(row['usual'])} to {_percent(row['found'])}{of} "
        f"between {name_day(row['period'])} and {name_day(row['period_end'])} "
        f"(by {low:.1f} to {high:.1f} points)."
    )


def _describe_found(row: _Row) -> str:
    if row["measure"] == "unsure_share":
        return f"{_percent(row['found'])} of the tickets unsure"
    count = f"{row['found']:,.0f}"
    return f"{count} tickets" if row["intent"] is None else f"{row['intent']} {count}"


def _name_period(row: _Row, year: int | None) -> str:
    start: date = row["period"]
    if row["kind"] == "month":
        return f"in {start:%B}" + ("" if start.year == year else f" {start.year}")
    return f"in the week of {name_day(start, year)}"


def _name_group(row: _Row) -> str:
    value = " ".join(str(row["value"]).split())[:60]
    return value if any(map(str.isalpha, value)) else f"{row['by_column']} {value}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
