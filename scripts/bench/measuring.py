"""What all benchmarks share: repetitions in turn, what they ran on, and the file of raw numbers."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import jax

from otgan.errors import UserError
from otgan.files import write_atomically
from otgan.plain import from_json

FEWEST, MOST = 3, 25  # rounds of repetitions
# seconds before a repetition: threads of other libraries wait for work by spinning, for a while
SETTLING = 0.02
STAT, LISTENING = Path("/proc/stat"), 0.5  # seconds
QUIET = 0.05  # busy with others
MAKERS = ("jax", "jaxlib", "numpy", "ott-jax")  # packages that every measurement depends on


def in_turn(
    calls: Mapping[str, Callable[[], Any]], seconds: float
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Call each once, then all of them in turn until `seconds` have passed: what disturbs the
    machine for a while disturbs them all.

    Returns:
        What the first calls gave, and the seconds of every later one.
    """
    first = {name: jax.block_until_ready(call()) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for done in range(MOST):
        if done >= FEWEST and time.perf_counter() - began >= seconds:
            break
        for name, call in calls.items():
            time.sleep(SETTLING)
            taken[name].append(timed(call)[1])
    return first, taken


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds until it is there."""
    began = time.perf_counter()
    given = jax.block_until_ready(call())
    return given, time.perf_counter() - began


def milliseconds(taken: list[float]) -> float:
    """The median."""
    return 1e3 * median(taken)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of the packages that are installed, and of those that everything depends on."""
    found = {}
    for name in (*MAKERS, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def missing(packages: Iterable[str]) -> list[str]:
    """Those that are not installed, each said on a line of its own."""
    packages = list(packages)
    there = versions(packages)
    absent = [name for name in dict.fromkeys(packages) if name not in there]
    for name in absent:
        print(f"{name} is not installed: left out (pip install -e '.[bench]')", flush=True)
    return absent


def conditions() -> dict[str, Any]:
    """Where and when something is about to be measured; `busy` is the share of the machine that
    others take meanwhile, 0 to 1, where the system tells.
    """
    busy = _busy()
    if busy and busy > QUIET:
        print(f"others take {busy:.0%} of the machine: times will be long", file=sys.stderr)
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "busy": busy,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
    }


def _busy() -> float | None:
    """While we sleep."""
    if not STAT.exists():
        return None
    before = _ticks()
    time.sleep(LISTENING)
    spent = [b - a for a, b in zip(before, _ticks(), strict=True)]
    idle = spent[3] + spent[4]  # the fifth waits for disks
    return round(1 - idle / max(1, sum(spent)), 2)


def _ticks() -> list[int]:
    return [int(word) for word in STAT.read_text().splitlines()[0].split()[1:9]]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


class Raw:
    """A file of raw numbers, which grows while a benchmark runs.

    Attributes:
        content: what it holds: `of`, which is the same for all of it, and lists of records.
    """

    def __init__(self, path: Path, **of: Any):
        """Open the file, or begin one.

        Raises:
            UserError: it is there, and of something else.
        """
        self.path = path
        self.content: dict[str, Any] = {"of": of}
        if path.exists():
            self.content = from_json(path.read_bytes())
            differ = [key for key in of if self.content.get("of", {}).get(key) != of[key]]
            if differ:
                raise UserError(
                    f"{path} was measured with other {' and '.join(differ)}: give --out another"
                    " file, or remove this one"
                )

    def find(self, kind: str, **key: Any) -> dict[str, Any] | None:
        """The record of a kind with these values, if it is there."""
        return next((r for r in self.content.get(kind, []) if key.items() <= r.items()), None)

    def put(self, kind: str, key: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
        """Have a record under a key, in place of one that is there, and write the file; the record
        with its key.
        """
        whole, before = {**key, **record}, self.find(kind, **key)
        records = self.content.setdefault(kind, [])
        records[:] = [*(r for r in records if r is not before), whole]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.content, indent=1) + "\n")
        return whole


def ending(main: Callable[[], None]) -> None:
    """Run a command; what a user can mend is a sentence, and exit code 2."""
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
