"""Processes of one run, on this host."""

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager

from tests.support import REPOSITORY
from tests.support.begun import kept
from tests.support.commands import SMALL

BRIEF = [*SMALL, "--batch-size", "16", "--set", "generator.width=8", "--set", "generator.depth=1"]
BRIEF += ["--set", "train.pictures=1", "--set", "train.log_every=1", "--quiet"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def as_one_of(count, index, port):
    return ["--coordinator", f"127.0.0.1:{port}", "--num-processes", count, "--process-id", index]


@contextmanager
def company(folder, count, *words, others=(), wait=300):
    """The processes of a run, the last of which have other words; each works in a folder of its
    own. Who is left in the end is killed.
    """
    port, processes = free_port(), []
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
    environment.pop("XLA_FLAGS", None)
    try:
        for index in range(count):
            place = folder / f"place-{index}"
            place.mkdir(exist_ok=True)
            said = others if index and others else words
            command = ["run", *said, *as_one_of(count, index, port), "--wait", wait]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "otgan", *map(str, command)],
                    cwd=place,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ends(processes, seconds=900):
    """The exit code and standard error of each."""
    said = [process.communicate(timeout=seconds)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def at_work(path):
    """Whether a run has taken steps, and keeps one of them."""
    metrics = path / "metrics.jsonl"
    return metrics.is_file() and bool(metrics.read_text()) and bool(kept(path))


def losses(path):
    return [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
