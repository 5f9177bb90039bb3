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

Costs may be held, or made anew in blocks at every look at them: the solver asks `Pairs` for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int
from ott.geometry.geometry import Geometry
from ott.problems.linear.linear_problem import LinearProblem
from ott.solvers.linear.acceleration import Momentum
from ott.solvers.linear.sinkhorn import Sinkhorn, SinkhornState

from otgan.oracles.entropic_certificate import (
    FLOOR,
    Certificate,
    certify,
    no_certificate,
    rounding,
)
from otgan.oracles.pairs import Kernel, Pairs, as_pairs
from otgan.oracles.solution import Solution

# scalings are clipped to e^-23 ... e^23; a further move waits for the next absorption
LOG_SCALING = 23.0
LOG_RANGE = 80.0  # of float32's exponential
PATIENCE = 10  # certificates that find no smaller gap, before rounding is blamed
# share of the rows whose potentials must be known to start from them: few would leave most columns
# empty
ENOUGH = 0.9
# over-relaxation (Thibault, Chizat, Dossal, Papadakis 2021): 2-5 times fewer iterations than plain
# Sinkhorn. It starts at MOMENTUM. After each check that misses epsilon its distance from 2 is
# multiplied by SHRINKING, up to LARGEST; where the dual value falls, its excess over 1 is halved.
# At 1.97 some problems do not converge
MOMENTUM = 1.6
SHRINKING = 0.7
LARGEST = 1.93


class _Look(NamedTuple):
    """Potentials at a lam, and what can be seen of them."""

    f: Float[Array, " n"]  # makes the rows exact
    g: Float[Array, " m"]
    lam: Float[Array, ""]
    kernel: Kernel
    x: Float[Array, " n"]  # diag(x) kernel is the plan at f, g and lam
    value: Float[Array, ""]  # of the dual there
    certificate: Certificate


class _Search(NamedTuple):
    at: _Look
    iterations: Int[Array, ""]
    momentum: Float[Array, ""]  # over-relaxation at the true lam
    least: Float[Array, ""]  # the smallest gap so far
    waited: Int[Array, ""]  # certificates since then


