"""The Inception score: how sure a classifier is of each sample, and how evenly all of them fall
into its classes.

Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen (NIPS 2016), section 4: exp(mean_x KL(p(class |
x) | p(class))), in each of ten parts of the samples. The KL's mean is the entropy of the mean less
the mean of the entropies, so that two sums are all that is kept of a part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr

from otgan.errors import UserError
from otgan.metrics.blocks import checked, require

METRIC = "the Inception score"
SPLITS = 10  # as in the paper


class ClassSums(NamedTuple):
    """Sums over the samples seen so far, for each part."""

    counts: Float[np.ndarray, " parts"]
    probabilities: Float[np.ndarray, "parts k"]
    entropies: Float[np.ndarray, " parts"]  # nats

    @classmethod
    def empty(cls, parts: int, classes: int) -> ClassSums:
        """Of no samples."""
        return cls(np.zeros(parts), np.zeros((parts, classes)), np.zeros(parts))

    def add(
        self, probabilities: Float[np.ndarray, "n k"], part: Int[np.ndarray, " n"]
    ) -> ClassSums:
        """With a batch more, each row of which belongs to the part that is named.

        Raises:
            UserError: the rows are not probabilities.
        """
        p = checked(probabilities, "class probabilities", metric=METRIC)
        # a softmax in float16 is as far off as this
        if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
            raise UserError(
                "a classifier's probabilities are not all positive with sum 1: give its softmax,"
                " not its logits"
            )
        member = (np.arange(len(self.counts))[:, None] == part[None, :]).astype(float)
        return ClassSums(
            self.counts + member.sum(axis=1),
            self.probabilities + member @ p,
            self.entropies + member @ entr(p).sum(axis=1),
        )

    def scores(self) -> Float[np.ndarray, " parts"]:
        """The Inception score of each part.

        Raises:
            UserError: a part has no samples.
        """
        require(int(self.counts.min()), 1, "samples in every part", METRIC)
        mean = self.probabilities / self.counts[:, None]
        return np.exp(entr(mean).sum(axis=1) - self.entropies / self.counts)


def parts(count: int, splits: int = SPLITS) -> Int[np.ndarray, " count"]:
    """The part of each of so many samples: consecutive ones, as equal as can be."""
    return np.arange(count) * splits // count


def inception_score(
    probabilities: Float[np.ndarray, "n k"], splits: int = SPLITS
) -> tuple[float, float]:
    """Mean and standard deviation over the parts, between 1 and the number of classes.

    Raises:
        UserError: there are fewer samples than parts, or the rows are not probabilities.
    """
    require(len(probabilities), splits, "samples", METRIC)
    scores = (
        ClassSums.empty(splits, probabilities.shape[1])
        .add(probabilities, parts(len(probabilities), splits))
        .scores()
    )
    return float(scores.mean()), float(scores.std())
