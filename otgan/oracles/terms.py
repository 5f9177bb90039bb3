"""The d that a loss is made of, the transport problems of a batch, and how their duals are solved.

`otgan.oracles.regularized` says what they are, and makes training of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from otgan.config import Regularized
from otgan.costs import GroundCost, Groups
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.pairs import Matrix, Pairs, as_pairs, basis_of, pairs_of
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.solution import Solution
from otgan.problem import Each

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
    a: Groups  # of its n points
    b: Groups  # of its m points
    pull: float  # what its gradient counts for: the weight, unless one of its clouds is held fixed


class Amounts(NamedTuple):
    """What a dual is solved with, in units of the cost."""

    lam: Float[Array, ""]
    epsilon: Float[Array, ""]
    tau: Float[Array, ""] | None = None  # of the generated side of d(x, y)


class Duals(NamedTuple):
    """What came of the t duals of each of k problems; see `Solution`."""

    value: Float[Array, "k t"]
    gap: Float[Array, "k t"]
    floor: Float[Array, "k t"]
    iterations: Int[Array, "k t"]
    converged: Bool[Array, "k t"]
    misplaced: Float[Array, "k t"]


class Solved(NamedTuple):
    """Of k problems, leaves (k, ...)."""

    duals: Duals
    f: Float[Array, "k n"]  # potentials of the rows, of the first term
    pulls: Any  # the gradient of their own losses in the features that move, plans fixed


# --- what a loss is made of -----------------------------------------------------------------------


def terms_of(loss: str, features: BatchFeatures, learned: bool) -> list[Term]:
    """The d that a loss is made of, as at the head of `otgan.oracles.regularized`.

    Of a learned cost d(x, x) moves the encoder, so it is one of them.
    """
    x, y, x2, y2 = features
    match loss:
        case "regot":
            return [_term(1.0, "both", x, y)]
        case "energy":
            (x1, x2), (y1, y2) = _halves(x), _halves(y)
            across = [_term(1.0, "both", a, b) for a in (x1, x2) for b in (y1, y2)]
            return [*across, _term(-2.0, "kind", x1, x2), _term(-2.0, "kind", y1, y2)]
        case "sinkhorn":
            if y2 is None:
                own = [_term(-1.0, "self", y, y), *([_term(-1.0, "self", x, x)] if learned else [])]
            elif x2 is None:
                own = [_term(-1.0, "kind", y, y2)._replace(pull=-2.0)]
            else:
                own = [_term(-1.0, "kind", y, y2), _term(-1.0, "kind", x, x2)]
            return [_term(2.0, "both", x, y), *own]
    raise ValueError(f"no loss is called {loss!r}")


def _term(weight: float, between: Between, a: Groups, b: Groups) -> Term:
    return Term(weight, between, a, b, weight)


def _halves(groups: Groups) -> list[Groups]:
    return list(zip(*(jnp.split(group, 2) for group in groups), strict=True))


def moving(features: BatchFeatures, learned: bool) -> Any:
    """The features that follow a player."""
    return features if learned else features.y


# --- the problems of a batch ----------------------------------------------------------------------


def problems_of(features: BatchFeatures, joint: bool, parts: int = 1) -> list[BatchFeatures]:
    """The transport problems that a batch makes, those of one group together, leaves (p, ...).

    If they are `joint`, that is one on all groups; else one of each group, or of each of a group's
    windows. Of each of the batch's parts there are as many again.
    """
    x, y, x2, y2 = features
    problems = (
        [jax.tree.map(lambda group: group[None], features)]
        if joint
        else [
            BatchFeatures(_one(x, k), _one(y, k), x2 and _one(x2, k), y2 and _one(y2, k))
            for k in range(len(y))
        ]
    )
    return [jax.tree.map(partial(_cut, parts), problem) for problem in problems]


def _one(groups: Groups, k: int) -> Groups:
    return (_windows(groups[k]),)


def _windows(group: Float[Array, "n ..."]) -> Float[Array, "p n ..."]:
    return jnp.moveaxis(group, 1, 0) if group.ndim == 3 else group[None]


def _cut(parts: int, group: Float[Array, "p n ..."]) -> Float[Array, "q k ..."]:
    """Parts first, so that those of a batch that lies along several devices stay where they are."""
    if parts == 1:
        return group
    p, n, *rest = group.shape
    cut = group.reshape(p, parts, n // parts, *rest)
    return jnp.moveaxis(cut, 1, 0).reshape(parts * p, n // parts, *rest)


def _whole(parts: int, group: Float[Array, "q k ..."]) -> Float[Array, "p n ..."]:
    """What `_cut` has cut."""
    if parts == 1:
        return group
    q, k, *rest = group.shape
    cut = group.reshape(parts, q // parts, k, *rest)
    return jnp.moveaxis(cut, 0, 1).reshape(q // parts, parts * k, *rest)


def together(pulls: list[Any], like: Any, joint: bool, parts: int = 1) -> Any:
    """Pulls of the problems of a batch, each for its share, laid out like that batch's features."""
    groups = zip(*(jax.tree.leaves(pull) for pull in pulls), strict=True)
    whole = [
        _whole(parts, pull) * _share(len(pulls), len(pull)) for group in groups for pull in group
    ]
    return jax.tree.map(
        lambda pull, group: jnp.moveaxis(pull, 0, 1) if group.ndim == 3 and not joint else pull[0],
        jax.tree.unflatten(jax.tree.structure(like), whole),
        like,
    )