def solve_entropic(
    cost: Float[Array, "n m"] | Pairs,
    lam: Float[Array, ""] | float,
    epsilon: Float[Array, ""] | float,
    tau: Float[Array, ""] | None = None,
    *,
    anneal: float = 8.0,
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
        cost: the cost matrix C, or what answers for it; then the plan is as that has it.
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
    costs = as_pairs(cost)
    lam, epsilon = (
        jnp.maximum(jnp.asarray(lam, costs.dtype), FLOOR),
        jnp.asarray(epsilon, costs.dtype),
    )
    solver = _Solver(
        costs, lam, epsilon, tau, anneal, iterations_per_check, max_iterations, symmetric
    )
    at, iterations, *_ = lax.while_loop(solver.unfinished, solver.advance, solver.start(known))
    gap, floor, misplaced = at.certificate
    plan = costs.plan(at.x, at.kernel)
    return Solution(at.f, at.g, plan, at.value, gap, iterations, gap <= epsilon, floor, misplaced)


@dataclass(frozen=True, eq=False)
class _Solver:
    """One dual and its budget; the arguments of `solve_entropic`."""

    costs: Pairs
    lam: Array
    epsilon: Array
    tau: Array | None
    anneal: float
    iterations_per_check: int
    max_iterations: int
    symmetric: bool

    def start(self, known: Array | None) -> _Search:
        """The search before its first iteration."""
        # a cloud's plan to itself is near the diagonal
        straight = (
            self.symmetric or self.anneal == 1 or self.max_iterations <= self.iterations_per_check
        )
        relaxed = self.tau is not None
        begin = _begin(self.costs, self.lam, self.symmetric, relaxed, straight, known)
        at = self.look(*begin)._replace(certificate=no_certificate(self.costs))
        momentum = jnp.asarray(MOMENTUM, self.costs.dtype) if self.eager else self.calm
        nothing = jnp.zeros((), jnp.int32)
        return _Search(at, nothing, momentum, jnp.full_like(self.lam, jnp.inf), nothing)

    @property
    def eager(self) -> bool:
        """Whether it over-relaxes."""
        return not self.symmetric and self.tau is None

    @property
    def calm(self) -> Array:
        """Momentum without over-relaxation.

        The symmetric fixed point needs the average of old and new.
        """
        return jnp.asarray(0.5 if self.symmetric else 1.0, self.costs.dtype)

    def next_momentum(self, s: _Search, fell: Array) -> Array:
        """Momentum after iterations that did not reach epsilon, or took the value down."""
        calmer = self.calm + (s.momentum - self.calm) / 2
        bolder = 2 - SHRINKING * (2 - s.momentum) if self.eager else s.momentum
        after = jnp.where(fell, calmer, jnp.minimum(bolder, LARGEST))
        return jnp.where(s.at.lam == self.lam, after, s.momentum)

    def look(self, f: Array, g: Array, stage: Array) -> _Look:
        """What can be seen of potentials at a stage's lam, f moved so that the rows are exact."""
        f, kernel, rows = _kernel(self.costs, f, g, stage)
        x = 1 / len(f) / rows
        f = f + stage * jnp.log(x)
        certificate = lax.cond(
            stage > self.lam,
            lambda: no_certificate(self.costs),
            lambda: certify(self.costs, f, g, kernel, x, self.lam, self.tau),
        )
        return _Look(f, g, stage, kernel, x, _dual_value(f, g, self.tau), certificate)

    def unfinished(self, s: _Search) -> Array:
        """Whether more iterations are wanted, and may help."""
        gap, floor, _ = s.at.certificate
        hopeless = (s.waited >= PATIENCE) & (floor > self.epsilon) & (gap <= 2 * floor)
        # not gap > epsilon: a NaN is not done
        return ~(gap <= self.epsilon) & ~hopeless & (s.iterations < self.max_iterations)

    def advance(self, s: _Search) -> _Search:
        """The iterations up to the next absorption, and a look at what they led to."""
        count = jnp.minimum(self.iterations_per_check, self.max_iterations - s.iterations)
        iterations = s.iterations + count
        momentum = jnp.where(s.at.lam > self.lam, self.calm, s.momentum)
        f, g = _iterate(self.costs, s.at, self.tau, momentum, count, self.symmetric)
        sound = jnp.all(jnp.isfinite(f)) & jnp.all(jnp.isfinite(g))
        f, g = jnp.where(sound, f, s.at.f), jnp.where(sound, g, s.at.g)
        stage = self.next_stage(s.at.lam, iterations)
        f, g = lax.cond(
            stage < s.at.lam,
            lambda f, g: _refill(self.costs, s.at, f, g, stage, self.tau),
            lambda f, g: (f, g),
            f,
            g,
        )
        at = self.look(f, g, stage)
        gap = at.certificate.gap
        waited = jnp.where(gap < s.least, 0, s.waited + (stage == self.lam))
        fell = ~(at.value >= s.at.value - rounding(f, g))
        return _Search(
            at, iterations, self.next_momentum(s, fell), jnp.minimum(gap, s.least), waited
        )

    def next_stage(self, lam: Array, iterations: Array) -> Array:
        """Lam after a stage; the true one where these are the last iterations."""
        last = iterations + self.iterations_per_check >= self.max_iterations
        return jnp.where(last, self.lam, jnp.maximum(self.lam, lam / self.anneal))


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
    costs: Pairs, lam: Array, symmetric: bool, relaxed: bool, straight: bool, known: Array | None
) -> tuple[Array, Array, Array]:
    """Potentials to start from, and at which lam: the true one, if `straight`, or where potentials
    are known.
    """
    f, g, spread = _start(costs, symmetric, relaxed)
    cold = f, g, lam if straight else jnp.maximum(lam, spread)
    return cold if known is None else _resume(costs, known, lam, cold)


def _start(costs: Pairs, symmetric: bool, relaxed: bool) -> tuple[Array, Array, Array]:
    """Hard c-transforms, which leave every row of the first kernel an entry of one, and if balanced
    every column; and the costs' spread.

    The potential of a relaxed side starts at zero, where its marginal is the given one.
    """
    zero = jnp.zeros(costs.shape[1], costs.dtype)
    f = costs.least_of_rows(zero)  # of a cloud to itself: about zero
    g = f if symmetric else zero if relaxed else costs.least_of_columns(f)
    return f, g, costs.mean() - jnp.mean(f) - jnp.mean(g)


