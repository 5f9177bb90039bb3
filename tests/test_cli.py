"""What users type, what they see, and how every mistake ends: one sentence, exit code 2, nothing touched."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from otgan import experiments
from otgan.cli import main

EXPERIMENTS = [
    "sinkhorn-grid",
    "sinkhorn-grid-tight",
    "relaxed-grid",
    "regot-grid",
    "regot-l2-grid",
    "sinkhorn-mnist",
    "relaxed-mnist",
    "regot-mnist",
    "regot-l2-mnist",
    "sinkhorn-stacked-mnist",
    "sinkhorn-cifar10",
    "regot-cifar10",
    "semidiscrete-grid",
    "semidiscrete-mnist",
    "semidiscrete-mnist-paper",
    "semidiscrete-cifar10",
    "convex-gaussians",
    "convex-mixture",
    "convex-map",
    "convex-grid",
    "convex-mnist",
    "neural-grid",
    "neural-mnist",
    "ot-gan-grid",
    "ot-gan-mnist",
    "ot-gan-cifar10",
    "wgan-gp-grid",
    "wgan-gp-mnist",
    "wgan-gp-cifar10",
]
TINY = ["--steps", "6", "--batch-size", "32", "--set", "generator.width=8", "--set", "train.pictures=1", "--quiet"]
SMALL = ["--set", "data.side=2", "--set", "data.size=2000"]  # 320 points to judge by


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


def otgan(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def otgan_alone(*words, **environment):
    """In a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "otgan", *map(str, words)], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def run_folders():
    return sorted(Path("runs").iterdir()) if Path("runs").is_dir() else []


# --- what there is --------------------------------------------------------------------------------------------------------------------


def test_list_shows_every_experiment_once():
    done = otgan("list")
    assert done.exit_code == 0
    assert all(re.search(rf"^  {name} ", done.output, re.M) for name in EXPERIMENTS)
    assert experiments.names() == sorted(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_resolves_and_says_what_it_is(name):
    done = otgan("show", name)
    assert done.exit_code == 0
    for words in ("  paper", "  expect", "  cost", f"otgan run {name}", "[oracle]"):
        assert words in done.output
    oracle = experiments.resolve(name).oracle
    assert all((words in done.output) == hasattr(oracle, "lam") for words in ("POT", "GeomLoss", "ott-jax"))
    family = name.split("-")[0]
    if family in ("regot", "sinkhorn", "relaxed", "ot"):
        assert oracle.loss == {"regot": "regot", "ot": "energy"}.get(family, "sinkhorn")
        assert oracle.tau.finite == (family == "relaxed")
        assert oracle.regularizer == ("l2" if "-l2-" in name else "kl")
    else:
        assert oracle.family == {"wgan": "critic"}.get(family, family)


def test_show_translates_lam():
    done = otgan("show", "sinkhorn-grid")
    assert "POT       reg=0.05" in done.output
    assert "blur=0.1581" in done.output  # blur^2 = lam / 2, as GeomLoss halves the squared distance
    assert "epsilon=0.05" in done.output


def test_dry_run_prints_a_config_that_repeats_the_run(tmp_path):
    done = otgan("run", "sinkhorn-cifar10", "--lam", "1.0", "--epsilon", "0.5x", "--set", "generator.width=12", "--seed", "7", "--dry-run")
    assert done.exit_code == 0
    Path("config.json").write_text(done.output)
    config = experiments.resolve("config.json")
    assert str(config.oracle.lam) == "1"
    assert str(config.oracle.epsilon) == "0.5x"
    assert (config.generator.width, config.train.seed, config.cost.encoder.kind) == (12, 7, "conv")
    assert otgan("run", "config.json", "--dry-run").output == done.output
    assert not run_folders()


def test_every_option_of_run_has_a_sentence_and_a_default():
    output = otgan("run", "--help").output
    for option in [
        "lam",
        "epsilon",
        "tau",
        "regularizer",
        "loss",
        "cost",
        "features",
        "steps",
        "generator-steps",
        "seconds",
        "batch-size",
        "seed",
        "data",
        "data-dir",
        "out",
        "set",
        "devices",
        "dry-run",
        "quiet",
    ]:
        described = re.search(rf"--{option}\b(.*?)(?=\n  (?:-|$)|\Z)", output, re.S)
        assert described, option
        assert described[1].strip().count(".") >= 1, option
        if option not in ("dry-run", "quiet"):
            assert "default" in described[1], option


# --- a run, its folder, its samples ---------------------------------------------------------------------------------------------------


def test_run_resume_sample(tmp_path):
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY)
    assert done.exit_code == 0, done.output
    (folder,) = run_folders()
    assert folder.name.startswith("00001-sinkhorn-grid-")
    assert "summary of sinkhorn-grid" in done.output
    for words in ("modes", "high_quality", "w2_floor", "mode_kl", "converged_share", "samples", str(folder)):
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
        return [{**json.loads(line), "seconds": 0} for line in Path(folder, "metrics.jsonl").read_text().splitlines()]

    assert lines("a") == lines("b")


