"""Cells as tasks of a Ray of the test's own, with a stand-in for the worker: failures, retries,
Ctrl-C. test_sweep.py has a cluster.
"""

import io
import itertools
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from otgan.errors import UserError
from otgan.sweep import ray_executor, scheduler
from otgan.sweep.progress import Board
from otgan.sweep.ray_executor import (
    RETRIES,
    DiedError,
    Head,
    LostError,
    RayExecutor,
    at_once,
    connected,
    needs,
)
from otgan.sweep.scheduler import End, Worklist, work_off
from tests.support import REPOSITORY
from tests.support.made_sweeps import grid, recorded


def test_what_a_cell_asks_for():
    assert needs([{"CPU": 8.0}], None) == {"num_cpus": 1, "num_gpus": 0}
    assert needs([{"CPU": 8.0}], 3) == {"num_cpus": 2, "num_gpus": 0}
    # no node has all eight
    assert needs([{"CPU": 4.0}, {"CPU": 4.0}], 1) == {"num_cpus": 4, "num_gpus": 0}
    assert needs([{"CPU": 2.0, "GPU": 4.0}, {}], 9) == {"num_cpus": 1, "num_gpus": 1}


def test_how_many_cells_a_cluster_has_room_for():
    assert at_once({"CPU": 8.0, "GPU": 2.0}, {"num_cpus": 1, "num_gpus": 1}) == 2
    assert at_once({"CPU": 8.0}, {"num_cpus": 3, "num_gpus": 0}) == 2
    assert at_once({}, {"num_cpus": 1, "num_gpus": 0}) == 1


def test_a_head_that_has_gone_is_given_up_after_a_while(monkeypatch):
    monkeypatch.setattr(ray_executor, "LOOK", 0.01)
    monkeypatch.setattr(ray_executor, "LOST", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        head = Head(f"127.0.0.1:{server.getsockname()[1]}")
        time.sleep(0.6)
        head.require()
        assert not head.silent
    time.sleep(0.02)
    head.require()  # not yet
    assert head.silent
    time.sleep(0.6)
    with pytest.raises(LostError, match=r"the Ray cluster at 127\.0\.0\.1:\d+ does not answer"):
        head.require()


@pytest.mark.parametrize("given", ["ray://127.0.0.1:{}", "127.0.0.1:{}", "[::1]:{}"])
def test_the_address_that_was_given_is_watched_whatever_the_cluster_calls_it(monkeypatch, given):
    """As behind a router: what the cluster calls its head, `Stage`'s port 1, leads nowhere."""
    monkeypatch.setattr(ray_executor, "LOOK", 0.01)
    monkeypatch.setattr(ray_executor, "LOST", 0.0)
    six = given.startswith("[")
    family = socket.AF_INET6 if six else socket.AF_INET
    try:
        server = socket.create_server(("::1" if six else "127.0.0.1", 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        there = given.format(server.getsockname()[1])
        ray_executor._require_answer(there)
        executor = RayExecutor(Stage(), None, 1, address=there)
        time.sleep(0.02)
        assert executor.poll() == []
    for address in (None, "auto"):
        executor = RayExecutor(Stage(), None, 1, address=address)
        time.sleep(0.02)
        with pytest.raises(LostError, match=r"at 127\.0\.0\.1:1 does"):
            executor.poll()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "--address somewhere: give HOST:PORT"),
        ("ray://host:port", "give HOST:PORT"),
        ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999"),
    ],
)
def test_an_address_that_is_none_is_refused(address, message):
    with pytest.raises(UserError, match=message):
        ray_executor._require_answer(address)


