"""Dispatches: many steps in one compiled program, what they came to, and how many are next.

It knows no family.

A dispatch runs as many steps as asked, up to a fixed room for their records. So a run that is
stopped anywhere and resumed computes the same bits as one that was not, however the steps fell into
dispatches. Where seconds are limited, schedules go by a clock, which no two runs share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from otgan.batches import BatchSource
from otgan.budgets import USED_BY, picture_steps, pictures_due, share_used
from otgan.config import Config, Train
from otgan.feeding import Supply, make_feed
from otgan.layout import here, spread
from otgan.records import Recorder, windows
from otgan.results.quantities import TOTALS, Known
from otgan.results.state import RunState
from otgan.step import Stepper, TrainState, absurd, healthy, must_be_finite
from otgan.system import System

ROOM = 500  # steps in one dispatch at most
# seconds that a dispatch should take: often enough for a live bar and for Ctrl-C, rare enough for
# Python not to matter
PACE = 0.5
FAR_OFF = 0.5  # misplaced mass from which on a step is counted
STILL = 100  # steps in a row without any gradient, after which a run ends


@dataclass
class Progress:
    """The loop's own numbers, which every checkpoint carries."""

    step: int = 0
    seconds: float = 0.0  # of training: without compilation, pictures, checkpoints
    solved: int = 0  # duals solved: as many as steps, where a solve is not cut into chunks
    converged: int = 0  # those that reached epsilon
    # steps that moved by a plan with more than half of its mass in the wrong place
    far_off: int = 0
    blurred: int = 0  # steps whose epsilon is below what rounding alone makes of the gap
    dual_iterations: int = 0
    still: int = 0  # steps in a row, up to here, in which the generator had no gradient at all
    generator_steps: int = 0  # updates of the generator
    examples: int = 0  # real and generated ones that the solves looked at
    last: dict[str, Any] = field(default_factory=dict)  # the newest window
    scores: dict[str, float] = field(default_factory=dict)  # the newest, by metric
    floors: dict[str, float] = field(default_factory=dict)  # theirs
    unjudged: str = ""  # why there are none

    @property
    def steps_per_second(self) -> float:
        """Training steps in a second of training."""
        return self.step / self.seconds if self.seconds else 0.0

    @property
    def used(self) -> dict[str, float]:
        """What counts against the budgets, by name as in `metrics.jsonl`."""
        return {name: getattr(self, name) for name in USED_BY.values()}

    @property
    def converged_share(self) -> float:
        """The share of solved duals that reached epsilon."""
        return self.converged / self.solved if self.solved else 0.0


class StopReason(NamedTuple):
    """How a run must end, and why."""

    state: RunState  # finished, interrupted by the user, stopped by its own rule, or diverged
    reason: str
    signal: int | None = None  # that interrupted it


class Clock(NamedTuple):
    """What is used of the budgets, besides steps, before a step of a dispatch."""

    generator_steps: Array | np.ndarray
    seconds: Array | np.ndarray
    pace: Array | np.ndarray  # seconds that a step is taken to last

    def after(self, generator_steps: Array) -> Clock:
        """One step later, which had so many updates of the generator."""
        return self._replace(
            generator_steps=self.generator_steps + generator_steps,
            seconds=self.seconds + self.pace,
        )


def make_clock(generator_steps: int, seconds: float, pace: float) -> Clock:
    """A clock of these numbers."""
    return Clock(
        np.asarray(generator_steps, np.int32),
        np.asarray(seconds, np.float32),
        np.asarray(pace, np.float32),
    )


def clock_of(progress: Progress) -> Clock:
    """The clock where a dispatch begins."""
    pace = progress.seconds / progress.step if progress.step else 0.0
    return make_clock(progress.generator_steps, progress.seconds, pace)


class Dispatched(NamedTuple):
    """What a dispatch hands back."""

    state: TrainState
    records: Mapping[str, Array | np.ndarray]  # by name: the first `taken` are filled
    taken: Array | int  # steps tried; fewer than asked where one halted


class Part(NamedTuple):
    """What the compiled program hands back: a dispatch, or as much of it as its data suffice
    for.
    """

    state: TrainState
    records: dict[str, Array]
    clock: Clock
    taken: Array
    halted: Array


Dispatch = Callable[[TrainState, int, Clock], Dispatched]


