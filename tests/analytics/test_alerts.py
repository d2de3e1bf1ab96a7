"""What an alert may say, when it fires, and what is heard of it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from support.tickets import write_tickets

from ecomintent_batch.analytics.alerts import (
    Counted,
    check_alerts,
    check_intents,
    lowest_z,
    parse_alert,
)
from ecomintent_batch.errors import UsageError
from ecomintent_batch.settings import load_settings

VOLUMES = [
    {"intent": "WISMO", "tickets": 30, "share": 0.3},
    {"intent": "OTHER", "tickets": 70, "share": 0.7},
    {"intent": "unsure", "tickets": 20, "share": 0.2},
]
UNUSUAL = [
    {"day": date(2026, 10, 20), "intent": "WISMO", "tickets": 9, "usual": 1.0, "z_score": 8.0},
    {"day": date(2026, 10, 19), "intent": "WISMO", "tickets": 6, "usual": 2.0, "z_score": 4.0},
    {"day": date(2026, 10, 19), "intent": "OTHER", "tickets": 0, "usual": 9.0, "z_score": -3.0},
]
COUNTED = {
    None: Counted(volumes=VOLUMES, unusual=UNUSUAL),
    ("brand", "Fjordwear"): Counted(volumes=VOLUMES[:1], unusual=UNUSUAL[1:2]),
    ("brand", "Alpina"): Counted(volumes=VOLUMES[1:2]),
}
_FINDING = {
    "measure": "tickets",
    "tickets": 112,
    "period": "2026-06-08",
    "period_end": "2026-06-14",
}
CHANGES = [
    ({**_FINDING, "intent": "WISMO", "by_column": "brand", "value": "Fjordwear", "score": 4.2}, "Fjordwear: WISMO 33."),
    ({**_FINDING, "intent": "OTHER", "by_column": None, "value": None, "score": -5.0}, "OTHER 3."),
    ({**_FINDING, "measure": "unsure_share", "intent": None, "by_column": None, "value": None, "score": 6.0}, "31 % unsure."),
]  # fmt: skip
SPAN = ["2026-10-01", "2026-10-20"]


def messages(*conditions: str) -> list[str]:
    """Return what is said of the tickets above."""
    alerts = check_alerts([parse_alert(text) for text in conditions], COUNTED, CHANGES, SPAN)
    return [alert.message for alert in alerts]


@pytest.mark.parametrize(("condition", "said"), [
    ("WISMO share > 29%", ["WISMO share 30.0% (30 of 100 tickets) > 29%, 2026-10-01 to 2026-10-20"]),
    ("WISMO share > 0.3", []),
    ("WISMO share>=30%", ["WISMO share 30.0% (30 of 100 tickets) >= 30%, 2026-10-01 to 2026-10-20"]),
    ("any Share > 60 %", ["OTHER share 70.0% (70 of 100 tickets) > 60%, 2026-10-01 to 2026-10-20"]),
    ("OTHER volume > 69", ["OTHER volume 70 > 69, 2026-10-01 to 2026-10-20"]),
    ("CANCEL_ORDER volume < 5", ["CANCEL_ORDER volume 0 < 5, 2026-10-01 to 2026-10-20"]),
    ("WISMO unusual", [
        "WISMO unusual on 2026-10-20 (9 tickets, usually 1, z +8.0), 2026-10-19 (6 tickets, usually 2, z +4.0)",
    ]),
    ("any unusual > 4", ["WISMO unusual on 2026-10-20 (9 tickets, usually 1, z +8.0)"]),
    ("OTHER unusual > 2.5", ["OTHER unusual on 2026-10-19 (0 tickets, usually 9, z -3.0)"]),
    ("OTHER unusual", []),
    ("unsure share > 10%", ["unsure share 20.0% (20 of 100 tickets) > 10%, 2026-10-01 to 2026-10-20"]),
    ("WISMO volume > 29 by brand", ["brand Fjordwear: WISMO volume 30 > 29, 2026-10-01 to 2026-10-20"]),
    ("any unusual by brand", ["brand Fjordwear: WISMO unusual on 2026-10-19 (6 tickets, usually 2, z +4.0)"]),
    ("any changed", [
        "Fjordwear: WISMO 33 (score +4.2)", "OTHER 3 (score -5.0)", "31 % unsure (score +6.0)",
    ]),
    ("any changed > 4.5 by brand", []),
    ("WISMO changed by brand", ["Fjordwear: WISMO 33 (score +4.2)"]),
    ("unsure changed", ["31 % unsure (score +6.0)"]),
])  # fmt: skip
def test_an_alert_names_intent_numbers_and_days(condition, said):
    """One line for each intent that the condition holds for."""
    assert messages(condition) == said


@pytest.mark.parametrize("text", [
    "", "WISMO", "WISMO share", "share > 3%", "WISMO share 30%", "WISMO share > 130%", "WISMO volume > 5%", "WISMO unusual < 3",
    "WISMO unusual > 3%", "WISMO share > x", "WISMO share > 30% or so",
])  # fmt: skip
def test_what_is_no_condition_is_refused_before_the_run(text):
    """A usage error that shows the grammar, through the settings too."""
    with pytest.raises(UsageError, match="expected 'INTENT share > 30%'"):
        parse_alert(text)
    with pytest.raises(UsageError, match=r"^--alert: expected 'INTENT share > 30%'"):
        load_settings(source="x.csv", alert=(text,))


def test_an_intent_with_spaces_is_one_too():
    """Labels of other models are any text."""
    condition = parse_alert("where is my order volume > 3")
    assert (condition.intent, condition.measure, condition.bound) == (
        "where is my order",
        "volume",
        3,
    )
    check_intents([condition, parse_alert("any unusual")], ["where is my order"])
    with pytest.raises(
        UsageError,
        match="expected an intent of the model, 'any' or 'unsure', found 'where is my order'; it has A, B",
    ):
        check_intents([condition], ["A", "B"])


def test_days_are_looked_at_down_to_the_lowest_bound():
    """3.5 where nothing else is asked."""
    assert lowest_z([]) == 3.5
    assert lowest_z([parse_alert("any unusual > 2"), parse_alert("A share > 0.1")]) == 2


def run_job(source: Path, out: Path, *alerts: str) -> subprocess.CompletedProcess[str]:
    """Run the job in a process of its own, quietly."""
    words = [str(source), "--out", str(out), "--quiet"]
    flags = [word for alert in alerts for word in ("--alert", alert)]
    return subprocess.run(
        [sys.executable, "-m", "ecomintent_batch", "run", *words, *flags],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.model
def test_the_command_ends_with_three_when_an_alert_fires(tmp_path):
    """The run is committed, the line is on stderr although it is quiet, alerts.json has it."""
    source = write_tickets(tmp_path / "tickets.csv", 30)
    done = run_job(source, tmp_path / "out", "WISMO volume > 4", "WISMO share > 90%")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "ecomintent-batch: alert: WISMO volume 5 > 4, 2026-10-01 to 2026-10-03\n"
    (found,) = (tmp_path / "out" / "summaries").glob("*/alerts.json")
    assert [alert["condition"] for alert in json.loads(found.read_text())] == ["WISMO volume > 4"]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1


def test_an_alert_about_an_unknown_intent_starts_nothing(tmp_path):
    """Exit code 2, one line, no run."""
    done = run_job(write_tickets(tmp_path / "tickets.csv", 3), tmp_path / "out", "LATE share > 3%")
    assert done.returncode == 2
    assert "expected an intent of the model, 'any' or 'unsure', found 'LATE'" in done.stderr
    assert list((tmp_path / "out" / "runs").iterdir()) == []