def test_the_sample_of_mnist_trains_with_no_data_set():
    words = ["--data", "sample", "--steps", 2, "--batch-size", 16, "--set", "generator.width=4", "--quiet", "--out", "out"]
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
    done = otgan("run", "sinkhorn-grid", *TINY, "--data", "points.npz", "--lam", "0.05x", "--out", "points")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("points/status.json").read_text())["summary"]["w2_floor"] > 0
    assert otgan("sample", "points", "-n", 200, "-o", "points-out.npz").exit_code == 0
    assert abs(np.load("points-out.npz")["samples"].mean() - 1000) < 50  # starts where the data are

    folder = Path("pictures")
    folder.mkdir()
    for i in range(120):
        Image.fromarray(rng.integers(0, 255, (20, 18, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    words = ["--steps", 2, "--batch-size", 16, "--set", "generator.width=4", "--set", "cost.encoder.width=4", "--quiet", "--out", "p"]
    done = otgan("run", "sinkhorn-cifar10", "--data", folder, *words)
    assert done.exit_code == 0, done.output
    assert otgan("sample", "p", "-n", 3, "-o", "p.npz").exit_code == 0
    assert np.load("p.npz")["samples"].shape == (3, 20, 18, 3)


def test_divergence_is_exit_code_1_and_a_sentence():
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--set", "generator.optimizer.learning_rate=1e18", "--out", "out")
    assert done.exit_code == 1
    assert re.search(r"diverged: .* became (nan|inf).* at step \d+; the last good state is kept", done.output)
    assert json.loads(Path("out/status.json").read_text())["state"] == "diverged"


def test_a_map_between_two_files_is_learned_and_pushes_points():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1_500, 2)), rng.normal(size=(1_500, 2)) * [2, 0.5] + [5, 0]
    np.savez("X.npz", x=x)
    np.savez("Y.npz", x=y)
    words = ["--data", "Y.npz", "--set", "source=X.npz", "--set", "oracle.potential=quadratic", "--steps", 800, "--quiet", "--out", "map"]
    done = otgan("run", "convex-map", *words)
    assert done.exit_code == 0, done.output
    np.savez("X2.npz", x=x[:300])
    assert otgan("sample", "map", "--push", "X2.npz", "-o", "Y2.npz").exit_code == 0
    pushed = np.load("Y2.npz")["samples"]
    np.testing.assert_allclose(pushed, x[:300] * [2, 0.5] + [5, 0], atol=0.4)
    assert otgan("sample", "map", "-n", 50, "-o", "drawn.npz").exit_code == 0
    assert abs(np.load("drawn.npz")["samples"][:, 0].mean() - 5) < 1.5  # drawn from the source, and pushed
    np.savez("three.npz", x=rng.normal(size=(200, 3)))
    for words, sentence in {
        ("run", "convex-map", "--data", "Y.npz", "--set", "source=three.npz"): "the source's examples are of shape (3,)",
        ("sample", "map", "--push", "three.npz", "-o", "out.npz"): "the run maps points of shape (2,)",
        ("compose", "map"): "has no generator of its own to compose with",
    }.items():
        refused = otgan(*words)
        assert refused.exit_code == 2
        assert sentence in refused.output


def test_a_map_follows_the_generator_of_a_run():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "run").exit_code == 0
    words = ["--steps", 10, "--batch-size", 64, "--set", "oracle.width=8", "--set", "train.pictures=1", "--quiet", "--out", "composed"]
    done = otgan("compose", "run", *words)
    assert done.exit_code == 0, done.output
    summary = json.loads(Path("composed/status.json").read_text())["summary"]
    assert summary["generator_steps"] == 0
    samples = {}
    for folder in ("run", "composed"):
        assert otgan("sample", folder, "-n", 200, "-o", f"{folder}.npz").exit_code == 0
        samples[folder] = np.load(f"{folder}.npz")["samples"]
    assert otgan("sample", "composed", "--push", "run.npz", "-o", "pushed.npz").exit_code == 0
    np.testing.assert_allclose(np.load("pushed.npz")["samples"], samples["composed"], atol=1e-3)  # T after the run's own G
    assert np.abs(samples["composed"] - samples["run"]).max() > 0.01
    os.rename("run", "elsewhere")  # noqa: PTH104
    assert otgan("run", "composed", "--quiet").exit_code == 0  # a composed run has its own copy of G
    assert otgan("sample", "composed", "-n", 5, "-o", "again.npz").exit_code == 0
    refused = otgan("compose", "elsewhere", "--set", "data.side=3", "--out", "other")
    assert refused.exit_code == 2
    assert "was trained on other data" in refused.output
    assert not Path("other").exists()
    assert "learned no map" in otgan("sample", "elsewhere", "--push", "run.npz", "-o", "p.npz").output