def stepper_at(system: System, train: Train, state: TrainState, clock: Clock) -> Stepper:
    """What takes the next step: its schedules go by the share of the budget that is used.

    Families count their own steps, so they are told what the steps come to in all: now the run's
    own number, now what its steps so far come to by that share.
    """
    if train.seconds is None and train.generator_steps is None:
        return system.stepper
    used = {"step": state.solves, **clock._asdict()}
    share = jnp.stack(
        [
            jnp.asarray(used[name] / budget, jnp.float32)
            for key, name in USED_BY.items()
            if (budget := getattr(train, key.rpartition(".")[2])) is not None
        ]
    ).max()
    begun = (state.solves > 0) & (share > 0)
    return system.lasting(
        jnp.where(begun, state.solves / jnp.where(begun, share, 1.0), float(train.steps))
    )


def compile_dispatch(
    system: System, state: TrainState, data: BatchSource, mesh: Mesh, config: Config
) -> Dispatch:
    """The compiled program that takes `count` steps, or fewer: it halts at a step that is broken
    or, if the config says so, not certified. Where data are in a file it runs as often as these
    steps need other batches than those at hand.

    All processes of a run compile and call it together, with the same numbers.
    """
    strict = config.oracle.on_budget == "stop"

    def many(state: TrainState, supply: Supply, count: Array, clock: Clock) -> Part:
        first = supply.of_step(state.solves)
        shapes = jax.eval_shape(lambda s: system.stepper.step(s, first)[1], state)
        room = {name: jnp.zeros(ROOM, value.dtype) for name, value in shapes.items()}

        def go_on(carry):
            state, *_, taken, halted = carry
            return (taken < count) & ~halted & supply.reaches(state.solves)

        def one(carry):
            state, room, clock, taken, _ = carry
            data = supply.of_step(state.solves)
            state, record = stepper_at(system, config.train, state, clock).step(state, data)
            room = {name: values.at[taken].set(record[name]) for name, values in room.items()}
            halted = ~healthy(record, system.stepper.known) | (
                strict & record["ready"] & ~record["dual_converged"]
            )
            return state, room, clock.after(record["generator_steps"]), taken + 1, halted

        start = (state, room, clock, jnp.zeros((), jnp.int32), jnp.asarray(False))
        return Part(*lax.while_loop(go_on, one, start))

    everywhere = NamedSharding(mesh, PartitionSpec())
    jitted = jax.jit(many, donate_argnums=0, out_shardings=everywhere)
    numbers = spread((np.zeros((), np.int32), clock_of(Progress())), mesh)
    feed = make_feed(system.stepper, data, mesh, ROOM)
    program = jitted.lower(state, feed.at(here(state.solves)), *numbers).compile()

    def dispatch(state: TrainState, count: int, clock: Clock) -> Dispatched:
        parts: list[Part] = []
        while not parts or (count and not bool(parts[-1].halted)):
            now = spread((np.asarray(count, np.int32), clock), mesh)
            part = jax.block_until_ready(program(state, feed.at(here(state.solves)), *now))
            state, clock, count = part.state, part.clock, count - int(part.taken)
            parts.append(part)
        return _together(parts)

    return dispatch


def _together(parts: list[Part]) -> Dispatched:
    last = parts[-1]
    if len(parts) == 1:
        return Dispatched(last.state, last.records, last.taken)
    filled = [
        {name: np.asarray(values)[: int(part.taken)] for name, values in part.records.items()}
        for part in parts
    ]
    records = {name: np.concatenate([one[name] for one in filled]) for name in last.records}
    return Dispatched(last.state, records, sum(int(part.taken) for part in parts))


def advance(
    config: Config,
    known: Known,
    dispatch: Dispatch,
    state: TrainState,
    progress: Progress,
    recorder: Recorder,
) -> tuple[TrainState, StopReason | None]:
    """One dispatch: as many steps as fit the pace, up to what is due next.

    Returns the state, and how the run must end, if it must.
    """
    count = _count(config, progress)
    began = time.monotonic()
    steps = dispatch(state, count, clock_of(progress))
    progress.seconds += time.monotonic() - began
    records = {
        name: np.asarray(values)[: int(steps.taken)] for name, values in steps.records.items()
    }
    stop, sound = _stop_reason(records, progress.step, config.oracle.on_budget == "stop", known)
    records = {name: values[:sound] for name, values in records.items()}
    for window in windows(records, progress.step + 1, config.train.log_every, known):
        for total in TOTALS:
            setattr(progress, total, getattr(progress, total) + int(window[total]))
        recorder.write(
            {
                **window,
                **{total: getattr(progress, total) for total in TOTALS},
                "seconds": round(progress.seconds, 3),
            }
        )
        progress.last = {**progress.last, **window}
    progress.step += sound
    progress.solved += int(records["ready"].sum())
    progress.converged += int((records["ready"] & records["dual_converged"]).sum())
    progress.far_off += int((records.get("misplaced_mass", np.zeros(sound)) > FAR_OFF).sum())
    progress.blurred += int((records.get("dual_floor", np.zeros(sound)) > records["epsilon"]).sum())
    progress.still = _still(records, progress.still)
    return steps.state, stop or _saturated(progress)


