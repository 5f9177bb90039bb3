"""The same cells as tasks of a Ray cluster: Ray places them, and counts their cores and
accelerators.

A task starts the same process as the local executor does, so a cell goes on from its checkpoint
wherever it lands. The folder of the sweep and the data must be at the same place on every node, and
otgan installed there.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from otgan.errors import UserError
from otgan.sweep.local_executor import DEAF, HASTE, POLL, Work
from otgan.sweep.scheduler import End

RETRIES = 3  # of a cell whose process, worker or node died
PATIENCE = 5.0  # seconds for a cluster to answer
LOST = 20.0  # seconds without an answer after which it is given up: after 60 Ray ends the process
GIVEN_UP = 10.0  # seconds after which a cell counts as gone, of whose killing nobody tells
LOOK = 2.0  # seconds between two looks at whether its head is there


class DiedError(Exception):
    """A cell's process was killed: no fault of the cell's."""


class LostError(UserError):
    """The head of the cluster has gone."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a running cluster or, without an address, to one started on this machine
    for as long as this lasts.

    Raises:
        UserError: Ray is not installed, or the cluster does not answer, or not any more.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError("--engine ray needs the extra `ray`: pip install 'otgan[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        _require_answer(address)
    try:
        ray.init(
            # without "local" it would join whatever cluster runs on this machine
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"cannot reach a Ray cluster at {address or 'this machine'}:"
            f" {str(error).splitlines()[0]}"
        ) from None
    leave = ray.shutdown
    try:
        yield ray
    except LostError:
        leave = partial(_within, PATIENCE, ray.shutdown)
        raise
    finally:
        leave()


class RayExecutor:
    """Tasks of a cluster; an `otgan.sweep.scheduler.Executor`. A job is known by its reference.

    Args:
        ray: the module, connected.
        jobs: how many at once; None leaves that to Ray.
        cells: how many there are to be submitted.
        sparing: whether no more may be submitted than there is room for, because the sweep may end
            early.
        limit: seconds that each cell may take.
        address: of the cluster, as the user gave it.
    """

    retries = RETRIES

    def __init__(
        self,
        ray: Any,
        jobs: int | None,
        cells: int,
        sparing: bool = False,
        limit: float | None = None,
        address: str | None = None,
    ):
        asked = needs([node["Resources"] for node in ray.nodes() if node["Alive"]], jobs)
        self.room = jobs or (at_once(ray.cluster_resources(), asked) if sparing else cells)
        self._ray = ray
        # the scheduler tries again
        self._task = ray.remote(max_calls=1, max_retries=0, **asked)(run_cell)
        self._limit = limit
        # the cluster's own name of its head may mean nothing here, as behind a router
        self._head = Head(given(address) or ray.get_runtime_context().gcs_address)
        self._pending: list[Any] = []
        self._logs: dict[Any, Path] = {}
        self._told: Counter[Any] = Counter()  # how often a task was told to stop
        self._until: dict[Any, float] = {}  # when it must have stopped
        self._killed: dict[Any, float] = {}  # when it was

    def submit(self, command: list[str], log: Path) -> Any:
        """Hand a task to Ray."""
        reference = self._task.remote(command, log, self._limit)
        self._pending.append(reference)
        self._logs[reference] = log
        return reference

    def poll(self) -> list[tuple[Any, End]]:
        """The tasks that are done.

        Raises:
            LostError: the cluster's head has gone, and with it what tells of tasks.
        """
        self._head.require()
        if not self._pending:
            time.sleep(POLL)
            return []
        now = time.monotonic()
        for reference in self._pending:
            if now > self._until.get(reference, math.inf) and reference not in self._killed:
                self._kill(reference)
        done, self._pending = self._ray.wait(self._pending, timeout=POLL)
        lost = [job for job in self._pending if now - self._killed.get(job, math.inf) > GIVEN_UP]
        self._pending = [job for job in self._pending if job not in lost]
        return [(job, self._end(job)) for job in done] + [(job, End.KILLED) for job in lost]

    def cancel(self, job: Any) -> None:
        """Cancel a task; told again it is killed if it has not stopped within `HASTE` seconds, or
        when it is told once more.
        """
        self._told[job] += 1
        if self._told[job] == 1:
            self._ray.cancel(job)
        else:
            self._until[job] = time.monotonic() + (HASTE if self._told[job] == 2 else 0.0)

    def _kill(self, job: Any) -> None:
        self._killed[job] = time.monotonic()
        with contextlib.suppress(OSError), self._logs[job].open("a") as lines:
            lines.write(f"{DEAF}\n")
        # what it asks may be as deaf as the task
        _within(PATIENCE, partial(self._ray.cancel, job, force=True))

    def _end(self, job: Any) -> End:
        return End.KILLED if job in self._killed else _end(self._ray, job)

    def close(self) -> None:
        """Cancel what is left."""

        def cancel() -> None:
            for reference in self._pending:
                if not self._told[reference]:
                    self.cancel(reference)

        _within(PATIENCE, cancel) if self._head.silent else cancel()


class Head:
    """A cluster's head, looked at now and then.

    Args:
        address: where it listens, HOST:PORT.
    """

    def __init__(self, address: str):
        self._address = address
        self._looked = self._answered = time.monotonic()

    @property
    def silent(self) -> bool:
        """Whether it did not answer when it was looked at last."""
        return self._answered < self._looked

    def require(self) -> None:
        """See that it answers, or has lately.

        Raises:
            LostError: it has not for `LOST` seconds.
        """
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        try:
            _knock(self._address, LOOK)
            self._answered = now
        except OSError:
            if now - self._answered > LOST:
                raise LostError(
                    f"the Ray cluster at {self._address} does not answer any more: start it again,"
                    " then give the same command; cells that are done are kept, and others go on"
                    " from their checkpoints"
                ) from None


def given(address: str | None) -> str | None:
    """HOST:PORT of an address, where it names them."""
    return None if address in (None, "", "auto") else address.removeprefix("ray://")


def run_cell(command: list[str], log: Path, limit: float | None = None) -> int:
    """A cell's process, on whatever node; its exit code. Where Ray cancels it, it has as long as it
    takes to save its state.

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


def _within(seconds: float, act: Callable[[], Any]) -> None:
    """Do what may hang, and leave it to itself after so many seconds."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)


def _require_answer(address: str) -> None:
    where = given(address)
    if where is None:
        return
    if not re.fullmatch(r".*:[0-9]{1,5}", where):
        raise UserError(
            f"--address {address}: give HOST:PORT, or auto for the cluster that runs on this"
            " machine"
        )
    try:
        _knock(where, PATIENCE)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, or"
            " see its address"
        ) from None


def _knock(address: str, patience: float) -> None:
    """See that somebody listens at HOST:PORT.

    Raises:
        OSError: nobody does, within so many seconds.
        OverflowError: there is no such port.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), patience).close()
