"""What the loop knows of a family: it solves a dual between generated and real points, holds it
fixed, and says how to move the players.

A family is a few pure functions over explicit pytrees. The loop never asks which family it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int

from otgan.batches import BatchSource
from otgan.config import Amount
from otgan.problem import NOBODY, Players, Problem
from otgan.results.quantities import INFO, PLAN_INFO
from otgan.results.quantity import Quantity

__all__ = [
    "INFO",
    "NOBODY",
    "PLAN_INFO",
    "Family",
    "Info",
    "Players",
    "Transported",
    "generator_alone",
    "hold",
    "in_units_of_cost",
    "one_update",
]

# a family's own pytree of arrays: potentials, networks, memories: whatever outlives a solve
State = Any
Held = Any  # what the fixed dual says, each leaf with a leading axis of updates
Info = dict[str, Any]  # scalars by name: those of INFO, and a family's own, which it declares


class Transported(NamedTuple):
    """Where a map sends points, as far as its own inner problems were solved."""

    points: Array  # (n, ...), as the data
    # (n,): the map's own image is at most so far away, Euclidean, in units of the data; infinite
    # where nothing is certified
    error: Array


class Family(NamedTuple):
    """One way of solving the dual.

    Its gap is `certified`, a bound on the distance from the dual's optimum; `estimated`, one that
    holds in the mean, on held-out data; or a `residual`: how far the solver's own condition is from
    being met, which says nothing of that distance. The module says which.

    `solve(state, players, data, key)` returns the new state, what is held, and an info.
    `loss(held_j, players, data)` is the objective at the j-th held part, with the dual fixed
    (envelope theorem), and its gradient what the players follow; `generate(state, parameters, z)`
    draws the sample that users see. A family that cuts a long solve into chunks is not
    `always_ready`: its info has `ready`, and the players move only where that is true.

    The rest is for families that have it: `transport(state, y)`, the map from generated points to
    data; `highlighted(state)`, masks over the training examples, by name, of those worth a picture;
    `final_metrics(state, players, data, held_out, key)`, numbers for the summary of a run, where
    one that is not a number cannot be said yet and is left out. Its `held_out` are examples, and a
    source's, that no solve has seen. `reads(data, key)` says where all real examples stand that
    `solve` looks at with that key, so that they are fetched in time where the data are in a file;
    without it a family sees all of them. `quantities` declares every number of an info or of
    `final_metrics` that is not in `INFO`: what it means, how it is written, whether more of it is
    better. Declared, it stands in the summary, in tables and in reports, and a sweep has its mean.
    """

    init: Callable[[Array], State]
    solve: Callable[[State, Players, BatchSource, Array], tuple[State, Held, Info]]
    loss: Callable[[Held, Players, BatchSource], Array]
    generate: Callable[[State, Any, Array], Array]
    gap_kind: Literal["certified", "estimated", "residual"]
    always_ready: bool = True
    transport: Callable[[State, Array], Transported] | None = None
    highlighted: Callable[[State], dict[str, Array]] = lambda state: {}
    final_metrics: Callable[[State, Players, BatchSource, BatchSource, Array], dict[str, Array]] = (
        lambda *_: {}
    )
    quantities: tuple[Quantity, ...] = ()
    reads: Callable[[BatchSource, Array], Int[Array, " k"]] | None = None


def in_units_of_cost(mean_cost: Array, **amounts: Amount) -> Info:
    """The mean cost, and each amount in units of the cost and in multiples of its mean."""
    values = {
        name: jnp.asarray(amount.times(mean_cost), mean_cost.dtype)
        for name, amount in amounts.items()
    }
    return {
        "mean_cost": mean_cost,
        **values,
        **{f"{name}_over_mean_cost": value / mean_cost for name, value in values.items()},
    }


def generator_alone(problem: Problem) -> Callable[[State, Any, Array], Array]:
    """How to generate where the dual has no part in it."""
    return lambda state, parameters, z: problem.generate(parameters, z)


T = TypeVar("T")


def hold(held: T) -> T:
    """Fix what a solve hands over: the envelope theorem's one stop of the gradient."""
    return lax.stop_gradient(held)


def one_update(held: T) -> T:
    """What a solve hands over for a single update: fixed, with the leading axis."""
    return jax.tree.map(lambda leaf: leaf[None], hold(held))
