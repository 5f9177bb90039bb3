"""What networks and families need to know of a data set: enough to rebuild them from a run folder
alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from otgan.data.dataset import Dataset
from otgan.data.ondisk import blocks


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
        mean = sum(block.astype(np.float64).sum(0) for block in blocks(dataset.train)) / count
        squares = (
            ((block.astype(np.float64) - mean) ** 2).sum(0) for block in blocks(dataset.train)
        )
        scale = float(np.sqrt((sum(squares) / count).mean()))
        return cls(dataset.shape, False, tuple(mean), scale, count)

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Form:
        """From plain data."""
        return cls(**{**record, "shape": tuple(record["shape"]), "center": tuple(record["center"])})
