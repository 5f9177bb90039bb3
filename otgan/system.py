"""A config and the form of its data, put together: networks, family, step. And the devices they run on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh

from otgan.config import Config
from otgan.data import Dataset
from otgan.errors import UserError
from otgan.models import make_encoder, make_generator
from otgan.oracles import Family, make_family
from otgan.step import Stepper, make_stepper

OUTPUT_SHARE = 1 / 3  # of the data's spread, per unit of a point network's output: with a whole one updates overshoot the data


@dataclass(frozen=True)
class Form:
    """What networks need to know of the data: enough to rebuild them from a run folder alone."""

    shape: tuple[int, ...]  # of one example
    images: bool
    center: tuple[float, ...]  # of points: their mean
    scale: float  # of points: their standard deviation, over all coordinates

    @classmethod
    def of(cls, dataset: Dataset) -> Form:
        """The form of a data set."""
        if dataset.is_images:
            return cls(dataset.shape, True, (), 1.0)
        points = dataset.train.astype(np.float64)
        return cls(dataset.shape, False, tuple(points.mean(0)), float(np.sqrt(points.var(0).mean())))

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Form:
        """From plain data."""
        return cls(tuple(record["shape"]), record["images"], tuple(record["center"]), record["scale"])


@dataclass(frozen=True)
class System:
    """Everything that computes, and nothing that reads or writes."""

    form: Form
    family: Family
    stepper: Stepper
    sample: Callable[[Any, Any, Array, int], Array]  # (dual, generator's parameters, key, size) -> size samples


def build(config: Config, form: Form, mesh: Mesh | None = None) -> System:
    """The system of a config on data of a form; on a mesh, batches lie along its one axis.

    Raises:
        UserError: a network cannot serve data of this form.
    """
    generator = make_generator(config.generator, form.shape, np.asarray(form.center, np.float32), OUTPUT_SHARE * form.scale)
    encoder = make_encoder(config.cost.encoder, form.shape) if config.cost.encoder else None
    family = make_family(config, generator, encoder, mesh)

    @partial(jax.jit, static_argnums=3)
    def sample(dual: Any, parameters: Any, key: Array, size: int) -> Array:
        z = jax.random.normal(key, (size, config.generator.latent_dim))
        return family.generate(dual, parameters, z)

    return System(form, family, make_stepper(config, family, generator, encoder), sample)


def make_mesh(devices: int | None) -> Mesh:
    """A mesh with the one axis `data` over the first `devices` devices (all that there are, if None).

    Raises:
        UserError: there are not so many.
    """
    there = jax.devices()
    if devices is not None and devices > len(there):
        hint = f"; XLA_FLAGS=--xla_force_host_platform_device_count={devices} simulates them on a CPU" if there[0].platform == "cpu" else ""
        raise UserError(f"--devices {devices}: there are {len(there)}{hint}")
    chosen = there[: devices or len(there)]
    return jax.make_mesh((len(chosen),), ("data",), devices=chosen, axis_types=(AxisType.Auto,))
