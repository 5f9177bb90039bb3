"""Statistics of a set of examples' features: moments and classes of all, features and examples of
the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from otgan import cache, versions
from otgan.data import Dataset, Examples
from otgan.errors import UserError
from otgan.features import Features
from otgan.metrics.frechet import Moments

# examples, and their features: memory does not grow beyond; moments and classes are of all
KEPT = 10_000
LAYOUT = 1  # of the cached arrays


class FeatureStats(NamedTuple):
    """What is known of a set of examples."""

    # the first ones: (k, d) points, or (k, h, w, c) bytes or levels in [0, 255]
    examples: np.ndarray
    features: Float[np.ndarray, "k d"]  # theirs, float32
    moments: Moments  # of all features
    probabilities: Float[np.ndarray, "n channels classes"] | None  # of all, from classifiers

    def first(self, size: int) -> FeatureStats:
        """The first so many of those that are kept: of independent examples.

        Moments and classes stay those of all.
        """
        return self._replace(examples=self.examples[:size], features=self.features[:size])

    def spaced(self, size: int) -> FeatureStats:
        """So many of those that are kept, evenly spaced: of real ones, which may be sorted.

        Moments and classes stay those of all.
        """
        return self._replace(
            examples=evenly(self.examples, size), features=evenly(self.features, size)
        )


def extract(
    features: Features, chunks: Iterable[np.ndarray], batch_size: int, kept: np.ndarray | int = KEPT
) -> FeatureStats:
    """Of examples that come chunk by chunk.

    Args:
        features: what they are looked at by.
        chunks: the examples.
        batch_size: how many at a time.
        kept: which of them are kept with their features: so many, or (n,) booleans.

    Raises:
        UserError: features are not finite.
    """
    examples, rows, classes, moments, count = [], [], [], Moments.empty(features.dimension), 0
    for batch in _batches(chunks, batch_size):
        found, probabilities = _look(features, batch, batch_size)
        if not np.isfinite(found).all():
            raise UserError(
                f"the features {features.name} of some examples are not finite: the examples or the"
                " weights are broken"
            )
        moments = moments.add(found)
        mine = (
            np.arange(count, count + len(batch)) < kept
            if isinstance(kept, int)
            else kept[count : count + len(batch)]
        )
        examples.append(batch[mine])
        rows.append(found[mine])
        if probabilities is not None:
            classes.append(probabilities)
        count += len(batch)
    return FeatureStats(
        np.concatenate(examples),
        np.concatenate(rows),
        moments,
        np.concatenate(classes) if classes else None,
    )


def _batches(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    for chunk in chunks:
        yield from (chunk[i : i + size] for i in range(0, len(chunk), size))


def _look(features: Features, batch: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Of a batch filled up to a full one, so that one program serves all."""
    full = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
    found, probabilities = features.look(full)
    return np.asarray(found)[: len(batch)], (
        None if probabilities is None else np.asarray(probabilities)[: len(batch)]
    )


def extract_real(
    features: Features, dataset: Dataset, split: str, size: int, batch_size: int, which: int = 0
) -> FeatureStats:
    """Of `size` examples of a part of the data.

    Looked at once, and read from the cache from then on.

    Args:
        features: what they are looked at by.
        dataset: the data.
        split: `train` or `test`.
        size: how many.
        batch_size: how many at a time.
        which: of the disjoint sets of so many that the part holds.
    """
    part, rows = _real(dataset, split, size, which)
    looks = features.name, features.digest, features.preparation, features.version
    key = repr((LAYOUT, versions.SAMPLING, dataset.fingerprint, split, size, which, *looks))
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache.folder() / "features" / f"{dataset.name}-{split}-{features.name}-{digest}.npz"
    if (cached := cache.read(path)) and {"features", "count", "mean", "scatter"} <= set(cached):
        moments = Moments(int(cached["count"]), cached["mean"], cached["scatter"])
        return FeatureStats(
            part[evenly(rows, KEPT)], cached["features"], moments, cached.get("probabilities")
        )
    found = extract(
        features,
        (part[rows[i : i + batch_size]] for i in range(0, len(rows), batch_size)),
        batch_size,
        kept=np.isin(np.arange(len(rows)), _spacing(len(rows), KEPT)),
    )
    arrays = {"features": found.features, "count": np.asarray(found.moments.count)}
    arrays |= {"mean": found.moments.mean, "scatter": found.moments.scatter}
    cache.write(
        path,
        arrays if found.probabilities is None else {**arrays, "probabilities": found.probabilities},
    )
    return found


def real_examples(dataset: Dataset, split: str, size: int, which: int = 0) -> np.ndarray:
    """The examples of `extract_real`: evenly spaced ones, for they may be sorted.

    Training points are not, so of them the first.
    """
    part, rows = _real(dataset, split, size, which)
    return part[rows]


def _real(
    dataset: Dataset, split: str, size: int, which: int
) -> tuple[Examples, Int[np.ndarray, " n"]]:
    """A part of the data, and where in it they stand."""
    part = dataset.train if split == "train" else dataset.test
    rows = np.arange(len(part))
    if split == "train" and not dataset.is_images:
        return part, rows[which * size : (which + 1) * size]
    return part, evenly(rows[which :: max(1, len(part) // size)], size)


def without_features(examples: np.ndarray) -> FeatureStats:
    """Examples alone, for what looks at their values."""
    return FeatureStats(examples, np.empty((len(examples), 0), np.float32), Moments.empty(0), None)


def evenly(examples: np.ndarray, size: int) -> np.ndarray:
    """So many of them, evenly spaced, so that every mode of sorted ones is there."""
    return examples if size >= len(examples) else examples[_spacing(len(examples), size)]


def _spacing(count: int, size: int) -> np.ndarray:
    return np.arange(min(size, count)) * count // max(1, min(size, count))