def test_features_are_pixels_random_learned_or_another_runs():
    encoder = ["--set", "cost.encoder.kind=mlp", "--set", "cost.encoder.width=8", "--set", "cost.encoder.features=4"]
    for features in ("learned", "random"):
        done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, *encoder, "--features", features, "--lam", "0.1", "--out", features)
        assert done.exit_code == 0, done.output
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--features", "learned", "--lam", "0.1", "--epsilon", 0.1, "--out", "taken")
    assert done.exit_code == 2
    assert "a conv network needs images" in done.output
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--features", "learned/", "--lam", "0.1", "--out", "taken")
    assert done.exit_code == 0, done.output
    taken = json.loads(Path("taken/config.json").read_text())["cost"]
    assert taken["features"] == str(Path("learned").resolve())
    assert taken["encoder"]["features"] == 4
    assert "has no encoder" in otgan("run", "sinkhorn-grid", "--features", run_of_pixels(), "--dry-run").output
    assert "'nowhere' is none" in otgan("run", "sinkhorn-grid", "--features", "nowhere", "--dry-run").output


def run_of_pixels():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "pixels-run").exit_code == 0
    return "pixels-run"


def test_a_budget_of_generator_steps_ends_a_run():
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY[2:], "--steps", 400, "--generator-steps", 25, "--out", "run")
    assert done.exit_code == 0, done.output
    status = json.loads(Path("run/status.json").read_text())
    assert status["state"] == "finished"
    assert status["summary"]["generator_steps"] == 25


@pytest.mark.tfds
def test_real_data_train_and_resume(tfds_dir):
    for name, encoder in (("sinkhorn-mnist", []), ("sinkhorn-cifar10", ["--set", "cost.encoder.width=4"])):
        words = ["--batch-size", 16, "--set", "generator.width=4", *encoder, "--quiet", "--data-dir", tfds_dir, "--out", name, "--steps", 3]
        done = otgan("run", name, *words, "--lam", "1.0")
        assert done.exit_code == 0, done.output
        assert json.loads(Path(name, "environment.json").read_text())["data"]["train"] in (60_000, 50_000)


# --- what bad input gets --------------------------------------------------------------------------------------------------------------

