"""The loop of every run: dispatch many steps at once (`otgan.dispatch`), do what is due, finish.

It knows no family.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from otgan.assembly import TrainSetup
from otgan.batches import BatchSource, as_bytes, rows_at
from otgan.budgets import pictures_due
from otgan.checkpoints import Checkpoints
from otgan.config import Config
from otgan.data import Dataset
from otgan.dispatch import Progress, StopReason, advance, compile_dispatch, spent
from otgan.errors import UserError
from otgan.evaluation.maps import against_truth
from otgan.following import agreed, begin, led, let_go
from otgan.hosts import ALONE, Hosts
from otgan.layout import here
from otgan.loggers import Loggers
from otgan.metrics.points import WITHIN, reference_points
from otgan.pictures import save_scatter, save_sheet
from otgan.records import Recorder
from otgan.results.ending import note_ending
from otgan.results.quantities import TOTALS, Known
from otgan.results.state import RunState
from otgan.runs import RunFolder
from otgan.signals import Halted, at_once, exit_code_of, interruptible
from otgan.step import TrainState

SHOWN = 64  # images in a picture
JUDGE_SEED = 2018  # of the latents that are drawn or judged: the same for every run


@runtime_checkable
class Show(Protocol):
    """Where a run's progress is shown."""

    def note(self, text: str) -> None:
        """Something begins that takes a while."""

    def begin(self, progress: Progress, resumed: bool) -> None:
        """The run is compiled and starts or goes on."""

    def advance(self, progress: Progress) -> None:
        """A dispatch is done."""


class RunResult(NamedTuple):
    """How a run ended, and where to look."""

    state: RunState  # finished, interrupted, stopped or diverged
    progress: Progress
    summary: dict[str, Any]
    known: Known  # what its numbers are
    picture: str  # empty where the end was not drawn
    folder: str
    reason: str  # a sentence, where it did not finish
    signal: int | None = None  # that interrupted it

    @property
    def exit_code(self) -> int:
        """Of the command that trained it."""
        return self.state.exit_code if self.signal is None else exit_code_of(self.signal)


def train(setup: TrainSetup, folder: RunFolder, show: Show, hosts: Hosts = ALONE) -> RunResult:
    """Train, from the newest checkpoint in the folder if there is one, to the config's last step or
    second.

    Other processes of the run follow, and are let go when its steps are done. A run that a signal
    ends has said so in its status; of one that an error ends the caller says it
    (`otgan.results.ending`).

    Raises:
        UserError: the checkpoint does not fit.
        OSError: the folder cannot be written any more.
    """
    known = setup.system.stepper.known
    with at_once():
        data, state = begin(setup)
    with (
        interruptible(last_words=partial(stopped_at_once, folder)) as interrupted,
        Checkpoints(folder.checkpoints) as checkpoints,
        Loggers(folder, setup.config, show.note) as loggers,
    ):
        run = Workplace(
            setup._replace(data=here(data)), folder, checkpoints, loggers, show, hosts, interrupted
        )
        hosts.underway(partial(left_alone, folder))
        state, progress, stop = proceed(run, state, data)
        state, signals = here(state), run.signals
        if signals:
            show.note(f"{RunState.INTERRUPTED}: saving the state; Ctrl-C again stops at once")
        keep(run, state, progress)
        checkpoints.wait()
        cut = StopReason(
            RunState.INTERRUPTED,
            f"interrupted after step {progress.step}; go on with: {folder.again}",
            signals[0] if signals else None,
        )
        # said before the end is drawn and judged: who stopped the run may not wait for that
        if stop or signals:
            conclude(folder, progress, stop or cut, summarize(progress, known))
        stop = stop or (
            cut
            if signals and not spent(setup.config, progress)
            else StopReason(RunState.FINISHED, "")
        )
        let_go(hosts, stop)
        return finish(run, state, progress, stop, cut)


class Workplace(NamedTuple):
    """What a run works with."""

    setup: TrainSetup
    folder: RunFolder
    checkpoints: Checkpoints
    loggers: Loggers
    show: Show
    hosts: Hosts
    interrupted: Sequence[int]  # the signals that this process was given

    @property
    def signals(self) -> list[int]:
        """Those that any process of the run was given."""
        return [*self.interrupted, *self.hosts.asked]


