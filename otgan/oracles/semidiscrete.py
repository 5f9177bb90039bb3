"""OTS and FIT: semi-discrete transport of the generator's mass to the training points, then
regression on where it goes.

Chen, Telgarsky, Zhang, Bailey, Hsu, Peng (ICML 2019). In rounds:

    OTS   psi ascends V(psi) = E_z min_i (c(G(z), y_i) + psi_i) - mean psi
    FIT   theta descends E_z r(T(G_old(z)), G_theta(z))

The first goes on until the mass is spread evenly over the y_i, the second over the last assignments
T(G_old(z)) = y_i*, with r the cost c or another (the authors' hybrid: assigned by squared_l2,
regressed by l1). What OTS leaves behind is a ring of its last batches: each one's key, from which
the latents are drawn again, and the indices of the points it was assigned to. Every batch was
assigned by the potentials of its own time. That is as it must be: the potentials that balance a
window as it moves do not balance fresh mass alone.

A solve is a chunk of OTS steps, and `ready` at the end of a round. Its numbers are of the memory:
`dual_gap` is the chi-square of the masses of points, or of the histogram's bins, net of the noise
of counting. Bins are of consecutive points: neighborhoods, where `batch.draw` is "stratified", and
mixtures of everything where the data are shuffled. `dual_value` is V on the chunk's own batches,
each fresh to the potentials that met it; `plan_cost` is what their assignment costs. Were the
assignment balanced exactly, the optimum would lie between the two.

A point without mass adds 1/N to the chi-square however far away it is. Where few points carry most
of the cost, as of heavy tails, the mass can lie evenly and V be far too low: their potentials have
not had the time to fall as far as they must. So a run's summary says by how much V rises at once if
those of the points without mass fall until the first fresh point goes there (`missed_value`). How
far they fall is seen on one set of fresh points, what it brings on another: on its own set every
fall brings something, be it only that the set is small. Until a round has filled the memory, points
without mass are those whose turn has not come, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int, UInt

from otgan.batches import BatchSource, as_floats
from otgan.config import Semidiscrete
from otgan.optim import descent
from otgan.oracles.contract import Family, Info, Players, generator_alone, hold
from otgan.oracles.ots import (
    Ascent,
    Memory,
    Semidual,
    State,
    fixed_offset,
    round_ends,
    semidual_at,
    unevenness,
)
from otgan.oracles.semidual import MassBalance, Targets, assign, hits, mass_balance, shortfall
from otgan.problem import Problem
from otgan.results.quantities import SEMIDISCRETE

FRESH_POINTS = 4_096  # fresh points in the numbers of a run's summary
TINY = 1e-30


class Held(NamedTuple):
    """FIT's batches, with the contract's leading axis of updates."""

    keys: UInt[Array, "updates words"]
    part: Int[Array, " updates"]  # of the OTS batch that its key draws
    index: Int[Array, "updates batch"]


def make_semidiscrete(oracle: Semidiscrete, problem: Problem) -> Family:
    """The family of OTS and FIT."""
    dual = SemidiscreteDual(oracle, problem)
    return Family(
        init=dual.init,
        solve=dual.solve,
        loss=dual.loss,
        generate=generator_alone(problem),
        gap_kind="residual",
        always_ready=False,
        quantities=SEMIDISCRETE,
        highlighted=lambda state: {"without-mass": dual.without_mass(state)},
        final_metrics=dual.final_metrics,
    )


@dataclass(frozen=True, eq=False)
class SemidiscreteDual:
    """Potentials of the training points, and regression on what they assign."""

    oracle: Semidiscrete
    problem: Problem

    def init(self, key: Array) -> State:
        """Potentials of zero, and an empty memory."""
        del key
        oracle, psi = self.oracle, jnp.zeros(self.problem.form.size)
        words = jax.random.key_data(jax.random.key(0)).shape
        memory = Memory(
            jnp.zeros((oracle.memory, *words), jnp.uint32),
            jnp.full((oracle.memory, oracle.ots_batch), -1, jnp.int32),
        )
        moments = descent(oracle.optimizer).init(psi) if oracle.schedule == "adam" else ()
        return State(psi, moments, memory, *(jnp.zeros((), jnp.int32) for _ in range(3)))

    def solve(
        self, state: State, players: Players, data: BatchSource, key: Array
    ) -> tuple[State, Held, Info]:
        """A chunk of OTS."""
        key_scale, key_chunk, key_fit = jax.random.split(key, 3)
        mean_cost = self.mean_cost(players, data, key_scale)
        ascent = Ascent(
            self.oracle, self.problem.cost.name, self.problem.steps, self.targets(data), mean_cost
        )
        keys = jax.random.split(key_chunk, self.oracle.chunk)
        state, semidual = ascent.run(
            ascent.begun(state), keys, partial(self.generated, players, data)
        )
        info = _info(self.oracle, state, semidual, self.balance(state.memory.index))
        held = _regrouped(state.memory, key_fit, self.problem.size, self.oracle.fit_updates)
        return _after(state, info["ready"]), hold(held), {**info, "mean_cost": mean_cost}

    def loss(self, held: Held, players: Players, data: BatchSource) -> Array:
        """FIT's regression on one of its batches."""
        z = self.draw(data, jax.random.wrap_key_data(held.keys))
        z = lax.dynamic_slice_in_dim(z, held.part * self.problem.size, self.problem.size)
        y = as_floats(jnp.asarray(data.examples)[held.index])
        return _regression(
            self.oracle.regression or self.problem.cost.name,
            self.problem.generate(players.generator, z),
            y,
        )

    def final_metrics(
        self, state: State, players: Players, data: BatchSource, held_out: BatchSource, key: Array
    ) -> dict[str, Array]:
        """V on fresh points, what it lacks for points that got no mass, and how even the masses
        are.
        """
        del held_out
        search = FreshSearch(
            self.problem.cost.name,
            self.targets(data),
            state.psi,
            partial(self.generated, players, data),
        )
        half = -(-FRESH_POINTS // (2 * self.oracle.ots_batch))
        keys = jax.random.split(key, 2 * half)
        least, first = search.least_shortfalls(keys[:half])
        rise, second = search.rises(keys[half:], jnp.where(self.without_mass(state), least, 0.0))
        value = jnp.mean(jnp.concatenate([first.semidual.value, second.semidual.value]))
        filled = jnp.all(state.memory.index >= 0)
        missed = jnp.where(filled, jnp.maximum(jnp.mean(rise), 0.0), jnp.nan)
        kept, fresh = (
            self.balance(state.memory.index),
            self.balance(jnp.concatenate([first.index, second.index])),
        )
        return {
            "semidual_value": value,
            "missed_value": missed,
            "missed_value_share": missed / jnp.maximum(value + missed, missed + TINY),
            "unevenness_of_memory": unevenness(kept),
            "without_mass_of_memory": kept.without_mass,
            "unevenness_of_fresh": unevenness(fresh),
        }

    def without_mass(self, state: State) -> Bool[Array, " N"]:
        """The training points that no batch of the memory goes to."""
        return hits(state.memory.index.ravel(), self.problem.form.size) == 0

    def balance(self, index: Int[Array, "..."]) -> MassBalance:
        """Of the masses that assignments give the training points."""
        size = self.problem.form.size
        return mass_balance(hits(index.ravel(), size), min(self.oracle.bins, size))

    def targets(self, data: BatchSource) -> Targets:
        """The training points."""
        return Targets(jnp.asarray(data.examples), self.center)

    def draw(self, data: BatchSource, key: Array) -> Array:
        """The latents of an OTS batch."""
        return self.problem.draw_latents(data, key, self.oracle.ots_batch)

    def generated(self, players: Players, data: BatchSource, key: Array) -> Float[Array, "n d"]:
        """The points of an OTS batch."""
        y = self.problem.generate(players.generator, self.draw(data, key))
        return y.reshape(len(y), -1) - self.center

    def mean_cost(self, players: Players, data: BatchSource, key: Array) -> Float[Array, ""]:
        """Of a generated and a training point."""
        x, reals = self.generated(players, data, key), self.problem.draw_reals(data, key)
        return jnp.mean(self.problem.cost.matrix(x, reals.reshape(len(reals), -1) - self.center))

    @property
    def center(self) -> Float[Array, "1 d"]:
        """What is taken off generated and training points alike."""
        return jnp.asarray(self.problem.form.center or (0.0,), jnp.float32)[None]


def _after(state: State, ready: Bool[Array, ""]) -> State:
    return state._replace(
        taken=jnp.where(ready, 0, state.taken), rounds=state.rounds + ready, solves=state.solves + 1
    )


def _info(oracle: Semidiscrete, state: State, semidual: Semidual, balance: MassBalance) -> Info:
    converged, ready = round_ends(oracle, balance, state.taken)
    return {
        "dual_value": semidual.value,
        "dual_gap": unevenness(balance),
        "dual_iterations": jnp.asarray(oracle.chunk, jnp.int32),
        "dual_converged": converged,
        "epsilon": jnp.asarray(oracle.epsilon, jnp.float32),
        "examples": jnp.asarray(oracle.chunk * (oracle.ots_batch + len(state.psi)), jnp.int32),
        "ready": ready,
        "plan_cost": semidual.plan_cost,
        "rounds": state.rounds,
        **balance._asdict(),
    }


# --- FIT ------------------------------------------------------------------------------------------


def _regrouped(memory: Memory, key: Array, size: int, updates: int) -> Held:
    """The memory's batches, each cut into parts of FIT's size, in random order.

    Over again where there are fewer than updates.
    """
    slots, parts = len(memory.index), memory.index.shape[1] // size
    passes = -(-updates // (slots * parts))
    order = [jax.random.permutation(k, slots * parts) for k in jax.random.split(key, passes)]
    slot, part = jnp.divmod(jnp.concatenate(order)[:updates], parts)
    index = memory.index.reshape(slots, parts, size)[slot, part]
    return Held(memory.keys[slot], part, index)


def _regression(name: str, x: Array, y: Array) -> Float[Array, ""]:
    """The mean cost of pairs (x_i, y_i)."""
    difference = (x - y).reshape(len(x), -1)
    return jnp.mean(jnp.sum(jnp.abs(difference) if name == "l1" else difference**2, axis=1))


# --- what a finished run says of itself -----------------------------------------------------------


class Fresh(NamedTuple):
    """Of batches that no step has seen, each leaf with a leading axis of them."""

    semidual: Semidual
    index: Int[Array, "k n"]  # of the training points assigned


@dataclass(frozen=True, eq=False)
class FreshSearch:
    """The semi-dual on fresh batches at fixed potentials."""

    cost: str
    targets: Targets
    psi: Float[Array, " N"]
    generated: Callable[[Array], Array]  # the points of a key

    def least_shortfalls(self, keys: Array) -> tuple[Float[Array, " N"], Fresh]:
        """By how much each training point's offset would have to fall until the first point of
        these batches goes there.
        """
        offset = self.offset

        def look(least: Array, key: Array) -> tuple[Array, Fresh]:
            x = self.generated(key)
            found = assign(self.targets, x, offset, self.cost)
            short = shortfall(self.targets, x, offset, found.score, self.cost)
            return jnp.minimum(least, short), Fresh(
                semidual_at(self.cost, x, found, self.psi), found.index
            )

        return lax.scan(look, jnp.full(self.targets.size, jnp.inf), keys)

    def rises(self, keys: Array, fall: Float[Array, " N"]) -> tuple[Float[Array, " k"], Fresh]:
        """What V rises by on each of these batches if the potentials fall so."""
        offset = self.offset

        def compare(_: None, key: Array) -> tuple[None, tuple[Array, Fresh]]:
            x = self.generated(key)
            found, after = (
                assign(self.targets, x, offset, self.cost),
                assign(self.targets, x, offset - fall, self.cost),
            )
            semidual = semidual_at(self.cost, x, found, self.psi)
            return None, (
                semidual_at(self.cost, x, after, self.psi - fall).value - semidual.value,
                Fresh(semidual, found.index),
            )

        return lax.scan(compare, None, keys)[1]

    @property
    def offset(self) -> Float[Array, " N"]:
        """Of the scores."""
        return fixed_offset(self.cost, self.targets) + self.psi
