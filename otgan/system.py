"""A config and the form of its data, put together: networks, family, step.

And the devices they run on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh

from otgan.batches import BatchSource
from otgan.config import Config
from otgan.data import Form
from otgan.errors import UserError
from otgan.models import Network, make_encoder, make_generator
from otgan.oracles import Family, Players, make_family
from otgan.problem import Problem, make_problem
from otgan.step import Stepper

FEATURES_SEED = 1904  # of random features: a part of the cost, not of the run
# of the data's spread, per unit of a point network's output: with a whole one updates overshoot the
# data
OUTPUT_SHARE = 1 / 3


@dataclass(frozen=True, eq=False)
class System:
    """Everything that computes, and nothing that reads or writes."""

    problem: Problem
    family: Family
    stepper: Stepper
    sample: Callable[[Any, Any, Array, int, Any], Array]
    """(dual, generator's parameters, key, size, source's examples or None) -> size samples."""

    @property
    def form(self) -> Form:
        """Of the data."""
        return self.problem.form

    @property
    def networks(self) -> Players:
        """Generator and encoder, without parameters."""
        return self.problem.networks

    @property
    def anywhere(self) -> Family:
        """The family with batches that lie on one device."""
        return make_family(self.stepper.config.oracle, replace(self.problem, mesh=None))

    def lasting(self, steps: Array) -> Stepper:
        """The stepper of a run that comes to so many steps, which may be a number of the program
        that it is traced into.
        """
        problem, config = replace(self.problem, steps=steps), self.stepper.config
        return Stepper(config, make_family(config.oracle, problem), problem)


def build(
    config: Config, form: Form, mesh: Mesh | None = None, network: Network | None = None
) -> System:
    """The system of a config on data of a form; on a mesh, batches lie along its one axis.

    `network` is the frozen one that a cost on layers looks through (`otgan.groups`). Without it the
    system samples, but solves nothing.

    Raises:
        UserError: a network cannot serve data of this form.
    """
    generator = make_generator(
        config.generator,
        form.shape,
        np.asarray(form.center, np.float32),
        OUTPUT_SHARE * form.scale,
        config.train.precision,
    )
    networks = Players(
        generator, (network or BLIND) if config.cost.layered else _encoder(config, form)
    )
    problem = make_problem(config, form, networks, mesh)
    family = make_family(config.oracle, problem)
    return System(problem, family, Stepper(config, family, problem), _sampler(problem, family))


def _sampler(problem: Problem, family: Family) -> Callable[[Any, Any, Array, int, Any], Array]:
    # samples of any number: not every one can be shared equally by the devices
    anywhere = replace(problem, mesh=None)
    nothing = jnp.zeros((0, *problem.form.shape))

    @partial(jax.jit, static_argnums=3)
    def sample(dual: Any, parameters: Any, key: Array, size: int, source: Array | None) -> Array:
        return family.generate(
            dual, parameters, anywhere.draw_latents(BatchSource(nothing, source=source), key, size)
        )

    return sample


def _encoder(config: Config, form: Form) -> Network | None:
    """The encoder of a cost's features, as the one group that it makes."""
    if not config.cost.encoded:
        return None
    one = make_encoder(
        config.cost.encoder,
        form.shape,
        np.asarray(form.center, np.float32),
        form.scale,
        # one that is not trained is the same in every run
        config.train.precision if config.cost.learned else "float32",
    )
    encoder = Network(one.init, lambda parameters, x: (one.apply(parameters, x),))
    return (
        encoder
        if config.cost.learned
        else encoder._replace(init=lambda key: one.init(jax.random.key(FEATURES_SEED)))
    )


def _unseeing(*_: Any) -> Any:
    raise ValueError(
        "a cost on a frozen network's layers needs that network: give build that network"
    )


BLIND = Network(init=lambda key: None, apply=_unseeing)


def make_mesh(devices: int | None) -> Mesh:
    """A mesh with the one axis `data` over `devices` devices (all that there are, if None), of each
    process the first.

    Raises:
        UserError: there are not so many, or the processes cannot have equally many.
    """
    there, processes = jax.devices(), jax.process_count()
    if devices is not None and devices % processes:
        raise UserError(
            f"--devices {devices}: {processes} processes cannot have equally many of them"
        )
    if devices is not None and devices > len(there):
        hint = (
            f"; XLA_FLAGS=--xla_force_host_platform_device_count={devices} simulates them on a CPU"
            if there[0].platform == "cpu"
            else ""
        )
        raise UserError(f"--devices {devices}: there are {len(there)}{hint}")
    each = (devices or len(there)) // processes
    chosen = [
        device
        for process in range(processes)
        for device in [one for one in there if one.process_index == process][:each]
    ]
    return jax.make_mesh((len(chosen),), ("data",), devices=chosen, axis_types=(AxisType.Auto,))
