"""The loop of every run: dispatch many steps at once (`otgan.dispatch`), do what is due, finish.

It knows no family.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from otgan.assembly import TrainSetup
from otgan.batches import as_bytes
from otgan.checkpoints import Checkpoints
from otgan.config import Config
from otgan.data import Dataset
from otgan.dispatch import Progress, StopReason, advance, compile_dispatch, picture_steps, spent
from otgan.errors import UserError
from otgan.metrics.points import WITHIN, reference_points
from otgan.pictures import save_scatter, save_sheet
from otgan.records import Recorder
from otgan.results.again import resume
from otgan.results.quantities import TOTALS, Known
from otgan.results.state import RunState
from otgan.runs import RunFolder
from otgan.signals import at_once, interruptible
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


def train(setup: TrainSetup, folder: RunFolder, show: Show) -> RunResult:
    """Train, from the newest checkpoint in the folder if there is one, to the config's last step or
    second.

    A run that a signal ends has said so in its status; of one that an error ends the caller says it
    (`otgan.results.ending`).

    Raises:
        UserError: the checkpoint does not fit.
        OSError: the folder cannot be written any more.
    """
    config, mesh, system, data = setup.config, setup.mesh, setup.system, setup.data
    everywhere, known = NamedSharding(mesh, PartitionSpec()), system.stepper.known
    data = jax.device_put(data, everywhere)
    state = jax.jit(system.stepper.init, out_shardings=everywhere)(setup.initial)
    with interruptible() as interrupted, Checkpoints(folder.checkpoints) as checkpoints:
        checkpoints.tidy()
        progress, resumed = Progress(), checkpoints.newest is not None
        if resumed:
            state, numbers = checkpoints.restore(state)
            progress = Progress(**numbers)
        dispatch = compile_dispatch(
            system.stepper, state, data, mesh, config.oracle.on_budget == "stop"
        )
        folder.write_status(
            RunState.RUNNING, progress.step, progress.seconds, summarize(progress, known)
        )
        show.begin(progress, resumed)
        with Recorder(folder, progress.step) as recorder:
            stop, saved = None, time.monotonic()
            while not stop and not spent(config, progress) and not interrupted:
                state, stop = advance(config, known, dispatch, state, data, progress, recorder)
                show.advance(progress)
                # the end is drawn by finish
                if progress.step in picture_steps(config) and progress.step < config.train.steps:
                    draw(setup, state, folder, progress.step)
                if eval_due(config, progress.step):
                    # judging may take longer than training
                    keep(checkpoints, folder, state, progress, known)
                    score(setup, state, folder, progress)
                if time.monotonic() - saved > config.train.checkpoint_seconds:
                    keep(checkpoints, folder, state, progress, known)
                    saved = time.monotonic()
        keep(checkpoints, folder, state, progress, known)
        checkpoints.wait()
        cut = StopReason(
            RunState.INTERRUPTED,
            f"interrupted after step {progress.step}; go on with: {resume(folder.path)}",
        )
        # said before the end is drawn and judged: who stopped the run may not wait for that
        if stop or interrupted:
            conclude(folder, progress, stop or cut, summarize(progress, known))
        stop = stop or (
            cut
            if interrupted and not spent(config, progress)
            else StopReason(RunState.FINISHED, "")
        )
        return finish(setup._replace(data=data), state, folder, progress, stop, cut)


# --- what is due ----------------------------------------------------------------------------------


def eval_due(config: Config, step: int) -> bool:
    """Whether the generator is judged after a step; the last one is judged by `finish`."""
    every = config.train.eval_every
    return every is not None and step % every == 0 and step < config.train.steps


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
        shown = np.asarray(setup.data.examples)[np.asarray(mask)]
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


def keep(
    checkpoints: Checkpoints, folder: RunFolder, state: TrainState, progress: Progress, known: Known
) -> None:
    """Save the state and say how far the run is."""
    checkpoints.save(progress.step, state, asdict(progress))
    folder.write_status(
        RunState.RUNNING, progress.step, progress.seconds, summarize(progress, known)
    )


def finish(
    setup: TrainSetup,
    state: TrainState,
    folder: RunFolder,
    progress: Progress,
    stop: StopReason,
    cut: StopReason,
) -> RunResult:
    """Draw and judge the end, and write the last status.

    The state is kept by now, so an interruption ends it at once.
    """
    known = setup.system.stepper.known
    summary = {
        **summarize(progress, known),
        "gap_kind": setup.system.family.gap_kind,
        "gap_of": setup.config.oracle.REACHING,
    }
    try:
        with at_once():
            draw(setup, state, folder, progress.step)
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
    except KeyboardInterrupt:
        stop = cut if stop.state is RunState.FINISHED else stop
    conclude(folder, progress, stop, summary)
    picture = folder.picture(progress.step)
    return RunResult(
        stop.state,
        progress,
        summary,
        known,
        str(picture) if picture.is_file() else "",
        str(folder.path),
        stop.reason,
    )


def conclude(
    folder: RunFolder, progress: Progress, stop: StopReason, summary: dict[str, Any]
) -> None:
    """Say how the run ended."""
    folder.write_status(stop.state, progress.step, progress.seconds, summary, stop.reason)


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
    that no solve has seen.
    """
    players = state.players._replace(generator=state.average)
    numbers = jax.jit(setup.system.family.final_metrics)(
        state.dual, players, setup.data, setup.held_out, jax.random.key(JUDGE_SEED)
    )
    # what cannot be said yet is left out
    return {name: float(value) for name, value in numbers.items() if not jnp.isnan(value)}


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
