"""What users type, what they see, and how every mistake ends: one sentence, exit code 2, nothing
touched.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otgan import experiments
from otgan.named import names
from tests.support.commands import SMALL, TINY, otgan, otgan_alone, run_folders

pytestmark = pytest.mark.usefixtures("elsewhere")

EXPERIMENTS = [
    "points",
    "pictures",
    "sinkhorn-grid",
    "sinkhorn-grid-tight",
    "relaxed-grid",
    "regot-grid",
    "regot-l2-grid",
    "sinkhorn-mnist",
    "regot-mnist",
    "sinkhorn-cifar10",
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
    "drifting-grid",
    "drifting-mnist",
    "feature-cifar10",
    "feature-mnist",
    "feature-stacked-mnist",
]


# --- what there is --------------------------------------------------------------------------------


def test_list_shows_every_experiment_once():
    done = otgan("list")
    assert done.exit_code == 0
    assert all(re.search(rf"^  {name} ", done.output, re.M) for name in EXPERIMENTS)
    assert names() == sorted(EXPERIMENTS)
    lines = [line for line in done.output.splitlines() if line.startswith(" ")]
    assert len(lines) == len(EXPERIMENTS)  # a line each, none broken


@pytest.mark.parametrize("command", ["run", "show", "sweep"])
@pytest.mark.parametrize("length", [250, 251, 255, 256, 5_000])
def test_a_name_that_no_file_can_have_is_refused(command, length, elsewhere):
    done = otgan(command, "9" * length, *(["--lam", "1,2"] if command == "sweep" else []))
    assert done.exit_code == 2
    assert "there is no experiment called" in done.output or "no path" in done.output


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_resolves_and_says_what_it_is(name):
    done = otgan("show", name)
    assert done.exit_code == 0
    for words in ("  paper", "  expect", "  cost", f"otgan run {name}", "[oracle]"):
        assert words in done.output
    oracle: Any = experiments.resolve(name).oracle
    assert all(
        (words in done.output) == hasattr(oracle, "lam") for words in ("POT", "GeomLoss", "ott-jax")
    )
    family = name.split("-")[0]
    if family in ("regot", "sinkhorn", "relaxed", "feature", "ot", "points", "pictures"):
        assert oracle.loss == {"regot": "regot", "ot": "energy"}.get(family, "sinkhorn")
        assert oracle.tau.finite == (family in ("relaxed", "points"))
        assert oracle.regularizer == ("l2" if "-l2-" in name else "kl")
    else:
        assert oracle.family == {"wgan": "critic"}.get(family, family)


def test_show_translates_lam():
    done = otgan("show", "sinkhorn-grid")
    assert "POT       reg=0.05" in done.output
    assert "blur=0.1581" in done.output  # blur^2 = lam / 2, as GeomLoss halves the squared distance
    assert "epsilon=0.05" in done.output


def test_dry_run_prints_a_config_that_repeats_the_run(tmp_path):
    done = otgan(
        "run",
        "sinkhorn-cifar10",
        "--lam",
        "1.0",
        "--epsilon",
        "0.5x",
        "--set",
        "generator.width=12",
        "--seed",
        "7",
        "--dry-run",
    )
    assert done.exit_code == 0
    Path("config.json").write_text(done.output)
    config: Any = experiments.resolve("config.json")
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


# --- what bad input gets --------------------------------------------------------------------------

BAD = {
    "icnn with l1": (
        ["convex-grid", "--cost", "l1"],
        "family 'convex' serves the cost 'squared_l2'; the cost 'l1' is served by",
    ),
    "drifting on learned": (
        ["drifting-mnist", "--features", "learned"],
        "no loss that an encoder could make larger",
    ),
    "critic with squared": (
        ["wgan-gp-grid", "--cost", "squared_l2"],
        "family 'critic' serves the cost 'l2'",
    ),
    "neural on features": (
        ["neural-grid", "--features", "random"],
        "family 'neural' serves pixels only",
    ),
    "lam of a family without": (["convex-grid", "--lam", "1"], "unknown key oracle.lam"),
    "identity without source": (
        ["convex-grid", "--set", "generator.kind=identity"],
        "give --set source=FILE.npz",
    ),
    "source without map": (
        ["sinkhorn-grid", "--set", "source.kind=grid"],
        "which family 'regularized' does not yield; 'convex' does",
    ),
    "halves of strata": (
        ["ot-gan-grid", "--set", "batch.draw=stratified"],
        "independent halves of a batch, not batch.draw = 'stratified'",
    ),
    "odd energy": (["ot-gan-grid", "--batch-size", "33"], "batch.size must be even, not 33"),
    "unknown family": (["sinkhorn-grid", "--set", "oracle.family=magic"], "'magic'"),
    "unknown experiment": (
        ["sinkhorn-gird"],
        "no experiment called 'sinkhorn-gird'; did you mean sinkhorn-grid",
    ),
    "unknown key": (
        ["sinkhorn-grid", "--set", "oracle.lamm=1"],
        "unknown key oracle.lamm; did you mean oracle.lam",
    ),
    "unknown table": (
        ["sinkhorn-grid", "--set", "orcle.lam=1"],
        "unknown key orcle; did you mean oracle",
    ),
    "lam zero": (["sinkhorn-grid", "--lam", "0"], "oracle.lam: must be above 0, not 0"),
    "lam negative": (["sinkhorn-grid", "--lam", "-1x"], "oracle.lam: must be above 0, not -1x"),
    "lam no number": (["sinkhorn-grid", "--lam", "big"], "needs a number such as 0.5, or 0.03x"),
    "lam nan": (["sinkhorn-grid", "--lam", "nan"], "must be above 0"),
    "lam infinite": (["sinkhorn-grid", "--lam", "inf"], "oracle.lam: must be finite"),
    "epsilon zero": (["sinkhorn-grid", "--epsilon", "0"], "oracle.epsilon: must be above 0"),
    "wrong type": (
        ["sinkhorn-grid", "--set", "batch.size=many"],
        "batch.size: it should be a valid integer (given: 'many')",
    ),
    "regularizer": (["sinkhorn-grid", "--regularizer", "l3"], "'l3' is not one of 'kl', 'l2'"),
    "tau with l2": (
        ["sinkhorn-grid", "--regularizer", "l2", "--tau", "1"],
        "with l2 leave tau at inf",
    ),
    "memory": (
        ["sinkhorn-grid", "--memory", "4 apples"],
        "needs a size such as 500MB, 4GB or 2GiB",
    ),
    "memory zero": (["sinkhorn-grid", "--memory", "0GB"], "needs a size such as"),
    "memory with l2": (
        ["sinkhorn-grid", "--regularizer", "l2", "--memory", "4GB"],
        "memory makes the costs of the kl regularizer in blocks: leave it out with l2",
    ),
    "memory with a bound over all pairs": (
        ["sinkhorn-grid", "--epsilon", "adaptive", "--memory", "4GB"],
        "looks at all pairs of a batch at once",
    ),
    "memory of another family": (["convex-grid", "--memory", "4GB"], "oracle.max_memory"),
    "memory too small": (
        ["sinkhorn-grid", "--memory", "1KB"],
        "oracle.max_memory = 1KB does not hold one block of this batch's costs: the least that"
        " works is --memory 492KB",
    ),
    "conv on points": (
        ["sinkhorn-grid", "--set", "generator.kind=conv"],
        "a conv network needs images",
    ),
    "no assignment": (["sinkhorn-grid", "--set", "batch.size"], "--set needs key=value"),
    "a value as a table": (["sinkhorn-grid", "--set", "name.x=1"], "name is a value, not a table"),
    "sample of the grid": (
        ["sinkhorn-grid", "--data", "sample"],
        "this experiment's data are 'grid'",
    ),
    "sample of CIFAR-10": (
        ["sinkhorn-cifar10", "--data", "sample"],
        "the package carries a sample of MNIST alone",
    ),
    "no such file": (["sinkhorn-grid", "--data", "nowhere.npz"], "nowhere.npz"),
    "points for a conv network": (["sinkhorn-mnist", "--data", "points.npz"], "points"),
    "too many halvings": (
        ["sinkhorn-mnist", "--data", "sample", "--set", "generator.depth=9"],
        "depth",
    ),
    "too many strata": (
        ["relaxed-grid", "--set", "data.size=2000", "--batch-size", "4096"],
        "4096",
    ),
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
    done = otgan(
        "run",
        "sinkhorn-grid",
        "--lam",
        "0",
        "--epsilon",
        "-1x",
        "--batch-size",
        "1",
        "--steps",
        "0",
        "--seed",
        "-1",
    )
    assert done.exit_code == 2
    for words in (
        "5 mistakes",
        "oracle.lam",
        "oracle.epsilon",
        "batch.size",
        "train.steps",
        "train.seed",
    ):
        assert words in done.output


def test_all_mistakes_of_a_config_are_told_at_once():
    done = otgan(
        "run",
        "sinkhorn-grid",
        "--set",
        "batch.size=1",
        "--set",
        "oracle.lam=-1",
        "--set",
        "train.stpes=4",
        "--set",
        "data.sd=0",
    )
    assert done.exit_code == 2
    assert "4 mistakes:" in done.output
    for words in (
        "batch.size: it should be greater than or equal to 2",
        "oracle.lam: must be above 0, not -1",
        "did you mean train.steps",
    ):
        assert words in done.output
    assert "data.sd: it should be greater than 0" in done.output


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
    done = otgan(
        "run", "sinkhorn-grid", *SMALL, *TINY, "--lam", "0.3", "--seed", "5", "--out", "out"
    )
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
        "run",
        "sinkhorn-grid",
        "--batch-size",
        30,
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
        JAX_PLATFORMS="cpu",
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


def test_samples_go_to_png_or_npz_and_points_to_csv_too():
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", "out").exit_code == 0
    done = otgan("sample", "out", "-o", "x.gif")
    assert done.exit_code == 2
    assert "written to .png or .npz, points to .csv too" in done.output
    for name in ("x.csv", "x.npz"):
        assert otgan("sample", "out", "-n", 5, "-o", name).exit_code == 0
    rows = Path("x.csv").read_text().splitlines()
    assert rows[0] == "0,1"
    same = np.array([[float(word) for word in row.split(",")] for row in rows[1:]], np.float32)
    assert np.array_equal(same, np.load("x.npz")["samples"])
    environment = json.loads(Path("out/environment.json").read_text())
    environment["data"]["columns"] = ["width, cm", "height"]
    Path("out/environment.json").write_text(json.dumps(environment))
    assert otgan("sample", "out", "-n", 5, "-o", "y.csv").exit_code == 0
    assert Path("y.csv").read_text().splitlines() == ['"width, cm",height', *rows[1:]]
    environment["data"]["form"]["images"] = True
    Path("out/environment.json").write_text(json.dumps(environment))
    refused = otgan("sample", "out", "-n", 5, "-o", "z.csv")
    assert refused.exit_code == 2
    assert "would be a table, and the samples are images" in refused.output


def test_data_list_says_what_is_where(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "nothing-here")
    done = otgan("data", "list")
    assert done.exit_code == 0
    assert re.search(r"^mnist +no +60,000 .* nothing-here *$", done.output, re.M)
    assert re.search(r"^sample +yes ", done.output, re.M)
