"""Regularized optimal transport between two populations, its dual potentials networks that are
trained as the generator moves.

Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018), Algorithm 1 in practice, and Seguy et al. (ICLR 2018):
stochastic ascent of the dual. With x_i real, y_j = G(z_j), V_ij = f_i + g_j - C_ij, means over a
batch of n and n,

    KL  max  mean f + mean g - lam (mean exp(V / lam) - 1)        density  w = exp(V / lam)
    L2  max  mean f + mean g - mean (V)_+^2 / (2 lam)             density  w = (V)_+ / lam

With bare networks f = phi(x), g = psi(y) the exponential overflows while they are young, and the
density's mass is not 1, as the bound on the gradient's error demands. So the part of g that has a
closed form, or nearly, is always at its optimum:

    psi = "network"     g_j = psi(y_j) + s      s makes the batch's mass 1
    psi = "transform"   g_j = s_j               s_j makes the mass of every generated point 1/n

With KL the first is the Donsker-Varadhan form of the dual. The second is the c-transform of phi
over the batch.

The generator sees the second in either case: f and its transform, an exact ascent in g, so that
every generated point weighs the same.

Accuracy: on a fresh batch, the optimum of the batch's own dual (at most its certified value plus
gap) less the value of phi and its transform there. It is never negative. Over batches it averages
to at least the suboptimality of phi in the mean of such values, because an optimum for each batch
is above that of one phi for all; it does not vanish at the best phi, and falls as the batch grows.

    f, g     potentials at the batch                 C     cost matrix, rows real, columns generated
    lam      weight of the regularizer               w     density of the plan
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from otgan.batches import BatchSource
from otgan.config import Neural
from otgan.models import Network
from otgan.models.potentials import make_potential
from otgan.oracles.ascent import AscentState, ascend, begin_ascent
from otgan.oracles.contract import (
    Family,
    Info,
    Players,
    generator_alone,
    hold,
    in_units_of_cost,
    one_update,
)
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import exact_shift, solve_quadratic
from otgan.problem import Problem
from otgan.results.quantities import NEURAL

# the batch's own dual is solved so many times more closely than epsilon, so that the estimate is of
# the networks
STRICTER = 10.0
FRESH_BATCHES = 4  # a batch of so many times the size judges the potentials of a finished run
NEWTON_STEPS = 30  # at most; each keeps the active pairs that stay active, typically 5 to 10
NEWTON_TOLERANCE = 1e-5  # on the mass


class State(NamedTuple):
    """What outlives a solve."""

    potentials: AscentState  # parameters: (phi,) or (phi, psi)
    # of the networks' outputs: the mean cost of the first batch; 0 before it
    unit: Float[Array, ""]
    gap: Float[Array, ""]  # the last estimate, units of the cost; inf before it


class Held(NamedTuple):
    """A batch and its fixed dual; leaves carry the contract's leading axis, here of one update."""

    x: Array  # (1, n, ...) real examples
    z: Array  # (1, n, latents)
    plan: Array  # (1, n, n)
    # (1,) value - <plan, C>, so that the loss is the dual value at the point of the solve
    offset: Array


def make_neural(oracle: Neural, problem: Problem) -> Family:
    """The family of neural potentials.

    Raises:
        UserError: the potentials cannot read examples of this shape.
    """
    dual = NeuralDual(
        oracle, problem, make_potential(oracle.potential, problem.form, "oracle.potential")
    )
    return Family(
        init=dual.init,
        solve=dual.solve,
        loss=dual.loss,
        generate=generator_alone(problem),
        gap_kind="estimated",
        quantities=NEURAL,
        final_metrics=dual.final_metrics,
        reads=dual.reads,
    )


