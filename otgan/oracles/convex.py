"""W2 through a convex potential: a discriminator, a map, and a composite generator.

Taghvaei and Jalali (2019). With x ~ mu real and y = G(z) ~ nu generated, the cost |x - y|^2 not
halved, and f in a class of convex functions (`otgan.models.convex`),

    J(f) = E|x|^2 + E|y|^2 - 2 (E f(x) + E f*(y)) <= W2^2        their objective, doubled
    dJ = 2 E [df(x^)] - 2 E [df(x)],  x^ = T(y) = grad f*(y)     f's gradient
    d|G(z) - T(G(z))|^2, T fixed                                 the generator's

No derivative passes through the inner problem. The generator's is J's own: the gradient of J in y
is 2 (y - T(y)).

f is kept in its class by projection after every step. Inner problems are solved by
`otgan.oracles.conjugate` to a certified error, and `dual_gap` is that of J: J as reported less
`dual_gap` is at most W2^2 between the same points. It is no distance to the best f.

Potentials live in coordinates of mean 0 and variance 1, (x - center) / scale; what is reported is
in those of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from otgan.batches import BatchSource
from otgan.config import Convex
from otgan.costs import squared_l2
from otgan.data import Form
from otgan.models.convex import Params, Potential, make_potential
from otgan.optim import averaged, descend, descent
from otgan.oracles.bracket import bracket_transport
from otgan.oracles.conjugate import SMALLEST_MODULUS, Conjugate, solve_conjugate
from otgan.oracles.contract import Family, Info, Players, Transported, hold, in_units_of_cost
from otgan.problem import Problem
from otgan.results.quantities import CONVEX

# conjugate error of the map that users see, in potential's units: points are off by thousandths of
# a sd
TRANSPORT_EPSILON = 1e-8
BLOCK = 1_000  # held-out points whose inner problems are solved at once
# held-out points of each side at most in the transport problem between the points themselves
CLOUD = 2_048
# its regularizer, in multiples of the mean cost: its price, lam log n, is about a hundredth of that
# cost
JUDGED_LAM = 2e-3


class State(NamedTuple):
    """What outlives a solve."""

    potential: Params
    average: Params  # exponential moving average: stays in the class, which is a convex set
    moments: Any  # of the ascent
    solves: Int[Array, ""]


class Held(NamedTuple):
    """Latents and where their images should go.

    Leaves have a leading axis of updates, each on the same batch.
    """

    z: Float[Array, "k n ..."]
    target: Float[Array, "k n ..."]  # T(G(z))
    offset: Float[Array, " k"]  # makes the loss J at the point of the solve


class Coordinates(NamedTuple):
    """Between examples and the flat points of mean 0 and variance 1 that potentials see."""

    inward: Callable[[Array], Array]
    outward: Callable[[Array], Array]
    scale: float


def make_coordinates(form: Form) -> Coordinates:
    """The coordinates for data of a form; pictures are flattened only."""
    center = jnp.asarray(form.center, jnp.float32)[None] if form.center else 0.0
    return Coordinates(
        inward=lambda x: (x.reshape(len(x), -1) - center) / form.scale,
        outward=lambda u: (center + form.scale * u).reshape(-1, *form.shape),
        scale=form.scale,
    )


@dataclass(frozen=True, eq=False)
class PotentialSolver:
    """The class of potentials with its settings: everything that knows no generator.

    Works in the potential's coordinates.
    """

    oracle: Convex
    potential: Potential
    scale: float  # of the data, by which reports are multiplied back
    steps: int | Float[Array, ""]  # solves of the whole run, by which the learning rate goes

    def init(self, key: Array) -> State:
        """A potential near |x|^2 / 2, and its average."""
        params = self.potential.project(self.potential.init(key))
        return State(
            params,
            jax.tree.map(jnp.copy, params),
            descent(self.oracle.optimizer).init(params),
            jnp.zeros((), jnp.int32),
        )

    def conjugate(
        self, params: Params, y: Array, start: Array, epsilon: Array | float
    ) -> Conjugate:
        """The inner problems at y, to a mean certified error of `epsilon`."""
        f, modulus = partial(self.potential.value, params), self.potential.modulus(params)
        return solve_conjugate(f, y, start, modulus, epsilon, self.oracle.max_conjugate_iterations)

    def step(
        self, params: Params, moments: Any, solves: Array, x: Array, x_hat: Array
    ) -> tuple[Params, Any]:
        """One projected step up J, at a batch of reals and one of solved inner problems."""
        value, optimizer = self.potential.value, self.oracle.optimizer
        gradient = jax.grad(lambda p: jnp.mean(value(p, x)) - jnp.mean(value(p, x_hat)))(params)
        params, moments = descend(optimizer, gradient, params, moments, solves / self.steps, solves)
        return self.potential.project(params), moments

    def ascend(
        self, state: State, reals: Float[Array, "k n d"], y: Float[Array, "n d"], epsilon: Array
    ) -> tuple[State, Params, Conjugate]:
        """Inner problems and a step for each batch of reals.

        Every search starts where the last ended.

        Returns the state, and the last potential whose inner problems were solved, with their
        solutions.
        """

        def solve_and_step(carry: tuple, x: Array) -> tuple[tuple, None]:
            params, moments, _, last = carry
            inner = self.conjugate(params, y, last.x, epsilon)
            after, moments = self.step(params, moments, state.solves, x, inner.x)
            return (
                after,
                moments,
                params,
                inner._replace(iterations=last.iterations + inner.iterations),
            ), None

        nothing = jnp.zeros_like(y[:, 0])
        unsolved = Conjugate(y, nothing, nothing, nothing, jnp.zeros((), jnp.int32))
        (params, moments, solved, inner), _ = lax.scan(
            solve_and_step, (state.potential, state.moments, state.potential, unsolved), reals
        )
        return (
            State(
                params,
                averaged(state.average, params, state.solves, self.oracle.ema),
                moments,
                state.solves + 1,
            ),
            solved,
            inner,
        )

    def report(
        self, params: Params, inner: Conjugate, x: Array, y: Array, mean_cost: Array
    ) -> Info:
        """J between x and y in units of the data's cost, how exact it is, and whether the potential
        is what it should be.
        """
        at_x, at_y = self.terms(params, inner, x, y)
        convex = self.convex(params)
        scales = in_units_of_cost(mean_cost, epsilon=self.oracle.epsilon)
        bounds, epsilon = 2 * self.scale**2 * inner.bound, scales["epsilon"]
        return {
            "dual_value": self.scale**2 * (jnp.mean(at_x) + jnp.mean(at_y)),
            "dual_gap": jnp.mean(bounds),
            "dual_iterations": inner.iterations,
            "dual_converged": (jnp.mean(bounds) <= epsilon) & convex,
            "convex": convex,
            "strong_convexity": self.potential.modulus(params),
            "conjugate_residual_worst": self.scale * jnp.max(inner.residual),
            "conjugate_converged_share": jnp.mean(bounds <= epsilon),
            **scales,
        }

    def terms(
        self, params: Params, inner: Conjugate, x: Array, y: Array
    ) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
        """J's two means before they are taken; each term is small where f is near |x|^2 / 2."""
        return (
            jnp.sum(x * x, axis=1) - 2 * self.potential.value(params, x),
            jnp.sum(y * y, axis=1) - 2 * inner.value,
        )

    def convex(self, params: Params) -> Array:
        """Whether a potential is what it should be; a NaN is not."""
        return (self.potential.margin(params) >= 0) & (
            self.potential.modulus(params) >= SMALLEST_MODULUS
        )

    def inner_epsilon(self, mean_cost: Array) -> Array:
        """The mean conjugate error, in potential's units, at which J is as exact as asked for: J
        has f* twice.
        """
        return jnp.asarray(self.oracle.epsilon.times(mean_cost)) / (2 * self.scale**2)

    def transport(self, params: Params, y: Float[Array, "n d"]) -> Transported:
        """The map, in the potential's coordinates but for the error.

        With f of modulus m and x* = grad f*(y): m |x - x*|^2 <= <grad f(x) - y, x - x*>, so that |x
        - x*| <= |r(x)| / m.
        """
        inner = self.conjugate(params, y, y, TRANSPORT_EPSILON)
        error = self.scale * inner.residual / self.potential.modulus(params)
        return Transported(inner.x, jnp.where(self.convex(params), error, jnp.inf))

    def judge(
        self, params: Params, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> dict[str, Array]:
        """What a potential says of W2^2 between two distributions, by points that it has not seen.

        And the points' own W2^2.

        At a fixed potential J is a mean over x plus a mean over y: unbiased for a number that is at
        most W2^2 of the distributions. W2^2 of the two clouds of points is at least that in the
        mean, by Jensen's inequality (it is a maximum of such J): no bound from below.
        """
        mean_cost = self.scale**2 * _mean_cost(x, y)
        epsilon = self.inner_epsilon(mean_cost)
        point, value, residual, bound = _by_blocks(
            lambda u: tuple(self.conjugate(params, u, u, epsilon))[:4], y
        )
        inner = Conjugate(point, value, residual, bound, jnp.zeros((), jnp.int32))
        info = self.report(params, inner, x, y, mean_cost)
        at_x, at_y = self.terms(params, inner, x, y)
        error = jnp.sqrt(
            jnp.var(at_x, ddof=1) / len(x) + jnp.var(at_y - 2 * inner.bound, ddof=1) / len(y)
        )
        clouds = bracket_transport(
            squared_l2(_evenly(x), _evenly(y)), JUDGED_LAM, JUDGED_LAM, max_iterations=2_000
        )
        names = (
            "convex",
            "strong_convexity",
            "conjugate_residual_worst",
            "conjugate_converged_share",
        )
        return {
            "potential_w2_squared": info["dual_value"] - info["dual_gap"],
            "potential_w2_squared_standard_error": self.scale**2 * error,
            "clouds_w2_squared_at_least": self.scale**2 * jnp.asarray(clouds.lower),
            "clouds_w2_squared_at_most": self.scale**2 * jnp.asarray(clouds.upper),
            **{name: info[name] for name in names},
        }


def make_convex(oracle: Convex, problem: Problem) -> Family:
    """The family of convex potentials.

    Raises:
        UserError: the class of potentials cannot serve data of this dimension.
    """
    within = make_coordinates(problem.form)
    solver = PotentialSolver(
        oracle, make_potential(oracle, math.prod(problem.form.shape)), within.scale, problem.steps
    )
    dual = ConvexDual(oracle, problem, within, solver)
    return Family(
        init=solver.init,
        solve=dual.solve,
        loss=dual.loss,
        generate=dual.generate,
        gap_kind="residual",
        transport=dual.transport,
        final_metrics=dual.final_metrics,
        quantities=CONVEX,
        reads=dual.reads,
    )


@dataclass(frozen=True, eq=False)
class ConvexDual:
    """A potential between real points and a generator's."""

    oracle: Convex
    problem: Problem
    within: Coordinates
    solver: PotentialSolver

    def solve(
        self, state: State, players: Players, data: BatchSource, key: Array
    ) -> tuple[State, Held, Info]:
        """The potential's steps, all on one batch of generated points, and where the last sends
        them.
        """
        key_z, *keys = jax.random.split(key, self.oracle.dual_steps + 2)
        *reals, x = [self.within.inward(self.problem.draw_reals(data, k)) for k in keys]
        z = self.problem.draw_latents(data, key_z)
        generated = self.problem.generate(players.generator, z)
        y = self.within.inward(generated)
        mean_cost = self.within.scale**2 * _mean_cost(x, y)
        state, potential, inner = self.solver.ascend(
            state, jnp.stack(reals), y, self.solver.inner_epsilon(mean_cost)
        )
        info = self.solver.report(potential, inner, x, y, mean_cost)
        target = self.within.outward(inner.x)
        held = Held(z, target, info["dual_value"] - _mean_squares(generated - target))
        held = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (self.oracle.generator_updates, *leaf.shape)), held
        )
        return state, hold(held), {**info, "examples": (len(keys) + 1) * self.problem.size}

    def reads(self, data: BatchSource, key: Array) -> Int[Array, " k"]:
        """Where the real examples of all batches of a solve stand."""
        keys = jax.random.split(key, self.oracle.dual_steps + 2)[1:]
        return jax.vmap(lambda key: self.problem.draw_places(data, key))(keys).reshape(-1)

    def loss(self, held: Held, players: Players, data: BatchSource) -> Array:
        """The squared distance of generated points to where they should go, and what makes it J."""
        del data
        return (
            _mean_squares(self.problem.generate(players.generator, held.z) - held.target)
            + held.offset
        )

    def transport(self, state: State, y: Float[Array, "n ..."]) -> Transported:
        """The averaged potential's map."""
        found = self.solver.transport(state.average, self.within.inward(y))
        return found._replace(points=self.within.outward(found.points))

    def generate(self, state: State, parameters: Any, z: Array) -> Array:
        """The generator's points, or where the map sends them."""
        y = self.problem.generate(parameters, z)
        return self.transport(state, y).points if self.oracle.composite else y

    def final_metrics(
        self, state: State, players: Players, data: BatchSource, held_out: BatchSource, key: Array
    ) -> dict[str, Array]:
        """What the averaged potential says of points that it has not seen.

        And of a composite generator, how far its samples may be off.
        """
        del data
        z = self.problem.every_latent(held_out, key)
        y = _by_blocks(lambda z: self.within.inward(self.problem.generate(players.generator, z)), z)
        numbers = self.solver.judge(
            state.average, self.within.inward(self.problem.every_real(held_out)), y
        )
        if not self.oracle.composite:
            return numbers
        error = _by_blocks(lambda u: self.solver.transport(state.average, u).error, y)
        return {**numbers, "push_error_mean": jnp.mean(error), "push_error_worst": jnp.max(error)}


