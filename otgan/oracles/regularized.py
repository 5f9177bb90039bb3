"""Regularized optimal transport between batches, and the losses that are made of it.

With x_i real, y_j = G(z_j), and d = d_{c,lam} the KL- or L2-regularized transport cost between two
clouds,

    regot     d(x, y)
    sinkhorn  2 d(x, y) - d(x, x) - d(y, y)              self terms of the same batch
              2 d(x, y) - d(x, x') - d(y, y')            or between independent batches
    energy    d(x, y) + d(x, y') + d(x', y) + d(x', y') - 2 d(x, x') - 2 d(y, y')

The first two are Algorithms 1 and 2 of Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018), the second not
halved. The last is Algorithm 1 of Salimans et al. (ICLR 2018), with each batch in two halves x, x'
and y, y'.

Each d is solved to a certified gap of at most epsilon. Then d moves with the cost as <P, C>, the
plan P fixed (envelope theorem), and the cost with the features that it sees. So what is held is a
pull on every feature that moves, the gradient of the loss in it, and the loss is linear in them:
costs and plans are done with when a problem is solved. Where the cost is fixed d(x, x) moves
nobody: it is left out of what is solved, and of the numbers that are reported. There y' is held
fixed, which spares a pass back through the networks, and the gradient of d(y, y') in y counts
twice: in the mean that in y' is the same. A lam in multiples of the mean cost is a number like any
other to the gradient: it does not follow the cost. Where the marginal of the generated side is
relaxed (finite tau), that is d(x, y)'s alone; the other terms stay balanced.

Epsilon is a number here; `otgan.oracles.adaptive` sets it anew in every step.

With a warm start the potential of every training example is kept from its last batch, and the dual
of d(x, y) starts from its rows' own.

Where `pulls` is "even", the pull of each problem is divided by its own size, so that every window
counts however little is wrong in it; of a batch in parts, those of a window are divided by the size
of all its parts together. The points at which nothing is pulled stay the same; the loss that is
recorded is still the sum of the duals.

A cost may look at several groups of features (`otgan.groups`): d is then one problem on their mean
cost, or the mean of one problem for each group, or for each of a group's windows, at one lam and
one epsilon. n real and m generated examples need not be equally many.

A batch may be cut into parts: then d is the mean of what each of them makes, at the lam of the
whole batch. That is another loss, of smaller batches and less noise (Fatras, Zine, Flamary,
Gribonval, Courty 2020); and where a batch lies along as many devices, none needs what another has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from jaxtyping import Float, Int

from otgan.batches import BatchSource
from otgan.config import Amount, Regularized
from otgan.costs import Groups
from otgan.oracles.contract import (
    Family,
    Info,
    Players,
    generator_alone,
    hold,
    one_update,
)
from otgan.oracles.room import block_rows
from otgan.oracles.terms import (
    Amounts,
    BatchFeatures,
    Duals,
    Term,
    interval,
    mean_cost_of,
    moving,
    problems_of,
    shares_of,
    solve_problems,
    terms_of,
    together,
    weighted,
)
from otgan.problem import Problem
from otgan.results.quantities import REGULARIZED

# with a warm start (N,): of every training example, NaN before its first batch. What a family that
# is made of this keeps besides stands behind it
Kept = tuple[Any, ...]

LEAST = 1e-30  # a squared pull below this counts as this: no pull stays none


class Drawn(NamedTuple):
    """A batch. Of a cost that nobody trains it has what the cost sees, for that does not change."""

    x: Any  # real examples (n, ...), or the groups of features that are seen of them
    z: Array  # (m, latents)
    # of independent self terms: another (x, z), or the groups that are seen of other generated
    # examples
    second: Any = None


class Keys(NamedTuple):
    """What a step draws with."""

    x: Array
    z: Array
    second: Array
    scale: Array


def _keys(key: Array) -> Keys:
    """All by one split: what `fold_in` makes of a small number is one of a split's."""
    return Keys(*random.split(key, len(Keys._fields)))


class Held(NamedTuple):
    """A batch and where it is pulled; leaves carry the contract's leading axis, here of one
    update.
    """

    drawn: Drawn
    # (1, m, d) or (1, m, p, d) of y's groups, of a learned cost of all `BatchFeatures`: the
    # gradient in them, perhaps made even
    pulls: Any
    offset: Array  # (1,): what makes the loss the dual value at the point of the solve


def make_regularized(oracle: Regularized, problem: Problem) -> Family:
    """The family of regularized transport between batches."""
    dual = RegularizedDual(oracle, problem)
    return Family(
        init=dual.init,
        solve=dual.solve,
        loss=dual.loss,
        generate=generator_alone(problem),
        gap_kind="certified",
        quantities=REGULARIZED,
        reads=dual.reads,
    )


