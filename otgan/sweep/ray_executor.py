"""The same cells as tasks of a Ray cluster: Ray places them, and counts their cores and
accelerators.

A task starts the same process as the local executor does, so a cell goes on from its checkpoint
wherever it lands. The folder of the sweep and the data must be at the same place on every node, and
otgan installed there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otgan.errors import UserError
from otgan.sweep.local_executor import POLL, Work
from otgan.sweep.scheduler import End

RETRIES = 3  # of a cell whose process, worker or node died
PATIENCE = 5.0  # seconds for a cluster to answer


class DiedError(Exception):
    """A cell's process was killed: no fault of the cell's."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a running cluster or, without an address, to one started on this machine
    for as long as this lasts.

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
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"cannot reach a Ray cluster at {address or 'this machine'}:"
            f" {str(error).splitlines()[0]}"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


class RayExecutor:
    """Tasks of a cluster; an `otgan.sweep.scheduler.Executor`. A job is known by its reference.

    Args:
        ray: the module, connected.
        jobs: how many at once; None leaves that to Ray.
        cells: how many there are to be submitted.
        sparing: whether no more may be submitted than there is room for, because the sweep may end
            early.
        limit: seconds that each cell may take.
    """

    retries = RETRIES

    def __init__(
        self,
        ray: Any,
        jobs: int | None,
        cells: int,
        sparing: bool = False,
        limit: float | None = None,
    ):
        asked = needs([node["Resources"] for node in ray.nodes() if node["Alive"]], jobs)
        self.room = jobs or (at_once(ray.cluster_resources(), asked) if sparing else cells)
        self._ray = ray
        # the scheduler tries again
        self._task = ray.remote(max_calls=1, max_retries=0, **asked)(run_cell)
        self._limit = limit
        self._pending: list[Any] = []
        self._cancelled: set[Any] = set()

    def submit(self, command: list[str], log: Path) -> Any:
        """Hand a task to Ray."""
        reference = self._task.remote(command, log, self._limit)
        self._pending.append(reference)
        return reference

    def poll(self) -> list[tuple[Any, End]]:
        """The tasks that are done."""
        if not self._pending:
            time.sleep(POLL)
            return []
        done, self._pending = self._ray.wait(self._pending, timeout=POLL)
        return [(reference, _end(self._ray, reference)) for reference in done]

    def cancel(self, job: Any) -> None:
        """Cancel a task, once: a second time would cut short what its worker saves."""
        if job not in self._cancelled:
            self._cancelled.add(job)
            self._ray.cancel(job)

    def close(self) -> None:
        """Cancel what is left."""
        for reference in self._pending:
            self.cancel(reference)


def run_cell(command: list[str], log: Path, limit: float | None = None) -> int:
    """A cell's process, on whatever node; its exit code.

    Raises:
        DiedError: it was killed.
    """
    work = Work(command, log, limit)
    try:
        while not work.has_ended():
            time.sleep(POLL)
    finally:  # done, or cancelled by Ray with a KeyboardInterrupt
        code = work.end()
    if code < 0:
        raise DiedError(f"killed by signal {-code}")
    return code


def needs(nodes: list[dict[str, float]], jobs: int | None) -> dict[str, float]:
    """What a cell asks for: an accelerator where there are any, and a core, or a job's share of
    them, which one node must have.
    """
    cores = [int(node.get("CPU", 0)) for node in nodes]
    share = min(sum(cores) // jobs, max(cores)) if jobs else 1
    return {"num_cpus": max(1, share), "num_gpus": int(any(node.get("GPU") for node in nodes))}


def at_once(cluster: dict[str, float], asked: dict[str, float]) -> int:
    """How many cells a cluster has room for."""
    kinds = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return max(
        1,
        min(int(cluster.get(kinds[name], 0) // amount) for name, amount in asked.items() if amount),
    )


def _end(ray: Any, reference: Any) -> End:
    """How a task ended. What Ray raises of its own accord is that the worker or its node died."""
    try:
        ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return End.CANCELLED
    except DiedError:
        return End.KILLED
    except ray.exceptions.RayTaskError as error:
        return End.KILLED if isinstance(error.cause, DiedError) else End.EXITED
    except ray.exceptions.RayError:
        return End.KILLED
    return End.EXITED


def _answers(address: str) -> None:
    host, sign, port = address.removeprefix("ray://").rpartition(":")
    if not sign or not port.isdecimal():
        if address == "auto":
            return
        raise UserError(
            f"--address {address}: give HOST:PORT, or auto for the cluster that runs on this"
            " machine"
        )
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, or"
            " see its address"
        ) from None
