"""Whole small runs: resume to the bit, any number of devices, divergence, budgets, what a folder
holds.
"""

import json
import os
import shutil
import signal
from copy import copy
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from otgan import data, dispatch, experiments
from otgan.assembly import assemble
from otgan.checkpoints import Checkpoints
from otgan.data import Form
from otgan.loop import train
from otgan.runs import RunFolder
from otgan.step import unless_broken
from otgan.system import build
from tests.support.helpers import DIGITS, FAMILIES, ONLINE, Silent, dataset, run, tiny_config

pytestmark = pytest.mark.slow


def final_state(folder, config):
    system = build(config, Form.of(dataset(config)))
    with Checkpoints(folder.checkpoints) as checkpoints:
        return checkpoints.restore(jax.jit(system.stepper.init)())[0]


def equal(a, b):
    """Leaf by leaf, to the bit; a potential that is not known yet is NaN in both."""
    return all(
        np.array_equal(x, y, equal_nan=np.issubdtype(x.dtype, np.floating))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


class StopAfter(Silent):
    """Presses Ctrl-C once a run has come so far."""

    def __init__(self, step):
        self.step = step

    def advance(self, progress):
        if progress.step >= self.step:
            os.kill(os.getpid(), signal.SIGINT)
            self.step = float("inf")


def lines(folder):
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in folder.metrics.read_text().splitlines()
    ]


# tests/test_kills.py ends runs of every family in other ways, and in processes of their own
@pytest.mark.parametrize("which", ["entropic", "semidiscrete", "critic", "online"])
def test_a_run_stopped_anywhere_and_resumed_computes_the_same_bits(which, tmp_path):
    name, changes = {**FAMILIES, "online": ONLINE}[which]
    config = tiny_config(name, **changes)
    whole, _ = run(config, tmp_path / "whole")
    parts, first = run(config, tmp_path / "parts", StopAfter(13))
    assert first.state == "interrupted"
    assert 13 <= first.progress.step < 40
    assert "go on with: otgan run" in first.reason
    show = Silent()
    _, last = run(config, tmp_path / "parts", show)
    assert show.resumed
    assert last.state == "finished"
    assert equal(final_state(whole, config), final_state(parts, config))
    assert lines(whole) == lines(parts)


def test_a_killed_run_goes_on_from_its_checkpoint_and_forgets_later_lines(tmp_path):
    config = tiny_config(**{"train.steps": 30})
    whole, _ = run(config, tmp_path / "whole")
    parts, _ = run(config, tmp_path / "parts", StopAfter(10))
    # what a process writes between its last checkpoint and its end
    with parts.metrics.open("a") as metrics:
        metrics.write('{"step": 9000, "loss": 7.0}\n{"step": 9')
    run(config, tmp_path / "parts")
    assert equal(final_state(whole, config), final_state(parts, config))
    assert lines(whole) == lines(parts)


def test_a_checkpoint_taken_while_training_goes_on_is_whole(tmp_path):
    """Saving happens in the background, and the next dispatch reuses the state's memory."""
    config = tiny_config(
        **{
            "train.steps": 60,
            "train.pictures": 6,
            "train.checkpoint_seconds": 1e-6,
            "generator.width": 256,
        }
    )
    folder, _ = run(config, tmp_path / "run")
    end = final_state(folder, config)
    for step in (50, 60):
        shutil.rmtree(folder.checkpoints / str(step))
    run(config, tmp_path / "run")
    assert equal(end, final_state(folder, config))


