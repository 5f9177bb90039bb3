"""How near to stationary a generator is: the squared norm of its expected gradient, without the
noise of batches.

Sanjabi et al. (NeurIPS 2018, Theorem 4.2) bound it along the run. The norm of a batch's gradient is
mostly noise; of K independent batches' gradients g_k,

    ( |sum g_k|^2 - sum |g_k|^2 ) / (K (K - 1))

is without bias for the squared norm of their mean, and may be negative where that is zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from otgan.batches import BatchSource
from otgan.config import Amount, Regularized
from otgan.config.families import Families
from otgan.costs import product
from otgan.oracles import Family, Players, make_family
from otgan.problem import Problem

# the accuracy of a dual whose gradient counts as the loss's own; iterations
EXACT, MOST = Amount(0.001, relative=True), 20_000


class Stationarity(NamedTuple):
    """Of the gradients of K batches."""

    squared_norm: float  # of their mean in expectation, estimated without bias
    standard_error: float  # of that, by the jackknife
    batch_squared_norm: float  # of one batch's gradient, on average: signal and noise
    converged_share: float = 1.0  # of the duals that came as near as they were asked to


def exact_family(oracle: Families, problem: Problem) -> Family:
    """A family with its duals solved to `EXACT`, or to its own epsilon where that is smaller;
    others as they are.

    Its pulls are plain: even ones keep their strength however near the loss is to its minimum.
    """
    if isinstance(oracle, Regularized):
        own = oracle.epsilon
        finer = isinstance(own, Amount) and own.relative and own.value < EXACT.value
        epsilon = own if finer else EXACT
        oracle = oracle.model_copy(
            update={"epsilon": epsilon, "max_iterations": MOST, "pulls": "plain"}
        )
    return make_family(oracle, problem)


def stationarity(
    family: Family, dual: Any, players: Players, data: BatchSource, key: Array, batches: int
) -> Stationarity:
    """From the gradients of a family's loss on `batches` independent batches."""

    @jax.jit
    def flat_gradient(key: Array) -> tuple[Array, Array]:
        _, held, info = family.solve(dual, players, data, key)
        part = jax.tree.map(lambda leaf: leaf[0], held)
        gradient = jax.grad(
            lambda generator: family.loss(part, players._replace(generator=generator), data)
        )(players.generator)
        return jnp.concatenate(
            [leaf.reshape(-1) for leaf in jax.tree.leaves(gradient)]
        ), jnp.asarray(info["dual_converged"], jnp.float32)

    gradients, converged = map(
        jnp.stack,
        zip(*(flat_gradient(jax.random.fold_in(key, k)) for k in range(batches)), strict=True),
    )
    found = from_products(product(gradients, gradients.T))
    return found._replace(converged_share=float(jnp.mean(converged)))


def from_products(products: Float[Array, "k k"]) -> Stationarity:
    """From the inner products of the gradients, (K, K)."""
    k = len(products)
    off = products - jnp.diag(jnp.diag(products))
    value = jnp.sum(off) / (k * (k - 1))
    without = (jnp.sum(off) - 2 * jnp.sum(off, axis=1)) / ((k - 1) * (k - 2))
    error = jnp.sqrt((k - 1) / k * jnp.sum((without - value) ** 2))
    return Stationarity(float(value), float(error), float(jnp.mean(jnp.diag(products))))
