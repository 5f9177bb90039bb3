"""An epsilon for every step, from what the dual's error does to the generator's gradient.

Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018): a dual whose certified gap is at most epsilon gives a
gradient that is off by at most

    K sqrt(2 epsilon / lam)

One batch's gradient is off from the expected one anyway, by its noise s, the root mean square over
batches. The loosest epsilon whose error is at most a share q of that is

    epsilon = lam / 2 (q s / K)^2

Both are measured in every `EVERY`th solve. The noise is half of the squared distance between the
gradients of two independent batches, their duals solved to `TRUTH`. The constant is one of two.

    adaptive    K = L0 sum_t |w_t| k_t         over the d_t of the loss: w_t is what the gradient of
                                               d_t counts for, k_t how many of its clouds move
    calibrated  K = |gradient - its truth| / sqrt(2 gap / lam)

L0 is the largest gradient of a pair's cost in the generator's parameters, here over every generated
example and that example of the batch, real or generated, which is dearest to reach from it. The
theory's is over all pairs and all parameters. The calibrated K is no bound: it is what the worst of
the step's gaps has lately meant. Where the gap is hardly above the truth's own, as of a dual that
the first check finds all but solved, nothing is learned of K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax, random
from jaxtyping import Bool, Float, Int

from otgan.batches import BatchSource
from otgan.config import Adaptive, Amount, Regularized
from otgan.costs import Groups
from otgan.oracles.contract import Family, Info, Players, generator_alone, one_update
from otgan.oracles.regularized import Held, Kept, RegularizedDual
from otgan.oracles.terms import BatchFeatures
from otgan.problem import Problem
from otgan.results.quantities import ADAPTIVE, REGULARIZED

EVERY = 100  # solves from one measurement to the next
# share of the newest measurement in the mean: that goes over about the last five
NEWEST = 0.2
FIRST = 0.01  # epsilon while nothing is known of K, multiples of the mean cost
# the tightest and the loosest epsilon, multiples of the mean cost. At the first a dual counts as
# exact elsewhere too (`otgan diagnose`); a bound that is hopeless must not ask for what single
# precision cannot certify
LEAST, MOST = 0.001, 1.0
TRUTH = 0.0001  # gap of a dual that counts as the truth, multiples of the mean cost
TELLING = 4  # times the truth's gap: a gap below that says nothing of K
NOTHING = 1e-30  # a squared constant below this counts as this
STAGES = 4.0  # by which lam falls at least where a dual must be as good as exact
OTHER = 100  # folds a step's key into that of another batch: no part of how that is split
PAIRS = 16  # whose gradients are held at once
# sum_t |w_t| k_t: 2 d(x, y) - d(y, y) has 2 and 2; four d(x, y) and 2 d(y, y') have 4 and 4
FOLLOWED = {"regot": 1, "sinkhorn": 4, "energy": 8}


class Measured(NamedTuple):
    """What is known of the gradients so far: what a run must keep to go on exactly."""

    solves: Int[Array, ""]
    noise: Float[Array, ""]  # s squared, mean of the last measurements
    constant: Float[Array, ""]  # K squared, the same
    told: Int[Array, ""]  # measurements that said something of K


class Found(NamedTuple):
    """What one measurement tells, and what it took."""

    noise: Float[Array, ""]  # s squared
    constant: Float[Array, ""]  # K squared
    tells: Bool[Array, ""]  # whether that of K
    iterations: Int[Array, ""]
    examples: Int[Array, ""]


def make_adaptive(oracle: Regularized, problem: Problem) -> Family:
    """The family of regularized transport between batches, at an epsilon that it sets itself."""
    dual = AdaptiveDual(oracle, RegularizedDual(oracle, problem))
    return Family(
        init=dual.init,
        solve=dual.solve,
        loss=dual.dual.loss,
        generate=generator_alone(problem),
        gap_kind="certified",
        quantities=(*REGULARIZED, *ADAPTIVE),
        reads=dual.reads,
    )


@dataclass(frozen=True, eq=False)
class AdaptiveDual:
    """The duals of a batch, each step's to its own accuracy, and the measurements behind that."""

    oracle: Regularized
    dual: RegularizedDual

    def init(self, key: Array) -> Kept:
        """What the dual keeps, and behind it that nothing is measured."""
        return (*self.dual.init(key), nothing_measured())

    def solve(
        self, state: Kept, players: Players, data: BatchSource, key: Array
    ) -> tuple[Kept, Held, Info]:
        """All duals of the loss on one batch, and now and then what their error does."""
        assert isinstance(self.oracle.epsilon, Adaptive)
        fraction, measured = self.oracle.epsilon.fraction, state[-1]
        kept, held, info, features = self.dual.solve_to(
            lambda mean_cost, scale: epsilon_of(
                measured, fraction, self.oracle.lam.times(mean_cost) * scale, mean_cost
            ),
            state[:-1],
            players,
            data,
            key,
        )
        found = lax.cond(
            is_due(measured),
            lambda: self.measure(players, data, key, held, features, info),
            lambda: Found(
                measured.noise, measured.constant, jnp.asarray(False), *jnp.zeros(2, jnp.int32)
            ),
        )
        measured = after(measured, found)
        info |= {
            "dual_iterations": info["dual_iterations"] + found.iterations,
            "examples": info["examples"] + found.examples,
            "gradient_noise": jnp.sqrt(measured.noise),
            "gradient_constant": jnp.sqrt(measured.constant),
            "bias_over_noise": bias_over_noise(measured, info["dual_gap"], info["lam"]),
        }
        return (*kept, measured), one_update(held), info

    def reads(self, data: BatchSource, key: Array) -> Int[Array, " k"]:
        """Where the real examples of a step stand, and those of the batch that it may measure
        with.
        """
        keys = (key, random.fold_in(key, OTHER))
        return jnp.concatenate([self.dual.reads(data, one) for one in keys])

    def measure(
        self,
        players: Players,
        data: BatchSource,
        key: Array,
        held: Held,
        features: BatchFeatures,
        info: Info,
    ) -> Found:
        """What a step and another batch tell.

        Args:
            players: of the step.
            data: of the run.
            key: of the step's batch.
            held: of that batch.
            features: what the cost sees of it.
            info: of its solve.
        """
        truths, infos = lax.map(
            lambda key: self.truth(players, data, key),
            jnp.stack([key, random.fold_in(key, OTHER)]),
        )
        if self.oracle.by_theory:
            constant, tells = self.bound(players, data, held.drawn.z, features) ** 2, True
        else:
            ours = self.dual.gradient(held, players, data)
            truth = jax.tree.map(lambda leaf: leaf[0], truths)
            constant = calibrated(ours, truth, info["dual_gap"], info["lam"])
            tells = info["dual_gap"] > TELLING * infos["dual_gap"][0]
        return Found(
            squared_noise(truths),
            constant,
            jnp.asarray(tells),
            jnp.sum(infos["dual_iterations"]),
            jnp.sum(infos["examples"]),
        )

    def truth(self, players: Players, data: BatchSource, key: Array) -> tuple[Any, Info]:
        """The generator's gradient on the batch of a key, its duals as good as exact, and the info
        of their solve.
        """
        exact = {
            "epsilon": Amount(TRUTH, relative=True),
            "anneal": max(self.oracle.anneal, STAGES),
            "warm_start": False,
        }
        dual = RegularizedDual(self.oracle.model_copy(update=exact), self.dual.problem)
        _, held, info = dual.solve((), players, data, key)
        gradient = dual.gradient(jax.tree.map(lambda leaf: leaf[0], held), players, data)
        return gradient, {**info, "examples": jnp.asarray(info["examples"])}

    def bound(
        self, players: Players, data: BatchSource, z: Array, features: BatchFeatures
    ) -> Float[Array, ""]:
        """The theory's constant, from pairs of a batch's examples."""
        between = self.dual.problem.cost.between
        others = jax.tree.map(lambda *sides: jnp.concatenate(sides), features.x, features.y)
        farthest = jnp.argmax(between(others, features.y), axis=0)

        def pair(generator: Any, other: Groups, z_j: Array) -> Array:
            y = self.dual.generated(players._replace(generator=generator), data, z_j[None])
            return between(jax.tree.map(lambda group: group[None], other), y)[0, 0]

        others = jax.tree.map(lambda group: group[farthest], others)
        return FOLLOWED[self.oracle.loss] * largest_gradient(pair, players.generator, others, z)


