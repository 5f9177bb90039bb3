"""One alternation, for every family: solve the dual, hold it fixed, move a player.

Pure; the loop compiles and drives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Int

from otgan.batches import BatchSource
from otgan.config import Config, Optimizer
from otgan.optim import averaged, descent
from otgan.optim import descend as step_down
from otgan.oracles import NOBODY, Family, Players
from otgan.oracles.contract import Info
from otgan.problem import Problem
from otgan.results.quantities import KNOWN, OF_UPDATES, Known, known

Record = dict[str, Array]  # scalars of one step

ABSURD = 0.9  # misplaced mass of a plan that nobody should follow


class TrainState(NamedTuple):
    """Everything that a run needs to go on exactly.

    Two clocks: solves key the randomness, updates drive schedules and turns.
    """

    players: Players
    moments: Players  # of the descent, of each player
    average: Any  # exponential moving average of the generator's parameters
    dual: Any  # what the family keeps between solves
    solves: Int[Array, ""]
    updates: Int[Array, ""]


@dataclass(frozen=True, eq=False)
class Stepper:
    """A run's arithmetic: where it starts, and how it goes on."""

    config: Config
    family: Family
    problem: Problem

    def init(self, initial: Players = NOBODY) -> TrainState:
        """The state before the first step.

        The players that `initial` has parameters of start there.
        """
        keys = jax.random.split(self._keys[0], 3)
        fresh = (
            network.init(key) if network else None
            for network, key in zip(self.problem.networks, keys, strict=False)
        )
        players = Players(
            *(new if old is None else old for old, new in zip(initial, fresh, strict=True))
        )
        moments = Players(
            *(descent(o).init(p) for o, p in zip(self.optimizers, players, strict=True))
        )
        average = jax.tree.map(jnp.copy, players.generator)
        return TrainState(
            players,
            moments,
            average,
            self.family.init(keys[2]),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
        )

    def step(self, state: TrainState, data: BatchSource) -> tuple[TrainState, Record]:
        """One alternation, and what it came to.

        A step with a number that is not finite leaves no trace in the state.
        """
        key = self._key(state.solves)
        dual, held, info = self.family.solve(state.dual, state.players, data, key)
        solved = state._replace(dual=dual, solves=state.solves + 1)
        after, moved = self._move_where_ready(info, solved, held, data)
        record = {
            name: jnp.asarray(value) for name, value in {"ready": True, **info, **moved}.items()
        }
        return unless_broken(after, state, record, self.known), record

    def reads(self, data: BatchSource, solves: Int[Array, ""]) -> Int[Array, " k"]:
        """Where the real examples stand that the step after so many solves looks at; of a family
        that says so.
        """
        assert self.family.reads is not None
        return self.family.reads(data, self._key(solves))

    @property
    def known(self) -> Known:
        """What the numbers of its records are."""
        return known(self.family.quantities)

    @property
    def optimizers(self) -> Players:
        """The players' sections of the config."""
        return Players(self.config.generator.optimizer, self.config.cost.encoder.optimizer)

    def _key(self, solves: Int[Array, ""]) -> Array:
        return jax.random.fold_in(self._keys[1], solves)

    @property
    def _keys(self) -> Array:
        """Of the start, and of the steps."""
        with jax.ensure_compile_time_eval():
            return jax.random.split(jax.random.key(self.config.train.seed))

    def _move_where_ready(
        self, info: Info, solved: TrainState, held: Any, data: BatchSource
    ) -> tuple[TrainState, Record]:
        move_all = partial(self._move_all, held=held, data=data)
        if self.family.always_ready:
            if "ready" in info:
                raise ValueError(
                    "a family whose info says when it is ready must be made with always_ready=False"
                )
            return move_all(solved)
        nothing = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(move_all, solved)[1]
        )
        return lax.cond(info["ready"], move_all, lambda state: (state, nothing), solved)

    def _move_all(
        self, state: TrainState, held: Any, data: BatchSource
    ) -> tuple[TrainState, Record]:
        """One update for each held part. Records are means over them, but counts are sums."""
        # then inlined: the solve's forward passes serve the loss as well
        alone = len(jax.tree.leaves(held)[0]) == 1
        state, numbers = lax.scan(
            lambda s, part: self._move(s, part, data), state, held, unroll=alone
        )
        return state, {
            name: jnp.mean(values) if name in OF_UPDATES else jnp.sum(values)
            for name, values in numbers.items()
        }

    def _move(self, state: TrainState, held: Any, data: BatchSource) -> tuple[TrainState, Record]:
        """One update of the player whose turn it is, by the gradient of the loss at the fixed
        dual.
        """
        descend = (
            partial(self._descend, "generator", 1.0) if self.config.trains_generator else self._look
        )
        if self.config.cost.learned:
            encoder = self.config.cost.encoder
            turn = state.updates % (encoder.generator_updates + encoder.encoder_updates)
            ascend = partial(self._descend, "encoder", -1.0)
            moved, numbers = lax.cond(
                turn < encoder.generator_updates, descend, ascend, state, held, data
            )
        else:
            moved, numbers = descend(state, held, data)
        return moved._replace(updates=state.updates + 1), {
            **numbers,
            "updates": jnp.ones((), jnp.int32),
        }

    def _look(self, state: TrainState, held: Any, data: BatchSource) -> tuple[TrainState, Record]:
        """The loss of players that do not move."""
        loss = self.family.loss(held, state.players, data)
        return state, {
            **_norms(loss, {}, state.players.generator),
            "generator_steps": jnp.zeros((), jnp.int32),
        }

    def _descend(
        self, player: str, sign: float, state: TrainState, held: Any, data: BatchSource
    ) -> tuple[TrainState, Record]:
        """One step of one player down `sign` times the loss."""

        def objective(parameters: Any) -> Array:
            return sign * self.family.loss(
                held, state.players._replace(**{player: parameters}), data
            )

        optimizer: Optimizer = getattr(self.optimizers, player)
        parameters, moments = getattr(state.players, player), getattr(state.moments, player)
        value, gradient = jax.value_and_grad(objective)(parameters)
        progress = state.solves / self.problem.steps
        parameters, moments = step_down(
            optimizer, gradient, parameters, moments, progress, state.updates
        )
        generates = player == "generator"
        state = state._replace(
            players=state.players._replace(**{player: parameters}),
            moments=state.moments._replace(**{player: moments}),
            average=(
                averaged(state.average, parameters, state.updates, self.config.generator.ema)
                if generates
                else state.average
            ),
        )
        return state, {
            **_norms(sign * value, gradient, parameters),
            "generator_steps": jnp.asarray(int(generates), jnp.int32),
        }


