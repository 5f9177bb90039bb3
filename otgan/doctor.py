"""Is this machine fit to train: what it has, whether that fits together, and a tiny run.

Each check is a function that looks and changes nothing but a folder for a moment. What is absent
and can be done without is said, and is no fault.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from enum import Enum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from otgan import cache
from otgan.api import train
from otgan.data import catalog
from otgan.errors import UserError
from otgan.weights import catalog as weights

LITTLE = 1 << 30  # bytes of free space below which a run of pictures may fill a disk
COARSE = 1e-5  # relative error of a product that float32 does not explain
SIDE = 256  # of the matrices that are multiplied to see it
TINY: dict[str, int] = {  # changes of sinkhorn-grid: a run of seconds
    "batch.size": 64,
    "data.side": 2,
    "data.size": 2_000,
    "generator.width": 16,
    "train.steps": 20,
    "train.pictures": 1,
}


class Mark(Enum):
    """What a check comes to."""

    FINE = "fine"
    ABSENT = "absent"  # and can be done without
    WRONG = "WRONG"


class Finding(NamedTuple):
    """What was seen, and where it is wrong what to do."""

    what: str
    mark: Mark
    seen: str


def examine(data_dir: Path | None = None) -> Iterator[Finding]:
    """All findings, one after the other; the last trains for a few seconds.

    Args:
        data_dir: where TFDS has prepared data.
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "otgan": _program,
        "packages": _packages,
        "devices": _devices,
        "products": _precision,
        "data": lambda: _data(data_dir),
        "weights": _weights,
        "cache": _caches,
        "folders": _folders,
        "a tiny run": _tiny_run,
    }
    for what, look in looks.items():
        try:
            yield from look()
        except Exception as error:  # whatever is broken here must not hide the rest
            said = str(error).splitlines() or [""]
            yield Finding(what, Mark.WRONG, f"{type(error).__name__}: {said[0]}")


def _program() -> Iterator[Finding]:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("otgan", Mark.FINE, f"{version('otgan')}, in {Path(__file__).parent}")
    yield Finding("Python", Mark.FINE, f"{platform.python_version()}, {sys.executable}; {machine}")


def _packages() -> Iterator[Finding]:
    """Every package that otgan needs, in a version that it was made for."""
    for text in requires("otgan") or ():
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(need.name)
        except PackageNotFoundError:
            yield Finding(need.name, Mark.WRONG, f"not installed: pip install '{need}'")
            continue
        sound = need.specifier.contains(there, prereleases=True)
        remedy = "" if sound else f", and otgan needs {need.specifier}: pip install '{need}'"
        yield Finding(need.name, Mark.FINE if sound else Mark.WRONG, there + remedy)
    yield Finding("jaxlib", Mark.FINE, version("jaxlib"))


def _devices() -> Iterator[Finding]:
    import jax

    for device in jax.devices():
        memory = (device.memory_stats() or {}).get("bytes_limit")
        room = f", {memory / 2**30:.0f} GiB" if memory else ""
        yield Finding(f"device {device.id}", Mark.FINE, f"{device.device_kind}{room}")


def _precision() -> Iterator[Finding]:
    """How coarse products are where nothing is said, and where otgan says what it needs."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    a, b = np.random.default_rng(0).normal(size=(2, SIDE, SIDE)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)

    def error(precision: jax.lax.Precision) -> float:
        found = np.asarray(jnp.matmul(jnp.asarray(a), jnp.asarray(b), precision=precision))
        return float(np.abs(found - exact).max() / np.abs(exact).max())

    plain, highest = (error(p) for p in (jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGHEST))
    kind = "coarse (TF32 or bfloat16)" if plain > COARSE else "float32"
    yield Finding("products of networks", Mark.FINE, f"{kind}, off by {plain:.0e}")
    sound = highest <= COARSE
    lost = "" if sound else ": no certificate can be trusted here; see jax_default_matmul_precision"
    yield Finding(
        "products of certificates",
        Mark.FINE if sound else Mark.WRONG,
        f"off by {highest:.0e}{lost}",
    )


def _data(data_dir: Path | None) -> Iterator[Finding]:
    """Prepared data, read whole and compared with what was published."""
    for entry in catalog.listing(data_dir):
        if entry.name not in catalog.ORIGINALS:
            continue
        if not entry.present:
            missing = f"not in {entry.place}: otgan data prepare {entry.name}"
            yield Finding(entry.name, Mark.ABSENT, missing)
            continue
        found = catalog.verify(entry.name, data_dir)
        if found.problems:
            yield Finding(entry.name, Mark.WRONG, f"{found.folder}: {'; '.join(found.problems)}")
        else:
            yield Finding(entry.name, Mark.FINE, f"{found.folder}, {found.facts[-1]}")


def _weights() -> Iterator[Finding]:
    marks = {"yes": Mark.FINE, "no": Mark.ABSENT, "damaged": Mark.WRONG}
    for name, there, digest, _, place in weights.listing():
        what = {
            "yes": f"{digest}, {place}",
            "no": f"not in {place}: fetched when it is asked for, or otgan weights import",
            "damaged": f"{place} is damaged: remove it",
        }[there]
        yield Finding(f"weights of {name}", marks[there], what)


def _caches() -> Iterator[Finding]:
    """What was computed once; what cannot be read is computed anew."""
    place = cache.folder()
    files = [path for path in place.rglob("*.npz") if path.is_file()]
    damaged = [path for path in files if cache.read(path) is None]
    size = sum(path.stat().st_size for path in files) / 2**20
    yield Finding("cache", Mark.FINE, f"{len(files)} files, {size:,.0f} MiB, in {place}")
    programs = cache.programs()
    compiled = [path for path in programs.glob("*-cache") if path.is_file()]
    size = sum(path.stat().st_size for path in compiled) / 2**20
    seen = f"{len(compiled)}, {size:,.0f} MiB, in {programs}"
    yield Finding("compiled programs", Mark.FINE, seen)
    for path in damaged:
        yield Finding("cache", Mark.WRONG, f"{path} is damaged: remove it")


def _folders() -> Iterator[Finding]:
    """Where otgan writes: whether it may, and how much room there is."""
    named = {
        "here": Path.cwd(),
        "the cache": cache.folder(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    for name, folder in named.items():
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        room = f"{free / 2**30:.1f} GiB free"
        if not os.access(there, os.W_OK):
            yield Finding(name, Mark.WRONG, f"{there} cannot be written")
        elif free < LITTLE:
            yield Finding(name, Mark.WRONG, f"{there}: {room}, a run of pictures may fill it")
        else:
            yield Finding(name, Mark.FINE, f"{there}: {room}")


def _tiny_run() -> Iterator[Finding]:
    """Train, go on from the checkpoint, and judge, in a folder that is removed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        train("sinkhorn-grid", TINY, out=out, quiet=True)
        further = {**TINY, "train.steps": 2 * TINY["train.steps"]}
        summary = train("sinkhorn-grid", further, out=out, quiet=True).record.summary
    share, steps = summary["converged_share"], further["train.steps"]
    took = f"{steps} steps, once resumed, {time.monotonic() - began:.0f} s with compiling"
    if share < 1 or not summary["w2"] > 0:
        raise UserError(f"{took}: {share:.0%} of duals within epsilon, W2 {summary['w2']}")
    yield Finding("a tiny run", Mark.FINE, f"{took}, every dual certified")
