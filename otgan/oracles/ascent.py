"""Networks that ascend a dual: some steps for each solve, every step on a fresh batch,
warm-started from the last solve's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, Key

from otgan.config import Optimizer
from otgan.optim import descend, descent


class AscentState(NamedTuple):
    """Networks and what their optimizer remembers."""

    parameters: Any
    moments: Any  # of the ascent
    steps: Int[Array, ""]  # taken so far


def begin_ascent(optimizer: Optimizer, parameters: Any) -> AscentState:
    """Before the first step, with these parameters."""
    return AscentState(parameters, descent(optimizer).init(parameters), jnp.zeros((), jnp.int32))


def ascend(
    optimizer: Optimizer,
    objective: Callable[[Any, Key[Array, ""]], Array],
    state: AscentState,
    keys: Key[Array, " steps"],
    progress: Float[Array, ""],
) -> AscentState:
    """One step up the objective for each key.

    Args:
        optimizer: the section of the config.
        objective: of (parameters, key): a scalar; the key draws the step's batch.
        state: where to start.
        keys: one for each step.
        progress: the run's, from 0 to 1, for the schedule of the learning rate.
    """

    def step(state: AscentState, key: Array) -> tuple[AscentState, None]:
        gradient = jax.grad(lambda parameters: -objective(parameters, key))(state.parameters)
        return (
            AscentState(
                *descend(
                    optimizer, gradient, state.parameters, state.moments, progress, state.steps
                ),
                state.steps + 1,
            ),
            None,
        )

    return lax.scan(step, state, keys)[0]
