"""Processes side by side: what they share, how they fail, who stops them."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from otgan.sweep import local_executor, scheduler
from otgan.sweep.local_executor import LocalExecutor, Work, default_jobs, share
from otgan.sweep.progress import Board
from otgan.sweep.ray_executor import run_cell
from otgan.sweep.scheduler import Worklist, work_off
from tests.support import REPOSITORY
from tests.support.made_sweeps import grid, recorded

STAND_IN = (str(REPOSITORY / "tests/support/stand_in.py"),)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(scheduler, "WORKER", STAND_IN)
    monkeypatch.setattr(local_executor, "POLL", 0.02)


def run(path, lams, jobs, limit=None, **options):
    plan = grid(lams=lams)
    root, said = recorded(path, plan), io.StringIO()
    with Board(root, plan.cells, (), Console(file=said, width=200)) as board:
        interrupted = work_off(
            Worklist(root, tuple(plan.cells), **options), LocalExecutor(jobs, limit), board
        )
    return (
        interrupted,
        [root.state(cell.id) for cell in plan.cells],
        said.getvalue(),
        [noted(root, cell) for cell in plan.cells],
    )


def noted(root, cell):
    path = root.folder(cell.id).path / "noted.json"
    return json.loads(path.read_text()) if path.is_file() and path.stat().st_size else None


def test_so_many_at_once_and_no_more(tmp_path):
    interrupted, states, said, facts = run(tmp_path, (0.1, 0.2, 0.3, 0.4, 0.5), jobs=2)
    assert not interrupted
    assert states == ["finished"] * 5
    edges = sorted([(each["began"], 1) for each in facts] + [(each["ended"], -1) for each in facts])
    at_once = [sum(step for _, step in edges[: i + 1]) for i in range(len(edges))]
    assert max(at_once) == 2
    assert [set(each["cores"]) for each in facts] == [share(i, 2) for i in (0, 1)] + [
        set(each["cores"]) for each in facts[2:]
    ]
    assert "5/5" in said


def test_cores_are_shared_fairly(monkeypatch):
    monkeypatch.setattr(local_executor, "_cores", lambda: [0, 1, 4, 5, 6])
    shares = [share(place, 2) for place in range(2)]
    assert shares == [{0, 4, 6}, {1, 5}]
    assert [share(place, 7) for place in range(7)] == [{0}, {1}, {4}, {5}, {6}, {0}, {1}]
    assert default_jobs(3) == 3
    assert default_jobs(100) == 5


def test_a_cell_that_fails_stops_no_other(tmp_path):
    _, states, said, _ = run(tmp_path, (1, 2, 0.1), jobs=1)
    assert states == ["failed", "failed", "finished"]
    assert "1/3  lam=1 seed=0  failed: MemoryError: no room for the plan" in said
    assert "2/3  lam=2 seed=0  failed: at work" in said  # killed: the last that it said
    assert said.count("its log: ") == 2


def test_after_so_many_failures_no_cell_is_begun(tmp_path):
    _, states, _, _ = run(tmp_path, (1, 0.1, 2, 0.2, 0.3), jobs=1, max_failures=2)
    assert states == ["failed", "finished", "failed", "missing", "missing"]


def test_a_cell_that_takes_too_long_is_stopped_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "GRACE", 1.0)
    _, states, said, facts = run(tmp_path, (3, 9, 0.1), jobs=1, limit=1.0)
    assert states == ["interrupted", "failed", "finished"]
    assert facts[0]["terminated"] == 1
    over = "took more than 1 seconds (--cell-timeout) and "
    assert f"1/3  lam=3 seed=0  failed: {over}was told to save its state and stop" in said
    assert f"2/3  lam=9 seed=0  failed: {over}did not answer: killed" in said


def test_ctrl_c_stops_every_worker_once(tmp_path):
    threading.Thread(
        target=interrupt_when, args=(lambda: len([*tmp_path.glob("cells/*/noted.json")]) == 2,)
    ).start()
    interrupted, states, said, facts = run(tmp_path, (3, 4, 0.1), jobs=2)
    assert interrupted
    assert states == ["interrupted", "interrupted", "missing"]
    assert [each["terminated"] for each in facts[:2]] == [1, 1]
    # or the terminal would send Ctrl-C to them as well
    assert os.getsid(0) not in {each["session"] for each in facts[:2]}
    assert "failed" not in said  # to be interrupted is no failure


def test_a_second_ctrl_c_stops_a_cell_that_ignores_signals_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "HASTE", 1.0)
    pressed = []

    def press_twice():
        wait_for(lambda: len([*tmp_path.glob("cells/*/noted.json")]) == 2)
        for _ in range(2):
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    threading.Thread(target=press_twice).start()
    interrupted, states, said, facts = run(tmp_path, (9, 4, 0.1), jobs=2)
    assert 1.0 < time.monotonic() - pressed[1] < 5.0
    assert interrupted
    assert states == ["failed", "interrupted", "missing"]  # that which answers loses nothing
    assert "ended" not in facts[0]
    assert facts[1]["terminated"] == 1
    assert said.endswith("stopping 1 cell at work at once\n")
    (log,) = tmp_path.glob(f"cells/{grid(lams=(9,)).cells[0].id}/log.txt")
    assert log.read_text().endswith("was told twice to stop, and did not answer: killed\n")


def test_workers_stop_when_the_sweep_is_killed(tmp_path):
    plan = grid(lams=(3,))
    root = recorded(tmp_path, plan)
    worker = [*STAND_IN, str(root.folder(plan.cells[0].id).path)]
    log = str(tmp_path / "log")
    code = (
        f"from otgan.sweep.local_executor import start; from pathlib import Path; start({worker},"
        f" Path({log!r})).wait()"
    )
    sweep = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: noted(root, plan.cells[0]))
    sweep.kill()
    sweep.wait()
    wait_for(lambda: "terminated" in (noted(root, plan.cells[0]) or {}))
    assert noted(root, plan.cells[0])["terminated"] == 0  # by the end of its input


def test_a_cell_that_does_not_stop_at_the_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "GRACE", 1.0)
    plan = grid(lams=(9,))
    root = recorded(tmp_path, plan)
    folder = root.folder(plan.cells[0].id)
    executor = LocalExecutor(1)
    executor.submit([*STAND_IN, str(folder.path)], folder.log)
    wait_for(lambda: noted(root, plan.cells[0]))
    began = time.monotonic()
    executor.close()
    assert time.monotonic() - began < 5
    assert folder.last_words == "was told to stop, and did not answer: killed"


def test_all_cells_have_one_time_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "GRACE", 2.0)
    plan = grid(lams=(9, 3), seeds=2)
    root, executor = recorded(tmp_path, plan), LocalExecutor(4)
    for cell in plan.cells:
        folder = root.folder(cell.id)
        executor.submit([*STAND_IN, str(folder.path)], folder.log)
    wait_for(lambda: all(noted(root, cell) for cell in plan.cells))
    began = time.monotonic()
    executor.close()
    assert time.monotonic() - began < 4  # not one after another
    assert noted(root, plan.cells[-1])["terminated"] == 0  # that which answers loses nothing


def test_a_cell_that_was_not_looked_at_in_time_is_told_before_it_is_killed(tmp_path):
    plan = grid(lams=(3,))
    folder = recorded(tmp_path, plan).folder(plan.cells[0].id)
    work = Work([*STAND_IN, str(folder.path)], folder.log, limit=100.0)
    wait_for(lambda: (folder.path / "noted.json").is_file())
    work._began -= 1_000  # as if this process had been suspended
    wait_for(work.has_ended)
    assert work.end() == 0
    assert json.loads((folder.path / "noted.json").read_text())["terminated"] == 1
    assert folder.last_words.endswith("was told to save its state and stop")


def test_a_cell_that_ray_cancels_has_as_long_as_it_takes_to_save(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "GRACE", 0.01)
    plan = grid(lams=(3,))
    root = recorded(tmp_path, plan)
    folder = root.folder(plan.cells[0].id)
    threading.Thread(target=interrupt_when, args=(lambda: noted(root, plan.cells[0]),)).start()
    with pytest.raises(KeyboardInterrupt):
        run_cell([*STAND_IN, str(folder.path)], folder.log)
    assert noted(root, plan.cells[0])["terminated"] == 0  # by the end of its input


def interrupt_when(condition):
    wait_for(condition)
    os.kill(os.getpid(), signal.SIGINT)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
