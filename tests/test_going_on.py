"""Runs by seconds, runs that go further than they were begun for, and what is said on the way."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan import dispatch, loop
from otgan.batches import BatchSource
from otgan.config import Train
from otgan.dispatch import Clock, Progress, stepper_at
from otgan.errors import UserError
from otgan.launch import launch
from otgan.runs import RunFolder, command_again
from tests.support.commands import SMALL, TINY, otgan
from tests.support.helpers import FAMILIES, Notes, Silent, run, setup, tiny_config

pytestmark = pytest.mark.slow

# plain descent at a rate that starts at once
PLAIN = {"generator.optimizer.warmup": 0, "train.steps": 10**6}


def status(path):
    return json.loads((Path(path) / "status.json").read_text())


def windows(path):
    lines = (Path(path) / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


# --- schedules by seconds -------------------------------------------------------------------------


def clock(seconds=0.0, generator_steps=0):
    return Clock(jnp.asarray(generator_steps), jnp.asarray(seconds), jnp.asarray(0.0))


def length(together, train: Train, solves, at):
    """How far one step moves the generator."""

    @jax.jit
    def step(state, data: BatchSource, at):
        return stepper_at(together.system, train, state, at).step(state, data)[0]

    before = together.system.stepper.init()._replace(solves=jnp.asarray(solves, jnp.int32))
    after = step(before, jax.tree.map(jnp.asarray, together.data), at)
    pairs = zip(jax.tree.leaves(before.players), jax.tree.leaves(after.players), strict=True)
    return float(sum(jnp.abs(a - b).sum() for a, b in pairs))


@pytest.mark.parametrize(
    ("budget", "at"),
    [
        ({"train.seconds": 10.0}, {"seconds": 10.0}),
        ({"train.generator_steps": 400}, {"generator_steps": 400}),
    ],
)
def test_a_cosine_goes_by_the_share_of_the_budget(budget, at):
    config = tiny_config(**PLAIN, **budget)
    together = setup(config)
    ((name, whole),) = at.items()
    # the same batch each time: only the rate differs
    first, half, end = (
        length(together, config.train, 300, clock(**{name: type(whole)(share * whole)}))
        for share in (0.0, 0.5, 1.0)
    )
    assert half == pytest.approx(first / 2, rel=0.01)  # at a step's end, which is one of 300
    assert end < 1e-6 * first


def test_steps_end_a_cosine_where_they_are_fewer():
    config = tiny_config(**{**PLAIN, "train.steps": 400, "train.seconds": 1e9})
    together = setup(config)
    assert length(together, config.train, 400, clock(1.0)) < 1e-6 * length(
        together, config.train, 1, clock(1.0)
    )


@pytest.mark.parametrize("which", ["neural kl", "critic", "convex"])
def test_what_a_family_trains_goes_by_it_too(which):
    name, changes = FAMILIES[which]
    changes = {"oracle.optimizer.schedule": "cosine", **changes, **PLAIN, "train.seconds": 10.0}
    config = tiny_config(name, **changes)
    together = setup(config)

    @jax.jit
    def step(state, data: BatchSource, at):
        return stepper_at(together.system, config.train, state, at).step(state, data)[0]

    data = jax.tree.map(jnp.asarray, together.data)
    # it counts its own steps, so it must have taken one
    state = step(together.system.stepper.init(), data, clock(0.0))
    moved = []
    for seconds in (0.1, 10.0):
        after = step(state, data, clock(seconds))
        parameters = [
            jax.tree.leaves(getattr(each.dual, "potentials", each.dual).parameters)
            if which != "convex"
            else jax.tree.leaves(each.dual.potential)
            for each in (state, after)
        ]
        moved.append(sum(float(jnp.abs(a - b).sum()) for a, b in zip(*parameters, strict=True)))
    assert moved[0] > 0
    assert moved[1] < 1e-4 * moved[0]


class Ticking:
    """A clock by which a dispatch takes a tenth of a second a step, whatever it takes."""

    def __init__(self, monkeypatch):
        self.now, self.shares, self.seconds = 0.0, [], 1.0
        monkeypatch.setattr(dispatch.time, "monotonic", lambda: self.now)
        real = dispatch.compile_dispatch

        def compiled(*args):
            program = real(*args)

            def dispatched(state, count, at):
                found = program(state, count, at)
                last = float(at.seconds) + (int(count) - 1) * float(at.pace)
                self.shares.append((float(at.seconds) / self.seconds, last / self.seconds))
                self.now += 0.1 * int(found.taken)
                return found

            return dispatched

        monkeypatch.setattr(loop, "compile_dispatch", compiled)


def test_a_run_by_seconds_ends_its_schedule_and_its_pictures_with_them(tmp_path, monkeypatch):
    ticking = Ticking(monkeypatch)
    ticking.seconds = 12.0
    changes = {"train.seconds": 12.0, "train.steps": 10**6, "train.pictures": 4}
    folder, outcome = run(tiny_config(**changes), tmp_path / "run")
    assert outcome.state == "finished"
    assert outcome.progress.step == 120
    steps = [int(path.stem.split("-")[1]) for path in sorted(folder.path.glob("samples/*.png"))]
    assert steps == [30, 60, 90, 120]
    firsts, lasts = zip(*ticking.shares, strict=True)
    assert lasts[-1] == pytest.approx(119 / 120, abs=1e-3)
    assert list(firsts) == sorted(firsts)
    # without jumps, once there is a pace
    assert all(b - a < 0.02 for a, b in zip(lasts[1:], firsts[2:], strict=False))


def test_a_run_by_seconds_goes_on_where_its_schedule_was(tmp_path, monkeypatch):
    ticking = Ticking(monkeypatch)
    ticking.seconds = 12.0
    config = tiny_config(**{"train.seconds": 12.0, "train.steps": 10**6, "train.pictures": 4})

    class Stop(Silent):
        def advance(self, progress):
            if progress.step >= 60:
                signal.raise_signal(signal.SIGINT)

    assert run(config, tmp_path / "run", Stop())[1].state == "interrupted"
    before = ticking.shares[-1][1]
    folder, outcome = run(config, tmp_path / "run")
    assert outcome.progress.step == 120
    after = next(first for first, _ in ticking.shares[len(ticking.shares) // 4 :] if first > before)
    assert after - before < 0.02
    assert len([*folder.path.glob("samples/*.png")]) >= 4


def test_generator_steps_end_a_cosine_to_the_same_bits_wherever_it_stops(tmp_path):
    config = tiny_config(**{"train.steps": 10**6, "train.generator_steps": 40})

    class Stop(Silent):
        def advance(self, progress):
            signal.raise_signal(signal.SIGINT)

    whole, _ = run(config, tmp_path / "whole")
    assert run(config, tmp_path / "parts", Stop())[1].state == "interrupted"
    parts, _ = run(config, tmp_path / "parts")
    numbers = [windows(folder.path) for folder in (whole, parts)]
    assert numbers[0] == numbers[1]
    assert numbers[0][-1]["step"] == 40


# --- going further --------------------------------------------------------------------------------


def test_a_run_goes_further_and_is_the_longer_run_where_no_rate_falls(tmp_path):
    constant = {"generator.optimizer.schedule": "constant"}
    short, long = (tiny_config(**constant, **{"train.steps": steps}) for steps in (20, 40))
    assert launch(short, tmp_path / "a", {}, None, None, Silent()).state == "finished"
    notes = Notes()
    assert launch(long, tmp_path / "a", {}, None, None, notes).state == "finished"
    assert "goes on for longer: train.steps (20 there, 40 now)" in notes.said
    launch(long, tmp_path / "b", {}, None, None, Silent())
    assert windows(tmp_path / "a") == windows(tmp_path / "b")
    assert RunFolder(tmp_path / "a").read_config() == RunFolder(tmp_path / "b").read_config()
    environment = RunFolder(tmp_path / "a").read_environment()
    told = [environment, *environment["resumed"]]
    assert [each["budgets"]["train.steps"] for each in told] == [20, 40]


def test_where_a_rate_falls_it_is_said_that_it_is_another_run(tmp_path):
    short, long = (tiny_config(**{"train.steps": steps}) for steps in (20, 40))
    launch(short, tmp_path / "a", {}, None, None, Silent())
    notes = Notes()
    launch(long, tmp_path / "a", {}, None, None, notes)
    assert any("the learning rate rises once" in text for text in notes.said)
    with pytest.raises(UserError, match=r"trained for longer than that: train.steps \(40 there"):
        launch(short, tmp_path / "a", {}, None, None, Silent())
    assert windows(tmp_path / "a")[-1]["step"] == 40


@pytest.mark.usefixtures("elsewhere")
def test_a_sweep_goes_further_with_the_same_cells():
    words = ["sweep", "sinkhorn-grid", *SMALL, "--batch-size", 32, "--set", "generator.width=8"]
    words += ["--set", "train.pictures=1", "--lam", "0.05,0.5", "--out", "s"]
    assert otgan(*words, "--steps", 6).exit_code == 0
    cells = sorted(path.name for path in Path("s/cells").iterdir())
    planned = otgan(*words, "--steps", 9, "--dry-run")
    assert "2 of 2 cells would run" in planned.output
    assert planned.output.count("interrupted") == 2
    done = otgan(*words, "--steps", 9)
    assert done.exit_code == 0, done.output
    assert "the sweep goes further: train.steps (6 there, 9 now). generator" in done.output
    assert sorted(path.name for path in Path("s/cells").iterdir()) == cells
    for cell in Path("s/cells").iterdir():
        assert [line["step"] for line in windows(cell)] == [6, 9]
        assert "resuming after step 6" in (cell / "log.txt").read_text()
    assert "0 of 2 cells would run" in otgan(*words, "--steps", 9, "--dry-run").output
    refused = otgan(*words, "--steps", 6)
    assert refused.exit_code == 2
    assert "holds a sweep that goes further: train.steps (9 there, 6 now)" in refused.output


# --- interrupted ----------------------------------------------------------------------------------


def test_all_that_was_said_is_said_again():
    said = ("run", "sinkhorn-grid", "--data-dir", "a b", "--devices", "2")
    assert command_again(Path("runs/1"), said) == shlex.join(["otgan", *said, "--out", "runs/1"])
    for named in (("run", "x", "--out", "r"), ("run", "x", "--out=r"), ("run", "r", "--quiet")):
        assert command_again(Path("r"), named) == shlex.join(["otgan", *named])
    assert command_again(Path("my run")) == "otgan run 'my run'"
    assert command_again(Path("s"), command="sweep") == "otgan sweep s"


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on_and_does(number, code):
    words = ["run", "sinkhorn-grid", *SMALL, *TINY[2:], "--steps", "9000000", "--devices", "1"]
    words = [*words, "--data-dir", "a b", "--seconds", "3000"]
    command = [sys.executable, "-m", "otgan", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not [*Path().glob("runs/*/metrics.jsonl")] and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == code
    (folder,) = Path("runs").iterdir()
    again = shlex.join(["otgan", *words, "--out", str(folder)])
    assert said.splitlines()[-1].endswith(f"go on with: {again}")
    assert status(folder)["reason"].endswith(f"go on with: {again}")
    before, typed = status(folder)["step"], shlex.split(again)[1:]
    typed[typed.index("9000000")] = str(before + 5)
    done = otgan(*typed)
    assert done.exit_code == 0, done.output
    assert status(folder)["step"] == before + 5


@pytest.mark.usefixtures("elsewhere")
def test_ctrl_c_before_the_training_is_one_sentence_and_130(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("otgan.launch.assemble", interrupted)
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY)
    assert (done.exit_code, done.output) == (130, "ended by SIGINT\n")


def test_progress_says_what_it_used():
    assert Progress(step=3, seconds=1.5, generator_steps=2).used == {
        "step": 3,
        "seconds": 1.5,
        "generator_steps": 2,
    }
    assert np.isclose(float(dispatch.clock_of(Progress(step=3, seconds=1.5)).pace), 0.5)
