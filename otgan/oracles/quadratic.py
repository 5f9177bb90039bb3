"""L2-regularized optimal transport between two uniform clouds, solved by a semi-smooth Newton
method with a certified accuracy.

Sanjabi, Ba, Razaviyayn, Lee (2018), Algorithm 1 with the norm-2 regularizer; the method is that of
Lorenz, Manns, Meyer (2021), "Quadratically regularized optimal transport", with a decreasing
regularizer; the rounding starts from Altschuler, Weed, Rigollet (2017).

    primal   min  mean(w C) + lam/2 mean(w^2)    over w >= 0, means of rows and columns all 1
    dual     max  mean(f) + mean(g) - 1/(2 lam) mean((V)_+^2),       V_ij = f_i + g_j - C_ij
    link     w = (V)_+ / lam,   plan = w / (n m)

The dual is concave; its gradient, 1 - (row means of w) and 1 - (column means of w), is piecewise
linear. On one piece the step to its zero solves

    D_r df + M dg / m   = lam (1 - row means of w)
    M^T df / n + D_c dg = lam (1 - column means of w)

    C         cost                                     M         the active mask V > 0, as numbers
    f, g      potentials of rows and columns           D_r, D_c  its row means and column means
    lam       weight of the regularizer                a, b      what rows and columns lack
    V         excess of the potentials over the cost   s         slope of the dual along a step
    w         density of the plan                      t         length of a step
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from otgan.costs import product
from otgan.oracles.solution import Solution

# at most this factor between the lam of one Newton step and of the next; 4 to 10 cost about the
# same
ANNEALING = 4.0
# of the diagonal: M may fall into blocks whose defects do not balance, and then the bare system has
# no solution
RIDGE = 1e-3
CG_STEPS = 30
CG_TOLERANCE = 0.1  # on the residual; 0.03 to 0.3 cost about the same
# a step is taken if the slope at its end is above minus this share of the slope at its start
OVERSHOOT = 0.3
SHORTENINGS = 8
# proportional fittings before rounding: the gap of a loose solve is 4 to 11 times smaller for them
# (n = 512, 256)
FITTINGS = 10
SETTLINGS = 3  # of rows before a certificate: leave a loose plan a mass of 1 to 1e-2 or better
EXACT, MOST_SETTLINGS = 1e-5, 50  # of rows at the end: relative error, and Newton steps
# certificates that find no smaller gap, before rounding is blamed: with a tiny lam the gap jumps
# about on its way
PATIENCE = 30
TINY = 1e-30  # smaller numbers are flushed to zero by some devices


class Scaled(NamedTuple):
    """The problem in units of its own, so that neither float32's range nor a common offset of the
    costs matters.
    """

    C: Float[Array, "n m"]  # from 0 to at most 2
    lam: Float[Array, ""]
    raised: Float[Array, ""]  # by how much lam is above the one asked for
    low: Float[Array, ""]  # cost = scale * C + low
    scale: Float[Array, ""]


class State(NamedTuple):
    """What the loop carries; f and g in the problem's own units."""

    f: Float[Array, " n"]
    g: Float[Array, " m"]
    # f with rows nearly exact, what is handed over; Newton itself does better to go on from f
    settled: Float[Array, " n"]
    gap: Float[Array, ""]  # of (settled, g), units of the problem
    floor: Float[Array, ""]  # the part of it that rounding makes
    least: Float[Array, ""]  # the smallest gap so far
    waited: Int[Array, ""]  # certificates since then
    iterations: Int[Array, ""]


def _normalize(cost: Array, lam: Array) -> Scaled:
    """Choose units that no finite cost and no lam can push out of range (halves, because max - min
    may overflow).
    """
    low, high, eps = cost.min(), cost.max(), jnp.finfo(cost.dtype).eps
    magnitude = jnp.maximum(jnp.abs(low), jnp.abs(high))
    scale = jnp.maximum(
        jnp.maximum(high / 2 - low / 2, lam / 2), jnp.maximum(magnitude * eps, TINY)
    )
    # below a few units of the last place of the cost a regularizer cannot be told from rounding
    least = jnp.maximum(lam / scale, 8 * eps)
    return Scaled(cost / scale - low / scale, least, least - lam / scale, low, scale)


def _row_means(A: Array, v: Array) -> Array:
    """Means over j of A_ij v_j. Products, because they are the fast way on every device."""
    return product(A, v) / A.shape[1]


def _column_means(A: Array, u: Array) -> Array:
    return product(u, A) / A.shape[0]


