"""Runs, samples and maps by the commands that users type, to what they leave in the folder."""

import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from otgan.restore import restore
from otgan.runs import RunFolder
from otgan.weights.catalog import embedded
from tests.support.commands import SMALL, TINY, otgan, picture_size, run_folders

pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.slow]


def test_run_resume_sample(tmp_path):
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY)
    assert done.exit_code == 0, done.output
    (folder,) = run_folders()
    assert folder.name.startswith("00001-sinkhorn-grid-")
    assert "summary of sinkhorn-grid" in done.output
    for words in (
        "modes",
        "high_quality",
        "w2_floor",
        "mode_kl",
        "converged_share",
        "samples",
        str(folder),
    ):
        assert words in done.output
    picture = re.search(r"samples\s+(\S+\.png)", done.output)[1]
    assert picture_size(picture) == (600, 600)

    again = otgan("run", folder)
    assert again.exit_code == 0
    assert json.loads((folder / "status.json").read_text())["step"] == 6
    assert len(run_folders()) == 1

    assert otgan("sample", folder, "-n", 30, "-o", "a.npz").exit_code == 0
    assert otgan("sample", folder, "-n", 10, "-o", "b.npz").exit_code == 0
    assert otgan("sample", folder, "-n", 10, "-o", "c.npz", "--seed", 1).exit_code == 0
    a, b, c = (np.load(f"{x}.npz")["samples"] for x in "abc")
    assert a.shape == (30, 2)
    assert (a[:10] == b).all()
    assert (b != c).any()
    assert otgan("sample", folder, "-n", 10, "-o", "d.png").exit_code == 0
    assert picture_size("d.png") == (600, 600)


def test_a_second_run_gets_the_next_number():
    for _ in range(2):
        assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--steps", "2").exit_code == 0
    assert [folder.name[:5] for folder in run_folders()] == ["00001", "00002"]


def test_a_stored_config_repeats_the_run():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "a").exit_code == 0
    assert otgan("run", "a/config.json", "--quiet", "--out", "b").exit_code == 0

    def lines(folder):
        return [
            {**json.loads(line), "seconds": 0}
            for line in Path(folder, "metrics.jsonl").read_text().splitlines()
        ]

    assert lines("a") == lines("b")


def test_the_sample_of_mnist_trains_with_no_data_set():
    words = [
        "--data",
        "sample",
        "--steps",
        2,
        "--batch-size",
        16,
        "--set",
        "generator.width=4",
        "--quiet",
        "--out",
        "out",
    ]
    done = otgan("run", "sinkhorn-mnist", *words)
    assert done.exit_code == 0, done.output
    assert otgan("sample", "out", "-n", 5, "-o", "digits.npz").exit_code == 0
    digits = np.load("digits.npz")["samples"]
    assert digits.shape == (5, 28, 28, 1)
    assert digits.dtype == np.uint8
    assert digits.std() > 5


