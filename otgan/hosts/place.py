"""Which of a run's processes this one is: said on the command line, or by the cluster."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

from otgan.errors import UserError

WAIT = 300.0  # seconds that processes wait for one another, unless said otherwise
# what there is where JAX may find a cluster: a step of Slurm, OpenMPI's starter, a TPU's library
MARKS = ("SLURM_STEP_NODELIST", "OMPI_MCA_orte_hnp_uri")
LIBRARY = "libtpu"
# JAX's names of those; in the pods of Kubernetes flags must say it
DETECTED = ("ompi", "slurm", "gketpu", "gcetpu")
FLAGS = ("--coordinator", "--num-processes", "--process-id")


@dataclass(frozen=True)
class Place:
    """One process among those of a run.

    Attributes:
        host: of process 0, as the others reach it.
        port: there.
        count: of processes.
        index: of this one, from 0.
        wait: seconds to wait for the others.
        devices: of its host that it takes, where the cluster starts one process for each.
    """

    host: str
    port: int
    count: int
    index: int
    wait: float = WAIT
    devices: tuple[int, ...] | None = None

    @property
    def leads(self) -> bool:
        """Whether it is process 0."""
        return self.index == 0


def find_place(
    coordinator: str | None, count: int | None, index: int | None, wait: float = WAIT
) -> Place | None:
    """The place that the command line gives this process, else the cluster that it was started on;
    None where it is alone, as with a count of 1 on a cluster.

    Raises:
        UserError: the command line gives a part of a place, or one that cannot be.
    """
    if count == 1 and coordinator is None and index is None:
        return None
    given = dict(zip(FLAGS, (coordinator, count, index), strict=True))
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(FLAGS):
        return _detected(wait)
    if coordinator is None or count is None or index is None:
        there = " and ".join(flag for flag in FLAGS if flag not in missing)
        raise UserError(f"{there} also needs {' and '.join(missing)}")
    if not index < count:
        raise UserError(
            f"--process-id {index}: the processes of --num-processes {count} are 0 to {count - 1}"
        )
    host, port = _address(coordinator)
    return Place(host, port, count, index, wait) if count > 1 else None


def _address(coordinator: str) -> tuple[str, int]:
    host, colon, port = coordinator.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise UserError(
            f"--coordinator {coordinator}: give the host of process 0 and a free port there, as in"
            " 10.0.0.1:8476"
        )
    return host.strip("[]"), int(port)


def _detected(wait: float) -> Place | None:
    """As JAX detects it."""
    if not any(mark in os.environ for mark in MARKS) and not importlib.util.find_spec(LIBRARY):
        return None
    from jax._src import clusters  # no public function says where a process is without joining

    for cluster in clusters.ClusterEnv._cluster_types:
        if cluster.name in DETECTED and cluster.is_env_present():
            if (count := cluster.get_process_count()) < 2:
                return None
            port = os.environ.get("JAX_COORDINATOR_PORT")
            address = cluster.get_coordinator_address(round(wait), port)
            local = cluster.get_local_process_id()
            return Place(
                *_address(address),
                count,
                cluster.get_process_id(),
                wait,
                None if local is None else (local,),
            )
    return None
