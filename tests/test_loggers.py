"""Loggers of other packages: what they are told, that a run goes on in the same entry, and that
none ends a run. By modules that keep what they are told, and by the real ones where they are
installed.
"""

import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import pytest

from otgan.loggers import Loggers, require
from otgan.runs import RunFolder
from tests.support.commands import SMALL, TINY, otgan, otgan_alone
from tests.support.helpers import tiny_config

WORDS = ["run", "sinkhorn-grid", *SMALL, *TINY[2:], "--set", "train.log_every=2"]


class FakeWandb(types.ModuleType):
    """Keeps calls; a run of an id that is known goes on."""

    def __init__(self):
        super().__init__("wandb")
        self.runs, self.calls, self.broken = {}, [], ""

    def init(self, **words):
        if self.broken == "init":
            raise OSError("no route to host\nat all")
        self.calls.append(("init", words))
        return self.runs.setdefault(words["id"], FakeRun(self))

    def Image(self, path):  # noqa: N802
        return ("image", path)


class FakeRun:
    def __init__(self, module):
        self.module, self.logged, self.ends, self.config = module, [], [], {}
        self.config = types.SimpleNamespace(update=self._update)
        self.values = {}

    def _update(self, values, allow_val_change):
        self.values.update(values)

    def log(self, numbers, step):
        if self.module.broken == "log":
            raise OSError("no route to host")
        self.logged.append((step, numbers))

    def finish(self, exit_code):
        self.ends.append(exit_code)


class FakeMlflow(types.ModuleType):
    """Keeps batches, and refuses what a server refuses."""

    class MlflowException(Exception):  # noqa: N818
        pass

    def __init__(self):
        super().__init__("mlflow")
        self.entities = types.SimpleNamespace(Metric=lambda *a: a, Param=lambda *a: a)
        self.metrics, self.params, self.artifacts, self.states = {}, {}, [], []
        self.experiments = {}

    def MlflowClient(self):  # noqa: N802
        return self

    def get_experiment_by_name(self, name):
        found = self.experiments.get(name)
        return found and types.SimpleNamespace(experiment_id=found)

    def create_experiment(self, name):
        return self.experiments.setdefault(name, f"of {name}")

    def create_run(self, experiment, run_name, tags):
        run_id = f"{run_name}-{len(self.params)}"
        self.params[run_id], self.metrics[run_id] = {}, []
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))

    def update_run(self, run_id, status):
        self.states.append((run_id, status))

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self.metrics[run_id] += metrics
        self.params[run_id].update(params)

    def log_artifact(self, run_id, path, place):
        self.artifacts.append((run_id, Path(path).name, place))

    def set_terminated(self, run_id, status):
        self.states.append((run_id, status))


@pytest.fixture
def fakes(monkeypatch):
    found = {"wandb": FakeWandb(), "mlflow": FakeMlflow()}
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


def in_folder(path):
    """By step, what the folder itself has, as TensorBoard gets it."""
    lines = map(json.loads, (Path(path) / "metrics.jsonl").read_text().splitlines())
    return {
        line["step"]: {name: value for name, value in line.items() if name not in ("step", "steps")}
        for line in lines
    }


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_they_get_the_numbers_the_config_and_the_samples_and_go_on(fakes):
    words = [*WORDS, "--logger", "wandb", "--logger", "mlflow"]
    assert otgan(*words, "--steps", 6, "--out", "run").exit_code == 0
    assert otgan("run", "run", "--steps", 10, "--quiet").exit_code == 0
    wandb, mlflow = fakes.values()
    ((id_, entry),) = wandb.runs.items()
    numbers = {step: given for step, given in entry.logged if "samples" not in given}
    assert numbers == in_folder("run")
    assert sorted(numbers) == [2, 4, 6, 8, 10]
    assert len([step for step, given in entry.logged if "loss" in given]) == 5  # none twice
    pictures = {step: given["samples"] for step, given in entry.logged if "samples" in given}
    assert [Path(path).name for _, path in pictures.values()] == [
        "step-0000006.png",
        "step-0000010.png",
    ]
    assert entry.values["oracle.lam"] == 0.05
    assert entry.values["train.steps"] == 10
    assert entry.ends == [0, 0]
    assert [words["resume"] for _, words in wandb.calls] == ["allow", "allow"]

    ((run_id, metrics),) = mlflow.metrics.items()
    told = {}
    for name, value, _, step in metrics:
        assert name not in told.setdefault(step, {})
        told[step][name] = value
    assert told == in_folder("run")
    assert mlflow.params[run_id]["oracle.lam"] == "0.05"
    assert [name for _, name, _ in mlflow.artifacts] == ["step-0000006.png", "step-0000010.png"]
    assert [state for _, state in mlflow.states] == ["RUNNING", "FINISHED"] * 2
    kept = json.loads(Path("run/loggers.json").read_text())
    assert kept == {"wandb": {"id": id_, "sent": 10}, "mlflow": {"id": run_id, "sent": 10}}


def opened(folder, names, said):
    return Loggers(folder, tiny_config(**{"train.loggers": names}), said.append)


