"""How the processes of a run find one another, and see that they are of one mind, before JAX is
begun.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from otgan import __version__
from otgan.errors import UserError
from otgan.hosts.company import ALONE, LEADER, Hosts
from otgan.hosts.place import Place
from otgan.hosts.service import Service, connect
from otgan.hosts.wire import Wire
from otgan.signals import Halted, exit_code_of

MAGIC = "otgan"
HELLO = 10.0  # seconds that who connects has to say who it is
AGAIN = 0.2  # seconds between two tries to reach the leader
HELLOS = ("index", "count", "version", "mind")
# what the leader answers: go on, or a sentence why not
WELCOME, REFUSED = "welcome", "refused"


@contextmanager
def joined(place: Place | None, mind: dict[str, Any]) -> Iterator[Hosts]:
    """This process among the others of its run, as soon as all are there and of one mind.

    Args:
        place: which one it is; None where it is alone.
        mind: what all must agree on, by a name that a sentence can say.

    Raises:
        UserError: the others do not come, are not of one mind, or the port is in use.
    """
    if place is None:
        yield ALONE
        return
    service, wires, names, port = (_lead if place.leads else _follow)(place, mind)
    hosts = Hosts(place.index, wires, names)
    try:
        connect(place, port)
        yield hosts
    except BaseException as error:
        hosts.fail(_code(error), _reason(error))
        raise
    finally:
        hosts.close()
        if service:
            service.leave()


def _reason(error: BaseException) -> str:
    if isinstance(error, Halted):
        return error.said
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _code(error: BaseException) -> int:
    if isinstance(error, Halted):
        return exit_code_of(error.number)
    return 2 if isinstance(error, UserError) else 1


Joined = tuple[Service | None, dict[int, Wire], list[str], int]


# --- process 0 ------------------------------------------------------------------------------------


def _lead(place: Place, mind: dict[str, Any]) -> Joined:
    deadline, here = time.monotonic() + place.wait, _hello(place, mind)
    wires: dict[int, Wire] = {}
    names = {LEADER: _name(here)}
    with _listening(place) as door:
        try:
            while len(wires) < place.count - 1:
                if found := _admit(door, deadline):
                    wire, hello = found
                    if hello["index"] in wires or hello["index"] == LEADER:
                        said = _twice(hello)
                        with closing(wire):
                            wire.send({REFUSED: said})
                        raise UserError(said)
                    wires[hello["index"]] = wire
                    names[hello["index"]] = _name(hello)
                    if differing := _differences(here, hello):
                        raise UserError(differing)
                elif time.monotonic() > deadline:
                    raise UserError(_missing(place, wires))
            service = Service(place)
        except BaseException as error:
            for wire in wires.values():
                with suppress(OSError):
                    wire.send({REFUSED: _reason(error)})
                wire.close()
            raise
    listed = [names[index] for index in range(place.count)]
    for wire in wires.values():
        with suppress(OSError):
            wire.send({WELCOME: service.port, "names": listed})
    return service, wires, listed, service.port


@contextmanager
def _listening(place: Place) -> Iterator[socket.socket]:
    """The leader's door, which the others knock at."""
    try:
        door = _bound(place)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UserError(
                f"cannot listen on port {place.port} ({error.strerror}); give --coordinator another"
            ) from None
        raise UserError(
            f"port {place.port} of --coordinator is in use on this host; give another one, the same"
            " in all processes"
        ) from None
    with door:
        door.settimeout(AGAIN)
        yield door


def _bound(place: Place) -> socket.socket:
    """A socket that listens on the coordinator's address, or on all of this host's where that is
    none of its own, as behind the name of a service.
    """
    try:
        own = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(own[4][:2], family=own[0], backlog=place.count)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise
    return socket.create_server(("", place.port), backlog=place.count)


