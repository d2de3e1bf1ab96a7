"""A product's name alone, or in a few words, asks about the product: fragments from a list of names of many shops.

Real chats are full of names that no training set holds. What the fragments teach is that an unknown noun is a product.
"""

from __future__ import annotations

import random

from ecomintent_batch.training.corpus_files import CORPUS

FRAGMENTS = 1000
_PHRASES = (
    "{}",
    "{}",
    "{}",
    "{} price",
    "price of {}",
    "{} available?",
    "do you have {}",
    "i want {}",
    "want {}",
    "need {}",
    "i need {}",
    "looking for {}",
    "i am looking for {}",
    "show me {}",
    "{} pls",
    "{} chahiye",
    "{} kitne ka hai",
    "{} hai kya",
    "{} milega",
    "mujhe {} lena hai",
    "which {} is best",
    "best {}",
    "suggest {}",
    "{} details",
    "is {} in stock",
    "tell me about {}",
    "i want to buy {}",
    "i want purchase {}",
    "any offer on {}",
    "offers on {}",
    "{} how much",
    "what is cost of {}",
    "rate of {}",
    "{} under 2000",
    "{} for my father",
    "is {} good",
    "{} original or not",
    "{} combo",
    "interested in {}",
    "can u send me pics of {}",
    "{} size",
    "{} specifications",
    "difference between {} and {}",
    "want to know about {}",
    "{} wala",
    "have {}",
)


def product_fragments(count: int = FRAGMENTS, seed: int = 0) -> list[str]:
    """Return different fragments, all of them PRODUCT_QUESTION; fewer than `count` where a phrase came twice."""
    names = (CORPUS / "product_names.txt").read_text(encoding="utf-8").split("\n")
    names = [name for name in names if name]
    rng = random.Random(seed)  # noqa: S311 - a training set, not a secret
    fragments = []
    for _ in range(count):
        phrase = rng.choice(_PHRASES)
        while "{}" in phrase:
            phrase = phrase.replace("{}", rng.choice(names), 1)
        fragments.append(phrase)
    return list(dict.fromkeys(fragments))
