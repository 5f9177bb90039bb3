"""Two hosts that share a folder: who works there keeps the other out, and lets it in when gone.

A host is a process with a host's name and process numbers of its own.
"""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from otgan.files import LOCK, is_locked
from tests.support.begun import kept, status
from tests.support.commands import SMALL

LONG = ["run", "sinkhorn-grid", *SMALL, "--batch-size", 32, "--quiet"]
LONG += ["--set", "train.checkpoint_seconds=1"]
HOLDS = (
    "import pathlib, socket, sys, time\n"
    "from otgan.files import lock\n"
    "with lock(pathlib.Path(sys.argv[1])):\n"
    "    print(socket.gethostname(), flush=True)\n"
    "    time.sleep(600)\n"
)


@contextmanager
def on_host(name, *command):
    """The interpreter with a command, on a host of its own, which goes down in the end."""
    words = ["unshare", "--uts", "--pid", "--fork", "--kill-child=SIGKILL"]
    words += ["sh", "-c", 'hostname "$0" && exec "$@"', name]
    with subprocess.Popen(
        [*words, sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _hosts():
    try:
        with on_host("tried", "-c", "") as process:
            process.communicate()
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if process.returncode:
        pytest.skip("this user may make no hosts")


def wait_for(condition, process):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)


def test_a_lock_is_honored_on_another_host_until_its_holder_is_killed(tmp_path):
    path = tmp_path / LOCK
    with on_host("one", "-c", HOLDS, path) as first:
        assert first.stdout.readline() == "one\n"
        assert is_locked(path)
        with on_host("two", "-c", HOLDS, path) as second:
            said = second.stdout.fileno()
            assert not select.select([said], [], [], 2)[0]  # it waits
            first.kill()
            assert select.select([said], [], [], 10)[0]
            assert second.stdout.readline() == "two\n"


@pytest.mark.slow
def test_a_run_at_work_on_another_host_is_refused_and_gone_on_with_when_that_is_killed(tmp_path):
    path = tmp_path / "run"
    words = ["-m", "otgan", *LONG, "--steps", 10**6, "--out", path]
    with on_host("one", *words) as first:
        wait_for(lambda: kept(path), first)
        with on_host("two", *words) as second:
            _, errors = second.communicate(timeout=120)
        assert second.returncode == 2
        assert errors == (
            f"Error: another otgan process is at work in {path}; wait for it or give --out another"
            " folder\n"
        )
        assert first.poll() is None
        first.kill()
        first.communicate()
    assert status(path)["state"] == "running"  # it could not say how it ended
    newest = max(kept(path))
    with on_host("two", *words) as third:
        wait_for(lambda: max(kept(path)) > newest, third)
        os.kill(inner(third.pid), signal.SIGINT)
        third.communicate(timeout=120)
    assert third.returncode == 130
    assert status(path)["state"] == "interrupted"
    assert status(path)["step"] > newest


def inner(pid):
    """The process of a host, by its number out here."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
