"""How wrong the generator's gradient is when the dual is not exact, beside what the theory allows.

Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018): with a dual that is eps-suboptimal, the gradient sum_ij
P_ij grad c(x_i, G(z_j)) is off by

    |error|  <=  L0 sqrt(2 eps / lam),        L0 = max_ij |grad_theta c(x_i, G_theta(z_j))|

Everything here is of the distance d between one real and one generated batch, whatever loss the run
is made of. What is judged is the solve that trains, in the precision in which it trains; it is
judged in float64, against a dual solved to a far smaller gap than any that is asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float

from otgan.oracles.solution import Solution

PairCost = Callable[[Any, Array, Array], Array]
"""(generator's parameters, one real example, one latent) -> the cost between them."""

Solver = Callable[[Array, float, float], Solution]
"""(costs, lam, epsilon) -> a dual whose certified gap is at most epsilon, unless its budget was
spent before.
"""

Value = Callable[[Array, Array, float], Array]
"""(costs, potential of the columns, lam) -> the dual value there, at the best potential of the
rows.
"""

EXACT = 1e-3  # of the smallest epsilon: the gap of what counts as the true dual
TELLING = 10  # times the truth's own gap, or rounding: a suboptimality above that is one
ROWS = 16  # real examples whose gradients are held at once


class GradientError(NamedTuple):
    """One lam and one epsilon; units of the cost, gradients in those per unit of a parameter."""

    lam: float
    epsilon: float  # asked for
    gap: float  # certified
    # true, to float64's precision: of the columns' potential, with the best of the rows'
    suboptimality: float
    error: float  # of the gradient
    bound: float  # at epsilon
    gradient_norm: float  # of the true gradient
    iterations: int
    truth_gap: float  # certified, of what counts as the true dual
    floor: float  # the part of `gap` that rounding makes
    misplaced: float  # share of the plan's mass that is not where the marginals want it
    converged: bool  # whether the dual came as near as it was asked to
    measured: bool  # whether the true dual is known so closely that the two can be told apart


def gradient_errors(
    costs: Float[Array, "n m"],
    pull: Callable[[Array], Any],
    solve: Solver,
    solve_exactly: Solver,
    value: Value,
    lams: list[float],
    epsilons: list[float],
    constant: float,
) -> list[GradientError]:
    """The gradient's error for every lam and epsilon.

    Args:
        costs: of a batch.
        pull: a plan -> the gradient, in the generator's parameters, of the costs under that plan.
        solve: the oracle that trains.
        solve_exactly: another that solves the same problem, in float64, as closely as it is asked
            to.
        value: of that problem's dual, in float64: the value that a solve in float32 reports is
            rounded more than a good dual is wrong.
        lams: weights of the regularizer, units of the cost.
        epsilons: accuracies, units of the cost.
        constant: L0, see `lipschitz`.
    """
    rows = []
    for lam in lams:
        truth = solve_exactly(costs, lam, EXACT * min(epsilons))
        norm = float(optax.tree.norm(pull(truth.plan)))
        for epsilon in epsilons:
            found = solve(costs, lam, epsilon)
            off = pull(found.plan - truth.plan)
            missing = float(truth.value - value(costs, found.g, lam))
            row = GradientError(
                lam=lam,
                epsilon=epsilon,
                gap=float(found.gap),
                suboptimality=missing,
                error=float(optax.tree.norm(off)),
                bound=constant * (2 * epsilon / lam) ** 0.5,
                gradient_norm=norm,
                iterations=int(found.iterations),
                truth_gap=float(truth.gap),
                floor=float(found.floor),
                misplaced=float(found.misplaced),
                converged=bool(found.converged),
                measured=bool(truth.converged) or missing > TELLING * float(truth.gap),
            )
            rows.append(row)
    return rows


def lipschitz(
    pair: PairCost, parameters: Any, x: Float[Array, "n ..."], z: Float[Array, "m ..."]
) -> float:
    """L0: the largest norm of a pair's gradient, over all pairs of the batch.

    The theory's is over all points and parameters.
    """
    norm = lambda x_i, z_j: optax.tree.norm(jax.grad(pair)(parameters, x_i, z_j))  # noqa: E731

    def of_latent(z_j: Array) -> Array:
        return jnp.max(lax.map(lambda x_i: norm(x_i, z_j), x, batch_size=ROWS))

    return float(jnp.max(jax.jit(lambda z: lax.map(of_latent, z))(z)))


def slope(errors: list[GradientError]) -> float | None:
    """Of log error against log of the true suboptimality, by least squares.

    None where fewer than two points tell.

    The theory's bound has slope one half, so towards zero the error falls at least as fast. Points
    within ten times the truth's own gap or their own rounding tell nothing, and a dual that did not
    come as near as it was asked to tells as much as another; two epsilons that end at the same
    iterate are one point.
    """
    telling = [
        e
        for e in errors
        if e.measured and e.error > 0 and e.suboptimality > TELLING * max(e.truth_gap, e.floor)
    ]
    points = {(e.suboptimality, e.error) for e in telling}
    if len(points) < 2:
        return None
    log = jnp.log(jnp.asarray(sorted(points)))
    return float(jnp.polyfit(log[:, 0], log[:, 1], 1)[0])
