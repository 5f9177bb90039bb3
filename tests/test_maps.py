"""Runs whose map is measured against the true one, by the commands that users type."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts import map_benchmarks
from tests.support.commands import otgan

pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.slow]

FILES = ["--data", "known/Y.npz", "--set", "source=known/X.npz"]
TRUTH = ["--set", "truth=known/T.npz"]
QUICK = ["--batch-size", 32, "--set", "oracle.width=8", "--set", "train.pictures=1", "--quiet"]


def write(benchmark, size=2_000):
    map_benchmarks.write(benchmark, np.random.default_rng(0), size, Path("known"))


def train(*words):
    done = otgan("run", "convex-map", *FILES, *words)
    assert done.exit_code == 0, done.output
    return done.output


def summary(path):
    return json.loads(Path(path, "status.json").read_text())["summary"]


def lines(path):
    return [
        {**json.loads(line), "seconds": 0}
        for line in Path(path, "metrics.jsonl").read_text().splitlines()
    ]


def test_quadratics_find_the_map_between_gaussians():
    write(map_benchmarks.gaussian(3, 0), size=20_000)
    quadratic = ["--set", "oracle.potential=quadratic", "--steps", 600, "--quiet"]
    output = train(*TRUTH, *quadratic, "--out", "map")
    assert "unexplained variance" in " ".join(output.split())
    found = summary("map")
    assert 0 < found["uvp"] < 1
    assert found["uvp_of_affine_map"] < 1e-4
    # by the potential that users see: what `otgan sample` pushes is what was measured
    truth = np.load("known/T.npz")
    np.savez("x.npz", x=truth["x"])
    assert otgan("sample", "map", "--push", "x.npz", "-o", "pushed.npz").exit_code == 0
    off = np.load("pushed.npz")["samples"].astype(np.float64) - truth["y"]
    uvp = 100 * (off**2).sum(1).mean() / truth["y"].astype(np.float64).var(0).sum()
    assert found["uvp"] == pytest.approx(uvp, rel=1e-3)


def test_a_truth_changes_nothing_of_what_is_trained_and_may_come_later():
    write(map_benchmarks.mixture(2, 0))
    train(*QUICK, *TRUTH, "--steps", 20, "--out", "whole")
    train(*QUICK, "--steps", 20, "--out", "without")
    assert "uvp" not in summary("without")
    assert lines("whole") == lines("without")
    train(*QUICK, *TRUTH, "--steps", 20, "--out", "without")
    assert summary("without")["uvp"] == summary("whole")["uvp"] > 0
    assert otgan("run", "without", "--quiet").exit_code == 0
    Path("known/T.npz").unlink()
    refused = otgan("run", "without", "--quiet")
    assert refused.exit_code == 2
    assert "truth: there is no file" in " ".join(refused.output.split())


def test_sweeps_and_reports_know_it():
    write(map_benchmarks.mixture(2, 0))
    swept = ["--set", "oracle.strong_convexity=0.01,0.1", "--steps", 6, "--jobs", 1, "--out", "s"]
    done = otgan("sweep", "convex-map", *FILES, *TRUTH, *QUICK[:-1], *swept)
    assert done.exit_code == 0, done.output
    assert "uvp" in done.output
    assert "uvp_of_affine_map" not in done.output
    said = json.loads(otgan("report", "s", "--json").output)
    assert "uvp" in json.dumps(said)