def test_the_users_own_points_and_pictures_train(tmp_path):
    rng = np.random.default_rng(0)
    np.savez("points.npz", 1000 + 50 * rng.normal(size=(500, 3)))
    done = otgan(
        "run", "sinkhorn-grid", *TINY, "--data", "points.npz", "--lam", "0.05x", "--out", "points"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(Path("points/status.json").read_text())["summary"]["w2_floor"] > 0
    assert otgan("sample", "points", "-n", 200, "-o", "points-out.npz").exit_code == 0
    assert abs(np.load("points-out.npz")["samples"].mean() - 1000) < 50  # starts where the data are

    folder = Path("pictures")
    folder.mkdir()
    for i in range(120):
        Image.fromarray(rng.integers(0, 255, (20, 18, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    words = [
        "--steps",
        2,
        "--batch-size",
        16,
        "--set",
        "generator.width=4",
        "--set",
        "cost.encoder.width=4",
        "--quiet",
        "--out",
        "p",
    ]
    done = otgan("run", "sinkhorn-cifar10", "--data", folder, *words)
    assert done.exit_code == 0, done.output
    assert otgan("sample", "p", "-n", 3, "-o", "p.npz").exit_code == 0
    assert np.load("p.npz")["samples"].shape == (3, 20, 18, 3)


def test_divergence_is_exit_code_1_and_a_sentence():
    done = otgan(
        "run",
        "sinkhorn-grid",
        *SMALL,
        *TINY,
        "--set",
        "generator.optimizer.learning_rate=1e18",
        "--out",
        "out",
    )
    assert done.exit_code == 1
    assert re.search(
        r"diverged: .* became (nan|inf).* at step \d+; the last good state is kept", done.output
    )
    assert json.loads(Path("out/status.json").read_text())["state"] == "diverged"


def test_a_map_between_two_files_is_learned_and_pushes_points():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1_500, 2)), rng.normal(size=(1_500, 2)) * [2, 0.5] + [5, 0]
    np.savez("X.npz", x=x)
    np.savez("Y.npz", x=y)
    words = [
        "--data",
        "Y.npz",
        "--set",
        "source=X.npz",
        "--set",
        "oracle.potential=quadratic",
        "--steps",
        800,
        "--quiet",
        "--out",
        "map",
    ]
    done = otgan("run", "convex-map", *words)
    assert done.exit_code == 0, done.output
    np.savez("X2.npz", x=x[:300])
    done = otgan("sample", "map", "--push", "X2.npz", "-o", "Y2.npz")
    worst, mean = re.search(
        r"each is at most (\S+) away from where the map sends it \((\S+) on average", done.output
    ).groups()
    assert 0 < float(mean) < float(worst) < 0.02
    summary = json.loads(Path("map/status.json").read_text())["summary"]
    assert 0 < summary["push_error_mean"] < summary["push_error_worst"] < 0.02
    exact = 25 + 1 + 0.25  # |m - n|^2 + (2 - 1)^2 + (1 - 0.5)^2
    assert (
        abs(summary["potential_w2_squared"] - exact)
        < 4 * summary["potential_w2_squared_standard_error"]
    )
    assert 0 < summary["potential_w2_squared_standard_error"] < 3
    pushed = np.load("Y2.npz")["samples"]
    np.testing.assert_allclose(pushed, x[:300] * [2, 0.5] + [5, 0], atol=0.4)
    assert otgan("sample", "map", "-n", 50, "-o", "drawn.npz").exit_code == 0
    # drawn from the source, and pushed
    assert abs(np.load("drawn.npz")["samples"][:, 0].mean() - 5) < 1.5
    np.savez("three.npz", x=rng.normal(size=(200, 3)))
    for words, sentence in {
        (
            "run",
            "convex-map",
            "--data",
            "Y.npz",
            "--set",
            "source=three.npz",
        ): "the source's examples are of shape (3,)",
        (
            "sample",
            "map",
            "--push",
            "three.npz",
            "-o",
            "out.npz",
        ): "the run maps points of shape (2,)",
        ("compose", "map"): "has no generator of its own to compose with",
    }.items():
        refused = otgan(*words)
        assert refused.exit_code == 2
        assert sentence in refused.output


def test_a_map_follows_the_generator_of_a_run():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "run").exit_code == 0
    words = [
        "--steps",
        10,
        "--batch-size",
        64,
        "--set",
        "oracle.width=8",
        "--set",
        "train.pictures=1",
        "--quiet",
        "--out",
        "composed",
    ]
    done = otgan("compose", "run", *words)
    assert done.exit_code == 0, done.output
    assert (
        "inner conjugate solves (not the map) that reached epsilon, by their residual gap"
        in " ".join(done.output.split())
    )
    summary = json.loads(Path("composed/status.json").read_text())["summary"]
    assert summary["generator_steps"] == 0
    samples = {}
    for folder in ("run", "composed"):
        assert otgan("sample", folder, "-n", 200, "-o", f"{folder}.npz").exit_code == 0
        samples[folder] = np.load(f"{folder}.npz")["samples"]
    assert otgan("sample", "composed", "--push", "run.npz", "-o", "pushed.npz").exit_code == 0
    # T after the run's own G
    np.testing.assert_allclose(np.load("pushed.npz")["samples"], samples["composed"], atol=1e-3)
    assert np.abs(samples["composed"] - samples["run"]).max() > 0.01
    os.rename("run", "elsewhere")  # noqa: PTH104
    # a composed run has its own copy of G
    assert otgan("run", "composed", "--quiet").exit_code == 0
    assert otgan("sample", "composed", "-n", 5, "-o", "again.npz").exit_code == 0
    refused = otgan("compose", "elsewhere", "--set", "data.side=3", "--out", "other")
    assert refused.exit_code == 2
    assert "was trained on other data" in refused.output
    assert not Path("other").exists()
    assert (
        "learned no map" in otgan("sample", "elsewhere", "--push", "run.npz", "-o", "p.npz").output
    )


def test_features_are_pixels_random_learned_or_another_runs():
    encoder = [
        "--set",
        "cost.encoder.kind=mlp",
        "--set",
        "cost.encoder.width=8",
        "--set",
        "cost.encoder.features=4",
    ]
    for features in ("learned", "random"):
        done = otgan(
            "run",
            "sinkhorn-grid",
            *SMALL,
            *TINY,
            *encoder,
            "--features",
            features,
            "--lam",
            "0.1",
            "--out",
            features,
        )
        assert done.exit_code == 0, done.output
    done = otgan(
        "run",
        "sinkhorn-grid",
        *SMALL,
        *TINY,
        "--features",
        "learned",
        "--lam",
        "0.1",
        "--epsilon",
        0.1,
        "--out",
        "taken",
    )
    assert done.exit_code == 2
    assert "a conv network needs images" in done.output
    done = otgan(
        "run",
        "sinkhorn-grid",
        *SMALL,
        *TINY,
        "--features",
        "learned/",
        "--lam",
        "0.1",
        "--out",
        "taken",
    )
    assert done.exit_code == 0, done.output
    taken = json.loads(Path("taken/config.json").read_text())["cost"]
    assert taken["features"] == str(Path("learned").resolve())
    assert taken["encoder"]["features"] == 4
    assert (
        "has no encoder"
        in otgan("run", "sinkhorn-grid", "--features", run_of_pixels(), "--dry-run").output
    )
    assert (
        "'nowhere' is none"
        in otgan("run", "sinkhorn-grid", "--features", "nowhere", "--dry-run").output
    )


def test_features_are_those_of_a_trained_classifier():
    digits = ["sinkhorn-mnist", "--data", "sample", *TINY, "--features", "mnist-lenet"]
    done = otgan("run", *digits, "--out", "first")
    assert done.exit_code == 0, done.output
    encoder = restore(RunFolder(Path("first"))).state.players.encoder
    jax.tree.map(
        np.testing.assert_array_equal, encoder, {"params": embedded("mnist-lenet").parameters}
    )
    costs = [
        json.loads(line)["mean_cost"]
        for line in Path("first/metrics.jsonl").read_text().splitlines()
    ]
    assert 0 < max(costs) <= 4  # of two points of the unit sphere; that of pixels is some 250
    for words, sentence in {
        (
            "sinkhorn-grid",
            "--features",
            "mnist-lenet",
        ): "cost.features = 'mnist-lenet' needs images",
        (*digits[:-1], "cifar10-resnet"): "reads examples of shape (32, 32, 3), not (28, 28, 1)",
    }.items():
        refused = otgan("run", *words, "--out", "other")
        assert refused.exit_code == 2
        assert sentence in refused.output


def run_of_pixels():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "pixels-run").exit_code == 0
    return "pixels-run"