@dataclass(frozen=True, eq=False)
class NeuralDual:
    """The dual of the populations, by networks."""

    oracle: Neural
    problem: Problem
    potential: Network

    def init(self, key: Array) -> State:
        """Fresh potentials, whose unit is not known yet."""
        keys = jax.random.split(key)[: 2 if self.oracle.psi == "network" else 1]
        state = begin_ascent(self.oracle.optimizer, tuple(self.potential.init(k) for k in keys))
        return State(state, jnp.zeros(()), jnp.full((), jnp.inf))

    def solve(
        self, state: State, players: Players, data: BatchSource, key: Array
    ) -> tuple[State, Held, Info]:
        """Some steps of the potentials, the plan that they make of one more batch, and now and then
        their gap.
        """
        oracle = self.oracle
        key_held_out, *keys = jax.random.split(key, oracle.dual_steps + 2)
        x, z = self.draw(data, keys[0])
        C = self.costs(players, x, z)
        mean_cost = jnp.mean(C)
        lam = jnp.asarray(oracle.lam.times(mean_cost))
        state = state._replace(unit=jnp.where(state.unit > 0, state.unit, mean_cost))
        due = state.potentials.steps % (oracle.dual_steps * oracle.estimate_every) == 0
        state = state._replace(
            potentials=self.ascend(state, players, data, jnp.stack(keys[1:]), lam)
        )
        gap = lax.cond(
            due, lambda: self.estimate(state, players, data, key_held_out), lambda: state.gap
        )
        f, g = self.transformed(state, x, C, lam)
        value, plan = (
            dual_value(f, g, C, lam, oracle.regularizer),
            density(f, g, C, lam, oracle.regularizer) / C.size,
        )
        held = one_update(Held(x, z, plan, value - jnp.sum(plan * C)))
        # not misplaced_mass, which ends runs: young networks send all generated points to few real
        # ones, and learn from it
        info = _info(
            oracle, value, gap, mean_cost, 2 * self.problem.size * (oracle.dual_steps + 1 + due)
        )
        return (
            state._replace(gap=gap),
            held,
            {**info, "uncovered_reals": jnp.sum(jnp.abs(jnp.sum(plan, axis=1) - 1 / len(x))) / 2},
        )

    def loss(self, held: Held, players: Players, data: BatchSource) -> Array:
        """The dual value at the fixed plan."""
        del data
        return jnp.sum(held.plan * self.costs(players, held.x, held.z)) + held.offset

    def final_metrics(
        self, state: State, players: Players, data: BatchSource, held_out: BatchSource, key: Array
    ) -> dict[str, Array]:
        """The gap on a larger batch."""
        del held_out
        return {"estimated_gap": self.estimate(state, players, data, key, FRESH_BATCHES)}

    def ascend(
        self, state: State, players: Players, data: BatchSource, keys: Array, lam: Array
    ) -> AscentState:
        """The potentials' steps."""
        progress = state.potentials.steps / (self.oracle.dual_steps * self.problem.steps)
        objective = partial(self.objective, state.unit, players, data, lam)
        return ascend(self.oracle.optimizer, objective, state.potentials, keys, progress)

    def objective(
        self,
        unit: Array,
        players: Players,
        data: BatchSource,
        lam: Array,
        parameters: tuple,
        key: Array,
    ) -> Array:
        """What the potentials ascend, on the batch that a key draws: the dual, in multiples of
        their unit.
        """
        both, regularizer = self.oracle.psi == "network", self.oracle.regularizer
        x, z = self.draw(data, key)
        y = self.problem.generate(players.generator, z)
        f = unit * self.potential.apply(parameters[0], x)
        g = unit * self.potential.apply(parameters[1], y) if both else jnp.zeros_like(f)
        C = self.problem.cost.matrix(x, y)
        s = best_shift(hold(f), hold(g), C, lam, regularizer, together=both)
        return dual_value(f, g + s, C, lam, regularizer) / unit

    def estimate(
        self, state: State, players: Players, data: BatchSource, key: Array, batches: int = 1
    ) -> Array:
        """The gap on a fresh batch, or on one as large as several."""
        oracle = self.oracle
        x, z = self.draw(data, key, batches)
        C = self.costs(players, x, z)
        lam, epsilon = (
            jnp.asarray(amount.times(jnp.mean(C))) for amount in (oracle.lam, oracle.epsilon)
        )
        value = dual_value(*self.transformed(state, x, C, lam), C, lam, oracle.regularizer)
        return jnp.maximum(_at_least_the_optimum(oracle, C, lam, epsilon) - value, 0.0)

    def transformed(self, state: State, x: Array, C: Array, lam: Array) -> tuple[Array, Array]:
        """The network's potential of the real points, and its transform over the batch."""
        f = state.unit * self.potential.apply(state.potentials.parameters[0], x)
        return f, best_shift(f, jnp.zeros_like(C[0]), C, lam, self.oracle.regularizer)

    def costs(self, players: Players, x: Array, z: Array) -> Float[Array, "n m"]:
        """Between real points and generated ones."""
        return self.problem.cost.matrix(x, self.problem.generate(players.generator, z))

    def draw(self, data: BatchSource, key: Array, batches: int = 1) -> tuple[Array, Array]:
        """Real examples and latents: a batch, or several in one."""
        keys = jax.random.split(key, (batches, 2))
        x = jnp.concatenate([self.problem.draw_reals(data, k) for k in keys[:, 0]])
        z = jnp.concatenate([self.problem.draw_latents(data, k) for k in keys[:, 1]])
        return x, z

    def reads(self, data: BatchSource, key: Array) -> Int[Array, " k"]:
        """Where the real examples of all batches of a solve stand, that of the estimate with
        them.
        """
        keys = jax.random.split(key, self.oracle.dual_steps + 2)
        drawn = jax.vmap(
            lambda key: self.problem.draw_places(data, jax.random.split(key, (1, 2))[0, 0])
        )
        return drawn(keys).reshape(-1)


