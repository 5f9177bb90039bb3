"""The scheduler alone, with an executor that runs nothing: order, room, retries, failures,
Ctrl-C.
"""

import os
import signal
from pathlib import Path

import pytest

from otgan.sweep.folder import SweepFolder
from otgan.sweep.scheduler import End, Worklist, work_off
from tests.support.made_sweeps import grid


class Pretended:
    """Every poll ends the oldest job, as `ends` says; what a cell has no more ends for exits."""

    def __init__(self, room=2, retries=0, ends=None, at_poll=()):
        self.room, self.retries = room, retries
        self.ends = {lam: [*found] for lam, found in (ends or {}).items()}
        self.at_poll = dict(at_poll)  # what happens at the n-th poll
        self.jobs, self.begun, self.cancelled, self.closed, self.polls, self.most = (
            {},
            [],
            [],
            False,
            0,
            0,
        )

    def submit(self, command, log):
        job = len(self.begun)
        self.begun.append(Path(command[3]).name)
        self.jobs[job] = self.begun[-1]
        self.most = max(self.most, len(self.jobs))
        return job

    def poll(self):
        self.polls += 1
        if act := self.at_poll.get(self.polls):
            act()
            return []
        job = min(self.jobs)
        left = self.ends.get(self.jobs.pop(job), [])
        return [(job, left.pop(0) if left else End.EXITED)]

    def cancel(self, job):
        self.cancelled.append(self.jobs[job])

    def close(self):
        self.closed = True


class Noted:
    def __init__(self, failing=()):
        self.told, self.ticks, self.failing, self.signals = [], 0, failing, []

    def ended(self, cell, interrupted):
        self.told.append((cell.values["oracle.lam"], interrupted))
        return cell.values["oracle.lam"] in self.failing and not interrupted

    def interrupted(self, at_work, again):
        self.signals.append((at_work, again))

    def tick(self):
        self.ticks += 1


@pytest.fixture
def cells():
    return tuple(grid(lams=(0.1, 0.2, 0.3, 0.4)).cells)


def run(cells, executor, failing=(), **limits):
    """The signal that interrupted it, and what the watch was told.

    `ends` are by place in the list, and cells by lam afterwards.
    """
    executor.ends = {cells[i].id: found for i, found in executor.ends.items()}
    watch = Noted(failing)
    interrupted = work_off(Worklist(SweepFolder(Path("s")), cells, **limits), executor, watch)
    lams = {cell.id: cell.values["oracle.lam"] for cell in cells}
    executor.begun = [lams[id_] for id_ in executor.begun]
    executor.cancelled = [lams[id_] for id_ in executor.cancelled]
    assert executor.closed
    assert not executor.jobs
    assert watch.ticks == executor.polls
    return interrupted, watch.told


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_cells_are_begun_in_their_order_as_there_is_room(cells):
    executor = Pretended(room=2)
    assert run(cells, executor) == (None, [(lam, False) for lam in (0.1, 0.2, 0.3, 0.4)])
    assert executor.begun == [0.1, 0.2, 0.3, 0.4]
    assert executor.most == 2


def test_a_cell_that_was_killed_is_tried_again_and_told_of_once(cells):
    executor = Pretended(room=1, retries=2, ends={0: [End.KILLED, End.KILLED], 1: [End.KILLED] * 9})
    assert run(cells, executor) == (None, [(lam, False) for lam in (0.1, 0.2, 0.3, 0.4)])
    assert executor.begun == [0.1] * 3 + [0.2] * 3 + [0.3, 0.4]


def test_without_retries_a_cell_that_was_killed_has_ended(cells):
    executor = Pretended(ends={0: [End.KILLED]})
    assert run(cells, executor)[1][0] == (0.1, False)
    assert executor.begun.count(0.1) == 1


def test_after_so_many_failures_none_is_begun_and_those_at_work_end(cells):
    executor = Pretended(room=2)
    assert run(cells, executor, failing=(0.1,), max_failures=1) == (
        None,
        [(0.1, False), (0.2, False)],
    )
    assert run(cells, Pretended(room=2), failing=(0.1,), max_failures=2)[1] == [
        (lam, False) for lam in (0.1, 0.2, 0.3, 0.4)
    ]


def test_ctrl_c_cancels_what_is_at_work_and_begins_no_more(cells):
    executor = Pretended(
        room=2, retries=3, at_poll={2: interrupt}, ends={1: [End.KILLED], 2: [End.CANCELLED]}
    )
    interrupted, told = run(cells, executor)
    assert interrupted == signal.SIGINT
    # killed, it is not tried again; what was cancelled before it began has not ended
    assert told == [(0.1, False), (0.2, True)]
    assert executor.begun == [0.1, 0.2, 0.3]
    assert executor.cancelled == [0.2, 0.3]


def test_every_further_ctrl_c_cancels_again(cells):
    executor = Pretended(room=2, at_poll={1: interrupt, 2: lambda: None, 3: interrupt})
    watch = Noted()
    work_off(Worklist(SweepFolder(Path("s")), cells), executor, watch)
    ids = [cell.id for cell in cells]
    assert executor.cancelled == [ids[0], ids[1], ids[0], ids[1]]
    assert watch.signals == [(2, False), (2, True)]  # what is waited for is said each time


def test_an_executor_is_closed_where_a_cell_cannot_be_submitted(cells):
    executor = Pretended()

    def refuse(command, log):
        raise OSError("no room")

    executor.submit = refuse
    with pytest.raises(OSError, match="no room"):
        work_off(Worklist(SweepFolder(Path("s")), cells), executor, Noted())
    assert executor.closed


def test_a_cells_command_names_its_folder_its_log_and_how_it_is_judged(cells, tmp_path):
    command, log = Worklist(
        SweepFolder(tmp_path), cells, ("fid", "kid"), tmp_path / "data"
    ).command(cells[0])
    assert command[3] == str(tmp_path / "cells" / cells[0].id)
    assert command[4:] == [
        "--measures",
        "fid,kid",
        "--with-parent",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    assert log == tmp_path / "cells" / cells[0].id / "log.txt"