def _excess(f: Array, g: Array, C: Array) -> Array:
    return f[:, None] + g[None, :] - C


def _density(f: Array, g: Array, C: Array, lam: Array) -> Array:
    return jnp.maximum(_excess(f, g, C), 0) / lam


def _defects(f: Array, g: Array, C: Array, lam: Array) -> tuple[Array, Array]:
    """The gradient of the dual, n times by f and m times by g: what the density's marginals
    lack.
    """
    w = _density(f, g, C, lam)
    return 1 - _row_means(w, jnp.ones_like(g)), 1 - _column_means(w, jnp.ones_like(f))


def _conjugate_gradients(matrix: Callable[[Array], Array], diagonal: Array, b: Array) -> Array:
    """Solve matrix(x) = b roughly, preconditioned by the diagonal; every iterate from 0 on is a
    direction of ascent.
    """

    def step(state):
        x, residual, p, size, k = state
        image = matrix(p)
        t = size / jnp.maximum(product(p, image), TINY)
        x, residual = x + t * p, residual - t * image
        z = residual / diagonal
        new = product(residual, z)
        return x, residual, z + new / jnp.maximum(size, TINY) * p, new, k + 1

    z = b / diagonal
    first = product(b, z)

    def unfinished(state):
        return (state[3] > CG_TOLERANCE**2 * first) & (state[4] < CG_STEPS)

    return lax.while_loop(unfinished, step, (jnp.zeros_like(b), b, z, first, 0))[0]


def _newton_direction(
    f: Array, g: Array, C: Array, lam: Array, a: Array, b: Array
) -> tuple[Array, Array]:
    """Solve the Newton system for (df, dg); dg is eliminated, which halves the conjugate gradients'
    work.
    """
    n, m = C.shape
    M = (_excess(f, g, C) > 0).astype(C.dtype)
    D_r = (1 + RIDGE) * jnp.maximum(_row_means(M, jnp.ones_like(g)), 1 / m)
    D_c = (1 + RIDGE) * jnp.maximum(_column_means(M, jnp.ones_like(f)), 1 / n)

    def complement(x):
        return D_r * x - _row_means(M, _column_means(M, x) / D_c)

    df = _conjugate_gradients(complement, D_r, lam * (a - _row_means(M, b / D_c)))
    return df, (lam * b - _column_means(M, df)) / D_c


def _wake(f: Array, g: Array, C: Array, lam: Array) -> tuple[Array, Array]:
    """Raise potentials whose row or column has no density, which Newton cannot see, to where it
    appears: an ascent, never too high.

    The best f_i given g is at least min_j (C_ij - g_j) + lam.
    """
    f = jnp.maximum(f, (C - g[None, :]).min(1) + lam)
    return f, jnp.maximum(g, (C - f[:, None]).min(0) + lam)


def _newton_step(f: Array, g: Array, C: Array, lam: Array) -> tuple[Array, Array]:
    """One Newton step, shortened by the secant rule while it overshoots the maximum along its line.

    The slope is compared, not the value, whose changes float32 cannot see near the optimum.
    """
    a, b = _defects(f, g, C, lam)
    df, dg = _newton_direction(f, g, C, lam, a, b)

    def slope(a, b):
        return (a * df).mean() + (b * dg).mean()

    start = slope(a, b)

    def probe(t):
        a, b = _defects(f + t * df, g + t * dg, C, lam)
        return t, slope(a, b), jnp.maximum(a.max(), b.max())

    def shorten(state):
        (t, s, _), k = state
        return probe(t * jnp.clip(start / (start - s), 0.1, 0.9)), k + 1

    def too_far(state):
        return (start > 0) & (state[0][1] < -OVERSHOOT * start) & (state[1] < SHORTENINGS)

    (t, _, worst), _ = lax.while_loop(too_far, shorten, (probe(jnp.ones_like(lam)), 0))
    f, g = f + t * df, g + t * dg
    return lax.cond(worst < 1, lambda: (f, g), lambda: _wake(f, g, C, lam))


