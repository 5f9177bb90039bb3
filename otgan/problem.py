"""What a family is made of: a cost between points, the players' networks, the form of the data, and
how batches are drawn.

It holds no data and no parameters: they are arguments, for arrays that a program closes over become
its constants. So a `BatchSource` is passed beside it, and a problem is the same for a run's
training examples and for those held out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int, Key

from otgan.batches import (
    BatchSource,
    as_floats,
    draw_latents,
    draw_places,
    draw_reals,
    every_latent,
    reals_at,
    rows_at,
    shard_batch,
)
from otgan.config import Config
from otgan.costs import GroundCost, Groups, for_each
from otgan.data import Form
from otgan.models import latents_of


class Players(NamedTuple):
    """One of a kind for each network that the loss moves: the generator descends it, a learned
    cost's encoder ascends it.
    """

    generator: Any
    encoder: Any = None


NOBODY = Players(None)


# what a function makes of each of k problems, leaves (k, ...), and of what is given to all
Each = Callable[[Callable[[Any, Any], Any], Any, Any], Any]


def each_of_all(function: Callable[[Any, Any], Any], stacked: Any, given: Any) -> Any:
    """Of problems that lie on one device, or along several together."""
    return for_each(lambda one: function(one, given), stacked)


@dataclass(frozen=True, eq=False)
class Problem:
    """Transport between generated and real points: all that a family needs to know of a run besides
    its own settings.

    Its methods alone know the mesh, strata, Sobol sequences, and a source in place of latents.
    """

    cost: GroundCost
    # without parameters; of the encoder None where the cost looks at the examples themselves
    networks: Players
    form: Form
    size: int  # generated examples of a batch
    reals: int  # real ones
    latents: int  # normal numbers that a sample is made of
    # of the run: what a family trains has schedules that go by it. Where another budget ends the
    # run it is what the steps come to as things stand, which is a number of the program's
    steps: int | Float[Array, ""]
    mesh: Mesh | None = None  # batches lie along its one axis

    def shard(self, batch: Array) -> Array:
        """Lay a batch along the mesh."""
        return shard_batch(batch, self.mesh)

    def each(self, parts: int) -> Each:
        """How to solve the problems of a batch that is cut into `parts`: where that is a multiple
        of the number of devices, each solves those of its own parts, without communication.
        """
        mesh = self.mesh
        if parts == 1 or mesh is None or parts % mesh.size:
            return each_of_all
        along, everywhere = PartitionSpec("data"), PartitionSpec()
        return lambda function, stacked, given: jax.shard_map(
            partial(each_of_all, function),
            mesh=mesh,
            in_specs=(along, everywhere),
            out_specs=along,
            check_vma=False,  # what loops carry starts alike on all devices, and ends apart
        )(stacked, given)

    def draw_places(self, data: BatchSource, key: Key[Array, ""]) -> Int[Array, " reals"]:
        """Where a batch of real examples stands in the data."""
        return draw_places(data, key, self.reals)

    def draw_reals(self, data: BatchSource, key: Key[Array, ""]) -> Float[Array, "reals ..."]:
        """A batch of real examples."""
        return self.shard(draw_reals(data, key, self.reals))

    def reals_at(self, data: BatchSource, places: Int[Array, " n"]) -> Float[Array, "n ..."]:
        """The real examples that stand there."""
        return self.shard(reals_at(data, places))

    def draw_latents(
        self, data: BatchSource, key: Key[Array, ""], size: int | None = None
    ) -> Float[Array, "size ..."]:
        """A batch of latents, of `size` or as many as a batch has, or of a source's examples."""
        return self.shard(draw_latents(data, key, size or self.size, self.latents))

    def every_real(self, data: BatchSource) -> Float[Array, "n ..."]:
        """All real examples, in their order."""
        return as_floats(jnp.asarray(data.examples))

    def every_latent(self, data: BatchSource, key: Key[Array, ""]) -> Float[Array, "m ..."]:
        """All examples of the source, or as many latents as there are real examples."""
        return every_latent(data, key, self.latents)

    def generate(self, parameters: Any, z: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """The generator's points."""
        return self.networks.generator.apply(parameters, z)

    def features(self, players: Players, data: BatchSource, x: Float[Array, "n ..."]) -> Groups:
        """What the cost sees of examples: groups of features.

        Points, pixels and an encoder's features are one group.
        """
        if self.networks.encoder is None:
            return (x,)
        return self.networks.encoder.apply(
            players.encoder if data.frozen is None else data.frozen, x
        )

    def real_features(
        self, players: Players, data: BatchSource, places: Int[Array, " n"]
    ) -> Groups:
        """The same of the real examples at some places: gathered, where what is seen of all of them
        is kept.
        """
        if data.features is None:
            groups = self.features(players, data, reals_at(data, places))
        else:
            groups = tuple(rows_at(group, places).astype(jnp.float32) for group in data.features)
        return jax.tree.map(self.shard, groups)


def make_problem(
    config: Config, form: Form, networks: Players, mesh: Mesh | None = None
) -> Problem:
    """The problem of a config, on data of a form."""
    cost = GroundCost(config.cost.name, config.cost.groups == "joint", config.cost.learned)
    batch = config.batch
    return Problem(
        cost,
        networks,
        form,
        batch.size,
        batch.real,
        latents_of(config.generator, form.shape),
        config.train.steps,
        mesh,
    )
