"""What the loop knows of a family: it solves a dual between generated and real points, holds it fixed, and says how to move the players.

A family is a few pure functions over explicit pytrees. The loop never asks which family it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jax import Array

State = Any  # a family's own pytree: potentials, networks, memories: whatever outlives a solve
Held = Any  # what the fixed dual says, each leaf with a leading axis of updates
Info = dict[str, Array]  # scalars: dual_value, dual_gap, dual_iterations, dual_converged, ready, and a family's own


class Players(NamedTuple):
    """Parameters of the networks that the loss moves: the generator descends it, a learned cost's encoder ascends it."""

    generator: Any
    encoder: Any = None


class Family(NamedTuple):
    """One way of solving the dual.

    `solve(state, players, clouds, key)` returns the new state, what is held, and an info. The players move only where `ready`, so that a
    long solve can be cut into chunks. `loss(held_j, players, clouds)` is the whole objective at the j-th held part, with the dual fixed
    (envelope theorem); `generate(state, players, z)` draws the sample that users see.
    """

    init: Callable[[Array], State]
    solve: Callable[[State, Players, Any, Array], tuple[State, Held, Info]]
    loss: Callable[[Held, Players, Any], Array]
    generate: Callable[[State, Any, Array], Array]
    gap_kind: Literal["certified", "estimated", "residual"]