def test_a_budget_of_generator_steps_ends_a_run():
    done = otgan(
        "run",
        "sinkhorn-grid",
        *SMALL,
        *TINY[2:],
        "--steps",
        400,
        "--generator-steps",
        25,
        "--out",
        "run",
    )
    assert done.exit_code == 0, done.output
    status = json.loads(Path("run/status.json").read_text())
    assert status["state"] == "finished"
    assert status["summary"]["generator_steps"] == 25


@pytest.mark.tfds
def test_real_data_train_and_resume(tfds_dir):
    for name, encoder in (
        ("sinkhorn-mnist", []),
        ("sinkhorn-cifar10", ["--set", "cost.encoder.width=4"]),
    ):
        words = [
            "--batch-size",
            16,
            "--set",
            "generator.width=4",
            *encoder,
            "--quiet",
            "--data-dir",
            tfds_dir,
            "--out",
            name,
            "--steps",
            3,
        ]
        done = otgan("run", name, *words, "--lam", "1.0")
        assert done.exit_code == 0, done.output
        assert json.loads(Path(name, "environment.json").read_text())["data"]["train"] in (
            60_000,
            50_000,
        )


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew():
    words = ["run", "sinkhorn-grid", *SMALL, *TINY, "--out", "killed"]
    otgan(*words)
    whole = json.loads(Path("killed/status.json").read_text())["summary"]
    for name in ("environment.json", "status.json"):
        Path("killed", name).unlink()
    shutil.rmtree("killed/checkpoints")
    again = otgan(*words)
    assert again.exit_code == 0, again.output
    summary = json.loads(Path("killed/status.json").read_text())["summary"]
    assert summary["w2"] == whole["w2"]
    assert "resumed" not in json.loads(Path("killed/environment.json").read_text())


def test_scores_of_no_step_and_of_no_sense_stop_neither_a_run_nor_a_comparison():
    words = [
        "run",
        "sinkhorn-grid",
        *SMALL,
        *TINY,
        "--set",
        "train.eval_every=6",
        "--set",
        'train.eval_measures=["fid"]',
    ]
    assert otgan(*words, "--out", "run").exit_code == 0
    scores = Path("run/eval/scores.jsonl")
    first = json.loads(scores.read_text().splitlines()[0])
    odd = [
        "[1]",
        "{}",
        "[" * 20_000,
        json.dumps({**first, "step": "6"}),
        json.dumps({**first, "mean": None}),
    ]
    with scores.open("a") as lines:
        lines.write(
            "\n".join([json.dumps({**first, "step": None, "subject": "file.npz"}), *odd]) + "\n"
        )
    assert otgan("scores", "run").exit_code == 0
    again = otgan("run", "run", "--quiet")
    assert again.exit_code == 0, again.output
    assert [
        json.loads(line)["step"] for line in scores.read_text().splitlines() if "file.npz" in line
    ] == [None]