@pytest.mark.tfds
def test_real_digits_resume_to_the_same_bits(tfds_dir, tmp_path):
    changes = {
        "batch.size": 16,
        "generator.width": 4,
        "train.steps": 12,
        "train.pictures": 3,
        "train.log_every": 2,
    }
    config = experiments.resolve("sinkhorn-mnist", changes)
    digits = data.load(config.data, tfds_dir)
    states = []
    for name, shows in (("whole", [Silent()]), ("parts", [StopAfter(4), Silent()])):
        (tmp_path / name).mkdir()
        folder = RunFolder(tmp_path / name)
        folder.create(config.json())
        ends = [train(assemble(config, digits), folder, show) for show in shows]
        assert ends[-1].state == "finished"
        with Checkpoints(folder.checkpoints) as checkpoints:
            states.append(
                checkpoints.restore(jax.jit(build(config, Form.of(digits)).stepper.init)())[0]
            )
    assert ends[0].state == "interrupted"
    assert equal(*states)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    states = []
    for i, seed in enumerate((0, 0, 1)):
        config = tiny_config(**{"train.seed": seed, "train.steps": 12})
        folder, _ = run(config, tmp_path / str(i))
        states.append(final_state(folder, config))
    assert equal(states[0], states[1])
    assert not equal(states[0], states[2])


def test_a_run_folder_holds_all_that_is_promised(tmp_path):
    config = tiny_config()
    folder, outcome = run(config, tmp_path / "run")
    status = folder.read_status()
    assert status["state"] == outcome.state == "finished"
    assert status["step"] == 40
    assert status["seconds"] > 0
    grid = {"modes", "modes_total", "high_quality", "w2", "w2_floor", "mode_kl"}
    assert (
        grid | {"converged_share", "steps_per_second", "peak_memory_bytes"}
        <= status["summary"].keys()
    )
    assert status["summary"]["modes_total"] == 4
    assert status["summary"]["peak_memory_bytes"] > 50e6
    windows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [w["step"] for w in windows] == [10, 20, 30, 40]
    needed = {
        "dual_value",
        "dual_gap",
        "dual_iterations",
        "dual_converged",
        "lam_over_mean_cost",
        "lam",
        "epsilon",
        "loss",
        "mean_cost",
    }
    assert all(needed <= w.keys() for w in windows)
    assert np.isclose(windows[0]["lam_over_mean_cost"] * windows[0]["mean_cost"], 0.05, rtol=0.1)
    assert {p.name for p in (folder.path / "samples").iterdir()} == {
        "step-0000020.png",
        "step-0000040.png",
    }
    assert [p for p in folder.path.iterdir() if p.name.startswith("events.out.tfevents")]


def test_tensorboard_reads_the_same_numbers(tmp_path):
    folder, _ = run(tiny_config(**{"train.steps": 20}), tmp_path / "run")
    windows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    raw = next(p for p in folder.path.iterdir() if p.name.startswith("events")).read_bytes()
    values, at = {}, 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 8], "little")
        event = Event.FromString(raw[at + 12 : at + 12 + length])
        values.update({(event.step, v.tag): v.simple_value for v in event.summary.value})
        at += length + 16
    for window in windows:
        assert values[window["step"], "loss"] == np.float32(window["loss"])
        assert values[window["step"], "dual_gap"] == np.float32(window["dual_gap"])


def test_the_newest_few_checkpoints_are_kept(tmp_path):
    config = tiny_config(
        **{"train.checkpoint_seconds": 1e-6, "train.steps": 60, "train.pictures": 6}
    )
    folder, _ = run(config, tmp_path / "run")
    kept = sorted(int(p.name) for p in folder.checkpoints.iterdir() if p.name.isdigit())
    assert len(kept) == 3
    assert kept[-1] == 60


def test_divergence_ends_the_run_with_a_sentence_and_the_last_good_state(tmp_path):
    config = tiny_config(
        **{"generator.optimizer.learning_rate": 1e18, "generator.optimizer.schedule": "constant"}
    )
    folder, outcome = run(config, tmp_path / "run")
    assert outcome.state == "diverged"
    assert f"at step {outcome.progress.step + 1}; the last good state is kept" in outcome.reason
    assert any(word in outcome.reason for word in ("became nan", "became inf"))
    assert folder.read_status()["state"] == "diverged"
    state = final_state(folder, config)
    assert int(state.solves) == outcome.progress.step
    assert all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))
    assert all(
        np.isfinite(json.loads(line)["loss"]) for line in folder.metrics.read_text().splitlines()
    )


HARD = {
    "oracle.lam": 1e-3,
    "oracle.epsilon": 1e-6,
    "oracle.max_iterations": 20,
    "oracle.anneal": 4.0,
}