def _admit(door: socket.socket, deadline: float) -> tuple[Wire, dict[str, Any]] | None:
    """Who knocks next, and what it says of itself; None if nobody does for a moment."""
    try:
        connection, _ = door.accept()
    except TimeoutError:
        return None
    wire = Wire(connection)
    wire.limit(min(HELLO, max(AGAIN, deadline - time.monotonic())))
    with suppress(OSError, ValueError):
        hello = wire.receive()
        known = hello.get(MAGIC) is True and all(name in hello for name in HELLOS)
        if known and isinstance(hello["index"], int):
            return wire, hello
    wire.close()
    return None


def _twice(hello: dict[str, Any]) -> str:
    return (
        f"two processes say that they are --process-id {hello['index']}; give every process its own"
    )


def _missing(place: Place, wires: dict[int, Wire]) -> str:
    missing = [str(index) for index in range(1, place.count) if index not in wires]
    return (
        f"waited {place.wait:g} seconds for {place.count} processes, and"
        f" {', '.join(missing[:10])}{' and more' if len(missing) > 10 else ''} did not come: start"
        " all of them with the same command, each with its own --process-id"
    )


def _differences(here: dict[str, Any], hello: dict[str, Any]) -> str:
    """What another process has otherwise than the leader, as a sentence; empty where nothing."""
    there = hello["mind"] if isinstance(hello["mind"], dict) else {}
    mine = {**here["mind"], "--num-processes": here["count"], "otgan": here["version"]}
    theirs = {**there, "--num-processes": hello["count"], "otgan": hello["version"]}
    said = [
        f"{name} ({mine.get(name)} in process 0, {theirs.get(name)} there)"
        for name in [*mine, *(theirs.keys() - mine.keys())]
        if mine.get(name) != theirs.get(name)
    ]
    if not said:
        return ""
    more = f" and {len(said) - 5} more" if len(said) > 5 else ""
    return (
        f"{_name(hello)} was started otherwise than process 0: {', '.join(said[:5])}{more}; give"
        " all processes the same command"
    )


# --- the others -----------------------------------------------------------------------------------


def _follow(place: Place, mind: dict[str, Any]) -> Joined:
    wire = _reach(place)
    try:
        answer = _asked_in(wire, place, mind)
    except BaseException:
        wire.close()
        raise
    return None, {LEADER: wire}, answer["names"], answer[WELCOME]


def _asked_in(wire: Wire, place: Place, mind: dict[str, Any]) -> dict[str, Any]:
    """What the leader answers, once all processes have come."""
    leader = f"process 0 at {place.host}:{place.port}"
    wire.limit(place.wait + HELLO)
    try:
        wire.send(_hello(place, mind))
        answer = wire.receive()
    except TimeoutError:
        raise UserError(f"{leader} did not answer within {place.wait:g} seconds") from None
    except ValueError:
        raise UserError(f"{leader} is no process of otgan's") from None
    except OSError:
        raise UserError(f"{leader} was gone before all processes had come") from None
    if WELCOME not in answer:
        raise UserError(str(answer.get(REFUSED, f"{leader} is no process of otgan's")))
    return answer


def _reach(place: Place) -> Wire:
    """A connection to the leader, which may not be there yet."""
    deadline = time.monotonic() + place.wait
    while True:
        try:
            left = max(AGAIN, deadline - time.monotonic())
            return Wire(socket.create_connection((place.host, place.port), timeout=left))
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"nobody answered at {place.host}:{place.port} within {place.wait:g} seconds"
                    f" ({error.strerror or error}): is process 0 there, and --coordinator right?"
                ) from None
        time.sleep(AGAIN)


def _hello(place: Place, mind: dict[str, Any]) -> dict[str, Any]:
    return {
        MAGIC: True,
        "index": place.index,
        "count": place.count,
        "version": __version__,
        "host": socket.gethostname(),
        "mind": mind,
    }


def _name(hello: dict[str, Any]) -> str:
    return f"process {hello['index']} on {hello.get('host', 'a host')}"