@dataclass(frozen=True, eq=False)
class RegularizedDual:
    """The duals of a batch, and what their plans pull at."""

    oracle: Regularized
    problem: Problem

    def init(self, key: Array) -> Kept:
        """No potential is known; without a warm start none is kept."""
        del key
        return (jnp.full(self.problem.form.size, jnp.nan),) if self.oracle.warm_start else ()

    def solve(
        self, state: Kept, players: Players, data: BatchSource, key: Array
    ) -> tuple[Kept, Held, Info]:
        """All duals of the loss on one batch, and the pull of their plans."""
        state, held, info, _ = self.solve_to(self.fixed_epsilon, state, players, data, key)
        return state, one_update(held), info

    def fixed_epsilon(self, mean_cost: Array, scale: Array) -> Array:
        """The oracle's, in units of the cost, whatever scales lam."""
        del scale
        assert isinstance(self.oracle.epsilon, Amount)
        return jnp.asarray(self.oracle.epsilon.times(mean_cost))

    def solve_to(
        self,
        epsilon: Callable[[Array, Array], Array],
        state: Kept,
        players: Players,
        data: BatchSource,
        key: Array,
    ) -> tuple[Kept, Held, Info, BatchFeatures]:
        """The same to an accuracy that a batch's mean cost and the scale of its lam give, in units
        of the cost; what is held is without an axis of updates, beside what the cost sees.
        """
        places, drawn = self.draw(players, data, key)
        features = self.features(players, data, drawn)
        known = state[0][places] if self.oracle.warm_start else None
        pulls, info, f = self.pulled(features, epsilon, self.scale(key), known)
        if self.oracle.warm_start:
            state = (state[0].at[places].set(hold(f)), *state[1:])
        held = Held(drawn, pulls, info["dual_value"] - _along(pulls, self.moving(features)))
        return state, held, {**info, "examples": self.examples(drawn)}, features

    def pulled(
        self,
        features: BatchFeatures,
        epsilon: Callable[[Array, Array], Array],
        scale: Array,
        known: Float[Array, " n"] | None = None,
    ) -> tuple[Any, Info, Float[Array, " n"]]:
        """The pulls on features that move, what the duals behind them came to, and potentials of
        the real examples.

        Args:
            features: what the cost sees of a batch.
            epsilon: see `solve_to`.
            scale: lam is so many times the oracle's.
            known: potentials of the real examples to start from.
        """
        oracle, cost, each = self.oracle, self.problem.cost, self.problem.each(self.oracle.parts)
        problems = problems_of(features, cost.joint, oracle.parts)
        rows = block_rows(oracle, cost, problems)
        mean_cost = mean_cost_of(problems, oracle.loss, cost, each, rows)
        amounts = Amounts(
            jnp.asarray(oracle.lam.times(mean_cost) * scale),
            epsilon(mean_cost, scale),
            jnp.asarray(oracle.tau.times(mean_cost)) if oracle.tau.finite else None,
        )
        duals, solved = solve_problems(oracle, cost, problems, amounts, each, rows, known)
        pulls = together(
            [stack.pulls for stack in solved], self.moving(features), cost.joint, oracle.parts
        )
        terms = terms_of(oracle.loss, features, cost.learned)
        return (
            even(pulls) if oracle.pulls == "even" else pulls,
            _info(terms, shares_of(problems), duals, mean_cost, amounts),
            solved[0].f[0],
        )

    def loss(self, held: Held, players: Players, data: BatchSource) -> Array:
        """What is seen times its pull, and what makes it the dual value."""
        return (
            _along(held.pulls, self.moving(self.features(players, data, held.drawn))) + held.offset
        )

    def gradient(self, held: Held, players: Players, data: BatchSource) -> Any:
        """Of the loss, in the generator's parameters."""
        moved = lambda generator: self.loss(held, players._replace(generator=generator), data)  # noqa: E731
        return jax.grad(moved)(players.generator)

    def scale(self, key: Array) -> Float[Array, ""]:
        """What lam is multiplied by in this step."""
        scales = jnp.asarray(self.oracle.lam_scales)
        return scales[0] if scales.size == 1 else random.choice(_keys(key).scale, scales)

    def draw(self, players: Players, data: BatchSource, key: Array) -> tuple[Array, Drawn]:
        """A batch, with all that it needs, and where its real examples stand in the data."""
        keys = _keys(key)
        places = self.problem.draw_places(data, keys.x)
        drawn = Drawn(self.reals(players, data, places), self.problem.draw_latents(data, keys.z))
        if self.oracle.self_term == "independent":
            drawn = drawn._replace(second=self.draw_second(players, data, keys.second))
        return places, drawn

    def reads(self, data: BatchSource, key: Array) -> Int[Array, " k"]:
        """Where the real examples of such batches stand."""
        keys = _keys(key)
        places = [self.problem.draw_places(data, keys.x)]
        if self.oracle.self_term == "independent" and self.problem.cost.learned:
            places.append(self.problem.draw_places(data, jax.random.split(keys.second)[0]))
        return jnp.concatenate(places)

    def draw_second(self, players: Players, data: BatchSource, key: Array) -> Any:
        """The other batch of independent self terms: of a cost that nobody trains the features of
        generated examples alone.
        """
        if not self.problem.cost.learned:
            return self.generated(players, data, self.problem.draw_latents(data, key))
        key_x, key_z = jax.random.split(key)
        x = self.reals(players, data, self.problem.draw_places(data, key_x))
        return x, self.problem.draw_latents(data, key_z)

    def reals(self, players: Players, data: BatchSource, places: Array) -> Any:
        """Of a learned cost the examples, for what it sees of them will change; else what it
        sees.
        """
        return (
            self.problem.reals_at(data, places)
            if self.problem.cost.learned
            else self.problem.real_features(players, data, places)
        )

    def generated(self, players: Players, data: BatchSource, z: Array) -> Groups:
        """What the cost sees of generated examples."""
        return self.problem.features(players, data, self.problem.generate(players.generator, z))

    def features(self, players: Players, data: BatchSource, drawn: Drawn) -> BatchFeatures:
        """What the cost sees of a batch, with the players as they are."""
        y = self.generated(players, data, drawn.z)
        if not self.problem.cost.learned:
            return BatchFeatures(drawn.x, y, y2=drawn.second)
        features = BatchFeatures(self.problem.features(players, data, drawn.x), y)
        if drawn.second is None:
            return features
        x2, z2 = drawn.second
        return features._replace(
            x2=self.problem.features(players, data, x2), y2=self.generated(players, data, z2)
        )

    def moving(self, features: BatchFeatures) -> Any:
        """The features that follow a player."""
        return moving(features, self.problem.cost.learned)

    def examples(self, drawn: Drawn) -> int:
        """How many the solve looks at."""
        size, reals = self.problem.size, self.problem.reals
        return (
            reals + size + (0 if drawn.second is None else size + self.problem.cost.learned * reals)
        )


