"""Entropic optimal transport of a batch, solved by ott-jax until a certified gap is reached.

Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018), the oracle of Algorithms 1 and 2 with the KL
regularizer. For uniform clouds, a_i = 1/n and b_j = 1/m,

    w_ij = exp((f_i + g_j - C_ij) / lam)
    balanced      max_{f,g}  mean f + mean g - lam (mean w - 1)
    semi-relaxed  max_{f,g}  mean f - tau (mean exp(-g / tau) - 1) - lam (mean w - 1)

with the plan P_ij = a_i b_j w_ij. The semi-relaxed problem keeps the rows'
marginal and lets the columns' deviate at the price tau KL(P' 1 | b); tau = inf is the balanced one,
and the only one in the paper.

| here | ott-jax |
|---|---|
| `lam` | `epsilon` |
| `tau / (tau + lam)` | `tau_b` |
| `exp(f / lam)` relative to the absorbed potential | scaling `u` |

Iterations run on the kernel (two matrix-vector products, no exponentials), which is many times
faster than in the log domain but underflows when potentials are far off. So the potentials are
absorbed into the kernel after every few iterations, and lam is lowered to its target by stages.
That takes the density to a power, of which rows and columns of a nearly feasible plan keep enough;
where they would not, potentials start again from hard c-transforms.

What is handed over has exact rows, so mass one: then the value lies at least lam KL(P* | P) below
the optimum, and P is off by at most sqrt(2 gap / lam) in the sum of absolute differences (Pinsker).
A plan of another mass breaks that bound, for a mass M costs the dual no more than lam (M - 1 - log
M).
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

from otgan.costs import product
from otgan.oracles.divergence import generalized_kl
from otgan.oracles.solution import Solution

# scalings are clipped to e^-23 ... e^23; a further move waits for the next absorption
LOG_SCALING = 23.0
FLOOR = 1e-30  # smallest mass that is divided by; XLA:CPU flushes anything below 1e-38 to zero
LOG_RANGE = 80.0  # of float32's exponential
PATIENCE = 10  # certificates that find no smaller gap, before rounding is blamed
# share of the rows whose potentials must be known to start from them: few would leave most columns
# empty
ENOUGH = 0.9
# over-relaxation: 2-3 times fewer iterations than plain Sinkhorn; where the value falls, its excess
# over 1 is halved
MOMENTUM = 1.5


class _Certificate(NamedTuple):
    gap: Float[Array, ""]  # inf where there is none yet
    floor: Float[Array, ""]  # the part of it that rounding alone makes
    misplaced: Float[Array, ""]  # share of the mass that the columns' sums have in the wrong place


class _Look(NamedTuple):
    """Potentials at a lam, and what can be seen of them."""

    f: Float[Array, " n"]  # makes the rows exact
    g: Float[Array, " m"]
    lam: Float[Array, ""]
    kernel: Float[Array, "n m"]
    x: Float[Array, " n"]  # diag(x) kernel is the plan at f, g and lam
    value: Float[Array, ""]  # of the dual there
    certificate: _Certificate


class _Search(NamedTuple):
    at: _Look
    iterations: Int[Array, ""]
    momentum: Float[Array, ""]  # over-relaxation at the true lam
    least: Float[Array, ""]  # the smallest gap so far
    waited: Int[Array, ""]  # certificates since then


def solve_entropic(
    cost: Float[Array, "n m"],
    lam: Float[Array, ""] | float,
    epsilon: Float[Array, ""] | float,
    tau: Float[Array, ""] | None = None,
    *,
    anneal: float = 4.0,
    iterations_per_check: int = 10,
    max_iterations: int = 2_000,
    symmetric: bool = False,
    known: Float[Array, " n"] | None = None,
) -> Solution:
    """Potentials whose dual value is certified to be within `epsilon` of the optimum, unless the
    iterations are used up before.

    It gives up earlier where the gap stays where it is, and rounding makes most of it and more than
    `epsilon`: no iteration would help.

    Args:
        cost: the cost matrix C.
        lam: weight of the regularizer, units of the cost; below 1e-30 it counts as that.
        epsilon: the gap to reach, units of the cost.
        tau: weight of the columns' marginal, units of the cost; None keeps that marginal exactly.
        anneal: the factor by which lam falls from stage to stage, starting at the costs' spread; 1
            starts at lam itself.
        iterations_per_check: iterations between two absorptions, and between two certificates.
        max_iterations: in all; the last ones always run at the true lam.
        symmetric: the cost is that of a cloud against itself, so f = g up to the last update of f,
            and averaged updates get there in few iterations.
        known: potentials of the rows from an earlier problem, to start from at the true lam; NaN
            where a row has none. Any do: what they are worth shows in the certificate. Where too
            many are lacking it starts as without any.
    """
    lam, epsilon = (
        jnp.maximum(jnp.asarray(lam, cost.dtype), FLOOR),
        jnp.asarray(epsilon, cost.dtype),
    )

    def look(f: Array, g: Array, stage: Array) -> _Look:
        f, kernel, rows = _kernel(cost, f, g, stage)
        x = 1 / len(f) / rows
        f = f + stage * jnp.log(x)
        certificate = lax.cond(
            stage > lam, _no_certificate, _certify, cost, f, g, kernel, x, lam, tau
        )
        return _Look(f, g, stage, kernel, x, _dual_value(f, g, tau), certificate)

    def unfinished(s: _Search) -> Array:
        gap, floor, _ = s.at.certificate
        hopeless = (s.waited >= PATIENCE) & (floor > epsilon) & (gap <= 2 * floor)
        # not gap > epsilon: a NaN is not done
        return ~(gap <= epsilon) & ~hopeless & (s.iterations < max_iterations)

    def advance(s: _Search) -> _Search:
        count = jnp.minimum(iterations_per_check, max_iterations - s.iterations)
        iterations = s.iterations + count
        f, g = _iterate(s.at, tau, jnp.where(s.at.lam > lam, calm, s.momentum), count, symmetric)
        sound = jnp.all(jnp.isfinite(f)) & jnp.all(jnp.isfinite(g))
        f, g = jnp.where(sound, f, s.at.f), jnp.where(sound, g, s.at.g)
        last = iterations + iterations_per_check >= max_iterations
        stage = jnp.where(last, lam, jnp.maximum(lam, s.at.lam / anneal))
        f, g = lax.cond(
            stage < s.at.lam,
            _refill,
            lambda cost, at, f, g, *_: (f, g),
            cost,
            s.at,
            f,
            g,
            stage,
            tau,
        )
        at = look(f, g, stage)
        gap, fell = (
            at.certificate.gap,
            ~(at.value >= s.at.value - _rounding(f, g)) & (s.at.lam == lam),
        )
        momentum = jnp.where(fell, calm + (s.momentum - calm) / 2, s.momentum)
        waited = jnp.where(gap < s.least, 0, s.waited + (stage == lam))
        return _Search(at, iterations, momentum, jnp.minimum(gap, s.least), waited)

    # the symmetric fixed point needs the average of old and new
    calm = jnp.asarray(0.5 if symmetric else 1.0, cost.dtype)
    eager = calm if symmetric or tau is not None else jnp.asarray(MOMENTUM, cost.dtype)
    # a cloud's plan to itself is near the diagonal
    straight = symmetric or anneal == 1 or max_iterations <= iterations_per_check
    start = look(*_begin(cost, lam, symmetric, tau is not None, straight, known))._replace(
        certificate=_no_certificate(cost)
    )
    nothing = jnp.zeros((), jnp.int32)
    at, iterations, *_ = lax.while_loop(
        unfinished, advance, _Search(start, nothing, eager, jnp.full_like(lam, jnp.inf), nothing)
    )
    gap, floor, misplaced = at.certificate
    return Solution(
        at.f,
        at.g,
        at.x[:, None] * at.kernel,
        at.value,
        gap,
        iterations,
        gap <= epsilon,
        floor,
        misplaced,
    )


def value_at(
    cost: Float[Array, "n m"],
    g: Float[Array, " m"],
    lam: Float[Array, ""],
    tau: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """The dual value at g and the f that makes the rows exact, in the precision of the cost."""
    g = jnp.asarray(g, cost.dtype)
    f = -lam * jax.nn.logsumexp((g[None, :] - cost) / lam, axis=1, b=1 / len(g))
    return _dual_value(f, g, tau)


def _begin(
    cost: Array, lam: Array, symmetric: bool, relaxed: bool, straight: bool, known: Array | None
) -> tuple[Array, Array, Array]:
    """Potentials to start from, and at which lam: the true one, if `straight`, or where potentials
    are known.
    """
    f, g, spread = _start(cost, symmetric, relaxed)
    cold = f, g, lam if straight else jnp.maximum(lam, spread)
    return cold if known is None else _resume(cost, known, lam, cold)


def _start(cost: Array, symmetric: bool, relaxed: bool) -> tuple[Array, Array, Array]:
    """Hard c-transforms, which leave every row of the first kernel an entry of one, and if balanced
    every column; and the costs' spread.

    The potential of a relaxed side starts at zero, where its marginal is the given one.
    """
    f = jnp.min(cost, axis=1)  # of a cloud to itself: about zero
    g = (
        f
        if symmetric
        else jnp.zeros_like(cost[0])
        if relaxed
        else jnp.min(cost - f[:, None], axis=0)
    )
    return f, g, jnp.mean(cost) - jnp.mean(f) - jnp.mean(g)


def _resume(
    cost: Array, known: Array, lam: Array, cold: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Potentials and lam to start from where nearly all rows have known ones: the columns' best,
    and hard c-transforms of other rows.
    """
    there = jnp.isfinite(known)
    exponents = jnp.where(
        there[:, None], (jnp.where(there, known, 0.0)[:, None] - cost) / lam, -jnp.inf
    )
    g = -lam * (jax.nn.logsumexp(exponents, axis=0) - jnp.log(jnp.maximum(jnp.sum(there), 1)))
    f = jnp.where(there, known, jnp.min(cost - g[None, :], axis=1))
    good = (jnp.mean(there) >= ENOUGH) & jnp.all(jnp.isfinite(g))
    return jnp.where(good, f, cold[0]), jnp.where(good, g, cold[1]), jnp.where(good, lam, cold[2])


