"""What is weak in a set of labels, by cross-validation on their examples: said in words, with examples of each confusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecomintent_batch.analytics.score import Score
from ecomintent_batch.training.evaluation_records import Confused, NeedsExamples, WeakSpots
from ecomintent_batch.training.labels_file import ENOUGH_EXAMPLES, LabelSet

_EXAMPLES_SHOWN = 2
_LEAST_CONFUSED = 2
_MOST_PAIRS = 10
_WEAK_RECALL, _LEAST_TO_JUDGE = 0.7, 5
_MOST_LINES = 8
_NONE = Score(tickets=0, right=0)


def find_weak_spots(
    label_set: LabelSet,
    rows: Sequence[tuple[str, str]],
    found: NDArray[np.object_],
    kept_apart: Score,
    kept_apart_own: Score = _NONE,
    examples_of_other: Score = _NONE,
) -> WeakSpots:
    """Return what cross-validation says of the labels.

    Args:
        label_set: The labels and their examples.
        rows: Message and label of the examples that were held out once each.
        found: The first choice for each of them by a model that did not see it, shape (rows,).
        kept_apart: Messages of the package, of none of the labels, and how many were sent to `other`.
        kept_apart_own: The same of the user's unlabelled tickets.
        examples_of_other: The same of the examples that stand under `other`.
    """
    true = np.array([label for _, label in rows], dtype=object)
    right = np.asarray(found == true, dtype=bool)
    in_scope = true != label_set.other
    return WeakSpots(
        score=Score(tickets=int(in_scope.sum()), right=int((right & in_scope).sum())),
        other=label_set.other,
        kept_apart=kept_apart,
        kept_apart_own=kept_apart_own,
        examples_of_other=examples_of_other,
        confused=_list_confused(rows, found),
        needs_examples=_list_needs(label_set, true, right),
        duplicates=label_set.duplicates,
        contradictions=list(label_set.contradictions),
    )


def describe_weak_spots(weak: WeakSpots) -> list[str]:
    """Return in sentences what cross-validation found."""
    lines = describe_scores(weak)
    for pair in weak.confused[:_MOST_LINES]:
        lines.append(f"Confused: {' and '.join(pair.labels)}, {pair.tickets} examples, such as")
        lines += [f"  {example}" for example in pair.examples]
    for need in weak.needs_examples[:_MOST_LINES]:
        read = "" if need.recall is None else f", {need.recall:.0%} of them read right"
        lines.append(
            f"{need.label}: {count_words(need.examples, 'example')}{read}; {need.more} more would help."
        )
    if len(weak.needs_examples) > _MOST_LINES:
        more = len(weak.needs_examples) - _MOST_LINES
        lines.append(f"… and {count_words(more, 'more label')} with few or badly read examples.")
    if weak.duplicates:
        lines.append(
            f"Twice in the file: {count_words(weak.duplicates, 'example')}; each counts once."
        )
    for text, first, second in weak.contradictions[:_MOST_LINES]:
        lines.append(f"Contradiction: “{text}” stands under {first} and {second}; {second} counts.")
    return lines


def describe_scores(weak: WeakSpots) -> list[str]:
    """Return how many examples were read right, and how many messages of no label went to `other`; nothing of empty sets."""
    of_labels = (
        f"{weak.score} of {count_words(weak.score.tickets, 'example')} right (95 % interval)"
    )
    apart = [
        (weak.examples_of_other, "example", f"of {weak.other}"),
        (weak.kept_apart, "message", "of the package that should be of no label"),
        (weak.kept_apart_own, "unlabelled ticket", "of yours, those least like any label"),
    ]
    parts = [
        f"{score} of {count_words(score.tickets, noun)} {which}"
        for score, noun, which in apart
        if score.tickets
    ]
    lines = [f"Cross-validated: {of_labels}."] if weak.score.tickets else []
    return lines + [f"Sent to {weak.other}: {part}." for part in parts]


def count_words(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _list_confused(rows: Sequence[tuple[str, str]], found: NDArray[np.object_]) -> list[Confused]:
    """Return the pairs of labels that are taken for each other, either way, the most frequent first."""
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (text, label), first in zip(rows, found, strict=True):
        if label != first:
            texts[min(label, first), max(label, first)].append(f"{text} ({label}, read as {first})")
    pairs = [
        Confused(labels=pair, tickets=len(wrong), examples=wrong[:_EXAMPLES_SHOWN])
        for pair, wrong in texts.items()
        if len(wrong) >= _LEAST_CONFUSED
    ]
    return sorted(pairs, key=lambda pair: -pair.tickets)[:_MOST_PAIRS]


def _list_needs(
    label_set: LabelSet, true: NDArray[np.object_], right: NDArray[np.bool_]
) -> list[NeedsExamples]:
    """Return the labels with few examples, or that are read badly in spite of many, and how many more would help."""
    needs = []
    for label in label_set.labels:
        examples, mine = len(label.examples), true == label.name
        recall = float(right[mine].mean()) if mine.sum() >= _LEAST_TO_JUDGE else None
        if label.renames:
            continue
        if examples < ENOUGH_EXAMPLES:
            more = ENOUGH_EXAMPLES - examples
        elif recall is not None and recall < _WEAK_RECALL:
            more = examples
        else:
            continue
        needs.append(NeedsExamples(label=label.name, examples=examples, recall=recall, more=more))
    return sorted(needs, key=lambda need: (need.examples, need.recall or 0.0))
