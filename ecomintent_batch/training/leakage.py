"""What one split gives away of another: texts that are equal, and texts that are nearly so.

Near means a Jaccard similarity of the sets of five-character shingles at or over a threshold. Prefix filtering
(Chaudhuri et al., 2006; Bayardo et al., 2007) makes that exact and quick: two sets that are so alike must share one of
the few rarest shingles of each, so only such pairs are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

_SHINGLE_CHARS = 5
_BLOCK_ROWS = 512
_PAIRS_AT_ONCE = 50_000
_SHOWN_PAIRS = 20

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Shingles:
    """Shingles of n texts as a sparse matrix, the rarest in the first columns, and the prefix of each that must be shared."""

    sets: Any
    prefixes: Any

    @property
    def sizes(self) -> Int64:
        """Shingles of each text, shape (n,)."""
        return np.asarray(np.diff(self.sets.indptr), np.int64)

    def rows(self, start: int, stop: int) -> Shingles:
        """Return some of the texts."""
        return Shingles(self.sets[start:stop], self.prefixes[start:stop])


def fold_text(text: str) -> str:
    """Return a text as it counts for equality: without case, and with single spaces."""
    return " ".join(text.casefold().split())


def audit_splits(splits: dict[str, pl.DataFrame], threshold: float) -> list[dict[str, Any]]:
    """Count, for each two splits, the rows of the smaller one that the other holds too, exactly or nearly.

    Args:
        splits: name → rows with `text` and `intent`; the first is the one trained on.
        threshold: Jaccard similarity from which texts are near duplicates.

    Returns:
        One record for each pair of splits; `pairs` names rows by their place, never by their text.
    """
    folded = {name: [fold_text(text) for text in frame["text"]] for name, frame in splits.items()}
    everything = shingle([text for texts in folded.values() for text in texts], threshold)
    ends = np.cumsum([0, *(len(texts) for texts in folded.values())])
    shingles = {
        name: everything.rows(int(ends[i]), int(ends[i + 1])) for i, name in enumerate(folded)
    }
    return [
        _audit_pair(
            of, within, splits, folded, nearest_twins(shingles[of], shingles[within], threshold)
        )
        for within, of in combinations(splits, 2)
    ]


def _audit_pair(
    of: str,
    within: str,
    splits: dict[str, pl.DataFrame],
    folded: dict[str, list[str]],
    twins: dict[int, tuple[int, float]],
) -> dict[str, Any]:
    known = set(folded[within])
    exact = {row for row, text in enumerate(folded[of]) if text in known}
    near = {row: twin for row, twin in twins.items() if row not in exact}
    intents = splits[of]["intent"], splits[within]["intent"]
    other_intent = sum(intents[0][row] != intents[1][twin] for row, (twin, _) in near.items())
    closest = sorted(near.items(), key=lambda item: (-item[1][1], item[0]))[:_SHOWN_PAIRS]
    return {
        "of": of,
        "in": within,
        "rows": len(folded[of]),
        "exact": len(exact),
        "near": len(near),
        "near_with_another_intent": other_intent,
        "pairs": [
            {f"{of}_row": row, f"{within}_row": twin, "similarity": round(similarity, 4)}
            for row, (twin, similarity) in closest
        ],
    }


def shingle(texts: list[str], threshold: float) -> Shingles:
    """Return the shingles of folded texts; a text under five characters has none, and no near duplicate."""
    vectorizer = CountVectorizer(
        analyzer="char",
        ngram_range=(_SHINGLE_CHARS,) * 2,
        lowercase=False,
        binary=True,
        dtype=np.int32,
    )
    try:
        sets = vectorizer.fit_transform(texts)
    except ValueError:  # no text of five characters among them
        sets = CountVectorizer(vocabulary=["none"], dtype=np.int32).transform(texts)
    by_rarity = np.argsort(np.bincount(sets.indices, minlength=sets.shape[1]), kind="stable")
    rank = np.empty_like(by_rarity)
    rank[by_rarity] = np.arange(len(by_rarity))
    sets.indices = rank[sets.indices].astype(sets.indices.dtype)
    sets.has_sorted_indices = False
    sets.sort_indices()
    sizes = np.diff(sets.indptr)
    # Sets of Jaccard >= t share at least ceil(t * size) shingles, so they cannot miss each other in all but that many - 1.
    kept = sizes - np.ceil(threshold * sizes - 1e-9).astype(sizes.dtype) + 1
    place = np.arange(sets.nnz) - np.repeat(sets.indptr[:-1], sizes)
    prefixes = sets.copy()
    prefixes.data = (place < np.repeat(kept, sizes)).astype(np.int32)
    prefixes.eliminate_zeros()
    return Shingles(sets, prefixes)


def nearest_twins(
    left: Shingles, right: Shingles, threshold: float
) -> dict[int, tuple[int, float]]:
    """Return, for each row of `left` with a near duplicate in `right`, the nearest one and its similarity."""
    nearest: dict[int, tuple[int, float]] = {}
    for rows, columns, similarities in _compare_candidates(left, right, threshold):
        for row, column, similarity in zip(
            rows.tolist(), columns.tolist(), similarities.tolist(), strict=True
        ):
            if similarity > nearest.get(row, (0, 0.0))[1]:
                nearest[row] = (column, similarity)
    return nearest


def _compare_candidates(
    left: Shingles, right: Shingles, threshold: float
) -> Iterator[tuple[Int64, Int64, NDArray[np.float64]]]:
    """Yield the pairs at or over the threshold, a few at a time: rows of `left`, rows of `right`, similarities."""
    left_sizes, right_sizes, wanted = left.sizes, right.sizes, right.prefixes.T.tocsr()
    for start in range(0, len(left_sizes), _BLOCK_ROWS):
        shared = (left.prefixes[start : start + _BLOCK_ROWS] @ wanted).tocoo()
        rows, columns = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        small = np.minimum(left_sizes[rows], right_sizes[columns])
        possible = small >= threshold * np.maximum(left_sizes[rows], right_sizes[columns]) - 1e-9
        rows, columns = rows[possible], columns[possible]
        for first in range(0, len(rows), _PAIRS_AT_ONCE):
            some, others = (
                rows[first : first + _PAIRS_AT_ONCE],
                columns[first : first + _PAIRS_AT_ONCE],
            )
            overlap = np.asarray(left.sets[some].multiply(right.sets[others]).sum(axis=1)).ravel()
            similarity = overlap / (left_sizes[some] + right_sizes[others] - overlap)
            near = similarity >= threshold - 1e-9
            yield some[near], others[near], similarity[near]