def test_steps_that_miss_epsilon_are_counted(tmp_path):
    folder, outcome = run(tiny_config(**HARD), tmp_path / "run")
    assert outcome.state == "finished"
    assert folder.read_status()["summary"]["converged_share"] == 0
    assert all(
        json.loads(line)["dual_converged"] == 0 for line in folder.metrics.read_text().splitlines()
    )


@pytest.mark.parametrize(("lam", "tau"), [("1e-9x", "inf"), ("1e-40x", "0.03x")])
def test_a_lam_that_rounding_drowns_ends_no_run(lam, tau, tmp_path):
    changes = {
        "oracle.lam": lam,
        "oracle.tau": tau,
        "oracle.epsilon": 1e-9,
        "oracle.anneal": 4.0,
        "train.steps": 10,
    }
    folder, outcome = run(tiny_config(**changes), tmp_path / "run")
    assert outcome.state == "finished"
    assert outcome.summary["converged_share"] == 0
    assert outcome.summary["dual_floor"] > 1e-9
    assert all(
        np.isfinite(json.loads(line)["dual_gap"])
        for line in folder.metrics.read_text().splitlines()
    )


def test_on_budget_stop_ends_the_run_at_the_first_step_that_misses_epsilon(tmp_path):
    _, outcome = run(tiny_config(**HARD, **{"oracle.on_budget": "stop"}), tmp_path / "run")
    assert outcome.state == "stopped"
    assert outcome.progress.step == 1
    assert "above epsilon 1e-06" in outcome.reason


def misplacing(config, **forced):
    """A run whose records from the third step on say something else."""
    together = assemble(config)
    stepper = together.system.stepper

    def step(state, data):
        after, record = stepper.step(state, data)
        late = state.solves >= 2
        record = {
            **record,
            **{
                name: jnp.where(late, jnp.asarray(value, record[name].dtype), record[name])
                for name, value in forced.items()
            },
        }
        return unless_broken(after, state, record), record

    forced_stepper = copy(stepper)
    object.__setattr__(forced_stepper, "step", step)  # of this one alone, which is frozen
    return together._replace(system=replace(together.system, stepper=forced_stepper))


def begun(config, path):
    path.mkdir()
    folder = RunFolder(path)
    folder.create(config.json())
    return folder


def test_steps_by_plans_that_are_far_off_are_counted(tmp_path):
    config = tiny_config()
    outcome = train(
        misplacing(config, misplaced_mass=0.6), begun(config, tmp_path / "run"), Silent()
    )
    assert outcome.state == "finished"
    assert outcome.summary["far_off_steps"] == 38
    assert outcome.summary["misplaced_mass"] == pytest.approx(0.6)
    # as loose as it was asked for
    converged = misplacing(config, misplaced_mass=0.95, dual_converged=True)
    assert train(converged, begun(config, tmp_path / "loose"), Silent()).state == "finished"


def test_steps_whose_epsilon_is_below_rounding_are_counted_one_by_one(tmp_path):
    config = tiny_config()
    for name, floor, epsilon, expected in (("above", 2.0, 1.0, 38), ("below", 2.0, 3.0, 0)):
        outcome = train(
            misplacing(config, dual_floor=floor, epsilon=epsilon),
            begun(config, tmp_path / name),
            Silent(),
        )
        assert outcome.progress.blurred == expected


def test_pictures_that_are_saturated_end_the_run(tmp_path):
    """A generator whose every pixel is white has no gradient, and trains on for hours."""
    config = experiments.resolve(
        "sinkhorn-mnist",
        {
            **DIGITS,
            "batch.size": 32,
            "generator.optimizer.learning_rate": 1e4,
            "generator.optimizer.schedule": "constant",
            "train.steps": 400,
            "train.log_every": 7,
        },
    )
    folder, outcome = run(config, tmp_path / "run")
    assert outcome.state == "diverged"
    assert outcome.progress.step < 200
    assert outcome.reason.startswith("the generator's gradient has been exactly zero for 1")
    assert f"up to step {outcome.progress.step}" in outcome.reason
    last = [json.loads(line) for line in folder.metrics.read_text().splitlines()][-1]
    assert last["gradient_norm"] == 0


