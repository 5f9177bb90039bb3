"""What a dispatch reads of data that lie in a file: the batches of coming steps, read while the
device is busy with those before.

Which examples a step looks at is a pure function of seed and step (`Stepper.reads`). So it is known
before the step is taken, and the same as where the data are on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Bool, Int

from otgan.batches import BatchSource, Fetched, Rows
from otgan.data import OnDisk
from otgan.layout import spread
from otgan.step import Stepper

BYTES = 2**26  # of rows at a time, on the device and again in memory


class Supply(NamedTuple):
    """Data as a dispatch has them: all, or what some steps in a row read of them."""

    data: BatchSource  # what was fetched has a leading axis of steps
    first: Array | np.ndarray | None = None  # solves before the first of these steps

    def reaches(self, solves: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the step after so many solves finds what it reads."""
        if self.first is None:
            return jnp.asarray(True)
        assert isinstance(self.data.examples, Fetched)
        return solves < self.first + len(self.data.examples.places)

    def of_step(self, solves: Int[Array, ""]) -> BatchSource:
        """The data for the step after so many solves."""
        if self.first is None:
            return self.data
        ahead = solves - self.first

        def pick(rows: Fetched) -> Fetched:
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[ahead], rows)

        return _changed(self.data, Fetched, pick)


@runtime_checkable
class Feed(Protocol):
    """Hands out the data of a run to its dispatches."""

    def at(self, solves: Array) -> Supply:
        """What the step after so many solves reads, and perhaps more.

        Raises:
            UserError: a file cannot be read any more.
        """
        ...


class Everything:
    """All data are on the device."""

    def __init__(self, data: BatchSource) -> None:
        self._supply = Supply(data)

    def at(self, solves: Array) -> Supply:
        """As `Feed`."""
        del solves
        return self._supply


class FromDisk:
    """Steps' batches, fetched from a file some steps at a time, the next ones in the background."""

    def __init__(self, stepper: Stepper, data: BatchSource, mesh: Mesh, most: int) -> None:
        """`most` are the steps in a dispatch."""
        assert isinstance(data.examples, OnDisk)
        self._data, self._mesh = data, mesh
        reads = partial(stepper.reads, data)
        count = jax.eval_shape(reads, jnp.zeros((), jnp.int32)).size
        files = [rows for rows in (data.examples, *(data.features or ())) if _on_disk(rows)]
        each = count * sum(rows.nbytes // len(rows) for rows in files)
        self._steps = max(1, min(most, BYTES // max(1, each)))
        self._places = jax.jit(lambda first: jax.vmap(reads)(first + jnp.arange(self._steps)))
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="otgan-reads-data")
        self._now: Supply | None = None
        self._first = self._next = -1  # solves before what is at hand, and before what is coming
        self._coming: Future[BatchSource] | None = None

    def at(self, solves: Array) -> Supply:
        """As `Feed`."""
        step = int(solves)
        if self._now is None or not self._first <= step < self._first + self._steps:
            coming = self._coming if step == self._next else None
            read = (coming or self._begun(step)).result()
            data = _changed(read, Fetched, lambda rows: spread(rows, self._mesh))
            self._now = Supply(data, spread(np.asarray(step, np.int32), self._mesh))
            self._first = step
            self._next = step + self._steps
            self._coming = self._begun(self._next)
        return self._now

    def _begun(self, first: int) -> Future[BatchSource]:
        """The reading of the steps from one on. Where their examples stand is told at once: later
        the device is busy.
        """
        places = np.sort(np.asarray(self._places(jnp.asarray(first, jnp.int32))), axis=1)
        return self._reader.submit(self._read, places)

    def _read(self, places: np.ndarray) -> BatchSource:
        """In the background, and so without JAX."""

        def fetched(rows: OnDisk) -> Fetched:
            found = rows[places.reshape(-1)].reshape(*places.shape, *rows.shape[1:])
            return Fetched(places, found, len(rows))

        return _changed(self._data, OnDisk, fetched)


def make_feed(stepper: Stepper, data: BatchSource, mesh: Mesh, most: int) -> Feed:
    """What hands out the data of a run to its dispatches, of at most so many steps each."""
    return FromDisk(stepper, data, mesh, most) if _on_disk(data.examples) else Everything(data)


def _on_disk(rows: Rows) -> TypeGuard[OnDisk]:
    return isinstance(rows, OnDisk)


def _changed(data: BatchSource, kind: type, change: Callable[[Any], Rows]) -> BatchSource:
    """With those rows changed that are of a kind."""

    def one(rows: Rows) -> Rows:
        return change(rows) if isinstance(rows, kind) else rows

    return data._replace(
        examples=one(data.examples),
        features=None if data.features is None else tuple(map(one, data.features)),
    )
