"""One alternation, for every family: solve the dual, hold it fixed, move a player. Pure; the loop compiles and drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Int

from otgan.clouds import Clouds
from otgan.config import Config, Optimizer
from otgan.optim import adam, averaged
from otgan.optim import descend as step_down
from otgan.oracles import NOBODY, Family, Players
from otgan.results.quantities import KNOWN, OF_UPDATES, Known, known

Record = dict[str, Array]  # scalars of one step

ABSURD = 0.9  # misplaced mass of a plan that nobody should follow


class TrainState(NamedTuple):
    """Everything that a run needs to go on exactly. Two clocks: solves key the randomness, updates drive schedules and turns."""

    players: Players
    moments: Players  # Adam's, of each player
    average: Any  # exponential moving average of the generator's parameters
    dual: Any  # what the family keeps between solves
    solves: Int[Array, ""]
    updates: Int[Array, ""]


class Stepper(NamedTuple):
    """A run's arithmetic: where it starts, and how it goes on."""

    init: Callable[..., TrainState]  # takes the parameters of players that do not start anew; by default all do
    step: Callable[[TrainState, Clouds], tuple[TrainState, Record]]
    known: Known  # what the numbers of its records are


def make_stepper(config: Config, family: Family, networks: Players) -> Stepper:
    """The alternation of a config's family and players."""
    begin, go_on = jax.random.split(jax.random.key(config.train.seed))
    move, numbers = _make_move(config, family), known(family.quantities)

    def init(given: Players = NOBODY) -> TrainState:
        keys = jax.random.split(begin, 3)
        fresh = (network.init(key) if network else None for network, key in zip(networks, keys, strict=False))
        players = Players(*(new if old is None else old for old, new in zip(given, fresh, strict=True)))
        moments = Players(*(adam(o).init(p) for o, p in zip(_optimizers(config), players, strict=True)))
        average = jax.tree.map(jnp.copy, players.generator)
        return TrainState(players, moments, average, family.init(keys[2]), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def step(state: TrainState, clouds: Clouds) -> tuple[TrainState, Record]:
        key = jax.random.fold_in(go_on, state.solves)
        dual, held, info = family.solve(state.dual, state.players, clouds, key)
        solved = state._replace(dual=dual, solves=state.solves + 1)
        after, seen = _move_where_ready(move, info["ready"], solved, held, clouds)
        record = {name: jnp.asarray(value) for name, value in {**info, **seen}.items()}
        return unless_broken(after, state, record, numbers), record

    return Stepper(init, step, numbers)


def healthy(record: Record, known: Known = KNOWN) -> Array:
    """Whether all that must be is finite and no plan is absurd, given one step's record."""
    return jnp.all(jnp.isfinite(jnp.stack([record[name] for name in must_be_finite(record, known)]))) & ~absurd(record)


def must_be_finite(record: Mapping[str, Any], known: Known = KNOWN) -> list[str]:
    """The numbers of a record without which the run has diverged, in the order of the table."""
    return [name for name, quantity in known.items() if quantity.must_be_finite and name in record]


def absurd(record: Record) -> Any:
    """Whether a dual that did not reach epsilon left a plan with nearly all of its mass in the wrong place; one step's record, or many."""
    return (record.get("misplaced_mass", jnp.zeros(())) > ABSURD) & ~record["dual_converged"]


def _move_where_ready(move: Callable, ready: Any, solved: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
    """One update for each held part, where the dual is ready. Records are means over them, but counts are sums."""
    parts = len(jax.tree.leaves(held)[0])

    def move_all(state: TrainState) -> tuple[TrainState, Record]:
        alone = parts == 1  # then inlined: the solve's forward passes serve the loss as well
        state, seen = lax.scan(lambda s, part: move(s, part, clouds), state, held, unroll=alone)
        return state, {name: jnp.mean(values) if name in OF_UPDATES else jnp.sum(values) for name, values in seen.items()}

    if ready is True:
        return move_all(solved)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(move_all, solved)[1])
    return lax.cond(ready, move_all, lambda state: (state, nothing), solved)


def unless_broken(after: TrainState, before: TrainState, record: Record, known: Known = KNOWN) -> TrainState:
    """A step with a number that is not finite leaves no trace in the state."""
    ok = healthy(record, known)
    return jax.tree.map(lambda new, old: jnp.where(ok, new, old), after, before)


def _make_move(config: Config, family: Family) -> Callable:
    """One update of the player whose turn it is, by the gradient of the loss at the fixed dual."""
    descend = _make_descent(config, family, "generator", 1.0) if config.trains_generator else _make_look(family)
    encoder = config.cost.encoder
    ascend = _make_descent(config, family, "encoder", -1.0)

    def move(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        if config.cost.learned:
            turn = state.updates % (encoder.generator_updates + encoder.encoder_updates)
            moved, seen = lax.cond(turn < encoder.generator_updates, descend, ascend, state, held, clouds)
        else:
            moved, seen = descend(state, held, clouds)
        return moved._replace(updates=state.updates + 1), {**seen, "updates": jnp.ones((), jnp.int32)}

    return move


def _make_look(family: Family) -> Callable:
    """The loss of players that do not move."""

    def look(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        loss = family.loss(held, state.players, clouds)
        return state, {**_norms(loss, {}, state.players.generator), "generator_steps": jnp.zeros((), jnp.int32)}

    return look


def _make_descent(config: Config, family: Family, player: str, sign: float) -> Callable:
    """One Adam step of one player down `sign` times the loss."""
    optimizer: Optimizer = getattr(_optimizers(config), player)
    generates = player == "generator"

    def descend(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        def objective(parameters: Any) -> Array:
            return sign * family.loss(held, state.players._replace(**{player: parameters}), clouds)

        parameters = getattr(state.players, player)
        value, gradient = jax.value_and_grad(objective)(parameters)
        moments, progress = getattr(state.moments, player), state.solves / config.train.steps
        parameters, moments = step_down(optimizer, gradient, parameters, moments, progress, state.updates)
        state = state._replace(
            players=state.players._replace(**{player: parameters}),
            moments=state.moments._replace(**{player: moments}),
            average=averaged(state.average, parameters, state.updates, config.generator.ema) if generates else state.average,
        )
        return state, {**_norms(sign * value, gradient, parameters), "generator_steps": jnp.asarray(int(generates), jnp.int32)}

    return descend


def _norms(loss: Array, gradient: Any, parameters: Any) -> Record:
    norms = {"gradient_norm": optax.tree.norm(gradient), "parameter_norm": optax.tree.norm(parameters)}
    return {"loss": loss, **{name: jnp.asarray(norm, loss.dtype) for name, norm in norms.items()}}


def _optimizers(config: Config) -> Players:
    return Players(config.generator.optimizer, config.cost.encoder.optimizer)