def healthy(record: Record, known: Known = KNOWN) -> Array:
    """Whether all that must be is finite and no plan is absurd, given one step's record."""
    return jnp.all(
        jnp.isfinite(jnp.stack([record[name] for name in must_be_finite(record, known)]))
    ) & ~absurd(record)


def must_be_finite(record: Mapping[str, Any], known: Known = KNOWN) -> list[str]:
    """The numbers of a record without which the run has diverged, in the order of the table."""
    return [name for name, quantity in known.items() if quantity.must_be_finite and name in record]


def absurd(record: Mapping[str, Any]) -> Any:
    """Whether a dual that did not reach epsilon left a plan with nearly all of its mass in the
    wrong place; one step's record, or many.
    """
    return (record.get("misplaced_mass", jnp.zeros(())) > ABSURD) & ~record["dual_converged"]


def unless_broken(
    after: TrainState, before: TrainState, record: Record, known: Known = KNOWN
) -> TrainState:
    """A step with a number that is not finite leaves no trace in the state."""
    ok = healthy(record, known)
    return jax.tree.map(lambda new, old: jnp.where(ok, new, old), after, before)


def _norms(loss: Array, gradient: Any, parameters: Any) -> Record:
    norms = {
        "gradient_norm": optax.tree.norm(gradient),
        "parameter_norm": optax.tree.norm(parameters),
    }
    return {"loss": loss, **{name: jnp.asarray(norm, loss.dtype) for name, norm in norms.items()}}
