"""otgan in Python does what the commands do."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import otgan
from otgan.errors import UserError
from otgan.experiments import resolve
from otgan.results.state import RunState
from otgan.runs import RunFolder
from otgan.sampling import sample
from tests.support import REPOSITORY
from tests.support.helpers import TINY

NOTEBOOK = REPOSITORY / "docs/notebook.ipynb"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return otgan.train(
        "sinkhorn-grid", TINY, out=tmp_path_factory.mktemp("api") / "run", quiet=True
    )


def test_a_run_is_trained_and_opened(trained):
    again = otgan.load(trained.path)
    assert again.state is trained.state is RunState.FINISHED
    assert again.config.batch.size == TINY["batch.size"]
    assert again.summary["steps_per_second"] > 0
    assert again.history[-1]["step"] == TINY["train.steps"]
    assert [line["step"] for line in again.history] == [10, 20, 30, 40]


def test_samples_are_those_of_the_command(trained):
    points = trained.sample(70, seed=3)
    assert points.shape == (70, 2)
    np.testing.assert_array_equal(points, sample(RunFolder(trained.path), 70, 3))
    np.testing.assert_array_equal(points, trained.sample(70, seed=3, step=TINY["train.steps"]))
    with pytest.raises(UserError, match="keeps no checkpoint of step 7"):
        trained.sample(2, step=7)


def test_a_config_goes_on_where_it_was(trained, capsys):
    again = otgan.train(trained.config, out=trained.path)
    assert "resuming after step 40" in capsys.readouterr().out
    assert again.path == trained.path
    with pytest.raises(UserError, match="a config is trained as it is"):
        otgan.train(resolve("sinkhorn-grid"), {"oracle.lam": 1.0})


def test_any_thread_may_train(trained):
    """Signals are the main thread's."""
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(otgan.train, trained.config, out=trained.path, quiet=True).result()
    assert again.state is RunState.FINISHED


def test_scores_are_kept_with_the_run_and_say_how_they_were_measured(trained):
    found = otgan.score(trained, ["modes"], samples=500)
    kept = [json.loads(line) for line in RunFolder(trained.path).scores.read_text().splitlines()]
    measured = {record["metric"] for record in found.values()}
    assert measured == {"modes", "high_quality", "mode_kl", "mode_width"}
    assert all(record in kept for record in found.values())
    assert found == otgan.score(str(trained.path), ["modes"], samples=500)


def test_arrays_are_judged_as_files_are(tmp_path):
    points = np.random.default_rng(0).normal(size=(300, 2))
    np.savez(tmp_path / "x.npz", points)
    asked = {"reference": "grid", "samples": 200}
    of_array, of_file = (
        otgan.score(points, ["modes"], **asked),
        otgan.score(tmp_path / "x.npz", ["modes"], **asked),
    )
    assert {name: (r["mean"], r["fingerprint"]) for name, r in of_array.items()} == {
        name: (r["mean"], r["fingerprint"]) for name, r in of_file.items()
    }
    with pytest.raises(UserError, match="the array is no run, so say what to compare it with"):
        otgan.score(points)
    with pytest.raises(UserError, match="1 of the 300 examples in the array hold NaN"):
        otgan.score(np.where(np.arange(600).reshape(300, 2) == 7, np.nan, points), reference="grid")


def test_a_run_without_a_map_says_so(trained):
    with pytest.raises(UserError, match="learned no map"):
        trained.transport(np.zeros((4, 2)))


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither a run nor a sweep"):
        otgan.load(tmp_path)


def test_the_package_alone_imports_no_jax():
    code = "import sys, otgan\nsys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="module 'otgan' has no attribute 'trian'"):
        otgan.trian  # noqa: B018


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """Cell by cell, in one namespace and an empty folder, as a reader would."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), namespace)
    assert namespace["run"].state is RunState.FINISHED
