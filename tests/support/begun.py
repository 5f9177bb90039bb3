"""Runs at work in other processes, by what their folders say."""

import json
import subprocess


def status(path):
    return json.loads((path / "status.json").read_text())


def kept(path):
    """The steps of the whole checkpoints of a run, perhaps before there are any."""
    found = path / "checkpoints"
    names = [one.name for one in found.iterdir()] if found.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def errors_at_the_end(process, seconds):
    """What a process says on standard error until it ends; it is killed if it hangs."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
