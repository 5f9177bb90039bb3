"""What is kept of a set of examples once a network has looked at them: running moments of all, features and examples of the first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from otgan import cache
from otgan.data import Dataset
from otgan.errors import UserError
from otgan.features import Features
from otgan.metrics.frechet import Moments
from otgan.results.judged import code_digest

KEPT = 10_000  # examples, and their features: memory does not grow beyond; moments and classes are of all
LAYOUT = 1  # of the cached arrays


class Evidence(NamedTuple):
    """A set of examples, looked at."""

    examples: np.ndarray  # the first `KEPT`: (k, d) points, or (k, h, w, c) bytes or levels in [0, 255]
    features: Float[np.ndarray, "k d"]  # theirs, float32
    moments: Moments  # of all features
    probabilities: Float[np.ndarray, "n channels classes"] | None  # of all, from classifiers

    def first(self, size: int) -> Evidence:
        """The first so many of those that are kept: of independent examples. Moments and classes stay those of all."""
        return self._replace(examples=self.examples[:size], features=self.features[:size])

    def spaced(self, size: int) -> Evidence:
        """So many of those that are kept, evenly spaced: of real ones, which may be sorted. Moments and classes stay those of all."""
        return self._replace(examples=evenly(self.examples, size), features=evenly(self.features, size))


def gather(features: Features, chunks: Iterable[np.ndarray], batch_size: int, kept: np.ndarray | None = None) -> Evidence:
    """Look at examples, chunk by chunk.

    Args:
        features: how.
        chunks: the examples.
        batch_size: at a time.
        kept: which are kept, (n,) booleans; by default the first `KEPT`.

    Raises:
        UserError: features are not finite.
    """
    examples, seen, classes, moments, count = [], [], [], Moments.empty(features.dimension), 0
    for batch in _batches(chunks, batch_size):
        found, probabilities = _look(features, batch, batch_size)
        if not np.isfinite(found).all():
            raise UserError(f"the features {features.name} of some examples are not finite: the examples or the weights are broken")
        moments = moments.add(found)
        mine = np.arange(count, count + len(batch)) < KEPT if kept is None else kept[count : count + len(batch)]
        examples.append(batch[mine])
        seen.append(found[mine])
        if probabilities is not None:
            classes.append(probabilities)
        count += len(batch)
    return Evidence(np.concatenate(examples), np.concatenate(seen), moments, np.concatenate(classes) if classes else None)


def _batches(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    for chunk in chunks:
        yield from (chunk[i : i + size] for i in range(0, len(chunk), size))


def _look(features: Features, batch: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Of a batch filled up to a full one, so that one program serves all."""
    full = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
    found, probabilities = features.look(full)
    return np.asarray(found)[: len(batch)], None if probabilities is None else np.asarray(probabilities)[: len(batch)]


def gather_real(features: Features, dataset: Dataset, split: str, size: int, batch_size: int, which: int = 0) -> Evidence:
    """Of `size` examples of a part of the data, evenly spaced; looked at once, and read from the cache from then on.

    Args:
        features: how.
        dataset: the data.
        split: `train` or `test`.
        size: how many.
        batch_size: at a time.
        which: of the disjoint sets of so many that the part holds.
    """
    examples = real_examples(dataset, split, size, which)
    key = repr((LAYOUT, code_digest(), dataset.fingerprint, split, size, which, features.name, features.digest, features.preparation))
    path = cache.folder() / "features" / f"{dataset.name}-{split}-{features.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if (cached := cache.read(path)) and {"features", "count", "mean", "scatter"} <= set(cached):
        moments = Moments(int(cached["count"]), cached["mean"], cached["scatter"])
        return Evidence(evenly(examples, KEPT), cached["features"], moments, cached.get("probabilities"))
    found = gather(features, [examples], batch_size, kept=np.isin(np.arange(len(examples)), _spacing(len(examples), KEPT)))
    arrays = {"features": found.features, "count": np.asarray(found.moments.count)}
    arrays |= {"mean": found.moments.mean, "scatter": found.moments.scatter}
    cache.write(path, arrays if found.probabilities is None else {**arrays, "probabilities": found.probabilities})
    return found


def real_examples(dataset: Dataset, split: str, size: int, which: int = 0) -> np.ndarray:
    """The examples of `gather_real`."""
    part = dataset.train if split == "train" else dataset.test
    return evenly(part[which :: max(1, len(part) // size)], size)


def unseen(examples: np.ndarray) -> Evidence:
    """Examples alone, for what looks at their values: no network has seen them."""
    return Evidence(examples, np.empty((len(examples), 0), np.float32), Moments.empty(0), None)


def evenly(examples: np.ndarray, size: int) -> np.ndarray:
    """So many of them, evenly spaced, so that every mode of sorted ones is there."""
    return examples if size >= len(examples) else examples[_spacing(len(examples), size)]


def _spacing(count: int, size: int) -> np.ndarray:
    return np.arange(min(size, count)) * count // max(1, min(size, count))
