"""Regularised optimal transport between two batches, and the Sinkhorn loss on it.

Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018). With x_i real, y_j = G(z_j), and d_{c,lam} the KL- or L2-regularised transport cost,

    regot     d_{c,lam}(x, y)                                               Algorithm 1
    sinkhorn  2 d_{c,lam}(x, y) - d_{c,lam}(x, x) - d_{c,lam}(y, y)         Algorithm 2, not halved

Each d is solved to a certified gap of at most epsilon. Then d moves with the cost as <P, C>, the plan P fixed (envelope theorem).
A lam in multiples of the mean cost is a number like any other to the gradient: it does not follow the cost.
Where the marginal of the generated side is relaxed (finite tau), that is d(x, y)'s alone; the self-terms stay balanced.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from otgan.clouds import Clouds, draw_latents, draw_reals, spread_out
from otgan.config import Config, Regularized
from otgan.costs import make_cost
from otgan.models import Network
from otgan.oracles.contract import Family, Info, Players
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.solution import Solution


class Held(NamedTuple):
    """A batch and its fixed duals; leaves carry the contract's leading axis, here of one update."""

    x: Array  # (1, n, ...) real examples
    z: Array  # (1, n, latent_dim)
    plans: tuple[Array, ...]  # (1, n, n) each: real-generated and, for the Sinkhorn loss, generated-generated and real-real
    offsets: tuple[Array, ...]  # (1,) each: value - <P, C>, so that the loss is the dual value at the point of the solve


def make_regularized(config: Config, generator: Network, encoder: Network | None, mesh: Mesh | None = None) -> Family:
    """The family of a config whose `oracle.family` is "regularized"."""
    oracle, batch = config.oracle, config.batch
    matrix = make_cost(config.cost.name)
    weights = {"regot": (1.0,), "sinkhorn": (2.0, -1.0, -1.0)}[oracle.loss]

    def costs(players: Players, x: Array, z: Array) -> tuple[Array, ...]:
        y = generator.apply(players.generator, z)
        if encoder is not None:
            x, y = encoder.apply(players.encoder, x), encoder.apply(players.encoder, y)
        return (matrix(x, y), matrix(y, y), matrix(x, x))[: len(weights)]

    def solve(state: tuple, players: Players, clouds: Clouds, key: Array) -> tuple[tuple, Held, Info]:
        key_x, key_z = jax.random.split(key)
        x = spread_out(draw_reals(clouds, key_x, batch.size), mesh)
        z = spread_out(draw_latents(clouds, key_z, batch.size, config.generator.latent_dim), mesh)
        matrices = costs(players, x, z)
        mean_cost = jnp.mean(matrices[0])
        solutions = _solve_all(oracle, matrices, mean_cost)
        plans = tuple(s.plan for s in solutions)
        offsets = tuple(s.value - jnp.sum(s.plan * C) for s, C in zip(solutions, matrices, strict=True))
        held = jax.tree.map(lambda leaf: leaf[None], lax.stop_gradient(Held(x, z, plans, offsets)))
        return state, held, _info(oracle, solutions, weights, mean_cost)

    def loss(held: Held, players: Players, clouds: Clouds) -> Array:
        del clouds
        matrices = costs(players, held.x, held.z)
        terms = [jnp.sum(P * C) + offset for P, C, offset in zip(held.plans, matrices, held.offsets, strict=True)]
        return _weighted(weights, terms)

    return Family(
        init=lambda key: (),
        solve=solve,
        loss=loss,
        generate=lambda state, parameters, z: generator.apply(parameters, z),
        gap_kind="certified",
    )


def _solve_all(oracle: Regularized, matrices: tuple[Array, ...], mean_cost: Array) -> list[Solution]:
    """The duals of all terms, at one lam and one epsilon: those of the real-generated cost's scale."""
    lam, epsilon = jnp.asarray(oracle.lam.times(mean_cost)), jnp.asarray(oracle.epsilon.times(mean_cost))
    limits = {"iterations_per_check": oracle.check_every(), "max_iterations": oracle.max_iterations}
    match oracle.regularizer:
        case "kl":
            tau = jnp.asarray(oracle.tau.times(mean_cost)) if oracle.tau.finite else None
            solve = partial(solve_entropic, lam=lam, epsilon=epsilon, anneal=oracle.anneal, **limits)
            return [solve(matrices[0], tau=tau), *(solve(C, symmetric=True) for C in matrices[1:])]
        case "l2":
            return [solve_quadratic(C, lam, epsilon, **limits) for C in matrices]


def _weighted(weights: tuple[float, ...], terms: list[Array]) -> Array:
    return jnp.sum(jnp.asarray(weights, terms[0].dtype) * jnp.stack(terms))


def _info(oracle: Regularized, solutions: list[Solution], weights: tuple[float, ...], mean_cost: Array) -> Info:
    """`dual_value` is the loss's; `dual_gap` the largest of its terms' (each is held to epsilon), `dual_iterations` their sum."""
    lam, epsilon = (jnp.asarray(amount.times(mean_cost), mean_cost.dtype) for amount in (oracle.lam, oracle.epsilon))
    return {
        "dual_value": _weighted(weights, [s.value for s in solutions]),
        "dual_gap": jnp.max(jnp.stack([s.gap for s in solutions])),
        "dual_iterations": jnp.sum(jnp.stack([s.iterations for s in solutions])),
        "dual_converged": jnp.all(jnp.stack([s.converged for s in solutions])),
        "ready": jnp.asarray(True),
        "mean_cost": mean_cost,
        "lam": lam,
        "lam_over_mean_cost": lam / mean_cost,
        "epsilon": epsilon,
        "epsilon_over_mean_cost": epsilon / mean_cost,
    }