class Stage:
    """Ray's part, as far as the executor calls it: tasks are done in the order in which they were
    submitted, one a look.
    """

    class RayError(Exception):
        pass

    class TaskCancelledError(RayError):
        pass

    class WorkerCrashedError(RayError):
        pass

    class RayTaskError(RayError):
        def __init__(self, cause):
            self.cause = cause

    exceptions = SimpleNamespace(
        RayError=RayError, TaskCancelledError=TaskCancelledError, RayTaskError=RayTaskError
    )

    def __init__(self, *ends):
        self.ends, self.asked, self.cancelled = dict(enumerate(ends)), {}, []
        self.deaf = set()
        self.submitted = itertools.count()

    def get_runtime_context(self):
        return SimpleNamespace(gcs_address="127.0.0.1:1")

    def nodes(self):
        return [
            {"Alive": True, "Resources": {"CPU": 4.0}},
            {"Alive": False, "Resources": {"CPU": 64.0}},
        ]

    def cluster_resources(self):
        return {"CPU": 4.0}

    def remote(self, **asked):
        self.asked = asked
        return lambda function: SimpleNamespace(
            remote=lambda command, log, limit: next(self.submitted)
        )

    def wait(self, references, timeout):
        return ([], references) if self.deaf & {*references} else (references[:1], references[1:])

    def get(self, reference):
        if isinstance(self.ends[reference], Exception):
            raise self.ends[reference]
        return self.ends[reference]

    def cancel(self, reference, force=False):
        self.cancelled.append((reference, "killed") if force else reference)


def test_how_a_task_ended():
    ends = [
        0,
        2,
        DiedError("killed by signal 9"),
        Stage.RayTaskError(DiedError("killed")),
        Stage.RayTaskError(OSError("no log")),
    ]
    ray = Stage(*ends, Stage.WorkerCrashedError(), Stage.TaskCancelledError())
    executor = RayExecutor(ray, None, len(ray.ends))
    for _ in ray.ends:
        executor.submit([], Path())
    found = [end for _ in ray.ends for _, end in executor.poll()]
    assert found == [
        End.EXITED,
        End.EXITED,
        End.KILLED,
        End.KILLED,
        End.EXITED,
        End.KILLED,
        End.CANCELLED,
    ]
    # the scheduler tries again, not Ray
    assert ray.asked == {"max_calls": 1, "max_retries": 0, "num_cpus": 1, "num_gpus": 0}
    assert executor.poll() == []


def test_a_task_that_is_told_again_is_killed_where_it_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_executor, "HASTE", 0.3)
    monkeypatch.setattr(ray_executor, "GIVEN_UP", 0.3)
    ray, logs = Stage(0, 0, 0), [tmp_path / f"{i}.txt" for i in range(3)]
    executor = RayExecutor(ray, None, 3)
    jobs = [executor.submit([], log) for log in logs]
    executor.cancel(jobs[1])
    executor.cancel(jobs[1])
    assert executor.poll() == [(0, End.EXITED)]
    ray.deaf = {1}
    assert (executor.poll(), ray.cancelled) == ([], [1])  # it has its time
    time.sleep(0.35)
    assert (executor.poll(), ray.cancelled) == ([], [1, (1, "killed")])
    assert logs[1].read_text() == "was told twice to stop, and did not answer: killed\n"
    time.sleep(0.35)
    assert executor.poll() == [(1, End.KILLED)]  # nobody tells of it any more
    executor.close()
    assert ray.cancelled == [1, (1, "killed"), 2]


def test_a_task_that_is_told_three_times_is_killed_at_once(tmp_path):
    ray = Stage(0)
    executor = RayExecutor(ray, None, 1)
    job = executor.submit([], tmp_path / "log.txt")
    for _ in range(3):
        executor.cancel(job)
    time.sleep(0.01)
    assert executor.poll() == [(job, End.KILLED)]
    assert ray.cancelled == [job, (job, "killed")]


def test_how_much_room_a_cluster_has():
    assert RayExecutor(Stage(), None, 9).room == 9  # Ray makes those wait for which there is none
    assert RayExecutor(Stage(), None, 9, sparing=True).room == 4
    assert RayExecutor(Stage(), 2, 9, sparing=True).room == 2


def test_a_ray_of_its_own_joins_no_cluster_of_this_machine(monkeypatch):
    begun = []
    own = SimpleNamespace(init=lambda **how: begun.append(how["address"]), shutdown=lambda: None)
    monkeypatch.setattr(ray_executor.importlib, "import_module", lambda name: own)
    with connected(None) as ray:
        assert ray is own
    assert begun == ["local"]


