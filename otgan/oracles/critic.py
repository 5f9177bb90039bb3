"""WGAN-GP, the baseline: W1 through a critic, trained by some steps for each of the generator's.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville (NeurIPS 2017), Algorithm 1. With x real, y = G(z), and x' = u x + (1 - u) y, u uniform,

    critic      max over D   E D(x) - E D(y) - penalty E (|grad D(x')| - 1)^2
    generator   min over G   E D(x) - E D(y), D fixed

For D with slope at most 1 the difference is a lower bound on W1, the dual of the Euclidean cost (Kantorovich, Rubinstein). The penalty
keeps slopes only near 1, so how far the dual is from its optimum is not known; what is reported as the gap is a residual, the root mean
square of |grad D(x')| - 1, a number without a unit. D is in units of the data's spread, so that its network has slopes near 1 too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from otgan.clouds import Clouds, draw_latents, draw_reals, spread_out
from otgan.config import Config, Critic
from otgan.data import Form
from otgan.models import Network
from otgan.models.potentials import make_potential
from otgan.oracles.ascent import Climber, climb, start
from otgan.oracles.contract import Family, Info, Players, hold

SMALLEST_SQUARE = 1e-12  # keeps the gradient of a slope finite where it is 0


class Held(NamedTuple):
    """A critic and a batch; leaves carry the contract's leading axis, here of one update."""

    z: Array  # (1, n, latent_dim)
    critic: Any  # parameters
    real: Array  # (1,) mean of the critic over a batch of real examples


def make_critic(config: Config, form: Form, networks: Players, mesh: Mesh | None = None) -> Family:
    """The family of a config whose `oracle.family` is "critic".

    Raises:
        UserError: the critic cannot read examples of this shape.
    """
    oracle, size = config.oracle, config.batch.size
    assert isinstance(oracle, Critic)
    critic, generator = _in_units_of(form.scale, make_potential(oracle.critic, form, "oracle.critic")), networks.generator

    def draw(clouds: Clouds, key: Array) -> tuple[Array, Array, Array]:
        key_x, key_z, key_u = jax.random.split(key, 3)
        x, z = draw_reals(clouds, key_x, size), draw_latents(clouds, key_z, size, config.generator.latent_dim)
        u = jax.random.uniform(key_u, (size, *[1] * (x.ndim - 1)))
        return spread_out(x, mesh), spread_out(z, mesh), spread_out(u, mesh)

    def solve(state: Climber, players: Players, clouds: Clouds, key: Array) -> tuple[Climber, Held, Info]:
        def objective(parameters: Any, key: Array) -> Array:
            x, z, u = draw(clouds, key)
            y = generator.apply(players.generator, z)
            difference = jnp.mean(critic.apply(parameters, x)) - jnp.mean(critic.apply(parameters, y))
            return difference - oracle.penalty * jnp.mean((slopes(critic, parameters, u * x + (1 - u) * y) - 1) ** 2)

        keys = jax.random.split(key, oracle.critic_steps + 1)
        climber = climb(oracle.optimizer, objective, state, keys[1:], state.steps / (oracle.critic_steps * config.train.steps))
        x, z, u = draw(clouds, keys[0])
        y = generator.apply(players.generator, z)
        real, fake = (jnp.mean(critic.apply(climber.parameters, cloud)) for cloud in (x, y))
        residual = jnp.sqrt(jnp.mean((slopes(critic, climber.parameters, u * x + (1 - u) * y) - 1) ** 2))
        held = jax.tree.map(lambda leaf: leaf[None], hold(Held(z, climber.parameters, real)))
        return climber, held, _info(oracle, size, real - fake, residual)

    def loss(held: Held, players: Players, clouds: Clouds) -> Array:
        del clouds
        return held.real - jnp.mean(critic.apply(held.critic, generator.apply(players.generator, held.z)))

    return Family(
        init=lambda key: start(oracle.optimizer, critic.init(key)),
        solve=solve,
        loss=loss,
        generate=lambda state, parameters, z: generator.apply(parameters, z),
        gap_kind="residual",
    )


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
        "ready": True,
    }
