"""What batches of a size do not see: the cost of exact transport between two batches, beside that
to the whole training set.

A batch's transport is dearer on average than the transport of what it was drawn from, for its
points must go to those few that were drawn with them. The reference is the semi-discrete cost from
the generator to all N training points, between two bounds:

    E_z min_j (c(G(z), y_j) - g_j) + mean g   at most, whatever g   unbiased, on fresh samples
    E <C, R>                                  at least              a plan from n samples to all

with g and R from one entropic solve between n samples and all training points
(`otgan.oracles.bracket`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from otgan.metrics.assignment import assign
from otgan.oracles.bracket import bracket_transport

BLOCK = 5_000  # training examples at a time

Cost = Callable[[Any, Any], Array]
"""(n examples), (m examples), each as the cost looks at them -> (n, m)."""


class BatchCost(NamedTuple):
    """Exact transport between batches of a size."""

    size: int
    mean: float  # units of the cost
    standard_error: float
    batches: int


class Reference(NamedTuple):
    """The cost of transport to the whole training set lies between these, up to the noise of
    sampling.
    """

    lower: float
    lower_standard_error: float
    upper: float  # in expectation: from one draw of samples


def batch_costs(
    cost: Cost, pairs: Callable[[int, int], tuple[Any, Any]], sizes: list[int], batches: int
) -> list[BatchCost]:
    """The mean cost of exact transport between batches of each size.

    Args:
        cost: see `Cost`.
        pairs: (size, number of the batch) -> real and generated examples.
        sizes: of batches.
        batches: of the smallest size; of larger ones fewer, as many examples in all, but four at
            least.
    """
    rows = []
    for size in sizes:
        count = max(4, batches * sizes[0] // size)
        values = [exact_cost(np.asarray(cost(*pairs(size, k)))) for k in range(count)]
        rows.append(
            BatchCost(
                size, float(np.mean(values)), float(np.std(values, ddof=1) / count**0.5), count
            )
        )
    return rows


def exact_cost(costs: Float[np.ndarray, "n n"]) -> float:
    """The smallest mean cost of an assignment."""
    return float(costs[np.arange(len(costs)), assign(costs)].mean(dtype=np.float64))


def reference(cost: Cost, train: list[Any], samples: Any, fresh: Any) -> Reference:
    """Bounds on the cost of transport from the generator to all training examples.

    Args:
        cost: see `Cost`.
        train: all training examples, in blocks.
        samples: generated examples to solve with.
        fresh: others, to evaluate on.
    """
    matrix = jnp.concatenate([cost(samples, block) for block in train], axis=1)
    found = jax.jit(bracket_transport)(matrix)
    ends = np.cumsum([0, *(jax.tree.leaves(block)[0].shape[0] for block in train)])
    parts = [
        cost(fresh, block) - found.g[None, start:end]
        for block, start, end in zip(train, ends, ends[1:], strict=False)
    ]
    nearest = jnp.min(jnp.stack([jnp.min(part, axis=1) for part in parts]), axis=0)
    values = np.asarray(nearest, np.float64) + float(np.mean(np.asarray(found.g, np.float64)))
    _, upper = found.in_double()
    return Reference(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5), upper)