def exact_shift(
    V: Float[Array, "n m"], lam: Float[Array, ""], tolerance: float, most: int
) -> Float[Array, " n"]:
    """What to add to each row so that mean_j (V_ij + s_i)_+ = lam, up to a relative error, by at
    most so many Newton steps.

    The function is convex: where the first step leads is above the root, and the others fall to it,
    past a kink or more each.
    """

    def excess(s: Array) -> Array:
        return _row_means(jnp.maximum(V + s[:, None], 0), jnp.ones_like(V[0])) - lam

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        s, h, k = state
        active = _row_means((V + s[:, None] > 0).astype(V.dtype), jnp.ones_like(V[0]))
        s = s - h / jnp.maximum(active, 1 / V.shape[1])
        return s, excess(s), k + 1

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        return ~(jnp.max(jnp.abs(state[1])) <= tolerance * lam) & (state[2] < most)

    seen = jnp.maximum(lam - V.max(1), 0)  # a row without density has no slope to follow
    return lax.while_loop(unfinished, step, (seen, excess(seen), jnp.zeros((), jnp.int32)))[0]


def value_at(
    cost: Float[Array, "n m"], g: Float[Array, " m"], lam: Float[Array, ""]
) -> Float[Array, ""]:
    """The dual value at g and the f that makes the rows exact, in the precision of the cost."""
    g = jnp.asarray(g, cost.dtype)
    f = exact_shift(g[None, :] - cost, lam, 8 * float(jnp.finfo(cost.dtype).eps), MOST_SETTLINGS)
    return f.mean() + g.mean() - lam / 2 * (_density(f, g, cost, lam) ** 2).mean()


def _scalings(w: Array) -> tuple[Array, Array]:
    """Find u, v such that the row means and column means of u_i w_ij v_j are nearly 1, and none is
    above 1.
    """
    most = 1e6  # where the support of w admits no plan the scalings would run away

    def fit(_, scalings):
        _, v = scalings
        u = 1 / jnp.maximum(_row_means(w, v), 1 / most)
        return u, 1 / jnp.maximum(_column_means(w, u), 1 / most)

    n, m = w.shape
    u, v = lax.fori_loop(0, FITTINGS, fit, (jnp.ones(n, w.dtype), jnp.ones(m, w.dtype)))
    u = u / jnp.maximum(u * _row_means(w, v), 1)
    return u, v / jnp.maximum(v * _column_means(w, u), 1)


def _certified_gap(f: Array, g: Array, C: Array, lam: Array) -> tuple[Array, Array]:
    """Primal value of a plan w' with exact marginals minus the dual value at (f, g), as terms that
    are all >= 0; and rounding's part of it.

    The marginals of w' turn mean(f) + mean(g) into mean(w' (V + C)); with V = lam w - (-V)_+ the
    difference of the two values is lam/2 mean((w' - w)^2) + mean(w' (-V)_+): no cancellation. Here
    w' = u w v + rest, and w (-V)_+ = 0.
    """
    w = _density(f, g, C, lam)
    u, v = _scalings(w)
    rows = jnp.maximum(1 - u * _row_means(w, v), 0)
    columns = jnp.maximum(1 - v * _column_means(w, u), 0)
    rest = rows[:, None] * (columns / jnp.maximum(columns.mean(), TINY))[None, :]
    change = (u[:, None] * v[None, :] - 1) * w + rest
    exact = (lam / 2 * change**2 + rest * jnp.maximum(-_excess(f, g, C), 0)).mean()
    # of V; 1: the mean of w C is at most about that of f + g
    blur = jnp.finfo(C.dtype).eps * (jnp.abs(f).mean() + jnp.abs(g).mean() + 1)
    rounding = 4 * blur + 8 * jnp.finfo(C.dtype).eps * lam * (w**2).mean()
    misplaced = jnp.abs(1 - _column_means(w, jnp.ones_like(f))).mean() / 2
    return exact + rounding, rounding + exact * jnp.minimum(
        1.0, blur / jnp.maximum(lam * misplaced, TINY)
    )


def _judged(scaled: Scaled, state: State) -> State:
    """The state with its certificate, at the true lam."""
    C, lam = scaled.C, scaled.lam
    settled = state.f + exact_shift(_excess(state.f, state.g, C), lam, 0.0, SETTLINGS)
    gap, floor = _certified_gap(settled, state.g, C, lam)
    # mean(w^2) is at most that of a plan between points
    raised = scaled.raised / 2 * max(C.shape)
    # rounding of an offset taken off and put on again
    common = 2 * jnp.finfo(C.dtype).eps * jnp.abs(scaled.low) / scaled.scale
    gap, floor = gap + raised + common, floor + raised + common
    waited = jnp.where(gap < state.least, 0, state.waited + 1)
    least = jnp.minimum(gap, state.least)
    return state._replace(settled=settled, gap=gap, floor=floor, least=least, waited=waited)


