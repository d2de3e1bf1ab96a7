"""Features of messages → groups of messages about the same thing, and messages in no group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_TOPIC = -1
_LEAST_MESSAGES = 10
_DIMENSIONS = 50
_MESSAGES_OF_A_CELL, _MOST_CELLS, _MOST_CELLS_OF_A_PART = 6, 400, 60
# Cosine distances between the middles of two cells that are one topic, and of a message from the middle of its topic.
_SAME_TOPIC, _WITHIN_TOPIC = 0.35, 0.45
_LARGE, _LEAST_LARGE = 0.05, 50  # what is as large is looked at again by itself


@dataclass(frozen=True)
class Clusters:
    """Which topic each message belongs to, and how far it is from its middle.

    Attributes:
        topics: Numbers from 0, or NO_TOPIC, shape (messages,).
        distances: Cosine distance from the middle of the topic, shape (messages,).
    """

    topics: NDArray[np.int64]
    distances: NDArray[np.float32]


def cluster_messages(features: NDArray[np.float32], seed: int = 0) -> Clusters:
    """Group messages: k-means makes many small cells, and cells whose middles are near one another make a topic.

    Unlike k-means alone, nobody says how many topics there are; unlike a clusterer by density, it takes seconds for 100,000
    messages. A large topic is grouped once more by itself: around its own middle, its parts differ more. A message
    far from the middle of its topic is in none. The same seed gives the same groups.

    Args:
        features: Shape (messages, hidden size).
        seed: Of the projection and of the first middles.
    """
    whole = _group(features, seed, _MOST_CELLS)
    topics, distances = whole.topics.copy(), whole.distances.copy()
    least = max(_LARGE * len(features), _LEAST_LARGE)
    for topic, size in zip(*np.unique(whole.topics, return_counts=True), strict=True):
        if topic != NO_TOPIC and size >= least:
            members = np.flatnonzero(whole.topics == topic)
            part = _group(features[members], seed, _MOST_CELLS_OF_A_PART)
            first = topics.max() + 1
            topics[members] = np.where(part.topics == NO_TOPIC, NO_TOPIC, part.topics + first)
            distances[members] = part.distances
    return Clusters(topics, distances)


def _group(features: NDArray[np.float32], seed: int, most_cells: int) -> Clusters:
    from sklearn.cluster import AgglomerativeClustering, MiniBatchKMeans
    from sklearn.decomposition import PCA

    n = len(features)
    if n < _LEAST_MESSAGES:
        return Clusters(np.full(n, NO_TOPIC), np.ones(n, np.float32))
    centred = _normalise(features - features.mean(axis=0))
    size = min(_DIMENSIONS, n - 1, centred.shape[1])
    projection = PCA(size, svd_solver="randomized", random_state=seed)
    points = _normalise(projection.fit_transform(centred))
    cells = min(max(n // _MESSAGES_OF_A_CELL, 2), most_cells)
    found = MiniBatchKMeans(cells, random_state=seed, n_init=3, batch_size=4096).fit(points)
    used, cell_of = np.unique(found.labels_, return_inverse=True)
    topics = np.zeros(n, np.int64)
    if len(used) > 1:
        merged = AgglomerativeClustering(
            n_clusters=None, distance_threshold=_SAME_TOPIC, metric="cosine", linkage="average"
        ).fit_predict(_normalise(found.cluster_centers_[used]))
        topics = merged[cell_of].astype(np.int64)
    distances = _distances(points, topics)
    return Clusters(np.where(distances <= _WITHIN_TOPIC, topics, NO_TOPIC), distances)


def _distances(points: NDArray[Any], topics: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the cosine distance of each point from the middle of its topic."""
    sums = np.zeros((topics.max() + 1, points.shape[1]))
    np.add.at(sums, topics, points)
    return np.asarray(1 - (points * _normalise(sums)[topics]).sum(axis=1), np.float32)


def _normalise(points: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9))