BAD = {
    "icnn with l1": (["convex-grid", "--cost", "l1"], "family 'convex' serves the cost 'squared_l2'; the cost 'l1' is served by"),
    "critic with squared": (["wgan-gp-grid", "--cost", "squared_l2"], "family 'critic' serves the cost 'l2'"),
    "neural on features": (["neural-grid", "--features", "random"], "family 'neural' serves pixels only"),
    "lam of a family without": (["convex-grid", "--lam", "1"], "unknown key oracle.lam"),
    "identity without source": (["convex-grid", "--set", "generator.kind=identity"], "give --set source=FILE.npz"),
    "source without map": (["sinkhorn-grid", "--set", "source.kind=grid"], "which family 'regularized' does not yield; 'convex' does"),
    "odd energy": (["ot-gan-grid", "--batch-size", "33"], "batch.size must be even, not 33"),
    "unknown family": (["sinkhorn-grid", "--set", "oracle.family=magic"], "'magic'"),
    "unknown experiment": (["sinkhorn-gird"], "no experiment called 'sinkhorn-gird'; did you mean sinkhorn-grid"),
    "unknown key": (["sinkhorn-grid", "--set", "oracle.lamm=1"], "unknown key oracle.lamm; did you mean oracle.lam"),
    "unknown table": (["sinkhorn-grid", "--set", "orcle.lam=1"], "unknown key orcle; did you mean oracle"),
    "lam zero": (["sinkhorn-grid", "--lam", "0"], "oracle.lam: must be above 0, not 0"),
    "lam negative": (["sinkhorn-grid", "--lam", "-1x"], "oracle.lam: must be above 0, not -1x"),
    "lam no number": (["sinkhorn-grid", "--lam", "big"], "needs a number such as 0.5, or 0.03x"),
    "lam nan": (["sinkhorn-grid", "--lam", "nan"], "must be above 0"),
    "lam infinite": (["sinkhorn-grid", "--lam", "inf"], "oracle.lam: must be finite"),
    "epsilon zero": (["sinkhorn-grid", "--epsilon", "0"], "oracle.epsilon: must be above 0"),
    "wrong type": (["sinkhorn-grid", "--set", "batch.size=many"], "batch.size: it should be a valid integer (given: 'many')"),
    "regularizer": (["sinkhorn-grid", "--regularizer", "l3"], "'l3' is not one of 'kl', 'l2'"),
    "tau with l2": (["sinkhorn-grid", "--regularizer", "l2", "--tau", "1"], "with l2 leave tau at inf"),
    "conv on points": (["sinkhorn-grid", "--set", "generator.kind=conv"], "a conv network needs images"),
    "no assignment": (["sinkhorn-grid", "--set", "batch.size"], "--set needs key=value"),
    "a value as a table": (["sinkhorn-grid", "--set", "name.x=1"], "name is a value, not a table"),
    "sample of the grid": (["sinkhorn-grid", "--data", "sample"], "this experiment's data are 'grid'"),
    "sample of CIFAR-10": (["sinkhorn-cifar10", "--data", "sample"], "the package carries a sample of MNIST alone"),
    "no such file": (["sinkhorn-grid", "--data", "nowhere.npz"], "nowhere.npz"),
    "points for a conv network": (["sinkhorn-mnist", "--data", "points.npz"], "points"),
    "too many halvings": (["sinkhorn-mnist", "--data", "sample", "--set", "generator.depth=9"], "depth"),
    "too many strata": (["relaxed-grid", "--set", "data.size=2000", "--batch-size", "4096"], "4096"),
    "no such toml": (["nowhere.toml"], "there is no file nowhere.toml"),
    "too many devices": (["sinkhorn-grid", "--devices", "4096"], "--devices 4096: there are"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_exit_code_2_and_nothing_touched(case):
    words, sentence = BAD[case]
    np.savez("points.npz", np.random.default_rng(0).normal(size=(200, 2)))
    done = otgan("run", *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert not run_folders()


def test_all_mistakes_of_the_flags_are_told_at_once():
    done = otgan("run", "sinkhorn-grid", "--lam", "0", "--epsilon", "-1x", "--batch-size", "1", "--steps", "0", "--seed", "-1")
    assert done.exit_code == 2
    for words in ("5 mistakes", "oracle.lam", "oracle.epsilon", "batch.size", "train.steps", "train.seed"):
        assert words in done.output


def test_all_mistakes_of_a_config_are_told_at_once():
    done = otgan("run", "sinkhorn-grid", "--set", "batch.size=1", "--set", "oracle.lam=-1", "--set", "train.stpes=4", "--set", "data.sd=0")
    assert done.exit_code == 2
    assert "4 mistakes:" in done.output
    for words in ("batch.size: it should be greater than or equal to 2", "oracle.lam: must be above 0, not -1", "did you mean train.steps"):
        assert words in done.output
    assert "data.sd: it should be greater than 0" in done.output


@pytest.mark.parametrize("text", ["steps = ", "\x00\x01", '[train]\nsteps = "x"\n[train]\n', "extends = 'nothing-like-it'\n"])
def test_an_unreadable_toml_is_refused(text):
    Path("mine.toml").write_text(text)
    done = otgan("run", "mine.toml")
    assert done.exit_code == 2
    assert "cannot read mine.toml" in done.output or "no experiment called 'nothing-like-it'" in done.output
    assert not run_folders()


def test_extends_in_a_circle_is_refused():
    Path("a.toml").write_text("extends = 'b.toml'\n")
    Path("b.toml").write_text("extends = 'a.toml'\n")
    done = otgan("run", "a.toml")
    assert done.exit_code == 2
    assert "comes back to a.toml" in done.output


def test_a_file_of_ones_own_extends_a_named_experiment():
    Path("mine.toml").write_text("extends = 'sinkhorn-grid'\n[oracle]\nlam = '0.5x'\n[data]\nkind = 'mnist'\n[generator]\nkind = 'conv'\n")
    config = experiments.resolve("mine.toml")
    assert config.name == "mine"
    assert config.oracle.lam.relative
    assert config.data.kind == "mnist"


def test_unprepared_data_end_at_once_with_what_to_do(tmp_path):
    began = time.monotonic()
    done = otgan_alone("run", "sinkhorn-mnist")
    assert time.monotonic() - began < 10
    assert done.returncode == 2
    for words in ("otgan data prepare mnist", str(tmp_path / "nothing"), "--data sample"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not run_folders()


def test_a_folder_of_another_config_is_refused_naming_the_keys():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "out").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--lam", "0.3", "--seed", "5", "--out", "out")
    assert done.exit_code == 2
    assert "oracle.lam (0.05 there, 0.3 now)" in done.output
    assert "train.seed (0 there, 5 now)" in done.output
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")} == before


def test_a_folder_of_something_else_is_refused_and_left_alone():
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "mine")
    assert done.exit_code == 2
    assert "holds something else than a run" in done.output
    assert [p.name for p in Path("mine").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_written_is_refused():
    Path("file").write_text("")
    for out in ("file", "file/run", "/proc/run"):
        done = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", out)
        assert done.exit_code == 2, done.output
        assert "give --out" in done.output


def test_changed_data_are_refused():
    rng = np.random.default_rng(0)
    np.savez("mine.npz", rng.normal(size=(300, 2)))
    assert otgan("run", "sinkhorn-grid", *TINY, "--data", "mine.npz", "--out", "out").exit_code == 0
    np.savez("mine.npz", rng.normal(size=(300, 2)))
    done = otgan("run", "out")
    assert done.exit_code == 2
    assert "was begun with other data" in done.output


def test_a_batch_that_the_devices_cannot_share_is_refused():
    done = otgan_alone(
        "run", "sinkhorn-grid", "--batch-size", 30, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu"
    )
    assert done.returncode == 2
    assert "a batch of 30 cannot be shared equally by 8 devices; try --batch-size 32" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sample", "nowhere"], "nowhere is no run folder"),
        (["sample", "half"], "the run never started"),
        (["sample", "begun"], "no checkpoint"),
        (["data", "verify", "mnist"], "otgan data prepare mnist"),
    ],
)
def test_what_is_not_there_is_one_sentence(words, sentence):
    config = experiments.resolve("sinkhorn-grid").json()
    for name in ("half", "begun"):
        Path(name).mkdir()
        Path(name, "config.json").write_text(config)
    form = {"shape": [2], "images": False, "center": [0.0, 0.0], "scale": 1.0, "size": 2000}
    Path("begun/environment.json").write_text(json.dumps({"data": {"form": form}}))
    done = otgan(*words)
    assert done.exit_code == 2
    assert sentence in done.output


def test_samples_go_to_png_or_npz_alone():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "out").exit_code == 0
    done = otgan("sample", "out", "-o", "x.gif")
    assert done.exit_code == 2
    assert "written to .png or .npz" in done.output


def test_data_list_says_what_is_where(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "nothing-here")
    done = otgan("data", "list")
    assert done.exit_code == 0
    assert re.search(r"^mnist +no +60,000 .* nothing-here *$", done.output, re.M)
    assert re.search(r"^sample +yes ", done.output, re.M)
