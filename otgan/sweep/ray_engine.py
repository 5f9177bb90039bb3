"""The same cells as tasks of a Ray cluster: Ray places them, counts their cores and accelerators, and retries those whose worker dies.

A task starts the same process as the local engine does, so a cell goes on from its checkpoint wherever it lands. The folder of the sweep
and the data must be at the same place on every node, and otgan installed there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otgan.errors import UserError
from otgan.signals import interruptible
from otgan.sweep.engine import POLL, Order, Watch, release, start

RETRIES = 3  # of a cell whose worker or process died
PATIENCE = 5.0  # seconds for a cluster to answer


class DiedError(Exception):
    """A cell's process was killed: no fault of the cell's, so Ray tries again."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a running cluster or, without an address, to one started on this machine for as long as this lasts.

    Raises:
        UserError: Ray is not installed, or the cluster does not answer.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError("--engine ray needs the extra `ray`: pip install 'otgan[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        _answers(address)
    try:
        ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot reach a Ray cluster at {address or 'this machine'}: {str(error).splitlines()[0]}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def run_ray(ray: Any, order: Order, watch: Watch) -> bool:
    """Work cells off as Ray's tasks. Returns whether it was interrupted."""
    asked = needs([node["Resources"] for node in ray.nodes() if node["Alive"]], order.jobs)
    task = ray.remote(max_calls=1, max_retries=RETRIES, retry_exceptions=[DiedError], **asked)(run_cell)
    most = order.jobs or (at_once(ray.cluster_resources(), asked) if order.max_failures else len(order.cells))
    waiting, pending, failures, cancelled = deque(order.cells), {}, 0, False
    with interruptible(again=True) as seen:
        while pending or (waiting and not seen and not order.enough(failures)):
            while waiting and len(pending) < most and not seen and not order.enough(failures):
                cell = waiting.popleft()
                pending[task.remote(*order.command(cell))] = cell
            done, _ = ray.wait([*pending], timeout=POLL)
            for reference in done:
                cell = pending.pop(reference)
                if not _was_cancelled(ray, reference):
                    failures += watch.ended(cell, bool(seen))
            if seen and not cancelled:
                cancelled = True
                for reference in pending:
                    ray.cancel(reference)
            watch.tick()
    return bool(seen)


def run_cell(command: list[str], log: Path) -> int:
    """A cell's process, on whatever node; its exit code.

    Raises:
        DiedError: it was killed.
    """
    process = start(command, log)
    try:
        while process.poll() is None:
            time.sleep(POLL)
    finally:  # done, or cancelled by Ray with a KeyboardInterrupt
        release(process)
    if process.returncode < 0:
        raise DiedError(f"killed by signal {-process.returncode}")
    return process.returncode


def needs(nodes: list[dict[str, float]], jobs: int | None) -> dict[str, float]:
    """What a cell asks for: an accelerator where there are any, and a core, or a job's share of them, which one node must have."""
    cores = [int(node.get("CPU", 0)) for node in nodes]
    share = min(sum(cores) // jobs, max(cores)) if jobs else 1
    return {"num_cpus": max(1, share), "num_gpus": int(any(node.get("GPU") for node in nodes))}


def at_once(cluster: dict[str, float], asked: dict[str, float]) -> int:
    """How many cells a cluster has room for."""
    kinds = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return max(1, min(int(cluster.get(kinds[name], 0) // amount) for name, amount in asked.items() if amount))


def _was_cancelled(ray: Any, reference: Any) -> bool:
    try:
        ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return True
    except ray.exceptions.RayError:
        return False
    return False


def _answers(address: str) -> None:
    host, sign, port = address.removeprefix("ray://").rpartition(":")
    if not sign or not port.isdecimal():
        if address == "auto":
            return
        raise UserError(f"--address {address}: give HOST:PORT, or auto for the cluster that runs on this machine")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, or see its address") from None
