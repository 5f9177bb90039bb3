"""WGAN-GP, the baseline: W1 through a critic, trained by some steps for each of the generator's.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville (NeurIPS 2017), Algorithm 1. With x real, y = G(z),
and x' = u x + (1 - u) y, u uniform,

    critic      max over D   E D(x) - E D(y) - penalty E (|grad D(x')| - 1)^2
    generator   min over G   E D(x) - E D(y), D fixed

For D with slope at most 1 the difference is a lower bound on W1, the dual of the Euclidean cost
(Kantorovich, Rubinstein). The penalty keeps slopes only near 1, so how far the dual is from its
optimum is not known; what is reported as the gap is a residual, the root mean square of |grad
D(x')| - 1, a number without a unit. D is in units of the data's spread, so that its network has
slopes near 1 too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from otgan.batches import BatchSource
from otgan.config import Critic
from otgan.models import Network
from otgan.models.potentials import make_potential
from otgan.oracles.ascent import AscentState, ascend, begin_ascent
from otgan.oracles.contract import Family, Info, Players, generator_alone, one_update
from otgan.problem import Problem

SMALLEST_SQUARE = 1e-12  # keeps the gradient of a slope finite where it is 0


class Held(NamedTuple):
    """A critic and a batch; leaves carry the contract's leading axis, here of one update."""

    z: Array  # (1, n, latents)
    critic: Any  # parameters
    real: Array  # (1,) mean of the critic over a batch of real examples


class Drawn(NamedTuple):
    """A batch."""

    z: Array  # (n, latents)
    x: Array  # (n, ...) real examples
    y: Array  # (n, ...) generated ones
    between: Array  # (n, ...) points between the two, each at a share of the way that is drawn


def make_critic(oracle: Critic, problem: Problem) -> Family:
    """The family of critics.

    Raises:
        UserError: the critic cannot read examples of this shape.
    """
    critic = _in_units_of(
        problem.form.scale, make_potential(oracle.critic, problem.form, "oracle.critic")
    )
    dual = CriticDual(oracle, problem, critic)
    return Family(
        dual.init,
        dual.solve,
        dual.loss,
        generator_alone(problem),
        gap_kind="residual",
        reads=dual.reads,
    )


@dataclass(frozen=True, eq=False)
class CriticDual:
    """W1 by a critic's ascent."""

    oracle: Critic
    problem: Problem
    critic: Network

    def init(self, key: Array) -> AscentState:
        """A fresh critic."""
        return begin_ascent(self.oracle.optimizer, self.critic.init(key))

    def solve(
        self, state: AscentState, players: Players, data: BatchSource, key: Array
    ) -> tuple[AscentState, Held, Info]:
        """The critic's steps, each on a batch of its own, and what it says of one more."""
        oracle = self.oracle
        keys = jax.random.split(key, oracle.critic_steps + 1)
        progress = state.steps / (oracle.critic_steps * self.problem.steps)
        state = ascend(
            oracle.optimizer, partial(self.objective, players, data), state, keys[1:], progress
        )
        drawn = self.draw(players, data, keys[0])
        real, fake = (
            jnp.mean(self.critic.apply(state.parameters, points)) for points in (drawn.x, drawn.y)
        )
        residual = jnp.sqrt(self.penalty(state.parameters, drawn.between))
        return (
            state,
            one_update(Held(drawn.z, state.parameters, real)),
            _info(oracle, self.problem.size, real - fake, residual),
        )

    def loss(self, held: Held, players: Players, data: BatchSource) -> Array:
        """The difference of the critic's means."""
        del data
        return held.real - jnp.mean(
            self.critic.apply(held.critic, self.problem.generate(players.generator, held.z))
        )

    def objective(self, players: Players, data: BatchSource, parameters: Any, key: Array) -> Array:
        """What the critic ascends, on the batch that a key draws."""
        drawn = self.draw(players, data, key)
        difference = jnp.mean(self.critic.apply(parameters, drawn.x)) - jnp.mean(
            self.critic.apply(parameters, drawn.y)
        )
        return difference - self.oracle.penalty * self.penalty(parameters, drawn.between)

    def draw(self, players: Players, data: BatchSource, key: Array) -> Drawn:
        """The batch of a key."""
        key_x, key_z, key_u = jax.random.split(key, 3)
        x, z = self.problem.draw_reals(data, key_x), self.problem.draw_latents(data, key_z)
        u = self.problem.shard(jax.random.uniform(key_u, (len(x), *[1] * (x.ndim - 1))))
        y = self.problem.generate(players.generator, z)
        return Drawn(z, x, y, u * x + (1 - u) * y)

    def reads(self, data: BatchSource, key: Array) -> Int[Array, " k"]:
        """Where the real examples of all batches of a solve stand."""
        keys = jax.random.split(key, self.oracle.critic_steps + 1)
        drawn = jax.vmap(lambda key: self.problem.draw_places(data, jax.random.split(key, 3)[0]))
        return drawn(keys).reshape(-1)

    def penalty(self, parameters: Any, between: Array) -> Array:
        """How far the slopes are from 1: the mean of the square."""
        return jnp.mean((slopes(self.critic, parameters, between) - 1) ** 2)


def slopes(network: Network, parameters: Any, x: Array) -> Array:
    """The length of a network's gradient at each point: n *shape -> n."""
    gradient = jax.grad(lambda x: jnp.sum(network.apply(parameters, x)))(x)
    return jnp.sqrt(jnp.sum(gradient.reshape(len(x), -1) ** 2, axis=1) + SMALLEST_SQUARE)


def _in_units_of(unit: float, network: Network) -> Network:
    return Network(network.init, lambda parameters, x: unit * network.apply(parameters, x))


def _info(oracle: Critic, size: int, value: Array, residual: Array) -> Info:
    return {
        "dual_value": value,
        "dual_gap": residual,
        "dual_iterations": jnp.asarray(oracle.critic_steps),
        "dual_converged": residual <= oracle.epsilon,
        "epsilon": jnp.asarray(oracle.epsilon, value.dtype),
        "examples": jnp.asarray(2 * size * (oracle.critic_steps + 1)),
    }
