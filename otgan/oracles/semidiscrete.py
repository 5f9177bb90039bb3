"""OTS and FIT: semi-discrete transport of the generator's mass to the training points, then regression on where it goes.

Chen, Telgarsky, Zhang, Bailey, Hsu, Peng (ICML 2019). In rounds:

    OTS   psi ascends V(psi) = E_z min_i (c(G(z), y_i) + psi_i) - mean psi     until the mass is spread evenly over the y_i
    FIT   theta descends E_z r(T(G_old(z)), G_theta(z))                        over the last assignments T(G_old(z)) = y_i*

with r the cost c or another (the authors' hybrid: assigned by squared_l2, regressed by l1). What OTS leaves behind is a ring of its last
batches: each one's key, from which the latents are drawn again, and the indices of the points it was assigned to. Every batch was assigned
by the potentials of its own time. That is as it must be: the potentials that balance a window as it moves do not balance fresh mass alone.

A solve is a chunk of OTS steps, and `ready` at the end of a round. Its numbers are of the memory: `dual_gap` is the chi-square of the
masses of points, or of the histogram's bins, net of the noise of counting. Bins are of consecutive points: neighbourhoods, where
`batch.draw` is "stratified", and mixtures of everything where the data are shuffled. `dual_value` is V on the chunk's own batches, each
fresh to the potentials that met it; `plan_cost` is what their assignment costs. Were the assignment balanced exactly, the optimum would lie
between the two.

A point without mass adds 1/N to the chi-square however far away it is. Where few points carry most of the cost, as of heavy tails, the mass
can lie evenly and V be far too low: their potentials have not had the time to fall as far as they must. So a run's summary says by how much
V rises at once if those of the points without mass fall until the first fresh point goes there (`missed_value`). How far they fall is seen
on one set of fresh points, what it brings on another: on its own set every fall brings something, be it only that the set is small. Until a
round has filled the memory, points without mass are those whose turn has not come, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, UInt

from otgan.clouds import Clouds, as_floats, draw_latents, draw_reals, spread_out
from otgan.config import Amount, Config, Semidiscrete
from otgan.costs import make_cost
from otgan.data import Form
from otgan.optim import adam, descend
from otgan.oracles.contract import Family, Info, Players, hold
from otgan.oracles.semidual import (
    COST_PER_SCORE,
    Assignment,
    Certificate,
    Targets,
    assign,
    assign_softly,
    certify,
    entropic_step,
    feedback,
    half_squares,
    hits,
    shortfall,
)
from otgan.results.quantities import SEMIDISCRETE

SMOOTHING_RATE = 0.5  # of the entropic steps: a batch's masses are noisy, half a step averages over a few of them
ASSESSED = 4_096  # fresh points in the numbers of a run's summary
TINY = 1e-30


class Memory(NamedTuple):
    """The last batches of OTS, a ring."""

    keys: UInt[Array, "memory words"]  # that drew the latents
    index: Int[Array, "memory ots_batch"]  # of the training points assigned; -1 where there is no batch yet


class State(NamedTuple):
    """What outlives a chunk, and a round."""

    psi: Float[Array, " N"]
    moments: Any  # Adam's, with the authors' schedule
    memory: Memory
    taken: Int[Array, ""]  # OTS steps of this round so far, entropic ones included
    rounds: Int[Array, ""]  # that have ended
    solves: Int[Array, ""]  # of the run, by which Adam's learning rate goes


class Held(NamedTuple):
    """FIT's batches, with the contract's leading axis of updates."""

    keys: UInt[Array, "updates words"]
    part: Int[Array, " updates"]  # of the OTS batch that its key draws
    index: Int[Array, "updates batch"]


class Seen(NamedTuple):
    """What an OTS step saw on its batch, in units of the cost."""

    value: Float[Array, ""]  # V at the potentials before the step
    plan_cost: Float[Array, ""]  # of x and the points assigned


def make_semidiscrete(config: Config, form: Form, networks: Players, mesh: Mesh | None = None) -> Family:
    """The family of a config whose `oracle.family` is "semidiscrete"."""
    oracle, batch = config.oracle, config.batch
    assert isinstance(oracle, Semidiscrete)
    generator, cost = networks.generator, config.cost.name
    center = jnp.asarray(form.center or (0.0,), jnp.float32)[None]
    bins = min(oracle.bins, form.size)

    def draw(clouds: Clouds, key: Array) -> Array:
        return spread_out(draw_latents(clouds, key, oracle.ots_batch, config.generator.latent_dim), mesh)

    def generated(players: Players, clouds: Clouds, key: Array) -> Array:
        y = generator.apply(players.generator, draw(clouds, key))
        return y.reshape(len(y), -1) - center

    def solve(state: State, players: Players, clouds: Clouds, key: Array) -> tuple[State, Held, Info]:
        key_scale, key_chunk, key_fit = jax.random.split(key, 3)
        targets = Targets(jnp.asarray(clouds.examples), center)
        mean_cost = _mean_cost(cost, generated(players, clouds, key_scale), draw_reals(clouds, key_scale, batch.size), center)
        climb = make_climb(oracle, config.train.steps, cost, targets, partial(generated, players, clouds), mean_cost)
        state, seen = climb(_begun(oracle, cost, state, targets), jax.random.split(key_chunk, oracle.chunk))
        certificate = certify(hits(state.memory.index.ravel(), form.size), bins)
        info = {**_info(oracle, state, seen, certificate), "mean_cost": mean_cost}
        held = _regrouped(state.memory, key_fit, oracle.ots_batch // batch.size, batch.size, oracle.fit_updates)
        return _after(state, info["ready"]), hold(held), info

    def loss(held: Held, players: Players, clouds: Clouds) -> Array:
        z = draw(clouds, jax.random.wrap_key_data(held.keys))
        z = lax.dynamic_slice_in_dim(z, held.part * batch.size, batch.size)
        y = as_floats(jnp.asarray(clouds.examples)[held.index])
        return _regression(oracle.regression or cost, generator.apply(players.generator, z), y)

    def assess(state: State, players: Players, clouds: Clouds, held_out: Clouds, key: Array) -> dict[str, Array]:
        targets = Targets(jnp.asarray(clouds.examples), center)
        offset = _fixed_offset(cost, targets) + state.psi

        def look(least: Array, key: Array) -> tuple[Array, tuple[Seen, Array]]:
            x = generated(players, clouds, key)
            found = assign(targets, x, offset, cost)
            short = shortfall(targets, x, offset, found.score, cost)
            return jnp.minimum(least, short), (see(cost, x, found, state.psi), found.index)

        def compare(fall: Array, key: Array) -> tuple[Array, tuple[Seen, Array, Array]]:
            x = generated(players, clouds, key)
            found, after = assign(targets, x, offset, cost), assign(targets, x, offset - fall, cost)
            seen = see(cost, x, found, state.psi)
            return fall, (seen, found.index, see(cost, x, after, state.psi - fall).value - seen.value)

        half = -(-ASSESSED // (2 * oracle.ots_batch))
        keys = jax.random.split(key, 2 * half)
        least, (seen, index) = lax.scan(look, jnp.full(form.size, jnp.inf), keys[:half])
        fall = jnp.where(hits(state.memory.index.ravel(), form.size) == 0, least, 0.0)
        _, (seen_too, index_too, rise) = lax.scan(compare, fall, keys[half:])
        index = jnp.concatenate([index, index_too])
        fresh, kept = (certify(hits(i.ravel(), form.size), bins) for i in (index, state.memory.index))
        value, filled = jnp.mean(jnp.concatenate([seen.value, seen_too.value])), jnp.all(state.memory.index >= 0)
        missed = jnp.where(filled, jnp.maximum(jnp.mean(rise), 0.0), jnp.nan)
        return {
            "semidual_value": value,
            "missed_value": missed,
            "missed_value_share": missed / jnp.maximum(value + missed, missed + TINY),
            "unevenness_of_memory": unevenness(kept),
            "without_mass_of_memory": kept.without_mass,
            "unevenness_of_fresh": unevenness(fresh),
        }

    return Family(
        init=lambda key: _begin(oracle, form.size),
        solve=solve,
        loss=loss,
        generate=lambda state, parameters, z: generator.apply(parameters, z),
        gap_kind="residual",
        quantities=SEMIDISCRETE,
        exhibits=lambda state: {"without-mass": hits(state.memory.index.ravel(), form.size) == 0},
        assess=assess,
    )


def _begin(oracle: Semidiscrete, size: int) -> State:
    psi = jnp.zeros(size)
    words = jax.random.key_data(jax.random.key(0)).shape
    memory = Memory(jnp.zeros((oracle.memory, *words), jnp.uint32), jnp.full((oracle.memory, oracle.ots_batch), -1, jnp.int32))
    moments = adam(oracle.optimizer).init(psi) if oracle.schedule == "adam" else ()
    return State(psi, moments, memory, *(jnp.zeros((), jnp.int32) for _ in range(3)))


def _after(state: State, ready: Bool[Array, ""]) -> State:
    return state._replace(taken=jnp.where(ready, 0, state.taken), rounds=state.rounds + ready, solves=state.solves + 1)


def _info(oracle: Semidiscrete, state: State, seen: Seen, certificate: Certificate) -> Info:
    converged, ready = _verdict(oracle, certificate, state.taken)
    return {
        "dual_value": seen.value,
        "dual_gap": unevenness(certificate),
        "dual_iterations": jnp.asarray(oracle.chunk, jnp.int32),
        "dual_converged": converged,
        "epsilon": jnp.asarray(oracle.epsilon, jnp.float32),
        "examples": jnp.asarray(oracle.chunk * (oracle.ots_batch + len(state.psi)), jnp.int32),
        "ready": ready,
        "plan_cost": seen.plan_cost,
        "rounds": state.rounds,
        **certificate._asdict(),
    }


# --- OTS ------------------------------------------------------------------------------------------------------------------------------


def make_climb(oracle: Semidiscrete, steps: int, cost: str, targets: Targets, generated: Callable, mean_cost: Array) -> Callable:
    """A chunk of ascent, one of `steps` in the run: (state, keys of its batches) -> (state, what its steps saw)."""
    fixed = _fixed_offset(cost, targets)
    warm = _warm_steps(oracle)

    def in_scores(amount: Amount) -> Array:
        return jnp.asarray(amount.times(mean_cost) / COST_PER_SCORE[cost])

    def smooth(state: State, key: Array) -> tuple[State, Seen]:
        first, last = in_scores(oracle.smoothing), in_scores(oracle.smoothing_end)
        lam = first * (last / first) ** (state.taken / oracle.smoothing_steps) / (1 + state.rounds)
        x = generated(key)
        masses, found = assign_softly(targets, x, fixed + state.psi, lam, cost)
        psi = entropic_step(state.psi, masses, lam, SMOOTHING_RATE)
        return state._replace(psi=psi, taken=state.taken + 1), see(cost, x, found, state.psi)

    def move(state: State, index: Array) -> tuple[Array, Any]:
        if oracle.schedule == "feedback":
            seen = (state.taken - warm) * len(index) / targets.size  # samples of this round for each training point
            return feedback(state.psi, index, in_scores(oracle.increment) / jnp.sqrt((1 + state.rounds) * (1 + seen))), state.moments
        share = hits(index, targets.size) / len(index)  # the authors' gradient, without the constant 1/N
        return descend(oracle.optimizer, -share, state.psi, state.moments, state.solves / steps, state.solves)

    def step(state: State, key: Array) -> tuple[State, Seen]:
        x = generated(key)
        found = assign(targets, x, fixed + state.psi, cost)
        slot, index = (state.taken - warm) % oracle.memory, found.index.astype(jnp.int32)
        memory = Memory(state.memory.keys.at[slot].set(jax.random.key_data(key)), state.memory.index.at[slot].set(index))
        psi, moments = move(state, index)
        return state._replace(psi=psi, moments=moments, memory=memory, taken=state.taken + 1), see(cost, x, found, state.psi)

    def climb(state: State, keys: Array) -> tuple[State, Seen]:
        if warm:
            state, seen = lax.cond(state.taken < warm, lambda s: lax.scan(smooth, s, keys), lambda s: lax.scan(step, s, keys), state)
        else:
            state, seen = lax.scan(step, state, keys)
        return state, jax.tree.map(jnp.mean, seen)

    return climb


def see(cost: str, x: Array, found: Assignment, psi: Array) -> Seen:
    """V at potentials, and what the assignment costs, on a batch."""
    per_score = COST_PER_SCORE[cost]
    own = jnp.sum(x * x, axis=1) if cost == "squared_l2" else jnp.zeros(len(x))
    least = own - per_score * found.score  # min_i (c + psi_i)
    return Seen(jnp.mean(least) - per_score * jnp.mean(psi), jnp.mean(least - per_score * psi[found.index]))


def _warm_steps(oracle: Semidiscrete) -> int:
    return oracle.smoothing_steps if oracle.schedule == "feedback" else 0


def _fixed_offset(cost: str, targets: Targets) -> Array:
    """The part of the offsets that does not move with the potentials."""
    return half_squares(targets) if cost == "squared_l2" else jnp.zeros(targets.size)


def _begun(oracle: Semidiscrete, cost: str, state: State, targets: Targets) -> State:
    """At the very first step the authors' potentials are zero in the inner-product form, where they take in |y|^2 / 2."""
    if oracle.start == "nearest" or cost != "squared_l2":
        return state
    first = (state.rounds == 0) & (state.taken == 0)
    return state._replace(psi=jnp.where(first, -half_squares(targets), state.psi))


