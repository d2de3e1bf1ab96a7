"""What changes no meaning changes no label: typos, capitals, emoji, missing spaces, hashtags, handles."""

from __future__ import annotations

import random
import re

import pytest

from ecomintent_batch.inference.engines import load_engine, open_model
from ecomintent_batch.training.alterations import (
    add_emoji,
    add_tags,
    alter,
    change_case,
    drop_punctuation,
    drop_space,
    drop_word,
    slip,
    stretch,
)
from ecomintent_batch.training.corpus_files import read_tickets
from ecomintent_batch.training.evaluate import score_labelled

pytestmark = pytest.mark.model

MESSAGES = 300
LEAST_SAME = 0.95


def test_each_alteration_does_one_thing() -> None:
    """Numbers, addresses and placeholders are no words to slip in."""
    rng = random.Random(0)  # noqa: S311 - the same messages each time
    assert slip("a.b@shop.example {{Order}} 12345", rng) == "a.b@shop.example {{Order}} 12345"
    assert abs(len(slip("where", rng)) - 5) <= 1
    assert drop_space("where is it", rng) in {"whereis it", "where isit"}
    assert drop_space("two words", rng) == "two words"
    assert drop_punctuation("Hi! It cost 2.50, why?", rng) == "Hi It cost 2.50 why"
    assert drop_punctuation("???", rng) == "???"
    assert re.fullmatch(r"helpp{1,3}", stretch("help", rng))
    assert drop_word("only seven words are in this line", rng).count(" ") == 6
    assert drop_word("but these are eight words in this line", rng).count(" ") == 6
    assert "where" in add_tags("where", rng)
    assert "where" in add_emoji("where", rng)
    assert change_case("Where", rng).casefold() == "where"


def test_a_seed_alters_alike() -> None:
    """What is drawn hangs on the generator alone."""
    text = "please tell me where my order is"
    altered = [alter(text, random.Random(3)) for _ in range(2)]  # noqa: S311
    assert altered[0] == altered[1]
    assert len({alter(text, random.Random(seed)) for seed in range(20)}) > 10  # noqa: S311


# What the issue names, one at a time, and not as the training draws them.
CHANGES = {
    "a typo": slip,
    "capitals": lambda text, rng: text.upper(),
    "small letters": lambda text, rng: text.lower(),
    "an emoji": lambda text, rng: text + rng.choice([" 😡", " 🙏🙏", "😊", " 🤔"]),
    "a missing space": drop_space,
    "a hashtag": lambda text, rng: text + rng.choice([" #fail", " #worstservice", " #help"]),
    "a handle": lambda text, rng: rng.choice(["@shop ", "@acme_care "]) + text,
}


@pytest.mark.parametrize("change", CHANGES)
def test_labels_stay_when_messages_are_altered(change: str) -> None:
    """The embedded model gives at least 95 % of 300 messages the label that they had unaltered."""
    rng = random.Random(0)  # noqa: S311 - the same messages each time
    tickets = [ticket["text"] for ticket in [*read_tickets("dev"), *read_tickets("test")]]
    texts = rng.sample([text for text in tickets if len(text) < 200], MESSAGES)
    altered = [CHANGES[change](text, rng) for text in texts]
    model = open_model(None)
    engine = load_engine(model, engine="onnx")
    before, after = (
        score_labelled(model, engine, [(text, "") for text in each]).logits.argmax(axis=1)
        for each in (texts, altered)
    )
    same = (before == after).mean()
    assert same >= LEAST_SAME, f"{change}: {same:.1%} of {MESSAGES} labels stay"