@pytest.fixture
def stand_in(monkeypatch):
    """Ray, and in place of a cell's worker one that does as it is told."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'otgan[ray]'")
    monkeypatch.setattr(scheduler, "WORKER", (str(REPOSITORY / "tests/support/stand_in.py"),))


# Ray forks this process, in which other tests have started JAX; the children run no JAX before exec
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_failures_retries_and_ctrl_c(tmp_path):
    with (
        pytest.raises(UserError, match=r"no Ray cluster answers at 127.0.0.1:1"),
        connected("127.0.0.1:1"),
    ):
        pass
    plan = grid(lams=(0.1, 1, 2, 0.2))
    root = recorded(tmp_path / "failing", plan)
    with connected(None) as ray:
        interrupted, said = run(ray, plan, root)
        assert not interrupted
        assert [root.state(cell.id) for cell in plan.cells] == [
            "finished",
            "failed",
            "failed",
            "finished",
        ]
        assert "failed: MemoryError: no room for the plan" in said
        killed = plan.cells[2]
        assert root.folder(killed.id).log.read_text().count("at work") == 1 + RETRIES
        # its own fault: not tried again
        assert root.folder(plan.cells[1].id).log.read_text().count("at work") == 1

        plan = grid(lams=(1, 0.1, 0.2))
        root = recorded(tmp_path / "enough", plan)
        run(ray, plan, root, jobs=1, max_failures=1)
        assert [root.state(cell.id) for cell in plan.cells] == ["failed", "missing", "missing"]

        plan = grid(lams=(3, 4, 5))
        root = recorded(tmp_path / "interrupted", plan)
        jobs = int(ray.cluster_resources()["CPU"])
        facts = [root.folder(cell.id).path / "noted.json" for cell in plan.cells[:jobs]]
        threading.Thread(target=interrupt_when_there, args=(facts,)).start()
        interrupted, said = run(ray, plan, root)
        assert interrupted
        assert all("terminated" in json.loads(path.read_text()) for path in facts)  # they saved
        assert [root.state(cell.id) for cell in plan.cells[jobs:]] == ["missing"] * (
            3 - min(3, jobs)
        )
        assert "failed" not in said


# Ray forks this process, in which other tests have started JAX; the children run no JAX before exec
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_a_cell_that_hangs_is_killed_after_the_second_ctrl_c(tmp_path):
    plan = grid(lams=(9,))
    root = recorded(tmp_path / "hanging", plan)
    (cell,) = plan.cells
    noted = root.folder(cell.id).path / "noted.json"
    with connected(None) as ray:
        threading.Thread(target=interrupt_when_there, args=((noted,), 2)).start()
        interrupted, said = run(ray, plan, root)
        facts = json.loads(noted.read_text())
        assert time.time() - facts["began"] < 30
        assert is_gone(facts["session"])  # whose leader it is; while the cluster is there
    assert interrupted
    assert "stopping 1 cell at work at once" in said
    assert "was told twice to stop" in root.folder(cell.id).log.read_text()
    assert root.state(cell.id) == "failed"  # it may have lost what it did last


def is_gone(process):
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def interrupt_when_there(paths, times=1):
    end = time.monotonic() + 120
    while time.monotonic() < end and not all(path.is_file() for path in paths):
        time.sleep(0.1)
    for _ in range(times):
        time.sleep(1.0 if times > 1 else 0.0)
        os.kill(os.getpid(), signal.SIGINT)


def run(ray, plan, root, jobs=None, max_failures=None):
    said = io.StringIO()
    with Board(root, plan.cells, (), Console(file=said, width=200)) as board:
        executor = RayExecutor(ray, jobs, len(plan.cells), sparing=max_failures is not None)
        return (
            work_off(Worklist(root, tuple(plan.cells), max_failures=max_failures), executor, board),
            said.getvalue(),
        )