def _still(records: dict[str, np.ndarray], before: int) -> int:
    """How many updates in a row, up to the last, had a gradient that is exactly zero."""
    moved = np.flatnonzero(records["gradient_norm"][records["generator_steps"] > 0])
    updates = int((records["generator_steps"] > 0).sum())
    return updates - 1 - int(moved[-1]) if len(moved) else before + updates


def _saturated(progress: Progress) -> StopReason | None:
    """Whether nothing can change any more: a loss that has a minimum is never so flat."""
    if progress.still < STILL:
        return None
    return StopReason(
        RunState.DIVERGED,
        f"the generator's gradient has been exactly zero for {progress.still} steps, up to step"
        f" {progress.step}: its samples are saturated, and nothing would change any more. Lower"
        " generator.optimizer.learning_rate, or warm up: --set generator.optimizer.warmup=100",
    )


def _stop_reason(
    records: dict[str, np.ndarray], before: int, strict: bool, known: Known
) -> tuple[StopReason | None, int]:
    """Whether a dispatch's last step must be the run's last; and how many of its steps count."""
    taken = len(records["loss"])
    at = f"at step {before + taken}"
    broken = [
        f"{name} became {records[name][-1]}"
        for name in must_be_finite(records, known)
        if not np.isfinite(records[name][-1])
    ]
    if broken:
        return (
            StopReason(
                RunState.DIVERGED, f"{' and '.join(broken)} {at}; the last good state is kept"
            ),
            taken - 1,
        )
    newest = {name: values[-1] for name, values in records.items()}
    if absurd(newest):
        off = (
            f"{newest['misplaced_mass']:.0%} of the plan's mass is in the wrong place {at}, after"
            " all iterations of its dual"
        )
        return (
            StopReason(
                RunState.DIVERGED,
                f"{off}: raise oracle.lam or oracle.max_iterations; the last good state is kept",
            ),
            taken - 1,
        )
    if strict and records["ready"][-1] and not records["dual_converged"][-1]:
        gap, epsilon = records["dual_gap"][-1], records["epsilon"][-1]
        reason = (
            f"the dual {at} has a gap of {gap:.3g}, above epsilon {epsilon:.3g}, after all its"
            " iterations (on_budget = stop)"
        )
        return StopReason(RunState.STOPPED, reason), taken
    return None, taken


def _count(config: Config, progress: Progress) -> int:
    """Steps in the next dispatch: what the pace allows, in whole windows, and no further than the
    next picture or judgment, or the end.
    """
    train, step = config.train, progress.step
    every = train.log_every
    paced = min(int(PACE * progress.steps_per_second), _steps_to_picture(config, progress))
    whole = every - step % every  # after a halt inside a window, first to its end
    due = min(at for at in picture_steps(train) if at > step)
    if train.eval_every is not None:
        due = min(due, (step // train.eval_every + 1) * train.eval_every)
    left = _steps_to(config, progress, 1.0)
    return min(max(paced // every * every - step % every, whole), ROOM, due - step, left)


def _steps_to_picture(config: Config, progress: Progress) -> int:
    """Steps until other budgets than that of steps want the next picture, as things stand."""
    pictures = config.train.pictures
    return _steps_to(config, progress, (pictures_due(config.train, progress.used) + 1) / pictures)


def _steps_to(config: Config, progress: Progress, share: float) -> int:
    """Steps until so much is used of other budgets than that of steps, as things stand, at least
    one: a step updates the generator about once, or more often.
    """
    train, left = config.train, [float(ROOM)]
    if train.generator_steps is not None:
        left.append(share * train.generator_steps - progress.generator_steps)
    if train.seconds is not None and progress.step:
        left.append((share * train.seconds - progress.seconds) * progress.steps_per_second)
    return max(1, math.ceil(min(left)))


def spent(config: Config, progress: Progress) -> bool:
    """Whether any of the run's budgets is."""
    return share_used(config.train, progress.used) >= 1
