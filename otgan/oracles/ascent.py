"""Networks that climb a dual: some steps of Adam for each solve, every step on a fresh batch, warm-started from the last solve's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, Key

from otgan.config import Optimizer
from otgan.optim import adam, descend


class Climber(NamedTuple):
    """Networks and what their optimiser remembers."""

    parameters: Any
    moments: Any  # Adam's
    steps: Int[Array, ""]  # climbed so far


def start(optimizer: Optimizer, parameters: Any) -> Climber:
    """At the foot, with these parameters."""
    return Climber(parameters, adam(optimizer).init(parameters), jnp.zeros((), jnp.int32))


def climb(
    optimizer: Optimizer,
    objective: Callable[[Any, Key[Array, ""]], Array],
    climber: Climber,
    keys: Key[Array, " steps"],
    progress: Float[Array, ""],
) -> Climber:
    """One step up the objective for each key.

    Args:
        optimizer: the section of the config.
        objective: of (parameters, key): a scalar; the key draws the step's batch.
        climber: where to start.
        keys: one for each step.
        progress: the run's, from 0 to 1, for the schedule of the learning rate.
    """

    def step(climber: Climber, key: Array) -> tuple[Climber, None]:
        gradient = jax.grad(lambda parameters: -objective(parameters, key))(climber.parameters)
        return Climber(*descend(optimizer, gradient, climber.parameters, climber.moments, progress, climber.steps), climber.steps + 1), None

    return lax.scan(step, climber, keys)[0]
