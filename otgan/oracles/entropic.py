"""Entropic optimal transport of a batch, solved by ott-jax until a certified gap is reached.

Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018), the oracle of Algorithms 1 and 2 with the KL regulariser. For uniform clouds,
a_i = 1/n and b_j = 1/m,

    balanced      max_{f,g}  mean f + mean g - lam (mean exp((f_i + g_j - C_ij) / lam) - 1)
    semi-relaxed  max_{f,g}  mean f - tau (mean exp(-g / tau) - 1) - lam (mean exp((f_i + g_j - C_ij) / lam) - 1)

with the plan P_ij = a_i b_j exp((f_i + g_j - C_ij) / lam). The semi-relaxed problem keeps the rows' marginal and lets the columns'
deviate at the price tau KL(P' 1 | b); tau = inf is the balanced one, and the only one in the paper.

| here | ott-jax |
|---|---|
| `lam` | `epsilon` |
| `tau / (tau + lam)` | `tau_b` |
| `exp(f / lam)` relative to the absorbed potential | scaling `u` |

Iterations run on the kernel (two matrix-vector products, no exponentials), which is many times faster than in the log domain but
underflows when potentials are far off. So the potentials are absorbed into the kernel after every few iterations, and lam is lowered
to its target by stages: the density of a nearly feasible plan has an entry of at least one in every row and column, so the next
stage's kernel, a power of it, cannot empty any.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlogy
from jaxtyping import Float, Int
from ott.geometry.geometry import Geometry
from ott.problems.linear.linear_problem import LinearProblem
from ott.solvers.linear.acceleration import Momentum
from ott.solvers.linear.sinkhorn import Sinkhorn, SinkhornState

from otgan.oracles.divergence import generalized_kl
from otgan.oracles.solution import Solution

LOG_SCALING = 23.0  # scalings are clipped to e^-23 ... e^23; a further move waits for the next absorption
FLOOR = 1e-30  # smallest mass that is divided by; XLA:CPU flushes anything below 1e-38 to zero
MOMENTUM = 1.5  # over-relaxation: 2-3 times fewer iterations than plain Sinkhorn, and still safe where 1.7 was not


class _Search(NamedTuple):
    f: Float[Array, " n"]
    g: Float[Array, " m"]
    stage: Float[Array, ""]  # the lam of the present stage
    plan: Float[Array, "n m"]  # at f, g and stage: the kernel with the potentials absorbed
    gap: Float[Array, ""]  # inf before there is one
    iterations: Int[Array, ""]
    momentum: Float[Array, ""]  # over-relaxation of the last stage


def solve_entropic(
    cost: Float[Array, "n m"],
    lam: Float[Array, ""],
    epsilon: Float[Array, ""],
    tau: Float[Array, ""] | None = None,
    *,
    anneal: float = 4.0,
    iterations_per_check: int = 10,
    max_iterations: int = 2_000,
    symmetric: bool = False,
) -> Solution:
    """Potentials whose dual value is certified to be within `epsilon` of the optimum, unless the iterations are used up before.

    Args:
        cost: the cost matrix C.
        lam: weight of the regulariser, units of the cost.
        epsilon: the gap to reach, units of the cost.
        tau: weight of the columns' marginal, units of the cost; None keeps that marginal exactly.
        anneal: the factor by which lam falls from stage to stage, starting at the costs' spread; 1 starts at lam itself.
        iterations_per_check: iterations between two absorptions, and between two certificates.
        max_iterations: in all; the last ones always run at the true lam.
        symmetric: the cost is that of a cloud against itself, so f = g, and averaged updates get there in few iterations.
    """

    def look(f: Array, g: Array, stage: Array, iterations: Array, momentum: Array) -> _Search:
        plan = _plan(cost, f, g, stage)
        gap = jnp.where(stage > lam, jnp.inf, _certificate(cost, f, g, plan, lam, tau))
        return _Search(f, g, stage, plan, gap, iterations, momentum)

    def unfinished(s: _Search) -> Array:
        return ~(s.gap <= epsilon) & (s.iterations < max_iterations)  # not gap > epsilon: a NaN is not done

    def advance(s: _Search) -> _Search:
        count = jnp.minimum(iterations_per_check, max_iterations - s.iterations)
        f, g = _iterate(s, tau, jnp.where(s.stage > lam, calm, s.momentum), count, symmetric)
        sound = jnp.all(jnp.isfinite(f)) & jnp.all(jnp.isfinite(g))
        f, g, momentum = jnp.where(sound, f, s.f), jnp.where(sound, g, s.g), jnp.where(sound, s.momentum, calm)
        iterations = s.iterations + count
        planned = jnp.maximum(lam, s.stage / anneal)
        hurry = (iterations + iterations_per_check >= max_iterations) & (planned > lam)
        f = lax.cond(hurry, lambda: jnp.min(cost - g[None, :], axis=1), lambda: f)  # after a long jump the kernel could overflow
        return look(f, g, jnp.where(hurry, lam, planned), iterations, momentum)

    calm = jnp.asarray(0.5 if symmetric else 1.0, cost.dtype)  # the symmetric fixed point needs the average of old and new
    eager = calm if symmetric or tau is not None else jnp.asarray(MOMENTUM, cost.dtype)
    f, g, spread = _start(cost, symmetric, tau is not None)
    cold = symmetric or anneal == 1 or max_iterations <= iterations_per_check  # a cloud's plan to itself is near the diagonal
    first = jnp.where(cold, lam, jnp.maximum(lam, spread))
    start = _Search(f, g, first, _plan(cost, f, g, first), jnp.full_like(first, jnp.inf), jnp.zeros((), jnp.int32), eager)
    s = lax.while_loop(unfinished, advance, start)
    return Solution(s.f, s.g, s.plan, _dual_value(s.f, s.g, s.plan, lam, tau), s.gap, s.iterations, s.gap <= epsilon)


def _start(cost: Array, symmetric: bool, relaxed: bool) -> tuple[Array, Array, Array]:
    """Hard c-transforms, which leave every row of the first kernel an entry of one, and if balanced every column; and the costs' spread.

    The potential of a relaxed side starts at zero, where its marginal is the given one.
    """
    f = jnp.min(cost, axis=1)  # of a cloud to itself: about zero
    g = f if symmetric else jnp.zeros_like(cost[0]) if relaxed else jnp.min(cost - f[:, None], axis=0)
    return f, g, jnp.mean(cost) - jnp.mean(f) - jnp.mean(g)


def _iterate(s: _Search, tau: Array | None, momentum: Array, count: Array, parallel: bool) -> tuple[Array, Array]:
    """`count` Sinkhorn iterations on the absorbed kernel, each first on g, then on f: without momentum the rows end exact.

    With g absorbed, the semi-relaxed update is ott's own at the marginal b exp(-g / tau).
    """
    f, g, lam, (n, m) = s.f, s.g, s.stage, s.plan.shape
    problem = LinearProblem(
        _Absorbed(kernel_matrix=s.plan, epsilon=1.0),
        a=jnp.full_like(f, 1 / n),
        b=jnp.full_like(g, 1 / m) if tau is None else jnp.maximum(jnp.exp(-g / tau) / m, FLOOR),
        tau_b=1.0 if tau is None else tau / (tau + lam),  # pyright: ignore[reportArgumentType]  # may be traced
    )
    solver = Sinkhorn(lse_mode=False, parallel_dual_updates=parallel, momentum=Momentum(value=momentum))
    state = SinkhornState(potentials=(jnp.ones_like(f), jnp.ones_like(g)))
    state = lax.fori_loop(0, count, lambda i, state: solver.kernel_step(problem, state, i), state)
    log_u, log_v = (jnp.clip(jnp.log(scaling), -LOG_SCALING, LOG_SCALING) for scaling in (state.fu, state.gv))
    f, g = f + lam * log_u, g + lam * log_v
    if tau is not None:  # the best common shift in closed form: left to the iterations it takes tau / lam of them
        shift = -tau * jax.nn.logsumexp(-g / tau, b=1 / m)
        f, g = f + shift, g - shift
    return f, g


@jax.tree_util.register_pytree_node_class
class _Absorbed(Geometry):
    """A geometry known by its kernel alone. ott's own raises the kernel to a power in every product, to serve schedules of lam.

    Masses end at `FLOOR`, as the relaxed marginal does, so that where both have vanished the potential rests.
    """

    def apply_kernel(self, vec: Array, eps: Any = None, axis: int = 0) -> Array:
        del eps
        return jnp.maximum(self.kernel_matrix @ vec if axis == 1 else vec @ self.kernel_matrix, FLOOR)


def _plan(cost: Array, f: Array, g: Array, lam: Array) -> Array:
    return jnp.exp((f[:, None] + g[None, :] - cost) / lam) / cost.size


def _certificate(cost: Array, f: Array, g: Array, plan: Array, lam: Array, tau: Array | None) -> Array:
    """A bound on the distance of the dual value at (f, g) from the optimum: the primal of a feasible plan R less that value.

    With P the plan at (f, g), primal(R) - dual(f, g) = lam KL(R | P) [+ tau KL(R' 1 | b exp(-g / tau)) for a relaxed side], both KL
    generalised. R is P rounded to the marginals.
    """
    if tau is None:
        return lam * _rounding_kl(cost, f, g, plan, lam)
    rows = jnp.sum(plan, 1)
    columns = (1 / len(f) / jnp.maximum(rows, FLOOR)) @ plan
    exact = generalized_kl(jnp.full_like(f, -jnp.log(len(f))), jnp.log(rows))  # infinite where a row is empty
    return lam * exact + tau * generalized_kl(jnp.log(columns), -g / tau - jnp.log(len(g)))


def _rounding_kl(cost: Array, f: Array, g: Array, plan: Array, lam: Array) -> Array:
    """An upper bound on KL(R | P) in a few matrix-vector products, for the R of Altschuler, Weed, Rigollet (2017, Algorithm 2).

    R = (1 - d) Q + d K, where Q is P with rows and columns scaled down to their marginals, d the mass that this takes away, and K the
    product of what each row and column then lacks. KL is convex, so KL(R | P) <= (1 - d) KL(Q | P) + d KL(K | P), and of Q and of K the
    logarithms are sums of a row's and a column's term.
    """
    n, m = plan.shape
    x = jnp.minimum(1.0, 1 / n / jnp.maximum(jnp.sum(plan, 1), FLOOR))
    columns = x @ plan
    y = jnp.minimum(1.0, 1 / m / jnp.maximum(columns, FLOOR))
    rows_q, columns_q = x * (plan @ y), y * columns
    lack_rows, lack_columns = jnp.maximum(1 / n - rows_q, 0.0), jnp.maximum(1 / m - columns_q, 0.0)
    d = jnp.clip(jnp.sum(lack_rows), FLOOR, 1 - 1e-6)
    scaled = rows_q @ jnp.log(x) + columns_q @ jnp.log(y) - (1 - d) * jnp.log1p(-d)
    k_rows, k_columns = lack_rows / d, lack_columns / jnp.maximum(jnp.sum(lack_columns), FLOOR)
    entropy = xlogy(k_rows, k_rows * n).sum() + xlogy(k_columns, k_columns * m).sum()
    reach = (k_rows @ cost @ k_columns - k_rows @ f - k_columns @ g) / lam
    mass = jnp.sum(plan)
    rounding = 8 * jnp.finfo(plan.dtype).eps * (1 + mass + d * jnp.abs(reach))  # of the sum's terms, so that the bound stays one
    return jnp.maximum(scaled + d * (entropy + reach) + mass - 1, 0.0) + rounding


def _dual_value(f: Array, g: Array, plan: Array, lam: Array, tau: Array | None) -> Array:
    columns = jnp.mean(g) if tau is None else -tau * jnp.mean(jnp.expm1(-g / tau))
    return jnp.mean(f) + columns - lam * (jnp.sum(plan) - 1)
