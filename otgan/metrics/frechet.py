"""The Frechet distance between the Gaussians that have two sets' means and covariances.

Of Inception features it is FID.

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (NIPS 2017), eq. 6 (Dowson and Landau 1982):

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))

The root's trace is the sum of the roots of the eigenvalues of S2^(1/2) S1 S2^(1/2), a symmetric
matrix: they are real, and at least zero but for rounding, also where a covariance is of low rank.
And its extrapolation to infinitely many samples, by Chong and Forsyth (CVPR 2020): the distance is
biased upwards by about a constant over the number of samples, so it lies on a line in 1 / N.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from otgan.metrics.blocks import checked, require

SIZES = 15  # of the sets in the extrapolation, as the authors have it
SMALLEST = 10  # the first of these is this fraction of all samples, as theirs is


class Moments(NamedTuple):
    """Mean and scatter of samples seen so far, in float64; memory does not grow with their
    number.
    """

    count: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]  # sum of (x - mean)(x - mean)'

    @classmethod
    def empty(cls, d: int) -> Moments:
        """Of no samples of d numbers each."""
        return cls(0, np.zeros(d), np.zeros((d, d)))

    def add(self, batch: Float[np.ndarray, "n d"]) -> Moments:
        """With a batch of samples more.

        Raises:
            UserError: the batch is empty or holds a value that is not finite.
        """
        x = checked(batch, "features", metric="the Frechet distance")
        mean = x.mean(axis=0)
        return self.merge(Moments(len(x), mean, (x - mean).T @ (x - mean)))

    def merge(self, other: Moments) -> Moments:
        """Of both sets together (Chan, Golub, LeVeque 1983): the deviations are each from its own
        mean, so nothing cancels.
        """
        count, shift = self.count + other.count, other.mean - self.mean
        share = other.count / max(count, 1)
        return Moments(
            count,
            self.mean + share * shift,
            self.scatter + other.scatter + self.count * share * shift[:, None] * shift[None, :],
        )

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The unbiased estimate, over N - 1.

        Raises:
            UserError: there are fewer than two samples.
        """
        require(self.count, 2, "samples", "a covariance")
        return self.scatter / (self.count - 1)


def needed(d: int) -> int:
    """Samples below which a covariance of d numbers is of low rank: the distance is then defined,
    and says little.
    """
    return d + 1


def frechet_distance(p: Moments, q: Moments) -> float:
    """The (squared) Frechet distance, units of the features squared.

    Of two equal sets it is zero but for rounding, of either sign: some 1e-14 of the covariance's
    trace where that is of full rank, and at worst 1e-8, where eigenvalues fall off to nothing.

    Raises:
        UserError: either has fewer than two samples.
    """
    return _distance(p, q, _root(q.covariance))


def frechet_infinity(
    features: Float[np.ndarray, "n d"], reference: Moments, seed: int = 0
) -> float:
    """The Frechet distance to a reference as the number of generated samples goes to infinity.

    The line's value at 1 / N = 0, fitted to 15 sizes, each of them a fresh draw without
    replacement. The reference's own finite number of samples is not corrected for.

    Raises:
        UserError: there are fewer samples than `needed_infinity`, or a value is not finite.
    """
    x = checked(
        features,
        "features",
        needed_infinity(reference.mean.size),
        "the extrapolated Frechet distance",
    )
    rng, root = np.random.default_rng(seed), _root(reference.covariance)
    sizes = np.linspace(max(len(x) // SMALLEST, 2 * needed(x.shape[1])), len(x), SIZES).astype(int)
    empty = Moments.empty(x.shape[1])
    values = [
        _distance(empty.add(x[rng.permutation(len(x))[:size]]), reference, root) for size in sizes
    ]
    return float(np.polynomial.Polynomial.fit(1 / sizes, values, 1)(0.0))


def needed_infinity(d: int) -> int:
    """Samples for an extrapolation: sizes from twice full rank, below which the bias is no line, to
    twice that.
    """
    return 4 * needed(d)


def _distance(p: Moments, q: Moments, root: Float[np.ndarray, "d r"]) -> float:
    shift, covariance = p.mean - q.mean, p.covariance
    eigenvalues = np.linalg.eigvalsh(root.T @ covariance @ root)
    overlap = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    # rounding may go below
    return max(
        0.0, float(shift @ shift + np.trace(covariance) + np.trace(q.covariance) - 2 * overlap)
    )


def _root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d r"]:
    """R with R R' = S, of as many columns as S has eigenvalues above rounding: the others would
    come back as roots of noise.
    """
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])[None, :]