def _refill(
    cost: Array, at: _Look, f: Array, g: Array, lam: Array, tau: Array | None
) -> tuple[Array, Array]:
    """Potentials to go on from at a lower lam, after iterations have led to (f, g): no row or
    column of theirs is empty.

    f is determined by g, so its hard c-transform loses nothing. It is below the best f by at most
    lam log m, and the best g is never below its own hard transform (of a relaxed side tau / (tau +
    lam) times it), so raising g to that climbs.
    """
    power = at.lam / lam
    columns = (
        jnp.exp((g - at.g) / at.lam)
        * product(at.x * jnp.exp((f - at.f) / at.lam), at.kernel)
        * len(g)
    )
    emptiest = jnp.min(jnp.log(columns) + (0.0 if tau is None else g / tau))
    # exact rows have entries of at most m
    safe = (power * emptiest > -LOG_SCALING) & (power * jnp.log(len(g)) < LOG_RANGE)

    def refill() -> tuple[Array, Array]:
        hard = jnp.min(cost - g[None, :], axis=1)
        h = jnp.min(cost - hard[:, None], axis=0) - lam * jnp.log(len(g))
        return hard, jnp.maximum(g, h if tau is None else h * tau / (tau + lam))

    return lax.cond(safe, lambda: (f, g), refill)


