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

MUST_BE_FINITE = ("dual_value", "dual_gap", "loss", "gradient_norm")


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
    seed = config.train.seed
    move = _make_move(config, family)

    def init() -> TrainState:
        keys = jax.random.split(jax.random.key(seed), 3)
        players = Players(generator.init(keys[0]), encoder.init(keys[1]) if encoder else None)
        moments = Players(*(_adam(o).init(p) for o, p in zip(_optimizers(config), players, strict=True)))
        average = jax.tree.map(jnp.copy, players.generator)
        return TrainState(players, moments, average, family.init(keys[2]), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def step(state: TrainState, clouds: Clouds) -> tuple[TrainState, Record]:
        key = jax.random.fold_in(jax.random.key(seed + 1), state.solves)
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
    encoder = config.cost.encoder

    def move_generator(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        def loss(parameters):
            return family.loss(held, state.players._replace(generator=parameters), clouds)

        value, gradient = jax.value_and_grad(loss)(state.players.generator)
        rate = _rate(config.generator.optimizer, config, state.updates)
        parameters, moments = _descend(config.generator.optimizer, rate, gradient, state.moments.generator, state.players.generator)
        decay = jnp.minimum(config.generator.ema, (1 + state.updates) / (10 + state.updates))  # young averages forget faster
        average = jax.tree.map(lambda mean, p: mean + (1 - decay) * (p - mean), state.average, parameters)
        players, all_moments = state.players._replace(generator=parameters), state.moments._replace(generator=moments)
        state = state._replace(players=players, moments=all_moments, average=average)
        return state, {"loss": value, "gradient_norm": optax.tree.norm(gradient)}

    def move_encoder(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        def adverse(parameters):
            return -family.loss(held, state.players._replace(encoder=parameters), clouds)

        value, gradient = jax.value_and_grad(adverse)(state.players.encoder)
        rate = _rate(encoder.optimizer, config, state.updates)
        parameters, moments = _descend(encoder.optimizer, rate, gradient, state.moments.encoder, state.players.encoder)
        players, all_moments = state.players._replace(encoder=parameters), state.moments._replace(encoder=moments)
        return state._replace(players=players, moments=all_moments), {"loss": -value, "gradient_norm": optax.tree.norm(gradient)}

    def move(state: TrainState, held: Any, clouds: Clouds) -> tuple[TrainState, Record]:
        if encoder is None:
            state, seen = move_generator(state, held, clouds)
        else:
            turn = state.updates % (encoder.generator_updates + encoder.encoder_updates)
            state, seen = lax.cond(turn < encoder.generator_updates, move_generator, move_encoder, state, held, clouds)
        return state._replace(updates=state.updates + 1), seen

    return move


def _optimizers(config: Config) -> Players:
    return Players(config.generator.optimizer, (config.cost.encoder or config.generator).optimizer)


def _adam(optimizer: Optimizer) -> optax.GradientTransformation:
    clip = optax.identity() if optimizer.clip is None else optax.clip_by_global_norm(optimizer.clip)
    return optax.chain(clip, optax.scale_by_adam(optimizer.b1, optimizer.b2))


def _rate(optimizer: Optimizer, config: Config, updates: Array) -> Array:
    progress = jnp.minimum(updates / config.train.steps, 1.0)
    shape = 0.5 * (1 + jnp.cos(jnp.pi * progress)) if optimizer.schedule == "cosine" else jnp.ones_like(progress)
    return optimizer.learning_rate * shape * jnp.minimum((updates + 1) / (optimizer.warmup + 1), 1.0)


def _descend(optimizer: Optimizer, rate: Array, gradient: Any, moments: Any, parameters: Any) -> tuple[Any, Any]:
    direction, moments = _adam(optimizer).update(gradient, moments)
    return jax.tree.map(lambda p, d: p - rate * d, parameters, direction), moments
