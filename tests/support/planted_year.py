"""A year of a shop's predictions with three events in it, or without any, made without a model.

20,000 tickets of four brands, six countries and five channels, with weekly seasons and weeks that are busier than others. The
events: a week in which DAMAGED_ITEM triples for one brand, a topic that nobody had before, a share of returns that creeps from
9 to 13 %.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from ecomintent_batch.runs.layout import RunFolder
from ecomintent_batch.runs.records import Manifest
from support.committed_runs import describe, write_run
from support.tickets import NINE

FIRST_DAY, DAYS, TICKETS = date(2025, 11, 3), 364, 20_000
DAMAGED_WEEK, SCAM_FROM = date(2026, 6, 8), date(2026, 9, 28)
BRANDS, COUNTRIES = (
    ["Fjordwear", "Alpina", "Lumen", "Casa Verde"],
    ["DE", "US", "GB", "FR", "NL", "SE"],
)
CHANNELS = ["email", "chat", "web_form", "phone", "instagram"]
BY = ("brand", "country", "channel")
_SHARES = {
    "WISMO": 0.30, "RETURN_REQUEST": 0.09, "EXCHANGE_REQUEST": 0.08, "CANCEL_ORDER": 0.06, "DAMAGED_ITEM": 0.10,
    "BILLING_DISPUTE": 0.08, "PRODUCT_QUESTION": 0.12, "ACCOUNT_ISSUE": 0.07, "OTHER": 0.10,
}  # fmt: skip
_WORDS = {
    "WISMO": ["where is my order", "tracking has not moved", "when does my parcel arrive"],
    "RETURN_REQUEST": ["i want to send this back", "how do i return the jacket"],
    "EXCHANGE_REQUEST": ["can i get a larger size", "swap for the blue one please"],
    "CANCEL_ORDER": ["please cancel my order", "stop the order before it ships"],
    "DAMAGED_ITEM": ["it arrived broken", "the zip was torn when it came"],
    "BILLING_DISPUTE": ["i was charged twice", "wrong amount on my card"],
    "PRODUCT_QUESTION": ["is the fabric waterproof", "does it fit a tall person"],
    "ACCOUNT_ISSUE": ["i cannot log in", "password reset mail never came"],
    "OTHER": ["thanks for your help", "do you hire students", "who do i ask about a partnership"],
}
_SCAM = ["is this shop a scam", "is this site legit or a scam", "friends say this shop is a scam"]


def draw_year(seed: int, *, events: bool, busy: float = 0.08) -> dict[str, np.ndarray]:
    """Return the columns of a year's tickets, sorted by time; `busy` is the spread of the weeks beyond chance."""
    random = np.random.default_rng(seed)
    weekday = np.tile([1.25, 1.15, 1.05, 1.0, 1.0, 0.8, 0.75], DAYS // 7)
    weeks = np.repeat(random.lognormal(0, busy, DAYS // 7), 7)
    day = np.repeat(np.arange(DAYS), random.poisson(weekday * weeks * TICKETS / DAYS))
    brand = random.choice(len(BRANDS), len(day), p=[0.30, 0.30, 0.25, 0.15])
    intent = random.choice(len(NINE), len(day), p=[_SHARES[name] for name in NINE])
    scam = np.zeros(len(day), bool)
    if events:
        intent, extra, scam = _plant(random, day, brand, intent)
        day, brand = np.append(day, extra[0]), np.append(brand, extra[1])
    columns = {
        "day": day, "brand": brand, "intent": intent, "scam": scam,
        "second": random.integers(0, 86_400, len(day)),
        "country": random.choice(len(COUNTRIES), len(day), p=[0.3, 0.2, 0.2, 0.12, 0.1, 0.08]),
        "channel": random.choice(len(CHANNELS), len(day), p=[0.4, 0.25, 0.15, 0.12, 0.08]),
        "confidence": 1 - 0.6 * random.random(len(day)) ** 6,
        "words": random.integers(0, 1 << 30, len(day)),
    }  # fmt: skip
    order = np.lexsort([columns["second"], day])
    return {name: column[order] for name, column in columns.items()}


def write_year(
    out: Path, seed: int = 7, *, events: bool = True, run_id: str = "r1", days: range = range(DAYS)
) -> tuple[RunFolder, Manifest]:
    """Write some days of the year as a committed run with its manifest; messages are kept."""
    columns = draw_year(seed, events=events)
    chosen = np.isin(columns["day"], list(days))
    first_id = int(np.argmax(chosen))
    columns = {name: column[chosen] for name, column in columns.items()}
    midnight = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day)
    times = [
        midnight + timedelta(days=int(day), seconds=int(second))
        for day, second in zip(columns["day"], columns["second"], strict=True)
    ]
    intents = [NINE[i] for i in columns["intent"]]
    rows = [
        (intent, float(confidence), "ok", None, None)
        for intent, confidence in zip(intents, columns["confidence"], strict=True)
    ]
    kept = {
        "created_at": times,
        "brand": [BRANDS[i] for i in columns["brand"]],
        "country": [COUNTRIES[i] for i in columns["country"]],
        "channel": [CHANNELS[i] for i in columns["channel"]],
    }
    messages = [
        _SCAM[word % len(_SCAM)] if scam else _WORDS[intent][word % len(_WORDS[intent])]
        for intent, scam, word in zip(intents, columns["scam"], columns["words"], strict=True)
    ]
    folder, manifest = write_run(
        out, run_id, rows, kept=kept, by=BY, first_id=first_id, message=messages
    )
    return folder, describe(folder, manifest, len(rows), keep_text=True)


def _plant(
    random: np.random.Generator, day: np.ndarray, brand: np.ndarray, intent: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the intents with the three events in them, the days and brands of the added tickets, and which are scams."""
    returns, damaged = NINE.index("RETURN_REQUEST"), NINE.index("DAMAGED_ITEM")
    creep = (0.04 * day / DAYS) / (1 - _SHARES["RETURN_REQUEST"])
    intent = np.where((random.random(len(day)) < creep) & (intent != returns), returns, intent)
    monday = (DAMAGED_WEEK - FIRST_DAY).days
    in_week = (day >= monday) & (day < monday + 7) & (brand == 0) & (intent == damaged)
    usual = round(0.30 * _SHARES["DAMAGED_ITEM"] * 7 * TICKETS / DAYS)
    added = random.integers(monday, monday + 7, 3 * usual - int(in_week.sum()))
    scam_days = random.integers((SCAM_FROM - FIRST_DAY).days, DAYS, 84)
    intent = np.concatenate(
        [intent, np.full(len(added), damaged), np.full(84, NINE.index("PRODUCT_QUESTION"))]
    )
    extra = np.append(added, scam_days)
    brands = np.append(np.zeros(len(added), int), random.integers(0, len(BRANDS), 84))
    scam = np.zeros(len(intent), bool)
    scam[-84:] = True
    return intent, (extra, brands), scam
