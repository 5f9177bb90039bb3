"""OTS: ascent of the semi-dual until the generator's mass is spread evenly over the training
points.

Chen, Telgarsky, Zhang, Bailey, Hsu, Peng (ICML 2019); `otgan.oracles.semidiscrete` has the rounds
that it is a part of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int, UInt

from otgan.config import Amount, Semidiscrete
from otgan.optim import descend
from otgan.oracles.semidual import (
    COST_PER_SCORE,
    Assignment,
    MassBalance,
    Targets,
    assign,
    assign_softly,
    entropic_step,
    feedback,
    half_squares,
    hits,
)


class Memory(NamedTuple):
    """The last batches of OTS, a ring."""

    keys: UInt[Array, "memory words"]  # that drew the latents
    # of the training points assigned; -1 where there is no batch yet
    index: Int[Array, "memory ots_batch"]


class State(NamedTuple):
    """What outlives a chunk, and a round."""

    psi: Float[Array, " N"]
    moments: Any  # Adam's, with the authors' schedule
    memory: Memory
    taken: Int[Array, ""]  # OTS steps of this round so far, entropic ones included
    rounds: Int[Array, ""]  # that have ended
    solves: Int[Array, ""]  # of the run, by which Adam's learning rate goes


class Semidual(NamedTuple):
    """What an OTS step saw of the semi-dual on its batch, in units of the cost."""

    value: Float[Array, ""]  # V at the potentials before the step
    plan_cost: Float[Array, ""]  # of x and the points assigned


@dataclass(frozen=True, eq=False)
class Ascent:
    """A chunk of ascent of the semi-dual."""

    oracle: Semidiscrete
    cost: str
    steps: int | Float[Array, ""]  # of the run, by which Adam's learning rate goes
    targets: Targets
    mean_cost: Float[Array, ""]  # amounts in multiples of it are meant so

    def begun(self, state: State) -> State:
        """At the very first step the authors' potentials are zero in the inner-product form, where
        they take in |y|^2 / 2.
        """
        if self.oracle.start == "nearest" or self.cost != "squared_l2":
            return state
        first = (state.rounds == 0) & (state.taken == 0)
        return state._replace(psi=jnp.where(first, -half_squares(self.targets), state.psi))

    def run(
        self, state: State, keys: Array, generated: Callable[[Array], Array]
    ) -> tuple[State, Semidual]:
        """A step on the batch of each key; and the mean of what they saw."""
        fixed, warm = fixed_offset(self.cost, self.targets), _warm_steps(self.oracle)

        def smooth(state: State, key: Array) -> tuple[State, Semidual]:
            return self.smooth(state, generated(key), fixed)

        def step(state: State, key: Array) -> tuple[State, Semidual]:
            return self.step(state, key, generated(key), fixed)

        if warm:
            state, semidual = lax.cond(
                state.taken < warm,
                lambda s: lax.scan(smooth, s, keys),
                lambda s: lax.scan(step, s, keys),
                state,
            )
        else:
            state, semidual = lax.scan(step, state, keys)
        return state, jax.tree.map(jnp.mean, semidual)

    def smooth(self, state: State, x: Array, fixed: Array) -> tuple[State, Semidual]:
        """A step on the semi-dual smoothed by an entropy, which the memory does not see."""
        oracle, done = self.oracle, state.taken / self.oracle.smoothing_steps
        amounts = self.in_scores(oracle.smoothing), self.in_scores(oracle.smoothing_end)
        lam = _falling(*amounts, done) / (1 + state.rounds)
        rate = _falling(oracle.smoothing_rate, oracle.smoothing_rate_end, done)
        masses, found = assign_softly(self.targets, x, fixed + state.psi, lam, self.cost)
        psi = entropic_step(state.psi, masses, lam, rate)
        return state._replace(psi=psi, taken=state.taken + 1), semidual_at(
            self.cost, x, found, state.psi
        )

    def step(self, state: State, key: Array, x: Array, fixed: Array) -> tuple[State, Semidual]:
        """A step on the semi-dual itself, and its batch into the memory."""
        found = assign(self.targets, x, fixed + state.psi, self.cost)
        slot, index = (
            (state.taken - _warm_steps(self.oracle)) % self.oracle.memory,
            found.index.astype(jnp.int32),
        )
        memory = Memory(
            state.memory.keys.at[slot].set(jax.random.key_data(key)),
            state.memory.index.at[slot].set(index),
        )
        psi, moments = self.move(state, index)
        return state._replace(
            psi=psi, moments=moments, memory=memory, taken=state.taken + 1
        ), semidual_at(self.cost, x, found, state.psi)

    def move(self, state: State, index: Int[Array, " n"]) -> tuple[Array, Any]:
        """Potentials and moments after a batch that was assigned so."""
        size = self.targets.size
        if self.oracle.schedule == "feedback":
            # samples of this round for each training point
            seen = (state.taken - _warm_steps(self.oracle)) * len(index) / size
            increment = self.in_scores(self.oracle.increment) / jnp.sqrt(
                (1 + state.rounds) * (1 + seen)
            )
            return feedback(state.psi, index, increment), state.moments
        share = hits(index, size) / len(index)  # the authors' gradient, without the constant 1/N
        return descend(
            self.oracle.optimizer,
            -share,
            state.psi,
            state.moments,
            state.solves / self.steps,
            state.solves,
        )

    def in_scores(self, amount: Amount) -> Array:
        """An amount of cost, in units of the score."""
        return jnp.asarray(amount.times(self.mean_cost) / COST_PER_SCORE[self.cost])


def semidual_at(cost: str, x: Array, found: Assignment, psi: Array) -> Semidual:
    """V at potentials, and what the assignment costs, on a batch."""
    per_score = COST_PER_SCORE[cost]
    own = jnp.sum(x * x, axis=1) if cost == "squared_l2" else jnp.zeros(len(x))
    least = own - per_score * found.score  # min_i (c + psi_i)
    return Semidual(
        jnp.mean(least) - per_score * jnp.mean(psi), jnp.mean(least - per_score * psi[found.index])
    )


def _falling(first: Array | float, last: Array | float, done: Array) -> Array:
    """From the first to the last by the same factor at every step."""
    return jnp.asarray(first * (last / first) ** done)


def _warm_steps(oracle: Semidiscrete) -> int:
    return oracle.smoothing_steps if oracle.schedule == "feedback" else 0


def fixed_offset(cost: str, targets: Targets) -> Array:
    """The part of the offsets that does not move with the potentials."""
    return half_squares(targets) if cost == "squared_l2" else jnp.zeros(targets.size)


def unevenness(balance: MassBalance) -> Float[Array, ""]:
    """The larger chi-square, of points or of bins.

    Potentials that make a point dearer when it is hit spread a mode's mass over its points more
    evenly than chance would; that can outweigh modes with too much mass in the points' chi-square.
    The bins' sees those, where bins are neighborhoods.
    """
    return jnp.maximum(jnp.maximum(balance.chi_square, balance.chi_square_of_bins), 0.0)


def round_ends(
    oracle: Semidiscrete, balance: MassBalance, taken: Int[Array, ""]
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the stop rule holds, and whether the round is over: the rule counts where it is due
    and this round has filled the memory.
    """
    balancing = taken - _warm_steps(oracle)
    even = unevenness(balance) <= oracle.epsilon
    met = (
        (balance.least_bin >= oracle.band_low) & (balance.worst_bin <= oracle.band_high)
        if oracle.stop == "band"
        else even
    )
    met &= balancing >= oracle.memory
    due = (balancing % oracle.check_every == 0) & (oracle.stop != "budget")
    return met, (met & due) | (taken >= oracle.max_ots_steps)
