"""Sweeps as users type them: grids, what is rerun, how they are interrupted, what bad input
gets.
"""

import importlib.util
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from otgan import experiments
from otgan.results.aggregate import aggregate
from otgan.results.judged import note_judged
from otgan.sweep.folder import SweepFolder
from otgan.sweep.plan import make_plan
from tests.support import REPOSITORY
from tests.support.commands import BRIEF, SMALL, otgan, otgan_alone
from tests.support.made_sweeps import grid, recorded, say, score

pytestmark = pytest.mark.usefixtures("elsewhere")

TINY = ["sinkhorn-grid", *SMALL, *BRIEF]
RAY = importlib.util.find_spec("ray") is not None
TIMED = {"seconds", "steps_per_second", "peak_memory_bytes"}


def cells(path="sweeps/sinkhorn-grid"):
    root = SweepFolder(Path(path))
    return {id_: root.state(id_) for id_ in root.cells()}


def summary(folder):
    found = json.loads((folder / "status.json").read_text())["summary"]
    return {name: value for name, value in found.items() if name not in TIMED}


# --- to the end -----------------------------------------------------------------------------------


def test_a_sweep_trains_judges_and_goes_on():
    rates = "generator.optimizer.learning_rate=3e-3,1e18"
    words = [
        "sweep",
        *TINY,
        "--lam",
        "0.05",
        "--set",
        rates,
        "--eval",
        "modes",
        "--set",
        "train.eval_samples=500",
    ]
    done = otgan(*words)
    assert done.exit_code == 1  # a cell diverged, and stopped no other
    assert "2 of 2 cells to run" in done.output
    assert "lam=0.05 learning_rate=1e+18 seed=0  failed: diverged: " in done.output
    header, row, failed = (
        line.split() for line in done.output.splitlines() if line.split()[:1] in (["lam"], ["0.05"])
    )
    assert header[:4] == ["lam", "learning_rate", "cells", "modes"]
    assert row[:3] == ["0.05", "0.003", "1"]
    assert failed[1:] == ["1e+18", "0,", "1", "not", "finished"]
    again = shlex.join(["otgan", *map(str, words), "--out", "sweeps/sinkhorn-grid"])
    assert f"1 of 2 cells are left (1 failed); go on with: {again}\n" in done.output

    root = SweepFolder(Path("sweeps/sinkhorn-grid"))
    (good,) = (root.folder(id_).path for id_, state in cells().items() if state == "finished")
    assert otgan("run", good / "config.json", "--quiet", "--out", "alone").exit_code == 0
    assert summary(good) == summary(Path("alone"))  # a cell is a run
    assert json.loads((good / "eval/judged.json").read_text())["measures"] == ["modes"]
    assert "compiled; training" in (good / "log.txt").read_text()

    planned = otgan(*words, "--dry-run")
    assert "1 of 2 cells would run" in planned.output
    extended = otgan(*words, "--lam", "0.05,0.5", "--seeds", 2, "--dry-run")
    assert "7 of 8 cells would run" in extended.output
    assert len(cells()) == 2


