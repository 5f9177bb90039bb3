"""What is seen of data before anything is trained on them: their size, their scales, and what is
odd about them. No JAX.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from otgan.data import Dataset
from otgan.data.examples import coarseness, too_coarse
from otgan.errors import UserError

LOOKED_AT = 20_000  # examples at most,
LOOKED_AT_BYTES = 2**29  # and no more than this in double precision
BATCH, BATCHES = 512, 8  # among so many neighbors are looked for, so often
SEED = 2013
LARGEST = 1e30  # mean cost
UNEVEN, HEAVY, DOUBLED = 20, 30, 0.2  # from which on it is said


@dataclass(frozen=True)
class Facts:
    """Of the user's examples, the numbers of those to learn from, flattened.

    Attributes:
        images: whether they are pictures.
        shape: of one example.
        size: how many there are, held-out ones with them.
        mean_cost: the mean squared distance of two examples.
        local: the median squared distance to the nearest other example of a batch, duplicates left
            out.
        duplicates: the share of examples that another one is equal to.
        tail: the largest distance from the mean, in multiples of the root mean square one.
        coarse: the largest step of float32 in standard deviations of a column; 0 of pictures.
        uneven: the largest standard deviation of a column over the smallest; 1 of pictures.
    """

    images: bool
    shape: tuple[int, ...]
    size: int
    mean_cost: float
    local: float
    duplicates: float
    tail: float
    coarse: float
    uneven: float

    @property
    def dimension(self) -> int:
        """Coordinates, or pixels times channels."""
        return int(np.prod(self.shape))

    @property
    def odd(self) -> list[str]:
        """Sentences on what will not go well, and what to do."""
        told = (
            (
                self.uneven > UNEVEN,
                f"the standard deviations of the columns differ {self.uneven:,.0f} times, and the"
                " cost sees the largest alone: bring the columns to one scale first",
            ),
            (
                self.tail > HEAVY,
                f"one example lies {self.tail:,.0f} times further out than is usual: a generator"
                " hardly reaches such tails; take logarithms, or leave such examples out",
            ),
            (
                self.duplicates > DOUBLED,
                f"{self.duplicates:.0%} of the examples are there more than once: a generator that"
                " repeats them is not told from one that learned",
            ),
        )
        far = too_coarse(self.coarse)
        return [*([far] if far else []), *(sentence for holds, sentence in told if holds)]

    @property
    def detail(self) -> float:
        """The squared distance of neighbors over that of any two: small where the data lie in
        clusters or on curves, near 1 where every example stands alone.
        """
        return self.local / self.mean_cost


def look(dataset: Dataset) -> Facts:
    """The facts of the examples to learn from.

    Raises:
        UserError: distances between them are too large for single precision.
    """
    most = min(LOOKED_AT, max(1, LOOKED_AT_BYTES // (8 * int(np.prod(dataset.shape)))))
    some = flattened(dataset.train[_few(len(dataset.train), most)])
    center = some.mean(axis=0)
    away = np.linalg.norm(some - center, axis=1)
    deviations = some.std(axis=0)
    mean_cost = float(2 * np.sum(deviations**2))
    if not mean_cost < LARGEST:
        raise UserError(
            f"squared distances of {dataset.name} data are near {mean_cost:.1g}, beyond what single"
            " precision holds: scale the data down"
        )
    moving = deviations[deviations > 0]
    return Facts(
        images=dataset.is_images,
        shape=dataset.shape,
        size=len(dataset.train) + len(dataset.test),
        mean_cost=mean_cost,
        local=_local(some),
        duplicates=_doubled(some),
        tail=float(away.max() / np.sqrt(np.mean(away**2))),
        coarse=0.0 if dataset.is_images else coarseness(dataset.train),
        uneven=1.0 if dataset.is_images else float(moving.max() / moving.min()),
    )


def flattened(examples: np.ndarray) -> np.ndarray:
    """(n, d) float64 coordinates, or pixels in [-1, 1]."""
    flat = examples.reshape(len(examples), -1).astype(np.float64)
    return flat / 127.5 - 1 if examples.dtype == np.uint8 else flat


def _few(size: int, most: int) -> np.ndarray:
    return np.random.default_rng(SEED).permutation(size)[:most]


def nearest(distances: np.ndarray) -> np.ndarray:
    """Of a matrix between the examples of a batch, what each has to the nearest other one that is
    not equal; infinite where all are.
    """
    return np.where(distances > 0, distances, np.inf).min(axis=1)


def batches(count: int, size: int = BATCH) -> list[np.ndarray]:
    """Which of so many examples stand in the batches that are looked at."""
    draw = np.random.default_rng(SEED)
    return [draw.choice(count, min(size, count), replace=False) for _ in range(BATCHES)]


def _local(examples: np.ndarray) -> float:
    found = [
        nearest(cdist(examples[b], examples[b], "sqeuclidean")) for b in batches(len(examples))
    ]
    return float(np.median(np.concatenate(found)))


def _doubled(examples: np.ndarray) -> float:
    """The share that has an equal one."""
    _, counts = np.unique(examples, axis=0, return_counts=True)
    return float(counts[counts > 1].sum() / len(examples))
