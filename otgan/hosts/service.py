"""JAX among several processes: their connection to its coordination service.

JAX would run the service within process 0, and when that process ends, the library aborts all
others at once, in its own words and before Python can say any. So the service runs in a process of
its own here, which outlives process 0 for a moment. `jax.distributed.initialize` has no place for
that, so what it does is done here, as far as it is needed. None of it is public: where a version of
JAX changes it, `tests/test_company.py` fails, also in the lane of the newest versions.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from otgan.errors import UserError

if TYPE_CHECKING:
    from otgan.hosts.place import Place

LINGERS = 30.0  # seconds for which the service outlives process 0
HEARTBEAT = 100  # seconds of silence after which JAX takes a process for dead
SHUTDOWN = 20  # seconds that processes wait for one another at their end
ATTEMPTS = 3  # to find a port that nobody else takes in the meantime
SERVICE = f"""
import signal, sys, time
from jaxlib import _jax
for number in (signal.SIGINT, signal.SIGTERM):  # of a whole group: the processes are still saving
    signal.signal(number, signal.SIG_IGN)
address, count = sys.argv[1], int(sys.argv[2])
service = _jax.get_distributed_runtime_service(
    address, count, heartbeat_timeout={HEARTBEAT}, shutdown_timeout={SHUTDOWN}
)
print("listening", flush=True)
if not sys.stdin.readline():
    time.sleep({LINGERS})
"""


class Service:
    """The coordination service, in a process of its own on the leader's host.

    Attributes:
        port: that it listens on.

    Raises:
        UserError: it cannot be started.
    """

    def __init__(self, place: Place):
        for _ in range(ATTEMPTS):
            with socket.socket() as probe:
                probe.bind(("", 0))
                self.port = probe.getsockname()[1]
            address = f"{_own(place.host)}:{self.port}"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", SERVICE, address, str(place.count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # the terminal's Ctrl-C is not meant for it
            )
            if self._process.stdout and self._process.stdout.readline():
                return
            self._process.wait()
        raise UserError("JAX's coordination service cannot be started on this host")

    def leave(self) -> None:
        """End it, if this process needs it no more; else it ends some time after this process."""
        from jax._src import distributed

        if distributed.global_state.client is None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._process.communicate("over\n", timeout=SHUTDOWN)


def _own(host: str) -> str:
    """What the service listens on: the leader's own address where others cannot reach it, else all
    that this host has.
    """
    if host in ("localhost", "::1") or host.startswith("127."):
        return "[::1]" if host == "::1" else "127.0.0.1"
    return "[::]" if ":" in host else "0.0.0.0"


def connect(place: Place, port: int) -> None:
    """Make this process one of JAX's: from here on its devices are those of all processes.

    Raises:
        UserError: JAX's service is not reached, or has no devices for all.
    """
    import jax
    from jax._src import distributed
    from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue]

    if place.devices is not None:
        visible = ",".join(map(str, place.devices))
        jax.config.update("jax_cuda_visible_devices", visible)
        jax.config.update("jax_rocm_visible_devices", visible)
    host = f"[{place.host}]" if ":" in place.host else place.host
    address = f"{host}:{port}"
    client = _jax.get_distributed_runtime_client(
        address,
        place.index,
        init_timeout=round(place.wait),
        shutdown_timeout=SHUTDOWN,
        heartbeat_timeout=HEARTBEAT,
        use_compression=True,
    )
    try:
        client.connect()
    except Exception as error:
        raise UserError(
            f"JAX's coordination service at {address} is not reached within {place.wait:g}"
            f" seconds ({str(error).splitlines()[0]})"
        ) from None
    state = distributed.global_state
    state.client, state.process_id, state.num_processes = client, place.index, place.count
    state.coordinator_address = address
    try:
        jax.devices()  # here, since all processes must do it together
    except RuntimeError as error:
        raise UserError(
            f"the devices of {place.count} processes cannot be used together"
            f" ({str(error).splitlines()[0]})"
        ) from None


def disconnect() -> None:
    """Leave the others, once they do so too; what this process has on its own devices stays."""
    from jax._src import distributed

    client, distributed.global_state.client = distributed.global_state.client, None
    if client is not None:
        with suppress(Exception):
            client.shutdown()