def test_a_worker_saves_and_stops_when_it_is_left_alone(tmp_path):
    plan = make_plan(
        "sinkhorn-grid",
        {"data.side": 2, "batch.size": 32, "train.steps": 10**6},
        {"oracle.lam": [0.05]},
        1,
    )
    root = SweepFolder(tmp_path / "s")
    root.record(plan.sweep, plan.cells)
    folder = root.folder(plan.cells[0].id)
    command = [sys.executable, "-m", "otgan.sweep.worker", str(folder.path), "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as worker:
        wait_for(lambda: folder.metrics.is_file() and folder.metrics.stat().st_size)
        assert root.state(plan.cells[0].id) == "running"
        worker.stdin.close()
        assert worker.wait(60) == 143
    assert folder.read_status()["state"] == "interrupted"
    assert folder.read_status()["step"] in {int(path.name) for path in folder.checkpoints.iterdir()}
    assert root.state(plan.cells[0].id) == "interrupted"


def test_a_cell_at_work_elsewhere_is_waited_for(tmp_path):
    plan = make_plan("sinkhorn-grid", {"train.steps": 6}, {"oracle.lam": [0.05]}, 1)
    root = SweepFolder(tmp_path / "s")
    root.record(plan.sweep, plan.cells)
    folder = root.folder(plan.cells[0].id)
    from otgan.sweep.worker import work

    ended = []
    waiting = threading.Thread(target=lambda: ended.append(work(folder, [], None)))
    with folder.locked():
        waiting.start()
        waiting.join(2)
        assert waiting.is_alive()
        folder.write_status("finished", 6, 1.0, {})
    waiting.join(60)
    assert ended == [0]  # and then found nothing left to do
    assert not folder.metrics.exists()


def test_the_table_names_the_network_of_every_score(capsys, tmp_path):
    from otgan.cli.sweeping import _print

    plan = grid(lams=(1.0,), measures=("fid",))
    root = recorded(tmp_path / "s", plan)
    say(root, plan.cells[0])
    score(root, plan.cells[0], "fid[mnist-lenet]", 2.0)
    note_judged(root.folder(plan.cells[0].id), ["fid"])
    _print(aggregate(root.results(plan.cells)), judged=True)
    assert "fid[mnist-lenet]" in capsys.readouterr().out


# --- what bad input gets --------------------------------------------------------------------------

BAD = {
    "no axis": ([], "nothing to sweep"),
    "empty value": (["--lam", "0.1,,1"], "an empty value"),
    "empty list": (["--lam", ""], "an empty value"),
    "empty value of set": (["--set", "batch.size=32,"], "an empty value"),
    "lam negative": (["--lam", "0.1,-1"], "oracle.lam: must be above 0, not -1"),
    "loss unknown": (["--loss", "regot,sinkhron"], "'sinkhron' is not one of"),
    "no such measure": (["--lam", "1", "--eval", "fid,fod"], "'fod' is not one of"),
    "address alone": (["--lam", "1", "--address", "auto"], "add --engine ray"),
    "a key twice": (["--lam", "0.1,1", "--set", "oracle.lam=5"], "oracle.lam is given twice"),
    "seed": (["--lam", "1", "--set", "train.seed=1,2"], "--seeds 3 takes 0, 1 and 2"),
    "no seeds": (["--lam", "1", "--seeds", "0"], "--seeds"),
    "no data": (["--lam", "1", "--data", "nowhere.npz"], "nowhere.npz"),
    "networks that do not fit": (
        ["--lam", "1", "--set", "generator.kind=mlp,conv"],
        "a conv network needs images",
    ),
    "measure that cannot be had": (["--lam", "1", "--eval", "is"], "know no classes"),
    "too few samples": (
        ["--lam", "1", "--eval", "kid", "--set", "train.eval_samples=5"],
        "needs 1,000 examples",
    ),
    "no cluster": (
        ["--lam", "1", "--engine", "ray", "--address", "127.0.0.1:1"],
        "ray" if importlib.util.find_spec("ray") is None else "Ray",
    ),
    "address": (
        ["--lam", "1", "--engine", "ray", "--address", "nonsense"],
        "ray" if importlib.util.find_spec("ray") is None else "HOST:PORT",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_end_with_code_2_before_anything_starts(case):
    words, sentence = BAD[case]
    done = otgan("sweep", "sinkhorn-grid", *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert not Path("sweeps").exists()


def test_a_folder_of_another_sweep_is_refused():
    root = SweepFolder(Path("s"))
    plan = make_plan("sinkhorn-grid", {"train.steps": 6}, {"oracle.lam": [1.0]}, 1)
    root.record(plan.sweep, plan.cells)
    for words, sentence in {
        ("regot-grid",): "s holds a sweep of sinkhorn-grid, not of regot-grid",
        ("sinkhorn-grid", "--steps", "5"): "goes further: train.steps (6 there, 5 now)",
        ("sinkhorn-grid", "--steps", "6", "--seconds", "5"): "train.seconds (None there, 5.0 now)",
        ("sinkhorn-grid", "--steps", "7", "--reals", "8"): "batch.reals (None there, 8 now)",
    }.items():
        done = otgan("sweep", *words, "--lam", "1", "--out", "s")
        assert done.exit_code == 2
        assert sentence in done.output
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").touch()
    assert (
        "holds something else than a sweep"
        in otgan("sweep", *TINY, "--lam", "1", "--out", "thesis").output
    )


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = otgan("sweep", *TINY, "--lam", "1", "--engine", "ray")
    assert done.exit_code == 2
    assert "pip install 'otgan[ray]'" in done.output
    assert not Path("sweeps").exists()


def test_data_that_only_the_nodes_of_a_cluster_have_are_not_looked_for_here(monkeypatch):
    begun, looked_at = [], []
    monkeypatch.setattr("otgan.sweep.check.check", lambda cells, *_: looked_at.append([*cells]))
    monkeypatch.setattr("otgan.cli.sweeping._executor", lambda *_: None)
    monkeypatch.setattr(
        "otgan.sweep.scheduler.work_off", lambda worklist, *_: begun.extend(worklist.cells)
    )
    words = ["sweep", "sinkhorn-cifar10", "--lam", "1,2", "--engine", "ray"]
    alone = otgan(*words)
    assert alone.exit_code == 2  # a cluster of its own is here
    assert "Error: CIFAR-10 is not prepared" in alone.output
    done = otgan(*words, "--address", "auto")
    assert "2 of 2 cells are looked at on the nodes: CIFAR-10 is not prepared" in done.output
    assert "2 of 2 cells are left" in done.output
    assert (len(begun), looked_at) == (2, [[]])


def test_lists_are_read_as_they_are_typed():
    done = otgan(
        "sweep",
        "sinkhorn-grid",
        "--lam",
        "1e-1, 0.03x",
        "--loss",
        "regot,sinkhorn",
        "--set",
        "batch.size=64,128",
        "--dry-run",
    )
    assert done.exit_code == 0, done.output
    assert "8 of 8 cells would run, in sweeps/sinkhorn-grid" in done.output
    assert "lam=0.03x loss=regot batch.size=64 seed=0" in done.output.replace(
        " size=", " batch.size="
    )
    lists = otgan(
        "sweep",
        "sinkhorn-grid",
        "--lam",
        "1",
        "--set",
        'train.eval_measures=["fid","kid"]',
        "--dry-run",
    )
    assert "1 of 1 cells" in lists.output  # one value, which is a list


def test_planning_imports_no_jax():
    code = (
        "import sys\nfrom otgan.cli import main\nmain.main(['sweep', 'sinkhorn-grid', '--lam',"
        " '1,2', '--dry-run'], standalone_mode=False)\nimport otgan.sweep.folder,"
        " otgan.results.aggregate\nsys.exit(any(name in sys.modules for name in ('jax',"
        " 'matplotlib', 'ray')))\n"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL
        ).returncode
        == 0
    )


# --- interrupted ----------------------------------------------------------------------------------

LONG = [
    "sinkhorn-grid",
    *SMALL,
    "--batch-size",
    32,
    "--set",
    "generator.width=8",
    "--set",
    "train.pictures=1",
]


def begin(words, out):
    command = [sys.executable, "-m", "otgan", "sweep", *map(str, words), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def any_at_work(path):
    root = SweepFolder(Path(path))
    return any(root.folder(id_).at_work for id_ in root.cells())


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_says_how_to_go_on():
    sweep = begin([*LONG, "--steps", 10**6, "--lam", "0.05,0.5", "--jobs", 1], "s")
    wait_for(lambda: any(Path("s").glob("cells/*/metrics.jsonl")))
    sweep.send_signal(signal.SIGINT)
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert "interrupted: saving the state of 1 cell at work; Ctrl-C again stops them" in output
    left = "2 of 2 cells are left (1 interrupted, 1 not begun)"
    assert f"interrupted: {left}; go on with: otgan sweep sinkhorn-grid" in output
    assert not any_at_work("s")
    assert sorted(cells("s").values()) == ["interrupted", "missing"]


@pytest.mark.slow
def test_killed_five_times_it_ends_with_the_same_table():
    words = [
        *LONG,
        "--steps",
        400,
        "--set",
        "train.checkpoint_seconds=0.2",
        "--lam",
        "0.05,1",
        "--epsilon",
        "0.1x,0.3x",
        "--seeds",
        2,
    ]
    began = time.monotonic()
    assert otgan_alone("sweep", *words, "--out", "undisturbed").returncode == 0
    takes, draw = time.monotonic() - began, random.SystemRandom()
    for attempt in range(5):
        sweep = begin(words, "killed")
        wait_for(lambda: any_at_work("killed"))
        time.sleep(draw.uniform(0, takes / 12))  # so that all five come before the sweep is done
        assert sweep.poll() is None
        # the sweep alone, or with its workers
        victims = [sweep.pid] if attempt % 2 else [sweep.pid, *children(sweep.pid)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        sweep.communicate()
    assert otgan_alone("sweep", *words, "--out", "killed").returncode == 0
    plan = make_plan(*planned(words))
    assert rows("killed", plan) == rows("undisturbed", plan)
    for cell in plan.cells:
        pair = [SweepFolder(Path(name)).folder(cell.id) for name in ("undisturbed", "killed")]
        assert summary(pair[0].path) == summary(pair[1].path)


def planned(words):
    """The plan of a command, from the record of its sweep."""
    sweep = SweepFolder(Path("undisturbed")).read()
    folder = next(Path("undisturbed/cells").iterdir())
    assert experiments.resolve(str(folder / "config.json")).name == words[0]
    return str(folder / "config.json"), {}, sweep.axes, len(sweep.seeds)


def rows(path, plan):
    means = aggregate(SweepFolder(Path(path)).results(plan.cells))
    names = [name for name in means.names if name not in TIMED]
    numbers = [{name: means.spread(group, name) for name in names} for group in means.groups]
    assert all(len(group.finished) == len(group.cells) == 2 for group in means.groups)
    assert len(numbers) == 4
    assert numbers[0]
    return numbers


# --- on Ray ---------------------------------------------------------------------------------------


def on_a_cluster_that_loses(lost, *words):
    """What happens to a sweep with two seeds, by its exit codes and words."""
    driver = REPOSITORY / "tests/support/ray_cluster.py"
    words = [*LONG, *words, "--set", "train.checkpoint_seconds=0.5"]
    words += ["--seeds", 2]
    done = subprocess.run(
        [sys.executable, str(driver), lost, "s", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert len(facts["nodes"]) == 2
    assert facts["interrupted_at"] > 0
    return facts["sweeps"]


def finished_from_a_checkpoint(count):
    assert [*cells("s").values()] == ["finished"] * count
    logs = [SweepFolder(Path("s")).folder(id_).log.read_text() for id_ in cells("s")]
    return any("resuming after step" in log for log in logs)


@pytest.mark.slow
@pytest.mark.skipif(not RAY, reason="Ray is not installed: pip install 'otgan[ray]'")
def test_a_node_of_the_cluster_is_killed_and_its_cells_go_on():
    # cells last by the clock: however fast the machine is, the node is gone before its cell is done
    lasting = "--steps", 10**8, "--seconds", 10, "--lam", "0.05,0.2"
    ((code, output),) = on_a_cluster_that_loses("node", *lasting)
    assert code == 0, output
    assert finished_from_a_checkpoint(4)  # on the other node


@pytest.mark.slow
@pytest.mark.skipif(not RAY, reason="Ray is not installed: pip install 'otgan[ray]'")
def test_a_cluster_whose_head_is_killed_ends_a_sweep_with_a_sentence_and_another_goes_on():
    (code, output), again = on_a_cluster_that_loses(
        "head", "--steps", 10**8, "--seconds", 60, "--lam", 0.05
    )
    assert code == 2, output
    sentence = output.splitlines()[-1]
    assert re.fullmatch(
        r"Error: the Ray cluster at [\d.]+:\d+ does not answer any more: start it again, then give"
        r" the same command; .*",
        sentence,
    )
    assert "Traceback" not in output
    assert again[0] == 0, again
    assert finished_from_a_checkpoint(2)