def test_networks_in_bfloat16_leave_duals_and_the_state_in_float32(tmp_path):
    config = tiny_config(**{"train.precision": "bfloat16", "oracle.epsilon": "0.01x"})
    folder, outcome = run(config, tmp_path / "run")
    assert outcome.state == "finished"
    assert outcome.summary["converged_share"] == 1
    floats = {
        leaf.dtype
        for leaf in jax.tree.leaves(final_state(folder, config))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    assert floats == {np.dtype(np.float32)}
    _, fine = run(tiny_config(**{"oracle.epsilon": "0.01x"}), tmp_path / "fine")
    assert outcome.summary["loss"] == pytest.approx(fine.summary["loss"], rel=0.1)
    assert outcome.summary["loss"] != fine.summary["loss"]


def test_updates_without_a_gradient_are_counted_across_dispatches():
    def still(gradients, updates, before):
        records = {"gradient_norm": np.asarray(gradients), "generator_steps": np.asarray(updates)}
        return dispatch._still(records, before)

    assert still([0.0, 0.0], [1, 1], 40) == 42
    assert still([0.0, 1.0, 0.0], [1, 1, 1], 40) == 1
    assert still([1.0], [1], 40) == 0
    assert still([0.0, 0.0, 0.0], [0, 0, 1], 40) == 41  # steps that only solve say nothing
    assert still([], [], 40) == 40


def test_an_absurd_plan_ends_the_run_and_moves_nobody(tmp_path):
    config = tiny_config()
    folder = begun(config, tmp_path / "run")
    outcome = train(misplacing(config, misplaced_mass=0.95, dual_converged=False), folder, Silent())
    assert outcome.state == "diverged"
    assert outcome.reason.startswith(
        "95% of the plan's mass is in the wrong place at step 3, after all iterations of its dual"
    )
    assert int(final_state(folder, config).solves) == outcome.progress.step == 2


def test_the_loss_of_exact_duals_lies_in_its_interval(tmp_path):
    """At the same players and batch, whatever epsilon was."""
    for name, loss in (
        ("sinkhorn-grid", "sinkhorn"),
        ("sinkhorn-grid", "energy"),
        ("regot-l2-grid", "regot"),
    ):
        changes = {
            "oracle.loss": loss,
            "oracle.lam": "0.02x",
            "oracle.max_iterations": 5_000,
            "oracle.iterations_per_check": 1,
        }
        loose, tight = (
            assemble(c)
            for c in (
                tiny_config(name, **changes, **{"oracle.epsilon": e}) for e in ("0.2x", "0.0001x")
            )
        )
        players, key = loose.system.stepper.init().players, jax.random.key(3)
        about, exact = (
            jax.jit(t.system.family.solve)((), players, jax.tree.map(jnp.asarray, t.data), key)[2]
            for t in (loose, tight)
        )
        assert about["loss_at_most"] - about["loss_at_least"] > 10 * (
            exact["loss_at_most"] - exact["loss_at_least"]
        )
        assert about["loss_at_least"] <= exact["loss_at_most"]
        assert about["loss_at_most"] >= exact["loss_at_least"]
        assert exact["loss_at_most"] - exact["loss_at_least"] < 0.001 * exact["mean_cost"]


def test_seconds_end_a_run(tmp_path):
    config = tiny_config(**{"train.seconds": 0.3, "train.steps": 10_000_000})
    _, outcome = run(config, tmp_path / "run")
    assert outcome.state == "finished"
    assert 0.3 <= outcome.progress.seconds < 3
    assert outcome.progress.step < 100_000


def test_the_loss_falls_and_w2_with_it(tmp_path):
    changes = {"batch.size": 128, "generator.width": 64}
    _, before = run(tiny_config(**changes, **{"train.steps": 1}), tmp_path / "before")
    _, after = run(tiny_config(**changes, **{"train.steps": 300}), tmp_path / "after")
    assert after.summary["w2"] < 0.4 * before.summary["w2"]
