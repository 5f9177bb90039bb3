"""Modes as a classifier sees them: how many there are, how evenly they are hit, and how clear the
samples are.

For digits stacked in channels (Metz, Poole, Pfau, Sohl-Dickstein, ICLR 2017, section 3.3.1) a mode
is one class in each channel, of 10^3; Lin, Khetan, Fanti, Oh (PacGAN, NeurIPS 2018, section 4.1)
count on 26,000 samples, of which 1,000 equally likely modes are all hit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.special import rel_entr

from otgan.metrics.blocks import checked

# a sample is of high quality where the best class of its every channel is at least this probable
CLEAR = 0.9


class Modes(NamedTuple):
    """What of a data set's modes the samples show."""

    hit: int  # modes with at least one sample
    total: int
    # of the samples' histogram over modes from the reference's, nats; its floor is about (total -
    # 1) / 2N
    kl: float
    high_quality: float  # share of the samples that are clear in every channel


def modes(
    probabilities: Float[np.ndarray, "n channels k"],
    reference: Num[np.ndarray, " total"] | None = None,
) -> Modes:
    """Judge samples by the probabilities of the classes of each of their channels.

    Args:
        probabilities: of k classes in each channel; (n, 1, k) for pictures of one object.
        reference: how often, or how probable, each of the k^channels modes is, the last channel's
            class running fastest; None: all alike.

    Raises:
        UserError: there are no samples, or a value is not finite.
    """
    n, channels, k = probabilities.shape
    p = checked(probabilities, "class probabilities", metric="the count of modes").reshape(
        n, channels, k
    )
    counts = np.bincount(mode_index(p), minlength=k**channels)
    clear = (p.max(axis=2) >= CLEAR).all(axis=1)
    return Modes(
        int((counts > 0).sum()), counts.size, histogram_kl(counts, reference), float(clear.mean())
    )


def mode_index(probabilities: Float[np.ndarray, "n channels k"]) -> Int[np.ndarray, " n"]:
    """The mode of each sample: the likeliest class of each channel, as the digits of a number to
    the base k.
    """
    k = probabilities.shape[2]
    return probabilities.argmax(axis=2) @ k ** np.arange(probabilities.shape[1])[::-1]


def histogram_kl(counts: np.ndarray, reference: np.ndarray | None = None) -> float:
    """KL of a histogram's shares from a reference's (or from equal shares), nats; infinite where a
    mode is hit that the reference lacks.
    """
    other = np.ones(counts.shape) if reference is None else np.asarray(reference, np.float64)
    return float(rel_entr(counts / counts.sum(), other / other.sum()).sum())
