"""500 cells that finish, fail, hang and die, in a sweep that is interrupted and killed."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from otgan.results.sweep import read_sweep
from otgan.sweep.folder import SweepFolder
from tests.support import REPOSITORY
from tests.support.commands import otgan
from tests.support.stormy_sweep import doomed, result

WORDS = ["sweep", "sinkhorn-grid", "--steps", "10", "--seeds", "25", "--cell-timeout", "60"]
WORDS += ["--lam", "0.01,0.1,1,10,100", "--epsilon", "0.1x,0.3x,1x,3x"]
SECONDS = 10  # of a core, for what takes one or two without checks of annotations


def timed(*words):
    began = time.process_time()
    done = otgan(*words)
    return done, time.process_time() - began


def attempt(turn, number, looks, ledger, out):
    """A sweep that gets a signal at a look, or none; a turn's fates are its own."""
    command = ["-m", "tests.support.stormy_sweep", turn, int(number), looks, ledger]
    done = subprocess.run(
        [sys.executable, *map(str, [*command, *WORDS, "--out", out])],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    root = SweepFolder(out)
    states = {cell: root.state(cell) for cell in root.cells()}
    assert len(states) == 500
    return done, states


def unfinished(states):
    return {cell for cell, state in states.items() if state != "finished"}


@pytest.mark.slow
def test_every_cell_of_500_comes_to_one_state_and_one_result(tmp_path):
    out, ledger, draw = tmp_path / "s", tmp_path / "ledger.jsonl", random.Random(0)
    numbers = [signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    for turn, number in enumerate(numbers):
        done, _ = attempt(turn, number, draw.randint(10, 20), ledger, out)
        assert done.returncode == (-number if number == signal.SIGKILL else 128 + number)
    turn, (done, states) = 4, attempt(4, 0, -1, ledger, out)
    while unfinished(states) != set(filter(doomed, states)):
        turn += 1
        assert turn < 12
        done, states = attempt(turn, 0, -1, ledger, out)
    assert done.returncode == 1
    left = unfinished(states)
    count = len(left)
    assert 0 < count < 30
    assert f"not all finished: {count} of 500 cells are left ({count} failed)" in done.stderr
    assert done.stdout.count("failed: ") == count

    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    finished = Counter(line["ended"] for line in lines if line.get("fate") == "finished")
    assert finished.keys() == states.keys() - left
    assert set(finished.values()) == {1}  # what has finished is not begun again
    assert {line["fate"] for line in lines if "fate" in line} >= {"failed", "hangs", "dies"}
    cells = {cell.path.name: cell for cell in read_sweep(out).cells}
    assert cells.keys() == states.keys()
    assert all(cells[cell].state == states[cell] for cell in cells)
    assert all(cells[cell].summary["w2"] == result(cell) for cell in finished)

    listed, first = timed(*WORDS, "--out", out, "--dry-run")
    assert f"{count} of 500 cells would run" in listed.output
    shown, second = timed("report", out, "--json")
    means = json.loads(shown.stdout)["means"]
    assert sum(group["finished"] for group in means) == len(finished)
    assert sum(group["failed"] for group in means) == len(left)
    page, third = timed("report", out, "-o", tmp_path / "page.html")
    assert page.exit_code == 0, page.output
    assert max(first, second, third) < SECONDS, (first, second, third)