def even(pulls: Groups) -> Groups:
    """The pulls on m examples of k groups, (m, d) or in windows (m, p, d), made equally strong: a
    group's to a length of 1 / (k m).

    That is the root mean square over the examples; each of a group's p windows has a p-th of it, as
    in the mean of the loss.
    """

    def made(pull: Array) -> Array:
        squares = jnp.mean(jnp.sum(pull**2, axis=-1), axis=0)
        strength = jnp.sqrt(jnp.maximum(squares, LEAST)) * len(pull) * squares.size * len(pulls)
        return pull / strength[None, ..., None]

    return tuple(made(pull) for pull in pulls)


def _along(pulls: Any, features: Any) -> Array:
    """What is seen times its pull, summed."""
    pairs = zip(jax.tree.leaves(pulls), jax.tree.leaves(features), strict=True)
    return jnp.sum(
        jnp.stack([jnp.vdot(pull, group, precision=lax.Precision.HIGHEST) for pull, group in pairs])
    )


def _info(
    terms: list[Term],
    shares: Float[np.ndarray, " k"],
    duals: Duals,
    mean_cost: Array,
    amounts: Amounts,
) -> Info:
    """Of several duals the largest gap (each is held to epsilon) and the sum of iterations; of the
    loss that they make, what bounds it.
    """
    least, most = interval(terms, shares, duals)
    return {
        "dual_value": weighted(terms, shares, duals.value),
        "dual_gap": jnp.max(duals.gap),
        "dual_floor": jnp.max(duals.floor),
        "dual_iterations": jnp.sum(duals.iterations),
        "dual_converged": jnp.all(duals.converged),
        "loss_at_least": least,
        "loss_at_most": most,
        "misplaced_mass": jnp.max(duals.misplaced),
        "lam": amounts.lam,
        "lam_over_mean_cost": amounts.lam / mean_cost,
        "epsilon": amounts.epsilon,
        "epsilon_over_mean_cost": amounts.epsilon / mean_cost,
        "mean_cost": mean_cost,
    }
