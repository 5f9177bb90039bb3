"""The d that a loss is made of, and how the dual of each is solved.

`otgan.oracles.regularized` says what they are, and makes training of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from otgan.config import Regularized
from otgan.costs import CostMatrices, Groups, for_each
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.solution import Solution

# real and generated; two clouds of one kind; a cloud and itself
Between = Literal["both", "kind", "self"]


class BatchFeatures(NamedTuple):
    """What the cost sees of a batch: groups of features, in units of their scales."""

    x: Groups  # of n real examples
    y: Groups  # of m generated ones
    x2: Groups | None = None  # of the second ones of independent self terms
    y2: Groups | None = None


class Term(NamedTuple):
    """One d in a loss."""

    weight: float
    between: Between
    costs: CostMatrices  # (k, n, m)
    pull: float  # what its gradient counts for: the weight, unless one of its clouds is held fixed


def terms_of(
    loss: str,
    features: BatchFeatures,
    costs: Callable[[Groups, Groups], CostMatrices],
    learned: bool,
) -> list[Term]:
    """The d that a loss is made of, as at the head of `otgan.oracles.regularized`.

    Of a learned cost d(x, x) moves the encoder, so it is one of them.
    """

    def term(
        weight: float, between: Between, a: Groups, b: Groups, pull: float | None = None
    ) -> Term:
        return Term(weight, between, costs(a, b), weight if pull is None else pull)

    x, y, x2, y2 = features
    match loss:
        case "regot":
            return [term(1.0, "both", x, y)]
        case "energy":
            (x1, x2), (y1, y2) = _halves(x), _halves(y)
            across = [term(1.0, "both", a, b) for a in (x1, x2) for b in (y1, y2)]
            return [*across, term(-2.0, "kind", x1, x2), term(-2.0, "kind", y1, y2)]
        case "sinkhorn":
            if y2 is None:
                own = [term(-1.0, "self", y, y), *([term(-1.0, "self", x, x)] if learned else [])]
            elif x2 is None:
                own = [term(-1.0, "kind", y, y2, pull=-2.0)]
            else:
                own = [term(-1.0, "kind", y, y2), term(-1.0, "kind", x, x2)]
            return [term(2.0, "both", x, y), *own]
    raise ValueError(f"no loss is called {loss!r}")


def _halves(groups: Groups) -> list[Groups]:
    return list(zip(*(jnp.split(group, 2) for group in groups), strict=True))


def mean_cost_of(terms: list[Term]) -> Float[Array, ""]:
    """Of a real and a generated example."""
    return jnp.mean(
        jnp.stack(
            [
                t.costs.mean(jnp.mean(t.costs.matrices, axis=(1, 2)))
                for t in terms
                if t.between == "both"
            ]
        )
    )


def solve_terms(
    oracle: Regularized,
    terms: list[Term],
    mean_cost: Array,
    epsilon: Float[Array, ""],
    known: Float[Array, " n"] | None = None,
    scale: Array | float = 1.0,
) -> list[Solution]:
    """The duals of all terms, leaves (k, ...), at one lam (`scale` times the oracle's), that of the
    real-generated cost's scale, and one epsilon in units of the cost.

    `known` are potentials to start from, for the rows of the term between real and generated
    points; see `solve_entropic`.
    """
    lam = jnp.asarray(oracle.lam.times(mean_cost) * scale)
    tau = jnp.asarray(oracle.tau.times(mean_cost)) if oracle.tau.finite else None

    def solve_all(term: Term) -> Solution:
        def solve(matrix: Array) -> Solution:
            return solve_term(
                oracle,
                matrix,
                lam,
                epsilon,
                tau,
                term.between,
                known if term.between == "both" else None,
            )

        return for_each(solve, term.costs.matrices)

    return [solve_all(term) for term in terms]


def solve_term(
    oracle: Regularized,
    cost: Float[Array, "n m"],
    lam: Float[Array, ""],
    epsilon: Float[Array, ""],
    tau: Float[Array, ""] | None,
    between: Between = "both",
    known: Float[Array, " n"] | None = None,
) -> Solution:
    """One dual as training solves it: by the oracle's regularizer, cadence and budget.

    Amounts in units of the cost.
    """
    limits = {"iterations_per_check": oracle.check_every(), "max_iterations": oracle.max_iterations}
    match oracle.regularizer:
        case "kl":
            relaxed, symmetric = tau if between == "both" else None, between == "self"
            return solve_entropic(
                cost,
                lam,
                epsilon,
                relaxed,
                anneal=oracle.anneal,
                symmetric=symmetric,
                known=known,
                **limits,
            )
        case "l2":
            return solve_quadratic(cost, lam, epsilon, **limits)


def weighted(terms: list[Term], values: list[Array]) -> Array:
    """Of values (k,) of every term."""
    means = jnp.stack([t.costs.mean(value) for t, value in zip(terms, values, strict=True)])
    return jnp.sum(jnp.asarray([t.weight for t in terms], means.dtype) * means)


def interval(terms: list[Term], solutions: list[Solution]) -> tuple[Array, Array]:
    """Where the loss of exact duals lies: each is between its value, less what rounding may add to
    that, and its value plus its gap.
    """
    lowest = [
        s.value - s.floor if t.weight > 0 else s.value + s.gap
        for t, s in zip(terms, solutions, strict=True)
    ]
    highest = [
        s.value + s.gap if t.weight > 0 else s.value - s.floor
        for t, s in zip(terms, solutions, strict=True)
    ]
    return weighted(terms, lowest), weighted(terms, highest)


def largest(values: list[Array]) -> Array:
    """Of values (k,) of every term."""
    return jnp.max(jnp.concatenate(values))
