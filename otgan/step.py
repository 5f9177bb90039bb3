"""One alternation, for every family: solve the dual, hold it fixed, move a player. Pure; the loop compiles and drives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Int

from otgan.clouds import Clouds
from otgan.config import Config, Optimizer
from otgan.models import Network
from otgan.oracles import Family, Players

Record = dict[str, Array]  # scalars of one step

MUST_BE_FINITE = ("dual_value", "dual_gap", "loss", "gradient_norm", "parameter_norm")


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

    init: Callable[[], TrainState]
    step: Callable[[TrainState, Clouds], tuple[TrainState, Record]]


def make_stepper(config: Config, family: Family, generator: Network, encoder: Network | None) -> Stepper:
    """The alternation of a config's family and players."""
    begin, go_on = jax.random.split(jax.random.key(config.train.seed))
    move = _make_move(config, family)

    def init() -> TrainState:
        keys = jax.random.split(begin, 3)
        players = Players(generator.init(keys[0]), encoder.init(keys[1]) if encoder else None)
        moments = Players(*(_adam(o).init(p) for o, p in zip(_optimizers(config), players, strict=True)))
        average = jax.tree.map(jnp.copy, players.generator)
        return TrainState(players, moments, average, family.init(keys[2]), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def step(state: TrainState, clouds: Clouds) -> tuple[TrainState, Record]:
        key = jax.random.fold_in(go_on, state.solves)
        dual, held, info = family.solve(state.dual, state.players, clouds, key)
        solved = state._replace(dual=dual, solves=state.solves + 1)
        alone = len(jax.tree.leaves(held)[0]) == 1  # then inlined: the solve's forward passes serve the loss as well
        moved, seen = lax.scan(lambda s, part: move(s, part, clouds), solved, held, unroll=alone)
        after = jax.tree.map(lambda new, old: jnp.where(info["ready"], new, old), moved, solved)
        record = {**info, **jax.tree.map(lambda values: values[-1], seen)}
        return _unless_broken(after, state, record), record

    return Stepper(init, step)


def healthy(record: Record) -> Array:
    """Whether all that steers the run is finite, given one step's record."""
    return jnp.all(jnp.isfinite(jnp.stack([record[name] for name in MUST_BE_FINITE])))


def _unless_broken(after: TrainState, before: TrainState, record: Record) -> TrainState:
    """A step with a number that is not finite leaves no trace in the state."""
    ok = healthy(record)
    return jax.tree.map(lambda new, old: jnp.where(ok, new, old), after, before)


def _make_move(config: Config, family: Family) -> Callable:
    """One update of the player whose turn it is, by the gradient of the loss at the fixed dual."""
    descend = _make_descent(config, family, "generator", 1.0)
    encoder = config.cost.encoder
    ascend = _make_descent(config, family, "encoder", -1.0) if encoder else descend

    def move(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        if encoder is None:
            state, seen = descend(state, held, clouds)
        else:
            turn = state.updates % (encoder.generator_updates + encoder.encoder_updates)
            state, seen = lax.cond(turn < encoder.generator_updates, descend, ascend, state, held, clouds)
        decay = jnp.minimum(config.generator.ema, (1 + state.updates) / (10 + state.updates))  # young averages forget faster
        average = jax.tree.map(lambda mean, p: mean + (1 - decay) * (p - mean), state.average, state.players.generator)
        return state._replace(average=average, updates=state.updates + 1), seen

    return move


def _make_descent(config: Config, family: Family, player: str, sign: float) -> Callable:
    """One Adam step of one player down `sign` times the loss."""
    optimizer: Optimizer = getattr(_optimizers(config), player)

    def descend(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        def objective(parameters: Any) -> Array:
            return sign * family.loss(held, state.players._replace(**{player: parameters}), clouds)

        parameters = getattr(state.players, player)
        value, gradient = jax.value_and_grad(objective)(parameters)
        direction, moments = _adam(optimizer).update(gradient, getattr(state.moments, player))
        rate = _rate(optimizer, state.solves / config.train.steps, state.updates)
        parameters = jax.tree.map(lambda p, d: p - rate * d, parameters, direction)
        players = state.players._replace(**{player: parameters})
        all_moments = state.moments._replace(**{player: moments})
        record = {"loss": sign * value, "gradient_norm": optax.tree.norm(gradient), "parameter_norm": optax.tree.norm(parameters)}
        return state._replace(players=players, moments=all_moments), record

    return descend


def _optimizers(config: Config) -> Players:
    return Players(config.generator.optimizer, (config.cost.encoder or config.generator).optimizer)


def _adam(optimizer: Optimizer) -> optax.GradientTransformation:
    clip = optax.identity() if optimizer.clip is None else optax.clip_by_global_norm(optimizer.clip)
    return optax.chain(clip, optax.scale_by_adam(optimizer.b1, optimizer.b2))


def _rate(optimizer: Optimizer, progress: Array, updates: Array) -> Array:
    """The learning rate: its rise goes by updates, its fall by the run's progress from 0 to 1."""
    shape = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(progress, 1.0))) if optimizer.schedule == "cosine" else jnp.ones_like(progress)
    return optimizer.learning_rate * shape * jnp.minimum((updates + 1) / (optimizer.warmup + 1), 1.0)
