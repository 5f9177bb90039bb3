"""What the world does to a run: signals at its end, errors. test_disks.py has disks."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otgan import loop
from otgan.errors import UserError
from otgan.results.ending import accounted
from otgan.runs import RunFolder
from tests.support import REPOSITORY
from tests.support.begun import errors_at_the_end, kept, status
from tests.support.commands import SMALL, TINY, otgan
from tests.support.helpers import Silent, run, tiny_config

pytestmark = pytest.mark.slow


def test_a_signal_around_the_end_leaves_a_whole_checkpoint_and_a_last_word(tmp_path):
    command = [sys.executable, "-m", "tests.support.signalled", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, (done.returncode, done.stderr)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    cut = ("drawing", "judging", "measuring")
    assert len(found) == 7
    for moment, newest, *states in found:
        assert newest == 10
        assert states == (
            ["interrupted", "interrupted", "finished"]
            if moment in cut
            else ["finished", "finished"]
        ), moment


def test_a_long_judgment_ends_at_once_and_is_made_up_for(elsewhere):
    slow = (
        "import time\n"
        "from otgan import loop\n"
        "from otgan.cli import main\n"
        "loop.judge = lambda *_: (print('judging', flush=True), time.sleep(120))\n"
        "main()\n"
    )
    words = ["run", "sinkhorn-grid", *SMALL, *TINY, "--out", "run"]
    with subprocess.Popen(
        [sys.executable, "-c", slow, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "judging\n"
        began = time.monotonic()
        process.terminate()
        errors = errors_at_the_end(process, 60)
    assert time.monotonic() - began < 20
    assert process.returncode == 143
    again = shlex.join(["otgan", *words])
    assert errors == f"interrupted after step 6; go on with: {again}\n"
    assert status(Path("run"))["state"] == "interrupted"
    assert kept(Path("run")) == [6]
    assert otgan(*words).exit_code == 0
    assert status(Path("run"))["state"] == "finished"


def test_a_second_ctrl_c_ends_a_run_at_once_and_is_said(tmp_path):
    class Impatient(Silent):
        def advance(self, progress):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)  # two at once could be taken for one

    # as in a terminal; test runners may ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tiny_config(), tmp_path / "run", Impatient())
    finally:
        signal.signal(signal.SIGINT, before)
    assert status(tmp_path / "run")["state"] == "interrupted"
    assert run(tiny_config(), tmp_path / "run")[1].state == "finished"


def test_a_run_that_ends_by_an_error_of_ours_has_failed(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such luck\nat all")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "draw", broken)
        with pytest.raises(RuntimeError):
            run(tiny_config(), tmp_path / "run")
    assert status(tmp_path / "run")["state"] == "failed"
    assert status(tmp_path / "run")["reason"] == "ended by RuntimeError: no such luck"
    assert run(tiny_config(), tmp_path / "run")[1].state == "finished"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "cannot write to {run} (No space left on device); make room",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/cache/x"),
            "cannot write to /cache/x (No space left on device); make room",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", b"/cache/x"),
            "cannot write to /cache/x (Read-only file system); make room",
        ),
        (
            OSError(errno.EIO, "Input/output error", "/data/x"),
            "Input/output error, of /data/x; see to that",
        ),
        (
            OSError(errno.ENOENT, "No such file or directory", "/data/x"),
            "No such file or directory, of /data/x; see to that",
        ),
        (
            OSError(errno.ECONNRESET, "Connection reset by peer"),
            "Connection reset by peer; see to that",
        ),
        (OSError("cannot identify a picture"), "cannot identify a picture; see to that"),
        (
            BrokenPipeError(errno.EPIPE, "Broken pipe"),
            "nobody reads any more what is printed (broken pipe)",
        ),
    ],
)
def test_an_error_of_the_systems_is_told_as_what_it_was(error, sentence, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_status("running", 3, 1.0, {})
    with (
        pytest.raises(OSError if isinstance(error, BrokenPipeError) else UserError),
        accounted(folder),
    ):
        raise error
    assert status(tmp_path)["state"] == "interrupted"
    assert status(tmp_path)["reason"].startswith(sentence.format(run=tmp_path))
    assert status(tmp_path)["reason"].endswith(f"go on with: otgan run {tmp_path}")