def shares_of(problems: list[BatchFeatures]) -> Float[np.ndarray, " k"]:
    """What each problem counts for."""
    sizes = [len(stack.y[0]) for stack in problems]
    return np.concatenate([np.full(size, _share(len(sizes), size)) for size in sizes])


def _share(groups: int, size: int) -> float:
    """What a problem counts for: as much as the others of its group, and groups as one another."""
    return 1 / (groups * size)


def mean_cost_of(
    problems: list[BatchFeatures], loss: str, cost: GroundCost, each: Each, rows: int | None
) -> Float[Array, ""]:
    """Of a real and a generated example."""

    def mean(features: BatchFeatures, _: Any) -> Array:
        terms = [t for t in terms_of(loss, features, cost.learned) if t.between == "both"]
        bases = [basis_of(cost, t.a, t.b, rows) for t in terms]
        return jnp.mean(jnp.stack([pairs_of(cost, basis, rows).mean() for basis in bases]))

    return jnp.mean(jnp.stack([jnp.mean(each(mean, stack, ())) for stack in problems]))


# --- their duals ----------------------------------------------------------------------------------


def solve_problems(
    oracle: Regularized,
    cost: GroundCost,
    problems: list[BatchFeatures],
    amounts: Amounts,
    each: Each,
    rows: int | None,
    known: Float[Array, " n"] | None = None,
) -> tuple[Duals, list[Solved]]:
    """The duals of all terms of all k problems; and of each stack of problems all that came of it.

    Args:
        oracle: whose loss, regularizer, cadence and budget they have.
        cost: between what is seen of examples.
        problems: of a batch.
        amounts: of all of them.
        each: how to go through them.
        rows: of the blocks that costs are made in; None holds them.
        known: potentials to start from, for the rows of the term between real and generated points;
            see `solve_entropic`.
    """
    solve = partial(_solve_problem, oracle, cost, rows)
    solved = [each(solve, stack, (amounts, known)) for stack in problems]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *(s.duals for s in solved)), solved


def _solve_problem(
    oracle: Regularized,
    cost: GroundCost,
    rows: int | None,
    features: BatchFeatures,
    given: tuple[Amounts, Array | None],
) -> Solved:
    """One, from its costs to its pulls: then costs and plans are done with."""
    amounts, known = given

    def bases_of(followed: Any) -> list[Any]:
        batch = followed if cost.learned else features._replace(y=followed)
        terms = terms_of(oracle.loss, batch, cost.learned)
        return [basis_of(cost, t.a, t.b, rows, t.between == "self") for t in terms]

    terms = terms_of(oracle.loss, features, cost.learned)
    bases, pulled_by = jax.vjp(bases_of, moving(features, cost.learned))
    costs = [pairs_of(cost, basis, rows) for basis in bases]
    solutions = [
        solve_term(oracle, of_term, amounts, term.between, known)
        for term, of_term in zip(terms, costs, strict=True)
    ]
    (pulls,) = pulled_by(
        [
            of_term.pull(term.pull, solution.plan, alike=term.between == "self")
            for term, of_term, solution in zip(terms, costs, solutions, strict=True)
        ]
    )
    return Solved(_told(solutions), solutions[0].f, pulls)


def _told(solutions: list[Solution]) -> Duals:
    """Of one problem, leaves (t,)."""
    return Duals(*(jnp.stack([getattr(s, name) for s in solutions]) for name in Duals._fields))


def solve_term(
    oracle: Regularized,
    cost: Float[Array, "n m"] | Pairs,
    amounts: Amounts,
    between: Between = "both",
    known: Float[Array, " n"] | None = None,
) -> Solution:
    """One dual as training solves it: by the oracle's regularizer, cadence and budget.

    Where the marginal of the generated side is relaxed, and where potentials are known, that is of
    the term between real and generated points alone.
    """
    lam, epsilon, tau = amounts
    limits = {"iterations_per_check": oracle.check_every(), "max_iterations": oracle.max_iterations}
    match oracle.regularizer:
        case "kl":
            return solve_entropic(
                cost,
                lam,
                epsilon,
                tau if between == "both" else None,
                anneal=oracle.anneal,
                symmetric=between == "self",
                known=known if between == "both" else None,
                **limits,
            )
        case "l2":
            costs = as_pairs(cost)
            assert isinstance(costs, Matrix)  # the config has blocks of kl alone
            return solve_quadratic(costs.entries, lam, epsilon, **limits)


def weighted(
    terms: list[Term], shares: Float[np.ndarray, " k"], values: Float[Array, "k t"]
) -> Float[Array, ""]:
    """Of all duals, as they count in the loss."""
    weights = jnp.asarray([t.weight for t in terms], values.dtype)
    each = jnp.asarray(shares, values.dtype)[:, None] * weights[None]
    return jnp.vdot(each, values, precision=lax.Precision.HIGHEST)


def interval(
    terms: list[Term], shares: Float[np.ndarray, " k"], duals: Duals
) -> tuple[Array, Array]:
    """Where the loss of exact duals lies: each is between its value, less what rounding may add to
    that, and its value plus its gap.
    """
    low, high = duals.value - duals.floor, duals.value + duals.gap
    adds = jnp.asarray([t.weight > 0 for t in terms])[None]
    return (
        weighted(terms, shares, jnp.where(adds, low, high)),
        weighted(terms, shares, jnp.where(adds, high, low)),
    )
