"""What measures compute: of generated examples and real ones, numbers by name."""

from __future__ import annotations

from functools import reduce
from typing import Literal

import numpy as np

from otgan.evaluation.measure import Real
from otgan.evaluation.stats import FeatureStats
from otgan.metrics.classes import inception_score
from otgan.metrics.frechet import frechet_distance, frechet_infinity
from otgan.metrics.kernel import kernel_distance
from otgan.metrics.manifold import (
    DENSITY_NEIGHBORS,
    PRECISION_NEIGHBORS,
    Manifold,
    manifold_scores,
)
from otgan.metrics.modes import histogram_kl, mode_index, modes
from otgan.metrics.neighbors import memorization, nearest
from otgan.metrics.points import mode_kl, mode_width, modes_and_quality
from otgan.metrics.transport import (
    Bounds,
    sinkhorn_divergence,
    sliced_wasserstein,
    transport_to_all,
)
from otgan.metrics.wasserstein import exact_l1_wasserstein, exact_wasserstein

SEED = 2022  # of subsets and projections
KID = {"subsets": 100, "size": 1_000}
IS = {"splits": 10}
PR = {"precision_neighbors": PRECISION_NEIGHBORS, "density_neighbors": DENSITY_NEIGHBORS}
SLICED = {"projections": 512}
# both in multiples of the mean cost; with a small lam the floor is high
SINKHORN = {"lam": 1.0, "epsilon": 1e-5}


def values(examples: np.ndarray) -> np.ndarray:
    """Points as they are, pixels in [-1, 1], flattened: n d."""
    flat = examples.reshape(len(examples), -1).astype(np.float32)
    return flat / np.float32(127.5) - 1 if examples.ndim > 2 else flat


# --- of features ----------------------------------------------------------------------------------


def fid(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.frechet`."""
    return {"fid": frechet_distance(generated.moments, real.reference.moments)}


def fid_infinity(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.frechet`."""
    return {"fid_infinity": frechet_infinity(generated.features, real.reference.moments, SEED)}


def kid(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.kernel`."""
    size = min(KID["size"], len(generated.features), len(real.reference.features))
    mean, sd = kernel_distance(
        generated.features, real.reference.features, subsets=KID["subsets"], size=size, seed=SEED
    )
    return {"kid": mean, "kid_subset_sd": sd}


def inception(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.classes`."""
    del real
    assert generated.probabilities is not None
    mean, sd = inception_score(generated.probabilities[:, 0], IS["splits"])
    return {"is": mean, "is_split_sd": sd}


def manifold(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.manifold`."""
    return {
        name: float(value)
        for name, value in (
            manifold_scores(generated.features, real.reference.features)._asdict().items()
        )
    }


def divergence(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.transport`."""
    found = sinkhorn_divergence(generated.features, real.reference.features, **SINKHORN)
    return _bounded("sinkhorn_divergence", found)


# --- of values ------------------------------------------------------------------------------------


def exact(generated: FeatureStats, real: Real) -> dict[str, float]:
    """W1 and W2 of as many; see `otgan.metrics.wasserstein`."""
    return {**exact_w1(generated, real), **exact_w2(generated, real)}


def exact_w1(generated: FeatureStats, real: Real) -> dict[str, float]:
    """The mean over sets of as many."""
    return {"w1": _of_sets(generated, real, 1)}


def exact_w2(generated: FeatureStats, real: Real) -> dict[str, float]:
    """The mean over sets of as many."""
    return {"w2": _of_sets(generated, real, 2)}


def exact_l1(generated: FeatureStats, real: Real) -> dict[str, float]:
    """W1 for the l1 distance; see `otgan.metrics.wasserstein`."""
    distance = exact_l1_wasserstein(values(generated.examples), values(real.reference.examples))
    return {"w1_l1": distance}


def _of_sets(generated: FeatureStats, real: Real, p: Literal[1, 2]) -> float:
    return float(np.mean([exact_wasserstein(x, y, p) for x, y in _sets(generated, real)]))


def manifold_of_sets(generated: FeatureStats, real: Real) -> dict[str, float]:
    """The means over sets of as many; see `otgan.metrics.manifold`."""
    found = [manifold_scores(x, y) for x, y in _sets(generated, real)]
    return dict(zip(Manifold._fields, np.mean(found, axis=0).tolist(), strict=True))


def _sets(generated: FeatureStats, real: Real) -> list[tuple[np.ndarray, np.ndarray]]:
    """Generated examples in sets of as many as there are real ones, each with the real ones."""
    x, y = values(generated.examples), values(real.reference.examples)
    return [(x[first : first + len(y)], y) for first in range(0, len(x), len(y))]


def sliced(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.transport`."""
    x, y = values(generated.examples), values(real.reference.examples)
    return {"sliced_w2": sliced_wasserstein(x, y, projections=SLICED["projections"], seed=SEED)}


def to_all(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.transport`."""
    train, _ = real.dataset.in_memory("w2_train")
    return _bounded("w2_train", transport_to_all(values(generated.examples), train))


def _bounded(name: str, found: Bounds) -> dict[str, float]:
    return {name: found.value, f"{name}_at_least": found.lower, f"{name}_at_most": found.upper}


def memory(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.neighbors`."""
    return {"memorised": memorization(values(generated.examples), real.dataset.train)}


# --- of modes -------------------------------------------------------------------------------------


def grid_modes(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.points`."""
    assert real.dataset.centers is not None
    assert real.dataset.sd is not None
    hit, high_quality = modes_and_quality(generated.examples, real.dataset.centers, real.dataset.sd)
    return {"modes": hit, "high_quality": high_quality}


def grid_masses(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.points`."""
    assert real.dataset.centers is not None
    return {"mode_kl": mode_kl(generated.examples, real.dataset.centers)}


def grid_widths(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.points`."""
    assert real.dataset.centers is not None
    assert real.dataset.sd is not None
    return {"mode_width": mode_width(generated.examples, real.dataset.centers, real.dataset.sd)}


def class_modes(generated: FeatureStats, real: Real) -> dict[str, float]:
    """See `otgan.metrics.modes`."""
    assert generated.probabilities is not None
    found = modes(generated.probabilities, _mode_shares(real.reference))
    return {"modes": found.hit, "mode_kl": found.kl, "high_quality": found.high_quality}


def labels(generated: FeatureStats, real: Real) -> dict[str, float]:
    """Every sample has the label of the training example that is nearest to it."""
    known = real.dataset.labels
    assert known is not None
    index, _ = nearest(values(generated.examples), real.dataset.train)
    shares = np.bincount(known)
    counts = np.bincount(known[index[:, 0]], minlength=len(shares))
    return {"labels_hit": float((counts > 0).sum()), "label_kl": histogram_kl(counts, shares)}


def _mode_shares(real: FeatureStats) -> np.ndarray:
    """How probable each mode is: the classes of a channel as often as in the real ones, the
    channels independent of each other.
    """
    assert real.probabilities is not None
    k = real.probabilities.shape[2]
    shares = [
        np.bincount(mode_index(channel[:, None]), minlength=k)
        for channel in np.moveaxis(real.probabilities, 1, 0)
    ]
    return reduce(np.multiply.outer, shares).reshape(-1).astype(np.float64)