def _resume(
    costs: Pairs, known: Array, lam: Array, cold: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Potentials and lam to start from where nearly all rows have known ones: the columns' best,
    and hard c-transforms of other rows.
    """
    there = jnp.isfinite(known)
    sums = costs.log_sums(jnp.where(there, known, -jnp.inf), lam)
    g = -lam * (sums - jnp.log(jnp.maximum(jnp.sum(there), 1)))
    f = jnp.where(there, known, costs.least_of_rows(g))
    good = (jnp.mean(there) >= ENOUGH) & jnp.all(jnp.isfinite(g))
    return jnp.where(good, f, cold[0]), jnp.where(good, g, cold[1]), jnp.where(good, lam, cold[2])


def _refill(
    costs: Pairs, at: _Look, f: Array, g: Array, lam: Array, tau: Array | None
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
        * costs.columns(at.x * jnp.exp((f - at.f) / at.lam), at.kernel)
        * len(g)
    )
    emptiest = jnp.min(jnp.log(columns) + (0.0 if tau is None else g / tau))
    # exact rows have entries of at most m
    safe = (power * emptiest > -LOG_SCALING) & (power * jnp.log(len(g)) < LOG_RANGE)

    def refill() -> tuple[Array, Array]:
        hard = costs.least_of_rows(g)
        h = costs.least_of_columns(hard) - lam * jnp.log(len(g))
        return hard, jnp.maximum(g, h if tau is None else h * tau / (tau + lam))

    return lax.cond(safe, lambda: (f, g), refill)


def _iterate(
    costs: Pairs, at: _Look, tau: Array | None, momentum: Array, count: Array, parallel: bool
) -> tuple[Array, Array]:
    """`count` Sinkhorn iterations on the absorbed kernel, each first on g, then on f.

    With g absorbed, the semi-relaxed update is ott's own at the marginal b exp(-g / tau).
    """
    f, g, lam, (n, m) = at.f, at.g, at.lam, costs.shape
    problem = LinearProblem(
        _Absorbed(costs, at.kernel),
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


class _Absorbed(Geometry):
    """A geometry known by its kernel alone. ott's own raises the kernel to a power in every
    product, to serve schedules of lam.

    Masses end at `FLOOR`, as the relaxed marginal does, so that where both have vanished the
    potential rests.
    """

    def __init__(self, costs: Pairs, kernel: Kernel) -> None:
        super().__init__(epsilon=1.0)
        self._costs, self._kernel = costs, kernel

    def apply_kernel(self, vec: Array, eps: Any = None, axis: int = 0) -> Array:
        del eps
        costs, kernel = self._costs, self._kernel
        return jnp.maximum(
            costs.rows(kernel, vec) if axis == 1 else costs.columns(vec, kernel), FLOOR
        )


def _kernel(costs: Pairs, f: Array, g: Array, lam: Array) -> tuple[Array, Kernel, Array]:
    """A kernel that is the plan at (f, g) up to a factor for each row, that f, and the rows' sums.

    Where lam is so small that an exponential cannot hold what rounding makes of (f + g - C) / lam,
    f gives way to the hard c-transform of g, which leaves every row an entry of one. The best f,
    which belongs to g alone, is found as well from there.
    """
    kernel = costs.kernel(f, g, lam)
    rows = costs.rows(kernel, jnp.ones_like(g))

    def from_hard() -> tuple[Array, Kernel, Array]:
        hard = costs.least_of_rows(g)
        kernel = costs.kernel(hard, g, lam, hard=True)
        return hard, kernel, costs.rows(kernel, jnp.ones_like(g))

    return lax.cond(
        jnp.all((rows > FLOOR) & (rows < 1 / FLOOR)), lambda: (f, kernel, rows), from_hard
    )


def _dual_value(f: Array, g: Array, tau: Array | None) -> Array:
    """The dual where the plan has mass one."""
    return jnp.mean(f) + (jnp.mean(g) if tau is None else -tau * jnp.mean(jnp.expm1(-g / tau)))
