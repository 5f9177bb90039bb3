"""Regularised optimal transport between batches, and the losses that are made of it.

With x_i real, y_j = G(z_j), and d = d_{c,lam} the KL- or L2-regularised transport cost between two clouds,

    regot     d(x, y)                                    Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018), Algorithm 1
    sinkhorn  2 d(x, y) - d(x, x) - d(y, y)              the same, Algorithm 2, not halved
    energy    d(x, y) + d(x, y') + d(x', y) + d(x', y') - 2 d(x, x') - 2 d(y, y')
                                                         Salimans et al. (ICLR 2018), Algorithm 1; each batch in two halves x, x' and y, y'

Each d is solved to a certified gap of at most epsilon. Then d moves with the cost as <P, C>, the plan P fixed (envelope theorem). Where the
cost is fixed d(x, x) moves nobody: it is left out of what is solved, and of the numbers that are reported.
A lam in multiples of the mean cost is a number like any other to the gradient: it does not follow the cost.
Where the marginal of the generated side is relaxed (finite tau), that is d(x, y)'s alone; the other terms stay balanced.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float

from otgan.clouds import Clouds, draw_latents, draw_reals, spread_out
from otgan.config import Config, Regularized
from otgan.costs import make_cost
from otgan.data import Form
from otgan.oracles.contract import Family, Info, Players, hold, in_units_of_cost
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.solution import Solution

Between = Literal["both", "kind", "self"]  # real and generated; two clouds of one kind; a cloud and itself


class Term(NamedTuple):
    """One d in a loss."""

    weight: float
    between: Between
    matrix: Array  # its cost


class Held(NamedTuple):
    """A batch and its fixed duals; leaves carry the contract's leading axis, here of one update."""

    x: Array  # (1, n, ...) real examples
    z: Array  # (1, n, latent_dim)
    plans: tuple[Array, ...]  # of each term of the loss
    offsets: tuple[Array, ...]  # (1,) each: value - <P, C>, so that the loss is the dual value at the point of the solve


def make_regularized(config: Config, form: Form, networks: Players, mesh: Mesh | None = None) -> Family:
    """The family of a config whose `oracle.family` is "regularized"."""
    del form
    oracle, batch = config.oracle, config.batch
    assert isinstance(oracle, Regularized)
    cost = make_cost(config.cost.name)
    generator, encoder = networks

    def terms(players: Players, x: Array, z: Array) -> list[Term]:
        y = generator.apply(players.generator, z)
        if encoder is not None:
            x, y = encoder.apply(players.encoder, x), encoder.apply(players.encoder, y)
        match oracle.loss:
            case "regot":
                return [Term(1.0, "both", cost(x, y))]
            case "sinkhorn":
                own = [Term(-1.0, "self", cost(x, x))] if config.cost.learned else []
                return [Term(2.0, "both", cost(x, y)), Term(-1.0, "self", cost(y, y)), *own]
            case "energy":
                (x1, x2), (y1, y2) = jnp.split(x, 2), jnp.split(y, 2)
                across = [Term(1.0, "both", cost(a, b)) for a in (x1, x2) for b in (y1, y2)]
                return [*across, Term(-2.0, "kind", cost(x1, x2)), Term(-2.0, "kind", cost(y1, y2))]

    def solve(state: tuple, players: Players, clouds: Clouds, key: Array) -> tuple[tuple, Held, Info]:
        key_x, key_z = jax.random.split(key)
        x = spread_out(draw_reals(clouds, key_x, batch.size), mesh)
        z = spread_out(draw_latents(clouds, key_z, batch.size, config.generator.latent_dim), mesh)
        of_loss = terms(players, x, z)
        mean_cost = jnp.mean(jnp.stack([jnp.mean(t.matrix) for t in of_loss if t.between == "both"]))
        solutions = solve_terms(oracle, of_loss, mean_cost)
        plans = tuple(s.plan for s in solutions)
        offsets = tuple(s.value - jnp.sum(s.plan * t.matrix) for s, t in zip(solutions, of_loss, strict=True))
        held = jax.tree.map(lambda leaf: leaf[None], hold(Held(x, z, plans, offsets)))
        return state, held, {**_info(oracle, of_loss, solutions, mean_cost), "examples": 2 * batch.size}

    def loss(held: Held, players: Players, clouds: Clouds) -> Array:
        del clouds
        of_loss = terms(players, held.x, held.z)
        values = [jnp.sum(P * t.matrix) + offset for P, t, offset in zip(held.plans, of_loss, held.offsets, strict=True)]
        return _weighted(of_loss, values)

    return Family(
        init=lambda key: (),
        solve=solve,
        loss=loss,
        generate=lambda state, parameters, z: generator.apply(parameters, z),
        gap_kind="certified",
    )