def _iterate(
    at: _Look, tau: Array | None, momentum: Array, count: Array, parallel: bool
) -> tuple[Array, Array]:
    """`count` Sinkhorn iterations on the absorbed kernel, each first on g, then on f.

    With g absorbed, the semi-relaxed update is ott's own at the marginal b exp(-g / tau).
    """
    f, g, lam, (n, m) = at.f, at.g, at.lam, at.kernel.shape
    problem = LinearProblem(
        _Absorbed(kernel_matrix=at.kernel, epsilon=1.0),
        a=jnp.full_like(f, 1 / n),
        b=jnp.full_like(g, 1 / m) if tau is None else jnp.maximum(jnp.exp(-g / tau) / m, FLOOR),
        tau_b=(1.0 if tau is None else tau / (tau + lam)),  # pyright: ignore[reportArgumentType]  # may be traced
    )
    solver = Sinkhorn(
        lse_mode=False, parallel_dual_updates=parallel, momentum=Momentum(value=momentum)
    )
    # parallel: f = g, not exact rows
    state = SinkhornState(potentials=(jnp.ones_like(f) if parallel else at.x, jnp.ones_like(g)))
    state = lax.fori_loop(0, count, lambda i, state: solver.kernel_step(problem, state, i), state)
    log_u, log_v = (
        jnp.clip(jnp.log(scaling), -LOG_SCALING, LOG_SCALING)
        for scaling in (state.fu / at.x, state.gv)
    )
    f, g = f + lam * log_u, g + lam * log_v
    # the best common shift in closed form: left to the iterations it takes tau / lam of them
    if tau is not None:
        shift = -tau * jax.nn.logsumexp(-g / tau, b=1 / m)
        f, g = f + shift, g - shift
    return f, g