def _schedule(scaled: Scaled, max_iterations: int) -> tuple[Array, Callable[[Array], Array]]:
    """The number of steps with a lam above the true one, at most half of the budget, and the lam
    after k steps.
    """
    first = jnp.maximum(scaled.lam, scaled.C.mean())
    ratio = scaled.lam / first
    wanted = jnp.ceil(-jnp.log(ratio) / jnp.log(ANNEALING)).astype(jnp.int32)
    steps = jnp.clip(wanted, 1, max(1, max_iterations // 2))
    return steps, lambda k: jnp.where(
        k >= steps, scaled.lam, first * ratio ** (k / steps).astype(ratio.dtype)
    )


def _cold_start(C: Array, lam: Array) -> tuple[Array, Array]:
    """The exact optimum wherever lam is so large that the plan's support is full."""
    return C.mean(1) - C.mean() / 2, C.mean(0) - C.mean() / 2 + lam


def _finish(scaled: Scaled, state: State, epsilon: Array) -> Solution:
    """The solution, its rows made exact: an ascent, so that the certificate holds.

    What rounding leaves of them is divided away.
    """
    C, lam, raised, low, scale = scaled
    f = state.settled + exact_shift(_excess(state.settled, state.g, C), lam, EXACT, MOST_SETTLINGS)
    w = _density(f, state.g, C, lam)
    # the optimum falls with lam by half of mean(w^2)
    value = f.mean() + state.g.mean() - (lam + raised) / 2 * (w**2).mean()
    w = w / jnp.maximum(_row_means(w, jnp.ones_like(state.g)), TINY)[:, None]
    return Solution(
        f=scale * f + low / 2,
        g=scale * state.g + low / 2,
        plan=w / w.size,
        value=scale * value + low,
        gap=scale * state.gap,
        iterations=state.iterations,
        converged=scale * state.gap <= epsilon,
        floor=scale * state.floor,
        misplaced=jnp.abs(1 - _column_means(w, jnp.ones_like(f))).mean() / 2,
    )


def solve_quadratic(
    cost: Float[Array, "n m"],
    lam: Float[Array, ""] | float,
    epsilon: Float[Array, ""] | float,
    *,
    iterations_per_check: int,
    max_iterations: int,
) -> Solution:
    """Maximize the L2-regularized dual of two uniform clouds until its certified gap is at most
    epsilon, or the budget is spent.

    Args:
        cost: any finite costs.
        lam: weight of the regularizer, units of the cost. In float32 one below about 1e-6 of the
            costs' range is solved as that; value and gap are about the lam that was asked for: the
            difference is taken off the value, and the gap takes account of it.
        epsilon: how far below the optimum the dual value may be, units of the cost.
        iterations_per_check: Newton steps between two certificates; 1 to 3 take about as long, for
            a certificate costs about three steps.
        max_iterations: budget of Newton steps, at least 1. Half of it, at most, goes to larger lam,
            where nothing is certified.

    Returns:
        The solution; `iterations` counts Newton steps: three passes over the matrix and about ten
        products with a vector. The gap takes account of rounding; where that makes most of it and
        more than epsilon, the solve gives up before its budget.
    """
    lam, epsilon = jnp.asarray(lam, cost.dtype), jnp.asarray(epsilon, cost.dtype)
    scaled = _normalize(cost, lam)
    annealing, lam_after = _schedule(scaled, max_iterations)

    def step(_, state):
        k = state.iterations + 1
        f, g = _newton_step(state.f, state.g, scaled.C, lam_after(k))
        return state._replace(f=f, g=g, iterations=k)

    def check(state):
        steps = jnp.minimum(iterations_per_check, max_iterations - state.iterations)
        state = lax.fori_loop(0, steps, step, state)
        return lax.cond(
            state.iterations >= annealing,
            lambda state: _judged(scaled, state),
            lambda state: state._replace(settled=state.f),
            state,
        )

    def unfinished(state):
        hopeless = (
            (state.waited >= PATIENCE)
            & (scaled.scale * state.floor > epsilon)
            & (state.gap <= 2 * state.floor)
        )
        reached = (scaled.scale * state.gap <= epsilon) | hopeless
        # an infinite epsilon still waits for the true lam
        uncertain = (state.iterations < annealing) | ~reached
        return uncertain & (state.iterations < max_iterations)

    f, g = _cold_start(scaled.C, lam_after(jnp.asarray(0)))
    nothing, none = jnp.zeros((), cost.dtype), jnp.zeros((), jnp.int32)
    start = State(f, g, f, nothing + jnp.inf, nothing, nothing + jnp.inf, none, none)
    return _finish(scaled, lax.while_loop(unfinished, check, start), epsilon)
