"""The loop of every run: dispatch many steps at once (`otgan.dispatch`), do what is due, finish. It knows no family."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from otgan.checkpoints import Checkpoints
from otgan.clouds import Clouds, as_bytes, hold_out, make_clouds
from otgan.config import Config
from otgan.data import Dataset, Form
from otgan.dispatch import Progress, Verdict, advance, compile_dispatch, picture_steps, spent
from otgan.errors import UserError
from otgan.evaluation.training import Scorer, make_scorer, numbers_at_end
from otgan.groups import Sight
from otgan.metrics.points import WITHIN, judged
from otgan.oracles import NOBODY, Players
from otgan.pictures import save_scatter, save_sheet
from otgan.records import Recorder
from otgan.results.quantities import TOTALS, Known
from otgan.results.state import RunState
from otgan.runs import RunFolder
from otgan.signals import at_once, interruptible
from otgan.step import TrainState
from otgan.system import System, build, make_mesh

SHOWN = 64  # images in a picture
JUDGE_SEED = 2018  # of the latents that are drawn or judged: the same for every run


class Show(Protocol):
    """Where a run's progress is shown."""

    def note(self, text: str) -> None:
        """Something begins that takes a while."""

    def begin(self, progress: Progress, resumed: bool) -> None:
        """The run is compiled and starts or goes on."""

    def advance(self, progress: Progress) -> None:
        """A dispatch is done."""


class Outcome(NamedTuple):
    """How a run ended."""

    state: RunState  # finished, interrupted, stopped or diverged
    progress: Progress
    summary: dict[str, Any]
    picture: str  # empty where the end was not drawn
    reason: str  # a sentence, where it did not finish