def dual_value(
    f: Float[Array, " n"],
    g: Float[Array, " m"],
    C: Float[Array, "n m"],
    lam: Float[Array, ""],
    regularizer: str,
) -> Float[Array, ""]:
    """The dual at any potentials, units of the cost."""
    V = f[:, None] + g[None, :] - C
    penalty = (
        lam * (jnp.mean(jnp.exp(V / lam)) - 1)
        if regularizer == "kl"
        else jnp.mean(jnp.maximum(V, 0) ** 2) / (2 * lam)
    )
    return jnp.mean(f) + jnp.mean(g) - penalty


def density(
    f: Float[Array, " n"],
    g: Float[Array, " m"],
    C: Float[Array, "n m"],
    lam: Float[Array, ""],
    regularizer: str,
) -> Float[Array, "n m"]:
    """The density w of the plan that belongs to the potentials, minus the dual value's gradient by
    C times n m.
    """
    V = f[:, None] + g[None, :] - C
    return jnp.exp(V / lam) if regularizer == "kl" else jnp.maximum(V, 0) / lam


def best_shift(
    f: Float[Array, " n"],
    g: Float[Array, " m"],
    C: Float[Array, "n m"],
    lam: Float[Array, ""],
    regularizer: str,
    together: bool = False,
) -> Float[Array, " shifts"]:
    """What to add to g so that the dual is largest: to each entry its own (m), or to all the same
    (1).

    That is where the density's mean is 1: over each column, or over the matrix.
    """
    V = f[:, None] + g[None, :] - C
    V = V.reshape(-1, 1) if together else V
    if regularizer == "kl":
        return -lam * (jax.nn.logsumexp(V / lam, axis=0) - jnp.log(len(V)))
    return exact_shift(V.T, lam, NEWTON_TOLERANCE, NEWTON_STEPS)


def _at_least_the_optimum(oracle: Neural, C: Array, lam: Array, epsilon: Array) -> Array:
    """The optimum of a batch's own dual, or little more: the value that its solver reached, plus
    the certified gap.
    """
    per_check, solve_batch = {"kl": (10, solve_entropic), "l2": (2, solve_quadratic)}[
        oracle.regularizer
    ]
    best = solve_batch(
        C,
        lam,
        epsilon / STRICTER,
        iterations_per_check=per_check,
        max_iterations=oracle.max_iterations,
    )
    return best.value + best.gap


def _info(oracle: Neural, value: Array, gap: Array, mean_cost: Array, examples: Array) -> Info:
    scales = in_units_of_cost(mean_cost, lam=oracle.lam, epsilon=oracle.epsilon)
    return {
        "dual_value": value,
        "dual_gap": gap,
        "dual_iterations": jnp.asarray(oracle.dual_steps),
        "dual_converged": gap <= scales["epsilon"],
        "examples": examples,
        **scales,
    }