# --- the arithmetic -------------------------------------------------------------------------------


def nothing_measured() -> Measured:
    """Before the first solve."""
    none, nothing = jnp.zeros((), jnp.int32), jnp.zeros(())
    return Measured(none, nothing, nothing, none)


def epsilon_of(measured: Measured, fraction: float, lam: Array, mean_cost: Array) -> Array:
    """The accuracy to ask of a dual, units of the cost.

    Args:
        measured: before the solve.
        fraction: q, the share of the noise that the error may have.
        lam: weight of the regularizer, units of the cost.
        mean_cost: of the batch.
    """
    squared = fraction**2 * measured.noise / jnp.maximum(measured.constant, NOTHING)
    wanted = jnp.clip(lam / 2 * squared, LEAST * mean_cost, MOST * mean_cost)
    return jnp.where(measured.told > 0, wanted, FIRST * mean_cost)


def is_due(measured: Measured) -> Array:
    """Whether this solve is one that measures."""
    return measured.solves % EVERY == 0


def after(measured: Measured, found: Found) -> Measured:
    """With one more solve and, where that was one that measures, what it found."""
    due = is_due(measured)
    tells = due & found.tells

    def mean(old: Array, new: Array, before: Array, counts: Array) -> Array:
        return old + jnp.where(counts, jnp.maximum(1 / (before + 1), NEWEST) * (new - old), 0.0)

    return Measured(
        measured.solves + 1,
        mean(measured.noise, found.noise, measured.solves // EVERY, due),
        mean(measured.constant, found.constant, measured.told, tells),
        measured.told + tells,
    )


def squared_noise(gradients: Any) -> Array:
    """Half of the squared distance between two batches' gradients, leaves (2, ...): without bias
    for the variance of one.
    """
    return optax.tree.norm(jax.tree.map(lambda leaf: leaf[0] - leaf[1], gradients)) ** 2 / 2


def calibrated(found: Any, truth: Any, gap: Array, lam: Array) -> Array:
    """K squared, from a gradient, what it should be, and the gap of its dual."""
    error = optax.tree.norm(jax.tree.map(jnp.subtract, found, truth))
    return error**2 * lam / (2 * jnp.maximum(gap, NOTHING))


def largest_gradient(
    pair: Callable[[Any, Any, Array], Array], parameters: Any, others: Any, z: Float[Array, "m ..."]
) -> Float[Array, ""]:
    """L0 over m pairs.

    Args:
        pair: (the generator's parameters, what the cost sees of an example, a latent) -> the cost
            between that example and the generated one.
        parameters: of the generator.
        others: leaves (m, ...): of every pair what the cost sees of the example that is held fixed.
        z: of every pair the latent.
    """
    norm = lambda one: optax.tree.norm(jax.grad(pair)(parameters, *one))  # noqa: E731
    return jnp.max(lax.map(norm, (others, z), batch_size=PAIRS))


def bias_over_noise(measured: Measured, gap: Array, lam: Array) -> Array:
    """The gradient's error at a gap over its noise, by the constant that is in use."""
    squared = measured.constant * 2 * gap / lam / jnp.maximum(measured.noise, NOTHING)
    return jnp.sqrt(squared)