class Ready(NamedTuple):
    """All that a run needs and that may be refused, put together before its folder is touched."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    system: System
    clouds: Clouds
    given: Players  # parameters of players that do not start anew
    held_out: Clouds  # of examples that no solve sees
    scorer: Scorer | None = None  # judges the generator while it trains
    sight: dict[str, Any] | None = None  # what the folder says of the network that the cost looks through


def prepare(
    config: Config,
    dataset: Dataset,
    devices: int | None = None,
    source: Dataset | None = None,
    given: Players = NOBODY,
    sight: Sight | None = None,
) -> Ready:
    """Put a run together on the first `devices` devices, or on all.

    Args:
        config: the run.
        dataset: its data.
        devices: how many.
        source: the examples that take the place of a generator's.
        given: parameters of players that come from another run.
        sight: how a cost on a frozen network's layers looks at the data.

    Raises:
        UserError: the devices, the networks, the source or the way of drawing batches do not fit the data.
    """
    if source and source.shape != dataset.shape:
        raise UserError(f"the source's examples are of shape {source.shape}, the data's of shape {dataset.shape}: they must agree")
    mesh = make_mesh(devices)
    frozen, seen = (sight.parameters, sight.seen) if sight else (None, None)
    clouds = make_clouds(dataset, config.batch, config.generator.latent_dim, source, frozen, seen)
    system = build(config, Form.of(dataset), mesh, sight.network if sight else None)
    scorer = make_scorer(config, dataset, system, source)
    return Ready(config, dataset, mesh, system, clouds, given, hold_out(dataset, source), scorer, sight.record if sight else None)


def train(ready: Ready, folder: RunFolder, show: Show) -> Outcome:
    """Train, from the newest checkpoint in the folder if there is one, to the config's last step or second.

    A run that a signal ends has said so in its status; of one that an error ends the caller says it (`otgan.results.ending`).

    Raises:
        UserError: the checkpoint does not fit.
        OSError: the folder cannot be written any more.
    """
    config, _, mesh, system, clouds, given, *_ = ready
    everywhere, known = NamedSharding(mesh, PartitionSpec()), system.stepper.known
    clouds = jax.device_put(clouds, everywhere)
    state = jax.jit(system.stepper.init, out_shardings=everywhere)(given)
    with interruptible() as interrupted, Checkpoints(folder.checkpoints) as checkpoints:
        checkpoints.tidy()
        progress, resumed = Progress(), checkpoints.newest is not None
        if resumed:
            state, numbers = checkpoints.restore(state)
            progress = Progress(**numbers)
        dispatch = compile_dispatch(system.stepper, state, clouds, mesh, config.oracle.on_budget == "stop")
        folder.write_status(RunState.RUNNING, progress.step, progress.seconds, summarize(progress, known))
        show.begin(progress, resumed)
        with Recorder(folder, progress.step) as recorder:
            verdict, saved = None, time.monotonic()
            while not verdict and not spent(config, progress) and not interrupted:
                state, verdict = advance(config, known, dispatch, state, clouds, progress, recorder)
                show.advance(progress)
                if progress.step in picture_steps(config) and progress.step < config.train.steps:  # the end is drawn by finish
                    draw(ready, state, folder, progress.step)
                if eval_due(config, progress.step):
                    keep(checkpoints, folder, state, progress, known)  # judging may take longer than training
                    score(ready, state, folder, progress)
                if time.monotonic() - saved > config.train.checkpoint_seconds:
                    keep(checkpoints, folder, state, progress, known)
                    saved = time.monotonic()
        keep(checkpoints, folder, state, progress, known)
        checkpoints.wait()
        cut = Verdict(RunState.INTERRUPTED, f"interrupted after step {progress.step}; go on with: otgan run {folder.path}")
        if verdict or interrupted:  # said before the end is drawn and judged: who stopped the run may not wait for that
            conclude(folder, progress, verdict or cut, summarize(progress, known))
        verdict = verdict or (cut if interrupted and not spent(config, progress) else Verdict(RunState.FINISHED, ""))
        return finish(ready._replace(clouds=clouds), state, folder, progress, verdict, cut)


# --- what is due ----------------------------------------------------------------------------------------------------------------------


def eval_due(config: Config, step: int) -> bool:
    """Whether the generator is judged after a step; the last one is judged by `finish`."""
    every = config.train.eval_every
    return every is not None and step % every == 0 and step < config.train.steps


def score(ready: Ready, state: TrainState, folder: RunFolder, progress: Progress) -> None:
    """Judge the averaged generator, if the config asks for it. One that cannot be judged, as when it has collapsed, trains on."""
    if ready.scorer:
        try:
            progress.scores, progress.unjudged = ready.scorer(state, progress.step, folder.eval), ""
        except UserError as error:
            progress.scores, progress.unjudged = {}, str(error)


def draw(ready: Ready, state: TrainState, folder: RunFolder, step: int) -> None:
    """Draw samples of the averaged generator on latents that are the same at every step and in every run, and what the family exhibits."""
    dataset, path = ready.dataset, folder.picture(step)
    path.parent.mkdir(exist_ok=True)
    reference = judged(dataset)
    _picture(generate(ready, state, SHOWN if dataset.is_images else len(reference)), reference, dataset, path)
    for name, mask in ready.system.family.exhibits(state.dual).items():
        shown = np.asarray(ready.clouds.examples)[np.asarray(mask)]
        if len(shown):
            _picture(shown, reference, dataset, folder.exhibit(name, step), name.replace("-", " "))


def _picture(examples: np.ndarray, reference: np.ndarray, dataset: Dataset, path: Path, label: str = "generated") -> None:
    if dataset.is_images:
        save_sheet(examples[:SHOWN], path)
    else:
        save_scatter(examples, reference, path, dataset.centers, WITHIN * (dataset.sd or 0.0), label)


def generate(ready: Ready, state: TrainState, size: int) -> np.ndarray:
    """`size` samples of the averaged generator: points, or pictures as bytes."""
    samples = ready.system.sample(state.dual, state.average, jax.random.key(JUDGE_SEED), size, ready.clouds.source)
    return as_bytes(samples) if ready.dataset.is_images else np.asarray(samples)


def keep(checkpoints: Checkpoints, folder: RunFolder, state: TrainState, progress: Progress, known: Known) -> None:
    """Save the state and say how far the run is."""
    checkpoints.save(progress.step, state, asdict(progress))
    folder.write_status(RunState.RUNNING, progress.step, progress.seconds, summarize(progress, known))


def finish(ready: Ready, state: TrainState, folder: RunFolder, progress: Progress, verdict: Verdict, cut: Verdict) -> Outcome:
    """Draw and judge the end, and write the last status. The state is kept by now, so an interruption ends it at once."""
    known = ready.system.stepper.known
    summary = {**summarize(progress, known), "gap_kind": ready.system.family.gap_kind, "gap_of": ready.config.oracle.REACHING}
    try:
        with at_once():
            draw(ready, state, folder, progress.step)
            if verdict.state is not RunState.DIVERGED:
                score(ready, state, folder, progress)
            found = {**judge(ready, state, folder, progress.step), **assess(ready, state)}
            summary = {**found, **summary, **summarize(progress, known), **found}  # of one name, that of the end
            summary |= {name: said for name, said in (("scores", progress.scores), ("unjudged", progress.unjudged)) if said}
    except KeyboardInterrupt:
        verdict = cut if verdict.state is RunState.FINISHED else verdict
    conclude(folder, progress, verdict, summary)
    picture = folder.picture(progress.step)
    return Outcome(verdict.state, progress, summary, str(picture) if picture.is_file() else "", verdict.reason)


def conclude(folder: RunFolder, progress: Progress, verdict: Verdict, summary: dict[str, Any]) -> None:
    """Say how the run ended."""
    folder.write_status(verdict.state, progress.step, progress.seconds, summary, verdict.reason)


def judge(ready: Ready, state: TrainState, folder: RunFolder, step: int) -> dict[str, Any]:
    """The numbers of points that every summary has; none of images. Of samples that cannot be judged, why."""
    if ready.dataset.is_images:
        return {}
    try:
        return numbers_at_end(ready.config, ready.dataset, ready.system, state, ready.clouds.source, step, folder.eval)
    except UserError as error:
        return {"unjudged": str(error)}


def assess(ready: Ready, state: TrainState) -> dict[str, Any]:
    """What the family measures of itself at the end, with the averaged generator, also on examples that no solve has seen."""
    players = state.players._replace(generator=state.average)
    numbers = jax.jit(ready.system.family.assess)(state.dual, players, ready.clouds, ready.held_out, jax.random.key(JUDGE_SEED))
    return {name: float(value) for name, value in numbers.items() if not jnp.isnan(value)}  # what cannot be said yet is left out


def summarize(progress: Progress, known: Known) -> dict[str, Any]:
    """What a summary holds for every run: of its last window what is declared to stand there, then its totals."""
    return {
        **{name: progress.last[name] for name, quantity in known.items() if quantity.summarized and name in progress.last},
        "converged_share": progress.converged_share,
        **({"far_off_steps": progress.far_off} if progress.far_off else {}),
        "seconds": progress.seconds,
        **{total: getattr(progress, total) for total in TOTALS},
        "dual_iterations_per_step": progress.dual_iterations / progress.step if progress.step else 0.0,
        "steps_per_second": progress.steps_per_second,
        "peak_memory_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """The most memory held so far: the fullest device's where it says so, else the process's."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    on_devices = max(s.get("peak_bytes_in_use", 0) for s in stats)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return on_devices or resident * (1 if sys.platform == "darwin" else 1024)
