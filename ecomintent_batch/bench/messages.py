"""The message sets of the bench, the same on every machine: for speed only, they teach and judge nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

_SEED = 20261122
_OPENINGS = (
    "",
    "hi, ",
    "hello ",
    "hey there, ",
    "good morning, ",
    "urgent: ",
    "question: ",
    "sorry to ask again, ",
)
_THINGS = (
    "order",
    "parcel",
    "jacket",
    "invoice",
    "kettle",
    "password",
    "refund",
    "gift card",
    "size 42 boots",
    "subscription",
)
_ASKS = (
    "where is my {}", "i want to return the {}", "the {} is broken", "can i change the {}", "please cancel my {}",
    "any news on my {}?",
)  # fmt: skip
_ENDS = (
    "",
    " please",
    " thanks",
    " it has been {} days",
    ", number {}",
    " since the {}th",
    " asap",
)
_SENTENCES = (
    "It arrived on a Tuesday and the box was already open.", "My neighbour took it in, which was kind of her.",
    "I have written to you twice and nobody has answered.", "The seam on the left side came apart after one walk.",
    "It was meant as a present for my sister, whose birthday is next week.", "I looked at the tracking page this morning.",
    "The card was charged two times for the same thing.", "I would rather have the blue one if you still have it.",
)  # fmt: skip


def make_short(count: int) -> list[str]:
    """Return distinct messages of about a dozen tokens."""
    rng = random.Random(_SEED)  # noqa: S311 - not a secret
    said: dict[str, None] = {}
    for place in range(count):
        message = _ask(rng)
        said[f"{message} {place}" if message in said else message] = None
    return list(said)


def make_mixed(count: int) -> list[str]:
    """Return messages of 5 to 500 tokens: most are short, a long tail is a page."""
    rng = random.Random(_SEED + 1)  # noqa: S311 - as above
    sentences = [min(38, int(rng.paretovariate(1.1)) - 1) for _ in range(count)]
    return [" ".join([_ask(rng), *rng.choices(_SENTENCES, k=more)]) for more in sentences]


def make_repeated(count: int) -> list[str]:
    """Return short messages of which three in ten were said before."""
    rng = random.Random(_SEED + 2)  # noqa: S311 - as above
    said = [f"{_ask(rng)} {place}" for place in range(count - int(0.3 * count))]
    messages = said + rng.choices(said, k=int(0.3 * count))
    rng.shuffle(messages)
    return messages


SETS: dict[str, Callable[[int], list[str]]] = {
    "short": make_short,
    "mixed, 5 to 500 tokens": make_mixed,
    "short, 30 % said before": make_repeated,
}


def _ask(rng: random.Random) -> str:
    end = rng.choice(_ENDS).format(rng.randrange(10, 99_999))
    return rng.choice(_OPENINGS) + rng.choice(_ASKS).format(rng.choice(_THINGS)) + end