def solve_terms(oracle: Regularized, terms: list[Term], mean_cost: Array) -> list[Solution]:
    """The duals of all terms, at one lam and one epsilon: those of the real-generated cost's scale."""
    lam, epsilon = jnp.asarray(oracle.lam.times(mean_cost)), jnp.asarray(oracle.epsilon.times(mean_cost))
    tau = jnp.asarray(oracle.tau.times(mean_cost)) if oracle.tau.finite else None
    return [solve_term(oracle, t.matrix, lam, epsilon, tau, t.between) for t in terms]


def solve_term(
    oracle: Regularized,
    cost: Float[Array, "n m"],
    lam: Float[Array, ""],
    epsilon: Float[Array, ""],
    tau: Float[Array, ""] | None,
    between: Between = "both",
) -> Solution:
    """One dual as training solves it: by the oracle's regulariser, cadence and budget; amounts in units of the cost."""
    limits = {"iterations_per_check": oracle.check_every(), "max_iterations": oracle.max_iterations}
    match oracle.regularizer:
        case "kl":
            relaxed, symmetric = tau if between == "both" else None, between == "self"
            return solve_entropic(cost, lam, epsilon, relaxed, anneal=oracle.anneal, symmetric=symmetric, **limits)
        case "l2":
            return solve_quadratic(cost, lam, epsilon, **limits)


def _weighted(terms: list[Term], values: list[Array]) -> Array:
    return jnp.sum(jnp.asarray([t.weight for t in terms], values[0].dtype) * jnp.stack(values))


def _info(oracle: Regularized, terms: list[Term], solutions: list[Solution], mean_cost: Array) -> Info:
    """Of several duals the largest gap (each is held to epsilon) and the sum of iterations; of the loss that they make, what bounds it."""
    least, most = _interval(terms, solutions)
    return {
        "dual_value": _weighted(terms, [s.value for s in solutions]),
        "dual_gap": _largest([s.gap for s in solutions]),
        "dual_floor": _largest([s.floor for s in solutions]),
        "dual_iterations": jnp.sum(jnp.stack([s.iterations for s in solutions])),
        "dual_converged": jnp.all(jnp.stack([s.converged for s in solutions])),
        "loss_at_least": least,
        "loss_at_most": most,
        "misplaced_mass": _largest([s.misplaced for s in solutions]),
        "ready": True,
        **in_units_of_cost(mean_cost, lam=oracle.lam, epsilon=oracle.epsilon),
    }


def _interval(terms: list[Term], solutions: list[Solution]) -> tuple[Array, Array]:
    """Where the loss of exact duals lies: each is between its value, less what rounding may add to that, and its value plus its gap."""
    lowest = [s.value - s.floor if t.weight > 0 else s.value + s.gap for t, s in zip(terms, solutions, strict=True)]
    highest = [s.value + s.gap if t.weight > 0 else s.value - s.floor for t, s in zip(terms, solutions, strict=True)]
    return _weighted(terms, lowest), _weighted(terms, highest)


def _largest(values: list[Array]) -> Array:
    return jnp.max(jnp.stack(values))