def test_no_step_is_handed_over_twice(fakes, tmp_path):
    """As after a kill: the run goes on from a checkpoint before what it had handed over."""
    folder, said = RunFolder(tmp_path), []
    with opened(folder, ["wandb"], said) as loggers:
        for step in (10, 20, 30):
            loggers.scalars(step, {"loss": float(step)})
    with opened(folder, ["wandb", "mlflow"], said) as loggers:  # one of them is new
        for step in (20, 30, 40):
            loggers.scalars(step, {"loss": -float(step)})
        loggers.finish()
    ((_, entry),) = fakes["wandb"].runs.items()
    assert entry.logged == [(s, {"loss": v}) for s, v in ((10, 10), (20, 20), (30, 30), (40, -40))]
    assert entry.ends == [1, 0]
    ((_, metrics),) = fakes["mlflow"].metrics.items()
    assert [step for *_, step in metrics] == [20, 30, 40]
    assert not said


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("broken", ["init", "log"])
def test_one_that_fails_is_left_out_and_ends_no_run(fakes, broken):
    fakes["wandb"].broken = broken
    words = [word for word in WORDS if word != "--quiet"]
    words += ["--logger", "wandb", "--logger", "mlflow", "--steps", 6, "--out", "run"]
    done = otgan(*words)
    assert done.exit_code == 0, done.output
    said = "--logger wandb failed and is left out from here on: no route to host. All numbers"
    assert done.output.count(said) == 1
    assert len(next(iter(fakes["mlflow"].metrics.values()))) > 0


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_is_one_sentence_before_anything(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    for words in (["run", "sinkhorn-grid"], ["sweep", "sinkhorn-grid", "--lam", "1"]):
        done = otgan(*words, "--logger", name)
        assert done.exit_code == 2
        needed = f"Error: --logger {name} needs the extra `{name}`: pip install 'otgan[{name}]'\n"
        assert done.output == needed
    assert not any(Path().iterdir())


def test_nothing_is_imported_that_is_not_asked_for(monkeypatch):
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    require([])
    assert "--logger [wandb|mlflow]" in otgan("run", "--help").output


# --- the real ones --------------------------------------------------------------------------------


def installed(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"pip install 'otgan[{name}]'"
    )


@installed("mlflow")
@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_mlflow_itself_keeps_a_run_that_goes_on():
    where = {"MLFLOW_TRACKING_URI": "file:./mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
    words = [*WORDS, "--logger", "mlflow", "--out", "run"]
    for steps in (6, 10):
        done = otgan_alone(*words, "--steps", steps, **where)
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stdout + done.stderr
    (metrics,) = Path("mlruns").glob("*/*/metrics/loss")
    lines = [line.split() for line in metrics.read_text().splitlines()]
    told = {int(step): float(value) for _, value, step in lines}
    assert told == {step: numbers["loss"] for step, numbers in in_folder("run").items()}
    assert len(lines) == 5
    entry = metrics.parent.parent
    assert (entry / "params/oracle.lam").read_text() == "0.05"
    assert len([*entry.glob("artifacts/samples/*.png")]) == 2


@installed("wandb")
@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_wandb_itself_keeps_a_run_that_goes_on_offline():
    where = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    words = [*WORDS, "--logger", "wandb", "--out", "run"]
    for steps in (6, 10):
        done = otgan_alone(*words, "--steps", steps, **where)
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stdout + done.stderr
    id_ = json.loads(Path("run/loggers.json").read_text())["wandb"]["id"]
    parts = sorted(Path("run/wandb").glob(f"offline-run-*-{id_}/run-{id_}.wandb"))
    assert len(parts) == 2  # one entry, in two sittings
    losses = [of_wandb(part, "loss") for part in parts]
    told = in_folder("run")
    assert losses[0] == {step: told[step]["loss"] for step in (2, 4, 6)}
    assert losses[1] == {step: told[step]["loss"] for step in (8, 10)}
    assert len([*Path("run/wandb").glob("offline-run-*/files/media/images/samples_*.png")]) == 2


@installed("wandb")
@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_without_a_login_a_run_goes_on_without_wandb():
    nobody = {"HOME": os.getcwd(), "NETRC": "none", "WANDB_MODE": "online"}  # noqa: PTH109
    words = [word for word in WORDS if word != "--quiet"]
    done = otgan_alone(*words, "--steps", 6, "--logger", "wandb", "--out", "run", **nobody)
    assert done.returncode == 0, done.stderr
    assert "--logger wandb failed and is left out from here on: " in done.stdout
    assert sorted(in_folder("run")) == [2, 4, 6]


def of_wandb(path, name):
    """A number by step, from the file that wandb keeps offline."""
    from wandb.proto import wandb_internal_pb2  # pyright: ignore[reportMissingImports]

    found = {}
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {
                item.key or item.nested_key[0]: json.loads(item.value_json)
                for item in record.history.item
            }
            if name in items:
                found[record.history.step.num] = items[name]
    return found


def records(raw, header=7, block=32_768):
    """What a log holds, in the form of LevelDB's: blocks of pieces, each with its length and
    whether it is the first or the last of a record.
    """
    at, piece = header, b""
    while at + 7 <= len(raw):
        if block - at % block < 7:  # no room for a piece: the rest of the block is empty
            at += block - at % block
            continue
        length, kind = int.from_bytes(raw[at + 4 : at + 6], "little"), raw[at + 6]
        piece += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield piece
            piece = b""