@jax.tree_util.register_pytree_node_class
class _Absorbed(Geometry):
    """A geometry known by its kernel alone. ott's own raises the kernel to a power in every
    product, to serve schedules of lam.

    Masses end at `FLOOR`, as the relaxed marginal does, so that where both have vanished the
    potential rests.
    """

    def apply_kernel(self, vec: Array, eps: Any = None, axis: int = 0) -> Array:
        del eps
        return jnp.maximum(
            product(self.kernel_matrix, vec) if axis == 1 else product(vec, self.kernel_matrix),
            FLOOR,
        )


def _kernel(cost: Array, f: Array, g: Array, lam: Array) -> tuple[Array, Array, Array]:
    """A kernel that is the plan at (f, g) up to a factor for each row, that f, and the rows' sums.

    Where lam is so small that an exponential cannot hold what rounding makes of (f + g - C) / lam,
    f gives way to the hard c-transform of g, which leaves every row an entry of one. The best f,
    which belongs to g alone, is found as well from there.
    """
    kernel = jnp.exp((f[:, None] + g[None, :] - cost) / lam) / cost.size
    rows = product(kernel, jnp.ones_like(g))

    def from_hard() -> tuple[Array, Array, Array]:
        above = cost - g[None, :]
        hard = jnp.min(above, axis=1)
        kernel = jnp.exp((hard[:, None] - above) / lam) / cost.size
        return hard, kernel, product(kernel, jnp.ones_like(g))

    return lax.cond(
        jnp.all((rows > FLOOR) & (rows < 1 / FLOOR)), lambda: (f, kernel, rows), from_hard
    )


def _dual_value(f: Array, g: Array, tau: Array | None) -> Array:
    """The dual where the plan has mass one."""
    return jnp.mean(f) + (jnp.mean(g) if tau is None else -tau * jnp.mean(jnp.expm1(-g / tau)))


def _no_certificate(cost: Array, *_: Any) -> _Certificate:
    zero = jnp.zeros((), cost.dtype)
    return _Certificate(zero + jnp.inf, zero, zero + 1)


def _certify(
    cost: Array, f: Array, g: Array, kernel: Array, x: Array, lam: Array, tau: Array | None
) -> _Certificate:
    """A bound on the distance of the dual value at (f, g) from the optimum: the primal of a
    feasible plan R less that value.

    With P = diag(x) kernel the plan at (f, g), of exact rows, primal(R) - dual(f, g) = lam KL(R |
    P), for R is P rounded to the marginals. Of a relaxed side P is feasible itself, and the
    difference is tau KL(P' 1 | b exp(-g / tau)), generalized.
    """
    columns, asked = (
        product(x, kernel),
        jnp.full_like(g, 1 / len(g)) if tau is None else jnp.exp(-g / tau) / len(g),
    )
    misplaced = jnp.sum(jnp.abs(columns - asked)) / 2
    if tau is None:
        exact, rounding = _rounding_kl(cost, f, g, kernel, x, columns, lam)
    else:
        exact = tau * generalized_kl(jnp.log(columns), -g / tau - jnp.log(len(g)))
        rounding = 8 * jnp.finfo(g.dtype).eps * (exact + tau * misplaced)
    rounding += _rounding_of_potentials(f, g, columns, asked, lam)
    # how much of the misplacing rounding explains
    blurred = jnp.minimum(1.0, _rounding(f, g) / lam / jnp.maximum(misplaced, FLOOR))
    return _Certificate(exact + rounding, blurred * exact + rounding, misplaced)


