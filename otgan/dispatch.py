"""Dispatches: many steps in one compiled program, what they came to, and how many are next.

It knows no family.

A dispatch runs as many steps as asked, up to a fixed room for their records. So a run that is
stopped anywhere and resumed computes the same bits as one that was not, however the steps fell into
dispatches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from otgan.batches import BatchSource
from otgan.config import Config
from otgan.records import Recorder, windows
from otgan.results.quantities import TOTALS, Known
from otgan.results.state import RunState
from otgan.step import Stepper, TrainState, absurd, healthy, must_be_finite

ROOM = 500  # steps in one dispatch at most
# seconds that a dispatch should take: often enough for a live bar and for Ctrl-C, rare enough for
# Python not to matter
PACE = 0.5
FAR_OFF = 0.5  # misplaced mass from which on a step is counted


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
    def converged_share(self) -> float:
        """The share of solved duals that reached epsilon."""
        return self.converged / self.solved if self.solved else 0.0


class StopReason(NamedTuple):
    """How a run must end, and why."""

    state: RunState  # finished, interrupted by the user, stopped by its own rule, or diverged
    reason: str


class Dispatched(NamedTuple):
    """What a dispatch hands back."""

    state: TrainState
    records: dict[str, Array]  # by name, (ROOM,): the first `taken` are filled
    taken: Array  # steps tried; fewer than asked where one halted


def compile_dispatch(
    stepper: Stepper, state: TrainState, data: BatchSource, mesh: Mesh, strict: bool
) -> Callable[..., Dispatched]:
    """The compiled program that takes `count` steps, or fewer: it halts at a step that is broken
    or, if strict, not certified.
    """

    def many(state: TrainState, data: BatchSource, count: Array) -> Dispatched:
        shapes = jax.eval_shape(lambda s: stepper.step(s, data)[1], state)
        room = {name: jnp.zeros(ROOM, value.dtype) for name, value in shapes.items()}

        def go_on(carry):
            _, _, taken, halted = carry
            return (taken < count) & ~halted

        def one(carry):
            state, room, taken, _ = carry
            state, record = stepper.step(state, data)
            room = {name: values.at[taken].set(record[name]) for name, values in room.items()}
            halted = ~healthy(record, stepper.known) | (
                strict & record["ready"] & ~record["dual_converged"]
            )
            return state, room, taken + 1, halted

        start = (state, room, jnp.zeros((), jnp.int32), jnp.asarray(False))
        return Dispatched(*lax.while_loop(go_on, one, start)[:3])

    everywhere = NamedSharding(mesh, PartitionSpec())
    jitted = jax.jit(many, donate_argnums=0, out_shardings=everywhere)
    return jitted.lower(
        state, data, jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    ).compile()


def advance(
    config: Config,
    known: Known,
    dispatch: Callable[..., Dispatched],
    state: TrainState,
    data: BatchSource,
    progress: Progress,
    recorder: Recorder,
) -> tuple[TrainState, StopReason | None]:
    """One dispatch: as many steps as fit the pace, up to what is due next.

    Returns the state, and how the run must end, if it must.
    """
    count = _count(config, progress)
    began = time.monotonic()
    steps = jax.block_until_ready(dispatch(state, data, jnp.asarray(count, jnp.int32)))
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
    return steps.state, stop


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
    next picture or the end.
    """
    every = config.train.log_every
    paced = int(PACE * progress.steps_per_second) // every * every
    picture = min(step for step in picture_steps(config) if step > progress.step)
    judged = config.train.eval_every or picture
    due = min(picture, (progress.step // judged + 1) * judged)
    whole = every - progress.step % every  # after a halt inside a window, first to its end
    budget = config.train.generator_steps
    # a step updates the generator about once, or more often
    left = ROOM if budget is None else budget - progress.generator_steps
    return min(max(paced - progress.step % every, whole), ROOM, due - progress.step, left)


def spent(config: Config, progress: Progress) -> bool:
    """Whether any of the run's budgets is."""
    train = config.train
    late = train.seconds is not None and progress.seconds >= train.seconds
    enough = train.generator_steps is not None and progress.generator_steps >= train.generator_steps
    return progress.step >= train.steps or late or enough


def picture_steps(config: Config) -> set[int]:
    """The steps after which samples are drawn: evenly spread, the last step among them."""
    steps, pictures = config.train.steps, config.train.pictures
    return {max(1, round(steps * (i + 1) / pictures)) for i in range(pictures)}