def proceed(
    run: Workplace, state: TrainState, data: BatchSource
) -> tuple[TrainState, Progress, StopReason | None]:
    """Take steps, from the newest checkpoint if there is one, until the run ends or is
    interrupted.

    Returns where it stands, and how it must end, if it must.

    Raises:
        UserError: the checkpoint does not fit.
        OSError: the folder cannot be written any more.
    """
    setup, folder, config = run.setup, run.folder, run.setup.config
    run.checkpoints.tidy()
    progress, resumed = Progress(), run.checkpoints.newest is not None
    if resumed:
        kept = run.checkpoints.restore(here(state))
        state, progress = kept.state, Progress(**kept.numbers)
        for step, why in kept.damaged.items():
            there = run.checkpoints.set_aside(step)
            run.show.note(
                f"the checkpoint of step {step} is damaged ({why}) and now in {there}; that of step"
                f" {kept.step} is taken in its place"
            )
    running(run, progress)
    state = agreed(state, setup)
    dispatch = led(compile_dispatch(setup.system, state, data, setup.mesh, config), run.hosts)
    run.show.begin(progress, resumed)
    known, stop, saved = setup.system.stepper.known, None, time.monotonic()
    drawn = pictures_due(config.train, progress.used)
    with Recorder(folder, progress.step, run.loggers) as recorder:
        if resumed and eval_due(config, progress):  # perhaps it was killed while it was judged
            score(setup, here(state), folder, progress)
        while not stop and not spent(config, progress) and not run.signals:
            state, stop = advance(config, known, dispatch, state, progress, recorder)
            run.show.advance(progress)
            due = pictures_due(config.train, progress.used)
            if due > drawn and not spent(config, progress):  # the end is drawn by finish
                draw(setup, here(state), folder, progress.step)
                run.loggers.picture(progress.step, folder.picture(progress.step))
            drawn, judged = due, eval_due(config, progress)
            if judged or time.monotonic() - saved > config.train.checkpoint_seconds:
                recorder.flush()  # who goes on from here writes nothing of earlier steps again
                keep(run, state, progress)
                saved = time.monotonic()
            if judged:  # after it is kept: judging may take longer than training
                score(setup, here(state), folder, progress)
    return state, progress, stop


# --- what is due ----------------------------------------------------------------------------------


def eval_due(config: Config, progress: Progress) -> bool:
    """Whether the generator is judged after a step; the last one is judged by `finish`."""
    every = config.train.eval_every
    return every is not None and progress.step % every == 0 and not spent(config, progress)


def score(setup: TrainSetup, state: TrainState, folder: RunFolder, progress: Progress) -> None:
    """Judge the averaged generator, if the config asks for it.

    One that cannot be judged, as when it has collapsed, trains on.
    """
    if setup.config.train.eval_every is not None:
        try:
            scores = setup.judge.while_training(state, progress.step, folder.eval)
            progress.scores = {score.protocol.metric: score.mean for score in scores}
            progress.floors = {
                score.protocol.metric: score.floor for score in scores if score.floor is not None
            }
            progress.unjudged = ""
        except UserError as error:
            progress.scores, progress.floors, progress.unjudged = {}, {}, str(error)


def draw(setup: TrainSetup, state: TrainState, folder: RunFolder, step: int) -> None:
    """Draw samples of the averaged generator on latents that are the same at every step and in
    every run, and what is highlighted.
    """
    dataset, path = setup.dataset, folder.picture(step)
    path.parent.mkdir(exist_ok=True)
    reference = reference_points(dataset)
    _picture(
        generate(setup, state, SHOWN if dataset.is_images else len(reference)),
        reference,
        dataset,
        path,
    )
    for name, mask in setup.system.family.highlighted(state.dual).items():
        shown = np.asarray(rows_at(setup.data.examples, jnp.flatnonzero(mask)))
        if len(shown):
            _picture(
                shown, reference, dataset, folder.highlight(name, step), name.replace("-", " ")
            )


def _picture(
    examples: np.ndarray,
    reference: np.ndarray,
    dataset: Dataset,
    path: Path,
    label: str = "generated",
) -> None:
    if dataset.is_images:
        save_sheet(examples[:SHOWN], path)
    else:
        save_scatter(
            examples, reference, path, dataset.centers, WITHIN * (dataset.sd or 0.0), label
        )


def generate(setup: TrainSetup, state: TrainState, size: int) -> np.ndarray:
    """`size` samples of the averaged generator: points, or pictures as bytes."""
    samples = setup.system.sample(
        state.dual, state.average, jax.random.key(JUDGE_SEED), size, setup.data.source
    )
    return as_bytes(samples) if setup.dataset.is_images else np.asarray(samples)


def keep(run: Workplace, state: TrainState, progress: Progress) -> None:
    """Save the state and say how far the run is."""
    run.checkpoints.save(progress.step, state, asdict(progress))
    running(run, progress)


def running(run: Workplace, progress: Progress) -> None:
    """Say that the run is at work, and how far."""
    summary = summarize(progress, run.setup.system.stepper.known)
    run.folder.write_status(RunState.RUNNING, progress.step, progress.seconds, summary)