def unevenness(certificate: Certificate) -> Float[Array, ""]:
    """The larger chi-square, of points or of bins.

    Potentials that make a point dearer when it is hit spread a mode's mass over its points more evenly than chance would; that can outweigh
    modes with too much mass in the points' chi-square. The bins' sees those, where bins are neighbourhoods.
    """
    return jnp.maximum(jnp.maximum(certificate.chi_square, certificate.chi_square_of_bins), 0.0)


def _verdict(oracle: Semidiscrete, certificate: Certificate, taken: Int[Array, ""]) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the stop rule holds, and whether the round is over: the rule counts where it is due and this round has filled the memory."""
    balancing = taken - _warm_steps(oracle)
    even = unevenness(certificate) <= oracle.epsilon
    met = (certificate.least_bin >= oracle.band_low) & (certificate.worst_bin <= oracle.band_high) if oracle.stop == "band" else even
    met &= balancing >= oracle.memory
    due = (balancing % oracle.check_every == 0) & (oracle.stop != "budget")
    return met, (met & due) | (taken >= oracle.max_ots_steps)


# --- FIT ------------------------------------------------------------------------------------------------------------------------------


def _regrouped(memory: Memory, key: Array, parts: int, size: int, updates: int) -> Held:
    """The memory's batches, each cut into parts of FIT's size, in random order; over again where there are fewer than updates."""
    slots = len(memory.index)
    passes = -(-updates // (slots * parts))
    order = [jax.random.permutation(k, slots * parts) for k in jax.random.split(key, passes)]
    slot, part = jnp.divmod(jnp.concatenate(order)[:updates], parts)
    index = memory.index.reshape(slots, parts, size)[slot, part]
    return Held(memory.keys[slot], part, index)


def _regression(name: str, x: Array, y: Array) -> Float[Array, ""]:
    """The mean cost of pairs (x_i, y_i)."""
    difference = (x - y).reshape(len(x), -1)
    return jnp.mean(jnp.sum(jnp.abs(difference) if name == "l1" else difference**2, axis=1))


def _mean_cost(cost: str, x: Array, reals: Array, center: Array) -> Float[Array, ""]:
    return jnp.mean(make_cost(cost)(x, reals.reshape(len(reals), -1) - center))
