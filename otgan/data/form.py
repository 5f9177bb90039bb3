"""What networks and families need to know of a data set: enough to rebuild them from a run folder
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from otgan.data.dataset import Dataset
from otgan.data.ondisk import Examples, blocks


@dataclass(frozen=True)
class Form:
    """The form of a data set."""

    shape: tuple[int, ...]  # of one example
    images: bool
    center: tuple[float, ...]  # of points: their mean
    scale: float  # of points: their standard deviation, over all coordinates
    size: int  # training examples

    @classmethod
    def of(cls, dataset: Dataset) -> Form:
        """The form of a data set."""
        if dataset.is_images:
            return cls(dataset.shape, True, (), 1.0, len(dataset.train))
        count = len(dataset.train)
        mean = _sum(dataset.train, lambda points: points) / count
        scale = np.sqrt((_sum(dataset.train, lambda points: (points - mean) ** 2) / count).mean())
        return cls(dataset.shape, False, tuple(mean), float(scale), count)

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Form:
        """From plain data."""
        return cls(**{**record, "shape": tuple(record["shape"]), "center": tuple(record["center"])})


def _sum(examples: Examples, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Of something of all points, in double precision."""
    return np.sum([of(block.astype(np.float64)).sum(0) for block in blocks(examples)], axis=0)