def finish(
    run: Workplace, state: TrainState, progress: Progress, stop: StopReason, cut: StopReason
) -> RunResult:
    """Draw and judge the end, and write the last status.

    The state is kept by now, so an interruption ends it at once.
    """
    setup, folder, picture = run.setup, run.folder, run.folder.picture(progress.step)
    known = setup.system.stepper.known
    summary = {
        **summarize(progress, known),
        "gap_kind": setup.system.family.gap_kind,
        "gap_of": setup.config.oracle.REACHING,
        "held_out": len(setup.dataset.test),
    }
    try:
        with at_once():
            draw(setup, state, folder, progress.step)
            run.loggers.picture(progress.step, picture)
            if stop.state is not RunState.DIVERGED:
                score(setup, state, folder, progress)
            found = {**judge(setup, state, folder, progress.step), **final_metrics(setup, state)}
            # of one name, that of the end
            summary = {**found, **summary, **summarize(progress, known), **found}
            summary |= {
                name: said
                for name in ("scores", "floors", "unjudged")
                if (said := getattr(progress, name))
            }
    except Halted as halted:
        stop = cut._replace(signal=halted.number) if stop.state is RunState.FINISHED else stop
    conclude(folder, progress, stop, summary)
    if stop.state is RunState.FINISHED:
        run.loggers.finish()
    return RunResult(
        stop.state,
        progress,
        summary,
        known,
        str(picture) if picture.is_file() else "",
        str(folder.path),
        stop.reason,
        stop.signal,
    )


def conclude(
    folder: RunFolder, progress: Progress, stop: StopReason, summary: dict[str, Any]
) -> None:
    """Say how the run ended."""
    folder.write_status(stop.state, progress.step, progress.seconds, summary, stop.reason)


def stopped_at_once(folder: RunFolder, number: int) -> None:
    """Say that a second signal ended a run that could not be broken off otherwise: it goes on from
    its newest whole checkpoint.
    """
    note_ending(folder, RunState.INTERRUPTED, f"stopped at once; go on with: {folder.again}")
    said = (
        f"\n{RunState.INTERRUPTED}: stopped at once by {signal.Signals(number).name}; go on with:"
    )
    os.write(2, f"{said} {folder.again}\n".encode())


def left_alone(folder: RunFolder, reason: str) -> str:
    """Say that another process is gone; the run goes on from its newest whole checkpoint."""
    said = f"{reason}; start all processes again to go on with: {folder.again}"
    note_ending(folder, RunState.INTERRUPTED, said)
    return f"{RunState.INTERRUPTED}: {said}"


def judge(setup: TrainSetup, state: TrainState, folder: RunFolder, step: int) -> dict[str, Any]:
    """The numbers of points that every summary has; none of images.

    Of samples that cannot be judged, why.
    """
    if setup.dataset.is_images:
        return {}
    try:
        return setup.judge.at_end(state, step, folder.eval)
    except UserError as error:
        return {"unjudged": str(error)}


def final_metrics(setup: TrainSetup, state: TrainState) -> dict[str, Any]:
    """What the family measures of itself at the end, with the averaged generator, also on examples
    that no solve has seen; and how far its map is from the true one, where that is given.
    """
    players = state.players._replace(generator=state.average)
    numbers = jax.jit(setup.system.anywhere.final_metrics)(
        state.dual, players, setup.data, setup.held_out, jax.random.key(JUDGE_SEED)
    )
    if setup.truth:
        numbers |= against_truth(setup.system.anywhere, state.dual, setup.truth)
    # what cannot be said yet is left out
    return {name: float(value) for name, value in numbers.items() if not math.isnan(value)}


def summarize(progress: Progress, known: Known) -> dict[str, Any]:
    """What a summary holds for every run: of its last window what is declared to stand there, then
    its totals.
    """
    return {
        **{
            name: progress.last[name]
            for name, quantity in known.items()
            if quantity.summarized and name in progress.last
        },
        "converged_share": progress.converged_share,
        **({"far_off_steps": progress.far_off} if progress.far_off else {}),
        "seconds": progress.seconds,
        **{total: getattr(progress, total) for total in TOTALS},
        "dual_iterations_per_step": (
            progress.dual_iterations / progress.step if progress.step else 0.0
        ),
        "steps_per_second": progress.steps_per_second,
        "peak_memory_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """The most memory held so far: the fullest device's where it says so, else the process's."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    on_devices = max(s.get("peak_bytes_in_use", 0) for s in stats)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return on_devices or resident * (1 if sys.platform == "darwin" else 1024)