def _by_blocks(f: Callable[[Array], Any], rows: Float[Array, "n ..."]) -> Any:
    """Apply to all rows, so many at a time that memory is bounded.

    The last block is filled up from the first rows.
    """
    size = min(BLOCK, len(rows))
    filled = rows[jnp.arange(-(-len(rows) // size) * size) % len(rows)]
    found = lax.map(f, filled.reshape(-1, size, *rows.shape[1:]))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: len(rows)], found)


def _evenly(points: Float[Array, "n d"]) -> Float[Array, "m d"]:
    """`CLOUD` of them at most, evenly spaced: they may be sorted by mode."""
    size = min(CLOUD, len(points))
    return points[np.arange(size) * len(points) // size]


def _mean_cost(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
    """The mean of |x_i - y_j|^2 over all pairs, from moments: in O(n + m)."""
    mean_x, mean_y = jnp.mean(x, axis=0), jnp.mean(y, axis=0)
    spread = jnp.mean(jnp.sum((x - mean_x[None]) ** 2, axis=1)) + jnp.mean(
        jnp.sum((y - mean_y[None]) ** 2, axis=1)
    )
    return spread + jnp.sum((mean_x - mean_y) ** 2)


def _mean_squares(difference: Float[Array, "n ..."]) -> Float[Array, ""]:
    return jnp.mean(jnp.sum(difference.reshape(len(difference), -1) ** 2, axis=1))