def _rounding_kl(
    cost: Array, f: Array, g: Array, kernel: Array, x: Array, columns: Array, lam: Array
) -> tuple[Array, Array]:
    """An upper bound on lam KL(R | P) in a few matrix-vector products, for the R of Altschuler,
    Weed, Rigollet (2017, Algorithm 2).

    R = (1 - d) Q + d K, where Q is P with columns scaled down to their marginal, d the mass that
    this takes away, and K the product of what each row and column then lacks. KL is convex, so KL(R
    | P) <= (1 - d) KL(Q | P) + d KL(K | P), and of Q and of K the logarithms are sums of a row's
    and a column's term. The second number is what rounding may have taken from the first.
    """
    n, m = kernel.shape
    y = jnp.minimum(1.0, 1 / m / jnp.maximum(columns, FLOOR))
    rows_q, columns_q = x * product(kernel, y), y * columns
    lack_rows, lack_columns = jnp.maximum(1 / n - rows_q, 0.0), jnp.maximum(1 / m - columns_q, 0.0)
    d = jnp.clip(jnp.sum(lack_rows), FLOOR, 1 - 1e-6)
    scaled = product(columns_q, jnp.log(y)) - (1 - d) * jnp.log1p(-d)
    k_rows, k_columns = lack_rows / d, lack_columns / jnp.maximum(jnp.sum(lack_columns), FLOOR)
    entropy = xlogy(k_rows, k_rows * n).sum() + xlogy(k_columns, k_columns * m).sum()
    between, potentials = (
        product(product(k_rows, cost), k_columns),
        product(k_rows, f) + product(k_columns, g),
    )
    eps = jnp.finfo(cost.dtype).eps
    rounding = 8 * eps * (lam + d * (jnp.abs(between) + jnp.abs(potentials)))
    return jnp.maximum(lam * (scaled + d * entropy) + d * (between - potentials), 0.0), rounding


def _rounding_of_potentials(f: Array, g: Array, columns: Array, asked: Array, lam: Array) -> Array:
    """What rounding f, g and f + g - C may cost the dual value, units of the cost: in the mean of
    it, and of the mass that it makes.

    Each exponent is off by at most eps (|f_i| + |g_j|) / lam, so by the inequality of Cauchy and
    Schwarz the mass grows at most by the root of the product of the means of exp(2 eps |f_i| / lam)
    and exp(2 eps |g_j| / lam). Where that is too much for an exponential, as it is at a tiny lam,
    another bound stays: a row's best potential is off by at most eps (|f_i| + max |g|), and the
    value by its mean.
    """
    eps = jnp.finfo(f.dtype).eps
    of_f, of_g = eps * jnp.abs(f), eps * jnp.abs(g)
    grown = jnp.log1p(jnp.mean(jnp.expm1(2 * of_f / lam))) + jnp.log1p(
        product(columns, jnp.expm1(2 * of_g / lam))
    )
    of_mass, most = lam * jnp.expm1(grown / 2), jnp.mean(of_f) + jnp.max(of_g)
    # not a minimum: 0 exp(inf) is no number
    return jnp.where(of_mass < most, of_mass, most) + jnp.mean(of_f) + product(asked, of_g)


def _rounding(f: Array, g: Array) -> Array:
    """Of a mean of potentials, about."""
    return jnp.finfo(f.dtype).eps * (jnp.mean(jnp.abs(f)) + jnp.mean(jnp.abs(g)))
